"""Curves against the epoch: what they show, where they start, and what is off the axis."""

import numpy as np
from matplotlib.figure import Figure

from analysis.pictures import epochs

METRICS = {
    "num_particles": [50.0] * 4,
    "epoch": [0, 1, 2, 3],
    "elbo": [-90.0, -40.0, -35.0, -34.0],
    "bound": [-80.0, -38.0, -33.0, -32.0],
    "reconstruction": [-70.0, -30.0, -25.0, -24.0],
    "kl_z1": [3.0, 8.0, 9.0, 9.5],
    "kl_z2": [0.5, 0.7, 0.9, 1.0],
    "beta_z2": [0.1, 0.4, 0.7, 1.0],
    "ess": [1.1, 1.5, 1.9, 2.0],
}


def lines(ax):
    return {line.get_label(): np.asarray(line.get_ydata()).tolist() for line in ax.get_lines()}


def test_bounds(ax):
    assert epochs.plot_bounds(ax, METRICS) is ax
    assert lines(ax) == {"ELBO": METRICS["elbo"], "$L_{50}$": METRICS["bound"]}
    assert ax.get_ylabel() == "nats"
    bottom, top = ax.get_ylim()
    assert bottom > -90  # a very low start runs off the axis, the end stays on it
    assert top > -32


def test_kl_with_the_annealed_level(ax):
    assert epochs.plot_kl(ax, METRICS) is ax
    assert lines(ax) == {"KL of z1": METRICS["kl_z1"], "KL of z2": METRICS["kl_z2"]}
    (right,) = [other for other in ax.figure.axes if other is not ax]
    assert right.get_lines()[0].get_ydata().tolist() == METRICS["beta_z2"]
    plain = Figure().subplots()
    epochs.plot_kl(plain, {name: v for name, v in METRICS.items() if name != "beta_z2"})
    assert plain.figure.axes == [plain]


def test_reconstruction_and_effective_sample_size(ax):
    assert epochs.plot_reconstruction(ax, METRICS) is ax
    assert lines(ax) == {"E log p(x | z)": METRICS["reconstruction"]}
    other = Figure().subplots()
    assert epochs.plot_effective_sample_size(other, METRICS) is other
    assert lines(other) == {"of 50 particles": METRICS["ess"]}
    assert other.get_ylim()[0] == 0


def test_the_start_is_ringed(ax):
    low = {**METRICS, "elbo": [-50.0, -40.0, -35.0, -34.0]}
    epochs.plot_bounds(ax, low)
    epochs.mark_start(ax, low, ["elbo"], "data")
    ring = ax.get_lines()[2]
    assert ring.get_label() == "start (data)"
    assert (list(ring.get_xdata()), list(ring.get_ydata())) == ([0], [-50.0])
    assert list(ax.get_lines()[3].get_ydata()) == [-50.0, -50.0]
    assert "start (data)" in [text.get_text() for text in ax.get_legend().get_texts()]


def test_a_start_off_the_axis_is_told_of(ax):
    epochs.plot_bounds(ax, METRICS)
    limits = ax.get_ylim()
    epochs.mark_start(ax, METRICS, ["elbo"], "random")
    assert ax.get_ylim() == limits
    told = [text.get_text() for text in ax.get_legend().get_texts()]
    assert told[-1] == "start (random), -90 (off the axis)"
    later = Figure().subplots()
    cut = {name: values[1:] for name, values in METRICS.items()}  # no row of the start
    epochs.plot_kl(later, cut)
    epochs.mark_start(later, cut, ["kl_z1"], "random")
    assert set(lines(later)) == {"KL of z1", "KL of z2"}


def test_a_changed_number_of_particles_is_named(ax):
    metrics = {**METRICS, "num_particles": [5, 5, 7]}
    epochs.plot_bounds(ax, metrics)
    assert "$L_{5, 7}$" in lines(ax)
