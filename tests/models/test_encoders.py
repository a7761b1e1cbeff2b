import pytest
import timm
import torch
from torch import Tensor, nn

from maskwright.config import Architecture
from maskwright.interop.weights import read_imagenet_weights
from maskwright.models.build import build_network
from maskwright.models.encoders import EfficientNetLite0, EncoderUNet, SameConv

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    found = read_imagenet_weights("efficientnet_lite0")
    assert found is not None
    return found


@pytest.fixture(scope="module")
def encoder(weights: dict[str, Tensor]) -> EfficientNetLite0:
    encoder = EfficientNetLite0()
    encoder.load_imagenet_weights(weights)
    return encoder.eval()


@pytest.fixture(scope="module")
def reference(weights: dict[str, Tensor]) -> nn.Module:
    """The same network and weights in timm, whose modules stand in the same order under other names."""
    network: nn.Module = timm.create_model("tf_efficientnet_lite0", pretrained=False, features_only=True)
    heads = ("_conv_head.", "_bn1.", "_fc.")
    body = [tensor for name, tensor in weights.items() if not name.startswith(heads)]
    names = list(network.state_dict())
    network.load_state_dict(dict(zip(names, body, strict=True)), strict=True)
    return network.eval()


@pytest.mark.parametrize(("height", "width"), [(64, 96), (128, 128), (32, 32)])
def test_features_equal_the_reference(
    height: int, width: int, encoder: EfficientNetLite0, reference: nn.Module
) -> None:
    image = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        ours, theirs = encoder(image), reference((image * 255 - 127) / 128)
    assert len(ours) == len(theirs) == 5
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-5)


def test_the_maps_have_the_strides_and_channels_they_say(encoder: EfficientNetLite0) -> None:
    with torch.inference_mode():
        maps = encoder(torch.rand(1, 3, 64, 96))
    assert [tuple(found.shape[1:]) for found in maps] == [
        (channels, 64 // stride, 96 // stride)
        for channels, stride in zip(EfficientNetLite0.channels, (2, 4, 8, 16, 32), strict=True)
    ]


@pytest.mark.parametrize("channels", [1, 4])
def test_with_other_input_channels_a_grey_picture_excites_the_encoder_equally(
    channels: int, weights: dict[str, Tensor], encoder: EfficientNetLite0
) -> None:
    other = EfficientNetLite0(in_channels=channels)
    other.load_imagenet_weights(weights)
    grey = torch.rand(1, 1, 64, 64)
    with torch.inference_mode():
        expected = encoder(grey.expand(-1, 3, -1, -1))
        found = other.eval()(grey.expand(-1, channels, -1, -1))
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-3, rtol=1e-3)


def test_weights_of_another_shape_are_refused(weights: dict[str, Tensor]) -> None:
    wrong = {**weights, "_blocks.3._project_conv.weight": torch.zeros(1, 1, 1, 1)}
    with pytest.raises(RuntimeError, match="size mismatch"):
        EfficientNetLite0().load_imagenet_weights(wrong)


def test_the_built_network_takes_the_weights_that_are_handed_in(weights: dict[str, Tensor]) -> None:
    network = build_network(Architecture("efficientnet_lite0", base_channels=8), encoder_weights=weights)
    assert isinstance(network, EncoderUNet)
    assert torch.equal(network.encoder.state_dict()["stem.0.weight"], weights["_conv_stem.weight"])


def test_the_decoder_starts_from_chance_beside_the_weights_of_the_encoder(weights: dict[str, Tensor]) -> None:
    heads = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        network = build_network(Architecture("efficientnet_lite0", base_channels=8), encoder_weights=weights)
        assert isinstance(network, EncoderUNet)
        heads.append(network.head.weight)
    assert not torch.equal(heads[0], heads[1])


@pytest.mark.parametrize(("kernel", "before", "after"), [(3, 0, 1), (5, 1, 2)])
def test_padding_at_stride_2_is_tensorflows_asymmetric_one(kernel: int, before: int, after: int) -> None:
    assert SameConv(3, 8, kernel, stride=2).same_padding == (before, after) * 2


def test_a_single_picture_of_32_pixels_can_be_learnt_from() -> None:
    network = EncoderUNet(base_channels=8)
    network(torch.rand(1, 3, 32, 32)).mean().backward()
