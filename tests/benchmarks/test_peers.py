from dataclasses import replace
from pathlib import Path

import peers
import pytest
import timm
import torch
from peers import PEERS, Way, one_size, timm_weights
from torch import Tensor, nn

from maskwright.data.pairs import Pair
from maskwright.data.reading import Formats
from maskwright.interop.weights import read_imagenet_weights
from maskwright.models.encoders.efficientnet_lite import EfficientNetLite
from maskwright.models.encoders.encoder import load_weights
from maskwright.models.unet import UNet

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_peers_encoder_starts_from_the_same_weights_as_ours() -> None:
    weights = read_imagenet_weights("efficientnet_lite0")
    assert weights is not None
    ours, theirs = EfficientNetLite(), timm.create_model("tf_efficientnet_lite0", pretrained=False, features_only=True)
    load_weights(ours, weights)
    theirs.load_state_dict(timm_weights(weights), strict=True)
    image = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        maps = zip(ours.eval()(image), theirs.eval()((image * 255 - 127) / 128), strict=True)
    for mine, other in maps:
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-5)


def test_smp_takes_these_weights_as_a_whole() -> None:
    pytest.importorskip("segmentation_models_pytorch")
    network = peers.build_smp_lite0()
    weights = read_imagenet_weights("efficientnet_lite0")
    assert weights is not None
    assert torch.equal(network.get_parameter("encoder.model.conv_stem.weight"), weights["_conv_stem.weight"])


@pytest.mark.parametrize(
    ("shapes", "size"),
    [
        ([(1280, 1918)] * 3, (256, 384)),
        ([(1918, 1280)] * 3, (384, 256)),
        ([(320, 480), (480, 320), (480, 480)], (384, 384)),
        ([(10, 1000)], (32, 384)),
    ],
)
def test_all_pictures_of_a_set_get_the_sets_median_shape(shapes: list[tuple[int, int]], size: tuple[int, int]) -> None:
    assert one_size(shapes, 384) == size


def test_a_peer_learns_from_hard_masks_of_its_own_size(ellipses: tuple[Pair, ...]) -> None:
    image, mask = peers.read_at(ellipses[0], Formats(), (32, 64))
    assert image.shape == (3, 32, 64)
    assert mask.shape == (1, 32, 64)
    assert set(mask.flatten().tolist()) == {0, 1}


def test_trying_ways_to_compute_leaves_the_network_as_it_was() -> None:
    network = UNet(base_channels=8, depth=1)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    peers.try_ways(network, PEERS["classic-common"], (32, 32))
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_a_step_of_the_common_way_brings_the_loss_down() -> None:
    torch.manual_seed(0)
    peer, network = PEERS["classic-common"], UNet(base_channels=8, depth=1)
    optimizer = peer.optimizer(network)
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    masks = (images[:, :1] > 127).to(torch.uint8)

    def loss() -> float:
        return float(peer.loss(network(peers.normalise(images, peer)), masks.float()).detach())

    first = loss()
    for _ in range(30):
        peers.step(network, optimizer, peer, Way("fp32", channels_last=False), images, masks)
    assert loss() < first


def test_masks_come_back_at_the_pictures_own_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def small() -> nn.Module:
        return UNet(base_channels=8, depth=1)

    monkeypatch.setitem(PEERS, "small", replace(PEERS["classic-common"], build=small))
    network = small()
    nn.init.constant_(network.get_parameter("head.bias"), 100.0)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    mask = peers.mask_maker("small", tmp_path / "weights.pth", (32, 64))(
        torch.randint(0, 256, (50, 77, 3), dtype=torch.uint8).numpy()
    )
    assert mask.shape == (50, 77)
    assert mask.min() == 1


def test_a_peer_learns_from_full_batches_of_all_pictures_at_a_rate_that_ends_at_zero(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of seven pictures, three at a time, with a clock that steps alone move."""
    now, rates, seen = [0.0], [], []

    def learn(_network: nn.Module, optimizer: torch.optim.Optimizer, _peer: object, _way: Way, *batch: Tensor) -> None:
        rates.append(optimizer.param_groups[0]["lr"])
        seen.append([int(picture) for picture in batch[0]])
        now[0] += 1

    def read() -> tuple[Tensor, Tensor]:
        now[0] += 2
        return torch.arange(7), torch.zeros(7)

    monkeypatch.setattr("peers.time.monotonic", lambda: now[0])
    monkeypatch.setattr(peers, "step", learn)
    peer = replace(PEERS["smp-lite0"], batch_size=3)
    figures = peers.train(nn.Linear(1, 1), peer, Way("fp32", False), read, seconds=100, seed=0)
    assert figures == {"seconds": 100.0, "reading_seconds": 2.0, "steps": 98, "epochs": 42.0}
    assert {len(batch) for batch in seen} == {3}
    in_turn = [picture for batch in seen for picture in batch]
    assert [len(set(in_turn[start : start + 7])) for start in range(0, 7 * 42, 7)] == [7] * 42
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == pytest.approx(2e-4, rel=1e-2)
    assert 0 < rates[-1] < 1e-7
