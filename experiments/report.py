"""What fit.py does after training: test figures, ArviZ data, pictures, and the table it prints."""

from __future__ import annotations

from typing import Any

import torch
from tqdm import tqdm

import pyro_vae
from analysis.figures import write_figures
from pyro_vae.datasets import Dataset
from pyro_vae.evaluation import Evaluation, evaluate
from pyro_vae.evaluation.activity import (
    ACTIVITY_THRESHOLD,
    active_units,
    pca_active_units,
    posterior_means,
)
from pyro_vae.export.inference_data import netcdf_bytes
from pyro_vae.objectives import IMPORTANCE_WEIGHTED
from pyro_vae.runs import RunDirectory
from pyro_vae.storage import write_whole
from pyro_vae.torch_state import own_generators

ACTIVITY_DATA = 1_000
ACTIVITY_SAMPLES = 100


def final_figures(
    model,
    guide,
    data: Dataset,
    config: dict[str, Any],
    directory: RunDirectory,
    device: torch.device,
    quiet: bool,
) -> dict[str, Any]:
    """Evaluate on test data; write posterior.nc and figures; return the summary."""
    with own_generators():
        torch.manual_seed(config["seed"])
        test = data.test.to(device)
        judged = test[: config["test_size"]]
        with tqdm(total=len(judged), desc="test data", disable=quiet, leave=False) as bar:
            figures = evaluate(
                model,
                guide,
                judged,
                num_particles=config["eval_particles"],
                bound_particles=config["num_particles"],
                on_progress=bar.update,
            )
        means = posterior_means(guide, test[:ACTIVITY_DATA], num_samples=ACTIVITY_SAMPLES)
        idata = _posterior(model, guide, judged, figures, config, data)
    write_whole(directory.posterior, netcdf_bytes(idata))
    write_figures(directory, model, guide, data, idata, means)
    return {
        "test": figures.summary(),
        "warning": figures.warning,
        "active_units": {
            name: {
                "active": int(active_units(level).sum()),
                "pca_active": pca_active_units(level),
                "units": level.mean.shape[1],
            }
            for name, level in sorted(means.items())
        },
        "settings": {
            "test_data": len(judged),
            "particles": config["eval_particles"],
            "bound_particles": config["num_particles"],
            "activity_threshold": ACTIVITY_THRESHOLD,
            "activity_data": min(ACTIVITY_DATA, len(test)),
            "activity_samples": ACTIVITY_SAMPLES,
            "unit": "nats per datum",
        },
    }


def _posterior(
    model, guide, test: torch.Tensor, figures: Evaluation, config: dict[str, Any], data: Dataset
):
    resampled = config["objective"] in IMPORTANCE_WEIGHTED
    return pyro_vae.to_inference_data(
        model,
        guide,
        test[: config["posterior_data"]],
        num_particles=config["num_particles"] if resampled else 1,
        num_draws=config["posterior_draws"],
        diagnostics=figures.first(config["posterior_data"]),
        attributes={
            "model": config["model"],
            "guide": config["guide"],
            "objective": config["objective"],
            "dataset": data.name,
            "seed": config["seed"],
        },
    )


_LABELS = {
    "elbo": "ELBO",
    "log_likelihood": "log-likelihood",
    "log_likelihood_jackknife": "the same, jackknife (no bound)",
    "kl_to_posterior": "KL(q || posterior), estimate",
    "reconstruction": "reconstruction, E log p(x | z)",
    "ess": "effective sample size",
    "khat_above_0.7": "share of data with k-hat > 0.7",
}


def print_table(summary: dict[str, Any], config: dict[str, Any]) -> None:
    """Print the summary: figure, mean over test data, standard error."""
    chosen = summary["settings"]
    print(f"\ntest data: {chosen['test_data']}, particles: {chosen['particles']}, nats per datum")
    print(f"{'':34} {'mean':>10}  {'s.e.':>8}")
    for name, row in summary["test"].items():
        label = _LABELS.get(name, name)
        if name == "bound":
            label = f"L_{chosen['bound_particles']}"
        elif name.startswith("kl_z"):
            label = f"KL of {name[3:]}"
        elif name == "ess":
            label += f" of {chosen['bound_particles']}"
        elif name == "khat":
            label = f"Pareto k-hat of {chosen['particles']} weights"
        print(f"{label:34} {row['mean']:>10.3f}  {row['standard_error']:>8.3f}")
    error = summary["test"]["log_likelihood"]["monte_carlo_error"]
    print(f"{'Monte Carlo part of the log-likelihood error':>44} {error:>10.4f}")
    for name, row in summary["active_units"].items():
        print(
            f"active units of {name}: {row['active']} of {row['units']} (PCA {row['pca_active']})"
        )
    if summary["warning"]:
        print(f"warning: {summary['warning']}")
