"""COCO's JSON of instances: polygons and run lengths, as many tools export them.

Categories become classes by their names. Regions that stand for a crowd (``iscrowd``) are where single objects could
not be told apart; their pixels belong to the class "ignore" and do not count. Some programs flag every region so that
they store as run lengths: where that is more than a twentieth of a file's regions, these are objects.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from maskwright.data.formats import fields
from maskwright.data.formats.class_lists import IGNORE_NAME, name_classes, parse_colour, plain_name
from maskwright.data.formats.fields import Entry
from maskwright.data.formats.pictures import Pictures, find_picture, make_pairing, split_of_folders, splits_of_files
from maskwright.data.matching import join
from maskwright.data.pairs import Colour, Drawing, Pair, Pairing, Polygons, Problem, Runs, Shape
from maskwright.errors import InputError, MissingExtraError

# Of COCO's own regions one in a hundred is a crowd, and all that are stored as run lengths are. CVAT and Datumaro flag
# whatever they store so, which is all that was painted. A few crowds taken as objects do less harm than objects lost.
_MOST_CROWDS = 0.05


def is_coco(content: bytes) -> bool:
    """Whether a file looks like one; captions and panoptic files have no outlines."""
    return all(key in content for key in (b'"images"', b'"annotations"', b'"categories"')) and not any(
        key in content for key in (b'"segments_info"', b'"caption"')
    )


def read_coco(files: Sequence[Path], pictures: Pictures) -> Pairing:
    """Pair the pictures that COCO files list with their regions.

    Args:
        files: Each may belong to a part of a split, as the names of all of them or the pictures' folders say.
        pictures: Where the pictures are.

    Raises:
        InputError: A file as a whole cannot be used. What is wrong with one picture is a problem in the result.
    """
    # COCO's key points and boxes repeat what the file of instances says.
    files = [file for file in files if file.stem.startswith("instances")] or files
    splits = splits_of_files(files)
    pairs: list[Pair] = []
    problems: list[Problem] = []
    classes: dict[str, Colour | None] = {}
    flags: Counter[str] = Counter()
    for file in files:
        root = fields.read_object(file)
        names = _read_categories(root, classes)
        regions = _without_false_crowds(_regions_by_image(root), flags)
        images = list(root.entries("images"))
        identities = Counter(map(_identity_of_image, images))
        problems += _strays(regions, identities) if images else []
        for image in images:
            try:
                if identities[_identity(image, "id")] > 1:
                    raise image.refuse(f"has the id {image.fields['id']!a} of another picture; give each its own")
                pairs.append(_read_image(image, regions, names, pictures, splits))
            except InputError as error:
                problems.append(_problem(image, error, pictures))
    source = files[0].name if len(files) == 1 else f"{len(files)} COCO files"
    layout = f"{source} (COCO){_flags_in_words(flags)}{_without_area(pairs)}"
    return make_pairing(pictures, pairs, problems, layout=layout, classes=name_classes(classes, source))


def _read_categories(root: Entry, classes: dict[str, Colour | None]) -> dict[object, str]:
    """The class names by category, which are added to `classes` in the order of their numbers."""
    found = [(_identity(entry, "id"), entry.text("name"), entry) for entry in root.entries("categories")]
    parents = {entry.fields.get("supercategory") for _, _, entry in found if not _is_root(entry)}
    names: dict[object, str] = {}
    for identity, name, entry in sorted(found, key=lambda item: (isinstance(item[0], str), item[0])):
        if identity in names:
            raise entry.refuse(f"has the id {identity!a} of another category; give each its own")
        names[identity] = plain_name(name)
        # Roboflow's first category is the name of the project, and no region has it.
        if not (_is_root(entry) and name in parents):
            classes.setdefault(plain_name(name), parse_colour(entry.fields.get("color")))
    return names


def _is_root(entry: Entry) -> bool:
    return entry.fields.get("id") == 0 and entry.fields.get("supercategory") == "none"


def _regions_by_image(root: Entry) -> dict[object, list[Entry]]:
    regions: dict[object, list[Entry]] = defaultdict(list)
    for annotation in root.entries("annotations"):
        regions[_identity(annotation, "image_id")].append(annotation)
    return regions


def _without_false_crowds(regions: Mapping[object, list[Entry]], flags: Counter[str]) -> Mapping[object, list[Entry]]:
    """The regions of a file without the flags of those that are objects; both kinds of flags are counted."""
    everything = [region for some in regions.values() for region in some]
    packed = [region for region in everything if _has_runs(region)]
    crowds = sum(map(_is_crowd, everything))
    if all(map(_is_crowd, packed)) and len(packed) > _MOST_CROWDS * len(everything):
        flags.update(objects=len(packed), crowds=crowds - len(packed))
        return {image: [_as_object(region) for region in some] for image, some in regions.items()}
    flags.update(crowds=crowds)
    return regions


def _is_crowd(region: Entry) -> bool:
    return region.fields.get("iscrowd") in (1, True)


def _has_runs(region: Entry) -> bool:
    return isinstance(region.fields.get("segmentation"), dict)


def _as_object(region: Entry) -> Entry:
    return replace(region, fields={**region.fields, "iscrowd": 0}) if _has_runs(region) else region


def _flags_in_words(flags: Counter[str]) -> str:
    """For the layout."""
    objects = f"; taken as objects: {flags['objects']} region(s) of run lengths, which are all flagged as crowds"
    crowds = f"; left out, as crowds: {flags['crowds']} region(s), whose pixels do not count"
    return f"{objects if flags['objects'] else ''}{crowds if flags['crowds'] else ''}"


def _identity_of_image(image: Entry) -> int | str | None:
    try:
        return _identity(image, "id")
    except InputError:
        return None  # said when the picture is read


def _strays(regions: Mapping[object, list[Entry]], identities: Counter[int | str | None]) -> list[Problem]:
    """Regions of pictures that are not in the list; one problem for all of them, which may be thousands."""
    strays = [region for identity, some in regions.items() if identity not in identities for region in some]
    if not strays:
        return []
    first, number = strays[0], len(strays) - 1
    more = f", and {number} more belong{'s' if number == 1 else ''} to such a picture" if number else ""
    what = f"belongs to the picture {first.fields['image_id']!a}, which the file does not list{more}"
    return [Problem(first.path, str(first.refuse(f"{what}; list it or remove the region")), "mask without image")]


def _without_area(pairs: Iterable[Pair]) -> str:
    """For the layout: outlines of less than three points, which cover nothing."""
    thin = Counter(
        pair.name
        for pair in pairs
        if isinstance(pair.mask, Drawing)
        for shape in pair.mask.shapes
        if isinstance(shape.region, Polygons)
        for ring in shape.region.rings
        if len(ring) < 3
    )
    return f"; left out, of fewer than three points: {thin.total()} outline(s) of {join(thin)}" if thin else ""


def _read_image(
    image: Entry,
    regions: Mapping[object, list[Entry]],
    names: dict[object, str],
    pictures: Pictures,
    splits: Mapping[Path, str],
) -> Pair:
    file = find_picture(pictures, image.text("file_name"), image.path)
    height, width = image.size("height", "width")
    drawn = [_read_region(region, names, height, width) for region in regions.get(_identity(image, "id"), ())]
    drawing = Drawing(image.path, tuple(drawn), (height, width))
    split = splits.get(image.path) or split_of_folders(pictures, file)
    return Pair(pictures.name_of(file), file, drawing, split)


def _read_region(annotation: Entry, names: dict[object, str], height: int, width: int) -> Shape:
    category = _identity(annotation, "category_id")
    if category not in names:
        raise annotation.refuse(f"has the category {category!a}, which the file does not list; add it")
    class_name = IGNORE_NAME if _is_crowd(annotation) else names[category]
    outline = annotation.fields.get("segmentation")
    if isinstance(outline, list) and outline:
        return Shape(class_name, Polygons(tuple(_read_ring(annotation, ring) for ring in outline)))
    if isinstance(outline, dict):
        return Shape(class_name, _read_runs(annotation.entry("segmentation"), height, width))
    raise annotation.refuse("has no outline ('segmentation'), only a box; export polygons or masks")


def _read_ring(annotation: Entry, ring: object) -> tuple[tuple[float, float], ...]:
    if not isinstance(ring, list) or len(ring) % 2:
        raise annotation.refuse("should have lists of x and y in turn as 'segmentation'")
    numbers = [annotation.checked_number(value, "segmentation") for value in ring]
    return tuple(zip(numbers[::2], numbers[1::2], strict=True))


def _read_runs(outline: Entry, height: int, width: int) -> Runs:
    size = [int(outline.checked_number(value, "size", least=1)) for value in outline.items("size")]
    if size != [height, width]:
        raise outline.refuse(f"should have the size of its picture, {[height, width]}, not {size[:4]}")
    counts = outline.fields.get("counts")
    if isinstance(counts, str):
        counts = _decode_counts(outline, counts, height, width)
    elif not isinstance(counts, list):
        raise outline.refuse("should have a text or a list of numbers as 'counts'")
    lengths = np.array([int(outline.checked_number(count, "counts", least=0, most=height * width)) for count in counts])
    # Background and region take turns, beginning with the background.
    ends = np.cumsum(lengths, dtype=np.int64)
    if len(ends) and ends[-1] > height * width:
        raise outline.refuse(f"has run lengths of {ends[-1]} pixels for {width}x{height}")
    starts = ends - lengths
    return Runs(starts[1::2].astype(np.int64), lengths[1::2].astype(np.int64), height, width, by_rows=False)


def _decode_counts(outline: Entry, counts: str, height: int, width: int) -> list[int]:
    try:
        from faster_coco_eval import mask_api_new_cpp
    except ImportError as error:
        raise MissingExtraError("faster-coco-eval", "coco") from error
    # Its decoder checks that the runs fit in the picture, but not that the letters are of its alphabet.
    if not re.fullmatch("[0-o]*", counts):
        raise outline.refuse("has letters in 'counts' that COCO's run lengths do not use")
    try:
        (decoded,) = mask_api_new_cpp.toUncompressedRLE([{"size": [height, width], "counts": counts}])
    except (ValueError, RuntimeError) as error:
        raise outline.refuse("has run lengths in 'counts' that do not fit its picture") from error
    return list(decoded["counts"])


def _identity(entry: Entry, key: str) -> int | str:
    value = entry.fields.get(key)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise entry.refuse(f"should have a number as {key!r}")
    return value


def _problem(image: Entry, error: InputError, pictures: Pictures) -> Problem:
    """Told of the picture where it is there, and of the list where it is not."""
    if isinstance(error, MissingExtraError):
        raise error
    try:
        return Problem(find_picture(pictures, image.text("file_name"), image.path), str(error))
    except InputError:
        return Problem(image.path, str(error), "mask without image")
