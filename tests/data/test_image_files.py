import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageFile

from maskwright.data.image_files import (
    IMAGE_SUFFIXES,
    MOST_PIXELS,
    Stored,
    describe,
    fit_size,
    read_alpha,
    read_mask_values,
    read_palette,
    read_pixels,
    resize_classes,
    resize_image,
    resize_mask,
    resize_plane,
    write_image,
)
from maskwright.data.input_format import read_image
from maskwright.data.readers import refusals
from maskwright.errors import DoesNotFitError, InputError, MissingExtraError

ORIENTATION = 0x0112
RED, GREEN, GREY, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (90,) * 3, (255,) * 3, (0,) * 3


def save(path: Path, array: object, **options: object) -> Path:
    Image.fromarray(np.asarray(array, dtype=np.uint8)).save(path, **options)  # type: ignore[arg-type]
    return path


def corners(height: int = 16, width: int = 24) -> NDArray[np.uint8]:
    """Black, with a red upper left and a green upper right quarter: no turn looks like another."""
    image = np.zeros((height, width, 3), dtype=np.uint8)
    image[: height // 2, : width // 2] = RED
    image[: height // 2, width // 2 :] = GREEN
    return image


def save_palette(path: Path, indices: list[list[int]], colours: list[tuple[int, ...]]) -> Path:
    picture = Image.fromarray(np.array(indices, dtype=np.uint8))
    picture.putpalette([channel for colour in colours for channel in colour])
    picture.save(path)
    return path


# --- Reading images


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES - {".pgm", ".pbm", ".npy"}))
def test_every_common_format_is_read_as_rgb(tmp_path: Path, suffix: str) -> None:
    image = read_image(save(tmp_path / f"a{suffix}", corners()))
    assert image.shape == (16, 24, 3)
    assert image.dtype == np.uint8
    assert image[2, 2].argmax() == 0
    assert image[2, 20].argmax() == 1


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "CMYK", "YCbCr", "P", "1"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a.tif"
    white_beside_black = np.zeros((4, 8, 3), dtype=np.uint8)
    white_beside_black[:, :4] = 255
    if mode in {"YCbCr", "CMYK"}:
        path = tmp_path / "a.jpg"
    Image.fromarray(white_beside_black).convert(mode).save(path)
    image = read_image(path)
    assert image.shape == (4, 8, 3)
    assert np.abs(image.astype(int) - white_beside_black).max() <= 3


def test_alpha_is_dropped_and_not_blended(tmp_path: Path) -> None:
    image = read_image(save(tmp_path / "a.png", np.full((2, 2, 4), (10, 20, 30, 0))))
    assert image.tolist() == np.full((2, 2, 3), (10, 20, 30)).tolist()


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_orientation_is_applied_once(tmp_path: Path, suffix: str, orientation: int, turns: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = save(tmp_path / f"a{suffix}", corners(), exif=exif)
    upright = np.rot90(corners(), turns)
    image = read_image(path)
    assert image.shape == upright.shape
    assert np.abs(image.astype(int) - upright).mean() < 12
    stored = describe(path)
    assert (stored.height, stored.width, stored.orientation) == (*upright.shape[:2], orientation)
    assert read_mask_values(path).shape[:2] == upright.shape[:2]


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_unknown_orientation_leaves_the_picture_as_it_is(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = save(tmp_path / "a.png", corners(), exif=exif)
    assert (read_image(path) == corners()).all()
    assert describe(path) == Stored(16, 24, 1, "colour", 3, "uint8")


def test_damaged_exif_leaves_the_picture_as_it_is(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", corners(), exif=b"Exif\x00\x00nonsense\xff\xff" * 3)
    assert read_image(path).shape == (16, 24, 3)
    assert describe(path) == Stored(16, 24, 1, "colour", 3, "uint8")


def test_the_content_decides_and_not_the_suffix(tmp_path: Path) -> None:
    save(tmp_path / "a.png", corners())
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert (read_image(tmp_path / "a.jpg") == corners()).all()


# --- Bad files


def deep_grey(path: Path) -> None:
    Image.fromarray(np.full((4, 4), 4000, dtype=np.uint16)).save(path, format="PNG")


def deep_colour(path: Path) -> None:
    """A PNG of 16 bits per channel, which Pillow reads but cannot write."""
    header = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)
    pixels = zlib.compress((b"\x00" + b"\x0f\xff" * 6) * 2)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", pixels) + png_chunk(b"IEND", b"")
    )


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(path: Path) -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(b"")))


def cut_short(suffix: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        whole = save(path.with_name(f"whole{suffix}"), noise).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])

    return make


def without_size(kind: str, place: int) -> Callable[[Path], object]:
    """A picture whose header says 0 for a side."""

    def make(path: Path) -> None:
        Image.new("RGB", (6, 4)).save(path, kind)
        content = bytearray(path.read_bytes())
        content[place : place + 4] = bytes(4)
        path.write_bytes(content)

    return make


HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "text": (lambda path: path.write_text("hello, I am a picture\n" * 9), "not a picture"),
    "empty": (lambda path: path.touch(), "is empty"),
    "missing": (lambda _: None, "does not exist"),
    "folder": (lambda path: path.mkdir(), "is a folder"),
    "zeros": (lambda path: path.write_bytes(bytes(5000)), "not a picture"),
    "postscript": (
        lambda path: path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n"),
        "not a picture",
    ),
    "bomb": (bomb, "million pixels"),
    "png of no height": (without_size("PNG", 20), "has no pixels"),
    "bmp of no width": (without_size("BMP", 18), "has no pixels"),
    **{f"short {kind}": (cut_short(kind), "ends before its pixels do") for kind in (".jpg", ".png", ".bmp")},
    **{f"short {kind}": (cut_short(kind), "ends before its pixels do") for kind in (".gif", ".ppm")},
    "short .webp": (cut_short(".webp"), "cut short"),
    "short .tif": (cut_short(".tif"), "bad.png"),  # its table of contents may come last
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("read", [read_pixels, read_image, read_mask_values])
def test_bad_files_are_one_sentence_that_names_them(tmp_path: Path, kind: str, read: Callable[[Path], object]) -> None:
    make, expected = HOSTILE[kind]
    path = tmp_path / "bad.png"
    make(path)
    with pytest.raises(InputError) as error:
        read(path)
    sentence = str(error.value)
    assert sentence.startswith(str(path))
    assert expected in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    save(tmp_path / "a.png", corners()).chmod(0)
    with pytest.raises(InputError, match=r"a\.png may not be read"):
        read_image(tmp_path / "a.png")


def test_remarks_of_the_decoder_are_no_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200)  # refused at twice that
    assert read_image(save(tmp_path / "a.png", corners())).shape == (16, 24, 3)


@pytest.mark.parametrize("kind", ["text", "empty", "missing", "folder", "bomb"])
@pytest.mark.parametrize("ask", [describe, read_palette, read_alpha])
def test_questions_about_a_bad_file_are_refused_too(tmp_path: Path, kind: str, ask: Callable[[Path], object]) -> None:
    make, expected = HOSTILE[kind]
    make(tmp_path / "bad.png")
    with pytest.raises(InputError, match=expected):
        ask(tmp_path / "bad.png")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".gif", ".tif", ".bmp", ".webp", ".tga", ".npy", "16.tif"])
def test_damaged_bytes_never_raise_anything_else(tmp_path: Path, suffix: str) -> None:
    if suffix == ".npy":
        np.save(tmp_path / "a.npy", corners())
    elif suffix == "16.tif":
        tifffile.imwrite(tmp_path / "a16.tif", corners().astype(np.uint16), photometric="rgb", compression="zlib")
    else:
        save(tmp_path / f"a{suffix}", corners())
    whole = np.frombuffer((tmp_path / f"a{suffix}").read_bytes(), dtype=np.uint8)
    random = np.random.default_rng(0)
    for _ in range(60):
        damaged = whole.copy()
        damaged[random.integers(0, len(whole), 4)] = random.integers(0, 256, 4)
        (tmp_path / "bad").write_bytes(damaged.tobytes())
        for read in (read_pixels, read_mask_values, read_palette, read_alpha, describe):
            with suppress(InputError):
                read(tmp_path / "bad")


# --- Stored values


def save_channels(path: Path, pixels: NDArray[Any], layout: Any = "contig", **options: Any) -> None:
    planes = np.moveaxis(pixels, 2, 0) if layout == "separate" else pixels
    tifffile.imwrite(path, planes, photometric="minisblack", planarconfig=layout, **options)


@pytest.mark.parametrize("layout", ["contig", "separate"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("channels", [2, 5])
def test_tiff_channels_keep_their_values(tmp_path: Path, layout: str, dtype: type, channels: int) -> None:
    pixels: NDArray[Any] = np.random.default_rng(0).integers(0, 200, (20, 30, channels)).astype(dtype)
    save_channels(tmp_path / "a.tif", pixels, layout, compression="zlib")
    found = read_pixels(tmp_path / "a.tif")
    assert found.dtype == dtype
    assert (found == pixels).all()
    assert describe(tmp_path / "a.tif") == Stored(20, 30, 1, "channels", channels, np.dtype(dtype).name)


@pytest.mark.parametrize("order", ["<", ">"])
def test_deep_colour_tiff_files_keep_all_bits(tmp_path: Path, order: Any) -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (4, 5, 3)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", byteorder=order)
    found = read_pixels(tmp_path / "a.tif")
    assert (found == pixels).all()
    assert found.dtype.isnative


def test_unnamed_channels_beside_colours_are_kept(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 4), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=["unspecified"])
    assert (read_pixels(tmp_path / "a.tif") == pixels).all()


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_deep_greys_have_one_channel(tmp_path: Path, suffix: str) -> None:
    stored = np.array([[0, 4000, 65535]], dtype=np.uint16)
    Image.fromarray(stored).save(tmp_path / f"a{suffix}")
    pixels = read_pixels(tmp_path / f"a{suffix}")
    assert pixels.tolist() == stored[..., None].tolist()
    assert pixels.dtype == np.uint16
    assert describe(tmp_path / f"a{suffix}") == Stored(1, 3, 1, "grey", 1, "uint16")


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32])
def test_deep_tiff_greys_keep_their_type(tmp_path: Path, dtype: type) -> None:
    stored: NDArray[Any] = np.array([[-7, 0, 300]], dtype=dtype)
    tifffile.imwrite(tmp_path / "a.tif", stored)
    pixels = read_pixels(tmp_path / "a.tif")
    assert pixels[..., 0].tolist() == stored.tolist()
    assert pixels.dtype == dtype


