"""Decoders that read all levels: the density, whoever asks for E[x | z], gates, the model vamp."""

import numpy as np
import pytest
import torch
from torch import nn

import pyro_vae
from analysis.probes import decoder, fields
from pyro_vae import InputError
from pyro_vae.evaluation.filters.decoder_filters import linear_columns
from pyro_vae.programs import Architecture, PairConfig, architecture, build_guide, build_model
from pyro_vae.programs.networks import MLP, GatedDense, GatedMLP, JointNetwork
from tests.conftest import bare_runs, run_fit

PIXELS = 6


def pair(levels=2, **changed):
    given = {
        "units": (4, 3, 2)[:levels],
        "families": ("normal",) * levels,
        "encoders": ((8,), (7,), (6,))[:levels],
        "feedback": ((5,), (5,))[: levels - 1],
        "priors": ((5,), (6,))[: levels - 1],
        "decoder": (6, 5),
        "pixels": "standardised",
        "decoder_reads": "all",
    }
    arch = Architecture(**(given | changed))
    torch.manual_seed(1)
    return build_model(arch, PIXELS), build_guide("topdown", arch, PIXELS)


def rows(number=5):
    return torch.randn(number, PIXELS, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("network", ["mlp", "gated"])
@pytest.mark.parametrize("levels", [1, 2, 3])
def test_the_likelihood_is_that_of_all_levels(levels, network):
    model, guide = pair(levels, network=network)
    x, names = rows(), model.latent_names
    assert model.read_names == names
    terms = pyro_vae.log_weights(model, guide, x, 4)
    read = [terms.latents[name] for name in names]
    law = torch.distributions.Normal(model.decode(*read), 0.4)
    torch.testing.assert_close(terms.log_likelihood, law.log_prob(x).sum(-1))
    assert model.mean_of(terms.latents).shape == (4, 5, PIXELS)
    for place in range(levels):  # each of them counts
        moved = [z + (index == place) for index, z in enumerate(read)]
        assert (model.decode(*moved) - model.decode(*read)).abs().max() > 1e-4


def test_a_joint_network_has_a_layer_for_each_input_alone():
    network = JointNetwork((4, 3), (6, 5), "tanh", MLP)
    z = torch.randn(7, 4), torch.randn(2, 7, 3)
    alone = [part(value) for part, value in zip(network.own, z, strict=True)]
    torch.testing.assert_close(network(*z), network.joint(*alone))
    assert [part.out_features for part in network.own] == [6, 6]
    assert network.out_features == 5
    # With one hidden layer the inputs meet in it.
    assert not any(part.layers for part in JointNetwork((4, 3), (6,), "tanh", MLP).own)


def test_a_gate_multiplies_its_unit():
    layer = GatedDense((3, 2), 4)
    inputs = torch.randn(5, 3), torch.randn(6, 5, 2)
    joint = torch.cat([inputs[0].expand(6, 5, 3), inputs[1]], -1)

    def linear(part):
        weight = torch.cat([one.weight for one in part.parts], 1)
        return nn.functional.linear(joint, weight, part.parts[0].bias)

    expected = linear(layer.values) * torch.sigmoid(linear(layer.gates))
    torch.testing.assert_close(layer(*inputs), expected)


def test_vamp_is_the_published_model():
    """Tomczak and Welling 2018: 40 + 40 latents, 300 gated units, Bernoulli."""
    model, guide = PairConfig("vamp", preset="paper").build(784)
    assert (model.latent_sizes, model.decoder_reads) == ((40, 40), "all")
    shapes = {
        "z1 alone": (model.likelihood.network.own[0], [(40, 300)]),
        "z2 alone": (model.likelihood.network.own[1], [(40, 300)]),
        "both": (model.likelihood.network.joint, [((300, 300), 300)]),
        "p(z1 | z2)": (model.conditionals[0].trunk, [(40, 300), (300, 300)]),
        "x": (guide.encoders[0], [(784, 300)]),
        "x once more": (guide.encoders[1], [(300, 300)]),
        "z2 into z1": (guide.feedback[0], [(40, 300)]),
        "x and z2": (guide.conditionals[0].trunk, [((300, 300), 300)]),
    }
    for network, layers in shapes.values():
        assert isinstance(network, GatedMLP)
        for layer, (below, above) in zip(network.layers, layers, strict=True):
            widths = tuple(part.in_features for part in layer.gates.parts)
            assert widths == (below if isinstance(below, tuple) else (below,))
            assert layer.gates.parts[0].out_features == above
    assert guide.conditionals[1].trunk is None
    assert architecture("vamp", "small").units == (40, 40)


def test_the_output_bias_starts_from_the_data_behind_a_network():
    x = (torch.rand(200, PIXELS, generator=torch.Generator().manual_seed(0)) < 0.2).float()
    model, _ = PairConfig("vamp").build(PIXELS, rows=x)
    bias = model.likelihood.inner.logits.parts[0].bias
    torch.testing.assert_close(torch.sigmoid(bias), x.mean(0))
    other, _ = pyro_vae.build_pair("vamp", num_pixels=PIXELS, pixel_mean=x.mean(0))
    torch.testing.assert_close(other.likelihood.inner.logits.parts[0].bias, bias)


# Whoever asks for E[x | z]


def test_what_is_of_z1_alone_is_refused_with_the_reason():
    model, _ = pair()
    z1 = torch.zeros(1, 4)
    with pytest.raises(InputError, match=r"the decoder reads z1, z2, .* 1 were given"):
        model.decode(z1)
    with pytest.raises(InputError, match=r"reads z1, z2: E\[x \| z1\] without z2"):
        model.mean_of({"z1": z1})
    with pytest.raises(InputError, match="the decoder reads z1, z2"):
        fields.projective_fields(model)
    with pytest.raises(InputError, match="the decoder reads z1, z2"):
        linear_columns(model)
    with pytest.raises(InputError, match="the decoder reads z1, and"):
        pair(decoder_reads="z1")[0].decode(z1, z1)


def test_probes_decode_all_levels():
    model, guide = pair()
    x = rows()
    torch.manual_seed(2)
    means, drawn = decoder.simulate(model, 4000)
    # Draws lie about their own means: noise of 0.4, which E[x | z1] at another z2 would exceed.
    assert np.std(drawn - means) == pytest.approx(0.4, rel=0.02)
    assert decoder.encode_decode(model, guide, x).shape == (1, 5, PIXELS)
    assert decoder.decode_mean(model, guide, x).shape == (5, PIXELS)


def test_a_run_that_reads_all_levels_is_judged_loaded_and_sampled(images, tmp_path, monkeypatch):
    bare_runs(monkeypatch)
    path = tmp_path / "run"
    flags = [
        "--decoder-reads",
        "all",
        "--network",
        "gated",
        "--hidden",
        "encoders=9",
        "decoder=8,7",
    ]
    assert run_fit("--dataset", images, "--run-dir", path, *flags) == 0
    run = pyro_vae.load_run(path)
    assert (run.model.decoder_reads, run.config.pair.network) == ("all", "gated")
    assert run.sample(3, mean=True).shape == (3, 4, 4)
    assert run.reconstruct(np.load(images)[:2]).shape == (2, 4, 4)
    with pytest.raises(InputError, match="carries signals through layers of the kind mlp"):
        PairConfig("td", network="gated", init="data").build(PIXELS)
    with pytest.raises(InputError, match="wants at least one hidden layer"):
        pair(decoder=())
