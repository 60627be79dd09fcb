"""The catalogue is the one list of objectives: what commands, exports and reports know of them."""

from types import SimpleNamespace

import pytest
import torch

from analysis.reporting.study import Subject
from pyro_vae.errors import InputError
from pyro_vae.objectives import CATALOGUE, num_proposals
from pyro_vae.runs.config import ObjectiveConfig, RunConfig
from tests.conftest import objective_named, tiny_pair

SETTINGS = {"inner": 2, "alpha": None, "beta": 0.5}

# Whose particles teach by their weights, and by which of them: all, or those of an inner bound.
PROPOSALS = {
    **dict.fromkeys(("iwae", "dreg", "stl", "renyi", "power", "ciwae", "piwae", "pyro-renyi"), 6),
    "miwae": 2,
    **dict.fromkeys(("elbo", "elbo-analytic", "median", "pyro-elbo"), 1),
    **dict.fromkeys(("beta-vae", "capacity", "free-bits"), 1),
}


@pytest.mark.parametrize("name", CATALOGUE)
def test_an_entry_says_where_it_is_from_and_what_it_is_told(name):
    entry = CATALOGUE[name]
    assert "https://" in entry.source or entry.source.startswith(("Vas 2024", "Arnal et al. 2021"))
    assert entry.bound.startswith(("yes", "no", "for ", "on average"))
    for setting in entry.settings.values():
        assert setting.help
        if setting.default is not None:
            assert setting.kind(str(setting.default)) == setting.default
    assert entry.group is None or entry.group in entry.settings
    assert entry.can_thin or not entry.thins


@pytest.mark.parametrize("name", CATALOGUE)
def test_exports_and_reports_agree_on_what_an_objective_fits(name):
    assert num_proposals(name, 6, SETTINGS) == PROPOSALS[name]
    objective = ObjectiveConfig(name=name, num_particles=6, settings=SETTINGS)
    config = RunConfig(objective=objective)
    subject = Subject(SimpleNamespace(config=config), name, None, None)
    assert subject.proposals == PROPOSALS[name]
    assert subject.weighted == (PROPOSALS[name] > 1)


def test_an_unknown_objective_fits_nothing():
    with pytest.raises(InputError, match="unknown objective 'vimco'; allowed: iwae"):
        num_proposals("vimco", 6, {})


@pytest.mark.parametrize("name", [n for n, proposals in PROPOSALS.items() if proposals > 1])
def test_weighted_objectives_teach_the_model_by_weights(name):
    """With weights that differ, their particles' parts of the model's gradient differ too."""
    objective = objective_named(name, 6)
    if not hasattr(objective, "differentiate"):
        pytest.skip("a loss of Pyro's, whose weights are its own")
    log_w = torch.randn(6, 3, dtype=torch.float64)
    derivative = objective.differentiate(log_w).derivative
    # Between neighbours of one group the larger weight has the larger part.
    first, second = derivative[0], derivative[1]
    assert ((first > second) == (log_w[0] > log_w[1])).all()


def test_losses_of_pyro_leave_the_store_as_it_was():
    import pyro

    from pyro_vae.objectives import pyro_losses

    model, guide = tiny_pair()
    x = torch.randn(4, 6)
    pyro.clear_param_store()
    for objective in (pyro_losses.trace_elbo(3), pyro_losses.renyi_elbo(0.0, 3)):
        torch.manual_seed(0)
        loss = pyro_losses.add_gradients(objective, model, guide, (x,))
        assert not loss.value.requires_grad
        assert torch.isfinite(loss.value)
        found = [p.grad for p in (*model.parameters(), *guide.parameters())]
        assert all(g is not None for g in found)
        assert not list(pyro.get_param_store().keys())
