"""Pictures that are there more than once: equal files, and files that look the same."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from maskwright.data.duplicates import find_near_duplicates
from maskwright.data.examination import Picture
from maskwright.data.groups import Groups
from maskwright.data.report import Diagnosis, Finding, Level, agreeing, counted
from maskwright.terminal import first_few


def find_copies(pictures: Sequence[Picture]) -> list[list[int]]:
    """Pictures whose files are equal, byte for byte."""
    same = defaultdict(list)
    for index, picture in enumerate(pictures):
        same[picture.fingerprint].append(index)
    return [indices for indices in same.values() if len(indices) > 1]


def find_near(pictures: Sequence[Picture]) -> list[tuple[int, int]]:
    """Pictures that look the same although their files differ."""
    thumbnails = (
        np.stack([picture.thumbnail for picture in pictures]) if pictures else np.zeros((0, 64, 64, 3), np.uint8)
    )
    return [
        (first, second)
        for first, second in find_near_duplicates(thumbnails)
        if pictures[first].fingerprint != pictures[second].fingerprint
    ]


def chained(copies: Iterable[Sequence[int]]) -> list[tuple[int, int]]:
    """Each copy with the first of its kind."""
    return [(some[0], other) for some in copies for other in some[1:]]


def tell_copies(
    case: Diagnosis, named: Groups, copies: Sequence[Sequence[int]], near: Sequence[tuple[int, int]]
) -> list[Finding]:
    """Equal files, files that look the same, and where the split that the folder gives parts them."""
    pictures = case.pictures
    contradictory = [some for some in copies if len({pictures[index].mask_print for index in some}) > 1]
    doubled = [some for some in copies if some not in contradictory]
    extra = sum(len(some) - 1 for some in doubled)
    together = [*near, *chained(copies)]
    apart = [(one, other) for one, other in together if case.part_of(pictures[one]) != case.part_of(pictures[other])]
    across = [
        (one, other)
        for one, other in near
        if (one, other) not in apart and named.of[pictures[one].pair.name] != named.of[pictures[other].pair.name]
    ]
    rows: list[tuple[str, Level, Sequence[tuple[int, int]], str, str]] = [
        (
            "leak",
            "warning",
            apart,
            f"{_members(apart)} pictures have a copy in another part of the split that the folder gives; scores will "
            "look better than they are.",
            "Move each into the part of its copy.",
        ),
        (
            "contradictory masks",
            "warning",
            chained(contradictory),
            agreeing(
                f"{counted(len(contradictory), 'picture')} [is|are] there more than once, with different masks.",
                len(contradictory),
            ),
            "Keep the mask that is right; --fix leaves all of them out.",
        ),
        (
            "duplicates",
            "warning",
            chained(doubled),
            agreeing(
                f"{counted(extra, 'picture')} [is an exact copy|are exact copies] of others, and count[s|] again in "
                "training and in scores.",
                extra,
            ),
            "Keep one of each; --fix keeps the first.",
        ),
        (
            "near-duplicates",
            "note",
            across,
            f"{_members(across)} pictures look like another one that their names do not put into the same group.",
            "Training puts them into one group, so that none is scored by its own copy.",
        ),
    ]
    return [
        Finding(kind, level, sentence, remedy, _linked(case, pairs))
        for kind, level, pairs, sentence, remedy in rows
        if pairs
    ]


def _members(pairs: Iterable[tuple[int, int]]) -> int:
    return len({index for pair in pairs for index in pair})


def _linked(case: Diagnosis, pairs: Iterable[tuple[int, int]]) -> dict[str, str]:
    """Both pictures of each pair, each with its partners."""
    partners = defaultdict(list)
    for first, second in pairs:
        partners[first].append(second)
        partners[second].append(first)
    names = [case.name_of(picture) for picture in case.pictures]
    return {
        names[index]: f"like {first_few([names[other] for other in partners[index]])}" for index in sorted(partners)
    }
