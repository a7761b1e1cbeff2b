"""A pilot run of some seconds: are outlines what is hard about these pictures, or what is what?

A network learns small pictures of most of the groups to learn from, and answers for the others. Where it finds each
object soon and is wrong along outlines alone, it has little use for the rest of a picture, and may learn outlines
finer, from cut-outs of larger ones. Nothing else comes of it: its weights, and what it drew at random, are forgotten.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import torch
from torch import Tensor

from maskwright import terminal
from maskwright.config import Settings
from maskwright.data.cache import Cache
from maskwright.data.dataset import Draw, EpochBatches, Samples, build_loader, endless
from maskwright.data.resizing import fit_size
from maskwright.device import ComputePrecision
from maskwright.errors import DoesNotFitError
from maskwright.evaluation.outlines import OutlineScores, compare_outlines, tolerance_of
from maskwright.training import ranks
from maskwright.training.material import Material, read_pictures
from maskwright.training.minutes import PILOT_SHARE, READING_AGAIN_SHARE, Minutes, drawn
from maskwright.training.preparation import Preparation
from maskwright.training.schedules import learning_rate_at
from maskwright.training.session import architecture_for, build_learner_for
from maskwright.training.state import Learner, random_apart, set_rate
from maskwright.training.step import compute_logits, make_step

# The longer side of its pictures, how many there are at most, and the share of them that it does not learn from.
SIDE = 256
MOST_PICTURES, ASKED_SHARE = 96, 0.25
# So few answers say nothing.
LEAST_ASKED = 5
# Of the error at outlines, the one elsewhere may be so much where outlines are what is hard (docs/experiments.md).
MOST_ELSEWHERE = 0.5
# After fewer steps than these it knows too little for its errors to say anything; more would say the same.
LEAST_STEPS, MOST_STEPS = 60, 120
# Small steps take longer than the speed of larger ones says, and reading takes of their time.
MARGIN = 1.5


@dataclass(frozen=True)
class Errors:
    """What a pilot run got wrong, as shares of the union of true and predicted masks; means over pictures.

    Attributes:
        at_outlines: Near a true outline, as a report counts its edge error.
        elsewhere: The rest.
        pictures: How many it was asked about.
        steps: How many it had learnt before.
    """

    at_outlines: float
    elsewhere: float
    pictures: int
    steps: int

    @property
    def lie_at_outlines(self) -> bool:
        """Whether nearly all of them do."""
        return self.elsewhere < MOST_ELSEWHERE * self.at_outlines

    def in_words(self) -> str:
        """The two, and what they come from."""
        return (
            f"after {self.steps} small steps the error at outlines is {self.at_outlines:.3f} and elsewhere "
            f"{self.elsewhere:.3f}, on {self.pictures} pictures held back for this"
        )


def choose_by_pilot(
    prepared: Preparation,
    encoder_weights: Mapping[str, Tensor] | None,
    device: str,
    minutes: Minutes | None,
    *,
    say: Callable[[str], None] = terminal.say,
) -> Preparation:
    """Find out what is hard about the pictures where that decides between two ways, and say which it is.

    Args:
        prepared: Stays as it is where it has no finer way, or there is no time to try.
        encoder_weights: What the network will start from; without them nothing is tried.
        device: Where it will lie.
        minutes: What the command may take.
        say: Prints a sentence.
    """
    finer, material = prepared.finer, prepared.material
    if finer is None or encoder_weights is None or minutes is None or not _has_time(prepared, minutes):
        return prepared
    with terminal.progressing("Finding out what is hard") as update:
        errors = run_pilot(
            material,
            prepared.settings,
            encoder_weights,
            device,
            prepared.precision,
            minutes,
            show=lambda share: update(share, ""),
        )
    if errors is None:
        return prepared
    settings = finer.settings
    why = f"Whole pictures: {errors.in_words()}, so that a place needs what surrounds it."
    if errors.lie_at_outlines:
        cache = _read_again(material, settings, minutes)
        why = f"Whole pictures: there is no time or room to read them at {settings.size} pixels, which would be better."
        if cache is not None:
            held = f", with {settings.held_levels} levels of the encoder as they are" if settings.held_levels else ""
            why = (
                f"Longer side {settings.size} instead, in cut-outs of {settings.crop} pixels{held}: "
                f"{errors.in_words()}, and outlines are learnt finer there."
            )
            prepared = dataclasses.replace(finer, material=dataclasses.replace(material, cache=cache))
    say(why)
    return dataclasses.replace(prepared, reasons=(*prepared.reasons, why))


def _has_time(prepared: Preparation, minutes: Minutes) -> bool:
    """Whether there is time for the least steps that say anything, as far as their speed is known."""
    if prepared.speed is None:
        return True
    height, width = fit_size(*prepared.material.cache.shapes[0], SIDE)
    # One process makes these steps, while the others wait.
    pixels = prepared.settings.chosen("batch_size") * ranks.size() * height * width
    return MARGIN * LEAST_STEPS * prepared.speed.of(pixels / 1e6) <= PILOT_SHARE * minutes.left()


def _read_again(material: Material, settings: Settings, minutes: Minutes) -> Cache | None:
    """The same pictures at another size; None where not all can be read in time, or kept decoded as they were."""
    pairs, spent = material.cache.pairs, minutes.part(READING_AGAIN_SHARE)
    with terminal.counting("Reading again", len(pairs)) as advance:
        cache, _ = read_pictures(
            pairs, material.formats, settings, spared=material.cache.entries, spent=spent, advance=advance
        )
    is_whole = len(cache.pairs) == len(pairs) and cache.uncached <= material.cache.uncached
    return cache.without_thumbnails() if is_whole else None


def run_pilot(
    material: Material,
    settings: Settings,
    encoder_weights: Mapping[str, Tensor],
    device: str,
    precision: ComputePrecision,
    minutes: Minutes,
    *,
    show: Callable[[float], None],
) -> Errors | None:
    """Learn from some of the pictures to learn from, and say what goes wrong on others of them.

    Args:
        material: Of two classes; no picture that is held out is looked at.
        settings: Nothing in them is open; pictures are whole.
        encoder_weights: What the network starts from.
        device: Where to compute.
        precision: What to compute in.
        minutes: Of which this may take its share.
        show: Called with the share that is done.

    Returns:
        The errors; None where there are too few groups or pictures, or there is too little time.
    """
    settings = dataclasses.replace(settings, size=SIDE)
    chosen = drawn(material.indices("train"), MOST_PICTURES, settings.seed)
    pairs = [material.cache.pairs[index] for index in chosen]
    asked = choose_asked([material.groups.of[pair.name] for pair in pairs], seed=settings.seed)
    if len(asked) < LEAST_ASKED:
        return None
    spent = minutes.part(PILOT_SHARE)
    cache, _ = read_pictures(
        pairs, material.formats, settings, spared=material.cache.entries, spent=spent, advance=lambda: None
    )
    if len(cache.pairs) < len(pairs):
        return None
    samples = Samples(cache, settings, augment=settings.augment, to_learn=True)
    order = EpochBatches([index for index in range(len(pairs)) if index not in asked], settings)
    with random_apart(device):
        architecture = architecture_for(settings, material.formats)
        learner = build_learner_for(settings, architecture, device, precision, encoder_weights)
        if not _learn(learner, samples, order, settings, device, spent, show):
            return None
        plain = Samples(cache, settings, augment=False)
        answers = [_ask(learner, plain, index, device) for index in asked]
    scores = [answer for answer in answers if answer is not None]
    if not scores:
        return None
    return Errors(
        fmean(score.edge_error for score in scores),
        fmean(score.inner_error for score in scores),
        len(scores),
        learner.position.step,
    )


def choose_asked(groups: Sequence[str], *, seed: int) -> list[int]:
    """Which pictures are not learnt from: those of whole groups, as many as are about their share, never most of them.

    >>> choose_asked(["car"] * 4, seed=0), choose_asked(["car"] * 4 + ["van"], seed=0)
    ([], [4])
    """
    names = sorted(set(groups))
    asked: list[int] = []
    for place in np.random.default_rng(seed).permutation(len(names)):
        if len(asked) >= ASKED_SHARE * len(groups):
            break
        more = [index for index, group in enumerate(groups) if group == names[place]]
        if len(asked) + len(more) <= len(groups) / 2:
            asked += more
    return sorted(asked)


def _learn(
    learner: Learner,
    samples: Samples,
    order: EpochBatches,
    settings: Settings,
    device: str,
    spent: Callable[[], float],
    show: Callable[[float], None],
) -> bool:
    """Make some steps, at a rate that falls to zero with the last; whether they were enough."""
    learner.begin_to_learn()
    for batch in endless(build_loader(samples, order, workers=0, pin=False), order):
        progress = max(spent(), learner.position.step / MOST_STEPS)
        show(min(1.0, progress))
        if progress >= 1:
            break
        set_rate(learner.optimizer, learning_rate_at(settings, progress, 0.0))
        try:
            make_step(learner, batch.to(device), settings)
        except (FloatingPointError, DoesNotFitError):
            return False
    return learner.position.step >= LEAST_STEPS


def _ask(learner: Learner, samples: Samples, index: int, device: str) -> OutlineScores | None:
    """What is wrong of the network's answer for a picture; None where no foreground is left of it at this size."""
    network = learner.kept()
    network.eval()
    height, width = samples.cache.shapes[index]
    batch = samples.__getitems__([Draw(0, index, half=False)])
    with torch.inference_mode():
        logits = compute_logits(network, batch.images.to(device), learner.precision).cpu()
    called, truth = (
        (plane[0, 0, :height, :width] >= least).numpy() for plane, least in ((logits, 0.0), (batch.targets, 0.5))
    )
    counted = (batch.weights[0, 0, :height, :width] > 0).numpy()
    if not (truth & counted).any():
        return None
    return compare_outlines(truth, called, counted, tolerance=tolerance_of(height, width))
