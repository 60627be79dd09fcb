"""The study of Vas 2024, chapter 5, for any runs, as one page that needs no network.

    python -m analysis.report RUN [RUN ...] --out DIR

Writes DIR/report.html with all pictures inside, DIR/figures (PNG, SVG) and DIR/tables (CSV). Runs
that differ in their seed alone are one model; pictures and tables give its mean and spread. What is
measured on the runs is kept in DIR/measured: a report that was cut off goes on, and one that is
drawn anew measures nothing twice. Reads run directories and never trains.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

# How long threads spin before they sleep: see pyro_vae.cli.prepare_process.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")

import pandas as pd
import torch
from joblib import cpu_count

import pyro_vae
from analysis.reporting.drawing import Failure, draw_sections, told
from analysis.reporting.effects import KINDS, clear, effects
from analysis.reporting.elsewhere import Source
from analysis.reporting.findings import findings
from analysis.reporting.measurements import MEASUREMENTS
from analysis.reporting.measuring import measure
from analysis.reporting.naming import schedules
from analysis.reporting.page import Page
from analysis.reporting.store import Store
from analysis.reporting.study import Settings, Study, Subject, load_study
from analysis.reporting.titles import PAPERS
from pyro_vae.cli.common import Answer, Parser, answered
from pyro_vae.errors import check_count
from pyro_vae.storage import sweep
from pyro_vae.ticking import waited_for

LARGEST = 6  # effects of a kind that the summary lists
PROG = "python -m analysis.report"
HELP = {
    "test_size": "natural test rows behind bounds and posterior moments",
    "eval_particles": "particles of the bound that all models share",
    "labelled_train": "labelled rows that decoders are fitted to",
    "labelled_test": "labelled rows that decoders are judged on",
    "moment_draws": "draws of the guide behind each posterior mean",
    "weighted_groups": "sets of k proposals behind each mean of q_EW",
    "patches": "test patches, of highest contrast, of the correlations",
    "weighted_patches": "the same for q_EW, whose draws cost k proposals each",
    "draws": "posterior draws per patch of the correlations",
    "stimuli": "test patches with a part occluded",
    "refit_steps": "steps of the mixture that is fitted in the prior's place",
    "seed": "seed of every draw that the report makes",
    "labelled": "dataset or file with labels, where the runs' own data have none "
    "(default: the bundled textures, for patches of photographs)",
    "data_dir": "where data files lie now",
}


def main(arguments: list[str] | None = None, prog: str = PROG) -> int:
    """Run the command: 2 for bad input, 130 for Ctrl-C, 1 where a run or an item was left out.

    With 1 there is a report, of all that could be shown.
    """
    words = sys.argv[1:] if arguments is None else arguments
    command = f"{prog} {' '.join(map(str, words))}"
    return answered(parser(prog), arguments, lambda flags: _answer(flags, command), "report")


def build_report(
    paths: Sequence[Path],
    folder: Path,
    settings: Settings | None = None,
    *,
    jobs: int = 1,
    command: str = "",
    say: Callable[[str], None] = print,
) -> tuple[Path, list[str]]:
    """Measure the runs and write the report.

    Returns:
        its path, and a line for each thing that is wrong with it: runs that were left out, and
        items that failed.

    Args:
        paths: run directories. folder: of the report. settings: how much is measured.
        jobs: runs measured, and sections drawn, side by side. command: how the page says that it
            was made.

    Raises:
        InputError: no run can be read.
    """
    settings = settings or Settings()
    sweep(folder)
    store = Store(folder / "measured", MEASUREMENTS)
    study = load_study(paths, settings, store)
    wrong = [f"left out: {path}: {reason}" for path, reason in study.left_out.items()]
    for line in wrong:
        say(line)
    if settings.labelled is not None:
        _ = study.subjects[0].labelled  # what was asked for by name is there, or all stops here
    (folder / "figures").mkdir(parents=True, exist_ok=True)  # a bad --out shows before the work
    source = Source(tuple(paths), settings, store.folder)
    measure(study, source, jobs, say)
    page = Page(folder, "What the representation learned")
    failures = _summary(page, study)
    _front(page, study, command)
    say("drawing")
    sections = draw_sections(page, study, source, jobs)
    for title, failed in waited_for(sections, "drawing the next section"):
        say(f"drawn: {title}")
        failures += failed
    page.section("Papers")
    page.papers(PAPERS)
    for name, error in failures:
        say(error)
        say(f"failed: {name}")
    if page.not_shown:
        say(f"not shown, with reasons on the page: {', '.join(page.not_shown)}")
    if failures:
        wrong.append(f"failed items: {', '.join(name for name, _ in failures)}")
    return page.write(), wrong


def _summary(page: Page, study: Study) -> list[Failure]:
    """What the runs show, before all else; what failed of it does not take the page along."""
    page.section("What these runs show")
    try:
        found = effects(study)
        page.findings(findings(study, found))
        beyond = clear(found)
        for kind in KINDS:
            largest = [(one.sentence, one.entry) for one in beyond if one.kind == kind]
            if largest:
                page.paragraph(f"The largest effects beyond chance, by size: {kind}")
                page.findings(largest[:LARGEST], numbered=True)
    except Exception as error:  # a measurement that failed, and says so where its item would stand
        page.paragraph(f"The summary failed: {type(error).__name__}: {error}")
        return [("summary", told(error))]
    return []


def _front(page: Page, study: Study, command: str) -> None:
    """Which runs, settings and versions."""
    page.section("Runs and settings")
    if command:
        page.paragraph(f"Made by: {command}")
    page.table(pd.DataFrame([_describe(subject) for subject in study.subjects]))
    for path, reason in study.left_out.items():
        page.paragraph(f"Left out of this report: {path}: {reason}")
    settings = dataclasses.asdict(study.settings)
    page.paragraph(
        "Settings: "
        + " ".join(
            f"--{name.replace('_', '-')} {value}"
            for name, value in settings.items()
            if value is not None
        )
    )
    page.paragraph(
        f"Versions: pyro_vae {pyro_vae.__version__}, torch {torch.__version__}, Python "
        f"{platform.python_version()}. Spreads are over seeds unless a sentence says otherwise; "
        "q is the guide, q_EW the guide resampled by its importance weights."
    )


def _describe(subject: Subject) -> dict[str, object]:
    config, trained = subject.run.config, subject.run.summary
    return {
        "model": subject.label,
        "seed": subject.seed,
        "folder": subject.run.path.name,
        "objective": config.objective.name,
        "k": subject.k,
        "guide": config.pair.guide,
        "units": " + ".join(map(str, subject.run.model.latent_sizes)),
        "data": config.data.dataset,
        "start": config.pair.init,
        "recipe": config.training.recipe or "",
        "steps": trained.steps,
        "epochs": trained.epochs,
        "batch": config.training.batch_size,
        "lr": config.training.lr,
        "annealing": schedules(config.training.annealing or {}),
        "version": config.facts.versions.get("pyro_vae", ""),
    }


def _answer(flags: argparse.Namespace, command: str) -> Answer:
    settings = {one.name: getattr(flags, one.name) for one in dataclasses.fields(Settings)}
    say = (lambda line: None) if flags.quiet else (lambda line: print(line, flush=True))
    jobs = check_count("--jobs", flags.jobs)
    try:
        path, wrong = build_report(
            flags.runs, flags.out, Settings(**settings), jobs=jobs, command=command, say=say
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the same command goes on") from None
    print(f"wrote {path}")
    for line in wrong:
        print(f"report: {line}", file=sys.stderr)
    return Answer({"wrong": wrong, "files": [str(path)]}, 1 if wrong else 0)


def parser(prog: str) -> Parser:
    p = Parser(prog=prog, description=__doc__.split("\n")[0])
    p.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run directories")
    p.add_argument(
        "--out", type=Path, default=Path("report"), metavar="DIR", help="default: report"
    )
    p.add_argument(
        "--jobs",
        type=int,
        default=cpu_count(),
        metavar="N",
        help="runs measured, and sections drawn, side by side (default: one a core)",
    )
    p.add_argument("--quiet", action="store_true", help="print the page's path only")
    group = p.add_argument_group("how much is measured")
    for field in dataclasses.fields(Settings):
        kind = {"kind": int, "metavar": "N"} if isinstance(field.default, int) else {"kind": str}
        group.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=kind["kind"],
            default=field.default,
            metavar=kind.get("metavar", "NAME|DIR"),
            help=HELP[field.name] + (f" ({field.default})" if field.default is not None else ""),
        )
    return p


if __name__ == "__main__":
    sys.exit(main())
