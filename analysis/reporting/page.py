"""The page: one HTML file with its pictures inside, and every picture and table as a file too."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from analysis.reporting.item import Entry, Item
from analysis.reporting.titles import title_of
from pyro_vae.storage import write_text, write_whole

SHOWN_ROWS = 40  # of a table; its CSV has all
DPI = 110

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 1080px; margin: 0 auto;
       padding: 1em 1.5em 4em; }
h1 { margin-bottom: 0.2em; } h2 { margin-top: 2.2em; border-bottom: 2px solid #ccc; }
h3 { margin: 1.6em 0 0.3em; } h3 small { font-weight: normal; color: #666; }
img { max-width: 100%; height: auto; }
table { border-collapse: collapse; font-size: 0.85em; margin: 0.5em 0; }
td, th { border: 1px solid #ddd; padding: 0.2em 0.6em; text-align: right; }
th { background: #f4f4f4; } td:first-child, th:first-child { text-align: left; }
.scroll { overflow-x: auto; } .links { font-size: 0.85em; }
.missing { background: #fff3e0; border-left: 4px solid #e69138; padding: 0.5em 1em; }
.failed { background: #fdecea; border-left: 4px solid #c0392b; padding: 0.5em 1em; }
nav { columns: 2; font-size: 0.85em; } nav ul { margin: 0 0 0.4em; padding-left: 1.2em; }
nav > ul { list-style: none; padding: 0; } nav > ul > li > a { font-weight: bold; }
.found { background: #eef5fb; border-left: 4px solid #2b6ca3; padding: 0.5em 1em 0.5em 2.2em; }
.found li { margin: 0.4em 0; } code { background: #f4f4f4; }
"""


@dataclass
class Page:
    """A report under way: add to it in reading order, then ``write`` it.

    Args:
        folder: where ``report.html``, ``figures/`` and ``tables/`` go. title: of the page.

    Attributes:
        not_shown: names of entries in whose place a reason stands.
    """

    folder: Path
    title: str
    _body: list[str] = field(default_factory=list)
    _contents: list[list[str]] = field(default_factory=list)
    not_shown: list[str] = field(default_factory=list)

    def section(self, title: str) -> None:
        """Start a section."""
        anchor = f"section-{len(self._contents)}"
        self._contents.append([_link(anchor, title)])
        self._body.append(f'<h2 id="{anchor}">{html.escape(title)}</h2>')

    def paragraph(self, text: str) -> None:
        """A paragraph of plain text."""
        self._body.append(f"<p>{html.escape(text)}</p>")

    def part(self) -> Page:
        """An empty piece of a section, to be filled by any process and taken in by ``take``."""
        return Page(self.folder, self.title, _contents=[[]])

    def take(self, part: Page) -> None:
        """Add a filled piece to the section under way."""
        self._contents[-1] += part._contents[0]
        self._body += part._body
        self.not_shown += part.not_shown

    def findings(self, lines: Iterable[tuple[str, str]], *, numbered: bool = False) -> None:
        """Sentences, each with the name of the entry whose picture or table it is from."""
        kind = "ol" if numbered else "ul"
        shown = [
            f"<li>{html.escape(text)} ({_link(name, title_of(name))})</li>" for text, name in lines
        ]
        self._body.append(f'<{kind} class="found">{"".join(shown)}</{kind}>')

    def papers(self, papers: Iterable[tuple[str, str, str]]) -> None:
        """References: how a paper is called on the page, its authors and title, its address."""
        shown = []
        for name, what, address in papers:
            link = html.escape(what)
            if address:
                link = f'<a href="{html.escape(address, quote=True)}">{link}</a>'
            shown.append(f"<li><b>{html.escape(name)}</b>: {link}</li>")
        self._body.append(f"<ul>{''.join(shown)}</ul>")

    def table(self, table: pd.DataFrame) -> None:
        """A table that is none of the study's."""
        self._body.append(_table_html(table))

    def item(self, entry: Entry, item: Item) -> None:
        """A finished item: its sentence, picture and table, and their files."""
        self._forget(entry)
        links = []
        body = [self._heading(entry), f"<p>{html.escape(item.sentence)}</p>"]
        if item.figure is not None:
            picture = base64.b64encode(self._save_figure(entry.name, item.figure)).decode()
            alt = html.escape(item.sentence, quote=True)
            body.append(f'<img alt="{alt}" src="data:image/png;base64,{picture}">')
            links += [f"figures/{entry.name}.{kind}" for kind in ("png", "svg")]
        if item.table is not None:
            text = item.table.to_csv(index=False)
            write_text(self._path("tables", f"{entry.name}.csv"), text)
            body.append(_table_html(item.table))
            links.append(f"tables/{entry.name}.csv")
        shown = ", ".join(f'<a href="{link}">{link}</a>' for link in links)
        body.append(f'<p class="links">{shown}</p>')
        self._body += body

    def missing(self, entry: Entry, reason: str, *, failed: bool = False) -> None:
        """What stands in the place of an item that cannot be shown."""
        self._forget(entry)
        if not failed:
            self.not_shown.append(entry.name)
        kind, word = ("failed", "Failed") if failed else ("missing", "Not shown")
        self._body += [
            self._heading(entry),
            f'<p class="{kind}">{word}: {html.escape(reason)}</p>',
        ]

    def write(self) -> Path:
        """Write the page; its path."""
        text = (
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width">\n'
            '<meta http-equiv="Content-Security-Policy" '
            "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n"
            f"<title>{html.escape(self.title)}</title><style>{STYLE}</style></head><body>\n"
            f"<h1>{html.escape(self.title)}</h1>\n<nav><ul>{self._table_of_contents()}</ul></nav>\n"
            + "\n".join(self._body)
            + "\n</body></html>\n"
        )
        path = self._path("report.html")
        write_text(path, text)
        return path

    def _table_of_contents(self) -> str:
        """Sections with their items below them."""
        lines = []
        for section, *items in self._contents:
            below = "".join(f"<li>{item}</li>" for item in items)
            lines.append(f"<li>{section}{below and f'<ul>{below}</ul>'}</li>")
        return "".join(lines)

    def _forget(self, entry: Entry) -> None:
        """Remove the files that a former report has of an entry: this one may have fewer."""
        for kind in ("figures/{}.png", "figures/{}.svg", "tables/{}.csv"):
            (self.folder / kind.format(entry.name)).unlink(missing_ok=True)

    def _heading(self, entry: Entry) -> str:
        title = title_of(entry.name)
        if self._contents:
            self._contents[-1].append(_link(entry.name, title))
        words = f"{html.escape(title)} <small>({html.escape(entry.source)})</small>"
        return f'<h3 id="{html.escape(entry.name)}">{words}</h3>'

    def _path(self, *parts: str) -> Path:
        path = self.folder.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _save_figure(self, name: str, figure: Figure) -> bytes:
        """Write PNG and SVG; the PNG.

        The places of axes and legends are found once for both: that takes longer than drawing.
        """
        figure.set_dpi(DPI)
        if (engine := figure.get_layout_engine()) is not None:
            engine.execute(figure)
            # Not "none", which leaves a placeholder that each file is drawn twice for.
            with mpl.rc_context(
                {"figure.autolayout": False, "figure.constrained_layout.use": False}
            ):
                figure.set_layout_engine(None)
        with mpl.rc_context({"svg.hashsalt": name}):  # the same figure, the same file
            pictures = {}
            for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
                stream = io.BytesIO()
                figure.savefig(stream, format=kind, dpi=DPI, metadata=metadata)
                pictures[kind] = stream.getvalue()
                write_whole(self._path("figures", f"{name}.{kind}"), stream.getvalue())
        return pictures["png"]


