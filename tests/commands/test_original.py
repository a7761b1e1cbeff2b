"""The original commands, run as they are written, on drawn cars in Kaggle's layout."""

import contextlib
import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import uNetUtils
from maskwright.data.drawn_cars import write_drawn_cars

ROOT = Path(__file__).parents[2]
# As the README has them; tests/test_docs.py sees to that. Run with fewer epochs and smaller pictures.
TRAINING = "python trainuNet.py --epochs 10 --batchsize 2 --lr 1e-4 --stepsize 5"
INFERENCE = "python inference.py"
SMALL = {"python ": "", "--epochs 10": "--epochs 1"}
# What an earlier run has left; nobody looks into it.
EARLIER = b"weights that took hours"


def run(command: str, *options: str, folder: Path) -> subprocess.CompletedProcess[str]:
    for usual, small in SMALL.items():
        command = command.replace(usual, small)
    script, *words = command.split()
    command_line = [sys.executable, str(ROOT / script), *words, *options]
    return subprocess.run(command_line, cwd=folder, capture_output=True, text=True, check=False, env=dict(os.environ))


def code_of(script: str, *options: str, folder: Path) -> object:
    """What a script ends with in this process, where it takes seconds less to start."""
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [script, *options])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(ROOT / script), run_name="__main__")
    return ended.value.code


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with earlier weights in it, after one epoch on six pictures."""
    folder = tmp_path_factory.mktemp("original")
    (folder / "unet_carvana.pth").write_bytes(EARLIER)
    list(write_drawn_cars(folder / "dataset", cars=3, views=2, width=96, height=64))
    result = run(TRAINING, "--size", "32", folder=folder)
    assert result.returncode == 0, result.stderr
    return folder


def test_training_leaves_a_plain_state_dict_of_the_classic_network(trained: Path) -> None:
    state = torch.load(trained / "unet_carvana.pth", weights_only=True)
    assert sum(tensor.numel() for name, tensor in state.items() if not _is_statistic(name)) == 31_037_633
    assert list(trained.glob("runs/*/model.safetensors"))
    assert list(trained.glob("runs/*/unet_carvana.pth"))


def test_inference_draws_the_panel(trained: Path) -> None:
    result = run(INFERENCE, "--size", "32", folder=trained)
    assert result.returncode == 0, result.stderr
    with Image.open(trained / "resources" / "inference_result.png") as panel:
        assert panel.width > 3 * 96
        assert np.asarray(panel).std() > 10


def test_earlier_weights_are_kept(trained: Path) -> None:
    (kept,) = trained.glob("unet_carvana-*.pth")
    assert kept.read_bytes() == EARLIER


@pytest.mark.parametrize("script", ["trainuNet.py", "inference.py"])
def test_a_missing_dataset_gives_the_download_page_and_the_folders(
    script: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert code_of(script, folder=tmp_path) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    for word in ("kaggle.com/c/carvana-image-masking-challenge", "train_masks", "--data"):
        assert word in said


def test_missing_weights_are_named(drawn_cars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("inference.py", "--data", str(drawn_cars), folder=tmp_path) == 2
    assert "unet_carvana.pth" in capsys.readouterr().err


def test_the_old_module_offers_the_network_and_its_blocks() -> None:
    for name in ("UNet", "DoubleConv", "Down", "Up"):
        assert getattr(uNetUtils, name).__module__ == "maskwright.models.unet"


def _is_statistic(name: str) -> bool:
    return name.endswith(("running_mean", "running_var", "num_batches_tracked"))
