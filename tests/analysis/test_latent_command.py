"""The command that draws latents, reconstructions and samples of runs."""

import json

import imageio.v3 as imageio
import numpy as np
import pytest
import torch

import pyro_vae
from analysis import compare, figures
from analysis.measures.examples import spread_rows
from analysis.probes import decoder
from analysis.probes.plane import most_active_plane
from analysis.reporting import comparison as compared_runs
from analysis.reporting.finished import FinishedRun, check_comparable, grey_test_rows, read_run
from pyro_vae.errors import InputError
from pyro_vae.programs import build_pair
from pyro_vae.runs import RunConfig
from pyro_vae.runs.config import Facts
from pyro_vae.storage import save_checkpoint
from pyro_vae.torch_state import own_generators
from tests.latent import cell

PICTURES = ["encode_decode", "latent_scatter", "manifold", "repeated_draws", "samples"]

# Settings of patches, which runs on images have none of.
ROWS = dict.fromkeys(("patch_size", "intensity", "whiten", "components", "num_train"))


def digits(path, labels=True, shape=(4, 4), top=255, classes=3):
    """An .npz of 60 + 40 images in classes that differ in brightness."""
    rng = np.random.default_rng(0)
    arrays = {}
    for split, rows in (("train", 60), ("test", 40)):
        y = np.arange(rows) % classes
        bright = (y + 1).reshape(-1, *[1] * len(shape)) / classes
        x = rng.random((rows, *shape)) * bright
        arrays[f"x_{split}"] = (top * x).astype(np.uint8) if top > 1 else np.round(x)
        if labels:
            arrays[f"y_{split}"] = y
    np.savez(path, **arrays)
    return path


def write_run(path, source, model="burda1", *, kill=(), objective="iwae", particles=1, init=0):
    """The files of a finished run that a comparison reads, with a pair that was never trained."""
    pixels = "standardised" if model == "td" else "binary"
    settings = {"name": str(source), "pixels": pixels, "binarise": "access", "seed": 0}
    data = pyro_vae.load_dataset(**settings)
    config = {
        "model": model,
        "guide": "bottomup",
        "preset": "small",
        "objective": objective,
        "num_particles": particles,
        "seed": 0,
        "num_pixels": data.train.shape[1],
        "dataset": str(source),
        "data_settings": settings,
        **ROWS,
        "data": data.info,
    }
    pair = build_pair(model, "bottomup", num_pixels=config["num_pixels"], seed=init)
    with torch.no_grad():
        for unit in kill:
            pair[1].conditionals[0].loc.parts[0].weight[unit] = 0.0
    path.mkdir()
    save_checkpoint(
        path / "checkpoint.pt", {"model": pair[0].state_dict(), "guide": pair[1].state_dict()}
    )
    (path / "config.json").write_text(json.dumps(config))
    figures = {"reconstruction": {"mean": -7.25, "standard_error": 0.5}}
    summary = {"test": figures, "settings": {"test_data": 30}, "run": {"epochs": 4}}
    (path / "summary.json").write_text(json.dumps(summary))
    return path


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return digits(tmp_path_factory.mktemp("digits") / "digits.npz")


@pytest.fixture(scope="module")
def runs(tmp_path_factory, source):
    """A VAE, an IWAE and a planar IWAE on the same labelled images."""
    folder = tmp_path_factory.mktemp("runs")
    return [
        write_run(folder / "vae", source, objective="elbo", particles=5),
        write_run(folder / "iwae", source, particles=5, init=1),
        write_run(folder / "plane", source, "planar", particles=5, init=2),
    ]


def comparison(*paths, **settings):
    read = [read_run(path) for path in paths]
    data = read[0].load_data()
    return compared_runs.Comparison(read, data, **settings)


def written(folder):
    return sorted(path.stem for path in folder.iterdir()) if folder.exists() else []


def refused(capsys, *arguments):
    """The one line of a command that ends with exit code 2."""
    assert compare.main([str(argument) for argument in arguments]) == 2
    err = capsys.readouterr().err
    assert err.startswith("analysis.compare: ")
    assert err.count("\n") == 1
    return err


