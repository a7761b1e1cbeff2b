from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from maskwright.config import Settings
from maskwright.training.figures import Figures
from maskwright.training.health import Finding
from maskwright.training.saving import SAVE_SECONDS, SAVING_SHARE, Saver
from maskwright.training.state import build_learner, read_state

# Of a state on the network below, more than this is written.
LITTLE = 1000


class Bench:
    """A saver by a clock that only the test moves, and what it wrote besides the state."""

    def __init__(self, folder: Path, *, every: int = 0) -> None:
        self.learner = build_learner(nn.Conv2d(3, 8, 3), Settings(ema=0.0), precision="fp32")
        self.path = folder / "state.pth"
        self.now = 0.0
        self.told: list[Finding] = []
        self.best: list[tuple[float, Tensor]] = []
        self.steps_saved_before: list[int] = []
        self.saver = Saver(
            self.learner,
            self.path,
            every=every,
            seconds=lambda: self.now,
            keep_best=lambda figures, weights: self.keep(figures.dice, weights["bias"]),
            tell=self.told.append,
        )

    def keep(self, dice: float, bias: Tensor) -> None:
        self.steps_saved_before.append(self.saved_step())
        self.best.append((dice, bias.clone()))

    def learn(self, bias: float) -> None:
        """A step whose weights are known by their bias."""
        self.learner.position.step += 1
        nn.init.constant_(self.learner.network.get_parameter("bias"), bias)

    def saved_step(self) -> int:
        step: int = read_state(self.path)["position"]["step"]
        return step

    def kept(self) -> list[tuple[float, float]]:
        return [(dice, float(bias.flatten()[0])) for dice, bias in self.best]


def figures(dice: float) -> Figures:
    return Figures(loss=1 - dice, dice=dice, images_per_second=1.0)


def test_by_steps_a_save_is_due_after_so_many(tmp_path: Path) -> None:
    bench = Bench(tmp_path, every=3)
    due = []
    for _ in range(7):
        bench.learn(0.0)
        due.append(bench.saver.is_due())
        if due[-1]:
            bench.saver.save()
    assert due == [False, False, True, False, False, True, False]


def test_by_the_clock_a_save_is_due_now_and_then_but_never_for_much_of_the_time(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.now = SAVE_SECONDS
    assert not bench.saver.is_due()
    bench.now += 1
    assert bench.saver.is_due()

    def take_long(*_: object) -> None:
        bench.now += 60

    bench.saver.keep_best = take_long
    bench.saver.save(figures(0.5))
    bench.now += 60 / SAVING_SHARE - 60
    assert not bench.saver.is_due()
    bench.now += 1
    assert bench.saver.is_due()


def test_the_best_weights_are_written_after_the_state(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.learn(1.0)
    bench.saver.save(figures(0.5))
    bench.learn(2.0)
    bench.saver.save()
    assert bench.kept() == [(0.5, 1.0)]
    assert bench.steps_saved_before == [1]


def test_without_room_nothing_is_changed_and_it_is_said(tmp_path: Path, largest_file: Callable[[int], None]) -> None:
    bench = Bench(tmp_path)
    bench.saver.save()
    largest_file(LITTLE)
    bench.learn(1.0)
    bench.saver.try_to_save(figures(0.5))
    assert (bench.saved_step(), bench.best) == (0, [])
    assert [finding.name for finding in bench.told] == ["not-saved"]
    assert bench.told[0].sentence.startswith(f"{bench.path} cannot be written: File too large; it takes 0.0 MB, and ")
    with pytest.raises(OSError, match="it takes"):
        bench.saver.save()


def test_the_best_weights_wait_until_there_is_room(tmp_path: Path, largest_file: Callable[[int], None]) -> None:
    bench = Bench(tmp_path)
    bench.saver.save()
    largest_file(LITTLE)
    for bias, dice in ((1.0, 0.5), (2.0, 0.6)):
        bench.learn(bias)
        bench.saver.try_to_save(figures(dice))
    bench.learn(3.0)
    largest_file(10**9)
    bench.saver.save()
    bench.saver.save()
    assert bench.kept() == [(0.6, 2.0)]
    assert bench.saved_step() == 3


def test_better_weights_take_the_place_of_those_that_wait(tmp_path: Path, largest_file: Callable[[int], None]) -> None:
    bench = Bench(tmp_path)
    largest_file(LITTLE)
    bench.learn(1.0)
    bench.saver.try_to_save(figures(0.5))
    largest_file(10**9)
    bench.learn(2.0)
    bench.saver.try_to_save(figures(0.6))
    bench.saver.save()
    assert bench.kept() == [(0.6, 2.0)]


def test_a_save_notes_the_time(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.now = 12.5
    bench.saver.save()
    assert read_state(bench.path)["position"]["seconds"] == 12.5


def test_saving_changes_no_weight(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    before = bench.learner.network.get_parameter("weight").clone()
    bench.saver.save(figures(0.5))
    torch.testing.assert_close(bench.learner.network.get_parameter("weight"), before, atol=0, rtol=0)
