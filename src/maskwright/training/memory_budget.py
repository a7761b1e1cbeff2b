"""What a training may use of a device's memory, and the way to train that keeps to it."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from maskwright.config import ENCODERS, Architecture, Settings, parse_memory
from maskwright.data.resizing import Resize
from maskwright.device import ComputePrecision
from maskwright.training.correction import read_correction
from maskwright.training.fitting import Alternative, Fit, Way, alternatives, choose_way
from maskwright.training.machine_memory import CUDA_CONTEXT, held_memory, trim_memory, usable_memory
from maskwright.training.memory_plan import Peak, Step, predict_peak, trace
from maskwright.training.recipe import Speed, candidate_sizes

# Bytes that a step keeps of each megapixel, for each channel at full resolution and inside an encoder; and copies of
# the weights that training needs: themselves, gradients, two of the optimizer, the average, those to go back to. All
# rough: what takes this many times less than there is needs no closer look.
BYTES_PER_CHANNEL, BYTES_IN_ENCODER, COPIES = 94e6, 1.5e9, 6
MARGIN = 2.0
# What a process may take, as a share of its peak, where the C library keeps what is freed; see `benchmarks/README.md`.
HOLES = 1.3
# Where there is this many times the peak, all that is freed may be kept.
PLENTY = 2.0
# Weights of a classic U-Net with 64 channels and four halvings, and of the largest network on an encoder of ours.
CLASSIC_WEIGHTS, ENCODER_WEIGHTS = 31e6, 40e6


@dataclass(frozen=True)
class Device:
    """Where a training computes, or would.

    Attributes:
        name: ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
        precision: What the forward pass computes in.
        is_here: Whether this machine has it.
    """

    name: str
    precision: ComputePrecision
    is_here: bool = True


@dataclass(frozen=True)
class MemoryUse:
    """How a training uses memory.

    Attributes:
        limit: Bytes that it may hold at most; on a CPU the whole process counts.
        fit: The way that was chosen.
        peak: What that holds at its largest moment.
        correction: What the prediction was multiplied by, from earlier steps on this device.
        device: Where.
        alternatives: What others would need; empty where nobody asked.
    """

    limit: float
    fit: Fit
    peak: Peak
    correction: float
    device: str
    alternatives: tuple[Alternative, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """All of it, bytes and shares of time."""
        return {
            "limit_bytes": round(self.limit),
            "peak_bytes": round(self.peak.total),
            "fits": self.fit.fits,
            "correction": self.correction,
            "parts": {name: round(size) for name, size in self.peak.parts().items()},
            "alternatives": [
                {**dataclasses.asdict(other.way), "peak_bytes": round(other.peak), "time": other.time}
                for other in self.alternatives
            ],
        }

    @property
    def returns_freed(self) -> bool:
        """Whether freed memory has to be given back at once, which takes time: kept for later, it may be too much."""
        return self.device == "cpu" and HOLES * self.peak.total > self.limit

    @property
    def keeps_freed(self) -> bool:
        """Whether there is room to keep all that is freed for later, which saves time."""
        return self.device == "cpu" and PLENTY * self.peak.total <= self.limit

    @property
    def can_be_measured(self) -> bool:
        """Whether the device shows how much a step holds: memory that is freed and kept would count."""
        return self.device != "cpu" or self.returns_freed

    @property
    def reasons(self) -> tuple[str, ...]:
        """What there is to say of it; nothing where everything is as it would be anyway."""
        chosen = (self.fit.reason,) if self.fit.reason else ()
        if self.fit.fits:
            return chosen
        return (
            *chosen,
            f"This is predicted NOT to fit: {self.peak.total / 1e9:.1f} GB, and {self.limit / 1e9:.1f} GB may be used; "
            "a smaller --size, --batch-size or --base-channels needs less.",
        )


def fit_into_memory(
    wish: Way,
    settings: Settings,
    architecture: Architecture,
    device: Device,
    shapes: Sequence[tuple[int, int]],
    speed: Speed | None,
    *,
    look_closely: bool,
    is_fixed: bool = False,
) -> MemoryUse | None:
    """Choose a way to train that keeps to the memory, from the wish on.

    Args:
        wish: What would be done with memory enough.
        settings: What they leave open may be chosen.
        architecture: Of the network.
        device: Where it is to be trained.
        shapes: Heights and widths of some of the pictures, at their own size.
        speed: Of steps, where it was measured.
        look_closely: Trace the step also where there is no doubt, and compare alternatives.
        is_fixed: Choose nothing: what is wished for is what will be done.

    Returns:
        None where there is no doubt that everything fits, or nobody knows how much there is.
    """
    limit = _limit_of(settings, device)
    if limit is None or (not look_closely and fits_without_doubt(wish, settings, architecture, device, shapes)):
        return None
    correction = read_correction(device.name, device.precision) if device.is_here else 1.0
    # What tracing itself loads stays in memory.
    trace(architecture, settings, _step_of(wish, settings, shapes, device), device=device.name)
    trim_memory()
    process = held_memory(device.name) if device.is_here else CUDA_CONTEXT

    def peak_of(way: Way) -> Peak:
        step = _step_of(way, settings, shapes, device)
        return predict_peak(architecture, settings, step, device=device.name, process=process, correction=correction)

    def bytes_of(way: Way) -> float:
        return peak_of(way).total

    def seconds_of(way: Way) -> float:
        pixels = megapixels_of(way, settings, shapes)
        return way.accumulate * (pixels if speed is None else speed.of(pixels))

    sizes = candidate_sizes(*max(shapes, key=max))
    names = ("size", "crop", "batch_size", "accumulate", "storage")
    open_words = [name for name in names if not is_fixed and getattr(settings, name) is None]
    fit = choose_way(wish, limit, bytes_of, open_words=open_words, sizes=sizes)
    others = alternatives(wish, fit.way, bytes_of, seconds_of, sizes=sizes) if look_closely else ()
    return MemoryUse(limit, fit, peak_of(fit.way), correction, device.name, others)


def fits_without_doubt(
    wish: Way, settings: Settings, architecture: Architecture, device: Device, shapes: Sequence[tuple[int, int]]
) -> bool:
    """Whether there is so much memory that nothing need be predicted; never where nobody knows how much there is."""
    limit = _limit_of(settings, device)
    rough = rough_bytes(architecture, megapixels_of(wish, settings, shapes))
    return limit is not None and MARGIN * rough + held_memory(device.name) <= limit


def _limit_of(settings: Settings, device: Device) -> float | None:
    """Bytes that may be held: as the user says, or as the device has them free; None where nobody knows."""
    if settings.memory is not None:
        return parse_memory(settings.memory)
    return usable_memory(device.name) if device.is_here else None


def megapixels_of(way: Way, settings: Settings, shapes: Sequence[tuple[int, int]]) -> float:
    """Millions of pixels of a batch of a forward pass."""
    return way.batch_size * math.prod(_sides(way, settings, shapes)) / 1e6


def _step_of(way: Way, settings: Settings, shapes: Sequence[tuple[int, int]], device: Device) -> Step:
    height, width = _sides(way, settings, shapes)
    return Step(height, width, way.batch_size, way.accumulate, way.storage, device.precision)


def _sides(way: Way, settings: Settings, shapes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The sides of a batch that holds the highest picture beside the widest one."""
    resize = Resize(way.size, settings.factor)
    resized = [resize.shape_of(height, width) for height, width in shapes]
    height, width = (max(sides) for sides in zip(*resized, strict=True))
    return (height, width) if way.crop is None else (min(height, way.crop), min(width, way.crop))


def rough_bytes(architecture: Architecture, megapixels: float) -> float:
    """About what a step holds, in no time; without bound for encoders that are not ours."""
    channels = architecture.base_channels
    per_megapixel = BYTES_PER_CHANNEL * channels / architecture.unshuffle**2
    if architecture.encoder == "none":
        weights = CLASSIC_WEIGHTS * (channels / 64) ** 2 * 4.0 ** (architecture.depth - 4)
    elif architecture.encoder in ENCODERS:
        weights, per_megapixel = ENCODER_WEIGHTS * (channels / 64) ** 2, per_megapixel + BYTES_IN_ENCODER
    else:
        return math.inf
    return COPIES * 4 * weights + per_megapixel * megapixels
