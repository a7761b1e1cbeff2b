"""Which mask belongs to which image, in the layouts people have.

Only names are looked at, and a VOC folder's lists. Where folders say which files are masks
(`images/` and `masks/`, `train/` and `train_masks/`), an image and a mask belong together when their
folders leave the same and their names do; where no folder does, words such as `_mask` in the names
of files tell masks from images. `folder_words` knows the words, `matching` the rules.
"""

import errno
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path, PurePath

from maskwright.data.folder_words import (
    RESULTS_MARK,
    Place,
    bare_name,
    name_without_mask_words,
    names_a_mask,
    natural,
    natural_text,
    read_folder,
    read_place,
    shorter_names,
    split_of_word,
)
from maskwright.data.image_files import IMAGE_SUFFIXES, UNREAD_FORMATS
from maskwright.data.matching import MOST_JOINED, Kind, Matches, join, match
from maskwright.data.pairs import Layers, Mask, Pair, Pairing, Problem, mask_files, without_lone_split
from maskwright.errors import InputError

_EXPECTED = "images/ with masks/, train/ with train_masks/, train/images/ with train/masks/, or a.jpg beside a_mask.png"

# Left behind by programs that unpack or show pictures.
_NO_FOLDERS = ("__MACOSX", "@eaDir")


def find_pairs(folder: Path) -> Pairing:
    """Pair the images and masks below a folder.

    Folders without masks (Kaggle's `test/`, previews) are left out, and the layout says so. A lone
    `train/` is no split: splits count only where val or test has pairs as well.

    Args:
        folder: In any of the layouts that the module describes.

    Returns:
        Pairs and problems in natural order (2 before 10).

    Raises:
        InputError: The folder is missing, is a file, or holds no pictures or no masks; or nothing
            decides between two kinds of masks.
    """
    listing = _list_pictures(folder)
    if not listing.files:
        raise InputError(_first_sentence(listing) or f"{folder} holds no pictures; it should hold {_EXPECTED}.")
    sorted_out = _sort_out(folder, listing.files)
    _refuse_without_pairs(folder, listing, sorted_out)
    lists = _read_lists(folder, sorted_out.masks)
    places, found = sorted_out.places, sorted_out.found
    pairs = [
        Pair(
            image.relative_to(folder).with_suffix("").as_posix(),
            image,
            mask,
            _listed_split(image, lists) or places[image].split or places[mask_files(mask)[0]].split,
        )
        for image, mask in sorted(found.masks.items(), key=lambda item: natural(item[0]))
        if listing.broken.isdisjoint((image, *mask_files(mask)))
    ]
    unneeded = {image for image in sorted_out.images if _needs_no_mask(image, lists)} | sorted_out.unneeded
    needed = {*sorted_out.images, *sorted_out.masks} - (unneeded - found.masks.keys())
    problems = [
        *listing.unseen,
        *(problem for problem in listing.problems if problem.path in needed or not _is_of_unread_format(problem.path)),
        *(
            problem
            for problem in found.problems
            if problem.path not in listing.broken
            and not (problem.kind == "image without mask" and problem.path in unneeded)
            and not (problem.kind != "ambiguous" and _plain_letters(problem.path.stem) in listing.odd_names)
        ),
    ]
    return Pairing(
        tuple(without_lone_split(pairs)),
        tuple(sorted(problems, key=lambda problem: natural(problem.path))),
        _describe_layout(folder, pairs, sorted_out, unneeded - found.masks.keys(), listing.results),
    )


def find_masks(images: Iterable[Path]) -> dict[Path, Mask]:
    """Find the masks of image files, in the same layouts as `find_pairs`.

    Only the images' own folders are listed and those beside them. An image without a mask, or whose
    mask cannot be told, is missing from the result.
    """
    by_folder: dict[Path, list[Path]] = defaultdict(list)
    for image in images:
        by_folder[image.absolute().parent].append(image)
    found: dict[Path, Mask] = {}
    for folder, some in by_folder.items():
        for masks in _masks_of_folder(folder):
            found |= {
                image: masks[image.absolute()] for image in some if image not in found and image.absolute() in masks
            }
            if all(image in found for image in some):
                break
    return found


