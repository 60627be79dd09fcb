"""Matrix products in lower precision: what they change, and when precision="auto" takes them."""

import math
import re

import pytest
import torch
from torch import nn

import pyro_vae
from pyro_vae import InputError
from pyro_vae.objectives import make_objective
from pyro_vae.training import bfloat16, probe
from pyro_vae.training.bfloat16 import (
    Effect,
    bfloat16_products,
    choose_precision,
    effect_on_bound,
    precision_effect,
)
from pyro_vae.training.gradients import Gradients
from pyro_vae.training.probe import choose
from pyro_vae.weights import bounds
from tests.conftest import Foreign, tiny_pair

X = torch.randn(50, 6, generator=torch.Generator().manual_seed(2))
DATA = torch.randn(26, 6, generator=torch.Generator().manual_seed(1))
SMALL = Effect(mean=-0.02, root_mean_square=0.1, standard_error=0.5)
LARGE = Effect(mean=0.6, root_mean_square=0.7, standard_error=0.5)


def gradients(pair=None, precision="auto", objective=None):
    return Gradients(objective or pyro_vae.IWAE(10), *(pair or tiny_pair()), precision=precision)


@pytest.fixture
def machine(monkeypatch):
    """A machine that multiplies bfloat16 numbers at this ratio of times, with this effect."""

    def make(ratio=0.5, effect=SMALL, products=True):
        for name, value in (("WORTH_TRYING", 0.0), ("FEW_STEPS", 0)):
            monkeypatch.setattr(bfloat16, name, value)
        monkeypatch.setattr(bfloat16, "bfloat16_products", lambda device: products)
        monkeypatch.setattr(bfloat16, "median_ratio", lambda one, other: ratio)
        if effect is not None:
            monkeypatch.setattr(bfloat16, "effect_on_bound", lambda *asked: effect)

    return make


# What it does


def test_bfloat16_changes_the_bound_little_and_says_by_how_much():
    model, guide = tiny_pair()
    state = torch.get_rng_state()
    line = precision_effect(gradients((model, guide), "bf16"), X)
    assert torch.equal(torch.get_rng_state(), state)
    found = []
    for enabled in (True, False):
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled), torch.no_grad():
            found.append(bounds.iwae(pyro_vae.log_weights(model, guide, X, 10).log_w))
    off = found[0] - found[1]
    numbers = [float(n) for n in re.findall(r"[-+]?\d[\d.]*(?:e[-+]\d+)?", line)][1:]
    assert line.startswith("precision bf16 changes the bound of the first batch by")
    assert numbers == pytest.approx(
        [off.mean().item(), off.square().mean().sqrt().item()], rel=0.01
    )
    assert 1e-5 < off.abs().max() < 1.0
    assert found[0].dtype == torch.float32
    effect = effect_on_bound(gradients((model, guide)), X, "bf16")
    error = found[1].std().item() / math.sqrt(50)
    assert effect.mean == pytest.approx(off.mean().item(), rel=1e-4)
    assert effect.standard_error == pytest.approx(error, rel=1e-4)
    assert effect.small
    assert precision_effect(gradients((model, guide), "float32"), X) == ""
    assert effect_on_bound(gradients((model, guide)), X, "float32").mean == 0.0


def test_a_change_of_a_standard_error_is_not_small_nor_one_that_is_not_known():
    assert SMALL.small
    assert not LARGE.small
    assert not Effect(math.nan, math.nan, 0.5).small
    assert not effect_on_bound(gradients(), X[:1], "bf16").small  # of one datum there is none


