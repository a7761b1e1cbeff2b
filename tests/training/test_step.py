import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from maskwright.config import Settings
from maskwright.data.dataset import Batch
from maskwright.errors import DoesNotFitError
from maskwright.models.build import build_network
from maskwright.models.lean import LeanDoubleConv
from maskwright.training.state import Learner, build_learner
from maskwright.training.step import MOST_SKIPPED, add_gradients, make_step, move_weights, parts_of

pytestmark = pytest.mark.usefixtures("one_thread")

SETTINGS = Settings(base_channels=8, depth=1, size=32, loss="ce", ema=0.0, clip_norm=0.0)
FULL = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 42 bytes"


def a_batch(pictures: int, *, side: int = 16, dtype: torch.dtype = torch.float32) -> Batch:
    """Noise, of which fewer pixels count from picture to picture."""
    generator = torch.Generator().manual_seed(0)
    images, targets = (torch.rand(pictures, channels, side, side, generator=generator) for channels in (3, 1))
    weights = torch.ones(pictures, 1, side, side)
    for place in range(pictures):
        weights[place, :, :place] = 0
    return Batch(images.to(dtype), targets.to(dtype), weights.to(dtype))


def a_learner(settings: Settings = SETTINGS, **changes: Any) -> Learner:
    torch.manual_seed(0)
    learner = build_learner(build_network(settings.architecture()), settings, precision="fp32")
    learner.network.train()
    return dataclasses.replace(learner, **changes)


def gradients(learner: Learner) -> list[Tensor | None]:
    return [parameter.grad for parameter in learner.network.parameters()]


def run_out(learner: Learner, *, above: int, when: str, error: Callable[[], Exception]) -> None:
    """Let memory run out wherever more than so many pictures go through the network at once."""

    def fail(gradient: Tensor) -> Tensor:
        if len(gradient) > above:
            raise error()
        return gradient

    def watch(_network: nn.Module, inputs: tuple[Tensor], logits: Tensor) -> None:
        torch.rand(1)  # as dropout would
        if when == "forward" and len(inputs[0]) > above:
            raise error()
        if when == "backward":
            logits.register_hook(fail)  # type: ignore[no-untyped-call]

    def watch_stem(_stem: nn.Module, _inputs: object, maps: Tensor) -> None:
        if when == "late in the backward pass" and maps.requires_grad:
            maps.register_hook(fail)  # type: ignore[no-untyped-call]

    learner.network.register_forward_hook(watch)
    learner.network.get_submodule("stem").register_forward_hook(watch_stem)


def spoil_gradients(weight: nn.Parameter, when: Iterator[bool]) -> None:
    """Let the gradients of a weight become no numbers in some steps."""
    weight.register_hook(  # type: ignore[no-untyped-call]
        lambda gradient: gradient * math.inf if next(when) else gradient
    )


# --- A batch in parts


