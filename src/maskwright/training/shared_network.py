"""A network that several ranks teach together: gradients averaged, sums over batches taken over all ranks.

Each rank learns from its slice of a batch, and the loss is that of the whole batch: what a loss sums over pixels is
summed over ranks before it is divided. So all ranks know the same loss, and no loss has to be a mean of means.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from maskwright.config import Settings, Storage
from maskwright.errors import InputError
from maskwright.training import ranks


class SharedNetwork:
    """A network of which each rank has a copy that stays the same as those of the others.

    Args:
        network: Of this rank; gets the weights of the writer's.
        device: Where it lies.
    """

    def __init__(self, network: nn.Module, device: str) -> None:
        self.network = network
        self.group: Any = torch.distributed.new_group(backend="nccl") if device.startswith("cuda") else None
        if device.startswith("cuda"):
            synchronise_statistics(network, self.group)
        self._learning: tuple[object, ...] = ()
        self._wrapped: nn.Module = network

    @contextmanager
    def passing(self, *, last: bool) -> Iterator[nn.Module]:
        """What a forward pass goes through, and its backward pass; after the last of a step, gradients are averaged."""
        wrapped = self._up_to_date()
        if last or not isinstance(wrapped, DistributedDataParallel):
            yield wrapped
            return
        with wrapped.no_sync():
            yield wrapped

    def total(self, tensor: Tensor) -> Tensor:
        """The sum of a tensor over all ranks. Its gradient is that of this rank's part, times the number of ranks.

        Averaged over ranks, that is the gradient of the whole.
        """
        summed: Tensor = _Total.apply(tensor, self.group)
        return summed

    def follow_writer(self, network: nn.Module) -> None:
        """Take the writer's running statistics of batches, where each rank has its own."""
        with ranks.noticing():
            for buffer in network.buffers():
                torch.distributed.broadcast(buffer, 0, group=self.group)

    def _up_to_date(self) -> nn.Module:
        """The network wrapped anew where other weights learn than before, or where they lie otherwise in memory."""
        learning = tuple((id(weight), weight.stride()) for weight in self.network.parameters() if weight.requires_grad)
        if learning != self._learning:
            self._learning = learning
            # Gradients lie where they are summed, and not once more beside it.
            self._wrapped = (
                DistributedDataParallel(self.network, process_group=self.group, gradient_as_bucket_view=True)
                if learning
                else self.network
            )
        return self._wrapped


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(_ctx: Any, tensor: Tensor, group: Any) -> Tensor:  # noqa: ANN401 - torch's own types say no more
        """The sum over ranks."""
        summed = tensor.detach().clone()
        torch.distributed.all_reduce(summed, group=group)
        return summed

    @staticmethod
    def backward(_ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        """What moves this rank's part moves the sum; times the number of ranks, since gradients are averaged."""
        return gradients[0] * ranks.size(), None


def synchronise_statistics(network: nn.Module, group: Any) -> None:  # noqa: ANN401
    """Let batch normalisation take the statistics of whole batches; PyTorch can do so on GPUs alone.

    In place, as `storage.store` does it: the optimizer's and the frozen layers stay those that they were.
    """
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            changed: Any = module
            changed.__class__ = nn.SyncBatchNorm
            changed.process_group = group


def synchronises(settings: Settings, device: str) -> bool:
    """Whether ranks take the statistics of whole batches together: what computes normalisation by itself cannot."""
    has_statistics = settings.norm == "batch" or settings.encoder != "none"
    return ranks.size() > 1 and device.startswith("cuda") and has_statistics


def check_storage(settings: Settings, device: str) -> Storage | None:
    """How activations may be kept on several GPUs, where a network has batch normalisation; None leaves it open.

    Raises:
        InputError: In the way that the settings ask for, it cannot be.
    """
    if not synchronises(settings, device):
        return settings.storage
    if settings.storage is not None and "lean" in settings.storage:
        raise InputError(
            f"--storage {settings.storage} computes batch normalisation by itself and cannot synchronise it over GPUs: "
            "say --storage plain or checkpointed, or --norm group with --encoder none."
        )
    return settings.storage or "plain"
