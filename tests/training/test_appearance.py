from pathlib import Path

import numpy as np
import pytest

from maskwright.config import Settings
from maskwright.data.cache import CacheFolder, build_cache
from maskwright.data.dataset import Samples
from maskwright.data.pairs import Pair
from maskwright.data.resizing import Resize
from maskwright.training.appearance import LEAST_SPREAD, look_at_colours

pytestmark = pytest.mark.usefixtures("one_thread")


def squares(colours: list[int], folder: Path) -> Samples:
    """Pictures of grey 100 with a square of another grey; 0 is a picture without one."""

    def read(pair: Pair) -> tuple[np.ndarray, np.ndarray]:
        image, mask = np.full((32, 32, 3), 100, np.uint8), np.zeros((32, 32), np.uint8)
        grey = colours[int(pair.name)]
        if grey:
            image[8:24, 8:24], mask[8:24, 8:24] = grey, 1
        return image, mask

    pairs = []
    for index in range(len(colours)):
        path = folder / f"{index}.bin"
        path.write_bytes(bytes([index]))
        pairs.append(Pair(str(index), path, path))
    cache, problems = build_cache(
        pairs,
        CacheFolder(folder / "cache"),
        read=read,
        num_classes=2,
        settings_key="",
        resize=Resize(size=32),
        advance=lambda: None,
    )
    assert not problems
    return Samples(cache, Settings(), augment=False)


def test_foregrounds_that_are_always_a_little_darker_say_what_they_are(tmp_path: Path) -> None:
    assert look_at_colours(squares([60, 62, 64, 66, 68], tmp_path), [0, 1, 2, 3, 4])[0] < LEAST_SPREAD


def test_foregrounds_of_any_colour_do_not(tmp_path: Path) -> None:
    spread, background = look_at_colours(squares([20, 60, 140, 220], tmp_path), [0, 1, 2, 3])
    assert background == pytest.approx(0, abs=1e-3)
    assert spread == pytest.approx(np.std([20, 60, 140, 220]) / 255, abs=1e-3)
    assert spread > LEAST_SPREAD


def test_pictures_without_a_foreground_say_nothing(tmp_path: Path) -> None:
    assert np.isnan(look_at_colours(squares([20, 0, 0, 220, 140], tmp_path), [0, 1, 2, 3, 4])).all()
