"""The page of the report: it stands alone, says what is missing, and tells no empty columns."""

import re

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.reporting.item import Entry, Item
from analysis.reporting.page import SHOWN_ROWS, Page, add_entries
from pyro_vae.errors import InputError


def entries():
    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([0, 1])
    table = pd.DataFrame({"model": ["a < b"] * (SHOWN_ROWS + 2), "value": 0.123456789})

    def raise_(error):
        raise error

    return [
        Entry("a-figure", "Vas 2024, Figure 5.2", lambda: Item("It shows a line & more.", figure)),
        Entry("a-table", "Vas 2024, Table 5.1", lambda: Item("It lists values.", table=table)),
        Entry("no-labels", "beyond Vas 2024", lambda: raise_(InputError("there are no <labels>"))),
        Entry("a-fault", "beyond Vas 2024", lambda: raise_(ZeroDivisionError("by zero"))),
    ]


def test_a_page_stands_alone_and_says_what_is_missing(tmp_path):
    page = Page(tmp_path / "out", "A title")
    page.section("First part")
    failures = add_entries(page, entries(), missing=(InputError,))
    assert [(entry.name, str(error)) for entry, error in failures] == [("a-fault", "by zero")]
    text = page.write().read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>")
    # Nothing is read from elsewhere: pictures are inside, links lead to files beside the page.
    sources = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert not [
        s
        for s in sources
        if not s.startswith(("data:image/png;base64,", "#"))
        and not (tmp_path / "out" / s).is_file()
    ]
    assert "<script" not in text
    assert "It shows a line &amp; more." in text
    assert "Vas 2024, Figure 5.2" in text
    assert "a &lt; b" in text
    assert "and 2 more rows in the file" in text
    assert "Not shown: there are no &lt;labels&gt;" in text
    assert "Failed: ZeroDivisionError: by zero" in text
    table = pd.read_csv(tmp_path / "out/tables/a-table.csv")
    assert len(table) == SHOWN_ROWS + 2
    assert table.value[0] == 0.123456789
    # What can no longer be shown leaves no files of a former report behind.
    assert page.not_shown == ["no-labels"]
    first = {p.name: p.read_bytes() for p in (tmp_path / "out/figures").iterdir()}
    assert sorted(first) == ["a-figure.png", "a-figure.svg"]
    again = Page(tmp_path / "again", "A title")
    add_entries(again, entries()[:1], missing=(InputError,))
    assert first == {p.name: p.read_bytes() for p in (tmp_path / "again/figures").iterdir()}
    again.missing(entries()[0], "no more")
    assert list((tmp_path / "again/figures").iterdir()) == []
    values = pd.DataFrame({"khat": [np.inf, 3.0, 0.123456]})
    add_entries(
        again, [Entry("values", "here", lambda: Item("Numbers.", table=values))], missing=()
    )
    shown = re.findall(r"<td>([^<]*)</td>", again.write().read_text(encoding="utf-8"))
    assert shown == ["inf", "3", "0.1235"]


def test_columns_that_say_nothing_are_left_out_of_the_page_alone(tmp_path):
    table = pd.DataFrame({"model": ["a", "b"], "mean": [1.5, 2.5], "sd": np.nan, "n": 1})
    shown = Page(tmp_path, "A title")
    shown.section("First")
    shown.item(Entry("z2-decoding", "here", lambda: None), Item("It says so.", table=table))
    text = shown.write().read_text(encoding="utf-8")
    assert re.findall(r"<th>([^<]*)</th>", text) == ["model", "mean"]
    assert list(pd.read_csv(tmp_path / "tables/z2-decoding.csv")) == ["model", "mean", "sd", "n"]
    shown.item(Entry("z1-decoding", "here", lambda: None), Item("And.", table=table.assign(n=2)))
    text = shown.write().read_text(encoding="utf-8")
    assert re.findall(r"<th>([^<]*)</th>", text)[2:] == ["model", "mean", "n"]
    contents = text[text.index("<nav>") : text.index("</nav>")]
    assert '<a href="#z2-decoding">Labels decoded from z2</a>' in contents
