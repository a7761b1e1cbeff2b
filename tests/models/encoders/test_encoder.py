import pytest
import torch
from torch import Tensor

from maskwright.interop.weights import read_imagenet_weights
from maskwright.models.encoders.by_name import TorchvisionEncoder
from maskwright.models.encoders.efficientnet_lite import EfficientNetLite
from maskwright.models.encoders.encoder import find_misfit, load_weights

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    found = read_imagenet_weights("efficientnet_lite0")
    assert found is not None
    return found


@pytest.mark.parametrize("channels", [1, 4])
def test_with_other_input_channels_a_grey_picture_excites_the_encoder_equally(
    channels: int, weights: dict[str, Tensor]
) -> None:
    encoder, other = EfficientNetLite(), EfficientNetLite(in_channels=channels)
    for network in (encoder, other):
        load_weights(network, weights)
        network.eval()
    grey = torch.rand(1, 1, 64, 64)
    with torch.inference_mode():
        expected = encoder(grey.expand(-1, 3, -1, -1))
        found = other(grey.expand(-1, channels, -1, -1))
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-3, rtol=1e-3)


def test_weights_of_another_shape_are_refused(weights: dict[str, Tensor]) -> None:
    wrong = {**weights, "_blocks.3._project_conv.weight": torch.zeros(1, 1, 1, 1)}
    with pytest.raises(RuntimeError, match="size mismatch"):
        load_weights(EfficientNetLite(), wrong)


def test_weights_that_fit_have_no_misfit(weights: dict[str, Tensor]) -> None:
    assert find_misfit(EfficientNetLite(), weights) is None


def test_they_fit_without_the_classifier(weights: dict[str, Tensor]) -> None:
    body = {name: tensor for name, tensor in weights.items() if not name.startswith("_fc.")}
    assert find_misfit(EfficientNetLite(), body) is None


def test_a_misfit_names_the_first_key_that_is_missing_of_another_shape_or_unexpected(
    weights: dict[str, Tensor],
) -> None:
    encoder = EfficientNetLite()
    without = {name: tensor for name, tensor in weights.items() if not name.startswith(("_blocks.4.", "_blocks.5."))}
    assert find_misfit(encoder, without) == "_blocks.4._expand_conv.weight is missing"
    reshaped = {**weights, "_blocks.2._bn1.weight": torch.zeros(7)}
    assert find_misfit(encoder, reshaped) == "_blocks.2._bn1.weight has the shape (7,) instead of (144,)"
    more = {**weights, "_blocks.2._se.weight": torch.zeros(7)}
    assert find_misfit(encoder, more) == "_blocks.2._se.weight is not a part of it"


def test_files_that_count_no_batches_fit() -> None:
    """Those of torchvision from before PyTorch 0.4.1."""
    encoder = TorchvisionEncoder("resnet18")
    old = {
        name.removeprefix("network."): torch.full_like(tensor, 0.5)
        for name, tensor in encoder.state_dict().items()
        if name.startswith("network.") and not name.endswith("num_batches_tracked")
    }
    assert find_misfit(encoder, old) is None
    load_weights(encoder, old)
    assert torch.equal(encoder.network.get_parameter("layer4.1.bn2.weight"), old["layer4.1.bn2.weight"])


def test_files_of_other_channels_fit_a_first_convolution_of_three() -> None:
    encoder = TorchvisionEncoder("resnet18")
    weights = {name.removeprefix("network."): tensor for name, tensor in encoder.state_dict().items()}
    weights = {name: tensor for name, tensor in weights.items() if not name.startswith("normalise.")}
    weights["conv1.weight"] = torch.ones(64, 6, 7, 7)
    assert find_misfit(encoder, weights) is None
    load_weights(encoder, weights)
    assert torch.equal(encoder.network.get_parameter("conv1.weight"), torch.full((64, 3, 7, 7), 2.0))
