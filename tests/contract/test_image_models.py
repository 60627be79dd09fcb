"""Pairs whose networks are of images: sizes, what is refused, and that nothing is repeated."""

import json

import numpy as np
import pytest
import torch
from pyro import poutine

import pyro_vae
from pyro_vae import InputError, PairConfig
from pyro_vae.programs import GUIDES, Architecture, build_guide, build_model
from pyro_vae.programs.likelihoods import Logistic, LogisticMixture
from pyro_vae.programs.networks import (
    Folded,
    ImageDecoder,
    ImageEncoder,
    ImageLayers,
    Maps,
    MergedConv,
    MergedLinear,
    Stack,
    image_layers,
    start_,
)
from pyro_vae.runs import RunDirectory, load_run, new_config
from pyro_vae.training import probe
from pyro_vae.training.gradients import Gradients
from tests.conftest import run_fit
from tests.statistics import double_precision

IMAGE = (3, 4, 8)
WIDTHS = Stack((4, 4), steps=1)
BLOCKS = Stack((4, 4), steps=1, growth=2)
GATES = Stack((4, 4), steps=1, gated=True)
LAYERS = {
    "vector": ImageLayers(WIDTHS, WIDTHS, halvings=1),
    "maps": ImageLayers(BLOCKS, BLOCKS, halvings=1, channels=2),
    "gated": ImageLayers(GATES, GATES, halvings=1),
}


def small(kind="maps", units=(16,), **settings):
    levels = len(units)
    return Architecture(
        units=units,
        families=("normal",) * levels,
        encoders=((), *[(5,)] * (levels - 1)),
        feedback=((6,),) * (levels - 1),
        priors=((5,),) * (levels - 1),
        decoder=(),
        pixels="standardised",
        activation="elu",
        images=LAYERS[kind],
        **settings,
    )


def pair(kind="maps", units=(16,), guide="topdown", seed=0):
    arch = small(kind, units)
    torch.manual_seed(seed)
    return build_model(arch, 96, IMAGE), build_guide(guide, arch, 96, IMAGE)


