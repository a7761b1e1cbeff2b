import dataclasses
from itertools import chain

import numpy as np
import pytest
import torch
from torch import Tensor

from maskwright.config import Settings
from maskwright.data.cache import Cache
from maskwright.data.dataset import Batch, Draw, EpochBatches, InOrder, Samples, build_loader, collate

pytestmark = pytest.mark.usefixtures("one_thread")

SETTINGS = Settings(batch_size=4, seed=3)


def same(first: Batch, second: Batch) -> bool:
    return all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def batches_of(cache: Cache, settings: Settings, epoch: int, *, workers: int = 0, skip: int = 0) -> list[Batch]:
    order = EpochBatches(range(12), settings)
    order.epoch, order.skip = epoch, skip
    return list(build_loader(Samples(cache, settings, augment=True), order, workers=workers, pin=False))


# --- Samples


def test_a_sample_without_augmentation_is_the_picture(ellipse_cache: Cache) -> None:
    image, target, weight = Samples(ellipse_cache, SETTINGS, augment=False)[Draw(0, 5, half=False)]
    assert np.array_equal(image.permute(1, 2, 0).numpy(), ellipse_cache.image(5).astype(np.float32) / 255)
    assert np.array_equal(target[0].numpy(), ellipse_cache.mask(5).astype(np.float32) / 255)
    assert torch.equal(weight, torch.ones(1, 24, 32))


def test_a_sample_at_half_size_is_the_average(ellipse_cache: Cache) -> None:
    samples = Samples(ellipse_cache, SETTINGS, augment=False)
    whole, half = samples[Draw(0, 5, half=False)], samples[Draw(0, 5, half=True)]
    for large, small in zip(whole, half, strict=True):
        average = large.reshape(-1, 12, 2, 16, 2).mean((2, 4))
        torch.testing.assert_close(small, average)


def test_a_picture_one_pixel_high_can_be_halved(ellipse_cache: Cache) -> None:
    thin = dataclasses.replace(ellipse_cache, shapes=((1, 64), *ellipse_cache.shapes[1:]))
    half = Samples(thin, SETTINGS, augment=False)[Draw(0, 0, half=True)]
    assert half.images.shape == (3, 1, 32)


def test_seed_epoch_and_picture_decide_a_sample(ellipse_cache: Cache) -> None:
    samples = Samples(ellipse_cache, SETTINGS, augment=True)
    other_seed = Samples(ellipse_cache, dataclasses.replace(SETTINGS, seed=4), augment=True)
    sample = samples[Draw(2, 5, half=False)]
    samples[Draw(1, 7, half=False)]  # what was made in between leaves no trace
    assert same(sample, samples[Draw(2, 5, half=False)])
    assert not same(sample, samples[Draw(3, 5, half=False)])
    assert not same(sample, other_seed[Draw(2, 5, half=False)])


def test_the_number_of_workers_changes_nothing(ellipse_cache: Cache) -> None:
    alone, shared = (batches_of(ellipse_cache, SETTINGS, 1, workers=workers) for workers in (0, 2))
    assert len(alone) == len(shared) == 3
    assert all(same(one, other) for one, other in zip(alone, shared, strict=True))


# --- Order


def draws(order: EpochBatches) -> list[list[int]]:
    return [[draw.picture for draw in batch] for batch in order]


def test_an_epoch_is_a_permutation_of_the_pictures() -> None:
    order = EpochBatches([3, 5, 7, 11, 13, 17], Settings(batch_size=2))
    assert sorted(chain.from_iterable(draws(order))) == [3, 5, 7, 11, 13, 17]
    assert len(order) == 3


def test_seed_and_epoch_decide_the_order() -> None:
    order, again, other = (EpochBatches(range(20), Settings(seed=seed)) for seed in (0, 0, 1))
    first = draws(order)
    assert first == draws(again) != draws(other)
    order.epoch = 1
    assert draws(order) != first


