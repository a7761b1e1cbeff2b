"""From the names in annotation files to the pictures of a folder, and from these to pairs.

Names are only ever looked up among the pictures that were found below the folder, so that no name leads out of it.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from maskwright.data.folder_words import read_place, split_of_word
from maskwright.data.image_files import IMAGE_SUFFIXES
from maskwright.data.pairing import survey_pictures
from maskwright.data.pairs import ClassList, Pair, Pairing, Problem, without_lone_split
from maskwright.errors import InputError

_MOST_TOLD = 20


@dataclass(frozen=True)
class Pictures:
    """The pictures below a folder."""

    folder: Path
    files: tuple[Path, ...]
    """In natural order."""
    problems: tuple[Problem, ...]
    """Folders and files that could not be looked at."""
    by_end: Mapping[str, Sequence[Path]]
    """Those that a path ends with: ``train/a.jpg`` and ``a.jpg``, both also without suffix."""

    def name_of(self, file: Path) -> str:
        """The name of a pair: the image's path below the folder, posix, without suffix."""
        return file.relative_to(self.folder).with_suffix("").as_posix()


def list_pictures(folder: Path) -> Pictures:
    """List the pictures below a folder by every end of their paths."""
    files, problems = survey_pictures(folder)
    by_end: dict[str, list[Path]] = defaultdict(list)
    for file in files:
        parts = file.relative_to(folder).parts
        for start in range(len(parts)):
            end = "/".join(parts[start:])
            by_end[_key(end)].append(file)
            by_end[_key(_without_suffix(end))].append(file)
    return Pictures(folder, tuple(files), tuple(problems), by_end)


def find_picture(pictures: Pictures, name: str, near: Path) -> Path:
    """Find the picture that an annotation file names.

    As much of the name's end as possible has to fit: tools write paths of the machine they ran on. Of several pictures,
    the one beside the file is meant, or in a folder that the file is named after (``instances_val2017.json`` and
    ``val2017/``), or below the file's own folder.

    Args:
        pictures: Where to look.
        name: A name or path, with or without suffix, with slashes of either kind.
        near: The annotation file.

    Raises:
        InputError: There is none, or more than one.
    """
    parts = [part for part in re.split(r"[/\\]+", name) if part not in ("", ".", "..")]
    for start in range(len(parts)):
        found = pictures.by_end.get(_key("/".join(parts[start:])), ())
        if chosen := _choose(found, near):
            return chosen
        if found:
            several = " and ".join(str(file) for file in found[:2])
            raise InputError(f"{near} has the picture {name!a}, which may be {several}; rename one of them.")
    if ".." in re.split(r"[/\\]+", name):
        raise InputError(f"{near} has the picture {name[:200]!a}, which leads out of the folder; correct the path.")
    raise InputError(f"{near} has the picture {name[:200]!a}, which is not in {pictures.folder}; add it.")


def read_url(url: str) -> str:
    """Take the path out of an address: without host, what stands behind ``?d=``, its ``%20`` resolved."""
    if "?d=" in url:
        url = url.partition("?d=")[2].partition("&")[0]
    elif re.match("[a-z][a-z0-9+]*://", url, re.IGNORECASE):
        url = url.partition("://")[2].partition("/")[2].partition("?")[0]
    return unquote(url)


def is_picture_name(name: str) -> bool:
    """Whether a name ends as pictures do."""
    return name.lower().endswith(tuple(IMAGE_SUFFIXES))


def splits_of_files(files: Iterable[Path]) -> dict[Path, str]:
    """The parts of a split that annotation files are named after, where these differ: ``instances_val2017``.

    Where they do not, as with Kaggle's ``train_masks.csv`` alone, the folders of the pictures say more.
    """
    named = {file: _split_in(file.stem) for file in files}
    # A name without a part counts as train, as a picture does in `without_lone_split`.
    is_split = len({split or "train" for split in named.values()}) > 1
    return {file: split for file, split in named.items() if split and is_split}


def split_of_folders(pictures: Pictures, image: Path) -> str | None:
    """The part of a split that the folders of an image stand for."""
    return read_place(image.relative_to(pictures.folder).parent.parts).split


def make_pairing(
    pictures: Pictures,
    pairs: Iterable[Pair],
    problems: Iterable[Problem],
    *,
    layout: str,
    classes: ClassList | None,
) -> Pairing:
    """Put in order what an annotation file gave, and say what is wrong with it as a whole.

    A picture that is given twice is left out, and pictures beside those that are given, without being given themselves,
    have no mask. Whole folders that are not given are left aside, as Kaggle's ``test/`` is, and the layout says so.
    """
    by_image: dict[Path, list[Pair]] = defaultdict(list)
    for pair in pairs:
        by_image[pair.image].append(pair)
    found = [*pictures.problems, *problems]
    found += [_twice(image, some) for image, some in by_image.items() if len(some) > 1]
    used_names: dict[str, Path] = {}
    kept: list[Pair] = []
    for image in pictures.files:
        some = by_image.get(image, [])
        if len(some) != 1:
            continue
        if other := used_names.get(some[0].name):
            found.append(
                Problem(image, f"{image} and {other} differ in nothing but their suffix; rename one of them.", "name")
            )
            continue
        used_names[some[0].name] = image
        kept.append(some[0])
    known = {*by_image, *(problem.path for problem in found)}
    folders = {image.parent for image in by_image}
    rest = [file for file in pictures.files if file not in known]
    sources = sorted({pair.mask_path.name for pair in kept})
    source = sources[0] if len(sources) == 1 else "the annotation files"
    found += [
        Problem(file, f"{file} has no mask: {source} does not name it; annotate or remove it.", "image without mask")
        for file in rest
        if file.parent in folders
    ]
    aside = sorted({_folder_name(pictures, file) for file in rest if file.parent not in folders})
    if aside:
        layout += f"; left out, without masks: {', '.join(aside[:_MOST_TOLD])}"
    return Pairing(tuple(without_lone_split(kept)), tuple(found), layout, classes)


def _split_in(name: str) -> str | None:
    """The part of a split that the last such word in a name stands for."""
    words = re.findall("[a-z]+", name.lower())
    return next((split for word in reversed(words) if (split := split_of_word(word))), None)


def _choose(found: Sequence[Path], near: Path) -> Path | None:
    if len(found) == 1:
        return found[0]
    stem = near.stem.casefold()
    for fits in (
        lambda file: file.parent == near.parent,
        lambda file: stem.endswith(file.parent.name.casefold()) or stem.startswith(file.parent.name.casefold()),
        lambda file: file.parent.parent == near.parent,
        lambda file: near.parent in file.parents,
    ):
        if len(some := [file for file in found if fits(file)]) == 1:
            return some[0]
    return None


def _twice(image: Path, pairs: Sequence[Pair]) -> Problem:
    files = sorted({str(pair.mask_path) for pair in pairs})
    where = f"in {files[0]}" if len(files) == 1 else f"in {' and '.join(files[:2])}"
    return Problem(image, f"{image} is given {len(pairs)} times {where}; keep one of them.", "ambiguous")


def _folder_name(pictures: Pictures, file: Path) -> str:
    parts = file.relative_to(pictures.folder).parent.parts
    return f"{parts[0]}/" if parts else file.name


def _key(name: str) -> str:
    """File systems differ in how they store accents, and tools in capitals."""
    return unicodedata.normalize("NFC", name).casefold()


def _without_suffix(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and f".{suffix.lower()}" in IMAGE_SUFFIXES else name