def test_training_in_bfloat16_keeps_parameters_and_reports_in_float32(capsys):
    def history(precision):
        model, guide = tiny_pair()
        result = pyro_vae.fit(
            model,
            guide,
            torch.randn(20, 6, generator=torch.Generator().manual_seed(3)),
            valid=torch.ones(5, 6),
            objective=pyro_vae.IWAE(5),
            epochs=2,
            batch_size=10,
            precision=precision,
            compile=False,
        )
        assert {p.dtype for p in (*model.parameters(), *guide.parameters())} == {torch.float32}
        assert result.precision == precision
        text = capsys.readouterr()
        assert ("precision bf16 changes the bound" in text.out + text.err) == (precision == "bf16")
        return result.history

    rounded, exact = history("bf16"), history("float32")
    names = ("elbo", "bound", "ess")
    assert all(rounded[0][name] == exact[0][name] for name in names)  # judged in float32
    assert rounded[1]["train_objective"] != exact[1]["train_objective"]
    assert rounded[1]["train_objective"] == pytest.approx(exact[1]["train_objective"], rel=0.02)


@pytest.mark.parametrize(
    ("precision", "match"),
    [
        ("tf32", r"precision 'tf32' wants a CUDA device, got cpu; allowed: auto, float32, bf16"),
        ("half", r"unknown precision 'half'; allowed: auto, float32, tf32, bf16"),
    ],
)
def test_precisions_that_there_are_not_are_refused(precision, match):
    with pytest.raises(InputError, match=match):
        gradients(precision=precision)
    with pytest.raises(InputError, match=match):
        pyro_vae.fit(*tiny_pair(), torch.randn(10, 6), precision=precision, progress=False)


# When it is taken


@pytest.mark.parametrize(
    ("found", "name", "line"),
    [
        ({}, "bf16", r"0\.50 of the float32 step; the bound .* moves by -0\.02 nats per datum.*"),
        ({"ratio": 0.9}, "bf16", r"0\.90 of .*"),
        ({"ratio": 0.91}, "float32", r"products in bfloat16 would take 0\.91 of the step"),
        ({"ratio": math.nan}, "float32", r"products in bfloat16 would take nan of the step"),
        ({"effect": LARGE}, "float32", r"bfloat16 would change the bound .* by \+0\.6 nats .*"),
        ({"products": False}, "float32", r"this machine multiplies no bfloat16 numbers .*"),
    ],
)
def test_it_is_taken_where_it_is_faster_by_a_tenth_and_changes_little(machine, found, name, line):
    machine(**found)
    asked = gradients()
    state = torch.get_rng_state()
    choice = choose_precision(asked, X, {}, 1000)
    assert torch.equal(torch.get_rng_state(), state)
    assert choice.name == asked.precision == name
    assert re.fullmatch(f"precision {name}: {line}", choice.reason)
    assert all(p.grad is None for p in (*asked.model.parameters(), *asked.guide.parameters()))


def test_the_two_precisions_are_really_timed(machine, monkeypatch):
    machine(effect=None)
    asked, taken = gradients(), []

    def ratio(one, other):
        for run in (one, other):
            taken.append((run(3), asked.precision))
        return 0.5

    monkeypatch.setattr(bfloat16, "median_ratio", ratio)
    assert choose_precision(asked, X, {}, 1000).name == "bf16"
    (rounded, first), (exact, second) = taken
    assert (first, second) == ("bf16", "float32")
    off = (rounded.gradient - exact.gradient).norm() / exact.gradient.norm()
    assert 1e-4 < off < 0.1  # the same noise, products of another precision


def with_a_plain_layer(pair):
    pair[0].extra = nn.Linear(3, 3)
    return pair


@pytest.mark.parametrize(
    ("pair", "line"),
    [
        (lambda pair: (Foreign(pair[0]), pair[1]), "this library's models alone"),
        (lambda pair: tuple(part.double() for part in pair), "parameters of another type keep it"),
        (with_a_plain_layer, "a layer of the pair would not return from bfloat16"),
    ],
)
def test_pairs_whose_sums_would_be_rounded_keep_their_precision(machine, pair, line):
    machine()
    choice = choose_precision(gradients(pair(tiny_pair())), X, {}, 1000)
    assert choice.name == "float32"
    assert choice.reason.endswith(line)


