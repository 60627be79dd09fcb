"""Pairs trained in Python, of this library and foreign: saved as runs and loaded again."""

import json
import re

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import pyro_vae
from pyro_vae import cli
from pyro_vae.errors import InputError
from pyro_vae.runs import RunDirectory
from pyro_vae.runs.packing import pack_run
from pyro_vae.runs.summary import Summary
from tests.test_docs import DOCS
from tests.test_docs import run as run_page

FEW = {"test_size": 20, "eval_particles": 50, "num_particles": 4, "epochs": 2}


class Regression(nn.Module):
    """x = W z + noise with z standard normal: a model of nobody's library."""

    def __init__(self):
        super().__init__()
        self.decode = nn.Linear(2, 6)

    def forward(self, x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z1", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decode(z), 0.5).to_event(1), obs=x)


class Posterior(nn.Module):
    def __init__(self):
        super().__init__()
        self.encode = nn.Linear(6, 2)

    def forward(self, x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z1", dist.Normal(self.encode(x), 0.5).to_event(1))


@pytest.fixture(scope="module")
def rows():
    return torch.randn(40, 6, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def own(rows, tmp_path_factory):
    model, guide = Regression(), Posterior()
    objective = pyro_vae.IWAE(4)
    fitted = pyro_vae.fit(
        model, guide, rows, valid=rows[:9], objective=objective, epochs=2, progress=False
    )
    path = tmp_path_factory.mktemp("saved") / "own"
    return pyro_vae.save_run(path, model, guide, rows, settings=FEW, fitted=fitted)


def test_own_programs_come_back_with_their_weights(own, rows):
    run = pyro_vae.load_run(own.path, programs=(Regression(), Posterior()))
    for one, other in ((own.model, run.model), (own.guide, run.guide)):
        for name, value in one.state_dict().items():
            assert torch.equal(value, other.state_dict()[name])
    codes = run.encode(rows.numpy(), num_samples=200)
    with torch.no_grad():
        assert np.allclose(codes.means["z1"], run.guide.encode(rows), atol=0.2)
    assert run.config.objective.num_particles == 4
    assert run.config.training.lr is None  # nobody said it
    summary = Summary.of(RunDirectory(run.path).read_summary(), run.path)
    elbo = pyro_vae.evaluation.evaluate(run.model, run.guide, rows[:20], num_particles=50).elbo
    assert (
        abs(summary.estimate("elbo").mean - elbo.mean())
        < 4 * summary.test["elbo"]["standard_error"]
    )
    assert (summary.run.epochs, summary.settings.test_data) == (2, 20)
    assert len(RunDirectory(run.path).read_metrics()["elbo"]) == 3


def test_codes_are_not_written_to_a_file_of_another_kind(own, rows, tmp_path):
    with pytest.raises(InputError, match=r"codes\.txt: codes are written to \.npz, \.csv, \.nc"):
        own.encode(rows.numpy(), num_samples=2).save(tmp_path / "codes.txt")
    assert not list(tmp_path.iterdir())


def test_the_card_of_own_programs_says_how_they_are_loaded(own):
    card = (own.path / "model_card.md").read_text(encoding="utf-8")
    assert f"{__name__}.Regression" in card
    assert 'load_run("own", programs=(model, guide))' in card
    assert "epochs: 2 of 2, 2 steps (finished)" in card
    assert "None" not in card


def test_own_programs_have_to_be_given(own, capsys):
    with pytest.raises(InputError, match=r"programs of its user's own: give them"):
        pyro_vae.load_run(own.path)
    with pytest.raises(InputError, match="is of another model"):
        pyro_vae.load_run(own.path, programs=(Posterior(), Posterior()))
    assert cli.main(["evaluate", str(own.path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_card_of_own_rows_says_nothing_of_photographs(own):
    config = json.loads((own.path / "config.json").read_text())
    assert config["dataset"] == "own rows"
    card = (own.path / "model_card.md").read_text()
    assert "name: own rows" in card
    assert "the programs' own likelihood" in card
    assert not re.search("natural|pixel space|scaled pixels", card)


def test_own_programs_do_not_reconstruct(own, rows):
    with pytest.raises(InputError, match="Regression is no model of this library: it encodes"):
        own.reconstruct(rows.numpy())
    with pytest.raises(InputError, match="does not reconstruct"):
        own.route_rows(rows)


def test_a_pair_of_the_library_is_rebuilt_and_packed(images, tmp_path):
    data = pyro_vae.load_dataset(images)
    settings = {"model": "burda1", "guide": "bottomup", "latent": (3,), "hidden": ("8",)}
    settings |= {"likelihood": "gaussian", **FEW}
    config = pyro_vae.new_config(settings)
    model, guide = config.pair.build(16)
    run = pyro_vae.save_run(tmp_path / "run", model, guide, data, settings=settings)
    again = pyro_vae.load_run(run.path)
    raw = np.load(images)[:3]
    assert np.array_equal(again.encode(raw).means["z1"], run.encode(raw).means["z1"])
    assert again.sample(2).shape == (2, 4, 4)
    assert json.loads((run.path / "summary.json").read_text())["run"]["stopped"] == (
        "trained elsewhere"
    )
    assert again.config.facts.data_checksum == data.fingerprint.checksum
    assert cli.main(["evaluate", str(run.path), "--size", "5", "--eval-particles", "20"]) == 0
    packed = pack_run(run.path, tmp_path / "packed")
    assert np.array_equal(pyro_vae.load_run(packed).sample(2), again.sample(2))
    with pytest.raises(InputError, match="leave programs out"):
        pyro_vae.load_run(run.path, programs=(model, guide))


def test_what_cannot_be_saved_is_refused_before_anything_is_written(own, rows, images, tmp_path):
    path = tmp_path / "new"
    model, guide = own.model, own.guide

    def refused(match, *given, **settings):
        with pytest.raises(InputError, match=match) as caught:
            pyro_vae.save_run(*given, **settings)
        assert "\n" not in str(caught.value)
        assert not path.exists()

    refused("holds a run already", own.path, model, guide, rows)
    refused("model is no module", path, lambda x: None, guide, rows)
    refused("data must be rows", path, model, guide, (rows, rows))
    refused("data must be rows", path, model, guide, rows[:, None])
    refused("unknown setting 'epoch'", path, model, guide, rows, settings={"epoch": 3})
    data = pyro_vae.load_dataset(images)
    other, recognition = pyro_vae.PairConfig(latent=(3, 2)).build(16)
    wrong = {"model": "td", "latent": (4, 2)}
    refused("the settings make another", path, other, recognition, data, settings=wrong)


def test_the_page_on_runs_runs(capsys):
    names = run_page(DOCS / "runs.md")
    assert capsys.readouterr().out.splitlines()[-2:] == ["(10, 4)", "(10, 2)"]
    assert names["again"].config.pair.model.endswith("Factors")
