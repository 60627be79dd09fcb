"""fit(): reproducible, resumable, stoppable, honest about annealing, and it learns."""

import math
import os
import re
import signal

import pytest
import torch

import pyro_vae
from pyro_vae import DReG, InputError, LinearWarmUp, OptimiserSettings, TrainingDiverged
from pyro_vae.objectives import OBJECTIVES
from pyro_vae.programs import GUIDES
from pyro_vae.storage import load_checkpoint
from tests.conftest import objective_named, tiny_architecture, tiny_pair

X = torch.randn(60, 6, generator=torch.Generator().manual_seed(0))
VALID = torch.randn(12, 6, generator=torch.Generator().manual_seed(1))
QUICK = {"epochs": 2, "batch_size": 20, "progress": False}


def fit(pair=None, train=X, **settings):
    settings = {"objective": pyro_vae.IWAE(3), "valid": VALID, **QUICK, **settings}
    return pyro_vae.fit(*(pair or tiny_pair()), train, **settings)


def same(first, second):
    """Equal histories to the last bit; NaN equals NaN."""
    return repr(first) == repr(second)


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


# Stopping and resuming


def equal_to_an_uninterrupted_run(result, pair, path, **settings):
    unbroken = tiny_pair()
    expected = fit(unbroken, **settings)
    assert same(result.history, expected.history)
    for one, other in zip(pair, unbroken, strict=True):
        for name, parameter in one.named_parameters():
            assert torch.equal(parameter, dict(other.named_parameters())[name]), name
    assert load_checkpoint(path)["progress"]["epoch"] == settings["epochs"]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_max_minutes_stops_and_resumes_exactly(tmp_path, name):
    path = tmp_path / "c.pt"
    settings = {"epochs": 3, "objective": objective_named(name, 3)}
    first = fit(checkpoint=path, max_minutes=1e-9, **settings)
    assert (first.stopped, first.signal) == ("time", None)
    assert [row["epoch"] for row in first.history] == [0]
    assert load_checkpoint(path)["progress"]["step"] == 1  # in the middle of the first epoch
    steps = [1]
    for stop in range(3):  # a step or two at a time, each from a fresh pair
        pair = tiny_pair(seed=stop + 1)
        result = fit(pair, checkpoint=path, resume=True, max_minutes=1e-9, **settings)
        assert result.stopped == "time"
        steps.append(load_checkpoint(path)["progress"]["step"])
        assert 0 < steps[-1] - steps[-2] <= 2
    pair = tiny_pair(seed=9)
    result = fit(pair, checkpoint=path, resume=True, **settings)
    assert result.stopped == "finished"
    equal_to_an_uninterrupted_run(result, pair, path, **settings)


@pytest.mark.parametrize("binarise", ["epoch", "access"])
def test_binarised_data_resume_exactly(tmp_path, binarise):
    path = tmp_path / "c.pt"
    settings = {"train": X.sigmoid(), "valid": None, "binarise": binarise, "epochs": 3}
    histories = []
    for stops in (False, True):
        pair = tiny_pair(pixels="binary")
        if stops:
            fit(pair, checkpoint=path, max_minutes=1e-9, **settings)
            pair = tiny_pair(pixels="binary", seed=5)
        histories.append(fit(pair, checkpoint=path if stops else None, resume=stops, **settings))
    assert same(histories[0].history, histories[1].history)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_between_two_steps_and_resumes_exactly(tmp_path, number):
    path = tmp_path / "c.pt"

    def interrupt(history):
        if len(history) == 2:
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    result = fit(checkpoint=path, epochs=3, on_epoch=interrupt)
    assert (result.stopped, result.signal) == ("interrupted", number)
    assert [row["epoch"] for row in result.history] == [0, 1]
    assert load_checkpoint(path)["progress"]["step"] == 4
    assert signal.getsignal(number) is before
    pair = tiny_pair(seed=8)
    result = fit(pair, checkpoint=path, resume=True, epochs=3)
    assert result.stopped == "finished"
    equal_to_an_uninterrupted_run(result, pair, path, epochs=3)


