"""Before the training: can the network learn a handful of small cut-outs by heart?

Where it cannot, hours of training will not help. A copy of the network learns, at a rate that suits most networks, so
that neither the weights nor the optimizer nor any random state of the run is touched. What it cannot see: a network
learns masks of other pictures by heart as well; `baseline` is there for those.
"""

import copy
import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskwright.config import Settings
from maskwright.data.dataset import SIDE_MULTIPLE, Batch, Draw, Samples, pad
from maskwright.device import ComputePrecision
from maskwright.training.figures import dice_per_picture
from maskwright.training.health import Finding
from maskwright.training.state import Learner, build_scaler, random_apart
from maskwright.training.step import compute_logits, loss_of, make_step

PICTURES = 4
# Cut-outs of so many pixels a side; smaller ones where the network is too slow for these.
SIDES = (128, 64)
STEPS = 40
# Fewer steps than these prove nothing against a network.
LEAST_STEPS = 15
RATE = 1e-3
# Of what lies between the Dice of one answer for all pixels and a perfect one: enough, and next to nothing.
LEARNT, HARDLY_LEARNT = 0.3, 0.1
# A loss above this share of the first has not fallen.
NOT_FALLEN = 0.95
GOOD_DICE = 0.9
MOST_SECONDS = 6.0
SHARE_OF_RUN = 0.02


@dataclass(frozen=True)
class Overfit:
    """What the check measured.

    Attributes:
        pictures: Where in the cache the cut-outs come from.
        losses: Of the whole batch, for each step.
        dices: Likewise; NaN where the cut-outs show nothing of any scored class.
        blind_dice: Of one answer for all pixels, the best there is.
        picture_losses: Of each cut-out, after the last step.
        foreground: Share of the cut-outs' pixels that are of another class than the first.
        moves: Whether any gradient reached a weight.
        seconds: What it took.
    """

    pictures: tuple[int, ...]
    losses: tuple[float, ...]
    dices: tuple[float, ...]
    blind_dice: float
    picture_losses: tuple[float, ...]
    foreground: float
    moves: bool
    seconds: float

    @property
    def is_learnt(self) -> bool:
        """Whether the loss has fallen and Dice risen well above what one answer for all pixels gets."""
        return is_learnt(self.losses, self.dices, self.blind_dice)

    def to_json(self) -> dict[str, object]:
        """What `health.json` holds of it."""
        first, last = self.losses[:1], self.losses[-1:]
        table = {"steps": len(self.losses), "loss": [*first, *last], "dice": [*self.dices[:1], *self.dices[-1:]]}
        finite = {
            name: [value if math.isfinite(value) else None for value in values] if isinstance(values, list) else values
            for name, values in table.items()
        }
        return {**finite, "seconds": round(self.seconds, 2)}


def choose_pictures(foreground: Sequence[float], indices: Sequence[int], *, seed: int) -> list[int]:
    """A few of the pictures that have foreground, some of them twice where there are not enough."""
    useful = [index for index in indices if foreground[index] > 0]
    drawn = [useful[place] for place in np.random.default_rng(seed).permutation(len(useful))[:PICTURES]]
    return [drawn[place % len(drawn)] for place in range(PICTURES)]


def cut_out(samples: Samples, pictures: Sequence[int], side: int) -> Batch:
    """Squares of the pictures, each where about half of the pixels are foreground, as nearly as there is such a place.

    Args:
        samples: Makes them; without augmentation.
        pictures: Where they lie in the cache.
        side: Pixels of the squares; less where no picture is as large.
    """
    longest = max(max(samples.cache.shapes[picture]) for picture in pictures)
    side = min(side, longest + -longest % SIDE_MULTIPLE)
    made = []
    for picture in pictures:  # one after the other, since a whole one may be large
        sample = samples[Draw(0, picture, half=False)]
        top, left = _most_divided(sample, side)
        part = Batch(*(tensor[:, top : top + side, left : left + side] for tensor in sample))
        height, width = part.images.shape[-2:]
        padded = Batch(*(F.pad(tensor, (0, side - width, 0, side - height)) for tensor in part))
        pad(padded, height, width)
        made.append(padded)
    return Batch(*(torch.stack(tensors) for tensors in zip(*made, strict=True)))


def learn_by_heart(
    network: nn.Module,
    batch: Batch,
    settings: Settings,
    *,
    precision: ComputePrecision,
    scored_classes: tuple[int, ...],
    afford: Callable[[float], float],
    show: Callable[[int], None],
    pictures: Sequence[int] = (),
) -> Overfit:
    """Let a copy of the network learn one batch.

    Args:
        network: In the mode that it learns in; stays as it is.
        batch: What to learn.
        settings: Of the run; its loss is used.
        precision: What the forward pass computes in.
        scored_classes: As in `loop.Run`.
        afford: From the seconds of one step, the seconds that the check may take.
        show: Called with the number of steps so far.
        pictures: Where the batch comes from.

    Returns:
        What was measured, until the batch was learnt or the time was up.
    """
    started = time.monotonic()
    device = str(next(network.parameters()).device)
    batch = batch.to(device)
    unclipped = dataclasses.replace(settings, clip_norm=0.0)
    losses: list[float] = []
    dices: list[float] = []
    blind = blind_dice(batch, scored_classes)
    moves = False
    with random_apart(device):
        copied = copy.deepcopy(network)
        optimizer = torch.optim.AdamW(copied.parameters(), lr=RATE)
        learner = Learner(copied, optimizer, None, build_scaler(device, precision), precision=precision)
        allowed = math.inf
        while len(losses) < STEPS and time.monotonic() - started < allowed:
            try:
                outcome = make_step(learner, batch, unclipped, scored_classes=scored_classes)
            except FloatingPointError:
                losses.append(math.nan)
                dices.append(math.nan)
                break
            losses.append(outcome.loss)
            dices.append(float(outcome.dices.nanmean()))
            if is_learnt(losses, dices, blind):
                break
            moves = moves or any(weight.grad is not None and bool(weight.grad.any()) for weight in copied.parameters())
            show(len(losses))
            if len(losses) == 1:
                allowed = afford(time.monotonic() - started)
        with torch.no_grad():
            logits = compute_logits(copied, batch.images, precision)
    singles = tuple(_loss_of_one(logits, batch, settings, place) for place in range(len(batch.images)))
    foreground = float((batch.targets if batch.targets.shape[1] == 1 else 1 - batch.targets[:, :1]).mean())
    seconds = time.monotonic() - started
    return Overfit(tuple(pictures), tuple(losses), tuple(dices), blind, singles, foreground, moves, seconds)


