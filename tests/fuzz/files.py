"""A small valid file of every kind that is read, and what reads it."""

from __future__ import annotations

import dataclasses
import gzip
import io
import json
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
import tifffile
from PIL import Image

from analysis.reporting import store
from experiments.campaign.plan import Plan, read_plan
from experiments.study.study_models import Models
from pyro_vae.datasets import cifar, digits, load_dataset
from pyro_vae.datasets.image_files import read_grey, read_levels
from pyro_vae.datasets.preprocessing import Preprocessing
from pyro_vae.export import read_netcdf
from pyro_vae.runs import RunDirectory, Summary, load_run
from pyro_vae.storage import load_checkpoint

ROWS = 16


@dataclass(frozen=True)
class Kind:
    """Files of a kind.

    Attributes:
        name: of the file, in a folder of its own. content: of a valid one.
        read: whatever reads it, from the folder.
    """

    name: str
    content: bytes
    read: Callable[[Path], Any]


def array_kinds() -> list[Kind]:
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (ROWS, 4, 4), dtype=np.uint8)
    labels = np.arange(ROWS) % 3
    rows = rng.normal(size=(ROWS, 9)).astype(np.float32)
    named = {"x_train": grey, "x_test": grey[:4], "y_train": labels, "y_test": labels[:4]}
    last = {name: np.moveaxis(array, 0, -1) for name, array in named.items()}  # as MATLAB has it
    patches = {"train_images": rows, "test_images": rows[:4]}
    patches |= {"train_labels": labels, "test_labels": labels[:4]}
    idx = struct.pack(">4B3I", 0, 0, 8, 3, *grey.shape) + grey.tobytes()
    packed = io.BytesIO()
    np.savez_compressed(packed, **named)
    contents = {
        "a.npy": _saved(np.save, rows),
        "a.npz": _saved(np.savez, **named),
        "packed.npz": packed.getvalue(),
        "a.mat": _saved(scipy.io.savemat, last),
        "packed.mat": _saved(scipy.io.savemat, last, do_compression=True),
        "old.mat": _saved(scipy.io.savemat, {"x": rows}, format="4"),
        "new.mat": _hdf5(rows),
        "a.pkl": pickle.dumps(patches, protocol=4),
        "old.pkl": pickle.dumps(patches, protocol=2),
        "a.idx": idx,
        "a.idx.gz": gzip.compress(idx),
    }
    return [
        Kind(name, content, lambda folder, name=name: load_dataset(str(folder / name)))
        for name, content in contents.items()
    ]


def picture_kinds() -> list[Kind]:
    rng = np.random.default_rng(1)
    colour = rng.integers(0, 256, (6, 5, 3), dtype=np.uint8)
    contents = {}
    for suffix, form in (("png", "PNG"), ("jpg", "JPEG"), ("bmp", "BMP"), ("webp", "WEBP")):
        stream = io.BytesIO()
        Image.fromarray(colour).save(stream, form)
        contents[f"a.{suffix}"] = stream.getvalue()
    contents["a.ppm"] = b"P6 5 6 255 " + colour.tobytes()
    for name, pixels in (("a.tif", colour), ("deep.tif", rng.random((6, 5)))):
        stream = io.BytesIO()
        tifffile.imwrite(stream, pixels)
        contents[name] = stream.getvalue()

    def read(folder: Path, name: str) -> None:
        read_grey(folder / name)
        read_levels(folder / name)

    return [
        Kind(name, content, lambda folder, name=name: read(folder, name))
        for name, content in contents.items()
    ]


def archive_kinds() -> list[Kind]:
    rng = np.random.default_rng(2)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name in cifar.BATCHES:
            pixels = rng.integers(0, 256, (4, 3072), dtype=np.uint8)
            data = pickle.dumps({"data": pixels, "labels": [0, 1, 2, 3]}, protocol=2)
            member = tarfile.TarInfo(f"{cifar.FOLDER}/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    drawing, zipped = io.BytesIO(), io.BytesIO()
    Image.fromarray(np.eye(105, dtype=np.uint8) * 255).save(drawing, "PNG")
    with zipfile.ZipFile(zipped, "w") as archive:
        for number in range(1, 21):
            archive.writestr(f"a/Greek/character01/0001_{number:02}.png", drawing.getvalue())

    def omniglot(folder: Path) -> None:
        (folder / digits.OMNIGLOT_FILES[1]).write_bytes(zipped.getvalue())
        load_dataset("omniglot", data_dir=folder)

    return [
        Kind(cifar.ARCHIVE, stream.getvalue(), lambda f: load_dataset("cifar10", data_dir=f)),
        Kind(digits.OMNIGLOT_FILES[0], zipped.getvalue(), omniglot),
    ]


def run_kinds(run: Path) -> list[Kind]:
    """The files of a finished run, each beside the others."""

    def whole(folder: Path, name: str) -> Path:
        for path in run.iterdir():
            if path.is_file() and path.name not in (name, "checksums.json"):
                (folder / path.name).write_bytes(path.read_bytes())
        return folder

    def summary(folder: Path) -> None:
        directory = RunDirectory(folder)
        Summary.of(directory.read_summary(), directory.summary)

    readers = {
        "config.json": lambda folder: load_run(whole(folder, "config.json")),
        "checkpoint.pt": lambda folder: load_checkpoint(folder / "checkpoint.pt"),
        "metrics.csv": lambda folder: RunDirectory(folder).read_metrics(),
        "summary.json": summary,
        "preprocessing.npz": lambda folder: Preprocessing.load(folder / "preprocessing.npz"),
        "posterior.nc": lambda folder: read_netcdf(folder / "posterior.nc"),
        "checksums.json": lambda folder: RunDirectory(
            whole(folder, "checksums.json")
        ).read_config(),
    }
    return [Kind(name, (run / name).read_bytes(), read) for name, read in readers.items()]


def kept_kinds() -> list[Kind]:
    """A measurement of a report and the plan of a study."""
    plan = Plan(Models(("1", "2")), {"preset": "small"}, 1, 2, None, "cpu", None, 1)
    content = dataclasses.asdict(plan)
    written = json.dumps(content.pop("selection") | content).encode()
    measured = _saved(np.savez, values=np.arange(5.0), names=np.array(["a", "b"]))
    return [
        Kind("measured.npz", measured, lambda folder: store.read(folder / "measured.npz")),
        Kind("plan.json", written, lambda folder: read_plan(folder / "plan.json", Models)),
    ]


def every_kind(run: Path) -> list[Kind]:
    """All kinds; ``run`` is a finished one."""
    return [*array_kinds(), *picture_kinds(), *archive_kinds(), *run_kinds(run), *kept_kinds()]


def _saved(save: Callable[..., None], *arrays: Any, **settings: Any) -> bytes:
    stream = io.BytesIO()
    save(stream, *arrays, **settings)
    return stream.getvalue()


def _hdf5(rows: np.ndarray) -> bytes:
    import h5py

    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file["rows"] = rows.T  # as MATLAB stores it
    return stream.getvalue()
