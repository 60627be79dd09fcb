"""Decoding of whole runs: what is measured, kept and reported, and the pictures of it."""

import io
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from analysis.measures.by_name import Named
from analysis.pictures import decoding as pictures
from analysis.probes.decoding import decode_subject
from analysis.reporting.sections import decoding, information
from pyro_vae.datasets.pixel_space import pixel_space
from pyro_vae.errors import InputError

ROWS = {"train": 240, "test": 160}
TEXTURE_UNITS = (1, 4)  # of z2
DEAD = (0, 11)  # of z1
NAMES = ("oat", "leather", "soil", "carpet")


def moments(labels, seed, z2_units=6):
    """z2 with two texture units, z1 whose units 1 to 4 of 12 know a little; DEAD ones are 0."""
    generator = np.random.default_rng(seed)
    corners = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]])
    z2 = generator.normal(size=(len(labels), z2_units))
    if z2_units:
        z2[:, TEXTURE_UNITS] += 3 * corners[labels]
    z1 = generator.normal(size=(len(labels), 12))
    z1[:, :5] += 0.4 * labels[:, None]
    z1[:, DEAD] = 0.0
    sd = np.linspace(0.4, 1.0, 12) * np.ones((len(labels), 1))
    found = {"z1_mean": z1, "z1_sd": sd, "z1_draw": z1 + sd}
    if z2_units:
        z2_sd = np.ones_like(z2)
        z2_sd[:, TEXTURE_UNITS] = 0.4
        z2_draw = z2 + z2_sd * generator.normal(size=z2.shape)
        found |= {"z2_mean": z2, "z2_sd": z2_sd, "z2_draw": z2_draw}
    return found


class Subject:
    """A run whose measurements are made up; labels are the data's first rows of more."""

    def __init__(self, label="k = 10", seed=0, weighted=True, z2_units=6, data_seed=0, plain=4):
        self.label, self.seed, self.weighted = label, seed, weighted
        self.name = f"{label}, seed {seed}"
        self.settings = SimpleNamespace(seed=0, weighted_groups=4)
        generator = torch.Generator().manual_seed(data_seed)
        labels, pixels = {}, {}
        for split, count in ROWS.items():
            order = torch.cat([torch.randperm(count, generator=generator), torch.arange(7)])
            labels[split] = order % 4
            pixels[split] = torch.randn(len(order), 9, generator=generator)
            pixels[split][:, 3] += 0.7 * labels[split]
        self.labelled = SimpleNamespace(
            labels=labels, label_names=NAMES, pixels=pixel_space("standardised"), **pixels
        )
        parts = {
            split: moments(of[: ROWS[split]].numpy(), 10 * data_seed + len(split), z2_units)
            for split, of in labels.items()
        }
        self.arrays = {
            **{f"moments_labelled_{split}": part for split, part in parts.items()},
            "activity": {
                "z1_active": ~np.isin(np.arange(12), DEAD),
                "z1_activity": np.where(np.isin(np.arange(12), DEAD), 1e-3, 1.0),
                "z2_active": np.isin(np.arange(z2_units), TEXTURE_UNITS),
            },
            # Units 1 to 5 are localised, ``plain`` more are not, the last ones are again.
            "gabor": {
                "r2": np.ones(12),
                "spread": np.ones(12),
                "spectral_area": np.zeros(12),
                "coverage": np.array([1.0] + [0.2] * 5 + [1.0] * plain + [0.2] * (6 - plain)),
            },
        }
        for split, part in parts.items():
            worse = {name: value + 0.5 * np.sin(37 * value) for name, value in part.items()}
            self.arrays[f"moments_labelled_{split}_ew"] = worse

    def measured(self, name):
        if name == "decoding" and name not in self.arrays:
            self.arrays[name] = stored(decode_subject(self))
        if name.endswith("_ew"):
            assert self.weighted
        return Named(self.arrays[name])


def stored(arrays):
    """As they come back from disk, where no pickles are read."""
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    stream.seek(0)
    return dict(np.load(stream, allow_pickle=False))


@pytest.fixture(scope="module")
def runs():
    return [Subject(data_seed=1), Subject(data_seed=2)]


@pytest.fixture(scope="module")
def study(runs):
    """Two models of two seeds each, on the two measured runs."""
    subjects = []
    for label, order in (("vanilla", (0, 1)), ("k = 10", (1, 0))):
        for seed, which in enumerate(order):
            subject = Subject(label, seed)
            subject.arrays, subject.labelled = runs[which].arrays, runs[which].labelled
            runs[which].measured("decoding")
            subjects.append(subject)
    return as_study(subjects)


def as_study(subjects):
    labels = list(dict.fromkeys(subject.label for subject in subjects))
    of = {label: [s for s in subjects if s.label == label] for label in labels}
    return SimpleNamespace(
        subjects=subjects,
        labels=labels,
        of=of.__getitem__,
        examples=lambda: [of[label][0] for label in labels],
    )


def items(study):
    return {e.name: e for e in decoding.entries(study) + information.entries(study)}


