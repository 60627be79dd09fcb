"""Any parts together: each pair of them takes a training step, or is refused for a known reason."""

import re
from pathlib import Path
from typing import ClassVar

import pyro.distributions as dist
import pytest
import torch
from torch import nn

from experiments import combinations
from experiments.combining.combination import AXES, LOSSES, Combination, Outcome, attempt
from experiments.combining.combinations_page import refusals
from experiments.combining.of_images import AXES_OF_IMAGES, OfImages, attempt_of_images
from experiments.combining.pairwise import all_pairs, cause_of, cover, values_of
from pyro_vae.objectives import CATALOGUE
from pyro_vae.programs.priors import PRIORS
from pyro_vae.programs.representations import TRANSFORMS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "combinations.md"
FLOWS = ("realnvp", "maf", "spline", "spatial")
# Every objective, and the estimators of some; the command has those of all.
FEW_LOSSES = (
    *(name for name in LOSSES if "," not in name),
    *("iwae, thinned", "dreg, thinned", "elbo, dreg", "elbo, stl", "renyi, dreg"),
    "free-bits, by unit",
)
FEW = AXES | {"loss": FEW_LOSSES}
# Of images, whose steps cost more, each kind of gradient once.
FEW_OF_IMAGES = AXES_OF_IMAGES | {
    "loss": ("elbo", "elbo-analytic", "iwae, thinned", "dreg", "stl", "free-bits, by unit")
}


def together(**values):
    return frozenset(values.items())


def known():
    """Values that are refused together -> what the reason says."""
    of_single_units = {"loss": "free-bits, by unit"}
    bottom_up = {"guide": "bottomup", "levels": 2}
    found = {together(prior="vamp", **bottom_up): "no density in closed form; allowed: topdown"}
    found[together(loss="elbo-analytic", **bottom_up)] = "is wrong for the bottom-up guide"
    for name in (*FLOWS, "mixture", "vamp"):
        kind = "FlowDistribution" if name in FLOWS else "MixtureOfNormals"
        found[together(prior=name, **of_single_units)] = f"in the model is {kind}, whose 4 units"
    for bent in ("flow", "iaf"):
        found[together(posterior=bent, **of_single_units)] = "in the guide is FlowDistribution"
        for name in ("iwae, thinned", "dreg, thinned"):
            found[together(posterior=bent, loss=name)] = f"the posterior locscale .* not {bent}:"
    return found


def known_of_images():
    """The same of self-supervised VAEs."""
    found = {cause: reason for cause, reason in known().items() if "guide" not in dict(cause)}
    found = {
        cause: reason for cause, reason in found.items() if together(loss="dreg, thinned") - cause
    }
    for name in ("gaussian", "bernoulli", "pixelcnn"):
        found[together(likelihood=name)] = f"and {name} is no likelihood of levels; allowed: logis"
    for name in ("categorical", "pixelcnn-levels"):
        cause = together(transforms="quantise:bits=3", likelihood=name)
        found[cause] = f"within the buckets of levels, which {name} cannot; allowed: logistic, "
    return found


@pytest.fixture(scope="module")
def covering():
    return cover(attempt, FEW)


@pytest.fixture(scope="module")
def of_images():
    return cover(attempt_of_images, FEW_OF_IMAGES, OfImages)


def assert_known(covering, axes, known):
    assert covering.failures == {}
    assert covering.causes.keys() == known.keys()
    for cause, reason in covering.causes.items():
        assert re.search(known[cause].replace("whose 4 units", r"whose \d units"), reason), reason
        assert "\n" not in reason
    left = set(all_pairs(axes)) - covering.seen()
    assert all(any(cause <= pair for cause in covering.causes) for pair in left)


def test_each_pair_of_parts_takes_a_step_or_is_refused_for_a_known_reason(covering):
    assert_known(covering, FEW, known())
    assert len(covering.outcomes) < 500  # of 185,472


def test_so_does_each_pair_of_parts_of_a_self_supervised_vae(of_images):
    assert_known(of_images, FEW_OF_IMAGES, known_of_images())
    assert len(of_images.outcomes) < 150  # of 6,048


def test_every_objective_and_prior_is_among_them():
    assert set(AXES["prior"]) == set(AXES_OF_IMAGES["prior"]) == set(PRIORS)
    names = {text.split(":")[0] for one in AXES_OF_IMAGES["transforms"] for text in one.split()}
    assert names == set(TRANSFORMS)
    assert {name.split(",")[0] for name in FEW_LOSSES} == set(CATALOGUE)
    assert {name.split(", ")[-1] for name in LOSSES if "," in name} == {
        *("analytic", "dreg", "stl", "thinned", "by unit")
    }


class StillPrior(nn.Module):
    """A prior whose density is no number."""

    settings: ClassVar = {}

    def __init__(self, features, family="normal"):
        super().__init__()
        self.features = features
        self.error = None

    def forward(self):
        if self.error is not None:
            raise self.error
        return dist.Normal(torch.full((self.features,), float("nan")), 1.0).to_event(1)


class BrokenPrior(StillPrior):
    def __init__(self, features, family="normal"):
        super().__init__(features)
        self.error = ZeroDivisionError("by zero")


