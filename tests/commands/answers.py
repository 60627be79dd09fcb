"""Answers of commands called with ``--json``, held against the page that lists their entries."""

import json
import re
from pathlib import Path

from pyro_vae import cli

PAGE = (Path(__file__).parents[2] / "docs" / "json.md").read_text(encoding="utf-8")


def documented(name):
    """The entries that the page lists for a command."""
    section = re.search(rf"^## {name}$(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
    return re.findall(r"^\| `(\w+)` \|", section.group(1), re.M)


def answer(capsys, *words, code=0):
    assert cli.main([*map(str, words), "--json"]) == code
    (line,) = capsys.readouterr().out.splitlines()
    found = json.loads(line)
    assert sorted(found) == sorted(documented(words[0]))
    return found
