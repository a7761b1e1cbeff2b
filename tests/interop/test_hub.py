import json
import os
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import ModelCard as HubCard

from maskwright.config import Architecture
from maskwright.errors import InputError
from maskwright.inference.model_file import ModelCard, save_model
from maskwright.interop.hub import write_hub_folder

INTERVAL = {"mean": 0.9, "low": 0.8, "high": 0.95}
SCORES = {"dice": INTERVAL, "iou": INTERVAL, "groups": 3, "pictures": [{}, {}, {}]}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "cars" / "model.safetensors"
    card = ModelCard(Architecture(), size=64, trained_on=("aa11",), settings={"split": "/home/somebody/split.json"})
    save_model(path, card, {"weight": np.zeros(3, np.float32)})
    return path


def test_the_folder_holds_what_a_hub_takes(model: Path, tmp_path: Path) -> None:
    write_hub_folder(model, tmp_path / "hub")
    assert {path.name for path in (tmp_path / "hub").iterdir()} == {"README.md", "config.json", "model.safetensors"}
    assert (tmp_path / "hub" / "model.safetensors").read_bytes() == model.read_bytes()
    assert "# cars\n" in HubCard.load(tmp_path / "hub" / "README.md").text
    config = json.loads((tmp_path / "hub" / "config.json").read_text())
    assert (config["library_name"], config["architecture"]["encoder"], config["size"]) == ("maskwright", "none", 64)
    assert "somebody" not in json.dumps(config)


def test_scores_beside_the_model_are_quoted_unless_others_are_given(model: Path, tmp_path: Path) -> None:
    model.with_name("scores.json").write_text(json.dumps(SCORES))
    write_hub_folder(model, tmp_path / "first")
    assert "On 3 unseen pictures" in (tmp_path / "first" / "README.md").read_text()
    (tmp_path / "other.json").write_text(json.dumps({**SCORES, "pictures": [{}]}))
    write_hub_folder(model, tmp_path / "second", scores=tmp_path / "other.json")
    assert "On 1 unseen pictures" in (tmp_path / "second" / "README.md").read_text()


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"dice": 0.9, "iou": 0.8}', json.dumps({**SCORES, "groups": "3"})]
)
def test_scores_that_are_none_are_refused_before_anything_is_written(content: str, model: Path, tmp_path: Path) -> None:
    (tmp_path / "scores.json").write_text(content)
    with pytest.raises(InputError, match="holds no scores"):
        write_hub_folder(model, tmp_path / "hub", scores=tmp_path / "scores.json")
    assert not (tmp_path / "hub").exists()


def test_an_exported_file_goes_along_unless_it_is_older(model: Path, tmp_path: Path) -> None:
    exported = model.with_suffix(".onnx")
    exported.write_bytes(b"onnx")
    write_hub_folder(model, tmp_path / "first")
    assert (tmp_path / "first" / "model.onnx").read_bytes() == b"onnx"
    os.utime(exported, (0, 0))
    write_hub_folder(model, tmp_path / "second")
    assert not (tmp_path / "second" / "model.onnx").exists()
    write_hub_folder(model, tmp_path / "third", onnx=exported)
    assert (tmp_path / "third" / "model.onnx").exists()
