"""A run with each prior: compiled, recorded in its files, resumed exactly, read back.

The record of a step stands for what the compiler makes of it, which costs seconds for each prior;
``benchmarks/prior_step.py`` compiles them and compares.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

import pyro_vae
from experiments.combining.combination import small
from pyro_vae.programs.priors import PRIORS
from tests.conftest import bare_runs, run_fit

JUDGED = ("--eval-particles", "3", "--test-size", "5")
PAIR = ("--model", "burda1", "--guide", "topdown", "--latent", "4", "--hidden", "6")


@dataclass(frozen=True)
class Runs:
    """Of one prior: two epochs at once and plain, and the same compiled in two parts."""

    prior: str
    folder: Path

    def read(self, name, file):
        return (self.folder / name / file).read_bytes()

    def loaded(self, name):
        return pyro_vae.load_run(self.folder / name)


@pytest.fixture(scope="module", params=list(PRIORS))
def runs(request, images, tmp_path_factory):
    found = Runs(small(request.param), tmp_path_factory.mktemp(request.param))
    common = (*PAIR, *JUDGED, "--dataset", images, "--prior", found.prior)
    common += ("--no-anneal", "--precision", "float32")
    with pytest.MonkeyPatch.context() as patch:
        bare_runs(patch)
        patch.setattr(torch._inductor, "compile", lambda graph, inputs, **settings: graph)
        for name, epochs, flag in (("plain", 2, "--no-compile"), ("parts", 1, "--compile")):
            assert run_fit(*common, flag, "--epochs", epochs, "--run-dir", found.folder / name) == 0
        assert run_fit("--resume", *JUDGED, "--run-dir", found.folder / "parts", "--epochs", 2) == 0
    return found


def test_a_compiled_run_resumed_is_the_unbroken_plain_one(runs):
    """To the last bit, as the record is run as it stands."""
    assert runs.read("plain", "metrics.csv") == runs.read("parts", "metrics.csv")
    for part in ("model", "guide"):
        one, other = (getattr(runs.loaded(name), part).state_dict() for name in ("plain", "parts"))
        assert one.keys() == other.keys()
        assert all(torch.equal(value, other[key]) for key, value in one.items())
    summaries = {name: json.loads(runs.read(name, "summary.json")) for name in ("plain", "parts")}
    assert [one["run"]["compiled"] for one in summaries.values()] == [False, True]
    assert summaries["plain"]["test"] == summaries["parts"]["test"]


def test_its_files_name_it_and_the_run_has_it(runs):
    config = json.loads(runs.read("parts", "config.json"))
    assert runs.prior in json.dumps(config)
    run = runs.loaded("parts")
    assert run.config.pair.prior == runs.prior
    assert type(run.model.prior) is PRIORS[runs.prior.split(":")[0]]
    assert run.sample(3).shape == (3, 4, 4)
    assert torch.isfinite(run.model.prior().log_prob(run.model.prior().sample((5,)))).all()


def test_training_moved_what_it_learns(runs):
    """Its own parameters are not those that it starts with."""
    run = runs.loaded("parts")
    start, _ = run.config.pair.build(16, (1, 4, 4), seed=run.config.seed)
    before, after = (
        torch.cat([p.flatten() for p in prior.parameters()] or [torch.zeros(0)])
        for prior in (start.prior, run.model.prior)
    )
    assert len(before) == len(after)
    assert runs.prior == "standard" or not torch.equal(before, after)
