import dataclasses
import os
import signal
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from maskwright.config import Settings
from maskwright.data.cache import Cache, CacheFolder, build_cache
from maskwright.data.dataset import (
    ADDED_WEIGHT,
    Batch,
    Draw,
    EpochBatches,
    InOrder,
    Samples,
    build_loader,
    telling_of_workers,
)
from maskwright.data.labels import IGNORED
from maskwright.data.pairs import Pair
from maskwright.data.resizing import Resize
from maskwright.errors import DoesNotFitError, InputError

pytestmark = pytest.mark.usefixtures("one_thread")

SETTINGS = Settings(batch_size=4, seed=3)


def cache_of(
    pictures: Sequence[tuple[NDArray[np.uint8], NDArray[np.uint8]]],
    folder: Path,
    *,
    num_classes: int = 2,
    longer_side: int,
) -> Cache:
    """Arrays as if they had been read from files."""
    pairs = []
    for index, picture in enumerate(pictures):
        path = folder / f"{index}.bin"
        path.write_bytes(b"".join(array.tobytes() for array in picture))
        pairs.append(Pair(str(index), path, path))
    cache, problems = build_cache(
        pairs,
        CacheFolder(folder / "cache"),
        read=lambda pair: pictures[int(pair.name)],
        num_classes=num_classes,
        settings_key="",
        resize=Resize(size=longer_side),
        advance=lambda: None,
    )
    assert not problems
    return cache


