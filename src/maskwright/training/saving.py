"""When a run is saved, and in which order, so that it can be killed at any moment."""

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor

from maskwright.training import ranks
from maskwright.training.figures import Figures
from maskwright.training.health import Finding, not_saved
from maskwright.training.state import Learner, copied, save_state

# Without --save-every, a long epoch is saved in between this often, but for more than this share of the time.
SAVE_SECONDS, SAVING_SHARE = 120.0, 0.05

KeepBest = Callable[[Figures, Mapping[str, Tensor]], None]


class Saver:
    """Writes the state of a run, then the best weights: the model file is never of a later time than the state."""

    def __init__(
        self,
        learner: Learner,
        path: Path,
        *,
        every: int,
        seconds: Callable[[], float],
        keep_best: KeepBest,
        tell: Callable[[Finding], None],
        watch: Callable[[], float] | None = None,
    ) -> None:
        """Begin where the learner stands, which counts as saved.

        Args:
            learner: Of the run.
            path: Of the state.
            every: Steps after which a save is due; 0 goes by the clock.
            seconds: The clock of the run.
            keep_best: Writes weights and the figures of their validation.
            tell: Called with what could not be written.
            watch: Tells how long a save takes, where the clock of the run does not move meanwhile.
        """
        self.learner, self.path, self.every, self.seconds = learner, path, every, seconds
        self.keep_best, self.tell = keep_best, tell
        self.watch = watch or seconds
        self.step, self.at, self.took = learner.position.step, seconds(), 0.0
        # The best weights so far, in main memory, while there is no room for them on the disk.
        self.waiting: tuple[Figures, Mapping[str, Tensor]] | None = None

    def is_due(self) -> bool:
        """Whether a kill would lose as much as it may."""
        if self.every:
            return self.learner.position.step - self.step >= self.every
        return self.seconds() - self.at > max(SAVE_SECONDS, self.took / SAVING_SHARE)

    def save(self, best: Figures | None = None) -> None:
        """Write all there is, where this process is the one that writes.

        Args:
            best: The figures of the weights as they are, where they are the best so far.

        Raises:
            OSError: The disk is full, say; what lay there before is whole.
        """
        learner = self.learner
        self.step, self.at = learner.position.step, self.seconds()
        learner.position.seconds = self.at
        if not ranks.is_writer():
            return
        began = self.watch()
        try:
            if self.waiting is not None and best is None:
                self.keep_best(*self.waiting)
            save_state(self.path, learner)
            if best is not None:
                self.keep_best(best, learner.kept().state_dict())
        except OSError:
            if best is not None:
                self.waiting = best, copied(learner.kept())
            raise
        self.waiting = None
        self.took = self.watch() - began

    def try_to_save(self, best: Figures | None = None) -> None:
        """Write all there is; where that is impossible, say so and go on: it is tried again when it is due again."""
        try:
            self.save(best)
        except OSError as error:
            self.tell(not_saved(error))
