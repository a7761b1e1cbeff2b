import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from maskwright.config import Settings, Storage
from maskwright.data.cache import Cache
from maskwright.data.dataset import EpochBatches, InOrder, Samples, build_loader
from maskwright.data.input_format import read_image
from maskwright.device import ComputePrecision
from maskwright.errors import DoesNotFitError, InputError, OthersEndedError
from maskwright.models.build import build_network
from maskwright.models.lean import ForgetfulDoubleConv
from maskwright.training import ranks
from maskwright.training.baseline import chance_dice
from maskwright.training.figures import Figures, figures_of
from maskwright.training.freezing import pretrained_layers
from maskwright.training.health import Circumstances, Finding, Health
from maskwright.training.loop import (
    Clock,
    Run,
    Status,
    _count_patience,
    add_up,
    build_saver,
    fit,
    is_finished,
    is_over,
    look_at_batches,
    train_epoch,
)
from maskwright.training.recovery import go_back
from maskwright.training.schedules import Length, learning_rate_at
from maskwright.training.state import Learner, Position, Tally, build_learner, read_state, restore, save_state
from tests.other_masks import with_drawn_masks

pytestmark = pytest.mark.usefixtures("one_thread")

# Nine pictures to learn from in three steps, three to validate on.
SETTINGS = Settings(
    base_channels=8,
    depth=1,
    size=32,
    batch_size=3,
    epochs=3,
    learning_rate=1e-2,
    loss="bce+dice",
    ema=0.5,
    seed=5,
)
TRAIN, VAL = range(9), range(9, 12)


class Bench:
    """A run on the ellipses, and what it reported."""

    def __init__(
        self,
        cache: Cache,
        folder: Path,
        settings: Settings,
        *,
        seconds: float | None = None,
        train: range = TRAIN,
        precision: ComputePrecision = "fp32",
    ) -> None:
        self.settings = settings
        torch.manual_seed(settings.seed)
        self.learner: Learner = build_learner(build_network(settings.architecture()), settings, precision=precision)
        self.best: list[tuple[int, Figures]] = []
        self.shown: list[Status] = []
        self.told: list[Finding] = []
        self.stop: Callable[[], bool] = lambda: False
        self.order = EpochBatches(train, settings)
        samples = Samples(cache, settings, augment=settings.augment)
        self.train = build_loader(samples, self.order, workers=0, pin=False)
        plain = Samples(cache, settings, augment=False)
        self.val = build_loader(plain, InOrder(VAL, settings.chosen("batch_size")), workers=0, pin=False)
        folder.mkdir(exist_ok=True)
        self.run = Run(
            settings=settings,
            device="cpu",
            length=Length(settings.epochs, seconds),
            scored_classes=(1,),
            state_path=folder / "state.pth",
            metrics_path=folder / "metrics.jsonl",
            health_path=folder / "health.json",
            circumstances=Circumstances(tuple(settings.loss_terms()), settings.learning_rate, settings.warmup),
            tell=self.told.append,
            keep_best=lambda figures, _: self.best.append((self.learner.position.epoch, figures)),
            show=self.shown.append,
            stop_asked=self._stop_asked,
        )

    def _stop_asked(self) -> bool:
        return self.stop()

    def fit(self) -> bool:
        return fit(self.learner, self.train, self.order, self.val, self.run)

    def validate(self, network: nn.Module | None = None) -> Tally:
        """What a validation counts; of the network itself, not of its averaged weights, by default."""
        return add_up(look_at_batches(network or self.learner.network, self.val, self.run, "fp32", None))

    def metrics(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.run.metrics_path.read_text().splitlines()]


def resume(bench: Bench) -> None:
    path = bench.run.state_path
    restore(bench.learner, read_state(path), path)


def timeless(bench: Bench) -> list[dict[str, Any]]:
    """The metrics, without what the clock says."""
    clocked = ("seconds", "images_per_second")
    return [{name: value for name, value in line.items() if name not in clocked} for line in bench.metrics()]


def change(**values: object) -> Settings:
    return dataclasses.replace(SETTINGS, **values)  # type: ignore[arg-type]


def health_of(bench: Bench) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(bench.run.health_path.read_text())
    return found


def findings(bench: Bench) -> list[Finding]:
    """What was found; how fast this machine is left out."""
    return [finding for finding in bench.told if finding.name not in ("waits-for-pictures", "computes")]


def said(bench: Bench) -> list[str]:
    return [finding.name for finding in findings(bench)]


def numbers(learner: Learner) -> list[object]:
    average = None if learner.average is None else learner.average.state_dict()
    return [learner.network.state_dict(), learner.optimizer.state_dict(), average]


def assert_same(one: Bench, other: Bench) -> None:
    """Both ended with the same numbers, to the bit, and have the same metrics."""
    torch.testing.assert_close(numbers(one.learner), numbers(other.learner), atol=0, rtol=0)
    assert timeless(one) == timeless(other)


# --- Learning


def test_a_tiny_network_learns_a_tiny_set(ellipse_cache: Cache, tmp_path: Path) -> None:
    bench = Bench(ellipse_cache, tmp_path / "run", change(epochs=10, depth=2, ema=0.0, augment=False))
    assert bench.fit()
    lines = bench.metrics()
    assert lines[-1]["train_loss"] < 0.4 * lines[0]["train_loss"]
    assert lines[-1]["val_loss"] < lines[0]["val_loss"]
    assert lines[-1]["val_dice"] > 0.9


def test_each_epoch_leaves_one_line_of_metrics(ellipse_cache: Cache, tmp_path: Path) -> None:
    bench = Bench(ellipse_cache, tmp_path / "run", SETTINGS)
    bench.fit()
    lines = bench.metrics()
    assert [(line["epoch"], line["step"]) for line in lines] == [(1, 3), (2, 6), (3, 9)]
    for line in lines:
        assert {"seconds", "learning_rate", "train_loss", "train_dice", "val_loss", "val_dice"} <= set(line)


