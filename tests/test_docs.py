"""The Python of the documentation's pages runs and does what they say."""

import re
from pathlib import Path
from types import SimpleNamespace

import pyro
import pytest
import torch

import pyro_vae
from analysis.reporting.sections import SECTIONS
from pyro_vae.objectives import CATALOGUE

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGE = DOCS / "objectives.md"


def blocks(path):
    """The Python of a page."""
    return re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.S)


def run(path):
    """All names that a page's code leaves, run from top to bottom."""
    names = {}
    with torch.random.fork_rng(devices=[]):
        for block in blocks(path):
            exec(compile(block, str(path), "exec"), names)
    pyro.clear_param_store()
    return names


@pytest.fixture(scope="module")
def page():
    return run(PAGE)


@pytest.mark.slow
def test_every_objective_trains_the_regression(page):
    """All but those that are no bounds end near the likelihood of the best; the start is far."""
    best = max(page["likelihoods"].values())
    model, guide = page["Regression"](), page["Posterior"]()
    data = page["data"]
    start = page["pyro_vae"].evaluation.log_likelihood(model, guide, data, 500).mean().item()
    assert start < best - 5
    for name, value in page["likelihoods"].items():
        assert value > best - 0.2, name
    for name in ("elbo", "iwae", "dreg", "miwae", "piwae"):
        slope, offset = page["lines"][name]
        assert abs(slope - 2) < 0.2, name
        assert abs(offset + 1) < 0.1, name


def test_the_mixture_finds_its_centres(page):
    assert page["centres"] == pytest.approx([-2, 2], abs=0.2)
    assert sum(page["history"][-20:]) < sum(page["history"][:20])


def test_the_page_lists_every_objective():
    text = PAGE.read_text(encoding="utf-8")
    for name in CATALOGUE:
        assert f"`{name}`" in text, name


@pytest.mark.slow
def test_the_page_on_evaluation_runs():
    names = run(DOCS / "evaluation.md")
    curve, bracket, surgery = names["curve"], names["bracket"], names["surgery"]
    assert curve.mean[-1] > curve.mean[0]
    assert abs(bracket.gap.mean()) < 1
    assert surgery.rate == pytest.approx(surgery.mutual_information + surgery.marginal_kl)
    assert names["pruned"].shape == (50,)
    assert names["noise"].guide.norm > 0

    from matplotlib.figure import Figure

    from analysis.pictures.epochs import plot_bound_curve

    ax = plot_bound_curve(Figure().subplots(), curve.particles, curve.mean, curve.standard_error)
    assert list(ax.lines[0].get_ydata()) == list(curve.mean)


@pytest.mark.slow
def test_the_page_on_the_estimator_runs(capsys):
    names = run(DOCS / "encoder.md")
    codes = names["codes"]
    assert codes.shape == (450, 16)
    printed = capsys.readouterr().out
    page = (DOCS / "encoder.md").read_text(encoding="utf-8")
    said = [float(number) for number in re.findall(r"-?\d+\.\d+", page.split("```")[2])]
    found = [float(number) for number in re.findall(r"-?\d+\.\d+", printed)]
    # Other versions of torch draw other numbers, and train to nearly the same end.
    assert found[0] == pytest.approx(said[0], abs=3)
    assert found[1:] == pytest.approx(said[1:3], abs=0.03)


def test_the_page_on_analysis_runs():
    names = run(DOCS / "analysis.md")
    found, fits = names["found"], names["fits"]
    assert found.chance < 0.45 < 0.75 < found.accuracy.mean()
    # The planted Gabor function is found; noise has none.
    assert fits["r2"][0] > 0.8 > 0.4 > fits["r2"][1]
    assert fits["wavelength"][0] == pytest.approx(6, abs=0.3)


def test_the_page_on_analysis_lists_what_the_report_has():
    text = (DOCS / "analysis.md").read_text(encoding="utf-8")
    study = SimpleNamespace(subjects=(), labels=[], examples=list)
    names = {entry.name for _, entries in SECTIONS for entry in entries(study)}
    stems = [name.removesuffix("-…") for name in re.findall(r"`(z[12]-[^`]*|c[^`]*-[^`]*)`", text)]
    for stem in stems:
        assert any(name.startswith(stem.removesuffix("…")) for name in names), stem
    assert len(stems) > 20


def test_the_readme_names_the_commands_that_there_are():
    """The main job and the tests, each a target of the Makefile, and every other target named."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    named = set(re.findall(r"\bmake ([a-z]+)", (ROOT / "README.md").read_text(encoding="utf-8")))
    assert {"fit", "test"} <= named <= targets


PAGES = [ROOT / "README.md", ROOT / "experiments/README.md", *sorted(DOCS.rglob("*.md"))]


def test_the_site_shows_every_page():
    """`mkdocs build --strict` sees to links between pages, and does not tell of one left out."""
    shown = re.findall(r"^ +- .*?([\w./-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M)
    assert sorted(path.relative_to(DOCS).as_posix() for path in PAGES[2:]) == sorted(
        name for name in shown if (DOCS / name).exists()
    )
    notebooks = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert notebooks == {Path(name).stem for name in shown if name.startswith("notebooks/")}


def test_the_package_offers_what_pages_take_from_it():
    """By its list: a room that something imported before is an attribute, offered or not."""
    code = [text for path in (*PAGES, ROOT / "PACKAGE.md") for text in blocks(path)]
    code += [path.read_text(encoding="utf-8") for path in (ROOT / "notebooks").glob("*.py")]
    taken = {n for text in code for n in re.findall(r"(?<!import )(?<!from )pyro_vae\.(\w+)", text)}
    assert {"evaluation", "export"} < taken
    missing = [name for name in sorted(taken) if name not in pyro_vae.__all__]
    assert not missing


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_local_links_of_a_page_lead_somewhere(path):
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# "), "a page begins with its title"
    text = re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.S)  # code has brackets of its own
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_every_benchmark_and_its_figures_have_a_row():
    folder = ROOT / "benchmarks"
    rows = [line for line in (folder / "README.md").read_text().splitlines() if line[:1] == "|"]
    table = "\n".join(rows)
    scripts = [one for one in folder.glob("*.py") if '__name__ == "__main__"' in one.read_text()]
    wanted = {one.name for one in [*scripts, *folder.glob("*.json"), *folder.glob("*.png")]}
    assert len(wanted) > 20
    assert sorted(name for name in wanted if f"`{name}" not in table) == []