def test_the_command_draws_every_picture(runs, tmp_path, capsys):
    kept = {path: path.read_bytes() for run in runs for path in run.iterdir()}
    before = torch.get_rng_state()
    assert compare.main([*map(str, runs), "--out", str(tmp_path / "new" / "out")]) == 0
    assert torch.equal(torch.get_rng_state(), before)
    out = capsys.readouterr().out
    assert written(tmp_path / "new" / "out") == PICTURES
    for name in PICTURES:
        path = tmp_path / "new" / "out" / f"{name}.png"
        assert f"wrote {path}\n" in out
        picture = imageio.imread(path)
        assert min(picture.shape[:2]) > 300
        assert picture.std() > 1  # not blank
    for run in runs[:2]:
        assert f"no manifold of {run}: its levels have 50 units; a manifold wants" in out
    assert {path: path.read_bytes() for run in runs for path in run.iterdir()} == kept


def test_the_same_seed_gives_the_same_pictures(runs):
    def sheets(seed):
        compared = comparison(*runs[:2], seed=seed)
        names = ("encode_decode", "repeated_draws", "samples")
        axes = [ax for name in names for ax in getattr(compared, name)().axes]
        return [np.asarray(ax.get_images()[0].get_array()) for ax in axes]

    first, again, other = sheets(0), sheets(0), sheets(1)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_the_scatter_has_a_panel_per_run_on_shared_axes(runs):
    compared = comparison(*runs)
    figure = compared.latent_scatter()
    assert len(figure.axes) == 3
    assert len({(ax.get_xlim(), ax.get_ylim()) for ax in figure.axes}) == 1
    titles = [ax.get_title().split("\n") for ax in figure.axes]
    assert titles[0][:3] == ["VAE, k = 5", "burda1, 4 epochs", "vae"]
    assert titles[1][:3] == ["IWAE, k = 5", "burda1, 4 epochs", "iwae"]
    assert "of 50 units active" in titles[1][3]
    assert titles[2][3] == "2 of 2 units active"
    assert figure.get_suptitle() == "Where each guide puts 40 test images of digits.npz"
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["0", "1", "2"]
    for run, ax in zip(compared.runs, figure.axes, strict=True):
        plane = most_active_plane(run.guide, compared.data.test)
        np.testing.assert_allclose(ax.collections[0].get_offsets(), plane.points, atol=1e-6)
        assert ax.get_xlabel() == f"unit {plane.units[0]} of z1 (activity {plane.activity[0]:.2f})"


def test_reconstructions_are_told_apart_by_row(runs):
    compared = comparison(*runs)
    figure = compared.encode_decode()
    (ax,) = figure.axes
    names = [tick.get_text() for tick in ax.get_yticklabels()]
    assert names == [
        "test image",
        "VAE, k = 5\none draw of z1",
        "VAE, k = 5\nmean of z1",
        # Two runs share a name: their folders tell them apart.
        "IWAE, k = 5\n(iwae)\none draw of z1",
        "IWAE, k = 5\n(iwae)\nmean of z1",
        "IWAE, k = 5\n(plane)\none draw of z1",
        "IWAE, k = 5\n(plane)\nmean of z1",
    ]
    rows = spread_rows(compared.labels, 40, compared_runs.COLUMNS)
    x = compared.data.test[rows]
    mean = decoder.decode_mean(compared.runs[1].model, compared.runs[1].guide, x)
    for column in range(len(rows)):
        np.testing.assert_array_equal(cell(ax, 0, column, (4, 4)).ravel(), x[column])
        np.testing.assert_allclose(cell(ax, 4, column, (4, 4)).ravel(), mean[column], atol=1e-6)
    assert abs(cell(ax, 3, 0, (4, 4)) - cell(ax, 4, 0, (4, 4))).max() > 1e-3
    assert figure.get_suptitle().startswith("10 test images of digits.npz")
    line = "VAE, k = 5, burda1, 4 epochs: E log p(x | z) = -7.2 ± 0.5 nats (s.e., 30 test images)"
    assert figure.get_supxlabel().split("\n")[0] == line


