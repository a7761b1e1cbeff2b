"""What is wrong with a folder of photographs and masks, from what its examination kept.

Each kind of finding comes once, with all the files that it is about, and says what is to be done.
"""

import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from maskwright.data.copies import chained, find_copies, find_near, tell_copies
from maskwright.data.examination import Picture
from maskwright.data.groups import Groups, find_groups
from maskwright.data.label_survey import Decision
from maskwright.data.pairs import AlphaChannel, Pairing, Problem, ProblemKind
from maskwright.data.reading import Formats, has_same_shape
from maskwright.data.report import LEVELS, Diagnosis, Finding, Level, agreeing, counted, shown_name
from maskwright.data.splits import PARTS, make_split
from maskwright.errors import InputError
from maskwright.terminal import first_few, printable

# A bound below this costs more than a longer training gains.
LEAST_BOUND = 0.97
# Shares of the pixels: below the first a class is small, below the second a network rarely meets it.
SMALL_SHARE, TINY_SHARE = 0.03, 0.001
# A class in fewer pictures than this cannot be both learnt and scored.
FEWEST_PICTURES = 3
# Longer sides, in pixels, that are unusual.
TINY_SIDE, HUGE_SIDE = 64, 6000

_NO_GUESS = "its shape does not tell"


def diagnose(
    folder: Path,
    pairing: Pairing,
    formats: Formats,
    decision: Decision,
    examined: tuple[Sequence[Picture], Sequence[Problem]],
    *,
    pattern: str | None,
    size: int,
    val_share: float,
) -> Diagnosis:
    """Say what was found, and what is to be done about it.

    Args:
        folder: That was looked at.
        pairing: What was found in it.
        formats: How its files are read.
        decision: What is to be said about its masks.
        examined: Pictures and problems from `examination.examine`.
        pattern: Of ``--group``.
        size: Longer side of training.
        val_share: Of the split that training would make.

    Raises:
        InputError: The pattern is no regular expression or does not match a name.
    """
    pictures, problems = examined
    copies = find_copies(pictures)
    near = find_near(pictures)
    given = {picture.pair.name: picture.pair.group for picture in pictures}
    named = find_groups(list(given), pattern=pattern, given=given)
    findings = _tell_problems([*pairing.problems, *problems], folder)
    # Without a picture there is nothing that the masks were read for.
    findings += [Finding("labels", remark.kind, remark.sentence) for remark in decision.remarks if pictures]
    split, groups = dict[str, str](), named
    try:
        split, groups = _make_split(pictures, pattern, val_share, [*near, *chained(copies)])
    except InputError as error:
        findings += [Finding("split", "problem", str(error))] if pictures else []
    case = Diagnosis(folder, pairing.layout, formats, tuple(pictures), size, groups, split)
    findings += tell_copies(case, named, copies, near) + _tell_divided_groups(case, named)
    for tell in (_tell_odd_masks, _tell_odd_images, _tell_sizes, _tell_turned, _tell_classes, _tell_resolution):
        findings += tell(case)
    return replace(case, findings=tuple(sorted(findings, key=lambda finding: LEVELS.index(finding.level))))


def _tell(
    case: Diagnosis,
    kind: str,
    level: Level,
    some: Sequence[Picture],
    sentence: str,
    remedy: str,
    say: Callable[[Picture], str] = lambda _: "",
) -> list[Finding]:
    """A finding about some of the pictures, if there are any; ``{}`` in the sentence says how many of all."""
    if not some:
        return []
    total = counted(len(case.pictures), "picture")
    number = f"All {total}" if len(some) == len(case.pictures) > 1 else f"{len(some):,} of {total}"
    files = {case.name_of(picture): say(picture) for picture in some}
    return [Finding(kind, level, agreeing(sentence.format(number), len(some)), remedy, files)]


