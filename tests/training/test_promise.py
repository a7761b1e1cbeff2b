"""The minutes are kept: whole runs against a clock that only work moves."""

import dataclasses
import functools
import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from maskwright.config import Settings
from maskwright.data.cache import Cache
from maskwright.data.groups import Groups
from maskwright.data.reading import Formats
from maskwright.inference.predictor import load
from maskwright.training import closing
from maskwright.training.closing import choose_closing, score
from maskwright.training.keeping import keep_best, keep_last, keep_scores
from maskwright.training.loop import Status, fit
from maskwright.training.material import Material
from maskwright.training.measuring import measure_costs
from maskwright.training.minutes import Costs, Minutes, plan_closing
from maskwright.training.run_folder import RunFolder
from maskwright.training.schedules import Length, learning_rate_at
from maskwright.training.session import (
    Session,
    architecture_for,
    build_learner_for,
    build_run,
    build_training_loader,
    build_validation_loader,
    resume_learner,
)

pytestmark = pytest.mark.usefixtures("one_thread")

SETTINGS = Settings(
    base_channels=8, depth=1, size=32, batch_size=2, learning_rate=1e-2, ema=0.0, small_first=0.0, minutes=1.0
)
SECONDS = 60.0


class Machine:
    """A clock that training, validation and scoring move, as fast as is said."""

    def __init__(self, *, step: float, validate: float, score: float, slower_after: float = 1e9) -> None:
        self.costs = {"step": step, "validate": validate, "score": score}
        self.slower_after = slower_after
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def work(self, kind: str, times: int = 1) -> None:
        self.now += self.costs[kind] * times * (3 if self.now >= self.slower_after else 1)

    def watch(self, network: nn.Module, arguments: tuple[torch.Tensor]) -> None:
        if network.training:
            self.work("step")
        else:
            self.work("validate", len(arguments[0]))


class Whole:
    """A command from its first second to its last."""

    def __init__(
        self,
        cache: Cache,
        folder: Path,
        machine: Machine,
        *,
        started: float,
        resume: bool = False,
        score_known: bool = True,
    ) -> None:
        names = [pair.name for pair in cache.pairs]
        split = {name: "val" if index >= 6 else "train" for index, name in enumerate(names)}
        material = Material(
            cache, Formats(), split, Groups({name: name for name in names}, "alone"), ("",) * len(names)
        )
        learner = build_learner_for(SETTINGS, architecture_for(SETTINGS, Formats()), "cpu", "fp32", None)
        learner.network.register_forward_pre_hook(machine.watch)
        folder.mkdir(exist_ok=True)
        self.machine = machine
        self.shown: list[Status] = []
        self.stopping: Callable[[], bool] = lambda: False
        minutes = Minutes(SECONDS, started, machine)
        self.session = Session(material, RunFolder(folder), SETTINGS, learner, "cpu", minutes)
        if resume:
            self.session = resume_learner(self.session)
        # Files are read as fast as they are: what scoring costs is said.
        measured = measure_costs(self.session, "val")
        self.closing = plan_closing(
            dataclasses.replace(measured, scoring=machine.costs["score"]) if score_known else measured,
            self.session.minutes.seconds if self.session.minutes else 0.0,
            part="val",
            available=6,
            held_out=6,
            validated=learner.position.validated,
        )
        self.run = build_run(
            self.session,
            self.closing,
            keep_best=functools.partial(keep_best, self.session),
            tell=lambda _: None,
            show=self.shown.append,
            stop_asked=self._stop_asked,
        )

    def _stop_asked(self) -> bool:
        return self.stopping()

    def fit(self) -> bool:
        return fit(
            self.session.learner,
            *build_training_loader(self.session),
            build_validation_loader(self.session),
            self.run,
        )

    def close(self) -> int:
        """Score; returns how many pictures there was time for."""
        keep_last(self.session)
        predictor = load(self.session.folder.model)
        found = score(predictor, self.session, self.closing, advance=lambda: self.machine.work("score"))
        keep_scores(self.session, found.scores, self.closing, leaks=[])
        return len(found.scores.pictures)


