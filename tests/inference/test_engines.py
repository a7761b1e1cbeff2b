import numpy as np
import pytest
import torch

from maskwright.config import Architecture
from maskwright.inference.engines import TorchEngine
from maskwright.models.build import build_network

pytestmark = pytest.mark.usefixtures("one_thread")

ARCHITECTURE = Architecture(base_channels=8, depth=1)


def test_the_engine_computes_what_the_network_does_when_it_no_longer_learns() -> None:
    torch.manual_seed(0)
    network = build_network(ARCHITECTURE)
    network(torch.rand(4, 3, 16, 16))  # statistics that are not the initial ones
    engine = TorchEngine(ARCHITECTURE, {name: tensor.numpy() for name, tensor in network.state_dict().items()})
    batch = np.random.default_rng(0).random((2, 3, 17, 20), dtype=np.float32)
    logits = engine.logits(batch)
    assert logits.shape == (2, 1, 17, 20)
    assert logits.dtype == np.float32
    with torch.inference_mode():
        expected = network.eval()(torch.from_numpy(batch)).numpy()
    np.testing.assert_array_equal(logits, expected)


def test_the_engine_keeps_weights_of_its_own() -> None:
    weights = {name: tensor.numpy() for name, tensor in build_network(ARCHITECTURE).state_dict().items()}
    engine = TorchEngine(ARCHITECTURE, weights)
    batch = np.zeros((1, 3, 8, 8), np.float32)
    before = engine.logits(batch)
    weights["head.bias"][:] += 1
    np.testing.assert_array_equal(engine.logits(batch), before)


def test_weights_of_another_network_are_not_used_silently() -> None:
    weights = {name: tensor.numpy() for name, tensor in build_network(ARCHITECTURE).state_dict().items()}
    with pytest.raises(ValueError, match="size mismatch"):
        TorchEngine(Architecture(base_channels=16, depth=1), weights)
