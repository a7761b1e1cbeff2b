"""From a folder and settings to everything that is decided before the first step, said aloud as it is found.

`train` goes on from here; `plan` tells what it would do.
"""

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maskwright import terminal
from maskwright.config import Settings
from maskwright.data.cache import LEAST_READ, Cache
from maskwright.data.dataset import Samples
from maskwright.data.finding import find_dataset
from maskwright.data.label_survey import read_options
from maskwright.data.pairs import Pair, Pairing, Problem
from maskwright.data.reading import Formats, choose_formats
from maskwright.data.splits import PARTS, apply_split, read_split
from maskwright.device import ComputePrecision, assumed_facts, choose_precision, read_facts
from maskwright.errors import InputError
from maskwright.training import ranks
from maskwright.training.appearance import choose_tint
from maskwright.training.fitting import Way
from maskwright.training.material import Material, deal_out, read_pictures, scored_part
from maskwright.training.measuring import look_at_masks, measure_speed, shapes_of, usual_shape
from maskwright.training.memory_budget import Device, MemoryUse, fit_into_memory, fits_without_doubt
from maskwright.training.memory_plan import CannotPlanError
from maskwright.training.minutes import (
    LOOKING_SHARE,
    OUTLINING_SHARE,
    PROBING_SHARE,
    READING_AGAIN_SHARE,
    READING_SHARE,
    Minutes,
)
from maskwright.training.recipe import (
    Facts,
    Means,
    Recipe,
    Speed,
    choose_recipe,
    cut_larger,
    leaves_open,
    sides_to_judge,
)
from maskwright.training.run_folder import RunFolder, as_started, read_unread
from maskwright.training.session import architecture_for
from maskwright.training.shared_network import check_storage

# Pictures that cannot be used are listed up to this many.
LISTED = 10
# Of the minutes left when the recipe is chosen, training is expected to get this share.
TRAINING_SHARE = 0.85
# Without minutes, the speed is measured only for `plan`, within so many seconds.
PROBING_SECONDS = 10.0
# With fewer pictures than this held out, the score says little.
FEW_HELD_OUT = 5
# Cross-validation is advised with so many folds, or as many as there are groups.
MOST_FOLDS = 5


@dataclass(frozen=True)
class Preparation:
    """All that is decided before the first step.

    Attributes:
        material: The pictures, read and split.
        settings: Nothing in them is open any more.
        recipe: What was chosen of them for the pictures, the minutes and the machine.
        reasons: A sentence for each choice.
        precision: What the forward pass computes in.
        speed: As measured; None where nothing depended on it.
        memory: What is held at most, and what was chosen for it; None where there was no doubt that all fits, or
            nobody knows.
        keeps_freed: Whether all that is freed may be kept for later.
        finer: The same with cut-outs of larger pictures, which are still to be read, where only a pilot run can say
            whether they are better.
    """

    material: Material
    settings: Settings
    recipe: Recipe
    reasons: tuple[str, ...]
    precision: ComputePrecision
    speed: Speed | None
    memory: MemoryUse | None
    keeps_freed: bool
    finer: "Preparation | None" = None


