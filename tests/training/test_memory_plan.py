"""Predictions of memory: without content, and equal to what tracing, another tracker and the system say."""

import dataclasses
from typing import get_args

import pytest
import torch

from maskwright.config import Architecture, Settings, Storage
from maskwright.models.build import build_network
from maskwright.models.storage import store
from maskwright.training import memory_plan
from maskwright.training.losses import compute_loss
from maskwright.training.memory_plan import CannotPlanError, Peak, Step, predict_peak

SMALL = Architecture(base_channels=8, depth=2)
SETTINGS = Settings(base_channels=8, depth=2, ema=0.0)
STEP = Step(96, 128, 2)


def total(step: Step = STEP, architecture: Architecture = SMALL, settings: Settings = SETTINGS) -> float:
    return predict_peak(architecture, settings, step).total


def change(**values: object) -> Step:
    return dataclasses.replace(STEP, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("smaller", "larger"),
    [
        (STEP, change(batch_size=3)),
        (STEP, change(height=128)),
        (STEP, change(width=160)),
        (change(precision="bf16"), STEP),
        (change(storage="lean"), STEP),
        (change(storage="checkpointed"), STEP),
        (STEP, change(accumulate=2)),
    ],
)
def test_more_at_once_takes_more_and_leaner_storage_less(smaller: Step, larger: Step) -> None:
    assert total(smaller) < total(larger)


def test_a_wider_network_and_averaged_weights_take_more() -> None:
    assert total() < total(architecture=dataclasses.replace(SMALL, base_channels=16))
    assert total() < total(settings=dataclasses.replace(SETTINGS, ema=0.9))
    assert total(settings=dataclasses.replace(SETTINGS, optimizer="sgd")) < total()


def test_the_parts_add_up() -> None:
    peak = predict_peak(SMALL, SETTINGS, STEP, process=1000.0)
    learnt = sum(parameter.nbytes for parameter in build_network(SMALL).parameters())
    assert peak.total == sum(peak.parts().values())
    assert (peak.process, peak.average, peak.optimizer) == (1000.0, 0.0, 2 * learnt)
    assert peak.remembered == peak.weights > learnt  # what batch normalisation counts is weights too


