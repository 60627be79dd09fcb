"""Stopping long work cleanly: Ctrl-C, kill, or a limit of minutes."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

UNTOUCHED = (signal.SIG_IGN, None)


class StopRequest:
    """Why the work should stop, or None; asked between steps."""

    def __init__(self, max_minutes: float | None = None) -> None:
        self._deadline = None if max_minutes is None else time.monotonic() + 60 * max_minutes
        self.signal: int | None = None

    @property
    def seconds_left(self) -> float:
        """Until the limit; infinite where there is none."""
        return math.inf if self._deadline is None else self._deadline - time.monotonic()

    @property
    def reason(self) -> str | None:
        """ "interrupted" after a signal, "time" after the limit, None while there is neither."""
        if self.signal is not None:
            return "interrupted"
        if self._deadline is not None and time.monotonic() >= self._deadline:
            return "time"
        return None


@contextmanager
def stop_on_signals(max_minutes: float | None = None) -> Iterator[StopRequest]:
    """Turn the first SIGINT or SIGTERM into a request; a second one acts as usual.

    A signal that this process was started to ignore, as a shell does for ``nohup`` or a background
    job of a script, goes on being ignored. Outside the main thread only the limit of minutes
    works, since Python delivers signals there.
    """
    request = StopRequest(max_minutes)
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    handlers = {int(number): signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    # None stands for a handler that was not installed from Python, which could not be put back.
    previous = {n: handler for n, handler in handlers.items() if handler not in UNTOUCHED}

    def note(number: int, frame: object) -> None:
        request.signal = number
        signal.signal(number, previous[number])

    for number in previous:
        signal.signal(number, note)
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
