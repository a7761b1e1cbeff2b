"""The figures of a run for TensorBoard, and some of its validation pictures.

`metrics.jsonl` stays the source: what is written here is a copy of its lines, in event files beside it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from maskwright import terminal
from maskwright.data.dataset import Draw, Samples
from maskwright.data.labels import IGNORED, LabelMap
from maskwright.device import ComputePrecision
from maskwright.errors import MissingExtraError
from maskwright.inference.outputs import panel
from maskwright.training.run_folder import read_metrics
from maskwright.training.whole_pictures import whole_logits

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn
    from torch.utils.tensorboard.writer import SummaryWriter

EVENTS = "events.out.tfevents.*"
# So many validation pictures are drawn.
PICTURES = 4
# What belongs on one page there; any other figure stands by itself.
PAGES = {
    "train_loss": "loss/train",
    "val_loss": "loss/validation",
    "train_dice": "dice/train",
    "val_dice": "dice/validation",
}


@dataclass
class Events:
    """The event file of a run.

    Attributes:
        writer: Writes it.
        draw: Makes panels (original, truth, prediction) of validation pictures, by their names.
        step: Of the last line of figures.
    """

    writer: "SummaryWriter"
    draw: "Callable[[], dict[str, NDArray[np.uint8]]]" = field(default=dict)
    step: int = 0

    def write_line(self, line: dict[str, float]) -> None:
        """Write what a line of `metrics.jsonl` says; with figures of validation, its pictures too."""
        self.step = int(line["step"])
        for name, value in line.items():
            if name != "step":
                self.writer.add_scalar(PAGES.get(name, name), value, self.step)
        if "val_loss" in line:
            for name, tiles in self.draw().items():
                self.writer.add_image(f"validation/{name}", tiles, self.step, dataformats="HWC")
        self.writer.flush()


def written_while_it_can(events: Events) -> Callable[[dict[str, float]], None]:
    """Write each line; where that fails once, as on a full disk, no more: the thread behind the file has ended then."""
    failed: list[OSError] = []

    def write(line: dict[str, float]) -> None:
        if failed:
            return
        try:
            events.write_line(line)
        except OSError as error:
            failed.append(error)
            terminal.warn(f"TensorBoard's file cannot be written ({error}): it gets no more until the run is resumed.")

    return write


def require_tensorboard() -> None:
    """Refuse to start without the package.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("tensorboard", "tensorboard") from error


def open_events(metrics: Path) -> Events:
    """An event file beside the metrics, which has what they say already.

    Event files of the run before it was resumed go: what the metrics dropped since must not show.
    """
    from torch.utils.tensorboard import SummaryWriter

    for earlier in metrics.parent.glob(EVENTS):
        earlier.unlink()
    events = Events(SummaryWriter(metrics.parent))
    for line in read_metrics(metrics):
        events.write_line(line)
    return events


def draw_validation(
    network: "nn.Module",
    samples: Samples,
    indices: list[int],
    labels: LabelMap,
    device: str,
    precision: ComputePrecision = "fp32",
) -> "dict[str, NDArray[np.uint8]]":
    """Panels of pictures of a cache at training size: original, truth, prediction."""
    network.eval()
    drawn = {}
    for index in indices:
        sample = samples[Draw(0, index, half=False)]
        with torch.inference_mode():
            logits = whole_logits(network, sample.images[None].to(device), samples.settings, precision)[0].cpu()
        image = sample.images.movedim(0, -1).mul(255).round().byte().numpy()
        truth = classes_of(sample.targets - 0.5 if len(sample.targets) == 1 else sample.targets)
        truth[sample.weights[0].numpy() == 0] = IGNORED
        drawn[samples.cache.pairs[index].name] = panel(image, classes_of(logits), truth, labels=labels)
    return drawn


def classes_of(scores: "Tensor") -> "NDArray[np.uint8]":
    """The class of each pixel ``(H, W)`` from scores ``(C, H, W)``; of one channel, what is above 0 is foreground."""
    found = scores[0] > 0 if len(scores) == 1 else scores.argmax(0)
    classes: NDArray[np.uint8] = found.byte().numpy()
    return classes