def prepare(
    photos: Path,
    settings: Settings,
    *,
    device: str,
    is_here: bool = True,
    minutes: Minutes | None,
    resumed: RunFolder | None = None,
    read_before: RunFolder | None = None,
    always_measure: bool = False,
    say: Callable[[str], None] = terminal.say,
) -> Preparation:
    """Find, read and split the pictures, and choose what the settings leave open.

    Of several processes one does it for all: they share its batches out among them.

    Args:
        photos: The folder.
        settings: What the user asked for.
        device: Where the network will lie.
        is_here: Whether this machine has that device; what would have to be measured on another one stays unknown.
        minutes: What the command may take; None in a run by epochs.
        resumed: The folder of a run that goes on: what was chosen for it holds, and what it left out stays out.
        read_before: The folder of another run whose pictures these are to be: what it left out stays out, and all
            others are read, whatever that takes.
        always_measure: Measure the speed, and predict the memory, also where no choice depends on them.
        say: Prints a sentence.

    Raises:
        InputError: The pictures cannot be used; the sentence says why.
    """
    pairing = _find_pairs(photos, settings, say)
    if resumed is not None:
        settings, minutes = as_started(resumed, settings), None
    earlier = resumed or read_before
    unread, for_reading = (set[str](), minutes) if earlier is None else (read_unread(earlier), None)
    settings = dataclasses.replace(settings, storage=check_storage(settings, device))
    formats, pairs = _choose_formats(pairing, settings, for_reading, unread, say=say)
    precision = choose_precision(read_facts(device) if is_here else assumed_facts(device), settings.precision)
    place = Device(device, precision, is_here)
    recipe, speed, cut = _choose_recipe(pairs, formats, settings, place, minutes, always_measure=always_measure)
    fit = functools.partial(
        _fit, pairs, formats, settings, place, speed, look_closely=always_measure, is_fixed=resumed is not None
    )
    fitted = fit(recipe)
    settings, memory = fitted.settings, fitted.memory
    reasons = (*recipe.reasons, *([] if memory is None else memory.reasons), *_assumptions(place, settings))
    for reason in reasons:
        say(reason)
    spent = _no_limit if for_reading is None else for_reading.part(READING_SHARE)
    with terminal.counting("Reading", len(pairs)) as advance:
        cache, problems = read_pictures(pairs, formats, settings, spent=spent, advance=advance)
    is_quickly_read = spent() * READING_SHARE <= READING_AGAIN_SHARE / 2  # larger ones take longer
    _refuse_problems(problems, settings)
    if cache.uncached:
        terminal.warn(f"{cache.uncached} pictures are read again each time: there is no room to keep them decoded.")
    bad = {problem.path for problem in problems}
    known = {pair.name for pair in cache.pairs}
    left_out = tuple(pair.name for pair in pairing.pairs if pair.name not in known and pair.image not in bad)
    if left_out:
        _tell_unread(len(left_out), len(pairing.pairs), earlier)
    cache = _in_order(cache, pairing.pairs)
    material = dataclasses.replace(deal_out(cache, formats, settings), unread=left_out)
    _tell_split(material, settings, say)
    if settings.tint is None:
        tint, why = choose_tint(material, Samples(cache, settings, augment=False))
        settings = dataclasses.replace(settings, tint=tint)
        if why:
            say(why)
            reasons = (*reasons, why)
    prepared = Preparation(material, settings, recipe, reasons, precision, speed, memory, fitted.has_plenty)
    if cut is None or formats.labels.num_classes != 2 or not is_quickly_read or not fitted.fits:
        return prepared
    return dataclasses.replace(prepared, finer=_with_cut_outs(prepared, cut, fit(cut)))


@dataclass(frozen=True)
class _Fitted:
    """A recipe as memory allows it: its settings, what it holds, and whether it fits without any change."""

    settings: Settings
    memory: MemoryUse | None
    has_plenty: bool
    fits: bool


def _with_cut_outs(whole: Preparation, cut: Recipe, fitted: _Fitted) -> Preparation | None:
    """The same for cut-outs; None where they do not fit."""
    if not fitted.fits:
        return None
    return dataclasses.replace(
        whole,
        settings=dataclasses.replace(fitted.settings, tint=whole.settings.tint),
        recipe=cut,
        memory=fitted.memory,
        keeps_freed=fitted.has_plenty,
    )


def _fit(
    pairs: Sequence[Pair],
    formats: Formats,
    settings: Settings,
    place: Device,
    speed: Speed | None,
    recipe: Recipe,
    *,
    look_closely: bool,
    is_fixed: bool,
) -> _Fitted:
    """Settle a recipe within the memory, which is each process's own and holds its slice of a batch."""
    slice_size = math.ceil(recipe.batch_size / ranks.size())
    wish = Way(recipe.size, slice_size, settings.accumulate or 1, settings.storage or "plain", recipe.crop)
    holding = dataclasses.replace(settings, held_levels=recipe.held_levels)
    memory, has_plenty = _fit_into_memory(
        pairs, formats, holding, recipe, wish, place, speed, look_closely=look_closely, is_fixed=is_fixed
    )
    way = wish if memory is None else memory.fit.way
    batch_size = recipe.batch_size if way.batch_size == slice_size else way.batch_size * ranks.size()
    settings = dataclasses.replace(way.applied_to(recipe.applied_to(settings)), batch_size=batch_size)
    fits = way == wish and (memory is None or memory.fit.fits)
    return _Fitted(settings, memory, has_plenty, fits)


def _no_limit() -> float:
    return 0.0


def _probing_time() -> Callable[[], float]:
    return Minutes(PROBING_SECONDS, started=time.monotonic()).part(1.0)


def _find_pairs(photos: Path, settings: Settings, say: Callable[[str], None]) -> Pairing:
    """Find the pictures, and refuse what could not be used before anything is read."""
    pairing = find_dataset(photos)
    _refuse_problems(pairing.problems, settings)
    say(f"{photos}: {len(pairing.pairs)} pictures with masks ({pairing.layout})")
    return pairing


