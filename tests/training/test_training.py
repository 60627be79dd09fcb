"""fit(): reproducible, honest about annealing, clipping and divergence; what it refuses."""

import math
import re

import pytest
import torch

from pyro_vae import InputError, LinearWarmUp, OptimiserSettings, TrainingDiverged
from pyro_vae.objectives import OBJECTIVES
from pyro_vae.programs import GUIDES
from pyro_vae.storage import load_checkpoint
from tests.conftest import objective_named, tiny_architecture, tiny_pair
from tests.quick_fit import VALID, X, fit, same

# Reproducibility


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_seed_alone_decides_the_history(objective):
    histories = []
    for seed, noise in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(noise)  # the caller's generator must not matter
        result = fit(objective=objective_named(objective, 3), seed=seed)
        assert result.stopped == "finished"
        histories.append(result.history)
    assert same(histories[0], histories[1])
    assert not same(histories[0], histories[2])
    assert [row["epoch"] for row in histories[0]] == [0, 1, 2]
    assert [row["step"] for row in histories[0]] == [0, 3, 6]


def test_the_callers_generator_is_left_alone(tmp_path):
    torch.manual_seed(4)
    before = torch.get_rng_state()
    fit(checkpoint=tmp_path / "c.pt", epochs=1)
    assert torch.equal(torch.get_rng_state(), before)
    fit(checkpoint=tmp_path / "c.pt", resume=True)
    assert torch.equal(torch.get_rng_state(), before)


def test_validation_does_not_change_training():
    judged, unjudged = tiny_pair(), tiny_pair()
    fit(judged)
    fit(unjudged, valid=None)
    for one, other in zip(judged[0].parameters(), unjudged[0].parameters(), strict=True):
        assert torch.equal(one, other)


def test_every_epoch_is_judged_on_the_same_noise():
    # Skipped steps leave the pair as it was, so that noise alone could move the figures.
    history = fit(optimiser=OptimiserSettings(skip_norm=1e-6)).history
    for name in ("elbo", "bound", "reconstruction", "kl_z1", "kl_z2", "ess"):
        assert len({row[name] for row in history}) == 1, name


def test_the_history_reaches_on_epoch_row_by_row():
    lengths = []
    result = fit(on_epoch=lambda history: lengths.append(len(history)))
    assert lengths == [1, 2, 3]
    assert set(result.history[0]) == {
        "epoch",
        "step",
        "num_particles",
        "lr",
        "beta_z2",
        "train_objective",
        "grad_norm",
        "clipped",
        "skipped",
        "elbo",
        "bound",
        "reconstruction",
        "kl_z1",
        "kl_z2",
        "ess",
    }


# Annealing


@pytest.mark.parametrize(("levels", "columns"), [(1, []), (2, ["beta_z2"]), (3, ["beta_z2"])])
def test_z2_is_annealed_by_default(levels, columns):
    history = fit(tiny_pair(levels=levels), epochs=4).history
    assert [name for name in history[0] if name.startswith("beta_")] == columns
    for name in columns:
        assert [row[name] for row in history] == pytest.approx([0.1, 0.55, 1, 1, 1])


def test_annealing_changes_training_but_no_reported_bound():
    annealed = fit(annealing={"z2": LinearWarmUp(0.1, 0.1, 0)}).history
    plain = fit(annealing={}).history
    names = ("elbo", "bound", "reconstruction", "kl_z1", "kl_z2", "ess")
    assert "beta_z2" not in plain[0]
    assert annealed[0]["beta_z2"] == 0.1
    for name in names:
        assert annealed[0][name] == plain[0][name]  # the same untrained pair, the same noise
        assert annealed[1][name] != plain[1][name]  # trained on something else
    row = annealed[-1]
    total = row["reconstruction"] - row["kl_z1"] - row["kl_z2"]
    assert row["elbo"] == pytest.approx(total, rel=1e-9)  # the betas are not in it


# The capacity's objective need not grow where a KL term leaves it: |KL - C| has two sides.
@pytest.mark.parametrize("name", [name for name in OBJECTIVES if name != "capacity"])
def test_every_objective_is_annealed(name):
    def first_objective(annealing):
        result = fit(
            objective=objective_named(name, 3), annealing=annealing, epochs=1, batch_size=60
        )
        return result.history[1]["train_objective"]

    # Without the KL of z1 and z2 (beta = 0) the first step's objective is larger.
    off = {level: LinearWarmUp(0.0, 0.0, 0) for level in ("z1", "z2")}
    assert first_objective(off) > first_objective({}) + 0.1


def test_annealing_an_unknown_level_lists_the_levels():
    with pytest.raises(InputError, match=r"cannot anneal 'z3'; the model's levels: z1, z2"):
        fit(annealing={"z3": LinearWarmUp()})


@pytest.mark.parametrize("numbers", [(-0.1, 1, 0.5), (0.1, -1, 0.5), (0.1, 1, 1.5)])
def test_a_senseless_schedule_is_refused(numbers):
    with pytest.raises(InputError, match="annealing wants"):
        LinearWarmUp(*numbers)


# Clipping, skipping and divergence


def test_clipping_is_counted_and_bounds_the_step():
    norms = fit(epochs=1).history[1]
    assert (norms["clipped"], norms["skipped"]) == (0, 0)
    assert norms["grad_norm"] > 0.1
    clipped = fit(epochs=1, optimiser=OptimiserSettings(clip_norm=1e-3)).history[1]
    assert (clipped["clipped"], clipped["skipped"]) == (3, 0)
    assert clipped["elbo"] != norms["elbo"]