def test_short_runs_and_wrong_data_are_left_alone(machine, monkeypatch):
    machine()
    monkeypatch.setattr(bfloat16, "FEW_STEPS", 500)
    line = "precision float32: the run is too short to try bfloat16"
    assert choose_precision(gradients(), X, {}, 499) == ("float32", line)
    monkeypatch.setattr(bfloat16, "WORTH_TRYING", 1e9)
    assert choose_precision(gradients(), X, {}, 500) == ("float32", line)
    assert choose_precision(gradients(), X[:, :5], {}, 500).name == "float32"


@pytest.mark.parametrize("flag", ["amx_bf16", "avx512_bf16", "bf16", None])
def test_the_processor_is_asked_for_its_instructions(monkeypatch, flag):
    flags = {"fpu", "avx512f", "amx_tile", *filter(None, [flag])}
    monkeypatch.setattr(bfloat16, "instruction_sets", lambda: flags)
    assert bfloat16_products(torch.device("cpu")) == (flag is not None)


# Whole runs


def fit(pair=None, **settings):
    base = {"objective": pyro_vae.IWAE(4), "batch_size": 10, "epochs": 3, "progress": False}
    return pyro_vae.fit(*(pair or tiny_pair()), DATA, **(base | settings))


def flat(pair):
    return torch.cat([p.detach().flatten() for part in pair for p in part.parameters()])


def test_a_resume_keeps_the_precision_that_was_chosen(machine, monkeypatch, tmp_path):
    """Bit for bit, on a machine that would choose otherwise; until somebody says otherwise."""
    machine()
    pairs = {name: tiny_pair() for name in ("whole", "broken", "named")}
    whole = fit(pairs["whole"])
    path = tmp_path / "c.pt"
    broken = fit(pairs["broken"], checkpoint=path, max_minutes=1e-9)
    assert (broken.steps, broken.precision, whole.precision) == (1, "bf16", "bf16")
    machine(products=False)
    resumed = tiny_pair(seed=1)
    rest = fit(resumed, checkpoint=path, resume=True)
    assert rest.precision == "bf16"
    assert repr(rest.history) == repr(whole.history)
    assert torch.equal(flat(resumed), flat(pairs["whole"]))
    named = fit(pairs["named"], precision="bf16")
    assert repr(named.history) == repr(whole.history)
    exact = fit(precision="float32")
    assert repr(exact.history) == repr(fit().history)  # which auto does not take here
    assert repr(exact.history) != repr(whole.history)
    assert fit(checkpoint=path, resume=True, epochs=4, precision="float32").precision == "float32"


def test_a_checkpoint_of_a_version_that_chose_none_goes_on_in_float32(machine, tmp_path):
    path = tmp_path / "c.pt"
    fit(checkpoint=path, max_minutes=1e-9, precision="float32")
    content = torch.load(path, weights_only=True)
    del content["progress"]["precision"]
    torch.save(content, path)
    machine()
    resumed = fit(checkpoint=path, resume=True)
    assert resumed.precision == "float32"
    assert repr(resumed.history) == repr(fit(precision="float32").history)


@pytest.mark.slow
@pytest.mark.parametrize(("factor", "compiled"), [(1.0, True), (1.5, False), (-1.0, False)])
def test_a_compiled_step_in_bfloat16_is_compared_with_the_float32_one(
    monkeypatch, factor, compiled
):
    """It may be as far off as the plain step in bfloat16, and not farther."""
    monkeypatch.setattr(torch._inductor, "compile", lambda graph, inputs, **settings: graph)
    call = probe.CompiledGradient.__call__

    def scaled(self, x, betas):
        found = call(self, x, betas)
        for parameter in self._trained:
            parameter.grad *= factor
        return found

    monkeypatch.setattr(probe.CompiledGradient, "__call__", scaled)
    asked = gradients(precision="bf16", objective=make_objective("dreg", 6))
    choice = choose(asked, X[:10], ({"z2": 0.3},), 10, True)
    assert choice.compiled == compiled
    assert asked.precision == "bf16"
