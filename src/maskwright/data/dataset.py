"""Samples for a loader, reproducible by (seed, epoch, index).

The order of an epoch is a permutation of (seed, epoch) and a sample's augmentation a generator keyed by (seed, epoch,
index). So a loader has no state but two numbers, and the results do not depend on the number of workers.
"""

import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Sampler

from maskwright.config import Settings
from maskwright.data.augmentation import (
    Window,
    colour_matrix,
    draw_change,
    draw_window,
    mean_grey,
    move,
    recolour,
    tint_foreground,
    to_planes,
)
from maskwright.data.cache import Cache
from maskwright.data.targets import unpack_target
from maskwright.errors import InputError
from maskwright.signals import leave_signals_to

# A batch whose sides divide by this needs no padding inside networks of up to five halvings.
SIDE_MULTIPLE = 32
# How much a pixel counts that is added for that where a network learns: enough to decide what it says there, and too
# little to take much from the picture (docs/experiments.md).
ADDED_WEIGHT = 0.1
# Of a picture with less foreground than this share, so many of the cut-outs are sure to show some of it.
RARE, AROUND_FOREGROUND = 0.1, 0.5


class Draw(NamedTuple):
    """Which sample to make: everything that decides it.

    Attributes:
        epoch: From 0.
        picture: Where it lies in the cache.
        half: Whether at half size.
        cut: Which of the epoch's cut-outs of the picture.
    """

    epoch: int
    picture: int
    half: bool
    cut: int = 0


class Batch(NamedTuple):
    """Samples side by side, padded to one size: images, targets, and which pixels count."""

    images: Tensor
    targets: Tensor
    weights: Tensor

    def to(self, device: str) -> "Batch":
        """The same batch on another device."""
        return Batch(*(tensor.to(device, non_blocking=True) for tensor in self))


