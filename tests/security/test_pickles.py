"""No pickle of unknown origin runs: a hostile one in the place of every file that is read."""

import io
import json
import pickle
import shutil
import tarfile
import zipfile

import numpy as np
import pytest
import scipy.io
import torch

import pyro_vae
from analysis.reporting import finished
from analysis.reporting.sections.arviz_plots import read_posterior
from analysis.reporting.store import Measurement, Store
from analysis.reporting.study import Settings, load_study
from pyro_vae.datasets import cifar, digits, load_dataset
from pyro_vae.datasets.files import read_arrays
from pyro_vae.datasets.image_files import read_grey, read_levels
from pyro_vae.datasets.preprocessing import Preprocessing
from pyro_vae.errors import InputError
from pyro_vae.runs import RunDirectory
from pyro_vae.storage import load_checkpoint
from tests.security.hostile import Hostile, hostile_pickle


@pytest.fixture
def mark(tmp_path):
    """The file that nobody may create; the pickle would indeed have done so."""
    mark = tmp_path / "it_ran"
    yield mark
    assert not mark.exists()
    pickle.loads(hostile_pickle(mark))
    assert mark.exists()


def hostile_object(mark):
    """An array of objects, which NumPy writes as a pickle."""
    holder = np.empty(1, dtype=object)
    holder[0] = Hostile(mark)
    return holder


def bare(path, mark):
    path.write_bytes(hostile_pickle(mark))


def npy(path, mark):
    with open(path, "wb") as file:
        np.save(file, hostile_object(mark), allow_pickle=True)


def npz(path, mark):
    with open(path, "wb") as file:
        np.savez(file, x_train=hostile_object(mark), x_test=hostile_object(mark))


