import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray
from PIL import Image

from maskwright.config import Architecture
from maskwright.data import row_bands
from maskwright.data.input_format import InputFormat
from maskwright.data.labels import LabelMap
from maskwright.errors import InputError
from maskwright.inference import tiling
from maskwright.inference.cleanup import NOTHING, Cleanup
from maskwright.inference.engines import TorchEngine
from maskwright.inference.model_file import ModelCard
from maskwright.inference.outputs import class_colours
from maskwright.inference.predictor import Predictor
from maskwright.inference.streaming import predict_large, predict_stream
from maskwright.models.build import build_network

pytestmark = pytest.mark.usefixtures("one_thread")

WAYS: dict[str, dict[str, Any]] = {
    "fit": {"size": 96},
    "fit in cut-outs": {"size": 300, "tile": 64},
    "its own size": {"size": None, "factor": 1.0, "tile": 64},
    "half": {"size": None, "factor": 0.5, "tile": 64},
    "an odd factor": {"size": None, "factor": 0.37, "tile": 64},
}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles and bands of which even small pictures have many."""
    monkeypatch.setattr(row_bands, "BAND_NUMBERS", 20_000)
    monkeypatch.setattr(tiling, "CLASSIC_WINDOW", 64)


@pytest.fixture
def image() -> NDArray[np.uint8]:
    noise = np.random.default_rng(0).integers(0, 256, (38, 52, 3), dtype=np.uint8)
    return np.array(Image.fromarray(noise).resize((207, 151)))


class Echo:
    """An engine whose logits are its input."""

    name = "echo"

    def logits(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return batch


def predictor(*, in_channels: int = 3, cleanup: Cleanup = NOTHING, **card: Any) -> Predictor:
    torch.manual_seed(0)
    architecture = Architecture(in_channels=in_channels, base_channels=8, depth=1)
    weights = {name: tensor.numpy() for name, tensor in build_network(architecture).state_dict().items()}
    return Predictor(ModelCard(architecture, **card), TorchEngine(architecture, weights), cleanup=cleanup)


def of_three_classes(**card: Any) -> Predictor:
    labels = LabelMap("names", ("background", "one", "two"))
    return Predictor(ModelCard(Architecture(num_classes=3, depth=1), labels=labels, **card), Echo())


def that_divides(made: Predictor, image: NDArray[Any]) -> Predictor:
    """The same with a threshold that half of the pixels reach, and none lies on."""
    logits = np.sort(made.logits(image).ravel())
    middle = float(logits[len(logits) // 2 : len(logits) // 2 + 2].mean())
    card = dataclasses.replace(made.card, threshold=1 / (1 + np.exp(-middle)))
    return Predictor(card, made._engine)


@dataclasses.dataclass
class Spooled:
    """A picture whose rows are given once."""

    pixels: NDArray[Any]

    @property
    def height(self) -> int:
        return len(self.pixels)

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    def bands(self) -> Iterator[NDArray[Any]]:
        return (self.pixels[top : top + 17] for top in range(0, self.height, 17))


def streamed(made: Predictor, pixels: NDArray[Any]) -> NDArray[np.uint8]:
    found: list[NDArray[np.uint8]] = []
    predict_stream(made, Spooled(pixels), found.extend)
    return np.concatenate(found)


@pytest.mark.parametrize("way", WAYS)
def test_rows_in_and_rows_out_make_the_mask_of_the_whole(way: str, image: NDArray[np.uint8]) -> None:
    made = that_divides(predictor(**WAYS[way]), image)
    mask = made(image)
    found = streamed(made, image)
    assert found.shape == mask.shape
    assert (found != mask).mean() < 1e-4
    assert 0.4 < mask.mean() < 0.6


@pytest.mark.parametrize("way", ["fit", "half"])
def test_of_several_classes_the_mask_is_the_same(way: str, image: NDArray[np.uint8]) -> None:
    made = of_three_classes(**WAYS[way])
    mask = made(image)
    assert len(np.unique(mask)) == 3
    assert np.array_equal(streamed(made, image), mask)


def test_two_logits_have_the_threshold_in_rows_too(image: NDArray[np.uint8]) -> None:
    architecture = Architecture(in_channels=2, num_classes=2, depth=1)
    card = ModelCard(architecture, input=InputFormat(2), threshold=0.55, **WAYS["half"])
    made, pixels = Predictor(card, Echo()), np.ascontiguousarray(image[..., :2])
    expected = made.probabilities(pixels)[1] >= 0.55
    assert (streamed(made, pixels) != expected).mean() < 1e-4
    assert 0 < expected.mean() < 0.4


def test_deep_pictures_have_the_models_range() -> None:
    image = np.random.default_rng(0).integers(0, 4096, (120, 90, 5), dtype=np.uint16)
    deep = InputFormat(5, (0.0,) * 5, (4095.0,) * 5)
    made = that_divides(predictor(in_channels=5, input=deep, **WAYS["its own size"]), image)
    assert np.array_equal(streamed(made, image), made(image))


def test_grey_rows_in_three_channels_are_one_channel_for_a_model_of_one(image: NDArray[np.uint8]) -> None:
    grey = image[..., :1]
    made = that_divides(predictor(in_channels=1, input=InputFormat(1), **WAYS["its own size"]), grey)
    assert np.array_equal(streamed(made, np.repeat(grey, 3, axis=2)), made(grey))
    with pytest.raises(InputError, match="is in colour"):
        streamed(made, image)


def test_no_more_than_a_row_of_tiles_is_read_ahead(image: NDArray[np.uint8]) -> None:
    made = predictor(**WAYS["its own size"])
    tall = np.concatenate([image] * 4)
    read = 0

    @dataclasses.dataclass
    class Counted(Spooled):
        def bands(self) -> Iterator[NDArray[Any]]:
            nonlocal read
            for band in super().bands():
                read += len(band)
                yield band

    written = 0

    def sink(bands: Iterator[NDArray[np.uint8]]) -> None:
        nonlocal written
        for band in bands:
            written += len(band)
            assert read - written <= 2 * 64

    predict_stream(made, Counted(tall), sink)
    assert written == read == len(tall)


def test_a_file_becomes_a_file(image: NDArray[np.uint8], tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="rgb", tile=(64, 64), compression="zlib")
    made = that_divides(predictor(**WAYS["half"]), image)
    predict_large(made, tmp_path / "a.tif", tmp_path / "out" / "a_mask.tif")
    written = np.asarray(Image.open(tmp_path / "out" / "a_mask.tif"))
    assert set(np.unique(written)) == {0, 255}
    assert (written // 255 != made(image)).mean() < 1e-4


def test_a_file_of_several_classes_has_their_colours(image: NDArray[np.uint8], tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", image)
    made = of_three_classes(**WAYS["half"])
    predict_large(made, tmp_path / "a.npy", tmp_path / "a_mask.tif")
    picture = Image.open(tmp_path / "a_mask.tif")
    assert np.array_equal(np.asarray(picture), made(image))
    assert np.array_equal(
        np.asarray(picture.convert("RGB")), np.array(class_colours(made.card.labels), np.uint8)[made(image)]
    )


def test_a_picture_of_another_kind_leaves_no_file(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((40, 50, 7), np.uint8))
    with pytest.raises(InputError, match="7 channels, but 3"):
        predict_large(predictor(**WAYS["half"]), tmp_path / "a.npy", tmp_path / "a_mask.tif")
    assert not (tmp_path / "a_mask.tif").exists()


def test_rows_are_not_cleaned_up(image: NDArray[np.uint8]) -> None:
    made = predictor(cleanup=Cleanup(largest=True), **WAYS["half"])
    with pytest.raises(InputError, match="cannot be cleaned up"):
        predict_stream(made, Spooled(image), lambda _: None)
