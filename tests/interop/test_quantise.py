import json
from pathlib import Path
from shutil import copyfile

import onnx
import onnxruntime
import pytest

from maskwright.data.pairs import Pair
from maskwright.errors import InputError
from maskwright.inference.predictor import load
from maskwright.interop.quantise import Int8Report, quantise_within
from maskwright.interop.trial_pictures import TrialPictures

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def in_float(tiny_onnx: Path, tmp_path: Path) -> Path:
    return Path(copyfile(tiny_onnx, tmp_path / "model.onnx"))


@pytest.fixture
def pictures(ellipses: tuple[Pair, ...]) -> TrialPictures:
    """Judged by the model's own masks: it has learnt nothing."""
    return TrialPictures("ellipses", tuple(pair.image for pair in ellipses[:4]))


def test_convolutions_between_the_ends_become_8_bits_and_all_else_stays(
    in_float: Path, pictures: TrialPictures
) -> None:
    before = onnx.load_model(in_float)
    report = quantise_within(in_float, 0.9, pictures, say=pytest.fail)
    after = onnx.load_model(in_float)
    operations = [node.op_type for node in after.graph.node]
    assert operations.count("MatMul") == [node.op_type for node in before.graph.node].count("MatMul")
    weights = {tensor.name: tensor for tensor in after.graph.initializer}
    types = [
        weights[name].data_type
        for node in after.graph.node
        if node.op_type == "DequantizeLinear" and (name := node.input[0]) in weights
    ]
    convolutions = operations.count("Conv")
    assert types.count(onnx.TensorProto.INT8) == convolutions - 2
    assert report.kept_in_float == 1
    ranges = [
        onnx.numpy_helper.to_array(tensor) for name, tensor in weights.items() if name.endswith("weight_quantized")
    ]
    assert max(abs(values).max() for values in ranges) <= 64  # 7 bits


def test_the_masks_stay_much_the_same_and_the_metadata_says_how_much(in_float: Path, pictures: TrialPictures) -> None:
    card = load(in_float).card
    report = quantise_within(in_float, 0.9, pictures, say=pytest.fail)
    assert report.float_dice == 1
    assert 0.8 < report.dice <= 1
    assert (report.pictures, report.judged_by) == (2, "the model's own masks")
    assert min(report.seconds, report.float_seconds) > 0
    found = onnxruntime.InferenceSession(in_float).get_modelmeta().custom_metadata_map
    assert Int8Report(**json.loads(found["int8"])) == report
    assert load(in_float).card == card


def test_what_costs_too_much_is_not_written(in_float: Path, pictures: TrialPictures) -> None:
    before = in_float.read_bytes()
    said: list[str] = []
    with pytest.raises(InputError, match=r"model\.onnx was not written: .* --int8-limit"):
        quantise_within(in_float, -1.0, pictures, say=said.append)
    assert len(said) == 3
    assert in_float.read_bytes() == before
    assert [path.name for path in in_float.parent.glob("*.onnx")] == ["model.onnx"]
