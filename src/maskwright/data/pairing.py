"""Which mask belongs to which image, in the layouts people have.

Only names are looked at. Folder names are read as words: `masks`, `train_masks` and `trainannot`
hold masks, `images` and `imgs` hold images, `train` and `val` are parts of a split, and whatever is
left is a folder that masks mirror. An image and a mask belong together when their folders leave the
same and their names do, once words such as `_mask` and `_image` are taken off. Where no folder is
for masks, these words tell masks from images.
"""

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path, PurePath

from maskwright.data.image_files import IMAGE_SUFFIXES
from maskwright.data.pairs import Pair, Pairing, Problem
from maskwright.errors import InputError

_EXPECTED = "images/ with masks/, train/ with train_masks/, train/images/ with train/masks/, or a.jpg beside a_mask.png"

_IMAGE_FOLDERS = ("images", "image", "imgs", "img", "photos", "photo", "pictures", "jpegimages")
_MASK_FOLDERS = (
    *("masks", "mask", "labels", "label", "annotations", "annotation", "annot", "annots", "gt"),
    *(
        "ground_truth",
        "groundtruth",
        "segmentation",
        "segmentations",
        "segmentationclass",
        "1st_manual",
    ),
)
_SPLIT_FOLDERS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}

_MASK_WORDS = "masks?|labels?|annotations?|annots?|gt|ground_?truth|segmentations?|seg|matte|manual[0-9]*"
_ALL_WORDS = f"{_MASK_WORDS}|images?|imgs?|photos?|pictures?|training|test"


@dataclass(frozen=True)
class _Place:
    """What the names of a file's folders say."""

    role: str | None = None
    """ "image", "mask", or None."""
    split: str | None = None
    folders: tuple[str, ...] = ()
    """The rest, which masks mirror."""

    @property
    def shared(self) -> tuple[str | None, tuple[str, ...]]:
        """What an image and its mask have in common."""
        return self.split, self.folders


def find_pairs(folder: Path) -> Pairing:
    """Pairs the images and masks below a folder.

    Folders without masks (Kaggle's `test/`, previews) are left out, and the layout says so. A lone
    `train/` is no split: splits count only where val or test has pairs as well.

    Args:
        folder: In any of the layouts that the module describes.

    Returns:
        Pairs and problems in natural order (2 before 10).

    Raises:
        InputError: The folder is missing, is a file, or holds no pictures or no masks.
    """
    files = find_pictures(folder)
    if not files:
        raise InputError(f"{folder} holds no pictures; it should hold {_EXPECTED}.")
    places = {file: _read_place(file.relative_to(folder).parent.parts) for file in files}
    images, masks = _tell_apart(places)
    matches, problems = _match(images, masks, places)
    has_mask_folder = any(place.role == "mask" for place in places.values())
    if not matches and not has_mask_folder:
        raise InputError(f"{folder} holds {len(files)} picture(s) but no masks for them; it should hold {_EXPECTED}.")
    pairs = [
        Pair(image.relative_to(folder).with_suffix("").as_posix(), image, mask, places[image].split)
        for image, mask in sorted(matches, key=lambda match: _natural(match[0]))
    ]
    used = {*images, *masks}
    left_out = [file for file in files if file not in used]
    return Pairing(
        tuple(_without_lone_split(pairs)),
        tuple(sorted(problems, key=lambda problem: _natural(problem.path))),
        _describe_layout(folder, pairs, left_out),
    )


def find_mask(image: Path) -> Path | None:
    """Finds the mask of one image file, in the same layouts as `find_pairs`.

    For a picture or a few: each call lists the image's folder and those beside it.

    Returns:
        The mask; None where there is none, or more than one.
    """
    image = image.absolute()
    neighbours = _pictures_in(image.parent)
    for folder in _mask_folders_near(image.parent):
        matches, _ = _match(neighbours, _pictures_in(folder))
        if mask := dict(matches).get(image):
            return mask
    matches, _ = _match(*_part(_names_a_mask, neighbours))
    return dict(matches).get(image)


def match_masks(images: Sequence[Path], folder: Path) -> dict[Path, Path]:
    """Finds the masks of images among the pictures below a folder, by their names alone.

    Raises:
        InputError: The folder is missing or is a file.
    """
    matches, _ = _match(images, find_pictures(folder))
    return dict(matches)


def find_pictures(folder: Path) -> list[Path]:
    """Finds every picture file below a folder, in natural order; hidden ones are left out.

    Raises:
        InputError: The folder is missing or is a file.
    """
    if not folder.exists():
        raise InputError(f"{folder} does not exist; name a folder that holds {_EXPECTED}.")
    if not folder.is_dir():
        raise InputError(f"{folder} is a file; name a folder that holds {_EXPECTED}.")
    found: list[Path] = []
    visited: set[str] = set()
    for where, folders, files in os.walk(folder, onerror=_refuse_folder, followlinks=True):
        # Links are followed, since data often lies elsewhere, but not in circles.
        if (real := os.path.realpath(where)) in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(filter(_is_visible, folders))
        found += [Path(where, name) for name in files if _is_picture(name)]
    for path in found:
        _refuse_undecodable(path)
    return sorted(found, key=_natural)


