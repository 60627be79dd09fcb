"""Image files of every kind: the right luminance, upright, or refused by name."""

import struct
from itertools import product

import numpy as np
import pytest
import tifffile
from PIL import Image
from skimage import color, data

from pyro_vae.datasets.image_files import read_grey
from pyro_vae.errors import InputError

RGB = data.astronaut()[::8, ::8][:, :48]
GREY = color.rgb2gray(RGB)
BYTES = np.rint(GREY * 255).astype(np.uint8)
DEEP = np.rint(GREY * 65535).astype(np.uint16)
# Pillow's orientation tag 1 ... 8 by what turns the upright image into the stored one.
STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
ROUNDED = 1.5 / 255


def same(path, grey=GREY, tolerance=ROUNDED):
    """Whether the file is read as these grey levels: the mean error, and no pixel far off."""
    found = read_grey(path)
    assert found.dtype == np.float32
    assert found.shape == grey.shape
    return np.abs(found - grey).mean() < tolerance


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "ppm", "webp", "jpg"])
def test_colour_and_grey_bytes(tmp_path, suffix):
    exact = {} if suffix != "webp" else {"lossless": True}
    exact = {"quality": 95} if suffix == "jpg" else exact
    for pixels in (RGB, BYTES):
        path = tmp_path / f"a.{suffix}"
        Image.fromarray(pixels).save(path, **exact)
        assert same(path, tolerance=0.01 if suffix == "jpg" else ROUNDED)


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [*product(("CMYK", "YCbCr"), ("jpg", "tif")), ("LAB", "tif"), ("P", "tif"), ("P", "png")],
)
def test_colour_spaces_that_are_not_rgb(tmp_path, mode, suffix):
    path = tmp_path / f"a.{suffix}"
    if mode == "LAB":
        lab = color.rgb2lab(RGB)
        stored = np.stack([lab[..., 0] * 2.55, lab[..., 1] + 128, lab[..., 2] + 128], axis=-1)
        image = Image.frombytes("LAB", RGB.shape[1::-1], np.rint(stored).astype(np.uint8).tobytes())
    elif mode == "P":
        image = Image.fromarray(RGB).quantize(256)
    else:
        image = Image.fromarray(RGB).convert(mode)
    image.save(path, **({"quality": 95} if suffix == "jpg" else {}))
    assert same(path, tolerance=0.02)


@pytest.mark.parametrize(
    ("compression", "depth"),
    [
        *product(("tiff_lzw", "tiff_adobe_deflate", "packbits"), ("colour", "grey", "deep")),
        *product(("jpeg",), ("colour", "grey")),
    ],
)
def test_compressed_tiffs(tmp_path, compression, depth):
    pixels = {"colour": RGB, "grey": BYTES, "deep": DEEP}[depth]
    quality = {"quality": 95} if compression == "jpeg" else {}
    Image.fromarray(pixels).save(tmp_path / "a.tif", compression=compression, **quality)
    assert same(tmp_path / "a.tif", tolerance=0.02)


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp"])
@pytest.mark.parametrize("pixels", [RGB, BYTES], ids=["colour", "grey"])
def test_images_are_turned_upright(tmp_path, orientation, suffix, pixels):
    tag = Image.Exif()
    tag[0x112] = orientation
    stored = Image.fromarray(pixels).transpose(STORED[orientation])
    stored.save(tmp_path / f"a.{suffix}", exif=tag, quality=95)
    assert same(tmp_path / f"a.{suffix}", tolerance=0.02)


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind", ["deep colour", "deep grey", "double"])
def test_deep_tiffs_are_turned_upright(tmp_path, orientation, kind):
    pixels = {"deep colour": np.uint16(RGB) * 257, "deep grey": DEEP, "double": GREY}[kind]
    planes = [pixels] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)
    turned = [
        np.asarray(Image.fromarray(np.float32(plane)).transpose(STORED[orientation]))
        for plane in planes
    ]
    stored = np.stack(turned, -1).astype(pixels.dtype) if pixels.ndim == 3 else turned[0]
    tags = [(274, "H", 1, orientation, True)]
    photometric = "rgb" if pixels.ndim == 3 else "minisblack"
    tifffile.imwrite(
        tmp_path / "a.tif", stored.astype(pixels.dtype), photometric=photometric, extratags=tags
    )
    assert same(tmp_path / "a.tif", tolerance=1e-4)


