"""What computes: an engine turns a batch of pictures into logits.

Engines stand behind one seam, so that the predictor and everything after it need no torch.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from maskwright.config import Architecture
from maskwright.device import require_torch


class Engine(Protocol):
    """A network ready to compute."""

    def logits(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """``(N, C, H, W)`` in 0..1 to logits ``(N, num_classes, H, W)``."""
        ...


class TorchEngine:
    """The network in PyTorch, in fp32.

    Raises:
        MissingExtraError: There is no torch.
        ValueError: The weights are those of another network.
    """

    def __init__(self, architecture: Architecture, weights: Mapping[str, NDArray[Any]], device: str = "cpu") -> None:
        require_torch()
        import torch

        from maskwright.models.build import build_network

        network = build_network(architecture)
        try:
            network.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
        except RuntimeError as error:
            raise ValueError(str(error)) from error
        self._network = network.eval().to(device)
        self._device = device

    def logits(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """``(N, C, H, W)`` in 0..1 to logits ``(N, num_classes, H, W)``."""
        import torch

        with torch.inference_mode():
            logits: NDArray[np.float32] = self._network(torch.from_numpy(batch).to(self._device)).cpu().numpy()
            return logits


@contextmanager
def one_core_each() -> Iterator[None]:
    """While it lasts, each call of an engine in PyTorch computes on one core: many calls are made at once.

    So none waits for another, which saves a third of the processor's time, and a picture's logits are the same to the
    last bit however many others are computed beside it: sums taken by two cores are rounded in another order.
    """
    torch = sys.modules.get("torch")  # without it, there is nothing to tell
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
