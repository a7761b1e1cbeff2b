from pathlib import Path

import numpy as np
import pytest
import torch

from maskwright.config import Architecture
from maskwright.inference.engines import TorchEngine
from maskwright.inference.model_file import ModelCard, card_from_header
from maskwright.inference.predictor import Predictor
from maskwright.interop.parity import compare
from maskwright.interop.tracing import run_whole, trace, write_program
from tests.tiny_models import lively_network

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.slow
def test_a_network_on_a_lite_encoder_is_the_same_at_sizes_it_was_not_traced_with(tmp_path: Path) -> None:
    architecture = Architecture("efficientnet_lite0", base_channels=8, unshuffle=2)
    card = ModelCard(architecture, size=64)
    weights = {name: tensor.numpy() for name, tensor in lively_network(architecture).state_dict().items()}
    path = tmp_path / "model.pt2"
    program = trace(card, weights)
    assert not [node.name for node in program.graph.nodes if str(node.target).endswith("_.default")]  # nothing in place
    write_program(path, program, card)
    noise = np.random.default_rng(0)
    pictures = [
        (str(size), noise.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in ((1, 1), (48, 64), (100, 37))
    ]
    found = compare(Predictor(card, TorchEngine(architecture, weights)), {"alone": run_whole(path)}, pictures)
    assert max(agreement.logit_difference for agreement in found) < 1e-3, [agreement.sentence for agreement in found]
    assert max(agreement.logit_range for agreement in found) > 1


def test_a_file_says_what_it_is(tmp_path: Path) -> None:
    card = ModelCard(Architecture(base_channels=8), size=64)
    path = tmp_path / "model.pt2"
    write_program(path, torch.export.export(torch.nn.Identity(), (torch.zeros(1),)), card)
    header = {"maskwright.json": ""}
    torch.export.load(path, extra_files=header)
    assert card_from_header({"maskwright": header["maskwright.json"]}, path) == card
