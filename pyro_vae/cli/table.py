"""The table that ends a run or an evaluation."""

from __future__ import annotations

from collections.abc import Mapping

from pyro_vae.runs import Summary
from pyro_vae.runs.reading import reading
from pyro_vae.runs.summary import LevelActivity

_LABELS = {
    "elbo": "ELBO",
    "log_likelihood": "log-likelihood",
    "log_likelihood_jackknife": "the same, jackknife (no bound)",
    "kl_to_posterior": "KL(q || posterior), estimate",
    "reconstruction": "reconstruction, E log p(x | z)",
    "bits_per_dim": "bits per dimension, of the ELBO",
    "ess": "effective sample size",
    "khat_above_0.7": "share of data with k-hat > 0.7",
}


def print_table(summary: Summary) -> None:
    """Print the table of a run: name, mean over the test data, standard error."""
    chosen = summary.settings
    print_estimates(
        summary.test,
        chosen.test_data,
        chosen.particles,
        chosen.bound_particles,
        chosen.bound_of,
    )
    for name, share in summary.consistency.items():
        below = "x" if name == "y1" else f"y{int(name[1:]) - 1}"
        print(
            f"draws of {below} that agree with their {name}: {share.mean:.4f} of the pixels "
            f"(s.e. {share.standard_error:.4f})"
        )
    for name, level in summary.active_units.items():
        print(
            f"active units of {name}: {level.active} of {level.units} (PCA {level.pca_active}; "
            f"{_gap(level)})"
        )
    if summary.filters is not None:
        counts = summary.filters
        of_noise = f"{counts.noise_localised} of {counts.noise} filters of noise"
        print(f"localised filters: {counts.localised} of {counts.units} ({of_noise})")
    if summary.warning:
        print(f"warning: {summary.warning}")
    sentence = reading(summary)
    if sentence:
        print(sentence)


def _gap(level: LevelActivity) -> str:
    if level.above_gap is None:
        return "no clear gap"
    told = f"{level.above_gap} above a clear gap"
    if level.gap_low is None:  # of a version that did not keep it
        return told
    return f"{told}, from {level.gap_low:.2g} to {level.gap_high:.2g}"


def print_estimates(
    test: Mapping[str, Mapping[str, float]],
    count: int,
    particles: int,
    bound_particles: int,
    bound_of: str = "x",
) -> None:
    """Print estimates over ``count`` data, nats per datum, ``bound_of`` as for ``Judged``."""
    print(f"\ntest data: {count}, particles: {particles}, nats per datum")
    if bound_of != "x":
        print(
            f"bounds, log-likelihood and bits are of {bound_of}: bounds for x as well, which no "
            "number of particles brings to log p(x)"
        )
    print(f"{'':34} {'mean':>10}  {'s.e.':>8}")
    for name, row in test.items():
        label = _LABELS.get(name, name)
        if name == "bound":
            label = f"L_{bound_particles}"
        elif name.startswith("reconstruction_"):
            label = f"reconstruction of {name.removeprefix('reconstruction_')}"
        elif name.startswith("kl_z"):
            label = f"KL of {name[3:]}"
        elif name == "iw_bits_per_dim":
            label = f"bits per dimension, of L_{particles}"
        elif name == "ess":
            label += f" of {bound_particles}"
        elif name == "khat":
            label = f"Pareto k-hat of {particles} weights"
        digits = 4 if name.endswith("bits_per_dim") else 3
        print(f"{label:34} {row['mean']:>10.{digits}f}  {row['standard_error']:>8.{digits}f}")
    error = test["log_likelihood"]["monte_carlo_error"]
    print(f"{'Monte Carlo part of the log-likelihood error':>44} {error:>10.4f}")
