"""A table that says which mask belongs to which image: the columns image and mask, and if wanted group and split."""

import re
from pathlib import Path

from maskwright.data.folder_words import natural, split_of_word
from maskwright.data.formats.tables import read_header, read_table
from maskwright.data.pairs import Pair, Pairing, Problem, ProblemKind, without_lone_split
from maskwright.errors import InputError

MANIFEST_NAME = "manifest.csv"
_COLUMNS = {
    "image": ("image", "imagepath", "filename"),
    "mask": ("mask", "maskpath", "label", "labelpath"),
    "group": ("group",),
    "split": ("split",),
}
_MOST_LETTERS = 4096
# What a file that is missing leaves behind.
_MISSING: tuple[tuple[str, ProblemKind], ...] = (("image", "mask without image"), ("mask", "image without mask"))


def is_manifest(head: bytes) -> bool:
    """Whether a file's first line has the columns of one."""
    columns = read_header(head)
    return all(any(name in columns for name in _COLUMNS[key]) for key in ("image", "mask"))


def read_manifest(path: Path) -> Pairing:
    """Pair the images and masks that a table lists.

    Args:
        path: A CSV file, divided by commas, semicolons or tabs, whose first line names the columns. Paths are relative
            to its folder and stay in it; a split is train, val or test.

    Returns:
        Pairs in natural order. What is wrong with a row is a problem.

    Raises:
        InputError: The table as a whole cannot be used.
    """
    table = read_table(path)
    places = {key: place for key, names in _COLUMNS.items() if (place := table.column(names)) is not None}
    if "image" not in places or "mask" not in places:
        raise InputError(f"{path} should have the columns image and mask in its first line; add them.")
    if not table.rows:
        raise InputError(f"{path} lists no pictures; add a row for each.")
    lines: dict[str, int] = {}
    pairs: list[Pair] = []
    problems: list[Problem] = []
    for line, cells in table.rows:
        found = _read_row({key: cells[place] for key, place in places.items()}, path, line)
        if isinstance(found, Pair) and found.name in lines:
            what = f"lists {found.name} again, after line {lines[found.name]}; keep one of them"
            found = Problem(found.image, f"{path}, line {line} {what}.", "ambiguous")
        if isinstance(found, Problem):
            problems.append(found)
        else:
            lines[found.name] = line
            pairs.append(found)
    pairs.sort(key=lambda pair: natural(pair.image))
    return Pairing(tuple(without_lone_split(pairs)), tuple(problems), path.name)


def _read_row(row: dict[str, str], path: Path, line: int) -> Pair | Problem:
    place = f"{path}, line {line}"
    try:
        image = _resolve(row["image"], path, place)
    except InputError as error:
        return Problem(path, str(error))
    split = split_of_word(row.get("split", ""))
    try:
        mask = _resolve(row["mask"], path, place)
    except InputError as error:
        return Problem(image, str(error), "image without mask")
    for (key, kind), file in zip(_MISSING, (image, mask), strict=True):
        if not _is_file(file):
            return Problem(image, f"{place} lists {row[key][:80]!a}, which is no file; add it.", kind)
    if mask == image:
        return Problem(image, f"{place} gives the picture as its own mask; correct it.", "image without mask")
    if row.get("split") and split is None:
        return Problem(image, f"{place} has the split {row['split'][:40]!a}; write train, val or test.")
    name = image.relative_to(path.parent).with_suffix("").as_posix()
    return Pair(name, image, mask, split, row.get("group") or None)


def _resolve(name: str, path: Path, place: str) -> Path:
    """A path below the table's folder; what might lead out of it is refused without looking at the disk."""
    if not name:
        raise InputError(f"{place} has an empty cell; fill it or remove the row.")
    parts = re.split(r"[/\\]+", name)
    leads_out = ".." in parts or not parts[0] or re.match("[A-Za-z]:", name)
    if len(name) > _MOST_LETTERS:
        raise InputError(f"{place} has a path of {len(name)} letters, {name[:40]!a} ...; correct it.")
    if leads_out or "\0" in name:
        raise InputError(
            f"{place} has the path {name[:80]!a}, which may lead out of the folder; give one that starts in "
            f"{path.parent} and has no '..' in it."
        )
    if not (inside := [part for part in parts if part not in ("", ".")]):
        raise InputError(f"{place} has the path {name[:80]!a}, which is no file; correct it.")
    return path.parent.joinpath(*inside)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long, or behind a folder where nobody may look
        return False
