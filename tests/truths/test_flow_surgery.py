"""The surgery of the ELBO under flow posteriors: against q(z | x_m) of every pair, one by one."""

import math

import pyro.distributions as dist
import pytest
import torch
from pyro.distributions.transforms import planar

from pyro_vae.errors import InputError
from pyro_vae.evaluation import elbo_surgery
from pyro_vae.programs import PairConfig
from pyro_vae.torch_state import evaluating
from pyro_vae.weights.log_weights import guide_sites
from tests.statistics import double_precision

PIXELS, NUM = 5, 12


@pytest.fixture(autouse=True)
def precise():
    with double_precision():
        yield


@pytest.mark.parametrize("posterior", ["flow", "iaf"])
def test_surgery_is_that_of_the_densities_of_all_pairs(posterior):
    config = PairConfig("planar", "bottomup", posterior=f"{posterior}:transforms=2,hidden=8")
    model, guide = config.build(PIXELS)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in guide.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    x = (torch.rand(NUM, PIXELS, generator=generator) < 0.5).to(next(guide.parameters()))
    torch.manual_seed(3)
    found = elbo_surgery(model, guide, x)
    torch.manual_seed(3)
    with torch.no_grad(), evaluating(model, guide):
        z = guide_sites(guide, x, 1)["z1"].value[0]
        of_data = [guide.top(row[None]) for row in x]
        log_q = torch.stack([q.log_prob(z) for q in of_data], 1)  # draw n under datum m
        log_p = model.prior().log_prob(z)
    log_sum = log_q.logsumexp(1)
    share = (log_q - log_sum[:, None]).exp()
    expected = (share * log_q).sum(1)
    aggregate = log_sum - math.log(NUM)
    assert found.mutual_information == pytest.approx((expected - aggregate).mean().item(), abs=1e-8)
    assert found.marginal_kl == pytest.approx((aggregate - log_p).mean().item(), abs=1e-8)
    assert found.rate == pytest.approx(found.mutual_information + found.marginal_kl, abs=1e-8)
    assert 0 < found.mutual_information < found.log_num_data


def test_a_flow_without_an_inverse_is_named(monkeypatch):
    model, guide = PairConfig("planar", "bottomup").build(PIXELS)
    x, gaussian = torch.ones(NUM, PIXELS), guide.top
    flow = planar(*gaussian(x).event_shape)
    monkeypatch.setattr(guide, "top", lambda x: dist.TransformedDistribution(gaussian(x), [flow]))
    with pytest.raises(InputError, match="density of the top level wants the inverse of Planar"):
        elbo_surgery(model, guide, x, level="z1")
