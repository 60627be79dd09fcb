"""One image file as upright grey or colour levels, whatever its space, depth and orientation."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pyro_vae.datasets.intensity import fractions, grey_levels
from pyro_vae.datasets.reading import printable, readable
from pyro_vae.datasets.unpacking import check_pixels
from pyro_vae.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

TIFF_SUFFIXES = (".tif", ".tiff")
# What Pillow may take a file for, whatever its name: of others, PostScript would be run.
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "PPM")
# TIFF tags.
REDUCED, BITS, PHOTOMETRIC, ORIENTATION, SAMPLE_FORMAT = 254, 258, 262, 274, 339
WHITE_IS_ZERO, SIGNED = 0, 2
# What Pillow calls 16-bit grey, and what it makes RGB of in passing.
DEEP_GREY = ("I;16", "I;16B", "I;16L", "I;16N")
VIA_RGB = ("CMYK", "YCbCr", "HSV", "RGBX")
_SILENT = logging.NullHandler()


class _CodecMissing(ValueError):
    """tifffile wants another package for this compression."""


@dataclass(frozen=True)
class Decoded:
    """Pixels of an image as stored, upright.

    Attributes:
        pixels: (H, W), or (H, W, 3) RGB; bool, uint8, uint16 or fractions.
        alpha: opacity (H, W) in [0, 1], or None where the image is opaque.
        premultiplied: whether the pixels have been multiplied by the opacity.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    premultiplied: bool = False

    def on_paper(self, values: np.ndarray) -> np.ndarray:
        """Fractions (..., H, W) made of the pixels, over white paper where they are transparent."""
        if self.alpha is None:
            return values
        alpha = self.alpha.astype(np.float32)
        return (values if self.premultiplied else values * alpha) + (1 - alpha)


def read_grey(path: Path) -> np.ndarray:
    """Read an image file as grey levels (H, W) in [0, 1], float32, upright.

    * Colour is turned into luminance (:func:`intensity.grey_levels`): RGB as it is, palettes, CMYK,
      YCbCr, HSV and Lab through RGB. Colour profiles are not applied.
    * Transparent pixels show white paper.
    * The image is turned as its orientation tag says.
    * White is 1: the largest number of its bits, or zero in a TIFF whose white is zero.

    Raises:
        InputError: not an image, more than one picture or too many pixels, float pixels outside
            [0, 1], or numbers whose white is not known (32 bits, signed); the file is named.
    """
    decoded = _read(path)
    grey = grey_levels(printable(path), decoded.pixels, colour=decoded.pixels.ndim == 3)
    return decoded.on_paper(grey)


def read_levels(path: Path) -> np.ndarray:
    """Read an image file as 8-bit levels, uint8, upright.

    As :func:`read_grey`, but colour stays: (H, W) of a grey image, (3, H, W) of one in colour.
    Pixels of 16 bits, fractions, and colours seen through transparent pixels are rounded.
    """
    decoded = _read(path)
    pixels = decoded.pixels
    first = pixels if pixels.ndim == 2 else np.moveaxis(pixels, 2, 0)
    if decoded.alpha is None and first.dtype == np.uint8:
        return first
    values = fractions(printable(path), first).astype(np.float32)
    return np.rint(255 * decoded.on_paper(values)).astype(np.uint8)


def _read(path: Path) -> Decoded:
    with readable(path, "image"):
        return _decode(path)


def _decode(path: Path) -> Decoded:
    from PIL import Image, ImageOps, UnidentifiedImageError

    is_tiff = path.suffix.lower() in TIFF_SUFFIXES
    try:
        # As a stream: Pillow maps the grey TIFF of a path into memory, and mixes up its sides where
        # the orientation tag swaps them.
        with open(path, "rb") as file, Image.open(file, formats=FORMATS) as image:
            check_pixels(path, image.height, image.width)
            _check_single(path, image)
            tags = getattr(image, "tag_v2", {})
            bits = tags.get(BITS, ())
            if is_tiff and len(bits) > 1 and max(bits) > 8:
                # Pillow keeps the upper 8 bits only, but knows more ways of compression.
                with contextlib.suppress(_CodecMissing):
                    return _decode_deep_tiff(path)
            white_is_zero = tags.get(PHOTOMETRIC) == WHITE_IS_ZERO
            if SIGNED in tags.get(SAMPLE_FORMAT, ()):
                raise _white_unknown(path, "signed numbers")
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            return _decode_mode(path, image, bits, white_is_zero)
    except UnidentifiedImageError:
        if not is_tiff:
            raise
        return _decode_deep_tiff(path)


def _check_single(path: Path, image: Image) -> None:
    """InputError where the file holds several pictures; previews beside the picture are none."""
    frames = getattr(image, "n_frames", 1)
    if frames == 1 or image.format == "MPO":  # a camera's JPEG with its preview behind it
        return
    if hasattr(image, "tag_v2"):
        full = []
        for frame in range(frames):
            image.seek(frame)
            full.append(not image.tag_v2.get(REDUCED, 0) & 1)
        image.seek(0)
        if full[0] and sum(full) == 1:
            return
        frames = sum(full)
    raise InputError(
        f"{printable(path)} holds {frames} pictures; one grey or colour image is wanted"
    )


