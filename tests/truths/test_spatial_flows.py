"""RealNVP over maps: every mask, squeeze and scale; Jacobian by autograd, inverse, bad input."""

import pytest
import torch

from pyro_vae import PairConfig
from pyro_vae.errors import InputError
from pyro_vae.options import read_part
from pyro_vae.programs.flows.maps import MapCoupling, channels, checkerboard, of_maps, squeezed
from pyro_vae.programs.networks import Maps
from pyro_vae.programs.priors import PRIORS, SpatialPrior, bind_
from pyro_vae.training.gradients import Gradients
from pyro_vae.training.graph import CompiledGradient
from pyro_vae.training.prior_refit import refit_prior
from tests.statistics import flat
from tests.truths.test_flow_priors import pair, perturbed
from tests.truths.test_flows import OBJECTIVES, by_hand, gradient

# (shape, scales): odd sides, odd channels, single places, squeezes of unequal sides.
SHAPES = [
    ((1, 1, 2), 1),
    ((1, 3, 1), 1),
    ((3, 1, 1), 1),
    ((2, 3, 5), 1),
    ((1, 2, 2), 2),
    ((3, 2, 6), 2),
    ((1, 4, 8), 3),
]
MASKS = pytest.mark.parametrize("parity", [0, 1])


def spatial(shape, scales, couplings=2, family="normal"):
    torch.manual_seed(0)
    made = SpatialPrior(Maps(shape), family, scales=scales, couplings=couplings, width=5)
    return perturbed(made.to(torch.get_default_dtype()), spread=0.2)


@pytest.mark.usefixtures("float64")
@MASKS
@pytest.mark.parametrize("mask", [checkerboard, channels])
@pytest.mark.parametrize("shape", [(2, 3, 3), (3, 2, 5), (5, 4, 1)])
def test_every_mask_keeps_its_units_and_moves_the_others(mask, shape, parity):
    kept = mask(shape, parity)
    assert torch.equal(kept, ~mask(shape, 1 - parity))
    places = torch.arange(kept.numel()).reshape(shape)
    coupling = perturbed(MapCoupling(places, kept, 5).double())
    z, f = torch.randn(kept.numel()), coupling()
    u = f(z)
    assert torch.equal(u == z, kept.flatten())
    jacobian = torch.autograd.functional.jacobian(f, z)
    torch.testing.assert_close(f.call_and_ladj(z)[1], jacobian.slogdet().logabsdet)
    # Moved units read kept ones, and of the moved ones themselves alone.
    others = jacobian - torch.diag(jacobian.diagonal())
    assert (others[:, ~kept.flatten()] == 0).all()
    assert (others[~kept.flatten()][:, kept.flatten()] != 0).any(1).all()


@pytest.mark.parametrize("kept", [True, False])
def test_a_mask_that_moves_nothing_or_all_is_refused(kept):
    places = torch.arange(4).reshape(1, 2, 2)
    with pytest.raises(InputError, match=rf"units to keep and to move, got tensor.*{kept}"):
        MapCoupling(places, torch.full((1, 2, 2), kept), 3)


def test_the_squeeze_makes_squares_into_channels():
    maps = torch.arange(24).reshape(1, 4, 6)
    found = squeezed(maps)
    assert found.shape == (4, 2, 3)
    assert found[:, 1, 2].tolist() == [16, 17, 22, 23]  # the last square, row by row
    assert torch.equal(found.flatten().sort().values, maps.flatten())


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("family", ["normal", "laplace"])
@pytest.mark.parametrize(("shape", "scales"), SHAPES)
def test_the_density_has_autograds_jacobian_and_draws_its_inverse(shape, scales, family):
    prior = spatial(shape, scales, family=family)
    f, size = prior.transform(), Maps(shape)
    for z in 1.5 * torch.randn(2, size):
        jacobian = torch.autograd.functional.jacobian(f, z)
        expected = prior.base().log_prob(f(z)) + jacobian.slogdet().logabsdet
        torch.testing.assert_close(prior().log_prob(z), expected, rtol=1e-12, atol=1e-10)
        assert (f(z) != z).all()
    assert jacobian.slogdet().logabsdet.abs() > 0.01
    torch.manual_seed(1)
    z = prior().sample((50,))
    torch.manual_seed(1)
    u = prior.base().sample((50,))
    torch.testing.assert_close(f(z), u, rtol=0, atol=1e-9)
    torch.testing.assert_close(f.inv(f(2 * z)), 2 * z, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("shape", "scales"), SHAPES)
def test_it_starts_as_the_standard_prior(shape, scales):
    prior = SpatialPrior(Maps(shape), scales=scales, width=8)
    z = 2 * torch.randn(3, 4, Maps(shape))
    assert torch.equal(prior.transform()(z), z)
    torch.testing.assert_close(prior().log_prob(z), prior.base().log_prob(z))


