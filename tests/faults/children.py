"""Commands of ``pyro-vae`` in processes of their own that can be killed and starved.

Each is forked from this process, which has imported the libraries already: a start takes
milliseconds, and a kill at a random moment meets work instead of imports.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

# Of lines that do not end a command: warnings, and parts of it that were given up.
GOES_ON = (": warning: ", "the others go on", "report: k = ")
LONGEST = 900.0  # seconds that a command may take


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: its exit code; below zero the signal that ended it.
        err: what it said on stderr.
    """

    code: int
    err: str
    seconds: float

    @property
    def tells_in_one_line(self) -> bool:
        """Whether it refused as a command should: a line of its own, no traceback.

        Warnings, a line each, may stand before it, and one for every cell of a table or study and
        every section of a report that was given up while the others went on. Progress bars are
        no lines.
        """
        lines = [line for line in self.err.splitlines() if line.strip() and "%|" not in line]
        own = all(line.startswith(("pyro-vae ", "report: ", "libgomp: ")) for line in lines)
        ends = [line for line in lines if not any(word in line for word in GOES_ON)]
        return self.code in (1, 2) and own and len(ends) <= 1 <= len(lines)


class Child:
    """A command under way.

    Args:
        words: as after ``pyro-vae``. folder: it works there.
        starve: called in the process before it begins.
    """

    def __init__(
        self, words: Sequence[str], folder: Path, starve: Callable[[], None] = lambda: None
    ) -> None:
        self._log = folder.parent / f"{folder.name}.err"
        self._started = time.monotonic()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            code = 3
            try:
                code = _command(words, folder, self._log, starve)
            finally:
                os._exit(code)

    def wait(self, kill_after: float | None = None) -> Ended:
        """Let it end, or kill it and all its own processes after so many seconds."""
        deadline = self._started + (LONGEST if kill_after is None else kill_after)
        while True:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            if ended:
                break
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.pid, signal.SIGKILL)  # and what it had started itself
                _, status = os.waitpid(self.pid, 0)
                break
            time.sleep(0.002)
        err = self._log.read_text(errors="replace") if self._log.exists() else ""
        return Ended(os.waitstatus_to_exitcode(status), err, time.monotonic() - self._started)


def call(
    words: Sequence[str],
    folder: Path,
    kill_after: float | None = None,
    starve: Callable[[], None] = lambda: None,
) -> Ended:
    """Run a command to its end, see :class:`Child`."""
    return Child(words, folder, starve).wait(kill_after)


def _command(words: Sequence[str], folder: Path, log: Path, starve: Callable[[], None]) -> int:
    """Of the forked process: its exit code."""
    from pyro_vae.cli import main

    os.setsid()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sink = os.open(os.devnull, os.O_WRONLY)
    error = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    os.dup2(sink, 1)
    os.dup2(error, 2)
    os.chdir(folder)
    code = 3
    try:
        starve()
        code = main(list(words))
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 3
    except BaseException:
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    return code
