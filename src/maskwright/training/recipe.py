"""What the user left open, chosen for the pictures, the minutes and the machine: size, batch size and network.

A pure function of facts. A run by epochs has no measured ones, so that it is the same on every machine.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from maskwright.config import Settings
from maskwright.data.resizing import Resize, fit_size
from maskwright.inference.tiling import COARSEST, choose_tiling

# Longer sides to choose among. The numbers from here on are heuristics, to be replaced by measured ones.
LADDER = (256, 320, 384, 448, 512, 640, 768, 960, 1280)
# The least Dice that a perfect model must be able to reach at the size; cracks need 512 pixels or more for it.
ENOUGH_BOUND = 0.985
# At least this, where no clock says what it costs: cars lost 0.003 of Dice at 384 pixels (docs/experiments.md).
WITHOUT_CLOCK = 512
# Passes over the pictures beyond which more pixels are worth more than more passes ...
ENOUGH_EPOCHS = 30
# ... in pictures seen: few pictures are to be seen more often, and many need not all be seen as often.
LEAST_SEEN, MOST_SEEN = 1_200, 12_000
# Above this side it takes so many times as many: cars at 960 pixels that were seen twice as often lost parts here and
# there, and scored no better than at 768 (docs/experiments.md).
LARGE, LARGE_TAKES = 768, 3
# Squares of pixels that the finest level of a decoder takes for one, where masks have no thin parts and where they may.
COARSE, FINE = 4, 2
# Pixels a side of what training sees of pictures that are used at a factor of their own size.
DEFAULT_CROP = 512
# From this side on it may be better to learn from cut-outs of the next larger one (docs/experiments.md).
CUT_FROM = 512
# ... and so many times as large, where a cut-out shows so much of how far foregrounds reach on average: what goes on
# beyond it would be known by half.
LARGER, SHOWN = 1.15, 0.95
# With fewer steps than this a network has hardly begun to learn: then smaller pictures teach more.
LEAST_STEPS = 300
# A batch, and how many pictures there must be for it: a handful in one batch would be one step an epoch.
BATCH_SIZES = ((200, 8), (8, 4), (0, 2))
# Where steps are short, a batch is halved down to this before pictures are made smaller.
SMALLEST_BATCH = 4
# So many of an encoder's finest levels learn nothing, which makes steps cheaper, and so many where outlines are what is
# hard: then there are steps rather than lessons to gain (docs/experiments.md).
HELD, HELD_OF_CUT_OUTS = 2, 3
# Why something is chosen as it is for masks whose outlines nobody knows.
UNKNOWN = "none of the masks that were looked at has any foreground"
# Channels at full resolution of a decoder on a pretrained encoder, and of a U-Net that learns everything by itself ...
NARROW = {True: 16, False: 32}
# ... and what twice as many cost, which is taken where the minutes buy more passes than the largest size can use.
WIDER_COST = 1.5


@dataclass(frozen=True)
class Speed:
    """Seconds of a training step: some for each step, and some for each megapixel of its batch."""

    per_step: float
    per_megapixel: float

    def of(self, megapixels: float) -> float:
        """Seconds of a step.

        >>> Speed(per_step=0.1, per_megapixel=2.0).of(0.5)
        1.1
        """
        return self.per_step + self.per_megapixel * megapixels

    def shared_by(self, processes: int) -> "Speed":
        """That of as many processes as share a batch out, each on a device of its own."""
        return Speed(self.per_step, self.per_megapixel / processes)


@dataclass(frozen=True)
class Means:
    """What a run by the clock has.

    Attributes:
        seconds: For training, as far as that can be said before.
        speed: Measured on this machine, with the narrow network or with the width that was asked for.
    """

    seconds: float
    speed: Speed


@dataclass(frozen=True)
class Facts:
    """What the choice depends on.

    Attributes:
        pictures: To learn from.
        height: Of a usual picture, in pixels.
        width: Likewise.
        bounds: For the `sides_to_judge` the best Dice that a perfect model could reach; see `data.resolution`. Empty
            where no mask that was looked at has foreground.
        extent: How far foregrounds reach, as a share of a picture's longer side.
        means: None in a run by epochs, whose choice must not depend on the machine.
    """

    pictures: int
    height: int
    width: int
    bounds: Mapping[int, float]
    extent: float = 1.0
    means: Means | None = None


@dataclass(frozen=True)
class Recipe:
    """What was chosen, and a sentence for each choice; a value that was given is taken over without one.

    ``size`` is None where pictures are used at a factor of their own size, ``crop`` where they are seen whole.
    """

    size: int | None
    batch_size: int
    base_channels: int
    unshuffle: int
    reasons: tuple[str, ...] = ()
    crop: int | None = None
    held_levels: int = 0

    def applied_to(self, settings: Settings) -> Settings:
        """The settings with nothing left open."""
        return dataclasses.replace(
            settings,
            size=self.size,
            crop=self.crop,
            batch_size=self.batch_size,
            base_channels=self.base_channels,
            unshuffle=self.unshuffle,
            held_levels=self.held_levels,
        )


def leaves_open(settings: Settings) -> bool:
    """Whether anything is left to the pictures and to the machine's speed."""
    ends_anywhere = settings.unshuffle is None and settings.encoder != "none"
    return ends_anywhere or None in (settings.size, settings.batch_size, settings.base_channels)