def test_a_second_signal_acts_as_usual(tmp_path):
    def interrupt(history):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("the second Ctrl-C must raise KeyboardInterrupt")

    with pytest.raises(KeyboardInterrupt):
        fit(checkpoint=tmp_path / "c.pt", on_epoch=interrupt)


def test_a_signal_that_is_ignored_at_start_goes_on_being_ignored():
    """As under nohup, or in the background of a script whose user presses Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        result = fit(on_epoch=lambda history: os.kill(os.getpid(), signal.SIGINT))
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert (result.stopped, result.signal) == ("finished", None)


def test_a_signal_in_the_last_step_is_not_lost():
    def interrupt(history):
        if len(history) == 3:
            os.kill(os.getpid(), signal.SIGINT)

    result = fit(on_epoch=interrupt)
    assert (result.stopped, result.signal) == ("finished", signal.SIGINT)


def test_more_epochs_continue_a_finished_run(tmp_path):
    path = tmp_path / "c.pt"
    fit(checkpoint=path, annealing={})
    longer = fit(tiny_pair(seed=3), checkpoint=path, resume=True, epochs=4, annealing={})
    assert same(longer.history, fit(epochs=4, annealing={}).history)


# Learning


def linear_set(rows=300, noise=0.4):
    """x = W z + noise: data of a known evidence that the tiny linear model can reach."""
    generator = torch.Generator().manual_seed(2)
    weight = torch.randn(6, 2, generator=generator, dtype=torch.float64)
    z = torch.randn(rows, 2, generator=generator, dtype=torch.float64)
    x = z @ weight.T + noise * torch.randn(rows, 6, generator=generator, dtype=torch.float64)
    covariance = weight @ weight.T + noise**2 * torch.eye(6, dtype=torch.float64)
    truth = torch.distributions.MultivariateNormal(torch.zeros(6).double(), covariance)
    return x.float(), truth.log_prob(x).mean().item()


# With one level the guides are the same network, and train bit for bit alike.
@pytest.mark.parametrize(
    ("name", "guide"), [*((name, "topdown") for name in OBJECTIVES), ("iwae", "bottomup")]
)
def test_training_reaches_the_evidence(name, guide):
    x, evidence = linear_set()
    pair = tiny_pair(guide, levels=1, families=("normal",))

    def log_likelihood():
        return pyro_vae.evaluation.log_likelihood(*pair, x[:100], 200).mean().item()

    # The tiny model has four units for two directions, and 100 of the data are judged: it may end
    # a little above or below the evidence of the program that made the data.
    assert log_likelihood() < evidence - 5
    result = fit(
        pair,
        x,
        valid=x[:100],
        objective=objective_named(name, 5),
        epochs=16,
        batch_size=30,
        optimiser=OptimiserSettings(lr=3e-2),
    )
    assert log_likelihood() > evidence - 1
    assert log_likelihood() < evidence + 1
    assert result.history[-1]["bound"] > result.history[0]["bound"] + 5
    assert result.history[-1]["elbo"] <= result.history[-1]["bound"]


def test_more_particles_tighten_the_reported_bound():
    history = fit(objective=DReG(20)).history
    assert all(row["elbo"] < row["bound"] for row in history)
    assert all(1 <= row["ess"] <= 20 for row in history)


def test_row_zero_judges_the_untrained_pair():
    pair = tiny_pair()
    figures = pyro_vae.evaluation.evaluate(
        *pair, VALID, num_particles=2000, bound_particles=1, khat=False
    )
    row = fit(pair, objective=pyro_vae.IWAE(500)).history[0]
    spread = figures.summary()["elbo"]["standard_error"]
    assert row["elbo"] == pytest.approx(figures.elbo.mean(), abs=0.2 * spread)


@pytest.mark.parametrize(
    ("changed", "name"),
    [({"seed": 7}, "seed"), ({"optimiser": OptimiserSettings(lr=0.5)}, "lr")],
)
def test_a_resume_with_other_seed_or_optimiser_is_refused(tmp_path, changed, name):
    path = tmp_path / "c.pt"
    fit(epochs=1, checkpoint=path)
    with pytest.raises(InputError, match=rf"was trained with {name} = "):
        fit(epochs=2, checkpoint=path, resume=True, **changed)
