"""What the installed ArviZ, 0.23 or 1.x, does with an export and with the files of either."""

from pathlib import Path

import arviz
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import xarray

import pyro_vae
from pyro_vae.export import group, group_names, netcdf_bytes, per_datum, read_netcdf
from tests.arviz_version import OLD_ARVIZ
from tests.conftest import tiny_pair

FILES = sorted((Path(__file__).parent / "files").glob("arviz_*.nc"))
old_only = pytest.mark.skipif(not OLD_ARVIZ, reason="ArviZ 1.x has no InferenceData")
new_only = pytest.mark.skipif(OLD_ARVIZ, reason="ArviZ 0.23 has no DataTree")


def exported(seed, num_draws=8):
    torch.manual_seed(seed)
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    return pyro_vae.to_inference_data(
        *tiny_pair(), x, num_particles=5, num_draws=num_draws, diagnostic_particles=60
    )


@pytest.fixture(
    params=["made", "in memory", *FILES], ids=lambda given: getattr(given, "name", given)
)
def data(request, tmp_path):
    """ArviZ data as they are made, as they are read back, and of files that are kept."""
    if request.param == "made":
        return exported(1, num_draws=25)
    path = request.param
    if path == "in memory":
        path = tmp_path / "posterior.nc"
        path.write_bytes(netcdf_bytes(exported(1, num_draws=25)))
    return arviz.from_netcdf(path)


def test_the_form_is_that_of_the_installed_arviz(data):
    assert isinstance(data, arviz.InferenceData if OLD_ARVIZ else xarray.DataTree)
    assert "importance_diagnostics" in group_names(data)
    assert np.isfinite(per_datum(data).khat).all()


def test_a_table_is_made_of_any_group(data):
    number = data.posterior.z2[0, 0].size
    assert len(arviz.summary(data, var_names=["z2"], kind="stats")) == number
    diagnostics = arviz.summary(data, group="importance_diagnostics", kind="stats")
    assert len(diagnostics) == 11 * data.posterior.sizes["datum"]
    assert arviz.extract(data, var_names="z1").sizes["sample"] == 25


@old_only
@pytest.mark.filterwarnings("ignore")  # of matplotlib and of few draws
def test_arviz_0_23_draws(data):
    one = {"datum": [data.posterior.datum.values[0]], "z2_unit": [0, 1]}
    arviz.plot_trace(data, var_names=["z2"], coords=one)
    arviz.plot_posterior(data, var_names=["z2"], coords=one)
    arviz.plot_forest(data, var_names=["z2"])
    arviz.plot_pair(data, var_names=["z2"], coords=one)
    arviz.plot_ppc(data, num_pp_samples=5)
    arviz.plot_khat(per_datum(data).khat)
    plt.close("all")


@new_only
@pytest.mark.filterwarnings("ignore")  # of matplotlib and of few draws
def test_arviz_1_draws(data):
    one = {"datum": [data.posterior.datum.values[0]], "z2_unit": [0, 1]}
    arviz.plot_trace(data, var_names=["z2"], coords=one)
    arviz.plot_dist(data, var_names=["z2"], coords=one)
    arviz.plot_forest(data, var_names=["z2"])
    arviz.plot_pair(data, var_names=["z2"], coords=one)
    arviz.plot_ppc_dist(data, num_samples=5)
    arviz.plot_prior_posterior(data, var_names=["z2"], coords={"z2_unit": [0]})
    plt.close("all")


@old_only
@pytest.mark.filterwarnings("ignore:The (inplace|copy) keyword")  # of pandas
def test_arviz_0_23_reads_the_export_whole():
    """Frames, selections and joined runs."""
    first, second = exported(1), exported(2)
    frame = first.to_dataframe()
    assert len(frame) == 8
    khat = [column for column in frame.columns if "khat[2]" in str(column)]
    assert (frame[khat[0]] == per_datum(first).khat.values[2]).all()
    assert first.sel(draw=5, datum=[1, 3]).posterior.z1.shape == (1, 2, 4)
    assert first.isel(draw=slice(None, None, 2)).importance_diagnostics.sizes["draw"] == 4
    for dim, size in (("chain", 2), ("draw", 16)):
        joined = arviz.concat(first, second, dim=dim)
        assert set(group_names(joined)) == set(group_names(first))
        assert joined.posterior.sizes[dim] == joined.importance_diagnostics.sizes[dim] == size
        assert len(joined.to_dataframe()) == 16
        xarray.testing.assert_equal(per_datum(joined), per_datum(first))
    whole = arviz.concat(first, second, dim="chain").importance_diagnostics.khat.values
    np.testing.assert_array_equal(whole[:, 0], [per_datum(one).khat for one in (first, second)])


@new_only
def test_arviz_1_reads_the_export_whole():
    """Frames, selections and joined runs."""
    first, second = exported(1), exported(2)
    frame = arviz.dataset_to_dataframe(group(first, "importance_diagnostics"))
    assert len(frame) == 8
    drawn = [name for name in group_names(first) if name != "observed_data"]
    few = first.filter(lambda node: node.name in drawn).isel(draw=slice(None, None, 2))
    assert few.importance_diagnostics.sizes["draw"] == few.posterior.sizes["draw"] == 4
    joined = xarray.concat([group(one, "posterior") for one in (first, second)], "chain")
    assert joined.z1.shape == (2, 8, 4, 4)


def test_files_of_both_are_kept_and_hold_the_same_groups():
    old, new = (read_netcdf(path) for path in FILES)
    assert group_names(old) == group_names(new)
    for name in group_names(old):
        one, other = group(old, name), group(new, name)
        assert dict(one.sizes) == dict(other.sizes)
        assert set(one.variables) == set(other.variables)
        for variable in one.variables:
            assert one[variable].dims == other[variable].dims
            assert one[variable].dtype == other[variable].dtype
    xarray.testing.assert_equal(group(old, "observed_data"), group(new, "observed_data"))
