"""The map from the raw values of a folder's masks to classes, which follows from what they hold.

Each mask has been looked at by itself (`mask_facts`), then all of them decide together: one of nothing but background
says little, and one odd file among hundreds is a mistake, not a class. What could mean two things is decided by the
likelier one and asked about, with the option that answers.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from PIL import ImageColor

from maskwright.config import Foreground, MaskSettings
from maskwright.data import labels as lb
from maskwright.data.formats.class_lists import (
    IGNORE_NAME,
    VOC_CLASSES,
    is_background,
    parse_classes,
    parse_raw,
    plain_name,
)
from maskwright.data.labels import BACKGROUND, MOST_COLOURS, LabelMap
from maskwright.data.mask_facts import BYTE_ENDS, LEAST_SHARE, MaskFacts, is_grey
from maskwright.data.pairs import ClassEntry, ClassList, Colour
from maskwright.errors import InputError

# Of masks that tell something, so many have to be in colour where others are grey: fewer are mistakes.
LEAST_COLOURED = 0.05
# Index files mark pixels that do not count with the largest number there is, or with -1; VOC draws them in this colour.
VOID_VALUES = (-1, 255, 65535)
VOID_COLOUR = (224, 224, 192)
# Of mixed colours, one is a class where it and its neighbours make up `LEAST_SHARE` of all pixels, and it differs from
# every other class by so much in some channel.
LEAST_DISTANCE = 48


@dataclass(frozen=True)
class LabelOptions:
    """What the user or the folder says of the masks.

    Attributes:
        classes: From ``--classes``, a file in the folder, or an annotation file.
        ignore: ``--ignore``: raw values, colours or class names that do not count.
        foreground: ``--foreground``; None where nobody said.
    """

    classes: ClassList | None = None
    ignore: tuple[str, ...] = ()
    foreground: Foreground | None = None


@dataclass(frozen=True)
class Remark:
    """Something the user should know of how masks are read.

    Attributes:
        kind: A ``note`` says what was understood; a ``question`` could have meant something else.
        sentence: With the option that answers a question.
    """

    kind: Literal["note", "question"]
    sentence: str


@dataclass(frozen=True)
class Decision:
    """The map, and what is to be said about it."""

    labels: LabelMap
    remarks: tuple[Remark, ...] = ()


def decide_labels(facts: Sequence[MaskFacts], options: LabelOptions) -> Decision:
    """Decide how the masks of a folder are read.

    Raises:
        InputError: The masks hold things that no one map can read, or the options do not fit them.
    """
    if _are_coloured(facts, options):
        return _decide_colours([_in_colour(fact) for fact in facts], options)
    disagreement = None if _says_numbers(options) else _disagreement(facts)
    if disagreement:
        return _decide_by_palettes(facts, disagreement, options)
    # Colours are mistakes then, refused one by one when they are read.
    return _decide_one_channel([fact for fact in facts if fact.storage != "colours"], options)


def _decide_one_channel(facts: Sequence[MaskFacts], options: LabelOptions) -> Decision:
    told = [fact for fact in facts if fact.storage != "empty"]
    if _says_numbers(options):
        return _decide_indices(facts, options)
    if any(fact.storage == "indices" for fact in told) and all(fact.counts.keys() <= BYTE_ENDS for fact in told):
        return _decide_bytes(told, options)
    counted = Counter(fact.storage for fact in told)
    binary = counted["grey"] + counted["levels"]
    # Names alone are those of 0, 1, 2 ..., unless the masks are 0 and 255 throughout.
    is_plain = counted["grey"] == len(told) > 0 and not all({*fact.counts} <= {0, 1} for fact in told)
    if options.classes and len(options.classes.entries) > 2 and not is_plain:
        return _decide_indices(facts, options)
    if counted["levels"] > counted["grey"] + counted["indices"]:
        return _decide_levels(facts, options)
    if binary >= counted["indices"] and not _is_zero_one_and_more(told):
        return _decide_grey(told, options)
    return _decide_indices(facts, options)


def decide_names(found: Sequence[str], options: LabelOptions) -> Decision:
    """The map of masks whose regions carry the names of their classes.

    Args:
        found: The names in use.
        options: Its classes decide the order; without them, names are sorted after the background.

    Raises:
        InputError: The options do not fit the names, or there are too many of these.
    """
    entries = [entry.name for entry in options.classes.entries] if options.classes else []
    known = entries or sorted(set(found) - {IGNORE_NAME})
    asked = [plain_name(word) for word in options.ignore]
    odd = [name for name in asked if name not in {*known, *found, IGNORE_NAME}]
    if odd and known:
        raise InputError(f"--ignore {odd[0]} is none of the classes here, which are {lb.listed(known)}; correct it.")
    ignored = tuple(name for name in asked if name in {*entries, *found})
    names = entries or sorted(set(found) - {BACKGROUND, IGNORE_NAME})
    names = [name for name in names if name not in ignored]
    # What no region covers is background, so there is always one.
    first = next((name for name in names if is_background(name)), BACKGROUND)
    names = [BACKGROUND, *(name for name in names if name != first)]
    _check_number(len(names), options.classes.source if options.classes else "The folder")
    unknown = sorted(set(found) - {*names, *ignored, first, IGNORE_NAME})
    if unknown:
        raise InputError(
            f"The annotations hold the class {unknown[0]!r}, which is not among {lb.listed(names)}; "
            f"add it to {options.classes.source if options.classes else '--classes'}, or give --ignore {unknown[0]}."
        )
    colours: tuple[Colour, ...] = ()
    if options.classes and all(entry.colour for entry in options.classes.entries):
        by_name = {entry.name: entry.colour for entry in options.classes.entries if entry.colour}
        colours = ((0, 0, 0), *(by_name[name] for name in names[1:]))
    labels = LabelMap("names", tuple(names), ignore=tuple(dict.fromkeys([*ignored, IGNORE_NAME])), colours=colours)
    return Decision(labels, (Remark("note", f"{len(names)} classes by name: {_names_in_words(names)}."),))


def read_options(told: MaskSettings, found: ClassList | None) -> LabelOptions:
    """The words of the user; the folder's own list of classes counts where ``--classes`` says nothing."""
    words = [word.strip() for word in (told.ignore or "").split(",")]
    return LabelOptions(
        classes=parse_classes(told.classes) if told.classes else found,
        ignore=tuple(word for word in words if word),
        foreground=told.foreground,
    )


