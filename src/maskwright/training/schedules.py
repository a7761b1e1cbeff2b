"""How far a run has come, and how large its steps are there."""

import math
from dataclasses import dataclass

from maskwright.config import Settings


@dataclass(frozen=True)
class Length:
    """When a run ends: after so many epochs, so many seconds, or whichever comes first.

    The seconds may be corrected in the middle of a run. Progress then goes on from ``paced_progress``, reached at
    ``paced_seconds``, and arrives at 1 with the corrected end, so that it never jumps or goes back.
    """

    epochs: int | None
    seconds: float | None
    paced_seconds: float = 0.0
    paced_progress: float = 0.0

    def progress(self, epochs: float, seconds: float) -> float:
        """The share of the run that is done, in ``[0, 1]``.

        >>> Length(epochs=10, seconds=None).progress(epochs=2.5, seconds=999)
        0.25
        """
        shares = [0.0]
        if self.epochs is not None:
            shares.append(epochs / self.epochs)
        if self.seconds is not None:
            shares.append(self.paced(seconds))
        return min(1.0, max(shares))

    def paced(self, seconds: float) -> float:
        """The share of the seconds alone.

        >>> Length(None, seconds=70, paced_seconds=20, paced_progress=0.5).paced(45)
        0.75
        """
        if self.seconds is None or seconds >= self.seconds:
            return 1.0
        passed = (seconds - self.paced_seconds) / (self.seconds - self.paced_seconds)
        return self.paced_progress + (1 - self.paced_progress) * passed


def learning_rate_at(settings: Settings, progress: float, epochs: float) -> float:
    """The learning rate where ``progress`` of the run and so many epochs are done.

    It rises linearly over the warm-up and then follows the schedule; ``step`` counts epochs, as StepLR does.

    >>> learning_rate_at(Settings(learning_rate=1.0, schedule="step", step_epochs=2, warmup=0), 0.5, 2.5)
    0.1
    """
    if progress < settings.warmup:
        # The first step is not lost at a rate of zero.
        return settings.learning_rate * max(progress / settings.warmup, 0.01)
    match settings.schedule:
        case "constant":
            return settings.learning_rate
        case "step":
            return settings.learning_rate * 0.1 ** int(epochs / settings.step_epochs)
        case "cosine":
            return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * _after_warmup(settings, progress)))
        case "poly":
            # Source: Chen et al., "DeepLab" (2018), section 4.1.
            return float(settings.learning_rate * (1 - _after_warmup(settings, progress)) ** 0.9)


def _after_warmup(settings: Settings, progress: float) -> float:
    """The share of what follows the warm-up that is done."""
    return (progress - settings.warmup) / max(1 - settings.warmup, 1e-9)