def picture(
    height: int, width: int, *, channels: int = 3, classes: int = 2
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    rng = np.random.default_rng(height + width)
    return (
        rng.integers(0, 256, (height, width, channels), dtype=np.uint8),
        rng.integers(0, classes, (height, width), dtype=np.uint8),
    )


def same(first: Batch, second: Batch) -> bool:
    return all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def batches_of(cache: Cache, settings: Settings, epoch: int, *, workers: int = 0, skip: int = 0) -> list[Batch]:
    order = EpochBatches(range(12), settings)
    order.epoch, order.skip = epoch, skip
    return list(build_loader(Samples(cache, settings, augment=True), order, workers=workers, pin=False))


# --- Samples


def test_only_a_foreground_in_colour_is_tinted(tmp_path: Path) -> None:
    still = Settings(flip=0.0, scale=0.0, shift=0.0, rotate=0.0, colour=0.0)
    for channels, classes, is_tinted in ((3, 2, True), (1, 2, False), (3, 4, False)):
        folder = tmp_path / f"{channels}-{classes}"
        folder.mkdir()
        pictures = [picture(32, 48, channels=channels, classes=classes)]
        cache = cache_of(pictures, folder, num_classes=classes, longer_side=48)
        plain, tinted = (
            Samples(cache, dataclasses.replace(still, tint=tint), augment=True)[Draw(0, 0, half=False)]
            for tint in (0.0, 1.0)
        )
        assert torch.equal(plain.targets, tinted.targets)
        changed = (plain.images != tinted.images).any(0)
        assert bool(changed.any()) == is_tinted
        if is_tinted:
            assert not changed[plain.targets[0] == 0].any()


def test_a_sample_without_augmentation_is_the_picture(ellipse_cache: Cache) -> None:
    image, target, weight = Samples(ellipse_cache, SETTINGS, augment=False)[Draw(0, 5, half=False)]
    np.testing.assert_allclose(image.permute(1, 2, 0) * 255, ellipse_cache.image(5), atol=1e-4)
    np.testing.assert_allclose(target[0] * 255, ellipse_cache.target(5)[..., 0], atol=1e-4)
    assert torch.equal(weight, torch.ones(1, 24, 32))


@pytest.mark.parametrize("channels", [1, 3, 4, 7])
@pytest.mark.parametrize("num_classes", [2, 5])
@pytest.mark.parametrize("augment", [False, True])
def test_any_channels_and_classes_make_samples(channels: int, num_classes: int, augment: bool, tmp_path: Path) -> None:
    image, mask = picture(32, 48, channels=channels, classes=num_classes)
    cache = cache_of([(image, mask)], tmp_path, num_classes=num_classes, longer_side=48)
    sample = Samples(cache, SETTINGS, augment=augment)[Draw(0, 0, half=False)]
    assert sample.images.shape == (channels, 32, 48)
    assert sample.targets.shape == (1 if num_classes == 2 else num_classes, 32, 48)
    assert sample.weights.shape == (1, 32, 48)
    for tensor in sample:
        assert tensor.min() >= 0
        assert tensor.max() <= 1
    if num_classes > 2:
        assert sample.targets.sum(0)[sample.weights[0] > 0].sub(1).abs().max() < 1e-6
    if not augment:
        np.testing.assert_allclose(sample.images.permute(1, 2, 0) * 255, image, atol=1e-4)
        truth = sample.targets[0] >= 0.5 if num_classes == 2 else sample.targets.argmax(0)
        assert np.array_equal(truth, mask)


def test_only_colour_pictures_are_recoloured(tmp_path: Path) -> None:
    still = Settings(flip=0.0, scale=0.0, shift=0.0, rotate=0.0, colour=0.5)
    for channels in (1, 3, 4):
        (tmp_path / str(channels)).mkdir()
        cache = cache_of([picture(32, 48, channels=channels)], tmp_path / str(channels), longer_side=48)
        plain, augmented = (Samples(cache, still, augment=augment)[Draw(0, 0, half=False)] for augment in (False, True))
        assert torch.equal(plain.images, augmented.images) == (channels != 3)
        assert torch.equal(plain.targets, augmented.targets)


@pytest.mark.parametrize("num_classes", [2, 4])
def test_ignored_pixels_have_no_weight_wherever_they_move(num_classes: int, tmp_path: Path) -> None:
    image, mask = picture(64, 64, classes=num_classes)
    mask[:, 20:50] = IGNORED
    image[:] = np.where(mask == IGNORED, 0, 255)[..., None]
    cache = cache_of([(image, mask)], tmp_path, num_classes=num_classes, longer_side=64)
    settings = Settings(colour=0.0)
    for augment in (False, True):
        sample = Samples(cache, settings, augment=augment)[Draw(0, 0, half=False)]
        counts = sample.weights[0] > 0
        assert not counts[sample.images[0] == 0].any()
        assert counts[sample.images[0] == 1].float().mean() > 0.98


def test_beyond_the_edge_nothing_counts(tmp_path: Path) -> None:
    cache = cache_of([(np.full((64, 64, 3), 255, np.uint8), np.ones((64, 64), np.uint8))], tmp_path, longer_side=64)
    settings = Settings(flip=0.0, scale=0.0, shift=0.5, rotate=0.0, colour=0.0)
    sample = Samples(cache, settings, augment=True)[Draw(0, 0, half=False)]
    counts = sample.weights[0] == 1
    assert 0.1 < counts.float().mean() < 0.9
    assert (sample.targets[0][counts] == 1).all()
    assert (sample.images[:, counts] == 1).all()
    assert (sample.weights[0][~counts] == 0).all()


def test_a_sample_at_half_size_is_the_average(ellipse_cache: Cache) -> None:
    samples = Samples(ellipse_cache, SETTINGS, augment=False)
    whole, half = samples[Draw(0, 5, half=False)], samples[Draw(0, 5, half=True)]
    for large, small in zip(whole, half, strict=True):
        average = large.reshape(-1, 12, 2, 16, 2).mean((2, 4))
        torch.testing.assert_close(small, average)


def test_at_half_size_ignored_pixels_have_no_say(tmp_path: Path) -> None:
    image, mask = picture(32, 32)
    mask[:, :] = [1, IGNORED] * 16
    cache = cache_of([(image, mask)], tmp_path, longer_side=32)
    half = Samples(cache, SETTINGS, augment=False)[Draw(0, 0, half=True)]
    torch.testing.assert_close(half.targets, torch.ones(1, 16, 16))
    torch.testing.assert_close(half.weights, torch.full((1, 16, 16), 0.5))


def test_at_half_size_pixels_have_a_say_by_what_counts_of_them(tmp_path: Path) -> None:
    image, mask = picture(64, 64)
    mask[:, :] = [0, 0, 1, IGNORED] * 16
    cache = cache_of([(image, mask)], tmp_path, longer_side=32)
    half = Samples(cache, SETTINGS, augment=False)[Draw(0, 0, half=True)]
    torch.testing.assert_close(half.targets, torch.full((1, 16, 16), 1 / 3), atol=0.01, rtol=0)
    torch.testing.assert_close(half.weights, torch.full((1, 16, 16), 0.75), atol=0.01, rtol=0)


def test_between_two_classes_lies_no_third(tmp_path: Path) -> None:
    image, mask = picture(64, 96)
    cache = cache_of([(image, 4 * mask)], tmp_path, num_classes=5, longer_side=48)
    sample = Samples(cache, SETTINGS, augment=True)[Draw(0, 0, half=False)]
    assert sample.targets[[0, 4]].amax((1, 2)).min() > 0.9
    assert not sample.targets[1:4].any()


def test_a_picture_one_pixel_high_can_be_halved(tmp_path: Path) -> None:
    cache = cache_of([picture(1, 64)], tmp_path, longer_side=64)
    half = Samples(cache, SETTINGS, augment=False)[Draw(0, 0, half=True)]
    assert half.images.shape == (3, 1, 32)


def test_a_side_of_odd_length_is_halved_downwards(tmp_path: Path) -> None:
    cache = cache_of([picture(33, 45)], tmp_path, longer_side=45)
    half = Samples(cache, SETTINGS, augment=True)[Draw(0, 0, half=True)]
    assert half.images.shape == (3, 16, 22)


def kill_process(_pair: Pair) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise SystemExit


def run_out(_pair: Pair) -> NoReturn:
    raise DoesNotFitError("a.png takes more memory than there is.")


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


@pytest.mark.parametrize("workers", [0, 1])
def test_a_picture_that_is_gone_is_said_in_a_sentence(workers: int, ellipse_cache: Cache) -> None:
    nowhere = tuple(dataclasses.replace(entry, path=None) for entry in ellipse_cache.entries)
    ellipse_cache.pairs[0].image.unlink()
    with pytest.raises(InputError, match=f"^{ellipse_cache.pairs[0].image} [^\n]*$"), telling_of_workers():
        batches_of(dataclasses.replace(ellipse_cache, entries=nowhere), SETTINGS, 1, workers=workers)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_picture_that_memory_is_too_small_for_is_said_in_a_sentence(workers: int, ellipse_cache: Cache) -> None:
    nowhere = tuple(dataclasses.replace(entry, path=None) for entry in ellipse_cache.entries)
    with pytest.raises(InputError, match=r"^a\.png takes more memory than there is\.$"), telling_of_workers():
        batches_of(dataclasses.replace(ellipse_cache, entries=nowhere, read=run_out), SETTINGS, 1, workers=workers)


def test_a_worker_that_dies_is_said_in_a_sentence(ellipse_cache: Cache) -> None:
    dying = dataclasses.replace(
        ellipse_cache, entries=(dataclasses.replace(ellipse_cache.entries[0], path=None),) * 12, read=kill_process
    )
    with pytest.raises(InputError, match=r"A process that prepared pictures died.*--resume"), telling_of_workers():
        batches_of(dying, SETTINGS, 1, workers=1)


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="no memory"), telling_of_workers():
        raise RuntimeError("no memory")


