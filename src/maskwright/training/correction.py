"""What steps really take beside what was predicted: measured on the first ones of a run, kept for later plans."""

import contextlib
import json
from pathlib import Path

import torch

from maskwright.data.cache import default_cache_folder
from maskwright.device import ComputePrecision
from maskwright.files import write_json
from maskwright.training.machine_memory import forget_peak, peak_memory
from maskwright.training.memory_plan import Peak

# Steps that are measured; the first of them makes what the optimizer keeps.
MEASURED_STEPS = 2
# Beyond these something else was measured than a step: another program's memory, or a prediction for other pictures.
LEAST, MOST = 0.5, 2.0


def read_correction(device: str, precision: ComputePrecision) -> float:
    """What to multiply a prediction by on a device of this machine; 1 where nothing was measured."""
    return _read().get(_key(device, precision), 1.0)


def keep_correction(device: str, precision: ComputePrecision, factor: float) -> None:
    """Keep what to multiply predictions by; where there is no place for it, nothing is kept."""
    with contextlib.suppress(OSError):
        _path().parent.mkdir(parents=True, exist_ok=True)
        write_json(_path(), {**_read(), _key(device, precision): round(factor, 4)})


class PeakWatch:
    """Measures the first whole steps of a run, and corrects later predictions by them.

    Args:
        peak: What was predicted, corrected by ``correction``.
        correction: As it was read.
        device: Where the run computes.
        precision: What in.
        batches: Forward passes that make a step.
        small_until: Share of the run in which pictures are small; nothing is measured before.
    """

    def __init__(
        self,
        peak: Peak,
        correction: float,
        *,
        device: str,
        precision: ComputePrecision,
        batches: int = 1,
        small_until: float = 0.0,
    ) -> None:
        self._peak, self._correction = peak, correction
        self._device, self._precision = device, precision
        self._small_until = small_until
        self._seen, self._last = 0, MEASURED_STEPS * batches

    def note_batch(self, progress: float) -> float | None:
        """Take note of a batch that was learnt at this progress; the peak when it has been measured, and only then."""
        if progress < self._small_until or self._seen > self._last:
            return None
        if self._seen == 0:
            forget_peak(self._device)
        self._seen += 1
        real = peak_memory(self._device) if self._seen > self._last else None
        if real is None:
            return None
        ratio = (real - self._peak.process) / (self._peak.total - self._peak.process)
        if LEAST <= self._correction * ratio <= MOST:
            keep_correction(self._device, self._precision, self._correction * ratio)
        return real

    def note_shortage(self, limit: float) -> None:
        """Take note that memory ran out before anything was measured: at least what may be used would be needed."""
        if self._seen > self._last:
            return
        self._seen = self._last + 1
        ratio = (limit - self._peak.process) / (self._peak.total - self._peak.process)
        if ratio > 1 and self._correction * ratio <= MOST:
            keep_correction(self._device, self._precision, self._correction * ratio)


def _read() -> dict[str, float]:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        found = json.loads(_path().read_text(encoding="utf-8"))
        return {str(key): float(factor) for key, factor in found.items()}
    return {}


def _path() -> Path:
    return default_cache_folder() / "memory.json"


def _key(device: str, precision: ComputePrecision) -> str:
    """The device by its name: a cache folder may be shared by machines."""
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else device
    return f"{name}, torch {torch.__version__}, {precision}"
