"""One contract for every part that a registry offers: its density, its draws, its parameters.

A new prior, likelihood or network is covered by one row of :data:`PARTS`; a registered part without
a row fails the first test. Densities are compared with torch's own where torch has the same one,
and in any case they sum to one over all images of few pixels, or integrate to one on a grid.
"""

import copy
import io
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyro_vae.distributions import (
    CategoricalLevels,
    DiscretisedLogistic,
    DiscretisedLogisticMixture,
    MixtureOfNormals,
    WithinBuckets,
)
from pyro_vae.options import read_part
from pyro_vae.programs import LocScale, MeanFieldGuide
from pyro_vae.programs.conditionals import FAMILIES
from pyro_vae.programs.flows import FlowDistribution, autoregressive
from pyro_vae.programs.likelihoods import (
    LIKELIHOODS,
    BernoulliPixels,
    FixedNoiseNormal,
    Levels,
    PixelByPixel,
)
from pyro_vae.programs.likelihoods.level_rows import LevelFractions
from pyro_vae.programs.networks import ACTIVATIONS, NETWORKS, Maps, PixelNetwork
from pyro_vae.programs.posteriors import POSTERIORS
from pyro_vae.programs.priors import PRIORS
from tests.statistics import chi_square_score, double_precision, z_score

UNITS, HIDDEN = 3, (4,)  # of z, for parts that read one, and of their hidden layer
GRID, HALF_WIDTH = 401, 16.0  # points along a unit's axis; how far they reach, in its scales
DRAWS = 40_000
FEW = 64  # values of a discrete distribution, up to which each is a cell of its own


@dataclass(frozen=True)
class Part:
    """A row: how a part is made, and torch's own distribution of the same density.

    Attributes:
        make: (units or pixels) -> the module.
        inputs: widths of its inputs; a prior has none.
        twin: (part, *inputs) -> torch's own; None where torch has no such distribution.
        moments: whether ``mean`` and ``variance`` are known in closed form.
        rows: rows to start from, for parts that want them: (units or pixels) -> (N, D).
    """

    make: Callable[[int], nn.Module]
    inputs: tuple[int, ...] = (UNITS,)
    twin: Callable | None = None
    moments: bool = True
    rows: Callable[[int], torch.Tensor] | None = None


def likelihood(text, twin=None, **settings):
    made, given = read_part("likelihood", text, LIKELIHOODS)
    return Part(lambda size: made(UNITS, HIDDEN, size, **given), twin=twin, **settings)


def prior(text, family, twin=None, **settings):
    made, given = read_part("prior", text, PRIORS)
    return Part(lambda size: made(size, family, **given), inputs=(), twin=twin, **settings)


def flow_prior(name, family):
    return prior(f"{name}:transforms=2,hidden=4", family, moments=False)


def posterior_of(size, family):
    """A guide of one level, alike for every prior that is made of it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        head = LocScale(HIDDEN[0], (), size, family=family)
        return MeanFieldGuide([NETWORKS["mlp"](UNITS, HIDDEN)], [head])


def vamp(text, family, **settings):
    made, given = read_part("prior", f"vamp:{text}", PRIORS)

    def make(size):
        part = made(size, family, **given)
        part.bind_(posterior_of(size, family), torch.zeros(0, UNITS))
        return part

    return Part(make, inputs=(), **settings)


def posteriors(part):
    """The same mixture by torch's own class, from the guide."""
    inside = part.posteriors().base_dist
    units = TORCH["laplace" if part.family is dist.Laplace else "normal"](inside.loc, inside.scale)
    weights = torch.distributions.Categorical(logits=part.logits)
    return torch.distributions.MixtureSameFamily(weights, units)


def loc_scale(family, inputs, hidden, gain):
    def twin(part, *h):
        h = (part.trunk(*h),) if hidden else h
        loc, raw = part.loc(*h), part.log_scale(*h)
        return TORCH[family](loc, torch.exp(gain * raw))

    return Part(
        lambda size: LocScale(inputs, hidden, size, family=family, gain=gain),
        inputs=inputs,
        twin=twin,
    )


def posterior(text, inputs, layers, **settings):
    made, given = read_part("posterior", text, POSTERIORS)
    return Part(lambda size: made(inputs, layers, size, **given), inputs=inputs, **settings)


