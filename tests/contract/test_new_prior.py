"""One more prior, Student-t: what it takes to add one, and that everything then takes it.

A new prior touches at most four files, which docs/design.md names. Here it is registered for the
time of a test, and no other line of the library knows of it.
"""

import inspect
import re
from pathlib import Path
from typing import ClassVar

import pyro.distributions as dist
import pytest
import torch
from scipy import stats
from torch import nn

import pyro_vae
from experiments.combining.combination import Combination, attempt
from pyro_vae import cli
from pyro_vae.errors import InputError, check_positive
from pyro_vae.options import Setting
from pyro_vae.programs.priors import PRIORS
from pyro_vae.training.prior_refit import refit_prior
from tests.conftest import bare_runs, objective_named, run_fit
from tests.contract import test_parts as contract
from tests.truths import test_prior_surgery as surgery
from tests.truths import test_refit as refits

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


@pytest.mark.usefixtures("float64")
def test_its_term_of_the_weights_is_the_density_of_another_library():
    config = pyro_vae.PairConfig("burda2", latent=(4, 3), prior="student:df=6", hidden=("5",))
    model, guide = (program.double() for program in config.build(9))
    with torch.no_grad():
        model.prior.log_scale.copy_(torch.tensor([-1.0, 0.0, 0.5]))
    terms = pyro_vae.log_weights(model, guide, torch.randint(0, 2, (6, 9)).double(), 4)
    scales = model.prior.log_scale.exp().detach().numpy()
    wanted = stats.t(6, scale=scales).logpdf(terms.latents["z2"].detach().numpy()).sum(-1)
    torch.testing.assert_close(terms.log_prior["z2"].detach(), torch.tensor(wanted))


@pytest.mark.usefixtures("float64")
def test_what_is_asked_of_every_prior_is_asked_of_it():
    surgery.test_single_units_have_a_kl_where_the_prior_has_units(surgery.a_pair(), "student")
    refits.test_every_prior_that_has_parameters_can_be_refitted("student")
    assert attempt(Combination(prior="student")).taken


@pytest.fixture
def trained(tmp_path, images, monkeypatch):
    """Two epochs of a command, once in one go and once stopped and resumed."""
    bare_runs(monkeypatch)
    whole, parts = tmp_path / "run", tmp_path / "parts"
    fit = ("--model", "burda1", "--latent", "4", "--hidden", "6", "--no-anneal")
    fit += ("--dataset", images, "--prior", "student:df=7")
    assert run_fit(*fit, "--epochs", 2, "--run-dir", whole) == 0
    assert run_fit(*fit, "--epochs", 1, "--run-dir", parts) == 0
    assert run_fit("--resume", "--epochs", 2, "--run-dir", parts) == 0
    return whole, parts


def test_a_command_trains_it_and_its_run_is_resumed_read_back_and_refitted(trained):
    path, parts = trained
    metrics = [(one / "metrics.csv").read_bytes() for one in trained]
    assert metrics[0] == metrics[1]
    states = [pyro_vae.load_run(one).model.prior.state_dict()["log_scale"] for one in trained]
    assert torch.equal(*states)
    flags = ("--prior", "student:df=30", "--steps", "5", "--quiet", "--run-dir")
    assert cli.main(["refit", str(path), *flags, str(parts.with_name("refit"))]) == 0
    assert pyro_vae.load_run(parts.with_name("refit")).model.prior.df == 30.0
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
    """``learned``, here the longest; they are those that the documentation tells of."""
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
    told = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    told = told.split("One more prior\ntouches four files")[1].split("Tables that were measured")[0]
    assert set(re.findall(r"`(.+?)`", told)) - {"tests/contract/test_new_prior.py"} == {
        "pyro_vae/programs/priors/",  # where its own file is
        *named - {"pyro_vae/programs/priors/learned.py"},
    }