def rows(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


every_pair = pytest.mark.parametrize(
    ("kind", "units", "guide"),
    [(kind, units, guide) for kind in LAYERS for units in ((16,), (16, 3)) for guide in GUIDES],
)


@every_pair
def test_every_guide_takes_a_step_of_every_parameter(kind, units, guide):
    model, guide = pair(kind, units, guide)
    with torch.no_grad():
        for parameter in (*model.parameters(), *guide.parameters()):
            parameter += 0.1 * torch.randn_like(parameter)
    pyro_vae.IWAE(3).differentiable_loss(model, guide, rows(5, 96)).backward()
    for program in (model, guide):
        for name, parameter in program.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().max() > 0, name


def log_weight(model, guide, x, latents):
    """log p(x, z) - log q(z | x) at given latents (..., B, D), by Pyro's own handlers."""
    terms = {}
    for program in (model, guide):
        trace = poutine.trace(poutine.condition(program, latents)).get_trace(x)
        terms[program] = sum(
            trace.nodes[name]["fn"].log_prob(trace.nodes[name]["value"])
            for name in (*latents, "x")
            if name in trace.nodes
        )
    return terms[model] - terms[guide]


@every_pair
def test_particles_and_data_are_weighed_as_if_each_stood_alone(kind, units, guide):
    with double_precision():
        model, guide = pair(kind, units, guide)
        x = rows(4, 96)
        latents = {f"z{i + 1}": rows(3, 4, size, seed=i) for i, size in enumerate(units)}
        together = log_weight(model, guide, x, latents)
        assert together.shape == (3, 4)
        for k, b in ((0, 0), (2, 1)):
            of_one = {name: z[k, b : b + 1] for name, z in latents.items()}
            alone = log_weight(model, guide, x[b : b + 1], of_one)
            torch.testing.assert_close(alone, together[k, b : b + 1], rtol=1e-11, atol=1e-10)


@pytest.mark.parametrize("guide", ["topdown", "meanfield"])
def test_images_are_encoded_once_per_datum(guide):
    """Also where z2 meets the encoding; and latents once per particle and datum."""
    model, guide = pair("maps", (16, 3), guide)
    seen = []
    for part in (*guide.modules(), *model.modules()):
        if isinstance(part, Folded):
            part.net.register_forward_hook(lambda part, inputs, out: seen.append(len(inputs[0])))
    pyro_vae.log_weights(model, guide, rows(5, 96), 7)
    assert sorted(set(seen)) == [5, 35]
    assert seen.count(35) == 1  # the decoder


def test_a_latent_with_places_has_heads_of_convolutions():
    for kind, units, head in (("maps", 16, MergedConv), ("vector", 5, MergedLinear)):
        model, guide = pair(kind, (units,))
        assert type(guide.conditionals[0].loc) is head
        assert model.latent_sizes == (units,)
    assert pair("maps", (16, 3))[0].prior.features == 3
    # Priors are told the shape where the top level has one.
    assert model.prior.features == 5
    assert pair("maps", (16,))[0].prior.features == 16


# Preset, shape of an image, units, parameters of guide and model.
PRESETS = [
    ("conv", (1, 28, 28), (64,), (895_840, 500_612)),
    ("conv", (3, 32, 32), (64,), (1_142_176, 653_832)),
    ("conv-gated", (1, 28, 28), (64,), (988_736, 1_000_644)),
    ("conv-gated", (3, 32, 32), (64,), (1_235_648, 1_278_664)),
    ("conv-small", (3, 16, 16), (256,), (156_998, 150_028)),
    ("small", (1, 8, 12), (96,), (156_422, 121_608)),  # as many units as there are places
    ("srvae", (3, 32, 32), (1024,), (10_414_770, 12_449_686)),
]


@pytest.mark.parametrize(("preset", "shape", "units", "parameters"), PRESETS)
def test_presets(preset, shape, units, parameters):
    """docs/models/image.md has these; those of srvae are the published 10.41 and 12.45 M."""
    with torch.device("meta"):
        arch = PairConfig("image", preset=preset).architecture.of_rows(Maps(shape))
        model = build_model(arch, Maps(shape), shape)
        guide = build_guide("topdown", arch, Maps(shape), shape)
    assert model.latent_sizes == units
    colour = shape[0] == 3
    assert type(model.likelihood) is (LogisticMixture if colour else Logistic)
    found = [sum(p.numel() for p in program.parameters()) for program in (guide, model)]
    assert found == list(parameters)


def test_two_levels_have_mlps_above_the_maps():
    config = PairConfig(
        "image", latent=(64, 32), hidden=("encoders=linear/9", "priors=7"), likelihood="gaussian"
    )
    model, guide = config.build(768, (3, 16, 16))
    assert model.latent_sizes == (64, 32)
    assert guide.encoders[1].out_features == 9
    assert guide.conditionals[0].loc.in_features[0].shape == (72, 4, 4)
    assert pyro_vae.log_weights(model, guide, rows(2, 768), 3).log_w.shape == (3, 2)


@pytest.mark.parametrize(
    ("settings", "shape", "match"),
    [
        ({}, (1, 6, 16), "images of side 6 cannot be halved 2 times; allowed: multiples of 4"),
        ({}, (1, 8, 8), "rows of 96 numbers are no images of 1 x 8 x 8 = 64 numbers"),
        ({}, None, "convolutions want images, and rows of 96 numbers are none"),
        ({"latent": (7,)}, (1, 8, 12), "7 units of z1 do not fit maps of 2 x 3 places; allowed"),
        ({"preset": "large"}, (1, 8, 12), "unknown preset 'large'; allowed: small, paper, conv, "),
        ({"model": "td", "preset": "conv"}, None, "unknown preset 'conv'; allowed: small, paper$"),
        ({"hidden": ("9",)}, (1, 8, 12), "between images and z1 there are convolutions"),
        ({"hidden": ("decoder=9",)}, (1, 8, 12), "--hidden decoder=9: between images and z1"),
        ({"latent": (6, 2), "hidden": ("encoders=9/8",)}, (1, 8, 12), "encoders=linear/200"),
        ({"decoder_reads": "all"}, (1, 8, 12), "a decoder of images reads z1 alone"),
        ({"init": "data"}, (1, 8, 12), "--init data wants a linear decoder"),
        ({"activation": ("swish",)}, (1, 8, 12), "'swish'; allowed: softplus, tanh, relu, elu"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(settings, shape, match):
    with pytest.raises(InputError, match=match):
        PairConfig(**{"model": "image", **settings}).build(96, shape)


def test_data_start_the_convolutions_and_a_load_does_not():
    x = 5 + 3 * rows(200, 96)
    config = PairConfig("image", likelihood="gaussian")
    plain, started = (config.build(96, (1, 8, 12), rows=given)[1] for given in (None, x))
    first = started.encoders[0].net[0]
    for guide, low, high in ((started, 0.8, 1.2), (plain, 4, 1e9)):
        maps = guide.encoders[0].net[0](x.reshape(-1, 1, 8, 12))
        assert low < maps.var((0, 2, 3)).mean() < high
    plain.load_state_dict(started.state_dict())
    assert torch.equal(plain.encoders[0].net[0].conv.bias, first.conv.bias)
    again = config.build(96, (1, 8, 12), rows=x)[1]
    assert torch.equal(again.encoders[0](x), started.encoders[0](x))


@pytest.mark.parametrize("preset", ["small", "conv-gated"])
def test_a_resume_starts_no_convolutions(preset, tmp_path, images, monkeypatch):
    """Data start them once, before the first step; a resume with other rows would move them."""
    started = []

    def counting(net, *inputs):
        started.append(net)
        return start_(net, *inputs)

    monkeypatch.setattr(image_layers, "start_", counting)
    flags = ["--model", "image", "--preset", preset, "--likelihood", "gaussian"]
    assert run_fit("--run-dir", tmp_path / "run", *flags, "--dataset", images) == 0
    assert [type(net) for net in started] == [ImageDecoder, ImageEncoder]
    assert run_fit("--run-dir", tmp_path / "run", "--resume", "--epochs", 2) == 0
    load_run(tmp_path / "run")
    assert len(started) == 2


def test_z2_is_not_annealed_by_default():
    settings = {"model": "image", "latent": (64, 32)}
    assert new_config(settings).training.annealing == {}
    assert new_config({**settings, "model": "burda2"}).training.annealing != {}
    asked = new_config({**settings, "annealing": ("z2=0.1:1:0.5",)})
    assert asked.training.annealing == {"z2": (0.1, 1.0, 0.5)}
    for units, model_pair in (((16, 3), pair("maps", (16, 3))),):
        history = pyro_vae.fit(
            *model_pair, rows(8, 96), objective="elbo", epochs=1, batch_size=8
        ).history
        assert "beta_z2" not in history[-1], units


def test_a_record_is_timed_where_a_compiler_would_not_pay(monkeypatch):
    """On a CPU the compiler is not tried unless it is asked for; the record is kept if it pays."""

    def choose(ratio):
        monkeypatch.setattr(probe, "WORTH_TRACING", 0.0)
        monkeypatch.setattr(probe, "median_ratio", lambda one, other: ratio)
        gradients = Gradients(pyro_vae.IWAE(2), *pair())
        said = []
        choice = probe.choose(gradients, rows(6, 96), [{}], 10**9, None, said.append)
        assert said == []  # nothing was compiled
        assert not choice.compiled
        return choice.reason, gradients

    reason, gradients = choose(0.8)
    assert reason.endswith("on a CPU; its record takes 0.80 of the plain step")
    (record,) = gradients.compiled.values()
    assert not record.by_compiler
    reason, gradients = choose(1.3)
    assert reason.endswith("on a CPU, nor from a record (1.30 of the plain step)")
    assert not gradients.compiled


def test_bfloat16_is_tried_where_every_layer_returns():
    from pyro_vae.training.bfloat16 import _why_not

    model, guide = pair()
    line = _why_not(Gradients(pyro_vae.IWAE(2), model, guide), rows(6, 96))
    assert line is None or "multiplies no bfloat16" in line
    model.extra = torch.nn.Conv2d(1, 1, 1)
    line = _why_not(Gradients(pyro_vae.IWAE(2), model, guide), rows(6, 96))
    assert line == "a layer of the pair would not return from bfloat16"


def test_a_run_knows_the_shape_of_its_images(tmp_path, images):
    flags = ["--model", "image", "--likelihood", "gaussian", "--dataset", images]
    assert run_fit("--run-dir", tmp_path / "run", *flags) == 0
    content = json.loads(RunDirectory(tmp_path / "run").config.read_text())
    assert content["channels_first"] == [1, 4, 4]
    run = load_run(tmp_path / "run")
    assert run.config.facts.channels_first == (1, 4, 4)
    assert run.model.latent_sizes == (16,)
    assert run.reconstruct(np.load(images)[:3]).shape == (3, 4, 4)
    assert run_fit("--run-dir", tmp_path / "run", "--resume", "--epochs", 2) == 0
    # Versions up to 0.5 wrote no shape, and had no convolutions.
    old = tmp_path / "old"
    assert run_fit("--run-dir", old, "--dataset", images) == 0
    path = RunDirectory(old).config
    content = json.loads(path.read_text())
    del content["channels_first"]
    path.write_text(json.dumps(content))
    (old / "checksums.json").unlink()  # which those versions wrote neither
    assert load_run(old).config.facts.channels_first is None
