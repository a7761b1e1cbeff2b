from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskwright.data.cache import READ_AHEAD, build_cache
from maskwright.data.pairs import Pair
from maskwright.data.reading import fingerprint_of, read_pair


def nothing() -> None:
    """No progress bar."""


@pytest.fixture
def mixed(tmp_path: Path) -> list[Pair]:
    """Pictures of all shapes, more than are read at once, each of its own grey."""
    pairs = []
    for index in range(READ_AHEAD + 5):
        height, width = 20 + 7 * (index % 4), 30 + 5 * (index % 3)
        pair = Pair(f"p{index}", tmp_path / f"p{index}.png", tmp_path / f"p{index}_mask.png", None)
        Image.fromarray(np.full((height, width, 3), index, np.uint8)).save(pair.image)
        Image.fromarray(np.full((height, width), 255 * (index % 2), np.uint8)).save(pair.mask_path)
        pairs.append(pair)
    return pairs


def test_pictures_of_different_sizes_lie_side_by_side_in_order(mixed: list[Pair], tmp_path: Path) -> None:
    cache, problems = build_cache(mixed, tmp_path / "cache", longer_side=24, advance=nothing)
    assert problems == ()
    assert cache.pairs == tuple(mixed)
    assert len(set(cache.shapes)) > 3
    for index in range(len(mixed)):
        assert cache.image(index).shape == (*cache.shapes[index], 3)
        assert max(cache.shapes[index]) == 24
        assert (cache.image(index) == index).all()
        assert cache.mask(index).shape == cache.shapes[index]
        assert (cache.mask(index) == 255 * (index % 2)).all()


def test_a_soft_mask_is_the_average_over_each_pixels_area(ellipses: tuple[Pair, ...], tmp_path: Path) -> None:
    cache, _ = build_cache(ellipses, tmp_path / "cache", longer_side=16, advance=nothing)
    for index, pair in enumerate(ellipses):
        whole = read_pair(pair)[1].astype(float)
        average = whole.reshape(12, 4, 16, 4).mean((1, 3)) * 255
        np.testing.assert_allclose(cache.mask(index), average, atol=1)


def test_fingerprints_are_those_of_the_image_files(ellipses: tuple[Pair, ...], tmp_path: Path) -> None:
    cache, _ = build_cache(ellipses, tmp_path / "cache", longer_side=16, advance=nothing)
    assert cache.fingerprints == tuple(fingerprint_of(pair.image) for pair in ellipses)


def test_what_cannot_be_read_is_a_problem_and_the_rest_is_kept(ellipses: tuple[Pair, ...], tmp_path: Path) -> None:
    whole, _ = build_cache(ellipses, tmp_path / "whole", longer_side=16, advance=nothing)
    ellipses[3].image.write_text("not a picture")
    ellipses[8].mask_path.write_bytes(ellipses[8].mask_path.read_bytes()[:60])
    cache, problems = build_cache(ellipses, tmp_path / "cache", longer_side=16, advance=nothing)
    kept = [index for index in range(12) if index not in (3, 8)]
    assert cache.pairs == tuple(ellipses[index] for index in kept)
    assert [problem.path for problem in problems] == [ellipses[3].image, ellipses[8].image]
    assert str(ellipses[3].image) in problems[0].sentence
    assert str(ellipses[8].mask_path) in problems[1].sentence
    for here, there in enumerate(kept):
        assert np.array_equal(cache.image(here), whole.image(there))
        assert np.array_equal(cache.mask(here), whole.mask(there))


def test_where_nothing_can_be_read_the_cache_is_empty(ellipses: tuple[Pair, ...], tmp_path: Path) -> None:
    for pair in ellipses:
        pair.image.unlink()
    cache, problems = build_cache(ellipses, tmp_path / "cache", longer_side=16, advance=nothing)
    assert (len(cache.pairs), len(problems)) == (0, 12)


def test_progress_counts_every_pair_once(ellipses: tuple[Pair, ...], tmp_path: Path) -> None:
    ellipses[3].image.unlink()
    calls: list[int] = []
    build_cache(ellipses, tmp_path / "cache", longer_side=16, advance=lambda: calls.append(1))
    assert len(calls) == 12


def test_an_earlier_cache_is_replaced(ellipses: tuple[Pair, ...], tmp_path: Path) -> None:
    build_cache(ellipses, tmp_path / "cache", longer_side=32, advance=nothing)
    cache, _ = build_cache(ellipses[:2], tmp_path / "cache", longer_side=16, advance=nothing)
    assert cache.shapes == ((12, 16), (12, 16))
    assert (tmp_path / "cache" / "masks.bin").stat().st_size == 2 * 12 * 16


def test_pictures_stay_in_the_file_until_they_are_needed(ellipses: tuple[Pair, ...], tmp_path: Path) -> None:
    cache, _ = build_cache(ellipses, tmp_path / "cache", longer_side=16, advance=nothing)
    assert isinstance(cache.image_bytes, np.memmap)
    assert np.shares_memory(cache.image(5), cache.image_bytes)
    assert not cache.image(5).flags.writeable
