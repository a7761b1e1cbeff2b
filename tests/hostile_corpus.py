"""Data sets with something broken or hostile in them, to see what `maskwright check` says of each.

``python tests/hostile_corpus.py OUT`` writes all of them below a new folder. Each is a small healthy data set with one
thing wrong in it, unless the whole is what is wrong.
"""

import base64
import io
import json
import os
import socket
import struct
import sys
import zlib
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import ExifTags, Image

HEIGHT, WIDTH = 48, 64

# Why some cases may share a sentence.
EMPTY = "an empty file is to be copied again or removed, whatever it should hold"
CUT_SHORT = "however little is missing, a picture that ends too early is to be copied again or removed"
DAMAGED = "however a picture is damaged, all that can be done is to copy it again or to remove it"
NO_PIXELS = "a height and a width of nothing are the same in every format"
NO_PICTURE = "whatever else a file holds, it is no picture"
TOO_LARGE = "the limit is the same for what a header claims and for what is really there"
TOO_MANY = "the limit is the same for every format that has so many channels"
NOT_PLAIN = "whatever they are, they are no plain numbers"
NOT_FINITE = "numbers that are not finite are the same in every format"
NO_FILE = "neither is a regular file"
NO_PAIR = "a folder is no picture, so its mask is left alone"
ODD_NAME = "what is odd is the name, and what is wrong is that it has no mask"
TOO_DEEP = "JSON is JSON, whatever it holds"
NO_BASE64 = "however it is spoilt, it is no PNG in base64"
NOT_UTF8 = "what is not UTF-8 may be anything"
SHORT_RUNS = "run lengths that do not fit are wrong in the same way"


@dataclass(frozen=True)
class Case:
    """Something hostile in healthy surroundings.

    Attributes:
        surroundings: Writes the healthy part of a folder.
        place: Where the hostile thing lies in it.
        make: Writes the hostile thing.
        words: That the sentence about it holds.
        code: That `maskwright check` ends with: 0 where it is harmless, 1 where the others are usable.
        kin: Why the sentence may be that of other cases, which give the same reason.
        named: What the sentence names; the file's name, if empty.
        target: What is checked, below the folder.
    """

    surroundings: Callable[[Path], None]
    place: str
    make: Callable[[Path], object]
    words: str
    code: int = 1
    kin: str = ""
    named: str = ""
    target: str = ""

    @property
    def name(self) -> str:
        """What the sentence names."""
        return self.named or Path(self.place).name

    def write(self, folder: Path) -> None:
        """Write the data set."""
        folder.mkdir(parents=True)
        self.surroundings(folder)
        place = folder / self.place
        place.parent.mkdir(parents=True, exist_ok=True)
        self.make(place)


# --- Healthy things


@cache
def noise(seed: int, channels: int = 3) -> NDArray[np.uint8]:
    """A picture that is like no other."""
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, channels), np.uint8)


@cache
def blot(seed: int) -> NDArray[np.uint8]:
    """A mask of 0 and 255."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    inside: NDArray[np.bool_] = (rows - 22 - seed) ** 2 + (columns - 28 - 2 * seed) ** 2 < (12 + seed) ** 2
    return inside.astype(np.uint8) * np.uint8(255)


def encoded(pixels: NDArray[Any], kind: str = "PNG", mode: str | None = None, **options: Any) -> bytes:
    """A picture as the bytes of a file."""
    file = io.BytesIO()
    picture = Image.fromarray(pixels)
    (picture.convert(mode) if mode else picture).save(file, kind, **options)
    return file.getvalue()


@cache
def photograph(seed: int) -> bytes:
    return encoded(noise(seed))


@cache
def mask_of(seed: int) -> bytes:
    return encoded(blot(seed))


def nothing(folder: Path) -> None:
    """No surroundings."""


def three_pictures(folder: Path) -> None:
    for seed, name in enumerate("abc"):
        (folder / f"{name}.png").write_bytes(photograph(seed))


def three_pairs(folder: Path) -> None:
    for kind, content in (("images", photograph), ("masks", mask_of)):
        (folder / kind).mkdir()
        for seed, name in enumerate("abc"):
            (folder / kind / f"{name}.png").write_bytes(content(seed))


def four_pairs(folder: Path) -> None:
    a_mask_more(folder)
    (folder / "images/d.png").write_bytes(photograph(3))


def a_mask_more(folder: Path) -> None:
    three_pairs(folder)
    (folder / "masks/d.png").write_bytes(mask_of(3))


def a_picture_more(folder: Path) -> None:
    three_pairs(folder)
    (folder / "images/d.png").write_bytes(photograph(3))


def two_drawings(folder: Path) -> None:
    """LabelMe's files for two of three pictures."""
    three_pictures(folder)
    for name in "ab":
        (folder / f"{name}.json").write_text(json.dumps(labelme(f"{name}.png")), encoding="utf-8")


def labelme(picture: str) -> dict[str, Any]:
    shape = {"label": "car", "shape_type": "polygon", "points": [[5, 5], [40, 8], [30, 40]]}
    return {"imagePath": picture, "imageHeight": HEIGHT, "imageWidth": WIDTH, "shapes": [shape]}


def coco() -> dict[str, Any]:
    return {
        "images": [
            {"id": number, "file_name": f"{name}.png", "height": HEIGHT, "width": WIDTH}
            for number, name in enumerate("abc", 1)
        ],
        "annotations": [
            {"id": number, "image_id": number, "category_id": 7, "segmentation": [[5, 5, 40, 8, 30, 40 - number]]}
            for number in (1, 2, 3)
        ],
        "categories": [{"id": 7, "name": "car"}],
    }


