"""The numbers of docs/study.md that no table of the report has, for the study's runs.

python experiments/results/td_iwae_from_data/from_data_checks.py STUDY > checks.csv

STUDY is the folder of ``td_iwae.py``; what is measured is kept in STUDY/report. A pair that
started from the data is built again as it was before its first step, so that what the start alone
decodes stands beside what the trained pair does: the same rows, the same draws.
"""

import copy
import dataclasses
import sys
from collections.abc import Callable
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

SPLITS = ("train", "test")
SIZES = Settings(test_size=1_000, labelled_train=3_000, labelled_test=1_500)


def checks(subject: Subject, starts: dict[int, Subject]) -> list[dict]:
    """A row of the trained pair; before it one of its start, where its seed had none yet.

    Args:
        starts: seed -> the run before its first step; all models of a seed start alike, so it is
            built once; added to.
    """
    seed = subject.seed
    rows = []
    trained = {
        "model": subject.label.replace(", start from the data", ""),
        "seed": seed,
        "what": "trained",
    }
    trained |= decoded(subject, subject.measured) | about_contrast(subject)
    if subject.run.config.pair.init == "data":
        if seed not in starts:
            alone = starts[seed] = untrained(subject)
            row = {"model": alone.label, "seed": seed, "what": "start"}
            # Not by the store, which knows a run by its checkpoint.
            rows.append(row | decoded(alone, lambda name: Named(MEASUREMENTS[name].compute(alone))))
        trained |= like(subject, starts[seed])
    return [*rows, trained]


def untrained(subject: Subject) -> Subject:
    """The run with its pair as it was before the first step."""
    config = subject.run.config
    model, guide = config.pair.build(
        config.facts.num_pixels, rows=subject.natural.train, seed=subject.seed
    )
    alone = copy.copy(subject)
    alone.run = dataclasses.replace(subject.run, model=model, guide=guide)
    alone.label = "start alone"
    return alone


def labels_of(subject: Subject) -> list[np.ndarray]:
    """Of the labelled training and test rows that are measured."""
    sizes = (subject.settings.labelled_train, subject.settings.labelled_test)
    return [
        subject.labelled.labels[part][:size].numpy()
        for part, size in zip(SPLITS, sizes, strict=True)
    ]


def decoded(subject: Subject, measured: Callable[[str], Named]) -> dict[str, float]:
    """Accuracies on the labelled test rows: means and draws of all units of each level."""
    labels = labels_of(subject)
    moments = [measured(f"moments_labelled_{part}") for part in SPLITS]

    def accuracy(name: str) -> float:
        fitted, unseen = (part[name] for part in moments)
        return decode(fitted, labels[0], unseen, labels[1], null=False).mean

    fitted, unseen = (part.z1_mean for part in moments)
    raw = LogisticRegression(max_iter=3000).fit(fitted, labels[0])
    return {
        "z2_means": accuracy("z2_mean"),
        "z2_draws": accuracy("z2_draw"),
        "z1_means": accuracy("z1_mean"),
        "z1_draws": accuracy("z1_draw"),
        "z1_means_not_standardised": raw.score(unseen, labels[1]),
    }


def about_contrast(subject: Subject) -> dict[str, float]:
    """How much of z2 is the contrast of the patch, and what contrast alone decodes."""
    natural = subject.measured("moments_natural")
    labels = labels_of(subject)
    labelled = [
        np.log(contrast(getattr(subject.labelled, part)[: len(own)].numpy()))[:, None]
        for part, own in zip(SPLITS, labels, strict=True)
    ]
    log_contrast = np.log(contrast(subject.natural.test[: len(natural.z2_mean)].numpy()))
    ranks = [abs(stats.spearmanr(unit, log_contrast).statistic) for unit in natural.z2_mean.T]
    fitted = LinearRegression().fit(natural.z2_mean, log_contrast)
    low = ~above_gap(subject.measured("activity").z1_activity)
    alone = decode(labelled[0], labels[0], labelled[1], labels[1], null=False)
    return {
        "log_contrast": alone.mean,
        "rank_correlation_of_the_unit_nearest_contrast": max(ranks),
        "r2_of_log_contrast_from_z2": fitted.score(natural.z2_mean, log_contrast),
        "units_above_the_gap": int((~low).sum()),
        "sd_of_z1_means_below_gap": natural.z1_mean[:, low].std(0).mean() if low.any() else np.nan,
    }


def like(subject: Subject, start: Subject) -> dict[str, float]:
    """How like the start's columns those of the trained decoder are: cosines, unit by unit."""
    before, after = (
        one.run.model.likelihood.loc.parts[0].weight.detach().numpy() for one in (start, subject)
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
    study = load_study(runs, SIZES, Store(folder / "report" / "measured", MEASUREMENTS))
    starts: dict[int, Subject] = {}
    rows = []
    for one in study.subjects:
        rows += checks(one, starts)
        print(one.name, file=sys.stderr, flush=True)
    table = pd.DataFrame(rows)
    table.to_csv(sys.stdout, index=False, float_format="%.6g")
