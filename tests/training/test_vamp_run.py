"""A run with a VampPrior from the command line: trained, resumed, loaded, refitted, refused."""

import copy

import numpy as np
import pytest
import torch

import pyro_vae
from pyro_vae.encoder import HierarchicalVAEEncoder
from pyro_vae.training.prior_refit import refit_prior
from tests.conftest import bare_runs, run_fit, tiny_pair

PRIOR = "vamp:components=7,start=data,weights=learned"


@pytest.fixture(scope="module")
def finished(images, tmp_path_factory):
    """A run of two epochs, and the same in two parts."""
    folder = tmp_path_factory.mktemp("vamp")
    common = ["--dataset", images, "--no-anneal", "--prior", PRIOR]
    with pytest.MonkeyPatch.context() as patch:
        bare_runs(patch)
        for name, epochs in (("whole", 2), ("parts", 1)):
            assert run_fit(*common, "--epochs", epochs, "--run-dir", folder / name) == 0
        assert run_fit("--resume", "--run-dir", folder / "parts", "--epochs", 2) == 0
    return folder


def test_a_resumed_run_is_the_whole_one(finished):
    metrics = [(finished / name / "metrics.csv").read_bytes() for name in ("whole", "parts")]
    assert metrics[0] == metrics[1]
    runs = [pyro_vae.load_run(finished / name) for name in ("whole", "parts")]
    for part in ("model", "guide"):
        one, other = (getattr(run, part).state_dict() for run in runs)
        assert one.keys() == other.keys()
        assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_loaded_run_shares_its_guide_and_needs_no_data(finished):
    run = pyro_vae.load_run(finished / "whole")
    prior = run.model.prior
    assert prior.held_modules == (run.guide,)
    assert prior.pseudo_inputs.shape == (7, 16)
    z = prior().sample((50,))
    torch.testing.assert_close(prior.responsibilities(z).sum(-1), torch.ones(50))
    # Training moved pseudo-inputs and weights away from their start.
    assert prior.logits.abs().max() > 0
    assert np.isfinite(run.sample(3)).all()
    test = np.load(run.config.data.dataset)[-10:]
    assert np.isfinite(run.reconstruct(test)).all()
    x = run.rows(test)
    bound = pyro_vae.bounds.elbo(pyro_vae.log_weights(run.model, run.guide, x, 20).log_w)
    assert torch.isfinite(bound).all()


@pytest.mark.parametrize(
    ("flags", "match"),
    [
        (["--prior", "vamp:components=500,start=data"], "and there are 80; allowed"),
        (["--prior", "vamp", "--guide", "bottomup"], "bottomup guide of 2 levels"),
        (["--prior", "vamp:components=0"], "components of the prior 'vamp'"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    images, tmp_path, capsys, flags, match
):
    assert run_fit("--dataset", images, "--run-dir", tmp_path / "run", *flags) == 2
    assert match in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_prior_refitted_as_a_mixture_of_posteriors_leaves_the_guide_as_it_is():
    model, guide = tiny_pair()
    before = copy.deepcopy(guide.state_dict())
    x = torch.randn(1_000, 6, generator=torch.Generator().manual_seed(0))
    found = refit_prior(model, guide, x, "vamp:components=5,start=data", steps=60)
    assert found.prior.held_modules == (guide,)
    assert found.gain.mean > 3 * found.gain.standard_error
    assert all(torch.equal(value, before[name]) for name, value in guide.state_dict().items())


def test_the_estimators_copies_keep_the_sharing():
    """Its float64 pair, and its pickles."""
    import pickle

    X = np.random.default_rng(0).random((60, 6))
    estimator = HierarchicalVAEEncoder(
        prior="vamp:components=3", epochs=1, num_particles=2, random_state=0
    ).fit(X)
    again = pickle.loads(pickle.dumps(estimator))
    for one in (estimator, again):
        model, guide = one._wide_pair()
        assert model.prior.held_modules == (guide,)
        assert model.prior().loc.dtype == torch.float64
    assert np.array_equal(again.transform(X), estimator.transform(X))
