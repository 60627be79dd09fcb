"""Files are written whole or not at all; checkpoints load safely, and only where they belong."""

import errno
import io
import json
import os
import pickle
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

import pyro_vae
from pyro_vae.errors import InputError
from pyro_vae.programs import PairConfig
from pyro_vae.storage import load_checkpoint, previous, save_checkpoint, sweep, write_text
from tests.conftest import tiny_pair

ROOT = Path(__file__).resolve().parents[2]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_with_its_folder(tmp_path):
    path = tmp_path / "new" / "folder" / "a.txt"
    write_text(path, "of a\udcffb\n")
    assert path.read_text("utf-8") == "of a\\xffb\n"
    write_text(path, "käse\n")
    assert path.read_bytes() == "käse\n".encode()
    assert names(path.parent) == ["a.txt"]


def test_content_that_cannot_be_serialised_leaves_the_old_file(tmp_path):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"a": torch.ones(3)})
    before = path.read_bytes()
    with pytest.raises((AttributeError, pickle.PicklingError)):
        save_checkpoint(path, {"a": torch.zeros(3), "b": lambda: None})
    assert path.read_bytes() == before
    assert names(tmp_path) == ["checkpoint.pt"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_write_that_breaks_off_leaves_the_old_file(tmp_path, monkeypatch, error):
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def broken(handle):
        raise error(5, "broke off")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(error, match="broke off"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_full_disk_names_the_file(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"a": torch.ones(3)})
    before = path.read_bytes()

    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        save_checkpoint(path, {"a": torch.zeros(3)})
    assert f"cannot write {path}" in str(caught.value)
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == before
    assert names(tmp_path) == ["checkpoint.pt"]


def run_with_limited_files(folder, body):
    """Exit code and output of a Python process in which no file can pass 20 kB."""
    script = """
    import resource, signal, sys
    from pathlib import Path
    import numpy as np, torch
    from pyro_vae.storage import save_checkpoint, write_text, write_whole

    def refused(name, write):
        path = Path(sys.argv[1]) / name
        path.write_text("old")
        try:
            write(path)
        except OSError as error:
            assert f"cannot write {path}" in str(error), error
            assert "\\n" not in str(error), error
            print(name, "refused")
        assert path.read_text() == "old"

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script) + textwrap.dedent(body), str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
def test_text_and_checkpoints_stop_at_a_real_limit(tmp_path):
    body = """
    refused("text", lambda path: write_text(path, "x" * 50_000))
    refused("checkpoint", lambda path: save_checkpoint(path, {"a": torch.rand(50_000)}))
    sys.exit(2)
    """
    code, out, err = run_with_limited_files(tmp_path, body)
    assert (code, err) == (2, "")
    assert out.splitlines() == ["text refused", "checkpoint refused"]
    assert names(tmp_path) == ["checkpoint", "text"]


@pytest.mark.slow
def test_netcdf_files_stop_at_a_real_limit(tmp_path):
    body = """
    import xarray
    from pyro_vae.export import netcdf_bytes
    from pyro_vae.export.arviz_forms import arviz_data
    draws = np.random.default_rng(0).random((1, 50_000))
    table = arviz_data({"posterior": xarray.Dataset({"a": (("chain", "draw"), draws)})})
    refused(
        "netcdf",
        lambda path: write_whole(path, netcdf_bytes(table)),
    )
    sys.exit(2)
    """
    code, out, err = run_with_limited_files(tmp_path, body)
    assert (code, out) == (2, "netcdf refused\n"), err
    assert names(tmp_path) == ["netcdf"]


def test_a_folder_that_cannot_be_made_names_the_file(tmp_path):
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "a.txt"
    with pytest.raises(OSError, match=r"cannot write .*a\.txt"):
        write_text(path, "new")


class Hostile:
    """Creates a file when unpickled."""

    def __init__(self, victim):
        self.victim = victim

    def __reduce__(self):
        return (Path.touch, (self.victim,))


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("writer", ["pickle", "torch", "torch legacy"])
def test_a_hostile_checkpoint_runs_nothing(tmp_path, writer, protocol):
    path, victim = tmp_path / "checkpoint.pt", tmp_path / "victim"
    content = {"format": 1, "model": Hostile(victim)}
    if writer == "pickle":
        path.write_bytes(pickle.dumps(content, protocol=protocol))
    else:
        torch.save(
            content,
            path,
            pickle_protocol=protocol,
            _use_new_zipfile_serialization=writer == "torch",
        )
    with pytest.raises(InputError, match="no checkpoint that can be loaded safely") as caught:
        load_checkpoint(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not victim.exists()
    pickle.loads(pickle.dumps(content))  # the file would indeed have run code
    assert victim.exists()


def trained_checkpoint(path):
    pair = tiny_pair()
    pyro_vae.fit(
        *pair,
        torch.randn(20, 6),
        objective=pyro_vae.IWAE(2),
        epochs=1,
        checkpoint=path,
        progress=False,
    )
    return pair


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_checkpoint_is_refused(tmp_path, share):
    path = tmp_path / "checkpoint.pt"
    trained_checkpoint(path)
    whole = path.read_bytes()
    load_checkpoint(path)
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InputError, match=r"checkpoint\.pt is no checkpoint") as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [[1, 2], {"a": 1}, {"format": 99}, torch.ones(2)])
def test_a_file_of_another_kind_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "c.pt")
    with pytest.raises(InputError, match="no pyro_vae checkpoint of format 1"):
        load_checkpoint(tmp_path / "c.pt")


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(InputError, match=r"there is no checkpoint .*none\.pt"):
        load_checkpoint(tmp_path / "none.pt")


@pytest.mark.parametrize(
    ("other", "what"),
    [
        ({"levels": 3}, r"of another model: 'conditionals\.1\S+' is missing in the checkpoint"),
        ({"levels": 1}, r"of another model: 'conditionals\.0\S+' is missing in this model"),
        ({"num_pixels": 7}, r"'likelihood\.\S+' has shape \(6.*\) there and \(7.*\) here"),
        ({"guide": "bottomup"}, r"of another guide: '\S+' (is missing|has shape)"),
    ],
)
def test_a_checkpoint_of_another_pair_names_the_parameter(tmp_path, other, what):
    path = tmp_path / "checkpoint.pt"
    trained_checkpoint(path)
    model, guide = tiny_pair(**other)
    before = [p.clone() for p in model.parameters()]
    with pytest.raises(InputError, match=what):
        pyro_vae.fit(
            model,
            guide,
            torch.randn(20, other.get("num_pixels", 6)),
            epochs=2,
            objective=pyro_vae.IWAE(2),
            checkpoint=path,
            resume=True,
            progress=False,
        )
    if "guide" not in other:
        for old, new in zip(before, model.parameters(), strict=True):
            assert torch.equal(old, new)


def test_a_checkpoint_of_other_data_is_refused(tmp_path):
    path = tmp_path / "checkpoint.pt"
    pair = trained_checkpoint(path)
    for rows, batch_size, match in ((21, 100, "rows of data = 20"), (20, 5, "batch size = 100")):
        with pytest.raises(InputError, match=match):
            pyro_vae.fit(
                *pair,
                torch.randn(rows, 6),
                epochs=2,
                batch_size=batch_size,
                objective=pyro_vae.IWAE(2),
                checkpoint=path,
                resume=True,
                progress=False,
            )


def test_a_checkpoint_of_the_right_format_without_its_parts_is_refused(tmp_path):
    path = tmp_path / "checkpoint.pt"
    pair = trained_checkpoint(path)
    content = load_checkpoint(path)
    for part in ("model", "guide", "optimiser", "progress", "generators", "plan"):
        previous(path).unlink(missing_ok=True)
        save_checkpoint(path, {name: value for name, value in content.items() if name != part})
        with pytest.raises(InputError, match=r"checkpoint\.pt"):
            pyro_vae.fit(
                *pair,
                torch.randn(20, 6),
                epochs=2,
                objective=pyro_vae.IWAE(2),
                checkpoint=path,
                resume=True,
                progress=False,
            )


def test_load_run_gives_back_the_trained_pair(finished_run):
    run = pyro_vae.load_run(finished_run)
    model, guide, config = pyro_vae.load_run(str(finished_run))
    assert config == run.config
    entries = json.loads(json.dumps(config.entries()))
    assert entries == json.loads((finished_run / "config.json").read_text())
    saved = load_checkpoint(finished_run / "checkpoint.pt")
    x = torch.randn(4, 16)
    tables = []
    few = PairConfig("td", "topdown", latent=(12, 4), hidden=("16",))
    untrained, rebuilt = few.build(16, seed=config["seed"]), few.build(16, seed=9)
    for program, part in zip(rebuilt, ("model", "guide"), strict=True):
        program.load_state_dict(saved[part])
    for pair in ((run.model, run.guide), (model, guide), rebuilt, untrained):
        torch.manual_seed(3)
        tables.append(pyro_vae.log_weights(*pair, x, 5).log_w)
    assert torch.equal(tables[0], tables[1])
    assert torch.equal(tables[0], tables[2])
    assert not torch.equal(tables[0], tables[3])
    assert not run.model.training
    assert not run.guide.training


def copied_run(finished_run, folder, config=None):
    folder.mkdir()
    (folder / "checkpoint.pt").write_bytes((finished_run / "checkpoint.pt").read_bytes())
    (folder / "config.json").write_text(
        (finished_run / "config.json").read_text() if config is None else config
    )
    return folder


def changed(finished_run, **entries):
    return json.dumps({**json.loads((finished_run / "config.json").read_text()), **entries})


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (lambda run: "", r"config\.json is damaged"),
        (lambda run: "{", r"config\.json is damaged"),
        (lambda run: "[1]", r"config\.json is damaged: it holds no table"),
        (lambda run: "{}", r"config\.json lacks the entry 'model'"),
        (lambda run: changed(run, model="vae"), "unknown model 'vae'; allowed: td"),
        (lambda run: changed(run, model="sparse", latent=[12]), "of another model"),
        (lambda run: changed(run, guide="meanfield"), "of another guide"),
        (lambda run: changed(run, num_pixels=17), "rows of 17 numbers are no images"),
        (lambda run: changed(run, preset="paper", hidden=None), "of another model"),
        (lambda run: changed(run, num_pixels=0), "number of pixels"),
        (lambda run: changed(run, num_pixels="many"), r"config\.json|number of pixels"),
        (lambda run: changed(run, num_pixels=None), r"config\.json|number of pixels"),
    ],
)
def test_load_run_with_a_damaged_config(finished_run, tmp_path, damage, match):
    folder = copied_run(finished_run, tmp_path / "run")
    pyro_vae.load_run(folder)
    (folder / "config.json").write_text(damage(finished_run))
    with pytest.raises(InputError, match=match):
        pyro_vae.load_run(folder)


def test_load_run_with_bytes_that_are_no_text(finished_run, tmp_path):
    folder = copied_run(finished_run, tmp_path / "run")
    (folder / "config.json").write_bytes(b"\xff\xfe\x00{")
    with pytest.raises(InputError, match=r"config\.json is damaged"):
        pyro_vae.load_run(folder)


def test_load_run_with_missing_parts(finished_run, tmp_path):
    with pytest.raises(InputError, match=r"there is no .*config\.json"):
        pyro_vae.load_run(tmp_path / "nowhere")
    folder = copied_run(finished_run, tmp_path / "run")
    (folder / "checkpoint.pt").unlink()
    with pytest.raises(InputError, match=r"there is no checkpoint .*checkpoint\.pt"):
        pyro_vae.load_run(folder)
    save_checkpoint(folder / "checkpoint.pt", {"guide": {}})
    with pytest.raises(InputError, match=r"checkpoint\.pt"):
        pyro_vae.load_run(folder)


def test_a_checkpoint_holds_tensors_and_plain_values_only(tmp_path):
    path = tmp_path / "checkpoint.pt"
    trained_checkpoint(path)
    content = torch.load(io.BytesIO(path.read_bytes()), weights_only=True)
    assert set(content) == {
        "format",
        "model",
        "guide",
        "optimiser",
        "progress",
        "generators",
        "plan",
    }


def test_what_killed_writers_left_is_deleted_and_nothing_else(tmp_path):
    kept = [tmp_path / name for name in ("a.tmp", ".hidden", "b.png")]
    left = [tmp_path / ".a.json.x1.tmp", tmp_path / "figures" / ".b.png.x2.tmp"]
    for path in (*kept, *left):
        write_text(path, "content")
    sweep(tmp_path)
    assert all(path.exists() for path in kept)
    assert not any(path.exists() for path in left)