def _make_split(
    pictures: Sequence[Picture], pattern: str | None, val_share: float, together: Sequence[tuple[int, int]]
) -> tuple[dict[str, str], Groups]:
    """As training makes it."""
    names = [picture.pair.name for picture in pictures]
    return make_split(
        [picture.pair for picture in pictures],
        pattern=pattern,
        val_share=val_share,
        test_share=0.0,
        seed=0,
        shares={picture.pair.name: 1 - picture.share_of([0]) for picture in pictures},
        near=[(names[first], names[second]) for first, second in together],
    )


def _tell_divided_groups(case: Diagnosis, named: Groups) -> list[Finding]:
    """Groups that the given parts divide between learning and measuring; of copies in two parts `tell_copies` tells."""
    given = [(named.of[some.pair.name], some) for some in case.pictures if some.pair.split]
    parts_of = defaultdict[str, set[str | None]](set)
    for group, some in given:
        parts_of[group].add(some.pair.split)
    divided = {group: parts for group, parts in sorted(parts_of.items()) if "train" in parts and len(parts) > 1}
    if not divided:
        return []
    held_out = " or ".join(part for part in PARTS[1:] if any(part in parts for parts in divided.values()))
    found = agreeing(f"{counted(len(divided), 'group')} [has|have] pictures in train and in {held_out}", len(divided))
    members = sorted(((group, some) for group, some in given if group in divided), key=lambda member: member[0])
    return [
        Finding(
            "group leak",
            "warning",
            f"{found}, as the folders give them: {printable(first_few([*divided]))}; scores will look better than they "
            "are.",
            "Move each group into one part, or say with --group what belongs together.",
            {case.name_of(some): printable(f"{group}, in {some.pair.split}") for group, some in members},
        )
    ]


# --- What cannot be used

_REFUSED: dict[ProblemKind, tuple[str, str]] = {
    "image without mask": ("[image has|images have] no mask", "Draw them, or move the images out of the folder."),
    "mask without image": ("[mask has|masks have] no image", "Add the images, or remove these masks."),
    "ambiguous": ("[file|files] could belong together in more than one way", "Rename or remove one of each."),
    "unreadable": ("[file|files] cannot be used", "Copy them again, or remove them with their partners."),
    "other shape": ("[mask is|masks are] of another shape than the image", "Crop one of each to match the other."),
    "unexpected values": (
        "[mask holds|masks hold] what no class has",
        "Correct them, or say with --classes and --ignore what their values mean.",
    ),
    "name": ("[name|names] cannot be written down", "Rename the files."),
}


def _tell_problems(problems: Sequence[Problem], folder: Path) -> list[Finding]:
    findings = []
    for kind, (words, remedy) in _REFUSED.items():
        some = [problem for problem in problems if problem.kind == kind]
        details = defaultdict[str, list[str]](list)  # of an annotation file, several things may be wrong
        for problem in some:
            details[shown_name(problem.path, folder)].append(_detail(problem, folder))
        files = {name: " ".join(dict.fromkeys(told)) for name, told in details.items()}
        if some:
            sentence = agreeing(f"{len(some):,} {words}.", len(some))
            findings.append(Finding(kind, "problem", sentence, f"{remedy} Or train with --skip-bad.", files))
    return findings


def _detail(problem: Problem, folder: Path) -> str:
    """The sentence without what stands before it anyway."""
    sentence = problem.sentence
    for mark in (" ", ": ", ", "):
        sentence = sentence.removeprefix(f"{problem.path}{mark}")
    return printable(sentence.replace(f"{folder}{os.sep}", ""))


# --- Odd files


