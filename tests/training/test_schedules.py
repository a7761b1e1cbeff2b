import pytest
import torch

from maskwright.config import Settings
from maskwright.training.schedules import Length, learning_rate_at

# --- Length


@pytest.mark.parametrize(
    ("length", "epochs", "seconds", "share"),
    [
        (Length(10, None), 2.5, 999.0, 0.25),
        (Length(10, None), 10.0, 0.0, 1.0),
        (Length(10, None), 11.0, 0.0, 1.0),
        (Length(None, 60.0), 99.0, 15.0, 0.25),
        (Length(None, 60.0), 0.0, 61.0, 1.0),
        (Length(10, 60.0), 1.0, 30.0, 0.5),
        (Length(10, 60.0), 9.0, 30.0, 0.9),
        (Length(10, 0.0), 0.0, 0.0, 1.0),
        (Length(None, None), 99.0, 999.0, 0.0),
    ],
)
def test_progress_is_the_share_of_whichever_ends_first(
    length: Length, epochs: float, seconds: float, share: float
) -> None:
    assert length.progress(epochs, seconds) == pytest.approx(share)


# --- Learning rate


def test_the_cosine_goes_from_its_peak_through_half_to_exactly_zero() -> None:
    settings = Settings(learning_rate=0.4, schedule="cosine", warmup=0.2)
    rates = [learning_rate_at(settings, progress, 0.0) for progress in (0.2, 0.6, 1.0)]
    assert rates[:2] == [0.4, pytest.approx(0.2)]
    assert rates[2] == 0.0


def test_poly_falls_to_exactly_zero_by_a_power_of_nine_tenths() -> None:
    settings = Settings(learning_rate=0.4, schedule="poly", warmup=0.2)
    rates = [learning_rate_at(settings, progress, 0.0) for progress in (0.2, 0.6, 1.0)]
    assert rates == [0.4, pytest.approx(0.4 * 0.5**0.9), 0.0]


def test_the_cosine_never_rises_after_the_warmup() -> None:
    settings = Settings(schedule="cosine", warmup=0.05)
    rates = [learning_rate_at(settings, 0.05 + 0.95 * step / 100, 0.0) for step in range(101)]
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize("schedule", ["cosine", "poly", "step", "constant"])
def test_the_warmup_rises_linearly_to_the_peak(schedule: str) -> None:
    settings = Settings(learning_rate=0.4, schedule=schedule, warmup=0.2)  # type: ignore[arg-type]
    rates = [learning_rate_at(settings, progress, 0.0) for progress in (0.05, 0.1, 0.2)]
    assert rates == pytest.approx([0.1, 0.2, 0.4])


def test_the_first_step_is_not_lost_at_a_rate_of_zero() -> None:
    assert learning_rate_at(Settings(learning_rate=0.4, warmup=0.2), 0.0, 0.0) == pytest.approx(0.004)


@pytest.mark.parametrize("schedule", ["cosine", "poly", "step", "constant"])
def test_without_a_warmup_the_run_starts_at_its_peak(schedule: str) -> None:
    settings = Settings(learning_rate=0.4, schedule=schedule, warmup=0.0)  # type: ignore[arg-type]
    assert learning_rate_at(settings, 0.0, 0.0) == 0.4


def test_a_constant_rate_stays() -> None:
    settings = Settings(learning_rate=0.4, schedule="constant")
    assert {learning_rate_at(settings, progress, 9.9) for progress in (0.05, 0.5, 1.0)} == {0.4}


@pytest.mark.parametrize("step_epochs", [1, 3])
def test_the_step_schedule_equals_torchs(step_epochs: int) -> None:
    settings = Settings(learning_rate=0.1, schedule="step", step_epochs=step_epochs, warmup=0.0)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    reference = torch.optim.lr_scheduler.StepLR(optimizer, step_size=step_epochs, gamma=0.1)
    for epoch in range(8):
        expected = reference.get_last_lr()[0]
        for batch in range(4):
            assert learning_rate_at(settings, epoch / 8, epoch + batch / 4) == pytest.approx(expected)
        optimizer.step()
        reference.step()


def test_a_corrected_end_is_reached_from_where_the_run_stands() -> None:
    length = Length(None, 70.0, paced_seconds=20.0, paced_progress=0.5)
    assert [length.progress(0, seconds) for seconds in (20.0, 45.0, 70.0, 80.0)] == [0.5, 0.75, 1.0, 1.0]