def labels_for_model(found: LabelMap, model: LabelMap) -> LabelMap:
    """The map of a folder with the classes of a model, in the model's order.

    Raises:
        InputError: The folder holds classes that the model does not know.
    """
    known = {*(raw for some in model.values for raw in some), *model.ignore}
    if found.values and found.kind == model.kind and known.issuperset(raw for some in found.values for raw in some):
        return model
    if found.num_classes == model.num_classes == 2:
        ignore = found.ignore or (model.ignore if found.kind == model.kind else ())
        # Regions that carry names are looked up by their own; of the model's classes they have the places.
        names = found.class_names if found.kind == "names" else model.class_names
        return replace(found, class_names=names, colours=model.colours, ignore=ignore)
    return _in_order_of(found, model)


def _in_order_of(found: LabelMap, model: LabelMap) -> LabelMap:
    unknown = [name for name in found.class_names if name not in model.class_names]
    if unknown:
        raise InputError(
            f"The masks hold the class {unknown[0]!r}, and the model knows {lb.listed(list(model.class_names))}; "
            "say with --classes which values mean these."
        )
    values = dict(zip(found.class_names, found.values, strict=False))
    ordered = tuple(values.get(name, ()) for name in model.class_names) if found.values else ()
    return replace(found, class_names=model.class_names, values=ordered, colours=model.colours)


# --- All masks


def _are_coloured(facts: Sequence[MaskFacts], options: LabelOptions) -> bool:
    """Whether colours stand for classes: in most masks that tell something, or in many that agree.

    A set with a class that is drawn in white has many masks that look black and white. What sets it apart from black
    and white masks with an odd file among them is that several files have the same few colours, or that a list names
    colours. Where that is decided against the user, the coloured files are refused with a sentence, which is better
    than a white class that nobody meant.
    """
    told = [fact for fact in facts if fact.storage != "empty"]
    coloured = [fact for fact in told if fact.storage == "colours"]
    numbered = sum(fact.storage == "indices" for fact in told)
    if not coloured or 2 * len(coloured) >= len(told):
        return bool(coloured)
    if numbered > len(coloured):
        return False
    if options.classes and all(entry.colour for entry in options.classes.entries):
        return True
    shared = Counter(colour for fact in coloured for colour in fact.counts if not is_grey(colour))
    is_code = not any(fact.is_mixed for fact in coloured) and len(shared) <= MOST_COLOURS
    return is_code and max(shared.values(), default=0) > 1 and len(coloured) >= LEAST_COLOURED * len(told)