def test_the_best_weights_are_kept_when_the_score_is_better_and_only_then(ellipse_cache: Cache, tmp_path: Path) -> None:
    bench = Bench(ellipse_cache, tmp_path / "run", change(epochs=6))
    bench.fit()
    better, best = [], -1.0
    for line in bench.metrics():
        if line["val_dice"] > best:
            best = line["val_dice"]
            better.append((line["epoch"], best))
    assert [(epoch, figures.dice) for epoch, figures in bench.best] == better
    assert (bench.learner.position.best_epoch, bench.learner.position.best_dice) == better[-1]


def test_progress_is_shown_after_each_batch(ellipse_cache: Cache, tmp_path: Path) -> None:
    bench = Bench(ellipse_cache, tmp_path / "run", SETTINGS)
    bench.fit()
    assert [status.epoch for status in bench.shown] == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert [status.progress for status in bench.shown] == pytest.approx([step / 9 for step in range(9)])


def test_the_first_share_of_a_run_learns_at_half_size(ellipse_cache: Cache, tmp_path: Path) -> None:
    bench = Bench(ellipse_cache, tmp_path / "run", change(small_first=0.5, size=96, epochs=3, augment=False))
    widths: list[int] = []

    def note_width(network: nn.Module, arguments: tuple[torch.Tensor]) -> None:
        if network.training:
            (images,) = arguments
            differs = (images[0, :, :, 1:] != images[0, :, :, :-1]).any(0).any(0)  # padding repeats the last column
            widths.append(1 + int(differs.sum()))

    bench.learner.network.register_forward_pre_hook(note_width)
    bench.fit()
    assert widths == [16] * 5 + [32] * 4


def test_gradients_of_several_batches_equal_those_of_a_large_one(ellipse_cache: Cache, tmp_path: Path) -> None:
    plain = change(loss="bce", norm="none", augment=False, clip_norm=0.0, epochs=1)
    gradients = []
    for batch_size, accumulate in ((2, 3), (6, 1)):
        settings = dataclasses.replace(plain, batch_size=batch_size, accumulate=accumulate)
        bench = Bench(ellipse_cache, tmp_path / "run", settings, train=range(6))
        saver = build_saver(bench.learner, bench.run, Clock(0))
        assert train_epoch(bench.learner, bench.train, len(bench.order), bench.run, Clock(0), saver) == "whole"
        assert bench.learner.position.step == 1
        gradients.append([parameter.grad for parameter in bench.learner.network.parameters()])
    torch.testing.assert_close(*gradients, atol=1e-7, rtol=1e-4)


def test_the_learning_rate_follows_the_schedule(ellipse_cache: Cache, tmp_path: Path) -> None:
    bench = Bench(ellipse_cache, tmp_path / "run", SETTINGS)
    bench.fit()
    expected = [learning_rate_at(SETTINGS, (3 * epoch - 1) / 9, epoch - 1 / 3) for epoch in (1, 2, 3)]
    assert [line["learning_rate"] for line in bench.metrics()] == pytest.approx(expected)


def test_every_epoch_learns_the_statistics_of_its_batches(ellipse_cache: Cache, tmp_path: Path) -> None:
    bench = Bench(ellipse_cache, tmp_path / "run", change(ema=0.0))
    bench.fit()
    assert bench.learner.network.state_dict()["stem.1.num_batches_tracked"] == 9


def test_a_last_step_of_fewer_batches_is_still_made(ellipse_cache: Cache, tmp_path: Path) -> None:
    bench = Bench(ellipse_cache, tmp_path / "run", change(accumulate=2, epochs=2))
    bench.fit()
    assert [line["step"] for line in bench.metrics()] == [2, 4]


@pytest.mark.parametrize("clip_norm", [1e-3, 0.0])
def test_gradients_are_clipped_where_that_is_asked(clip_norm: float, ellipse_cache: Cache, tmp_path: Path) -> None:
    bench = Bench(ellipse_cache, tmp_path / "run", change(clip_norm=clip_norm, epochs=1))
    bench.fit()
    squares = [float(p.grad.square().sum()) for p in bench.learner.network.parameters() if p.grad is not None]
    norm = float(np.sqrt(sum(squares)))
    assert (norm == pytest.approx(1e-3, rel=1e-2)) if clip_norm else (norm > 1e-2)


def test_the_averaged_weights_are_the_ones_validated(ellipse_cache: Cache, tmp_path: Path) -> None:
    bench = Bench(ellipse_cache, tmp_path / "run", SETTINGS)
    bench.fit()
    reported = bench.metrics()[-1]["val_loss"]
    assert reported == figures_of(bench.validate(bench.learner.kept())).loss
    assert reported != figures_of(bench.validate()).loss


def test_every_step_is_averaged(ellipse_cache: Cache, tmp_path: Path) -> None:
    bench = Bench(ellipse_cache, tmp_path / "run", SETTINGS)
    bench.fit()
    assert bench.learner.average is not None
    assert bench.learner.average.n_averaged == bench.learner.position.step == 9


def test_validation_learns_nothing(ellipse_cache: Cache, tmp_path: Path) -> None:
    bench = Bench(ellipse_cache, tmp_path / "run", SETTINGS)
    before = {name: tensor.clone() for name, tensor in bench.learner.network.state_dict().items()}
    figures = figures_of(bench.validate())
    torch.testing.assert_close(bench.learner.network.state_dict(), before, atol=0, rtol=0)
    again = figures_of(bench.validate())
    assert figures == dataclasses.replace(again, images_per_second=figures.images_per_second)


@pytest.mark.parametrize("ema", [0.0, 0.5])
def test_pretrained_layers_learn_only_after_their_share_of_the_run(
    ema: float, ellipse_cache: Cache, tmp_path: Path
) -> None:
    bench = Bench(ellipse_cache, tmp_path / "run", change(freeze=0.5, epochs=4, ema=ema))
    network = bench.learner.network
    bench.learner.pretrained = pretrained_layers(network)
    first = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    changed: list[set[str]] = []

    def note_what_changed(_: Status) -> None:
        now = network.state_dict()
        changed.append({name.partition(".")[0] for name in first if not torch.equal(first[name], now[name])})

    bench.run = dataclasses.replace(bench.run, show=note_what_changed)
    bench.fit()
    assert changed == [{"ups", "head"}] * 6 + [{"stem", "downs", "ups", "head"}] * 6


