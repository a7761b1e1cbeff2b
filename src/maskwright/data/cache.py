"""Pictures and masks decoded and resized once, and kept between runs.

A picture is needed dozens of times, and decoding it takes longer than learning from it. Each lies in a file of its own,
named after everything that decides its bytes: the content of its files and how they are read. So nothing is ever
changed in place, any number of runs can share the folder, and what is missing, cut short or cleared away by another run
is decoded again.

A file holds a header of JSON (4096 bytes), a thumbnail (64x64x3), and the pixels: for each, the bytes of its channels,
then those of its packed target, then zeros up to a size that the processor can fetch at once.
"""

import contextlib
import hashlib
import json
import math
import os
import re
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL
from numpy.typing import NDArray

from maskwright.data.duplicates import SIDE, thumbnail
from maskwright.data.labels import IGNORED
from maskwright.data.pairs import Drawing, Layers, Mask, Pair, Polygons, Problem, Runs, mask_files
from maskwright.data.reading import fingerprint_of
from maskwright.data.resizing import Resize, resize_image
from maskwright.data.targets import pack_target
from maskwright.data.threads import in_threads
from maskwright.errors import DoesNotFitError, InputError
from maskwright.files import replacing

# Raised with every change of what a file holds, so that older ones are left alone.
FORMAT = 3
HEADER_BYTES = 4096
THUMBNAIL_BYTES = SIDE * SIDE * 3
PIXELS_AT = HEADER_BYTES + THUMBNAIL_BYTES
DEFAULT_LIMIT_BYTES = 20_000_000_000
# A disk is never filled beyond this: 1 GB stays free, or a twentieth of a small disk.
SPARED_BYTES = 1_000_000_000
SPARED_SHARE = 0.05
# What files of the cache are called, below a folder of two digits: a hash, or what `files.replacing` leaves unfinished.
# The user may have named a folder that holds other things as well; none of these is ever counted or removed.
_OWN = re.compile(r"([0-9a-f]{2})/(?:\1[0-9a-f]{30}|\.[0-9a-f]{16})\.pixels")
# However little time there is, so many pictures are read.
LEAST_READ = 8

Read = Callable[[Pair], tuple[NDArray[np.uint8], NDArray[np.uint8]]]


@dataclass(frozen=True)
class Facts:
    """What is known of a picture at training size without its pixels.

    Attributes:
        height: In pixels.
        width: In pixels.
        channels: Bytes of the image in each pixel.
        planes: Bytes of the packed target in each pixel, after those of the image.
        class_pixels: How many pixels of the mask, at its original size, belong to each class.
    """

    height: int
    width: int
    channels: int
    planes: int
    class_pixels: tuple[int, ...]

    @property
    def pixel_bytes(self) -> int:
        """Bytes from one pixel to the next: 4 or a multiple of 8, so that pixels can be handled as whole numbers."""
        used = self.channels + self.planes
        return 4 if used <= 4 else 8 * math.ceil(used / 8)

    @property
    def foreground(self) -> float:
        """Share of the pixels that count which belong to another class than the first."""
        counted = sum(self.class_pixels)
        return 1 - self.class_pixels[0] / counted if counted else 0.0


@dataclass(frozen=True)
class Entry:
    """Where a picture lies.

    Attributes:
        facts: What is known of it.
        fingerprint: A hash of the image file's content.
        content: A hash of what the image and its mask hold.
        path: None where there was no room: it is decoded whenever it is needed.
        small: Its thumbnail, likewise, until the pictures are dealt out.
    """

    facts: Facts
    fingerprint: str
    content: str
    path: Path | None
    small: NDArray[np.uint8] | None = field(default=None, compare=False, repr=False)


class Missing(NamedTuple):
    """A pair that is still to be read, and where it goes."""

    pair: Pair
    fingerprint: str
    content: str
    path: Path


@dataclass(frozen=True)
class Picture:
    """A picture at training size: the pixels ``(H, W, S)``, and the thumbnail ``(64, 64, 3)``."""

    facts: Facts
    pixels: NDArray[np.uint8]
    thumbnail: NDArray[np.uint8]


