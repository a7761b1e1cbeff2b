import numpy as np
import pytest
import torch

from maskwright.config import Settings
from maskwright.inference import tiling
from maskwright.inference.engines import TorchEngine
from maskwright.inference.model_file import ModelCard
from maskwright.inference.predictor import Predictor
from maskwright.models.build import build_network
from maskwright.training.whole_pictures import whole_logits

pytestmark = pytest.mark.usefixtures("one_thread")


def test_whole_pictures_are_validated_as_they_are_predicted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiling, "CLASSIC_WINDOW", 64)
    torch.manual_seed(0)
    settings = Settings(base_channels=8, depth=1, factor=1.0, crop=64)
    network = build_network(settings.architecture()).eval()
    image = np.random.default_rng(0).integers(0, 256, (130, 100, 3), dtype=np.uint8)
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    card = ModelCard(settings.architecture(), size=None, factor=1.0, tile=64)
    predicted = Predictor(card, TorchEngine(card.architecture, weights)).logits(image)
    batch = torch.from_numpy(image / np.float32(255)).permute(2, 0, 1)[None]
    sizes = []
    network.register_forward_pre_hook(lambda _, inputs: sizes.append(inputs[0].shape[2:]))
    with torch.inference_mode():
        validated = whole_logits(network, batch, settings)[0].numpy()
    np.testing.assert_allclose(validated, predicted, atol=1e-6)
    assert len(sizes) > 3


def test_whole_pictures_are_validated_where_cut_outs_are_hardly_larger_than_the_coarsest_pixels() -> None:
    settings = Settings(base_channels=8, depth=5, norm="group", factor=1.0, crop=48)
    network = build_network(settings.architecture()).eval()
    with torch.inference_mode():
        validated = whole_logits(network, torch.rand(1, 3, 130, 100), settings)
    assert validated.shape == (1, 1, 130, 100)


def test_a_network_that_learns_from_whole_pictures_sees_them_at_once() -> None:
    network = torch.nn.Conv2d(3, 1, 1)
    sizes = []
    network.register_forward_pre_hook(lambda _, inputs: sizes.append(tuple(inputs[0].shape)))
    whole_logits(network, torch.rand(2, 3, 2100, 8), Settings())
    assert sizes == [(2, 3, 2100, 8)]