class Samples(Dataset[Batch]):
    """Pictures of a cache as samples, with or without augmentation: whole, or cut-outs of so many pixels a side.

    Where a network learns from them, the pixels that are added to make a side divide by `SIDE_MULTIPLE` count a little,
    like the edge that they repeat. It would else be free to say anything there, and say it along the edges of pictures
    to which none are added when it predicts.
    """

    def __init__(
        self, cache: Cache, settings: Settings, *, augment: bool, crop: int | None = None, to_learn: bool = False
    ) -> None:
        self.cache = cache
        self.settings = settings
        self.augment = augment
        self.crop = crop
        self.counted_multiple = SIDE_MULTIPLE if to_learn else 1

    def __getitem__(self, draw: Draw) -> Batch:
        """One sample, without a batch dimension."""
        height, width = self._size(draw)
        return Batch(*(tensor[0, :, :height, :width] for tensor in self.__getitems__([draw])))

    def __getitems__(self, draws: Sequence[Draw]) -> Batch:
        """Samples of any sizes side by side: padded at the right and at the bottom, beyond what counts without weight.

        All repeat their edge there, as networks do where they have to pad a picture. Samples are made where they
        end up: memory that is new to the process costs more than what is written to it.
        """
        sizes = [self._size(draw) for draw in draws]
        height, width = (max(sides) + -max(sides) % SIDE_MULTIPLE for sides in zip(*sizes, strict=True))
        batch = self._empty_batch(len(draws), height, width)
        for draw, size, *planes in zip(draws, sizes, *batch, strict=True):
            padded = Batch(*planes)
            own = Batch(*(tensor[:, : size[0], : size[1]] for tensor in padded))
            if draw.half:
                whole = Batch(*(tensor[0] for tensor in self._empty_batch(1, *self._whole_size(draw))))
                self._fill(draw, whole)
                halve(whole, own)
            else:
                self._fill(draw, own)
            pad(padded, *size, counted_multiple=self.counted_multiple)
        return batch

    def _size(self, draw: Draw) -> tuple[int, int]:
        """Height and width of a sample."""
        height, width = self._whole_size(draw)
        if not draw.half:
            return height, width
        thin = min(height, width) < 2  # a side of one pixel stays one
        return (height + thin) // 2, (width + thin) // 2

    def _whole_size(self, draw: Draw) -> tuple[int, int]:
        """The same before it is halved."""
        height, width = self.cache.shapes[draw.picture]
        return (height, width) if self.crop is None else (min(height, self.crop), min(width, self.crop))

    def _empty_batch(self, size: int, height: int, width: int) -> Batch:
        """Tensors with nothing in them yet."""
        num_classes = self.cache.num_classes
        channels = (self.cache.entries[0].facts.channels, 1 if num_classes == 2 else num_classes, 1)
        # numpy asks the system for large pages, which makes new memory several times cheaper.
        return Batch(*(torch.from_numpy(np.empty((size, count, height, width), np.float32)) for count in channels))

    def _fill(self, draw: Draw, sample: Batch) -> None:
        """Make a sample at full size."""
        pixels = torch.from_numpy(self.cache.pixels(draw.picture))  # (H, W, S)
        facts, num_classes = self.cache.entries[draw.picture].facts, self.cache.num_classes
        rng = np.random.default_rng((self.settings.seed, draw.epoch, draw.picture, *([draw.cut] if draw.cut else [])))
        change = draw_change(self.settings, rng) if self.augment else None
        window = self._draw_window(draw, pixels.numpy(), rng)
        if change is None:
            to_planes(window.of(pixels), 0, [*sample.images])
            self._unpack_target(draw, window.of(pixels), sample)
            return
        matrix, offset = colour_matrix(change, mean_grey(window.of(pixels)))
        # Class indices have no mean.
        mixed = facts.channels + (facts.planes if num_classes == 2 else 0)
        for band in move(change, pixels, channels=facts.channels, mixed=mixed, window=window):
            part = Batch(*(tensor[:, band.rows] for tensor in sample))
            if facts.channels == 3:
                recolour(band.pixels, matrix, offset, out=part.images)
            else:
                to_planes(band.pixels, 0, [*part.images])
            self._unpack_target(draw, band.pixels, part)
            if change.tint is not None and facts.channels == 3 and num_classes == 2:
                tint_foreground(change.tint, part.images, part.targets[0])
            if band.inside is not None:
                part.weights.mul_(band.inside)

    def _draw_window(self, draw: Draw, pixels: NDArray[np.uint8], rng: np.random.Generator) -> Window:
        """The part of the picture that the sample shows."""
        if self.crop is None:
            return Window(0, 0, *pixels.shape[:2])
        facts = self.cache.entries[draw.picture].facts
        around = 0 < facts.foreground < RARE and rng.random() < AROUND_FOREGROUND
        # The first byte of a target is the share of the foreground, or the largest class, of which 0 is the first.
        return draw_window(
            pixels, self.crop, rng, is_foreground=(lambda row: row[:, facts.channels] > 0) if around else None
        )

    def _unpack_target(self, draw: Draw, pixels: Tensor, sample: Batch) -> None:
        facts = self.cache.entries[draw.picture].facts
        if self.cache.num_classes == 2 and facts.planes == 1:  # the plainest target there is, and the most frequent
            to_planes(pixels, facts.channels, [sample.targets[0]])
            sample.weights.fill_(1)
            return
        packed = pixels[..., facts.channels : facts.channels + facts.planes].numpy()
        unpack_target(packed, self.cache.num_classes, sample.targets.numpy(), sample.weights.numpy())


def halve(whole: Batch, out: Batch) -> None:
    """Average a sample over squares of two pixels; its targets among what counts in each."""
    thin = min(whole.images.shape[-2:]) < 2
    images, targets, weights = (
        F.avg_pool2d(tensor, 2, ceil_mode=thin)
        for tensor in (whole.images, whole.targets * whole.weights, whole.weights)
    )
    out.images.copy_(images)
    out.targets.copy_(targets / weights.clamp(min=1e-6))
    out.weights.copy_(weights)


def pad(sample: Batch, height: int, width: int, *, counted_multiple: int = 1) -> None:
    """Fill what lies to the right of and below the first rows and columns with the last of them.

    Beyond the next multiple of ``counted_multiple`` nothing counts.
    """
    for tensor in sample:
        tensor[..., :height, width:] = tensor[..., :height, width - 1 : width]
        tensor[..., height:, :] = tensor[..., height - 1 : height, :]
    sample.weights[..., :height, width:] *= ADDED_WEIGHT
    sample.weights[..., height:, :] *= ADDED_WEIGHT
    below, right = (side + -side % counted_multiple for side in (height, width))
    for tensor in (sample.targets, sample.weights):
        tensor[..., right:] = 0
        tensor[..., below:, :] = 0


def cuts_of(shape: tuple[int, int], crop: int | None) -> int:
    """How many cut-outs of a picture an epoch has: as many as cover it.

    >>> cuts_of((1280, 1918), 512), cuts_of((1280, 1918), None)
    (12, 1)
    """
    return 1 if crop is None else math.prod(math.ceil(length / crop) for length in shape)