def test_a_pass_takes_nothing_from_the_random_state(ellipse_cache: Cache) -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    batches_of(ellipse_cache, SETTINGS, 1)
    assert torch.rand(1) == expected


def test_the_number_of_threads_changes_nothing(tmp_path: Path) -> None:
    samples = Samples(cache_of([picture(300, 400)], tmp_path, longer_side=400), SETTINGS, augment=True)
    one = samples[Draw(0, 0, half=False)]
    torch.set_num_threads(3)
    assert same(one, samples[Draw(0, 0, half=False)])


# --- Cut-outs


def cut_outs(
    cache: Cache, *, augment: bool = True, half: bool = False, epochs: int = 40, crop: int = 32
) -> list[Batch]:
    samples = Samples(cache, SETTINGS, augment=augment, crop=32)
    return [samples[Draw(epoch, 0, half)] for epoch in range(epochs)]


@pytest.mark.parametrize("augment", [False, True])
def test_cut_outs_are_of_one_size_and_differ(augment: bool, tmp_path: Path) -> None:
    cache = cache_of([picture(90, 120)], tmp_path, longer_side=120)
    first, *others = cut_outs(cache, augment=augment, epochs=5)
    assert first.images.shape == (3, 32, 32)
    assert not any(same(first, other) for other in others)
    assert same(first, cut_outs(cache, augment=augment, epochs=1)[0])