def tasks() -> list[dict[str, Any]]:
    """Label Studio's export."""
    percent = [[10, 10], [60, 15], [50, 80]]
    value = {"points": percent, "polygonlabels": ["car"]}
    result = {"id": "r", "type": "polygonlabels", "original_width": WIDTH, "original_height": HEIGHT, "value": value}
    return [
        {"id": number, "data": {"image": f"/data/{name}.png"}, "annotations": [{"result": [deepcopy(result)]}]}
        for number, name in enumerate("abc")
    ]


# --- Hostile bytes


def holding(content: bytes | str) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content if isinstance(content, bytes) else content.encode())


def first_half(content: bytes) -> Callable[[Path], object]:
    return holding(content[: len(content) // 2])


def array(values: object) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.save(file, np.asarray(values))

    return write


def npy_claim(shape: str, *, dtype: str = "|u1", version: int = 1) -> bytes:
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H", len(header)) + header.encode() + b"abc"


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    width: int, height: int, pixels: bytes = b"", *, extra: bytes = b"", bits: int = 8, is_colour: bool = False
) -> bytes:
    """A PNG file of this size, whatever its pixels are."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 2 * is_colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + png_chunk(b"IDAT", pixels) + png_chunk(b"IEND", b"")


def zeros(number: int) -> bytes:
    """So many zeros, packed a thousandfold."""
    packer = zlib.compressobj(1)
    return b"".join(packer.compress(bytes(min(2**24, number - done))) for done in range(0, number, 2**24)) + (
        packer.flush()
    )


def wrong_checksum() -> bytes:
    content = bytearray(photograph(3))
    content[content.index(b"IDAT") + 400] ^= 0xFF
    return bytes(content)


def bmp_claim(width: int, height: int) -> bytes:
    return b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)


def webp_claim(side: int) -> bytes:
    """A lossless WebP file of this size, without its pixels."""
    head = b"\x2f" + struct.pack("<I", (side - 1) | (side - 1) << 14) + bytes(3)
    return b"RIFF" + struct.pack("<I", len(head) + 12) + b"WEBPVP8L" + struct.pack("<I", len(head)) + head


def jpeg_claim(side: int) -> bytes:
    content = encoded(noise(3), "JPEG")
    frame = content.index(b"\xff\xc0")
    return content[: frame + 5] + struct.pack(">HH", side, side) + content[frame + 9 :]


def jpeg_without_codes(mode: str | None = None) -> bytes:
    """Its Huffman tables promise more codes than there can be."""
    content = bytearray(encoded(noise(3), "JPEG", mode))
    table = content.index(b"\xff\xc4")
    content[table + 5 : table + 21] = b"\xff" * 16
    return bytes(content)


def gif_of_two() -> bytes:
    """An animation whose second frame is cut short."""
    frames = [Image.fromarray(noise(seed)).convert("P") for seed in (3, 4)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    return file.getvalue()[:-900]


def gif_claim(side: int) -> bytes:
    return (
        b"GIF89a"
        + struct.pack("<HHBBB", side, side, 0, 0, 0)
        + b","
        + struct.pack("<HHHHB", 0, 0, side, side, 0)
        + b"\x08\1\0\0;"
    )


def tiff(**entries: int) -> bytes:
    """A grey TIFF file with one tag after another replaced."""
    places = {"width": 256, "height": 257, "bits": 258, "compression": 259, "offset": 273, "samples": 277}
    places |= {"rows": 278, "bytes": 279, "tile_width": 322, "tile_height": 323}
    tags = {256: WIDTH, 257: HEIGHT, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: HEIGHT, 279: WIDTH * HEIGHT}
    tags |= {places[key]: value for key, value in entries.items()}
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + table + bytes(4 + 200 + WIDTH * HEIGHT)


def tiff_in_a_circle() -> bytes:
    """Its list of pages begins again after the first."""
    content = bytearray(tiff(offset=200))
    (entries,) = struct.unpack_from("<H", content, 8)
    struct.pack_into("<I", content, 10 + 12 * entries, 8)
    return bytes(content)


def tiff_of_many_strips() -> bytes:
    """Its list of strips should have two thousand million entries."""
    content = bytearray(tiff(offset=200))
    struct.pack_into("<I", content, content.index(struct.pack("<HH", 273, 4)) + 4, 2**31)
    return bytes(content)


def tiff_bomb(path: Path) -> None:
    """One strip of three deep channels, which claims to hold 18 KB and unpacks to 134 MB."""
    deep = noise(3).astype(np.uint16) * 257
    tifffile.imwrite(path, deep, photometric="rgb", metadata=None, compression="zlib", rowsperstrip=HEIGHT)
    content = bytearray(path.read_bytes())
    strip = zeros(2**27)
    with tifffile.TiffFile(path) as file:
        for name, value in (("StripOffsets", len(content)), ("StripByteCounts", len(strip))):
            tag = file.pages.first.tags[name]
            struct.pack_into("<H" if tag.dtype == 3 else "<I", content, tag.valueoffset, value)
    path.write_bytes(bytes(content) + strip)


def sparse(size: int, head: bytes = b"") -> Callable[[Path], object]:
    """A file of zeros that takes no place on the disk."""

    def write(path: Path) -> None:
        path.write_bytes(head)
        os.truncate(path, size)

    return write


def linked(target: str) -> Callable[[Path], object]:
    return lambda path: path.symlink_to(target)


def listening(path: Path) -> None:
    """A socket; its path may be 100 letters long, so it is made where it lies."""
    here = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind(path.name)
    finally:
        os.chdir(here)


def too_deep(path: Path) -> None:
    """Folders in folders, until their path is longer than any that can be opened."""
    here = Path.cwd()
    path.mkdir()
    os.chdir(path)
    try:
        for _ in range(25):
            Path("x" * 200).mkdir()
            os.chdir("x" * 200)
    finally:
        os.chdir(here)


def text_bomb() -> bytes:
    text = png_chunk(b"zTXt", b"a\0\0" + zeros(2**24))
    return png(WIDTH, HEIGHT, zeros(HEIGHT * (WIDTH + 1)), extra=text)


def png_bomb() -> bytes:
    """50 KB that unpack to 50 MB, and to 400 as an array."""
    return png(20_000, 20_000, zeros(20_000 * 2501), bits=1)


def deep_png() -> bytes:
    return png(WIDTH, HEIGHT, zeros(HEIGHT * (6 * WIDTH + 1)), bits=16, is_colour=True)


def infinite_tiff(path: Path) -> None:
    tifffile.imwrite(path, np.full((HEIGHT, WIDTH), np.inf, np.float32))


def orientation(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = value
    return exif


def outside(path: Path) -> None:
    """A link to a picture that lies beside the data set."""
    elsewhere = path.parents[2] / f"{path.parents[1].name}.png"
    elsewhere.write_bytes(photograph(3))
    path.symlink_to(elsewhere)


def save_layer(folder: Path) -> None:
    a_picture_more(folder)
    (folder / "masks/d_1.png").write_bytes(mask_of(3))


def pairs_of(make: Callable[[int], bytes]) -> Callable[[Path], object]:
    """Four pictures, and such masks with the suffix of this one."""

    def write(path: Path) -> None:
        (path.parents[1] / "images").mkdir()
        for seed, name in enumerate("abcd"):
            (path.parents[1] / f"images/{name}.png").write_bytes(photograph(seed))
            (path.parent / f"{name}{path.suffix}").write_bytes(make(seed))

    return write


def as_array(values: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


three_hundred_classes = pairs_of(lambda _: as_array(np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 300))
numbers_in_jpegs = pairs_of(lambda seed: encoded(blot(seed) // 51, "JPEG"))
one_mask_for_all = pairs_of(lambda _: mask_of(0))


def damage_beside(path: Path) -> None:
    """Cuts short whatever lies in a folder."""
    for other in path.parent.iterdir():
        other.write_bytes(other.read_bytes()[:500])


# --- Where hostile things lie


def picture(file: str, make: Callable[[Path], object], words: str, **more: Any) -> Case:
    return Case(a_mask_more, f"images/{file}", make, words, **more)


def damaged(file: str, make: Callable[[Path], object]) -> Case:
    return picture(file, make, "is damaged or cut short", kin=DAMAGED)


def cut_short(file: str, make: Callable[[Path], object]) -> Case:
    return picture(file, make, "ends before its pixels do", kin=CUT_SHORT)


def no_picture(file: str, make: Callable[[Path], object]) -> Case:
    return picture(file, make, "is not a picture in a known format", kin=NO_PICTURE)


def too_large(file: str, make: Callable[[Path], object]) -> Case:
    return picture(file, make, "has more than 64 million pixels", kin=TOO_LARGE)


def not_plain(file: str, make: Callable[[Path], object]) -> Case:
    return picture(file, make, "does not hold plain numbers", kin=NOT_PLAIN)


def harmless(file: str, make: Callable[[Path], object]) -> Case:
    """A picture with something odd in it that does not touch its pixels."""
    return picture(file, make, "", code=0)


def mask(file: str, make: Callable[[Path], object], words: str, **more: Any) -> Case:
    return Case(a_picture_more, f"masks/{file}", make, words, **more)


def in_coco(words: str, change: Callable[[Any], object], **more: Any) -> Case:
    """COCO's JSON, changed in some way."""

    def write(path: Path) -> None:
        content = coco()
        change(content)
        path.write_text(json.dumps(content), encoding="utf-8")

    return Case(three_pictures, "instances.json", write, words, **more)


def coco_text(words: str, change: Callable[[str], str | bytes], **more: Any) -> Case:
    """COCO's JSON, its text changed in some way."""

    def write(path: Path) -> None:
        holding(change(json.dumps(coco())))(path)

    return Case(three_pictures, "instances.json", write, words, **{"code": 2, **more})


def in_labelme(words: str, change: Callable[[Any], object], **more: Any) -> Case:
    def write(path: Path) -> None:
        content = labelme("c.png")
        change(content)
        path.write_text(json.dumps(content), encoding="utf-8")

    return Case(two_drawings, "c.json", write, words, **more)


def in_tasks(words: str, change: Callable[[Any], object], **more: Any) -> Case:
    """Label Studio's JSON, its third task changed in some way."""

    def write(path: Path) -> None:
        content = tasks()
        change(content[2])
        path.write_text(json.dumps(content), encoding="utf-8")

    return Case(three_pictures, "tasks.json", write, words, **more)


def manifest(rows: str | bytes, words: str, *, times: int = 1, **more: Any) -> Case:
    """A manifest of three good rows and so many times these."""
    good = b"image,mask,split\n" + b"".join(b"images/%c.png,masks/%c.png,\n" % (name, name) for name in b"abc")
    bad = rows.encode() if isinstance(rows, str) else rows
    return Case(three_pairs, "manifest.csv", lambda path: path.write_bytes(good + bad * times), words, **more)


def table(content: str | bytes, words: str, **more: Any) -> Case:
    """Another manifest."""
    return Case(three_pairs, "manifest.csv", holding(content), words, **{"code": 2, **more})


def kaggle(rows: str, words: str, **more: Any) -> Case:
    good = "img,rle_mask\na.png,700 5 760 9\nb.png,500 30\n"
    return Case(three_pictures, "train_masks.csv", holding(good + rows), words, **more)


def classes(file: str, content: str | bytes, words: str, **more: Any) -> Case:
    return Case(three_pairs, file, holding(content), words, **{"code": 2, **more})


def renamed(name: str, **more: Any) -> Case:
    """A picture of an odd name, and without a mask."""
    return Case(three_pairs, f"images/{name}", holding(photograph(3)), "has no mask", kin=ODD_NAME, **more)


def polygon(content: Any) -> list[Any]:
    """COCO's first outline."""
    outline: list[Any] = content["annotations"][0]["segmentation"]
    return outline


def with_runs(counts: object, *, height: int = HEIGHT) -> Callable[[Any], object]:
    runs = {"size": [height, WIDTH], "counts": counts}
    return lambda content: content["annotations"][0].update(segmentation=runs)


def drawn_mask(content: bytes | str) -> Callable[[Any], object]:
    """LabelMe's mask, a picture in the text."""
    text = base64.b64encode(content).decode() if isinstance(content, bytes) else content
    shape = {"label": "car", "shape_type": "mask", "points": [[0, 0], [WIDTH, HEIGHT]], "mask": text}
    return lambda file: file.update(shapes=[shape])


def shape_of(**values: object) -> Callable[[Any], object]:
    return lambda file: file["shapes"][0].update(values)


def result_of(task: Any) -> Any:
    return task["annotations"][0]["result"][0]


# --- The corpus

PICTURES = {
    "picture of no bytes": picture("d.png", holding(b""), "is empty; copy it again", kin=EMPTY),
    "JPEG cut short": cut_short("d.jpg", first_half(encoded(noise(3), "JPEG"))),
    "PNG cut short": cut_short("d.png", first_half(photograph(3))),
    "GIF cut short": cut_short("d.gif", first_half(encoded(noise(3), "GIF"))),
    "TIFF cut short": cut_short("d.tif", first_half(encoded(noise(3), "TIFF"))),
    "WebP cut short": damaged("d.webp", first_half(encoded(noise(3), "WEBP"))),
    "BMP cut short": cut_short("d.bmp", first_half(encoded(noise(3), "BMP"))),
    "array cut short": damaged("d.npy", holding(npy_claim("(48, 64, 3)"))),
    "PNG with a wrong checksum": damaged("d.png", holding(wrong_checksum())),
    "PNG without pixels": cut_short("d.png", holding(png(WIDTH, HEIGHT))),
    "PNG whose text unpacks a thousandfold": damaged("d.png", lambda path: path.write_bytes(text_bomb())),
    "JPEG of impossible Huffman tables": damaged("d.jpg", holding(jpeg_without_codes())),
    "JPEG in CMYK of impossible Huffman tables": damaged("d.jpg", holding(jpeg_without_codes("CMYK"))),
    "BMP of a negative width": too_large("d.bmp", holding(bmp_claim(-WIDTH, HEIGHT))),
    "PPM of a negative width": no_picture("d.ppm", holding("P6 -64 48 255\n")),
    "TIFF of too many strips": damaged("d.tif", holding(tiff_of_many_strips())),
    "array whose header is code": damaged("d.npy", holding(npy_claim("__import__('os')"))),
    "array of an unknown version": not_plain("d.npy", holding(npy_claim("(48, 64, 3)", version=9))),
    "array of Python objects": not_plain("d.npy", holding(npy_claim("(48, 64)", dtype="|O"))),
    "array of a table": not_plain("d.npy", array(np.zeros((HEIGHT, WIDTH), [("a", "u1")]))),
    "array of complex numbers": not_plain("d.npy", array(np.zeros((HEIGHT, WIDTH), np.complex64))),
    "array of a million channels": picture(
        "d.npy", holding(npy_claim("(48, 64, 1000000)")), "300 MB of numbers", kin=TOO_MANY
    ),
    "TIFF of 60,000 channels": picture("d.tif", holding(tiff(samples=60_000, bits=16)), "300 MB", kin=TOO_MANY),
    "array of five axes": picture("d.npy", array(np.zeros((3, 4, 5, 6, 7), np.uint8)), "has 5 axes"),
    "array of no height": picture("d.npy", array(np.zeros((0, WIDTH), np.uint8)), "has no pixels", kin=NO_PIXELS),
    "PNG of no width": picture("d.png", holding(png(0, HEIGHT)), "has no pixels", kin=NO_PIXELS),
    "array with NaN": picture("d.npy", array(np.full((HEIGHT, WIDTH), np.nan)), "not finite", kin=NOT_FINITE),
    "TIFF with infinity": picture("d.tif", infinite_tiff, "not finite", kin=NOT_FINITE),
    "text called a PNG": no_picture("d.png", holding("This is no picture.\n")),
    "web page called a JPEG": no_picture("d.jpg", holding("<!DOCTYPE html><title>404</title>")),
    "PostScript called a PNG": no_picture("d.png", holding("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")),
    "archive called a TIFF": no_picture("d.tif", holding(b"PK\3\4" + bytes(100))),
    "PNG that claims ten thousand million pixels": too_large("d.png", holding(png(100_000, 100_000))),
    "PNG that unpacks a thousandfold": too_large("d.png", lambda path: path.write_bytes(png_bomb())),
    "JPEG that claims four thousand million pixels": too_large("d.jpg", holding(jpeg_claim(65_500))),
    "GIF that claims four thousand million pixels": too_large("d.gif", holding(gif_claim(65_535))),
    "BMP that claims a million million pixels": too_large("d.bmp", holding(bmp_claim(10**6, 10**6))),
    "PPM that claims a million million pixels": too_large("d.ppm", holding("P6 1000000 1000000 255\n")),
    "TIFF that claims a million million pixels": too_large("d.tif", holding(tiff(width=10**6, height=10**6))),
    "TIFF of an enormous tile": too_large("d.tif", holding(tiff(tile_width=60_000, tile_height=60_000))),
    "WebP that claims 49 million pixels": picture("d.webp", holding(webp_claim(7000)), "more than 40 million"),
    "TIFF that unpacks a thousandfold": picture("d.tif", tiff_bomb, "unpacks to more than it claims"),
    "file of 400 MB": picture("d.png", sparse(400 * 10**6, photograph(3)), "is larger than 300 MB"),
    "PNG of 16-bit colours": picture("d.png", holding(deep_png()), "colours of 16 bits"),
    "folder called a PNG": picture("d.png", Path.mkdir, "has no image", named="masks/d.png", kin=NO_PAIR),
    "pipe called a PNG": picture("d.png", os.mkfifo, "is no regular file", kin=NO_FILE),
    "socket called a PNG": picture("d.png", listening, "is no regular file", kin=NO_FILE),
    "link to nowhere": picture("d.png", linked("nowhere.png"), "a link to nowhere.png, which cannot be opened"),
    "link to itself": picture("d.png", linked("d.png"), "a link to d.png, which cannot be opened"),
    "link to a device": picture("d.png", linked("/dev/zero"), "a link to /dev/zero, which cannot be opened"),
    "link to the list of users": no_picture("d.png", linked("/etc/passwd")),
    "picture of five channels": picture("d.npy", array(np.zeros((HEIGHT, WIDTH, 5), np.uint8)), "5 channels", code=2),
    "two pictures for one mask": Case(four_pairs, "images/d.bmp", holding(encoded(noise(4), "BMP")), "d.png"),
    "picture as thin as a hair": picture("d.png", holding(encoded(np.zeros((1, 100_000), np.uint8))), "another shape"),
    "GIF whose second frame is cut short": harmless("d.gif", holding(gif_of_two())),
    "TIFF whose pages go in a circle": harmless("d.tif", holding(tiff_in_a_circle())),
    "PNG of an absurd colour profile": harmless("d.png", holding(encoded(noise(3), icc_profile=b"no profile" * 99))),
    "JPEG of absurd EXIF data": harmless("d.jpg", holding(encoded(noise(3), "JPEG", exif=b"Exif\0\0no data" * 99))),
    "JPEG of orientation 9": harmless("d.jpg", holding(encoded(noise(3), "JPEG", exif=orientation(9)))),
    "link out of the folder": harmless("d.png", outside),
}

NAMES = {
    "name of code for a page": renamed("<img src=x onerror=alert(1)>.png"),
    "name of two lines": renamed("two\nlines.png", named="two\\nlines.png"),
    "name that moves the cursor": renamed("\x1b[2J\x1b[31mred.png", named="\\u001b[2J\\u001b[31mred.png"),
    "name that is written backwards": renamed("photo\u202egnp.exe.png", named="photo\\u202egnp.exe.png"),
    "name of an emoji": renamed("🚗.png"),
    "name like an option": renamed("--help.png"),
    "name of a pattern": renamed("[a-c]*?.png"),
    "name as long as can be": renamed("x" * 251 + ".png"),
    "name that is not UTF-8": picture(
        os.fsdecode(b"d\xff.png"), holding(photograph(3)), "not UTF-8", named="d\\udcff.png"
    ),
}

MASKS = {
    "mask across its picture": mask(
        "d.png", holding(encoded(np.ascontiguousarray(blot(3).T))), "of another shape than the image"
    ),
    "mask of no bytes": mask("d.png", holding(b""), "is empty; copy it again", kin=EMPTY),
    "mask of another shape": mask("d.png", holding(encoded(blot(3)[:, :HEIGHT])), "is 48x48, which is another shape"),
    "mask of one row": mask("d.png", holding(encoded(blot(3)[:1])), "is 64x1, which is another shape"),
    "mask too large": mask("d.png", holding(png(100_000, 100_000)), "has more than 64 million pixels", kin=TOO_LARGE),
    "mask cut short": mask("d.png", first_half(encoded(noise(3))), "ends before its pixels do", kin=CUT_SHORT),
    "mask of numbers among black and white": mask("d.png", holding(encoded(blot(3) // 51)), "holds the values 0, 5"),
    "mask in colour among grey": mask("d.png", holding(encoded(noise(3))), "in colour"),
    "mask of a class of 70,000": mask("d.npy", array(blot(3).astype(np.int32) // 255 * 70_000), "70000"),
    "mask of negative numbers": mask("d.npy", array(blot(3).astype(np.int16) * -1), "-255"),
    "mask with NaN": mask("d.npy", array(np.full((HEIGHT, WIDTH), np.nan)), "not finite", kin=NOT_FINITE),
    "mask of five channels": mask("d.npy", array(np.zeros((HEIGHT, WIDTH, 5), np.uint8)), "has 5 channels of uint8"),
    "mask that is a text": mask("d.png", holding("car"), "is not a picture in a known format", kin=NO_PICTURE),
    "two masks of one name": Case(four_pairs, "masks/d.bmp", holding(encoded(blot(4), "BMP")), "has several masks"),
    "masks of one picture, of two sizes": Case(
        save_layer,
        "masks/d_2.png",
        holding(encoded(blot(3)[::2, ::2])),
        "bring them to one size",
    ),
    "mask of nothing": mask("d.png", holding(encoded(blot(3) * 0)), "nothing but background", named="images/d.png"),
    "mask of everything": mask("d.png", holding(encoded(blot(3) | 255)), "all one class", named="images/d.png"),
    "mask without a picture": Case(three_pairs, "masks/d.png", holding(mask_of(3)), "has no image", kin=NO_PAIR),
    "300 classes": Case(nothing, "masks/a.npy", three_hundred_classes, "2 to 255 classes", code=2),
    "JPEG masks of numbers": Case(
        nothing, "masks/a.jpg", numbers_in_jpegs, "nothing but background", named="images/a.png"
    ),
    "one mask for all": Case(nothing, "masks/a.png", one_mask_for_all, "have the same mask", named="images/a.png"),
}

FOLDERS = {
    "folder of nothing": Case(nothing, "images", Path.mkdir, "holds no pictures", code=2, named="."),
    "folder that is not there": Case(nothing, "x", Path.mkdir, "does not exist", code=2, target="y", named="y"),
    "pictures alone": Case(
        three_pictures, "a.png", holding(photograph(0)), "holds 3 picture(s) but no masks", code=2, named="."
    ),
    "masks alone": Case(
        nothing, "masks/a.png", holding(mask_of(0)), "holds 1 mask(s) but none of their images", code=2, named="."
    ),
    "picture for a folder": Case(
        three_pairs, "a.png", holding(photograph(3)), "is no manifest with the columns", code=2, target="a.png"
    ),
    "pipe for a folder": Case(nothing, "pipe", os.mkfifo, "is a file; name a folder", code=2, target="pipe"),
    "all pictures damaged": Case(three_pairs, "images/a.png", damage_beside, "3 files cannot be used", code=2),
    "folders in a circle": Case(three_pairs, "images/again", linked(".."), "", code=0),
    "folders deeper than can be opened": Case(three_pairs, "images/deep", too_deep, "cannot be listed"),
}

COCO = {
    "JSON nested 100,000 deep": coco_text(
        "nested too deeply", lambda text: text[:-1] + ', "a": ' + "[" * 100_000, kin=TOO_DEEP
    ),
    "JSON cut short": coco_text("no valid JSON", lambda text: text[: -len('"}]}')]),
    "JSON in Latin 1": coco_text("not UTF-8 text", lambda text: text.replace("car", "Fußgänger").encode("latin-1")),
    "JSON in UTF-16": coco_text("UTF-8", lambda text: text.encode("utf-16")),
    "JSON of a list": coco_text("should hold a JSON object", lambda text: f"[{text}]"),
    "JSON of brackets": coco_text("too many values", lambda text: text[:-1] + ', "a": [' + "[]," * 8_000_000 + "[]]}"),
    "JSON of a number of 5000 digits": coco_text(
        "a number that is too long", lambda text: text.replace("40", "4" * 5000, 1)
    ),
    "JSON of 220 MB with one emoji": Case(
        three_pictures,
        "instances.json",
        sparse(220 * 10**6, json.dumps({**coco(), "info": "🚗"}, ensure_ascii=False).encode()),
        "letters that take 4 bytes each",
        code=2,
    ),
    "JSON of 600 MB": Case(
        three_pictures, "instances.json", sparse(600 * 10**6, json.dumps(coco()).encode()), "more than 512 MB", code=2
    ),
    "no pictures": in_coco("lists no pictures", lambda file: file.update(images=[]), code=2),
    "pictures as an object": in_coco(
        "a list as 'images', not an object", lambda file: file.update(images={"1": {}}), code=2
    ),
    "pictures that are no objects": in_coco(
        "images[1] should be an object", lambda file: file["images"].insert(1, "a.png"), code=2
    ),
    "picture without a name": in_coco(
        "images[0] should have a text as 'file_name', not nothing", lambda file: file["images"][0].pop("file_name")
    ),
    "picture without a size": in_coco("as 'height', not nothing", lambda file: file["images"][0].pop("height")),
    "picture twice": in_coco(
        "is given 2 times", lambda file: file["images"].append({**file["images"][0], "id": 9}), named="a.png"
    ),
    "two pictures of one id": in_coco("the id 1 of another", lambda file: file["images"][1].update(id=1)),
    "picture of absurd size": in_coco(
        "64 million pixels", lambda file: file["images"][0].update(height=10**6, width=10**6)
    ),
    "picture of negative height": in_coco(
        "from 1 to 1e+06 as 'height', not -48", lambda file: file["images"][0].update(height=-48)
    ),
    "picture of infinite height": in_coco(
        "from 1 to 1e+06 as 'height', not inf", lambda file: file["images"][0].update(height=1e999)
    ),
    "picture of another shape": in_coco(
        "of another shape than the image", lambda file: file["images"][0].update(height=64, width=48)
    ),
    "picture in a folder above": in_coco(
        "leads out of the folder", lambda file: file["images"][0].update(file_name="../../etc/passwd")
    ),
    "picture of an absolute path": in_coco(
        "'/etc/passwd', which is not in", lambda file: file["images"][0].update(file_name="/etc/passwd")
    ),
    "picture on another drive": in_coco(
        "which is not in", lambda file: file["images"][0].update(file_name="C:\\Windows\\win.ini")
    ),
    "picture name with NUL": in_coco("which is not in", lambda file: file["images"][0].update(file_name="a.png\0.txt")),
    "picture name of 10,000 letters": in_coco(
        "which is not in", lambda file: file["images"][0].update(file_name="x" * 10_000)
    ),
    "region of a picture that is not there": in_coco(
        "annotations[0]", lambda file: file["annotations"][0].update(image_id=99)
    ),
    "region of an odd picture": in_coco(
        "should have a number as 'image_id'", lambda file: file["annotations"][0].update(image_id=[1]), code=2
    ),
    "region of an unknown category": in_coco(
        "has the category 9, which", lambda file: file["annotations"][0].update(category_id=9)
    ),
    "region without a category": in_coco(
        "should have a number as 'category_id'", lambda file: file["annotations"][0].pop("category_id")
    ),
    "region of NaN": in_coco("as 'segmentation', not nan", lambda file: polygon(file)[0].__setitem__(0, float("nan"))),
    "region of infinity": in_coco(
        "as 'segmentation', not inf", lambda file: polygon(file)[0].__setitem__(0, float("inf"))
    ),
    "region of 10^400": in_coco(
        "not a number of more than 30 digits", lambda file: polygon(file)[0].__setitem__(0, 10**400)
    ),
    "region of texts": in_coco("as 'segmentation', not '5'", lambda file: polygon(file)[0].__setitem__(0, "5")),
    "region of an odd number of coordinates": in_coco("x and y in turn", lambda file: polygon(file)[0].pop()),
    "region of two points": in_coco(
        "background", lambda file: polygon(file).__setitem__(0, [1, 1, 9, 9]), named="a.png"
    ),
    "region that is a box": in_coco("only a box", lambda file: file["annotations"][0].update(segmentation=[])),
    "region of 100,000 zigzags": in_coco(
        "crosses the picture too often",
        lambda file: polygon(file).__setitem__(0, [0, 0, 60, 48] * 100_000),
        named="a.png",
    ),
    "run lengths beyond the picture": in_coco("run lengths of 6000 pixels for 64x48", with_runs([2000, 2000, 2000])),
    "run lengths that are negative": in_coco("from 0 to 3072 as 'counts', not -5", with_runs([10, -5])),
    "run lengths of an absurd size": in_coco("should have the size of its picture", with_runs([1], height=10**5)),
    "run lengths as an object": in_coco("a text or a list of numbers", with_runs({})),
    "run lengths in a strange alphabet": in_coco("letters in 'counts'", with_runs("~~~")),
    "run lengths, packed, that do not fit": in_coco("do not fit its picture", with_runs("oooooooooo")),
    "two categories of one id": in_coco(
        "the id 7 of another category", lambda file: file["categories"].append({"id": 7, "name": "bus"}), code=2
    ),
    "category without a name": in_coco(
        "should have a text as 'name'", lambda file: file["categories"][0].update(name=""), code=2
    ),
    "300 categories": in_coco(
        "2 to 255 classes",
        lambda file: file["categories"].extend({"id": i, "name": f"c{i}"} for i in range(10, 310)),
        code=2,
    ),
}

LABELME = {
    "LabelMe, path out of the folder": in_labelme(
        "leads out of the folder", lambda file: file.update(imagePath="..\\..\\secret.png")
    ),
    "LabelMe, mask that is no base64": in_labelme("no PNG in base64", drawn_mask("%%%"), kin=NO_BASE64),
    "LabelMe, mask that is no PNG": in_labelme("no PNG in base64", drawn_mask(b"no picture"), kin=NO_BASE64),
    "LabelMe, mask that unpacks without end": in_labelme(
        "no PNG in base64", drawn_mask(png(20_000, 20_000)), kin=NO_BASE64
    ),
    "LabelMe, shape of a strange kind": in_labelme("is a 'cube' of 3 points", shape_of(shape_type="cube")),
    "LabelMe, shape without a label": in_labelme("should have a text as 'label'", shape_of(label="")),
    "LabelMe, shape of a blank label": in_labelme("has no label", shape_of(label=" ")),
    "LabelMe, points that are numbers": in_labelme("a list of [x, y]", shape_of(points=[1, 2, 3])),
    "LabelMe, circle of NaN": in_labelme(
        "as 'points', not nan", shape_of(shape_type="circle", points=[[1, 1], [float("nan"), 1]])
    ),
    "LabelMe, shape that is a list": in_labelme(
        "shapes[1] should be an object", lambda file: file["shapes"].append([])
    ),
}

LABEL_STUDIO = {
    "Label Studio, brush that ends early": in_tasks(
        "'rle' ends early", lambda task: result_of(task).update(value={"rle": [0, 0, 48, 0], "brushlabels": ["car"]})
    ),
    "Label Studio, brush of another size": in_tasks(
        "have four each", lambda task: result_of(task).update(value={"rle": [0] * 20, "brushlabels": ["car"]})
    ),
    "Label Studio, brush of texts": in_tasks(
        "a list of bytes", lambda task: result_of(task).update(value={"rle": ["0"], "brushlabels": ["car"]})
    ),
    "Label Studio, rotated picture": in_tasks("was rotated", lambda task: result_of(task).update(image_rotation=90)),
    "Label Studio, region without a label": in_tasks(
        "has no label", lambda task: result_of(task)["value"].pop("polygonlabels")
    ),
    "Label Studio, percentages of 10^9": in_tasks(
        "as 'points', not 1000000000",
        lambda task: result_of(task).update(value={"points": [[10**9, 1]] * 3, "polygonlabels": ["car"]}),
    ),
    "Label Studio, task without a picture": in_tasks("names no picture", lambda task: task.update(data={})),
    "Label Studio, picture on another machine": in_tasks(
        "which is not in", lambda task: task.update(data={"image": "http://127.0.0.1:9/d.png"})
    ),
    "Label Studio, size of a text": in_tasks(
        "as 'original_width', not '64'", lambda task: result_of(task).update(original_width="64")
    ),
}

TABLES = {
    "manifest, path out of the folder": manifest("../../etc/passwd,masks/d.png,\n", "may lead out of the folder"),
    "manifest, absolute path": manifest("/etc/passwd,masks/d.png,\n", "may lead out of the folder"),
    "manifest, path on a drive": manifest("C:\\d.png,masks/d.png,\n", "may lead out of the folder"),
    "manifest, NUL in a path": manifest("images/d.png\0,masks/d.png,\n", "may lead out of the folder"),
    "manifest, path of 10 MB": manifest("x", "letters", times=10**7),
    "manifest, line of 20 MB": manifest("x", "more than 16777216 letters", times=20_000_000, code=2),
    "manifest, line of 2000 cells": manifest(",", "has more than 1000 cells", times=2000, code=2),
    "manifest, quotes that are never closed": manifest('"images/d.png,masks/d.png,\n', "line 5: ", code=2),
    "manifest, the same row again": manifest(
        "images/a.png,masks/a.png,\n", "lists images/a again, after line 2", named="images/a.png"
    ),
    "manifest, unknown part of a split": manifest(
        "images/c.png,masks/c.png,dev\n", "has the split 'dev'", named="images/c.png"
    ),
    "manifest, two rows of nothing": manifest("/a,\n/b,\n", "'/a'"),
    "manifest, no image": manifest(",masks/d.png,\n", "has an empty cell"),
    "manifest, no mask": manifest("images/d.png,,\n", "has an empty cell"),
    "manifest, a folder for an image": manifest(
        "images,masks/a.png,\n", "lists 'images', which is no file", named="images"
    ),
    "manifest, a dot for an image": manifest(".,masks/a.png,\n", "has the path '.', which is no file"),
    "manifest, itself for an image": manifest(
        "manifest.csv,masks/a.png,\n", "is not a picture in a known format", kin=NO_PICTURE
    ),
    "manifest, image for its own mask": manifest("images/c.png,images/c.png,\n", "as its own mask"),
    "manifest in Latin 1": manifest(
        "images/größe.png,masks/d.png,\n".encode("latin-1"), "line 5", code=2, kin=NOT_UTF8
    ),
    "manifest in UTF-16": table(
        "image,mask\nimages/a.png,masks/a.png\n".encode("utf-16"), "is not UTF-8 text", kin=NOT_UTF8
    ),
    "manifest without a header": table("images/a.png,masks/a.png\n", "should have the columns image and mask"),
    "manifest of a header": table("image,mask\n", "lists no pictures"),
    "manifest of nothing": table("", "is empty", kin=EMPTY),
    "manifest that is a folder": Case(three_pairs, "manifest.csv", Path.mkdir, "", code=0),
    "run lengths, beyond the picture": kaggle("c.png,3000 500\n", "do not fit c.png (64x48)", kin=SHORT_RUNS),
    "run lengths, an odd number": kaggle("c.png,1 5 9\n", "do not fit c.png (64x48)", kin=SHORT_RUNS),
    "run lengths, a million digits": kaggle(f"c.png,1 {'9' * 10**6}\n", "do not fit c.png (64x48)", kin=SHORT_RUNS),
    "run lengths, of a picture out of the folder": kaggle("../../../etc/passwd,1 5\n", "leads out of the folder"),
    "run lengths, of no picture": kaggle(",1 5\n", "has the picture ''"),
}

CLASS_LISTS = {
    "classes, one name twice": classes("classes.txt", "road\ncar\ncar\n", "gives the name 'car' to two classes"),
    "classes, one value twice": classes("classes.txt", "0 road\n2 car\n2 bus\n", "gives the value 2 to two classes"),
    "classes, 300 names": classes(
        "classes.txt", "".join(f"class{n}\n" for n in range(300)), "names 300 classes; name two"
    ),
    "classes, bytes": classes("classes.txt", bytes(range(256)), "not UTF-8 text"),
    "classes, nothing": classes("classes.txt", "", "is empty", kin=EMPTY),
    "classes, only remarks": classes("classes.txt", "# nothing\n", "names no classes"),
    "classes, a line of 2000 letters": classes("classes.txt", "x" * 2000, "a line of more than 1000 letters"),
    "classes, two MB": classes("classes.txt", "x\n" * 2**20, "more than 1 MB"),
    "classes, an odd line": classes("classes.txt", "0 road\n2 car\nbus\n", "the line 'bus' is not like the others"),
    "classes, a value of 20 digits": classes("classes.txt", "road: 0\ncar: " + "2" * 20, "which no mask holds"),
    "classes, colours beyond 255": classes("labelmap.txt", "road:0,0,0::\ncar:256,0,0::\n", "is no colour"),
    "classes, JSON nested 100,000 deep": classes("classes.json", "[" * 100_000, "nested too deeply", kin=TOO_DEEP),
    "classes, JSON of no classes": classes("classes.json", '{"a": {}}', "is no list of classes"),
    "classes, JSON of an odd ignore": classes(
        "classes.json", '{"classes": ["a", "b"], "ignore": "x"}', "'ignore' should be"
    ),
    "classes, JSON of a nameless class": classes("classes.json", '{"": 1, "car": 2}', "a class without a name"),
}

CASES: dict[str, Case] = {
    **PICTURES,
    **NAMES,
    **MASKS,
    **FOLDERS,
    **COCO,
    **LABELME,
    **LABEL_STUDIO,
    **TABLES,
    **CLASS_LISTS,
}


def write_corpus(out: Path) -> dict[str, Path]:
    """Write every data set into a folder of its own below a new one; returns what is to be checked of each."""
    targets = {}
    for number, (name, case) in enumerate(CASES.items()):
        folder = out / f"{number:03}"
        case.write(folder)
        targets[name] = folder / case.target
    return targets


if __name__ == "__main__":
    write_corpus(Path(sys.argv[1]))
