from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import maskwright as mw
from maskwright.cli import main
from maskwright.inference.model_file import load_model
from maskwright.models.unet import UNet
from tests.tiny_pictures import an_image, write


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.save(UNet(base_channels=2, depth=1).state_dict(), tmp_path / "unet.pth")
    return tmp_path / "unet.pth"


def test_the_model_file_says_what_the_user_said(weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "model.safetensors"
    words = ["--size", "96", "--classes", "sky,cloud", "--threshold", "0.4", "--out", str(out)]
    assert main(["import", str(weights), *words]) == 0
    card, _ = load_model(out)
    assert (card.size, card.class_names, card.threshold) == (96, ("sky", "cloud"), 0.4)
    assert mw.load(out)(np.zeros((30, 50, 3), np.uint8)).shape == (30, 50)


def test_pictures_may_be_shrunk_by_a_factor(weights: Path, tmp_path: Path) -> None:
    out = mw.import_weights(weights, factor=0.5, out=tmp_path / "model.safetensors")
    assert (load_model(out)[0].size, load_model(out)[0].factor) == (None, 0.5)
    assert mw.load(out)(np.zeros((30, 50, 3), np.uint8)).shape == (30, 50)


def test_a_network_of_one_channel_predicts_everyday_grey_pictures(tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(UNet(1, base_channels=8, depth=1).state_dict(), tmp_path / "grey.pth")
    out = mw.import_weights(tmp_path / "grey.pth", size=48, out=tmp_path / "model.safetensors")
    grey = an_image(0)[..., 0]
    for name in ("a.png", "b.tif"):
        write(tmp_path / "xray" / name, grey)
    assert main(["predict", str(out), str(tmp_path / "xray"), "--out", str(tmp_path / "masks")]) == 0
    for name in ("a_mask.png", "b_mask.png"):
        with Image.open(tmp_path / "masks" / name) as mask:
            assert np.array_equal(np.asarray(mask), mw.load(out)(grey) * 255)


def test_nothing_is_overwritten(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"mine")
    assert main(["import", str(weights), "--size", "96", "--out", str(tmp_path / "model.safetensors")]) == 2
    assert "is there already" in capsys.readouterr().err
    assert (tmp_path / "model.safetensors").read_bytes() == b"mine"


def test_it_goes_out_again_as_it_came(weights: Path, tmp_path: Path) -> None:
    out = mw.import_weights(weights, size=96, out=tmp_path / "model.safetensors")
    again = torch.load(mw.export(out, to="pth", out=tmp_path / "again.pth").path, weights_only=True)
    assert all(torch.equal(again[name], tensor) for name, tensor in torch.load(weights, weights_only=True).items())