def _decode_mode(path: Path, image: Image, bits: tuple[int, ...], white_is_zero: bool) -> Decoded:
    """The pixels of a loaded image, by Pillow's name for their mode."""
    mode = image.mode
    if mode in DEEP_GREY or (mode == "I" and image.format in ("PPM", "PNG")):
        return _deep_grey(image, bits, white_is_zero)
    if mode == "F":
        pixels = np.asarray(image)
        return Decoded(1 - pixels if white_is_zero else pixels)
    if mode == "LAB":
        return Decoded(_rgb_of_lab(np.asarray(image)))
    if mode in VIA_RGB:
        return Decoded(np.asarray(image.convert("RGB")))
    if "transparency" in image.info or mode in ("P", "PA"):
        if mode in ("1", "L"):
            mode = "LA"
        else:
            mode = "RGBA" if "transparency" in image.info or mode == "PA" else "RGB"
        image = image.convert(mode)
    if mode in ("1", "L", "RGB"):
        return Decoded(np.asarray(image))
    if mode in ("LA", "La", "RGBA", "RGBa"):
        pixels = np.asarray(image)
        colours = pixels[..., 0] if pixels.shape[2] == 2 else pixels[..., :3]
        return Decoded(colours, pixels[..., -1] / np.float32(255), mode.endswith("a"))
    raise _white_unknown(path, f"pixels of mode {mode}")


def _white_unknown(path: Path, what: str) -> InputError:
    return InputError(
        f"{printable(path)} has {what}, whose white is not known; grey of 1, 8 or 16 bits, RGB, "
        "CMYK, YCbCr, Lab, palettes, and fractions in [0, 1], are read"
    )


def _deep_grey(image: Image, bits: tuple[int, ...], white_is_zero: bool) -> Decoded:
    pixels = np.asarray(image).astype(np.uint16)
    white = 2 ** (bits[0] if bits else 16) - 1
    grey = white - pixels if white_is_zero else pixels
    alpha = None
    if isinstance(image.info.get("transparency"), int):
        alpha = pixels != image.info["transparency"]
    return Decoded(grey if white == 65535 else grey / white, alpha)


def _rgb_of_lab(pixels: np.ndarray) -> np.ndarray:
    """Pillow's Lab bytes (L of 255, a and b plus 128) as RGB fractions."""
    from skimage import color

    lab = pixels.astype(np.float64)
    lab = np.stack([lab[..., 0] / 2.55, lab[..., 1] - 128, lab[..., 2] - 128], axis=-1)
    return color.lab2rgb(lab).clip(0, 1)


def _decode_deep_tiff(path: Path) -> Decoded:
    """TIFFs that Pillow reads in part or not at all: colour of 16 bits, double precision."""
    import tifffile

    # What is wrong with a file stands in the error; without a handler it is printed as well.
    logging.getLogger("tifffile").addHandler(_SILENT)
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        check_pixels(path, page.imagelength, page.imagewidth)
        if not page.imagelength * page.imagewidth:  # Pillow knows no such image
            raise InputError(
                f"{printable(path)} holds no pixels: {page.imagelength} x {page.imagewidth}"
            )
        try:
            pixels, axes = page.asarray(), page.axes
        except ValueError as error:
            raise _CodecMissing(error) from error
        photometric, turned = int(page.photometric), page.tags.get(ORIENTATION)
        extra = [int(kind) for kind in page.extrasamples]
    if "S" in axes:
        pixels = np.moveaxis(pixels, axes.index("S"), -1)
    channels = 3 if photometric == 2 else 1
    samples = pixels.shape[-1] if "S" in axes else 1
    if photometric not in (0, 1, 2) or pixels.ndim - ("S" in axes) != 2 or samples < channels:
        raise InputError(
            f"{printable(path)} is a TIFF of {pixels.dtype} with photometric interpretation "
            f"{photometric} and shape {pixels.shape}, which is not read; grey and RGB are"
        )
    pixels = _upright(pixels, 1 if turned is None else int(turned.value))
    alpha, premultiplied = None, False
    if pixels.ndim == 3:
        if extra and extra[0] in (1, 2):
            whole = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1
            alpha, premultiplied = pixels[..., channels] / np.float32(whole), extra[0] == 1
        pixels = pixels[..., :channels] if channels == 3 else pixels[..., 0]
    if photometric == WHITE_IS_ZERO:
        pixels = (np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1) - pixels
    return Decoded(pixels, alpha, premultiplied)


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """The image (H, W, ...) turned and mirrored as the tag's values 1 to 8 mean."""
    if orientation in (5, 6, 7, 8):  # the first row is a side
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels
