"""One contract, walked over every model, guide and objective."""

import io
import math
from itertools import product

import pyro
import pytest
import torch
from torch import nn

import pyro_vae
from pyro_vae import bounds
from pyro_vae.errors import InputError
from pyro_vae.objectives import OBJECTIVES, make_objective
from pyro_vae.programs import GUIDES, MODELS, PairConfig, architecture, build_pair
from pyro_vae.programs.networks import MergedLinear
from pyro_vae.training import Gradients
from tests.conftest import objective_named, tiny_pair
from tests.self_supervised import tiny_images

PIXELS, IMAGE = 6, (1, 8, 4)
# Named models, and pairs of one to three levels built by hand from an Architecture.
PROGRAMS = [*MODELS, "1 level", "2 levels", "3 levels"]
PAIRS = [
    (name, guide)
    for name, guide in product(PROGRAMS, GUIDES)
    if name != "ssvae" or guide == "meanfield"  # the only one it has
]
BATCHES = list(product([1, 3], [1, 2, 5]))  # (particles, data)
TRAINED = [(1, 1), (1, 5), (3, 1), (3, 2)]
ANALYTIC_IS_WRONG = {
    ("td", "bottomup"),
    ("burda2", "bottomup"),
    ("vamp", "bottomup"),
    ("2 levels", "bottomup"),
    ("3 levels", "bottomup"),
}
TRIPLES = [
    (*pair, objective)
    for pair, objective in product(PAIRS, OBJECTIVES)
    if not (objective == "elbo-analytic" and pair in ANALYTIC_IS_WRONG)
    and objective != "free-bits"  # which gives levels of small KL no gradient; test_objectives.py
]


def pair_of(name, guide, seed=0):
    if name == "ssvae":
        return tiny_images(shape=IMAGE, seed=seed)
    if name in MODELS and architecture(name).images is not None:
        config = PairConfig(name, guide, preset="conv", latent=(4,))
        return config.build(math.prod(IMAGE), IMAGE, seed=seed)
    if name in MODELS:
        return build_pair(name, guide, num_pixels=PIXELS, seed=seed)
    return tiny_pair(guide, levels=int(name[0]), num_pixels=PIXELS, seed=seed)


def data_for(model, rows):
    generator = torch.Generator().manual_seed(1)
    if model.likelihood.pixels == "levels":
        return torch.randint(256, (rows, math.prod(IMAGE)), generator=generator) / 255
    x = torch.randn(rows, PIXELS, generator=generator)
    return (x > 0).float() if model.likelihood.pixels == "binary" else x


def parameters_of(*modules):
    return {(i, name): p for i, m in enumerate(modules) for name, p in m.named_parameters()}


@pytest.mark.parametrize(("name", "guide_name"), PAIRS)
def test_every_term_is_one_number_per_particle_and_datum(name, guide_name):
    model, guide = pair_of(name, guide_name)
    for num_particles, rows in BATCHES:
        terms = pyro_vae.log_weights(model, guide, data_for(model, rows), num_particles)
        shape = (num_particles, rows)
        assert terms.log_likelihood.shape == shape
        assert set(terms.log_prior) == set(terms.log_guide) == set(model.latent_names)
        for site, units in zip(model.latent_names, model.latent_sizes, strict=True):
            assert terms.log_prior[site].shape == shape
            assert terms.log_guide[site].shape == shape
            assert terms.latents[site].shape == (*shape, units)
        assert terms.log_w.shape == shape
        assert torch.isfinite(terms.log_w).all()
        # Particles differ, and so do data: an axis that was only expanded would repeat.
        assert len(terms.log_w.unique()) == num_particles * rows


@pytest.mark.parametrize(("name", "guide_name"), PAIRS)
def test_log_w_is_the_sum_of_its_terms(name, guide_name):
    model, guide = pair_of(name, guide_name)
    terms = pyro_vae.log_weights(model, guide, data_for(model, 5), 3)
    total = terms.log_likelihood.clone()
    for site in model.latent_names:
        total += terms.log_prior[site] - terms.log_guide[site]
    torch.testing.assert_close(terms.log_w, total)
    torch.testing.assert_close(terms.annealed_log_w, total)


