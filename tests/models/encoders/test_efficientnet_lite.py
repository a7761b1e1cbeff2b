import pytest
import timm
import torch
from torch import Tensor, nn

from maskwright.interop.weights import PACKAGES, read_imagenet_weights
from maskwright.models.encoders.efficientnet_lite import CLASSIFIER, ConvNorm, EfficientNetLite, SameConv, lite_stages
from maskwright.models.encoders.encoder import load_weights

pytestmark = pytest.mark.usefixtures("one_thread")

CHANNELS = {
    "efficientnet_lite0": (16, 24, 40, 112, 320),
    "efficientnet_lite1": (16, 24, 40, 112, 320),
    "efficientnet_lite2": (16, 24, 48, 120, 352),
}


@pytest.fixture(scope="module", params=CHANNELS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def weights(name: str) -> dict[str, Tensor]:
    found = read_imagenet_weights(name)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def encoder(name: str, weights: dict[str, Tensor]) -> EfficientNetLite:
    encoder = EfficientNetLite(name=name)
    load_weights(encoder, weights)
    return encoder.eval()


@pytest.fixture(scope="module")
def reference(name: str, weights: dict[str, Tensor]) -> nn.Module:
    """The same network and weights in timm, whose modules stand in the same order under other names."""
    network: nn.Module = timm.create_model(f"tf_{name}", pretrained=False, features_only=True)
    heads = ("_conv_head.", "_bn1.", "_fc.")
    body = [tensor for name, tensor in weights.items() if not name.startswith(heads)]
    names = list(network.state_dict())
    network.load_state_dict(dict(zip(names, body, strict=True)), strict=True)
    return network.eval()


@pytest.mark.parametrize(("height", "width"), [(64, 96), (128, 128), (32, 32)])
def test_features_equal_the_reference(height: int, width: int, encoder: EfficientNetLite, reference: nn.Module) -> None:
    image = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        ours, theirs = encoder(image), reference((image * 255 - 127) / 128)
    assert len(ours) == len(theirs) == 5
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-5)


def test_the_maps_have_the_strides_and_channels_they_say(name: str, encoder: EfficientNetLite) -> None:
    with torch.inference_mode():
        maps = encoder(torch.rand(1, 3, 64, 96))
    assert encoder.channels == CHANNELS[name]
    assert [tuple(found.shape[1:]) for found in maps] == [
        (channels, 64 // stride, 96 // stride)
        for channels, stride in zip(encoder.channels, (2, 4, 8, 16, 32), strict=True)
    ]


def test_the_names_are_exactly_those_of_the_file(encoder: EfficientNetLite, weights: dict[str, Tensor]) -> None:
    assert encoder.reference_names() == set(weights)
    assert {encoder.reference_name(name) for name in encoder.state_dict()} == set(weights) - set(CLASSIFIER)


def test_lite1_is_deeper_and_lite2_wider_too() -> None:
    blocks = {name: tuple(stage.blocks for stage in lite_stages(name)) for name in PACKAGES}
    assert blocks == {
        "efficientnet_lite0": (1, 2, 2, 3, 3, 4, 1),
        "efficientnet_lite1": (1, 3, 3, 4, 4, 5, 1),
        "efficientnet_lite2": (1, 3, 3, 4, 4, 5, 1),
    }


@pytest.mark.parametrize(("kernel", "before", "after"), [(3, 0, 1), (5, 1, 2)])
def test_padding_at_stride_2_is_tensorflows_asymmetric_one(kernel: int, before: int, after: int) -> None:
    assert SameConv(3, 8, kernel, stride=2).same_padding == (before, after) * 2


def test_channel_by_channel_a_processor_computes_in_32_bit() -> None:
    """oneDNN's depthwise convolutions are slower in bf16, most of all backward."""
    image = torch.rand(1, 8, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        filtered = SameConv(8, 8, 3, stride=2, groups=8)(image.bfloat16())
        mixed = SameConv(8, 8, 1)(image)
    assert (filtered.dtype, mixed.dtype) == (torch.float32, torch.bfloat16)


@pytest.mark.parametrize("stride", [1, 2])
def test_what_does_not_learn_is_one_convolution_and_computes_the_same(stride: int) -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(6)
    layers = ConvNorm(SameConv(6, 6, 3, stride, groups=6), norm, nn.ReLU6())
    for _ in range(3):
        layers(torch.randn(4, 6, 16, 16) + 2)  # statistics and weights that are not those of the beginning
    norm.weight.data.uniform_(0.5, 2)
    norm.bias.data.normal_()
    layers.eval()
    x = torch.randn(2, 6, 16, 16)
    apart = layers(x)
    normalised: list[int] = []
    norm.register_forward_hook(lambda *_: normalised.append(1))
    layers(x)
    layers.requires_grad_(False)
    together = layers(x)
    assert len(normalised) == 1
    torch.testing.assert_close(together, apart, rtol=1e-5, atol=1e-5)
    layers.train()(x)
    assert len(normalised) == 2
