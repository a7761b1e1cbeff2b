from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from maskwright.config import Architecture
from maskwright.errors import InputError
from maskwright.inference.model_file import ModelCard
from maskwright.inference.predictor import load
from maskwright.interop.onnx import run_whole
from maskwright.interop.parity import (
    CUT_OUTS,
    Agreement,
    Compute,
    Way,
    as_compute,
    compare,
    require_agreement,
    with_cut_outs,
    write_if_equal,
)
from tests.tiny_models import write_lively_model

pytestmark = pytest.mark.usefixtures("one_thread")


def pictures(*sizes: tuple[int, int]) -> list[tuple[str, NDArray[np.uint8]]]:
    noise = np.random.default_rng(0)
    return [
        (f"{height}x{width}", noise.integers(0, 256, (height, width, 3), dtype=np.uint8)) for height, width in sizes
    ]


def test_an_exported_file_agrees_with_its_model(tiny_model: Path, tiny_onnx: Path) -> None:
    ways = {"alone": run_whole(tiny_onnx), "through us": as_compute(load(tiny_onnx))}
    found = compare(load(tiny_model), ways, pictures((1, 1), (37, 53), (120, 48), (200, 300)))
    require_agreement(found, Path("model.onnx"))
    assert [agreement.way for agreement in found] == ["alone", "through us"] * 4
    assert max(agreement.logit_range for agreement in found) > 1
    assert max(agreement.logit_difference for agreement in found) < 1e-4
    assert sum(agreement.pixels for agreement in found) == 0


def test_what_sees_pictures_whole_is_compared_with_the_model_that_does(tmp_path: Path) -> None:
    card = ModelCard(Architecture(base_channels=8, depth=1, norm="group"), size=None, factor=0.5, tile=32)
    model = load(write_lively_model(tmp_path / "model.safetensors", card))
    ways: dict[str, Way] = {
        "alone": as_compute(model.untiled()),
        "through us": model,
        "in tiles, alone": as_compute(model),
    }
    found = compare(model, ways, pictures((60, 64), (110, 150)))
    assert [agreement.holds for agreement in found] == [True, True, True, True, True, False]


@pytest.mark.parametrize("wrong", ["logits", "mask"])
def test_a_file_that_computes_something_else_is_refused_with_the_picture(tiny_model: Path, wrong: str) -> None:
    right = as_compute(load(tiny_model))

    def off(image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        mask, logits = right(image)
        if image.shape[0] == 30 and wrong == "logits":
            logits[0, 5, 5] += np.ptp(logits) + 1
        if image.shape[0] == 30 and wrong == "mask":
            mask[:2] = 1 - mask[:2]
        return mask, logits

    ways: dict[str, Compute] = {"on Mars": off}
    found = compare(load(tiny_model), ways, pictures((20, 20), (30, 40)))
    expected = "60|80" if wrong == "mask" else "0"
    with pytest.raises(
        InputError, match=rf"^model\.onnx was not written.* 1 of 2 .*30x40 at 40x30, on Mars.*{expected}"
    ):
        require_agreement(found, Path("model.onnx"))


@pytest.mark.parametrize("is_right", [True, False])
def test_a_file_is_there_if_it_is_right_and_else_nothing_is(is_right: bool, tiny_model: Path, tmp_path: Path) -> None:
    model = load(tiny_model)

    def write(file: Path) -> dict[str, Compute]:
        file.write_text("weights")
        file.with_suffix(".bin").write_text("more")
        return {"somehow": as_compute(model) if is_right else lambda image: (1 - model(image), model.logits(image))}

    out = tmp_path / "new" / "model.xml"
    finished: list[str] = []
    with nullcontext() if is_right else pytest.raises(InputError, match=r"model\.xml was not written"):
        write_if_equal(out, write, model, pictures((20, 20)), finish=lambda file: finished.append(file.name))
    assert finished == (["model.xml"] if is_right else [])
    assert sorted(path.name for path in out.parent.iterdir()) == (["model.bin", "model.xml"] if is_right else [])


def test_a_single_pixel_may_differ_however_small_the_picture() -> None:
    def agreement(pixels: int) -> Agreement:
        return Agreement("a", "somewhere", 10, 10, logit_difference=0.0, logit_range=1.0, pixels=pixels)

    assert agreement(1).holds
    assert not agreement(2).holds


def test_pictures_are_also_cut_to_other_sizes() -> None:
    given = pictures((400, 500), (30, 30))
    found = list(with_cut_outs(given))
    assert found[:2] == given
    assert [image.shape[:2] for _, image in found[2:]] == [CUT_OUTS[0], (30, 30), CUT_OUTS[2]]
    assert np.array_equal(found[2][1][0, 0], given[0][1][199, 249])