@pytest.mark.parametrize(("name", "guide_name", "objective"), TRIPLES)
def test_loss_is_finite_and_trains_every_parameter(name, guide_name, objective):
    for num_particles, rows in TRAINED:
        model, guide = pair_of(name, guide_name)
        gradients = Gradients(objective_named(objective, num_particles), model, guide)
        loss = gradients(data_for(model, rows))
        assert loss.kept_share == 1
        assert not loss.value.requires_grad
        assert torch.isfinite(loss.value)
        for key, parameter in parameters_of(model, guide).items():
            assert parameter.grad is not None, key
            assert torch.isfinite(parameter.grad).all(), key
            assert parameter.grad.abs().max() > 0, key


@pytest.mark.parametrize("objective", ["iwae", "dreg", "elbo", "elbo-analytic", "renyi"])
def test_the_loss_module_returns_a_scalar_tensor_with_a_gradient(objective):
    model, guide = pair_of("2 levels", "topdown")
    loss = objective_named(objective, 3)(model, guide)(data_for(model, 5))
    assert loss.shape == ()
    assert loss.requires_grad


@pytest.mark.parametrize(("name", "guide_name"), PAIRS)
@pytest.mark.parametrize("objective", ["iwae", "dreg", "elbo", "renyi"])
def test_loss_is_minus_the_bound_summed_over_the_data(name, guide_name, objective):
    model, guide = pair_of(name, guide_name)
    x = data_for(model, 5)
    torch.manual_seed(7)
    loss = Gradients(objective_named(objective, 3), model, guide)(x).value.item()
    torch.manual_seed(7)
    log_w = pyro_vae.log_weights(model, guide, x, 3).log_w
    bound = bounds.elbo if objective == "elbo" else bounds.iwae
    assert loss == pytest.approx(-bound(log_w).sum().item(), rel=1e-5)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_repeating_the_batch_doubles_the_loss(objective):
    model, guide = pair_of("2 levels", "topdown")
    gradients = Gradients(objective_named(objective, 20), model, guide)
    x = data_for(model, 5)
    once = gradients(x.repeat(200, 1)).value
    twice = gradients(x.repeat(400, 1)).value
    assert (twice / once).item() == pytest.approx(2, rel=0.02)  # a mean over the batch would give 1


@pytest.mark.parametrize(("name", "guide_name"), PAIRS)
def test_state_dict_round_trip_gives_identical_weights(name, guide_name):
    saved, fresh = pair_of(name, guide_name, seed=0), pair_of(name, guide_name, seed=1)
    x = data_for(saved[0], 5)

    def weights(pair):
        torch.manual_seed(3)
        return pyro_vae.log_weights(*pair, x, 3).log_w

    before = weights(saved)
    assert not torch.equal(weights(fresh), before)
    for old, new in zip(saved, fresh, strict=True):
        stream = io.BytesIO()
        torch.save(old.state_dict(), stream)
        stream.seek(0)
        new.load_state_dict(torch.load(stream, weights_only=True))
    assert torch.equal(weights(fresh), before)


def rows_seen(module, run):
    """Layer -> number of rows of each input it was given while ``run()``."""
    seen = {}
    hooks = [
        layer.register_forward_pre_hook(
            lambda layer, inputs, name=name: seen.setdefault(name, []).append(
                inputs[0].numel() // inputs[0].shape[-1]
            )
        )
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Linear)
    ]
    run()
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize(
    ("name", "guide_name"), [pair for pair in PAIRS if pair[0] not in ("image", "ssvae")]
)
def test_x_is_encoded_once_per_datum(name, guide_name):
    model, guide = pair_of(name, guide_name)
    num_particles, rows = 3, 5
    x = data_for(model, rows)
    objective = make_objective("iwae", num_particles)
    seen = rows_seen(guide, lambda: objective(model, guide)(x))
    readers = [
        layer
        for layer, part in guide.named_modules()
        if isinstance(part, nn.Linear) and part.in_features == PIXELS
        if layer.startswith(("encoders.0", "conditionals.0.trunk.layers.0"))
    ]
    assert readers
    for layer in readers:
        assert seen[layer] == [rows], layer
    if guide_name != "bottomup":
        encoders = [layer for layer in seen if layer.startswith("encoders")]
        linear = [part for part in guide.encoders.modules() if isinstance(part, nn.Linear)]
        assert len(encoders) == len(linear)
        assert all(seen[layer] == [rows] for layer in encoders)
    everything = {count for counts in seen.values() for count in counts}
    assert everything <= {rows, num_particles * rows}


