import sys

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from maskwright.config import SMALLEST_SIDE, Architecture
from maskwright.inference.engines import Engine, TorchEngine
from maskwright.inference.model_file import ModelCard
from maskwright.inference.tiling import Tiling, choose_tiling, largest_at_once, strips_of_logits
from maskwright.models.build import build_network

pytestmark = pytest.mark.usefixtures("one_thread")

CLASSIC = [
    Architecture(base_channels=8, depth=2),
    Architecture(base_channels=8, depth=2, upsampling="bilinear"),
    Architecture(base_channels=8, depth=1, unshuffle=2, norm="none"),
    Architecture(base_channels=8, depth=3, norm="none", num_classes=3),
]


def engine_of(architecture: Architecture) -> Engine:
    """A network with statistics that are not the initial ones."""
    torch.manual_seed(0)
    network = build_network(architecture)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)  # type: ignore[union-attr]
            module.running_var.uniform_(0.2, 1.0)  # type: ignore[union-attr]
    return TorchEngine(architecture, {name: tensor.numpy() for name, tensor in network.state_dict().items()})


def logits_of(engine: Engine, image: NDArray[np.uint8], tiling: Tiling) -> NDArray[np.float32]:
    height, width = image.shape[:2]
    return np.concatenate(
        list(strips_of_logits(engine, lambda start, stop: image[start:stop], height, width, tiling)), axis=1
    )


@pytest.mark.parametrize(("window", "halo", "coarsest"), [(16, 2, 2), (20, 6, 2), (20, 3, 4), (17, 5, 1)])
def test_tiles_cover_every_pixel_once_with_a_halo_around(window: int, halo: int, coarsest: int) -> None:
    tiling = Tiling(window, halo, coarsest)
    for length in range(1, 90):
        spans = tiling.spans(length)
        kept = np.concatenate([np.arange(length)[span.kept] for span in spans])
        assert np.array_equal(kept, np.arange(length))
        for span in spans:
            assert span.start % coarsest == 0
            assert span.stop - span.start <= window
            assert span.start == 0 or span.kept_start - span.start >= halo
            assert span.stop == length or span.stop - span.kept_stop >= halo


def test_what_is_seen_at_once_is_one_tile() -> None:
    assert len(Tiling(64, 8, 4).spans(64)) == 1
    assert len(Tiling(64, 8, 4).spans(65)) == 2


@pytest.mark.parametrize("architecture", CLASSIC, ids=str)
@pytest.mark.parametrize("shape", [(150, 210), (49, 333)])
def test_tiled_equals_whole_where_the_network_sees_no_further_than_the_halo(
    architecture: Architecture, shape: tuple[int, int]
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    engine = engine_of(architecture)
    halo, coarsest = choose_tiling(architecture, 32).halo, choose_tiling(architecture, 32).coarsest
    whole = logits_of(engine, image, Tiling(10_000, 0, coarsest))
    window = (2 * halo + 48) // coarsest * coarsest
    tiled = logits_of(engine, image, Tiling(window, halo, coarsest))
    assert len(Tiling(window, halo, coarsest).spans(shape[1])) > 1
    np.testing.assert_allclose(tiled, whole, atol=1e-5)
    without_halo = logits_of(engine, image, Tiling(window, 0, coarsest))
    assert np.abs(without_halo - whole).max() > 1e-3


def test_tiles_begin_where_the_coarsest_pixels_do() -> None:
    architecture = CLASSIC[0]
    image = np.random.default_rng(0).integers(0, 256, (150, 210, 3), dtype=np.uint8)
    engine = engine_of(architecture)
    whole, shifted = logits_of(engine, image, Tiling(10_000, 0, 4)), logits_of(engine, image, Tiling(98, 24, 1))
    assert np.abs(shifted - whole).max() > 1e-4


def test_a_network_that_learnt_from_whole_pictures_sees_large_ones_at_once() -> None:
    assert len(choose_tiling(Architecture(), None).spans(2048)) == 1
    assert len(choose_tiling(Architecture(), 512).spans(2048)) > 1


@pytest.mark.parametrize(
    "architecture",
    [Architecture(norm="group"), Architecture(encoder="timm:resnet18"), Architecture(upsampling="bilinear_aligned")],
    ids=str,
)
def test_a_network_that_looks_everywhere_sees_as_much_as_it_learnt_from(architecture: Architecture) -> None:
    assert choose_tiling(architecture, 512).window == 512
    assert len(choose_tiling(architecture, None).spans(sys.maxsize // 4)) == 1


def test_a_model_knows_what_it_sees_at_once() -> None:
    lite, grouped = Architecture(encoder="efficientnet_lite0"), Architecture(norm="group")
    assert largest_at_once(ModelCard(lite, size=None, factor=0.5, tile=512)) == 1152
    assert largest_at_once(ModelCard(lite, size=2048, tile=512)) == 1152
    assert largest_at_once(ModelCard(lite, size=1152, tile=512)) is None
    assert largest_at_once(ModelCard(lite, size=None, factor=0.5)) == 2048
    assert largest_at_once(ModelCard(grouped, size=None, factor=0.5, tile=512)) == 512
    assert largest_at_once(ModelCard(grouped, size=None, factor=0.5)) is None


@pytest.mark.parametrize("tile", [None, 32, 100, 512, 4000])
@pytest.mark.parametrize(
    "architecture", [*CLASSIC, Architecture(depth=7), Architecture(encoder="efficientnet_lite0")], ids=str
)
def test_every_network_can_be_tiled(architecture: Architecture, tile: int | None) -> None:
    tiling = choose_tiling(architecture, tile)
    assert tiling.window % tiling.coarsest == 0
    assert tiling.spans(10_000)[-1].kept_stop == 10_000


@pytest.mark.parametrize(
    "architecture",
    [
        Architecture(encoder="timm:resnet18"),
        Architecture(norm="group"),
        Architecture(norm="group", depth=5),
        Architecture(norm="group", depth=6),
        Architecture(norm="group", depth=7),
        Architecture(norm="group", unshuffle=4),
        Architecture(upsampling="bilinear_aligned", unshuffle=2),
    ],
    ids=str,
)
def test_a_network_that_looks_everywhere_can_learn_from_cut_outs_of_any_size(architecture: Architecture) -> None:
    for tile in range(SMALLEST_SIDE, 600):
        tiling = choose_tiling(architecture, tile)
        assert tiling.window % tiling.coarsest == 0
        assert tiling.window <= max(tile, 2 * tiling.coarsest)
        spans = tiling.spans(2_000)
        assert all(span.kept_start < span.kept_stop for span in spans)
        assert [span.kept_stop for span in spans[:-1]] == [span.kept_start for span in spans[1:]]
        assert (spans[0].kept_start, spans[-1].kept_stop) == (0, 2_000)
