"""What shows on a terminal while a command works for long, and that it shows nowhere else."""

import io
import time
from contextlib import redirect_stderr

import numpy as np
import pytest

from pyro_vae import cli, ticking


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def faster_clocks(monkeypatch):
    monkeypatch.setattr(ticking, "AFTER_SECONDS", 0.0)
    monkeypatch.setattr(ticking, "EVERY_SECONDS", 0.01)


def until(shown, text):
    deadline = time.monotonic() + 30
    while text not in shown.getvalue():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_long_work_is_told_with_its_time_and_taken_away():
    with redirect_stderr(Terminal()) as shown, ticking.ticking("thinking"):
        until(shown, "thinking: 00:0")
    assert shown.getvalue().endswith("\r")


def test_short_work_shows_nothing(monkeypatch):
    monkeypatch.setattr(ticking, "AFTER_SECONDS", 60.0)
    with redirect_stderr(Terminal()) as shown, ticking.ticking("thinking"):
        pass
    assert shown.getvalue() == ""


@pytest.mark.parametrize(("stream", "show"), [(Terminal, False), (io.StringIO, True)])
def test_nothing_shows_in_a_file_or_where_it_is_not_wanted(stream, show):
    with redirect_stderr(stream()) as shown, ticking.ticking("thinking", show=show):
        time.sleep(0.05)
    assert shown.getvalue() == ""


def test_an_error_ends_the_line():
    shown = Terminal()

    def fail():
        with redirect_stderr(shown), ticking.ticking("thinking"):
            until(shown, "thinking")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    before = shown.getvalue()
    time.sleep(0.05)
    assert shown.getvalue() == before


def test_items_are_waited_for_one_by_one():
    shown = Terminal()

    def slow():
        for number in range(2):
            shown.truncate(0)
            until(shown, "the next one")
            yield number

    with redirect_stderr(shown):
        assert list(ticking.waited_for(slow(), "the next one")) == [0, 1]


def test_encoding_counts_its_images(finished_run, tmp_path):
    np.save(tmp_path / "new.npy", np.random.default_rng(0).random((9, 4, 4)))
    words = ["encode", finished_run, tmp_path / "new.npy", "--out", tmp_path / "codes.npz"]
    with redirect_stderr(Terminal()) as shown:
        assert cli.main([*map(str, words)]) == 0
    assert "images:" in shown.getvalue()
    assert "0/9" in shown.getvalue()
