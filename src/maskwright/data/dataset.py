"""Samples for a loader, reproducible by (seed, epoch, index).

The order of an epoch is a permutation of (seed, epoch) and a sample's augmentation a generator keyed by (seed, epoch,
index). So a loader has no state but two numbers, and the results do not depend on the number of workers.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Sampler

from maskwright.config import Settings
from maskwright.data.augmentation import apply_change, draw_change
from maskwright.data.cache import Cache

# A batch whose sides divide by this needs no padding inside networks of up to five halvings.
SIDE_MULTIPLE = 32


class Draw(NamedTuple):
    """Which sample to make: everything that decides it."""

    epoch: int
    picture: int
    half: bool


class Batch(NamedTuple):
    """Samples side by side, padded to one size: images, targets, and which pixels count."""

    images: Tensor
    targets: Tensor
    weights: Tensor

    def to(self, device: str) -> "Batch":
        """The same batch on another device."""
        return Batch(*(tensor.to(device, non_blocking=True) for tensor in self))


class Samples(Dataset[Batch]):
    """Pictures of a cache as training samples, with or without augmentation."""

    def __init__(self, cache: Cache, settings: Settings, *, augment: bool) -> None:
        self.cache = cache
        self.settings = settings
        self.augment = augment

    def __getitem__(self, draw: Draw) -> Batch:
        """One sample, without a batch dimension."""
        image = torch.from_numpy(self.cache.image(draw.picture).copy()).permute(2, 0, 1).float() / 255  # (3, H, W)
        target = torch.from_numpy(self.cache.mask(draw.picture).copy()).float().unsqueeze(0) / 255  # (1, H, W)
        if draw.half:
            thin = min(image.shape[-2:]) < 2  # a side of one pixel stays one
            image, target = (F.avg_pool2d(tensor, 2, ceil_mode=thin) for tensor in (image, target))
        if not self.augment:
            return Batch(image, target, torch.ones_like(target[:1]))
        rng = np.random.default_rng((self.settings.seed, draw.epoch, draw.picture))
        return Batch(*apply_change(draw_change(self.settings, rng), image, target))


class EpochBatches(Sampler[list[Draw]]):
    """The batches of one epoch in a shuffled order.

    Set before each pass: ``epoch``; ``skip``, the batches already learnt from, after a resume; and ``is_half``, which
    says for a batch whether it is learnt at half size.
    A last batch that is not full is left out, since a few pictures would weigh as much as a whole batch; the next
    epoch's order takes other ones. Fewer pictures than one batch make a batch of their own.
    """

    def __init__(self, indices: Sequence[int], settings: Settings) -> None:
        self.indices = np.asarray(indices)
        self.size = min(settings.batch_size, len(indices))
        self.seed = settings.seed
        self.epoch = 0
        self.skip = 0
        self.is_half: Callable[[int], bool] = lambda _: False

    def __len__(self) -> int:
        """Batches in a whole epoch."""
        return len(self.indices) // self.size

    def __iter__(self) -> Iterator[list[Draw]]:
        """Draws, a list for each batch."""
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.indices)
        for batch in range(self.skip, len(self)):
            half = self.is_half(batch)
            chosen = order[batch * self.size : (batch + 1) * self.size]
            yield [Draw(self.epoch, int(index), half) for index in chosen]


class InOrder(Sampler[list[Draw]]):
    """Every picture once, in order; for validation."""

    def __init__(self, indices: Sequence[int], batch_size: int) -> None:
        self.indices = list(indices)
        self.batch_size = batch_size

    def __len__(self) -> int:
        """Number of batches."""
        return math.ceil(len(self.indices) / self.batch_size)

    def __iter__(self) -> Iterator[list[Draw]]:
        """Draws, a list for each batch."""
        for start in range(0, len(self.indices), self.batch_size):
            yield [Draw(0, index, half=False) for index in self.indices[start : start + self.batch_size]]


def collate(samples: Sequence[Batch]) -> Batch:
    """Samples of any sizes side by side: padded at the right and at the bottom with pixels of no weight.

    Images repeat their edge there, as networks do where they have to pad a picture.
    """
    height = max(sample.images.shape[-2] for sample in samples)
    width = max(sample.images.shape[-1] for sample in samples)
    height += -height % SIDE_MULTIPLE
    width += -width % SIDE_MULTIPLE

    def stack(tensors: Sequence[Tensor], mode: str) -> Tensor:
        return torch.stack([F.pad(t, (0, width - t.shape[-1], 0, height - t.shape[-2]), mode=mode) for t in tensors])

    images, targets, weights = zip(*samples, strict=True)
    return Batch(stack(images, "replicate"), stack(targets, "constant"), stack(weights, "constant"))


def build_loader(samples: Samples, batches: Sampler[list[Draw]], *, workers: int, pin: bool) -> DataLoader[Batch]:
    """A loader whose workers, where there are any, live as long as the run."""
    return DataLoader(
        samples,
        batch_sampler=batches,
        collate_fn=collate,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=pin,
    )