def choose_recipe(facts: Facts, settings: Settings) -> Recipe:
    """Choose what the settings leave open.

    The longer side is the smallest whose resolution bound is high enough. With minutes it is raised while they still
    buy enough passes over the pictures, and lowered where they buy too few steps of a small batch; it never exceeds the
    pictures' own.
    The batch follows the number of pictures, and is smaller where steps are short. The network is the narrow one,
    unless there is time for more than the largest size can use. Its decoder ends early where masks have no thin parts,
    whatever the clock says: the speed was measured with that end. What memory allows is for `fitting` to say.
    """
    settings, why_crop = _with_crop(settings)
    width = settings.base_channels or NARROW[settings.encoder != "none"]
    batch_size, why_batch = _choose_batch_size(facts)
    batch_size = settings.batch_size or batch_size
    size, why_size = settings.size, ""
    if size is None and settings.factor is None:
        size, why_size = _choose_size(
            facts, settings, batch_size, settings.batch_size or min(batch_size, SMALLEST_BATCH)
        )
    if settings.batch_size is None:
        batch_size, why_batch = _shorten_batch(facts, settings, size, batch_size, why_batch)
    why_width = f"{width} channels: the narrow network learns more in the same time"
    if settings.base_channels is None and _has_time_to_spare(facts, settings, size, batch_size):
        width, why_width = 2 * width, f"{2 * width} channels: there is time for a wider network"
    unshuffle, why_unshuffle = _choose_unshuffle(facts, settings)
    held = choose_held_levels(settings)
    why_held = f"The encoder's {held} finest levels stay as they are: edges look alike everywhere, and steps cost less"
    reasons = (
        why_size,
        why_crop,
        why_unshuffle,
        why_batch if settings.batch_size is None else "",
        why_width if settings.base_channels is None else "",
        why_held if settings.held_levels is None and held else "",
    )
    sentences = tuple(f"{reason}." for reason in reasons if reason)
    return Recipe(size, batch_size, width, unshuffle, sentences, settings.crop, held)


def cut_larger(facts: Facts, settings: Settings, recipe: Recipe) -> Recipe | None:
    """The same with cut-outs of the next larger side, which have about as many pixels as whole pictures of the recipe.

    For pictures whose outlines are what is hard about them; whether they are is for `pilot` to say. None by epochs,
    without an encoder, where a size or a crop was asked for, where foregrounds reach beyond a cut-out, and where a
    prediction could not see the larger side at once.
    """
    is_open = (settings.size, settings.factor, settings.crop) == (None, None, None)
    whole = recipe.size
    if not is_open or settings.encoder == "none" or facts.means is None or whole is None or whole < CUT_FROM:
        return None
    size = next((side for side in candidate_sizes(facts.height, facts.width) if side >= LARGER * whole), None)
    if size is None:
        return None
    pixels = 1e6 * megapixels(facts.height, facts.width, whole)
    shorter = min(fit_size(facts.height, facts.width, size))
    crop = COARSEST * round(max(math.sqrt(pixels), pixels / shorter) / COARSEST)
    if crop < SHOWN * facts.extent * size or size > choose_tiling(settings.architecture(), crop).window:
        return None
    return dataclasses.replace(recipe, size=size, crop=crop, held_levels=choose_held_levels(settings, HELD_OF_CUT_OUTS))


