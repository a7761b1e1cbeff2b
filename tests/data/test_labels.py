from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskwright.data.image_files import read_mask_values
from maskwright.data.labels import foreground
from maskwright.errors import InputError

PATH = Path("a_mask.png")

READ: dict[str, tuple[np.ndarray[Any, Any], list[int]]] = {
    "0/1": (np.array([[0, 1]], np.uint8), [0, 1]),
    "0/1 in 16 bits": (np.array([[0, 1]], np.uint16), [0, 1]),
    "0/1 in 32 bits": (np.array([[0, 1]], np.int32), [0, 1]),
    "boolean": (np.array([[False, True]]), [0, 1]),
    "0/255": (np.array([[0, 255]], np.uint8), [0, 1]),
    "0/65535": (np.array([[0, 65535]], np.uint16), [0, 1]),
    "0/65535 in 32 bits": (np.array([[0, 65535]], np.int32), [0, 1]),
    "0.0/1.0": (np.array([[0, 1]], np.float32), [0, 1]),
    "soft edges as floats": (np.array([[0, 0.4, 0.7, 1]], np.float32), [0, 0, 1, 1]),
    "soft edges": (np.array([[0, 3, 127, 128, 250, 255]], np.uint8), [0, 0, 0, 1, 1, 1]),
    "soft edges in 16 bits": (np.array([[0, 32767, 32768]], np.uint16), [0, 0, 1]),
    "the faint end of a soft edge": (np.array([[0, 20, 60, 100]], np.uint8), [0, 0, 0, 0]),
    "JPEG noise": (np.array([[0, 1, 2, 4, 252, 255]], np.uint8), [0, 0, 0, 0, 1, 1]),
    "no foreground": (np.zeros((1, 2), np.uint8), [0, 0]),
    "nothing but foreground, 1": (np.ones((1, 2), np.uint8), [1, 1]),
    "nothing but foreground, 255": (np.full((1, 2), 255, np.uint8), [1, 1]),
    "two shades, the brighter one light": (np.array([[40, 200]], np.uint8), [0, 1]),
}


@pytest.mark.parametrize("kind", READ)
def test_common_ways_to_store_two_classes_are_read(kind: str) -> None:
    values, expected = READ[kind]
    mask = foreground(values, PATH)
    assert mask.tolist() == [expected]
    assert mask.dtype == np.uint8


REFUSED: dict[str, tuple[np.ndarray[Any, Any], str]] = {
    "class indices": (np.array([[0, 1, 2]], np.uint8), "values 0, 1, 2,"),
    "many class indices": (np.arange(32, dtype=np.uint8)[None], "values 0, 1, 2, 3, 4, 5 ...,"),
    "one class index": (np.array([[0, 20]], np.uint8), "values 0, 20,"),
    "class indices and 255 for pixels to ignore": (
        np.array([[0, 1, 255]], np.uint8),
        "values 0, 1, 255,",
    ),
    "0/127": (np.array([[0, 127]], np.uint8), "values 0, 127,"),
    "0/255 in 16 bits": (np.array([[0, 255]], np.uint16), "values 0, 255,"),
    "0/255 as floats": (np.array([[0, 255]], np.float32), "values 0, 255,"),
    "negative": (np.array([[-1, 0]], np.int32), "values -1, 0,"),
    "no number": (np.array([[np.nan, 0]], np.float32), "values 0, nan,"),
    "colours": (np.array([[[0, 0, 0], [255, 0, 0]]], np.uint8), "colours (0, 0, 0), (255, 0, 0),"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_would_be_read_wrongly_is_refused_by_name(kind: str) -> None:
    values, expected = REFUSED[kind]
    with pytest.raises(InputError) as error:
        foreground(values, PATH)
    assert str(error.value).startswith(f"{PATH} holds the {expected}")


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("folder", "low", "high"),
    [
        ("carvana/train_masks", 0.05, 0.6),
        ("people/masks", 0.02, 0.95),
        ("cracks/masks", 0.001, 0.1),
        ("nuclei/masks", 0.001, 0.9),
        ("membranes/label", 0.5, 0.95),
    ],
)
def test_real_masks_have_a_sensible_share_of_foreground(real_data: Path, folder: str, low: float, high: float) -> None:
    for path in sorted((real_data / folder).iterdir())[:6]:
        assert low < foreground(read_mask_values(path), path).mean() < high, path


@pytest.mark.realdata
@pytest.mark.parametrize("folder", ["crops/annotations", "camvid/trainannot"])
def test_real_masks_of_many_classes_are_refused(real_data: Path, folder: str) -> None:
    path = sorted((real_data / folder).iterdir())[0]
    with pytest.raises(InputError, match="only background/foreground"):
        foreground(read_mask_values(path), path)