def test_repeated_draws_start_from_grey_images(runs, source):
    compared = comparison(*runs[:2])
    figure = compared.repeated_draws()
    (ax,) = figure.axes
    names = [tick.get_text() for tick in ax.get_yticklabels()]
    assert names == ["VAE, k = 5", "IWAE, k = 5"] * 3
    with np.load(source) as arrays:
        grey = arrays["x_test"] / 255
    rows = spread_rows(compared.labels, 40, 3)
    x = torch.tensor(grey[rows]).float().flatten(1)
    for order, run in enumerate(compared.runs):
        with own_generators():
            torch.manual_seed(0)
            drawn = decoder.encode_decode(run.model, run.guide, x, 9)
        for place, image in enumerate(x):
            cells = [cell(ax, 2 * place + order, column, (4, 4)).ravel() for column in range(10)]
            np.testing.assert_allclose(cells[0], image, atol=1e-6)
            np.testing.assert_allclose(cells[1:], drawn[:, place], atol=1e-5)
            assert np.std(cells[1:], axis=0).min() > 1e-4  # draws differ in every pixel
    assert figure.get_suptitle().startswith("3 grey test images of digits.npz, each encoded and")
    assert "trained on binary pixels" in figure.get_supxlabel()


def test_samples_show_each_draw_below_its_mean(runs):
    compared = comparison(*runs[:2])
    figure, found = compared.samples(), []
    assert [ax.get_title() for ax in figure.axes] == [
        "VAE, k = 5\nburda1, 4 epochs\nvae",
        "IWAE, k = 5\nburda1, 4 epochs\niwae",
    ]
    for ax in figure.axes:
        names = [tick.get_text() for tick in ax.get_yticklabels()]
        assert names == ["mean", "binary draw"] * 6
        cells = [[cell(ax, row, column, (4, 4)) for column in range(8)] for row in range(12)]
        means, drawn = np.stack(cells[::2]), np.stack(cells[1::2])
        found.append((means.reshape(48, 16), drawn.reshape(48, 16)))
    for run, shown in zip(compared.runs, found, strict=True):
        with own_generators():
            torch.manual_seed(0)
            expected = decoder.simulate(run.model, 48)
        np.testing.assert_array_equal(shown, expected)
    assert not np.array_equal(*(means for means, _ in found))


