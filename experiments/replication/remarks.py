"""Lines under a table on how far its numbers can be trusted."""

from __future__ import annotations

from statistics import fmean

from experiments.replication.rebuilt import Rebuilt
from pyro_vae.weights.diagnostics import KHAT_LIMIT


def khat_remark(rebuilt: Rebuilt) -> str:
    """For what share of the images more particles would lower the NLL."""
    shares = [one.value(f"khat_above_{KHAT_LIMIT}") for one in rebuilt.found]
    return (
        f"k-hat is above {KHAT_LIMIT} for {min(shares):.0%} to {max(shares):.0%} of the "
        "images: where it is, more particles would still lower the NLL"
    )


def error_remark(rebuilt: Rebuilt) -> str:
    """The spread that all rows share."""
    errors = [one.value("nll_standard_error") for one in rebuilt.found]
    return (
        f"standard error of an NLL over test images: {max(errors):.2f} nats at most (it is "
        "common to all rows: compare the paired differences)"
    )


def lower_latents_remark(rebuilt: Rebuilt) -> str:
    """What the latents below the top carry, where there are any."""
    told = []
    for row in rebuilt.rows:
        results = rebuilt.finished(row.cell)
        for name in [f"z{level}" for level in range(1, row.cell.levels)] if results else ():
            mean = fmean(result.value(f"kl_{name}") for result in results)
            told.append(f"{row.cell.label}: {name} {mean:.1f}")
    return (
        f"KL of the latents below the top, nats: {'; '.join(told) or 'no such row yet'} (where one "
        "carries next to nothing, the image is drawn from its representation alone, and routes "
        "that keep it are those that do not)"
    )