def test_a_run_stopped_while_layers_are_held_goes_on_as_if_it_had_not(ellipse_cache: Cache, tmp_path: Path) -> None:
    benches = [Bench(ellipse_cache, tmp_path / name, change(freeze=0.6)) for name in ("whole", "parts", "parts")]
    for bench in benches:
        bench.learner.pretrained = pretrained_layers(bench.learner.network)
    whole, first, second = benches
    assert whole.fit()
    first.stop = lambda: len(first.shown) >= 4
    assert not first.fit()
    resume(second)
    assert second.fit()
    torch.testing.assert_close(numbers(second.learner), numbers(whole.learner), atol=0, rtol=0)


def test_the_loss_weighs_classes_as_the_run_says(ellipse_cache: Cache, tmp_path: Path) -> None:
    bench = Bench(ellipse_cache, tmp_path / "run", change(loss="ce"))
    plain = figures_of(bench.validate()).loss
    bench.run = dataclasses.replace(bench.run, class_weights=(0.0, 1.0))
    one_sided = figures_of(bench.validate()).loss
    batch = next(iter(bench.val))
    with torch.inference_mode():
        logits = bench.learner.network(batch.images)
    bits = F.binary_cross_entropy_with_logits(logits, batch.targets, reduction="none")
    assert one_sided == pytest.approx(float((bits * batch.targets).sum() / batch.targets.sum()), rel=1e-4)
    assert plain == pytest.approx(float((bits * batch.weights).sum() / batch.weights.sum()), rel=1e-4)


def test_every_line_of_metrics_is_handed_on(ellipse_cache: Cache, tmp_path: Path) -> None:
    bench = Bench(ellipse_cache, tmp_path / "run", SETTINGS)
    lines: list[dict[str, float]] = []
    bench.run = dataclasses.replace(bench.run, record=lines.append)
    bench.fit()
    assert lines == bench.metrics()


# --- The end


def test_patience_goes_by_the_median_of_three_scores(ellipse_cache: Cache, tmp_path: Path) -> None:
    bench = Bench(
        ellipse_cache,
        tmp_path / "run",
        change(epochs=12, patience=1, learning_rate=3e-2, ema=0.5, norm="batch", batch_size=2, seed=2),
    )
    bench.fit()
    scores = [line["val_dice"] for line in bench.metrics()]
    medians = [float(np.median(scores[index - 2 : index + 1])) for index in range(2, len(scores))]
    worse = [index for index in range(1, len(medians)) if medians[index] <= max(medians[:index])]
    assert 3 < len(scores) == worse[0] + 3 < 12


@pytest.mark.parametrize("phase", ["small_first", "freeze"])
def test_patience_begins_when_a_run_learns_as_it_will(phase: str, ellipse_cache: Cache, tmp_path: Path) -> None:
    settings = change(
        learning_rate=1e-12, weight_decay=0.0, norm="none", epochs=20, patience=2, ema=0.0, **{phase: 0.5}
    )
    bench = Bench(ellipse_cache, tmp_path / "run", settings)
    assert bench.fit()
    # The eleventh validation is the first that counts, and the third of those the first with a median.
    assert bench.learner.position.epoch == 15