def _says_numbers(options: LabelOptions) -> bool:
    return options.classes is not None and any(entry.value is not None for entry in options.classes.entries)


def _check_number(number: int, source: object, *, numbered: bool = False) -> None:
    """Refuse what no model can tell apart, and say where it comes from."""
    if number < 2:
        raise InputError(f"{source} has no class but the background; a model tells 2 to {lb.IGNORED} classes apart.")
    if number > lb.IGNORED:
        remedy = "merge some, or save the class of each object where they are numbers of objects"
        raise InputError(
            f"{source} has {number} classes, and a model tells 2 to {lb.IGNORED} classes apart; "
            f"{remedy if numbered else 'merge some of them'}."
        )


def _is_zero_one_and_more(told: Sequence[MaskFacts]) -> bool:
    """Whether files of 0 and 1 are the index files of which others have more classes."""
    is_any_index = any(fact.storage == "indices" for fact in told)
    return is_any_index and not any(fact.storage != "indices" and max(fact.counts) not in (0, 1) for fact in told)


def _decide_grey(told: Sequence[MaskFacts], options: LabelOptions) -> Decision:
    names = (BACKGROUND, "foreground")
    if options.classes:
        entries = [entry.name for entry in options.classes.entries]
        if len(entries) == 1:  # the background is seldom listed
            entries = [BACKGROUND, *entries]
        if len(entries) != 2:
            raise InputError(
                f"The masks are black and white, but {options.classes.source} names {len(entries)} classes; name two, "
                "or export masks that tell them apart."
            )
        names = (entries[0], entries[1])
    remarks = [Remark("note", f"Black and white masks: {names[1]} against {names[0]}.")]
    if options.foreground is None and _seems_inverted(told):
        remarks.append(
            Remark(
                "question",
                "White covers most of these masks and their borders, as where the foreground is black. White is taken "
                "as the foreground; --foreground dark takes black, --foreground light settles that white is right.",
            )
        )
    ignore = tuple(_asked_numbers(told, options, {}))
    if not options.classes or len(options.classes.entries) == 1:
        remarks += _question_of_levels(told, ignore)
    return Decision(LabelMap("grey", names, ignore=ignore, foreground=options.foreground or "light"), tuple(remarks))


def _question_of_levels(told: Sequence[MaskFacts], ignore: Sequence[int | Colour | str]) -> list[Remark]:
    """Where some of black and white masks have flat areas in between: pixels of doubt, or a third class."""
    levels = [fact for fact in told if fact.storage == "levels"]
    left = [[value for value in _numbers_in([fact]) if value not in ignore] for fact in levels]
    paths = [fact.path for fact, values in zip(levels, left, strict=True) if len(values) > 2]
    unclear = [values for values in left if len(values) > 2]
    if not unclear:
        return []
    where = f"{paths[0]} holds" if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more of the masks hold"
    shades = sorted({shade for values in unclear for shade in values[1:-1]})
    example = ",".join(f"class {value}={value}" for value in sorted({value for values in unclear for value in values}))
    sentence = (
        f"{where} flat areas of the greys {lb.listed(shades)} between black and white, which are read as the nearer of "
        f"the two. --ignore {','.join(map(str, shades))} leaves them out, --classes '{example}' makes classes of them, "
        "and --classes background,foreground settles that they are soft edges."
    )
    return [Remark("question", sentence)]


def _decide_bytes(told: Sequence[MaskFacts], options: LabelOptions) -> Decision:
    """0 and 255 and nothing else, some of them in types that can hold more: black and white, by these two numbers."""
    decision = _decide_grey([replace(fact, storage="grey") for fact in told], options)
    labels = decision.labels
    dark, light = (() if value in labels.ignore else (value,) for value in sorted(BYTE_ENDS))
    values = (dark, light) if labels.foreground == "light" else (light, dark)
    return replace(decision, labels=LabelMap("indices", labels.class_names, values=values, ignore=labels.ignore))


def _seems_inverted(told: Sequence[MaskFacts]) -> bool:
    light = [fact.light for fact in told if fact.storage in ("grey", "levels")]
    border = [fact.light_border for fact in told if fact.storage in ("grey", "levels")]
    return bool(light) and float(np.median(light)) > 0.5 and float(np.median(border)) > 0.5