def test_a_cut_out_is_a_part_of_its_picture(tmp_path: Path) -> None:
    image, mask = picture(60, 80)
    cache = cache_of([(image, mask)], tmp_path, longer_side=80)
    for sample in cut_outs(cache, augment=False, epochs=5):
        part = (sample.images * 255).round().byte().permute(1, 2, 0).numpy()
        places = [
            (top, left)
            for top in range(29)
            for left in range(49)
            if np.array_equal(image[top : top + 32, left : left + 32], part)
        ]
        assert len(places) == 1
        top, left = places[0]
        assert np.array_equal(sample.targets[0].numpy(), mask[top : top + 32, left : left + 32])


def test_pictures_smaller_than_a_cut_out_are_padded_without_weight(tmp_path: Path) -> None:
    cache = cache_of([picture(20, 80), picture(60, 24)], tmp_path, longer_side=60)
    samples = Samples(cache, SETTINGS, augment=False, crop=48)
    batch = samples.__getitems__([Draw(0, 0, half=False), Draw(0, 1, half=False)])
    assert batch.images.shape == (2, 3, 64, 64)
    assert batch.weights.sum((1, 2, 3)).tolist() == [15 * 48, 48 * 24]


def test_cut_outs_at_half_size_are_of_half_the_size(tmp_path: Path) -> None:
    cache = cache_of([picture(90, 120)], tmp_path, longer_side=120)
    whole, half = (cut_outs(cache, half=half, epochs=1)[0] for half in (False, True))
    assert half.images.shape == (3, 16, 16)
    np.testing.assert_allclose(half.images, torch.nn.functional.avg_pool2d(whole.images, 2), atol=1e-6)


@pytest.mark.parametrize("num_classes", [2, 4])
def test_where_foreground_is_rare_half_of_the_cut_outs_are_sure_to_show_some(num_classes: int, tmp_path: Path) -> None:
    image, mask = picture(200, 300)[0], np.zeros((200, 300), np.uint8)
    mask[150:154, 200:204] = num_classes - 1
    cache = cache_of([(image, mask)], tmp_path, num_classes=num_classes, longer_side=300)
    found = [
        bool((sample.targets[0] > 0).any() if num_classes == 2 else (sample.targets[1:] > 0).any())
        for sample in cut_outs(cache, augment=False, epochs=200)
    ]
    assert 0.4 < np.mean(found) < 0.65  # of those drawn anywhere, one in fifty


def test_where_foreground_is_plenty_cut_outs_lie_anywhere(tmp_path: Path) -> None:
    image, mask = picture(200, 300)[0], np.zeros((200, 300), np.uint8)
    mask[:60, :120] = 1
    cache = cache_of([(image, mask)], tmp_path, longer_side=300)
    found = [bool((sample.targets > 0).any()) for sample in cut_outs(cache, augment=False, epochs=200)]
    assert np.mean(found) < 0.35


def test_an_epoch_has_as_many_cut_outs_of_a_picture_as_cover_it() -> None:
    settings = Settings(batch_size=1, crop=32)
    order = EpochBatches([0, 2], settings, [(64, 96), (10, 10), (33, 32)])
    made = [draw for batch in order for draw in batch]
    assert sorted((draw.picture, draw.cut) for draw in made) == [*((0, cut) for cut in range(6)), (2, 0), (2, 1)]
    assert len(order) == 8


def test_the_cut_outs_of_an_epoch_differ(tmp_path: Path) -> None:
    samples = Samples(cache_of([picture(90, 120)], tmp_path, longer_side=120), SETTINGS, augment=False, crop=32)
    first, second = (samples[Draw(0, 0, half=False, cut=cut)] for cut in (0, 1))
    assert not same(first, second)


# --- Order


def draws(order: EpochBatches) -> list[list[int]]:
    return [[draw.picture for draw in batch] for batch in order]


def test_an_epoch_is_a_permutation_of_the_pictures() -> None:
    order = EpochBatches([3, 5, 7, 11, 13, 17], Settings(batch_size=2))
    assert sorted(chain.from_iterable(draws(order))) == [3, 5, 7, 11, 13, 17]
    assert len(order) == 3


