"""What the commands share: their parser, the device, and exit codes with one line of reason."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Callable
from typing import NoReturn

import torch

from pyro_vae.errors import InputError, TrainingDiverged, check_choice


class Parser(argparse.ArgumentParser):
    """Bad flags are bad input like any other: one line, and exit code 2."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see --help")


def exit_code(name: str, run: Callable[[], int]) -> int:
    """Run a command; bad input gives 2, a training that diverges 1, Ctrl-C 130."""
    warnings.filterwarnings("ignore", message="\\s*ArviZ is undergoing a major refactor")

    def say(line: str) -> None:
        print(f"{name}: {line}", file=sys.stderr)

    try:
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


def device_named(name: str) -> torch.device:
    """The device of ``--device``; of several processes on one machine each has its own GPU."""
    check_choice("device", name, ("auto", "cpu", "cuda"))
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: torch finds no CUDA device here; allowed: auto, cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        name = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
    return torch.device(name)
