"""Pictures: drawn into the axes that are given, from numbers that mean what they show."""

import shutil
from types import SimpleNamespace

import imageio.v3 as imageio
import numpy as np
import pytest
import torch

import pyro_vae
from analysis import figures
from analysis.pictures.image_grids import grid_figure, plot_image_grid
from analysis.pictures.units import plot_activity
from analysis.probes.fields import projective_fields
from analysis.probes.image_rows import as_images
from analysis.reporting import decoder_pictures, run_pictures
from analysis.reporting.finished import load_data
from pyro_vae.evaluation.activity import active_units, pca_active_units, posterior_means
from pyro_vae.runs import RunDirectory, load_run
from pyro_vae.runs.judging import filters_of
from pyro_vae.runs.reading import reading
from pyro_vae.runs.summary import Summary
from tests.conftest import run_fit, small_patches, tiny_pair


def test_activity(ax):
    assert plot_activity(ax, np.array([0.5, 0.001, 2.0, -0.1]), 0.01, "z1") is ax
    assert ax.get_title() == "z1: 2 of 4 units active"
    points, threshold = ax.get_lines()
    assert points.get_ydata().tolist() == [2.0, 0.5, 0.001, 1e-6]
    assert threshold.get_ydata() == [0.01, 0.01]


@pytest.mark.parametrize("limit", [None, 2])
def test_image_grid(ax, limit):
    images = np.arange(5 * 2 * 3).reshape(5, 2, 3) / 2
    assert plot_image_grid(ax, images, 3, limit=limit) is ax
    (shown,) = ax.get_images()
    sheet = np.asarray(shown.get_array())
    assert sheet.shape == (2 * 3 - 1, 3 * 4 - 1)  # two rows of three, one pixel between them
    np.testing.assert_array_equal(sheet[0:2, 0:3], images[0])
    np.testing.assert_array_equal(sheet[0:2, 8:11], images[2])
    np.testing.assert_array_equal(sheet[3:5, 4:7], images[4])
    assert shown.get_clim() == ((-2.0, 2.0) if limit else (0.0, 14.5))


def unit_effects(model, step=1.0):
    return projective_fields(model, step, one_sided=True)["projective"]


def test_effects_of_a_linear_decoder_are_its_columns():
    model, _ = tiny_pair(levels=2)
    (layer,) = model.likelihood.loc.parts
    with torch.no_grad():
        layer.bias.fill_(3.0)
    for step in (1.0, 0.25):
        effects = torch.as_tensor(unit_effects(model, step))
        assert effects.shape == (4, 6)
        torch.testing.assert_close(effects, layer.weight.detach().T, rtol=1e-4, atol=1e-5)


def test_effects_of_a_bernoulli_decoder_are_differences_of_probabilities():
    model, _ = tiny_pair(levels=1, pixels="binary")
    effects = torch.as_tensor(unit_effects(model))
    unit = torch.zeros(1, 4)
    unit[0, 2] = 1.0
    with torch.no_grad():
        expected = model.likelihood(unit).mean - model.likelihood(torch.zeros(1, 4)).mean
    torch.testing.assert_close(effects[2], expected[0])
    assert effects.abs().max() <= 1


@pytest.mark.parametrize("whiten", ["zca", "none"])
def test_rows_that_are_pixels_become_images_unchanged(whiten):
    data = small_patches(whiten, 10)
    images = as_images(data.test.numpy(), data)
    assert images.shape == (10, 6, 6)
    np.testing.assert_array_equal(images.reshape(10, 36), data.test.numpy())


def test_coefficients_of_pca_become_the_whitened_pixels():
    coefficients, pixels = small_patches("pca", 10), small_patches("zca", 10)
    assert coefficients.test.shape == (10, 9)
    images = as_images(coefficients.test.numpy(), coefficients)
    assert images.shape == (10, 6, 6)
    # The same patches under ZCA differ by that transform's global scale alone.
    expected = pixels.test.numpy() * pixels.whitening.scale / coefficients.whitening.scale
    np.testing.assert_allclose(images.reshape(10, 36), expected, atol=1e-4)


def file_data(tmp_path, shape, pixels):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "a.npy", (rng.random(shape) < 0.5).astype(np.uint8))
    return pyro_vae.load_dataset(tmp_path / "a.npy", pixels=pixels)


def test_binary_images_and_vectors(tmp_path):
    data = file_data(tmp_path, (30, 3, 5), "binary")
    images = as_images(data.test.numpy(), data)
    np.testing.assert_array_equal(images.reshape(3, 15), data.test.numpy())
    assert images.shape == (3, 3, 5)
    assert set(np.unique(images)) <= {0.0, 1.0}


PICTURES = ["active_units", "curves", "filters", "reconstructions", "samples"]


def test_figures_are_drawn_anew(finished_run, tmp_path, capsys):
    run = shutil.copytree(finished_run, tmp_path / "run")
    old = {name: (run / "figures" / f"{name}.png").read_bytes() for name in PICTURES}
    shutil.rmtree(run / "figures")
    kept = {path.name: path.read_bytes() for path in run.iterdir()}
    assert figures.main([str(run)]) == 0
    assert f"wrote {run / 'figures'}" in capsys.readouterr().out
    assert {path.stem for path in (run / "figures").iterdir()} >= set(PICTURES)
    for name in PICTURES:
        picture = imageio.imread(run / "figures" / f"{name}.png")
        assert min(picture.shape[:2]) > 100
        assert picture.std() > 1  # not blank
    for name in ("curves", "reconstructions", "samples"):  # the same files, the same picture
        assert (run / "figures" / f"{name}.png").read_bytes() == old[name]
    assert {p.name: p.read_bytes() for p in run.iterdir() if p.is_file()} == kept


def test_flat_rows_have_no_pictures_of_images_and_the_commands_say_why(tmp_path, capsys):
    np.save(tmp_path / "flat.npy", np.random.default_rng(0).random((60, 20)).astype("f4"))
    run = tmp_path / "run"
    assert run_fit("--dataset", tmp_path / "flat.npy", "--batch-size", 20, "--run-dir", run) == 0
    capsys.readouterr()
    for path in (run / "figures").iterdir():
        path.unlink()
    assert figures.main([str(run)]) == 0
    told, wrote = capsys.readouterr().out.splitlines()
    names = "reconstructions, samples, filters, textures, families"
    assert told.startswith(f"no picture of {names}: rows of ")
    assert told.endswith("such as --image-shape 28 20")
    assert wrote == f"wrote {run / 'figures'}"
    assert {path.stem for path in (run / "figures").iterdir()} == {"active_units", "curves"}
    assert figures.main([str(run), "--image-shape", "4", "5"]) == 0
    *told, wrote_again = capsys.readouterr().out.splitlines()
    assert wrote_again == wrote
    without = "filters are drawn without their classes: on patches of 4 x 5 pixels"
    assert any(line.startswith(without) for line in told)
    assert {path.stem for path in (run / "figures").iterdir()} >= set(PICTURES)


def test_a_run_counts_its_filters_and_says_what_it_shows(tmp_path, capsys):
    run = tmp_path / "run"
    tiny = ("--patch-size", 8, "--components", 12, "--num-train", 200, "--latent", 6, 3)
    assert run_fit(*tiny, "--init", "data", "--batch-size", 50, "--run-dir", run) == 0
    told = capsys.readouterr().out.splitlines()
    summary = Summary.of(RunDirectory(run).read_summary(), run)
    counts = summary.filters
    assert (counts.units, counts.noise, summary.start.filters.noise) == (6, 100, 0)
    of_noise = f"({counts.noise_localised} of 100 filters of noise)"
    assert f"localised filters: {counts.localised} of 6 {of_noise}" in told
    assert told[-2] == reading(summary)
    assert told[-2].startswith("The filters come from the start (ICA of the training rows), not")
    model, _, config = load_run(run)
    means = {"z1": SimpleNamespace(activity=torch.ones(6))}
    again = filters_of(model, load_data(config, run), means, seed=config.seed)
    title = decoder_pictures.by_class(again).axes[0].get_title()
    assert title.endswith(
        f"of all 6 units: {counts.localised} localised, {counts.non_localised} non-localised, "
        f"{counts.unresolved} unresolved"
    )
    assert {path.stem for path in (run / "figures").iterdir()} >= set(PICTURES)


def test_colour_rows_become_colour_images(tmp_path, ax):
    data = file_data(tmp_path, (30, 3, 5, 3), "binary")
    images = as_images(data.test.numpy(), data)
    assert images.shape == (3, 3, 5, 3)
    np.testing.assert_array_equal(images.reshape(3, 45), data.test.numpy())
    plot_image_grid(ax, images, 3)
    (shown,) = ax.get_images()
    np.testing.assert_array_equal(np.asarray(shown.get_array())[:, 6:11], images[1])
    plot_image_grid(ax, images - 0.5, 3, limit=1.0)
    np.testing.assert_allclose(
        np.asarray(ax.get_images()[-1].get_array())[:, :5], 0.5 + (images[0] - 0.5) / 2
    )


@pytest.mark.parametrize("shape", [(3, 5), (4, 5, 3), (3, 4, 5)])
def test_a_figure_of_images_in_rows(shape):
    images = np.random.default_rng(0).random((12, *shape))
    figure = grid_figure(images, columns=5)
    (shown,) = figure.axes[0].get_images()
    sheet = np.asarray(shown.get_array())
    image = images[6] if shape[-1] == 3 or len(shape) == 2 else np.moveaxis(images[6], 0, -1)
    height, width = image.shape[:2]
    assert sheet.shape[:2] == (3 * (height + 1) - 1, 5 * (width + 1) - 1)
    found = sheet[height + 1 : 2 * height + 1, width + 1 : 2 * width + 1]
    np.testing.assert_array_equal(found, image)
    bytes_ = np.asarray(grid_figure(255 * images).axes[0].get_images()[0].get_array())
    assert bytes_.max() <= (255 if len(shape) == 2 else 1)


@pytest.mark.parametrize("missing", ["config.json", "metrics.csv", "checkpoint.pt", "posterior.nc"])
def test_an_unfinished_run_is_refused(finished_run, tmp_path, capsys, missing):
    run = shutil.copytree(finished_run, tmp_path / "run")
    (run / missing).unlink()
    shutil.rmtree(run / "figures")
    assert figures.main([str(run)]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert str(run) in err
    assert missing in err
    assert not (run / "figures").exists()


def test_curves_read_the_run(finished_run):
    figure = run_pictures.curves(RunDirectory(finished_run))
    assert [ax.get_title() for ax in figure.axes[:4]] == [
        "bounds on held-out data",
        "KL per level",
        "reconstruction",
        "effective sample size",
    ]
    assert "$L_{5}$" in [line.get_label() for line in figure.axes[0].get_lines()]


def test_filters_are_ordered_by_activity():
    model, guide = tiny_pair(num_pixels=9)
    x = torch.randn(40, 9)
    data = pyro_vae.Dataset("toy", x, x, x, image_shape=(3, 3), pixels="standardised")
    means = posterior_means(guide, x)["z1"]
    figure = decoder_pictures.plain_filters(model, data, means)
    sheet = np.asarray(figure.axes[0].get_images()[0].get_array())
    effects = unit_effects(model).reshape(4, 3, 3)
    for place, unit in enumerate(means.activity.argsort(descending=True).tolist()):
        expected = effects[unit] / np.abs(effects[unit]).max()
        found = sheet[0:3, 4 * place : 4 * place + 3]
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_active_units_of_a_known_guide():
    import pyro
    import pyro.distributions as dist

    def guide(x):
        # Three units: one follows the data, one hardly does, one not at all.
        loc = torch.stack([2 * x[:, 0], 0.01 * x[:, 0], 0 * x[:, 0]], -1)
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z1", dist.Normal(loc, 1.0).to_event(1))

    x = torch.randn(500, 1)
    for method in ("conditional", "sample"):
        means = posterior_means(guide, x, method=method, num_samples=200)["z1"]
        assert active_units(means).tolist() == [True, False, False]
        assert pca_active_units(means) == 1
        assert means.activity[0] == pytest.approx(4 * x.var().item(), rel=0.05)
        assert means.activity[2].abs() < 0.002
    with pytest.raises(pyro_vae.InputError, match="conditional, sample"):
        posterior_means(guide, x, method="guess")
    with pytest.raises(pyro_vae.InputError, match="num_samples"):
        posterior_means(guide, x, num_samples=1)