@pytest.mark.parametrize("loss", ["ce", "focal", "ce+focal"])
@pytest.mark.parametrize("most", [1, 2, 4])
def test_gradients_of_parts_add_up_to_those_of_the_batch(loss: str, most: int) -> None:
    settings = dataclasses.replace(SETTINGS, loss=loss, norm="group")
    found = []
    for micro_batch in (None, most):
        learner = a_learner(settings)
        learner.network.double()
        learner.position.micro_batch = micro_batch
        outcome = add_gradients(learner, a_batch(5, dtype=torch.float64), settings)
        found.append((outcome.loss, outcome.dices, gradients(learner)))
    torch.testing.assert_close(*found, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(("most", "sizes"), [(None, [5]), (5, [5]), (4, [3, 2]), (2, [2, 2, 1]), (1, [1] * 5)])
def test_parts_are_of_nearly_one_size(most: int | None, sizes: list[int]) -> None:
    parts = list(parts_of(a_batch(5), most))
    assert [len(part.images) for part, _ in parts] == sizes
    assert sum(share for _, share in parts) == pytest.approx(1)
    assert torch.equal(torch.cat([part.targets for part, _ in parts]), a_batch(5).targets)


def test_pictures_of_which_nothing_counts_share_alike() -> None:
    batch = a_batch(4)
    empty = batch._replace(weights=torch.zeros_like(batch.weights))
    assert [share for _, share in parts_of(empty, 1)] == [0.25] * 4


def test_batch_normalisation_takes_note_of_each_part() -> None:
    learner = a_learner()
    learner.position.micro_batch = 2
    make_step(learner, a_batch(5), SETTINGS)
    assert learner.network.state_dict()["stem.1.num_batches_tracked"] == 3


def test_a_tiny_picture_alone_can_be_normalised() -> None:
    settings = dataclasses.replace(SETTINGS, depth=4)
    learner = a_learner(settings)
    learner.position.micro_batch = 1
    assert math.isfinite(make_step(learner, a_batch(2, side=16), settings).loss)  # one value a channel, but for padding


# --- Memory


@pytest.mark.parametrize(
    ("when", "error"),
    [
        ("forward", lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")),
        ("backward", lambda: RuntimeError(FULL)),
        ("late in the backward pass", MemoryError),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_step_that_ran_out_of_memory_is_the_step_in_smaller_parts(when: str, error: Callable[[], Exception]) -> None:
    settings = dataclasses.replace(SETTINGS, storage="lean+checkpointed")  # nothing less can be kept
    learners = [a_learner() for _ in range(2)]
    for learner, above in zip(learners, (2, 99), strict=True):
        run_out(learner, above=above, when=when, error=error)
    learners[1].position.micro_batch = 2
    ends = []
    for learner in learners:
        torch.manual_seed(1)
        outcomes = [make_step(learner, a_batch(5), settings) for _ in range(3)]
        losses = [outcome.loss for outcome in outcomes]
        ends.append((losses, outcomes[-1].dices, learner.network.state_dict(), torch.get_rng_state()))
    torch.testing.assert_close(*ends, rtol=0, atol=0)
    assert [learner.position.step for learner in learners] == [3, 3]
    assert learners[0].position.micro_batch == 2


def test_a_batch_that_does_not_fit_is_stored_lean() -> None:
    learners = [a_learner() for _ in range(2)]
    short, plain = learners

    def run_out(_network: nn.Module, _inputs: object) -> None:
        if short.position.storage is None:
            raise MemoryError

    short.network.register_forward_pre_hook(run_out)
    for learner in learners:
        make_step(learner, a_batch(2), SETTINGS)
    assert (short.position.micro_batch, short.position.storage) == (None, "lean")
    assert isinstance(short.network.get_submodule("stem"), LeanDoubleConv)
    torch.testing.assert_close(short.network.state_dict(), plain.network.state_dict(), rtol=1e-4, atol=1e-5)


def test_a_picture_that_does_not_fit_is_said() -> None:
    learner = a_learner()
    before = {name: tensor.clone() for name, tensor in learner.network.state_dict().items()}
    run_out(learner, above=0, when="forward", error=MemoryError)
    with pytest.raises(DoesNotFitError, match="--size"):
        make_step(learner, a_batch(4), SETTINGS)
    torch.testing.assert_close(learner.network.state_dict(), before, rtol=0, atol=0)


def test_other_errors_are_not_taken_for_want_of_memory() -> None:
    learner = a_learner()
    run_out(learner, above=0, when="forward", error=lambda: RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="mat1"):
        make_step(learner, a_batch(4), SETTINGS)


def test_memory_for_the_optimizer_is_found_before_any_weight_moves() -> None:
    learner = a_learner()
    endless = nn.Parameter(torch.zeros(1).expand(2**50))
    endless.grad = torch.zeros(1).expand(2**50)
    learner.optimizer.add_param_group({"params": [endless]})
    add_gradients(learner, a_batch(2), SETTINGS)
    before = {name: tensor.clone() for name, tensor in learner.network.state_dict().items()}
    with pytest.raises(RuntimeError, match="allocate"):
        move_weights(learner, clip_norm=0.0)
    torch.testing.assert_close(learner.network.state_dict(), before, rtol=0, atol=0)


# --- Numbers that are none


@pytest.mark.parametrize("micro_batch", [None, 2])
def test_a_loss_that_is_no_number_moves_nothing(micro_batch: int | None) -> None:
    learner, batch = a_learner(), a_batch(4)
    learner.position.micro_batch = micro_batch
    batch.images[3] = math.nan
    before = [parameter.clone() for parameter in learner.network.parameters()]
    with pytest.raises(FloatingPointError):
        make_step(learner, batch, SETTINGS)
    torch.testing.assert_close(list(learner.network.parameters()), before, rtol=0, atol=0)


def test_a_loss_scaling_that_finds_no_scale_is_broken() -> None:
    learner = a_learner(scaler=torch.amp.GradScaler("cpu", init_scale=2.0**40))
    weight = learner.network.get_parameter("head.weight")
    spoil_gradients(weight, itertools.repeat(True))
    before = weight.clone()
    for _ in range(MOST_SKIPPED - 1):
        make_step(learner, a_batch(2), SETTINGS)
    with pytest.raises(FloatingPointError):
        make_step(learner, a_batch(2), SETTINGS)
    assert torch.equal(weight, before)


def test_a_loss_scale_below_one_is_broken() -> None:
    learner = a_learner(scaler=torch.amp.GradScaler("cpu", init_scale=2.0))
    spoil_gradients(learner.network.get_parameter("head.weight"), itertools.repeat(True))
    make_step(learner, a_batch(2), SETTINGS)
    with pytest.raises(FloatingPointError):
        make_step(learner, a_batch(2), SETTINGS)


def test_steps_that_the_loss_scaling_leaves_out_now_and_then_are_its_way() -> None:
    learner = a_learner(scaler=torch.amp.GradScaler("cpu", init_scale=2.0**60))
    spoil_gradients(learner.network.get_parameter("head.weight"), itertools.cycle([True, True, False]))
    for _ in range(30):
        make_step(learner, a_batch(2), SETTINGS)
    assert learner.position.skipped == 0