def _refuse_undecodable(path: Path) -> None:
    """Names that are no UTF-8 come out of archives packed elsewhere; nothing could print them or write them down."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{str(path)!a} has a name that is not UTF-8; rename it.") from error


# --- Files and folders


def _refuse_folder(error: OSError) -> None:
    raise InputError(f"{error.filename} cannot be listed ({error.strerror}); change its permissions.") from error


def _list_folder(folder: Path) -> list[Path]:
    """What lies in a folder, sorted; nothing for one that cannot be listed."""
    try:
        return sorted(folder.iterdir(), key=_natural)
    except OSError:
        return []


def _pictures_in(folder: Path) -> list[Path]:
    return [file for file in _list_folder(folder) if _is_picture(file.name)]


def _is_picture(name: str) -> bool:
    return _is_visible(name) and PurePath(name).suffix.lower() in IMAGE_SUFFIXES


def _is_visible(name: str) -> bool:
    return not name.startswith(".") and name != "__MACOSX"


def _natural(path: PurePath) -> tuple[list[str], str]:
    """Sorts 2 before 10; the text itself decides between equals, so that no order is left open."""
    parts = [re.sub("[0-9]+", lambda digits: digits[0].zfill(20), part.casefold()) for part in path.parts]
    return parts, str(path)


# --- What folder names say


def _read_place(folders: Sequence[str]) -> _Place:
    """Reads the folders of a file; the innermost word counts, as in `photo-2023/masks/`."""
    place = _Place()
    for folder in reversed(folders):
        word = _read_folder(folder)
        if (place.role and word.role) or (place.split and word.split):
            word = _Place(folders=(folder,))
        place = _Place(place.role or word.role, place.split or word.split, word.folders + place.folders)
    return place


@lru_cache(maxsize=4096)
def _read_folder(name: str) -> _Place:
    """Reads one name: a word, or two such as `train_masks`, `trainannot` and `masks-train`."""
    if name.lower() in _SPLIT_FOLDERS:
        return _Place(split=_SPLIT_FOLDERS[name.lower()])
    for role, words in (("mask", _MASK_FOLDERS), ("image", _IMAGE_FOLDERS)):
        if name.lower() in words:
            return _Place(role)
        word = "|".join(words)
        match = re.fullmatch(f"(?P<rest>.+?)(?P<gap>[-_. ]?)({word})", name, re.IGNORECASE)
        match = match or re.fullmatch(f"({word})(?P<gap>[-_. ]?)(?P<rest>.+)", name, re.IGNORECASE)
        if match and match["rest"].lower() in _SPLIT_FOLDERS:
            return _Place(role, _SPLIT_FOLDERS[match["rest"].lower()])
        if match and match["gap"]:
            is_image_word = match["rest"].lower() in _IMAGE_FOLDERS  # mask_images/
            return _Place(role, None, () if is_image_word else (match["rest"],))
    return _Place(folders=(name,))


def _tell_apart(places: Mapping[Path, _Place]) -> tuple[list[Path], list[Path]]:
    """Images and masks, by the words of their folders, or of their own names where those have none.

    What is neither is left out: pictures of a folder without masks, unless it holds train's images.
    """
    others, masks = _part(lambda file: places[file].role == "mask", places)
    if not masks:
        others, masks = _part(_names_a_mask, places)
        labelled = {places[mask].shared for mask in masks}
        return [file for file in others if places[file].shared in labelled], masks
    plain, images = _part(lambda file: places[file].role == "image", others)
    # Pictures of a folder without such a word (`train/`, or the folder itself beside `masks/`) are
    # the images of masks that have no others.
    unclaimed = {places[mask].shared for mask in masks} - {places[image].shared for image in images}
    splits = {places[mask].split for mask in masks} | {None, "train"}
    return [
        *(file for file in plain if places[file].shared in unclaimed),
        *(file for file in images if places[file].split in splits),
    ], masks


def _part(holds: Callable[[Path], bool], files: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """Files of which it does not hold, and files of which it does."""
    parts: tuple[list[Path], list[Path]] = ([], [])
    for file in files:
        parts[holds(file)].append(file)
    return parts


def _mask_folders_near(folder: Path) -> Iterator[Path]:
    """Folders whose masks `find_pairs` would give to the pictures of this one, nearest first."""
    for ancestor in (folder, *folder.parents[:3]):
        below = folder.relative_to(ancestor).parts
        shared = _read_place(below).shared
        for beside in _list_folder(ancestor):
            for rest in (below, below[1:]):
                place = _read_place((beside.name, *rest))
                candidate = beside.joinpath(*rest)
                is_beside = candidate.is_dir() and candidate != folder
                if is_beside and place.role == "mask" and place.shared == shared:
                    yield candidate


# --- What file names say


def _match(
    images: Sequence[Path], masks: Sequence[Path], places: Mapping[Path, _Place] | None = None
) -> tuple[list[tuple[Path, Path]], list[Problem]]:
    """Pairs images and masks by place and name, and says what is wrong with the others."""

    def key(file: Path) -> Hashable:
        return places and places[file].shared, _bare_name(file)

    matches: list[tuple[Path, Path]] = []
    problems: list[Problem] = []
    for some_images, some_masks in _group(images, masks, key):
        resolved = _resolve(some_images, some_masks)
        matches += resolved
        problems += [] if resolved else _explain(some_images, some_masks)
    return matches, problems


def _resolve(images: Sequence[Path], masks: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Pairs files of one bare name, all of them or none.

    Words that were taken off too many (`001` and `img_001` in one folder) are put back until each
    image has its mask.
    """
    for key in (_bare_name, _name_without_mask_words, lambda file: file.stem):
        groups = _group(images, masks, key)
        if all(len(some) == 1 for group in groups for some in group):
            return [(image, mask) for (image,), (mask,) in groups]
    return []