def _tell_odd_masks(case: Diagnosis) -> list[Finding]:
    labels, pictures = case.formats.labels, case.pictures
    scored = labels.scored_classes
    has_background = len(scored) < labels.num_classes
    empty = [some for some in pictures if some.counted == 0 or (has_background and some.share_of(scored) == 0)]
    full = [some for some in pictures if some.counted and max(some.share_of([index]) for index in scored) == 1]
    is_one_for_all = len({some.mask_print for some in pictures}) == 1 < FEWEST_PICTURES <= len(pictures)
    resized = [some for some in pictures if not _is_size_of_image(some)]
    return [
        *_tell(
            case,
            "same mask",
            "warning",
            pictures if is_one_for_all and not empty + full else [],
            "{} have the same mask.",
            "Export the masks again: each picture should have its own.",
        ),
        *_tell(
            case,
            "empty masks",
            "warning",
            empty,
            "{} [has a mask that shows|have masks that show] nothing but background.",
            "Right where the picture shows nothing else; otherwise its mask is missing.",
        ),
        *_tell(
            case,
            "full masks",
            "warning",
            full,
            "{} [has a mask that is|have masks that are] all one class.",
            "Right where it fills the picture; otherwise its mask was lost.",
        ),
        *_tell(
            case,
            "resized masks",
            "note",
            resized,
            "{} [has a mask|have masks] of another size, but of the same shape.",
            "Masks are resized to their images.",
            lambda some: f"{_in_words(some.mask_size)} for an image of {_in_words(some.size)}",
        ),
    ]


