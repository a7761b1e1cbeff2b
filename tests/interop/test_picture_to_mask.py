import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from maskwright.config import Architecture
from maskwright.data.labels import LabelMap
from maskwright.data.resizing import Resize, resize_image, resize_plane
from maskwright.inference.engines import TorchEngine
from maskwright.inference.model_file import ModelCard
from maskwright.inference.predictor import Predictor
from maskwright.interop.picture_to_mask import PictureToMask, resize_pixels, shape_of, shares, triangle
from tests.tiny_models import lively_network

pytestmark = pytest.mark.usefixtures("one_thread")

SIZES = [(1, 1), (37, 53), (48, 32), (20, 48), (301, 64), (5, 400)]


def an_image(height: int, width: int, channels: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, channels), dtype=np.uint8)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_sizes_are_those_of_the_predictor(height: int, width: int) -> None:
    stored = torch.tensor([height, width])
    for resize in (Resize(1), Resize(33), Resize(384), Resize(factor=0.5), Resize(factor=0.3), Resize(factor=1.0)):
        assert tuple(shape_of(stored, resize).tolist()) == resize.shape_of(height, width)


@pytest.mark.parametrize(("stored", "wanted"), [(100, 30), (30, 100), (7, 7), (1, 5), (5, 1), (192, 64)])
def test_weights_resize_logits_as_the_predictor_does(stored: int, wanted: int) -> None:
    plane = np.random.default_rng(0).normal(size=(1, stored)).astype(np.float32)
    weights = shares(triangle(torch.tensor(stored), torch.tensor(wanted), inputs=stored, outputs=wanted)).numpy()
    np.testing.assert_allclose(plane @ weights.T, resize_plane(plane, 1, wanted), atol=3e-6)


@pytest.mark.parametrize(("height", "width"), [*SIZES, (701, 333), (120, 1918)])
@pytest.mark.parametrize("longer_side", [24, 64])
def test_pixels_are_resized_exactly_as_they_are_for_training(height: int, width: int, longer_side: int) -> None:
    image = an_image(height, width)
    rows, columns = Resize(longer_side).shape_of(height, width)
    stored, wanted = torch.tensor([height, width]), torch.tensor([rows, columns])
    planes = torch.from_numpy(image).permute(2, 0, 1)[np.newaxis]
    found = resize_pixels(planes, stored, wanted, torch.zeros(rows, columns))[0].permute(1, 2, 0)
    assert np.array_equal(found, resize_image(image, rows, columns))


def test_padding_repeats_the_last_value_and_weighs_nothing() -> None:
    weights = triangle(torch.tensor(5), torch.tensor(10), inputs=8, outputs=16)
    plain = triangle(torch.tensor(5), torch.tensor(10), inputs=5, outputs=10)
    assert torch.equal(weights[:10, :5], plain)
    assert not weights[:, 5:].any()
    assert torch.equal(weights[10:], weights[9].expand(6, -1))


@pytest.mark.parametrize(("num_classes", "channels"), [(2, 1), (2, 2), (3, 3)])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_it_computes_what_the_predictor_does(height: int, width: int, num_classes: int, channels: int) -> None:
    labels = LabelMap("indices", ("background", "car", "road")[:num_classes])
    architecture = Architecture(num_classes=channels, base_channels=8, depth=2)
    card = ModelCard(architecture, size=48, labels=labels, threshold=0.3)
    network = lively_network(architecture)
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    predictor = Predictor(card, TorchEngine(architecture, weights))
    image = an_image(height, width)
    with torch.inference_mode():
        mask, probabilities, logits = PictureToMask(network, card)(torch.from_numpy(image[np.newaxis]))
    expected = predictor.logits(image)
    np.testing.assert_allclose(logits[0], expected, atol=1e-4)
    np.testing.assert_allclose(probabilities[0], predictor.probabilities(image), atol=1e-4)
    assert mask.dtype == torch.uint8
    assert np.array_equal(mask[0], predictor(image))


@pytest.mark.parametrize("threshold", [0.1, 0.8])
def test_two_logits_have_the_threshold_inside(threshold: float) -> None:
    architecture = Architecture(num_classes=2, base_channels=8, depth=1)
    whole = PictureToMask(lively_network(architecture), ModelCard(architecture, size=48, threshold=threshold))
    with torch.inference_mode():
        mask, probabilities, logits = whole(torch.from_numpy(an_image(37, 53)[np.newaxis]))
    assert ((probabilities[:, 1] >= threshold) != mask).sum() <= 1
    assert (logits.argmax(dim=1) != mask).sum() > 50


def test_a_picture_of_the_models_size_stays_as_it_is() -> None:
    architecture = Architecture(base_channels=8, depth=1)
    network = lively_network(architecture)
    image = torch.from_numpy(an_image(33, 48)[np.newaxis])
    with torch.inference_mode():
        _, _, logits = PictureToMask(network, ModelCard(architecture, size=48))(image)
        expected = network(image.permute(0, 3, 1, 2).float() / 255)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


def test_a_tile_of_a_resized_picture_is_not_resized_again() -> None:
    architecture = Architecture(base_channels=8, depth=1)
    network = lively_network(architecture)
    image = torch.from_numpy(an_image(33, 48)[np.newaxis])
    whole = PictureToMask(network, ModelCard(architecture, size=None, factor=0.5))
    with torch.inference_mode():
        _, _, logits = whole(image, torch.tensor(data=True))
        expected = network(image.permute(0, 3, 1, 2).float() / 255)
        assert not torch.allclose(whole(image, torch.tensor(data=False))[2], logits, atol=1)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
