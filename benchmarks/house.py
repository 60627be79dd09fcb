"""How the house is built, in numbers: this library's rooms beside other packages.

    python benchmarks/house.py --against zuko gpytorch
    python benchmarks/house.py --against PATH --offenders

A package is given by name, where it is installed, or by the path of its folder; its sources are
read, nothing of it is imported. All counts are of Python files. Lines are physical lines, blank
ones and comments included. ``tests/test_house.py`` holds the targets.

==================  =============================================================================
key reads           ``x["key"]`` read, per 1000 lines; writing or deleting a key does not count
names in 2 folders  file names that stand in two or more folders, ``__init__`` apart. The stages of
                    the analysis have one file for each of its subjects on purpose: beside these
                    folders taken as one
loose files         at the top of the package, ``__init__`` and ``__main__`` apart
parameters          of the function that has most, self apart; and of those that are no facade
``# fmt: skip``     places where the formatter is told to leave
links               web addresses in docstrings
classes, files      their numbers
==================  =============================================================================
"""

from __future__ import annotations

import argparse
import ast
import importlib.metadata
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("pyro_vae", "experiments", "analysis")
# Stages of the analysis, which hold one file for each subject: filters, units, decoding, ...
MATRIX = frozenset(
    f"analysis/{stage}" for stage in ("measures", "probes", "pictures", "reporting/sections")
)
# Functions that people call by keyword and that gather what the rooms behind them do.
FACADES = {
    "pyro_vae/training/fitting.py:fit": "the one call that trains a pair in a user's own script",
    "pyro_vae/datasets/load.py:load_dataset": "the one call that reads every kind of data",
    "pyro_vae/evaluation/ais/annealed.py:bidirectional": "the bracket in one call, each setting of "
    "its chains by name",
    "pyro_vae/encoder/estimator.py:HierarchicalVAEEncoder.__init__": "scikit-learn wants every "
    "setting as a parameter of the constructor: get_params, clone and grids read them there",
}


@dataclass(frozen=True)
class Function:
    """A function, by the file it stands in, and its number of parameters."""

    place: str
    parameters: int

    def __str__(self) -> str:
        return f"{self.parameters} ({self.place})"


@dataclass(frozen=True)
class Source:
    """A Python file.

    Attributes:
        path: where it is. name: how it is called, from the root of the package.
    """

    path: Path
    name: str

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def lines(self) -> int:
        return len(self.text.splitlines())

    @property
    def folder(self) -> str:
        return self.name.rpartition("/")[0]

    @property
    def key_reads(self) -> list[int]:
        """Lines of ``x["key"]``."""
        return [
            node.lineno
            for node in ast.walk(self.tree)
            if isinstance(node, ast.Subscript)
            and isinstance(node.ctx, ast.Load)
            and isinstance(node.slice, ast.Constant)
            and isinstance(node.slice.value, str)
            and ast.unparse(node.value) not in ("Literal", "ClassVar")
        ]

    def functions(self) -> Iterator[Function]:
        for place, node in _definitions(self.tree, f"{self.name}:"):
            if not isinstance(node, ast.ClassDef):
                yield Function(place, _parameters(node))

    @property
    def classes(self) -> int:
        return sum(isinstance(node, ast.ClassDef) for node in ast.walk(self.tree))

    @property
    def links(self) -> int:
        documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        texts = [ast.get_docstring(n) for n in ast.walk(self.tree) if isinstance(n, documented)]
        return sum(len(re.findall(r"https?://", text or "")) for text in texts)


Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def _definitions(node: ast.AST, prefix: str) -> Iterator[tuple[str, Definition]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Definition):
            yield prefix + child.name, child
            yield from _definitions(child, f"{prefix}{child.name}.")
        else:
            yield from _definitions(child, prefix)


def _parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """All that a caller may give, ``*args`` and ``**kwargs`` as one each."""
    arguments = node.args
    named = [*arguments.posonlyargs, *arguments.args]
    bound = bool(named) and named[0].arg in ("self", "cls")
    several = (arguments.vararg is not None) + (arguments.kwarg is not None)
    return len(named) - bound + len(arguments.kwonlyargs) + several