def test_a_tiff_that_is_called_rgb_and_has_one_sample_is_refused(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((6, 5, 3), "uint16"), photometric="rgb", metadata=None)
    content = path.read_bytes()
    with tifffile.TiffFile(path) as tiff:
        place = tiff.pages.first.tags["SamplesPerPixel"].valueoffset
    path.write_bytes(content[:place] + b"\x01\x00" + content[place + 2 :])
    with pytest.raises(InputError, match=r"a\.tif"):
        read_grey(path)


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_sixteen_bits(tmp_path, suffix):
    Image.fromarray(DEEP).save(tmp_path / f"a.{suffix}")
    assert np.abs(read_grey(tmp_path / f"a.{suffix}") - GREY).max() < 1e-5


def test_sixteen_bits_of_either_byte_order_and_of_colour(tmp_path):
    for order in ("<", ">"):
        tifffile.imwrite(tmp_path / "a.tif", DEEP, byteorder=order)
        assert np.abs(read_grey(tmp_path / "a.tif") - GREY).max() < 1e-5
        colour = np.uint16(RGB) * 257 - (RGB > 128)  # not to be had with 8 bits
        for planar in ("contig", "separate"):
            stored = colour if planar == "contig" else np.moveaxis(colour, -1, 0)
            tifffile.imwrite(
                tmp_path / "a.tif", stored, byteorder=order, photometric="rgb", planarconfig=planar
            )
            truth = color.rgb2gray(colour)
            assert np.abs(read_grey(tmp_path / "a.tif") - truth).max() < 1e-6


def test_deep_colour_that_only_pillow_can_unpack_is_read_with_8_bits(tmp_path):
    tifffile.imwrite(tmp_path / "plain.tif", np.uint16(RGB) * 257, photometric="rgb")
    # LZW by hand: clear code, 9-bit literals with a clear every 250 of them, end code.
    content, codes = (np.uint16(RGB) * 257).astype("<u2").tobytes(), []
    for start in range(0, len(content), 250):
        codes += [256, *content[start : start + 250]]
    bits = "".join(f"{code:09b}" for code in [*codes, 257])
    packed = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")
    height, width, _ = RGB.shape
    tags = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, 8 + 2 + 10 * 12 + 4)]
    tags += [(259, 3, 1, 5), (262, 3, 1, 2), (273, 4, 1, 140), (277, 3, 1, 3)]
    tags += [(278, 3, 1, height), (279, 4, 1, len(packed)), (284, 3, 1, 1)]
    entries = b"".join(
        struct.pack("<HHI", tag, kind, count)
        + (struct.pack("<HH", value, 0) if (kind, count) == (3, 1) else struct.pack("<I", value))
        for tag, kind, count, value in tags
    )
    head = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + entries + bytes(4)
    head += struct.pack("<HHH", 16, 16, 16)
    (tmp_path / "a.tif").write_bytes(head.ljust(140, b"\0") + packed)
    assert same(tmp_path / "plain.tif", tolerance=1e-6)
    assert same(tmp_path / "a.tif")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fractions(tmp_path, dtype):
    tifffile.imwrite(tmp_path / "a.tif", GREY.astype(dtype))
    assert np.abs(read_grey(tmp_path / "a.tif") - GREY).max() < 1e-7
    tifffile.imwrite(tmp_path / "a.tif", 2 * GREY.astype(dtype))
    with pytest.raises(InputError, match=r"a.tif: float pixels must lie in \[0, 1\], got"):
        read_grey(tmp_path / "a.tif")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_tiffs_whose_white_is_zero(tmp_path, dtype):
    stored = {np.uint8: 255 - BYTES, np.uint16: 65535 - DEEP}.get(dtype, 1 - GREY)
    tifffile.imwrite(tmp_path / "a.tif", stored.astype(dtype), photometric="miniswhite")
    assert same(tmp_path / "a.tif")


def test_one_bit(tmp_path):
    black = GREY > 0.5
    for suffix in ("png", "tif", "bmp"):
        Image.fromarray(black).save(tmp_path / f"a.{suffix}")
        assert np.array_equal(read_grey(tmp_path / f"a.{suffix}"), black)