def test_deep_grey_maps_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.pgm").write_bytes(b"P5 2 1 65535\n\x00\x01\xff\xff")
    pixels = read_pixels(tmp_path / "a.pgm")
    assert pixels.tolist() == [[[1], [65535]]]
    assert pixels.dtype == np.uint16


@pytest.mark.parametrize("white", [None, 1023, 65535])
def test_colours_of_which_bits_would_be_lost_are_refused(tmp_path: Path, white: int | None) -> None:
    if white is None:
        deep_colour(tmp_path / "a")
    else:
        (tmp_path / "a").write_bytes(f"P6 1 1 {white}\n".encode() + bytes(6))
    assert describe(tmp_path / "a").dtype == "uint16"
    with pytest.raises(InputError, match=r"16 bits.*save it as a TIFF"):
        read_pixels(tmp_path / "a")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_reader_turns_alike(tmp_path: Path, orientation: int) -> None:
    tag = [(ORIENTATION, "H", 1, orientation, True)]
    tifffile.imwrite(tmp_path / "8.tif", corners(), photometric="rgb", extratags=tag)
    tifffile.imwrite(tmp_path / "16.tif", corners().astype(np.uint16), photometric="rgb", extratags=tag)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    upright = read_pixels(save(tmp_path / "a.png", corners(), exif=exif))
    for name in ("8.tif", "16.tif"):
        assert (read_pixels(tmp_path / name) == upright).all(), name
        stored = describe(tmp_path / name)
        assert (stored.height, stored.width, stored.orientation) == (*upright.shape[:2], orientation)


def test_an_orientation_after_the_pixels_of_a_png_counts(tmp_path: Path) -> None:
    whole = save(tmp_path / "a.png", corners()).read_bytes()
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    end = png_chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(whole.replace(end, png_chunk(b"eXIf", exif.tobytes()[6:]) + end))
    assert read_pixels(tmp_path / "a.png").shape == (24, 16, 3)
    assert describe(tmp_path / "a.png") == Stored(24, 16, 6, "colour", 3, "uint8")


def test_a_png_is_described_without_its_pixels(tmp_path: Path) -> None:
    path = without_pixels(save(tmp_path / "a.png", corners()))
    assert describe(path) == Stored(16, 24, 1, "colour", 3, "uint8")


@pytest.mark.parametrize(
    ("mode", "word"),
    [("RGB", "colour"), ("L", "grey"), ("LA", "grey"), ("P", "palette"), ("1", "1 bit"), ("CMYK", "CMYK")],
)
def test_modes_have_words(tmp_path: Path, mode: str, word: str) -> None:
    Image.fromarray(corners()).convert(mode).save(tmp_path / "a.tif")
    stored = describe(tmp_path / "a.tif")
    assert (stored.mode, stored.channels, stored.is_deep) == (word, 3, False)


@pytest.mark.parametrize("suffix", [".gif", ".tif", ".png"])
def test_the_first_frame_is_read(tmp_path: Path, suffix: str) -> None:
    second = Image.new("RGB", (24, 16), WHITE)
    save(tmp_path / f"a{suffix}", corners(), save_all=True, append_images=[second])
    assert (read_pixels(tmp_path / f"a{suffix}") == corners()).all()


def test_without_tifffile_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 5, 3), np.uint16), photometric="rgb")
    tifffile.imwrite(tmp_path / "b.tif", np.zeros((4, 5, 3), np.uint8), photometric="rgb")
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(MissingExtraError, match=r"\.\[tiff\]"):
        read_pixels(tmp_path / "a.tif")
    assert read_pixels(tmp_path / "b.tif").shape == (4, 5, 3)


@pytest.mark.parametrize(
    ("shape", "upright", "mode"),
    [
        ((20, 30), (20, 30, 1), "grey"),
        ((20, 30, 3), (20, 30, 3), "colour"),
        ((3, 20, 30), (20, 30, 3), "colour"),
        ((13, 20, 30), (20, 30, 13), "channels"),
        ((20, 30, 100), (20, 30, 100), "channels"),
        ((4, 10, 3), (4, 10, 3), "colour"),
    ],
)
def test_arrays_have_height_width_and_channels(
    tmp_path: Path, shape: tuple[int, ...], upright: tuple[int, int, int], mode: Any
) -> None:
    np.save(tmp_path / "a.npy", np.zeros(shape, np.uint8))
    assert read_pixels(tmp_path / "a.npy").shape == upright
    assert describe(tmp_path / "a.npy") == Stored(upright[0], upright[1], 1, mode, upright[2], "uint8")


@pytest.mark.parametrize("dtype", ["?", "u1", "<i2", ">u2", ">f4", "<f8"])
def test_arrays_keep_their_values_in_native_order(tmp_path: Path, dtype: str) -> None:
    stored = np.asfortranarray(np.arange(60).reshape(4, 5, 3).astype(dtype))
    np.save(tmp_path / "a.npy", stored)
    pixels = read_pixels(tmp_path / "a.npy")
    assert (pixels == stored).all()
    assert pixels.dtype == np.dtype(dtype).newbyteorder("=")
    assert pixels.flags.writeable


