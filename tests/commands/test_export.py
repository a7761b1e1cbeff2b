from pathlib import Path

import numpy as np
import pytest

from maskwright.commands.export import SUFFIXES, Exported, export
from maskwright.errors import InputError
from maskwright.inference.engines import ENGINES
from maskwright.inference.predictor import load

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_model_becomes_one_file_that_predicts_the_same(tiny_export: Exported, tiny_model: Path) -> None:
    assert sorted(path.name for path in tiny_export.path.parent.iterdir()) == ["model.onnx", "model.safetensors"]
    assert {agreement.way for agreement in tiny_export.agreements} == {"in ONNX Runtime alone", "through maskwright"}
    assert len({(agreement.height, agreement.width) for agreement in tiny_export.agreements}) > 3
    assert max(agreement.logit_difference for agreement in tiny_export.agreements) < 1e-3
    image = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)
    assert np.array_equal(load(tiny_export.path)(image), load(tiny_model)(image))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"out": "model.onnx", "to": "torch"}, r"should end in \.pt2"),
        ({"out": "there.onnx"}, "is there already"),
        ({"out": "model.onnx", "int8": True}, "--int8 needs --pictures"),
        ({"out": "model.pt2", "to": "torch", "int8": True, "pictures": "photos"}, "--int8 is for --to onnx"),
    ],
)
def test_what_cannot_be_done_is_refused_at_once(
    options: dict[str, object], words: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.onnx").touch()
    with pytest.raises(InputError, match=words):
        export(tiny_model, **options)  # type: ignore[arg-type]  # of several kinds


def test_suffixes_are_those_that_files_are_loaded_by() -> None:
    assert {ENGINES.get(suffix, "torch"): suffix for suffix in SUFFIXES.values()} == {
        "onnx": ".onnx",
        "openvino": ".xml",
        "torch": ".pt2",
    }
