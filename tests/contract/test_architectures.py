"""The published architectures: how their scale heads are read, and how their layers start."""

from dataclasses import replace

import pyro
import pytest
import torch
from torch import nn

from pyro_vae.errors import InputError
from pyro_vae.programs import GUIDES, MODELS, PRESETS, PairConfig, architecture, build_pair
from pyro_vae.programs.networks import MergedConv, MergedLinear, glorot_
from tests.statistics import z_score

# What a head's output s is to its unit's scale, from the papers and their authors' code:
# sqrt(exp(s)), a log-variance (Vas 2024), or exp(s), a log-scale (Arnal et al. 2021, appendix D).
SCALES = {
    "td": lambda s: torch.exp(s).sqrt(),
    "sparse": lambda s: torch.exp(s).sqrt(),
    "burda1": torch.exp,
    "burda2": torch.exp,
    "planar": torch.exp,
    "vamp": lambda s: torch.exp(s).sqrt(),
    "image": lambda s: torch.exp(s).sqrt(),
    "ssvae": lambda s: torch.exp(s).sqrt(),
}
OF_VECTORS = [name for name in MODELS if not architecture(name).of_images]


def pair(name, guide, preset):
    """A pair and the width of its rows."""
    shape = (1, 8, 8) if architecture(name).of_images else None
    width = 64 if shape else 6
    return *PairConfig(name, guide, preset).build(width, shape), width


PAPER_OF_IMAGES = [("image", "paper"), ("ssvae", "paper")]  # large, and of the same heads


def test_every_named_model_is_pinned():
    assert set(SCALES) == set(MODELS)


@pytest.mark.parametrize(
    ("name", "preset"),
    [
        (name, preset)
        for name in MODELS
        for preset in PRESETS
        if (name, preset) not in PAPER_OF_IMAGES
    ],
)
@pytest.mark.parametrize("guide_name", GUIDES)
def test_scale_heads_are_read_as_published(name, guide_name, preset):
    """With heads that give s whatever their input, every unit has the scale of s."""
    if name == "ssvae" and guide_name != "meanfield":
        pytest.skip("a self-supervised VAE has the guide meanfield alone")
    model, guide, width = pair(name, guide_name, preset)
    s, heads = torch.tensor(0.7), 0
    for part in (*model.modules(), *guide.modules()):
        if isinstance(getattr(part, "log_scale", None), (MergedLinear, MergedConv)):
            heads += 1
            for parameter in part.log_scale.parameters():
                nn.init.zeros_(parameter)
            (bias,) = [p for n, p in part.log_scale.named_parameters() if n.endswith("bias")]
            nn.init.constant_(bias, s.item())
    x = torch.zeros(2, width)
    drawn = pyro.poutine.trace(guide).get_trace(x)
    scored = pyro.poutine.trace(pyro.poutine.replay(model, drawn)).get_trace(x)
    levels = model.num_levels
    assert heads == 2 * levels - 1  # q of every level, p of all but the top
    sites = [drawn.nodes[f"z{level}"] for level in range(1, levels + 1)]
    sites += [scored.nodes[f"z{level}"] for level in range(1, levels)]
    for site in sites:
        scale = site["fn"].base_dist.scale
        torch.testing.assert_close(scale, SCALES[name](s).expand_as(scale))
    top = scored.nodes[f"z{levels}"]["fn"].base_dist.scale
    assert torch.equal(top, torch.ones_like(top))


@pytest.mark.parametrize("name", OF_VECTORS)
def test_presets_differ_in_hidden_layers_alone(name):
    small, paper = (architecture(name, preset) for preset in PRESETS)
    for field in ("units", "families", "pixels", "noise", "activation", "gain", "glorot"):
        assert getattr(small, field) == getattr(paper, field), field


# Wide enough that the bound of one part alone would lie far from that of the whole.
WIDTHS = [(400,), (100, 300), (300, 100), (50, 150, 200)]
OUT = 200


def assert_uniform(weights, bound):
    """Numbers uniform in [-bound, bound]: mean and mean square within 5 standard errors."""
    weights = weights.detach().flatten()
    assert z_score(weights, 0) < 5
    assert z_score(weights.square(), bound**2 / 3) < 5
    largest = weights.abs().max().item()
    # The largest of n falls short of the bound by a share of 20 / n once in e^20 times.
    assert bound * (1 - 20 / len(weights)) < largest <= bound * (1 + 1e-6)