def unit(distribution):
    """A twin of independent units from torch's distribution of one unit."""
    return torch.distributions.Independent(distribution, 1)


TORCH = {
    "normal": lambda *parameters: unit(torch.distributions.Normal(*parameters)),
    "laplace": lambda *parameters: unit(torch.distributions.Laplace(*parameters)),
}


def gaussian(part, z):
    h = part.trunk(z)
    log_scale = {
        "fixed": lambda: torch.zeros(()),
        "shared": lambda: part.log_scale,
        "pixel": lambda: part.log_scale(h),
    }[part.scale]()
    return TORCH["normal"](part.loc(h), part.noise * log_scale.exp())


def bernoulli(part, z):
    return unit(torch.distributions.Bernoulli(logits=part.logits(part.trunk(z))))


def standard(part):
    zero = torch.zeros(part.features)
    return TORCH["laplace" if part.family is dist.Laplace else "normal"](zero, zero + 1)


def learned(part):
    family = "laplace" if part.family is dist.Laplace else "normal"
    return TORCH[family](part.loc, part.log_scale.exp())


def mixture(part):
    weights = torch.distributions.Categorical(logits=part.logits)
    components = TORCH["normal"](part.loc, part.log_scale.exp())
    return torch.distributions.MixtureSameFamily(weights, components)


PARTS = {
    "likelihood gaussian": likelihood("gaussian", gaussian),
    "likelihood gaussian:noise=1.7": likelihood("gaussian:noise=1.7", gaussian),
    "likelihood gaussian:scale=shared": likelihood("gaussian:scale=shared", gaussian),
    "likelihood gaussian:scale=pixel": likelihood("gaussian:noise=0.8,scale=pixel", gaussian),
    "likelihood bernoulli": likelihood(
        "bernoulli", bernoulli, rows=lambda size: torch.linspace(0, 1, 5 * size).reshape(5, size)
    ),
    "likelihood logistic": likelihood("logistic"),
    "likelihood logistic-mixture": likelihood("logistic-mixture:components=3"),
    "likelihood categorical": likelihood("categorical"),
    # Of two pixels a window sees all; other stacks are in test_pixelcnn.py.
    "likelihood pixelcnn": likelihood("pixelcnn:window=1,layers=1,width=3", moments=False),
    "likelihood pixelcnn-levels": likelihood(
        "pixelcnn-levels:window=1,layers=1,width=3,components=2", moments=False
    ),
    "likelihood pixelcnn-levels:components=0": likelihood(
        "pixelcnn-levels:window=1,layers=0,width=3,components=0", moments=False
    ),
    "prior standard normal": prior("standard", "normal", standard),
    "prior standard laplace": prior("standard", "laplace", standard),
    "prior learned normal": prior("learned", "normal", learned),
    "prior learned:scale=1.5 laplace": prior("learned:scale=1.5", "laplace", learned),
    "prior realnvp:transforms=2,hidden=4 normal": flow_prior("realnvp", "normal"),
    "prior realnvp:transforms=2,hidden=4 laplace": flow_prior("realnvp", "laplace"),
    "prior maf:transforms=2,hidden=4 normal": flow_prior("maf", "normal"),
    "prior spatial:shape=1x1x2 normal": prior(
        "spatial:shape=1x1x2,scales=1,couplings=1,width=4", "normal", moments=False
    ),
    "prior spline:transforms=2,hidden=4 normal": flow_prior("spline", "normal"),
    "prior mixture:components=3": prior("mixture:components=3", "normal", mixture),
    "prior mixture:components=4,weights=equal": prior(
        "mixture:components=4,weights=equal", "laplace", mixture
    ),
    "prior vamp:components=3 normal": vamp("components=3", "normal", twin=posteriors),
    "prior vamp:components=3,weights=learned laplace": vamp(
        "components=3,weights=learned", "laplace", twin=posteriors
    ),
    "conditional normal": loc_scale("normal", (UNITS,), (), 1.0),
    "conditional laplace of two inputs": loc_scale("laplace", (2, UNITS), HIDDEN, 0.5),
    "posterior locscale": posterior("locscale", (UNITS,), HIDDEN),
    "posterior flow:transforms=2,hidden=4,context=2 of two inputs": posterior(
        "flow:transforms=2,hidden=4,context=2", (2, UNITS), (), moments=False
    ),
    "posterior iaf:transforms=2,hidden=4,context=2": posterior(
        "iaf:transforms=2,hidden=4,context=2", (UNITS,), HIDDEN, moments=False
    ),
    "posterior iaf:transforms=1,hidden=4,context=0": posterior(
        "iaf:transforms=1,hidden=4,context=0", (UNITS,), (), moments=False
    ),
}
every_part = pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)