@pytest.mark.parametrize(
    "machine",
    [
        Machine(step=1.5, validate=0.02, score=0.1),
        Machine(step=1.5, validate=2.0, score=0.1),
        Machine(step=1.5, validate=0.02, score=6.0),
        Machine(step=3.0, validate=0.5, score=1.0),
        Machine(step=1.5, validate=0.1, score=0.5, slower_after=20.0),
        Machine(step=1.5, validate=0.1, score=0.5, slower_after=50.0),
    ],
    ids=["at ease", "slow validation", "slow scoring", "slow steps", "busier from a third on", "busier near the end"],
)
def test_the_whole_ends_within_the_minutes_and_uses_them(
    machine: Machine, ellipse_cache: Cache, tmp_path: Path
) -> None:
    machine.now = 7.0  # reading
    whole = Whole(ellipse_cache, tmp_path / "run", machine, started=0.0)
    assert whole.fit()
    trained_until = machine.now
    assert whole.close() >= 1
    assert machine.now <= 1.05 * SECONDS
    assert trained_until >= 0.7 * SECONDS
    progress = [status.progress for status in whole.shown]
    assert progress == sorted(progress)
    assert max(later - earlier for earlier, later in itertools.pairwise(progress)) < 0.25
    last = json.loads(whole.session.folder.metrics.read_text().splitlines()[-1])
    assert last["learning_rate"] < 0.1 * SETTINGS.learning_rate
    assert last["learning_rate"] == pytest.approx(learning_rate_at(SETTINGS, progress[-1], 0))


def test_a_sample_is_validated_where_all_would_take_too_long_and_the_scores_say_so(
    ellipse_cache: Cache, tmp_path: Path
) -> None:
    whole = Whole(ellipse_cache, tmp_path / "run", Machine(step=1.5, validate=0.5, score=0.0), started=0.0)
    assert whole.closing.validated == 2  # a fiftieth of the minute
    whole.fit()
    whole.close()
    scores = json.loads(whole.session.folder.scores.read_text())
    assert (scores["part"], scores["available"], scores["scored"], scores["validated_on"]) == ("val", 6, 6, 2)


def test_scores_that_came_too_slowly_are_a_sample(ellipse_cache: Cache, tmp_path: Path) -> None:
    machine = Machine(step=1.5, validate=0.0, score=2.0)
    whole = Whole(ellipse_cache, tmp_path / "run", machine, started=0.0, score_known=False)
    whole.fit()
    assert whole.closing.scored == 6
    assert whole.close() < 6
    assert whole.machine.now <= 1.05 * SECONDS


def test_a_resumed_run_ends_within_what_was_left(ellipse_cache: Cache, tmp_path: Path) -> None:
    machine = Machine(step=1.5, validate=0.1, score=0.1)
    machine.now = 5.0
    first = Whole(ellipse_cache, tmp_path / "run", machine, started=0.0)
    first.stopping = lambda: machine.now > 30
    assert not first.fit()
    used = machine.now
    machine.now = 1000.0  # the next morning
    second = Whole(ellipse_cache, tmp_path / "run", machine, started=996.0, resume=True)
    assert second.fit()
    second.close()
    assert 0.9 * SECONDS < used + machine.now - 996 <= 1.05 * SECONDS
    progress = [status.progress for status in (*first.shown, *second.shown)]
    assert progress == sorted(progress)


def test_a_run_that_was_stopped_with_nothing_left_leaves_a_model(ellipse_cache: Cache, tmp_path: Path) -> None:
    machine = Machine(step=50.0, validate=0.1, score=0.1)
    first = Whole(ellipse_cache, tmp_path / "run", machine, started=0.0)
    first.stopping = lambda: True
    assert not first.fit()
    machine.costs["step"] = 1.5
    second = Whole(ellipse_cache, tmp_path / "run", machine, started=machine.now - 20, resume=True)
    assert second.fit()
    assert second.close() >= 1