@dataclass(frozen=True)
class House:
    """A package, or several that belong together.

    Attributes:
        rooms: the folders of its top packages.
        matrix: folders, from the root, whose files are meant to have the same names.
        facades: functions that may have many parameters, ``file:name`` -> why.
    """

    name: str
    rooms: Sequence[Path]
    matrix: frozenset[str] = frozenset()
    facades: dict[str, str] = field(default_factory=dict)

    @cached_property
    def sources(self) -> list[Source]:
        return [
            Source(path, path.relative_to(room.parent).as_posix())
            for room in self.rooms
            for path in sorted(room.rglob("*.py"))
        ]

    @property
    def lines(self) -> int:
        return sum(source.lines for source in self.sources)

    def key_reads(self, room: str = "") -> float:
        """Per 1000 lines, of the files whose names start so."""
        chosen = [source for source in self.sources if source.name.startswith(room)]
        return 1000 * sum(len(s.key_reads) for s in chosen) / sum(s.lines for s in chosen)

    def shared_names(self, apart: Iterable[str] = ()) -> dict[str, list[str]]:
        """File name -> the folders, where there are several; those in ``apart`` count as one."""
        folders: dict[str, list[str]] = defaultdict(list)
        for source in self.sources:
            if source.path.stem not in ("__init__", "__main__"):
                folders[source.path.name].append(source.folder)
        apart = frozenset(apart)
        return {
            name: found
            for name, found in sorted(folders.items())
            if len({"" if folder in apart else folder for folder in found}) > 1
        }

    @property
    def loose(self) -> list[str]:
        """Modules at the top of the first room."""
        top = self.rooms[0]
        return sorted(p.name for p in top.glob("*.py") if p.stem not in ("__init__", "__main__"))

    @property
    def functions(self) -> list[Function]:
        """From the one with most parameters down."""
        found = [one for source in self.sources for one in source.functions()]
        return sorted(found, key=lambda one: (-one.parameters, one.place))

    @property
    def inner_functions(self) -> list[Function]:
        """The same without the facades."""
        return [one for one in self.functions if one.place not in self.facades]

    @property
    def skips(self) -> int:
        return sum(len(re.findall(r"#\s*fmt:\s*(?:skip|off)", s.text)) for s in self.sources)


def ours(root: Path = ROOT) -> House:
    """This library with its commands and its analysis; rooms that a checkout lacks are left out."""
    rooms = [root / room for room in ROOMS if (root / room).is_dir()]
    return House("ours" if root == ROOT else root.name, rooms, MATRIX, FACADES)


def house(package: str) -> House:
    """An installed package by name, or a folder: a package, or a checkout of this library."""
    path = Path(package)
    if (path / "pyro_vae").is_dir():
        return ours(path.resolve())
    if not path.is_dir():
        path = _installed(package)
    return House(path.name, [path.resolve()])


def _installed(package: str) -> Path:
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError:
        raise SystemExit(
            f"{package!r} is neither a folder nor installed; give its path, as --against "
            f"VENV/lib/python3.11/site-packages/{package}"
        ) from None
    for file in files:
        if file.name == "__init__.py" and len(file.parts) == 2:
            return Path(str(file.locate())).parent
    raise SystemExit(f"{package!r} has no package folder")


def table(houses: Sequence[House]) -> str:
    """One row a count, one column a house, as Markdown."""

    def row(title: str, values: Iterable[object]) -> str:
        return f"| {title} | {' | '.join(map(str, values))} |"

    lines = [row("", [h.name for h in houses]), row("---", ["---"] * len(houses))]
    counts = {
        '`x["key"]` reads per 1000 lines': lambda h: f"{h.key_reads():.1f}",
        "file names in two or more folders": lambda h: len(h.shared_names()),
        "the same beside the matrix of the analysis": lambda h: len(h.shared_names(h.matrix)),
        "loose files at the top of the package": lambda h: len(h.loose),
        "most parameters of a function": lambda h: h.functions[0],
        "the same, facades apart": lambda h: h.inner_functions[0],
        "`# fmt: skip`": lambda h: h.skips,
        "links in docstrings": lambda h: sum(s.links for s in h.sources),
        "classes": lambda h: sum(s.classes for s in h.sources),
        "files": lambda h: len(h.sources),
        "lines": lambda h: h.lines,
    }
    return "\n".join([*lines, *(row(title, map(count, houses)) for title, count in counts.items())])


def offenders(one: House) -> Iterator[str]:
    """What stands above the targets, worst first."""
    for source in sorted(one.sources, key=lambda s: -len(s.key_reads))[:20]:
        if source.key_reads:
            yield f"key reads: {len(source.key_reads):3} in {source.name}"
    for room in one.rooms:
        yield f"key reads per 1000 lines of {room.name}: {one.key_reads(room.name + '/'):.1f}"
    for name, folders in one.shared_names(one.matrix).items():
        yield f"name: {name} in {', '.join(folders)}"
    for name in one.loose:
        yield f"loose: {name}"
    for function in one.functions:
        if function.parameters > 10:
            why = one.facades.get(function.place)
            yield f"parameters: {function}" + (f": {why}" if why else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--against", nargs="*", default=[], metavar="NAME|PATH", help="packages to compare with"
    )
    parser.add_argument(
        "--offenders", action="store_true", help="also list what stands above the targets"
    )
    flags = parser.parse_args()
    houses = [ours(), *map(house, flags.against)]
    print(table(houses))
    if flags.offenders:
        print(*offenders(houses[0]), sep="\n")


if __name__ == "__main__":
    main()