@dataclass(frozen=True)
class Cache:
    """The pictures of a run at training size. Small: it goes to other processes whole.

    Attributes:
        pairs: What was read, in order; index ``i`` of everything below belongs to ``pairs[i]``.
        entries: Where each lies.
        read: Reads a pair, where it does not lie anywhere.
        num_classes: Of the masks, the background included.
        resize: What size they have.
    """

    pairs: tuple[Pair, ...]
    entries: tuple[Entry, ...]
    read: Read
    num_classes: int
    resize: Resize

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """Height and width of each picture."""
        return tuple((entry.facts.height, entry.facts.width) for entry in self.entries)

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """A hash of each image file's content."""
        return tuple(entry.fingerprint for entry in self.entries)

    @property
    def foreground(self) -> tuple[float, ...]:
        """Of each picture, the share of the pixels that count which belong to another class than the first."""
        return tuple(entry.facts.foreground for entry in self.entries)

    @property
    def class_pixels(self) -> NDArray[np.int64]:
        """How many pixels of each mask, at its original size, belong to each class: ``(N, num_classes)``."""
        counts = np.array([entry.facts.class_pixels for entry in self.entries], np.int64)
        return counts.reshape(len(self.entries), self.num_classes)

    @property
    def uncached(self) -> int:
        """How many pictures are decoded whenever they are needed, because there was no room for them."""
        return sum(entry.path is None for entry in self.entries)

    def pixels(self, index: int) -> NDArray[np.uint8]:
        """The bytes of each pixel ``(H, W, S)``: image, packed target, and zeros; a view of the file.

        Raises:
            InputError: The file of a picture that must be decoded again is gone or has changed.
        """
        facts, path = self.entries[index].facts, self.entries[index].path
        if path is not None:
            # Another run may have cleared it away since.
            with contextlib.suppress(OSError, ValueError):
                # Writing to it would change a copy: torch takes no arrays that must not be written to.
                return np.memmap(path, np.uint8, "c", PIXELS_AT, (facts.height, facts.width, facts.pixel_bytes))
        picture = prepare(self.pairs[index], self.read, self.num_classes, self.resize)
        if picture.facts != facts:
            raise InputError(f"{self.pairs[index].image} or its mask changed during the run; start again.")
        return picture.pixels

    def image(self, index: int) -> NDArray[np.uint8]:
        """The image ``(H, W, C)``."""
        return self.pixels(index)[..., : self.entries[index].facts.channels]

    def target(self, index: int) -> NDArray[np.uint8]:
        """The packed target ``(H, W, P)``; see `targets.pack_target`."""
        facts = self.entries[index].facts
        return self.pixels(index)[..., facts.channels : facts.channels + facts.planes]

    def thumbnails(self) -> NDArray[np.uint8]:
        """A small copy of each image, ``(N, 64, 64, 3)``."""
        found = np.empty((len(self.pairs), SIDE, SIDE, 3), np.uint8)
        for index, (pair, entry) in enumerate(zip(self.pairs, self.entries, strict=True)):
            small = entry.small if entry.path is None else _read_thumbnail(entry.path)
            found[index] = thumbnail(self.read(pair)[0]) if small is None else small
        return found

    def without_thumbnails(self) -> "Cache":
        """The same, holding nothing of its pictures."""
        return replace(self, entries=tuple(replace(entry, small=None) for entry in self.entries))


@dataclass(frozen=True)
class CacheFolder:
    """Where decoded pictures lie, shared by all runs.

    Attributes:
        path: See `default_cache_folder`.
        limit_bytes: It grows to this; beyond it, what has not been used for longest goes. Nothing of the pictures that
            are read goes; what finds no room is decoded whenever it is needed.
        spared: What does not go either.
    """

    path: Path
    limit_bytes: int = DEFAULT_LIMIT_BYTES
    spared: Sequence[Entry] = ()


