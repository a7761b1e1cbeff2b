import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

import maskwright
from maskwright.inference.predictor import load
from maskwright.interop.onnx import metadata, run_whole

pytestmark = pytest.mark.usefixtures("one_thread")

DOCS = Path(__file__).parents[2] / "docs" / "shipping.md"

# Runs maskwright where importing torch and all that only exports need is an error.
WITHOUT_TORCH = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "torchvision", "matplotlib", "onnx", "openvino"}:
            raise ModuleNotFoundError(f"{name} is blocked")

sys.meta_path.insert(0, Block())

import numpy as np
import maskwright as mw
from maskwright.cli import main

image = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)
np.save("mask.npy", mw.load("model.onnx")(image))
raise SystemExit(main(["predict", "model.onnx", "photo.png", "--out", "out"]))
"""


def test_a_batch_of_any_size_gives_what_its_pictures_give_alone(tiny_onnx: Path) -> None:
    session = onnxruntime.InferenceSession(tiny_onnx)
    batch = np.random.default_rng(0).integers(0, 256, (3, 61, 40, 3), dtype=np.uint8)
    mask, probabilities, logits = session.run(None, {"image": batch})
    assert (mask.shape, probabilities.shape, logits.shape) == ((3, 61, 40), (3, 1, 61, 40), (3, 1, 61, 40))
    for image, expected in zip(batch, logits, strict=True):
        np.testing.assert_allclose(run_whole(tiny_onnx)(image)[1], expected, atol=1e-4)


def test_inputs_and_outputs_say_what_they_are(tiny_onnx: Path) -> None:
    session = onnxruntime.InferenceSession(tiny_onnx)
    assert [(put.name, put.type, put.shape) for put in session.get_inputs()] == [
        ("image", "tensor(uint8)", ["batch", "height", "width", 3])
    ]
    assert [(put.name, put.type, put.shape) for put in session.get_outputs()] == [
        ("mask", "tensor(uint8)", ["batch", "height", "width"]),
        ("probabilities", "tensor(float)", ["batch", 1, "height", "width"]),
        ("logits", "tensor(float)", ["batch", 1, "height", "width"]),
    ]


def test_the_file_is_valid_and_says_what_it_is(tiny_onnx: Path, tiny_model: Path) -> None:
    onnx.checker.check_model(onnx.load_model(tiny_onnx), full_check=True)
    found = onnxruntime.InferenceSession(tiny_onnx).get_modelmeta().custom_metadata_map
    card = load(tiny_model).card
    assert found == metadata(card)
    assert json.loads(found["class_names"]) == list(card.class_names)
    assert float(found["threshold"]) == card.threshold
    assert load(tiny_onnx).card == card


def test_the_lines_in_the_docs_give_the_mask(tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    (lines,) = [block for block in blocks if "onnxruntime" in block]
    assert len([line for line in lines.splitlines() if line]) <= 10
    image = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "photo.jpg", format="PNG")
    (tmp_path / "model.onnx").symlink_to(tiny_onnx)
    monkeypatch.chdir(tmp_path)
    exec(lines, {})  # noqa: S102 - our own docs
    mask = np.array(Image.open(tmp_path / "photo_mask.png"))
    assert (mask != 255 * load(tiny_onnx)(image)).sum() <= 2
    assert 0 < mask.mean() < 255


def test_predicting_takes_no_torch(tiny_onnx: Path, tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "photo.png")
    (tmp_path / "model.onnx").symlink_to(tiny_onnx)
    source = Path(maskwright.__file__).parents[1]
    code = f"import sys; sys.path.insert(0, {str(source)!r})\n{WITHOUT_TORCH}"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    mask = np.load(tmp_path / "mask.npy")
    assert np.array_equal(mask, load(tiny_onnx)(image))
    assert np.array_equal(np.array(Image.open(tmp_path / "out" / "photo_mask.png")), 255 * mask)