def _explain(images: Sequence[Path], masks: Sequence[Path]) -> list[Problem]:
    if not masks:
        return [
            Problem(image, f"{image} has no mask; add one of the same name or remove the picture.") for image in images
        ]
    if not images:
        return [
            Problem(mask, f"{mask} is a mask without an image; add the image or remove the mask.") for mask in masks
        ]
    if len(images) == 1:
        return [Problem(images[0], f"{images[0]} has several masks, {_join(masks)}; keep one of them.")]
    several = f"{_join(images)} are images of the same name for {_join(masks)}"
    return [Problem(images[0], f"{several}; keep one of them or rename them.")]


def _group(
    images: Iterable[Path], masks: Iterable[Path], key: Callable[[Path], Hashable]
) -> list[tuple[list[Path], list[Path]]]:
    groups: dict[Hashable, tuple[list[Path], list[Path]]] = defaultdict(lambda: ([], []))
    for image in images:
        groups[key(image)][0].append(image)
    for mask in masks:
        groups[key(mask)][1].append(mask)
    return list(groups.values())


def _names_a_mask(file: Path) -> bool:
    return _without_words(file.stem, _MASK_WORDS) != file.stem


def _name_without_mask_words(file: Path) -> str:
    return _without_words(file.stem, _MASK_WORDS)


def _bare_name(file: Path) -> str:
    """The name that an image and its mask share; file systems differ in how they store accents."""
    return _without_words(unicodedata.normalize("NFC", file.stem).casefold(), _ALL_WORDS)


def _without_words(stem: str, words: str) -> str:
    """Takes words off both ends: `IMG_7_mask` and `mask7` leave `7`, `mask` leaves nothing."""
    pattern = re.compile(rf"^(?:{words})(?:[-_. ]+|(?=[0-9])|$)|[-_. ]+(?:{words})$", re.IGNORECASE)
    while (shorter := pattern.sub("", stem, count=1)) != stem:
        stem = shorter
    return stem


# --- What the user is told


def _without_lone_split(pairs: Sequence[Pair]) -> list[Pair]:
    """Drops the parts where there is nothing beside train: Kaggle's `train/` alone is no split."""
    parts = {pair.split or "train" for pair in pairs}
    is_split = "train" in parts and len(parts) > 1
    return list(pairs) if is_split else [replace(pair, split=None) for pair in pairs]


def _describe_layout(folder: Path, pairs: Sequence[Pair], left_out: Sequence[Path]) -> str:
    found = dict.fromkeys(_describe_pair(folder, pair) for pair in pairs)
    ignored = dict.fromkeys(_head(folder, file) or file.name for file in left_out)
    phrase = _join(found) or "no pairs"
    return f"{phrase}; left out, without masks: {_join(ignored)}" if ignored else phrase


def _describe_pair(folder: Path, pair: Pair) -> str:
    if pair.image.parent == pair.mask_path.parent:
        return "images and masks in one folder, told apart by their names"
    return f"{_head(folder, pair.image) or 'the folder itself'} + {_head(folder, pair.mask_path)}"


def _head(folder: Path, file: Path) -> str:
    """The folders of a file down to the last that has a meaning, or the first one."""
    parts = file.relative_to(folder).parent.parts
    meant = [depth for depth, part in enumerate(parts) if not _read_folder(part).folders]
    return "".join(f"{part}/" for part in parts[: max(meant, default=0) + 1])


def _join(items: Iterable[object], most: int = 4) -> str:
    """Lists a few items as a sentence does."""
    words = [str(item) for item in items]
    if len(words) > most:
        words = [*words[: most - 1], f"{len(words) - most + 1} more"]
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
