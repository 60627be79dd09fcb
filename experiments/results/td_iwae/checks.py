"""The numbers of docs/study.md that no table of the report has, for the study's runs.

python experiments/results/td_iwae/checks.py STUDY > experiments/results/td_iwae/checks.csv

STUDY is the folder of ``td_iwae.py``; what is measured is kept in STUDY/report.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy import stats
from sklearn.linear_model import LogisticRegression

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from analysis.measures.decoding import decode
from analysis.reporting.measurements import MEASUREMENTS
from analysis.reporting.store import Store
from analysis.reporting.study import Settings, Subject, load_study
from pyro_vae.datasets.cutting import contrast
from pyro_vae.evaluation.activity_gap import above_gap

# Those of 0.4, which that report was built with.
SIZES = Settings(test_size=1_000, labelled_train=3_000, labelled_test=1_500)


def checks(subject: Subject) -> dict[str, float]:
    """Figures of one run; accuracies are on the report's labelled test rows."""
    activity = subject.measured("activity")
    active = activity.z2_active
    low = ~above_gap(activity.z1_activity)
    natural = subject.measured("moments_natural")
    train, test = (subject.measured(f"moments_labelled_{part}") for part in ("train", "test"))
    labels = [
        subject.labelled.labels[part][: len(of.z2_mean)].numpy()
        for part, of in (("train", train), ("test", test))
    ]
    log_contrast = [
        np.log(contrast(getattr(data, part)[: len(of.z2_mean)].numpy()))
        for data, part, of in (
            (subject.natural, "test", natural),
            (subject.labelled, "train", train),
            (subject.labelled, "test", test),
        )
    ]

    def accuracy(fitted: np.ndarray, unseen: np.ndarray) -> float:
        return decode(fitted, labels[0], unseen, labels[1]).mean

    raw = LogisticRegression(max_iter=3000).fit(train.z1_mean, labels[0])
    z2 = natural.z2_mean[:, active][:, 0]
    explained = np.array(
        [
            np.corrcoef(prior, mean)[0, 1] ** 2
            for prior, mean in zip(
                prior_means(subject, natural.z2_mean, active)[:, low].T,
                natural.z1_mean[:, low].T,
                strict=True,
            )
        ]
    )
    return {
        "model": subject.label,
        "seed": subject.seed,
        "rank_correlation_z2_contrast": abs(stats.spearmanr(z2, log_contrast[0]).statistic),
        "accuracy_active_z2_means": accuracy(train.z2_mean[:, active], test.z2_mean[:, active]),
        "accuracy_log_contrast": accuracy(log_contrast[1][:, None], log_contrast[2][:, None]),
        "accuracy_z1_all_not_standardised": raw.score(test.z1_mean, labels[1]),
        "sd_of_z1_means_below_gap": natural.z1_mean[:, low].std(0).mean(),
        "r2_of_their_prior_mean": np.median(explained),
    }


@torch.no_grad()
def prior_means(
    subject: Subject, z2: np.ndarray, active: np.ndarray, draws: int = 64
) -> np.ndarray:
    """E[z1 | active z2 at their posterior means], inactive units drawn from their prior."""
    z2, active = torch.as_tensor(z2, dtype=torch.float32), torch.as_tensor(active)
    torch.manual_seed(0)
    prior = subject.run.model.conditionals[0]
    samples = [prior(torch.where(active, z2, torch.randn_like(z2[:1]))).mean for _ in range(draws)]
    return torch.stack(samples).mean(0).numpy()


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    runs = sorted(path for path in (folder / "runs").iterdir() if "noanneal" not in path.name)
    study = load_study(runs, SIZES, Store(folder / "report" / "measured", MEASUREMENTS))
    table = pd.DataFrame([checks(subject) for subject in study.subjects])
    table.to_csv(sys.stdout, index=False, float_format="%.6g")