def test_planted_texture_units_of_a_run_are_found(runs):
    found = runs[0].measured("decoding")
    assert sorted(found["selection_units"]) == list(TEXTURE_UNITS)
    assert found["groups_selective"].mean() > 0.9
    assert abs(found["groups_other"].mean() - 0.25) < 0.15
    assert set(found["added_unit"][:2]) == set(TEXTURE_UNITS)
    assert set(np.argsort(found["z2_information_nats"])[-2:]) == set(TEXTURE_UNITS)
    assert found["z2_accuracy"].mean() > 0.9
    assert found["z2_pair_accuracy"].mean() > 0.9
    assert found["z2_null"].mean() < 0.45
    assert 0.4 < found["pixels_accuracy"].mean() < 0.7
    assert (found["num_train"], found["num_test"], found["chance"]) == (192, 160, 0.25)
    assert found["class_names"].tolist() == list(NAMES)


def test_each_class_of_units_is_decoded_from_its_active_units(runs):
    found = runs[0].measured("decoding")
    sizes = {name: int(found[f"z1_{name}_units"]) for name in ("localised", "non_localised")}
    assert (int(found["z1_units"]), sizes) == (10, {"localised": 6, "non_localised": 4})
    assert int(found["z1_matched_units"]) == 4
    assert found["z1_localised_accuracy"].mean() > found["z1_non_localised_accuracy"].mean() + 0.1
    assert found["scatter_units"].tolist() == [1, 2]
    drawn = runs[0].arrays["moments_labelled_test_ew"]["z1_draw"][:, 1:3]
    np.testing.assert_array_equal(found["scatter_draws"], drawn)
    assert not np.array_equal(found["z1_ew_accuracy"], found["z1_accuracy"])
    assert found["z1_information_nats"].shape == (12,)
    assert found["z1_information_nats"][list(DEAD)].tolist() == [0.0, 0.0]


def test_means_of_inactive_units_whisper_what_draws_do_not_carry():
    subject = Subject(data_seed=3)
    for split in ROWS:
        part = subject.arrays[f"moments_labelled_{split}"]
        labels = subject.labelled.labels[split][: ROWS[split]].numpy()
        noise = part["z2_draw"][:, 0] - part["z2_mean"][:, 0]
        part["z2_mean"][:, 0] = 1e-3 * labels  # a thousandth of the posterior's deviation
        part["z2_draw"][:, 0] = part["z2_mean"][:, 0] + noise
    found = subject.measured("decoding")
    assert int(found["z2_inactive_units"]) == 4
    assert found["z2_inactive_accuracy"].mean() > 0.9
    assert abs(found["z2_inactive_draw_accuracy"].mean() - 0.25) < 0.15
    assert found["z2_draw_accuracy"].mean() > 0.8
    item = items(as_study([subject]))["decoding-draws"].build()
    assert item.table["group"].tolist()[2:4] == ["z2 inactive, means", "z2 inactive, draws"]


def test_what_a_run_lacks_is_told_and_the_rest_goes_on():
    flat = Subject(weighted=False, z2_units=0, plain=0)
    found = flat.measured("decoding")
    assert "no level z2" in str(found["z2_missing"])
    assert "no level z2" in str(found["selection_missing"])
    assert "no level z2" in str(found["groups_missing"])
    assert "q itself" in str(found["z1_ew_missing"])
    assert "non-localised" in str(found["z1_non_localised_missing"])
    assert found["z1_accuracy"].shape == (5,)
    entries = items(as_study([flat]))
    with pytest.raises(InputError, match="no level z2"):
        entries["z2-decoding"].build()
    with pytest.raises(InputError, match="q itself"):
        entries["decoding-weighted"].build()
    assert entries["z1-decoding"].build().table["seed"].tolist() == [0] * 3
    flat.arrays["activity"]["z1_active"] = np.zeros(12, dtype=bool)
    del flat.arrays["decoding"]
    assert "active" in str(flat.measured("decoding")["z1_missing"])


def test_every_entry_is_drawn_with_chance_and_table(study):
    built = {name: entry.build() for name, entry in items(study).items()}
    assert len(built) == 17
    for name, item in built.items():
        assert len(item.table) > 0, name
        null = ("chance", "shuffled", "nothing", "no difference")
        assert any(word in item.sentence for word in null), name
    for name in ("z2-scatter", "z2-confusion", "decoding-overview", "z1-information"):
        built[name].figure.savefig(io.BytesIO(), dpi=40)
    table = built["z2-decoding"].table
    assert table["model"].tolist() == ["vanilla"] * 2 + ["k = 10"] * 2
    assert table["seed"].tolist() == [0, 1, 0, 1]
    assert f"{table['accuracy'][:2].mean():.3f}" in built["z2-decoding"].sentence
    assert built["z2-selective-units"].table["number"].tolist() == [2] * 4
    assert len(built["z2-confusion"].table) == 4 * 4
    pairs = built["decoding-models-paired"].table
    assert pairs["representation"].tolist() == ["z2", "z1", "z1_above_gap"]
    # The same two runs in the other order: the mean difference is zero.
    np.testing.assert_allclose(pairs["difference"], 0.0, atol=1e-12)
    levels = built["decoding-levels-paired"].table
    assert (levels.loc[levels["group"] == "pixels", "difference"] < -0.2).all()