def candidate_sizes(height: int, width: int) -> tuple[int, ...]:
    """Longer sides to choose among for pictures of this size: the ladder, and their own where it is on the way.

    >>> candidate_sizes(300, 400)
    (256, 320, 384, 400)
    """
    longer = max(height, width)
    below = tuple(side for side in LADDER if side < longer)
    return below if longer > LADDER[-1] else (*below, max(32, longer))


def sides_to_judge(height: int, width: int, settings: Settings) -> tuple[int, ...]:
    """Training sizes at which the masks are to be judged, rising: those to choose among, and the coarse one.

    >>> sides_to_judge(256, 256, Settings())[:3]
    (128, 256, 320)
    """
    return tuple(sorted({*LADDER, coarse_side(height, width, settings)}))


def coarse_side(height: int, width: int, settings: Settings) -> int:
    """Half of the longer side that training is likely to see: what keeps its shape there has no thin parts.

    >>> coarse_side(1280, 1918, Settings()), coarse_side(1280, 1918, Settings(size=320))
    (256, 160)
    """
    longer = max(height, width)
    side = round(settings.factor * longer) if settings.factor else settings.size or min(WITHOUT_CLOCK, longer)
    return max(1, side // 2)


def pictures_seen(facts: Facts, settings: Settings, size: int, batch_size: int) -> float:
    """How many pictures the minutes buy at a size, some of them at half of it, and the epochs allow.

    So many cut-outs as cover a picture count as one.
    """
    share = sample_megapixels(facts, settings, size) / megapixels(facts.height, facts.width, size)
    bought = steps_bought(facts, settings, size, batch_size) * batch_size * share
    return bought if settings.epochs is None else min(bought, settings.epochs * facts.pictures)


def steps_bought(facts: Facts, settings: Settings, size: int | None, batch_size: int) -> float:
    """How many steps the minutes buy."""
    if facts.means is None:
        return float("inf")
    pixels = sample_megapixels(facts, settings, size) * batch_size
    whole, half = facts.means.speed.of(pixels), facts.means.speed.of(pixels / 4)
    return facts.means.seconds * ((1 - settings.small_first) / whole + settings.small_first / half)


def megapixels(height: int, width: int, size: int) -> float:
    """Millions of pixels of a picture of this shape at a training size.

    >>> megapixels(1280, 1918, 384)
    0.098304
    """
    rows, columns = fit_size(height, width, size)
    return rows * columns / 1e6


def sample_megapixels(facts: Facts, settings: Settings, size: int | None) -> float:
    """Millions of pixels of a sample: of a whole picture, or of a cut-out."""
    rows, columns = Resize(size, settings.factor).shape_of(facts.height, facts.width)
    most = settings.crop or max(rows, columns)
    return min(rows, most) * min(columns, most) / 1e6


def _with_crop(settings: Settings) -> tuple[Settings, str]:
    """The settings with a crop where they need one, and why."""
    if settings.factor is None or settings.crop is not None:
        return settings, ""
    why = f"Crop {DEFAULT_CROP}: pictures at a factor of their own size may be of any size, and cut-outs are of one"
    return dataclasses.replace(settings, crop=DEFAULT_CROP), why


def _choose_size(facts: Facts, settings: Settings, batch_size: int, smallest_batch: int) -> tuple[int, str]:
    """The longer side, and why. It is lowered only where steps of the smallest batch are too few."""
    sides = candidate_sizes(facts.height, facts.width)
    place, why = _smallest_enough(facts, sides)
    if facts.means is None:
        return sides[place], f"Longer side {sides[place]}: {why}"

    def seen(index: int) -> float:
        return pictures_seen(facts, settings, sides[index], batch_size)

    def steps(index: int) -> float:
        return steps_bought(facts, settings, sides[index], smallest_batch)

    def is_affordable(index: int) -> bool:
        return seen(index) >= _enough_seen(facts, sides[index]) and steps(index) >= LEAST_STEPS

    if steps(place) < LEAST_STEPS and place > 0:
        first = sides[place]
        while place > 0 and steps(place) < LEAST_STEPS:
            place -= 1
        bounds = f"{_bound(facts, first):.3f} at best, here {_bound(facts, sides[place]):.3f}"
        kept = f" (a Dice of {bounds})" if facts.bounds else ""
        return sides[place], (
            f"Longer side {sides[place]}: {first} would keep more of the masks{kept}, but the minutes buy about "
            f"{steps(place):.0f} steps even so"
        )
    raised = place
    while raised + 1 < len(sides) and is_affordable(raised + 1):
        raised += 1
    if raised > place:
        why = f"the minutes buy about {_in_epochs(seen(raised), facts)} there, and more pixels are worth more"
    return sides[raised], f"Longer side {sides[raised]}: {why}"


def _smallest_enough(facts: Facts, sides: Sequence[int]) -> tuple[int, str]:
    """Where the smallest side lies that keeps enough of the masks, and why it is enough."""
    usual = next(index for index, side in enumerate(sides) if side >= min(WITHOUT_CLOCK, sides[-1]))
    if not facts.bounds:
        return usual, UNKNOWN
    place = next((index for index, side in enumerate(sides) if _bound(facts, side) >= ENOUGH_BOUND), len(sides) - 1)
    if facts.means is None and place < usual:
        return usual, "with fewer pixels outlines are coarser, whatever the masks would allow"
    bound = _bound(facts, sides[place])
    enough = "" if bound >= ENOUGH_BOUND else ", the best of the sizes to choose among"
    return place, f"a perfect model could reach a Dice of {bound:.3f} there{enough}"


def _bound(facts: Facts, side: int) -> float:
    """The resolution bound at a size; 1 where masks are not shrunk."""
    return 1.0 if side >= max(facts.height, facts.width) else facts.bounds.get(side, 1.0)


def _enough_seen(facts: Facts, size: int) -> float:
    """How many pictures of a size a network must at least see, or it gets smaller ones."""
    return (LARGE_TAKES if size > LARGE else 1) * min(max(ENOUGH_EPOCHS * facts.pictures, LEAST_SEEN), MOST_SEEN)


def _in_epochs(seen: float, facts: Facts) -> str:
    return f"{seen / max(1, facts.pictures):.0f} passes over the pictures"


def _choose_batch_size(facts: Facts) -> tuple[int, str]:
    """The batch that the number of pictures asks for, and why."""
    batch_size = next(size for least, size in BATCH_SIZES if facts.pictures >= least)
    largest = batch_size == BATCH_SIZES[0][1]
    return batch_size, f"Batch {batch_size}" + ("" if largest else f": there are only {facts.pictures} pictures")


def _shorten_batch(facts: Facts, settings: Settings, size: int | None, batch_size: int, why: str) -> tuple[int, str]:
    """Halve a batch until the minutes buy enough steps."""
    while batch_size > SMALLEST_BATCH and steps_bought(facts, settings, size, batch_size) < LEAST_STEPS:
        batch_size //= 2
        why = f"Batch {batch_size}: the minutes are short, and smaller batches make more steps of them"
    return batch_size, why


def _choose_unshuffle(facts: Facts, settings: Settings) -> tuple[int, str]:
    """Where the decoder ends, and why."""
    if settings.unshuffle is not None:
        return settings.unshuffle, ""
    if settings.encoder == "none":
        return 1, ""
    side = coarse_side(facts.height, facts.width, settings)
    if not facts.bounds:
        return FINE, f"Decoder down to squares of {FINE} pixels: {UNKNOWN}"
    bound = _bound(facts, side)
    could = f"at {side} pixels a perfect model could reach a Dice of {bound:.3f}"
    if bound >= ENOUGH_BOUND:
        return COARSE, f"Decoder down to squares of {COARSE} pixels: the masks have no thin parts ({could})"
    return FINE, f"Decoder down to squares of {FINE} pixels: the masks have thin parts ({could})"


def choose_held_levels(settings: Settings, usual: int = HELD) -> int:
    """How many of an encoder's finest levels learn nothing."""
    if settings.held_levels is not None:
        return settings.held_levels
    return 0 if settings.encoder == "none" else usual


def _has_time_to_spare(facts: Facts, settings: Settings, size: int | None, batch_size: int) -> bool:
    """Whether the largest size is reached, and even a wider network sees enough pictures."""
    if facts.means is None or size is None or size < candidate_sizes(facts.height, facts.width)[-1]:
        return False
    return pictures_seen(facts, settings, size, batch_size) >= WIDER_COST * 2 * _enough_seen(facts, size)