def test_seed_and_epoch_decide_the_order() -> None:
    order, again, other = (EpochBatches(range(20), Settings(batch_size=8, seed=seed)) for seed in (0, 0, 1))
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


SIZES = [(40, 20), (30, 65)]


@pytest.fixture
def odd_samples(tmp_path: Path) -> list[Batch]:
    """A sample of each of the sizes; the batch of both is `odd_batch`."""
    return [Samples(one, SETTINGS, augment=False)[Draw(0, 0, half=False)] for one in odd_caches(tmp_path)]


def odd_caches(folder: Path) -> list[Cache]:
    caches = []
    for height, width in SIZES:
        place = folder / f"{height}"
        place.mkdir()
        caches.append(cache_of([picture(height, width)], place, longer_side=max(height, width)))
    return caches


@pytest.fixture
def odd_batch(tmp_path: Path) -> Batch:
    (tmp_path / "batch").mkdir()
    return both_sizes(tmp_path / "batch", to_learn=False)


def both_sizes(folder: Path, *, to_learn: bool) -> Batch:
    first, second = odd_caches(folder)
    both = dataclasses.replace(first, pairs=(*first.pairs, *second.pairs), entries=(*first.entries, *second.entries))
    samples = Samples(both, SETTINGS, augment=False, to_learn=to_learn)
    return samples.__getitems__([Draw(0, 0, half=False), Draw(0, 1, half=False)])


def test_samples_of_any_sizes_are_padded_at_the_right_and_the_bottom(
    odd_samples: list[Batch], odd_batch: Batch
) -> None:
    assert [tuple(tensor.shape) for tensor in odd_batch] == [(2, 3, 64, 96), (2, 1, 64, 96), (2, 1, 64, 96)]
    for index, (one, (height, width)) in enumerate(zip(odd_samples, SIZES, strict=True)):
        for together, alone in zip(odd_batch, one, strict=True):
            assert torch.equal(together[index, :, :height, :width], alone)


def test_padding_has_no_weight(odd_batch: Batch) -> None:
    assert odd_batch.weights.sum((1, 2, 3)).tolist() == [40 * 20, 30 * 65]
    assert odd_batch.weights[0, 0, :40, :20].all()
    assert not odd_batch.targets[0, 0, 40:].any()
    assert not odd_batch.targets[0, 0, :, 20:].any()


def test_a_padded_image_repeats_its_edge(odd_samples: list[Batch], odd_batch: Batch) -> None:
    image, alone = odd_batch.images[0], odd_samples[0].images
    assert torch.equal(image[:, :40, 20:], alone[:, :, -1:].expand(-1, -1, 76))
    assert torch.equal(image[:, 40:, :20], alone[:, -1:, :].expand(-1, 24, -1))
    assert torch.equal(image[:, 40:, 20:], alone[:, -1:, -1:].expand(-1, 24, 76))


def test_where_a_network_learns_the_padding_counts_like_the_edge_up_to_the_next_multiple_of_32(tmp_path: Path) -> None:
    batch = both_sizes(tmp_path, to_learn=True)
    for index, (height, width) in enumerate(SIZES):
        rows, columns = (side + -side % 32 for side in (height, width))
        assert batch.weights[index, 0, :height, :width].eq(1).all()
        added = rows * columns - height * width
        assert float(batch.weights[index].sum()) == pytest.approx(height * width + ADDED_WEIGHT * added)
        edge = batch.targets[index, 0, :height, width - 1]
        assert torch.equal(batch.targets[index, 0, :height, width:columns], edge[:, None].expand(-1, columns - width))
        last = batch.targets[index, 0, height - 1]
        assert torch.equal(batch.targets[index, 0, height:rows], last.expand(rows - height, -1))


@pytest.mark.parametrize(("side", "padded"), [(1, 32), (31, 32), (32, 32), (33, 64)])
def test_sides_of_a_batch_divide_by_32(side: int, padded: int, tmp_path: Path) -> None:
    samples = Samples(cache_of([picture(side, side)], tmp_path, longer_side=side), SETTINGS, augment=False)
    assert samples.__getitems__([Draw(0, 0, half=False)]).images.shape[-2:] == (padded, padded)


def test_a_batch_moves_to_a_device_whole(odd_batch: Batch) -> None:
    moved: Tensor
    for moved in odd_batch.to("meta"):
        assert moved.device.type == "meta"