def _choose_formats(
    pairing: Pairing,
    settings: Settings,
    minutes: Minutes | None,
    unread: set[str],
    *,
    say: Callable[[str], None],
) -> tuple[Formats, Sequence[Pair]]:
    """Find out how the files are to be read, and say so; a question does not stop a run.

    In a run by the clock, the pairs are returned in an order that the seed decides, so that those read in time are a
    fair sample, when it is resumed too, since the order decides what is sampled here; and without those that a resumed
    run left out, or whose masks could not be looked at in time: nobody knows their classes.
    """
    skipped: list[str] = []
    spent = _no_limit if minutes is None else minutes.part(LOOKING_SHARE)

    def skip(pair: Pair) -> bool:
        if pair.name in unread or (pair.name not in first and spent() >= 1):
            skipped.append(pair.name)
            return True
        return False

    pairs = pairing.pairs if settings.minutes is None else _shuffled(pairing.pairs, settings)
    first = {pair.name for pair in pairs[:LEAST_READ]}
    with terminal.counting("Looking at masks", len(pairs)) as advance:
        options = read_options(settings, pairing.classes)
        formats, decision = choose_formats(pairs, options, skip=skip, advance=advance)
    for remark in decision.remarks:
        (terminal.warn if remark.kind == "question" else say)(remark.sentence)
    unknown = unread | set(skipped)
    return formats, [pair for pair in pairs if pair.name not in unknown]


def _shuffled(pairs: Sequence[Pair], settings: Settings) -> list[Pair]:
    """Pairs in an order that the seed decides, one of each given part first."""
    saved = None if settings.split is None else read_split(Path(settings.split))
    mixed = [pairs[index] for index in np.random.default_rng(settings.seed).permutation(len(pairs))]
    parts = [pair.split if saved is None else saved.get(pair.name) for pair in mixed]
    first = {part: place for place, part in reversed(list(enumerate(parts)))}
    return [mixed[place] for place in first.values()] + [
        pair for place, pair in enumerate(mixed) if place != first[parts[place]]
    ]


def _choose_recipe(
    pairs: Sequence[Pair],
    formats: Formats,
    settings: Settings,
    place: Device,
    minutes: Minutes | None,
    *,
    always_measure: bool,
) -> tuple[Recipe, Speed | None, Recipe | None]:
    """Look at the pictures and at the machine as far as a choice depends on them, and choose.

    Returns:
        The choice, the speed of the machine, and what might be better where outlines are hard.
    """
    is_open = leaves_open(settings)
    spent = _no_limit if minutes is None else minutes.part(OUTLINING_SHARE)
    height, width, extent = 1, 1, 1.0
    bounds: dict[int, float] = {}
    if is_open:
        height, width = usual_shape(pairs, seed=settings.seed)
        sides = sides_to_judge(height, width, settings)
        bounds, extent = look_at_masks(pairs, formats, sides, seed=settings.seed, spent=spent)
    facts = Facts(_expected_to_learn_from(pairs, settings), height, width, bounds, extent)
    # By epochs, this is the choice; by the clock it says which network is measured.
    recipe = choose_recipe(facts, settings)
    speed = None
    if place.is_here and (always_measure or (is_open and minutes is not None)):
        spent = _probing_time() if minutes is None else minutes.part(PROBING_SHARE)
        chosen = recipe.applied_to(settings)
        speed = measure_speed(chosen, architecture_for(chosen, formats), place.name, place.precision, spent=spent)
        speed = speed.shared_by(ranks.size())
    if minutes is not None and speed is not None:
        means = Means(TRAINING_SHARE * max(0.0, minutes.left()), speed)
        facts = dataclasses.replace(facts, means=means)
        recipe = choose_recipe(facts, settings)
    if settings.batch_size is None and recipe.batch_size < ranks.size():
        recipe = dataclasses.replace(recipe, batch_size=ranks.size())
    return recipe, speed, cut_larger(facts, settings, recipe)


def _fit_into_memory(
    pairs: Sequence[Pair],
    formats: Formats,
    settings: Settings,
    recipe: Recipe,
    wish: Way,
    place: Device,
    speed: Speed | None,
    *,
    look_closely: bool,
    is_fixed: bool,
) -> tuple[MemoryUse | None, bool]:
    """Choose how to train within the memory, and find out whether there is plenty of it.

    Without a limit that the user named, a network may go unpredicted.
    """
    architecture = architecture_for(recipe.applied_to(settings), formats)
    shapes = shapes_of(pairs, seed=settings.seed)
    has_plenty = place.name == "cpu" and fits_without_doubt(wish, settings, architecture, place, shapes)
    try:
        memory = fit_into_memory(
            wish, settings, architecture, place, shapes, speed, look_closely=look_closely, is_fixed=is_fixed
        )
    except CannotPlanError as error:
        if settings.memory is not None:
            raise
        terminal.warn(str(error))
        return None, has_plenty
    return memory, has_plenty if memory is None else memory.keeps_freed