def build_cache(
    pairs: Sequence[Pair],
    folder: CacheFolder,
    *,
    read: Read,
    num_classes: int,
    settings_key: str,
    resize: Resize,
    advance: Callable[[], None],
    spent: Callable[[], float] = lambda: 0.0,
) -> tuple[Cache, tuple[Problem, ...]]:
    """Read, check and resize every pair that no earlier run has left in the folder.

    Args:
        pairs: What to read.
        folder: Where they are kept.
        read: Reads the image ``(H, W, C)`` and the mask of classes ``(H, W)`` of a pair; it goes to other processes.
        num_classes: Of the masks, the background included.
        settings_key: Names everything besides the files that decides what ``read`` returns.
        resize: What size each picture gets.
        advance: Called after each pair, for a progress bar.
        spent: The share that is over of the time for this. Pairs are looked up until half of it is, and decoded until
            all of it is, but for a first few.

    Returns:
        The cache of all pairs that can be used, and a problem for each that cannot; pairs for which there was no time
        are in neither.

    Raises:
        DoesNotFitError: A picture takes more memory than there is.
    """

    def find(numbered: tuple[int, Pair]) -> Entry | Missing | Problem | None:
        number, pair = numbered
        if number >= LEAST_READ and spent() >= 0.5:
            return None
        try:
            fingerprint, content, key = _keys(pair, f"{num_classes} {resize} {settings_key}")
        except InputError as error:
            return _problem(pair, error)
        path = folder.path / key[:2] / f"{key}.pixels"
        facts = _read_facts(path)
        known = fingerprint, content, path
        return Missing(pair, *known) if facts is None else Entry(facts, *known)

    def make(numbered: tuple[int, Missing]) -> Entry | Problem | None:
        number, missing = numbered
        if number >= LEAST_READ and spent() >= 1:
            return None
        try:
            picture = prepare(missing.pair, read, num_classes, resize)
        except InputError as error:
            return _problem(missing.pair, error)
        has_room = room.claim(PIXELS_AT + picture.pixels.nbytes)
        is_kept = has_room and _write(missing.path, picture)
        place, small = (missing.path, None) if is_kept else (None, picture.thumbnail)
        return Entry(picture.facts, missing.fingerprint, missing.content, place, small)

    found: list[Entry | Missing | Problem | None] = []
    for one in in_threads(find, enumerate(pairs)):
        found.append(one)
        if not isinstance(one, Missing):
            advance()
    room = Room(folder, [one.path for one in found if isinstance(one, Entry | Missing)])
    missing = {place: one for place, one in enumerate(found) if isinstance(one, Missing)}
    for place, one in zip(missing, in_threads(make, missing.items()), strict=True):
        found[place] = one
        advance()
    kept = [(pair, one) for pair, one in zip(pairs, found, strict=True) if isinstance(one, Entry)]
    cache = Cache(tuple(pair for pair, _ in kept), tuple(one for _, one in kept), read, num_classes, resize)
    return cache, tuple(one for one in found if isinstance(one, Problem))


def default_cache_folder() -> Path:
    """``$MASKWRIGHT_CACHE``, or where programs of this user keep such files."""
    chosen = os.environ.get("MASKWRIGHT_CACHE")
    if chosen:
        return Path(chosen)
    try:
        home = Path.home()
    except RuntimeError:  # in a container, a user may have none
        home = Path(tempfile.gettempdir())
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "maskwright" / "cache"
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "maskwright"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "maskwright"


def prepare(pair: Pair, read: Read, num_classes: int, resize: Resize) -> Picture:
    """Read a pair and bring it to training size.

    Raises:
        InputError: It cannot be read.
    """
    image, mask = read(pair)
    height, width = resize.shape_of(*image.shape[:2])
    packed = pack_target(mask, num_classes, height, width)
    counts = np.bincount(mask.ravel(), minlength=IGNORED + 1)[:num_classes]
    facts = Facts(height, width, image.shape[2], packed.shape[2], tuple(counts.tolist()))
    pixels = np.zeros((height, width, facts.pixel_bytes), np.uint8)
    pixels[..., : facts.channels] = resize_image(image, height, width)
    pixels[..., facts.channels : facts.channels + facts.planes] = packed
    return Picture(facts, pixels, thumbnail(image))


