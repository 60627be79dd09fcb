"""The weights that a cell starts from, where it goes on from another one."""

from __future__ import annotations

from torch import nn

from experiments.campaign.cell import Place
from pyro_vae.datasets import Dataset
from pyro_vae.runs import RunConfig, load_run
from pyro_vae.training.prior_refit import refit_prior


def take_over(
    start: Place, model: nn.Module, guide: nn.Module, config: RunConfig, data: Dataset
) -> None:
    """Give a pair the weights of the run that its cell starts from.

    Under another prior the pair takes the one that fits the first run's q(zL | x) best
    (:func:`pyro_vae.refit_prior`, by the cell's seed), so that a prior may come late.

    Args:
        start: where the first run lies. config, data: of the cell that starts from it.
    """
    before = load_run(start.directory.path)
    trained = before.model
    if config.pair.prior != before.config.pair.prior:
        refit = refit_prior(
            before.model,
            before.guide,
            data.train,
            config.pair.prior,
            held_out=data.valid,
            binarise=config.binarisation(data.pixels),
            seed=config.seed,
        )
        trained = refit.model
    model.load_state_dict(trained.state_dict())
    guide.load_state_dict(before.guide.state_dict())
