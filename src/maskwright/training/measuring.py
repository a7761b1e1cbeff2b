"""What the pictures are like and how fast this machine is, found out in the first seconds.

Nothing here changes what a run learns: steps are measured on a network of their own, and the random state is put back.
"""

import contextlib
import functools
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import islice, pairwise
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from numpy.typing import NDArray

from maskwright.config import Architecture, Settings
from maskwright.data import image_files
from maskwright.data.dataset import Batch, InOrder, Samples, build_loader
from maskwright.data.labels import IGNORED, LabelMap
from maskwright.data.pairs import Pair
from maskwright.data.reading import Formats, read_mask, read_pair
from maskwright.data.resolution import resolution_bound
from maskwright.data.threads import in_threads
from maskwright.device import ComputePrecision
from maskwright.errors import InputError
from maskwright.evaluation.evaluate import score_logits
from maskwright.evaluation.pages.plots import plot_curves
from maskwright.inference.engines import TorchEngine
from maskwright.inference.predictor import Predictor
from maskwright.models.build import build_network
from maskwright.models.storage import store
from maskwright.training.curves import draw_curves
from maskwright.training.freezing import pretrained_layers
from maskwright.training.keeping import model_card, weights_of
from maskwright.training.minutes import BYTES_PER_SECOND, Costs, drawn
from maskwright.training.out_of_memory import looking_at_fewer, on_device_or_cpu
from maskwright.training.recipe import LADDER, Speed
from maskwright.training.session import Session
from maskwright.training.state import Learner, build_learner, random_apart
from maskwright.training.step import loss_of, make_step, parts_of
from maskwright.training.whole_pictures import whole_logits, whole_pictures_at_once

# A usual size is known after so many headers, and what a size does to the masks after so many masks with foreground ...
DESCRIBED, OUTLINED = 50, 16
# ... for which so many are looked at, where foreground is rare, and so few, where time is short.
MOST_LOOKED_AT, LEAST_OUTLINED = 320, 4
# From this bound on, larger sizes are taken to have the same.
NEARLY_PERFECT = 0.998
# Steps are measured on batches of two sizes: pictures and their side, in pixels.
SMALL_PROBE, LARGE_PROBE = (2, 160), (4, 256)
# Steps after the first, which is slower than all others; the fastest counts, the others were disturbed.
PROBE_STEPS = 3
# What takes so many seconds is not measured twice.
LONG = 5.0
# A logit that leaves no doubt.
CERTAIN = 10.0
# Metrics that one plot is tried with, and how many a report has.
TRIAL_LINES = (dict.fromkeys(("epoch", "train_loss", "val_loss"), 0.5),)
PLOTS = 6


def shapes_of(pairs: Sequence[Pair], *, seed: int) -> list[tuple[int, int]]:
    """Heights and widths of some pictures, one at least."""
    shapes = []
    for pair in drawn(pairs, DESCRIBED, seed):
        with contextlib.suppress(InputError):  # said when it is read
            stored = image_files.describe(pair.image)
            shapes.append((stored.height, stored.width))
    return shapes or [(LADDER[0], LADDER[0])]


