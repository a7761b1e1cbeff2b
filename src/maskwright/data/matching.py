"""Masks find their images by names alone: which files belong together, and what stays without a partner.

Each mask lays claim to an image: first to one of its own name, then, where its name says more than
the image's (`a_car`, `a_1`, `car/a`), to the image of which it shows a part. Claims are then weighed
against each other: numbers are objects, words that recur are classes, and of several kinds of masks
for the same images the one that says most is taken.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from maskwright.data.folder_words import (
    Place,
    bare_name,
    is_known_variant,
    name_pattern,
    name_without_any_word,
    name_without_mask_words,
    names_a_mask,
    natural,
    natural_text,
    score,
    shorter_names,
    without_number,
)
from maskwright.data.pairs import Layers, Mask, Problem

Kind = tuple[str, str]
"""A kind of masks: its folders, and how file names are made from the images' (`*_mask`)."""

MOST_JOINED = 4
"""Items that a sentence lists."""


@dataclass(frozen=True)
class Matches:
    """Images with their masks, and what became of the others."""

    masks: dict[Path, Mask] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    aside: dict[Path, Kind] = field(default_factory=dict)
    """Masks of images that have better ones, and of what kind they are."""
    unused: tuple[Path, ...] = ()
    """Masks of a kind that fits no image at all, where others fit."""
    rivals: tuple[Kind, Kind] | None = None
    """Two kinds of masks between which nothing decides, where they keep most images without a mask."""


@dataclass(frozen=True)
class _Claim:
    mask: Path
    images: tuple[Path, ...]
    """More than one where their names leave the same."""
    kind: Kind
    is_part: bool = False
    """Whether the mask's name or folder says more than its image's."""
    word: str = ""
    """What it says, but for the number of an object."""
    is_class: bool = False


def match(images: Sequence[Path], masks: Sequence[Path], places: Mapping[Path, Place]) -> Matches:
    """Pair images and masks by place and name, and say what is wrong with the others.

    Args:
        images: In natural order.
        masks: In natural order.
        places: Of all of them.
    """
    claims = list(_claims(images, masks, places))
    claims = _read_parts(claims, _numbered(images, places), places)
    orphans = _without(masks, claims)
    claims += _claims_on_only_images(images, orphans, claims, places)
    claims, aside, rivals = _weigh(claims)
    orphans = _without(masks, claims, aside)
    found, problems = _settle(claims)
    fitting = {places[claim.mask].kind for claim in claims}
    unused = [mask for mask in orphans if fitting and places[mask].kind not in fitting]
    explained = {*found, *(image for claim in claims for image in claim.images)}
    problems += [_image_without_mask(image) for image in images if image not in explained]
    problems += [_mask_without_image(mask) for mask in _without(orphans, (), unused)]
    return Matches(found, tuple(problems), aside, tuple(unused), rivals)


def _without(masks: Iterable[Path], claims: Iterable[_Claim], others: Iterable[Path] = ()) -> list[Path]:
    """Masks that are in none of the claims, nor among the others."""
    taken = {*others, *(claim.mask for claim in claims)}
    return [mask for mask in masks if mask not in taken]


# --- Which image a mask may belong to

# How exactly the folders of both must agree: in all; but for what sets apart folders such as
# `masks_machine/`; and for one of them that has the pictures of all parts of the split.
_LEVELS: tuple[Callable[[Place], Hashable], ...] = (
    lambda place: place.shared,
    lambda place: (place.split, place.plain_folders),
    lambda place: place.plain_folders,
)


def _claims(images: Sequence[Path], masks: Sequence[Path], places: Mapping[Path, Place]) -> Iterator[_Claim]:
    """What each mask lays claim to, as far as there is such an image."""
    index: dict[Hashable, list[Path]] = defaultdict(list)
    for image in images:
        for depth, level in enumerate(_LEVELS):
            for name in (bare_name(image.stem), _inner_name(image)):
                index[depth, level(places[image]), name].append(image)

    def look_up(place: Place, name: Hashable) -> tuple[Path, ...]:
        for depth, level in enumerate(_LEVELS):
            found = index.get((depth, level(place), name), ())
            if some := tuple(image for image in found if _may_share_split(places[image], place)):
                return some
        return ()

    mirrored = {places[image].folders for image in images}
    for mask in masks:
        place = places[mask]
        for name, word, folders in _readings(mask, place, mirrored):
            if found := look_up(folders, name):
                kind = (place.kind, name_pattern(mask.stem, name if isinstance(name, str) else bare_name(mask.stem)))
                yield _Claim(mask, found, kind, word is not None, word or "")
                break


def _may_share_split(one: Place, other: Place) -> bool:
    return one.split == other.split or None in (one.split, other.split)


