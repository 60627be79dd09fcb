"""A few cases of the fuzzing harness in the suite, and that it finds what it is made to find."""

import random

import pytest

from pyro_vae.runs import job
from tests.conftest import write_images
from tests.fuzz.__main__ import Reached, outcome, read_case, words_case
from tests.fuzz.changes import changed
from tests.fuzz.files import archive_kinds, array_kinds, every_kind, kept_kinds, picture_kinds
from tests.fuzz.words import PARSED, command_line

FEW = 8
FIXED = {kind.name: kind for kind in (*array_kinds(), *picture_kinds(), *kept_kinds())}


@pytest.mark.parametrize("name", FIXED)
def test_changed_files_are_read_or_refused_in_one_line(tmp_path, name):
    for number in range(FEW):
        told = read_case(FIXED[name], number, tmp_path / str(number))
        assert told in ("read", "refused"), told


def test_changed_archives_and_files_of_a_run(tmp_path, finished_run):
    kinds = [kind for kind in every_kind(finished_run) if kind.name not in FIXED]
    assert len(kinds) == len(archive_kinds()) + 7
    for kind in kinds:
        for number in range(3):
            told = read_case(kind, number, tmp_path / f"{kind.name}-{number}")
            assert told in ("read", "refused"), (kind.name, told)


def test_whole_files_are_read(tmp_path, finished_run):
    """So that what is changed was worth a look."""
    for number, kind in enumerate(every_kind(finished_run)):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / kind.name).write_bytes(kind.content)
        assert outcome(lambda kind=kind, folder=folder: kind.read(folder)) == "read", kind.name


def test_command_lines_end_in_one_line(tmp_path, finished_run, monkeypatch):
    def reached(*arguments, **settings):
        raise Reached("training would begin")

    monkeypatch.setattr(job, "fit_pair", reached)
    write_images(tmp_path / "images.npy", rows=20)
    (tmp_path / "run").symlink_to(finished_run)
    for number in range(12):
        told = words_case(number, tmp_path)
        assert told in ("carried out", "refused"), told


def test_a_case_is_the_same_whenever_it_is_made():
    content = bytes(range(200))
    assert changed(content, random.Random("a:1")) == changed(content, random.Random("a:1"))
    assert len({changed(content, random.Random(f"a:{n}")) for n in range(50)}) > 40
    assert command_line(random.Random("words:1")) == command_line(random.Random("words:1"))
    assert len({command_line(random.Random(f"words:{n}"))[0] for n in range(200)}) == len(PARSED)


def test_what_a_reader_should_not_do_is_found():
    def fails(error):
        raise error

    assert "ZeroDivisionError" in outcome(lambda: 1 / 0)
    assert outcome(lambda: fails(Reached("two\nlines"))).startswith("several lines")
    assert outcome(lambda: fails(Reached("one"))) == "refused"
