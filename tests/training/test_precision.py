import dataclasses
import math
import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from maskwright.config import Settings
from maskwright.data.dataset import Batch
from maskwright.device import ComputePrecision
from maskwright.models.build import build_network
from maskwright.training.out_of_memory import begin
from maskwright.training.precision import find_fault
from maskwright.training.state import Learner, build_learner

pytestmark = pytest.mark.usefixtures("one_thread")

SETTINGS = Settings(base_channels=8, depth=1, size=32, loss="ce+dice", ema=0.0)


def a_learner(precision: ComputePrecision) -> Learner:
    torch.manual_seed(0)
    learner = build_learner(build_network(SETTINGS.architecture()), SETTINGS, precision=precision)
    learner.network.train()
    return learner


def a_batch(pictures: int = 3) -> Batch:
    generator = torch.Generator().manual_seed(0)
    images, targets = (torch.rand(pictures, channels, 16, 16, generator=generator) for channels in (3, 1))
    return Batch(images, targets, torch.ones(pictures, 1, 16, 16))


def spoil(learner: Learner, change: Callable[[Tensor], Tensor], *, above: int = 0) -> None:
    """Let the network compute something else in 16 bit, where there are more than so many pictures."""

    def spoilt(_network: nn.Module, _inputs: object, logits: Tensor) -> Tensor:
        return change(logits) if logits.dtype != torch.float32 and len(logits) > above else logits

    learner.network.register_forward_hook(spoilt)


def no_numbers_backward(logits: Tensor) -> Tensor:
    logits.register_hook(lambda gradient: gradient * math.nan)  # type: ignore[no-untyped-call]
    return logits


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_sound_16_bit_has_no_fault_and_trying_it_leaves_no_trace(precision: ComputePrecision) -> None:
    learner = a_learner(precision)
    learner.network.register_forward_pre_hook(lambda _, inputs: nn.functional.dropout(inputs[0], 0.1))
    begin(learner)
    before = learner.beginning
    assert before is not None
    weights = {name: tensor.clone() for name, tensor in learner.network.state_dict().items()}
    scale = learner.scaler.get_scale()
    assert find_fault(learner, a_batch(), SETTINGS) is None
    torch.testing.assert_close(learner.network.state_dict(), weights, rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), before.random["cpu"])
    assert learner.scaler.get_scale() == scale
    assert all(parameter.grad is None for parameter in learner.network.parameters())
    assert (learner.position.step, learner.position.batch, learner.beginning) == (0, 0, None)


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        (lambda logits: logits * math.nan, "no numbers"),
        (no_numbers_backward, "no numbers"),
        (lambda logits: logits + 9, "its loss is .* where fp32 has"),
    ],
    ids=["no numbers forward", "no numbers backward", "other numbers"],
)
def test_16_bit_that_computes_something_else_has_a_fault(change: Callable[[Tensor], Tensor], seen: str) -> None:
    learner = a_learner("bf16")
    spoil(learner, change)
    fault = find_fault(learner, a_batch(), SETTINGS)
    assert fault is not None
    assert re.search(seen, fault)


def test_a_fault_that_only_many_pictures_show_is_found_at_the_size_of_the_batch() -> None:
    learner = a_learner("bf16")
    spoil(learner, lambda logits: logits * math.nan, above=6)
    assert find_fault(learner, a_batch(6), SETTINGS) is None
    assert find_fault(learner, a_batch(7), SETTINGS) is not None


def test_pictures_of_no_numbers_are_not_blamed_on_16_bit() -> None:
    batch = a_batch()
    batch.images[0] = math.nan
    assert find_fault(a_learner("bf16"), batch, SETTINGS) is None


def test_fp32_is_not_tried() -> None:
    learner = a_learner("fp32")
    learner.network.register_forward_hook(lambda *_: pytest.fail("the network was asked"))
    assert find_fault(learner, a_batch(), SETTINGS) is None


def test_a_first_batch_that_does_not_fit_is_tried_in_parts() -> None:
    learner = a_learner("bf16")

    def run_out(_network: nn.Module, inputs: tuple[Tensor]) -> None:
        if len(inputs[0]) > 2:
            raise MemoryError

    learner.network.register_forward_pre_hook(run_out)
    assert find_fault(learner, a_batch(4), dataclasses.replace(SETTINGS, loss="ce")) is None
    assert learner.position.micro_batch == 2
