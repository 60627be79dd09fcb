"""What the commands share: their parser, and exit codes with one line of reason."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable
from typing import NoReturn

import torch

from pyro_vae.errors import InputError, TrainingDiverged


class Parser(argparse.ArgumentParser):
    """Bad flags are bad input like any other: one line, and exit code 2."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see --help")


def exit_code(name: str, run: Callable[[], int]) -> int:
    """Run a command; bad input gives 2, a training that diverges 1, Ctrl-C 130."""

    def say(line: str) -> None:
        print(f"{name}: {line}", file=sys.stderr)

    def show(message, category, *_args) -> None:
        say(f"warning: {message}")

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="\\s*ArviZ is undergoing a major refactor")
            warnings.showwarning = show
            return run()
    except (InputError, OSError) as error:
        say(str(error))
        return 2
    except TrainingDiverged as error:
        say(f"training stopped at {error}")
        return 1
    except (torch.OutOfMemoryError, MemoryError) as error:
        reason = (str(error).splitlines() or [""])[0]
        say(f"out of memory; use fewer particles or smaller batches ({reason})")
        return 2
    except KeyboardInterrupt:
        say("interrupted")
        return 130
