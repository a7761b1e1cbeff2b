import dataclasses
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

from maskwright.config import Architecture
from maskwright.data.input_format import InputFormat
from maskwright.data.labels import LabelMap
from maskwright.data.resizing import Resize
from maskwright.errors import InputError
from maskwright.inference.model_file import FORMAT, ModelCard, Parent, load_model, save_model
from maskwright.models.unet import UNet

CARD = ModelCard(
    architecture=Architecture("efficientnet_lite0", 4, 3, 16, 5, "group", "bilinear"),
    size=384,
    labels=LabelMap(
        "colours",
        ("background", "car", "straße"),
        values=(((0, 0, 0),), ((255, 0, 0), (128, 0, 0)), ((9, 9, 9),)),
        ignore=((224, 224, 192),),
        colours=((0, 0, 0), (255, 0, 0), (9, 9, 9)),
        nearest=True,
    ),
    input=InputFormat(5, (0.0, 1.5, 2.0, 3.0, 4.0), (100.0, 2.5, 3.0, 4.0, 5.0)),
    threshold=0.4,
    metrics={"dice": 0.98765, "val_loss": 1e-9},
    trained_on=("0123456789abcdef", "fedcba9876543210"),
    chosen_on=("0011223344556677",),
    looks=("AAAA", "BBBB"),
    groups=("0123456789abcdef",),
    group="([^_]+)_",
    parent=Parent("runs-of-spring/model.safetensors", "8899aabbccddeeff"),
    settings={"learning_rate": 1e-3, "loss": "bce+dice", "epochs": 3, "augment": True},
    versions={"maskwright": "0.1.0", "torch": "2.14.1"},
)