def _readings(
    mask: Path, place: Place, mirrored: Collection[tuple[str, ...]]
) -> Iterator[tuple[Hashable, str | None, Place]]:
    """Ways to read a mask: the name of its image, the word for the part that it shows, and where the image would be."""
    name = bare_name(mask.stem)
    yield name, None, place
    yield _inner_name(mask), None, place
    shorter = [(bare_name(head), without_number(tail)) for head, tail in shorter_names(mask.stem)]
    for head, word in shorter:
        yield head, word, place
    # A folder for each class, which the images do not mirror.
    *above, last = place.folders or ("",)
    if place.folders not in mirrored and place.plain_folders[-1:] == (last.casefold(),):
        upper = replace(place, folders=tuple(above), plain_folders=place.plain_folders[:-1])
        yield name, last, upper
        yield from ((head, last, upper) for head, word in shorter if not word)


def _inner_name(file: Path) -> Hashable:
    """Of a kind of its own, so that `a_img_b` is not taken for `a_b` while there is one."""
    return "without words inside", name_without_any_word(file.stem)


def _numbered(images: Iterable[Path], places: Mapping[Path, Place]) -> set[Hashable]:
    """Names that stand for images once with a number and once with another: `a_1.jpg`, `a_2.jpg`."""
    names = ((image, bare_name(image.stem)) for image in images)
    return {
        (places[image].plain_folders, without_number(name)) for image, name in names if without_number(name) != name
    }


def _read_parts(claims: Sequence[_Claim], numbered: set[Hashable], places: Mapping[Path, Place]) -> list[_Claim]:
    """Decide what the parts are, numbers of objects or names of classes, and drop those that are neither."""
    by_folder: dict[str, list[_Claim]] = defaultdict(list)
    for claim in claims:
        by_folder[claim.kind[0]].append(claim)
    kept: list[_Claim] = []
    for some in by_folder.values():
        plain = [claim for claim in some if not claim.is_part]
        numbers = [
            claim
            for claim in some
            if claim.is_part
            and not claim.word
            and (places[claim.images[0]].plain_folders, bare_name(claim.images[0].stem)) not in numbered
        ]
        words = [claim for claim in some if claim.word]
        masked = {claim.images for claim in plain}
        kept += plain
        kept += [claim for claim in numbers if len(numbers) > 1 or _is_lone_object(claim, masked)]
        kept += _read_words(words, masked)
    return kept


def _is_lone_object(claim: _Claim, masked: Collection[tuple[Path, ...]]) -> bool:
    """Whether a folder's only mask with a number, `a_5`, is an object of `a` rather than the mask of a missing image.

    It is one where `a` has a mask as well, and either no other image has, or the number follows a word for masks:
    `a_mask_5`.
    """
    follows_word = names_a_mask(without_number(bare_name(claim.mask.stem)))
    return claim.images in masked and (len(masked) == 1 or follows_word)


def _read_words(claims: Sequence[_Claim], plain: set[tuple[Path, ...]]) -> list[_Claim]:
    """Words are classes where several recur and meet on an image that has no mask without a word."""
    images_of: dict[str, set[tuple[Path, ...]]] = defaultdict(set)
    for claim in claims:
        images_of[claim.word].add(claim.images)
    recurring = {word for word, images in images_of.items() if len(images) > 1}
    candidates = {word for word in recurring if not is_known_variant(word)}
    most = Counter(image for word in candidates for image in images_of[word])
    if max(most.values(), default=0) > 1 and not plain & most.keys():
        return [
            replace(claim, kind=(claim.kind[0], "*"), is_class=True) if claim.word in candidates else claim
            for claim in claims
            if claim.word in recurring or is_known_variant(claim.word)
        ]
    return [
        # What `vis/a.png` is beside `a.png` nobody knows; it counts as a kind of its own.
        replace(claim, kind=(claim.kind[0], f"*_{claim.word}"))
        for claim in claims
        if claim.word in recurring or is_known_variant(claim.word)
    ]


def _claims_on_only_images(
    images: Sequence[Path], orphans: Sequence[Path], claims: Sequence[_Claim], places: Mapping[Path, Place]
) -> list[_Claim]:
    """Masks of any name belong to the only image of a folder: `<id>/images/<id>.png` with `<id>/masks/*.png`."""
    claimed = {image for claim in claims for image in claim.images}
    homes: dict[Hashable, list[Path]] = defaultdict(list)
    for image in images:
        if places[image].plain_folders:
            homes[_LEVELS[1](places[image])].append(image)
    alone = {home: some[0] for home, some in homes.items() if len(some) == 1 and some[0] not in claimed}
    found = [
        _Claim(mask, (alone[home],), (places[mask].kind, "*"), is_part=True)
        for mask in orphans
        if (home := _LEVELS[1](places[mask])) in alone
    ]
    # One such folder may be a mistake in names, unless it is called as its image is.
    used = {claim.images[0] for claim in found}
    called_alike = all(image.stem.casefold() == places[image].plain_folders[-1] for image in used)
    return found if len(used) > 1 or called_alike else []


