"""fit() of whatever people have: functions, methods, names, arrays; or one line why not."""

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.nn import PyroModule
from torch import nn
from torch.distributions import constraints

import pyro_vae
from pyro_vae.errors import InputError
from pyro_vae.objectives import IWAE, make_objective
from pyro_vae.training.stored import StoredProgram, trainable_pair
from tests.conftest import tiny_pair

X = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
SETTINGS = {"epochs": 2, "batch_size": 20, "progress": False}


def fit(model, guide, train=X, **settings):
    settings = {"objective": IWAE(2), **SETTINGS, **settings}
    return pyro_vae.fit(model, guide, train, **settings)


def model(x):
    """x ~ N(shift + z, scale), z ~ N(0, 1), both parameters in Pyro's store."""
    shift = pyro.param("shift", lambda: torch.randn(3))
    scale = pyro.param("scale", torch.tensor(2.0), constraint=constraints.positive)
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(shift + z, scale).to_event(1), obs=x)


def guide(x):
    gain = pyro.param("gain", torch.tensor(0.1))
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("z", dist.Normal(gain * x, 0.7).to_event(1))


def stored():
    store = pyro.get_param_store()
    return {name: store[name].detach().clone() for name in sorted(store)}


def by_hand(objective, steps):
    """The store after Adam's steps on the objective's own loss, whole batches, on fit's noise."""
    trainable_pair(model, guide, X, 0)  # first values as fit draws them
    store = pyro.get_param_store()
    parameters = [store[name].unconstrained() for name in ("shift", "scale", "gain")]
    adam = torch.optim.Adam(parameters, lr=1e-3)
    loss = objective(model, guide)
    torch.manual_seed(0)
    order = pyro_vae.datasets.Batches(X, len(X), seed=0)
    for epoch in range(steps):
        (x,) = order.epoch(epoch)
        adam.zero_grad()
        loss(x).backward()
        for parameter in parameters:
            parameter.grad /= len(x)
        adam.step()
    return stored()


@pytest.mark.parametrize("name", ["iwae", "dreg", "stl", "elbo", "pyro-elbo", "pyro-renyi"])
def test_functions_are_trained_as_a_loop_by_hand_trains_them(name):
    objective = make_objective(name, 3)
    torch.manual_seed(0)
    fit(model, guide, objective=objective, batch_size=len(X), epochs=5)
    found = stored()
    assert set(found) == {"gain", "scale", "shift"}
    if name == "pyro-renyi":  # has no loss module to train by hand
        assert all(found["gain"] != 0.1 for _ in found)
        return
    pyro.clear_param_store()
    for key, value in by_hand(objective, 5).items():
        torch.testing.assert_close(found[key], value, rtol=1e-5, atol=1e-6)
    assert found["gain"] != 0.1
    assert found["scale"] != 2.0


def test_functions_are_resumed_to_the_bit(tmp_path):
    path = tmp_path / "c.pt"
    fit(model, guide, epochs=4)
    whole = stored()
    pyro.clear_param_store()
    fit(model, guide, epochs=2, checkpoint=path)
    pyro.clear_param_store()
    torch.manual_seed(99)
    fit(model, guide, epochs=4, checkpoint=path, resume=True)
    for key, value in stored().items():
        assert torch.equal(value, whole[key]), key


def test_the_seed_decides_the_first_values_of_functions_too():
    found = []
    for state in (1, 2):
        pyro.clear_param_store()
        torch.manual_seed(state)  # of the caller, which does not matter
        fit(model, guide, epochs=1)
        found.append(stored()["shift"])
    assert torch.equal(*found)


def test_a_second_call_goes_on_with_what_the_store_holds():
    fit(model, guide)
    first = stored()["gain"]
    fit(model, guide, epochs=1)
    assert 0 < abs(stored()["gain"] - first) < 0.02


