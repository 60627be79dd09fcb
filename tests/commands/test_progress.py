"""What shows on a terminal while a command works for long, and that it shows nowhere else."""

import io
import time

import numpy as np
import pytest

from pyro_vae import cli, ticking


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    """A terminal on stderr, and clocks that run faster."""
    shown = Terminal()
    monkeypatch.setattr("sys.stderr", shown)
    monkeypatch.setattr(ticking, "AFTER_SECONDS", 0.0)
    monkeypatch.setattr(ticking, "EVERY_SECONDS", 0.01)
    return shown


def until(shown, text):
    deadline = time.monotonic() + 30
    while text not in shown.getvalue():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_long_work_is_told_with_its_time_and_taken_away(terminal):
    with ticking.ticking("thinking"):
        until(terminal, "thinking: 00:0")
    assert terminal.getvalue().endswith("\r")


def test_short_work_shows_nothing(terminal, monkeypatch):
    monkeypatch.setattr(ticking, "AFTER_SECONDS", 60.0)
    with ticking.ticking("thinking"):
        pass
    assert terminal.getvalue() == ""


def test_nothing_shows_in_a_file_or_where_it_is_not_wanted(terminal, monkeypatch):
    with ticking.ticking("thinking", show=False):
        time.sleep(0.05)
    assert terminal.getvalue() == ""
    monkeypatch.setattr("sys.stderr", io.StringIO())
    with ticking.ticking("thinking"):
        time.sleep(0.05)


def test_an_error_ends_the_line(terminal):
    def fail():
        with ticking.ticking("thinking"):
            until(terminal, "thinking")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    before = terminal.getvalue()
    time.sleep(0.05)
    assert terminal.getvalue() == before


def test_items_are_waited_for_one_by_one(terminal):
    def slow():
        for number in range(2):
            terminal.truncate(0)
            until(terminal, "the next one")
            yield number

    assert list(ticking.waited_for(slow(), "the next one")) == [0, 1]


def test_encoding_counts_its_images(finished_run, tmp_path, terminal):
    np.save(tmp_path / "new.npy", np.random.default_rng(0).random((9, 4, 4)))
    words = ["encode", finished_run, tmp_path / "new.npy", "--out", tmp_path / "codes.npz"]
    assert cli.main([*map(str, words)]) == 0
    assert "images:" in terminal.getvalue()
    assert "0/9" in terminal.getvalue()
