from pathlib import Path

import pytest
import torch

from maskwright.cli import main
from maskwright.config import Architecture
from maskwright.inference.model_file import ModelCard, save_model
from maskwright.models.unet import UNet

NETWORK = UNet(base_channels=2, depth=1)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "cars" / "model.safetensors"
    card = ModelCard(Architecture(base_channels=2, depth=1), size=64)
    save_model(path, card, {name: tensor.numpy() for name, tensor in NETWORK.state_dict().items()})
    return path


def test_a_plain_state_dict_holds_the_same_weights(model: Path) -> None:
    out = model.with_name("unet_carvana.pth")
    assert main(["export", str(model), "--to", "pth", "--out", str(out)]) == 0
    state = torch.load(out, weights_only=True)
    assert all(torch.equal(state[name], tensor) for name, tensor in NETWORK.state_dict().items())


def test_the_folder_for_a_hub_lies_where_it_is_asked_for(model: Path, tmp_path: Path) -> None:
    assert main(["export", str(model), "--to", "hub", "--out", str(tmp_path / "hub")]) == 0
    assert (tmp_path / "hub" / "README.md").is_file()


@pytest.mark.parametrize("target", ["hub", "pth"])
def test_nothing_is_overwritten(target: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["export", str(model), "--to", target, "--out", str(tmp_path / "there")]
    assert main(words) == 0
    assert main(words) == 2
    assert "is there already" in capsys.readouterr().err


def test_scores_that_cannot_be_read_leave_no_folder(model: Path, tmp_path: Path) -> None:
    words = ["--to", "hub", "--out", str(tmp_path / "hub"), "--scores", str(tmp_path / "missing.json")]
    assert main(["export", str(model), *words]) == 2
    assert not (tmp_path / "hub").exists()
