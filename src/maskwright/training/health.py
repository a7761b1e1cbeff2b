"""What is wrong with a training that gets stuck, from figures that the loop counts anyway.

`Health` takes the figures in; each `find_` function below looks at them and returns a finding or nothing. None of them
touches a network, a file or a clock. docs/health.md says what each sentence means and what to do.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, get_args

# One disease, one sentence: of these only the first that is found is said.
Stuck = Literal[
    "collapsed",
    "rate-too-low",
    "rate-too-high",
    "constant-loss",
    "no-better-than-chance",
]
STUCK: tuple[Stuck, ...] = get_args(Stuck)
Name = Literal[
    Stuck,
    "diverged",
    "cannot-overfit",
    "no-numbers",
    "no-better-than-start",
    "waits-for-pictures",
    "computes",
    "not-saved",
    "out-of-memory",
    "fp32-instead",
]

# A run has so many segments, whose mean losses are compared.
SEGMENTS = 20
# Fewer batches tell nothing of a trend; fewer than the others are few to learn anything from.
LEAST_BATCHES = 20
FEW_BATCHES = 100
# Of a run of few batches, the share after which that is said.
LATE = 0.8
# The smoothed loss is a mean over the first batches and forgets a tenth with each later one.
FORGOTTEN = 0.1
SETTLED = 5
# A loss this many times its own minimum, and this many times an untrained network's, does not come back by itself.
FAR_ABOVE_LOWEST = 4.0
FAR_ABOVE_UNTRAINED = 1.5
# Of an untrained network, each term of the loss is at least about this.
UNTRAINED_TERM = 0.5
# Each of these terms is at most 1, which it is where nothing is found any more; lovasz is so for several classes.
BOUNDED = {"dice", "iou", "tversky"}
ALL_LOST = 0.97
# How far weights move in a step, as a share of their norm: a thousandth is usual, and many times that at the start.
USUAL_RATIO = 1e-3
TINY_RATIO = 1e-4
HUGE_RATIO = 0.1
MEASURED_EVERY = 25
# No higher rate is advised without a search.
HIGHEST_ADVISED = 1e-3
# A loss of this share of the first one has not fallen.
HARDLY_FALLEN = 0.95
# Predictions are all of one class when the others have less than this share of the pixels that they should have.
COLLAPSED_SHARE = 0.01
COLLAPSED_VALIDATIONS = 3
# Of what lies between chance and a perfect Dice, a network that learns soon has more than this.
ABOVE_CHANCE = 0.05
# Seconds and batches of a run after which its speed is judged.
JUDGED_SECONDS = 5.0
# A run that waits for pictures more than this share of its time could be made faster.
WAITING_SHARE = 0.35


@dataclass(frozen=True)
class Finding:
    """One sentence on how a run does.

    Attributes:
        name: What it is; see docs/health.md.
        sentence: What was seen, the likely cause, and the option or file to look at.
        is_warning: Whether something is to be done about it.
    """

    name: Name
    sentence: str
    is_warning: bool = True


@dataclass(frozen=True)
class Circumstances:
    """What the figures of a run are judged by.

    Attributes:
        loss_terms: The losses that are added up.
        learning_rate: The peak learning rate.
        warmup: Share of the run over which the rate rises.
        class_names: The background first.
        chance_dice: Dice on the validation pictures of what can be said without looking at them; NaN if unknown.
        workers: Processes that prepare samples.
        cores: That the machine has.
        uncached: Pictures that are decoded each time they are needed.
        device: Where the network lies.
        is_tuned: Whether the weights are those of a model, so that the loss may be low from the first batch on.
    """

    loss_terms: tuple[str, ...]
    learning_rate: float
    warmup: float
    class_names: tuple[str, ...] = ("background", "foreground")
    chance_dice: float = math.nan
    workers: int = 0
    cores: int = 1
    uncached: int = 0
    device: str = "cpu"
    is_tuned: bool = False


@dataclass
class Health:
    """The figures of a run so far; a part of its state.

    Attributes:
        batches: Learnt from.
        progress: Share of the run that is done.
        first_loss: Of the first batch, before anything was learnt.
        smoothed_loss: Of the latest batches.
        smoothed_over: Batches since that smoothing began.
        lowest_loss: The lowest smoothed loss.
        segment_sums: Of the loss, for each part of the run.
        segment_counts: Batches in each of those.
        update_ratio: By which share of themselves the weights moved in the step that was last measured.
        largest_ratio: The largest of those.
        validations: So far.
        lowest_val_loss: Over the validations.
        collapsed: The latest validations in a row whose predictions were all of one class.
        collapsed_to: That class.
        true_share: Share of the other classes in the validation masks then.
        waiting: Seconds spent on waiting for the loader.
        computing: Seconds spent on everything else in a step.
        timed: Batches that those seconds are of.
        recoveries: How often the run went back to earlier weights with half the learning rate.
        start_dice: Validation score of the model that the run started from; None where it began anew.
        overfit: What the check before the training measured.
        findings: What was said, with its epoch and step.
    """

    batches: int = 0
    progress: float = 0.0
    first_loss: float = 0.0
    smoothed_loss: float = 0.0
    smoothed_over: int = 0
    lowest_loss: float = math.inf
    segment_sums: list[float] = field(default_factory=list)
    segment_counts: list[int] = field(default_factory=list)
    update_ratio: float | None = None
    largest_ratio: float | None = None
    validations: int = 0
    lowest_val_loss: float = math.inf
    collapsed: int = 0
    collapsed_to: int = 0
    true_share: float = 0.0
    waiting: float = 0.0
    computing: float = 0.0
    timed: int = 0
    recoveries: int = 0
    start_dice: float | None = None
    overfit: dict[str, Any] | None = None
    findings: list[dict[str, Any]] = field(default_factory=list)

    def note_batch(self, loss: float, progress: float) -> None:
        """Take in the loss of a batch."""
        if self.batches == 0:
            self.first_loss = self.lowest_loss = loss
        self.batches += 1
        self.progress = progress
        self.smoothed_over += 1
        self.smoothed_loss += max(1 / self.smoothed_over, FORGOTTEN) * (loss - self.smoothed_loss)
        if self.smoothed_over >= SETTLED:
            self.lowest_loss = min(self.lowest_loss, self.smoothed_loss)
        segment = min(int(progress * SEGMENTS), SEGMENTS - 1)
        while segment >= len(self.segment_sums):
            self.segment_sums.append(0.0)
            self.segment_counts.append(0)
        self.segment_sums[segment] += loss
        self.segment_counts[segment] += 1

    def note_update(self, ratio: float) -> None:
        """Take in by which share of their norm the weights moved in a step."""
        self.update_ratio = ratio
        self.largest_ratio = max(ratio, self.largest_ratio or 0.0)

    def note_times(self, waiting: float, computing: float) -> None:
        """Take in the seconds of a step."""
        self.waiting += waiting
        self.computing += computing
        self.timed += 1

    def note_validation(self, loss: float, predicted: Sequence[float], true: Sequence[float]) -> bool:
        """Take in a validation's loss and its pixels of each class, predicted and true.

        Returns:
            Whether its weights are worth going back to.
        """
        self.validations += 1
        commonest = max(range(len(predicted)), key=lambda index: predicted[index])
        others, true_others = sum(predicted) - predicted[commonest], sum(true) - true[commonest]
        is_collapsed = true_others > 0 and others <= COLLAPSED_SHARE * true_others
        self.collapsed = self.collapsed + 1 if is_collapsed else 0
        if is_collapsed:
            self.collapsed_to, self.true_share = commonest, true_others / sum(true)
        is_sound = math.isfinite(loss) and loss <= 2 * self.lowest_val_loss
        if math.isfinite(loss):
            self.lowest_val_loss = min(self.lowest_val_loss, loss)
        return is_sound

    def forget_trend(self) -> None:
        """After going back to earlier weights, the loss is smoothed anew."""
        self.smoothed_loss, self.smoothed_over, self.lowest_loss = 0.0, 0, self.first_loss

    def note_finding(self, finding: Finding, *, epoch: int, step: int) -> None:
        """Keep what was said."""
        self.findings.append({"name": finding.name, "sentence": finding.sentence, "epoch": epoch, "step": step})

    def was_said(self, name: Name) -> bool:
        """Whether a finding of that name was said."""
        return any(finding["name"] == name for finding in self.findings)

    def segment_means(self) -> list[float]:
        """Mean loss of the segments that are over and had batches."""
        pairs = list(zip(self.segment_sums, self.segment_counts, strict=True))[:-1]
        return [total / count for total, count in pairs if count]

    def to_json(self) -> dict[str, Any]:
        """What `health.json` holds."""
        timed = max(self.timed, 1)
        return {
            "findings": self.findings,
            "overfit_check": self.overfit,
            "seconds_a_step": {
                "waiting": round(self.waiting / timed, 5),
                "computing": round(self.computing / timed, 5),
            },
            "update_ratio": self.update_ratio,
            "recoveries": self.recoveries,
        }


def find_new(health: Health, case: Circumstances, *, best_dice: float, is_over: bool = False) -> list[Finding]:
    """Findings that were not said yet, at most one of them on why the run is stuck; some need a run that is over."""
    stuck: list[Callable[[], Finding | None]] = [
        lambda: find_low_rate(health, case),
        lambda: find_high_rate(health, case),
        lambda: find_collapse(health, case),
        lambda: find_constant_loss(health, case),
        lambda: find_chance(health, case, best_dice=best_dice),
    ]
    found = [find_speed(health, case), find_no_gain(health, case, best_dice=best_dice) if is_over else None]
    if not any(health.was_said(name) for name in STUCK):
        found.append(next((finding for find in stuck if (finding := find())), None))
    return [finding for finding in found if finding and not health.was_said(finding.name)]


def is_diverging(health: Health, case: Circumstances) -> bool:
    """Whether the loss is far above its own minimum, and above that of a network that has learnt nothing."""
    if health.smoothed_over < SETTLED:
        return False
    terms = len(case.loss_terms)
    bad = FAR_ABOVE_UNTRAINED * max(health.first_loss, UNTRAINED_TERM * terms)
    bounded = BOUNDED | ({"lovasz"} if len(case.class_names) > 2 else set())
    if bounded.issuperset(case.loss_terms):
        bad = min(bad, ALL_LOST * terms)
    return health.smoothed_loss > max(FAR_ABOVE_LOWEST * health.lowest_loss, bad)


def find_collapse(health: Health, case: Circumstances) -> Finding | None:
    """Predictions that are all of one class, in several validations."""
    if health.collapsed < COLLAPSED_VALIDATIONS or health.progress < case.warmup:
        return None
    share = f"{100 * health.true_share:.2g} %"
    seen = (
        f"The last {health.collapsed} validations predicted {case.class_names[health.collapsed_to]} nearly everywhere, "
        f"where {share} of the pixels are something else: "
    )
    if health.batches < FEW_BATCHES:
        # At the beginning this is no disease yet.
        is_late = health.progress > LATE and health.batches >= LEAST_BATCHES
        return Finding("collapsed", seen + _too_few(health)) if is_late else None
    by_region = {"dice", "iou", "tversky", "lovasz"} & set(case.loss_terms)
    if health.collapsed_to == 0 and health.true_share < 0.1 and not by_region:
        named = "+".join(case.loss_terms)
        cause = f"with --loss {named} so small a share is easily ignored; --loss {named}+dice counts it in full."
    elif _ratio(health) > HUGE_RATIO:
        cause = _too_high(health, case)
    elif _ratio(health) < TINY_RATIO:
        cause = _too_low(health, case)
    else:
        cause = (
            "the learning rate may be too high (--find-rate searches one), or masks may not belong to their pictures "
            "(maskwright check shows them side by side)."
        )
    return Finding("collapsed", seen + cause)


def find_low_rate(health: Health, case: Circumstances) -> Finding | None:
    """A loss that hardly falls while the weights hardly move."""
    if case.is_tuned or not _has_trend(health, case, after=0.15) or not 0 < _ratio(health) < TINY_RATIO:
        return None
    if _latest(health) < HARDLY_FALLEN * health.first_loss:
        return None
    return Finding("rate-too-low", f"The loss has hardly fallen ({_fall(health)}): {_too_low(health, case)}")


def find_high_rate(health: Health, case: Circumstances) -> Finding | None:
    """A loss that is back where it began, or swings, after the warm-up, while the weights leap."""
    if not _has_trend(health, case, after=0.05) or _ratio(health) <= HUGE_RATIO:
        return None
    means = [*health.segment_means()[int(case.warmup * SEGMENTS) :], health.smoothed_loss]
    rises = [100 * (after / before - 1) for before, after in pairwise(means) if after > 1.3 * before > 0]
    if health.smoothed_loss >= HARDLY_FALLEN * health.first_loss:
        seen = f"The loss is no lower than at the start ({_fall(health)})"
    elif len(rises) >= 2:
        seen = f"The loss swings ({len(rises)} times it rose by {min(rises):.0f} % or more from one part of the run on)"
    else:
        return None
    return Finding("rate-too-high", f"{seen}: {_too_high(health, case)}")


def find_constant_loss(health: Health, case: Circumstances) -> Finding | None:
    """A loss that stays where it began for a quarter of the run."""
    means = health.segment_means()[-SEGMENTS // 4 :]
    if case.is_tuned or not _has_trend(health, case, after=0.25) or len(means) < SEGMENTS // 4:
        return None
    spread = 1 - min(means) / max(*means, 1e-12)
    if spread > 0.01 or min(means) < 0.9 * health.first_loss:
        return None
    if _ratio(health) == 0:
        cause = "no weight moves: the network is frozen, or --loss has no gradient where it stands; use another --loss."
    else:
        cause = (
            "the network gives every picture the same answer; try --find-rate, and look at the pictures and masks with "
            "maskwright check."
        )
    return Finding("constant-loss", f"The loss has not changed for a quarter of the run ({_fall(health)}): {cause}")


def find_chance(health: Health, case: Circumstances, *, best_dice: float) -> Finding | None:
    """Validation scores that are reached without looking at the pictures."""
    if health.progress < 0.4 or health.validations < 3 or not health.batches >= LEAST_BATCHES:
        return None
    if math.isnan(case.chance_dice) or best_dice > case.chance_dice + ABOVE_CHANCE * (1 - case.chance_dice):
        return None
    cause = (
        "the masks may not belong to the pictures (maskwright check shows them side by side), or nothing in the "
        "pictures tells the classes apart at this --size."
    )
    if health.batches < FEW_BATCHES:
        if health.progress <= LATE:
            return None
        cause = _too_few(health)
    return Finding(
        "no-better-than-chance",
        f"The best validation Dice so far, {max(best_dice, 0):.3f}, is what the average mask of the training pictures "
        f"gets without looking at the picture ({case.chance_dice:.3f}): {cause}",
    )


def find_no_gain(health: Health, case: Circumstances, *, best_dice: float) -> Finding | None:
    """A run whose best weights are still those of the model that it started from."""
    if health.start_dice is None or best_dice > health.start_dice:
        return None
    return Finding(
        "no-better-than-start",
        f"No validation was better than that of the model given with --from ({max(health.start_dice, 0):.3f}), so its "
        f"weights are the ones that were kept: try a lower --learning-rate than {case.learning_rate:g}, --freeze 0.2 "
        "or more --minutes; with few validation pictures it may also be chance.",
    )


def find_speed(health: Health, case: Circumstances) -> Finding | None:
    """Whether steps wait for pictures or for the network."""
    total = health.waiting + health.computing
    if health.timed < LEAST_BATCHES or total < JUDGED_SECONDS:
        return None
    waiting, computing = health.waiting / health.timed, health.computing / health.timed
    seen = (
        f"A batch takes {waiting + computing:.3f} s: {waiting:.3f} s waiting for pictures, {computing:.3f} s computing"
    )
    if health.waiting <= WAITING_SHARE * total:
        advice = "a smaller --size is what would make it faster" if case.device == "cpu" else "the device is kept busy"
        return Finding("computes", f"{seen}; {advice}.", is_warning=False)
    spare = case.cores - (case.device == "cpu")  # the network takes one there
    if case.uncached:
        advice = f"{case.uncached} pictures are decoded each time, so raise --cache-gb or free room on the disk"
    elif case.workers < spare:
        advice = f"--workers {min(spare, 2 * case.workers or 2)} (now {case.workers}) prepares them beside it"
    else:
        advice = "no core is free to prepare them beside it, so choose a smaller --size, or --no-augment"
    return Finding("waits-for-pictures", f"{seen}; {advice}.")


def recovered(health: Health, *, epoch: int, step: int, peak: float) -> Finding:
    """What is said when a run goes on from earlier weights, ``peak`` being its new peak learning rate."""
    return Finding(
        "diverged",
        f"{_what_happened(health)} at epoch {epoch}, step {step}: the run goes on from the weights of its last good "
        f"validation (or its start), with half the learning rate (now {peak:.2g} at its peak); next time use "
        f"--learning-rate {peak:.2g}.",
    )


def shrunk(pictures: int, most: int | None, seen: str, storage: str | None = None) -> Finding:
    """What is said when memory was short, and less of a batch of so many ``pictures`` is held at a time from now on."""
    stored = "" if storage is None else f", stored {storage}"
    return Finding(
        "out-of-memory",
        f"{seen}: nothing is lost, and it is done again with {most or pictures} of {pictures} pictures at a "
        f"time{stored}.",
    )


def mistrusted(precision: str, seen: str) -> Finding:
    """What is said when 16 bit fails the test before the first step."""
    return Finding(
        "fp32-instead",
        f"{precision} cannot be trusted here ({seen} on the first batch), so the run computes in fp32; "
        "--precision fp32 says so from the start.",
    )


def unsound(precision: str, *, epoch: int, step: int) -> Finding:
    """What is said when 16 bit is given up."""
    return Finding(
        "fp32-instead",
        f"The loss or its gradients are no numbers in {precision} at epoch {epoch}, step {step}: the run goes on in "
        "fp32, and stays there, from the weights of its last good validation (or its start); next time use "
        "--precision fp32.",
    )


def given_up(health: Health, *, epoch: int, step: int, has_model: bool) -> Finding:
    """What is said when going back was of no use."""
    kept = " The best weights before that are kept." if has_model else ""
    if health.recoveries:
        tried = f"again, after {health.recoveries} times half the learning rate"
        advice = "start a new run with a much lower --learning-rate (--find-rate searches one)"
    else:
        tried = "before anything could be learnt"
        advice = "start a new run with a lower --learning-rate or another --loss"
    return Finding("no-numbers", f"{_what_happened(health)} at epoch {epoch}, step {step}, {tried}: {advice}.{kept}")


def not_saved(error: OSError) -> Finding:
    """What is said when a file of the run could not be written."""
    return Finding(
        "not-saved",
        f"{error.filename or 'A file of the run'} cannot be written: {error.strerror}. What it held before is whole; "
        "training goes on, and it is tried again.",
    )


def _what_happened(health: Health) -> str:
    if health.smoothed_over and health.smoothed_loss > FAR_ABOVE_LOWEST * health.lowest_loss:
        return f"The loss rose to {health.smoothed_loss:.3g} from {health.lowest_loss:.3g}"
    return "The loss or its gradients are no longer numbers"


def _ratio(health: Health) -> float:
    """The largest measured movement of the weights; a usual one where nothing was measured."""
    return USUAL_RATIO if health.largest_ratio is None else health.largest_ratio


def _has_trend(health: Health, case: Circumstances, *, after: float) -> bool:
    return health.batches >= LEAST_BATCHES and health.progress >= case.warmup + after


def _latest(health: Health) -> float:
    """The lower of the latest segment's mean and the smoothed loss, so that noise does not look like a standstill."""
    return min([*health.segment_means()[-1:], health.smoothed_loss])