def _decide_levels(facts: Sequence[MaskFacts], options: LabelOptions) -> Decision:
    """Three flat shades: classes rather than soft edges, but that is a question."""
    ignored = _asked_numbers(facts, options, {})
    left = [value for value in _numbers_in(facts) if value not in ignored]
    if len(left) <= 2 or (options.classes and len(options.classes.entries) == 2):
        return _decide_grey(facts, options)
    decision = _decide_indices(facts, options)
    example = ",".join(f"class {value}={value}" for value in left)
    question = Remark(
        "question",
        f"The masks hold flat areas of the greys {lb.listed(left)}, which are read as {len(left)} classes; --classes "
        f"'{example}' names them, and --classes background,foreground reads them as soft edges of two.",
    )
    return Decision(decision.labels, (question, *(remark for remark in decision.remarks if remark.kind == "note")))


def _decide_indices(facts: Sequence[MaskFacts], options: LabelOptions) -> Decision:
    present = _numbers_in(facts)
    entries = _entries_by_value(facts, options)
    counted = Counter(fact.storage for fact in facts)
    are_levels = counted["levels"] > counted["indices"]
    ignore, remarks = _ignored_values(facts, present, entries, options, are_levels=are_levels)
    if entries is not None:
        kept = [entry for entry in entries if entry.value not in ignore and entry.name not in options.ignore]
    else:
        kept = [ClassEntry(name, value) for name, value in _default_names(facts, present, ignore)]
        remarks += _question_of_names(kept, options)
    if len(kept) < 2:
        kept = [ClassEntry(BACKGROUND, 0), *(entry for entry in kept if entry.value != 0)]
    palette = next((fact.palette for fact in facts if fact.palette), ())
    drawn = dict(enumerate(palette))
    colours = tuple(
        entry.colour or ((0, 0, 0) if entry.value is None else drawn.get(entry.value, (0, 0, 0))) for entry in kept
    )
    names = tuple(entry.name for entry in kept)
    most = max(facts, key=lambda fact: len(fact.counts), default=None)
    source = options.classes.source if options.classes else most.path if most else "The folder"
    _check_number(len(names), source, numbered=not options.classes)
    labels = LabelMap(
        "indices",
        names,
        values=tuple(() if entry.value is None else (entry.value,) for entry in kept),
        ignore=ignore,
        colours=colours if len(set(colours)) == len(colours) else (),
    )
    note = f"{len(names)} classes by their numbers: {_names_in_words(names)}."
    return Decision(labels, (Remark("note", note), *remarks))


def _numbers_in(facts: Sequence[MaskFacts]) -> list[int]:
    """The numbers in use; of files that are black and white, those that files of numbers can hold as well.

    One or two greys may be the numbers of two classes, up to the largest that other files hold.
    """
    shared = {0, 1, *VOID_VALUES}
    found = {value for fact in facts for value in fact.counts if fact.storage != "grey" or value in shared}
    numbers = {value for value in found if isinstance(value, int)}
    most = max(numbers - shared, default=0)
    pairs = [fact for fact in facts if fact.storage == "grey" and len(fact.counts) <= 2]
    numbers |= {value for fact in pairs for value in fact.counts if isinstance(value, int) and value <= most}
    return sorted(numbers)


def _entries_by_value(facts: Sequence[MaskFacts], options: LabelOptions) -> list[ClassEntry] | None:
    """The classes with the value of each: its own, that of its colour in the palettes, or its place in the list.

    A colour that the palettes lack has no value: its place would be that of another colour.
    """
    if options.classes is None:
        return None
    numbers = _numbers_by_colour(facts)
    entries = []
    for place, entry in enumerate(options.classes.entries):
        value = entry.value
        if value is None:
            value = numbers.get(entry.colour) if entry.colour and numbers else place
        entries.append(ClassEntry(entry.name, value, entry.colour))
    return entries


