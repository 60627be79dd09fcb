"""The main job: train a model and a guide on images, evaluate them, and write a run directory.

    python experiments/fit.py --guide topdown --num-particles 50

This is ``pyro-vae fit`` in a checkout; the command itself is ``pyro_vae/cli/fit.py``.
"""

from __future__ import annotations

import sys
from pathlib import Path

# Commands run from a checkout; the library may be installed, the folders beside it are not.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pyro_vae.cli import prepare_process


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    from pyro_vae.cli import fit  # after the process is prepared: it loads torch

    return fit.main(arguments, prog="fit.py")


if __name__ == "__main__":
    prepare_process()
    sys.exit(main())