# --- Which of several masks is taken


def _weigh(claims: Sequence[_Claim]) -> tuple[list[_Claim], dict[Path, Kind], tuple[Kind, Kind] | None]:
    """Set aside kinds of masks that say less than others do about the same images.

    Once a kind loses on one image it is not used for any other either: DRIVE's field of view is no label
    where the label is missing.
    """
    kinds_of: dict[tuple[Path, ...], set[Kind]] = defaultdict(set)
    for claim in claims:
        if len(claim.images) == 1:
            kinds_of[claim.images].add(claim.kind)
    parts = {claim.kind for claim in claims if claim.word and not claim.is_class}

    def rank(kind: Kind) -> tuple[int, bool]:
        return score(*kind), kind not in parts

    lost: set[Kind] = set()
    draws: Counter[tuple[Kind, Kind]] = Counter()
    for kinds in kinds_of.values():
        best = max(map(rank, kinds))
        lost |= {kind for kind in kinds if rank(kind) < best}
        equals = sorted(kind for kind in kinds if rank(kind) == best)
        draws.update([(equals[0], equals[1])] if len(equals) > 1 else [])
    aside = {claim.mask: claim.kind for claim in claims if claim.kind in lost}
    rivals = next((pair for pair, count in draws.most_common(1) if 2 * count > len(kinds_of)), None)
    return [claim for claim in claims if claim.kind not in lost], aside, rivals


def _settle(claims: Sequence[_Claim]) -> tuple[dict[Path, Mask], list[Problem]]:
    """Give each image its mask, or say why it cannot be told."""
    by_images: dict[tuple[Path, ...], list[_Claim]] = defaultdict(list)
    for claim in claims:
        by_images[claim.images].append(claim)
    # Where one image has a mask of several files, the others' single files are layers as well.
    layered = {some[0].kind for some in by_images.values() if len(some) > 1 and _is_mergeable(some)}
    found: dict[Path, Mask] = {}
    problems: list[Problem] = []
    for images, some in sorted(by_images.items(), key=lambda item: len(item[0])):
        left = [image for image in images if image not in found]
        if len(left) == 1 and _is_mergeable(some):
            found[left[0]] = _merge(some) if some[0].kind in layered or some[0].is_class else some[0].mask
            continue
        masks = [claim.mask for claim in some]
        resolved = _resolve(left, masks)
        found.update(resolved)
        problems += [] if resolved else [_explain(left or images, masks)]
    return found, problems


def _is_mergeable(claims: Sequence[_Claim]) -> bool:
    """Whether masks of one image are of one kind, and but for one at most each shows a part."""
    kinds = {(claim.kind, claim.is_class) for claim in claims}
    return len(kinds) == 1 and sum(not claim.is_part for claim in claims) <= 1


def _merge(claims: Sequence[_Claim]) -> Layers:
    ordered = sorted(claims, key=lambda claim: (natural_text(claim.word), natural(claim.mask)))
    names = tuple(claim.word for claim in ordered) if claims[0].is_class else None
    return Layers(tuple(claim.mask for claim in ordered), names)


def _resolve(images: Sequence[Path], masks: Sequence[Path]) -> dict[Path, Path]:
    """Pair files of one bare name, all of them or none.

    Words that were taken off too many (`001` and `img_001` in one folder) are put back until each
    image has its mask.
    """
    keys: tuple[Callable[[str], str], ...] = (name_without_mask_words, str)
    for key in keys:
        image_of = {key(image.stem): image for image in images}
        mask_of = {key(mask.stem): mask for mask in masks}
        if image_of.keys() == mask_of.keys() and len(image_of) == len(images) and len(mask_of) == len(masks):
            return {image: mask_of[name] for name, image in image_of.items()}
    return {}


# --- What is said about the others


def _image_without_mask(image: Path) -> Problem:
    sentence = f"{image} has no mask; add one of the same name or remove the picture."
    return Problem(image, sentence, "image without mask")


def _mask_without_image(mask: Path) -> Problem:
    sentence = f"{mask} is a mask without an image; add the image or remove the mask."
    return Problem(mask, sentence, "mask without image")


def _explain(images: Sequence[Path], masks: Sequence[Path]) -> Problem:
    if len(images) == 1:
        sentence = f"{images[0]} has several masks, {join(masks)}; keep one of them."
    else:
        several = f"{join(images)} are images of the same name for {join(masks)}"
        sentence = f"{several}; keep one of them or rename them."
    return Problem(images[0], sentence, "ambiguous")


def join(items: Iterable[object]) -> str:
    """List a few items as a sentence does."""
    words = [str(item) for item in items]
    if len(words) > MOST_JOINED:
        words = [*words[: MOST_JOINED - 1], f"{len(words) - MOST_JOINED + 1} more"]
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
