"""What the names of folders and files say about masks; no disk is touched.

Folder names are read as words: `masks`, `train_masks` and `trainannot` hold masks, `images` and
`imgs` hold images, `train` and `val` are parts of a split, and whatever is left is a folder that
masks mirror. File names lose words such as `_mask` and `_image`, so that both sides are left with
the same name.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePath
from typing import Literal

_IMAGE_FOLDERS = (
    "images?|imgs?|photos?|photographs?|pictures?|pics?|jpegimages|leftimg8bit|originals?|inputs?|frames?|camerargb"
)
_MASK_FOLDERS = (
    "masks?|labels?|annotations?|annots?|annos?|ann|gt|ground[-_. ]?truths?|segmentations?|segmentation(?:class|object)"
    "|seg|segmaps?|cameraseg|mattes?|matting|alphas?|trimaps?|semantic|targets?|gtfine|gtcoarse|lab"
    "|stuffthingmaps|pixelmaps|(?:1st|2nd)[-_. ]?manual|manual[12]?"
)
_MASK_WORDS = (
    "masks?|labels?|annotations?|annots?|gt|gtfine|gtcoarse|ground_?truth|segmentations?|seg|matte|trimaps?"
    "|manual[0-9]*|1stho|2ndho"
)
# Suffixes, since some programs call the mask of `a.jpg` `a.jpg.png`.
_OTHER_WORDS = "images?|imgs?|photos?|pictures?|original|leftimg8bit|sat|training|test|jpe?g|png|tiff?|bmp"
_ALL_WORDS = f"{_MASK_WORDS}|{_OTHER_WORDS}"

_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_SPLIT = "|".join(_SPLITS)
_SPLIT_FOLDER = re.compile(
    rf"(?:stage[0-9][-_. ]?)?({_SPLIT})(?:[-_. ]?(?:data|dataset|set|20[0-9]{{2}}))?", re.IGNORECASE
)
_SPLIT_AT_AN_END = re.compile(rf"(?P<split>{_SPLIT})(?:[-_. ]+|$)|(?:^|.*?[-_. ]+)(?P<last>{_SPLIT})$", re.IGNORECASE)

# What lies in a folder that `predict` has filled: its files are no data, though their names say so.
RESULTS_MARK = ".predict"

_GAP = re.compile("[-_. ]+")
_WORD_INSIDE = re.compile(f"[-_. ]+(?:{_ALL_WORDS})(?=[-_. ])", re.IGNORECASE)
_OTHER_WORD = re.compile(
    f"(?:^|(?<=[-_. ]))(?:{_OTHER_WORDS})[-_. ]+|[-_. ]+(?:{_OTHER_WORDS})(?=[-_. ]|$)", re.IGNORECASE
)
_DIGITS = re.compile("[0-9]+")
_NUMBER_AT_THE_END = re.compile("(?:^|[-_. ]+)[0-9]+$")

# Of two masks for the same image the one with the higher sum is taken. Whoever has Cityscapes'
# train ids made them for training; DRIVE's and HRF's `mask/` is the field of view, not the label.
_SCORES = [
    (re.compile(rf"(?:^|[-_. /*])(?:{words})(?=$|[-_. /*])", re.IGNORECASE), score)
    for score, words in (
        (2, "labeltrainids|trainids"),
        (1, "labelids|segmentationclass|1st[-_. ]?manual|manual1?|1stho|gtfine"),
        (-1, "segmentationobject|2nd[-_. ]?manual|manual2|2ndho|objects?|instances?|instanceids?|panoptic|human"),
        (-1, "colou?rs?|colou?red|colou?rmaps?|rgb|previews?|overlays?|vis|viz|visuali[sz]ations?|trimaps?|edges?"),
    )
]


@dataclass(frozen=True)
class Place:
    """What the names of a file's folders say."""

    role: Literal["image", "mask"] | None = None
    split: str | None = None
    folders: tuple[str, ...] = ()
    """The rest, which masks mirror."""
    plain_folders: tuple[str, ...] = ()
    """Those of them without a word for images or masks: `my_masks/` leaves `my` above and nothing here."""
    kind: str = ""
    """The folders that hold this kind of mask, `labels/masks`, whatever the part of the split."""

    @property
    def shared(self) -> tuple[str | None, tuple[str, ...]]:
        """What an image and its mask have in common."""
        return self.split, self.folders


@lru_cache(maxsize=65536)
def read_place(folders: tuple[str, ...]) -> Place:
    """Read the folders of a file; the innermost word counts, as in `photo-2023/masks/`."""
    place = Place()
    for folder in reversed(folders):
        word = read_folder(folder)
        kind = f"{word.kind}/{place.kind}".strip("/") if word.role == "mask" else place.kind
        plain = word.plain_folders
        if (place.role and word.role) or (place.split and word.split):
            plain = () if word.role else _plain(folder)
            word = Place(folders=(unicodedata.normalize("NFC", folder),))
        place = Place(
            place.role or word.role,
            place.split or word.split,
            word.folders + place.folders,
            plain + place.plain_folders,
            kind,
        )
    return place


