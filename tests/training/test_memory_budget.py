"""What may be used, and when anybody has to look closely."""

import dataclasses

import pytest

from maskwright.config import Architecture, Settings
from maskwright.training import memory_budget
from maskwright.training.correction import keep_correction
from maskwright.training.fitting import Way
from maskwright.training.machine_memory import CUDA_CONTEXT
from maskwright.training.memory_budget import MARGIN, Device, MemoryUse, fit_into_memory, megapixels_of, rough_bytes
from maskwright.training.memory_plan import Step, predict_peak
from maskwright.training.recipe import Speed

SMALL = Architecture(base_channels=8, depth=2)
OPEN = Settings(base_channels=8, depth=2, memory="4GB")
WISH = Way(96, 4)
SHAPES = [(64, 96), (48, 96)]
HERE, ELSEWHERE = Device("cpu", "fp32"), Device("cuda", "fp16", is_here=False)


def fit(
    settings: Settings = OPEN,
    *,
    wish: Way = WISH,
    device: Device = HERE,
    speed: Speed | None = None,
    look_closely: bool = False,
) -> MemoryUse | None:
    return fit_into_memory(wish, settings, SMALL, device, SHAPES, speed, look_closely=look_closely)


def test_where_there_is_plenty_nobody_looks_closely(monkeypatch: pytest.MonkeyPatch) -> None:
    def trace(*_: object) -> None:
        raise AssertionError("it takes seconds")

    monkeypatch.setattr(memory_budget, "trace", trace)
    assert fit() is None
    assert fit(dataclasses.replace(OPEN, memory=None)) is None


def test_on_request_it_is_looked_at_all_the_same() -> None:
    found = fit(look_closely=True)
    assert found is not None
    assert (found.fit.way, found.fit.fits, found.limit) == (WISH, True, 4e9)
    assert found.reasons == ()
    assert found.alternatives
    assert not found.returns_freed


def test_where_all_is_fixed_what_is_wished_for_is_predicted_and_nothing_else_chosen() -> None:
    short = dataclasses.replace(OPEN, memory="1MB")
    found = [
        fit_into_memory(WISH, short, SMALL, HERE, SHAPES, None, look_closely=False, is_fixed=is_fixed)
        for is_fixed in (False, True)
    ]
    assert [use is not None and (use.fit.way == WISH, use.fit.fits) for use in found] == [(False, False), (True, False)]


def test_freed_memory_is_returned_where_it_is_short_and_only_then_a_processor_shows_what_a_step_holds() -> None:
    roomy = fit(look_closely=True)
    assert roomy is not None
    short = dataclasses.replace(roomy, limit=1.2 * roomy.peak.total)
    assert (roomy.returns_freed, roomy.can_be_measured) == (False, False)
    assert (short.returns_freed, short.can_be_measured) == (True, True)
    on_a_card = dataclasses.replace(short, device="cuda")
    assert (on_a_card.returns_freed, on_a_card.can_be_measured) == (False, True)


def test_a_device_of_which_nobody_says_how_much_it_has_is_not_planned_for() -> None:
    assert fit(dataclasses.replace(OPEN, memory=None), device=Device("mps", "fp32"), look_closely=True) is None


def test_a_gpu_elsewhere_begins_with_its_context() -> None:
    found = fit(device=ELSEWHERE, look_closely=True)
    assert found is not None
    assert found.peak.process == CUDA_CONTEXT
    assert found.correction == 1


def test_what_was_measured_before_corrects_what_is_predicted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_budget, "held_memory", lambda _: 5e8)
    before = fit(look_closely=True)
    keep_correction("cpu", "fp32", 1.5)
    after = fit(look_closely=True)
    keep_correction("cpu", "fp32", 1.0)
    assert before is not None
    assert after is not None
    assert after.correction == 1.5
    assert after.peak.total - 5e8 == pytest.approx(1.5 * (before.peak.total - 5e8))


def test_time_goes_by_the_speed_where_it_was_measured() -> None:
    slow_steps = fit(speed=Speed(10.0, 0.001), look_closely=True)
    unknown = fit(look_closely=True)
    assert slow_steps is not None
    assert unknown is not None
    single = Way(96, 1, 4)
    assert {row.way: row.time for row in slow_steps.alternatives}[single] == pytest.approx(4, rel=0.01)
    assert {row.way: row.time for row in unknown.alternatives}[single] == 1


def test_a_batch_is_as_high_as_its_highest_picture_and_as_wide_as_its_widest() -> None:
    assert megapixels_of(Way(96, 2), OPEN, [(64, 96), (96, 64)]) == 2 * 96 * 96 / 1e6
    assert megapixels_of(Way(96, 2, crop=32), OPEN, [(64, 96)]) == 2 * 32 * 32 / 1e6
    halved = dataclasses.replace(OPEN, factor=0.5)
    assert megapixels_of(Way(None, 2, crop=512), halved, [(64, 96), (96, 64)]) == 2 * 48 * 48 / 1e6


@pytest.mark.parametrize(
    "architecture",
    [
        Architecture(),
        Architecture(base_channels=16, depth=5),
        Architecture(base_channels=32, unshuffle=2),
        Architecture("efficientnet_lite0", base_channels=16, unshuffle=2),
    ],
    ids=["classic", "deep", "unshuffled", "lite0"],
)
def test_the_rough_figure_is_never_so_low_that_nobody_looks(architecture: Architecture) -> None:
    for height, width, count in ((128, 128, 2), (640, 960, 2), (1280, 1920, 1)):
        peak = predict_peak(architecture, Settings(), Step(height, width, count))
        assert peak.total < MARGIN * rough_bytes(architecture, count * height * width / 1e6) < 6 * peak.total + 5e9


def test_encoders_of_others_are_always_looked_at() -> None:
    assert rough_bytes(Architecture("timm:resnet18"), 0.1) == float("inf")
