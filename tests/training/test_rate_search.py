import dataclasses
import math

import pytest
import torch

from maskwright.config import Settings
from maskwright.data.cache import Cache
from maskwright.data.dataset import EpochBatches, Samples, build_loader
from maskwright.models.build import build_network
from maskwright.training.freezing import pretrained_layers
from maskwright.training.rate_search import STEPS, Search, choose_rate, diverged_at, search_rates, smoothed
from maskwright.training.state import build_learner

pytestmark = pytest.mark.usefixtures("one_thread")

SETTINGS = Settings(base_channels=8, depth=1, size=32, batch_size=3, loss="ce+dice", epochs=3)
RATES = tuple(10 ** (exponent / 10 - 6) for exponent in range(60))


def curve(rate: float) -> float:
    """A loss that falls around a rate of 1e-3 and explodes above 0.1."""
    return 1.2 - 1 / (1 + (1e-3 / rate) ** 2) + (max(rate / 0.1, 1) - 1) * 2


def search(cache: Cache, settings: Settings) -> Search:
    torch.manual_seed(0)
    order = EpochBatches(range(9), settings)
    loader = build_loader(Samples(cache, settings, augment=True), order, workers=0, pin=False)
    learner = build_learner(build_network(settings.architecture()), settings, precision="fp32")
    before = {name: tensor.clone() for name, tensor in learner.network.state_dict().items()}
    found = search_rates(learner, loader, order, settings, device="cpu", show=lambda _: None)
    torch.testing.assert_close(learner.network.state_dict(), before, atol=0, rtol=0)
    return found


def test_the_rate_of_the_steepest_descent_is_chosen() -> None:
    choice = choose_rate(Search(RATES, tuple(map(curve, RATES))))
    assert choice is not None
    assert 5e-4 < choice.rate < 5e-3  # smoothing lags a little behind
    assert choice.rate == choice.steepest
    assert choice.diverged is not None
    assert 0.1 < choice.diverged < 0.6


def test_a_first_batch_with_a_large_loss_is_no_descent() -> None:
    losses = [curve(rate) + (0.8 if step == 0 else 0.05 * (-1) ** step) for step, rate in enumerate(RATES)]
    choice = choose_rate(Search(RATES, tuple(losses)))
    assert choice is not None
    assert 5e-4 < choice.rate < 5e-3


def test_it_is_at_most_a_tenth_of_where_the_loss_diverges() -> None:
    losses = [1.0] * 30 + [0.9, 0.7, 0.5, 0.3, 30.0, 90.0]
    choice = choose_rate(Search(RATES[:36], tuple(losses)))
    assert choice is not None
    assert choice.diverged == RATES[34]
    assert choice.rate == pytest.approx(RATES[34] / 10)


def test_a_loss_that_is_no_number_has_diverged_there() -> None:
    losses = [1.0] * 30 + [0.9, 0.7, 0.5, 0.3, math.nan]
    choice = choose_rate(Search(RATES[:35], tuple(losses)))
    assert choice is not None
    assert choice.diverged == RATES[34]


@pytest.mark.parametrize("losses", [(1.0,) * 60, tuple(1 + step / 100 for step in range(60)), (), (1.0, math.nan)])
def test_a_loss_that_never_falls_shows_no_rate(losses: tuple[float, ...]) -> None:
    assert choose_rate(Search(RATES[: len(losses)], losses)) is None


def test_a_moving_average_does_not_lean_to_zero() -> None:
    assert smoothed([3.0] * 5) == pytest.approx([3.0] * 5)
    assert smoothed([1.0, 2.0])[-1] == pytest.approx((0.8 * 1 + 2) / 1.8)


def test_a_loss_has_diverged_when_it_is_far_above_its_lowest_and_its_first() -> None:
    assert diverged_at([1.0, 0.2, 0.9, 1.1]) == 3
    assert diverged_at([1.0, 0.8, 1.1, 1.5]) is None


def test_a_search_learns_real_batches_and_leaves_the_network_alone(ellipse_cache: Cache) -> None:
    found = search(ellipse_cache, SETTINGS)
    assert found.rates[0] == pytest.approx(1e-6)
    ratios = [second / first for first, second in zip(found.rates, found.rates[1:], strict=False)]
    assert ratios == pytest.approx([1e6 ** (1 / (STEPS - 1))] * len(ratios))
    assert len(found.losses) == len(found.rates) > 30  # over many epochs of three batches
    choice = choose_rate(found)
    assert choice is not None
    assert 1e-4 < choice.rate < 1e-1


def test_a_search_is_the_same_each_time(ellipse_cache: Cache) -> None:
    assert search(ellipse_cache, SETTINGS) == search(ellipse_cache, SETTINGS)


def test_a_step_of_the_search_has_as_many_batches_as_one_of_the_run(ellipse_cache: Cache) -> None:
    settings = dataclasses.replace(SETTINGS, batch_size=1, accumulate=3)
    learner = build_learner(build_network(settings.architecture()), settings, precision="fp32")
    order = EpochBatches(range(9), settings)
    loader = build_loader(Samples(ellipse_cache, settings, augment=True), order, workers=0, pin=False)
    seen: list[int] = []
    learner.network.register_forward_pre_hook(lambda _, images: seen.append(len(images[0])))
    found = search_rates(learner, loader, order, settings, device="cpu", show=lambda _: None)
    assert seen == [1] * 3 * len(found.rates)


def test_what_the_run_will_hold_is_held_in_the_search_too(ellipse_cache: Cache) -> None:
    settings = Settings(encoder="efficientnet_lite0", base_channels=8, size=32, batch_size=3, epochs=1, held_levels=2)
    network = build_network(settings.architecture())
    learner = build_learner(network, settings, precision="fp32", pretrained=pretrained_layers(network))
    held: list[bool] = []
    others: list[bool] = []
    for layers, modes in ((learner.held, held), (learner.pretrained, others)):
        for layer in layers:
            layer.register_forward_hook(lambda module, *_, modes=modes: modes.append(module.training))
    order = EpochBatches(range(9), settings)
    loader = build_loader(Samples(ellipse_cache, settings, augment=True), order, workers=0, pin=False)
    minutes = dataclasses.replace(settings, minutes=1e-6)  # one step shows it
    search_rates(learner, loader, order, minutes, device="cpu", show=lambda _: None)
    assert others
    assert all(others)
    assert not any(held)


def test_minutes_too_short_for_a_search_have_none(ellipse_cache: Cache) -> None:
    assert search(ellipse_cache, dataclasses.replace(SETTINGS, epochs=None, minutes=1e-6)) == Search((), ())