def blind_dice(batch: Batch, scored_classes: tuple[int, ...]) -> float:
    """The best Dice that one answer for all pixels gets."""
    found = []
    for channel in range(batch.targets.shape[1]):
        logits = -torch.ones_like(batch.targets)
        logits[:, channel] = 1
        found.append(float(dice_per_picture(logits, batch.targets, batch.weights, scored_classes).nanmean()))
    return max(0.0, *found)


def is_learnt(losses: Sequence[float], dices: Sequence[float], blind: float) -> bool:
    """Whether the loss has fallen and Dice risen well above what one answer for all pixels gets."""
    if dices[-1] >= GOOD_DICE:
        return True
    return losses[-1] <= NOT_FALLEN * losses[0] and dices[-1] >= blind + LEARNT * (1 - blind)


def find_no_overfit(
    overfit: Overfit, settings: Settings, names: Sequence[str], *, precision: ComputePrecision
) -> Finding | None:
    """What is said where the batch was not learnt; nothing where there was no time to tell.

    Args:
        overfit: What was measured.
        settings: Of the run.
        names: Of the pictures that the cut-outs come from.
        precision: What it was computed in.
    """
    losses = overfit.losses
    if not math.isfinite(losses[-1]):
        advice = f"try --norm group, or another loss than {settings.loss}"
        return _finding(overfit, "the loss is no number", advice if precision == "fp32" else "use --precision fp32")
    if overfit.is_learnt or len(losses) < LEAST_STEPS:
        return None
    hardly = overfit.blind_dice + HARDLY_LEARNT * (1 - overfit.blind_dice)
    if min(losses) < NOT_FALLEN * losses[0] and (len(losses) < STEPS or overfit.dices[-1] > hardly):
        return None
    if not overfit.moves:
        return _finding(
            overfit, "no gradient reaches the weights", f"the network is frozen, or --loss {settings.loss} is flat"
        )
    # Of lines thinner than half a pixel no pixel is foreground, however much of it they cover.
    if overfit.foreground < 1e-3 or overfit.blind_dice == 0:
        return _finding(
            overfit,
            f"only {100 * overfit.foreground:.2g} % of it is foreground, in specks or lines",
            "what the masks show may be too small at "
            + (f"--factor {settings.factor:g}" if settings.size is None else f"--size {settings.size}"),
        )
    worst = sorted(range(len(names)), key=lambda place: -overfit.picture_losses[place])
    listed = ", ".join(dict.fromkeys(names[place] for place in worst[: PICTURES // 2]))
    return _finding(
        overfit,
        "the masks may not belong to the pictures, or the pictures be blank",
        f"the largest losses have {listed}; maskwright check shows pictures and masks side by side",
    )


def seconds_of(run: float) -> float:
    """How long the check may take of a run of so many seconds."""
    return min(MOST_SECONDS, SHARE_OF_RUN * run)


def seconds_for(settings: Settings, batch: Batch, *, pixels: int) -> Callable[[float], float]:
    """How long the check may take, once a step of it is known: a fiftieth of the run.

    Args:
        settings: Of the run.
        batch: What is learnt in a step.
        pixels: Of all training pictures together.
    """

    def afford(step_seconds: float) -> float:
        runs = [settings.minutes * 60] if settings.minutes is not None else []
        if settings.epochs is not None:
            runs.append(settings.epochs * pixels * step_seconds / batch.weights.numel())
        return min([MOST_SECONDS, *map(seconds_of, runs)])

    return afford


def _finding(overfit: Overfit, cause: str, advice: str) -> Finding:
    first, last = overfit.losses[0], overfit.losses[-1]
    return Finding(
        "cannot-overfit",
        f"The network cannot learn even {PICTURES} cut-outs by heart (loss {first:.4g} at first, {last:.4g} after "
        f"{len(overfit.losses)} steps): {cause}; {advice}.",
    )


def _most_divided(sample: Batch, side: int) -> tuple[int, int]:
    """Top and left of the square whose share of foreground is nearest to a half."""
    height, width = sample.images.shape[-2:]
    foreground = sample.targets if len(sample.targets) == 1 else 1 - sample.targets[:1]
    window = (min(side, height), min(side, width))
    stride = max(1, side // 4)
    shares = F.avg_pool2d((foreground * sample.weights)[None], window, stride)[0, 0]
    place = int((shares - 0.5).abs().argmin())
    return place // shares.shape[1] * stride, place % shares.shape[1] * stride


def _loss_of_one(logits: Tensor, batch: Batch, settings: Settings, place: int) -> float:
    one = slice(place, place + 1)
    return float(loss_of(logits[one], Batch(*(tensor[one] for tensor in batch)), settings))
