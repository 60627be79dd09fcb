"""The pages' blocks and the notebooks are what the tools of the documentation take them for.

What the blocks do is seen by ``make pages``, whose log is ``docs/logs/pages.md``; here commands are
held against the flags that there are.
"""

import contextlib
import io
import os
import re
import shlex
import sys
from pathlib import Path

import pytest

from pyro_vae import cli

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs" / "tools"))

import notebook_pages  # noqa: E402
import run_pages  # noqa: E402

import notebooks  # noqa: E402

# What a checkout calls a command of pyro-vae.
SCRIPTS = {
    "experiments/fit.py": "fit",
    "experiments/replicate.py": "replicate",
    "experiments/td_iwae.py": "study",
    "experiments/bracket.py": "bracket",
    "analysis.report": "report",
}
OUTSIDE = [ROOT / "README.md", ROOT / "experiments/README.md"]
PAGES = [*run_pages.pages_in_order(), *OUTSIDE]


def commands_of(text):
    """(command of pyro-vae, words after it) of every line of a shell block that calls one."""
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    for words in (shlex.split(line, comments=True) for line in lines if "{" not in line):
        words = [word for word in words if word not in ("python", "-m")]
        if words and words[0] == "pyro-vae" and len(words) > 1:
            yield words[1], words[2:]
        elif words and words[0] in SCRIPTS:
            yield SCRIPTS[words[0]], words[1:]


@pytest.fixture(scope="module")
def flags():
    """Command -> the flags that its help names."""
    found = {}
    for name in cli.COMMANDS:
        told = io.StringIO()
        with contextlib.redirect_stdout(told), contextlib.suppress(SystemExit):
            cli.main([name, "--help"])
        found[name] = set(re.findall(r"--[a-z][a-z0-9-]*", told.getvalue()))
    return found


def test_commands_of_the_pages_have_the_flags_that_they_are_given(flags):
    seen = 0
    for page in PAGES:
        for block in run_pages.blocks_of(page):
            for name, words in commands_of(block.text) if block.language == "bash" else ():
                if name.startswith("-"):
                    continue
                given = {word.split("=")[0] for word in words if word.startswith("--")}
                assert given <= flags[name] | {"--help"}, (page.name, block.line)
                seen += len(given)
    assert seen > 200


def test_a_block_that_is_too_large_says_so_and_is_not_run(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    page = tmp_path / "page.md"
    page.write_text(
        "# Page\n\n<!-- not run: a year -->\n```bash\nexit 1\n```\n\n"
        "<!-- run with: --n 3 -->\n```bash\necho\n```\n\n```\npython -c 'print(6 * 7)'\n```\n\n"
        "```\nprinted\n```\n\n```python\nx = 1\n```\n\n```python\nassert x == 2, 'two'\n```\n"
    )
    blocks = run_pages.blocks_of(page)
    assert [block.language for block in blocks] == ["bash", "bash", "bash", "python", "python"]
    assert [block.reason for block in blocks] == ["a year", None, None, None, None]
    assert [block.line for block in blocks] == [5, 10, 14, 22, 26]
    outcomes = list(run_pages.run_page(page))
    assert [one.printed.strip() for one in outcomes[:2]] == ["--n 3", "42"]
    assert [one.failed for one in outcomes] == [False, False, False, True]
    assert "line 26" in outcomes[-1].printed
    assert "two" in outcomes[-1].printed


def test_the_log_keeps_what_was_not_run_anew(tmp_path):
    log = tmp_path / "log.md"
    run_pages.write_log(log, {"docs/khat.md": "## docs/khat.md\n\nline 1, 60.0 s: `a`"})
    run_pages.write_log(log, {"docs/shapes.md": "## docs/shapes.md\n\nline 2, **failed**: `b`"})
    run_pages.write_log(log, {"docs/khat.md": "## docs/khat.md\n\nline 3, 120.0 s: `c`\n\n## told"})
    run_pages.write_log(log, {})
    text = log.read_text()
    assert re.findall(r"`([abc])`", text) == ["b", "c"]
    assert text.count("## told") == 1
    assert "2 blocks, 2.0 minutes of one core, 1 failed" in text


@pytest.mark.parametrize("path", sorted(notebooks.NOTEBOOKS.glob("*.py")), ids=lambda p: p.stem)
def test_notebooks_were_executed_as_their_sources_stand(path):
    assert notebooks.is_current(path), "python docs/tools/notebooks.py"
    assert path.with_suffix(".ipynb").stat().st_size < notebooks.MAX_BYTES


def test_a_notebook_is_shown_with_its_outputs(tmp_path):
    source = "# %% [markdown]\n# # Title\n#\n# Text.\n# %%\nprint(1)\n"
    notebook = notebooks.built(source)
    assert notebooks.cells_of(source) == [("markdown", "# Title\n\nText."), ("code", "print(1)")]
    image = {"data": {"image/png": "aGk="}, "output_type": "display_data", "metadata": {}}
    printed = {"output_type": "stream", "name": "stdout", "text": "1\n"}
    notebook.cells[1].outputs = [printed, image]
    path = tmp_path / "small.ipynb"
    path.write_text(notebooks.nbformat.writes(notebooks.nbformat.from_dict(notebook)))
    files = notebook_pages.rendered(path)
    assert files["small-1.png"] == b"hi"
    assert files["small.md"].startswith("# Title\n\n*The notebook [small.ipynb](files/small.ipynb)")
    assert files["files/small.ipynb"] == path.read_text()
    assert (
        "```python\nprint(1)\n```\n\n```text\n1\n```\n\n![output](small-1.png)" in files["small.md"]
    )
