"""Runs that trained longer than the study's, or from random weights for longer: longer.csv.

python experiments/results/td_iwae_from_data/longer_runs.py RUN ... > longer.csv

RUN is a folder of ``fit.py``; docs/study.md has the commands. A run that started from the data is
built again as it was before its first step, for the cosines of its columns to the start's.
"""

import json
import sys
from pathlib import Path

import pandas as pd
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from analysis.reporting.measurements import MEASUREMENTS
from analysis.reporting.store import Store
from analysis.reporting.study import Subject, load_study
from experiments.results.td_iwae_from_data.from_data_checks import SIZES, like, untrained

FIGURES = [
    "run.epochs",
    "run.training_minutes_of_this_call",
    *(
        f"test.{term}.{figure}"
        for term in ("elbo", "log_likelihood", "reconstruction", "kl_z1", "kl_z2")
        for figure in ("mean", "standard_error")
    ),
    "start.filters.localised",
    "filters.localised",
    "active_units.z2.active",
]


def row(path: Path, subject: Subject) -> dict:
    """The settings, the figures of ``summary.json``, and the cosines."""
    found = pd.json_normalize(json.loads((path / "summary.json").read_text()))
    config = subject.run.config
    return {
        "run": path.name,
        "objective": config.objective.name,
        "num_particles": config.objective.num_particles,
        "init": config.pair.init,
        "seed": subject.seed,
        "lr": config.training.lr,
        **found.reindex(columns=FIGURES).iloc[0],
        **(like(subject, untrained(subject)) if config.pair.init == "data" else {}),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    paths = [Path(path) for path in sys.argv[1:]]
    store = Store(Path("runs/longer/measured"), MEASUREMENTS)
    study = load_study(paths, SIZES, store)
    rows = [row(path, subject) for path, subject in zip(paths, study.subjects, strict=True)]
    pd.DataFrame(rows).to_csv(sys.stdout, index=False, float_format="%.6g")