def add_entries(
    page: Page, entries: Iterable[Entry], missing: Sequence[type[Exception]]
) -> list[tuple[Entry, Exception]]:
    """Build entries into the page; those that failed for another reason than ``missing``."""
    failures = []
    for entry in entries:
        try:
            page.item(entry, entry.build())
        except tuple(missing) as error:
            page.missing(entry, str(error))
        except Exception as error:
            failures.append((entry, error))
            page.missing(entry, f"{type(error).__name__}: {error}", failed=True)
    return failures


def _link(anchor: str, words: str) -> str:
    return f'<a href="#{html.escape(anchor, quote=True)}">{html.escape(words)}</a>'


def _told(table: pd.DataFrame) -> pd.DataFrame:
    """The table without columns that say nothing: empty in all rows, or, with one seed, of seeds.

    One seed has no spread, no test and no interval; its number n = 1, and the note that there is no
    test, say so in every row again. The CSV file has them all.
    """
    empty = [
        name for name in table if len(table) and (table[name].isna() | (table[name] == "")).all()
    ]
    alone = "n" in table and (table["n"] <= 1).all()
    of_seeds = [name for name in ("n", "note", "missing", "dropped") if alone and name in table]
    return table.drop(columns=list(dict.fromkeys([*empty, *of_seeds])))


def _table_html(table: pd.DataFrame) -> str:
    table = _told(table)
    shown = table.head(SHOWN_ROWS).to_html(index=False, border=0, float_format=_number, na_rep="")
    more = len(table) - SHOWN_ROWS
    rest = f"<p class='links'>and {more} more rows in the file</p>" if more > 0 else ""
    return f'<div class="scroll">{shown}</div>{rest}'


def _number(value: float) -> str:
    """Four digits; counts that have come as floats in full."""
    whole = float(value).is_integer() and abs(value) < 1e9  # not so for inf, which k-hat can be
    return f"{value:.0f}" if whole else f"{value:.4g}"
