"""One more prior, Student-t: what it takes to add one, and that everything then takes it.

A new prior touches at most four files: its own in ``pyro_vae/programs/priors/``, its line in
``priors/__init__.py``, its row in ``tests/contract/test_parts.py`` and its row in
``docs/models.md``. Here it is registered for the time of a test, and no other line of the library
knows of it.
"""

import inspect
import re
from pathlib import Path
from typing import ClassVar

import pyro.distributions as dist
import pytest
import torch
from torch import nn

import pyro_vae
from pyro_vae.errors import InputError, check_positive
from pyro_vae.options import Setting
from pyro_vae.programs.priors import PRIORS
from pyro_vae.training.prior_refit import refit_prior
from tests.conftest import bare_runs, objective_named, run_fit
from tests.contract import test_parts as contract

ROOT = Path(__file__).resolve().parents[2]


class StudentPrior(nn.Module):
    """p(z) = prod_u StudentT(z_u; df, 0, exp(log_scale_u))."""

    settings: ClassVar = {"df": Setting(5.0, "degrees of freedom of every unit")}

    def __init__(self, features: int, family: str = "normal", *, df: float = 5.0) -> None:
        super().__init__()
        self.features = features
        self.df = check_positive("df", df)
        self.log_scale = nn.Parameter(torch.zeros(features))

    def forward(self) -> dist.TorchDistribution:
        return dist.StudentT(self.df, 0.0, self.log_scale.exp()).to_event(1)


def student(part):
    zero = torch.zeros(part.features)
    return contract.unit(torch.distributions.StudentT(part.df, zero, part.log_scale.exp()))


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(PRIORS, "student", StudentPrior)


CONTRACT = {
    name: test
    for name, test in vars(contract).items()
    if name.startswith("test_") and list(inspect.signature(test).parameters) == ["part"]
}


@pytest.mark.parametrize("name", CONTRACT)
def test_its_row_of_the_contract_holds(name):
    CONTRACT[name](contract.prior("student:df=6", "normal", student))


def test_a_command_trains_it_and_its_run_is_read_back(tmp_path, images, monkeypatch):
    bare_runs(monkeypatch)
    path = tmp_path / "run"
    fit = ("--dataset", images, "--run-dir", path)
    assert run_fit(*fit, "--prior", "student:df=7", "--epochs", 2) == 0
    run = pyro_vae.load_run(path)
    assert (type(run.model.prior), run.model.prior.df) == (StudentPrior, 7.0)
    assert run.config.pair.prior == "student:df=7"
    assert run.model.prior.log_scale.abs().min() > 0  # it was trained
    assert run.sample(3).shape == (3, 4, 4)


@pytest.mark.parametrize("name", ["elbo", "iwae", "dreg", "stl", "piwae"])
@pytest.mark.parametrize("guide", ["topdown", "bottomup", "meanfield"])
def test_every_guide_and_gradient_takes_it(name, guide):
    config = pyro_vae.PairConfig("burda2", guide, latent=(4, 3), prior="student", hidden=("5",))
    pair = config.build(9)
    objective_named(name, 4)(*pair)(torch.randint(0, 2, (6, 9)).float()).backward()
    assert pair[0].prior.log_scale.grad.abs().min() > 0


def test_a_trained_pair_is_given_one():
    model, guide = pyro_vae.PairConfig("planar", hidden=("5",)).build(9)
    rows = torch.randint(0, 2, (100, 9)).float()
    refit = refit_prior(model, guide, rows, "student:df=30", steps=20)
    assert isinstance(refit.model.prior, StudentPrior)


def test_errors_list_it():
    with pytest.raises(InputError, match=r"unknown prior 'cauchy'; allowed: standard, .*student"):
        _ = pyro_vae.PairConfig(prior="cauchy").architecture
    with pytest.raises(
        InputError, match="unknown setting 'nu' of the prior 'student'; allowed: df"
    ):
        _ = pyro_vae.PairConfig(prior="student:nu=3").architecture


def test_no_more_than_four_files_name_a_prior_of_this_kind():
    """``learned``, here the longest: its own file, the registry, its row and its line."""
    names = re.compile(r'LearnedPrior|"prior learned |^\| `learned` \|', re.MULTILINE)
    folders = ("pyro_vae", "experiments", "analysis", "docs")
    files = [
        path
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".pyi", ".md")
    ]
    files.append(ROOT / "tests" / "contract" / "test_parts.py")
    named = {str(p.relative_to(ROOT)) for p in files if names.search(p.read_text(encoding="utf-8"))}
    assert named == {
        "pyro_vae/programs/priors/learned.py",
        "pyro_vae/programs/priors/__init__.py",
        "tests/contract/test_parts.py",
        "docs/models.md",
    }
