"""Runs the blocks of the documentation's pages, Python and shell, and keeps a log.

    python docs/tools/run_pages.py --log docs/logs/pages.md
    python docs/tools/run_pages.py docs/tutorial.md docs/shapes.md --log docs/logs/pages.md

All pages run in one folder, in the order of the site, since later ones use runs of earlier ones
(``--folder`` keeps it for another call). Of the log the sections of these pages are written anew,
with the date. The Python blocks of a page share their names, as cells of a notebook do. A shell
block is whatever begins with ``pyro-vae``, ``python`` or ``make``; its commands run with ``bash
-e``. A comment before a block says what is too large for here: that it is not run and why, or with
which flags behind its last command it is::

    <!-- not run: 87 minutes of two cores -->
    <!-- run with: --num-train 500 --epochs 1 -->

Blocks of nothing but ``pyro-vae`` run in this process, which saves the imports. Data files are
taken from ``$PYRO_VAE_DATA``. Times are of processors. What fails makes the exit code 1.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
sys.path.insert(0, str(ROOT))

from pyro_vae.version import __version__  # noqa: E402

FENCE = re.compile(
    r"(?:^<!-- (not run|run with): ([^>]*?) -->\n+)?^```(\w*)\n(.*?)^```$", re.M | re.S
)
COMMAND = re.compile(r"(pyro-vae|python|make|torchrun|uv|pip|tensorboard)\b")
SHOWN_LINES = 12


@dataclass(frozen=True)
class Block:
    """A block of a page: its line, language ("python" or "bash") and text as it is run.

    ``added`` are the flags that the page does not show; ``reason`` says why it is not run.
    """

    page: Path
    line: int
    language: str
    text: str
    added: str | None = None
    reason: str | None = None

    @property
    def title(self) -> str:
        """The first line that does something, as far as one can tell."""
        lines = [line for line in self.text.splitlines() if line.strip()]
        dull = re.compile(r"\s|#|@|(import|from|class|def|try|for)\b")
        first = [line for line in lines if not dull.match(line)] or lines
        return first[0].strip().removesuffix(self.added or "").removesuffix("\\").strip()


@dataclass(frozen=True)
class Outcome:
    """What a block did: seconds of a core, what it printed, and whether it failed."""

    block: Block
    seconds: float
    printed: str
    failed: bool


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page that are Python or commands; what programs printed is left out."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        kind, told, language, body = match.groups()
        if language == "" and COMMAND.match(body):
            language = "bash"
        if language in ("python", "bash"):
            line = text.count("\n", 0, match.start(4)) + 1
            added = told if kind == "run with" else None
            body = body if added is None else f"{body.rstrip()} {added}\n"
            found.append(Block(page, line, language, body, added, told if added is None else None))
    return found


def pages_in_order() -> list[Path]:
    """The pages of ``docs/`` as the site's menu has them."""
    menu = re.findall(r"^ +- .*?([\w./-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M)
    return [DOCS / name for name in menu if (DOCS / name).exists()]


def run_page(page: Path) -> Iterator[Outcome]:
    """Run the blocks of a page in the current folder; the page ends at the first that fails."""
    names: dict[str, object] = {"__name__": "__main__"}
    for block in blocks_of(page):
        if block.reason is not None:
            continue
        start = spent()
        if block.language == "bash":
            printed, failed = run_commands(block.text)
        else:
            printed, failed = run_python(block, names)
        yield Outcome(block, spent() - start, printed, failed)
        if failed:
            return


def spent() -> float:
    """Seconds of processors that this process and those it waited for have used."""
    return sum(os.times()[:4])


def run_commands(text: str) -> tuple[str, bool]:
    """Run lines of a shell; the commands are those of this checkout."""
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    words = [line for line in words if line]
    if all(line[0] == "pyro-vae" for line in words):
        return run_here([line[1:] for line in words])
    done = subprocess.run(
        ["bash", "-e", "-c", text], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return done.stdout, done.returncode != 0


def run_here(commands: list[list[str]]) -> tuple[str, bool]:
    """Run ``pyro-vae`` with these words, one after the other, in this process."""
    from pyro_vae.cli import main

    printed, code = io.StringIO(), 0
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        for words in commands:
            code = code or main(words)
    return printed.getvalue(), bool(code)


def run_python(block: Block, names: dict[str, object]) -> tuple[str, bool]:
    """Run a block of Python among the names that the page has so far."""
    printed = io.StringIO()
    code = compile("\n" * (block.line - 1) + block.text, str(block.page), "exec")
    try:
        with contextlib.redirect_stdout(printed):
            exec(code, names)
    except Exception:
        return printed.getvalue() + traceback.format_exc(), True
    return printed.getvalue(), False


def shown(outcome: Outcome) -> str:
    """An entry of the log."""
    block = outcome.block
    lines = [line.rstrip() for line in re.split(r"[\n\r]", outcome.printed)]
    lines = [line for line in lines if line and "%|" not in line]  # no bars of progress
    if len(lines) > SHOWN_LINES:
        lines = [f"... {len(lines) - SHOWN_LINES} lines", *lines[-SHOWN_LINES:]]
    flags = "" if block.added is None else f", with `{block.added}`"
    state = "**failed**" if outcome.failed else f"{outcome.seconds:.1f} s"
    entry = [f"line {block.line}, {state}: `{block.title}`{flags}"]
    return "\n".join([*entry, *(["", "````text", *lines, "````"] if lines else [])])


def prepared(folder: Path) -> None:
    """Make the commands of this checkout those of the folder and of the processes it starts."""
    commands, work = folder / "bin", folder / "work"
    commands.mkdir(parents=True, exist_ok=True)
    for name, module in {"pyro-vae": "-m pyro_vae", "python": ""}.items():
        script = commands / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {module} "$@"\n')
        script.chmod(0o755)
    work.mkdir(exist_ok=True)
    for name in ("experiments", "benchmarks"):
        if not (work / name).exists():
            (work / name).symlink_to(ROOT / name)
    os.environ["PATH"] = f"{commands}{os.pathsep}{os.environ['PATH']}"
    os.environ["PYTHONPATH"] = str(ROOT)
    os.environ["MPLBACKEND"] = "Agg"
    os.environ["COLUMNS"] = "100"
    os.chdir(work)


def section(page: Path) -> tuple[str, bool]:
    """Run a page: its section of the log, and whether a block failed."""
    name = page.relative_to(ROOT).as_posix()
    entries, failed = [], False
    for outcome in run_page(page):
        entries.append(shown(outcome))
        failed |= outcome.failed
        print(f"{name}, {entries[-1]}", flush=True)
    for block in blocks_of(page):
        if block.reason is not None:
            entries.append(f"line {block.line}, not run ({block.reason}): `{block.title}`")
    head = f"## {name}\n\nRun on {time.strftime('%Y-%m-%d')}, pyro_vae {__version__}."
    return "\n\n".join([head, *entries]), failed


def write_log(path: Path, made: dict[str, str]) -> None:
    """Put the sections of pages (by name) into the log, in the order of the site."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    old = re.split(r"^(?=## \S+\.md$)", text, flags=re.M)[1:]
    sections = {one.split("\n", 1)[0].removeprefix("## "): one.rstrip() for one in old} | made
    order = [page.relative_to(ROOT).as_posix() for page in pages_in_order()]
    parts = [sections[name] for name in order if name in sections]
    whole = "\n".join(parts)
    ran = re.findall(r"^line \d+, (\*\*failed\*\*|[\d.]+ s)", whole, re.M)
    seconds = sum(float(one.split()[0]) for one in ran if one[0] != "*")
    head = (
        "# What ran of the pages\n\n`make pages` runs every block of the documentation's pages and "
        f"writes this log: {len(ran)} blocks, {seconds / 60:.1f} minutes of one core, "
        f"{sum(one[0] == '*' for one in ran)} failed. "
        f"{len(re.findall('^line [0-9]+, not run', whole, re.M))} are marked as too large, or as "
        "another machine's, and were not run. Under each stand the last lines that it printed."
    )
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n\n".join([head, *parts]) + "\n", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("pages", nargs="*", type=Path, help="default: all, in the site's order")
    parser.add_argument("--log", type=Path, help="Markdown file to write")
    parser.add_argument("--folder", type=Path, help="to run in, and to keep (default: a new one)")
    given = parser.parse_args()
    pages = [page.resolve() for page in given.pages] or pages_in_order()
    log = given.log.resolve() if given.log else None
    failed = False
    with tempfile.TemporaryDirectory() as new:
        prepared((given.folder or Path(new)).resolve())
        for page in pages:
            if blocks_of(page):
                text, wrong = section(page)
                failed |= wrong
                if log is not None:
                    write_log(log, {page.relative_to(ROOT).as_posix(): text})
        os.chdir(ROOT)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
