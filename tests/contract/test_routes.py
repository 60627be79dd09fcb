"""Routes through a model: what is kept and given comes back, everything else is drawn."""

import pytest
import torch

from pyro_vae.errors import InputError
from pyro_vae.evaluation.routes import generate, reconstruct
from pyro_vae.programs import LocScale, PairConfig
from pyro_vae.programs.likelihoods import FixedNoiseGaussian
from pyro_vae.programs.networks import MLP
from pyro_vae.programs.priors import StandardPrior
from pyro_vae.programs.representations import chain
from pyro_vae.programs.self_supervised import SelfSupervisedGuide, SelfSupervisedVAE

SHAPE, WIDTHS = (3, 8, 8), (5, 4, 3)  # units of z1, z2, z3


def pair(texts=("downscale:2", "greyscale"), seed=0):
    torch.manual_seed(seed)
    transforms = chain(texts, SHAPE)
    sizes = [192, *(t.features for t in transforms)]
    units = WIDTHS[: len(sizes)]
    count = len(transforms)
    model = SelfSupervisedVAE(
        StandardPrior(units[-1]),
        FixedNoiseGaussian(units[-1], (8,), sizes[-1]),
        [LocScale((sizes[k + 1], units[k + 1]), (8,), units[k]) for k in range(count)],
        [FixedNoiseGaussian((sizes[k + 1], units[k]), (8,), sizes[k]) for k in range(count)],
        transforms,
    )
    guide = SelfSupervisedGuide(
        [MLP(size, (8,)) for size in sizes], [LocScale(8, (), unit) for unit in units], transforms
    )
    return model, guide


def data(number=6):
    generator = torch.Generator().manual_seed(4)
    return torch.randint(0, 256, (number, 192), generator=generator).float() / 255


SUBSETS = [
    ((), ()),
    (("z3",), ()),
    (("z3", "z2"), ()),
    (("z3", "z2", "z1"), ()),
    (("z1",), ("y1",)),
    (("z3",), ("y1", "y2")),
    ((), ("y2",)),
]


@pytest.mark.parametrize(("keep", "given"), SUBSETS)
def test_every_subset_is_a_route(keep, given):
    model, guide = pair()
    x = data()
    torch.manual_seed(0)
    made = reconstruct(model, guide, x, keep, given)
    assert {name: tuple(value.shape) for name, value in made.items()} == {
        "z3": (6, 3),
        "z2": (6, 4),
        "z1": (6, 5),
        "y2": (6, 16),
        "y1": (6, 48),
        "x": (6, 192),
        "x:mean": (6, 192),
    }
    own = dict(zip(("y1", "y2"), model.represent(x), strict=True))
    for name, representation in own.items():
        assert torch.equal(made[name], representation) == (name in given)
    torch.manual_seed(1)
    again = reconstruct(model, guide, x, keep, given)
    for name in ("z1", "z2", "z3", "x"):  # all of them are drawn, by guide or model
        assert not torch.equal(made[name], again[name])


def test_kept_latents_are_draws_of_the_guide_and_others_of_the_model():
    """Means of many draws: the guide's where kept, zero (the prior's) where not."""
    model, guide = pair()
    with torch.no_grad():
        guide.conditionals[2].loc.parts[0].bias.add_(5.0)
    x = data(1).expand(4_000, -1)
    torch.manual_seed(0)
    kept = reconstruct(model, guide, x, keep=("z3",))["z3"]
    drawn = reconstruct(model, guide, x, keep=("z1",))["z3"]
    assert kept.mean(0).min() > 3
    assert (drawn.mean(0).abs() * 4_000**0.5).max() < 4


def test_the_representation_of_another_image_can_be_given():
    model, guide = pair()
    x, other = data(6)[:3], data(6)[3:]
    given = {"y1": model.represent(other)[0]}
    made = reconstruct(model, guide, x, keep=("z1",), given=given)
    assert torch.equal(made["y1"], given["y1"])


def test_what_is_below_follows_what_is_given():
    """x's mean is the likelihood's at the given y1 and the drawn z1."""
    model, guide = pair()
    x = data()
    made = reconstruct(model, guide, x, keep=("z1",), given=("y1",))
    with torch.no_grad():
        expected = model.likelihoods[0](made["y1"], made["z1"]).mean
    torch.testing.assert_close(made["x:mean"], expected)


@pytest.mark.parametrize("name", ["td", "burda2"])
def test_hierarchical_models_have_the_routes_of_their_latents(name):
    model, guide = PairConfig(model=name, hidden=("8",), latent=(6, 3), init="random").build(16)
    x = torch.rand(5, 16).round()
    made = reconstruct(model, guide, x, keep=("z2",))
    assert made["x"].shape == (5, 16)
    assert made["z1"].shape == (5, 6)
    assert generate(model, 7)["x"].shape == (7, 16)


def test_generation_with_a_given_latent():
    model, _ = pair()
    z = torch.arange(3.0)
    made = generate(model, 4, {"z3": z})
    assert torch.equal(made["z3"], z.expand(4, 3))
    assert made["x"].shape == (4, 192)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, g: reconstruct(m, g, data(), keep=("y1",)), "'y1' cannot be kept.*z1, z2, z3"),
        (lambda m, g: reconstruct(m, g, data(), given=("z1",)), "'z1' cannot be given.*y1, y2"),
        (lambda m, g: generate(m, 3, {"u": torch.zeros(3, 3)}), "'u' cannot be given"),
        (lambda m, g: generate(m, 3, {"z3": torch.zeros(2, 3)}), r"not \(3, 3\)"),
        (lambda m, g: generate(m, 3, {"z3": torch.zeros(3, 4)}), r"z3 has shape \(3, 4\)"),
        (lambda m, g: generate(m, 0), "at least 1"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call(*pair())