def test_a_run_that_lacks_something_is_named_beside_the_others(study):
    broken = Subject("k = 50", weighted=False, z2_units=0)
    broken.arrays["decoding"] = {"z2_missing": np.array("it broke")}
    more = as_study([*study.subjects, broken])
    item = items(more)["z2-confusion"].build()
    assert "Without k = 50, seed 0: it broke." in item.sentence
    assert set(item.table["model"]) == {"vanilla", "k = 10"}
    assert any("it broke" in text.get_text() for ax in item.figure.axes for text in ax.texts)


def test_accuracies_show_runs_means_and_chance():
    table = pd.DataFrame(
        {"model": ["a", "a", "b"], "seed": [0, 1, 0], "accuracy": [0.6, 0.8, 0.5], "null": 0.2}
    )
    ax = Figure().subplots()
    assert pictures.plot_accuracies(ax, table, 0.25, "t") is ax
    drawn = np.concatenate([line.get_ydata() for line in ax.lines if line.get_marker() == "o"])
    assert drawn.tolist() == [0.6, 0.8, 0.5]
    assert [bar[0].get_ydata()[0] for bar in ax.containers] == pytest.approx([0.7])
    assert any(list(line.get_ydata()) == [0.25, 0.25] for line in ax.lines)
    curve = pd.DataFrame(
        {"model": "a", "seed": [0, 1] * 2, "units": [1, 1, 2, 2], "accuracy": [0.2, 0.4, 0.5, 0.7]}
    )
    ax = pictures.plot_accuracy_curve(Figure().subplots(), curve, 0.25, "t")
    assert ax.lines[0].get_ydata().tolist() == pytest.approx([0.3, 0.6])
    one_seed = pictures.plot_accuracy_curve(Figure().subplots(), curve[::2], 0.25, "t")
    assert one_seed.lines[0].get_ydata().tolist() == pytest.approx([0.2, 0.5])
    known = pd.DataFrame(
        {
            "model": "a",
            "seed": [0, 0, 1, 1],
            "information": [0.1, 0.4, 0.3, 0.2],
            "null_high": 0.01,
            "label_entropy": 1.6,
        }
    )
    ax = pictures.plot_information(Figure().subplots(), known, "t")
    assert [list(line.get_ydata()) for line in ax.lines[:2]] == [[0.4, 0.1], [0.3, 0.2]]


def test_scatter_and_confusion_show_what_they_are_given():
    ax = Figure().subplots()
    values, labels = np.random.default_rng(0).normal(size=(30, 2)), np.arange(30) % 3
    assert pictures.plot_label_scatter(ax, values, labels, "abc", ("u", "v"), "t") is ax
    np.testing.assert_array_equal(ax.collections[0].get_offsets(), values)
    colours = ax.collections[0].get_facecolors()
    assert len(np.unique(colours, axis=0)) == 3
    np.testing.assert_array_equal(colours[0], colours[3])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b", "c"]
    with pytest.raises(InputError, match="11 classes"):
        pictures.plot_label_scatter(ax, values, labels, "abcdefghijk", ("u", "v"), "t")
    ax = Figure().subplots()
    confusion = np.array([[0.75, 0.25], [np.nan, np.nan]])
    assert pictures.plot_confusion(ax, confusion, ["a", "b"], "t") is ax
    assert [text.get_text() for text in ax.texts] == ["0.75", "0.25"]
    assert (ax.get_ylabel(), ax.get_xlabel()) == ("true", "decoded")


def test_units_below_the_gap_are_told_from_active_ones():
    """A unit far below the others passes the threshold and carries all: the gap leaves it out."""
    subject = Subject()
    weak = 1  # of the units that are not dead
    activity = np.where(np.isin(np.arange(12), DEAD), 1e-3, 1.0)
    activity[weak] = 0.02
    subject.arrays["activity"] |= {"z1_activity": activity, "z1_active": activity > 0.01}
    for split in ROWS:
        part = subject.arrays[f"moments_labelled_{split}"]
        labels = subject.labelled.labels[split][: ROWS[split]].numpy()
        part["z1_mean"] = np.random.default_rng(len(split)).normal(size=part["z1_mean"].shape)
        part["z1_mean"][:, weak] = 0.01 * labels + 0.001 * part["z1_mean"][:, weak]
    found = subject.measured("decoding")
    assert found["z1_units"] == 12 - len(DEAD)
    assert found["z1_above_gap_units"] == 11 - len(DEAD)
    assert found["z1_all_units"] == 12
    assert found["z1_accuracy"].mean() > 0.9
    assert found["z1_all_accuracy"].mean() > 0.9
    assert abs(found["z1_above_gap_accuracy"].mean() - 0.25) < 0.15
