"""Sections drawn by other processes are those drawn by this one, in the same order."""

import pickle
from types import SimpleNamespace

import pandas as pd
import pytest
from joblib import parallel_config

from analysis.pictures.panels import panel
from analysis.reporting import drawing, elsewhere
from analysis.reporting.elsewhere import Source
from analysis.reporting.item import BEYOND, Entry, Item
from analysis.reporting.page import Page
from analysis.reporting.study import Settings
from pyro_vae.errors import InputError


def refused():
    raise InputError("too few patches")


def broken():
    raise KeyError("a mistake")


@pytest.fixture
def study(monkeypatch, tmp_path):
    """Two sections of a study that is read again where another process draws."""
    store = SimpleNamespace(folder=tmp_path / "measured")
    made = SimpleNamespace(
        subjects=[SimpleNamespace(store=store)], settings=Settings(), words="of this process"
    )
    again = SimpleNamespace(**{**vars(made), "words": "read again"})
    monkeypatch.setattr(drawing, "study_of", lambda source: again)

    def first(study):
        table = pd.DataFrame({"value": [1.5]})
        return [
            Entry("one", BEYOND, lambda: Item(f"An item {study.words}.", table=table)),
            Entry("two", BEYOND, refused),
        ]

    def second(study):
        return [Entry("three", BEYOND, broken)]

    monkeypatch.setattr(drawing, "SECTIONS", (("First", first), ("Second", second)))
    monkeypatch.setattr("analysis.reporting.page.title_of", lambda name: f"Title of {name}")
    return made


@pytest.mark.parametrize(("jobs", "words"), [(1, "of this process"), (2, "read again")])
def test_sections_come_in_reading_order_with_what_failed_of_them(study, tmp_path, jobs, words):
    page = Page(tmp_path, "report")
    page.section("Before")
    with parallel_config(backend="sequential"):
        found = list(
            drawing.draw_sections(
                page, study, Source((tmp_path / "run",), Settings(), tmp_path), jobs
            )
        )
    assert [title for title, _ in found] == ["First", "Second"]
    assert found[0][1] == []
    ((name, told),) = found[1][1]
    assert name == "three"
    assert told.startswith("Traceback")
    assert "a mistake" in told
    assert page.not_shown == ["two"]
    text = page.write().read_text()
    marks = ['">Before</h2>', '">First</h2>', 'id="one"', 'id="two"', '">Second</h2>', 'id="three"']
    places = [text.index(mark) for mark in marks]
    assert places == sorted(places)
    assert f"An item {words}." in text
    contents = text[: text.index("</nav>")]
    for name in ("one", "two", "three"):
        assert contents.count(f'href="#{name}"') == 1
    assert (tmp_path / "tables/one.csv").is_file()


def test_pieces_of_a_page_travel_between_processes(tmp_path):
    part = Page(tmp_path, "report").part()
    part.paragraph("Some words.")
    page = Page(tmp_path, "report")
    page.section("A section")
    page.take(pickle.loads(pickle.dumps(part)))
    assert "<p>Some words.</p>" in page.write().read_text()


def test_a_process_reads_the_runs_of_a_report_once_and_those_of_the_next_again(
    monkeypatch, tmp_path
):
    read = []
    monkeypatch.setattr(elsewhere, "load_study", lambda *args: read.append(args) or len(read))
    first, second = (elsewhere.Source((tmp_path,), Settings(), tmp_path) for _ in range(2))
    assert [elsewhere.study_of(source) for source in (first, first, second)] == [1, 1, 2]
    elsewhere.study_of.cache_clear()


def test_a_figure_is_drawn_once_a_file(tmp_path):
    """After its layout, which the files share; twice more is what ``savefig`` does by itself."""
    drawn = []
    figure, ax = panel(3.0, 2.0)
    ax.set_title("a title")
    figure.canvas.mpl_connect("draw_event", lambda event: drawn.append(event.renderer))
    Page(tmp_path, "report").item(Entry("one", BEYOND, lambda: None), Item("An item.", figure))
    assert len(drawn) == 2
