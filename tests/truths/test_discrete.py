"""Truths 3 and 4: what importance weighting trains, by enumeration, and draws from it."""

import pytest
import torch

import pyro_vae
from pyro_vae import bounds
from pyro_vae.weights.resampling import sir
from tests.discrete import DiscretePair, expected_weights, tuples
from tests.linear_gaussian import chi2, oracle
from tests.statistics import assert_mean_close, z_score

pytestmark = pytest.mark.usefixtures("float64")


def exact_bound(log_p, log_q, k):
    """L_k by the sum over all k-tuples of particles, through the library's own bound."""
    particles = tuples(len(log_p), k)
    probability = log_q[particles].sum(0).exp()
    return (probability * bounds.iwae((log_p - log_q)[particles])).sum()


@pytest.mark.parametrize("levels", [1, 2])
def test_truth_03_log_weights_are_the_table(levels):
    pair, x = DiscretePair(levels), torch.arange(4)
    terms = pyro_vae.log_weights(pair.model, pair.guide, x, 50)
    table = torch.stack([pair.log_joint(v) - pair.log_guide(v) for v in x])
    expected = table[x, pair.state(terms.latents)]
    torch.testing.assert_close(terms.log_w, expected, rtol=0, atol=1e-12)
    assert not torch.allclose(terms.log_w, expected.flip(1))


@pytest.mark.parametrize("levels", [1, 2])
@pytest.mark.parametrize("k", [1, 2, 4])
def test_truth_03_bound_of_q_iw_and_q_ew(levels, k):
    """Vas 2024, theorems 4.0.1 to 4.0.4, exactly."""
    pair = DiscretePair(levels)
    for x in range(4):
        log_p, log_q = pair.log_joint(x), pair.log_guide(x)
        log_evidence = log_p.logsumexp(0)
        bound = exact_bound(log_p, log_q, k)
        q_ew, bound_of_q_iw = expected_weights(log_p, log_q, k)
        assert abs(bound_of_q_iw - bound) < 1e-12
        assert abs(q_ew.sum() - 1) < 1e-12
        bound_of_q_ew = (q_ew * (log_p - q_ew.log())).sum()
        assert bound_of_q_ew < log_evidence - 1e-6
        if k == 1:
            torch.testing.assert_close(q_ew, log_q.exp())
            assert abs(bound_of_q_ew - bound) < 1e-12
        else:  # strictly above: the slide that prints equality is wrong
            assert bound_of_q_ew > bound + 1e-4
            assert bound > exact_bound(log_p, log_q, k - 1) + 1e-4
            assert (q_ew - log_q.exp()).abs().max() > 1e-3


def test_truth_03_q_ew_tends_to_the_posterior():
    """The distance in total variation falls with every particle, at last as 1 / k."""
    pair = DiscretePair(levels=1)
    for x in range(4):
        log_p, log_q = pair.log_joint(x), pair.log_guide(x)
        posterior = log_p.softmax(0)
        laws = [expected_weights(log_p, log_q, k)[0] for k in range(1, 10)]
        distance = torch.stack([(law - posterior).abs().sum() / 2 for law in laws])
        assert (distance.diff() < 0).all()
        assert distance[8] < 0.5 * distance[0]
        assert 0.8 < distance[8] * 9 / (distance[7] * 8) < 1.2


@pytest.mark.parametrize("levels", [1, 2])
@pytest.mark.parametrize(("draws", "chunk_size"), [(30_000, 10_000), (600, 7)])
def test_truth_03_sir_follows_q_ew(levels, draws, chunk_size):
    """Frequencies of the library's draws against the exact law, for each datum of a batch."""
    pair, x, k = DiscretePair(levels), torch.tensor([0, 2]), 3
    drawn = sir(pair.model, pair.guide, x, k, draws, chunk_size=chunk_size)
    states = pair.state(drawn.latents)
    table = torch.stack([pair.log_joint(v) - pair.log_guide(v) for v in x])
    torch.testing.assert_close(drawn.log_weight, table[torch.arange(2), states])
    hits = torch.nn.functional.one_hot(states, pair.states).double()
    law = torch.stack([expected_weights(pair.log_joint(v), pair.log_guide(v), k)[0] for v in x])
    assert_mean_close(hits, law)
    if draws > 10_000:
        assert z_score(hits, torch.stack([pair.log_guide(v).exp() for v in x])) > 8
        assert z_score(hits, torch.stack([pair.log_joint(v).softmax(0) for v in x])) > 8
    assert z_score(hits, law.flip(0)) > 8


def moments(latents):
    """First and second moments of (z1, z2), (draws, B, 5 + 25)."""
    z = torch.cat([latents["z1"], latents["z2"]], -1)
    return torch.cat([z, (z[..., None] * z[..., None, :]).flatten(-2)], -1)


def exact_moments(law):
    second = law.covariance_matrix + law.loc[..., None] * law.loc[..., None, :]
    return torch.cat([law.loc, second.flatten(-2)], -1)


@torch.no_grad()
@pytest.mark.parametrize(("k", "draws"), [(1, 20_000), (300, 3_000)])
def test_truth_04_sir_goes_from_the_guide_to_the_posterior(k, draws):
    model, _, guide, x = oracle(num_data=2, size=0.03)
    assert chi2(model, guide, x).max() < 1
    drawn = moments(sir(model, guide, x, k, draws, chunk_size=100_000).latents)
    of_guide, of_posterior = exact_moments(guide.joint(x)), exact_moments(model.posterior(x))
    right, wrong = (of_guide, of_posterior) if k == 1 else (of_posterior, of_guide)
    assert_mean_close(drawn, right)
    assert z_score(drawn, wrong) > 8


@torch.no_grad()
@pytest.mark.parametrize(("draws", "chunk_size"), [(1_000, 10_000), (200, 37)])
def test_truth_04_every_draw_has_its_own_proposals(draws, chunk_size):
    """No atom is met twice, and neighbouring draws are uncorrelated."""
    model, _, guide, x = oracle(num_data=3)
    k = 5
    latents = sir(model, guide, x, k, draws, chunk_size=chunk_size).latents
    for z in latents.values():
        assert len(z.flatten().unique()) == z.numel()
    z = latents["z1"] - latents["z1"].mean(0)
    assert_mean_close(z[::2] * z[1::2], torch.zeros(3, 3))
    assert z_score(z.square(), torch.zeros(3, 3)) > 8

    # The shortcut: all draws picked from one set of proposals.
    terms = pyro_vae.log_weights(model, guide, x, k)
    chosen = torch.distributions.Categorical(logits=terms.log_w.T).sample((draws,))
    shared = terms.latents["z1"][chosen, torch.arange(3)]
    assert len(shared.flatten().unique()) <= k * 3 * 3
