"""Every arm trained or refitted as a run directory; what is finished is left as it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from experiments.campaign.per_datum import Clock
from experiments.campaign.runner import EpochLines, check_run, to_be_continued
from experiments.late.arms import Arm
from pyro_vae.datasets import Dataset
from pyro_vae.errors import InputError
from pyro_vae.runs import Hooks, Run, RunConfig, RunDirectory, load_run, new_config, train
from pyro_vae.runs.refitting import RefitSettings, refit_run
from pyro_vae.runs.resuming import resume_config
from pyro_vae.training.prior_refit import STEPS

LATER_RATE = 1e-3  # half of the recipe's, along the same shape
SETTINGS = {
    "model": "image",
    "preset": "conv-small",
    "likelihood": "logistic-mixture:components=5",
    "objective": "elbo",
    "num_particles": 1,
    # No trial by time decides how steps are computed: a seed gives the same numbers again.
    "compile": False,
    "precision": "float32",
    # Arms are judged side by side, on more images than a run of its own; see late_estimates.py.
    "test_size": 100,
    "eval_particles": 64,
    "posterior_data": 5,
    "posterior_draws": 20,
}
MINUTES = "minutes.json"


@dataclass(frozen=True)
class Protocol:
    """What all arms and seeds share.

    Attributes:
        dataset, image_size, data_dir: as ``pyro-vae fit`` takes them; a data_dir is where the
            files lie now, and no setting of a run.
        epochs: from random weights, by the recipe of the preset.
        later_epochs: of what goes on from there, at :data:`LATER_RATE`.
        refit_steps: of a prior that is fitted alone.
    """

    dataset: str = "cifar10"
    image_size: int | None = 16
    data_dir: str | None = None
    epochs: int = 6
    later_epochs: int = 2
    refit_steps: int = STEPS

    def config(self, arm: Arm, seed: int) -> RunConfig:
        """The configuration of an arm's run; a refit has that of the run it starts from.

        InputError where a setting cannot be used.
        """
        chosen = {
            **SETTINGS,
            "dataset": self.dataset,
            "image_size": self.image_size,
            "data_dir": self.data_dir,
            "prior": arm.prior,
            "seed": seed,
            "epochs": self.later_epochs if arm.later else self.epochs,
        }
        return new_config(chosen | ({"lr": LATER_RATE} if arm.later else {}))


@dataclass(frozen=True)
class Workshop:
    """Where the runs of a protocol are made.

    Attributes:
        folder: of all run directories. data: that all of them have.
        quiet: no lines about epochs.
    """

    protocol: Protocol
    folder: Path
    data: Dataset
    quiet: bool = False

    def make(self, arm: Arm, seed: int) -> str:
        """Train or refit an arm, or go on with it, and keep the minutes; what became of it.

        What an arm starts from must be finished. Raises InputError where its folder holds another
        run, and what ``train`` and ``refit_run`` raise.
        """
        directory = arm.directory(self.folder, seed)
        planned = self.protocol.config(arm, seed)
        if directory.config.is_file():
            stored = directory.read_config()
            check_run(directory.path.name, planned, stored)
            self._check_steps(directory, stored)
        if directory.summary.is_file():
            return "done before"
        clock = Clock(directory.path / MINUTES)
        finished = (self._refit if arm.refitted else self._train)(arm, seed, directory, planned)
        clock.add()
        return "finished" if finished else "stopped"

    def _check_steps(self, directory: RunDirectory, stored: RunConfig) -> None:
        steps, wanted = stored.facts.refit.get("steps"), self.protocol.refit_steps
        if steps not in (None, wanted):
            raise InputError(
                f"{directory.path.name} was refitted in {steps} steps, and now {wanted} are asked "
                "for; move it away, or name another --run-dir"
            )

    def _refit(self, arm: Arm, seed: int, directory: RunDirectory, planned: RunConfig) -> bool:
        settings = RefitSettings(
            arm.prior,
            steps=self.protocol.refit_steps,
            seed=seed,
            data_dir=self.protocol.data_dir,
        )
        refit_run(arm.start.directory(self.folder, seed).path, directory, settings)
        return True

    def _train(self, arm: Arm, seed: int, directory: RunDirectory, planned: RunConfig) -> bool:
        resume, config = to_be_continued(directory), planned
        if resume:
            config = resume_config(directory.path, {"data_dir": self.protocol.data_dir})
        lines = EpochLines(directory.path.name, config.training.epochs, self.quiet)

        def initialise(model: torch.nn.Module, guide: torch.nn.Module) -> None:
            if arm.start is not None:
                take_over_(model, guide, load_run(arm.start.directory(self.folder, seed).path))

        hooks = Hooks(initialise=initialise, on_epoch=lambda history: lines.say(history[-1]))
        return train(config, directory, hooks, data=self.data, resume=resume).summary is not None


def take_over_(model: torch.nn.Module, guide: torch.nn.Module, before: Run) -> None:
    """Give a pair the weights of another one, in place.

    A prior that the other one has not keeps its own: of a flow that is the identity, so that both
    pairs are the same density before the first step.
    """
    weights = before.model.state_dict()
    if type(model.prior) is not type(before.model.prior):
        weights = {n: v for n, v in weights.items() if not n.startswith("prior.")}
        own = model.state_dict()
        weights |= {n: v for n, v in own.items() if n.startswith("prior.")}
    model.load_state_dict(weights)
    guide.load_state_dict(before.guide.state_dict())
