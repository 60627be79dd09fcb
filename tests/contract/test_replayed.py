"""Log-weights of many runs: a record of the pair gives the numbers of the pair itself."""

import pytest
import torch

import pyro_vae
from pyro_vae.evaluation import evaluate, log_likelihood
from pyro_vae.weights import replayed
from pyro_vae.weights.passes import count_runs, passes
from pyro_vae.weights.replayed import WeightRuns
from tests.conftest import Foreign, tiny_pair

X = torch.randn(7, 6, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def calls(monkeypatch):
    """How often a pair's programs ran; a record is made from few runs on."""
    monkeypatch.setattr(replayed, "WORTH_RECORDING", 3)
    counted = []

    def counting(pair):
        forward = pair[0].forward
        pair[0].forward = lambda x: counted.append(len(x)) or forward(x)
        return pair

    return counting, counted


@pytest.mark.parametrize("guide", ["topdown", "bottomup", "meanfield"])
@pytest.mark.parametrize(("particles", "chunk"), [(9, 4), (2, 4), (5, 5)])
def test_records_give_the_estimates_of_the_programs_bit_for_bit(
    calls, monkeypatch, guide, particles, chunk
):
    counting, counted = calls
    found, rows = [], torch.cat([X, X])
    for worth in (3, 10**9):
        monkeypatch.setattr(replayed, "WORTH_RECORDING", worth)
        counted.clear()
        pair = counting(tiny_pair(guide))
        torch.manual_seed(1)
        estimates = evaluate(
            *pair, rows, num_particles=particles, bound_particles=2, chunk_size=chunk, khat=False
        )
        found.append((repr(estimates.columns()), torch.get_rng_state(), len(counted)))
    (mine, state, runs), (expected, other_state, all_runs) = found
    assert mine == expected
    assert torch.equal(state, other_state)
    assert all_runs == count_runs(rows, particles, chunk)
    assert runs < all_runs


@pytest.mark.parametrize(("particles", "chunk"), [(9, 4), (4, 9), (5, 5), (100, 3), (1, 100)])
def test_runs_are_counted_before_they_are_made(particles, chunk):
    made = sum(len(sizes) for _, sizes in passes(X, particles, chunk))
    assert count_runs(X, particles, chunk) == made


def test_draws_differ_from_run_to_run_and_rows_are_an_input(calls):
    pair = tiny_pair()
    runs = WeightRuns(*pair, runs=100)
    with torch.no_grad():
        for _ in range(2):
            runs(X[:1], 50)
        first, again, other = runs(X[:1], 50), runs(X[:1], 50), runs(X[1:2], 50)
        torch.manual_seed(4)
        mine = runs(X[1:2], 50).log_w
        torch.manual_seed(4)
        expected = pyro_vae.log_weights(*pair, X[1:2], 50).log_w
    assert not torch.equal(first.log_w, again.log_w)
    assert (first.log_w.mean() - other.log_w.mean()).abs() > 0.1
    assert torch.equal(mine, expected)


def test_foreign_programs_and_few_runs_are_not_recorded(calls, monkeypatch):
    monkeypatch.setattr(replayed, "make_fx", None)
    counting, counted = calls
    model, guide = counting(tiny_pair())
    log_likelihood(Foreign(model), guide, X, 4, chunk_size=4)
    assert len(counted) == 7
    log_likelihood(model, guide, X[:2], 4, chunk_size=4)
    assert len(counted) == 9


@pytest.mark.parametrize("wrong", ["number", "draw", "error"])
def test_a_record_that_differs_in_a_bit_is_not_used(calls, monkeypatch, wrong):
    real = replayed.make_fx

    def make(function):
        def record(x):
            log_likelihoods, log_prior, log_guide = graph(x)
            if wrong == "number":
                log_prior["z1"] = log_prior["z1"] * (1 + 1e-6)
            if wrong == "draw":
                torch.rand(1)
            return log_likelihoods, log_prior, log_guide

        def traced(x):
            nonlocal graph
            if wrong == "error":
                raise RuntimeError("cannot be recorded")
            graph = real(function)(x)
            return record

        graph = None
        return traced

    monkeypatch.setattr(replayed, "make_fx", make)
    counting, counted = calls
    found = []
    for worth in (3, 10**9):
        monkeypatch.setattr(replayed, "WORTH_RECORDING", worth)
        torch.manual_seed(2)
        found.append(log_likelihood(*counting(tiny_pair()), X, 4, chunk_size=4))
    assert torch.equal(*found)
    assert len(counted) >= 14