def _assumptions(place: Device, settings: Settings) -> list[str]:
    """What is taken for granted of a device that is not here."""
    if place.is_here:
        return []
    sentences = [f"How fast {place.name} is, nobody knows here: what is chosen is that of a run by epochs."]
    if settings.precision == "auto" and place.name.startswith("cuda"):
        sentences.append(
            f"{place.precision} is assumed, as on any sound card from 2017 on; for a GTX 16xx say --precision fp32."
        )
    return sentences


def _expected_to_learn_from(pairs: Sequence[Pair], settings: Settings) -> int:
    """About how many pictures the split will leave to learn from."""
    if settings.split is not None:
        return max(1, sum(part == "train" for part in apply_split(pairs, read_split(Path(settings.split))).values()))
    learnt = [pair for pair in pairs if pair.split in (None, "train")]
    held_out = 0.0 if any(pair.split == "val" for pair in pairs) else settings.val_share
    if settings.folds is not None:
        held_out = 1 / settings.folds
    return max(1, round(len(learnt) * (1 - held_out - settings.test_share)))


def _in_order(cache: Cache, pairs: Sequence[Pair]) -> Cache:
    """A cache in the order in which the pairs were found, whatever order they were read in."""
    place = {pair.name: number for number, pair in enumerate(pairs)}
    order = sorted(range(len(cache.pairs)), key=lambda index: place[cache.pairs[index].name])
    found = tuple(cache.pairs[index] for index in order)
    return dataclasses.replace(cache, pairs=found, entries=tuple(cache.entries[index] for index in order))


def _tell_unread(count: int, found: int, earlier: RunFolder | None) -> None:
    """Say how many pictures are left out for want of time, or were so in an earlier run."""
    if earlier is not None:
        terminal.warn(f"Left out: {count} of {found} pictures, as in {earlier.path} when it began.")
        return
    terminal.warn(
        f"Left out: {count} of {found} pictures, for which there was no time: reading may take "
        f"{READING_SHARE:.0%} of the minutes that are left then. They are listed in split.json; more --minutes read "
        "them, and another run finds those that were read now."
    )


def _tell_split(material: Material, settings: Settings, say: Callable[[str], None]) -> None:
    """Say how the pictures were dealt out; refuse or warn where a part cannot do its work."""
    counts = " + ".join(
        f"{len(found)} {part} ({len(material.groups_of(part))} groups)"
        for part in PARTS
        if (found := material.indices(part))
    )
    say(f"Split: {counts}; {material.groups.rule}")
    _check_parts(material, settings)


def _check_parts(material: Material, settings: Settings) -> None:
    """Refuse a part without foreground to learn, and say where parts are not independent."""
    if not material.has_foreground("train"):
        raise InputError("No mask of the pictures to learn from has any foreground; check what the masks hold.")
    if settings.folds is None:
        _tell_few(material, settings)
    for part in ("val", "test"):
        if not material.indices(part):
            continue
        if not material.has_foreground(part):
            terminal.warn(f"No mask of the {part} part has any foreground: there will be no Dice to go by.")
        shared = material.groups_of("train") & material.groups_of(part)
        if shared:
            terminal.warn(f"LEAK: {len(shared)} groups have pictures in train and in {part}, as the folders give them.")
        copies = set(material.fingerprints("train")) & set(material.fingerprints(part))
        if copies:
            terminal.warn(f"LEAK: {len(copies)} pictures of {part} are in train too, byte for byte.")


def _tell_few(material: Material, settings: Settings) -> None:
    """Say where a score rests on very few pictures."""
    part = scored_part(material, folds=False)
    found = len(material.indices(part))
    if found < FEW_HELD_OUT:
        use = "the best weights are chosen and scored on" if part == "val" else "is scored"
        terminal.warn(
            f"Few pictures: {found} held out {'is' if found == 1 else 'are'} all that {use}, so the score says "
            f"little{_folds_instead(material, settings)}."
        )


def _folds_instead(material: Material, settings: Settings) -> str:
    """The option that scores more pictures; nothing where the parts are given, or some are to be left for a test."""
    is_given = settings.split is not None or any(pair.split == "val" for pair in material.cache.pairs)
    if is_given or material.indices("test"):
        return ""
    folds = min(MOST_FOLDS, len(material.groups_of("train") | material.groups_of("val")))
    return f"; --folds {folds} scores every picture once"


def _refuse_problems(problems: Sequence[Problem], settings: Settings) -> None:
    """Refuse to start, or with `--skip-bad` say what is left out."""
    if not problems:
        return
    sentences = [problem.sentence for problem in problems[:LISTED]]
    if len(problems) > LISTED:
        sentences.append(f"... and {len(problems) - LISTED} more.")
    if not settings.skip_bad:
        raise InputError("\n".join([*sentences, "--skip-bad leaves such pictures out."]))
    for sentence in sentences:
        terminal.warn(f"Left out: {sentence}")
