"""The recipes of the papers: learning rates in stages, the optimisers, the initialisation."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

import pyro_vae
from pyro_vae import InputError, LinearWarmUp, OptimiserSettings
from pyro_vae.cli.fit import parser
from pyro_vae.programs import GUIDES, MODELS, PRESETS, architecture
from pyro_vae.programs.networks import MergedLinear
from pyro_vae.runs import new_config
from pyro_vae.runs.migrations import read_config
from pyro_vae.runs.resuming import resumed_config
from pyro_vae.storage import load_checkpoint, save_checkpoint
from pyro_vae.training.recipes import RECIPES, named_recipe, recipe, recipe_name
from pyro_vae.training.schedules import BURDA_RATES, MLMI4_RATES, Cosine, Stages, shaped, stages
from tests.conftest import tiny_pair
from tests.statistics import double_precision, z_scores

X = torch.randn(60, 6, generator=torch.Generator().manual_seed(0))
RATES = (3e-2, 1e-2, 3e-3)
STEPS = 3  # in an epoch


def fit(pair=None, **changed):
    settings = {"objective": pyro_vae.IWAE(3), "epochs": 4, "batch_size": 20, **changed}
    return pyro_vae.fit(*(pair or tiny_pair()), X, progress=False, **settings)


def weights(pair):
    return torch.cat([p.detach().flatten() for module in pair for p in module.parameters()])


@pytest.fixture
def used(monkeypatch):
    """The learning rate of every step that is taken."""
    rates, step = [], torch.optim.Adam.step

    def record(adam, *args):
        rates.append(adam.param_groups[0]["lr"])
        return step(adam, *args)

    monkeypatch.setattr(torch.optim.Adam, "step", record)
    return rates


# The schedule


def test_the_published_stages():
    """3^i epochs at 1e-4 round(10^(1 - i/7), 1); in Arnal et al. at 1e-4 10^(-i/7)."""
    assert pytest.approx([1e-4 * round(10 ** (1 - i / 7), 1) for i in range(8)]) == BURDA_RATES
    assert pytest.approx([1e-3 / 10 ** (1 + i / 7) for i in range(8)]) == MLMI4_RATES
    assert BURDA_RATES[1] == 7.2e-4
    assert (MLMI4_RATES[0], MLMI4_RATES[7]) == pytest.approx((1e-4, 1e-5))


@pytest.mark.parametrize("rates", [BURDA_RATES, MLMI4_RATES])
@pytest.mark.parametrize("per_epoch", [1, 7, 500, 2980])
def test_every_published_stage_begins_and_ends_at_its_step(rates, per_epoch):
    schedule = stages(3280, rates)
    total, start = 3280 * per_epoch, 0
    for i, rate in enumerate(rates):
        end = start + 3**i * per_epoch
        for step in (start, end - 1):
            assert schedule(step / total) == rate
        start = end
    assert start == total
    assert schedule(1.0) == rates[-1]


@pytest.mark.parametrize("epochs", [9, 10, 20, 100, 1000, 3279, 3280, 3281, 50_000])
def test_shorter_trainings_go_through_all_stages(epochs):
    ends = [0.0, *(epochs * end for end in stages(epochs).ends)]
    lengths = [end - start for start, end in pairwise(ends)]
    assert lengths[0] == pytest.approx(1)
    assert sum(lengths) == pytest.approx(epochs)
    ratios = [second / first for first, second in pairwise(lengths)]
    assert ratios == pytest.approx([ratios[0]] * 7)
    assert ratios[0] > 1
    assert (ratios[0] == pytest.approx(3, rel=1e-6)) == (epochs == 3280)


@pytest.mark.parametrize("epochs", range(1, 9))
def test_few_epochs_are_cut_into_equal_stages(epochs):
    schedule = stages(epochs)
    assert schedule.ends == pytest.approx([i / 8 for i in range(1, 9)])
    assert [schedule(i / 8) for i in range(8)] == list(BURDA_RATES)


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (lambda: stages(0), "epochs must be a whole number of at least 1, got 0"),
        (lambda: stages(2.5), "epochs must be a whole number"),
        (lambda: stages(5, ()), "0 stages want as many ends"),
        (lambda: stages(5, (1e-3, 0.0)), "learning rate of a stage must be positive"),
        (lambda: stages(5, (1e-3, math.nan)), "learning rate of a stage must be positive"),
        (lambda: Stages((1.0, 2.0), (1.0,)), "2 stages want as many ends"),
        (lambda: Stages((1.0, 2.0), (0.5, 0.9)), "rising from above 0 to 1"),
        (lambda: Stages((1.0, 2.0), (0.0, 1.0)), "rising from above 0 to 1"),
        (lambda: Stages((1.0, 2.0, 3.0), (0.6, 0.5, 1.0)), "rising from above 0 to 1"),
    ],
)
def test_stages_that_make_no_sense(build, match):
    with pytest.raises(InputError, match=match):
        build()


# Training


def test_every_step_has_the_learning_rate_of_its_share(used):
    schedule = Stages(RATES, (0.25, 0.5, 1.0))
    history = fit(lr_schedule=schedule).history
    assert used == [3e-2] * 3 + [1e-2] * 3 + [3e-3] * 6
    # The column: of the last step, of the first where there is none.
    assert [row["lr"] for row in history] == [3e-2, 3e-2, 1e-2, 3e-3, 3e-3]


def test_any_function_is_a_schedule(used):
    history = fit(
        lr_schedule=lambda share: 0.1 * share, optimiser=OptimiserSettings(lr=5.0)
    ).history
    assert used == pytest.approx([0.1 * step / 12 for step in range(12)])
    assert [row["lr"] for row in history] == pytest.approx([0, 2 / 120, 5 / 120, 8 / 120, 11 / 120])


def test_a_constant_schedule_is_the_constant_learning_rate():
    found = {}
    for name, changed in {
        "constant": {"optimiser": OptimiserSettings(lr=1e-2)},
        "scheduled": {"lr_schedule": lambda share: 1e-2, "optimiser": OptimiserSettings(lr=1.0)},
        "stages": {"lr_schedule": stages(4, RATES)},
    }.items():
        pair = tiny_pair()
        found[name] = repr(fit(pair, **changed).history), weights(pair)
    assert found["constant"][0] == found["scheduled"][0]
    assert torch.equal(found["constant"][1], found["scheduled"][1])
    assert not torch.allclose(found["constant"][1], found["stages"][1], atol=1e-3)


def test_compiled_steps_follow_the_schedule(monkeypatch):
    """The traced graph stands for what the compiler makes of it; the rate is no part of it."""
    graphs = []
    monkeypatch.setattr(
        torch._inductor, "compile", lambda graph, inputs, **settings: graphs.append(1) or graph
    )
    found = []
    for wanted in (True, False):
        pair = tiny_pair()
        warm_up = {"z2": LinearWarmUp(0.2, 0.5, 1.0)}
        result = fit(pair, compile=wanted, lr_schedule=stages(4, RATES), annealing=warm_up)
        assert result.compiled == wanted
        assert len({row["lr"] for row in result.history}) == 3
        found.append((repr(result.history), weights(pair)))
    assert len(graphs) == 1
    assert found[0][0] == found[1][0]
    assert torch.equal(found[0][1], found[1][1])


@pytest.mark.parametrize("bad", [-1e-3, math.nan, math.inf])
def test_a_schedule_of_impossible_rates_is_refused(bad):
    with pytest.raises(InputError, match=r"lr_schedule\(0\.5\) must be finite and at least 0, got"):
        fit(lr_schedule=lambda share: 1e-3 if share < 0.5 else bad)
    with pytest.raises(InputError, match="lr_schedule must be a function"):
        fit(lr_schedule=1e-3)


# Resuming


@pytest.mark.parametrize(
    ("begun", "resumed", "match"),
    [
        ({}, {"lr_schedule": stages(4)}, r"lr = 0\.001, this run has \(0\.001, 0\.00072, "),
        ({"lr_schedule": stages(4)}, {}, r"lr = \(0\.001, .*, this run has 0\.001;"),
        ({"lr_schedule": stages(4)}, {"lr_schedule": stages(4, MLMI4_RATES)}, r"lr = \(0\.001"),
        ({"lr_schedule": stages(4)}, {"lr_schedule": lambda share: 1.0}, "lr = .* has a schedule"),
        ({}, {"optimiser": OptimiserSettings(gradient="sum")}, "gradient = mean, .* has sum"),
        ({}, {"optimiser": OptimiserSettings(second_moment=1.0)}, "second moment = 0.0, .* 1.0"),
        ({}, {"optimiser": OptimiserSettings(eps=1e-4)}, "eps = 1e-08"),
        ({}, {"optimiser": OptimiserSettings(betas=(0.99, 0.999))}, "betas = "),
    ],
)
def test_a_resume_with_another_recipe_is_refused(tmp_path, begun, resumed, match):
    path = tmp_path / "c.pt"
    fit(checkpoint=path, max_minutes=1e-9, **begun)
    with pytest.raises(InputError, match=f"was trained with {match}"):
        fit(checkpoint=path, resume=True, **resumed)


def test_checkpoints_of_older_versions_resume(tmp_path):
    """They do not say how the gradient was scaled, nor where the second moment began."""
    path, whole = tmp_path / "c.pt", fit()
    fit(checkpoint=path, max_minutes=1e-9)
    content = load_checkpoint(path)
    del content["plan"]["gradient"], content["plan"]["second moment"]
    assert content["plan"]["lr"] == 1e-3
    save_checkpoint(path, {name: part for name, part in content.items() if name != "format"})
    assert repr(fit(checkpoint=path, resume=True).history) == repr(whole.history)
    save_checkpoint(path, {name: part for name, part in content.items() if name != "format"})
    with pytest.raises(InputError, match="gradient = mean, this run has sum"):
        fit(checkpoint=path, resume=True, optimiser=OptimiserSettings(gradient="sum"))


def test_more_epochs_stretch_the_stages(tmp_path, used):
    path = tmp_path / "c.pt"
    fit(checkpoint=path, epochs=2, lr_schedule=stages(2, RATES))
    assert used == [3e-2] * 2 + [1e-2] * 2 + [3e-3] * 2
    used.clear()
    fit(checkpoint=path, epochs=6, lr_schedule=stages(6, RATES), resume=True)
    shares = [step / 18 for step in range(6, 18)]
    assert used == list(map(stages(6, RATES), shares))
    assert used[0] == 1e-2  # back from the last stage into the second
    assert used[-1] == 3e-3


# Recipes


def test_the_recipes_are_those_of_the_papers():
    burda, code = named_recipe("burda"), named_recipe("burda-code")
    for one in (burda, code):
        assert (one.epochs, one.batch_size, one.stages) == (3280, 20, BURDA_RATES)
        assert (one.optimiser.eps, one.optimiser.gradient) == (1e-4, "sum")
        assert one.lr_schedule() == one.lr_schedule(3280) == stages(3280, BURDA_RATES)
    assert (burda.optimiser.betas, burda.optimiser.second_moment) == ((0.9, 0.999), 0)
    assert (code.optimiser.betas, code.optimiser.second_moment) == ((0.99, 0.999), 1)
    mlmi4 = named_recipe("mlmi4")
    assert (mlmi4.epochs, mlmi4.batch_size) == (3280, 100)
    assert mlmi4.optimiser == OptimiserSettings(lr=1e-4, eps=1e-4)
    assert mlmi4.lr_schedule(20) == stages(20, MLMI4_RATES)
    s0 = named_recipe("vas")
    assert named_recipe("s0") is s0  # as versions up to 0.4 called it
    assert (s0.epochs, s0.batch_size, s0.optimiser.lr) == (5000, 400, 1e-4)
    assert s0.lr_schedule() is None
    for one in RECIPES.values():
        assert one.optimiser.betas[1] == 0.999  # which TrainingConfig.optimiser takes for granted
        assert one.stages is None or one.optimiser.lr == one.stages[0]
    with pytest.raises(InputError, match="epochs must be a whole number"):
        mlmi4.lr_schedule(0)


def test_models_have_the_recipes_of_their_papers():
    names = {(model, preset): recipe_name(model, preset) for model in MODELS for preset in PRESETS}
    for (model, preset), name in names.items():
        digits = architecture(model).pixels == "binary"
        paper, small = ("mlmi4", "minutes-digits") if digits else ("vas", "minutes-patches")
        if model == "vamp":
            paper, small = "vampprior", "minutes-warm-up"
        if model in ("image", "ssvae"):
            paper, small = "srvae", "minutes-images"
        assert name == (paper if preset == "paper" else small)
        assert recipe(model, preset) is RECIPES[name]
    with pytest.raises(InputError, match="unknown model 'vae'"):
        recipe("vae")
    with pytest.raises(InputError, match="unknown preset 'large'"):
        recipe("td", "large")
    with pytest.raises(
        InputError, match="unknown recipe 'adam'; allowed: burda, burda-code, mlmi4"
    ):
        named_recipe("adam")


def resolved(*flags):
    return new_config(vars(parser().parse_args(list(flags))))


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_reaches_the_optimiser_whole(name):
    config, plan = resolved("--recipe", name), RECIPES[name]
    assert config["recipe"] == name
    assert (config["epochs"], config["batch_size"]) == (plan.epochs, plan.batch_size)
    assert config.training.optimiser == plan.optimiser
    assert config.training.lr_schedule == plan.lr_schedule()
    assert replace(config.training, epochs=12).lr_schedule == plan.lr_schedule(12)


def test_flags_change_a_recipe_one_by_one():
    changed = resolved(
        "--recipe",
        "burda-code",
        "--adam-beta1",
        "0.8",
        "--adam-eps",
        "1e-6",
        "--gradient",
        "mean",
        "--second-moment",
        "0",
        "--epochs",
        "20",
    )
    assert changed.training.optimiser == OptimiserSettings(1e-3, (0.8, 0.999), 1e-6)
    assert changed.training.lr_schedule == stages(20)
    assert changed["lr"] is None
    constant = resolved("--recipe", "burda", "--lr", "0.003")
    assert constant.training.lr_schedule is None
    assert constant.training.optimiser == OptimiserSettings(3e-3, eps=1e-4, gradient="sum")
    assert resolved()["recipe"] == "minutes-from-data"
    assert resolved("--init", "random")["recipe"] == "minutes-patches"
    falling = resolved("--recipe", "burda", "--lr-shape", "cosine:0.2").training
    assert (falling.lr_stages, falling.lr_schedule) == (None, Cosine(1e-3, 0.2))
    assert resolved("--model", "burda2", "--preset", "paper")["recipe"] == "mlmi4"


def test_runs_of_older_versions_keep_their_constant_learning_rate(tmp_path):
    stored = resolved("--model", "burda1", "--preset", "paper", "--lr", "1e-4")
    entries = stored.with_facts(num_pixels=4).entries()
    for name in ("format", "recipe", "lr_stages", "adam_beta1", "gradient", "second_moment"):
        del entries[name]
    config = resumed_config(read_config(entries, tmp_path), {"epochs": 7}, 1)
    assert config.training.optimiser == OptimiserSettings(lr=1e-4, eps=1e-4)
    assert config.training.lr_schedule is None


def test_a_cosine_rises_over_its_share_and_falls_to_zero():
    schedule = Cosine(2.0, 0.2)
    assert [schedule(share) for share in (0.0, 0.1, 0.2)] == [0.0, 1.0, 2.0]
    assert schedule(0.6) == pytest.approx(1.0)  # half-way down
    assert schedule(0.8) == pytest.approx(1 - math.cos(math.pi / 4))
    assert schedule(1.0) == pytest.approx(0.0, abs=1e-15)
    assert Cosine(2.0)(0.0) == 2.0
    assert shaped("cosine:0.2", 2.0) == schedule
    assert shaped("constant", 2.0) is shaped(None, 2.0) is None


@pytest.mark.parametrize(
    "shape", ["linear", "cosine:1", "cosine:-0.1", "cosine:half", "constant:1"]
)
def test_other_shapes_are_refused(shape):
    with pytest.raises(InputError, match="allowed: constant, cosine, cosine:SHARE, decay"):
        shaped(shape, 1e-3)


def test_a_cosine_is_part_of_the_plan_that_a_resume_must_find(tmp_path):
    path = tmp_path / "checkpoint.pt"
    whole = fit(lr_schedule=Cosine(1e-2, 0.1)).history
    fit(checkpoint=path, lr_schedule=Cosine(1e-2, 0.1), max_minutes=1e-9)
    with pytest.raises(InputError, match=r"lr = 0\.01 along cosine:0\.1"):
        fit(checkpoint=path, lr_schedule=Cosine(1e-2, 0.2), resume=True)
    again = fit(checkpoint=path, lr_schedule=Cosine(1e-2, 0.1), resume=True).history
    losses = [[row["train_objective"] for row in rows[1:]] for rows in (whole, again)]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 4


def test_a_constant_learning_rate_cannot_replace_the_stages_of_a_run():
    stored = resolved("--recipe", "burda")
    with pytest.raises(InputError, match=r"--lr 0\.001 cannot .* the stages 0\.001, 0\.00072, "):
        resumed_config(stored, {"lr": 1e-3}, 1)
    longer = resumed_config(stored, {"epochs": 5467}, 1)
    assert longer.training.lr_schedule == stages(5467)


# The other half of a recipe: where training starts from (Arnal et al. 2021, appendix A)


def layers(module):
    return {name: part for name, part in module.named_modules() if isinstance(part, MergedLinear)}


@pytest.mark.parametrize("model", ["burda1", "burda2"])
@pytest.mark.parametrize("guide", GUIDES)
def test_digit_models_start_from_glorot_weights_and_zero_biases(model, guide):
    """Weights uniform within sqrt(6 / (in + out)) of the joint layer, by their two moments."""
    pair = pyro_vae.build_pair(model, guide, num_pixels=784)
    seen = 0
    for module in pair:
        for layer in layers(module).values():
            weight = torch.cat([part.weight.detach() for part in layer.parts], 1).double()
            bound = math.sqrt(6 / sum(weight.shape))
            assert weight.abs().max() <= bound * (1 + 1e-6)
            u = (weight / bound).flatten()
            assert z_scores(u, 0.0) < 5
            assert z_scores(u**2, 1 / 3) < 5
            # torch's own: within 1 / sqrt(in), so of another variance.
            assert z_scores(u**2, (sum(weight.shape) / weight.shape[1]) / 18) > 8
            biases = [part.bias for part in layer.parts if part.bias is not None]
            assert len(biases) == 1
            assert not biases[0].any()
            seen += 1
    assert seen >= 7  # 3 of the decoder and 4 of the encoder of one level


def test_patch_models_keep_torchs_default():
    model, guide = pyro_vae.build_pair("td", "topdown")
    assert all(
        layer.parts[0].bias.any() for module in (model, guide) for layer in layers(module).values()
    )


def test_the_output_bias_is_the_logit_of_the_mean_pixel():
    """logit(clip(mean, 0.001, 0.999)); the other biases stay zero."""
    mean = torch.tensor([0.0, 5e-4, 0.001, 0.25, 0.5, 0.9, 0.9995, 1.0])
    wanted = [math.log(p / (1 - p)) for p in (0.001, 0.001, 0.001, 0.25, 0.5, 0.9, 0.999, 0.999)]
    model, _ = pyro_vae.build_pair("burda1", "topdown", num_pixels=8, pixel_mean=mean)
    biases = {name: layer.parts[0].bias for name, layer in layers(model).items()}
    assert biases.pop("likelihood.logits").tolist() == pytest.approx(wanted, rel=1e-4, abs=1e-6)
    assert not any(bias.any() for bias in biases.values())
    plain, _ = pyro_vae.build_pair("burda1", "topdown", num_pixels=8)
    assert not plain.likelihood.logits.parts[0].bias.any()
    # Before training the decoder draws every pixel about as often as the data have it.
    with double_precision(), torch.no_grad():
        drawn = model.double().likelihood(torch.zeros(1, 50)).mean
    torch.testing.assert_close(drawn[0], mean.double().clamp(1e-3, 1 - 1e-3), rtol=1e-5, atol=1e-7)
    with pytest.raises(InputError, match="pixel mean has shape"):
        pyro_vae.build_pair("burda1", "topdown", num_pixels=8, pixel_mean=mean[:3])