def _ignored_values(
    facts: Sequence[MaskFacts],
    present: Sequence[int],
    entries: Sequence[ClassEntry] | None,
    options: LabelOptions,
    *,
    are_levels: bool,
) -> tuple[tuple[int, ...], list[Remark]]:
    """What was asked to be ignored, and the usual marks of pixels that do not count; among grey levels 255 is white."""
    asked = _asked_numbers(facts, options, {entry.name: entry.value for entry in entries or ()})
    numbers = _numbers_by_colour(facts)
    listed = [numbers.get(raw, raw) for raw in (options.classes.ignore if options.classes else ())]
    known = {entry.value for entry in entries or ()}
    void = [] if are_levels else [value for value in VOID_VALUES if value in present and value not in known]
    remarks = [Remark("note", f"Pixels of value {value} do not count, as is usual.") for value in void]
    return tuple(dict.fromkeys(value for value in [*asked, *listed, *void] if isinstance(value, int))), remarks


def _asked_numbers(facts: Sequence[MaskFacts], options: LabelOptions, named: Mapping[str, int | None]) -> list[int]:
    """What ``--ignore`` asks for, in numbers: of a colour the one in the palettes, or without any the grey itself.

    Args:
        facts: Of masks that hold numbers or greys.
        options: What the user says.
        named: The number of each class that has a name; None where no mask holds it.

    Raises:
        InputError: A word is no class, value or colour, or the masks have no number for a colour.
    """
    numbers = _numbers_by_colour(facts) or {(grey, grey, grey): grey for grey in range(256)}
    asked = [named[word] if word in named else parse_raw(word) for word in options.ignore]
    found = [numbers.get(raw, raw) for raw in asked if raw is not None]
    odd = next((raw for raw in found if isinstance(raw, tuple)), None)
    if odd:
        raise InputError(
            f"--ignore {lb.describe_raw(odd)} is a colour, and the masks hold numbers or greys that no palette draws "
            "in it; give the value of these pixels instead, such as --ignore 255."
        )
    return [value for value in found if isinstance(value, int)]


def _default_names(facts: Sequence[MaskFacts], present: Sequence[int], ignore: Sequence[int]) -> list[tuple[str, int]]:
    palettes = {fact.palette for fact in facts if fact.palette}
    voc = [entry.colour for entry in VOC_CLASSES]
    values = [value for value in present if value not in ignore]
    if values and max(values) < len(voc) and palettes and all(list(some[: len(voc)]) == voc for some in palettes):
        return [(entry.name, index) for index, entry in enumerate(VOC_CLASSES)]
    if len(values) <= 2:
        return list(zip((BACKGROUND, "foreground"), values, strict=False))
    return [(f"class {value}", value) for value in values]


def _question_of_names(kept: Sequence[ClassEntry], options: LabelOptions) -> list[Remark]:
    if not kept or not kept[0].name.startswith("class ") or options.ignore:
        return []
    values = [str(entry.value) for entry in kept]
    sentence = (
        f"The masks hold the numbers {lb.listed(values)} and nothing names them. If one of them marks pixels that do "
        f"not count, say so with --ignore {values[-1]}; --classes names them."
    )
    return [Remark("question", sentence)]


# --- Palettes


def _disagreement(facts: Sequence[MaskFacts]) -> tuple[MaskFacts, MaskFacts] | None:
    """Two masks whose palettes draw a number that both hold in different colours, or a grey under different numbers."""
    drawn: dict[int | Colour, tuple[Colour, MaskFacts]] = {}
    for fact in facts:
        for value, colour in _drawn(fact).items():
            known, other = drawn.setdefault(value, (colour, fact))
            if known != colour:
                return other, fact
    numbers = {colour: (value, fact) for value, (colour, fact) in drawn.items()}
    for fact in facts:
        greys = [value for value in fact.counts if isinstance(value, int)]
        for grey in greys if fact.palette and not fact.has_coloured_palette else []:
            number, other = numbers.get((grey, grey, grey), (grey, fact))
            if number != grey:
                return other, fact
    return None


def _drawn(fact: MaskFacts) -> dict[int | Colour, Colour]:
    """The colour of each number in use that a coloured palette has one for."""
    if not fact.has_coloured_palette or fact.storage == "colours":
        return {}
    colours = dict(enumerate(fact.palette or ()))
    return {value: colours[value] for value in fact.counts if isinstance(value, int) and value in colours}


def _numbers_by_colour(facts: Sequence[MaskFacts]) -> dict[int | Colour, int]:
    """The number of each colour in any of the palettes; where palettes differ, that of a mask which holds it.

    Empty where no palette is coloured, since the reader has resolved palettes of greys.
    """
    drawn = {value: colour for fact in facts for value, colour in _drawn(fact).items() if isinstance(value, int)}
    numbers: dict[int | Colour, int] = {colour: value for value, colour in sorted(drawn.items(), reverse=True)}
    for palette in dict.fromkeys(fact.palette or () for fact in facts if fact.has_coloured_palette):
        for value, colour in enumerate(palette):
            if drawn.setdefault(value, colour) == colour:
                numbers.setdefault(colour, value)
    return numbers