@pytest.mark.parametrize("name", ["td", "burda2", "2 levels", "3 levels"])
def test_merged_layers_multiply_the_encoding_once_per_datum(name):
    model, guide = pair_of(name, "topdown")
    num_particles, rows = 3, 5
    x = data_for(model, rows)
    objective = make_objective("iwae", num_particles)
    seen = rows_seen(guide, lambda: objective(model, guide)(x))
    merged = [
        layer
        for layer, part in guide.named_modules()
        if isinstance(part, MergedLinear) and len(part.parts) == 2
    ]
    assert len(merged) == 2 * (model.num_levels - 1)  # loc and log_scale below the top
    for layer in merged:
        assert seen[f"{layer}.parts.0"] == [rows]
        assert seen[f"{layer}.parts.1"] == [num_particles * rows]


def test_merged_layer_equals_the_layer_on_the_concatenation():
    merged = MergedLinear((3, 2), 4)
    h, z = torch.randn(5, 3), torch.randn(7, 5, 2)
    weight = torch.cat([part.weight for part in merged.parts], 1)
    joint = torch.cat([h.expand(7, 5, 3), z], -1) @ weight.T + merged.parts[0].bias
    torch.testing.assert_close(merged(h, z), joint)


@pytest.mark.parametrize(("name", "guide_name"), sorted(ANALYTIC_IS_WRONG))
def test_analytic_kl_is_refused_for_bottom_up_chains(name, guide_name):
    model, guide = pair_of(name, guide_name)
    with pytest.raises(InputError, match=r"'elbo-analytic'.*bottom-up guide BottomUpGuide"):
        Gradients(make_objective("elbo-analytic", 2), model, guide)
    with pytest.raises(InputError, match="elbo-analytic"):
        pyro_vae.fit(model, guide, data_for(model, 5), objective=make_objective("elbo-analytic"))


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("num_particles", [0, -1, 2.5])
def test_no_particles_is_refused(name, num_particles):
    with pytest.raises(InputError, match="num_particles"):
        make_objective(name, num_particles)


@pytest.mark.parametrize(
    "call",
    [
        lambda m, g, x: pyro_vae.log_weights(m, g, x, 0),
        lambda m, g, x: pyro_vae.IWAE(0),
        lambda m, g, x: pyro_vae.DReG(0),
        lambda m, g, x: pyro_vae.evaluation.log_likelihood(m, g, x, 0),
        lambda m, g, x: pyro_vae.evaluation.evaluate(m, g, x, num_particles=0, bound_particles=0),
        lambda m, g, x: pyro_vae.resampling.sir(m, g, x, 0),
        lambda m, g, x: pyro_vae.to_inference_data(m, g, x, num_particles=0),
    ],
)
def test_no_particles_is_refused_by_every_call(call):
    model, guide = pair_of("1 level", "topdown")
    with pytest.raises(InputError, match="particles"):
        call(model, guide, data_for(model, 2))


def test_unknown_objective_lists_the_objectives():
    with pytest.raises(InputError, match="iwae, dreg, stl, elbo, elbo-analytic, renyi"):
        make_objective("vimco")


def test_renyi_of_order_one_is_refused():
    with pytest.raises(InputError, match="ELBO"):
        make_objective("renyi", 5, alpha=1)


class PlateRecorder(pyro.poutine.messenger.Messenger):
    """Remembers the plates of every latent sample statement as name -> {plate: (dim, size)}."""

    def __init__(self):
        super().__init__()
        self.plates = {}

    def _pyro_post_sample(self, msg):
        frames = {f.name: (f.dim, f.size) for f in msg["cond_indep_stack"]}
        self.plates.setdefault(msg["name"], []).append(frames)


@pytest.mark.parametrize("objective", ["iwae", "dreg"])
def test_particles_are_a_plate_at_dim_minus_two(objective):
    model, guide = pair_of("2 levels", "topdown")
    with PlateRecorder() as recorder:
        objective_named(objective, 3)(model, guide)(data_for(model, 5))
    for site in ("x", "z1", "z2"):
        assert recorder.plates[site]
        for frames in recorder.plates[site]:
            assert frames == {"particles": (-2, 3), "data": (-1, 5)}


@pytest.mark.parametrize("guide_name", GUIDES)
def test_the_model_simulates_without_data(guide_name):
    model, _ = pair_of("3 levels", guide_name)
    assert model(None, 4).shape == (4, PIXELS)
    with pytest.raises(InputError, match=r"x has shape \(2, 5\).*\(B, 6\)"):
        model(torch.zeros(2, 5))