def _masks_of_folder(folder: Path) -> Iterator[Mapping[Path, Mask]]:
    """The masks of a folder's pictures, nearest first: each result counts where those before it have none."""
    neighbours = _pictures_in(folder)
    files = dict.fromkeys(neighbours)
    for ancestor in (folder, *folder.parents[:3]):
        for beside in _mask_folders_in(ancestor, folder):
            folders = [beside, *(below for below in _list_folder(beside) if _is_folder(below) and below != folder)]
            files |= dict.fromkeys(picture for each in folders for picture in _pictures_in(each))
        if len(files) > len(neighbours):
            yield _sort_out(ancestor, list(files)).found.masks
    # Words in the names of files count where no folder is for masks.
    yield _sort_out(folder, neighbours).found.masks


def match_masks(images: Sequence[Path], folder: Path) -> dict[Path, Mask]:
    """Find the masks of images among the pictures below a folder, by their names alone.

    Raises:
        InputError: The folder is missing or is a file.
    """
    masks = _list_pictures(folder).files
    is_image = dict.fromkeys(images, Place("image"))
    found = match(images, masks, is_image | dict.fromkeys(masks, Place("mask"))).masks
    # Where names recur in sub-folders, these may be classes.
    below = {mask: read_place(mask.relative_to(folder).parent.parts) for mask in masks}
    by_class = match(images, masks, is_image | {mask: replace(place, split=None) for mask, place in below.items()})
    return by_class.masks | found


def find_pictures(folder: Path) -> list[Path]:
    """Find every picture file below a folder, in natural order; hidden ones and formats that nobody reads are left out.

    Raises:
        InputError: The folder is missing or is a file, one below it cannot be listed, or a name is not UTF-8.
    """
    files, problems = survey_pictures(folder)
    if problems:
        raise InputError(problems[0].sentence)
    return [file for file in files if not _is_of_unread_format(file)]


def survey_pictures(
    folder: Path, *, enters: Callable[[Path], bool] = lambda _: False
) -> tuple[list[Path], list[Problem]]:
    """Find every picture file below a folder, and what could not be looked at.

    Among the files are those of formats that nobody reads, so that whoever tries says so by their names; not where the
    same picture lies beside them in another format.

    Args:
        folder: Where to look.
        enters: Whether to look into a folder below it that `predict` has filled, too.

    Raises:
        InputError: The folder is missing, is a file, or cannot be listed.
    """
    listing = _list_pictures(folder, enters=enters)
    return listing.files, listing.unseen


