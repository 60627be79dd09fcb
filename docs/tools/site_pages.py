"""What the site shows beside ``docs/*.md``: pages from other folders, notebooks, files of results.

Every page links as it does in the repository, so that the same file reads well in both. The site
has the repository's layout, but for ``docs/``, whose pages stand at its top: a link to
``../experiments/results/x.png`` in ``docs/study.md`` becomes ``experiments/results/x.png``.
A link to a folder leads to a list of its files, and one to a notebook to its page.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

import notebook_pages
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = ("CHANGELOG.md", "CONTRIBUTING.md", "experiments/README.md", "benchmarks/README.md")
RESULTS = ROOT / "experiments" / "results"
NOTEBOOKS = ROOT / "notebooks"
SHOWN = {".md", ".png", ".csv", ".json"}
INDEX = "files.md"

CODE = re.compile(r"(```.*?```|`[^`\n]*`)", re.S)
LINK = re.compile(r"(\]\(|^\[[^]\n]+\]: +)([^)\s#]+)", re.M)


def on_files(files, config):
    """Add the pages, results and notebooks that lie outside ``docs/``."""
    outside = [ROOT / name for name in PAGES]
    outside += sorted((ROOT / "benchmarks").glob("*.png"))
    outside += sorted(path for path in RESULTS.rglob("*") if path.suffix in SHOWN)
    for path in outside:
        if path.is_file():
            files.append(File.generated(config, uri(path), abs_src_path=str(path)))
    for folder in sorted({path.parent for path in outside if path.is_relative_to(RESULTS)}):
        files.append(File.generated(config, uri(folder), content=listing(folder)))
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        for name, content in notebook_pages.rendered(path).items():
            files.append(File.generated(config, f"notebooks/{name}", content=content))
    return files


def on_page_markdown(markdown, page, config, files):
    """Lead every relative link to where its target stands on the site."""
    here = page.file.src_uri
    source = Path(page.file.abs_src_path or ROOT / here)

    def moved(match):
        start, link = match.groups()
        if re.match(r"[a-z]+:|/", link):
            return match[0]
        target = uri((source.parent / link).resolve())
        if files.get_file_from_path(target) is None:
            return match[0]  # the strict build names it
        return start + posixpath.relpath(target, posixpath.dirname(here) or ".")

    parts = CODE.split(markdown)
    parts[::2] = [LINK.sub(moved, part) for part in parts[::2]]
    return "".join(parts)


def uri(path: Path) -> str:
    """The place of a file or folder of the repository in the site's sources."""
    base = DOCS if path.is_relative_to(DOCS) else ROOT
    name = path.relative_to(base).as_posix() if path.is_relative_to(base) else path.as_posix()
    if path.is_relative_to(RESULTS) and path.is_dir():
        return f"{name}/{INDEX}"
    return re.sub(r"\.ipynb$", ".md", name)


def listing(folder: Path) -> str:
    """A page that lists the files of a folder of results."""
    names = sorted(path.name for path in folder.iterdir() if path.suffix in SHOWN)
    lines = [f"- [{name}]({name})" for name in names]
    return "\n".join([f"# {folder.relative_to(ROOT).as_posix()}", "", *lines, ""])