@pytest.mark.parametrize("storage", get_args(Storage))
@pytest.mark.parametrize("sides", [(96, 128), (160, 416)])
def test_a_size_that_was_not_traced_is_predicted_as_if_it_had_been(
    sides: tuple[int, int], storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Step(*sides, 3, storage=storage)
    peak = predict_peak(SMALL, SETTINGS, step)
    monkeypatch.setattr(memory_plan, "TRACED_BATCH", 3)
    with memory_plan._without_content():
        network = store(build_network(SMALL), storage)
        work = memory_plan._Work("fp32", storage, held_levels=0, copies=True)
        watch = memory_plan._watch_step(network, SMALL, sides, lambda *batch: compute_loss(("ce",), *batch), work)
    traced = max(held + gradients for held, gradients in zip(watch.held, watch.gradients, strict=True))
    assert peak.activations + peak.gradients == pytest.approx(traced, rel=0.02, abs=2**20)


def test_another_tracker_sees_the_same_peak_but_for_the_copies_that_convolutions_make() -> None:
    trackers = pytest.importorskip("torch.distributed._tools.mem_tracker")
    with memory_plan._without_content():
        network = build_network(SMALL)
        tracker = trackers.MemTracker()
        tracker.track_external(network)
        with tracker:
            images, target, weight = (torch.empty(2, channels, 96, 128) for channels in (3, 1, 1))
            compute_loss(("ce",), network(images), target, weight).backward()  # type: ignore[no-untyped-call]
        seen = tracker.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"]
    peak = predict_peak(SMALL, SETTINGS, STEP, device="mps")
    assert peak.weights + peak.gradients + peak.activations == pytest.approx(seen, rel=0.01)


@pytest.mark.parametrize("storage", get_args(Storage))
def test_convolutions_of_a_cpu_copy_their_maps_in_fp32_and_nowhere_else(storage: Storage) -> None:
    def difference(step: Step) -> float:
        on_cpu, elsewhere = (predict_peak(SMALL, SETTINGS, step, device=device) for device in ("cpu", "mps"))
        return on_cpu.total - elsewhere.total

    large = change(height=512, width=512, storage=storage)
    one_map = 4 * SMALL.base_channels * large.batch_size * large.height * large.width
    # The fullest moment of lean ones is within a convolution, from 16 channels to 8.
    least, most = (1.0, 3.0) if "lean" in storage else (0.0, 1.0)
    assert least * one_map <= difference(large) <= most * one_map
    assert difference(dataclasses.replace(large, precision="bf16")) == 0


def test_levels_that_are_held_keep_nothing_for_a_backward_pass() -> None:
    architecture = Architecture(encoder="efficientnet_lite0", base_channels=8)
    learning, held = (
        predict_peak(architecture, dataclasses.replace(SETTINGS, held_levels=levels), change(height=512, width=512))
        for levels in (0, 2)
    )
    assert held.total < 0.75 * learning.total


def test_normalisation_is_traced_as_if_torch_had_done_it(monkeypatch: pytest.MonkeyPatch) -> None:
    short = [predict_peak(SMALL, SETTINGS, change(storage=storage)) for storage in get_args(Storage)]
    monkeypatch.setattr(memory_plan, "_SHORT_WAYS", {})
    monkeypatch.setattr(memory_plan, "_traced", {})
    assert [predict_peak(SMALL, SETTINGS, change(storage=storage)) for storage in get_args(Storage)] == short


def test_gradients_of_earlier_passes_are_there_from_the_first_moment_on() -> None:
    once, twice = (predict_peak(SMALL, SETTINGS, change(accumulate=count)) for count in (1, 2))
    learnt = sum(parameter.nbytes for parameter in build_network(SMALL).parameters())
    assert once.gradients < twice.gradients == learnt
    assert twice.total == pytest.approx(once.total - once.gradients + learnt)


def test_pictures_are_padded_as_the_loader_and_the_network_pad_them() -> None:
    assert total(change(height=65)) == total(change(height=96))
    deep = dataclasses.replace(SMALL, base_channels=2, depth=6)
    assert total(change(height=65), deep) == total(change(height=128), deep)


def test_a_gpu_has_allowances_and_keeps_no_weights_to_go_back_to() -> None:
    on_cpu, on_gpu = (predict_peak(SMALL, SETTINGS, STEP, device=device) for device in ("cpu", "cuda"))
    assert (on_cpu.allowance, on_gpu.remembered) == (0.0, 0.0)
    assert on_gpu.allowance > memory_plan.CUDA_SCRATCH


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_correction_multiplies_all_but_what_was_there_before(device: str) -> None:
    plain, corrected = (
        predict_peak(SMALL, SETTINGS, STEP, device=device, process=5e6, correction=factor) for factor in (1.0, 1.25)
    )
    assert corrected.total - 5e6 == pytest.approx(1.25 * (plain.total - 5e6))


def test_lovasz_takes_memory_for_sorting() -> None:
    assert total(settings=dataclasses.replace(SETTINGS, loss="ce+lovasz")) > total()


def test_a_step_is_traced_once() -> None:
    predict_peak(SMALL, SETTINGS, STEP)
    before = len(memory_plan._traced)
    predict_peak(SMALL, SETTINGS, change(height=480, batch_size=7))
    assert len(memory_plan._traced) == before


def test_tracing_takes_no_memory_and_no_random_numbers() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    huge = predict_peak(SMALL, SETTINGS, Step(100_000, 100_000, 16))
    assert huge.total > 1e12
    assert torch.equal(torch.get_rng_state(), before)


def test_a_network_that_looks_at_its_tensors_cannot_be_planned_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Looking(torch.nn.Conv2d):
        coarsest = 1

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x * x.sum().item())

    monkeypatch.setattr(memory_plan, "build_network", lambda _: Looking(3, 1, 1))
    with pytest.raises(CannotPlanError, match="cannot be predicted"):
        predict_peak(dataclasses.replace(SMALL, base_channels=9), SETTINGS, STEP)


def test_a_peak_names_its_parts() -> None:
    assert list(Peak(1, 2, 3, 4, 5, 6, 7).parts())[:3] == ["process", "weights", "average"]
