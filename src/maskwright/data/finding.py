"""What lies in a folder: pictures with their masks, however these are stored.

The one entrance for commands. Masks in files of their own are found by names (`pairing`); else annotation files are
looked for and recognised by what is in them (`formats`); else the pictures' own alpha channels are the masks.
"""

import codecs
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from maskwright.data.folder_words import RESULTS_MARK, natural, read_place
from maskwright.data.formats import coco, fields, kaggle_csv, label_studio, labelme, manifest
from maskwright.data.formats.class_lists import CLASS_LIST_NAMES, read_class_list
from maskwright.data.formats.pictures import Pictures, list_pictures, make_pairing, split_of_folders
from maskwright.data.image_files import alpha_varies, describe
from maskwright.data.matching import join
from maskwright.data.pairing import find_pairs
from maskwright.data.pairs import AlphaChannel, Drawing, Pair, Pairing, Problem, mask_files
from maskwright.errors import InputError


@dataclass(frozen=True)
class _Format:
    """A kind of annotation files."""

    name: str
    suffix: str
    is_one: Callable[[bytes], bool]
    read: Callable[[Sequence[Path], Pictures], Pairing]


# Where a folder holds several kinds, the first is read.
_FORMATS = (
    _Format("COCO", ".json", coco.is_coco, coco.read_coco),
    _Format("run lengths", ".csv", kaggle_csv.is_kaggle_csv, kaggle_csv.read_kaggle_csv),
    _Format("Label Studio", ".json", label_studio.is_label_studio, label_studio.read_label_studio),
    _Format("LabelMe", ".json", labelme.is_labelme, labelme.read_labelme),
)
# The end of a sentence that begins with a name.
_CVAT = "is in CVAT's own format, which is not read; export the task as COCO 1.0 or as Segmentation mask 1.1"
# Of a file that is too large to be read: it is recognised by its beginning, and refused then.
_HEAD_BYTES = 2**20
# So many pictures, evenly spaced, tell whether alpha channels are masks; the others are checked when they are read.
_ENOUGH = 16


def find_dataset(photos: Path) -> Pairing:
    """Find the pictures of a data set and their masks.

    Args:
        photos: A folder, or the manifest or annotation file of one. Of a folder, the first of these is taken:
            ``manifest.csv``; mask files; annotation files of COCO, Kaggle, Label Studio or LabelMe; alpha channels.

    Returns:
        What was found. The layout says from what, and which annotation files were left aside. Classes come from a list
        such as ``classes.txt`` in the folder, else from the annotations.

    Raises:
        InputError: Nothing was found, or a file that has to be read as a whole cannot be.
    """
    if photos.is_file():
        return _find_from_file(photos)
    if (table := photos / manifest.MANIFEST_NAME).is_file():
        return _with_class_list(manifest.read_manifest(table), [photos])
    refusal: InputError | None = None
    try:
        pairing = find_pairs(photos)
    except InputError as error:
        pairing, refusal = Pairing((), (), ""), error
    annotations, strangers = _find_annotations(photos)
    if not pairing.pairs and annotations:
        return _read_annotations(annotations, list_pictures(photos))
    if refusal:
        if alpha := _find_alpha(list_pictures(photos)):
            return _with_class_list(alpha, [photos])
        said = _about_cvat(photos) or (_in_words(strangers) if strangers else "")
        raise InputError(f"{refusal}{said}") if said else refusal
    masks = {file.parent for pair in pairing.pairs for file in mask_files(pair.mask)}
    return _with_class_list(replace(pairing, layout=pairing.layout + _aside(annotations)), [photos, *sorted(masks)])


def _find_from_file(file: Path) -> Pairing:
    content = _look_into(file)
    if file.suffix.lower() == ".csv" and manifest.is_manifest(content):
        return _with_class_list(manifest.read_manifest(file), [file.parent])
    kind = _kind_of(file, content)
    if kind is None and _is_utf16(content):
        raise InputError(f"{file} is not UTF-8 text; save it as UTF-8.")
    if kind is None and _is_cvat(content):
        raise InputError(f"{file} {_CVAT}.")
    if kind is None:
        raise InputError(
            f"{file} is no manifest with the columns image and mask, and no annotation file of COCO, Kaggle, "
            "Label Studio or LabelMe; name one, or a folder of pictures."
        )
    # annotations/ lies beside the pictures, or among them.
    is_apart = read_place((file.absolute().parent.name,)).role == "mask"
    pictures = list_pictures(file.parent)
    if is_apart and not pictures.files:
        pictures = list_pictures(file.absolute().parent.parent)
    return _read_annotations([(kind, [file])], pictures)


# --- Annotation files


def _find_annotations(folder: Path) -> tuple[list[tuple[_Format, list[Path]]], dict[Path, bool]]:
    """The annotation files below a folder, by kind, each in natural order.

    And files that might be some, with whether they are UTF-16.
    """
    by_kind: dict[str, list[Path]] = {}
    strangers: dict[Path, bool] = {}
    for file in sorted(_files_below(folder, {kind.suffix for kind in _FORMATS}), key=natural):
        try:
            content = _look_into(file)
        except InputError:
            continue  # nobody says that it is one of ours
        kind = _kind_of(file, content)
        if kind:
            by_kind.setdefault(kind.name, []).append(file)
        elif file.name not in CLASS_LIST_NAMES:
            strangers[file] = _is_utf16(content)
    return [(kind, by_kind[kind.name]) for kind in _FORMATS if kind.name in by_kind], strangers