def zipped(path, mark):
    """A checkpoint's frame, with another pickle inside."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("checkpoint/data.pkl", hostile_pickle(mark))
        archive.writestr("checkpoint/version", "3\n")
        archive.writestr("x_train.npy", hostile_pickle(mark))


def of_torch(path, mark):
    torch.save({"format": 1, "model": Hostile(mark), "guide": Hostile(mark)}, path)


DISGUISES = [bare, npy, npz, zipped, of_torch]
IMAGE_READERS = dict.fromkeys((".png", ".jpg", ".tif", ".bmp", ".webp", ".pgm"), read_grey)
ARRAYS = (".npy", ".npz", ".mat", ".pkl", ".pickle", ".idx", ".idx.gz")


@pytest.mark.parametrize("disguise", DISGUISES)
@pytest.mark.parametrize("suffix", ARRAYS)
def test_in_a_file_of_data(tmp_path, mark, suffix, disguise):
    path = tmp_path / f"a{suffix}"
    disguise(path, mark)
    readers = [lambda: load_dataset(str(path))]
    if "pickle" not in suffix and suffix != ".pkl":
        readers.append(lambda: read_arrays(path))
    for read in readers:
        with pytest.raises(InputError, match=r"a\.") as caught:
            read()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("disguise", [bare, npy, zipped])
@pytest.mark.parametrize("suffix", IMAGE_READERS)
def test_in_an_image(tmp_path, mark, suffix, disguise):
    path = tmp_path / f"a{suffix}"
    disguise(path, mark)
    for read in (read_grey, read_levels):
        with pytest.raises(InputError, match=r"a\.\w+ is not a readable image"):
            read(path)


def test_in_a_matlab_file(tmp_path, mark):
    """As a name, as text, as bytes and as a cell: SciPy reads all of them as what they are."""
    path = tmp_path / "a.mat"
    code = np.frombuffer(hostile_pickle(mark), np.uint8)
    holder = np.empty((1, 1), dtype=object)
    holder[0, 0] = hostile_pickle(mark).decode("latin1")
    rows = np.random.default_rng(0).random((20, 4))
    scipy.io.savemat(path, {"cell": holder, "text": holder[0, 0], "rows": rows, "code": code})
    assert load_dataset(f"{path}:rows").train.shape[1] == 4
    with pytest.raises(InputError, match="has no array 'cell'"):
        load_dataset(f"{path}:cell")
    assert read_arrays(path, "code").train.ravel().tobytes() == code.tobytes()


def test_in_the_archive_and_the_folder_of_cifar10(tmp_path, mark):
    for number, name in enumerate(cifar.BATCHES):
        folder = tmp_path / "unpacked" / cifar.FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        good = {"data": np.zeros((2, 3072), np.uint8), "labels": [0, 1]}
        bad = hostile_pickle(mark)
        (folder / name).write_bytes(bad if number == 3 else pickle.dumps(good, protocol=2))
    with tarfile.open(tmp_path / cifar.ARCHIVE, "w:gz") as archive:
        archive.add(folder, cifar.FOLDER)
    for place in (tmp_path, tmp_path / "unpacked"):
        with pytest.raises(InputError, match=r"data_batch_4 names .*not run"):
            load_dataset("cifar10", data_dir=place)


def test_in_the_archives_of_omniglot(tmp_path, mark):
    for file in digits.OMNIGLOT_FILES:
        with zipfile.ZipFile(tmp_path / file, "w") as archive:
            archive.writestr("a/Greek/character01/0001_01.png", hostile_pickle(mark))
    with pytest.raises(InputError, match="not a readable Omniglot archive"):
        load_dataset("omniglot", data_dir=tmp_path)


@pytest.mark.parametrize("disguise", DISGUISES)
def test_in_every_file_of_a_run(tmp_path, mark, finished_run, disguise):
    """Each file in turn; what reads it refuses it in a line that names it."""
    readers = {
        "checkpoint.pt": lambda run: load_checkpoint(run.checkpoint),
        "config.json": lambda run: run.read_config(),
        "metrics.csv": lambda run: run.read_metrics(),
        "summary.json": lambda run: run.read_summary(),
        "preprocessing.npz": lambda run: Preprocessing.load(run.preprocessing),
    }
    for name, read in readers.items():
        disguise(tmp_path / name, mark)
        with pytest.raises(InputError, match=name) as caught:
            read(RunDirectory(tmp_path))
        assert "\n" not in str(caught.value)
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    disguise(run / "checkpoint.pt", mark)
    for read in (pyro_vae.load_run, finished.read_run):
        with pytest.raises(InputError, match=r"checkpoint\.pt"):
            read(run)


@pytest.mark.parametrize("disguise", DISGUISES)
def test_in_the_posterior_and_the_store_of_a_report(tmp_path, mark, finished_run, disguise):
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    (run / "posterior.nc").unlink()
    disguise(run / "posterior.nc", mark)
    table = Measurement(lambda subject: {"a": np.arange(3.0)})
    store = Store(tmp_path / "measured", {"table": table})
    (subject,) = load_study([run], Settings(), store).subjects
    with pytest.raises(InputError, match=r"posterior\.nc is (damaged|not a readable)"):
        read_posterior(subject)
    path = store.path(subject, "table")
    path.parent.mkdir(parents=True)
    disguise(path, mark)
    with pytest.warns(UserWarning, match=r"table-\w+\.npz is not a readable.*measured again"):
        assert np.array_equal(store.get(subject, "table")["a"], np.arange(3.0))
    with np.load(path) as kept:  # measured again, and kept
        assert np.array_equal(kept["a"], np.arange(3.0))


@pytest.mark.parametrize("text", ["!!python/object/apply:os.system ['touch x']", "nan", "[1]"])
def test_in_a_plan(tmp_path, text):
    from experiments.campaign.plan import read_plan
    from experiments.study.study_models import Models

    path = tmp_path / "plan.json"
    for content in (text, json.dumps({"selection": text}), json.dumps([text])):
        path.write_text(content)
        with pytest.raises(InputError, match=r"plan\.json is damaged"):
            read_plan(path, Models)


def test_a_memo_that_asks_for_more_memory_than_there_is(tmp_path):
    path = tmp_path / "a.pkl"
    path.write_bytes(b"\x80\x02]r\xff\xff\xff\x7f.")  # place 2,147,483,647: 34 GB of room
    with pytest.raises(InputError, match=r"a\.pkl is not a readable pickle.*place 2147483647"):
        load_dataset(str(path))


def test_lists_that_hold_each_other_are_not_written_out(tmp_path):
    rows = [0.0, 1.0]
    for _ in range(40):
        rows = [rows, rows]
    keys = ("train_images", "train_labels", "test_images", "test_labels")
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(dict.fromkeys(keys, rows)))
    with pytest.raises(InputError, match=r"a\.pkl is not a readable patch file: .*lists of more"):
        load_dataset(str(tmp_path / "a.pkl"))


def test_objects_of_numpy_in_a_stream(mark):
    stream = io.BytesIO()
    np.save(stream, hostile_object(mark), allow_pickle=True)
    stream.seek(0)
    with pytest.raises(ValueError, match="allow_pickle"):
        np.load(stream)  # the default that every reader here also states