@pytest.mark.parametrize("during", ["the last step", "the last validation"])
def test_a_run_that_was_stopped_at_its_very_end_is_validated_when_it_is_resumed(
    during: str, ellipse_cache: Cache, tmp_path: Path
) -> None:
    machine = Machine(step=1.5, validate=0.1, score=0.1)
    first = Whole(ellipse_cache, tmp_path / "run", machine, started=0.0)
    began, learner = machine.now, first.session.learner

    def stopping() -> bool:
        is_over = machine.now - began >= (learner.position.budget or 0)
        return is_over and learner.network.training is (during == "the last step")

    first.stopping = stopping
    assert not first.fit()
    steps = learner.position.step
    second = Whole(ellipse_cache, tmp_path / "run", machine, started=machine.now, resume=True)
    assert second.fit()
    last = json.loads(second.session.folder.metrics.read_text().splitlines()[-1])
    assert last["step"] == second.session.learner.position.step == steps
    assert "val_dice" in last
    assert second.close() >= 1


def test_a_validation_that_takes_the_rest_of_the_time_is_the_last(ellipse_cache: Cache, tmp_path: Path) -> None:
    machine = Machine(step=1.0, validate=0.005, score=0.1)
    whole = Whole(ellipse_cache, tmp_path / "run", machine, started=0.0)
    whole.run = dataclasses.replace(
        whole.run,
        length=Length(None, 10.0),
        correct=lambda length: length,
        show=lambda _: become_busy(),
    )
    learner = whole.session.learner

    def become_busy() -> None:
        if learner.position.step == 9:  # the last of the third epoch
            machine.costs["validate"] = 5.0

    assert whole.fit()
    steps = [json.loads(line)["step"] for line in whole.session.folder.metrics.read_text().splitlines()]
    assert steps[-1] == learner.position.step == 9
    assert steps.count(9) == 1


def test_a_finished_run_has_no_new_pace(ellipse_cache: Cache, tmp_path: Path) -> None:
    machine = Machine(step=1.5, validate=0.1, score=0.1)
    first = Whole(ellipse_cache, tmp_path / "run", machine, started=0.0)
    assert first.fit()
    steps = first.session.learner.position.step
    second = Whole(ellipse_cache, tmp_path / "run", machine, started=machine.now, resume=True)
    assert second.fit()
    assert second.session.learner.position.step == steps


def test_every_validation_of_a_resumed_run_looks_at_the_same_pictures(ellipse_cache: Cache, tmp_path: Path) -> None:
    machine = Machine(step=1.5, validate=0.5, score=0.0)
    first = Whole(ellipse_cache, tmp_path / "run", machine, started=0.0)
    first.stopping = lambda: machine.now > 30
    assert not first.fit()
    machine.costs["validate"] = 0.001
    second = Whole(ellipse_cache, tmp_path / "run", machine, started=machine.now, resume=True)
    assert second.closing.validated == first.closing.validated == 2
    chosen = [list(build_validation_loader(whole.session).batch_sampler or []) for whole in (first, second)]
    assert chosen[0] == chosen[1]


def test_a_run_that_is_resumed_near_its_end_scores_what_it_planned(ellipse_cache: Cache, tmp_path: Path) -> None:
    machine = Machine(step=0.1, validate=0.1, score=0.1)
    session = Whole(ellipse_cache, tmp_path / "run", machine, started=0.0).session
    costs = Costs(validating=0.1, scoring=SECONDS / 50, saving=0.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(closing, "measure_costs", lambda *_: costs)
        planned = [choose_closing(session)]
        for left in (SECONDS / 2, 1.0):
            minutes = session.minutes.after(SECONDS - left) if session.minutes else None
            planned.append(choose_closing(dataclasses.replace(session, minutes=minutes)))
    assert [found.scored for found in planned] == [6, 6, 6]


def test_a_run_by_epochs_asks_no_clock(ellipse_cache: Cache, tmp_path: Path) -> None:
    whole = Whole(ellipse_cache, tmp_path / "run", Machine(step=9, validate=9, score=9), started=0.0)
    session = dataclasses.replace(whole.session, minutes=None)
    closing = choose_closing(session)
    assert (closing.validated, closing.scored, closing.seconds) == (6, 6, 0.0)
