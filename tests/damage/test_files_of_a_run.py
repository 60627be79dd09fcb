"""Every file of a run, cut off and with single bits changed: refused by name, or read as it was."""

import dataclasses
import io
import shutil
import zipfile

import numpy as np
import pytest
import torch

from pyro_vae.cli.common import exit_code
from pyro_vae.datasets.preprocessing import Preprocessing
from pyro_vae.errors import InputError
from pyro_vae.export import model_card
from pyro_vae.runs import RunDirectory, Summary, load_run
from pyro_vae.storage import Checksums, load_checkpoint
from tests.conftest import changed_by_hand
from tests.damage.damages import CUTS, cut, flips

READERS = {
    "checkpoint.pt": lambda run: load_checkpoint(run.checkpoint),
    "config.json": lambda run: run.read_config().entries(),
    "metrics.csv": lambda run: run.read_metrics(),
    "summary.json": lambda run: Summary.of(run.read_summary(), run.summary).entries(),
    "preprocessing.npz": lambda run: vars(Preprocessing.load(run.preprocessing)),
    "posterior.nc": lambda run: run.check_posterior(),
}


@pytest.fixture
def run(finished_run, tmp_path):
    return RunDirectory(shutil.copytree(finished_run, tmp_path / "run"))


def same(one, two):
    """Equal to the last bit, whatever it is made of."""
    if torch.is_tensor(one) or isinstance(one, np.ndarray):
        return type(one) is type(two) and one.dtype == two.dtype and bool((one == two).all())
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(two) and all(map(same, one, two))
    if dataclasses.is_dataclass(one):
        return type(one) is type(two) and same(vars(one), vars(two))
    return repr(one) == repr(two)  # NaN is itself


def read(run, name):
    """What the reader of a file gives, and its one line where it refuses; nothing else may come."""
    try:
        return READERS[name](run), ""
    except InputError as error:
        return None, str(error)


def refused_or_same(run, name, expected):
    """Whether a file was refused; where it was not, it must be read as it was."""
    found, refusal = read(run, name)
    assert "\n" not in refusal
    assert name in refusal if refusal else same(found, expected)
    return bool(refusal)


@pytest.mark.parametrize("name", READERS)
def test_no_damage_is_overlooked(run, name):
    path = run.path / name
    whole, expected = path.read_bytes(), READERS[name](run)
    for share in CUTS:
        path.write_bytes(cut(whole, share))
        assert refused_or_same(run, name, expected), share
    refused = []
    for _, changed in flips(whole, 40):
        path.write_bytes(changed)
        refused.append(refused_or_same(run, name, expected))
    # Archives have bytes of no meaning (dates, room to align): those alone may differ unseen.
    assert np.mean(refused) > (0.5 if zipfile.is_zipfile(io.BytesIO(whole)) else 0.999)


@pytest.mark.parametrize("name", [name for name in READERS if name != "posterior.nc"])
def test_without_checksums_damage_is_refused_or_harmless_to_the_reader(run, name):
    """As of versions that wrote none: whatever a reader makes of it, it is no traceback."""
    changed_by_hand(run.path)
    path = run.path / name
    whole = path.read_bytes()
    damaged = [cut(whole, share) for share in CUTS]
    damaged += [changed for _, changed in flips(whole, 40, seed=1)]
    for content in damaged:
        path.write_bytes(content)
        assert "\n" not in read(run, name)[1]


def test_damage_in_one_number_is_found_by_its_checksum(run):
    """A digit that is another one: no parser could tell."""
    for path in (run.config, run.metrics, run.summary):
        text = path.read_text()
        place = max(text.rfind(digit) for digit in "123")
        path.write_text(f"{text[:place]}{int(text[place]) + 1}{text[place + 1 :]}")
        with pytest.raises(InputError, match=f"{path.name} is damaged, or was changed by hand"):
            READERS[path.name](run)
    with pytest.raises(InputError, match=r"config\.json is damaged, or was changed"):
        load_run(run.path)
    changed_by_hand(run.path)
    load_run(run.path)
    run.read_summary()


def test_the_card_of_a_run_reads_no_damaged_summary(run):
    loaded = load_run(run.path)
    run.summary.write_text(run.summary.read_text().replace("1", "2"))
    with pytest.raises(InputError, match=r"summary\.json is damaged"):
        model_card(loaded)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"config.json": 3}', b"\xff"])
def test_a_damaged_list_of_checksums_stands_in_nobodys_way(run, content):
    (run.path / "checksums.json").write_bytes(content)
    assert run.read_config().pair.model == "td"


def test_a_write_that_is_cut_off_leaves_a_file_that_is_known(tmp_path, monkeypatch):
    """Whether the process dies before the file is in place or after: one of the two is there."""
    path = tmp_path / "a.json"
    kept = Checksums(tmp_path)
    kept.write(path, b"first")
    for attempt in range(3):
        with monkeypatch.context() as patch:

            def dies(target, content):
                raise KeyboardInterrupt

            patch.setattr("pyro_vae.storage.write_whole", _only_lists(dies))
            with pytest.raises(KeyboardInterrupt):
                kept.write(path, b"never %d" % attempt)
        assert kept.read(path) == b"first"
    for content in (b"second", b"third"):
        kept.write(path, content)
        assert kept.read(path) == content
    path.write_bytes(b"first")  # of long ago
    with pytest.raises(InputError, match=r"a\.json is damaged"):
        kept.read(path)


def _only_lists(otherwise):
    from pyro_vae import storage

    real = storage.write_whole

    def write(path, content):
        return real(path, content) if path.name == "checksums.json" else otherwise(path, content)

    return write


def test_a_command_tells_of_damage_in_one_line(run, capsys):
    run.config.write_text(run.config.read_text().replace("0", "1"))
    assert exit_code("pyro-vae encode", lambda: load_run(run.path)) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.startswith(f"pyro-vae encode: {run.config} is damaged")