def problem_of_name(path: Path) -> Problem | None:
    """What is wrong with a name that is not UTF-8; None of others."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        printable = Path(str(path).encode(errors="backslashreplace").decode())
        return Problem(printable, f"{str(path)!a} has a name that is not UTF-8; rename it.", "name")
    return None


# --- Files and folders


@dataclass
class _Listing:
    files: list[Path] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    """Of pictures that cannot be opened or read."""
    unseen: list[Problem] = field(default_factory=list)
    """Of folders that cannot be listed, and of names that are not UTF-8."""
    odd_names: set[str] = field(default_factory=set)
    """What is sure of the latter; the partners of their files are not called lonely."""
    broken: set[Path] = field(default_factory=set)
    """Pictures that cannot be opened, listed among the files so that their partners are not called lonely."""
    results: list[Path] = field(default_factory=list)
    """Folders that `predict` has filled; what lies in them is left out, but for the folder that was named itself."""


def _list_pictures(folder: Path, *, enters: Callable[[Path], bool] = lambda _: False) -> _Listing:
    """Every picture below a folder, in natural order.

    Names that are no UTF-8 come out of archives packed elsewhere; nothing could print them or write
    them down, so they are problems. Links are followed, since data often lies elsewhere, but not in
    circles, and after what is really there, whose names count. Folders of `predict`'s results are left out, unless
    somebody enters them: a model is not to learn from its own masks, nor be scored by them.

    Raises:
        InputError: The folder is missing, is a file, or cannot be listed.
    """
    if not folder.exists():
        raise InputError(f"{folder} does not exist; name a folder that holds {_EXPECTED}.")
    if not folder.is_dir():
        raise InputError(f"{folder} is a file; name a folder that holds {_EXPECTED}.")
    listing = _Listing()
    visited: set[tuple[int, int]] = set()
    folders, links = [folder], list[Path]()
    while folders or links:
        where = folders.pop() if folders else links.pop(0)
        try:
            identity, entries = _entries(where)
        except InputError as error:
            if where == folder:
                raise
            listing.unseen.append(Problem(where, str(error)))
            continue
        if is_filled := any(entry.name == RESULTS_MARK for entry in entries):
            listing.results.append(where)
        if identity not in visited and (where == folder or not is_filled or enters(where)):
            visited.add(identity)
            _list_one(where, entries, listing, folders, links)
            links.sort(key=natural)
    listing.files.sort(key=natural)
    return listing


def _list_one(
    where: Path, entries: Sequence[os.DirEntry[str]], listing: _Listing, folders: list[Path], links: list[Path]
) -> None:
    """Add a folder's pictures and problems to the listing, and what is below it to the folders and links."""
    unread = _names_of_unread_formats([entry.name for entry in entries])
    for entry in entries:
        path = where / entry.name
        suffix = path.suffix.lower()
        is_folder = _is_folder(path) if entry.is_symlink() else entry.is_dir()
        is_picture = not is_folder and (suffix in IMAGE_SUFFIXES or entry.name in unread)
        # A broken link without a suffix may have been a folder.
        if not (is_folder or is_picture or (entry.is_symlink() and not suffix)) or not _is_visible(entry.name):
            continue
        if problem := problem_of_name(path):
            listing.unseen.append(problem)
            listing.odd_names.add(_plain_letters(path.stem))
        elif is_folder:
            (links if entry.is_symlink() else folders).append(path)
        else:
            listing.files += [path] if is_picture else []
            if problem := _problem_of_file(path, entry):
                listing.problems.append(problem)
                listing.broken.add(path)


def _entries(folder: Path) -> tuple[tuple[int, int], list[os.DirEntry[str]]]:
    """What a folder is, whatever links lead to it, and what lies in it."""
    try:
        status = folder.stat()
        with os.scandir(folder) as entries:
            return (status.st_dev, status.st_ino), list(entries)
    except OSError as error:
        remedy = "move it up" if error.errno == errno.ENAMETOOLONG else "change its permissions"
        raise InputError(f"{folder} cannot be listed ({error.strerror}); {remedy}.") from error


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a link to where nobody may look
        return False


def _plain_letters(name: str) -> str:
    """What of a name is the same in every encoding, and of an image and its mask."""
    return "".join(filter(str.isascii, name_without_mask_words(name)))


def _names_of_unread_formats(names: Sequence[str]) -> set[str]:
    """Pictures in formats that nobody reads, one of each stem; beside one that is read, they are copies of it."""
    unread = {
        Path(name).stem.casefold(): name for name in sorted(names) if name.lower().endswith(tuple(UNREAD_FORMATS))
    }
    if not unread:
        return set()
    read = {Path(name).stem.casefold() for name in names if name.lower().endswith(tuple(IMAGE_SUFFIXES))}
    return {name for stem, name in unread.items() if stem not in read}


def _is_of_unread_format(path: Path) -> bool:
    return path.suffix.lower() in UNREAD_FORMATS


