"""CIFAR-10 from an array file, its published archive or a checked download."""

import hashlib
import io
import pickle
import tarfile

import numpy as np
import pytest
import torch

from pyro_vae.datasets import cifar, load_dataset
from pyro_vae.errors import InputError

ROWS = 8  # in a batch; the published ones have 10,000
NOWHERE = "http://127.0.0.1:9/"  # the discard port: nothing listens


@pytest.fixture(autouse=True)
def _away_from_the_network(tmp_path, monkeypatch):
    monkeypatch.delenv("PYRO_VAE_DATA", raising=False)
    monkeypatch.setattr(cifar, "cache_folder", lambda name: tmp_path / "cache" / name)
    monkeypatch.setattr(cifar, "URL", NOWHERE + cifar.ARCHIVE)


def images(count, seed=0):
    """(N, 3, 32, 32) bytes."""
    return np.random.default_rng(seed).integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)


def batches():
    """Name -> what a batch file of the published archive holds."""
    found = {}
    for number, name in enumerate(cifar.BATCHES):
        pixels = images(ROWS, number).reshape(ROWS, -1)
        labels = [(number + place) % 10 for place in range(ROWS)]
        found[name] = {"batch_label": "training batch", "labels": labels, "data": pixels}
    return found


def write_archive(path, content, extra=()):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, value in [*content.items(), *extra]:
            data = value if isinstance(value, bytes) else pickle.dumps(value, protocol=2)
            member = tarfile.TarInfo(name if "/" in name else f"{cifar.FOLDER}/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def is_of_batches(data):
    train = np.concatenate([images(ROWS, number) for number in range(5)])
    assert [len(part) for part in (data.train, data.valid, data.test)] == [34, 6, ROWS]
    assert np.array_equal((255 * data.test.numpy()).round(), images(ROWS, 5).reshape(ROWS, -1))
    both = torch.cat([data.train, data.valid])
    assert {row.tobytes() for row in (255 * both.numpy()).round().astype(np.uint8)} == {
        row.tobytes() for row in train
    }
    assert data.image_shape == data.channels_first == (3, 32, 32)
    assert data.labels["test"].tolist() == [(5 + place) % 10 for place in range(ROWS)]
    assert data.label_names[data.labels["test"][0]] == "dog"
    return True


def test_the_published_archive_is_read_in_the_data_folder_or_below(tmp_path):
    for place in ("", "cifar10", "CIFAR10"):
        folder = tmp_path / f"at_{place}"
        write_archive(folder / place / cifar.ARCHIVE, batches())
        assert is_of_batches(load_dataset("cifar10", data_dir=folder, pixels="levels"))


def test_the_unpacked_archive_is_read(tmp_path):
    (tmp_path / cifar.FOLDER).mkdir()
    for name, content in batches().items():
        (tmp_path / cifar.FOLDER / name).write_bytes(pickle.dumps(content, protocol=2))
    assert is_of_batches(load_dataset("cifar10", data_dir=tmp_path, pixels="levels"))


def test_pickles_of_python_2_are_read(tmp_path):
    """The published files are theirs: byte strings as str, arrays with NumPy 1's names."""
    pixels = images(2).reshape(2, -1)
    raw = pixels.tobytes()
    written = (
        b"\x80\x02}(U\x04dataq\x01cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85"
        b"U\x01b\x87R(K\x01K\x02M\x00\x0c\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|"
        b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T" + len(raw).to_bytes(4, "little") + raw
    )
    written += b"tbU\x06labels](K\x03K\x04eu."
    content = dict.fromkeys(cifar.BATCHES, written)
    write_archive(tmp_path / cifar.ARCHIVE, content)
    data = load_dataset("cifar10", data_dir=tmp_path, pixels="levels")
    assert np.array_equal((255 * data.test.numpy()).round(), pixels)
    assert data.labels["test"].tolist() == [3, 4]


@pytest.mark.parametrize("first", [False, True], ids=["colour last", "colour first"])
def test_arrays_in_the_data_folder(tmp_path, first):
    train, test = images(40), images(10, 1)
    if not first:
        train, test = (part.transpose(0, 2, 3, 1) for part in (train, test))
    labels = {"y_train": np.arange(40) % 10, "y_test": np.arange(10)}
    np.savez(tmp_path / "cifar10.npz", x_train=train, x_test=test, **labels)
    data = load_dataset("cifar10", data_dir=tmp_path, pixels="levels")
    assert np.array_equal((255 * data.test.numpy()).round(), images(10, 1).reshape(10, -1))
    assert [len(part) for part in (data.train, data.valid)] == [34, 6]
    assert data.label_names == cifar.LABELS
    assert "are 40 of the 50,000" in data.info["caveat"]
    assert data.description.endswith(f"\nnote: {data.info['caveat']}")
    # The split is fixed, whatever the seed; other pixel spaces have channels first as well.
    other = load_dataset("cifar10", data_dir=tmp_path, seed=5)
    assert torch.equal(other.labels["valid"], data.labels["valid"])
    assert other.channels_first == (3, 32, 32)
    assert np.array_equal(other.preprocessing.images(other.test).round(), images(10, 1))


def test_known_lossy_images_are_told(tmp_path, monkeypatch):
    train = images(40)
    digest = hashlib.md5(train.transpose(0, 2, 3, 1).tobytes()).hexdigest()
    monkeypatch.setattr(cifar, "LOSSY", {digest: "were stored as JPEG"})
    monkeypatch.setattr(cifar, "WHOLE", 40)
    np.savez(tmp_path / "cifar10.npz", x_train=train, x_test=images(10))
    data = load_dataset("cifar10", data_dir=tmp_path)
    assert data.labels is None
    assert data.label_names == ()
    assert data.info["caveat"] == (
        "the images of cifar10.npz were stored as JPEG: likelihoods and bits per dimension are not "
        "comparable with published ones"
    )
    np.savez(tmp_path / "cifar10.npz", x_train=255 - train, x_test=images(10))
    assert "caveat" not in load_dataset("cifar10", data_dir=tmp_path).info


class Shell:
    """Runs a command when it is unpickled by ``pickle.load``."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return exec, (f"open({str(self.file)!r}, 'w').close()",)


def test_nothing_in_the_archive_runs_or_leaves_it(tmp_path):
    data_dir, mark = tmp_path / "data", tmp_path / "mark"
    write_archive(data_dir / cifar.ARCHIVE, {**batches(), "data_batch_3": {"data": Shell(mark)}})
    with pytest.raises(InputError, match=r"data_batch_3 names builtins\.exec|__builtin__\.exec"):
        load_dataset("cifar10", data_dir=data_dir)
    assert not mark.exists()
    # Other names, above the folder too, are passed over, and no name is written.
    outside = [("../mark", b"x"), (f"{cifar.FOLDER}/../../mark", b"x"), ("/etc/data_batch_1", b"x")]
    write_archive(data_dir / cifar.ARCHIVE, batches(), outside)
    assert is_of_batches(load_dataset("cifar10", data_dir=data_dir, pixels="levels"))
    assert sorted(path.name for path in tmp_path.rglob("*")) == [cifar.ARCHIVE, "data"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE])
def test_a_member_that_is_no_file_leads_nowhere(tmp_path, kind):
    outside = tmp_path / "outside"
    outside.write_bytes(pickle.dumps(batches()["test_batch"], protocol=2))
    data_dir = tmp_path / "data"
    path = write_archive(data_dir / cifar.ARCHIVE, {})
    with tarfile.open(path, "w:gz") as archive:
        for name, value in batches().items():
            member, data = tarfile.TarInfo(f"{cifar.FOLDER}/{name}"), pickle.dumps(value, 2)
            if name == "test_batch":
                member.type, member.linkname, data = kind, str(outside), b""
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    with pytest.raises(InputError, match="lacks cifar-10-batches-py/test_batch"):
        load_dataset("cifar10", data_dir=data_dir)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"data_batch_2": None}, "lacks cifar-10-batches-py/data_batch_2"),
        ({"test_batch": [1, 2]}, "test_batch is no batch of CIFAR-10"),
        ({"test_batch": {"data": images(2)[0, 0], "labels": [1, 2]}}, "no batch of CIFAR-10"),
        ({"test_batch": b"\x80"}, "test_batch is not a readable pickle"),
        ({"test_batch": {"data": images(2).reshape(2, -1), "labels": [1, 11]}}, r"are 0 \.\. 9"),
    ],
)
def test_damaged_archives_are_named(tmp_path, changed, message):
    content = {k: v for k, v in {**batches(), **changed}.items() if v is not None}
    write_archive(tmp_path / cifar.ARCHIVE, content)
    with pytest.raises(InputError, match=message):
        load_dataset("cifar10", data_dir=tmp_path)


def test_other_files_under_its_names(tmp_path):
    (tmp_path / cifar.ARCHIVE).write_bytes(b"no archive")
    with pytest.raises(InputError, match="is not a readable CIFAR-10 archive"):
        load_dataset("cifar10", data_dir=tmp_path)
    np.savez(tmp_path / "cifar10.npz", x_train=images(20)[:, 0], x_test=images(20)[:, 0])
    with pytest.raises(InputError, match=r"are uint8 \(N, 32, 32, 3\) .* got uint8 \(20, 32, 32\)"):
        load_dataset("cifar10", data_dir=tmp_path)
    np.savez(tmp_path / "cifar10.npz", x_train=images(20))
    with pytest.raises(InputError, match="must hold x_train and x_test"):
        load_dataset("cifar10", data_dir=tmp_path)


def test_a_download_is_checked_and_kept(tmp_path, monkeypatch):
    archive = write_archive(tmp_path / "cache" / "cifar10" / cifar.ARCHIVE, batches())
    with pytest.raises(InputError, match=f"could not download {NOWHERE}{cifar.ARCHIVE}"):
        load_dataset("cifar10")  # another file than the published one is not taken from the cache
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    monkeypatch.setattr(cifar, "SHA256", digest)
    assert is_of_batches(load_dataset("cifar10", pixels="levels"))


def test_another_archive_is_refused_and_not_kept(server, tmp_path, monkeypatch):
    folder, url = server
    (folder / cifar.ARCHIVE).write_bytes(b"another archive")
    monkeypatch.setattr(cifar, "URL", url + cifar.ARCHIVE)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(InputError, match=f"could not download {url}{cifar.ARCHIVE} .*hash"):
        load_dataset("cifar10")
    assert not list(tmp_path.glob(f"cache/**/*{cifar.ARCHIVE}*"))
    monkeypatch.setattr(cifar, "SHA256", hashlib.sha256(b"another archive").hexdigest())
    with pytest.raises(InputError, match="is not a readable CIFAR-10 archive"):
        load_dataset("cifar10")
    assert (tmp_path / "cache" / "cifar10" / cifar.ARCHIVE).read_bytes() == b"another archive"