def test_palettes_of_tiff_and_png_and_grey_ones(tmp_path):
    shuffled = np.random.default_rng(0).permutation(256).astype(np.uint8)
    image = Image.fromarray(np.argsort(shuffled).astype(np.uint8)[BYTES])
    image = Image.frombytes("P", image.size, image.tobytes())
    image.putpalette(np.repeat(shuffled, 3).tobytes())
    for suffix in ("png", "tif", "bmp"):
        image.save(tmp_path / f"a.{suffix}")
        assert same(tmp_path / f"a.{suffix}")


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "RGB"])
def test_transparent_pixels_show_white_paper(tmp_path, mode):
    clear = np.zeros(GREY.shape, bool)
    clear[:20, 5:30] = True
    truth = np.where(clear, 1.0, GREY)
    path = tmp_path / "a.png"
    alpha = np.where(clear, 0, 255).astype(np.uint8)
    if mode == "RGBA":
        Image.fromarray(np.dstack([RGB, alpha])).save(path)
    elif mode == "LA":
        Image.fromarray(np.dstack([BYTES, alpha]), "LA").save(path)
    elif mode == "P":
        stored = np.where(clear, 7, BYTES - (BYTES == 7))
        image = Image.frombytes("P", GREY.shape[::-1], stored.astype(np.uint8).tobytes())
        image.putpalette(np.repeat(np.arange(256, dtype=np.uint8), 3).tobytes())
        image.save(path, transparency=7)
    elif mode == "L":
        stored = np.where(clear, 7, BYTES - (BYTES == 7)).astype(np.uint8)
        Image.fromarray(stored).save(path, transparency=7)
    else:
        stored = np.where(clear[..., None], np.uint8([1, 2, 3]), RGB)
        Image.fromarray(stored).save(path, transparency=(1, 2, 3))
    assert np.abs(read_grey(path) - truth).max() < 2 * ROUNDED
    half = np.dstack([RGB, np.full(GREY.shape, 128, np.uint8)])
    Image.fromarray(half).save(path)
    share = 128 / 255
    assert np.abs(read_grey(path) - (share * GREY + 1 - share)).max() < 1e-6


@pytest.mark.parametrize("kind", ["assocalpha", "unassalpha"])
def test_transparency_of_deep_tiffs(tmp_path, kind):
    alpha = np.full((*GREY.shape, 1), 30000, np.uint16)
    colours = np.uint16(RGB) * 257
    if kind == "assocalpha":
        colours = (colours * (30000 / 65535)).astype(np.uint16)
    stored = np.concatenate([colours, alpha], -1)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", extrasamples=[kind])
    share = 30000 / 65535
    assert np.abs(read_grey(tmp_path / "a.tif") - (share * GREY + 1 - share)).max() < 1e-4


def test_previews_are_passed_over_and_several_pictures_refused(tmp_path):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(RGB, photometric="rgb")
        tiff.write(RGB[::4, ::4], photometric="rgb", subfiletype=1)
    assert same(path)
    images = [Image.fromarray(RGB), Image.fromarray(RGB[::-1])]
    images[0].save(path, save_all=True, append_images=images[1:])
    with pytest.raises(InputError, match=r"a.tif holds 2 pictures; one grey or colour image"):
        read_grey(path)
    images[0].save(tmp_path / "a.webp", save_all=True, append_images=images[1:], lossless=True)
    with pytest.raises(InputError, match=r"a.webp holds 2 pictures"):
        read_grey(tmp_path / "a.webp")
    # A camera's JPEG with a preview behind it.
    images[0].save(tmp_path / "a.mpo", save_all=True, append_images=images[1:], quality=95)
    (tmp_path / "a.mpo").rename(tmp_path / "a.jpg")
    assert same(tmp_path / "a.jpg", tolerance=0.02)


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.uint32, np.int8, np.complex64])
def test_numbers_whose_white_is_not_known_are_refused_by_name(tmp_path, dtype):
    tifffile.imwrite(tmp_path / "a.tif", BYTES.astype(dtype), photometric="minisblack")
    with pytest.raises(InputError, match=r"a\.tif.*(white is not known|must be uint8|not read)"):
        read_grey(tmp_path / "a.tif")


def test_what_is_no_image_is_refused_by_name(tmp_path):
    for suffix in ("png", "tif"):
        path = tmp_path / f"a.{suffix}"
        for content in (b"", b"\0\5\026\7\0\2\0\0Mac OS X", b"II*\0" + bytes(40)):
            path.write_bytes(content)
            with pytest.raises(InputError, match=rf"a.{suffix} is not a readable image") as caught:
                read_grey(path)
            assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("pixels", "photometric"), [(BYTES, "minisblack"), (RGB, "rgb"), (DEEP, "minisblack")]
)
@pytest.mark.parametrize(("side", "size"), [("ImageWidth", "64 x 0"), ("ImageLength", "0 x 48")])
def test_a_tiff_without_pixels_is_named(tmp_path, pixels, photometric, side, size):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, photometric=photometric)
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tiff.pages.first.tags[side].overwrite(0)
    with pytest.raises(InputError, match=rf"a\.tif holds no pixels: {size}"):
        read_grey(path)