def test_a_data_set_without_labels_has_no_scatter(tmp_path, capsys):
    source = digits(tmp_path / "plain.npz", labels=False)
    run = write_run(tmp_path / "run", source)
    assert compare.main([str(run), "--out", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "no latent scatter: plain.npz has no labels\n" in out
    assert written(tmp_path / "out") == ["encode_decode", "repeated_draws", "samples"]


def test_a_dead_run_is_left_out_of_the_scatter(runs, source, tmp_path, capsys):
    dead = write_run(tmp_path / "dead", source, kill=range(49))
    compared = comparison(runs[1], dead)
    figure = compared.latent_scatter()
    assert [ax.get_title().split("\n")[2] for ax in figure.axes] == ["iwae"]
    assert capsys.readouterr().out == (
        f"no latent scatter of {dead}: 1 of 50 units of z1 have an activity above 0.01; a scatter "
        "wants 2\n"
    )
    assert comparison(dead).latent_scatter() is None


def test_more_classes_than_colours_are_cut_and_counted(tmp_path):
    source = digits(tmp_path / "many.npz", classes=20)
    figure = comparison(write_run(tmp_path / "run", source)).latent_scatter()
    assert figure.get_suptitle().split("\n") == [
        "Where each guide puts 20 test images of many.npz",
        "(the first 10 of 20 classes)",
    ]
    assert len(figure.axes[0].collections[0].get_offsets()) == 20


def test_grey_levels_are_those_of_the_file(tmp_path):
    for name, top, grey in (("bytes", 255, True), ("dark", 40, True), ("binary", 1, False)):
        source = digits(tmp_path / f"{name}.npz", top=top)
        compared = comparison(write_run(tmp_path / name, source))
        rows = np.array([3, 17])
        found, is_grey = grey_test_rows(compared.runs[0], compared.data, rows)
        with np.load(source) as arrays:
            expected = arrays["x_test"][rows].reshape(2, -1) / (255 if grey else 1)
        np.testing.assert_allclose(found, expected, atol=1e-6)
        assert is_grey is grey
    source = digits(tmp_path / "gaussian.npz")
    compared = comparison(write_run(tmp_path / "gaussian", source, "td"))
    found, is_grey = grey_test_rows(compared.runs[0], compared.data, rows)
    assert torch.equal(found, compared.data.test[rows])
    assert not is_grey


def test_runs_of_fit_are_read(finished_run, tmp_path, capsys):
    """A finished run of fit.py: two Gaussian levels, no labels."""
    assert compare.main([str(finished_run), "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "no latent scatter" in out
    assert "a manifold wants one level of 2" in out
    assert written(tmp_path) == ["encode_decode", "repeated_draws", "samples"]


def test_runs_on_different_data_are_refused(runs, tmp_path, capsys):
    other = write_run(tmp_path / "other", digits(tmp_path / "other.npz", shape=(5, 5)))
    err = refused(capsys, runs[0], other, "--out", tmp_path / "out")
    assert "runs on different data cannot be compared: name is" in err
    assert str(runs[0]) in err
    assert str(tmp_path / "other.npz") in err
    assert not (tmp_path / "out").exists()


def config(**settings):
    made = {"dataset": "mnist", "model": "burda1", "seed": 0, "data_dir": "a"} | ROWS
    facts = Facts(num_pixels=784, data={"counts": {"test": 10_000}})
    return RunConfig.from_settings(made | settings, facts)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"seed": 1}, None),
        ({"data_dir": "b"}, None),
        ({"binarise": "static"}, None),
        ({"dataset": "fashion_mnist"}, "name"),
        ({"model": "td"}, "pixels"),
        ({"dataset": "file.npz", "seed": 1}, "name"),
    ],
)
def test_settings_that_change_the_test_images(changed, named):
    first, other = (FinishedRun("x", None, None, c) for c in (config(), config(**changed)))
    if named is None:
        check_comparable([first, first, other])
    else:
        with pytest.raises(InputError, match=f"cannot be compared: {named} is"):
            check_comparable([first, first, other])


def test_other_splits_are_other_data():
    def run(seed=0, rows=10_000):
        content = config(dataset="file.npz", seed=seed)
        return FinishedRun("x", None, None, content.with_facts(data={"counts": {"test": rows}}))

    check_comparable([run(), run()])
    with pytest.raises(InputError, match="seed is 0 in x and 1"):
        check_comparable([run(), run(seed=1)])
    with pytest.raises(InputError, match="counts is"):
        check_comparable([run(), run(rows=9)])


@pytest.mark.parametrize("missing", ["config.json", "checkpoint.pt", "summary.json"])
def test_an_unfinished_run_is_refused(runs, source, tmp_path, capsys, missing):
    run = write_run(tmp_path / "run", source)
    (run / missing).unlink()
    line = refused(capsys, runs[0], run, "--out", tmp_path / "out")
    assert str(run) in line
    assert missing in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("entry", ["data", "model", "num_pixels"])
def test_a_config_without_an_entry_is_refused(source, tmp_path, capsys, entry):
    run = write_run(tmp_path / "run", source)
    content = json.loads((run / "config.json").read_text())
    del content[entry]
    (run / "config.json").write_text(json.dumps(content))
    assert f"lacks the entry '{entry}'" in refused(capsys, run, "--out", tmp_path / "out")
    (run / "config.json").write_text(json.dumps({**content, entry: 3}))
    if entry == "data":
        assert "damaged" in refused(capsys, run, "--out", tmp_path / "out")