def test_a_batch_that_is_not_full_waits_for_another_epoch() -> None:
    order = EpochBatches(range(10), Settings(batch_size=4))
    seen: set[int] = set()
    for epoch in range(20):
        order.epoch = epoch
        batches = draws(order)
        assert [len(batch) for batch in batches] == [4, 4]
        seen.update(*batches)
    assert seen == set(range(10))


def test_fewer_pictures_than_a_batch_make_one_of_their_own() -> None:
    order = EpochBatches([4, 9], Settings(batch_size=8))
    assert [sorted(batch) for batch in draws(order)] == [[4, 9]]
    assert len(order) == 1


def test_skipping_continues_where_the_epoch_was_left() -> None:
    order = EpochBatches(range(12), Settings(batch_size=4))
    order.epoch = 3
    whole = draws(order)
    order.skip = 2
    assert draws(order) == whole[2:]
    assert len(order) == 3


def test_skipping_leaves_the_samples_as_they_were(ellipse_cache: Cache) -> None:
    whole, rest = batches_of(ellipse_cache, SETTINGS, 1), batches_of(ellipse_cache, SETTINGS, 1, skip=1)
    assert all(same(one, other) for one, other in zip(whole[1:], rest, strict=True))


def test_batches_are_half_size_where_that_is_asked(ellipse_cache: Cache) -> None:
    order = EpochBatches(range(12), SETTINGS)
    order.is_half = lambda batch: batch < 2
    loader = build_loader(Samples(ellipse_cache, SETTINGS, augment=False), order, workers=0, pin=False)
    assert [[draw.half for draw in batch] for batch in order] == [[True] * 4, [True] * 4, [False] * 4]
    assert [float(batch.weights.sum()) for batch in loader] == [4 * 12 * 16, 4 * 12 * 16, 4 * 24 * 32]


def test_validation_takes_every_picture_once_in_order_at_full_size() -> None:
    in_order = InOrder([2, 3, 5, 7, 11], 2)
    assert [[draw.picture for draw in batch] for batch in in_order] == [[2, 3], [5, 7], [11]]
    assert not any(draw.half for batch in in_order for draw in batch)
    assert len(in_order) == 3


# --- Batches


def sample(height: int, width: int) -> Batch:
    return Batch(torch.rand(3, height, width), torch.rand(1, height, width), torch.ones(1, height, width))


def test_samples_of_any_sizes_are_padded_at_the_right_and_the_bottom() -> None:
    samples = [sample(40, 20), sample(30, 65)]
    batch = collate(samples)
    assert [tuple(tensor.shape) for tensor in batch] == [(2, 3, 64, 96), (2, 1, 64, 96), (2, 1, 64, 96)]
    for index, one in enumerate(samples):
        height, width = one.images.shape[-2:]
        for together, alone in zip(batch, one, strict=True):
            assert torch.equal(together[index, :, :height, :width], alone)


def test_padding_has_no_weight() -> None:
    weights = collate([sample(40, 20), sample(30, 65)]).weights
    assert weights.sum((1, 2, 3)).tolist() == [40 * 20, 30 * 65]
    assert weights[0, 0, :40, :20].all()


@pytest.mark.parametrize(("side", "padded"), [(1, 32), (31, 32), (32, 32), (33, 64)])
def test_sides_of_a_batch_divide_by_32(side: int, padded: int) -> None:
    assert collate([sample(side, side)]).images.shape[-2:] == (padded, padded)


def test_a_batch_moves_to_a_device_whole() -> None:
    moved: Tensor
    for moved in collate([sample(8, 8)]).to("meta"):
        assert moved.device.type == "meta"


def test_a_padded_image_repeats_its_edge() -> None:
    one = sample(40, 20)
    images = collate([one]).images[0]
    assert torch.equal(images[:, :40, 20:], one.images[:, :, -1:].expand(-1, -1, 12))
    assert torch.equal(images[:, 40:, :20], one.images[:, -1:, :].expand(-1, 24, -1))
