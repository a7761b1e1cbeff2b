import pytest
import torch
from torch import nn
from torch.nn import functional as F

from maskwright.models.build import count_parameters
from maskwright.models.unet import Down, UNet, Up, norm_layer, pad_to_multiple

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def classic() -> UNet:
    with torch.device("meta"):  # its numbers are counted, not computed with
        return UNet()


def test_the_classic_network_has_31_million_parameters(classic: UNet) -> None:
    assert count_parameters(classic) == 31_037_633


def test_the_classic_network_goes_from_64_to_1024_channels(classic: UNet) -> None:
    convolutions = [module for module in classic.modules() if isinstance(module, nn.Conv2d)]
    assert (convolutions[0].in_channels, convolutions[0].out_channels) == (3, 64)
    assert max(convolution.out_channels for convolution in convolutions) == 1024
    assert (classic.head.in_channels, classic.head.out_channels) == (64, 1)


def test_the_classic_network_halves_and_doubles_four_times(classic: UNet) -> None:
    kinds = [type(module) for module in classic.modules()]
    assert (kinds.count(nn.MaxPool2d), kinds.count(nn.ConvTranspose2d)) == (4, 4)


def test_channels_and_depth_are_as_asked() -> None:
    network = UNet(2, 5, base_channels=8, depth=3)
    assert [down.conv[3].out_channels for down in network.downs if isinstance(down, Down)] == [16, 32, 64]
    assert network.stem[0].in_channels == 2
    assert network.head.out_channels == 5


def test_skip_connections_join_equal_resolutions() -> None:
    torch.manual_seed(0)
    network = UNet(base_channels=8, depth=2, norm="none")
    seen: list[tuple[int, ...]] = []
    for up in network.ups:
        up.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[1].shape[1:]))
    network(torch.rand(1, 3, 32, 48))
    assert seen == [(16, 16, 24), (8, 32, 48)]


def test_a_skip_changes_what_the_decoder_says() -> None:
    torch.manual_seed(0)
    up = Up(16, 8, 8, norm="none")
    below = torch.rand(1, 16, 4, 4)
    assert not torch.equal(up(below, torch.zeros(1, 8, 8, 8)), up(below, torch.ones(1, 8, 8, 8)))


def test_bilinear_upsampling_has_no_transposed_convolution() -> None:
    kinds = {type(module) for module in UNet(base_channels=8, depth=1, upsampling="bilinear").modules()}
    assert nn.Upsample in kinds
    assert nn.ConvTranspose2d not in kinds


def test_aligned_upsampling_has_no_weights_and_narrows_in_the_convolutions() -> None:
    network = UNet(base_channels=8, depth=2, upsampling="bilinear_aligned")
    assert all(not list(up.up.parameters()) for up in network.ups)  # type: ignore[union-attr]
    widths = [(up.conv[0].in_channels, up.conv[0].out_channels, up.conv[3].out_channels) for up in network.ups]  # type: ignore[index, union-attr]
    assert widths == [(32, 16, 8), (16, 8, 8)]


@pytest.mark.parametrize(("norm", "kind"), [("batch", nn.BatchNorm2d), ("group", nn.GroupNorm), ("none", nn.Identity)])
def test_the_normalisation_is_as_asked(norm: str, kind: type[nn.Module]) -> None:
    modules = list(UNet(base_channels=8, depth=1, norm=norm).modules())  # type: ignore[arg-type]
    layers = [module for module in modules if isinstance(module, (nn.BatchNorm2d, nn.GroupNorm, nn.Identity))]
    assert [type(layer) for layer in layers] == [kind] * 6


@pytest.mark.parametrize("channels", [*range(8, 300, 8), 320, 528, 1024])
def test_group_normalisation_can_be_built_for_any_channels_that_divide_by_8(channels: int) -> None:
    layer = norm_layer("group", channels)
    assert isinstance(layer, nn.GroupNorm)
    assert channels // layer.num_groups >= 8


def test_the_usual_channels_get_groups_of_eight_up_to_32_groups() -> None:
    layers = [norm_layer("group", channels) for channels in (8, 64, 256, 1024)]
    assert [layer.num_groups for layer in layers if isinstance(layer, nn.GroupNorm)] == [1, 8, 32, 32]


@pytest.mark.parametrize("unshuffle", [2, 4])
def test_unshuffled_the_network_works_on_fewer_places_with_more_channels(unshuffle: int) -> None:
    network = UNet(2, 3, base_channels=8, depth=2, unshuffle=unshuffle)
    seen: list[torch.Size] = []
    network.stem.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
    logits = network(torch.rand(1, 2, 32, 64))
    assert seen == [(1, 2 * unshuffle**2, 32 // unshuffle, 64 // unshuffle)]
    assert network.head.out_channels == 3 * unshuffle**2
    assert logits.shape == (1, 3, 32, 64)


def test_unshuffling_takes_each_pixel_back_to_its_place() -> None:
    network = UNet(1, 1, base_channels=4, depth=1, norm="none", unshuffle=2)
    network.stem = torch.nn.Identity()  # type: ignore[assignment]
    network.downs = network.ups = torch.nn.ModuleList()
    network.head = torch.nn.Identity()  # type: ignore[assignment]
    image = torch.rand(1, 1, 13, 22)
    assert torch.equal(network(image), image)


def test_padding_repeats_the_last_row_and_column() -> None:
    x = torch.rand(1, 2, 5, 6)
    padded = pad_to_multiple(x, 4)
    assert padded.shape == (1, 2, 8, 8)
    assert torch.equal(padded[..., :5, :6], x)
    assert torch.equal(padded[..., 5:, :6], x[..., -1:, :].expand(-1, -1, 3, -1))
    assert torch.equal(padded[..., :5, 6:], x[..., -1:].expand(-1, -1, -1, 2))


def test_sides_that_divide_are_not_padded() -> None:
    x = torch.rand(1, 2, 8, 4)
    assert pad_to_multiple(x, 4) is x


def test_logits_of_a_padded_picture_are_those_of_its_padding_by_hand() -> None:
    torch.manual_seed(0)
    network = UNet(base_channels=8, depth=2).eval()
    image = torch.rand(1, 3, 13, 14)
    with torch.inference_mode():
        by_hand = network(F.pad(image, (0, 2, 0, 3), mode="replicate"))[..., :13, :14]
        assert torch.equal(network(image), by_hand)