@pytest.mark.parametrize("widths", WIDTHS)
def test_a_merged_layer_starts_as_the_layer_on_the_concatenation(widths):
    torch.manual_seed(3)
    merged, joint = MergedLinear(widths, OUT), nn.Linear(sum(widths), OUT)
    bound = sum(widths) ** -0.5  # of torch's own layer, which starts alike
    assert_uniform(joint.weight, bound)
    for part in merged.parts:
        assert_uniform(part.weight, bound)
    assert_uniform(merged.parts[0].bias, bound)
    assert [part.bias is None for part in merged.parts[1:]] == [True] * (len(widths) - 1)
    if len(widths) > 1:  # the bound of one part alone would be noticed
        squares = merged.parts[0].weight.detach().square()
        assert all(z_score(squares.flatten(), 1 / width / 3) > 8 for width in widths)


@pytest.mark.parametrize("widths", WIDTHS)
def test_glorot_weights_are_those_of_the_joint_layer(widths):
    torch.manual_seed(3)
    merged = glorot_(MergedLinear(widths, OUT))
    for part in merged.parts:
        assert_uniform(part.weight, (6 / (sum(widths) + OUT)) ** 0.5)
    assert torch.equal(merged.parts[0].bias, torch.zeros(OUT))


@pytest.mark.parametrize("name", OF_VECTORS)
def test_models_start_as_their_papers_say(name):
    """Glorot weights and zero biases (Arnal et al. 2021, appendix A), or torch's own."""
    model, guide = PairConfig(name, "topdown", "paper").build(300, seed=1)
    layers = [m for m in (*model.modules(), *guide.modules()) if isinstance(m, MergedLinear)]
    assert layers
    for layer in layers:
        inputs = sum(part.in_features for part in layer.parts)
        outputs = layer.parts[0].out_features
        glorot = name in ("burda1", "burda2", "planar")
        if name == "vamp":  # Normal weights of variance 2 / inputs, as the authors' code
            for part in layer.parts:
                assert z_score(part.weight.detach().square().flatten(), 2 / inputs) < 5
                assert z_score(part.weight.detach().flatten(), 0) < 5
            continue
        bound = (6 / (inputs + outputs)) ** 0.5 if glorot else inputs**-0.5
        for part in layer.parts:
            assert part.weight.abs().max() <= bound * (1 + 1e-6)
            if part.weight.numel() > 1000:
                assert_uniform(part.weight, bound)
        assert bool((layer.parts[0].bias == 0).all()) is glorot


# Sums over all parameters of model and guide, seed 0, 10 pixels, as version 0.4.0 printed them.
SUMS = {
    ("td", "topdown"): (24.998, -8.159),
    ("td", "bottomup"): (24.998, 5.248),
    ("td", "meanfield"): (24.998, 8.685),
    ("sparse", "topdown"): (2.438, 6.658),
    ("burda1", "topdown"): (16.417, 30.521),
    ("burda2", "topdown"): (-42.163, 19.868),
    ("burda2", "bottomup"): (-42.163, 19.340),
    ("burda2", "meanfield"): (-42.163, 10.742),
}


@pytest.mark.parametrize(("name", "guide"), SUMS)
def test_a_seed_gives_the_weights_of_earlier_versions(name, guide):
    """Another order of building the parts would give every published run other weights."""
    found = [
        sum(parameter.detach().double().sum().item() for parameter in part.parameters())
        for part in build_pair(name, guide, num_pixels=10, seed=0)
    ]
    assert found == pytest.approx(SUMS[name, guide], abs=2e-3)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"family": ("normal",) * 3}, "--family wants 1 or 2 names for 2 levels, got 3"),
        ({"hidden": ("encoders=3/4/5",)}, "encoders=3/4/5: encoders have 2 levels, got 3"),
    ],
)
def test_settings_of_other_levels_than_there_are_are_named(settings, match):
    with pytest.raises(InputError, match=match):
        PairConfig("td", **settings).build(6)


@pytest.mark.parametrize(
    ("model", "changed", "match"),
    [
        ("ssvae", {"transforms": ("quantise:3",) * 3}, "3 transforms want one level more"),
        ("image", {"encoders": ((8,),)}, "the first encoder and the decoder have no widths"),
        ("image", {"decoder": (8,)}, "the first encoder and the decoder have no widths"),
    ],
)
def test_parts_that_do_not_belong_together_are_refused(model, changed, match):
    with pytest.raises(InputError, match=match):
        replace(architecture(model), **changed)