def _in_words(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"


def _is_size_of_image(picture: Picture) -> bool:
    across = picture.size[::-1] if picture.stored.orientation >= 5 else picture.size
    return picture.mask_size in (picture.size, across)


def _tell_odd_images(case: Diagnosis) -> list[Finding]:
    """How pictures are stored, where that changes nothing or is taken care of."""
    pictures = case.pictures
    colour = [some for some in pictures if not some.stored.is_deep and some.stored.channels == 3]
    grey = [some for some in colour if _shows_grey(some)]
    is_disguised = any(some.stored.mode not in ("grey", "1 bit") for some in grey)
    others = ", the others in colour" if len(grey) < len(colour) else ""
    transparent = [some for some in pictures if some.stored.has_alpha and not isinstance(some.pair.mask, AlphaChannel)]
    rows = [
        (
            "grey pictures",
            grey if is_disguised or others else [],
            f"{{}} [is|are] grey{', but stored in colour' if is_disguised else ''}{others}.",
            "All are read as colour; nothing is lost by that.",
        ),
        (
            "unused alpha",
            [some for some in transparent if not some.has_varying_alpha],
            "{} [has|have] an alpha channel that never varies.",
            "It is not used.",
        ),
        (
            "transparent pictures",
            [some for some in transparent if some.has_varying_alpha],
            "{} [has|have] transparent parts.",
            "Transparency is not used: a network sees the colours that lie below it.",
        ),
        (
            "deep pictures",
            [some for some in pictures if some.stored.is_deep],
            "{} [has|have] more than 8 bits.",
            "One range for all of them is kept with the model.",
        ),
        *(
            (
                f"{mode} pictures",
                [some for some in colour if some.stored.mode == mode],
                f"{{}} [is|are] stored as {mode}.",
                "They are read as RGB.",
            )
            for mode in ("palette", "1 bit", "CMYK")
        ),
    ]
    return [finding for kind, some, words, remedy in rows for finding in _tell(case, kind, "note", some, words, remedy)]


def _shows_grey(picture: Picture) -> bool:
    # Means of so many pixels that are equal in every channel at every place come from grey alone.
    return bool((picture.thumbnail[..., :1] == picture.thumbnail[..., 1:]).all())


def _tell_sizes(case: Diagnosis) -> list[Finding]:
    return [
        *_tell(
            case,
            "very small",
            "warning",
            [some for some in case.pictures if max(some.size) < TINY_SIDE],
            f"{{}} [is|are] smaller than {TINY_SIDE} pixels on the longer side.",
            f"They are enlarged to {case.size}, which adds no detail.",
            lambda some: _in_words(some.size),
        ),
        *_tell(
            case,
            "very large",
            "note",
            [some for some in case.pictures if max(some.size) > HUGE_SIDE],
            f"{{}} [is|are] larger than {HUGE_SIDE:,} pixels on the longer side.",
            f"They are shrunk to {case.size}; a larger --size, or --factor with cut-outs of them, keeps more.",
            lambda some: _in_words(some.size),
        ),
    ]


def _tell_turned(case: Diagnosis) -> list[Finding]:
    turned = [some for some in case.pictures if some.stored.orientation != 1]
    return [
        *_tell(
            case,
            "turned masks",
            "warning",
            [some for some in turned if _drawn_on(some) == _NO_GUESS],
            "{} [is|are] turned by the camera's orientation, and the shape of the mask does not tell whether it was "
            "drawn before or after.",
            "Masks are taken to be upright; look at them on the page.",
        ),
        *_tell(
            case,
            "turned pictures",
            "note",
            [some for some in turned if _drawn_on(some) != _NO_GUESS],
            "{} [is|are] turned by the camera's orientation.",
            "They are turned once, when they are read, and with them masks that were drawn before.",
            lambda some: f"its mask was drawn on {_drawn_on(some)}",
        ),
    ]


def _drawn_on(picture: Picture) -> str:
    is_upright = has_same_shape(picture.size, picture.mask_size)
    if picture.stored.orientation < 5 or is_upright == has_same_shape(picture.size[::-1], picture.mask_size):
        return _NO_GUESS
    return "the upright picture" if is_upright else "the picture as it is stored"


# --- What the whole says


def _tell_classes(case: Diagnosis) -> list[Finding]:
    """Classes that are small, rare or absent."""
    scored = [(index, case.classes()[index]) for index in case.formats.labels.scored_classes if case.pictures]
    held_out = [some for some in case.pictures if case.part_of(some) == "val"]
    few = min(FEWEST_PICTURES, len(case.pictures))
    rows: list[tuple[str, Level, list[str], str, str]] = [
        (
            "absent classes",
            "warning",
            [some.name for _, some in scored if some.pictures == 0],
            "In no mask at all",
            "They cannot be learnt; take them off the list of classes.",
        ),
        (
            "rare classes",
            "warning",
            [f"{some.name} ({counted(some.pictures, 'picture')})" for _, some in scored if 0 < some.pictures < few],
            "In very few pictures",
            "Add pictures that show them.",
        ),
        (
            "unscored classes",
            "warning",
            [
                some.name
                for index, some in scored
                if held_out and some.pictures and not any(picture.counts[index] for picture in held_out)
            ],
            "In no picture that is held out, and so without a score",
            "Add pictures that show them, or split otherwise with --group or --seed.",
        ),
        (
            "tiny classes",
            "warning",
            [f"{some.name} {some.share:.2%}" for _, some in scored if 0 < some.share < TINY_SHARE],
            "Hardly any pixels",
            "A larger --size keeps more of them.",
        ),
        (
            "small classes",
            "note",
            [f"{some.name} {some.share:.1%}" for _, some in scored if TINY_SHARE <= some.share < SMALL_SHARE],
            "Few pixels",
            "The Dice loss keeps small classes from being drowned.",
        ),
    ]
    return [
        Finding(kind, level, f"{words}: {first_few(names)}.", remedy)
        for kind, level, names, words, remedy in rows
        if names
    ]


def _tell_resolution(case: Diagnosis) -> list[Finding]:
    """What the training size costs, where that is much."""
    bound = case.bound()
    best = bound.get(case.size, 1.0)
    if best >= LEAST_BOUND:
        return []
    enough = next((side for side, value in bound.items() if value >= LEAST_BOUND), max(bound))
    return [
        Finding(
            "resolution",
            "warning",
            f"At {case.size} pixels even a perfect model reaches a Dice of {best:.3f} at most.",
            f"Train with --size {enough}, where that is {bound[enough]:.3f}.",
        )
    ]
