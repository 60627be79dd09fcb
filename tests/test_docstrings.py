"""Docstrings as the reference shows them: an entry of its own for every argument and field."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def names_told(node):
    """What its docstring may explain: arguments; of a class fields and methods, too."""
    if not isinstance(node, ast.ClassDef):
        return {one.arg for one in (*node.args.args, *node.args.kwonlyargs)}
    fields = {one.target.id for one in node.body if isinstance(one, ast.AnnAssign)}
    methods = [one for one in node.body if isinstance(one, ast.FunctionDef)]
    made = [names_told(one) for one in methods if one.name == "__init__"]
    return fields.union({one.name for one in methods}, *made)


def run_on(tree):
    """(where, name) of entries that begin within the text of another, where they are missed."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and (doc := ast.get_docstring(node)):
            for line in doc.splitlines():
                found = re.findall(r"\S.*?[.;] (\w+): ", line)
                yield from ((node.name, name) for name in found if name in names_told(node))


@pytest.mark.parametrize("room", sorted((ROOT / "pyro_vae").iterdir()), ids=lambda path: path.name)
def test_every_argument_has_an_entry_of_its_own(room):
    for path in [room] if room.suffix == ".py" else room.rglob("*.py"):
        assert not list(run_on(ast.parse(path.read_text(encoding="utf-8")))), path


def test_an_entry_within_another_is_found():
    tree = ast.parse('def f(x, y):\n    """F.\n\n    Args:\n        x: (N, D). y: (N,).\n    """\n')
    assert list(run_on(tree)) == [("f", "y")]
