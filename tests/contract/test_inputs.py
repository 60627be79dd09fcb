"""What people hand in as data, objectives and programs: read exactly, or refused in one line."""

import warnings

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray
from torch import nn

import pyro_vae
from pyro_vae.errors import InputError
from pyro_vae.evaluation import activity
from pyro_vae.evaluation.posterior_moments import posterior_moments
from pyro_vae.rows import as_arguments, as_data
from tests.conftest import tiny_pair

X = torch.randn(12, 6, generator=torch.Generator().manual_seed(0))
COUNTS = (4 * X).round().clamp(-100, 100)

# Every way of handing in the same numbers, which a float32 model reads as the very same tensor.
KINDS = {
    "float32 tensor": lambda x: x,
    "float64 tensor": lambda x: x.double(),
    "half tensor": lambda x: x.half(),
    "bfloat16 tensor": lambda x: x.bfloat16(),
    "int64 tensor": lambda x: x.long(),
    "int8 tensor": lambda x: x.to(torch.int8),
    "a tensor with strides": lambda x: x.repeat_interleave(2, 0)[::2],
    "float64 array": lambda x: x.double().numpy(),
    "float32 array": lambda x: x.numpy(),
    "half array": lambda x: x.half().numpy(),
    "long double array": lambda x: x.double().numpy().astype(np.longdouble),
    "big-endian array": lambda x: x.double().numpy().astype(">f8"),
    "int array": lambda x: x.long().numpy(),
    "upside down": lambda x: x.numpy()[::-1].copy()[::-1],
    "Fortran order": lambda x: np.asfortranarray(x.numpy()),
    "read-only": lambda x: np.broadcast_to(x.numpy(), x.shape),
    "lists": lambda x: x.tolist(),
    "data frame": lambda x: pd.DataFrame(x.numpy()),
    "frame of integers": lambda x: pd.DataFrame(x.long().numpy()),
    "frame of several types": lambda x: pd.DataFrame(x.numpy()).astype({0: "int64", 1: "Int16"}),
    "xarray": lambda x: xarray.DataArray(x.numpy()),
    "a tuple of one": lambda x: (x.double().numpy(),),
}


def everything(model, guide, x):
    """Every function that takes data, as name -> numbers, on one seed."""
    uses = {
        "evaluate": lambda: (
            pyro_vae.evaluation.evaluate(
                model, guide, x, num_particles=30, bound_particles=5
            ).log_likelihood
        ),
        "log_likelihood": lambda: pyro_vae.evaluation.log_likelihood(model, guide, x, 10),
        "bound_curve": lambda: pyro_vae.evaluation.bound_curve(model, guide, x, 10).values,
        "log_weights": lambda: pyro_vae.log_weights(model, guide, x, 2).log_w.detach(),
        "moments": lambda: posterior_moments(model, guide, x, 2, 3)["z1_mean"],
        "sir": lambda: pyro_vae.resampling.sir(model, guide, x, 4, 3).log_weight,
        "posterior_means": lambda: activity.posterior_means(guide, x)["z1"].mean,
        "active units": lambda: activity.count_active_units(guide, x)["z1"].activity,
        "kl_per_unit": lambda: pyro_vae.evaluation.kl_per_unit(model, guide, x)["z1"],
        "surgery": lambda: pyro_vae.evaluation.elbo_surgery(model, guide, x).rate,
        "pruned": lambda: pyro_vae.evaluation.pruned_log_likelihood(
            model, guide, x, {"z1": np.array([True, True, True, False])}, 10
        ),
        "ais": lambda: (
            pyro_vae.evaluation.ais(model, guide, x, num_particles=2, num_temperatures=1).lower
        ),
        "ArviZ": lambda: (
            pyro_vae.to_inference_data(model, guide, x, num_draws=3, diagnostic_particles=30)
            .posterior["z1"]
            .values
        ),
    }
    found = {}
    for name, use in uses.items():
        torch.manual_seed(0)
        found[name] = np.asarray(use())
    return found


@pytest.fixture(scope="module")
def expected():
    return everything(*tiny_pair(), COUNTS)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_numbers_become_the_same_tensor(kind):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # torch's, of arrays that cannot be written
        (found,) = as_arguments(as_data(KINDS[kind](COUNTS), *tiny_pair()))
    assert found.dtype == torch.float32
    assert torch.equal(found, COUNTS)


@pytest.mark.parametrize("kind", ["float64 array", "frame of integers", "a tuple of one"])
def test_every_function_takes_them_to_the_same_bits(kind, expected):
    found = everything(*tiny_pair(), KINDS[kind](COUNTS))
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


def test_what_is_right_is_not_copied():
    pair = tiny_pair()
    assert as_data(X, *pair) is X
    both = as_data((X, X[:, 0]), *pair)
    assert both[0] is X
    array = X.numpy().copy()
    assert as_data(array, *pair).data_ptr() == torch.from_numpy(array).data_ptr()


def test_a_model_of_another_type_sets_the_type():
    model, guide = (part.double() for part in tiny_pair())
    assert as_data(X, model, guide).dtype == torch.float64
    assert as_data(X.half().numpy(), model).dtype == torch.float64
    assert np.isfinite(pyro_vae.evaluation.evaluate(model, guide, X, num_particles=50).elbo).all()


