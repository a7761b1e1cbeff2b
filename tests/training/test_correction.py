"""Corrections of predicted memory: measured, kept, and used by what comes later."""

from pathlib import Path

import pytest

from maskwright.training import correction
from maskwright.training.correction import PeakWatch, keep_correction, read_correction
from maskwright.training.memory_plan import Peak


@pytest.fixture(autouse=True)
def _a_cache_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKWRIGHT_CACHE", str(tmp_path / "cache"))


def a_peak(*, process: float, activations: float) -> Peak:
    return Peak(process, 0.0, 0.0, 0.0, 0.0, 0.0, activations)


def test_what_is_kept_is_read_later_for_the_same_device_and_precision_only() -> None:
    assert read_correction("cpu", "fp32") == 1.0
    keep_correction("cpu", "fp32", 1.1)
    keep_correction("cpu", "bf16", 0.9)
    assert (read_correction("cpu", "fp32"), read_correction("cpu", "bf16")) == (1.1, 0.9)
    assert read_correction("mps", "fp32") == 1.0


def test_a_damaged_file_and_a_folder_that_cannot_be_made_are_as_good_as_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_correction("cpu", "fp32", 1.1)
    (tmp_path / "cache/memory.json").write_text("[1, 2")
    assert read_correction("cpu", "fp32") == 1.0
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MASKWRIGHT_CACHE", str(tmp_path / "file"))
    keep_correction("cpu", "fp32", 1.1)
    assert read_correction("cpu", "fp32") == 1.0


def watch_with(monkeypatch: pytest.MonkeyPatch, real: float, *, factor: float = 1.0, **options: float) -> PeakWatch:
    """A watch on a device that says what we want."""
    monkeypatch.setattr(correction, "peak_memory", lambda _: real)
    peak = a_peak(process=100.0, activations=1000.0 * factor)
    return PeakWatch(peak, factor, device="cpu", precision="fp32", **options)  # type: ignore[arg-type]


def test_two_whole_steps_after_a_first_one_are_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = watch_with(monkeypatch, 1300.0, batches=2)
    assert [watch.note_batch(0.1) for _ in range(7)] == [None, None, None, None, 1300.0, None, None]
    assert read_correction("cpu", "fp32") == 1.2


def test_a_correction_is_of_what_was_predicted_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = watch_with(monkeypatch, 1300.0, factor=1.2)
    for _ in range(3):
        watch.note_batch(0.0)
    assert read_correction("cpu", "fp32") == pytest.approx(1.2)


def test_small_pictures_are_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = watch_with(monkeypatch, 1300.0, small_until=0.3)
    assert [watch.note_batch(progress) for progress in (0.0, 0.1, 0.2, 0.29)] == [None] * 4
    assert [watch.note_batch(progress) for progress in (0.3, 0.31, 0.32)] == [None, None, 1300.0]


def test_what_cannot_be_a_steps_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = watch_with(monkeypatch, 50_000.0)
    assert [watch.note_batch(0.0) for _ in range(3)][-1] == 50_000.0
    assert read_correction("cpu", "fp32") == 1.0


def test_memory_that_runs_out_would_have_needed_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = watch_with(monkeypatch, 700.0)
    watch.note_batch(0.0)
    watch.note_shortage(1250.0)
    watch.note_shortage(1900.0)  # what happens later says nothing of the step that was predicted
    assert [watch.note_batch(0.0) for _ in range(3)] == [None] * 3
    assert read_correction("cpu", "fp32") == 1.15