def _in_colour(fact: MaskFacts) -> MaskFacts:
    """What `look_at` says of a mask that is read by the colours of its palette."""
    if not fact.has_coloured_palette or fact.storage == "colours":
        return fact
    drawn = _drawn(fact)
    counts: Counter[int | Colour] = Counter()
    for value, count in fact.counts.items():
        counts[drawn.get(value, (0, 0, 0))] += count
    return MaskFacts(fact.path, "colours", dict(counts))


def _decide_by_palettes(
    facts: Sequence[MaskFacts], disagreement: tuple[MaskFacts, MaskFacts], options: LabelOptions
) -> Decision:
    """Palettes that differ between files: a class is what is drawn alike, whatever its number in a file."""
    one, other = disagreement
    why = f"The palettes of {one.path} and {other.path} give the same numbers different colours"
    coloured = [_in_colour(fact) for fact in facts]
    unclear = next((old for old, new in zip(facts, coloured, strict=True) if len(new.counts) < len(old.counts)), None)
    if unclear:
        raise InputError(
            f"{why}, and {unclear.path} draws several numbers alike; export all masks with one palette, or say with "
            "--classes which number is which class, such as --classes soil=0,crop=1."
        )
    if options.classes and not any(entry.colour for entry in options.classes.entries):
        name = options.classes.entries[0].name
        raise InputError(
            f"{why}, and {options.classes.source} says neither numbers nor colours; name each class with its colour, "
            f"such as --classes {name}=#000000, or with its number, such as --classes {name}=0."
        )
    decision = _decide_colours(coloured, options)
    if options.classes:
        return decision
    numbers = sorted({value for fact in facts for value in _drawn(fact)})
    example = ",".join([f"class {value}={value}" for value in numbers[:6]] + ["..."] * (len(numbers) > 6))
    question = Remark(
        "question",
        f"{why}, so these masks are read by their colours; --classes '{example}' reads them by their numbers.",
    )
    return replace(decision, remarks=(question, *decision.remarks))


# --- Colours


def _decide_colours(facts: Sequence[MaskFacts], options: LabelOptions) -> Decision:
    counts = _colour_counts(facts)
    is_mixed = len(counts) > MOST_COLOURS or any(fact.is_mixed for fact in facts)
    outlines: set[Any] = set() if is_mixed else _outlines(facts, counts)
    listed = [entry for entry in options.classes.entries if entry.colour] if options.classes else []
    remarks = []
    if listed:
        if options.classes and len(listed) < len(options.classes.entries):
            missing = next(entry.name for entry in options.classes.entries if not entry.colour)
            raise InputError(f"The masks are in colour, but {options.classes.source} gives {missing!r} none.")
        entries = listed
    else:
        found = _main_colours(counts) if is_mixed else sorted({*counts} - outlines)
        entries = [ClassEntry(_colour_name(colour), colour=colour) for colour in found]
        if options.classes:
            example = ",".join(
                f"{entry.name}={lb.describe_raw(colour)}"
                for entry, colour in zip(options.classes.entries, found, strict=False)
            )
            raise InputError(
                f"The masks hold the colours {lb.listed([lb.describe_raw(colour) for colour in found])}, and "
                f"{options.classes.source} says no colours; name each with its own, such as --classes {example}."
            )
        remarks += [_question_of_mixed(entries)] if is_mixed or outlines else []
    ignore = _ignored_colours(entries, [colour for colour in counts if isinstance(colour, tuple)], options)
    kept = [entry for entry in entries if entry.colour not in ignore]
    kept.sort(key=lambda entry: not is_background(entry.name))
    names = tuple(BACKGROUND if is_background(entry.name) else entry.name for entry in kept)
    if len(names) < 2:
        raise InputError(f"The masks hold a single colour, {_names_in_words(names)}; a model needs two or more.")
    _check_number(len(names), options.classes.source if options.classes else "The folder of masks")
    colours = tuple(entry.colour for entry in kept if entry.colour)
    labels = LabelMap(
        "colours",
        names,
        values=tuple((colour,) for colour in colours),
        ignore=ignore,
        colours=colours,
        # A list that names all areas settles the outlines between them; what has an area and no name is refused.
        nearest=is_mixed or (bool(outlines) and outlines >= {*counts} - {*colours, *ignore}),
    )
    pairs = [f"{name} ({lb.describe_raw(colour)})" for name, colour in zip(names, colours, strict=True)]
    return Decision(labels, (Remark("note", f"{len(names)} classes by colour: {_names_in_words(pairs)}."), *remarks))