def test_functions_with_registered_modules_and_a_shared_parameter():
    net = nn.Linear(3, 3)

    def decoder(x):
        pyro.module("net", net)
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            scale = pyro.param("s", torch.tensor(1.0), constraint=constraints.positive)
            pyro.sample("x", dist.Normal(net(z), scale).to_event(1), obs=x)

    def encoder(x):
        scale = pyro.param("s", torch.tensor(1.0), constraint=constraints.positive)
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x, scale).to_event(1))

    before = net.weight.detach().clone()
    fit(decoder, encoder, objective="dreg")
    assert (net.weight != before).all()
    assert stored()["s"] != 1.0
    pair = trainable_pair(decoder, encoder, X, 0)
    held = [id(parameter) for part in pair for parameter in part.parameters()]
    assert len(held) == len(set(held)) == 3


class Store(nn.Module):
    """A module with one parameter of its own and one in Pyro's store."""

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(3))

    def forward(self, x):
        scale = pyro.param("scale", torch.tensor(2.0), constraint=constraints.positive)
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.shift + z, scale).to_event(1), obs=x)


def test_a_module_that_also_keeps_parameters_in_the_store_trains_both(tmp_path):
    module, path = Store(), tmp_path / "c.pt"
    fit(module, guide, checkpoint=path)
    assert (module.shift != 0).all()
    assert stored()["scale"] != 2.0
    content = pyro_vae.storage.load_checkpoint(path)
    assert set(content["model"]) == {"shift", "scale"}
    assert set(content["guide"]) == {"gain"}


class Pair(nn.Module):
    """The tutorials' way: one module with model and guide as methods."""

    def __init__(self):
        super().__init__()
        self.decoder, self.encoder = nn.Linear(2, 3), nn.Linear(3, 2)
        self.unused = nn.BatchNorm1d(3)

    def model(self, x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), 1.0).to_event(1), obs=x)

    def guide(self, x):
        self.unused(x)
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(self.encoder(x), 0.7).to_event(1))


def test_methods_of_a_module_train_the_whole_module():
    pair = Pair()
    before = [parameter.detach().clone() for parameter in pair.parameters()]
    fit(pair.model, pair.guide, X.double().numpy())
    changed = [(p != q).any() for p, q in zip(pair.parameters(), before, strict=True)]
    assert changed[:4] == [True] * 4


def test_looking_at_the_programs_changes_nothing():
    pair = Pair()
    pair.decoder.eval()
    state = {name: value.clone() for name, value in pair.state_dict().items()}
    noise = torch.get_rng_state()
    trainable_pair(pair.model, pair.guide, X, 0)
    assert torch.equal(noise, torch.get_rng_state())
    for name, value in pair.state_dict().items():
        assert torch.equal(value, state[name]), name
    assert pair.training
    assert pair.unused.training
    assert not pair.decoder.training


def test_modules_of_pyro_stay_as_they_are_even_where_an_older_pair_had_their_names():
    class Model(PyroModule):
        def __init__(self):
            super().__init__()
            self.shift = nn.Parameter(torch.zeros(3))

        def forward(self, x):
            with pyro.plate("data", len(x), dim=-1):
                z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
                pyro.sample("x", dist.Normal(self.shift + z, 1.0).to_event(1), obs=x)

    class Guide(PyroModule):
        def __init__(self):
            super().__init__()
            self.gain = nn.Parameter(torch.tensor(0.1))

        def forward(self, x):
            with pyro.plate("data", len(x), dim=-1):
                pyro.sample("z", dist.Normal(self.gain * x, 0.7).to_event(1))

    for _ in range(2):
        pair = Model(), Guide()
        assert trainable_pair(*pair, X, 0) == pair


def test_a_parameter_that_nothing_would_train_is_refused():
    net = nn.Linear(3, 3)

    def forgetful(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(net(z), 1.0).to_event(1), obs=x)

    with pytest.raises(InputError, match=r"2 parameters \(of shapes .*pyro\.module") as caught:
        fit(forgetful, guide)
    assert "\n" not in str(caught.value)
    net.requires_grad_(False)
    fit(forgetful, guide)  # frozen on purpose


def test_functions_are_not_compiled():
    result = fit(model, guide, compile=None)
    assert not result.compiled
    assert isinstance(trainable_pair(model, guide, X, 0)[0], StoredProgram)