def _fall(health: Health) -> str:
    return f"{health.first_loss:.4g} at first, {health.smoothed_loss:.4g} now"


def _too_few(health: Health) -> str:
    return f"after only {health.batches} batches that may be normal; give it more --minutes or --epochs."


def _too_low(health: Health, case: Circumstances) -> str:
    rate = min(case.learning_rate * USUAL_RATIO / max(_ratio(health), 1e-9), HIGHEST_ADVISED)
    advice = f"try {rate:.1g}, or --find-rate" if rate > case.learning_rate else "--find-rate searches one"
    return (
        f"weights move by {_ratio(health):.1g} of their size in a step, where {USUAL_RATIO:g} is usual, so "
        f"--learning-rate {case.learning_rate:g} is too low; {advice}."
    )


def _too_high(health: Health, case: Circumstances) -> str:
    return (
        f"weights moved by {100 * _ratio(health):.2g} % of their size in a step, so --learning-rate "
        f"{case.learning_rate:g} is too high; try {case.learning_rate / 10:.1g}, or --find-rate."
    )


def restored(content: dict[str, Any]) -> Health:
    """The figures from a run's state; what an older version did not note is as at the start."""
    known = {entry.name for entry in dataclasses.fields(Health)}
    return Health(**{name: value for name, value in content.items() if name in known})
