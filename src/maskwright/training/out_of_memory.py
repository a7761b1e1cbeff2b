"""When memory runs out: what was under way is undone, and done again with less to keep or fewer pictures at a time.

An attempt that failed has to be left before the next one begins, since its error holds all that it had computed.

Linux rarely refuses main memory; it kills a process that takes the last of it. So what is free is looked at where a
step has taken most of what it takes, and want of it raises the error that nobody else would raise.
"""

import dataclasses
import gc
import math
from collections.abc import Callable
from typing import TypeVar

import torch

from maskwright import terminal
from maskwright.config import Settings, Storage
from maskwright.errors import DoesNotFitError, is_out_of_memory
from maskwright.models.storage import store
from maskwright.training.machine_memory import free_memory, held_memory
from maskwright.training.shared_network import synchronises
from maskwright.training.state import Beginning, Learner, random_states, restore_random_states

Result = TypeVar("Result")

MEBIBYTE = 2**20
# What is kept for the backward pass where something else takes too much; the gradients stay the same.
LEANER: dict[Storage, Storage] = {"plain": "lean", "lean": "lean+checkpointed"}
# Bytes of main memory that a step leaves free, and of which a smaller one would not make a difference.
RESERVE = 256 * MEBIBYTE
# What a backward pass takes on top, as a share of what the forward pass took; up to a tenth was measured.
BACKWARD_SHARE = 0.25


class MemoryPressesError(MemoryError):
    """Main memory is nearly used up."""


def begin(learner: Learner) -> None:
    """Clear the gradients for a new step, and remember what it will change before any weight moves."""
    learner.optimizer.zero_grad(set_to_none=True)
    buffers = tuple(buffer.clone() for buffer in learner.network.buffers())
    position, tally = learner.position, dataclasses.replace(learner.tally)
    learner.beginning = Beginning(position.batch, tally, buffers, random_states(learner.network))


def begin_again(learner: Learner) -> None:
    """Undo the step that is under way, and let go of the memory that it took."""
    learner.optimizer.zero_grad(set_to_none=True)
    if learner.beginning is not None:
        beginning = learner.beginning
        with torch.no_grad():
            for buffer, earlier in zip(learner.network.buffers(), beginning.buffers, strict=True):
                buffer.copy_(earlier)
        restore_random_states(beginning.random, learner.network)
        learner.position.batch, learner.tally, learner.beginning = beginning.batch, beginning.tally, None
    _release_memory()


def shrink(learner: Learner, pictures: int, settings: Settings) -> None:
    """Keep less for the backward pass from now on; where nothing less can be kept, take half of the pictures at a time.

    The order is that of a plan (`fitting.ways`): first what changes nothing.

    Raises:
        DoesNotFitError: Nothing less can be kept, and it is one picture already.
    """
    position, leaner = learner.position, _leaner(learner, settings)
    if leaner is None:
        position.micro_batch = half(position.micro_batch, pictures)
        return
    position.storage = leaner
    store(learner.network, leaner)


def can_shrink(learner: Learner, pictures: int, settings: Settings) -> bool:
    """Whether `shrink` would find anything smaller than so many pictures at a time."""
    if learner.shared is not None:  # the others would have to do likewise, and at the same step
        return False
    return pictures > 1 or _leaner(learner, settings) is not None


def _leaner(learner: Learner, settings: Settings) -> Storage | None:
    if synchronises(settings, next(learner.network.parameters()).device.type):
        return None
    return LEANER.get(learner.position.storage or settings.storage or "plain")


def half(most: int | None, pictures: int) -> int:
    """Half of the pictures that go through the network at a time; of all of them where there is no limit.

    >>> half(None, 8), half(3, 8)
    (4, 2)

    Raises:
        DoesNotFitError: It is one already.
    """
    now = min(most or pictures, pictures)
    if now <= 1:
        raise DoesNotFitError(
            "A single picture at a time needs more memory than there is: a smaller --size or a --crop needs less, and "
            "--memory 4GB would choose for a device of 4 GB."
        )
    return math.ceil(now / 2)


def retrying(learner: Learner, pictures: int, settings: Settings, attempt: Callable[[], Result]) -> Result:
    """What an attempt at a step gives, begun again with less at a time whenever memory runs out.

    Raises:
        DoesNotFitError: Not even one picture at a time fits.
    """
    while True:
        begin(learner)
        try:
            return attempt()
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        begin_again(learner)
        shrink(learner, pictures, settings)


def watching_memory(
    device: str,
    *,
    can_shrink: bool,
    free: Callable[[str], float | None] = free_memory,
    held: Callable[[str], float] = held_memory,
) -> Callable[[], None]:
    """Look at main memory before a forward pass; returns what looks again after it.

    Args:
        device: Where the pass is computed. A GPU's memory is not looked at: there, what is refused is an error.
        can_shrink: Whether anything could be done about it.
        free: Asks for the bytes that are free.
        held: Asks for the bytes that this process holds.

    Raises:
        MemoryPressesError: What is returned raises it, where the backward pass would take more than should be taken.
    """
    if device != "cpu" or not can_shrink:
        return lambda: None
    before = held(device)

    def look() -> None:
        growth = held(device) - before
        left = free(device) if growth >= RESERVE else None
        if left is not None and presses(left, growth):
            raise MemoryPressesError

    return look


def presses(free: float, growth: float) -> bool:
    """Whether a step that has taken so many bytes by the end of its forward pass should not go on.

    >>> presses(free=1024 * MEBIBYTE, growth=2048 * MEBIBYTE), presses(free=512 * MEBIBYTE, growth=2048 * MEBIBYTE)
    (False, True)
    """
    return growth >= RESERVE and free - BACKWARD_SHARE * growth < RESERVE


def looking_at_fewer(
    look: Callable[[int | None], Result], most: int | None, pictures: int
) -> tuple[Result, int | None]:
    """What a look at pictures gives that changes nothing, at fewer of them at a time whenever memory runs out.

    Args:
        look: Is told how many it may look at; None for whole batches.
        most: What it is told first.
        pictures: Of a batch.

    Returns:
        What it gave, and what it had been told.

    Raises:
        DoesNotFitError: Not even one picture at a time fits.
    """
    while True:
        try:
            return look(most), most
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        _release_memory()
        most = half(most, pictures)


def on_device_or_cpu(work: Callable[[str], Result], device: str) -> Result:
    """What a work on whole pictures gives, on the CPU where the memory of the device is too small for one of them.

    Raises:
        DoesNotFitError: Main memory is too small as well.
    """
    try:
        return work(device)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        if device == "cpu":
            raise DoesNotFitError(
                "A picture at its own size needs more memory than there is; a model file that is written already can "
                "be used where there is more."
            ) from error
    _release_memory()
    terminal.warn(f"The memory of {device} is too small for a picture at its own size: the CPU takes over here.")
    return work("cpu")


def let_go(learner: Learner) -> None:
    """Free what learning took, when all is learnt."""
    learner.optimizer.zero_grad(set_to_none=True)
    learner.optimizer.state.clear()
    learner.good = None
    _release_memory()


def _release_memory() -> None:
    """Give back what is kept for later, to whoever asks for it in other sizes."""
    gc.collect()
    torch.cuda.empty_cache()