def test_it_has_the_couplings_of_the_paper():
    """Three and three, half of the channels go on, and four at the last scale."""
    flow = of_maps((2, 8, 8), scales=3, couplings=3, width=4)
    sides = [part.net.in_features.shape for part in flow.transforms]
    assert sides == (
        [(2, 8, 8)] * 3 + [(8, 4, 4)] * 3 + [(4, 4, 4)] * 3 + [(16, 2, 2)] * 3 + [(8, 2, 2)] * 4
    )


def test_in_single_precision_it_is_inverted_well():
    prior = perturbed(SpatialPrior(Maps((4, 8, 8)), width=16), spread=0.05)
    with torch.no_grad():
        z, f = prior().sample((100,)), prior.transform()
        assert (f(z) - z).abs().max() > 0.1
        assert (f.inv(f(z)) - z).abs().max() < 1e-3


def test_masks_and_places_go_where_the_module_goes_and_are_not_saved():
    prior = SpatialPrior(Maps((1, 2, 2)), width=4)
    names = {name.rpartition(".")[2] for name, _ in prior.transform.named_buffers()}
    assert names == {"places", "kept"}
    assert not any("places" in name or "kept" in name for name in prior.state_dict())
    moved = prior.to("meta")
    assert {buffer.device.type for buffer in moved.transform.buffers()} == {"meta"}


SMALL = "shape=1x2x2,scales=2,couplings=1,width=3"


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_gradients_are_those_of_the_loss_by_hand(objective):
    model, guide = pair("spatial", size=4, settings=SMALL)
    x = torch.randn(4, 4)
    expected = gradient(by_hand(objective, model, guide, x), model, guide)
    torch.manual_seed(1)
    found = gradient(OBJECTIVES[objective](model, guide)(x), model, guide)
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9)


def test_a_recorded_step_is_the_plain_one():
    model, guide = pair("spatial", size=4, settings=SMALL)
    x, parameters = torch.randn(4, 4), [*model.parameters(), *guide.parameters()]
    loss, found = OBJECTIVES["iwae"], []
    for gradients in (
        Gradients(loss, model, guide),
        CompiledGradient(loss, model, guide, x, {}, compiler=False),
    ):
        for parameter in parameters:
            parameter.grad = None
        torch.manual_seed(3)
        value = gradients(x, {}).value
        found.append((value, flat([p.grad for p in parameters])))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


def test_the_units_of_an_image_model_tell_their_shape():
    config = PairConfig("image", preset="conv-small", prior="spatial:width=4,couplings=1")
    model, _ = config.build(256, image_shape=(1, 16, 16))
    assert model.prior.shape == (16, 4, 4)


@pytest.mark.parametrize("before", [name for name in PRIORS if name != "spatial"])
def test_a_refit_finds_the_shape_in_the_prior_before(before):
    torch.manual_seed(0)
    model, guide = PairConfig("sparse", latent=(4,), prior=before).build(6)
    made, settings = read_part("prior", before, PRIORS)
    model.prior = made(Maps((1, 2, 2)), "normal", **settings)
    x = torch.rand(40, 6).round()
    bind_(model.prior, guide, x, model.likelihood)
    assert refit_prior(model, guide, x, "spatial", steps=1).prior.shape == (1, 2, 2)


@pytest.mark.parametrize(
    ("units", "prior", "match"),
    [
        (4, "spatial", r"how its 4 units lie: give C x H x W .*, as spatial:shape=8x4x4"),
        (4, "spatial:shape=2x2", "must be CxHxW, three numbers, got 2x2"),
        (4, "spatial:shape=1x2x3", "1x2x3 of the prior 'spatial' has 6 units, .* has 4"),
        (6, "spatial:shape=1x2x3", "2 scales .* and 3 of 1x2x3 cannot be; take scales=1"),
        (24, "spatial:shape=1x4x6,scales=3", "and 6 of 1x4x6 cannot be; take scales=2"),
        (1, "spatial:shape=1x1x1,scales=1", "moves units given other units, and here is only one"),
        (4, "spatial:shape=1x2x2,scales=0", "scales of a spatial flow must be .* at least 1"),
        (4, "spatial:shape=1x2x2,couplings=0", "couplings of a spatial flow must be .* at least 1"),
        (4, "spatial:shape=1x0x2", "shape of the prior 'spatial': a size must be .* at least 1"),
        (4, "spatial:shape=square", "shape of the prior 'spatial': cannot read 'square'"),
    ],
)
def test_what_is_no_map_is_refused(units, prior, match):
    with pytest.raises(InputError, match=match):
        PairConfig("sparse", latent=(units,), prior=prior).build(4)
