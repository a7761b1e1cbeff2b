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

from maskwright.config import Settings
from maskwright.data.cache import Cache
from maskwright.data.dataset import Batch, EpochBatches, InOrder, Samples, build_loader
from maskwright.data.input_format import read_image
from maskwright.errors import InputError
from maskwright.models.build import build_network
from maskwright.training.baseline import chance_dice
from maskwright.training.freezing import pretrained_layers
from maskwright.training.health import Circumstances, Finding
from maskwright.training.loop import (
    Clock,
    Figures,
    Run,
    Saver,
    Status,
    _count_patience,
    count,
    count_classes,
    dice_per_picture,
    figures_of,
    fit,
    is_finished,
    train_epoch,
    validate,
)
from maskwright.training.recovery import go_back
from maskwright.training.schedules import Length, learning_rate_at
from maskwright.training.state import Learner, Position, Tally, build_learner, read_state, restore
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
        self, cache: Cache, folder: Path, settings: Settings, *, seconds: float | None = None, train: range = TRAIN
    ) -> None:
        self.settings = settings
        torch.manual_seed(settings.seed)
        self.learner: Learner = build_learner(build_network(settings.architecture()), settings, precision="fp32")
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
            precision="fp32",
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

    def metrics(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.run.metrics_path.read_text().splitlines()]


def resume(bench: Bench) -> None:
    path = bench.run.state_path
    restore(bench.learner, read_state(path), path)


def timeless(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Metrics without what a clock decides."""
    return [
        {name: value for name, value in line.items() if name not in ("seconds", "images_per_second")} for line in lines
    ]


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
    position = bench.learner.position
    assert (position.best_step, position.best_dice) == (3 * better[-1][0], better[-1][1])


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
        saver = Saver(bench.learner, bench.run, Clock(0))
        assert train_epoch(bench.learner, bench.train, len(bench.order), bench.run, Clock(0), saver)
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
    assert reported == figures_of(validate(bench.learner.kept(), bench.val, bench.run)).loss
    assert reported != figures_of(validate(bench.learner.network, bench.val, bench.run)).loss


def test_every_step_is_averaged(ellipse_cache: Cache, tmp_path: Path) -> None:
    bench = Bench(ellipse_cache, tmp_path / "run", SETTINGS)
    bench.fit()
    assert bench.learner.average is not None
    assert bench.learner.average.n_averaged == bench.learner.position.step == 9


def test_validation_learns_nothing(ellipse_cache: Cache, tmp_path: Path) -> None:
    bench = Bench(ellipse_cache, tmp_path / "run", SETTINGS)
    before = {name: tensor.clone() for name, tensor in bench.learner.network.state_dict().items()}
    figures = figures_of(validate(bench.learner.network, bench.val, bench.run))
    torch.testing.assert_close(bench.learner.network.state_dict(), before, atol=0, rtol=0)
    assert figures == dataclasses.replace(
        figures_of(validate(bench.learner.network, bench.val, bench.run)), images_per_second=figures.images_per_second
    )


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
    plain, one_sided = (
        figures_of(
            validate(bench.learner.network, bench.val, dataclasses.replace(bench.run, class_weights=weights))
        ).loss
        for weights in ((), (0.0, 1.0))
    )
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
    assert len(scores) == (worse[0] + 3 if worse else 12)
    assert len(scores) > 3


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
    assert bench.learner.position.best_step == 12
    assert -1 < bench.learner.position.best_dice < 0


def test_patience_stops_a_run_that_gets_no_better(ellipse_cache: Cache, tmp_path: Path) -> None:
    settings = change(learning_rate=1e-12, weight_decay=0.0, norm="none", epochs=50, patience=2, ema=0.0)
    bench = Bench(ellipse_cache, tmp_path / "run", settings)
    assert bench.fit()
    assert (bench.learner.position.best_step, bench.learner.position.epoch) == (3, 5)


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
    torch.testing.assert_close(numbers(second.learner), numbers(whole.learner), atol=0, rtol=0)
    assert timeless(second.metrics()) == timeless(whole.metrics())


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
    assert timeless(second.metrics()) == timeless(whole.metrics())
    torch.testing.assert_close(numbers(second.learner), numbers(whole.learner), atol=0, rtol=0)


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
    bench = Bench(ellipse_cache, tmp_path / "run", change(epochs=15, norm="none", augment=False, batch_size=9))
    for name, parameter in bench.learner.network.named_parameters():
        parameter.requires_grad_(name == "head.bias")
    bench.learner.optimizer.param_groups[1]["params"] = []
    assert bench.fit()
    assert bench.learner.health.largest_ratio == 0


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
    tally = validate(bench.learner.network, bench.val, bench.run)
    assert sum(tally.predicted) == sum(tally.true) == 3 * 24 * 32  # the padding left out
    share = sum(ellipse_cache.foreground[index] for index in VAL) / 3
    assert tally.true[1] / sum(tally.true) == pytest.approx(share, abs=0.02)


def test_pixels_of_several_classes_are_counted_where_they_count() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, target = (torch.randn(2, 4, 5, 6, generator=generator) for _ in range(2))
    target = target.softmax(dim=1)
    weight = (torch.rand(2, 1, 5, 6, generator=generator) > 0.3).float()
    tally = Tally()
    for _ in range(2):
        count_classes(tally, logits, Batch(torch.zeros(2, 3, 5, 6), target, weight))
    called, counts = logits.numpy().argmax(1), weight.numpy()[:, 0] > 0
    assert tally.predicted == [2 * int((called[counts] == k).sum()) for k in range(4)]
    assert tally.true == pytest.approx([2 * float(target.numpy()[:, k][counts].sum()) for k in range(4)], rel=1e-5)


# --- Figures


@pytest.mark.parametrize("channels", [1, 4])
def test_dice_per_picture_equals_numpy(channels: int) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, channels, 6, 7, generator=generator)
    target = torch.rand(3, channels, 6, 7, generator=generator)
    weight = (torch.rand(3, 1, 6, 7, generator=generator) > 0.3).float()
    found = dice_per_picture(logits, target, weight, (0, 2))
    if channels == 1:
        pairs = [((logits[:, 0] > 0).numpy(), (target[:, 0] >= 0.5).numpy())]
    else:
        called, true = logits.numpy().argmax(1), target.numpy().argmax(1)
        pairs = [(called == k, true == k) for k in (0, 2)]
    assert found.shape == (3, len(pairs))
    for k, (called, true) in enumerate(pairs):
        for n in range(3):
            counts = weight[n, 0].numpy() > 0
            a, b = called[n][counts], true[n][counts]
            assert float(found[n, k]) == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()))


def test_dice_of_a_class_that_is_nowhere_is_no_number() -> None:
    nothing = torch.zeros(1, 1, 4, 4)
    assert dice_per_picture(nothing - 1, nothing, nothing + 1, (1,)).isnan().all()


def test_an_absent_class_does_not_count_in_the_mean() -> None:
    tally = Tally()
    target = torch.zeros(2, 1, 4, 4)
    target[0] = 1
    batch_logits = torch.cat([torch.ones(1, 1, 4, 4), -torch.ones(1, 1, 4, 4)])
    count(tally, 0.5, batch_logits, Batch(torch.zeros(2, 3, 4, 4), target, torch.ones(2, 1, 4, 4)), (1,))
    assert (tally.images, tally.scored) == (2, 1)
    assert figures_of(tally).dice == 1.0
    assert figures_of(tally).loss == 0.5


def test_an_empty_tally_has_no_figures() -> None:
    assert all(np.isnan(value) for value in dataclasses.astuple(figures_of(Tally())))
