"""Pixel spaces: what the numbers of a row mean, and so how they are drawn, shown and scored."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pyro_vae.datasets.far_rows import Part
from pyro_vae.datasets.moments import low_and_high
from pyro_vae.errors import InputError, check_choice

# How far from a whole level a number may lie, in levels: k / 255 in float32 is off by 1e-5.
OFF_LEVEL = 1e-3


class PixelSpace(str):
    """What the numbers of a row mean; equal to, hashed and printed as its name.

    Attributes:
        interval: (lowest, highest) value of a pixel, or None where it is any real number.
        levels: how many values a pixel can take, or None where it is a real number.
        drawn: whether each pixel is drawn with the grey level as its probability. Training rows
            are probabilities then, of which ``Batches`` draws (Burda et al. 2016 draw anew for each
            batch, https://arxiv.org/abs/1509.00519), unless they are drawn once.
        likelihoods: the kinds of likelihood that fit, in words; the first one is the usual one.
    """

    __slots__ = ("drawn", "interval", "levels", "likelihoods")

    interval: tuple[float, float] | None
    levels: int | None
    drawn: bool
    likelihoods: tuple[str, ...]

    def __new__(
        cls,
        name: str,
        *,
        interval: tuple[float, float] | None,
        levels: int | None,
        drawn: bool,
        likelihoods: tuple[str, ...],
    ) -> PixelSpace:
        space = super().__new__(cls, name)
        for attribute, value in (
            ("interval", interval),
            ("levels", levels),
            ("drawn", drawn),
            ("likelihoods", likelihoods),
        ):
            object.__setattr__(space, attribute, value)
        return space

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a pixel space cannot be changed: {name}")

    def __reduce__(self) -> tuple:
        # Copies and pickles are the registered space itself.
        return pixel_space, (str(self),)

    @property
    def whole(self) -> bool:
        """Whether rows are whole levels / (levels - 1), none of them drawn.

        Colour rows of such a space hold their channels one after the other, (3, H, W).
        """
        return self.levels is not None and not self.drawn

    @property
    def _highest(self) -> int:
        """Of a space of levels."""
        assert self.levels is not None
        return self.levels - 1

    @property
    def standardised(self) -> bool:
        """Whether rows have one mean and one scale instead of an interval of values."""
        return self.interval is None

    def grey_limit(self, images: np.ndarray) -> float | None:
        """Show grey images (..., H, W) from minus this to plus this; None: over the interval.

        Where pixels are real numbers the limit leaves out the hundredth of the largest.
        """
        return float(np.quantile(np.abs(images), 0.99)) if self.standardised else None

    def white(self, origin: str, tables: Sequence[np.ndarray | Part]) -> float:
        """The stored value that stands for the upper end: 255 of grey bytes, 1 of fractions.

        Judged over all tables, so that one of dark images is not read on its own scale; bytes
        that are 0 and 1 only are fractions. Spaces of whole levels take 0..255 of any type.

        Raises:
            InputError: numbers below 0 or above white, named by ``origin``.
        """
        low, high = low_and_high(tables)
        largest = self._highest if self.whole else 255
        fits = 0 <= low <= high <= largest if self.whole else tables[0].dtype == np.uint8
        if high > 1 and fits:
            return float(largest)
        if low < 0 or high > 1:
            wanted = (
                f"whole levels 0..{largest} (or fractions in [0, 1])"
                if self.whole
                else "values in [0, 1] (or uint8 0..255)"
            )
            raise InputError(
                f"{origin}: pixels={str(self)!r} needs {wanted}, got {low:g} to {high:g}"
            )
        return 1.0

    def rounded(self, origin: str, fractions: np.ndarray, start: int = 0) -> np.ndarray:
        """Fractions of white (N, ...) as whole levels / (levels - 1), without rounding errors.

        Args:
            origin: named in the error.
            start: the place of the first row among those of ``origin``.

        Raises:
            InputError: a number that is no whole level; the first one is told with its place.
        """
        largest = self._highest
        exact = fractions * largest
        levels = np.rint(exact)
        off = np.abs(exact - levels) > OFF_LEVEL
        if off.any():
            row, *place = (int(i) for i in np.unravel_index(off.argmax(), off.shape))
            where = ", ".join(map(str, (start + row, *place)))
            raise InputError(
                f"{origin}: pixels={str(self)!r} needs whole levels 0..{largest}, got level "
                f"{exact[(row, *place)]:.6g} at [{where}]"
            )
        return levels / largest

    def refused(self, what: str, wanted: PixelSpace, hint: str = "") -> InputError:
        """The error for data, ``what`` they hold, that can only be in the space ``wanted``."""
        return InputError(
            f"{what}, for which pixels={str(self)!r} is no likelihood; allowed: {wanted} "
            f"({wanted} patches need a {wanted.likelihoods[0]} likelihood){hint}"
        )


STANDARDISED = PixelSpace(
    "standardised", interval=None, levels=None, drawn=False, likelihoods=("Gaussian",)
)
BINARY = PixelSpace("binary", interval=(0.0, 1.0), levels=2, drawn=True, likelihoods=("Bernoulli",))
LEVELS = PixelSpace(
    "levels",
    interval=(0.0, 1.0),
    levels=256,
    drawn=False,
    likelihoods=("logistic", "logistic-mixture", "categorical"),
)
PIXEL_SPACES = {str(space): space for space in (STANDARDISED, BINARY, LEVELS)}


def pixel_space(name: str) -> PixelSpace:
    """The registered pixel space of this name; InputError lists those that there are."""
    return PIXEL_SPACES[check_choice("pixels", name, PIXEL_SPACES)]