# --- Absurd files


def png_claim(side: int) -> bytes:
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", b"")


def bmp_claim(side: int) -> bytes:
    start = struct.pack("<2sIHHI", b"BM", 54, 0, 0, 54)
    return start + struct.pack("<IiiHHIIiiII", 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0)


def tiff_claim(side: int, bits: int, *, samples: int = 1, tile: int = 0) -> bytes:
    entries = {256: side, 257: side, 258: bits, 259: 1, 262: 1, 277: samples}
    entries |= {322: tile, 323: tile, 324: 8, 325: 9} if tile else {273: 8, 279: 4}
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(entries.items()))
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + table + bytes(8)


def npy_claim(shape: str, dtype: str = "|u1") -> bytes:
    return npy_header(f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n") + b"abc"


def npy_header(header: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode()


def holding(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def array(values: object) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        with path.open("wb") as file:
            np.save(file, np.asarray(values))

    return make


def text_bomb(path: Path) -> None:
    whole = save(path, corners(), format="PNG").read_bytes()
    path.write_bytes(whole[:33] + png_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**24))) + whole[33:])


def with_tags(path: Path, **values: int) -> None:
    """Overwrites tags of a deep colour TIFF file."""
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        for name, value in values.items():
            tag = file.pages.first.tags[name]
            struct.pack_into("<H" if tag.dtype == 3 else "<I", content, tag.valueoffset, value)
    path.write_bytes(content)


def deep_tiff(path: Path, **options: Any) -> None:
    noise = np.random.default_rng(0).integers(0, 65536, (200, 90, 3)).astype(np.uint16)
    tifffile.imwrite(path, noise, photometric="rgb", metadata=None, **options)


def deflate_bomb(path: Path) -> None:
    """One strip that claims to hold 100 KB and unpacks to half a GB."""
    deep_tiff(path, compression="zlib", rowsperstrip=200)
    deflater = zlib.compressobj(1)
    strip = b"".join(deflater.compress(bytes(2**24)) for _ in range(32)) + deflater.flush()
    with_tags(path, StripOffsets=path.stat().st_size, StripByteCounts=len(strip))
    with path.open("ab") as file:
        file.write(strip)


def lzw(path: Path) -> None:
    deep_tiff(path)
    with_tags(path, Compression=5)


def short_tiff(path: Path) -> None:
    deep_tiff(path)
    path.write_bytes(path.read_bytes()[:-9999])


ABSURD: dict[str, tuple[Callable[[Path], object], str]] = {
    "png": (holding(png_claim(1_000_000_000)), "million pixels"),
    "bmp": (holding(bmp_claim(1_000_000_000)), "million pixels"),
    "ppm": (holding(b"P6 1000000000 1000000000 255\n"), "million pixels"),
    "tiff": (holding(tiff_claim(1_000_000_000, 8)), "million pixels"),
    "tiff of 64 bits": (holding(tiff_claim(1_000_000_000, 64)), "million pixels"),
    "tiff channels": (holding(tiff_claim(7000, 16, samples=60_000)), "MB of numbers"),
    "tiff tile": (holding(tiff_claim(10, 8, tile=60_000)), "million pixels"),
    "tiff tile of 64 bits": (holding(tiff_claim(10, 64, tile=60_000)), "MB of numbers"),
    "tiff start": (holding(b"II*\0"), "damaged"),
    "tiff without tags": (holding(b"II*\0" + struct.pack("<IHI", 8, 0, 8)), "no pixels"),
    "tiff nan": (lambda path: tifffile.imwrite(path, np.array([[0, np.nan]], dtype=np.float32)), "not finite"),
    "tiff channels of nan": (lambda path: save_channels(path, np.full((4, 5, 2), np.nan)), "not finite"),
    "tiff complex": (lambda path: tifffile.imwrite(path, np.zeros((4, 5), np.complex64)), "plain numbers"),
    "tiff cmyk": (
        lambda path: tifffile.imwrite(path, np.zeros((4, 5, 4), np.uint16), photometric="separated"),
        "save it as RGB",
    ),
    "tiff lzw": (lzw, "compressed with LZW"),
    "tiff short": (short_tiff, "cut short"),
    "tiff deflate": (deflate_bomb, "unpacks to more"),
    "png text": (text_bomb, "damaged"),
    "npy": (holding(npy_claim("(1000000000, 1000000000)")), "million pixels"),
    "npy channels": (holding(npy_claim("(1000, 1000, 1000000)")), "MB of numbers"),
    "npy negative": (holding(npy_claim("(-5, -5)")), "no pixels"),
    "npy nothing": (holding(npy_claim("(0, 5)")), "no pixels"),
    "npy no channels": (holding(npy_claim("(5, 5, 0)")), "no pixels"),
    "npy short": (holding(npy_claim("(100, 100)")), "cut short"),
    "npy line": (holding(npy_claim("(100,)")), "1 axes"),
    "npy film": (holding(npy_claim("(9, 9, 9, 9)")), "4 axes"),
    "npy pickle": (holding(npy_claim("(1, 1)", "|O")), "plain numbers"),
    "npy code": (holding(npy_header("{'descr': __import__('os')}\n")), "damaged"),
    "npy nested": (holding(npy_header("(" * 9000 + "\n")), "damaged"),
    "npy start": (holding(b"\x93NUMPY"), "damaged"),
    "npy complex": (array(np.zeros((2, 2), np.complex64)), "plain numbers"),
    "npy strings": (array([["a"]]), "plain numbers"),
    "npy table": (array(np.zeros((2, 2), [("a", "u1")])), "plain numbers"),
    "npy dates": (array(np.zeros((2, 2), "datetime64[s]")), "plain numbers"),
    "npy nan": (array([[0, np.nan]]), "not finite"),
    "npy infinity": (array(np.array([[0, np.inf]], dtype=np.float16)), "not finite"),
    "pipe": (os.mkfifo, "no ordinary file"),
    "link to itself": (lambda path: path.symlink_to(path), "cannot be opened"),
    "link to nowhere": (lambda path: path.symlink_to("nowhere"), "does not exist"),
}