def _problem_of_file(path: Path, entry: os.DirEntry[str]) -> Problem | None:
    try:
        if entry.is_file():
            if not _is_of_unread_format(path):
                return None
            what, other = UNREAD_FORMATS[path.suffix.lower()]
            return Problem(path, f"{path} is {what}, which is not read; save it as {other}.")
    except OSError:  # a link to itself
        pass
    if entry.is_symlink():
        target = os.fsencode(path.readlink()).decode(errors="backslashreplace")
        return Problem(path, f"{path} is a link to {target}, which cannot be opened; mend the link or remove it.")
    return Problem(path, f"{path} is no regular file; remove it.")


def _first_sentence(listing: _Listing) -> str | None:
    problems = [*listing.unseen, *listing.problems]
    return problems[0].sentence if problems else None


def _list_folder(folder: Path) -> list[Path]:
    """What lies in a folder, sorted; nothing for one that cannot be listed."""
    try:
        return sorted(folder.iterdir(), key=natural)
    except OSError:
        return []


def _pictures_in(folder: Path) -> list[Path]:
    return [file for file in _list_folder(folder) if _is_visible(file.name) and file.suffix.lower() in IMAGE_SUFFIXES]


def _is_visible(name: str) -> bool:
    return not name.startswith(".") and name not in _NO_FOLDERS


def _mask_folders_in(ancestor: Path, folder: Path) -> Iterator[Path]:
    """Folders below an ancestor whose masks `find_pairs` could give to the pictures of this one."""
    below = folder.relative_to(ancestor).parts
    rests = {below[start:] for start in range(len(below) + 1)}
    for beside in _list_folder(ancestor):
        for rest in sorted(rests):
            candidate = beside.joinpath(*rest)
            are_results = _is_folder(beside / RESULTS_MARK) or _is_folder(candidate / RESULTS_MARK)
            if candidate == folder or are_results or not _is_folder(candidate):
                continue
            if read_place((beside.name, *rest)).role == "mask":
                yield candidate


# --- Images and masks


@dataclass(frozen=True)
class _SortedOut:
    """The pictures of a folder by what they are."""

    places: Mapping[Path, Place]
    images: Sequence[Path]
    masks: Sequence[Path]
    found: Matches
    unneeded: frozenset[Path]
    """Images that are not missed where they have no mask: of folders without masks."""


def _sort_out(folder: Path, files: Sequence[Path]) -> _SortedOut:
    places = {file: read_place(file.relative_to(folder).parent.parts) for file in files}
    images, masks = _tell_apart(files, places)
    found = match(images, masks, places)
    used = {*masks} - {*found.aside, *found.unused}
    labelled = {places[file].shared for file in (*used, *found.masks)}
    parts = {places[file].split for file in (*used, *found.masks)} | {None, "train"}
    by_folders = any(places[mask].role == "mask" for mask in masks)

    def is_missed(image: Path) -> bool:
        if by_folders and places[image].role == "image":
            return places[image].split in parts
        return places[image].shared in labelled

    unneeded = frozenset(image for image in images if not is_missed(image))
    return _SortedOut(places, images, masks, found, unneeded)


def _tell_apart(files: Sequence[Path], places: Mapping[Path, Place]) -> tuple[list[Path], list[Path]]:
    """Images and masks, by the words of their folders, or of their own names where those have none."""
    others, masks = _part(lambda file: places[file].role == "mask", files)
    if not masks:
        return _tell_names_apart(files, places)
    # Pictures of a folder without such a word (`train/`, or the folder itself beside `masks/`) are
    # images unless others have the very place: a cover beside `images/`.
    taken = {places[file].shared for file in others if places[file].role == "image"}
    return [file for file in others if places[file].role == "image" or places[file].shared not in taken], masks


def _tell_names_apart(files: Sequence[Path], places: Mapping[Path, Place]) -> tuple[list[Path], list[Path]]:
    images, masks = _part(lambda file: names_a_mask(file.stem), files)
    known = {(places[image].shared, bare_name(image.stem)) for image in images}

    def shows_a_part(file: Path) -> bool:
        """Whether it is an `a_mask_1` or `a_mask_car` beside `a`; `with_mask_1` alone is a picture."""
        return any(
            name_without_mask_words(head) != head and (places[file].shared, bare_name(head)) in known
            for head, _ in shorter_names(file.stem)
        )

    images, parts = _part(shows_a_part, images)
    masks = sorted([*masks, *parts], key=natural)
    return (images, masks) if masks else _tell_twins_apart(images)