def test_skipped_steps_are_counted_and_change_nothing():
    model, guide = tiny_pair()
    before = [p.clone() for p in (*model.parameters(), *guide.parameters())]
    history = fit((model, guide), optimiser=OptimiserSettings(skip_norm=1e-6)).history
    assert [row["skipped"] for row in history] == [0, 3, 3]
    assert math.isnan(history[1]["grad_norm"])
    for old, new in zip(before, (*model.parameters(), *guide.parameters()), strict=True):
        assert torch.equal(old, new)


def test_norms_that_stay_large_are_clipped_after_ten_skips():
    """At the start, or on other data than Vas's, a norm above the limit is no outlier."""
    model, guide = tiny_pair()
    before = [p.clone() for p in (*model.parameters(), *guide.parameters())]
    row = fit(
        (model, guide),
        epochs=1,
        batch_size=4,
        valid=None,
        optimiser=OptimiserSettings(skip_norm=1e-6, clip_norm=1e-7),
    ).history[-1]
    assert (row["skipped"], row["clipped"]) == (10, 5)
    after = (*model.parameters(), *guide.parameters())
    assert not all(torch.equal(old, new) for old, new in zip(before, after, strict=True))


def test_a_hundred_gradients_that_are_not_finite_stop_training(tmp_path, monkeypatch):
    path = tmp_path / "c.pt"
    monkeypatch.setattr(torch.nn.utils, "get_total_norm", lambda *args: torch.tensor(torch.inf))
    with pytest.raises(TrainingDiverged) as caught:
        fit(epochs=60, batch_size=20, checkpoint=path, valid=None)
    message = str(caught.value)
    assert re.match(r"step 10[01] \(epoch 34\): 100 steps in a row were skipped", message)
    assert "gradient norm inf" in message
    assert f"the last good checkpoint is {path}" in message


def one_bad_row():
    data = X.clone()
    data[17, 3] = 1e30  # finite, and beyond what the densities can hold
    return data


# Pyro's own objectives warn on top of the error.
@pytest.mark.filterwarnings("ignore:Encountered NaN")
@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("batch_size", [1, 60])
def test_a_datum_beyond_all_densities_stops_training(tmp_path, name, batch_size):
    path = tmp_path / "c.pt"
    pair = tiny_pair()
    with pytest.raises(
        TrainingDiverged, match=r"^step \d+ \(epoch 1\): .* is not finite"
    ) as caught:
        fit(
            pair,
            one_bad_row(),
            objective=objective_named(name, 2),
            batch_size=batch_size,
            checkpoint=path,
            valid=None,
        )
    message = str(caught.value)
    assert "\n" not in message
    assert any(term in message for term in ("log q(z", "log p(z", "log p(x"))
    assert f"the last good checkpoint is {path}" in message
    for module, part in zip(pair, ("model", "guide"), strict=True):
        for key, value in load_checkpoint(path)[part].items():
            assert value.isfinite().all(), key
        assert all(p.isfinite().all() for p in module.parameters())


def test_a_parameter_that_is_not_finite_is_named():
    model, guide = tiny_pair()
    with torch.no_grad():
        model.likelihood.loc.parts[0].weight[0, 0] = torch.inf
    with pytest.raises(TrainingDiverged, match=r"parameter 'likelihood\.loc\.parts\.0\.weight'"):
        fit((model, guide), valid=None)


def test_without_a_checkpoint_the_message_says_so():
    model, guide = tiny_pair()
    with torch.no_grad():
        model.likelihood.loc.parts[0].weight[0, 0] = torch.inf
    with pytest.raises(TrainingDiverged, match="there is no checkpoint"):
        fit((model, guide), valid=None)


# Bad arguments


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"epochs": 0}, "epochs must be a whole number of at least 1, got 0"),
        ({"epochs": 1.5}, "epochs must be a whole number"),
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1"),
        ({"max_minutes": 0}, "max_minutes must be positive"),
        ({"seed": -1}, "seed"),
        ({"resume": True}, "resume=True wants the checkpoint"),
        ({"binarise": "sometimes"}, "static, epoch, access"),
        ({"binarise": "epoch"}, r"binarise='epoch' needs pixels in \[0, 1\]"),
        ({"train": X[:0]}, "train holds no data"),
        ({"train": X[:, :5]}, r"train has shape \(60, 5\); the model wants \(B, 6\)"),
        ({"train": X.reshape(60, 2, 3)}, r"train has shape \(60, 2, 3\); the model wants"),
        ({"valid": VALID[:, :5]}, r"valid has shape \(12, 5\); the model wants \(B, 6\)"),
        ({"valid": VALID[:0]}, "valid holds no data"),
    ],
)
def test_bad_arguments_are_refused(settings, match):
    with pytest.raises(InputError, match=match):
        fit(**settings)


@pytest.mark.parametrize(
    "settings",
    [{"lr": 0}, {"lr": math.nan}, {"clip_norm": -1}, {"skip_norm": 0}, {"betas": (0.9, 1.0)}],
)
def test_bad_optimiser_settings_are_refused(settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        OptimiserSettings(**settings)


@pytest.mark.parametrize("guide", GUIDES)
def test_a_guide_with_the_wrong_number_of_levels(guide):
    model, _ = tiny_pair(levels=2)
    _, other = tiny_pair(guide, levels=3)
    with pytest.raises(InputError, match="the model has 2 levels and the guide 3"):
        fit((model, other))


def test_parts_that_do_not_fit_the_levels():
    arch = tiny_architecture(2)
    with pytest.raises(InputError, match="2 levels want 1 feedback, got 0"):
        type(arch)(**{**vars(arch), "feedback": ()})
    with pytest.raises(InputError, match="encoders want at least one hidden layer"):
        type(arch)(**{**vars(arch), "encoders": ((8,), ())})
