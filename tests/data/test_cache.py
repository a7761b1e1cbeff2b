import os
import pickle
import shutil
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from maskwright.data import cache as cache_room
from maskwright.data.cache import (
    DEFAULT_LIMIT_BYTES,
    PIXELS_AT,
    Cache,
    CacheFolder,
    Entry,
    build_cache,
    default_cache_folder,
)
from maskwright.data.duplicates import thumbnail
from maskwright.data.labels import IGNORED
from maskwright.data.pairs import AlphaChannel, Drawing, Layers, Mask, Pair, Polygons, Problem, Runs, Shape
from maskwright.data.reading import fingerprint_of
from maskwright.data.resizing import Resize
from maskwright.data.targets import pack_target
from maskwright.errors import DoesNotFitError, InputError


def read(pair: Pair) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images in colour, masks of 0 and 255."""
    try:
        with Image.open(pair.image) as photograph, Image.open(pair.mask_path) as painting:
            image, mask = np.array(photograph), np.array(painting)
    except OSError as error:
        raise InputError(f"{pair.image} or {pair.mask_path} is damaged.") from error
    return image, (mask > 127).astype(np.uint8)


class Counting:
    """A way to read that keeps count."""

    def __init__(self, how: Callable[[Pair], Any] = read) -> None:
        self.how = how
        self.names: list[str] = []

    def __call__(self, pair: Pair) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        self.names.append(pair.name)
        found: tuple[NDArray[np.uint8], NDArray[np.uint8]] = self.how(pair)
        return found


def build(
    pairs: Sequence[Pair],
    folder: Path,
    *,
    limit_bytes: int = DEFAULT_LIMIT_BYTES,
    spared: Sequence[Entry] = (),
    **other: Any,
) -> tuple[Cache, tuple[Problem, ...]]:
    words: dict[str, Any] = {
        "read": read,
        "num_classes": 2,
        "settings_key": "",
        "resize": Resize(size=16),
        "advance": lambda: None,
    }
    return build_cache(pairs, CacheFolder(folder, limit_bytes, spared), **{**words, **other})


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def is_whole(cache: Cache, pairs: Sequence[Pair]) -> bool:
    """Whether the cache holds what reading afresh gives."""
    return cache.pairs == tuple(pairs) and all(
        np.array_equal(cache.pixels(index), cache_room.prepare(pair, read, 2, Resize(size=16)).pixels)
        for index, pair in enumerate(pairs)
    )


# --- What lies in it


@pytest.fixture
def mixed(tmp_path: Path) -> list[Pair]:
    """Pictures of all shapes, each of its own grey."""
    pairs = []
    for index in range(37):
        height, width = 20 + 7 * (index % 4), 30 + 5 * (index % 3)
        pair = Pair(f"p{index}", tmp_path / f"p{index}.png", tmp_path / f"p{index}_mask.png")
        Image.fromarray(np.full((height, width, 3), index, np.uint8)).save(pair.image)
        Image.fromarray(np.full((height, width), 255 * (index % 2), np.uint8)).save(pair.mask_path)
        pairs.append(pair)
    return pairs


def test_pictures_of_different_sizes_lie_side_by_side_in_order(mixed: list[Pair], tmp_path: Path) -> None:
    cache, problems = build(mixed, tmp_path / "cache", resize=Resize(size=24))
    assert problems == ()
    assert cache.pairs == tuple(mixed)
    assert len(set(cache.shapes)) > 3
    assert cache.uncached == 0
    for index in range(len(mixed)):
        assert cache.image(index).shape == (*cache.shapes[index], 3)
        assert max(cache.shapes[index]) == 24
        assert (cache.image(index) == index).all()
        assert cache.target(index).shape == (*cache.shapes[index], 1)
        assert (cache.target(index) == 255 * (index % 2)).all()


def test_a_soft_mask_is_the_average_over_each_pixels_area(ellipses: tuple[Pair, ...], tmp_path: Path) -> None:
    cache, _ = build(ellipses, tmp_path / "cache")
    for index, pair in enumerate(ellipses):
        average = read(pair)[1].astype(float).reshape(12, 4, 16, 4).mean((1, 3)) * 255
        np.testing.assert_allclose(cache.target(index)[..., 0], average, atol=1)


@pytest.mark.parametrize("channels", [1, 3, 6])
@pytest.mark.parametrize("num_classes", [2, 5])
def test_any_channels_and_classes_find_room(
    channels: int, num_classes: int, ellipses: tuple[Pair, ...], tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (24, 32, channels), dtype=np.uint8)
    mask = rng.integers(0, num_classes, (24, 32), dtype=np.uint8)
    mask[:3] = IGNORED
    cache, _ = build(
        ellipses[:1], tmp_path, read=lambda _: (image, mask), num_classes=num_classes, resize=Resize(size=32)
    )
    assert np.array_equal(cache.image(0), image)
    assert np.array_equal(cache.target(0), pack_target(mask, num_classes, 24, 32))
    assert cache.pixels(0).shape[-1] in (4, 8, 16)


def test_what_is_known_of_pictures_needs_no_decoding(ellipses: tuple[Pair, ...], tmp_path: Path) -> None:
    build(ellipses, tmp_path / "cache")
    counting = Counting()
    cache, _ = build(ellipses, tmp_path / "cache", read=counting)
    masks = [read(pair)[1] for pair in ellipses]
    assert cache.fingerprints == tuple(fingerprint_of(pair.image) for pair in ellipses)
    assert cache.class_pixels.tolist() == [[int((mask == index).sum()) for index in (0, 1)] for mask in masks]
    assert cache.foreground == pytest.approx([mask.mean() for mask in masks])
    assert np.array_equal(cache.thumbnails(), [thumbnail(read(pair)[0]) for pair in ellipses])
    assert counting.names == []


def test_what_a_picture_and_its_mask_hold_tells_them_apart_whatever_they_are_called_or_read_as(
    ellipses: tuple[Pair, ...], tmp_path: Path
) -> None:
    def contents(**options: Any) -> list[str]:
        cache, _ = build(ellipses[:2], tmp_path / "cache", **options)
        return [entry.content for entry in cache.entries]

    before = contents()
    assert len(set(before)) == 2
    assert contents(resize=Resize(size=24)) == before
    shutil.copyfile(ellipses[1].mask_path, ellipses[0].mask_path)
    other_mask = contents()
    shutil.copyfile(ellipses[1].image, ellipses[0].image)
    assert other_mask[0] not in before
    assert contents() == [before[1], before[1]]


def test_ignored_pixels_are_no_foreground(ellipses: tuple[Pair, ...], tmp_path: Path) -> None:
    mask = np.array([[IGNORED, IGNORED], [0, 1]], np.uint8)
    picture = np.zeros((2, 2, 3), np.uint8), mask
    cache, _ = build(ellipses[:1], tmp_path / "one", read=lambda _: picture)
    assert cache.foreground == (0.5,)
    cache, _ = build(ellipses[:1], tmp_path / "other", read=lambda _: (picture[0], np.full_like(mask, IGNORED)))
    assert cache.foreground == (0.0,)


def test_a_cache_is_small_when_it_goes_to_another_process(ellipses: tuple[Pair, ...], tmp_path: Path) -> None:
    cache, _ = build(ellipses, tmp_path / "cache", resize=Resize(size=640))
    packed = pickle.dumps(cache)
    assert len(packed) < 1000 * len(ellipses)
    assert np.array_equal(pickle.loads(packed).pixels(5), cache.pixels(5))  # noqa: S301 - made above


def test_pixels_may_be_written_to_without_harm(ellipses: tuple[Pair, ...], tmp_path: Path) -> None:
    cache, _ = build(ellipses, tmp_path / "cache")
    cache.pixels(0)[:] = 7
    assert is_whole(cache, ellipses)


# --- Problems


def test_what_cannot_be_read_is_a_problem_and_the_rest_is_kept(ellipses: tuple[Pair, ...], tmp_path: Path) -> None:
    ellipses[3].image.write_text("not a picture")
    ellipses[8].mask_path.write_bytes(ellipses[8].mask_path.read_bytes()[:60])
    ellipses[9].mask_path.unlink()
    cache, problems = build(ellipses, tmp_path / "cache")
    assert is_whole(cache, [pair for index, pair in enumerate(ellipses) if index not in (3, 8, 9)])
    assert [problem.path for problem in problems] == [ellipses[index].image for index in (3, 8, 9)]
    assert str(ellipses[3].image) in problems[0].sentence
    assert str(ellipses[9].mask_path) in problems[2].sentence


def test_a_picture_that_memory_is_too_small_for_is_never_left_out(ellipses: tuple[Pair, ...], tmp_path: Path) -> None:
    def read_some(pair: Pair) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        if pair == ellipses[2]:
            raise DoesNotFitError(f"{pair.image} takes more memory than there is.")
        return read(pair)

    with pytest.raises(DoesNotFitError, match=ellipses[2].image.name):
        build(ellipses, tmp_path / "cache", read=read_some)


def test_where_nothing_can_be_read_the_cache_is_empty(ellipses: tuple[Pair, ...], tmp_path: Path) -> None:
    for pair in ellipses:
        pair.image.unlink()
    cache, problems = build(ellipses, tmp_path / "cache")
    assert (len(cache.pairs), len(problems)) == (0, 12)
    assert cache.thumbnails().shape == (0, 64, 64, 3)
    assert cache.class_pixels.shape == (0, 2)


def test_progress_counts_every_pair_once(ellipses: tuple[Pair, ...], tmp_path: Path) -> None:
    build(ellipses[:5], tmp_path / "cache")
    ellipses[7].image.unlink()
    ellipses[8].image.write_text("not a picture")
    calls: list[int] = []
    build(ellipses, tmp_path / "cache", advance=lambda: calls.append(1))
    assert len(calls) == 12


# --- What is kept, and under which name


def test_a_second_run_decodes_nothing(ellipses: tuple[Pair, ...], tmp_path: Path) -> None:
    first, _ = build(ellipses, tmp_path / "cache")
    counting = Counting()
    second, _ = build(ellipses, tmp_path / "cache", read=counting)
    assert is_whole(second, ellipses)
    assert counting.names == []
    assert second.entries == first.entries


def test_neither_names_nor_order_matter(ellipses: tuple[Pair, ...], tmp_path: Path) -> None:
    build(ellipses, tmp_path / "cache")
    copied = []
    for pair in reversed(ellipses):
        copy = Pair(f"c/{pair.name}", tmp_path / "c" / pair.name / "i.png", tmp_path / "c" / pair.name / "m.png")
        copy.image.parent.mkdir(parents=True)
        shutil.copy(pair.image, copy.image)
        shutil.copy(pair.mask_path, copy.mask_path)
        copied.append(copy)
    counting = Counting()
    cache, _ = build(copied, tmp_path / "cache", read=counting)
    assert is_whole(cache, copied)
    assert counting.names == []


@pytest.mark.parametrize("other", [{"settings_key": "other"}, {"resize": Resize(size=20)}, {"num_classes": 3}])
def test_another_way_of_reading_is_another_entry(
    other: dict[str, Any], ellipses: tuple[Pair, ...], tmp_path: Path
) -> None:
    build(ellipses, tmp_path / "cache")
    counting = Counting()
    build(ellipses, tmp_path / "cache", read=counting, **other)
    assert len(counting.names) == 12
    assert len(files_in(tmp_path / "cache")) == 24


@pytest.mark.parametrize("part", ["image", "mask_path"])
def test_what_has_changed_is_decoded_again(part: str, ellipses: tuple[Pair, ...], tmp_path: Path) -> None:
    build(ellipses, tmp_path / "cache")
    path: Path = getattr(ellipses[4], part)
    before = path.stat()
    Image.fromarray(255 - np.array(Image.open(path))).save(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    counting = Counting()
    cache, _ = build(ellipses, tmp_path / "cache", read=counting)
    assert counting.names == [ellipses[4].name]
    assert is_whole(cache, ellipses)


def test_masks_of_every_kind_are_told_apart(ellipses: tuple[Pair, ...], tmp_path: Path) -> None:
    image, one, other = ellipses[0].image, ellipses[0].mask_path, ellipses[1].mask_path
    square = Polygons((((0.0, 0.0), (4.0, 0.0), (4.0, 4.0)),))
    runs = Runs(np.array([3]), np.array([5]), 48, 64, by_rows=True)
    masks: list[Mask] = [
        one,
        Layers((one,)),
        Layers((one, other)),
        Layers((other, one)),
        Layers((one, other), ("a", "b")),
        AlphaChannel(image),
        Drawing(one, ()),
        Drawing(one, (), (48, 64)),
        Drawing(one, (Shape("a", square),)),
        Drawing(one, (Shape("b", square),)),
        Drawing(one, (Shape("a", Polygons(square.rings * 2)),)),
        Drawing(one, (Shape("a", runs),)),
        Drawing(one, (Shape("a", replace(runs, by_rows=False)),)),
        Drawing(one, (Shape("a", replace(runs, starts=np.array([4]))),)),
        Drawing(one, (Shape("a", replace(runs, lengths=np.array([4]))),)),
    ]
    picture = read(ellipses[0])
    counting = Counting(lambda _: picture)
    pairs = [Pair(str(index), image, mask) for index, mask in enumerate(masks)]
    build(pairs, tmp_path / "cache", read=counting)
    assert len(files_in(tmp_path / "cache")) == len(masks)
    build(pairs, tmp_path / "cache", read=counting)
    assert len(counting.names) == len(masks)


# --- Damage, and other runs


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def strange(path: Path) -> None:
    path.write_bytes(b'{"height": 3}'.ljust(path.stat().st_size))


@pytest.mark.parametrize("damage", [torn, zeros, empty, strange])
def test_a_damaged_entry_is_built_again(
    damage: Callable[[Path], None], ellipses: tuple[Pair, ...], tmp_path: Path
) -> None:
    cache, _ = build(ellipses, tmp_path / "cache")
    before = cache.entries[4].path
    assert before is not None
    content = before.read_bytes()
    damage(before)
    counting = Counting()
    again, _ = build(ellipses, tmp_path / "cache", read=counting)
    assert counting.names == [ellipses[4].name]
    assert is_whole(again, ellipses)
    assert before.read_bytes() == content


def test_two_builds_at_once_agree(ellipses: tuple[Pair, ...], tmp_path: Path) -> None:
    both = threading.Barrier(2)

    def read_together(pair: Pair) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        both.wait(timeout=60)  # each picture is read by both before either goes on
        return read(pair)

    with ThreadPoolExecutor(2) as pool:
        builds = [pool.submit(partial(build, ellipses[:1], tmp_path / "cache", read=read_together)) for _ in range(2)]
        caches = [one.result()[0] for one in builds]
    assert all(is_whole(cache, ellipses[:1]) for cache in caches)
    assert caches[0].entries == caches[1].entries
    assert len(files_in(tmp_path / "cache")) == 1


def test_what_another_run_cleared_away_is_decoded_again(ellipses: tuple[Pair, ...], tmp_path: Path) -> None:
    cache, _ = build(ellipses, tmp_path / "cache")
    shutil.rmtree(tmp_path / "cache")
    assert is_whole(cache, ellipses)
    assert np.array_equal(cache.thumbnails(), [thumbnail(read(pair)[0]) for pair in ellipses])


def test_a_picture_that_changed_meanwhile_is_refused_with_a_sentence(
    ellipses: tuple[Pair, ...], tmp_path: Path
) -> None:
    cache, _ = build(ellipses, tmp_path / "cache", limit_bytes=0)
    Image.new("RGB", (64, 20)).save(ellipses[2].image)
    Image.new("L", (64, 20)).save(ellipses[2].mask_path)
    with pytest.raises(InputError, match="changed during the run"):
        cache.pixels(2)


# --- Room


SIZE = PIXELS_AT + 12 * 16 * 4


def test_what_does_not_fit_is_decoded_each_time(ellipses: tuple[Pair, ...], tmp_path: Path) -> None:
    counting = Counting()
    cache, problems = build(ellipses, tmp_path / "cache", read=counting, limit_bytes=5 * SIZE)
    assert problems == ()
    assert cache.uncached == 7
    assert len(files_in(tmp_path / "cache")) == 5
    assert is_whole(cache, ellipses)
    assert len(counting.names) == 12 + 7
    assert np.array_equal(cache.thumbnails(), [thumbnail(read(pair)[0]) for pair in ellipses])
    assert len(counting.names) == 12 + 7  # what could not be kept has left its thumbnail
    assert np.array_equal(cache.without_thumbnails().thumbnails(), cache.thumbnails())
    assert len(counting.names) == 12 + 7 + 7


def test_without_room_nothing_is_written(ellipses: tuple[Pair, ...], tmp_path: Path) -> None:
    cache, _ = build(ellipses, tmp_path / "cache", limit_bytes=0)
    assert cache.uncached == 12
    assert not (tmp_path / "cache").exists()
    assert is_whole(cache, ellipses)


def test_the_longest_unused_goes_first_and_nothing_of_this_run(ellipses: tuple[Pair, ...], tmp_path: Path) -> None:
    cache, _ = build(ellipses[:6], tmp_path / "cache", limit_bytes=6 * SIZE)
    paths = [entry.path for entry in cache.entries]
    for age, index in enumerate([2, 0, 1, 5, 3, 4]):  # 2 is the oldest
        path = paths[index]
        assert path is not None
        os.utime(path, (1000 + age, 1000 + age))
    again, _ = build([*ellipses[6:9], ellipses[2]], tmp_path / "cache", limit_bytes=6 * SIZE)
    assert again.uncached == 0
    assert [path is not None and path.exists() for path in paths] == [False, False, True, True, True, False]
    assert len(files_in(tmp_path / "cache")) == 6


def test_a_run_does_not_clear_away_what_it_needs(ellipses: tuple[Pair, ...], tmp_path: Path) -> None:
    build(ellipses[:3], tmp_path / "cache")
    cache, _ = build(ellipses[:6], tmp_path / "cache", limit_bytes=3 * SIZE)
    assert [entry.path is not None for entry in cache.entries] == [True, True, True, False, False, False]
    assert is_whole(cache, ellipses[:6])
    assert files_in(tmp_path / "cache") == sorted(entry.path for entry in cache.entries if entry.path)


def test_what_is_spared_stays_where_others_would_go(ellipses: tuple[Pair, ...], tmp_path: Path) -> None:
    spared, _ = build(ellipses[:3], tmp_path / "cache")
    others, _ = build(ellipses[3:5], tmp_path / "cache")
    for path in files_in(tmp_path / "cache"):
        os.utime(path, (1000, 1000))
    for entry in others.entries:
        assert entry.path is not None
        os.utime(entry.path, (2000, 2000))  # used since
    cache, _ = build(ellipses[5:9], tmp_path / "cache", limit_bytes=5 * SIZE, spared=spared.entries)
    assert cache.uncached == 2
    assert all(entry.path is not None and entry.path.exists() for entry in spared.entries)
    assert not any(entry.path is not None and entry.path.exists() for entry in others.entries)


def test_what_another_run_cleared_away_first_makes_room_all_the_same(
    ellipses: tuple[Pair, ...], tmp_path: Path
) -> None:
    cache, _ = build(ellipses[:6], tmp_path / "cache", limit_bytes=6 * SIZE)
    paths = [entry.path for entry in cache.entries if entry.path]
    for age, path in enumerate(paths):
        os.utime(path, (1000 + age, 1000 + age))
    room = cache_room.Room(CacheFolder(tmp_path / "cache", 6 * SIZE), [])
    for path in paths[:2]:
        path.unlink()
    assert room.claim(SIZE)
    assert room.claim(SIZE)
    assert files_in(tmp_path / "cache") == sorted(paths[2:])


def test_files_of_others_are_neither_removed_nor_counted(ellipses: tuple[Pair, ...], tmp_path: Path) -> None:
    names = ["v1/thesis.tex", "ab/photo.pixels", f"v1/{'0' * 32}.pixels", f"ab/{'c' * 32}.pixels", "notes.pixels"]
    theirs = [tmp_path / "cache" / name for name in names]
    for path in theirs:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(7 * SIZE))
        os.utime(path, (1000, 1000))
    cache, _ = build(ellipses[:6], tmp_path / "cache", limit_bytes=6 * SIZE)
    assert cache.uncached == 0
    cache, _ = build(ellipses[6:], tmp_path / "cache", limit_bytes=6 * SIZE)
    assert cache.uncached == 0
    assert [path.exists() for path in theirs] == [True] * 5
    assert set(files_in(tmp_path / "cache")) == {*theirs, *(entry.path for entry in cache.entries)}


def test_what_a_killed_run_left_half_written_goes_as_well(ellipses: tuple[Pair, ...], tmp_path: Path) -> None:
    left = tmp_path / "cache" / "0f" / ".0123456789abcdef.pixels"
    left.parent.mkdir(parents=True)
    left.write_bytes(bytes(6 * SIZE))
    cache, _ = build(ellipses[:6], tmp_path / "cache", limit_bytes=6 * SIZE)
    assert cache.uncached == 0
    assert not left.exists()


def test_use_counts_as_use(ellipses: tuple[Pair, ...], tmp_path: Path) -> None:
    cache, _ = build(ellipses, tmp_path / "cache")
    for path in files_in(tmp_path / "cache"):
        os.utime(path, (1000, 1000))
    build(ellipses[:1], tmp_path / "cache")
    used = [path for path in files_in(tmp_path / "cache") if path.stat().st_mtime > 1000]
    assert used == [cache.entries[0].path]


def test_a_folder_that_cannot_be_written_stops_nothing(ellipses: tuple[Pair, ...], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    cache, problems = build(ellipses, tmp_path / "file" / "cache")
    assert problems == ()
    assert cache.uncached == 12
    assert is_whole(cache, ellipses)


def test_a_disk_is_never_filled(ellipses: tuple[Pair, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # All that is free is to be left free.
    monkeypatch.setattr(cache_room, "SPARED_BYTES", 1 << 80)
    monkeypatch.setattr(cache_room, "SPARED_SHARE", 1.0)
    cache, _ = build(ellipses, tmp_path / "cache")
    assert cache.uncached == 12
    assert is_whole(cache, ellipses)


def test_a_write_that_fails_leaves_nothing_behind(
    ellipses: tuple[Pair, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    cache, _ = build(ellipses, tmp_path / "cache")
    assert cache.uncached == 12
    assert files_in(tmp_path / "cache") == []


# --- The folder


def test_the_variable_names_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MASKWRIGHT_CACHE", str(tmp_path / "mine"))
    assert default_cache_folder() == tmp_path / "mine"


@pytest.mark.parametrize(
    ("platform", "expected"),
    [
        ("linux", "home/.cache/maskwright"),
        ("darwin", "home/Library/Caches/maskwright"),
        ("win32", "home/AppData/Local/maskwright/cache"),
    ],
)
def test_each_platform_has_its_folder(
    platform: str, expected: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("MASKWRIGHT_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "platform", platform)
    assert default_cache_folder() == tmp_path / expected


# --- Too little time


def test_pictures_for_which_there_is_no_time_are_left_out_but_for_the_first(
    ellipses: tuple[Pair, ...], tmp_path: Path
) -> None:
    reader = Counting()
    cache, problems = build(ellipses, tmp_path / "cache", read=reader, spent=lambda: 1.0)
    assert cache.pairs == ellipses[: cache_room.LEAST_READ]
    assert sorted(reader.names) == sorted(pair.name for pair in cache.pairs)
    assert problems == ()


def test_half_of_the_time_is_kept_for_decoding_what_was_looked_up(ellipses: tuple[Pair, ...], tmp_path: Path) -> None:
    build(ellipses[-2:], tmp_path / "cache")  # these need no decoding
    for share, found in ((0.4, 12), (0.6, 8)):
        cache, _ = build(ellipses, tmp_path / "cache", spent=lambda share=share: share)
        assert len(cache.pairs) == found


def test_decoding_ends_when_the_time_does(ellipses: tuple[Pair, ...], tmp_path: Path) -> None:
    ticks = iter([0.0] * (len(ellipses) - cache_room.LEAST_READ))
    cache, _ = build(ellipses, tmp_path / "cache", spent=lambda: next(ticks, 1.0))
    assert cache.pairs == ellipses[: cache_room.LEAST_READ]


def test_what_was_read_in_an_earlier_run_takes_no_decoding_time(ellipses: tuple[Pair, ...], tmp_path: Path) -> None:
    build(ellipses, tmp_path / "cache")
    ticks = iter([0.0] * (len(ellipses) - cache_room.LEAST_READ))
    cache, _ = build(ellipses, tmp_path / "cache", spent=lambda: next(ticks, 1.0))
    assert is_whole(cache, ellipses)
