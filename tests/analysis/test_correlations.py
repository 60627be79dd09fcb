"""Posterior correlations: what is planted is found, bad input is named, pictures show numbers."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from matplotlib.figure import Figure

from analysis.measures import consistency
from analysis.measures import correlation as measures
from analysis.measures.by_name import Named
from analysis.pictures import correlation as pictures
from analysis.probes import correlation, correlation_summary
from analysis.reporting.sections import correlation as section
from pyro_vae.datasets import Dataset
from pyro_vae.errors import InputError
from tests.statistics import z_score

UNITS = 8
PLANTED = {(1, 4): 0.8, (2, 6): -0.5}  # unit 0 and 7 are left out as inactive


class PlantedPair:
    """z1 ~ N(x, C) with correlations between two pairs of units, one in the guide only."""

    def __init__(self):
        self.C = torch.eye(UNITS)
        for (u, v), r in PLANTED.items():
            self.C[u, v] = self.C[v, u] = r
        self.root = torch.linalg.cholesky(self.C)

    def guide(self, x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z1", dist.MultivariateNormal(x, scale_tril=self.root))

    def model(self, x):
        """Its posterior given x is N(x / 2, 1 / 2): the units are independent."""
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z1", dist.Normal(torch.zeros(UNITS), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)


def subject(k=1, seed=0, label="vanilla", active=None, num_test=60):
    """What correlate() and the section read of a subject."""
    pair = PlantedPair()
    generator = torch.Generator().manual_seed(seed)
    test = (
        torch.randn(num_test, UNITS, generator=generator)
        * torch.linspace(2, 0.2, num_test)[:, None]
    )
    mask = np.ones(UNITS, bool)
    mask[[0, 7]] = False
    columns = {"x": 10.0, "y": 10.0, "scale": 4.0, "wavelength": 4.0, "frequency": 0.25}
    gabor = {name: np.full(UNITS, value) for name, value in columns.items()}
    for name in ("x", "y", "scale"):
        gabor[name] = gabor[name] * 2 / 20  # images of 2 x 4 pixels
    gabor["x"][3] = np.nan
    known = {
        "activity": {"z1_active": mask if active is None else active},
        "filters": {"projective": np.eye(UNITS), "receptive": np.eye(UNITS)},
        "gabor": gabor,
    }
    made = SimpleNamespace(
        run=SimpleNamespace(model=pair.model, guide=pair.guide),
        natural=Dataset("toy", test, test, test, image_shape=(2, 4), pixels="standardised"),
        settings=SimpleNamespace(patches=30, weighted_patches=12, draws=100, seed=0),
        k=k,
        proposals=k,
        weighted=k > 1,
        label=label,
        seed=seed,
        name=f"{label}, seed {seed}",
    )

    def measured(name):
        if name not in known:
            known[name] = correlation_summary.correlate(made, "q" if name.endswith("_q") else "ew")
        return Named(known[name])

    made.measured = measured
    return made


@pytest.fixture(scope="module")
def study():
    subjects = [subject(k, seed, f"k = {k}") for k in (1, 4) for seed in (0, 1)]
    subjects.append(subject(1, 0, "dead", active=np.zeros(UNITS, bool)))
    labels = ["k = 1", "k = 4", "dead"]

    def of(label):
        return [s for s in subjects if s.label == label]

    return SimpleNamespace(
        subjects=subjects, labels=labels, of=of, examples=lambda: [of(name)[0] for name in labels]
    )


def test_highest_contrast():
    images = np.array([[5.0, 5, 5], [0, 3, 0], [1, 2, 3], [-9, 9, 0]])
    assert correlation.highest_contrast(images, 3).tolist() == [3, 1, 2]
    assert correlation.highest_contrast(images[:, :, None], 1).tolist() == [3]
    with pytest.raises(InputError, match=r"5 patches .* 4 patches"):
        correlation.highest_contrast(images, 5)


def test_draws_repeat_and_leave_the_generators_alone():
    pair, x = PlantedPair(), torch.randn(3, UNITS)
    before = torch.get_rng_state()
    first = correlation.posterior_draws(None, pair.guide, x, 1, 25, seed=3, chunk_size=30)
    assert first.shape == (25, 3, UNITS)
    assert torch.equal(
        first, correlation.posterior_draws(None, pair.guide, x, 1, 25, seed=3, chunk_size=30)
    )
    other = correlation.posterior_draws(None, pair.guide, x, 1, 25, seed=4, chunk_size=30)
    assert not torch.equal(first, other)
    assert len(torch.unique(first[:, 0, 0])) == 25
    assert torch.equal(before, torch.get_rng_state())
    with pytest.raises(InputError, match="unknown level 'z5'; allowed: z1"):
        correlation.posterior_draws(None, pair.guide, x, 1, 25, level="z5")
    with pytest.raises(InputError, match="particles"):
        correlation.posterior_draws(None, pair.guide, x, 0, 25)


def test_planted_pairs_are_the_strongest():
    found = subject().measured("correlations_q")
    first, second = measures.pairs(6)
    units = found["units"]
    assert units.tolist() == [1, 2, 3, 4, 5, 6]
    index = found["strongest_pairs"]
    named = [
        [(int(units[first[p]]), int(units[second[p]])) for p in patch] for patch in index[:, :2]
    ]
    assert named == [[(1, 4), (2, 6)]] * 30
    assert z_score(found["strongest"][:, 0], 0.8) < 5
    assert z_score(found["strongest"][:, 1], -0.5) < 5
    assert found["pair_mean"][index[0, :2]] == pytest.approx([0.8, -0.5], abs=0.05)
    assert np.allclose(found["matrix"], np.corrcoef(found["example_draws"].T), atol=1e-5)
    # Shuffling takes all of it; ten of only 15 pairs are the largest, hence a low mean.
    chance = measures.chance_strongest(15, 100)
    assert z_score(np.abs(found["shuffled"]), chance) < 5
    assert z_score(np.abs(found["strongest"])[:, :2], chance[:2]) > 8
    assert found["pair_counts"].sum(1).tolist() == [30] * 15
    assert found["counts"].sum() == found["shuffled_counts"].sum() == 30 * 15
    # The planted correlation is the same at every patch: halves say so.
    assert 0.5 < found["half_ratios"].mean() < 1.1


def test_resampling_takes_out_what_only_the_guide_has():
    found = subject(k=30).measured("correlations")
    alone = subject(k=30).measured("correlations_q")
    assert found["k"] == 30
    assert alone["k"] == 1
    assert len(found["rows"]) == 12
    assert found["rows"].tolist() == alone["rows"][:12].tolist()
    assert found["reference_rows"].tolist() == alone["reference_rows"].tolist()
    assert not set(found["reference_rows"]) & set(alone["rows"])
    planted = alone["strongest_pairs"][0, 0]
    assert abs(found["pair_mean"][planted]) < 0.6 < alone["pair_mean"][planted]
    means = alone["means"] - subject().natural.test[alone["rows"]][:, 1:7].numpy()
    assert z_score(means, 0.0) < 5


def test_patches_are_of_the_highest_contrast():
    made = subject(num_test=1_200)
    found = correlation_summary.correlate(made, "q")
    order = np.argsort(-made.natural.test.numpy().std(1))
    assert set(found["rows"]) <= set(order[:1_000])
    assert found["pool"] == 1_000
    assert len(set(found["rows"])) == 30


def test_signal_and_noise_correlations():
    rng = np.random.default_rng(0)
    root = np.linalg.qr(rng.normal(size=(20, 20)))[0] * np.linspace(0.3, 2, 20)
    covariance = root @ root.T
    sd = np.sqrt(covariance.diagonal())
    noise = (covariance / sd / sd[:, None])[measures.pairs(20)]
    draws = 50
    errors = rng.normal(size=(4_000, 20)) @ root.T / np.sqrt(draws)
    signs = rng.choice([-1.0, 1.0], 20)

    def found(means, sign=1.0):
        flip = np.outer(sign * np.ones(20), sign * np.ones(20))
        return measures.signal_noise(
            means * sign, covariance * flip, noise * flip[measures.pairs(20)], draws
        ).iloc[0]

    same = found(rng.normal(size=(4_000, 20)) @ root.T + errors)
    assert same["similarity"] > 0.95
    assert same["slope"] == pytest.approx(1, abs=0.1)
    assert same["p_value"] < 0.01
    assert abs(same["null_mean"]) < 5 * same["null_sd"] / 200**0.5
    # A unit's sign means nothing.
    means = rng.normal(size=(4_000, 20)) @ root.T + errors
    assert found(means, signs)["similarity"] == pytest.approx(found(means)["similarity"])
    # Monte Carlo errors of means share the noise's correlations, and are taken out.
    alone = 0.15 * rng.normal(size=(4_000, 20)) + errors
    assert abs(found(alone)["similarity"]) < 4 * found(alone)["null_sd"]
    left_in = measures.signal_noise(alone, 0 * covariance, noise, draws).iloc[0]
    assert left_in["similarity"] > 5 * left_in["null_sd"]


def test_bad_input_is_named():
    draws = np.random.default_rng(0).normal(size=(30, 2, 6))
    with pytest.raises(InputError, match="at least 20 draws, got 19"):
        measures.correlations(draws[:19])
    with pytest.raises(InputError, match="at least 2 units, got 1"):
        measures.correlations(draws[..., :1])
    with pytest.raises(InputError, match="nan"):
        measures.correlations(np.where(draws > 2, np.nan, draws))
    still = draws.copy()
    still[:, 1, 3] = 0.1
    with pytest.raises(InputError, match="1 of 12 units"):
        measures.correlations(still)
    with pytest.raises(InputError, match="20 strongest of 15 pairs"):
        measures.strongest(measures.correlations(draws), 20)
    with pytest.raises(InputError, match="0 units of z1 are active"):
        subject(active=np.zeros(UNITS, bool)).measured("correlations")
    with pytest.raises(InputError, match=r"at least 10 test patches .* there are 9"):
        subject(num_test=12).measured("correlations")
    with pytest.raises(InputError, match="unknown sampling 'p'"):
        correlation_summary.correlate(subject(), "p")
    triangles = measures.correlations(draws)
    with pytest.raises(InputError, match="at least 10 patches, got 2"):
        consistency.permuted(triangles)
    with pytest.raises(InputError, match="do not fit"):
        consistency.ratios(triangles, triangles[0][:3], triangles[0][:3])
    with pytest.raises(InputError, match="has shape"):
        measures.matrix(triangles[0], 7)


def test_histogram_counts_and_pairs():
    triangles = np.array([[0.0, 0.5, -1.0], [0.019, 0.51, 1.0]])
    counts = measures.count_absolute(triangles)
    assert counts.dtype == np.uint16
    assert [np.flatnonzero(row).tolist() for row in counts] == [[0], [25], [49]]
    chosen = measures.among(np.array([True, False, True]))
    assert chosen.tolist() == [False, True, False]
    full = measures.matrix(triangles[0], 3)
    assert full[0, 2] == full[2, 0] == 0.5
    assert full[1, 2] == -1.0


def test_pictures_show_the_numbers(ax):
    draws = np.random.default_rng(0).normal(size=(100, 1, 30))
    triangle = measures.correlations(draws)[0]
    counts = np.histogram(triangle, measures.EDGES)[0]
    assert pictures.plot_correlation_histogram(ax, counts, measures.EDGES, 100) is ax
    (chance,) = [line for line in ax.get_lines() if line.get_label() == "chance"]
    width = measures.EDGES[1] - measures.EDGES[0]
    assert chance.get_ydata().sum() * width == pytest.approx(1, abs=1e-3)
    assert ax.get_ylim()[1] < 100
    folded = Figure().subplots()
    absolute = measures.count_absolute(triangle[None]).sum(0)
    pictures.plot_correlation_histogram(folded, absolute, measures.ABSOLUTE_EDGES, 100)
    (chance,) = [line for line in folded.get_lines() if line.get_label() == "chance"]
    assert chance.get_ydata().sum() * 0.02 == pytest.approx(1, abs=0.01)
    other = Figure().subplots()
    pictures.plot_correlation_matrix(other, measures.matrix(triangle, 30))
    shown = other.get_images()[0].get_array()
    assert np.ma.count_masked(shown) == 30  # the diagonal
    assert shown[0, 1] == triangle[0]
    bars = Figure().subplots()
    table = pd.DataFrame(
        {
            "model": ["a", "a", "b", "b"],
            "rank": [1, 2, 1, 2],
            "mean": [0.4, 0.3, 0.2, 0.1],
            "sd": [0.1, 0.1, np.nan, np.nan],
        }
    )
    pictures.plot_strongest(
        bars,
        table,
        {"a": "r", "b": "b"},
        {"a": np.array([0.15, 0.12]), "b": np.array([0.16, 0.13])},
    )
    assert [bar.get_height() for bar in bars.patches] == [0.4, 0.3, 0.2, 0.1]
    chance = [c for c in bars.collections if c.get_linestyle()[0][1] is not None]
    heights = [segment[0, 1] for lines in chance for segment in lines.get_segments()]
    assert heights == [0.15, 0.12, 0.16, 0.13]


def test_every_entry_is_built_and_a_dead_model_is_named(study):
    items = {entry.name: entry.build() for entry in section.entries(study)}
    assert {"correlation-patch", "correlation-pairs", "correlation-consistency-q"} <= items.keys()
    for name, item in items.items():
        assert "nan" not in item.sentence, name
        if name in ("correlation-pairs", "correlation-matrices", "correlation-signal-noise"):
            item.figure.draw_without_rendering()
    patches = items["correlation-strongest-patches"]
    assert "dead, seed 0: 0 units of z1 are active" in patches.sentence
    assert set(patches.table["model"]) == {"k = 1", "k = 4"}
    assert patches.table["patches"].tolist() == [30, 30, 12, 12]
    # Models are compared by what is left above shuffled draws, not by the raw maxima.
    excess = patches.table["mean_of_five"] - patches.table["shuffled_of_five"]
    of_model = excess.groupby(patches.table["model"]).mean()
    raw = patches.table.groupby("model")["mean_of_five"].mean()
    difference = items["correlation-paired"].table["difference"].item()
    assert difference == pytest.approx(of_model["k = 4"] - of_model["k = 1"])
    assert difference != pytest.approx(raw["k = 4"] - raw["k = 1"])
    of_guide = items["correlation-strongest-patches-q"].table
    assert of_guide["r1"].nunique() > 1  # runs of different seeds have noise of their own
    assert items["correlation-signal-noise"].table["units"].tolist() == [6] * 4
    assert of_guide["patches"].tolist() == [30, 30, 30, 30]
    assert np.allclose(of_guide["r1"], 0.8, atol=0.03)
    units = items["correlation-gabor-units"].table
    assert units["pairs"].tolist() == [10, 10]  # of the five active units that fit the thresholds
    pairs = items["correlation-pairs"].table
    assert pairs.iloc[0][["model", "first", "second"]].tolist() == ["k = 1", 1, 4]
    no_weights = SimpleNamespace(**{**vars(study), "subjects": study.of("k = 1")})
    assert not any(entry.name.endswith("-q") for entry in section.entries(no_weights))
