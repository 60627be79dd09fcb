"""Names and reasons on the report's page are text, and the page loads nothing from elsewhere."""

import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.reporting.item import Entry, Item
from analysis.reporting.page import Page

EVIL = "\"><script>alert(1)</script><img src=x onerror='alert(2)'>&lt;javascript:"
LOADING = ("src", "srcset", "data", "poster", "background", "action", "formaction")


class Elements(HTMLParser):
    """What a browser would make of a page: every element with its attributes."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def page_of(tmp_path, words):
    page = Page(tmp_path, words)
    page.section(words)
    page.paragraph(words)
    page.findings([(words, "entry")])
    page.papers([(words, words, "https://arxiv.org/abs/1509.00519")])
    page.table(pd.DataFrame({words: [words, 1.5], "index": pd.Index([words, "b"], name=words)}))
    figure = Figure()
    figure.subplots().plot(np.arange(3.0))
    entry = Entry("entry", words, lambda: None)
    page.item(entry, Item(words, figure, pd.DataFrame({words: [words]})))
    page.missing(Entry("other", words, lambda: None), words)
    page.missing(Entry("third", words, lambda: None), words, failed=True)
    return page.write().read_text(encoding="utf-8")


def test_a_hostile_name_is_shown_and_changes_no_element(tmp_path):
    evil, tame = (Elements(page_of(tmp_path / str(i), w)) for i, w in enumerate((EVIL, "tame")))
    assert [tag for tag, _ in evil.found] == [tag for tag, _ in tame.found]
    assert not any(name.startswith("on") for _, attrs in evil.found for name in attrs)
    assert "script" not in {tag for tag, _ in evil.found}


def test_the_page_loads_nothing(tmp_path):
    text = page_of(tmp_path, "words")
    for tag, attributes in Elements(text).found:
        assert tag not in ("script", "link", "iframe", "object", "embed", "base"), tag
        for name in LOADING:
            value = attributes.get(name) or ""
            assert re.match(r"data:image/png;base64,|$", value), (tag, name, value[:60])
    assert "url(" not in text
    assert "@import" not in text


def test_the_page_tells_browsers_to_load_nothing(tmp_path):
    """Whatever gets past the escaping finds its way barred."""
    policies = [
        attributes.get("content")
        for tag, attributes in Elements(page_of(tmp_path, "words")).found
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]