def _kind_of(file: Path, content: bytes) -> _Format | None:
    return next((kind for kind in _FORMATS if kind.suffix == file.suffix.lower() and kind.is_one(content)), None)


def _in_words(strangers: Mapping[Path, bool]) -> str:
    """What may be the matter with files that are of no known kind, after the sentence that nothing was found."""
    for file, is_utf16 in strangers.items():
        if is_utf16:
            return f" {file} is not UTF-8 text; save it as UTF-8."
    are = "is no annotation file" if len(strangers) == 1 else "are no annotation files"
    return f" {join(strangers)} {are} of COCO, Kaggle, Label Studio or LabelMe."


def _about_cvat(folder: Path) -> str:
    """A sentence about the first file below a folder that only CVAT reads; looked for where nothing else was found."""
    for file in sorted(_files_below(folder, {".xml"}), key=natural):
        try:
            if _is_cvat(_look_into(file)):
                return f" {file} {_CVAT}."
        except InputError:
            continue  # nobody says that it is one of theirs
    return ""


def _is_cvat(content: bytes) -> bool:
    return b"<annotations>" in content and (b"<image " in content or b"<track " in content)


def _is_utf16(content: bytes) -> bool:
    """Whether a text has its mark, or every second byte of its beginning is zero."""
    return content.startswith((b"\xff\xfe", b"\xfe\xff")) or 0 in content[:2]


def _read_annotations(annotations: Sequence[tuple[_Format, list[Path]]], pictures: Pictures) -> Pairing:
    (kind, files), *others = annotations
    if not pictures.files:
        raise InputError(f"{files[0]} describes pictures, but {pictures.folder} holds none; add them.")
    pairing = kind.read(files, pictures)
    if not pairing.pairs and not pairing.problems:
        raise InputError(f"{files[0]} lists no pictures; export it again.")
    pairing = replace(pairing, layout=pairing.layout + _aside(others))
    return _with_class_list(pairing, [pictures.folder, *dict.fromkeys(file.parent for file in files)])


def _aside(annotations: Iterable[tuple[_Format, list[Path]]]) -> str:
    """What was not read, for the layout."""
    named = [
        f"{files[0].name if len(files) == 1 else f'{len(files)} {files[0].suffix} files'} ({kind.name})"
        for kind, files in annotations
    ]
    return f"; left aside: {', '.join(named)}" if named else ""


def _look_into(file: Path) -> bytes:
    """A file's content without a byte order mark, or the beginning of one that will be refused as too large."""
    try:
        with file.open("rb") as opened:
            content = opened.read(None if file.stat().st_size <= fields.MOST_BYTES else _HEAD_BYTES)
            return content.removeprefix(codecs.BOM_UTF8)
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}); change its permissions.") from error


def _files_below(folder: Path, suffixes: set[str]) -> Iterator[Path]:
    """Files below a folder, through links but not in circles; folders that cannot be listed hold none.

    Nor do folders of `predict`'s results, whose COCO files are no annotations to learn from.
    """
    visited: set[str] = set()
    folders = [folder]
    while folders:
        where = folders.pop()
        real = os.path.realpath(where)
        if real in visited:
            continue
        visited.add(real)
        try:
            entries = list(where.iterdir())
        except OSError:
            continue
        if where != folder and any(entry.name == RESULTS_MARK for entry in entries):
            continue
        for entry in entries:
            if entry.name.startswith((".", "__MACOSX")):
                continue
            if entry.suffix.lower() in suffixes and _holds(entry.is_file):
                yield entry
            elif _holds(entry.is_dir):
                folders.append(entry)


def _holds(question: Callable[[], bool]) -> bool:
    try:
        return question()
    except OSError:  # behind a folder where nobody may look
        return False


# --- Alpha channels


def _find_alpha(pictures: Pictures) -> Pairing | None:
    """Pairs of pictures with themselves, where each has an alpha channel and those of a few vary."""
    problems: list[Problem] = []
    cutouts: list[Path] = []
    for file in pictures.files:
        try:
            if not describe(file).has_alpha:
                return None
            cutouts.append(file)
        except InputError as error:
            problems.append(Problem(file, str(error)))
    if not cutouts or not all(map(_varies, cutouts[:: max(1, len(cutouts) // _ENOUGH)])):
        return None
    pairs = [
        Pair(pictures.name_of(file), file, AlphaChannel(file), split_of_folders(pictures, file)) for file in cutouts
    ]
    return make_pairing(pictures, pairs, problems, layout="the pictures' own alpha channels", classes=None)


def _varies(file: Path) -> bool:
    try:
        return alpha_varies(file)
    except InputError:
        return True  # said when it is read


# --- Classes


def _with_class_list(pairing: Pairing, folders: Sequence[Path]) -> Pairing:
    """Take the classes from a list in one of the folders, where it names all that the annotations have."""
    lists = (folder / name for folder in folders for name in CLASS_LIST_NAMES)
    file = next((file for file in lists if file.is_file()), None)
    if file is None:
        return pairing
    listed = read_class_list(file)
    drawings = [pair.mask for pair in pairing.pairs if isinstance(pair.mask, Drawing)]
    used = {shape.class_name for drawing in drawings for shape in drawing.shapes}
    known = {entry.name for entry in listed.entries} | {"background", "ignore"}
    if unknown := sorted(used - known):
        return replace(pairing, layout=f"{pairing.layout}; left aside: {file.name}, which lacks {unknown[0]!r}")
    return replace(pairing, classes=listed)
