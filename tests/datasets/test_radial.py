"""The radial filter against sinusoids, NumPy's Fourier transform and noise of known spectrum."""

import numpy as np
import pytest

from pyro_vae.datasets.radial import radially_filtered

F0 = 0.4  # cycles per pixel, Olshausen and Field 1997


def published(frequency):
    return frequency * np.exp(-((frequency / F0) ** 4))


def grating(shape, across, down, phase=0.0):
    """A sinusoid of these frequencies, in cycles per pixel."""
    y, x = np.indices(shape)
    return np.cos(2 * np.pi * (across * x + down * y) + phase)


def measured_gain(shape, across, down, margin=40):
    """Regression of what comes out on what went in, far from the borders; and what is left."""
    inside = (slice(margin, -margin),) * 2
    waves = [grating(shape, across, down, phase) for phase in (0.3, 0.3 - np.pi / 2)]
    out = radially_filtered(waves[0])[inside].ravel()
    basis = np.stack([wave[inside].ravel() for wave in waves], axis=1)
    (gain, shift), *_ = np.linalg.lstsq(basis, out, rcond=None)
    left = out - basis @ [gain, shift]
    return gain, shift, left.std() / basis[:, 0].std()


@pytest.mark.parametrize(
    ("frequency", "angle"),
    [
        *((f, angle) for f in (0.03, 0.1, 0.2, 0.283, 0.4, 0.47) for angle in (0.0, 0.3, 2.2)),
        (0.6, np.pi / 4),  # the grid holds it in the diagonal only
    ],
)
def test_gratings_come_out_with_the_published_gain_and_no_shift(frequency, angle):
    across, down = frequency * np.cos(angle), frequency * np.sin(angle)
    gain, shift, left = measured_gain((200, 230), across, down)
    # What borders 40 pixels away do is a ten-thousandth of the largest gain, 0.22.
    assert gain == pytest.approx(published(frequency), abs=3e-5)
    assert abs(shift) < 3e-5
    assert left < 1e-4


def test_the_filter_is_the_periodic_one_of_the_mirrored_image():
    image = np.random.default_rng(0).normal(size=(31, 44))
    height, width = image.shape
    mirrored = np.pad(image, ((0, height), (0, width)), mode="symmetric")
    frequency = np.hypot(np.fft.fftfreq(2 * height)[:, None], np.fft.fftfreq(2 * width))
    whole = np.fft.ifft2(np.fft.fft2(mirrored) * published(frequency)).real
    assert np.allclose(radially_filtered(image), whole[:height, :width], atol=1e-6)


def test_the_filter_favours_no_side_and_no_direction():
    image = np.random.default_rng(0).normal(size=(40, 40))
    out = radially_filtered(image)
    for turned in (np.transpose, np.flipud, np.fliplr, np.rot90):
        assert np.allclose(radially_filtered(turned(image)), turned(out), atol=1e-6)
    angles = np.linspace(0, np.pi, 7)
    gains = [measured_gain((200, 230), 0.33 * np.cos(a), 0.33 * np.sin(a))[0] for a in angles]
    assert np.ptp(gains) < 1e-5


def pink(rng, side):
    """Gaussian noise whose amplitude falls as 1 / f, cut from the middle of a periodic one."""
    size = 2 * side
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size))
    frequency[0, 0] = np.inf
    white = np.fft.fft2(rng.normal(size=(size, size)))
    return np.fft.ifft2(white / frequency).real[:side, :side]


def test_noise_of_photographs_spectrum_becomes_white_below_half_the_cutoff():
    """Power in rings of frequency is exp(-2 (f / f0)^4): within 12 % of constant up to f0 / 2."""
    rng = np.random.default_rng(0)
    side, margin, images = 160, 32, 60
    inner = side - 2 * margin
    taper = np.hanning(inner + 2)[1:-1]
    window = np.outer(taper, taper)
    frequency = np.hypot(np.fft.fftfreq(inner)[:, None], np.fft.fftfreq(inner))
    # From a little above zero, where the taper's own width would count.
    edges = np.linspace(0.04, 0.48, 12)
    rings = np.digitize(frequency, edges)
    power, before = np.empty((images, len(edges) - 1)), np.empty((images, len(edges) - 1))
    expected = np.empty(len(edges) - 1)
    for ring in range(1, len(edges)):
        expected[ring - 1] = np.exp(-2 * (frequency[rings == ring] / F0) ** 4).mean()
    for index in range(images):
        image = pink(rng, side)
        for table, shown in ((power, radially_filtered(image)), (before, image)):
            inside = shown[margin:-margin, margin:-margin]
            spectrum = np.abs(np.fft.fft2(inside * window)) ** 2 / np.square(window).sum()
            table[index] = [spectrum[rings == ring].mean() for ring in range(1, len(edges))]
    error = power.std(axis=0, ddof=1) / np.sqrt(images)
    # The taper mixes neighbouring frequencies: a hundredth of the plateau.
    assert np.all(np.abs(power.mean(0) - expected) < 4 * error + 0.01)
    low = edges[1:] <= F0 / 2 + 1e-9
    assert np.ptp(power.mean(0)[low]) < 0.12
    assert np.ptp(before.mean(0)[low]) > 100  # the same rings before the filter


def test_the_size_of_a_photograph_does_not_matter():
    whole = pink(np.random.default_rng(1), 240)
    part = (slice(40, 200), slice(30, 170))
    inside = (slice(24, -24),) * 2
    out, of_part = radially_filtered(whole)[part], radially_filtered(whole[part])
    difference = (out - of_part)[inside].std() / out[inside].std()
    assert difference < 0.01


def test_mean_luminance_is_lost_and_nothing_else_is():
    image = np.random.default_rng(0).normal(size=(30, 37))
    out = radially_filtered(image)
    assert abs(out.mean()) < 1e-6
    assert np.allclose(radially_filtered(image + 5), out, atol=1e-5)
    assert np.abs(radially_filtered(np.full((30, 37), 3.0))).max() < 1e-6