@lru_cache(maxsize=65536)
def read_folder(name: str) -> Place:
    """Read one name: a word, or several such as `train_masks`, `trainannot` and `my_images`."""
    name = unicodedata.normalize("NFC", name)
    if match := _SPLIT_FOLDER.fullmatch(name):
        return Place(split=_SPLITS[match[1].lower()])
    for role, words, trim in (("mask", _MASK_FOLDERS, _MASK_FOLDER_TRIM), ("image", _IMAGE_FOLDERS, _IMAGE_TRIM)):
        if match := re.fullmatch(f"({_SPLIT})({words})", name, re.IGNORECASE):
            return _place_of(role, match[1], match[2])
        if match := re.fullmatch(f"({words})({_SPLIT})", name, re.IGNORECASE):
            return _place_of(role, match[2], match[1])
        if (rest := trim.apply(name)[1]) != name:
            rest = _IMAGE_TRIM.apply(rest)[1]  # mask_images/
            return _place_of(role, rest, name)
    return Place(folders=(name,), plain_folders=_plain(name))


def _place_of(role: str, rest: str, kind: str) -> Place:
    """The place of a folder whose name leaves a rest beside its word: a part of the split, or what sets it apart."""
    split = None
    if match := _SPLIT_AT_AN_END.match(rest):
        word = match["split"] or match["last"]
        split = _SPLITS[word.lower()]
        rest = (rest[match.end() :] if match["split"] else rest[: match.start("last")]).strip("-_. ")
        kind = kind.replace(word, "", 1).strip("-_. ")
    folders = (rest,) if rest else ()
    if role == "image":
        return Place("image", split, folders)
    return Place("mask", split, folders, (), kind.casefold())


def _plain(folder: str) -> tuple[str, ...]:
    return (unicodedata.normalize("NFC", folder).casefold(),)


def split_of_word(word: str) -> str | None:
    """The part of a split that a word names."""
    return _SPLITS.get(word.lower())


# --- File names


class _Trim:
    """Takes words off both ends of a name."""

    def __init__(self, words: str, *, glued_digits: bool = True) -> None:
        after = "[-_. ]+|(?=[0-9])|$" if glued_digits else "[-_. ]+|$"
        self._front = re.compile(rf"(?:{words})(?:{after})", re.IGNORECASE)
        self._back = re.compile(rf"[-_. ]+(?:{words})$", re.IGNORECASE)

    def apply(self, name: str) -> tuple[str, str, str]:
        """What was in front, what is left, and what was behind: `mask_7_seg` gives `mask_`, `7` and `_seg`."""
        start, end = 0, len(name)
        while True:
            if match := self._front.match(name, start, end):
                start = match.end()
            elif match := self._back.search(name, start, end):
                end = match.start()
            else:
                return name[:start], name[start:end], name[end:]


_MASK_FOLDER_TRIM = _Trim(_MASK_FOLDERS, glued_digits=False)
_IMAGE_TRIM = _Trim(_IMAGE_FOLDERS, glued_digits=False)
_MASK_TRIM = _Trim(_MASK_WORDS)
_TRIM = _Trim(_ALL_WORDS)


@lru_cache(maxsize=65536)
def bare_name(stem: str) -> str:
    """The name that an image and its mask share; file systems differ in how they store accents."""
    return _TRIM.apply(unicodedata.normalize("NFC", stem).casefold())[1]


def name_without_any_word(stem: str) -> str:
    """The bare name without words inside it either: `7_sat_01` and `7_mask_01` leave `7_01`."""
    return _WORD_INSIDE.sub("", bare_name(stem))


def name_without_mask_words(stem: str) -> str:
    """The name with words for masks taken off, and no others."""
    return _MASK_TRIM.apply(stem)[1]


def names_a_mask(stem: str) -> bool:
    """Whether a word for masks stands at an end of the name."""
    return name_without_mask_words(stem) != stem


def shorter_names(stem: str) -> Iterator[tuple[str, str]]:
    """The names that an image may have of which this mask shows a part, longest first, and what tells the part.

    >>> list(shorter_names("a_b_car_mask"))
    [('a_b', 'car'), ('a', 'b_car')]
    """
    rest = _TRIM.apply(unicodedata.normalize("NFC", stem))[1]
    for gap in reversed(list(_GAP.finditer(rest))):
        if gap.start() and rest[gap.end() :]:
            yield rest[: gap.start()], rest[gap.end() :]


def without_number(name: str) -> str:
    """The name without a number at its end: `car_1` leaves `car`, `1` leaves nothing, `car1` is a name."""
    return _NUMBER_AT_THE_END.sub("", name)


def name_pattern(stem: str, bare: str) -> str:
    """How a mask's name is made from its image's: `*_mask`, `*_labelids`, whatever its object, part or image word."""
    before, rest, after = _TRIM.apply(unicodedata.normalize("NFC", stem).casefold())
    rest = "*" if rest == bare else without_number(f"*{rest.removeprefix(bare)}")
    return _OTHER_WORD.sub("", f"{before}{rest}{after}")


def score(kind: str, pattern: str) -> int:
    """How well words fit a mask of classes; compared between masks of one image, it says nothing by itself."""
    return sum(value for words, value in _SCORES for text in (kind, pattern) if words.search(text))


def is_known_variant(word: str) -> bool:
    """Whether a word sets apart another picture of the same mask, such as `color`, rather than a class."""
    return any(words.fullmatch(word) for words, _ in _SCORES)


def natural(path: PurePath) -> tuple[tuple[str, ...], str]:
    """Sort 2 before 10; the text itself decides between equals, so that no order is left open."""
    return (*_natural_parts(path.parent.parts), natural_text(path.name)), str(path)


@lru_cache(maxsize=4096)
def _natural_parts(parts: Sequence[str]) -> tuple[str, ...]:
    return tuple(map(natural_text, parts))


def natural_text(text: str) -> str:
    """A text that sorts 2 before 10."""
    return _DIGITS.sub(lambda digits: digits[0].zfill(20), text.casefold())
