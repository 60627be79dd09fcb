"""A line that says what a command is at, and since when, where no bar can count it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
AFTER_SECONDS = 3.0
EVERY_SECONDS = 1.0


@contextmanager
def ticking(what: str, show: bool = True) -> Iterator[None]:
    """Show ``what`` with the time it takes while the block runs, on stderr and on terminals alone.

    From the third second on, so that short work shows nothing; the line is gone afterwards. No
    other bar may be shown meanwhile.
    """
    if not (show and sys.stderr.isatty()):
        yield
        return
    done = threading.Event()
    clock = threading.Thread(target=_tick, args=(what, done), daemon=True)
    clock.start()
    try:
        yield
    finally:
        done.set()
        clock.join()


def waited_for(items: Iterable[Item], what: str) -> Iterator[Item]:
    """The items, with such a line while each is waited for."""
    left = iter(items)
    while True:
        with ticking(what):
            try:
                item = next(left)
            except StopIteration:
                return
        yield item


def _tick(what: str, done: threading.Event) -> None:
    if done.wait(AFTER_SECONDS):
        return
    with tqdm(desc=what, bar_format="{desc}: {elapsed}", leave=False) as bar:
        bar.start_t -= AFTER_SECONDS
        while not done.wait(EVERY_SECONDS):
            bar.refresh()
