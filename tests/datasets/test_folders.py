"""Folders of photographs as people have them: nested, from a Mac, with a broken file in them."""

import errno
import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pyro_vae.datasets import load_dataset
from pyro_vae.datasets.photographs import image_files
from pyro_vae.errors import InputError

SMALL = {"patch_size": 6, "components": 20, "num_train": 200, "num_valid": 9, "num_test": 9}


def write(folder, *names):
    for index, name in enumerate(names):
        path = os.path.join(os.fsencode(folder), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        pixels = np.random.default_rng(index).integers(0, 256, (20, 30), dtype=np.uint8)
        with open(path, "wb") as file:
            Image.fromarray(pixels).save(file, "png")


def names(data):
    return sorted(name for part in data.info["photographs"].values() for name in part)


def test_dot_files_and_dot_folders_are_passed_over(tmp_path):
    write(tmp_path, "a.png", "b.png", "c.png", "d.png")
    clean = load_dataset(tmp_path, **SMALL)
    (tmp_path / "._a.png").write_bytes(b"\0\5\026\7\0\2\0\0Mac OS X        ")
    (tmp_path / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    write(tmp_path, ".thumbnails/a.png", ".hidden.png", "__MACOSX/._a.png")
    data = load_dataset(tmp_path, **SMALL)
    assert names(data) == ["a.png", "b.png", "c.png", "d.png"]
    assert data.checksum == clean.checksum
    assert "left_out" not in data.info


def test_folders_may_be_nested(tmp_path):
    write(tmp_path, "b.png", "sub/a.png", "sub/deep/a.png", "sub/A.PNG", "z/a.png")
    data = load_dataset(tmp_path, **SMALL)
    assert names(data) == ["b.png", "sub/A.PNG", "sub/a.png", "sub/deep/a.png", "z/a.png"]


def test_one_unreadable_file_is_named_and_left_out(tmp_path):
    write(tmp_path, "a.png", "b.png", "c.png", "d.png")
    clean = load_dataset(tmp_path, **SMALL)
    (tmp_path / "broken.jpg").write_bytes(b"not a photograph")
    with pytest.warns(UserWarning, match=r"^left out: .*broken.jpg is not a readable image"):
        data = load_dataset(tmp_path, **SMALL)
    assert data.info["left_out"] == ["broken.jpg"]
    assert data.checksum == clean.checksum
    json.dumps(data.info)
    for name in "abcd":
        (tmp_path / f"{name}.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"holds 0 images, .* \(5 cannot be read: .*a.png is not"):
        load_dataset(tmp_path, **SMALL)


def test_a_folder_that_may_not_be_looked_into_is_no_empty_one(tmp_path, monkeypatch):
    write(tmp_path, "a.png", "b.png", "c.png", "locked/d.png")
    scandir = os.scandir

    def guarded(path):
        if os.path.basename(path) == "locked":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    with pytest.raises(InputError, match=r"is not a readable folder: PermissionError: .*/locked'"):
        load_dataset(tmp_path, **SMALL)


def test_the_order_is_that_of_the_names_whatever_the_file_system_says(tmp_path, monkeypatch):
    accented = ["cafe\u0301.png", "cafe.png", "cafz.png", "Zoo.png", "a/z.png"]
    write(tmp_path, *accented)
    found = image_files(tmp_path)
    walk = os.walk

    def shuffled(folder, **options):
        for root, folders, files in walk(folder, **options):
            files.reverse()
            yield root, folders, files

    monkeypatch.setattr(os, "walk", shuffled)
    assert image_files(tmp_path) == found
    # Composed or taken apart, an accented name has the same place.
    order = [unicodedata.normalize("NFC", path.name) for path in found]
    assert order == ["Zoo.png", "z.png", "cafe.png", "cafz.png", "caf\u00e9.png"]
    monkeypatch.undo()
    (tmp_path / accented[0]).rename(tmp_path / "caf\u00e9.png")
    assert [unicodedata.normalize("NFC", path.name) for path in image_files(tmp_path)] == order


def test_names_that_are_no_utf_8_are_printable(tmp_path):
    folder = os.path.join(os.fsencode(tmp_path), b"caf\xe9")
    try:
        write(folder, b"d\xe9j\xe0.png", "b.png", "c.png")
    except OSError:
        pytest.skip("this file system has no such names")
    path = Path(os.fsdecode(folder))
    data = load_dataset(path, **SMALL)
    for text in (data.name, data.info["origin"], *names(data)):
        text.encode()  # every terminal and file takes it
    assert "d\\xe9j\\xe0.png" in names(data)
    assert data.name.endswith("caf\\xe9")
    np.save(path / "a.npy", np.random.default_rng(0).random((30, 5)))
    array = load_dataset(path / "a.npy")
    assert array.name.endswith("caf\\xe9/a.npy")
    assert array.info["origin"] == array.name
    (path / "broken.png").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"caf\\xe9/broken.png is not a readable image"):
        load_dataset(path, **SMALL)


def test_a_photograph_turned_by_its_tag_gives_the_patches_of_the_upright_one(tmp_path):
    for kind in ("plain", "turned"):
        (tmp_path / kind).mkdir()
        for index in range(3):
            pixels = np.random.default_rng(index).integers(0, 256, (20, 30), dtype=np.uint8)
            image, tag = Image.fromarray(pixels), Image.Exif()
            if kind == "turned":
                tag[0x112] = 6
                image = image.transpose(Image.Transpose.ROTATE_90)
            image.save(tmp_path / kind / f"{index}.png", exif=tag)
    plain, turned = (load_dataset(tmp_path / kind, **SMALL) for kind in ("plain", "turned"))
    assert torch.equal(plain.train, turned.train)


def test_reading_a_folder_needs_no_utf_8_locale(tmp_path):
    write(tmp_path, "a.png", "caf\u00e9.png", "c.png")
    script = (
        "import sys; from pyro_vae.datasets import load_dataset; "
        f"print(load_dataset(sys.argv[1], **{SMALL!r}).checksum)"
    )
    sums = {
        subprocess.run(
            [sys.executable, "-c", script, tmp_path],
            env=os.environ | {"LC_ALL": locale, "PYTHONUTF8": "0", "OMP_NUM_THREADS": "1"},
            capture_output=True,
            check=True,
            cwd=Path(__file__).resolve().parents[2],
        ).stdout
        for locale in ("C", "C.UTF-8")
    }
    assert len(sums) == 1
