"""ArviZ data: groups, dimensions, attributes, and numbers that mean what their names say."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray

import pyro_vae
from pyro_vae.errors import InputError
from pyro_vae.export import group, group_names, inference_data, netcdf_bytes, per_datum, read_netcdf
from pyro_vae.export.arviz_forms import arviz_data
from tests.conftest import tiny_pair

X = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
GROUPS = {
    "posterior",
    "sample_stats",
    "posterior_predictive",
    "observed_data",
    "prior",
    "prior_predictive",
    "importance_diagnostics",
}
DIAGNOSTICS = {
    "elbo",
    "bound",
    "log_likelihood",
    "log_likelihood_jackknife",
    "kl_to_posterior",
    "ess",
    "khat",
}


def convert(pair=None, **settings):
    settings = {"num_particles": 5, "num_draws": 7, "diagnostic_particles": 60, **settings}
    return pyro_vae.to_inference_data(*(pair or tiny_pair()), X, **settings)


@pytest.fixture(scope="module")
def idata():
    torch.manual_seed(0)
    return convert(diagnostic_particles=200, num_draws=30)


def test_groups_and_dimensions(idata):
    assert set(group_names(idata)) == GROUPS
    shapes = {"z1": (1, 30, 4, 4), "z2": (1, 30, 4, 3)}
    for name, shape in shapes.items():
        level = idata.posterior[name]
        assert level.dims == ("chain", "draw", "datum", f"{name}_unit")
        assert level.shape == shape
        assert idata.prior[name].dims == ("chain", "draw", f"{name}_unit")
        assert idata.prior[name].shape == (*shape[:2], shape[3])
    assert set(idata.posterior.data_vars) == set(idata.prior.data_vars) == set(shapes)
    assert idata.sample_stats["log_weight"].dims == ("chain", "draw", "datum")
    assert idata.posterior_predictive["x"].dims == ("chain", "draw", "datum", "pixel")
    assert idata.posterior_predictive["x"].shape == (1, 30, 4, 6)
    assert idata.prior_predictive["x"].dims == ("chain", "draw", "pixel")
    assert idata.prior_predictive["x"].shape == (1, 30, 6)
    assert idata.observed_data["x"].dims == ("datum", "pixel")
    np.testing.assert_array_equal(idata.observed_data["x"], X.numpy())


def test_coordinates(idata):
    assert idata.posterior["chain"].values.tolist() == [0]
    assert idata.posterior["draw"].values.tolist() == list(range(30))
    assert idata.posterior["z2_unit"].values.tolist() == [0, 1, 2]
    for name in (
        "posterior",
        "sample_stats",
        "posterior_predictive",
        "observed_data",
        "importance_diagnostics",
    ):
        assert idata[name]["datum"].values.tolist() == [0, 1, 2, 3]
    labelled = convert(datum=np.array([7, 3, 9, 11]))
    for name in ("posterior", "sample_stats", "observed_data", "importance_diagnostics"):
        assert labelled[name]["datum"].values.tolist() == [7, 3, 9, 11]


def test_attributes_tell_how_draws_were_made(idata):
    resampled, plain = idata.posterior.attrs, convert(num_particles=1).posterior.attrs
    assert resampled["sampling"] == "sampling-importance-resampling per datum"
    assert resampled["num_particles"] == 5
    assert plain["sampling"] == "guide"
    assert plain["num_particles"] == 1
    assert convert(attributes={"dataset": "toy"}).posterior.attrs["dataset"] == "toy"
    assert idata.importance_diagnostics.attrs["num_particles"] == 200
    assert idata.importance_diagnostics.attrs["bound_particles"] == 5


def reopened(idata, tmp_path):
    """The export as a reader of ``posterior.nc`` gets it."""
    path = tmp_path / f"{id(idata)}.nc"
    path.write_bytes(netcdf_bytes(idata))
    return read_netcdf(path)


def test_netcdf_round_trip(idata, tmp_path):
    loaded = reopened(idata, tmp_path)
    assert type(loaded) is type(idata)
    assert set(group_names(loaded)) == GROUPS
    for name in GROUPS:
        xarray.testing.assert_identical(group(loaded, name).load(), group(idata, name))
    with pytest.raises(InputError, match=r"no group warmup; they have .*posterior"):
        group(loaded, "warmup")


def test_a_file_that_is_no_netcdf_is_an_error_of_reading(tmp_path):
    (tmp_path / "a.nc").write_bytes(b"nonsense")
    for name, what in (("a.nc", "OSError"), ("none.nc", "FileNotFoundError")):
        with pytest.raises(
            InputError, match=rf"{name} is not a readable file of ArviZ data: {what}"
        ):
            read_netcdf(tmp_path / name)


def test_the_table_per_datum_is_found_in_old_files_and_missed_where_there_is_none(idata):
    table = per_datum(idata)
    assert dict(table.sizes) == {"datum": 4}
    assert table.attrs["num_particles"] == 200
    posterior = {"posterior": group(idata, "posterior")}
    old = arviz_data({**posterior, "importance_diagnostics": table})
    xarray.testing.assert_identical(per_datum(old), table)
    with pytest.raises(InputError, match="no group importance_diagnostics"):
        per_datum(arviz_data(posterior))


def pair_with_sites(latent="z", observed="x"):
    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample(latent, dist.Normal(torch.zeros(2), 1.0).to_event(1))
            loc = z.sum(-1, keepdim=True) * torch.ones(6)
            pyro.sample(observed, dist.Normal(loc, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample(latent, dist.Normal(x[:, :2] / 3, 0.8).to_event(1))

    return model, guide


@pytest.mark.parametrize(
    ("latent", "observed"),
    [
        ("guide/z", "x"),
        ("z", "images/of cats"),
        ("log_weight", "pixel"),
        ("x", "x_unit"),
        ("z.unit", "z"),
        ("pixel", "khat"),
        ("elbo", "values"),
    ],
)
def test_sites_of_any_name_are_exported(latent, observed, tmp_path):
    idata = convert(pair_with_sites(latent, observed), num_particles=2)
    name, seen = latent.replace("/", "."), observed.replace("/", ".")
    for found in (idata, reopened(idata, tmp_path)):
        assert found.posterior[name].shape == (1, 7, 4, 2)
        assert found.posterior[name].dims[:3] == ("chain", "draw", "datum")
        assert found.prior[name].shape == (1, 7, 2)
        assert found.posterior_predictive[seen].shape == (1, 7, 4, 6)
        assert found.prior_predictive[seen].shape == (1, 7, 6)
        np.testing.assert_array_equal(found.observed_data[seen], X)
        assert found.sample_stats["log_weight"].dims == ("chain", "draw", "datum")
        assert f"kl_{name}" in found.importance_diagnostics
        assert found.posterior[name].attrs.get("site", name) == latent
        assert found.observed_data[seen].attrs.get("site", seen) == observed


def never(*args, **kwargs):
    raise AssertionError("something was drawn before the refusal")


REFUSED = {
    "chain": (pair_with_sites("chain"), {}, "'chain' has the name of an axis .*call it otherwise"),
    "draw": (pair_with_sites("draw"), {}, "'draw' has the name of an axis"),
    "datum": (pair_with_sites("z", "datum"), {}, "'datum' has the name of an axis"),
    "twins": (pair_with_sites("a/b", "a.b"), {}, "both be exported as 'a.b'"),
    "other": (pair_with_sites(), {"observed": "y"}, "no observed site 'y'.*sites: x"),
    "labels": (pair_with_sites(), {"datum": np.arange(3)}, "datum is for 3 data, but x has 4"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_exported_is_refused_before_anything_is_drawn(case, monkeypatch):
    pair, settings, message = REFUSED[case]
    for name in ("sir", "evaluate"):
        monkeypatch.setattr(inference_data, name, never)
    with pytest.raises(InputError, match=message):
        convert(pair, **settings)


def test_diagnostics_of_other_data_are_refused():
    pair = tiny_pair()
    found = pyro_vae.evaluation.evaluate(*pair, X[:3], num_particles=50)
    with pytest.raises(InputError, match="diagnostics is for 3 data, but x has 4 rows"):
        convert(pair, diagnostics=found)


def test_a_model_that_observes_nothing_is_refused():
    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(0.0, 1.0))

    with pytest.raises(InputError, match="observes no site"):
        pyro_vae.to_inference_data(model, model, X)


def test_finding_the_sites_leaves_the_noise_as_it_was():
    """The draws are those of ``sir`` alone on the same seed."""
    pair = tiny_pair()
    torch.manual_seed(3)
    alone = pyro_vae.resampling.sir(*pair, X, 5, 7).latents["z1"]
    torch.manual_seed(3)
    np.testing.assert_array_equal(convert(pair).posterior["z1"][0], alone)


def test_a_program_of_two_arguments_with_two_observed_sites():
    def model(t, y):
        with pyro.plate("data", len(t), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("t", dist.Normal(z, 1.0), obs=t)
            pyro.sample("y", dist.Normal(z[..., None] * torch.ones(6), 1.0).to_event(1), obs=y)

    def guide(t, y):
        with pyro.plate("data", len(t), dim=-1):
            pyro.sample("z", dist.Normal(t / 2, 0.7))

    data = (X[:, 0].numpy(), X)
    settings = {"num_draws": 3, "diagnostic_particles": 30}
    idata = pyro_vae.to_inference_data(model, guide, data, **settings)
    np.testing.assert_array_equal(idata.observed_data["t"], X[:, 0])
    np.testing.assert_array_equal(idata.observed_data["y"], X)
    assert idata.posterior_predictive["y"].dims == ("chain", "draw", "datum", "y_unit")
    assert idata.prior_predictive["t"].shape == (1, 3)
    one = pyro_vae.to_inference_data(model, guide, data, observed="y", **settings)
    assert set(one.observed_data.data_vars) == set(one.posterior_predictive.data_vars) == {"y"}
    assert one.observed_data["y"].dims == ("datum", "pixel")


@pytest.mark.parametrize("guide", ["topdown", "bottomup", "meanfield"])
@pytest.mark.parametrize("num_particles", [1, 5])
def test_log_weight_is_that_of_the_very_draw(guide, num_particles):
    model, recognition = tiny_pair(guide)
    idata = convert((model, recognition), num_particles=num_particles)
    z1, z2 = (torch.tensor(idata.posterior[name].values[0]) for name in ("z1", "z2"))
    # Written out from the parts of model and guide, without Pyro.
    with torch.no_grad():
        log_p = dist.Normal(0.0, 1.0).log_prob(z2).sum(-1)
        log_p = log_p + model.conditionals[0](z2).log_prob(z1)
        log_p = log_p + dist.Normal(model.likelihood(z1).mean, 0.4).log_prob(X).sum(-1)
        q1, q2 = recognition.conditionals
        if guide == "bottomup":
            log_q = q1(X).log_prob(z1) + q2(z1).log_prob(z2)
        else:
            h1, h2 = recognition.encode(X)
            lower = (h1, recognition.feedback[0](z2)) if guide == "topdown" else (h1,)
            log_q = q1(*lower).log_prob(z1) + q2(h2).log_prob(z2)
    found = torch.tensor(idata.sample_stats["log_weight"].values[0])
    torch.testing.assert_close(found, log_p - log_q, rtol=1e-4, atol=1e-4)
    assert len(found.unique()) == found.numel()  # every draw has proposals of its own


def test_resampling_prefers_heavy_particles():
    pair = tiny_pair()
    plain = convert(pair, num_particles=1, num_draws=100).sample_stats["log_weight"]
    resampled = convert(pair, num_particles=50, num_draws=100).sample_stats["log_weight"]
    assert (resampled.mean("draw") > plain.mean("draw") + 1).all()


def test_posterior_predictive_is_simulated(idata):
    replicated = idata.posterior_predictive["x"].values[0]
    assert not np.isclose(replicated, X.numpy()).any()
    model, _ = tiny_pair()
    z1 = torch.tensor(idata.posterior["z1"].values[0])
    with torch.no_grad():
        residual = replicated - model.likelihood(z1).mean.numpy()
    # Noise of the likelihood around the mean given that very draw: 0.4, from 720 numbers.
    assert residual.std() == pytest.approx(0.4, rel=0.15)
    assert residual.mean() == pytest.approx(0.0, abs=0.08)


def test_binary_data_are_replicated_as_zeros_and_ones():
    model, guide = tiny_pair(pixels="binary")
    idata = pyro_vae.to_inference_data(
        model, guide, (X > 0).float(), num_draws=5, diagnostic_particles=30
    )
    for name in ("posterior_predictive", "prior_predictive"):
        assert set(np.unique(idata[name]["x"])) == {0.0, 1.0}


def test_prior_draws_follow_the_model():
    idata = convert(num_draws=2000)
    z2 = idata.prior["z2"].values[0]
    assert np.abs(z2.mean(0)).max() < 0.15
    assert np.abs(z2.std(0) - 1).max() < 0.1


def test_diagnostics(idata):
    table = per_datum(idata)
    assert (
        set(table.data_vars)
        == set(idata.importance_diagnostics.data_vars)
        == DIAGNOSTICS
        | {
            "kl_z1",
            "kl_z2",
            "reconstruction",
            "monte_carlo_error",
        }
    )
    for name, values in table.data_vars.items():
        assert values.dims == ("datum",), name
        assert np.isfinite(values).all(), name
    assert (table["elbo"] < table["bound"]).all()
    assert (table["bound"] <= table["log_likelihood"] + 0.5).all()
    assert table["bound"].mean() < table["log_likelihood"].mean()
    assert ((table["ess"] >= 1) & (table["ess"] <= 5)).all()
    np.testing.assert_allclose(
        table["kl_to_posterior"], table["log_likelihood"] - table["elbo"], rtol=1e-6
    )


def test_weights_spread_over_thousands_of_nats_have_estimates_without_a_warning():
    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(6), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(100 * z, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(torch.zeros(6), 1.0).to_event(1))

    found = pyro_vae.evaluation.evaluate(model, guide, X, num_particles=60, bound_particles=5)
    assert np.isinf(found.khat).any()  # ArviZ's word for weights that all but a few underflow
    table = found.summary()
    assert table["khat_above_0.7"]["mean"] == 1.0
    assert table["khat"]["mean"] > 0.7


def test_few_diagnostic_particles_are_raised_to_those_of_the_bound():
    table = convert(num_particles=30, diagnostic_particles=2).importance_diagnostics
    assert table.attrs["num_particles"] == 30
    assert np.isfinite(table["khat"]).all()


def test_the_same_seed_gives_the_same_data():
    results = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        results.append(convert().posterior["z1"].values)
    np.testing.assert_array_equal(results[0], results[1])
    assert not np.array_equal(results[0], results[2])


def test_one_level_and_three_levels():
    for levels in (1, 3):
        idata = convert(tiny_pair(levels=levels))
        names = {f"z{level}" for level in range(1, levels + 1)}
        assert set(idata.posterior.data_vars) == names
        assert {f"kl_{name}" for name in names} <= set(idata.importance_diagnostics.data_vars)


@pytest.mark.parametrize("settings", [{"num_draws": 0}, {"num_particles": 0}])
def test_no_draws_are_refused(settings):
    with pytest.raises(pyro_vae.InputError, match=next(iter(settings))):
        convert(**settings)


def test_a_model_of_someone_else():
    def model(x, num_data=None):
        with pyro.plate("data", num_data or len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            return pyro.sample("y", dist.Normal(z.sum(-1), 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x[:, None].expand(-1, 2) / 3, 0.8).to_event(1))

    idata = pyro_vae.to_inference_data(
        model, guide, X[:, 0], num_draws=6, diagnostic_particles=30, observed="y"
    )
    assert idata.posterior["z"].dims == ("chain", "draw", "datum", "z_unit")
    assert idata.posterior_predictive["y"].shape == (1, 6, 4)
    assert idata.observed_data["y"].dims == ("datum",)


def test_a_pair_of_plain_functions_that_always_observe():
    """Scalar sites, a model that cannot be called without data: x is simulated all the same."""

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(2 * z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(0.4 * x, 0.2**0.5))  # the exact posterior

    x = torch.tensor([-3.0, 0.0, 4.0])
    idata = pyro_vae.to_inference_data(model, guide, x, num_draws=2_000)
    assert idata.posterior.z.dims == ("chain", "draw", "datum")
    replicated = idata.posterior_predictive.x.values[0]
    # x' | x ~ N(0.8 x, 4 * 0.2 + 1); standard errors of a mean of 2,000 draws and of its variance.
    error = 1.8**0.5 / 2_000**0.5
    assert np.abs(replicated.mean(0) - 0.8 * x.numpy()).max() < 5 * error
    assert np.abs(replicated.mean(0) - x.numpy()).max() > 5 * error  # not the data themselves
    assert np.abs(replicated.var(0) - 1.8).max() < 5 * 1.8 * (2 / 2_000) ** 0.5
    drawn = idata.prior_predictive.x.values
    assert abs(drawn.var() - 5) < 5 * 5 * (2 / 2_000) ** 0.5