def _colour_counts(facts: Sequence[MaskFacts]) -> Counter[Any]:
    """Pixels of each colour; masks that are grey throughout hold greys."""
    counts: Counter[Any] = Counter()
    for fact in facts:
        scale = 255 if set(fact.counts) <= {0, 1} else 1
        for raw, count in fact.counts.items():
            counts[raw if isinstance(raw, tuple) else (raw * scale,) * 3] += count
    return counts


def _outlines(facts: Sequence[MaskFacts], counts: Counter[Any]) -> set[Any]:
    """Colours that resizing mixed along outlines: no mask has an area of them, and some are rarer than any class."""
    areas = {colour for fact in facts for colour in _colour_counts([fact]) if colour not in fact.outlines}
    outlines = {*counts} - areas
    is_rare = any(counts[colour] < LEAST_SHARE * counts.total() for colour in outlines)
    return outlines if is_rare and len(areas) > 1 else set()


def _main_colours(counts: Counter[Any]) -> list[Colour]:
    """The colours that mixed ones lie around, most frequent first found, sorted."""
    colours = np.array(list(counts), np.int16)
    weights = np.array(list(counts.values()), np.float64) / sum(counts.values())
    main: list[Colour] = []
    for place in np.argsort(-weights):
        near = np.abs(colours - colours[place]).max(axis=1) < LEAST_DISTANCE / 2
        is_new = all(np.abs(colours[place] - other).max() >= LEAST_DISTANCE for other in main)
        if is_new and weights[near].sum() >= LEAST_SHARE:
            main.append(_snapped(tuple(colours[place].tolist())))
        if weights[place] < LEAST_SHARE / 100:
            break
    return sorted(main)


def _snapped(colour: tuple[int, ...]) -> Colour:
    """The pure colour that compression moved a little away from: channels near 0, 128 or 255 are those."""
    red, green, blue = (next((pure for pure in (0, 128, 255) if abs(value - pure) <= 12), value) for value in colour)
    return red, green, blue


def _question_of_mixed(entries: Sequence[ClassEntry]) -> Remark:
    pairs = ",".join(f"{entry.name}={lb.describe_raw(entry.colour)}" for entry in entries if entry.colour)
    return Remark(
        "question",
        "The masks hold mixed colours, as compression and soft outlines leave them; each pixel takes the class of the "
        f"nearest of {len(entries)} main colours. --classes {pairs} settles which they are.",
    )


def _ignored_colours(
    entries: Sequence[ClassEntry], present: Sequence[Colour], options: LabelOptions
) -> tuple[Colour, ...]:
    named = {entry.name: entry.colour for entry in entries}
    asked = [named[word] if word in named else parse_raw(word) for word in options.ignore]
    listed = options.classes.ignore if options.classes else ()
    # Where colours are named, one that is not is unexpected; VOC's void is the exception everybody knows.
    void = [VOID_COLOUR] if VOID_COLOUR in present and VOID_COLOUR not in named.values() else []
    void += [VOID_COLOUR] if not options.classes and VOID_COLOUR in present else []
    greys = [(raw, raw, raw) if isinstance(raw, int) and 0 <= raw <= 255 else raw for raw in [*asked, *listed, *void]]
    return tuple(dict.fromkeys(raw for raw in greys if isinstance(raw, tuple)))


def _colour_name(colour: Colour) -> str:
    """The name that CSS has for a colour, black being background, else its number."""
    if colour == (0, 0, 0):
        return BACKGROUND
    named = {ImageColor.getrgb(name)[:3]: name for name in list(ImageColor.colormap)}
    plain = {(0, 255, 0): "green", (0, 128, 0): "dark green", (128, 128, 128): "grey"}
    return (named | plain).get(colour, lb.describe_raw(colour))


# --- Words


def _names_in_words(names: Sequence[str]) -> str:
    return lb.listed(list(names))