def _tell_twins_apart(files: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Photographs and masks of the very same names, `1.jpg` and `1.png`, as far as every file has its twin."""
    some, unread = _part(_is_of_unread_format, files)
    masks, images = _part(lambda file: file.suffix.lower() in (".jpg", ".jpeg"), some)
    names = {image.with_suffix("") for image in images}
    are_twins = len(images) == len(masks) == len(names) > 1 and all(mask.with_suffix("") in names for mask in masks)
    return (sorted([*images, *unread], key=natural), masks) if are_twins else (list(files), [])


def _part(holds: Callable[[Path], bool], files: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """Files of which it does not hold, and files of which it does."""
    parts: tuple[list[Path], list[Path]] = ([], [])
    for file in files:
        parts[holds(file)].append(file)
    return parts


def _refuse_without_pairs(folder: Path, listing: _Listing, sorted_out: _SortedOut) -> None:
    found, masks = sorted_out.found, sorted_out.masks
    if found.rivals:
        one, other = (_describe_kind(kind, found.rivals) for kind in found.rivals)
        raise InputError(
            f"{folder} has two masks for most images, {one} and {other}; leave one kind in the folder, or write a "
            "manifest.csv with the columns image,mask."
        )
    if found.masks:
        return
    if all(map(_is_of_unread_format, sorted_out.images)):
        raise InputError(
            _first_sentence(listing)
            or f"{folder} holds {len(masks)} mask(s) but none of their images, which some programs leave out of an "
            f"export; it should hold {_EXPECTED}."
        )
    if not any(sorted_out.places[mask].role == "mask" for mask in masks):
        count = len(listing.files)
        results = [path for path in listing.results if path != folder]
        aside = f" Results of predict are no masks to learn from: {join(results)}." if results else ""
        raise InputError(f"{folder} holds {count} picture(s) but no masks for them; it should hold {_EXPECTED}.{aside}")


# --- VOC's lists

Lists = Mapping[Path, Mapping[str, str | None]]
"""For the root of each VOC folder, the names that its lists hold and the part of the split that they give."""


def _read_lists(folder: Path, masks: Iterable[Path]) -> Lists:
    """Read `ImageSets/Segmentation/*.txt` beside `SegmentationClass/`; CVAT exports masks in the same layout."""
    parents = dict.fromkeys(mask.parent for mask in masks)
    roots = dict.fromkeys(
        around.parent
        for parent in parents
        for around in (parent, *parent.parents)
        if around.is_relative_to(folder) and around.name.lower() == "segmentationclass"
    )
    found: dict[Path, dict[str, str | None]] = {}
    for root in roots:
        # What is in two lists is no training picture.
        lists = sorted((root / "ImageSets" / "Segmentation").glob("*.txt"), key=lambda file: _rank_of_list(file.stem))
        for file in lists:
            try:
                lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
            except OSError as error:
                raise InputError(f"{file} cannot be read ({error.strerror}); change its permissions.") from error
            names = (line.strip().strip('"') for line in lines)
            found.setdefault(root, {}).update((name, split_of_word(file.stem)) for name in names if name)
    return found


def _rank_of_list(name: str) -> int:
    return (None, "train", "val", "test").index(split_of_word(name))


def _look_up(image: Path, lists: Lists) -> tuple[bool, str | None]:
    """Whether a list of its VOC folder holds an image, and the part that it gives; (True, None) without lists."""
    for root, names in lists.items():
        if image.is_relative_to(root):
            inside = PurePath(*image.relative_to(root).parts[1:]).with_suffix("").as_posix()
            name = inside if inside in names else image.stem
            return name in names, names.get(name)
    return True, None


def _listed_split(image: Path, lists: Lists) -> str | None:
    return _look_up(image, lists)[1]


def _needs_no_mask(image: Path, lists: Lists) -> bool:
    """VOC has thousands of pictures that nobody segmented, and its masks for test are secret."""
    is_listed, split = _look_up(image, lists)
    return not is_listed or split == "test"


# --- What the user is told


def _describe_layout(
    folder: Path,
    pairs: Sequence[Pair],
    sorted_out: _SortedOut,
    unneeded: Collection[Path],
    results: Collection[Path],
) -> str:
    found = sorted_out.found
    used = {*sorted_out.images, *sorted_out.masks}
    left_out = [file for file in sorted_out.places if file not in used or file in unneeded]
    filled = [path for path in results if path != folder]
    heads = {_head(folder, file) for pair in pairs for file in (pair.image, *mask_files(pair.mask))}

    def aside(vague: bool) -> Iterator[str]:
        for file, (_, pattern) in found.aside.items():
            head = _head(folder, file, vague)
            yield f"{head}{pattern}" if head in heads else head

    def rest(files: Iterable[Path]) -> Callable[[bool], Iterator[str]]:
        def describe(vague: bool) -> Iterator[str]:
            counts = Counter(_head(folder, file, vague) or file.name for file in files)
            return (f"{count} of {head}" if head in heads else head for head, count in counts.items())

        return describe

    notes = (
        ("", _describe_layers(pairs)),
        ("left aside, other masks of the same images: ", _summary(aside)),
        ("left out, without images: ", _summary(rest(found.unused))),
        ("left out, without masks: ", _summary(rest(left_out))),
        ("left out, results of predict: ", join(f"{path.relative_to(folder).as_posix()}/" for path in filled)),
        ("predict has written into this folder, ", "so masks may be its own" if len(filled) < len(results) else ""),
    )
    phrase = _summary(lambda vague: (_describe_pair(folder, pair, vague) for pair in pairs)) or "no pairs"
    return "; ".join([phrase, *(f"{what}{which}" for what, which in notes if which)])


def _summary(describe: Callable[[bool], Iterable[str]]) -> str:
    """List descriptions; where there are many, those that leave out what tells them apart."""
    found = dict.fromkeys(describe(False))
    return join(found if len(found) <= MOST_JOINED else dict.fromkeys(describe(True)))


def _describe_pair(folder: Path, pair: Pair, vague: bool) -> str:
    if pair.image.parent == pair.mask_path.parent:
        return "images and masks in one folder, told apart by their names"
    return f"{_head(folder, pair.image, vague) or 'the folder itself'} + {_head(folder, pair.mask_path, vague)}"


def _describe_layers(pairs: Sequence[Pair]) -> str:
    layers = [pair.mask for pair in pairs if isinstance(pair.mask, Layers)]
    names = {name for mask in layers if mask.class_names for name in mask.class_names}
    if names:
        ordered = sorted(names, key=natural_text)
        return f"one mask file for each class: {join(ordered)}"
    return "one mask file for each object" if layers else ""


def _describe_kind(kind: Kind, kinds: Collection[Kind]) -> str:
    """A kind of masks, by what sets it apart from the other."""
    folder, pattern = kind
    return f"{folder}/" if len({folder for folder, _ in kinds}) > 1 else pattern


def _head(folder: Path, file: Path, vague: bool = False) -> str:
    """The folders of a file down to the last that has a meaning, or the first one."""
    return _head_of(file.relative_to(folder).parent.parts, vague)


@lru_cache(maxsize=65536)
def _head_of(parts: tuple[str, ...], vague: bool) -> str:
    meant = [depth for depth, part in enumerate(parts) if not read_folder(part).plain_folders]
    shown = parts[: max(meant, default=0) + 1]
    return "".join("*/" if vague and depth not in meant else f"{part}/" for depth, part in enumerate(shown))