@pytest.mark.parametrize("kind", ABSURD)
@pytest.mark.parametrize("read", [read_pixels, read_mask_values])
def test_absurd_files_are_one_sentence_that_names_them(
    tmp_path: Path, kind: str, read: Callable[[Path], object]
) -> None:
    make, expected = ABSURD[kind]
    make(tmp_path / "bad.tif")
    with pytest.raises(InputError) as error:
        read(tmp_path / "bad.tif")
    sentence = str(error.value)
    assert sentence.startswith(str(tmp_path / "bad.tif"))
    assert expected in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence


READ_ALL = """
import sys
from contextlib import suppress
from pathlib import Path
from maskwright.data.image_files import read_mask_values, read_pixels
from maskwright.errors import InputError
for path in sorted(Path(sys.argv[1]).iterdir()):
    for read in (read_pixels, read_mask_values):
        with suppress(InputError):
            read(path)
status = Path("/proc/self/status").read_text().split()
print(int(status[status.index("VmHWM:") + 1]) // 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="its peak of memory is asked of Linux")
def test_absurd_files_take_no_memory_and_print_nothing(tmp_path: Path) -> None:
    for kind, (make, _) in ABSURD.items():
        make(tmp_path / kind)
    done = subprocess.run([sys.executable, "-c", READ_ALL, tmp_path], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 300  # MB, most of them those of the libraries
    assert done.stderr == ""


def test_pictures_over_the_limit_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    side = int(MOST_PIXELS**0.5)
    (tmp_path / "a.png").write_bytes(png_claim(side + 1))
    (tmp_path / "b.png").write_bytes(png_claim(side))
    with pytest.raises(InputError, match="more than 64 million pixels"):
        describe(tmp_path / "a.png")
    assert describe(tmp_path / "b.png").height == side


def test_files_over_the_limit_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "MOST_BYTES", 50)
    with pytest.raises(InputError, match=r"a\.png is larger than"):
        read_pixels(save(tmp_path / "a.png", corners()))


def test_a_picture_that_memory_is_too_small_for_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "a.png", corners())

    def run_out(_: ImageFile.ImageFile) -> None:
        raise MemoryError

    monkeypatch.setattr(ImageFile.ImageFile, "load", run_out)
    with pytest.raises(DoesNotFitError, match=r"a\.png takes more memory than there is; cut it up or make it smaller"):
        read_pixels(path)


# --- Reading masks


def test_one_bit_masks_are_0_and_1(tmp_path: Path) -> None:
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "a.png")
    values = read_mask_values(tmp_path / "a.png")
    assert values.tolist() == [[1, 0]]
    assert values.dtype == np.uint8


@pytest.mark.parametrize("suffix", [".gif", ".png", ".tif"])
def test_black_and_white_palettes_read_the_same_in_either_order(tmp_path: Path, suffix: str) -> None:
    one = save_palette(tmp_path / f"one{suffix}", [[0, 1, 1]], [BLACK, WHITE])
    other = save_palette(tmp_path / f"other{suffix}", [[1, 0, 0]], [WHITE, BLACK])
    assert read_mask_values(one).tolist() == [[0, 255, 255]]
    assert read_mask_values(other).tolist() == [[0, 255, 255]]


def test_the_whole_palette_decides_and_not_the_colours_in_use(tmp_path: Path) -> None:
    path = save_palette(tmp_path / "a.png", [[0, 3]], [BLACK, RED, GREEN, GREY])
    assert read_mask_values(path).tolist() == [[0, 3]]


@pytest.mark.parametrize("suffix", [".gif", ".png", ".tif", ".bmp"])
def test_blacks_that_fill_up_a_palette_say_nothing(tmp_path: Path, suffix: str) -> None:
    path = save_palette(tmp_path / f"a{suffix}", [[0, 1, 2]], [WHITE, GREY, BLACK, BLACK, BLACK])
    assert read_mask_values(path).tolist() == [[255, 90, 0]]
    assert read_palette(path) == (WHITE, GREY, BLACK)


def test_coloured_palettes_give_their_indices(tmp_path: Path) -> None:
    path = save_palette(tmp_path / "a.png", [[0, 1, 2]], [BLACK, RED, GREEN])
    assert read_mask_values(path).tolist() == [[0, 1, 2]]


def test_coloured_palettes_give_their_colours_where_asked(tmp_path: Path) -> None:
    path = save_palette(tmp_path / "a.png", [[0, 1, 2]], [BLACK, RED, GREEN])
    assert read_mask_values(path, in_colour=True).tolist() == [[[*BLACK], [*RED], [*GREEN]]]
    grey = save_palette(tmp_path / "b.png", [[0, 1]], [WHITE, BLACK])
    assert read_mask_values(grey, in_colour=True).tolist() == [[255, 0]]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_masks_keep_their_values_and_type(tmp_path: Path, dtype: type) -> None:
    stored: NDArray[Any] = np.array([[0, 1, np.iinfo(dtype).max]], dtype=dtype)
    Image.fromarray(stored).save(tmp_path / "a.png")
    values = read_mask_values(tmp_path / "a.png")
    assert values.tolist() == stored.tolist()
    assert values.dtype == dtype


@pytest.mark.parametrize("channels", [3, 4])
def test_equal_channels_are_one_grey(tmp_path: Path, channels: int) -> None:
    stored = np.full((2, 2, channels), 255, dtype=np.uint8)
    stored[0, 0, :3] = 7
    values = read_mask_values(save(tmp_path / "a.png", stored))
    assert values.tolist() == [[7, 255], [255, 255]]


def test_a_grey_mask_saved_as_colour_jpeg_is_grey(tmp_path: Path) -> None:
    stored = np.zeros((32, 32, 3))
    stored[5:20, 7:30] = 255
    assert read_mask_values(save(tmp_path / "a.jpg", stored)).ndim == 2


def test_colours_and_varying_alpha_are_kept(tmp_path: Path) -> None:
    see_through = np.full((1, 2, 4), 255)
    see_through[0, 0, 3] = 0
    assert read_mask_values(save(tmp_path / "a.png", corners())).shape == (16, 24, 3)
    assert read_mask_values(save(tmp_path / "b.png", see_through)).shape == (1, 2, 4)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".npy"])
@pytest.mark.parametrize("colours", [(255, 255, 255), (9, 200, 3)])
def test_a_cutout_that_shows_nothing_is_black(tmp_path: Path, colours: tuple[int, ...], suffix: str) -> None:
    stored = np.full((2, 3, 4), (*colours, 0), np.uint8)
    path = tmp_path / f"a{suffix}"
    if suffix == ".npy":
        np.save(path, stored)
    else:
        save(path, stored)
    assert read_mask_values(path).tolist() == [[0, 0, 0]] * 2


def test_deep_colour_masks_are_refused(tmp_path: Path) -> None:
    deep_colour(tmp_path / "a.png")
    with pytest.raises(InputError, match="colours of 16 bits"):
        read_mask_values(tmp_path / "a.png")


def save_bmp(path: Path, bits: int, colours: list[tuple[int, ...]], rows: list[list[int]]) -> None:
    """A picture three pixels wide; Pillow itself would store it with 256 colours."""
    pixels = b"".join(bytes(row).ljust(4, b"\0") for row in reversed(rows))
    palette = b"".join(bytes((*reversed(colour), 0)) for colour in colours)
    start = 54 + len(palette)
    header = struct.pack("<2sIHHI", b"BM", start + len(pixels), 0, 0, start)
    header += struct.pack("<IiiHHIIiiII", 40, 3, len(rows), 1, bits, 0, len(pixels), 0, 0, len(colours), 0)
    path.write_bytes(header + palette + pixels)


@pytest.mark.parametrize(("bits", "rows"), [(8, [[0, 1, 1], [1, 0, 0]]), (4, [[0x01, 0x10], [0x10, 0x00]])])
def test_bmp_files_of_two_colours_are_not_taken_for_one_bit(tmp_path: Path, bits: int, rows: list[list[int]]) -> None:
    save_bmp(tmp_path / "a.bmp", bits, [BLACK, WHITE], rows)
    assert read_mask_values(tmp_path / "a.bmp").tolist() == [[0, 255, 255], [255, 0, 0]]
    assert read_pixels(tmp_path / "a.bmp")[..., 0].tolist() == [[0, 255, 255], [255, 0, 0]]
    assert read_palette(tmp_path / "a.bmp") == (BLACK, WHITE)


def test_four_bit_bmp_files_of_rising_greys_keep_their_values(tmp_path: Path) -> None:
    save_bmp(tmp_path / "a.bmp", 4, [(grey,) * 3 for grey in range(16)], [[0x0F, 0x20]])
    assert read_mask_values(tmp_path / "a.bmp").tolist() == [[0, 15, 2]]


def test_one_bit_bmp_files_stay_0_and_1(tmp_path: Path) -> None:
    save_bmp(tmp_path / "a.bmp", 1, [BLACK, WHITE], [[0b01100000]])
    assert read_mask_values(tmp_path / "a.bmp").tolist() == [[0, 1, 1]]


@pytest.mark.parametrize("stored", [b"P5 3 1 10\n\x00\x01\x0a", b"P2 3 1 10\n0 1 10\n"])
def test_grey_maps_keep_their_values_whatever_they_call_white(tmp_path: Path, stored: bytes) -> None:
    (tmp_path / "a.pgm").write_bytes(stored)
    assert read_mask_values(tmp_path / "a.pgm").tolist() == [[0, 1, 10]]


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.uint16, np.float32])
@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 1)])
def test_array_masks_keep_their_values(tmp_path: Path, dtype: type, shape: tuple[int, ...]) -> None:
    stored: NDArray[Any] = np.arange(6).reshape(shape).astype(dtype)
    np.save(tmp_path / "a.npy", stored)
    values = read_mask_values(tmp_path / "a.npy")
    assert values.tolist() == stored.reshape(2, 3).tolist()
    assert values.dtype == (np.uint8 if dtype is bool else dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.float32, np.float64])
def test_tiff_masks_keep_their_values(tmp_path: Path, dtype: type) -> None:
    stored: NDArray[Any] = np.array([[0, 1, 100]], dtype=dtype)
    tifffile.imwrite(tmp_path / "a.tif", stored)
    values = read_mask_values(tmp_path / "a.tif")
    assert values.tolist() == stored.tolist()
    assert values.dtype == dtype


def test_equal_deep_channels_are_one_grey(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.full((2, 2, 3), 700, np.uint16), photometric="rgb")
    assert read_mask_values(tmp_path / "a.tif").tolist() == [[700] * 2] * 2


@pytest.mark.parametrize("channels", [2, 3, 5])
def test_masks_of_many_deep_channels_are_refused(tmp_path: Path, channels: int) -> None:
    np.save(tmp_path / "a.npy", np.arange(4 * channels, dtype=np.uint16).reshape(2, 2, channels))
    with pytest.raises(InputError, match=rf"a\.npy has {channels} channels of uint16"):
        read_mask_values(tmp_path / "a.npy")


# --- Palettes and alpha


@pytest.mark.parametrize("suffix", [".gif", ".png", ".tif", ".bmp"])
def test_the_colours_of_a_palette_are_read(tmp_path: Path, suffix: str) -> None:
    palette = read_palette(save_palette(tmp_path / f"a{suffix}", [[0, 1, 2]], [BLACK, RED, GREEN]))
    assert palette is not None
    assert palette[:3] == (BLACK, RED, GREEN)
    assert set(palette[3:]) <= {BLACK}


def without_pixels(path: Path) -> Path:
    """The same PNG file up to its pixels."""
    path.write_bytes(path.read_bytes().partition(b"IDAT")[0] + b"IDAT")
    return path


def test_a_palette_is_read_without_the_pixels(tmp_path: Path) -> None:
    path = without_pixels(save_palette(tmp_path / "a.png", [[0, 1]], [BLACK, RED]))
    assert read_palette(path) == (BLACK, RED)


def test_other_pictures_have_no_palette(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", corners())
    assert read_palette(tmp_path / "a.npy") is None
    assert read_palette(save(tmp_path / "a.png", corners())) is None


def half_transparent() -> NDArray[np.uint8]:
    stored = np.full((2, 3, 4), 50, dtype=np.uint8)
    stored[0, 1, 3] = 200
    return stored


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_alpha_channels_are_read(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(half_transparent()[..., 0]).convert(mode)
    picture.putalpha(Image.fromarray(half_transparent()[..., 3]))
    picture.save(tmp_path / "a.tif")
    alpha = read_alpha(tmp_path / "a.tif")
    assert alpha is not None
    assert alpha.tolist() == half_transparent()[..., 3].tolist()
    assert describe(tmp_path / "a.tif").has_alpha


@pytest.mark.parametrize("suffix", [".gif", ".png"])
def test_transparent_colours_of_a_palette_are_alpha(tmp_path: Path, suffix: str) -> None:
    picture = Image.fromarray(np.array([[0, 1]], dtype=np.uint8))
    picture.putpalette([*BLACK, *RED])
    picture.save(tmp_path / f"a{suffix}", transparency=0)
    alpha = read_alpha(tmp_path / f"a{suffix}")
    assert alpha is not None
    assert alpha.tolist() == [[0, 255]]


def test_alpha_stands_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    alpha = read_alpha(save(tmp_path / "a.png", half_transparent(), exif=exif))
    assert alpha is not None
    assert alpha.tolist() == [[50, 50], [50, 200], [50, 50]]


def test_alpha_of_16_bits_keeps_the_upper_8(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.full((2, 3, 4), 0x1234, np.uint16), photometric="rgb")
    alpha = read_alpha(tmp_path / "a.tif")
    assert alpha is not None
    assert alpha.tolist() == [[0x12] * 3] * 2
    assert describe(tmp_path / "a.tif") == Stored(2, 3, 1, "colour", 3, "uint16", has_alpha=True)
    assert read_pixels(tmp_path / "a.tif").shape == (2, 3, 3)


def test_opaque_pictures_have_no_alpha(tmp_path: Path) -> None:
    assert read_alpha(save(tmp_path / "a.jpg", corners())) is None
    assert not describe(tmp_path / "a.jpg").has_alpha


# --- Sizes


@pytest.mark.parametrize(
    ("size", "longer_side", "fitted"),
    [
        ((1280, 1918), 384, (256, 384)),
        ((1918, 1280), 384, (384, 256)),
        ((100, 100), 384, (384, 384)),
        ((3, 5000), 100, (1, 100)),
        ((10, 20), 20, (10, 20)),
    ],
)
def test_the_longer_side_is_exact(size: tuple[int, int], longer_side: int, fitted: tuple[int, int]) -> None:
    assert fit_size(*size, longer_side) == fitted


def test_a_right_size_costs_nothing() -> None:
    image = corners()
    assert resize_image(image, 16, 24) is image


def test_resized_images_can_be_written_to() -> None:
    image = resize_image(corners(), 8, 12)
    assert image.shape == (8, 12, 3)
    assert image.flags.writeable


@pytest.mark.parametrize("channels", [1, 2, 4, 5])
def test_every_channel_is_resized_like_a_grey_image(channels: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 11, channels), dtype=np.uint8)
    resized = resize_image(image, 4, 6)
    assert resized.shape == (4, 6, channels)
    for channel in range(channels):
        assert (resized[..., channel] == resize_image(image[..., channel], 4, 6)).all()


def test_shrinking_an_image_averages_instead_of_skipping() -> None:
    stripes = np.zeros((64, 64), dtype=np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(resize_image(stripes, 8, 8)[:, 1:-1].astype(int) - 127).max() <= 2


def test_masks_shrink_to_the_share_of_foreground() -> None:
    mask = np.array([[1, 0, 1, 1], [0, 0, 1, 1]], dtype=np.uint8)
    assert resize_mask(mask, 1, 2).tolist() == [[64, 255]]


def test_masks_keep_their_area_when_shrunk() -> None:
    mask = np.random.default_rng(0).integers(0, 2, (90, 120), dtype=np.uint8)
    assert resize_mask(mask, 31, 41).mean() / 255 == pytest.approx(mask.mean(), abs=0.003)


def test_enlarged_masks_stay_hard() -> None:
    mask = np.array([[1, 0]], dtype=np.uint8)
    assert resize_mask(mask, 2, 4).tolist() == [[255, 255, 0, 0]] * 2
    assert resize_mask(mask, 1, 2).tolist() == [[255, 0]]


def test_classes_are_never_mixed() -> None:
    classes = np.array([[0, 9], [9, 0]], dtype=np.uint8)
    assert set(np.unique(resize_classes(classes, 7, 5))) == {0, 9}


def test_planes_are_interpolated_between_pixel_centres() -> None:
    plane = np.array([[-1.0, 1.0]], dtype=np.float32)
    np.testing.assert_allclose(resize_plane(plane, 1, 4), [[-1, -0.5, 0.5, 1]])


# --- Writing


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
def test_a_written_png_reads_back(tmp_path: Path, shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    write_image(tmp_path / "new" / "a.png", array)
    assert (np.asarray(Image.open(tmp_path / "new" / "a.png")) == array).all()
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["a.png"]


def test_a_palette_colours_the_indices(tmp_path: Path) -> None:
    indices = np.array([[0, 1, 2]], dtype=np.uint8)
    write_image(tmp_path / "a.png", indices, palette=[BLACK, RED, GREEN])
    assert read_mask_values(tmp_path / "a.png").tolist() == indices.tolist()
    assert read_image(tmp_path / "a.png").tolist() == [[list(BLACK), list(RED), list(GREEN)]]


@pytest.mark.parametrize("name", ["a.tif", "a", "a.png.exe"])
def test_other_suffixes_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"ending in \.png"):
        write_image(tmp_path / name, corners())


def test_a_jpeg_with_a_palette_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.jpg .* ending in \.png"):
        write_image(tmp_path / "a.jpg", np.zeros((2, 2), dtype=np.uint8), palette=[BLACK])


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    write_image(path, corners())
    before = path.read_bytes()

    def run_out_of_space(picture: Image.Image, file: IO[bytes], **options: object) -> None:
        file.write(before[:20])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", run_out_of_space)
    with pytest.raises(InputError, match=r"a\.png cannot be written \(No space left on device\)"):
        write_image(path, corners())
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_in_the_way_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(InputError, match=r"a\.png cannot be written"):
        write_image(tmp_path / "taken" / "a.png", corners())


# --- Real files


@pytest.mark.realdata
def test_real_masks_hold_what_their_readme_says(real_data: Path) -> None:
    masks = {
        "carvana/train_masks": {0, 255},
        "nuclei/masks": {0, 255},
        "membranes/label": {0, 255},
        "cracks/masks": {0, 255},
    }
    for folder, expected in masks.items():
        values = read_mask_values(sorted((real_data / folder).iterdir())[0])
        assert values.ndim == 2
        assert set(np.unique(values).tolist()) == expected, folder


@pytest.mark.realdata
def test_real_images_are_rgb_and_their_size_is_known_in_advance(real_data: Path) -> None:
    for folder in ("carvana/train", "people/images", "nuclei/images", "membranes/image"):
        for path in sorted((real_data / folder).iterdir())[:3]:
            stored = describe(path)
            assert read_pixels(path).shape == (stored.height, stored.width, stored.channels)