def test_who_asks_for_compiled_functions_is_told_why_not(capsys):
    assert not pyro_vae.fit(model, guide, X, epochs=1, compile=True).compiled
    assert "step not compiled: a graph cannot reach what functions keep" in capsys.readouterr().out


def test_a_level_that_no_program_has_is_not_annealed():
    for objective in ("iwae", "pyro-elbo"):
        with pytest.raises(InputError, match="cannot anneal y: model and guide sample no such"):
            fit(model, guide, objective=objective, annealing={"y": lambda share: share})


NAMES = {
    "iwae": ("iwae", lambda: IWAE(50)),
    "with settings": (
        ("renyi", {"alpha": 0.5, "num_particles": 4}),
        lambda: make_objective("renyi", 4, alpha=0.5),
    ),
    "none": (None, lambda: IWAE(50)),
}


@pytest.mark.parametrize("case", NAMES)
def test_an_objective_may_be_named(case):
    named, same = NAMES[case]
    results = []
    for objective in (named, same()):
        model_, guide_ = tiny_pair()
        data = torch.randn(20, 6, generator=torch.Generator().manual_seed(1))
        history = fit(model_, guide_, data, objective=objective, epochs=1).history
        results.append(history[-1]["train_objective"])
    assert results[0] == results[1]


@pytest.mark.parametrize(
    "convert",
    [
        lambda x: x.double(),
        lambda x: x.numpy(),
        lambda x: x.double().numpy(),
        lambda x: pd.DataFrame(x.numpy()),
        lambda x: (x.tolist(),),
    ],
)
def test_training_takes_any_form_of_data_to_the_same_bits(convert):
    data = torch.randn(30, 6, generator=torch.Generator().manual_seed(1))
    found = []
    for rows in (data, convert(data)):
        pair = tiny_pair()
        fit(*pair, rows, valid=rows)
        found.append(torch.cat([p.detach().flatten() for m in pair for p in m.parameters()]))
    assert torch.equal(*found)


GOOD = torch.zeros(10, 6)
BAD = {
    "one axis": ({"train": GOOD[:, 0]}, r"train has shape \(10,\); the model wants \(B, 6\)"),
    "other width": ({"train": GOOD[:, 1:]}, r"train has shape \(10, 5\)"),
    "empty": ({"train": GOOD[:0]}, "train holds no data"),
    "NaN": ({"train": GOOD.index_fill(0, torch.tensor([4]), torch.nan)}, "train .*in row 4"),
    "valid": ({"valid": np.full((2, 6), np.inf)}, "valid holds 12 values that are not finite"),
    "narrow valid": ({"valid": GOOD[:, :2]}, r"valid has shape \(10, 2\)"),
    "two arguments": ({"train": (GOOD, GOOD)}, "train is a tuple of 2 arrays.*SVI"),
    "objective": ({"objective": "iwee"}, "unknown objective 'iwee'; allowed: iwae"),
    "a class": ({"objective": IWAE}, r"a class is called first: IWAE\(50\)"),
    "setting": ({"objective": ("iwae", {"alpha": 1.0})}, "alpha belongs to the objective renyi"),
    "annealing": ({"annealing": {"z1": 0.5}}, "annealing of 'z1' must be a function .* got 0.5"),
    "number": ({"objective": 5}, "objective must be a pyro.infer.ELBO such as"),
    "model": (
        {"model": pyro_vae.HierarchicalVAE},
        "must be Pyro programs.* got the class HierarchicalVAE",
    ),
    "guide": ({"guide": None}, "must be Pyro programs.* got None"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_fit_cannot_use_is_said_in_one_line(case, tmp_path):
    changed, message = BAD[case]
    model_, guide_ = tiny_pair()
    settings = {"model": model_, "guide": guide_, "train": GOOD, **changed}
    checkpoint = tmp_path / "c.pt"
    with pytest.raises(InputError, match=message) as caught:
        fit(**settings, checkpoint=checkpoint)
    assert "\n" not in str(caught.value)
    assert not checkpoint.exists()