def usual_shape(pairs: Sequence[Pair], *, seed: int) -> tuple[int, int]:
    """The height and width of the picture in the middle, by its longer side."""
    shapes = sorted(shapes_of(pairs, seed=seed), key=lambda shape: (max(shape), shape))
    return shapes[len(shapes) // 2]


def look_at_masks(
    pairs: Sequence[Pair],
    formats: Formats,
    sides: Sequence[int],
    *,
    seed: int,
    spent: Callable[[], float] = lambda: 0.0,
) -> tuple[dict[int, float], float]:
    """What sizes do to some masks, and how far their foregrounds reach.

    Args:
        pairs: What was found.
        formats: How they are read.
        sides: Longer sides of pictures, rising.
        seed: Decides which of them are looked at.
        spent: The share that is over of the time for this.

    Returns:
        The mean resolution bound at each training size, empty where none of the masks has foreground; and the mean
        longer side of what holds all foreground of a mask, as a share of the picture's, 1 where there is none.
    """

    def look(numbered: tuple[int, Pair]) -> tuple[dict[int, float], float]:
        number, pair = numbered
        if number >= LEAST_OUTLINED and spent() >= 1:
            return {}, 0.0
        with contextlib.suppress(InputError):
            stored = image_files.describe(pair.image)
            mask = read_mask(pair, formats.labels, stored.height, stored.width)
            return _bounds_of(mask, sides), extent_of((mask > 0) & (mask != IGNORED))
        return {}, 0.0

    looks = in_threads(look, enumerate(drawn(pairs, MOST_LOOKED_AT, seed)))
    found = list(islice((seen for seen in looks if seen[0]), OUTLINED))
    bounds = {side: fmean(bound[side] for bound, _ in found) for side in sides if found}
    return bounds, fmean(extent for _, extent in found) if found else 1.0


def extent_of(foreground: NDArray[np.bool_]) -> float:
    """The longer side of what holds all foreground, as a share of the picture's longer side.

    >>> extent_of(np.eye(4, 8, dtype=bool))
    0.5
    """
    reached = (np.flatnonzero(foreground.any(axis)) for axis in (1, 0))
    longer: int = max((int(np.ptp(places)) + 1 for places in reached if len(places)), default=0)
    return longer / int(max(foreground.shape))


def _bounds_of(mask: NDArray[np.uint8], sides: Sequence[int]) -> dict[int, float]:
    """The resolution bound at each size; none for a mask without foreground."""
    bounds: dict[int, float] = {}
    best = 0.0
    for side in sides:
        if best < NEARLY_PERFECT:  # more pixels can hardly better it, and each size takes its time
            best = resolution_bound(mask, (side,))[side]
        bounds[side] = best
    return {} if math.isnan(best) else bounds


def measure_speed(
    settings: Settings,
    architecture: Architecture,
    device: str,
    precision: ComputePrecision,
    *,
    spent: Callable[[], float] = lambda: 0.0,
) -> Speed:
    """Measure a few training steps of such a network on random pictures.

    Args:
        settings: Decide the loss and the optimizer.
        architecture: Of the network.
        device: Where to compute.
        precision: What to compute in.
        spent: The share that is over of the time for this; at least two small steps are made.
    """
    with random_apart(device):
        network = store(build_network(architecture), settings.storage).to(device)
        # What will be held is held here too: it takes no backward pass.
        learner = build_learner(network, settings, precision=precision, pretrained=pretrained_layers(network))
        small, large = (_random_batch(architecture, *probe).to(device) for probe in (SMALL_PROBE, LARGE_PROBE))
        small_seconds = _seconds_of_steps(learner, small, settings, spent)
        pixels = [batch.images.shape[0] * batch.images.shape[-1] ** 2 / 1e6 for batch in (small, large)]
        if spent() >= 0.5:
            return Speed(0.0, small_seconds / pixels[0])
        large_seconds = _seconds_of_steps(learner, large, settings, spent)
    slope = max(0.0, large_seconds - small_seconds) / (pixels[1] - pixels[0])
    # Where small steps were disturbed, all is laid on the pixels.
    slope = min(slope, large_seconds / pixels[1]) or large_seconds / pixels[1]
    return Speed(max(0.0, large_seconds - slope * pixels[1]), slope)


def measure_costs(session: Session, part: str) -> Costs:
    """Measure what one picture takes to be validated and scored, on pictures of about the mean size."""
    material, settings, learner = session.material, session.settings, session.learner
    batch, validating_share = _usual(
        material.indices("val"), whole_pictures_at_once(settings), lambda index: math.prod(material.cache.shapes[index])
    )
    samples = Samples(material.cache, settings, augment=False)

    def validate(most: int | None) -> None:
        for cpu_batch in build_loader(samples, InOrder(batch, len(batch)), workers=0, pin=False):
            with torch.inference_mode():
                for compared, _ in parts_of(cpu_batch.to(session.device), most):
                    logits = whole_logits(network, compared.images, settings, learner.precision)
                    float(loss_of(logits, compared, settings))

    def score(device: str) -> float:
        predictor = Predictor(card, TorchEngine(card.architecture, weights_of(learner), device))

        def score_one() -> None:
            image, truth = read_pair(pair, card.formats)
            predictor.logits(image)
            # Before it has learnt, its own logits would have outlines everywhere, which take many times as long.
            score_logits(predictor, perfect_logits(truth, card.labels), image, truth, name=pair.name, group="")

        return _second_time(score_one, now, times=2)

    network = learner.kept()
    was_training = network.training
    network.eval()
    now = time.monotonic if session.minutes is None else session.minutes.now
    position = learner.position
    validating, position.val_micro_batch = looking_at_fewer(
        lambda most: validating_share * _second_time(lambda: validate(most), now) / len(batch),
        position.val_micro_batch or position.micro_batch,
        len(batch),
    )
    network.train(was_training)
    own_pixels = material.cache.class_pixels.sum(1)
    (index,), scoring_share = _usual(material.indices(part), 1, lambda index: float(own_pixels[index]))
    card, pair = model_card(session, {}), material.cache.pairs[index]
    scoring = scoring_share * on_device_or_cpu(score, session.device)
    return Costs(validating, scoring, _seconds_of_drawing() + _bytes_of_files(learner) / BYTES_PER_SECOND)


def _usual(indices: Sequence[int], count: int, area_of: Callable[[int], float]) -> tuple[list[int], float]:
    """Those whose areas are nearest to the mean, and how many times theirs the mean is."""
    mean = fmean(map(area_of, indices))
    nearest = sorted(indices, key=lambda index: abs(area_of(index) - mean))[:count]
    return nearest, mean / max(1.0, fmean(map(area_of, nearest)))


@functools.cache
def _seconds_of_drawing() -> float:
    """What the curves and the plots of a report take: the same for every run, so that a process measures it once."""
    with tempfile.TemporaryDirectory() as scratch:
        nothing, picture = Path(scratch) / "metrics.jsonl", Path(scratch) / "curves.png"
        drawing = _second_time(lambda: draw_curves(nothing, picture), time.monotonic)
        return drawing + PLOTS * _second_time(lambda: plot_curves(TRIAL_LINES), time.monotonic)


def _random_batch(architecture: Architecture, count: int, side: int) -> Batch:
    """Noise with targets of noise, all of which counts."""
    images = torch.rand(count, architecture.in_channels, side, side)
    targets = torch.rand(count, architecture.num_classes, side, side).softmax(1)
    return Batch(images, targets, torch.ones(count, 1, side, side))


def _seconds_of_steps(learner: Learner, batch: Batch, settings: Settings, spent: Callable[[], float]) -> float:
    """The fastest of a few steps after a first one."""
    learner.begin_to_learn()
    seconds = []
    for number in range(1 + PROBE_STEPS):
        if number > 1 and spent() >= 1:
            break
        started = time.monotonic()
        make_step(learner, batch, settings)
        next(learner.kept().parameters()).detach().flatten()[0].item()  # a GPU answers when it is done
        seconds.append(time.monotonic() - started)
    return min(seconds[1:])


def perfect_logits(mask: NDArray[np.uint8], labels: LabelMap) -> NDArray[np.float32]:
    """Logits ``(C, H, W)`` that say this mask and no doubt."""
    told_apart = [1] if labels.logit_channels == 1 else range(labels.num_classes)
    return np.stack([np.where(mask == index, np.float32(CERTAIN), np.float32(-CERTAIN)) for index in told_apart])


def _second_time(work: Callable[[], object], now: Callable[[], float], *, times: int = 1) -> float:
    """What it takes once all is warm; of several times the shortest, since the others may have been disturbed.

    What takes long is done once: of that, warming up is a small part.
    """
    began = now()
    work()
    moments = [now()]
    if moments[0] - began >= LONG:
        return moments[0] - began
    for _ in range(times):
        work()
        moments.append(now())
    return min(later - earlier for earlier, later in pairwise(moments))


def _bytes_of_files(learner: Learner) -> int:
    """The state, with two moments of each weight and the average, and a model file written twice."""
    parameters = sum(parameter.numel() * parameter.element_size() for parameter in learner.network.parameters())
    return parameters * (3 + (learner.average is not None) + 2)
