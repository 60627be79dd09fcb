"""Training on an array that is larger than the memory that the process may have.

    python benchmarks/larger_than_memory.py --gigabytes 20 --limit 8 --minutes 2 --folder /var/tmp

Makes a sparse ``.npy`` file of rows of 784 float32 numbers, zeros with noise in one row of a
thousand, which takes little of the disk; then runs ``pyro-vae fit`` on it with a limit on the
memory of the process (RLIMIT_DATA: heap and private mappings, not the pages of the file, which the
system takes back when it wants them), and prints what was trained, how long reading the file
through took before the first step, and the largest anonymous memory seen. Linux.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

WIDTH, NOISE_EVERY = 784, 1_000
FIT = [
    *("--model", "burda1", "--likelihood", "gaussian", "--num-particles", "5"),
    *("--image-shape", "28", "28", "--test-size", "100", "--eval-particles", "100"),
    *("--posterior-data", "10", "--no-compile", "--epochs", "1"),
]


def make(path: Path, size: int) -> int:
    """Write the file; the bytes of it that are on disk."""
    rows = size // (4 * WIDTH)
    array = np.lib.format.open_memmap(path, "w+", np.float32, (rows, WIDTH))
    noise = np.random.default_rng(0)
    for start in range(0, rows, NOISE_EVERY):
        array[start] = noise.random(WIDTH)
    array.flush()
    return path.stat().st_blocks * 512


def anonymous(pid: int) -> int:
    """Bytes of the process that are not pages of files; 0 once it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon"))


def main() -> int:
    """Run the benchmark; returns the exit code of the training."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=20.0, help="of the file (20)")
    parser.add_argument("--limit", type=float, default=8.0, help="gigabytes of memory (8)")
    parser.add_argument("--minutes", type=float, default=2.0, help="of training (2)")
    parser.add_argument("--folder", help="for the file and the run (default: a temporary one)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        path, run = Path(folder) / "large.npy", Path(folder) / "run"
        on_disk = make(path, int(given.gigabytes * 1e9))
        print(f"file: {path.stat().st_size / 1e9:.1f} GB, {on_disk / 1e9:.2f} GB on disk")
        limit = int(given.limit * 1e9)
        words = ["--dataset", str(path), "--run-dir", str(run), "--max-minutes", str(given.minutes)]
        started = time.monotonic()
        fit = subprocess.Popen(
            [sys.executable, "-m", "pyro_vae", "fit", *FIT, *words],
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)),
        )
        most, reading = 0, None
        while fit.poll() is None:
            most = max(most, anonymous(fit.pid))
            if reading is None and (run / "config.json").exists():
                reading = time.monotonic() - started
            time.sleep(0.2)
        print(f"limit: {given.limit:g} GB; exit code {fit.returncode}")
        print(f"largest anonymous memory: {most / 1e9:.2f} GB")
        if fit.returncode == 0:
            trained = json.loads((run / "summary.json").read_text())["run"]
            minutes = trained["training_minutes_of_this_call"]
            print(f"before the first step: {reading:.0f} s, the file read through")
            print(f"trained: {trained['steps']} steps of 100 rows in {minutes:.1f} minutes")
    return fit.returncode


if __name__ == "__main__":
    sys.exit(main())