@pytest.mark.parametrize(("model", "binary"), [("td", False), ("burda1", True)])
def test_colour_images_are_drawn_in_colour(tmp_path, model, binary):
    source = digits(tmp_path / "colour.npz", shape=(4, 4, 3))
    run = write_run(tmp_path / "colour", source, model)
    assert compare.main([str(run), "--out", str(tmp_path / "out")]) == 0
    assert {"encode_decode", "repeated_draws", "samples"} <= set(written(tmp_path / "out"))
    compared = comparison(run)
    (ax,) = compared.encode_decode().axes
    sheet = np.asarray(ax.get_images()[0].get_array())
    assert sheet.shape == (3 * 5 - 1, 10 * 5 - 1, 3)
    rows = spread_rows(compared.labels, 40, compared_runs.COLUMNS)
    x = compared.data.test[rows].numpy().reshape(10, 4, 4, 3)
    for column in range(10):
        if binary:
            np.testing.assert_array_equal(cell(ax, 0, column, (4, 4)), x[column])
        else:  # as they were before they were standardised
            with np.load(source) as arrays:
                stored = arrays["x_test"][rows[column]] / 255
            np.testing.assert_allclose(cell(ax, 0, column, (4, 4)), stored, atol=1e-6)


def test_rows_that_are_no_images_are_drawn_where_their_shape_is_given(tmp_path, capsys):
    flat = write_run(tmp_path / "flat", digits(tmp_path / "flat.npz", shape=(15,)), "td")
    err = refused(capsys, flat, "--out", tmp_path / "out")
    assert "flat.npz have shape (15,): no images" in err
    assert "such as --image-shape 28 20" in err
    assert not (tmp_path / "out").exists()
    for wrong in ((4, 4), (15,), (-3, -5)):
        err = refused(capsys, flat, "--out", tmp_path / "out", "--image-shape", *wrong)
        assert "whose product is 15" in err
    command = [str(flat), "--out", str(tmp_path / "out"), "--image-shape", "3", "5"]
    assert compare.main(command) == 0
    assert "samples" in written(tmp_path / "out")


def test_data_that_changed_since_are_refused(tmp_path, capsys):
    source = digits(tmp_path / "digits.npz")
    run = write_run(tmp_path / "run", source)
    content = json.loads((run / "config.json").read_text())
    checksum = pyro_vae.load_dataset(**content["data_settings"]).checksum
    (run / "config.json").write_text(json.dumps({**content, "data_checksum": checksum}))
    assert compare.main([str(run), "--out", str(tmp_path / "same")]) == 0
    capsys.readouterr()
    digits(source, top=40)  # other grey levels, as many
    err = refused(capsys, run, "--out", tmp_path / "out")
    assert f"the data are not those that {run} was trained on" in err
    assert figures.main([str(run)]) == 2
    assert "the data are not those that" in capsys.readouterr().err
    digits(source, shape=(5, 5))
    err = refused(capsys, run, "--out", tmp_path / "out")
    assert "have 25 pixels now, but 16 when" in err
    source.unlink()
    assert "nothing exists at this path" in refused(capsys, run, "--out", tmp_path / "out")


def test_a_bad_seed_and_a_folder_that_cannot_be_made_are_refused(runs, tmp_path, capsys):
    err = refused(capsys, runs[0], "--out", tmp_path / "out", "--seed", -1)
    assert "seed must be a whole number of at least 0, got -1" in err
    (tmp_path / "file").write_text("")
    assert "cannot write" in refused(capsys, runs[0], "--out", tmp_path / "file")


@pytest.mark.parametrize(
    ("objective", "particles", "name"),
    [
        ("iwae", 5, "IWAE, k = 5"),
        ("iwae", 1, "VAE, k = 1"),
        ("elbo", 5, "VAE, k = 5"),
        ("dreg", 1, "VAE (DReG), k = 1"),
        ("miwae", 1, "MIWAE, k = 1"),
        ("power", 2, "power mean, k = 2"),
    ],
)
def test_runs_are_named_as_papers_name_models(objective, particles, name):
    config = RunConfig.from_settings({"objective": objective, "num_particles": particles})
    run = FinishedRun("x", None, None, config)
    assert run.name == name
