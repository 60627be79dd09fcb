"""Illusory contours for units with Gabor fields: which units, which stimuli, what responses say.

After Lee and Nguyen 2001 (https://doi.org/10.1073/pnas.031579998): a grating of a unit's own
orientation, wavelength and phase runs through its field ("full"); the same with the field's middle
blanked, so that only the two ends, the inducers, are left ("illusory"); and controls without a
contour: the inducers' carrier turned by 90 degrees ("rotated"), or one inducer alone ("one end",
"other end").

Fields in small patches can be nearly as long as the patch, so the inducers may reach into them:
what they send straight through the field is told by the unit's linear receptive field, beside which
every response is put.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from analysis.measures.by_name import Named
from analysis.measures.seeds import spread
from pyro_vae.errors import InputError

CONDITIONS = ("full", "illusory", "rotated", "one end", "other end")
FULL, ILLUSORY, ROTATED, ONE, OTHER = range(len(CONDITIONS))
MIN_R2 = 0.6  # of a Gabor fit that a stimulus is built on
GAP = 0.15  # half-length of the gap over the patch's side: 3 of 20 pixels
EDGE = 0.05  # half-width of the gap's soft edge over the patch's side
INDUCER = 0.125  # what the patch must hold of an inducer at either end, over the patch's side
LARGEST = 0.25  # envelope's standard deviation across the bars, over the patch's side
MIN_UNITS = 5
MIN_RESPONSE = 3.0  # standard errors that the response to the full grating must be above zero


def units_with_room(fits: pd.DataFrame, image_shape: tuple[int, int]) -> NDArray[np.int_]:
    """Units whose field leaves room for both inducers on the patch.

    Args:
        fits: a row per unit with the columns of ``pyro_vae.evaluation.filters.gabor.fit_gabors``.

    Returns:
        indices of rows whose fit has r2 >= 0.6, is no wider than a quarter of the patch (size) with
        a wavelength within the patch, has its centre on the patch, and from whose centre the patch
        reaches over the gap and INDUCER in both directions along the bars.
    """
    height, width = image_shape
    x, y, angle, r2 = (fits[name].to_numpy(float) for name in ("x", "y", "orientation", "r2"))
    # Along the bars both directions are asked for, so the nearer edge of either axis counts.
    with np.errstate(divide="ignore", invalid="ignore"):
        sideways = np.minimum(x, width - 1 - x) / np.abs(np.sin(angle))
        upwards = np.minimum(y, height - 1 - y) / np.abs(np.cos(angle))
    room = np.minimum(sideways, upwards) >= (GAP + INDUCER) * min(image_shape)
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    side = min(image_shape)
    narrow = fits.get("size").to_numpy(float) <= LARGEST * side
    narrow &= fits.wavelength.to_numpy(float) <= side
    return np.flatnonzero((r2 >= MIN_R2) & narrow & inside & room)


def render(fits: pd.DataFrame, image_shape: tuple[int, int]) -> NDArray[np.float64]:
    """The stimuli of every fit: (U, conditions, H, W), peak contrast 1.

    With u across and v along the bars, pixels from the field's centre, half-gap g and soft edge e,

        full:     exp( -u^2 / (2 size^2) ) cos( 2 pi u / wavelength + phase )
        illusory: full * w(|v|), where w rises from 0 at g - e to 1 at g + e
        rotated:  exp( -u^2 / (2 size^2) ) w(|v|) cos( 2 pi (|v| - c) / wavelength + phase ), the
                  carrier of either inducer turned about a point c = g + e + size of its axis
        one end, other end: illusory for v > 0, for v < 0
    """
    rows, columns = np.indices(image_shape, dtype=float)
    values = [
        fits[name].to_numpy(float)[:, None, None]
        for name in ("x", "y", "size", "orientation", "wavelength", "phase")
    ]
    x0, y0, size, angle, wavelength, phase = values
    cos, sin = np.cos(angle), np.sin(angle)
    u = (columns - x0) * cos + (rows - y0) * sin
    v = (rows - y0) * cos - (columns - x0) * sin
    gap, edge = GAP * min(image_shape), EDGE * min(image_shape)
    strip = np.exp(-((u / size) ** 2) / 2)
    step = np.clip((np.abs(v) - gap + edge) / (2 * edge), 0, 1)
    window = step**2 * (3 - 2 * step)
    full = strip * np.cos(2 * np.pi * u / wavelength + phase)
    turned = np.cos(2 * np.pi * (np.abs(v) - gap - edge - size) / wavelength + phase)
    illusory = full * window
    return np.stack(
        [full, illusory, strip * window * turned, illusory * (v > 0), illusory * (v < 0)], axis=1
    )


def contour_shares(
    response: NDArray, reference: NDArray | None = None, what: str = "response"
) -> pd.DataFrame:
    """Mean response to each condition as a share of that to the full grating.

        share_c = sum_u r_uc / sum_u f_u,    f_u = r_u,full

    A ratio of means, so that units which hardly answer do not decide it.

    Args:
        response: (U, conditions), relative to the blank.
        reference: (U, conditions), whose responses to the full grating are f_u instead: those with
            the feedback intact, where ``response`` is without.
        what: name of the responses, for the error.

    Returns:
        ``condition``, ``share``, ``standard_error`` over units (delta method) and ``units``.

    Raises:
        InputError: fewer than 5 units, or the full grating does not drive them (mean response
            below 3 standard errors).
    """
    full = _driven(response if reference is None else reference, what)
    if response.shape != (len(full), len(CONDITIONS)):
        raise InputError(f"{what} has shape {response.shape}, not ({len(full)}, {len(CONDITIONS)})")
    count = len(response)
    share = response.sum(0) / full.sum()
    residual = response - share * full[:, None]
    error = np.sqrt((residual**2).sum(0) * count / (count - 1)) / full.sum()
    return pd.DataFrame(
        {"condition": CONDITIONS, "share": share, "standard_error": error, "units": count}
    )


def contrasts(found: Mapping[str, NDArray]) -> pd.DataFrame:
    """Paired differences over units behind an illusory response, each with a null of zero.

    =====================  =========================================================================
    contrast               difference of responses, per unit
    =====================  =========================================================================
    illusory - rotated     the contour against its control of equal contrast
    illusory - both ends   the pair of inducers against the sum of each alone: 0 for a linear reader
    illusory - linear      against the unit's receptive field applied to the stimulus, scaled to the
                           mean response to the full grating (NaN where that fails)
    top-down, blank        illusory as it is less illusory with z2 drawn from the blank
    top-down, rotated      illusory as it is less illusory with z2 drawn from the rotated control:
                           the contour's own feedback, without what contrast brings
    =====================  =========================================================================

    Args:
        found: what ``analysis.probes.stimuli.contours`` returns.

    Returns:
        ``contrast``; ``share``, mean difference over the mean response to the full grating, and its
        ``standard_error`` over units (that of the difference alone); ``t`` and two-sided ``p`` of
        the paired t-test; ``units``. Units of one guide share its layers, so they are less than
        independent: a p-value over units speaks for one run, not for its model.

    Raises:
        InputError: as :func:`contour_shares`.
    """
    found = Named(found)
    response, linear = found.response, found.linear
    full = _driven(response, "response")
    try:
        gain = full.sum() / _driven(linear, "linear response").sum()
    except InputError:  # receptive fields too noisy to answer: no linear prediction
        gain = np.nan
    illusory = response[:, ILLUSORY]
    differences = {
        "illusory - rotated": illusory - response[:, ROTATED],
        "illusory - both ends": illusory - response[:, ONE] - response[:, OTHER],
        "illusory - linear": illusory - gain * linear[:, ILLUSORY],
        "top-down, blank": illusory - found.response_blank[:, ILLUSORY],
        "top-down, rotated": illusory - found.response_rotated[:, ILLUSORY],
    }
    rows = []
    for name, difference in differences.items():
        mean, _, error = spread(difference)
        # Differences at the level of rounding are none, NaN is no prediction: nothing to test.
        varies = error > 1e-6 * np.abs(full).mean()
        t, p = stats.ttest_1samp(difference, 0.0) if varies else (np.nan, np.nan)
        rows.append((name, mean / full.mean(), error / full.mean(), t, p, len(difference)))
    return pd.DataFrame(rows, columns=["contrast", "share", "standard_error", "t", "p", "units"])


def _driven(response: NDArray, what: str) -> NDArray[np.float64]:
    """Responses to the full grating, if they can be divided by."""
    if response.ndim != 2 or response.shape[1] != len(CONDITIONS):
        raise InputError(
            f"{what} has shape {response.shape}; a column for each of {', '.join(CONDITIONS)} is "
            "wanted"
        )
    if len(response) < MIN_UNITS:
        raise InputError(
            f"{len(response)} units have a Gabor field with room for inducers; a mean over units "
            f"wants {MIN_UNITS}"
        )
    if not np.isfinite(response).all():
        raise InputError(f"{what} has entries that are not finite")
    full = response[:, FULL].astype(float)
    mean, _, error = spread(full)
    if not mean > MIN_RESPONSE * error:
        raise InputError(
            f"the {what} to gratings through the fields of {len(full)} units is {mean:.2g} "
            f"+- {error:.2g} (s.e.): the units do not answer to them"
        )
    return full
