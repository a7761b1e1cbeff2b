import pytest
import torch
from torch import Tensor

from maskwright.config import Architecture
from maskwright.interop.weights import read_imagenet_weights
from maskwright.models.build import build_network
from maskwright.models.encoder_unet import EncoderUNet
from maskwright.models.unet import Up

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    found = read_imagenet_weights("efficientnet_lite0")
    assert found is not None
    return found


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


def test_no_level_of_a_bounded_decoder_is_wider_than_its_bound() -> None:
    network = EncoderUNet(base_channels=16, widest=40)
    assert [up.conv[0].out_channels for up in network.ups if isinstance(up, Up)] == [40, 40, 40, 32, 16]


def test_a_single_picture_of_32_pixels_can_be_learnt_from() -> None:
    network = EncoderUNet(base_channels=8)
    network(torch.rand(1, 3, 32, 32)).mean().backward()


def test_the_decoder_doubles_five_times_with_nothing_beside_full_resolution() -> None:
    network = EncoderUNet(base_channels=8)
    seen: list[tuple[int, int] | None] = []
    for up in network.ups:
        up.register_forward_pre_hook(lambda _, inputs: seen.append(None if inputs[1] is None else inputs[1].shape[1:3]))
    network(torch.rand(1, 3, 64, 64))
    assert seen == [(112, 4), (40, 8), (24, 16), (16, 32), None]
    assert [up.conv[3].out_channels for up in network.ups if isinstance(up, Up)] == [128, 64, 32, 16, 8]


@pytest.mark.parametrize(("unshuffle", "levels", "channels"), [(1, 5, 3), (2, 4, 12), (4, 3, 48)])
def test_unshuffle_ends_the_decoder_earlier_and_gives_each_pixel_its_own_logits(
    unshuffle: int, levels: int, channels: int
) -> None:
    network = EncoderUNet(num_classes=3, base_channels=8, unshuffle=unshuffle)
    assert (len(network.ups), network.head.out_channels) == (levels, channels)
    assert network.head.in_channels == 8 * unshuffle
    logits = network(torch.rand(2, 3, 64, 64))
    assert logits.shape == (2, 3, 64, 64)
    assert logits[..., ::2].ne(logits[..., 1::2]).all()


def test_where_the_encoder_has_no_map_nothing_stands_beside() -> None:
    network = EncoderUNet(encoder="timm:convnext_atto", base_channels=8)
    seen: list[bool] = []
    for up in network.ups:
        up.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1] is None))
    network(torch.rand(1, 3, 64, 64))
    assert seen == [False, False, False, True, True]


def test_an_encoder_may_have_a_map_at_full_resolution() -> None:
    network = EncoderUNet(encoder="timm:darknet17", base_channels=8)
    assert network.decoder_strides == [16, 8, 4, 2, 1]
    seen: list[bool] = []
    network.ups[-1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1] is not None))
    network.eval()
    network(torch.rand(1, 3, 64, 64))
    assert seen == [True]


def test_an_encoder_may_halve_six_times() -> None:
    network = EncoderUNet(encoder="timm:efficientvit_m0", base_channels=8)
    assert network.decoder_strides == [32, 16, 8, 4, 2, 1]
    assert network.eval()(torch.rand(1, 3, 70, 50)).shape == (1, 1, 70, 50)