def some_weights() -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(0)
    return {
        "conv.weight": rng.normal(size=(4, 3, 3, 3)).astype(np.float32),
        "conv.transposed": rng.normal(size=(5, 7)).astype(np.float32).T,
        "norm.num_batches_tracked": np.array(41, np.int64),
        "half": np.array([1.5, np.inf], np.float16),
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_model(tmp_path / "run" / "model.safetensors", CARD, some_weights())
    return tmp_path / "run" / "model.safetensors"


def rewrite(path: Path, metadata: dict[str, str] | None) -> None:
    save_file({"weight": np.zeros(3, np.float32)}, path, metadata=metadata)


def header_of(path: Path) -> dict[str, Any]:
    with safe_open(path, framework="numpy") as file:
        header: dict[str, Any] = json.loads(file.metadata()["maskwright"])
        return header


# --- There and back


def test_the_card_comes_back_as_it_was(path: Path) -> None:
    assert load_model(path)[0] == CARD


def test_a_card_of_defaults_comes_back_as_it_was(tmp_path: Path) -> None:
    card = ModelCard(Architecture(), size=64)
    save_model(tmp_path / "model.safetensors", card, {})
    assert load_model(tmp_path / "model.safetensors") == (card, {})


def test_a_file_from_before_models_had_parents_is_read(path: Path) -> None:
    header = header_of(path)
    del header["parent"]
    rewrite(path, {"maskwright": json.dumps(header)})
    assert load_model(path)[0] == dataclasses.replace(CARD, parent=None)


def test_a_file_from_before_models_knew_what_their_pictures_look_like_is_read(path: Path) -> None:
    header = header_of(path)
    del header["looks"], header["groups"]
    rewrite(path, {"maskwright": json.dumps(header)})
    assert load_model(path)[0] == dataclasses.replace(CARD, looks=(), groups=())


def test_a_card_of_cut_outs_comes_back_as_it_was(tmp_path: Path) -> None:
    card = ModelCard(Architecture(), size=None, factor=0.25, tile=512)
    save_model(tmp_path / "model.safetensors", card, some_weights())
    found, _ = load_model(tmp_path / "model.safetensors")
    assert found == card
    assert found.resize == Resize(factor=0.25)


def test_a_file_from_before_there_were_cut_outs_is_read(path: Path) -> None:
    header = header_of(path)
    del header["factor"], header["tile"]
    rewrite(path, {"maskwright": json.dumps(header)})
    assert load_model(path)[0] == CARD


def test_a_card_that_knows_no_size_is_refused(path: Path) -> None:
    rewrite(path, {"maskwright": json.dumps({**header_of(path), "size": None})})
    with pytest.raises(InputError, match="damaged header"):
        load_model(path)


def test_a_pattern_that_is_none_is_a_damaged_header(path: Path) -> None:
    rewrite(path, {"maskwright": json.dumps({**header_of(path), "group": "("})})
    assert_refused(path, "damaged header")


def test_weights_come_back_exactly(path: Path) -> None:
    weights = load_model(path)[1]
    expected = some_weights()
    assert weights.keys() == expected.keys()
    for name, array in expected.items():
        assert (weights[name].dtype, weights[name].shape) == (array.dtype, array.shape)
        assert np.array_equal(weights[name], array)


def test_all_weights_of_a_network_come_back(tmp_path: Path) -> None:
    state = {name: tensor.numpy() for name, tensor in UNet(base_channels=8, depth=1).state_dict().items()}
    save_model(tmp_path / "model.safetensors", CARD, state)
    weights = load_model(tmp_path / "model.safetensors")[1]
    assert {name: (array.shape, array.tobytes()) for name, array in weights.items()} == {
        name: (array.shape, array.tobytes()) for name, array in state.items()
    }


def test_saving_again_replaces_the_file(path: Path) -> None:
    save_model(path, CARD, {})
    assert load_model(path)[1] == {}
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


# --- What cannot be loaded


def assert_refused(path: Path, words: str) -> None:
    with pytest.raises(InputError, match=words) as raised:
        load_model(path)
    assert str(raised.value).startswith(str(path))
    assert "\n" not in str(raised.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert_refused(tmp_path / "model.safetensors", "is not there")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert_refused(tmp_path, "is not there")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_damaged_file_is_refused(share: float, path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert_refused(path, "not a whole safetensors file")


def test_a_pickle_is_refused(path: Path) -> None:
    path.write_bytes(pickle.dumps({"weight": np.zeros(3)}))
    assert_refused(path, "not a whole safetensors file")


@pytest.mark.parametrize(
    ("suffix", "words"),
    [
        (".pt2", r"for PyTorch alone; use the \.safetensors .* an \.onnx or \.xml"),
        (".pth", r"`maskwright import` makes a model file of them, a \.safetensors"),
    ],
)
def test_what_export_made_for_others_is_refused_with_what_can_be_used(suffix: str, words: str, path: Path) -> None:
    assert_refused(path.rename(path.with_suffix(suffix)), words)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_weights_of_another_program_are_refused(metadata: dict[str, str] | None, path: Path) -> None:
    rewrite(path, metadata)
    assert_refused(path, "not written by maskwright")


def test_a_newer_format_is_refused(path: Path) -> None:
    header = {**header_of(path), "format": FORMAT + 1, "tiles": {"size": 512}}
    rewrite(path, {"maskwright": json.dumps(header)})
    assert_refused(path, "newer maskwright")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 1}'])
def test_a_header_that_is_no_card_is_refused(text: str, path: Path) -> None:
    rewrite(path, {"maskwright": text})
    assert_refused(path, "damaged header")


@pytest.mark.parametrize("threshold", [0.0, 1.0, -0.1])
def test_a_threshold_that_tells_nothing_apart_is_refused(threshold: float) -> None:
    with pytest.raises(InputError, match="threshold"):
        ModelCard(Architecture(), size=64, threshold=threshold)


def test_a_score_that_does_not_exist_is_left_out_of_the_header(tmp_path: Path) -> None:
    card = ModelCard(Architecture(), size=64, metrics={"dice": float("nan"), "iou": 0.5})
    save_model(tmp_path / "model.safetensors", card, {})
    assert header_of(tmp_path / "model.safetensors")["metrics"] == {"iou": 0.5}