class Labelled(nn.Module):
    """y | z and a label's embedding: a program of other people that reads integers as integers."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(3, 2)


def test_integers_for_programs_of_others_stay_integers_where_they_may_be_labels():
    program, labels = Labelled(), torch.tensor([0, 2, 1])
    assert as_data(labels, program) is labels
    rows, kept = as_data((np.ones((3, 2)), labels.numpy()), program)
    assert (rows.dtype, kept.dtype) == (torch.float32, torch.int64)
    assert as_data(np.array([[0, 255]], np.uint8), program).dtype == torch.float32
    _, mask = as_data((X, X > 0), *tiny_pair())
    assert mask.dtype == torch.float32  # this library's programs read numbers


def test_functions_are_given_the_type_of_the_modules_they_use():
    net = nn.Linear(6, 2).double()

    def program(x):
        return net(x)

    assert as_data(X, program).dtype == torch.float64
    assert as_data(X, Labelled().forward).dtype == torch.float32
    assert as_data(X.double(), lambda x: x).dtype == torch.float64  # nothing tells
    assert as_data(X.double().numpy(), lambda x: x).dtype == torch.float32


class Both:
    train = test = None


WITH_NAN = X.clone()
WITH_NAN[7, 2] = torch.nan
BAD = {
    "nothing": (None, "x is None, not an array of numbers"),
    "a path": ("digits.npy", "x is str 'digits.npy', not an array of numbers; files are read by"),
    "text": (np.array([["a", "b"]]), r"x holds text, such as .*'a'.*, not real numbers"),
    "objects": (np.array([[1, None]], object), "x holds Python objects, such as 1, not real"),
    "complex": (np.ones((2, 6), complex), "x holds complex numbers"),
    "a complex tensor": (X.to(torch.complex64), "x holds complex numbers"),
    "dates": (np.array(["2020-01-01"], "datetime64[D]"), "x holds dates"),
    "ragged": ([[1.0, 2.0], [3.0]], "x is no array of numbers"),
    "a list of tensors": ([X, X], "x is a list of tensors; give one tensor"),
    "a column of text": (
        pd.DataFrame({"a": [1.0, 2.0], "who": ["me", "you"]}),
        "column who of x holds no numbers",
    ),
    "missing values": (
        pd.DataFrame({"a": [1.0, 2.0], "b": pd.array([1, None], "Int64")}),
        "x holds 1 values that are not finite as float32, the first in row 1",
    ),
    "masked": (np.ma.masked_equal([[1.0, 2.0]], 2.0), "x is a masked array with 1 values missing"),
    "NaN": (WITH_NAN, "x holds 1 values that are not finite as float32, the first in row 7"),
    "NaN in an array": (WITH_NAN.numpy(), "the first in row 7"),
    "too large": (X.double() + 1e300, "not finite as float32, the first in row 0"),
    "sparse": (X.to_sparse(), "x is a sparse tensor"),
    "a number": (3.0, "x is a single number"),
    "no rows": (X[:0], r"x holds no data: its shape is \(0, 6\)"),
    "no columns": (X[:, :0], r"x holds no data: its shape is \(12, 0\)"),
    "an empty tuple": ((), "x is an empty tuple"),
    "a data set": (Both(), "x is a whole data set; give one of its parts"),
    "uneven": ((X, X[:5]), r"x\[0\] has 12 rows and x\[1\] has 5"),
    "one axis": (X[:, 0], r"x has shape \(12,\); the model wants \(B, 6\)"),
    "images": (X.reshape(12, 2, 3), r"x has shape \(12, 2, 3\); the model wants \(B, 6\)"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_cannot_be_read_is_refused_in_one_line(kind):
    x, message = BAD[kind]
    model, guide = tiny_pair()
    for use in (
        lambda: pyro_vae.evaluation.log_likelihood(model, guide, x, 10),
        lambda: activity.posterior_means(guide, x),
        lambda: pyro_vae.to_inference_data(model, guide, x, num_draws=2),
        lambda: pyro_vae.resampling.sir(model, guide, x, 2),
    ):
        with pytest.raises(InputError, match=message) as caught:
            use()
        assert "\n" not in str(caught.value)


def test_simulated_latents_may_be_arrays():
    model, guide = tiny_pair()
    x, latents = pyro_vae.evaluation.simulate(model, 3)
    settings = {"num_particles": 2, "num_temperatures": 1}
    found = []
    for convert in (lambda value: value, lambda value: value.double().numpy()):
        torch.manual_seed(0)
        given = {name: convert(value) for name, value in latents.items()}
        bracket = pyro_vae.evaluation.bidirectional(model, guide, convert(x), given, **settings)
        found.append(bracket.upper)
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("definition", activity.DEFINITIONS)
def test_active_units_of_one_row_are_unknown_and_the_number_wanted_is_said(definition):
    _, guide = tiny_pair()
    wanted = f"definition {definition!r} .* wants at least 2 rows .* got 1"
    with pytest.warns(UserWarning, match=wanted):
        one = activity.count_active_units(guide, X[:1], definition=definition)
    assert {name: (units.count, units.mask) for name, units in one.items()} == {
        "z1": (None, None),
        "z2": (None, None),
    }
    assert one["z1"].activity.shape == (4,)
    assert np.isnan(one["z1"].activity).all()
    two = activity.count_active_units(guide, X[:2], definition=definition)
    assert np.isfinite(two["z1"].activity).all()


def test_means_of_one_row_are_given_and_their_activity_refused():
    _, guide = tiny_pair()
    means = activity.posterior_means(guide, X[:1])["z1"]
    assert means.mean.shape == (1, 4)
    for use in (
        lambda: means.activity,
        lambda: activity.active_units(means),
        lambda: activity.pca_active_units(means),
    ):
        with pytest.raises(InputError, match="wants at least 2 rows"):
            use()


def test_a_guide_of_two_arguments_has_posterior_means():
    def guide(x, context):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x + context, 0.5).to_event(1))

    means = activity.posterior_means(guide, (X, 2 * X))["z"]
    torch.testing.assert_close(means.mean.float(), 3 * X)
    for definition in activity.DEFINITIONS:
        assert activity.count_active_units(guide, (X, X), definition=definition)["z"].count == 6