class Room:
    """How much may still be written to a cache folder."""

    def __init__(self, folder: CacheFolder, needed: Iterable[Path | None]) -> None:
        self.folder = folder.path
        self.limit = folder.limit_bytes
        self.lock = threading.Lock()
        needed = {*needed, *(entry.path for entry in folder.spared)}
        self.used = 0
        others: list[tuple[float, int, Path]] = []
        for path in self.folder.glob("??/*.pixels"):
            if not _OWN.fullmatch(path.relative_to(self.folder).as_posix()):
                continue
            with contextlib.suppress(OSError):  # another run has just removed it
                facts = path.stat()
                self.used += facts.st_size
                if path not in needed:
                    others.append((facts.st_mtime, facts.st_size, path))
        self.oldest_last = sorted(others, reverse=True)

    def claim(self, size: int) -> bool:
        """Make room for a file, if need be at the cost of files that this run does not need."""
        with self.lock:
            while not self._has(size):
                if not self.oldest_last or size > self.limit:
                    return False
                _, freed, path = self.oldest_last.pop()
                with contextlib.suppress(OSError):  # in use on Windows
                    path.unlink(missing_ok=True)  # another run may have been first, and the room is free all the same
                    self.used -= freed
            self.used += size
            return True

    def _has(self, size: int) -> bool:
        return self.used + size <= self.limit and size <= _free_bytes(self.folder)


def _problem(pair: Pair, error: InputError) -> Problem:
    """What is told of a pair that cannot be used; one that memory is too small for may be whole, and ends the run."""
    if isinstance(error, DoesNotFitError):
        raise error
    return Problem(pair.image, str(error))


def _free_bytes(folder: Path) -> int:
    """What may be written to a disk without filling it."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        disk = shutil.disk_usage(folder)
    except OSError:
        return 0
    return disk.free - min(SPARED_BYTES, int(SPARED_SHARE * disk.total))


def _keys(pair: Pair, how: str) -> tuple[str, str, str]:
    """The fingerprint of the image, a hash of what it and its mask hold, and the name under which they lie."""
    files = {path: fingerprint_of(path) for path in {pair.image, *mask_files(pair.mask)}}
    # Suffixes tell lossy files from others; another Pillow may decode and resize a little differently.
    contents = [(files[path], path.suffix.lower()) for path in (pair.image, *mask_files(pair.mask))]
    held = (contents, type(pair.mask).__name__, _details(pair.mask))
    return files[pair.image], _hash(held), _hash((FORMAT, PIL.__version__, how, *held))


def _hash(facts: object) -> str:
    return hashlib.blake2b(repr(facts).encode(), digest_size=16).hexdigest()


def _details(mask: Mask) -> object:
    """What a mask is besides its files' content, as something whose `repr` tells any two apart."""
    match mask:
        case Layers():
            return mask.class_names
        case Drawing():
            return mask.size, [(shape.class_name, _region(shape.region)) for shape in mask.shapes]
        case _:
            return None


def _region(region: Polygons | Runs) -> object:
    if isinstance(region, Polygons):
        return region.rings
    runs = (region.starts.tobytes(), region.lengths.tobytes())
    return (*(hashlib.blake2b(each).hexdigest() for each in runs), region.height, region.width, region.by_rows)


def _read_facts(path: Path) -> Facts | None:
    """Facts of a picture that lies there whole, which counts as a use; None where none does."""
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(HEADER_BYTES))
            size = os.fstat(file.fileno()).st_size
        facts = Facts(**{**header, "class_pixels": tuple(header["class_pixels"])})
        if size != PIXELS_AT + facts.height * facts.width * facts.pixel_bytes:
            return None
    except (OSError, ValueError, TypeError, KeyError):
        return None
    with contextlib.suppress(OSError):  # a folder that may only be read
        os.utime(path)
    return facts


def _read_thumbnail(path: Path) -> NDArray[np.uint8] | None:
    with contextlib.suppress(OSError, ValueError):
        return np.fromfile(path, np.uint8, THUMBNAIL_BYTES, offset=HEADER_BYTES).reshape(SIDE, SIDE, 3)
    return None


def _write(path: Path, picture: Picture) -> bool:
    """Write a picture, whole or not at all; say whether that was possible."""
    header = json.dumps(asdict(picture.facts)).encode()
    if len(header) > HEADER_BYTES:
        return False
    try:
        # A picture that a power cut takes back is decoded again.
        with replacing(path, lasting=False) as unfinished, unfinished.open("wb") as file:
            file.write(header.ljust(HEADER_BYTES))
            file.write(picture.thumbnail.tobytes())
            file.write(picture.pixels.data)
    except OSError:
        return False
    return True
