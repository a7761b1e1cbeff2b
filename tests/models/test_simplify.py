import pytest
import torch
from torch import nn

from maskwright.config import Architecture
from maskwright.models.build import build_network
from maskwright.models.simplify import simplify
from tests.tiny_models import lively_network

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    "architecture",
    [
        Architecture(base_channels=8, depth=2),
        Architecture(base_channels=8, depth=2, norm="group", upsampling="bilinear"),
        Architecture("efficientnet_lite0", base_channels=8, unshuffle=2),
    ],
    ids=["classic", "group", "lite"],
)
def test_a_simplified_network_computes_the_same(architecture: Architecture) -> None:
    network = lively_network(architecture)
    image = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        expected = network(image)
        simplify(network)
        found = network(image)
    torch.testing.assert_close(found, expected, atol=1e-5 * float(expected.abs().max()), rtol=0)


def test_what_can_be_left_out_is() -> None:
    network = build_network(Architecture("efficientnet_lite0", base_channels=8)).eval()
    simplify(network)
    kinds = {type(module) for module in network.modules()}
    assert not kinds & {nn.BatchNorm2d, nn.ConvTranspose2d}
