"""The columns of the tables of importance-weighted autoencoders, and what is said under them."""

from __future__ import annotations

from collections.abc import Callable

from experiments.campaign.cell import Cell
from experiments.replication.columns import (
    Column,
    counted,
    difference,
    found,
    paired,
    printed,
    told,
)
from experiments.replication.measures import PRUNING_IMAGES, PRUNING_PARTICLES
from experiments.replication.rebuilt import Rebuilt
from experiments.replication.remarks import error_remark, khat_remark


def columns(reference: Cell) -> tuple[Column, ...]:
    """Args: reference: against which differences on the same images are printed."""
    return (
        told("L", lambda cell: cell.levels),
        told("k", lambda cell: cell.num_particles),
        told("objective", lambda cell: cell.label),
        printed("NLL published", "nll"),
        found(
            "NLL",
            "nll",
            meaning="NLL is minus L_{particles}, an upper estimate of -log p(x); difference is "
            "ours minus published.",
        ),
        difference("difference", "nll"),
        paired(
            "against reference",
            lambda row: reference,
            meaning=f"Against reference: log-likelihood over that of {reference.label} (L = "
            f"{reference.levels}, k = {reference.num_particles}) on the same test images (positive "
            "is better), mean over seeds, +- its standard error over images; sd, here and "
            "elsewhere, is over seeds.",
        ),
        printed("units published", "active"),
        counted("active (Burda)", "active_burda"),
        counted(
            "active (test)",
            "active_test",
            "Active units: Var_x(E[z]) > 0.01, on 500 training images with one sample of z1 for z2 "
            "(Burda et al.) and on test images with Monte Carlo means (Arnal et al.); PCA-active: "
            "principal directions of E[z] above the same threshold.",
        ),
        printed("PCA published", "pca"),
        counted("PCA-active", "active_pca"),
        printed("KL(q, post.) published", "kl"),
        found(
            "KL(q, post.)",
            "kl_to_posterior",
            meaning="KL(q, post.) is log p(x) - ELBO, a lower estimate, since log p(x) is one.",
        ),
    )


def remarks() -> tuple[Callable[[Rebuilt], str], ...]:
    """Lines that depend on what was found."""
    return khat_remark, error_remark, _pruning_remark


def _pruning_remark(rebuilt: Rebuilt) -> str:
    costs = [(one.value("pruning_cost"), one) for one in rebuilt.found]
    cost, worst = max(costs, key=lambda pair: abs(pair[0]))
    return (
        "removing the inactive units from prior, guide and decoder costs "
        f"{cost:.3f} +- {worst.value('pruning_cost_standard_error'):.3f} nats in the cell where it "
        f"does most ({min(PRUNING_IMAGES, rebuilt.test_size)} images, {PRUNING_PARTICLES} "
        "particles)"
    )