@pytest.mark.parametrize(("small_first", "timed"), [(0.0, 11), (0.5, 6)])
def test_speed_is_that_of_whole_pictures_and_of_all_batches_but_the_first(
    small_first: float, timed: int, ellipse_cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[float] = []
    monkeypatch.setattr(Health, "note_times", lambda _, waiting, computing: noted.append(waiting + computing))
    bench = Bench(ellipse_cache, tmp_path / "run", change(epochs=4, batch_size=3, small_first=small_first))
    assert bench.fit()
    assert len(bench.train) * 4 == 12
    assert len(noted) == timed


def test_one_lucky_validation_does_not_use_patience_up() -> None:
    position = Position()
    waits = []
    for score in (0.2, 0.9, 0.3, 0.4, 0.5, 0.6):  # the second was luck
        _count_patience(position, score)
        waits.append(position.validations_since_best)
    assert waits == [0, 0, 0, 0, 1, 0]
    assert position.recent == [0.4, 0.5, 0.6]


def test_without_any_foreground_the_loss_chooses_the_weights(ellipse_cache: Cache, tmp_path: Path) -> None:
    # The pictures lie nowhere, so that they are read again, with other masks.
    nowhere = tuple(
        dataclasses.replace(entry, path=None, facts=dataclasses.replace(entry.facts, class_pixels=(48 * 64, 0)))
        for entry in ellipse_cache.entries
    )
    empty = dataclasses.replace(
        ellipse_cache, entries=nowhere, read=lambda pair: (read_image(pair.image), np.zeros((48, 64), np.uint8))
    )
    bench = Bench(empty, tmp_path / "run", change(epochs=4, loss="ce"))
    bench.fit()
    assert bench.learner.position.best_epoch == 4
    assert -1 < bench.learner.position.best_dice < 0


def test_patience_stops_a_run_that_gets_no_better(ellipse_cache: Cache, tmp_path: Path) -> None:
    settings = change(learning_rate=1e-12, weight_decay=0.0, norm="none", epochs=50, patience=2, ema=0.0)
    bench = Bench(ellipse_cache, tmp_path / "run", settings)
    assert bench.fit()
    assert (bench.learner.position.best_epoch, bench.learner.position.epoch) == (1, 5)


def test_a_run_ends_when_its_seconds_do(ellipse_cache: Cache, tmp_path: Path) -> None:
    bench = Bench(ellipse_cache, tmp_path / "run", change(epochs=None), seconds=0.6)
    assert bench.fit()
    assert bench.learner.position.seconds >= 0.6
    assert "val_dice" in bench.metrics()[-1]
    assert bench.run.state_path.is_file()


def test_seconds_end_a_run_in_the_middle_of_an_epoch(ellipse_cache: Cache, tmp_path: Path) -> None:
    bench = Bench(ellipse_cache, tmp_path / "run", change(epochs=None), seconds=1e-6)
    assert bench.fit()
    assert (bench.learner.position.epoch, bench.learner.position.batch, bench.learner.position.step) == (0, 1, 1)
    assert [(line["epoch"], line["step"]) for line in bench.metrics()] == [(1, 1)]
    assert bench.metrics()[0]["learning_rate"] > 0


@pytest.mark.parametrize(
    ("length", "expected", "validated"),
    # A step takes a second, an epoch nine; what takes 0.4 seconds is overdue after four.
    [(18, 0.0, [9, 18]), (18, 0.4, [4, 8, 9, 13, 17, 18]), (95, 0.4, [*range(9, 95, 9), 95])],
    ids=["unknown", "overdue", "short epochs"],
)
def test_an_epoch_longer_than_validations_lie_apart_is_validated_in_between(
    length: int, expected: float, validated: list[int], ellipse_cache: Cache, tmp_path: Path
) -> None:
    plain, bench = (
        Bench(ellipse_cache, tmp_path / name, change(epochs=None, batch_size=1), seconds=length)
        for name in ("plain", "run")
    )
    for one, seconds in ((plain, 0.0), (bench, expected)):
        one.run = dataclasses.replace(one.run, now=_steps_of(one), validation_seconds=seconds)
        assert one.fit()
    assert [line["step"] for line in bench.metrics() if "val_dice" in line] == validated
    torch.testing.assert_close(numbers(bench.learner), numbers(plain.learner), atol=0, rtol=0)


def test_a_save_counts_in_the_share_of_time_that_validations_may_take(
    ellipse_cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(ellipse_cache, tmp_path / "run", change(epochs=None, batch_size=1), seconds=60)
    _make_saves_take(0.9, bench, monkeypatch)
    assert bench.fit()
    # An epoch takes nine seconds, and 0.9 of saving ask for eighteen.
    assert [line["step"] for line in bench.metrics() if "val_dice" in line][:3] == [9, 27, 45]


def test_an_epoch_that_is_interrupted_is_validated_however_long_saving_takes(
    ellipse_cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(ellipse_cache, tmp_path / "run", change(epochs=None, batch_size=1), seconds=30)
    bench.run = dataclasses.replace(bench.run, validation_seconds=0.4)
    _make_saves_take(1.0, bench, monkeypatch)
    assert bench.fit()
    interrupted = [line for line in bench.metrics() if line["step"] % 9]
    assert len(interrupted) > 3
    assert all("val_dice" in line for line in interrupted)


def _make_saves_take(seconds: float, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock by which a step takes a second and nothing else any time."""
    lost = 0.0

    def save_slowly(path: Path, learner: Learner) -> None:
        nonlocal lost
        save_state(path, learner)
        lost += seconds

    monkeypatch.setattr("maskwright.training.saving.save_state", save_slowly)
    bench.run = dataclasses.replace(bench.run, now=lambda: bench.learner.position.step + lost)


def _steps_of(bench: Bench) -> Callable[[], float]:
    return lambda: float(bench.learner.position.step)


@pytest.mark.parametrize(
    ("position", "finished"),
    [
        (Position(epoch=2), False),
        (Position(epoch=3), True),
        (Position(epoch=1, seconds=60.0), True),
        (Position(epoch=2, validations_since_best=1), True),
    ],
)
def test_epochs_seconds_and_patience_end_a_run(
    position: Position, finished: bool, ellipse_cache: Cache, tmp_path: Path
) -> None:
    bench = Bench(ellipse_cache, tmp_path / "run", change(patience=1), seconds=60.0)
    bench.learner.position = position
    assert is_over(bench.learner, bench.run) is finished
    assert not is_finished(bench.learner, bench.run)  # before what was learnt last has been validated
    position.validated_step = position.step
    assert is_finished(bench.learner, bench.run) is finished


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("stop_at", [1, 3, 4])
def test_a_run_that_was_stopped_and_continued_equals_one_that_was_not(
    stop_at: int, accumulate: int, ellipse_cache: Cache, tmp_path: Path
) -> None:
    settings = change(accumulate=accumulate, small_first=0.4)
    whole = Bench(ellipse_cache, tmp_path / "whole", settings)
    assert whole.fit()
    first, second = (Bench(ellipse_cache, tmp_path / "parts", settings) for _ in range(2))
    first.stop = lambda: len(first.shown) >= stop_at  # with accumulation, in the middle of a step
    assert not first.fit()
    assert stop_at <= len(first.shown) <= stop_at + 1
    resume(second)
    assert second.fit()
    assert_same(second, whole)


def test_an_epoch_of_a_single_step_can_be_stopped(ellipse_cache: Cache, tmp_path: Path) -> None:
    bench = Bench(ellipse_cache, tmp_path / "run", change(batch_size=9))
    bench.stop = lambda: bench.learner.position.step >= 1
    assert not bench.fit()
    assert bench.learner.position.step == 1
    assert bench.run.state_path.is_file()


@pytest.mark.parametrize("asked", ["in the last step", "in the last validation"])
def test_a_stop_before_the_last_score_leaves_that_to_the_resumed_run(
    asked: str, ellipse_cache: Cache, tmp_path: Path
) -> None:
    whole = Bench(ellipse_cache, tmp_path / "whole", SETTINGS)
    assert whole.fit()
    first, second = (Bench(ellipse_cache, tmp_path / "parts", SETTINGS) for _ in range(2))
    first.stop = lambda: first.learner.position.epoch + (asked == "in the last step") >= 3 and len(first.shown) == 9
    assert not first.fit()
    assert len(first.metrics()) == 2
    resume(second)
    assert second.fit()
    assert second.shown == []
    assert_same(second, whole)


@pytest.mark.parametrize("during", ["a step", "a validation"])
def test_a_run_that_others_left_is_saved_as_it_was_before_that_and_goes_on_as_if_they_had_not(
    during: str, ellipse_cache: Cache, tmp_path: Path
) -> None:
    settings = change(save_every=100)  # until then, nothing has been saved
    whole = Bench(ellipse_cache, tmp_path / "whole", settings)
    assert whole.fit()
    first, second = (Bench(ellipse_cache, tmp_path / "parts", settings) for _ in range(2))

    def notice(network: nn.Module, _inputs: object, _logits: torch.Tensor) -> None:
        if network.training and during == "a step" and first.learner.position.step == 1:
            raise OthersEndedError
        if not network.training and during == "a validation":
            raise OthersEndedError

    for network in (first.learner.network, first.learner.kept()):
        network.register_forward_hook(notice)
    with pytest.raises(OthersEndedError):
        first.fit()
    resume(second)
    assert second.fit()
    assert len(second.shown) == (8 if during == "a step" else 6)
    assert_same(second, whole)


# --- Starting from a model


class Tuned(Bench):
    """A run that starts from the weights of a finished one, which has not seen the pictures of validation."""

    def __init__(self, cache: Cache, folder: Path, first: Bench, **changed: object) -> None:
        super().__init__(cache, folder, change(depth=2, ema=0.0, **changed))
        self.learner.network.load_state_dict(first.learner.network.state_dict())
        self.run = dataclasses.replace(self.run, scores_start=True)


@pytest.fixture
def finished(ellipse_cache: Cache, tmp_path: Path) -> Bench:
    bench = Bench(ellipse_cache, tmp_path / "first", change(epochs=10, depth=2, ema=0.0, augment=False))
    assert bench.fit()
    return bench


def test_a_model_to_start_from_is_scored_before_the_first_step(
    finished: Bench, ellipse_cache: Cache, tmp_path: Path
) -> None:
    bench = Tuned(ellipse_cache, tmp_path / "run", finished)
    bench.fit()
    start, *later = bench.metrics()
    assert (start["epoch"], start["step"]) == (0, 0)
    assert start["learning_rate"] == learning_rate_at(bench.settings, 0.0, 0.0)
    assert not {"train_loss", "train_dice"} & start.keys()
    assert start["val_dice"] == finished.metrics()[-1]["val_dice"]
    assert [line["step"] for line in later] == [3, 6, 9]


def test_a_model_that_gets_worse_by_learning_on_is_kept_as_it_was_and_that_is_said(
    finished: Bench, ellipse_cache: Cache, tmp_path: Path
) -> None:
    bench = Tuned(ellipse_cache, tmp_path / "run", finished, learning_rate=0.3)
    bench.fit()
    start, *later = bench.metrics()
    assert max(line["val_dice"] for line in later) < start["val_dice"]
    assert [(epoch, figures.dice) for epoch, figures in bench.best] == [(0, start["val_dice"])]
    assert said(bench) == ["no-better-than-start"]
    assert f"({start['val_dice']:.3f})" in bench.told[-1].sentence


def test_a_model_that_gets_better_by_learning_on_is_replaced(
    finished: Bench, ellipse_cache: Cache, tmp_path: Path
) -> None:
    bench = Tuned(ellipse_cache, tmp_path / "run", finished, epochs=6)
    with torch.no_grad():
        for parameter in bench.learner.network.parameters():
            parameter.mul_(0.7)
    bench.fit()
    assert bench.best[0][0] == 0
    assert bench.learner.position.best_epoch > 0
    assert "no-better-than-start" not in said(bench)


@pytest.mark.parametrize("seconds", [1e-6, 100.0])
def test_scoring_the_start_takes_nothing_of_the_warm_up_and_leaves_time_for_a_step(
    seconds: float, finished: Bench, ellipse_cache: Cache, tmp_path: Path
) -> None:
    bench = Tuned(ellipse_cache, tmp_path / "run", finished, epochs=None, warmup=0.5)
    now = iter(range(10_000))  # each look at the clock takes a second
    bench.run = dataclasses.replace(bench.run, length=Length(None, seconds), now=lambda: float(next(now)))
    rates: list[float] = []
    optimizer = bench.learner.optimizer
    optimizer.register_step_pre_hook(lambda *_: rates.append(optimizer.param_groups[0]["lr"]))
    assert bench.fit()
    assert rates[0] == learning_rate_at(bench.settings, 0.0, 0.0)
    assert bench.learner.position.step >= 1
    assert bench.learner.position.paced_seconds > 0


def test_a_run_stopped_while_its_start_is_scored_scores_it_when_it_is_resumed(
    finished: Bench, ellipse_cache: Cache, tmp_path: Path
) -> None:
    whole = Tuned(ellipse_cache, tmp_path / "whole", finished)
    assert whole.fit()
    first, second = (Tuned(ellipse_cache, tmp_path / "parts", finished) for _ in range(2))
    first.stop = lambda: True
    assert not first.fit()
    assert first.learner.lines == []
    resume(second)
    assert second.fit()
    assert_same(second, whole)


def test_a_resumed_run_does_not_score_its_start_again(finished: Bench, ellipse_cache: Cache, tmp_path: Path) -> None:
    first, second = (Tuned(ellipse_cache, tmp_path / "run", finished, learning_rate=0.3) for _ in range(2))
    first.stop = lambda: first.learner.position.step == 1
    assert not first.fit()
    resume(second)
    assert second.fit()
    assert [line["step"] for line in second.metrics()] == [0, 3, 6, 9]
    assert said(second) == ["no-better-than-start"]


def test_a_rank_that_is_not_the_writer_writes_nothing(
    ellipse_cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranks._company, "rank", 1)
    bench = Bench(ellipse_cache, tmp_path / "run", change(epochs=1, save_every=1))
    assert bench.fit()
    assert bench.best == []
    assert list((tmp_path / "run").iterdir()) == []


def test_a_loss_that_is_no_number_ends_the_run_with_a_sentence(ellipse_cache: Cache, tmp_path: Path) -> None:
    bench = Bench(ellipse_cache, tmp_path / "run", SETTINGS)
    head = bench.learner.network.head
    assert isinstance(head, nn.Conv2d)
    assert head.bias is not None
    nn.init.constant_(head.bias, float("nan"))
    with pytest.raises(InputError, match=r"epoch 1, step 0, .*--learning-rate"):
        bench.fit()
    assert not bench.run.state_path.exists()


# --- Health


def poison(bench: Bench, step: int) -> None:
    """Let the network's answers become no numbers at one step, until the run goes back."""

    def spoil(_network: nn.Module, _inputs: object, logits: torch.Tensor) -> torch.Tensor:
        position = bench.learner.position
        is_spoilt = position.step == step and position.rate_factor == 1
        return logits * math.nan if is_spoilt and torch.is_grad_enabled() else logits

    bench.learner.network.register_forward_hook(spoil)


def test_a_diverged_run_goes_on_from_its_last_good_weights_with_half_the_rate(
    ellipse_cache: Cache, tmp_path: Path
) -> None:
    bench = Bench(ellipse_cache, tmp_path / "run", change(epochs=6, schedule="constant", warmup=0.0))
    poison(bench, 10)
    assert bench.fit()
    assert [line["learning_rate"] for line in bench.metrics()] == pytest.approx([1e-2] * 3 + [5e-3] * 3)
    assert [line["step"] for line in bench.metrics()] == [3, 6, 9, 11, 14, 17]
    (told,) = findings(bench)
    assert "no longer numbers at epoch 4, step 10" in told.sentence
    assert "--learning-rate 0.005" in told.sentence
    assert bench.metrics()[-1]["val_loss"] < bench.metrics()[0]["val_loss"]


def blind(bench: Bench, until: Callable[[], bool]) -> None:
    """Let validations after the first epoch meet no numbers until something was done about it."""

    def spoil(network: nn.Module, _inputs: object, logits: torch.Tensor) -> torch.Tensor:
        return (
            logits * math.nan if not network.training and bench.learner.position.epoch > 1 and not until() else logits
        )

    bench.learner.kept().register_forward_hook(spoil)


def test_a_validation_without_numbers_goes_back_too(ellipse_cache: Cache, tmp_path: Path) -> None:
    bench = Bench(ellipse_cache, tmp_path / "run", change(schedule="constant", warmup=0.0))
    blind(bench, until=lambda: bench.learner.position.rate_factor < 1)
    assert bench.fit()
    assert said(bench) == ["diverged"]
    assert "no longer numbers at epoch 3, step 6" in findings(bench)[0].sentence
    assert [line["learning_rate"] for line in bench.metrics()] == pytest.approx([1e-2, 1e-2, 5e-3])
    assert all(math.isfinite(line["val_loss"]) for line in bench.metrics())


def test_a_validation_without_numbers_gives_16_bit_up(ellipse_cache: Cache, tmp_path: Path) -> None:
    bench = Bench(ellipse_cache, tmp_path / "run", SETTINGS, precision="bf16")
    blind(bench, until=lambda: bench.learner.precision == "fp32")
    assert bench.fit()
    assert said(bench) == ["fp32-instead"]
    assert bench.learner.position.rate_factor == 1
    assert all(math.isfinite(line["val_loss"]) for line in bench.metrics())


def test_validations_that_never_have_numbers_end_the_run_with_a_sentence(ellipse_cache: Cache, tmp_path: Path) -> None:
    bench = Bench(ellipse_cache, tmp_path / "run", SETTINGS)
    blind(bench, until=lambda: False)
    with pytest.raises(InputError, match="after 2 times half the learning rate"):
        bench.fit()


def test_going_back_takes_the_weights_of_the_last_validation(ellipse_cache: Cache, tmp_path: Path) -> None:
    bench = Bench(ellipse_cache, tmp_path / "run", SETTINGS)
    bench.fit()
    good = {name: tensor.clone() for name, tensor in bench.learner.kept().state_dict().items()}
    with torch.no_grad():
        for parameter in [*bench.learner.network.parameters(), *bench.learner.kept().parameters()]:
            parameter.fill_(math.nan)
    go_back(bench.learner)
    for network in (bench.learner.network, bench.learner.kept()):
        torch.testing.assert_close(network.state_dict(), good, atol=0, rtol=0)
    assert not bench.learner.optimizer.state
    assert bench.learner.position.rate_factor == 0.5


@pytest.mark.parametrize("stop_at", [10, 11])  # before and after the step that is spoilt
def test_a_run_stopped_around_its_recovery_equals_one_that_was_not(
    stop_at: int, ellipse_cache: Cache, tmp_path: Path
) -> None:
    settings = change(epochs=5)
    whole = Bench(ellipse_cache, tmp_path / "whole", settings)
    poison(whole, 10)
    assert whole.fit()
    first, second = (Bench(ellipse_cache, tmp_path / "parts", settings) for _ in range(2))
    for bench in (first, second):
        poison(bench, 10)
    first.stop = lambda: len(first.shown) >= stop_at
    assert not first.fit()
    resume(second)
    assert second.fit()
    torch.testing.assert_close(numbers(second.learner), numbers(whole.learner), atol=0, rtol=0)
    found = [
        {name: value for name, value in health_of(bench).items() if name != "seconds_a_step"}
        for bench in (second, whole)
    ]
    assert found[0] == found[1]


def test_a_rate_beyond_all_reason_is_halved_twice_and_then_given_up(ellipse_cache: Cache, tmp_path: Path) -> None:
    settings = change(learning_rate=1e3, warmup=0.0, loss="ce", epochs=30, norm="none", optimizer="sgd")
    bench = Bench(ellipse_cache, tmp_path / "run", settings)
    with pytest.raises(InputError, match=r"after 2 times half the learning rate: .*--find-rate") as raised:
        bench.fit()
    assert said(bench) == ["diverged", "diverged"]
    assert health_of(bench)["findings"][-1]["sentence"] == str(raised.value)
    assert health_of(bench)["recoveries"] == 2


def test_a_rate_that_moves_nothing_is_told(ellipse_cache: Cache, tmp_path: Path) -> None:
    settings = change(learning_rate=1e-9, epochs=12, norm="none", augment=False)
    bench = Bench(ellipse_cache, tmp_path / "run", settings)
    assert bench.fit()
    assert said(bench) == ["rate-too-low"]
    assert "--learning-rate 1e-09 is too low" in findings(bench)[0].sentence


def test_a_frozen_network_is_told(ellipse_cache: Cache, tmp_path: Path) -> None:
    bench = Bench(ellipse_cache, tmp_path / "run", change(epochs=40, norm="none", augment=False, batch_size=9))
    for name, parameter in bench.learner.network.named_parameters():
        parameter.requires_grad_(name == "head.bias")
    bench.learner.optimizer.param_groups[1]["params"] = []
    assert bench.fit()
    assert bench.learner.health.largest_ratio == 0
    assert said(bench) == ["constant-loss"]
    assert "the network is frozen" in findings(bench)[0].sentence


def test_masks_that_belong_to_other_pictures_are_no_better_than_chance(ellipse_cache: Cache, tmp_path: Path) -> None:
    def square(rng: np.random.Generator) -> NDArray[np.uint8]:
        mask = np.zeros((48, 64), np.uint8)
        top, left = rng.integers(0, 24), rng.integers(0, 40)
        mask[top : top + 24, left : left + 24] = 1
        return mask

    shuffled = with_drawn_masks(ellipse_cache, square)
    bench = Bench(shuffled, tmp_path / "run", change(epochs=18, batch_size=1, learning_rate=3e-3))
    chance = chance_dice(Samples(shuffled, SETTINGS, augment=False), TRAIN, VAL, (1,), seed=0)
    bench.run = dataclasses.replace(
        bench.run, circumstances=dataclasses.replace(bench.run.circumstances, chance_dice=chance)
    )
    assert bench.fit()
    assert said(bench) == ["no-better-than-chance"]
    assert "the masks may not belong to the pictures" in findings(bench)[0].sentence


def test_specks_that_cross_entropy_ignores_are_a_collapse(ellipse_cache: Cache, tmp_path: Path) -> None:
    def speck(rng: np.random.Generator) -> NDArray[np.uint8]:
        mask = np.zeros((48, 64), np.uint8)
        top, left = rng.integers(0, 40), rng.integers(0, 56)
        mask[top : top + 6, left : left + 6] = 1
        return mask

    bench = Bench(with_drawn_masks(ellipse_cache, speck), tmp_path / "run", change(epochs=18, batch_size=1, loss="ce"))
    assert bench.fit()
    assert said(bench) == ["collapsed"]
    assert "--loss ce+dice" in findings(bench)[0].sentence


def test_a_healthy_run_is_told_nothing(ellipse_cache: Cache, tmp_path: Path) -> None:
    bench = Bench(ellipse_cache, tmp_path / "run", change(epochs=36))
    assert bench.fit()
    assert said(bench) == []


def test_a_validation_counts_the_pixels_of_each_class(ellipse_cache: Cache, tmp_path: Path) -> None:
    bench = Bench(ellipse_cache, tmp_path / "run", SETTINGS)
    tally = bench.validate()
    assert sum(tally.predicted) == sum(tally.true) == 3 * 24 * 32  # the padding left out
    share = sum(ellipse_cache.foreground[index] for index in VAL) / 3
    assert tally.true[1] / sum(tally.true) == pytest.approx(share, abs=0.02)


# --- Memory

# What is stored least by; from there on, memory that runs out means fewer pictures.
LEANEST: Storage = "lean+checkpointed"


def run_out_of_memory(bench: Bench, *, from_step: int, above: int, validating: bool = False) -> None:
    """From some step on, no more than so many pictures fit; the second part of a step is the one to fail."""
    parts: list[int] = []

    def watch(network: nn.Module, inputs: tuple[torch.Tensor], _logits: torch.Tensor) -> None:
        if bench.learner.position.step < from_step or network.training == validating:
            return
        parts.append(len(inputs[0]))
        if len(inputs[0]) > above:
            raise MemoryError

    for network in (bench.learner.network, bench.learner.kept()):
        network.register_forward_hook(watch)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_run_short_of_memory_is_the_run_in_smaller_parts_from_that_step_on(
    accumulate: int, ellipse_cache: Cache, tmp_path: Path
) -> None:
    settings = change(batch_size=3 if accumulate == 1 else 2, accumulate=accumulate, epochs=3, storage=LEANEST)
    short, small = (Bench(ellipse_cache, tmp_path / name, settings) for name in ("short", "small"))
    from_step = 4 if accumulate == 1 else 3
    run_out_of_memory(short, from_step=from_step, above=2 if accumulate == 1 else 1)

    def shrink_in_time(_: Status) -> None:
        if small.learner.position.step == from_step:
            small.learner.position.micro_batch = short.learner.position.micro_batch

    small.run = dataclasses.replace(small.run, show=shrink_in_time)
    assert short.fit()
    assert small.fit()
    torch.testing.assert_close(numbers(short.learner), numbers(small.learner), atol=0, rtol=0)
    assert timeless(short) == timeless(small)
    assert said(short) == ["out-of-memory"]


def test_memory_that_runs_out_late_in_a_step_begins_the_whole_step_again(ellipse_cache: Cache, tmp_path: Path) -> None:
    settings = change(batch_size=2, accumulate=2, epochs=1, storage=LEANEST)
    bench, sound = (Bench(ellipse_cache, tmp_path / name, settings) for name in ("short", "sound"))
    sound.learner.position.micro_batch = 1
    calls: list[int] = []

    def fail_in_the_second_batch(_network: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        calls.append(len(inputs[0]))
        if calls == [2, 2]:
            raise MemoryError

    bench.learner.network.register_forward_pre_hook(fail_in_the_second_batch)
    assert bench.fit()
    assert sound.fit()
    assert calls == [2, 2] + [1] * 8
    torch.testing.assert_close(numbers(bench.learner), numbers(sound.learner), atol=0, rtol=0)
    assert timeless(bench) == timeless(sound)


def test_what_fits_is_remembered_by_the_state_and_told_by_the_files(ellipse_cache: Cache, tmp_path: Path) -> None:
    settings = change(epochs=4, storage=LEANEST)
    whole = Bench(ellipse_cache, tmp_path / "whole", settings)
    first, second = (Bench(ellipse_cache, tmp_path / "parts", settings) for _ in range(2))
    for bench in (whole, first):
        run_out_of_memory(bench, from_step=2, above=2)
    assert whole.fit()
    first.stop = lambda: len(first.shown) >= 5
    assert not first.fit()
    resume(second)
    assert second.fit()
    torch.testing.assert_close(numbers(second.learner), numbers(whole.learner), atol=0, rtol=0)
    assert (health_of(second)["micro_batch"], health_of(second)["precision"]) == (2, "fp32")
    assert [finding["name"] for finding in health_of(second)["findings"]] == ["out-of-memory"]


def test_a_run_whose_pictures_do_not_fit_one_by_one_is_saved_and_goes_on_elsewhere(
    ellipse_cache: Cache, tmp_path: Path
) -> None:
    first, second = (Bench(ellipse_cache, tmp_path / "run", SETTINGS) for _ in range(2))
    run_out_of_memory(first, from_step=4, above=0)
    with pytest.raises(DoesNotFitError, match=r"--size .*--resume"):
        first.fit()
    resume(second)
    assert (second.learner.position.step, second.learner.position.epoch, second.learner.position.batch) == (4, 1, 1)
    assert second.learner.position.storage == "lean+checkpointed"
    assert isinstance(second.learner.network.get_submodule("stem"), ForgetfulDoubleConv)
    assert second.fit()
    assert second.learner.position.step == 9


def test_a_validation_short_of_memory_looks_at_fewer_pictures(ellipse_cache: Cache, tmp_path: Path) -> None:
    settings = change(loss="ce", epochs=2)
    short, sound = (Bench(ellipse_cache, tmp_path / name, settings) for name in ("short", "sound"))
    run_out_of_memory(short, from_step=0, above=1, validating=True)
    assert short.fit()
    assert sound.fit()
    torch.testing.assert_close(short.learner.network.state_dict(), sound.learner.network.state_dict(), atol=0, rtol=0)
    for mine, other in zip(timeless(short), timeless(sound), strict=True):
        assert mine == pytest.approx(other, rel=1e-5)
    assert (short.learner.position.micro_batch, short.learner.position.val_micro_batch) == (None, 1)
    assert said(short) == ["out-of-memory"]


# --- 16 bit


def spoil_16_bit(bench: Bench, step: int) -> None:
    """Let answers in 16 bit become no numbers from one step on."""

    def spoil(_network: nn.Module, _inputs: object, logits: torch.Tensor) -> torch.Tensor:
        return logits * math.nan if logits.dtype == torch.bfloat16 and bench.learner.position.step >= step else logits

    bench.learner.network.register_forward_hook(spoil)


def test_numbers_that_are_none_in_16_bit_end_16_bit_and_not_the_learning_rate(
    ellipse_cache: Cache, tmp_path: Path
) -> None:
    settings = change(schedule="constant", warmup=0.0)
    bench = Bench(ellipse_cache, tmp_path / "run", settings, precision="bf16")
    spoil_16_bit(bench, 4)
    assert bench.fit()
    assert said(bench) == ["fp32-instead"]
    assert "in bf16 at epoch 2, step 4" in findings(bench)[0].sentence
    assert [line["learning_rate"] for line in bench.metrics()] == pytest.approx([1e-2] * 3)
    assert (bench.learner.precision, health_of(bench)["precision"]) == ("fp32", "fp32")
    assert health_of(bench)["recoveries"] == 0
    weights = [entry for entry in bench.learner.kept().parameters() if entry.ndim == 4 and min(entry.shape) > 1]
    assert all(entry.is_contiguous() for entry in weights)
    assert bench.metrics()[-1]["train_loss"] < bench.metrics()[0]["train_loss"]


@pytest.mark.parametrize("stop_at", [4, 5])  # before and after 16 bit is given up
def test_a_run_that_fell_back_to_fp32_stays_there_when_resumed(
    stop_at: int, ellipse_cache: Cache, tmp_path: Path
) -> None:
    whole = Bench(ellipse_cache, tmp_path / "whole", SETTINGS, precision="bf16")
    first, second = (Bench(ellipse_cache, tmp_path / "parts", SETTINGS, precision="bf16") for _ in range(2))
    for bench in (whole, first, second):
        spoil_16_bit(bench, 4)
    assert whole.fit()
    first.stop = lambda: len(first.shown) >= stop_at
    assert not first.fit()
    resume(second)
    assert second.learner.precision == ("bf16" if stop_at == 4 else "fp32")
    assert second.fit()
    torch.testing.assert_close(numbers(second.learner), numbers(whole.learner), atol=0, rtol=0)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_picture_of_no_numbers_is_survived(precision: ComputePrecision, ellipse_cache: Cache, tmp_path: Path) -> None:
    bench = Bench(ellipse_cache, tmp_path / "run", SETTINGS, precision=precision)

    def spoil(_network: nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        (images,) = inputs
        if bench.learner.position.step == 4 and not bench.told:
            images = images.clone()
            images[0, 0, 0, 0] = math.nan
        return (images,)

    bench.learner.network.register_forward_pre_hook(spoil)
    assert bench.fit()
    assert said(bench) == (["diverged"] if precision == "fp32" else ["fp32-instead"])
    assert all(bool(torch.isfinite(tensor).all()) for tensor in bench.learner.kept().state_dict().values())
    assert bench.metrics()[-1]["val_loss"] < bench.metrics()[0]["val_loss"]
