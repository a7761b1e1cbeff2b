from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from maskwright.cli import main
from maskwright.commands.export import SUFFIXES, Exported, _say, export
from maskwright.config import Architecture
from maskwright.data.input_format import InputFormat
from maskwright.errors import InputError
from maskwright.inference.engines import ENGINES
from maskwright.inference.model_file import ModelCard, load_model, save_model
from maskwright.inference.predictor import load
from maskwright.interop import tracing
from maskwright.interop.onnx import run_whole
from maskwright.interop.quantise import Int8Report
from tests.tiny_models import TINY, write_lively_model
from tests.tiny_pictures import an_image, write

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_model_becomes_one_file_that_predicts_the_same(tiny_export: Exported, tiny_model: Path) -> None:
    assert tiny_export.path.name == "model.onnx"
    files = {path.name for path in tiny_export.path.parent.iterdir() if path.is_file()}
    assert files == {"model.onnx", "model.safetensors"}  # nothing unfinished beside it
    assert {agreement.way for agreement in tiny_export.agreements} == {"in ONNX Runtime alone", "through maskwright"}
    assert len({(agreement.height, agreement.width) for agreement in tiny_export.agreements}) > 3
    assert max(agreement.logit_difference for agreement in tiny_export.agreements) < 1e-3
    image = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)
    assert np.array_equal(load(tiny_export.path)(image), load(tiny_model)(image))


def test_a_model_of_cut_outs_is_exported_whatever_the_pictures_sizes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = ModelCard(Architecture(base_channels=8, depth=1, norm="group"), size=None, factor=0.5, tile=32)
    model = write_lively_model(tmp_path / "cells.safetensors", card)
    image = np.random.default_rng(0).integers(0, 256, (110, 150, 3), dtype=np.uint8)
    (tmp_path / "photos").mkdir()
    Image.fromarray(image).save(tmp_path / "photos" / "large.png")
    made = export(model, out=tmp_path / "cells.onnx", pictures=tmp_path / "photos")
    assert {agreement.way for agreement in made.agreements} == {"in ONNX Runtime alone", "through maskwright"}
    in_tiles, whole = load(made.path).logits(image), run_whole(made.path)(image)[1]
    np.testing.assert_allclose(in_tiles, load(model).logits(image), atol=1e-2)
    assert np.abs(in_tiles - whole).max() > 0.1
    note = "Used without maskwright, the file sees every picture whole"
    assert note in " ".join(capsys.readouterr().out.split())
    assert note in onnxruntime.InferenceSession(made.path).get_modelmeta().custom_metadata_map["tiles"]


def test_two_logits_have_the_threshold_in_the_file(tmp_path: Path) -> None:
    card = ModelCard(Architecture(num_classes=2, base_channels=8, depth=1), size=48, threshold=0.2)
    model = write_lively_model(tmp_path / "two.safetensors", card)
    whole = run_whole(export(model, out=tmp_path / "two.onnx").path)
    image = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)
    predictor = load(model)
    assert (whole(image)[0] != predictor(image)).sum() <= 1
    assert (whole(image)[0] != (predictor.probabilities(image)[1] >= 0.2)).sum() <= 1


def test_a_model_of_one_channel_is_compared_on_grey_pictures(tmp_path: Path) -> None:
    card = ModelCard(Architecture(in_channels=1, base_channels=8, depth=1), size=48, input=InputFormat(1))
    model, grey = write_lively_model(tmp_path / "grey.safetensors", card), an_image(0)[..., 0]
    write(tmp_path / "xray" / "a.png", grey)
    made = export(model, to="torch", out=tmp_path / "grey.pt2", pictures=tmp_path / "xray")
    assert made.agreements[0].picture.endswith("a.png")
    assert (tracing.run_whole(made.path)(grey[..., np.newaxis])[0] != load(model)(grey)).sum() <= 1


def test_weights_of_another_network_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_model(path, ModelCard(TINY, size=48), {"weight": np.zeros(3, np.float32)})
    with pytest.raises(InputError, match=r"model\.safetensors holds weights of another network"):
        export(path, out=tmp_path / "model.onnx")


def test_a_file_in_8_bits_is_not_called_equal_to_the_model(
    tiny_export: Exported, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = Int8Report(0.97, 0.98, "the masks", 4, seconds=0.01, float_seconds=0.02, kept_in_float=1)
    card = load_model(tiny_model)[0]
    _say(tiny_export.path, tiny_export.agreements, None, card)
    assert capsys.readouterr().out.startswith("Equal to the model on ")
    _say(tiny_export.path, tiny_export.agreements, report, card)
    assert capsys.readouterr().out.startswith("In float, equal to the model on ")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"out": "model.onnx", "to": "torch"}, r"should end in \.pt2"),
        ({"out": "there.onnx"}, "is there already"),
        ({"out": "weights.xml", "to": "openvino"}, r"weights\.bin is there already; .* or replace it with --overwrite"),
        ({"out": "folder.xml", "to": "openvino", "overwrite": True}, r"folder\.bin is there already; choose another"),
        ({"out": "model.onnx", "int8": True}, "--int8 needs --pictures"),
        ({"out": "model.pt2", "to": "torch", "int8": True, "pictures": "photos"}, "--int8 is for --to onnx"),
    ],
)
def test_what_cannot_be_done_is_refused_at_once(
    options: dict[str, object], words: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.onnx").touch()
    Path("weights.bin").touch()
    Path("folder.bin").mkdir()
    with pytest.raises(InputError, match=words):
        export(tiny_model, **options)  # type: ignore[arg-type]  # of several kinds


def test_suffixes_are_those_that_files_are_loaded_by() -> None:
    assert {ENGINES.get(suffix, "torch"): suffix for suffix in SUFFIXES.values()} == {
        "onnx": ".onnx",
        "openvino": ".xml",
        "torch": ".pt2",
    }


# --- Weights and folders


def test_a_plain_state_dict_holds_the_same_weights(tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "unet_carvana.pth"
    assert main(["export", str(tiny_model), "--to", "pth", "--out", str(out)]) == 0
    state = torch.load(out, weights_only=True)
    expected = load_model(tiny_model)[1]
    assert state.keys() == expected.keys()
    assert all(np.array_equal(state[name], array) for name, array in expected.items())


def test_the_folder_for_a_hub_lies_where_it_is_asked_for(tiny_model: Path, tmp_path: Path) -> None:
    assert main(["export", str(tiny_model), "--to", "hub", "--out", str(tmp_path / "hub")]) == 0
    assert (tmp_path / "hub" / "README.md").is_file()


@pytest.mark.parametrize("target", ["hub", "pth"])
def test_nothing_is_overwritten(
    target: str, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", str(tiny_model), "--to", target, "--out", str(tmp_path / "there")]
    assert main(words) == 0
    assert main(words) == 2
    assert "is there already" in capsys.readouterr().err


def test_scores_that_cannot_be_read_leave_no_folder(tiny_model: Path, tmp_path: Path) -> None:
    words = ["--to", "hub", "--out", str(tmp_path / "hub"), "--scores", str(tmp_path / "missing.json")]
    assert main(["export", str(tiny_model), *words]) == 2
    assert not (tmp_path / "hub").exists()
