"""Lines of the library that its tests run, from coverage's JSON: a row of a table for each room.

    make coverage                                                        # measures, and prints it
    python docs/tools/coverage_table.py build/coverage.json --raises     # and each error not raised

Under the table stand the ``raise`` statements of the library that no test reached. The exit code
is 1 where fewer lines than ``--at-least`` percent were run.
"""

from __future__ import annotations

import argparse
import ast
import json
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def room_of(path: str) -> str:
    """``pyro_vae/training/fit.py`` -> ``training``; files of the top folder are one room."""
    parts = Path(path).parts
    return parts[1] if len(parts) > 2 else "pyro_vae"


def raises_of(path: str) -> set[int]:
    """The first lines of the ``raise`` statements of a file."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.lineno for node in ast.walk(tree) if isinstance(node, ast.Raise)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("measured", type=Path, help="coverage's JSON report")
    parser.add_argument("--at-least", type=float, default=92.0, help="percent of lines")
    parser.add_argument("--raises", action="store_true", help="list the errors not raised")
    given = parser.parse_args()
    lines, run, raises, raised = Counter(), Counter(), Counter(), Counter()
    silent = []
    for path, file in json.loads(given.measured.read_text())["files"].items():
        room, missing = room_of(path), set(file["missing_lines"])
        lines[room] += file["summary"]["num_statements"]
        run[room] += file["summary"]["covered_lines"]
        errors = raises_of(path) - set(file["excluded_lines"])
        raises[room] += len(errors)
        raised[room] += len(errors - missing)
        silent += [f"{path}:{line}" for line in sorted(errors & missing)]
    print("| room | lines | run | errors | raised |\n|---|---|---|---|---|")
    for room in (*sorted(lines), None):
        of = [room] if room else list(lines)
        counts = [sum(table[one] for one in of) for table in (lines, run, raises, raised)]
        share = f"{100 * counts[1] / counts[0]:.1f} %"
        print(f"| {room or '**all**'} | {counts[0]} | {share} | {counts[2]} | {counts[3]} |")
    if given.raises:
        print(*silent, sep="\n")
    return int(100 * sum(run.values()) / sum(lines.values()) < given.at_least)


if __name__ == "__main__":
    raise SystemExit(main())
