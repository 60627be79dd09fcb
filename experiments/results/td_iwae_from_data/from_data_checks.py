"""The numbers of docs/study.md that no table of the report has, for the study's runs.

python experiments/results/td_iwae_from_data/from_data_checks.py STUDY > checks.csv

STUDY is the folder of ``td_iwae.py``; what is measured is kept in STUDY/report. A pair that
started from the data is built again as it was before its first step, so that what the start alone
decodes stands beside what the trained pair does: the same rows, the same draws.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy import stats
from sklearn.linear_model import LinearRegression, LogisticRegression

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from analysis.measures.by_name import Named
from analysis.measures.decoding import decode
from analysis.reporting.measurements import MEASUREMENTS
from analysis.reporting.store import Store
from analysis.reporting.study import Settings, Subject, load_study
from pyro_vae.datasets.cutting import contrast
from pyro_vae.evaluation.activity_gap import above_gap
from pyro_vae.evaluation.posterior_moments import posterior_moments

SPLITS = ("train", "test")


def checks(subject: Subject, starts: dict[int, tuple]) -> list[dict]:
    """A row of the trained pair and, where it started from the data, one of that start.

    Args:
        starts: seed -> the pair before its first step and its row; all models of a seed start
            alike, so it is built once; added to.
    """
    run, seed = subject.run, subject.seed
    moments = {part: subject.measured(f"moments_labelled_{part}") for part in SPLITS}
    trained = {
        "model": subject.label.replace(", start from the data", ""),
        "seed": seed,
        "what": "trained",
    }
    trained |= decoded(subject, moments) | about_contrast(subject)
    if run.config.pair.init != "data":
        return [trained]
    if seed not in starts:
        pair = run.config.pair.build(
            run.config.facts.num_pixels, rows=subject.natural.train, seed=seed
        )
        row = {"model": "start alone", "seed": seed, "what": "start"}
        starts[seed] = pair, row | decoded(subject, moments_of(subject, pair))
        return [trained | like(subject, pair), starts[seed][1]]
    return [trained | like(subject, starts[seed][0])]


def moments_of(subject: Subject, pair: tuple) -> dict:
    """What the report measures of the trained pair, of another one."""
    settings = subject.settings
    rows = {
        part: getattr(subject.labelled, part)[: getattr(settings, f"labelled_{part}")]
        for part in SPLITS
    }
    return {
        part: Named(
            posterior_moments(*pair, found, num_samples=settings.moment_draws, seed=settings.seed)
        )
        for part, found in rows.items()
    }


def decoded(subject: Subject, moments: dict) -> dict[str, float]:
    """Accuracies on the labelled test rows: means and draws of all units of each level."""
    labels = [
        subject.labelled.labels[part][: len(moments[part].z2_mean)].numpy() for part in SPLITS
    ]

    def accuracy(name: str) -> float:
        fitted, unseen = (moments[part][name] for part in SPLITS)
        return decode(fitted, labels[0], unseen, labels[1], null=False).mean

    raw = LogisticRegression(max_iter=3000).fit(moments["train"].z1_mean, labels[0])
    return {
        "z2_means": accuracy("z2_mean"),
        "z2_draws": accuracy("z2_draw"),
        "z1_means": accuracy("z1_mean"),
        "z1_draws": accuracy("z1_draw"),
        "z1_means_not_standardised": raw.score(moments["test"].z1_mean, labels[1]),
    }


def about_contrast(subject: Subject) -> dict[str, float]:
    """How much of z2 is the contrast of the patch, and what contrast alone decodes."""
    rows = {part: getattr(subject.labelled, part) for part in SPLITS}
    rows |= {"natural": subject.natural.test}
    natural = subject.measured("moments_natural").z2_mean
    counts = {part: len(subject.measured(f"moments_labelled_{part}").z2_mean) for part in SPLITS}
    counts |= {"natural": len(natural)}
    log = {part: np.log(contrast(found[: counts[part]].numpy())) for part, found in rows.items()}
    labels = [subject.labelled.labels[part][: counts[part]].numpy() for part in SPLITS]
    ranks = [abs(stats.spearmanr(unit, log["natural"]).statistic) for unit in natural.T]
    fitted = LinearRegression().fit(natural, log["natural"])
    activity = subject.measured("activity").z1_activity
    low = ~above_gap(activity)
    means = subject.measured("moments_natural").z1_mean
    return {
        "log_contrast": decode(
            log["train"][:, None], labels[0], log["test"][:, None], labels[1], null=False
        ).mean,
        "rank_correlation_of_the_unit_nearest_contrast": max(ranks),
        "r2_of_log_contrast_from_z2": fitted.score(natural, log["natural"]),
        "units_above_the_gap": int((~low).sum()),
        "sd_of_z1_means_below_gap": means[:, low].std(0).mean() if low.any() else np.nan,
    }


def like(subject: Subject, pair: tuple) -> dict[str, float]:
    """How like the start's columns those of the trained decoder are: cosines, unit by unit."""
    before, after = (
        model.likelihood.loc.parts[0].weight.detach().numpy()
        for model in (pair[0], subject.run.model)
    )
    used = above_gap(subject.measured("activity").z1_activity)
    norms = np.linalg.norm(before, axis=0) * np.linalg.norm(after, axis=0)
    cosines = ((before * after).sum(0) / norms)[used]
    return {
        "median_cosine_to_start": np.median(cosines),
        "lower_quartile_of_cosines": np.quantile(cosines, 0.25),
        "norm_over_the_starts": np.median(
            (np.linalg.norm(after, axis=0) / np.linalg.norm(before, axis=0))[used]
        ),
    }


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    runs = sorted(path for path in (folder / "runs").iterdir() if "lr" not in path.name)
    torch.set_num_threads(1)
    study = load_study(runs, Settings(), Store(folder / "report" / "measured", MEASUREMENTS))
    starts: dict[int, tuple] = {}
    rows = []
    for one in study.subjects:
        rows += [row for row in checks(one, starts) if row not in rows]
        print(one.name, file=sys.stderr, flush=True)
    table = pd.DataFrame(rows)
    table.to_csv(sys.stdout, index=False, float_format="%.6g")
