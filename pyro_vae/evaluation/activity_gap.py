"""How clearly active units stand apart from the others: the largest gap between activities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pyro_vae.errors import InputError, check_positive
from pyro_vae.evaluation.activity import ACTIVITY_THRESHOLD

FLOOR = 1e-4  # activities below are counted as equal: an sd over the data of 0.01, mostly noise
NEAR = 3.0  # factor within which an activity is close to the threshold
CLEAR = 3.0  # ratio of neighbours from which a gap around the threshold can be clear
CLEAR_ABOVE = 10.0  # the same, of a gap that lies above the threshold


@dataclass(frozen=True)
class ActivityGap:
    """The largest ratio of neighbours among sorted activities.

    Attributes:
        units: U.
        active: above the threshold.
        gap_low, gap_high, gap_ratio: the gap's ends and their ratio; NaN where no activity is above
            the floor.
        second_ratio: the second largest ratio, of two units NaN.
        above_gap: units on its upper side.
        near_threshold: units within a factor of 3 of it.
        threshold_in_gap: whether the threshold lies between the gap's ends.
        active_above: whether it lies there or below, so that all above the gap are active.
    """

    units: int
    active: int
    gap_low: float
    gap_high: float
    gap_ratio: float
    second_ratio: float
    above_gap: int
    near_threshold: int
    threshold_in_gap: bool
    active_above: bool

    @property
    def clear(self) -> bool:
        """Whether two groups stand apart: a wide gap, with all active units above it, or some.

        Wide is twice the second largest ratio or more, and a ratio of 3 or more where the threshold
        lies in the gap. Of a gap above the threshold it is 10: noisy gradients, as those of
        importance-weighted bounds, leave units that carry nothing with activities of 0.01 to 0.03,
        so that the threshold calls all units active.
        """
        runner_up = 1.0 if np.isnan(self.second_ratio) else self.second_ratio
        wide = CLEAR if self.threshold_in_gap else CLEAR_ABOVE
        return self.active_above and self.gap_ratio >= max(wide, 2 * runner_up)


def activity_gap(
    activities: np.ndarray, threshold: float = ACTIVITY_THRESHOLD, floor: float = FLOOR
) -> ActivityGap:
    """How separate the active units are from the inactive ones (Vas 2024, section 5.4).

    Activities are sorted and those below ``floor`` count as ``floor``. The gap is the largest ratio
    of neighbours; it lies between ``gap_low`` and ``gap_high``. A gap is found in any list, so the
    second largest ratio is returned beside it: two groups stand apart where the first is far above
    the second and its upper side is active, see :attr:`ActivityGap.clear`.

    Args:
        activities: (U,), noise removed; entries at or below 0 are noise around none.

    Raises:
        InputError: no list of two or more finite numbers.
    """
    check_positive("floor", floor)
    check_positive("threshold", threshold)
    values = np.asarray(activities, float)
    low, high, ratio, second = largest_gap(values, floor, "activities")
    close = (values > threshold / NEAR) & (values < threshold * NEAR)
    return ActivityGap(
        units=len(values),
        active=int((values > threshold).sum()),
        gap_low=low,
        gap_high=high,
        gap_ratio=ratio,
        second_ratio=second,
        above_gap=int((values >= high).sum()),
        near_threshold=int(close.sum()),
        threshold_in_gap=bool(low <= threshold < high),
        active_above=bool(threshold < high),
    )


def above_gap(activities: np.ndarray) -> np.ndarray:
    """Which units (U,) are above the gap of :func:`activity_gap`; none where there is no gap."""
    return np.asarray(activities, float) >= activity_gap(activities).gap_high


def clear_gap(activities: np.ndarray) -> ActivityGap | None:
    """The gap of activities (U,), where it is clear; None where it is not, or U < 2."""
    gap = activity_gap(activities) if len(activities) > 1 else None
    return gap if gap is not None and gap.clear else None


def above_clear_gap(activities: np.ndarray) -> np.ndarray | None:
    """Which units (U,) are above the gap, where it is clear; None where it is not, or U < 2."""
    gap = clear_gap(activities)
    return None if gap is None else np.asarray(activities, float) >= gap.gap_high


def largest_gap(values: np.ndarray, floor: float, what: str) -> tuple[float, float, float, float]:
    """Ends and ratio of the largest gap between sorted values, and the second largest ratio.

    Values below ``floor`` count as ``floor``; all are NaN where no value is above it.

    Raises:
        InputError: no list of two or more finite numbers; ``what`` they are is named.
    """
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
        raise InputError(f"{what} of shape {values.shape}; a gap wants (U,) finite, U >= 2")
    ordered = np.sort(np.maximum(values, floor))
    if ordered[-1] == floor:
        return np.nan, np.nan, np.nan, np.nan
    ratios = ordered[1:] / ordered[:-1]
    place = int(ratios.argmax())
    second = float(np.sort(ratios)[-2]) if len(ratios) > 1 else np.nan
    return float(ordered[place]), float(ordered[place + 1]), float(ratios[place]), second
