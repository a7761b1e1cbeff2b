import numpy as np
import torch

from maskwright.config import Architecture
from maskwright.inference.engines import TorchEngine
from maskwright.inference.flips import Mirroring
from maskwright.models.build import build_network


def test_the_logits_are_the_mean_of_both_views(one_thread: None) -> None:
    torch.manual_seed(0)
    architecture = Architecture(base_channels=8, depth=1)
    weights = {name: tensor.numpy() for name, tensor in build_network(architecture).state_dict().items()}
    engine = TorchEngine(architecture, weights)
    batch = np.random.default_rng(0).random((2, 3, 16, 20), dtype=np.float32)
    logits = Mirroring(engine).logits(batch)
    mirrored = engine.logits(batch[..., ::-1].copy())[..., ::-1]
    np.testing.assert_allclose(logits, (engine.logits(batch) + mirrored) / 2, atol=1e-6)
    assert not np.allclose(logits, engine.logits(batch), atol=1e-3)


def test_a_picture_and_its_mirror_image_get_the_same_answer(one_thread: None) -> None:
    torch.manual_seed(0)
    architecture = Architecture(base_channels=8, depth=1)
    weights = {name: tensor.numpy() for name, tensor in build_network(architecture).state_dict().items()}
    engine = Mirroring(TorchEngine(architecture, weights))
    batch = np.random.default_rng(0).random((1, 3, 16, 20), dtype=np.float32)
    np.testing.assert_allclose(engine.logits(batch[..., ::-1].copy())[..., ::-1], engine.logits(batch), atol=1e-6)
