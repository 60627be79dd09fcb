"""Builds and executes notebooks: ``notebooks/NAME.py`` -> ``notebooks/NAME.ipynb`` with outputs.

    python docs/tools/notebooks.py                 # those whose text has changed
    python docs/tools/notebooks.py particles       # one, whatever its state

A source is plain Python in cells: a line ``# %% [markdown]`` begins text, whose lines are
comments, and ``# %%`` begins code. Where the text alone has changed the outputs stay. Outputs are
kept below 500 kB a notebook, pictures in 256 colours, without warnings of libraries and the names
of matplotlib's objects.
"""

from __future__ import annotations

import base64
import io
import resource
import sys
import tempfile
import time
from pathlib import Path

import nbclient
import nbformat
from PIL import Image

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
MAX_BYTES = 500_000


def cells_of(source: str) -> list[tuple[str, str]]:
    """(kind, text) of every cell of a source, kind being "markdown" or "code"."""
    found = []
    for part in source.split("# %%")[1:]:
        head, _, body = part.partition("\n")
        kind = "markdown" if "[markdown]" in head else "code"
        lines = body.strip("\n").splitlines()
        if kind == "markdown":
            lines = [line.removeprefix("#").removeprefix(" ") for line in lines]
        found.append((kind, "\n".join(lines)))
    return found


def built(source: str) -> nbformat.NotebookNode:
    """The notebook of a source, without outputs; equal sources give equal notebooks."""
    make = {"markdown": nbformat.v4.new_markdown_cell, "code": nbformat.v4.new_code_cell}
    cells = [make[kind](text) for kind, text in cells_of(source)]
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


def is_current(path: Path) -> bool:
    """Whether the notebook beside a source has its cells, and outputs."""
    target = path.with_suffix(".ipynb")
    if not target.exists():
        return False
    cells = nbformat.read(target, as_version=4).cells
    executed = all(cell.execution_count for cell in cells if cell.cell_type == "code")
    there = [(cell.cell_type, cell.source) for cell in cells]
    return executed and there == cells_of(path.read_text(encoding="utf-8"))


def retold(path: Path) -> bool:
    """Put new text between code that has not changed, whose outputs stand; else False."""
    target = path.with_suffix(".ipynb")
    if not target.exists():
        return False
    old = nbformat.read(target, as_version=4)
    new = built(path.read_text(encoding="utf-8"))
    outputs = [cell for cell in old.cells if cell.cell_type == "code"]
    code = [cell for cell in new.cells if cell.cell_type == "code"]
    if [cell.source for cell in outputs] != [cell.source for cell in code]:
        return False
    kept = iter(outputs)
    new.cells = [next(kept) if cell.cell_type == "code" else cell for cell in new.cells]
    for number, cell in enumerate(new.cells):
        cell["id"] = f"cell-{number}"
    target.write_text(nbformat.writes(new) + "\n", encoding="utf-8")
    return all(cell.execution_count for cell in outputs)


def is_told(output: nbformat.NotebookNode) -> bool:
    """Whether an output says something to a reader."""
    text = output.get("data", {}).get("text/plain", "")
    return output.get("name") != "stderr" and not text.startswith("<matplotlib")


def smaller(output: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """An output with its picture in 256 colours, which is half of the bytes to the same eye."""
    data = output.get("data", {})
    if "image/png" in data:
        picture, stream = Image.open(io.BytesIO(base64.b64decode(data["image/png"]))), io.BytesIO()
        picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(
            stream, "png", optimize=True
        )
        data["image/png"] = base64.b64encode(stream.getvalue()).decode()
    return output


def execute(path: Path) -> None:
    """Write the executed notebook of a source; the folder that it runs in is a new one."""
    notebook = built(path.read_text(encoding="utf-8"))
    start, before = time.monotonic(), processor_seconds()
    with tempfile.TemporaryDirectory() as folder:
        nbclient.NotebookClient(
            notebook, timeout=1800, kernel_name="python3", resources={"metadata": {"path": folder}}
        ).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [smaller(output) for output in cell.outputs if is_told(output)]
    text = nbformat.writes(notebook)
    if len(text) > MAX_BYTES:
        raise SystemExit(f"{path.stem} has {len(text)} bytes; allowed: {MAX_BYTES}")
    path.with_suffix(".ipynb").write_text(text + "\n", encoding="utf-8")
    used, kilobytes = processor_seconds() - before, len(text) // 1000
    print(f"{path.stem}: {time.monotonic() - start:.0f} s, {used:.0f} of a core, {kilobytes} kB")


def processor_seconds() -> float:
    """Of the kernels that have ended: what a notebook takes of a core on a machine that is busy."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime


def main(names: list[str]) -> None:
    sources = sorted(NOTEBOOKS.glob("*.py"))
    for path in sources:
        if path.stem in names or not (names or is_current(path) or retold(path)):
            execute(path)


if __name__ == "__main__":
    main(sys.argv[1:])