class EpochBatches(Sampler[list[Draw]]):
    """The batches of one epoch in a shuffled order; each picture once, or as many cut-outs of it as cover it.

    Set before each pass: ``epoch``; ``skip``, the batches already learnt from, after a resume; and ``is_half``, which
    says for a batch whether it is learnt at half size.
    A last batch that is not full is left out, since a few pictures would weigh as much as a whole batch; the next
    epoch's order takes other ones. Fewer pictures than one batch make a batch of their own.

    Where several processes learn together, the batches are theirs together: each draws the ``share`` of them that is
    its own, so that the order does not depend on how many there are.
    """

    def __init__(
        self,
        indices: Sequence[int],
        settings: Settings,
        shapes: Sequence[tuple[int, int]] = (),
        *,
        share_of: Callable[[int], slice] = slice,
    ) -> None:
        cuts = [cuts_of(shapes[index], settings.crop) if shapes else 1 for index in indices]
        self.parts = [(int(index), cut) for index, count in zip(indices, cuts, strict=True) for cut in range(count)]
        self.size = min(settings.chosen("batch_size"), len(self.parts))
        self.share = share_of(self.size)
        self.seed = settings.seed
        self.epoch = 0
        self.skip = 0
        self.is_half: Callable[[int], bool] = lambda _: False

    def __len__(self) -> int:
        """Batches in a whole epoch."""
        return len(self.parts) // self.size

    def __iter__(self) -> Iterator[list[Draw]]:
        """Draws, a list for each batch."""
        order = np.random.default_rng((self.seed, self.epoch)).permutation(len(self.parts))
        for batch in range(self.skip, len(self)):
            half = self.is_half(batch)
            together = order[batch * self.size : (batch + 1) * self.size]
            chosen = (self.parts[place] for place in together[self.share])
            yield [Draw(self.epoch, index, half, cut) for index, cut in chosen]


class InOrder(Sampler[list[Draw]]):
    """Every picture once, in order, or some of the batches that this makes; for validation."""

    def __init__(self, indices: Sequence[int], batch_size: int, *, batches: slice = slice(None)) -> None:
        self.indices = list(indices)
        self.batch_size = batch_size
        self.starts = range(0, len(self.indices), batch_size)[batches]

    def __len__(self) -> int:
        """Number of batches."""
        return len(self.starts)

    def __iter__(self) -> Iterator[list[Draw]]:
        """Draws, a list for each batch."""
        for start in self.starts:
            yield [Draw(0, index, half=False) for index in self.indices[start : start + self.batch_size]]


def build_loader(samples: Samples, batches: Sampler[list[Draw]], *, workers: int, pin: bool) -> DataLoader[Batch]:
    """A loader whose workers, where there are any, live as long as the run.

    It has a random state of its own: drawn from torch's, its numbers would change those that come after a resume.
    """
    return DataLoader(
        samples,
        batch_sampler=batches,
        collate_fn=_as_made,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=pin,
        generator=torch.Generator(),
        worker_init_fn=_be_a_worker if workers else None,
        # Newer Pythons start processes from another one, which knows nothing of ours and would import it all again.
        multiprocessing_context="fork" if workers and sys.platform == "linux" else None,
    )


def endless(loader: DataLoader[Batch], order: EpochBatches) -> Iterator[Batch]:
    """Batches of one epoch after another, from the first on, for as long as somebody takes them."""
    order.epoch = 0
    while True:
        order.skip = 0
        yield from loader
        order.epoch += 1


@contextmanager
def telling_of_workers() -> Iterator[None]:
    """Say in a sentence what went wrong in a worker; torch says it with a traceback.

    Raises:
        InputError: A picture could not be read, or a worker died.
    """
    try:
        yield
    except InputError as error:
        raise InputError(str(error).rpartition(f"{type(error).__name__}: ")[2].strip()) from error
    except RuntimeError as error:
        if not any("DataLoader worker" in str(reason) for reason in _reasons(error)):
            raise
        raise InputError(
            "A process that prepared pictures died, most likely for want of memory: --resume goes on from where the "
            "run was saved; fewer --workers, or none, take less."
        ) from error


def _reasons(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those in whose wake it came: torch tells of a dead worker wherever the run is, in a save too."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _be_a_worker(_number: int) -> None:
    """Workers end when the run does."""
    leave_signals_to(os.getppid())


def _as_made(batch: Any) -> Any:  # noqa: ANN401 - torch's type for it is a list of samples
    """What `Samples.__getitems__` made is a batch already."""
    return batch
