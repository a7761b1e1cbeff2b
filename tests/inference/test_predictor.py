import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from maskwright.config import Architecture
from maskwright.data.input_format import InputFormat
from maskwright.data.labels import LabelMap
from maskwright.errors import InputError
from maskwright.inference import tiling
from maskwright.inference.cleanup import NOTHING, Cleanup
from maskwright.inference.model_file import ModelCard, load_model, save_model
from maskwright.inference.predictor import Predictor, load
from maskwright.models.build import build_network

pytestmark = pytest.mark.usefixtures("one_thread")


class Echo:
    """An engine whose logits are given channels of its input, and which remembers the input."""

    name = "echo"

    def __init__(self, channels: tuple[int, ...] = (0,), factor: float = 1.0, bias: float = 0.0) -> None:
        self.channels, self.factor, self.bias = channels, factor, bias
        self.batches: list[NDArray[np.float32]] = []

    def logits(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        self.batches.append(batch)
        return np.asarray(batch[:, list(self.channels)] * self.factor + self.bias, np.float32)


def predictor(engine: Echo, *, size: int = 32, threshold: float = 0.5) -> Predictor:
    return Predictor(ModelCard(Architecture(), size=size, threshold=threshold), engine)


@pytest.fixture
def image() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A network with first weights, in a file."""
    torch.manual_seed(0)
    architecture = Architecture(base_channels=8, depth=2, norm="none")
    weights = {name: tensor.numpy() for name, tensor in build_network(architecture).state_dict().items()}
    save_model(tmp_path / "model.safetensors", ModelCard(architecture, size=32), weights)
    return tmp_path / "model.safetensors"


# --- Sizes and kinds of pictures


@pytest.mark.parametrize("shape", [(24, 32), (31, 17), (200, 300), (1, 1), (3, 100), (100, 1)])
def test_any_size_in_and_the_mask_at_that_size_out(shape: tuple[int, int], model: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    mask = load(model)(image)
    assert mask.shape == shape
    assert mask.dtype == np.uint8
    assert mask.max() <= 1


def test_a_path_may_be_text(model: Path) -> None:
    assert load(str(model)).card == load(model).card


def test_a_grey_picture_is_one_of_three_equal_channels(model: Path, image: NDArray[np.uint8]) -> None:
    grey = image[..., 0]
    loaded = load(model)
    assert np.array_equal(loaded.logits(grey), loaded.logits(np.stack([grey] * 3, axis=-1)))


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((8, 8, 3), np.float32),
        np.zeros(8, np.uint8),
        np.zeros((1, 8, 8, 3), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((3, 8, 8), np.uint8),
        np.zeros((0, 8, 3), np.uint8),
    ],
    ids=lambda array: f"{array.dtype}-{array.shape}",
)
def test_what_is_no_picture_of_the_models_kind_is_refused(wrong: NDArray[np.uint8]) -> None:
    with pytest.raises(InputError, match=r"^(A|The) picture "):
        predictor(Echo())(wrong)


def test_a_picture_of_16_bits_has_the_models_range() -> None:
    engine = Echo()
    card = ModelCard(Architecture(), size=32, input=InputFormat(3, (100.0,) * 3, (1100.0,) * 3))
    Predictor(card, engine)(np.full((32, 32), 600, np.uint16))
    assert engine.batches[0].shape == (1, 3, 32, 32)
    assert np.allclose(engine.batches[0], 128 / 255)


def test_a_picture_of_many_channels_has_as_many() -> None:
    engine = Echo()
    card = ModelCard(Architecture(in_channels=5), size=16, input=InputFormat(5))
    image = np.arange(5, dtype=np.uint8) * np.ones((32, 32, 1), np.uint8)
    Predictor(card, engine)(image)
    assert np.allclose(engine.batches[0][0, :, 0, 0] * 255, np.arange(5))


def test_the_picture_is_fit_to_the_models_size_and_divided_by_255(image: NDArray[np.uint8]) -> None:
    engine = Echo()
    predictor(engine)(image)
    assert np.array_equal(engine.batches[0], (image.astype(np.float32) / 255).transpose(2, 0, 1)[np.newaxis])
    predictor(engine, size=16)(image)
    assert engine.batches[1].shape == (1, 3, 12, 16)


def test_scaling_never_depends_on_content() -> None:
    engine = Echo()
    predictor(engine)(np.full((24, 32, 3), 51, np.uint8))
    assert np.allclose(engine.batches[0], 0.2)


def test_the_picture_is_left_as_it_was(model: Path, image: NDArray[np.uint8]) -> None:
    before = image.copy()
    load(model)(image)
    assert np.array_equal(image, before)


# --- Logits to classes


@pytest.mark.parametrize("threshold", [0.1, 0.25, 0.5, 0.75, 0.9])
def test_a_pixel_is_foreground_from_the_threshold_on(threshold: float) -> None:
    ramp = np.repeat(np.arange(256, dtype=np.uint8).reshape(8, 32)[..., np.newaxis], 3, axis=2)
    engine = Echo(factor=10.0, bias=-5.0)
    mask = predictor(engine, threshold=threshold)(ramp)
    logits = engine.logits(engine.batches[0])[0, 0].astype(np.float64)
    assert np.array_equal(mask, 1 / (1 + np.exp(-logits)) >= threshold)
    assert 0 < mask.mean() < 1


def test_a_logit_of_zero_is_foreground_at_one_half() -> None:
    assert predictor(Echo(factor=0.0))(np.zeros((8, 8, 3), np.uint8)).all()


@pytest.mark.parametrize("threshold", [0.1, 0.25, 0.75, 0.9])
def test_the_second_of_two_logits_is_foreground_from_the_threshold_on(
    threshold: float, image: NDArray[np.uint8]
) -> None:
    two = Predictor(ModelCard(Architecture(num_classes=2), size=32), Echo((0, 1), factor=8.0))
    made = two.with_threshold(threshold)
    mask = made(image)
    assert np.array_equal(mask, made.probabilities(image)[1] >= threshold)
    assert 0 < mask.mean() < 1


def test_at_one_half_the_larger_of_two_logits_wins_and_a_tie_is_background(image: NDArray[np.uint8]) -> None:
    card = ModelCard(Architecture(num_classes=2), size=32)
    assert np.array_equal(Predictor(card, Echo((0, 1)))(image), image[..., 1] > image[..., 0])
    assert not Predictor(card, Echo((0, 0)))(image).any()


def test_of_several_classes_the_largest_is_taken(image: NDArray[np.uint8]) -> None:
    mask = predictor(Echo((0, 1, 2)))(image)
    assert mask.dtype == np.uint8
    assert np.array_equal(mask, image.argmax(axis=2))
    assert set(np.unique(mask)) == {0, 1, 2}


def test_logits_are_enlarged_and_thresholded_last() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, 32:] = 255
    mask = predictor(Echo(factor=10.0, bias=-8.0), size=8)(image)
    columns = mask.sum(axis=1)
    assert (columns == columns[0]).all()
    assert columns[0] % 8  # the edge falls between the model's pixels


# --- Tiles, flips and clean-up


def test_a_model_of_cut_outs_sees_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiling, "CLASSIC_WINDOW", 64)
    image = np.random.default_rng(0).integers(0, 256, (150, 100, 3), dtype=np.uint8)
    engine = Echo()
    card = ModelCard(Architecture(depth=1), size=None, factor=1.0, tile=64)
    logits = Predictor(card, engine).logits(image)
    assert np.allclose(logits[0], image[..., 0] / 255)
    assert {batch.shape[2:] for batch in engine.batches} > {(64, 64)}
    assert len(engine.batches) > 3


def test_a_model_of_cut_outs_can_see_pictures_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiling, "CLASSIC_WINDOW", 64)
    image = np.random.default_rng(0).integers(0, 256, (150, 100, 3), dtype=np.uint8)
    engine = Echo()
    made = Predictor(ModelCard(Architecture(depth=1), size=None, factor=1.0, tile=64), engine)
    assert made.sees_at_once(64, 64)
    assert not made.sees_at_once(64, 65)
    whole = made.untiled().with_threshold(0.3)
    assert whole.sees_at_once(150, 100)
    assert np.array_equal(whole.logits(image), made.logits(image))
    assert [batch.shape[2:] for batch in engine.batches].count((150, 100)) == 1


def test_a_factor_resizes_by_itself(image: NDArray[np.uint8]) -> None:
    engine = Echo()
    logits = Predictor(ModelCard(Architecture(), size=None, factor=0.5, tile=64), engine).logits(image)
    assert engine.batches[0].shape == (1, 3, 12, 16)
    assert logits.shape == (1, 24, 32)


def test_flips_are_asked_for(model: Path, image: NDArray[np.uint8]) -> None:
    plain, flipped = load(model), load(model, flips=True)
    mirrored = np.ascontiguousarray(image[:, ::-1])
    expected = (plain.logits(image) + plain.logits(mirrored)[..., ::-1]) / 2
    np.testing.assert_allclose(flipped.logits(image), expected, atol=1e-5)


@pytest.mark.parametrize("flips", [False, True])
def test_another_threshold_changes_nothing_else(flips: bool, model: Path, image: NDArray[np.uint8]) -> None:
    cleanup = Cleanup(largest=True, fill_holes=True, min_area=3)
    loaded = load(model, flips=flips, cleanup=cleanup)
    before = loaded.logits(image)
    other = loaded.with_threshold(float(1 / (1 + np.exp(-np.quantile(before, 0.9)))))
    np.testing.assert_array_equal(other.logits(image), before)
    assert other.cleanup == cleanup
    assert other.engine_name == loaded.engine_name
    assert dataclasses.replace(other.card, threshold=0.5) == loaded.card
    assert other(image).sum() < loaded(image).sum()


def test_another_threshold_again_still_flips_once(model: Path, image: NDArray[np.uint8]) -> None:
    flipped = load(model, flips=True)
    twice = flipped.with_threshold(0.3).with_threshold(0.7)
    np.testing.assert_array_equal(twice.logits(image), flipped.logits(image))
    assert twice.engine_name == flipped.engine_name


@pytest.mark.parametrize("settings", [{"flip": 0.0}, {"augment": False, "flip": 0.5}])
def test_a_model_that_never_saw_mirrored_pictures_is_not_shown_any(settings: dict[str, Any], model: Path) -> None:
    card, weights = load_model(model)
    save_model(model, dataclasses.replace(card, settings=settings), weights)
    with pytest.raises(InputError, match="has not learnt from mirrored pictures"):
        load(model, flips=True)
    load(model)


def test_masks_are_cleaned_up_and_logits_are_not() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    image[1, 1], image[4:7, 4:7] = 255, 255
    card = ModelCard(Architecture(), size=8)
    plain, cleaned = (
        Predictor(card, Echo(factor=2.0, bias=-1.0), cleanup=cleanup) for cleanup in (NOTHING, Cleanup(largest=True))
    )
    assert plain(image).sum() == 10
    assert cleaned(image).sum() == 9
    assert np.array_equal(plain.logits(image), cleaned.logits(image))


@pytest.mark.parametrize("cleanup", [Cleanup(fill_holes=True), Cleanup(largest=True), Cleanup(min_area=2)])
def test_masks_without_a_background_are_not_cleaned_up(cleanup: Cleanup, model: Path) -> None:
    card, weights = load_model(model)
    save_model(model, dataclasses.replace(card, labels=LabelMap("indices", ("sky", "road"), ((0,), (7,)))), weights)
    with pytest.raises(InputError, match=r"model\.safetensors tells classes apart that have no background"):
        load(model, cleanup=cleanup)
    load(model)


def test_many_pictures_have_the_masks_of_each(model: Path, image: NDArray[np.uint8]) -> None:
    loaded, images = load(model), [image, image[:10], image[:, :7]]
    for mask, single in zip(loaded.batch(images), images, strict=True):
        assert np.array_equal(mask, loaded(single))


# --- Probabilities


def test_probabilities_of_one_channel_are_the_sigmoid(image: NDArray[np.uint8]) -> None:
    engine = Echo(factor=10.0, bias=-5.0)
    found = predictor(engine).probabilities(image)
    assert found.shape == (1, 24, 32)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-(image[np.newaxis, ..., 0] / 25.5 - 5))), rtol=1e-4)


def test_probabilities_of_several_classes_sum_to_one(image: NDArray[np.uint8]) -> None:
    found = predictor(Echo((0, 1, 2), factor=5.0)).probabilities(image)
    powers = np.exp(image.transpose(2, 0, 1) / 51.0)
    np.testing.assert_allclose(found, powers / powers.sum(0), rtol=1e-4)
    np.testing.assert_allclose(found.sum(0), 1, rtol=1e-5)


@pytest.mark.parametrize("channels", [(0,), (0, 1)])
def test_logits_of_any_size_have_finite_probabilities(channels: tuple[int, ...], image: NDArray[np.uint8]) -> None:
    found = predictor(Echo(channels, factor=1e4, bias=-5e3)).probabilities(image)
    assert np.isfinite(found).all()
    assert found.min() >= 0
    assert found.max() <= 1


def test_a_file_whose_weights_do_not_fit_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_model(path, ModelCard(Architecture(base_channels=8, depth=1), size=32), {"weight": np.zeros(3, np.float32)})
    with pytest.raises(InputError, match=r"model\.safetensors holds weights of another network"):
        load(path)