@pytest.mark.parametrize(
    ("made", "said"), [(StillPrior, "log p(z1) is not finite"), (BrokenPrior, "by zero")]
)
def test_a_part_that_is_wrong_fails_and_is_not_refused(made, said, monkeypatch):
    monkeypatch.setitem(PRIORS, "wrong", made)
    outcome = attempt(Combination(prior="wrong"))
    assert outcome.refused is None
    assert said in outcome.failed


def test_an_unknown_part_is_refused():
    assert "unknown prior 'cauchy'" in attempt(Combination(prior="cauchy")).refused


# The search, on rules of our own


def rule(combination):
    """Refuses maf with two levels, and pyro-elbo whatever the rest is."""
    if combination.prior == "maf" and combination.levels == 2:
        return Outcome(refused="both")
    if combination.loss == "pyro-elbo":
        return Outcome(refused="one")
    if combination.prior == "spline" and combination.guide == "meanfield":
        return Outcome(failed="broken")
    return Outcome()


def rule_of_images(combination):
    """Refuses sketches."""
    return Outcome(refused="no" if combination.transforms == "sketch" else None)


def test_causes_are_the_least_that_is_refused():
    found = cover(rule)
    assert found.causes == {
        together(prior="maf", levels=2): "both",
        together(loss="pyro-elbo"): "one",
    }
    broken = together(prior="spline", guide="meanfield")
    assert found.failures == {broken: "broken"}
    left = set(all_pairs(AXES)) - found.seen()
    assert {broken, together(prior="maf", levels=2)} <= left
    assert all(any(cause <= pair for cause in (*found.causes, broken)) for pair in left)
    many = Combination(prior="maf", levels=2, guide="bottomup", loss="iwae", family="laplace")
    assert cause_of(many, rule) == (together(prior="maf", levels=2), Outcome(refused="both"))


def test_the_command_writes_its_page(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(combinations, "attempt", rule)
    monkeypatch.setattr(combinations, "attempt_of_images", rule_of_images)
    sizes = {axis: len(some) for axis, some in (AXES | AXES_OF_IMAGES).items()}
    priors, losses, likelihoods = sizes["prior"], sizes["loss"], sizes["likelihood"]
    counts = [priors * 18 * losses, likelihoods * sizes["decoder"] * losses]
    counts += [priors * sizes["transforms"] * likelihoods * losses]
    path = tmp_path / "page.md"
    assert combinations.main(["--quiet", "--page", str(path)]) == 1
    said = capsys.readouterr().out
    assert said.startswith(f"{sum(counts) - losses} combinations")  # two products share a row
    assert "are refused for 3 causes" in said
    text = path.read_text(encoding="utf-8")
    for name, count in zip(("posterior", "decoder", "likelihood"), counts, strict=True):
        assert re.search(rf"\| .* x {name} x loss \| {count} \|", text)
    assert f"| prior: `maf`; levels: `2` | {9 * losses} | both |" in text
    assert f"| `pyro-elbo` |{' 0 |' * priors}\n" in text
    taken = {"maf": 9, "spline": 12}
    assert f"| `iwae` | {' | '.join(str(taken.get(name, 18)) for name in PRIORS)} |\n" in text
    of_images = text.split("## Self-supervised VAEs")[1]
    assert f"| transforms: `sketch` | {priors * likelihoods * losses} | no |" in of_images
    each = priors * losses
    assert f"| `logistic` | {each} | {each} | {each} | 0 | {each} | {each} |" in of_images
    assert combinations.main(["--quiet", "--pairs"]) == 1
    assert "took a step" in capsys.readouterr().out


def assert_told(text, covering, axes, products):
    """Every value and product, and every refusal in the words that are said now."""
    again = f"make {PAGE.name} anew"
    for value in (one for values in axes.values() for one in values):
        assert f"`{value}`" in text, f"{again}: it lacks {value}"
    for refusal in refusals(covering.outcomes, covering.causes):
        assert refusal.reason.replace("|", "\\|") in text, again
    for product in products:
        assert re.search(rf"\| {' x '.join(product)} \| \d+ \| \d+ \| \d+ \| 0 \|", text), again


def test_the_page_in_the_documentation_is_of_these_parts(covering):
    """A prior may be newer than the page, whose version stands on it."""
    axes = {axis: AXES[axis] for axis in ("loss", "likelihood", "decoder")}
    assert_told(PAGE.read_text(encoding="utf-8"), covering, axes, combinations.PRODUCTS)


def test_the_page_is_of_these_parts_of_self_supervised_vaes(of_images):
    text = PAGE.read_text(encoding="utf-8")
    if "## Self-supervised VAEs" not in text:
        pytest.skip("the page was last made without them")
    axes = {axis: AXES_OF_IMAGES[axis] for axis in ("loss", "likelihood", "transforms")}
    assert_told(text, of_images, axes, combinations.PRODUCTS_OF_IMAGES)


def test_values_are_those_of_all_axes():
    assert dict(values_of(Combination(levels=2)))["levels"] == 2
    assert len(values_of(Combination())) == len(AXES)
