"""The check before a run: what it says of sound and of hopeless material, and that it leaves no trace."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from maskwright.config import Settings
from maskwright.data.cache import Cache
from maskwright.data.dataset import Batch, Samples
from maskwright.models.build import build_network
from maskwright.training.overfit import (
    LEAST_STEPS,
    PICTURES,
    STEPS,
    Overfit,
    blind_dice,
    choose_pictures,
    cut_out,
    find_no_overfit,
    learn_by_heart,
    seconds_for,
)
from tests.other_masks import with_masks

pytestmark = pytest.mark.usefixtures("one_thread")

SETTINGS = Settings(base_channels=8, depth=2, size=32, loss="ce+dice", epochs=3)
NAMES = ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]


def network(settings: Settings = SETTINGS) -> nn.Module:
    torch.manual_seed(0)
    return build_network(settings.architecture())


def learn(
    batch: Batch, learner: nn.Module | None = None, *, afford: Callable[[float], float] = lambda _: math.inf
) -> Overfit:
    return learn_by_heart(
        learner or network(),
        batch,
        SETTINGS,
        precision="fp32",
        scored_classes=(1,),
        afford=afford,
        show=lambda _: None,
        pictures=range(PICTURES),
    )


def noisy_masks() -> Tensor:
    return (torch.rand(PICTURES, 1, 32, 32, generator=torch.Generator().manual_seed(0)) > 0.5).float()


@pytest.fixture
def ellipse_batch(ellipse_cache: Cache) -> Batch:
    return cut_out(Samples(ellipse_cache, SETTINGS, augment=False), [0, 3, 5, 8], 128)


# --- What it finds


def test_pictures_and_masks_that_belong_together_are_learnt(ellipse_batch: Batch) -> None:
    overfit = learn(ellipse_batch)
    assert overfit.losses[-1] <= 0.95 * overfit.losses[0]
    assert overfit.dices[-1] > overfit.blind_dice + 0.3 * (1 - overfit.blind_dice)
    assert len(overfit.losses) < STEPS  # no longer than it has to be
    assert find_no_overfit(overfit, SETTINGS, NAMES, precision="fp32") is None


def test_blank_pictures_are_not_learnt_and_the_hardest_are_named() -> None:
    blank = Batch(torch.zeros(PICTURES, 3, 32, 32), noisy_masks(), torch.ones(PICTURES, 1, 32, 32))
    overfit = learn(blank)
    assert len(overfit.losses) == STEPS
    found = find_no_overfit(overfit, SETTINGS, NAMES, precision="fp32")
    assert found is not None
    assert found.name == "cannot-overfit"
    hardest = max(range(PICTURES), key=lambda place: overfit.picture_losses[place])
    assert f"the largest losses have {NAMES[hardest]}" in found.sentence
    assert "maskwright check" in found.sentence


def test_a_frozen_network_is_told_as_such(ellipse_batch: Batch) -> None:
    frozen = network().requires_grad_(False)
    found = find_no_overfit(learn(ellipse_batch, frozen), SETTINGS, NAMES, precision="fp32")
    assert found is not None
    assert "no gradient reaches the weights" in found.sentence


def test_layers_that_are_held_are_held_here_too(ellipse_batch: Batch) -> None:
    held = network()
    norm = next(module for module in held.modules() if isinstance(module, nn.BatchNorm2d)).eval()
    learned: list[bool] = []
    norm.register_forward_hook(lambda module, *_: learned.append(module.training))
    learn(ellipse_batch, held)
    assert learned
    assert not any(learned)


def test_foreground_that_vanishes_at_this_size_is_told(ellipse_batch: Batch) -> None:
    targets = torch.zeros_like(ellipse_batch.targets)
    targets[0, 0, 0, 0] = 1
    overfit = dataclasses.replace(learn(ellipse_batch._replace(targets=targets)), losses=(0.7,) * STEPS, dices=(0.0,))
    found = find_no_overfit(overfit, SETTINGS, NAMES, precision="fp32")
    assert found is not None
    assert "too small at --size 32" in found.sentence
    by_factor = find_no_overfit(overfit, dataclasses.replace(SETTINGS, size=None, factor=0.25), NAMES, precision="fp32")
    assert by_factor is not None
    assert "too small at --factor 0.25" in by_factor.sentence


def test_lines_thinner_than_half_a_pixel_are_too_small_however_much_they_cover(ellipse_batch: Batch) -> None:
    targets = torch.full_like(ellipse_batch.targets, 0.2)
    overfit = dataclasses.replace(learn(ellipse_batch._replace(targets=targets)), losses=(0.7,) * STEPS, dices=(0.0,))
    found = find_no_overfit(overfit, SETTINGS, NAMES, precision="fp32")
    assert found is not None
    assert "only 20 % of it is foreground, in specks or lines" in found.sentence
    assert "too small at --size 32" in found.sentence


def test_a_loss_that_is_no_number_is_told_at_once(ellipse_batch: Batch) -> None:
    overfit = learn(ellipse_batch._replace(images=ellipse_batch.images * math.nan))
    found, found_in_fp32 = (
        find_no_overfit(overfit, SETTINGS, NAMES, precision=precision) for precision in ("bf16", "fp32")
    )
    assert len(overfit.losses) == 1
    assert found is not None
    assert "use --precision fp32" in found.sentence
    assert found_in_fp32 is not None
    assert f"try --norm group, or another loss than {SETTINGS.loss}" in found_in_fp32.sentence
    assert overfit.to_json()["loss"] == [None, None]


def test_nothing_is_said_where_there_was_no_time() -> None:
    blank = Batch(torch.zeros(PICTURES, 3, 32, 32), noisy_masks(), torch.ones(PICTURES, 1, 32, 32))
    overfit = learn(blank, afford=lambda _: 0.0)
    assert len(overfit.losses) == 1
    assert find_no_overfit(overfit, SETTINGS, NAMES, precision="fp32") is None


@pytest.mark.parametrize(("last", "is_said"), [(0.99, True), (0.9, False)])
def test_half_a_check_condemns_only_what_learnt_nothing(last: float, is_said: bool) -> None:
    losses = (1.0,) * (LEAST_STEPS - 1) + (last,)
    overfit = Overfit((0, 1, 2, 3), losses, (0.1, 0.1), 0.2, (0.1, 0.2, 0.3, 0.4), 0.5, moves=True, seconds=1.0)
    assert (find_no_overfit(overfit, SETTINGS, NAMES, precision="fp32") is not None) is is_said


def test_a_network_that_knows_the_pictures_already_passes_at_once(ellipse_batch: Batch) -> None:
    overfit = Overfit((0,), (0.05,), (0.95,), 0.5, (0.05,), 0.5, moves=False, seconds=0.1)
    assert find_no_overfit(overfit, SETTINGS, NAMES, precision="fp32") is None


# --- What it leaves


def test_the_network_and_the_random_state_stay_as_they_were(ellipse_batch: Batch) -> None:
    kept = network()
    before = {name: tensor.clone() for name, tensor in kept.state_dict().items()}
    random_state = torch.get_rng_state()
    learn(ellipse_batch, kept)
    torch.testing.assert_close(kept.state_dict(), before, atol=0, rtol=0)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(parameter.grad is None for parameter in kept.parameters())


# --- What is learnt


def test_pictures_without_foreground_are_not_chosen() -> None:
    assert sorted(choose_pictures([0.0, 0.1, 0.0, 0.2, 0.3, 0.4], range(6), seed=1)) == [1, 3, 4, 5]


def test_one_answer_for_all_pixels_is_scored() -> None:
    targets = torch.zeros(2, 1, 4, 4)
    targets[:, :, :2] = 1
    assert blind_dice(Batch(targets, targets, torch.ones(2, 1, 4, 4)), (1,)) == pytest.approx(2 / 3)
    several = torch.cat([targets, 1 - targets, torch.zeros(2, 1, 4, 4)], dim=1)
    assert blind_dice(Batch(several, several, torch.ones(2, 1, 4, 4)), (1, 2)) == pytest.approx(2 / 3)


def test_few_pictures_are_taken_twice() -> None:
    assert choose_pictures([0.0, 0.1, 0.3], [0, 1], seed=0) == [1, 1, 1, 1]


def test_a_cut_out_shows_foreground_and_background(ellipse_cache: Cache) -> None:
    corner = np.zeros((128, 256), np.uint8)
    corner[100:, 220:] = 1
    batch = cut_out(with_masks(ellipse_cache, [corner] * 12, longer_side=256), [0], 64)
    assert batch.images.shape == (1, 3, 64, 64)
    assert batch.targets.sum() == corner.sum()


def test_pictures_smaller_than_the_cut_out_are_padded_with_what_does_not_count(ellipse_cache: Cache) -> None:
    batch = cut_out(Samples(ellipse_cache, SETTINGS, augment=False), [0, 1], 128)
    assert batch.images.shape == (2, 3, 32, 32)
    assert batch.weights[:, :, :24].all()
    assert not batch.weights[:, :, 24:].any()


# --- What it costs


@pytest.mark.parametrize(
    ("minutes", "epochs", "step_seconds", "seconds"),
    [(1.0, None, 0.1, 1.2), (60.0, None, 0.1, 6.0), (None, 10, 0.1, 1.0), (60.0, 10, 0.1, 1.0)],
)
def test_it_costs_a_fiftieth_of_the_run_and_six_seconds_at_most(
    minutes: float | None, epochs: int | None, step_seconds: float, seconds: float
) -> None:
    batch = Batch(torch.zeros(4, 3, 32, 32), torch.zeros(4, 1, 32, 32), torch.ones(4, 1, 32, 32))
    settings = dataclasses.replace(SETTINGS, minutes=minutes, epochs=epochs)
    afford = seconds_for(settings, batch, pixels=50 * 4 * 32 * 32)  # fifty steps an epoch
    assert afford(step_seconds) == pytest.approx(seconds)