def covered(kind):
    return {name.removeprefix(kind).split()[0].split(":")[0] for name in PARTS if kind in name}


def test_every_registered_part_has_a_row():
    assert covered("likelihood ") == set(LIKELIHOODS)
    assert covered("prior ") == set(PRIORS)
    assert covered("posterior ") == set(POSTERIORS)
    assert {name for name in FAMILIES if f"conditional {name}" in " ".join(PARTS)} == set(FAMILIES)


def made(part, size=2, seed=0):
    """The part away from its initialisation, where some parameters may still have no effect."""
    torch.manual_seed(seed)
    module = part.make(size).to(torch.get_default_dtype())
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return module


def given(part, *batch, seed=1):
    """Inputs of the batch shape."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*batch, width, generator=generator) for width in part.inputs]


def cells(distribution):
    """All values that a distribution without batch shape can be scored at, with their volumes.

    Every image of a discrete distribution, each of volume one; else a grid over all units.
    """
    support = distribution.support
    while isinstance(support, torch.distributions.constraints.independent):
        support = support.base_constraint
    (size,) = distribution.event_shape
    if support is torch.distributions.constraints.boolean:
        levels = [torch.arange(2)] * size
        volume = 1.0
    elif isinstance(support, torch.distributions.constraints.integer_interval):
        levels = [torch.arange(support.lower_bound, support.upper_bound + 1)] * size
        volume = 1.0
    elif isinstance(support, LevelFractions):
        levels = [torch.arange(support.levels) / (support.levels - 1)] * size
        volume = 1.0
    elif isinstance(support, torch.distributions.constraints.interval):
        width = float(support.upper_bound - support.lower_bound)
        levels = [support.lower_bound + width * (torch.arange(GRID) + 0.5) / GRID] * size
        volume = (width / GRID) ** size
    else:  # the real line, about where the draws lie
        draws = distribution.sample((1000,))
        middle, spread = draws.mean(0), draws.std(0)
        line = torch.linspace(-HALF_WIDTH, HALF_WIDTH, GRID)
        levels = [middle[i] + spread[i] * line for i in range(size)]
        volume = ((2 * HALF_WIDTH / (GRID - 1)) ** size * spread.prod()).item()
    return torch.cartesian_prod(*levels).to(torch.get_default_dtype()), volume


def is_discrete(distribution):
    return distribution.support.is_discrete


@every_part
def test_the_density_is_torchs_own(part):
    if part.twin is None:
        pytest.skip("torch has no such distribution")
    with double_precision():
        module, h = made(part, size=5), given(part, 4, 3)
        ours, theirs = module(*h), part.twin(module, *h)
        values = theirs.sample((7, *([4, 3] if not h else [])))
        torch.testing.assert_close(ours.log_prob(values), theirs.log_prob(values))
        if part.moments:
            torch.testing.assert_close(ours.mean, theirs.mean)
            torch.testing.assert_close(ours.variance, theirs.variance)


@every_part
@pytest.mark.parametrize("seed", [0, 1])
def test_the_density_has_mass_one(part, seed):
    with double_precision():
        distribution = made(part, seed=seed)(*given(part, seed=seed))
        values, volume = cells(distribution)
        mass = distribution.log_prob(values).exp().sum() * volume
        # The error of the trapezium rule at the kink of a Laplace density is h^2 / 12 b^2.
        assert mass.item() == pytest.approx(1, abs=1e-12 if is_discrete(distribution) else 4e-3)


@every_part
def test_draws_have_the_density(part):
    """Chi-square of the draws over cells of known mass: all images, or squares of the grid."""
    with double_precision():
        distribution = made(part)(*given(part))
        values, volume = cells(distribution)
        mass = distribution.log_prob(values).exp() * volume
        mass /= mass.sum()
        draws = distribution.sample((DRAWS,))

        def score(draws):
            if len(values) <= FEW:
                matches = (draws[:, None] == values).all(-1)
                assert matches.any(1).all()
                return chi_square_score(matches.sum(0), mass)
            edges = [marginal_edges(values[:, i], mass) for i in range(values.shape[1])]
            expected = torch.zeros(64).index_add(0, square_of(values, edges), mass)
            counts = square_of(draws, edges).bincount(minlength=64)
            held = expected > 0  # where a level has more than a cell's mass, cells fall together
            return chi_square_score(counts[held], expected[held])

        assert score(draws) < 5
        # Draws that are a little wrong are found out.
        wrong = 1 - draws if is_discrete(distribution) else 1.2 * draws
        assert score(wrong) > 8


def marginal_edges(unit_values, mass, number=8):
    """Borders between cells of about equal mass of one unit."""
    levels, index = unit_values.unique(return_inverse=True)
    cumulative = torch.zeros(len(levels)).index_add(0, index, mass).cumsum(0)
    inner = torch.searchsorted(cumulative, torch.arange(1, number) / number)
    inner = inner.clamp(max=len(levels) - 2)
    return (levels[inner] + levels[inner + 1]) / 2


def square_of(values, edges):
    index = torch.zeros(len(values), dtype=torch.long)
    for i, borders in enumerate(edges):
        index = index * (len(borders) + 1) + torch.searchsorted(borders, values[:, i].contiguous())
    return index


@every_part
def test_mean_and_variance_are_those_of_the_draws(part):
    with double_precision():
        distribution = made(part)(*given(part, 4))
        if not part.moments:
            with pytest.raises(NotImplementedError):
                _ = distribution.mean
            return
        draws = distribution.sample((DRAWS,))
        squares = (draws - distribution.mean).square()
        assert z_score(draws, distribution.mean) < 5
        assert z_score(squares, distribution.variance) < 5
        assert z_score(1.2 * draws, distribution.mean) + z_score(1.4 * squares, squares.mean(0)) > 8


@every_part
@pytest.mark.parametrize("batch", [(), (5,), (3, 5)])
def test_shapes(part, batch):
    module, size = made(part, size=2), 2
    h = given(part, *batch)
    distribution = module(*h)
    assert module.features == size
    if not h:  # a prior does not know the batch: the data plate expands it
        assert distribution.batch_shape == ()
        distribution = distribution.expand(batch)
    assert distribution.batch_shape == batch
    assert distribution.event_shape == (size,)
    draws = distribution.sample((7,))
    assert draws.shape == (7, *batch, size)
    assert distribution.sample().shape == (*batch, size)
    log_p = distribution.log_prob(draws)
    assert log_p.shape == (7, *batch)
    assert torch.isfinite(log_p).all()
    if part.moments:
        assert distribution.mean.shape == distribution.variance.shape == (*batch, size)
    # Each particle and datum is scored as if it stood alone.
    if h and batch:
        last = (-1,) * len(batch)
        alone = module(*[values[last] for values in h])
        torch.testing.assert_close(alone.log_prob(draws[(0, *last)]), log_p[(0, *last)])


@every_part
def test_expanded_copies_are_independent_draws_of_one_density(part):
    distribution = made(part)(*given(part))
    expanded = distribution.expand((1000,))
    draws = expanded.sample()
    torch.testing.assert_close(expanded.log_prob(draws), distribution.log_prob(draws))
    assert len(draws.unique(dim=0)) >= (4 if is_discrete(distribution) else 1000)
    again = distribution.expand((2, 1)).expand((2, 3))
    assert (again.batch_shape, again.sample((5,)).shape) == ((2, 3), (5, 2, 3, 2))
    with pyro.plate("data", 6, dim=-1), pyro.plate("particles", 4, dim=-2):
        assert pyro.sample("z", distribution).shape == (4, 6, 2)


@every_part
def test_gradients_reach_every_parameter(part):
    module, h = made(part), given(part, 50)
    for values in h:
        values.requires_grad_()
    distribution = module(*h)
    draws = distribution.sample() if h else distribution.sample((50,))
    value = draws.requires_grad_(not is_discrete(distribution))
    distribution.log_prob(value).sum().backward()
    leaves = dict(module.named_parameters()) | {f"input {i}": v for i, v in enumerate(h)}
    if not is_discrete(distribution):
        leaves["value"] = value
    for name, leaf in leaves.items():
        assert leaf.grad is not None, name
        assert torch.isfinite(leaf.grad).all(), name
        assert leaf.grad.abs().max() > 0, name


@every_part
def test_the_gradient_of_the_density_is_right(part):
    """By differences, in float64: of every parameter, input and (if continuous) value."""
    with double_precision():
        module, h = made(part), [values.requires_grad_() for values in given(part, 2)]
        value = module(*h).sample() if h else module().sample((2,))
        leaves = [*module.parameters(), *h]
        if not is_discrete(module(*h)):
            leaves.append(value.requires_grad_())
        many = sum(leaf.numel() for leaf in leaves) > 1000  # as one product with a random vector
        assert torch.autograd.gradcheck(
            lambda *_: module(*h).log_prob(value), leaves, fast_mode=many
        )


@every_part
def test_pathwise_draws_move_with_the_parameters(part):
    module, h = made(part), given(part, 50)
    distribution = module(*h)
    if not distribution.has_rsample:
        assert not distribution.sample().requires_grad
        return
    assert not distribution.sample().requires_grad
    parameters = dict(module.named_parameters())
    if parameters:
        distribution.rsample().square().sum().backward()
    for name, parameter in parameters.items():
        assert parameter.grad.abs().max() > 0, name


@every_part
def test_double_precision_is_kept_and_agrees_with_single(part):
    module, h = made(part), given(part, 5)
    single = module(*h)
    value = single.sample() if h else single.sample((5,))
    double = copy.deepcopy(module).double()(*[values.double() for values in h])
    assert double.sample().dtype == torch.float64
    assert double.log_prob(value.double()).dtype == torch.float64
    assert (single.sample().dtype, single.log_prob(value).dtype) == (torch.float32,) * 2
    torch.testing.assert_close(
        double.log_prob(value.double()).float(), single.log_prob(value), rtol=1e-4, atol=1e-4
    )


@every_part
def test_saved_and_loaded_it_is_the_same(part):
    old, new, h = made(part, seed=0), made(part, seed=1), given(part, 5)
    value = old(*h).sample() if h else old().sample((5,))
    before = old(*h).log_prob(value)
    assert not list(old.parameters()) or not torch.equal(new(*h).log_prob(value), before)
    stream = io.BytesIO()
    torch.save(old.state_dict(), stream)
    stream.seek(0)
    new.load_state_dict(torch.load(stream, weights_only=True))
    assert torch.equal(new(*h).log_prob(value), before)
    assert torch.equal(copy.deepcopy(old)(*h).log_prob(value), before)


@every_part
def test_values_that_it_cannot_have_are_refused_where_asked(part):
    h = given(part, 5)
    module = made(part)
    with pyro.validation_enabled(True):
        distribution = module(*h)
        value = distribution.sample() if h else distribution.sample((5,))
        # Expanded copies go on checking.
        for checked in (distribution, distribution.expand((5,))):
            checked.log_prob(value)
            bad = value.clone()
            bad[0, 0] = 0.5 if is_discrete(distribution) else torch.nan
            with pytest.raises(ValueError, match="support"):
                checked.log_prob(bad)
            with pytest.raises(ValueError, match=r"shape|size"):
                checked.log_prob(value[:, :1].expand(5, 3))
        if h:
            with pytest.raises(ValueError, match="constraint"):
                module(*[values * torch.nan for values in h])
    with pyro.validation_enabled(False):
        unchecked = module(*h)
        assert unchecked.log_prob(bad).shape == (5,)
        assert unchecked.expand((5,)).log_prob(bad).shape == (5,)


FLOW = autoregressive(3, transforms=1, hidden=(4,))
# The distributions that are written by hand: (parameters, validate_args=...) -> distribution.
OWN = {
    "FixedNoiseNormal": lambda loc, **settings: FixedNoiseNormal(loc, 0.4, **settings),
    "BernoulliPixels": BernoulliPixels,
    "DiscretisedLogistic": lambda loc, **settings: DiscretisedLogistic(loc, loc, **settings),
    "DiscretisedLogisticMixture": lambda loc, **settings: DiscretisedLogisticMixture(
        *[loc[:, None].expand(5, 4, 3)] * 3, **settings
    ),
    "CategoricalLevels": lambda loc, **settings: CategoricalLevels(
        loc[:, None].expand(5, 256, 3), event_dim=1, **settings
    ),
    "WithinBuckets": lambda loc, **settings: WithinBuckets(
        *[loc[:, None].expand(5, 4, 3)] * 3, loc, 4, **settings
    ),
    "Levels": lambda loc, **settings: Levels(
        CategoricalLevels(loc[:, None, None, None].expand(5, 256, 1, 1, 3), **settings), **settings
    ),
    "MixtureOfNormals": lambda loc, **settings: MixtureOfNormals(
        torch.zeros(4), loc[:, None].expand(5, 4, 3), torch.ones(1), **settings
    ),
    "PixelByPixel": lambda loc, **settings: PixelByPixel(
        loc,
        PixelNetwork(Maps((1, 1, 3)), 1, window=1, layers=1, width=1),
        lambda planes: dist.Bernoulli(logits=planes, validate_args=False).to_event(3),
        Maps((1, 1, 3)),
        1,
        **settings,
    ),
    "FlowDistribution": lambda loc, **settings: FlowDistribution(
        dist.Normal(loc, 1.0, **settings).to_event(1), FLOW(), FLOW, **settings
    ),
}


def test_every_distribution_of_our_own_has_a_row():
    classes = [dist.TorchDistribution]
    for one in classes:
        classes.extend(one.__subclasses__())
    ours = {one.__name__ for one in classes if one.__module__.startswith("pyro_vae.")}
    assert ours - {"Broadcasting"} == set(OWN)  # which is what the others share


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("asked", [True, False])
def test_what_a_distribution_was_asked_to_check_its_copies_check(name, asked):
    bad = torch.full((2, 5, 3), torch.nan)
    with pyro.validation_enabled(not asked):
        distribution = OWN[name](torch.zeros(5, 3), validate_args=asked)
        for copied in (distribution, distribution.expand((2, 5))):
            if asked:
                with pytest.raises(ValueError, match="support"):
                    copied.log_prob(bad)
            else:
                assert copied.log_prob(bad).shape == (2, 5)


@every_part
def test_it_starts_from_data_without_harm(part):
    """``initialise_(rows)`` changes the part, alike for one seed, and leaves a density."""
    module = made(part)
    if part.rows is None:
        assert not hasattr(module, "initialise_")
        return
    other, before = copy.deepcopy(module), copy.deepcopy(module.state_dict())
    for started in (module, other):
        torch.manual_seed(2)
        started.initialise_(part.rows(2))
    after = module.state_dict()
    assert any(not torch.equal(after[name], value) for name, value in before.items())
    assert all(torch.equal(after[name], value) for name, value in other.state_dict().items())
    distribution = module(*given(part, 5))
    assert torch.isfinite(distribution.log_prob(distribution.sample())).all()


def test_likelihoods_say_their_pixels_and_parts_their_settings():
    for registry in (LIKELIHOODS, POSTERIORS, PRIORS):
        for name, made_by in registry.items():
            for setting, described in getattr(made_by, "settings", {}).items():
                assert described.help, (name, setting)
    assert all(isinstance(made_by.pixels, str) for made_by in LIKELIHOODS.values())


@pytest.mark.parametrize(("name", "activation"), list(product(NETWORKS, ACTIVATIONS)))
@pytest.mark.parametrize("widths", [3, (3, 2)])
def test_networks_read_any_leading_axes(name, activation, widths):
    network = NETWORKS[name](widths, (5, 4), activation)
    assert (network.in_features, network.out_features) == (widths, 4)
    inputs = [torch.randn(6, 3)]
    if widths != 3:
        inputs.append(torch.randn(7, 6, 2))
    output = network(*inputs)
    assert output.shape == (*inputs[-1].shape[:-1], 4)
    alone = network(*[values[..., 2:3, :] for values in inputs])
    torch.testing.assert_close(alone, output[..., 2:3, :])
    output.square().sum().backward()
    for parameter in network.parameters():
        assert parameter.grad.abs().max() > 0
