import json
import sys
from pathlib import Path
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch
from torch import nn

from maskwright.config import Settings
from maskwright.errors import InputError, MissingExtraError
from maskwright.inference.model_file import load_model, save_model
from maskwright.interop.import_smp import parse_normalisation
from maskwright.interop.imports import import_model
from maskwright.models.encoders.by_name import IMAGENET_MEAN, IMAGENET_STD
from tests.foreign_networks import logits_of, some_picture, trained

pytestmark = pytest.mark.usefixtures("one_thread")


def assert_refused(path: Path, words: str, **options: Any) -> None:
    with pytest.raises(InputError, match=words) as raised:
        import_model(path, **{"size": 64, **options})
    assert "\n" not in str(raised.value)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    folder = tmp_path_factory.mktemp("smp") / "unet"
    network = smp.Unet(
        "mobilenet_v2",
        encoder_weights=None,
        encoder_depth=3,
        decoder_channels=(16, 8, 8),
        decoder_interpolation="bilinear",
        classes=2,
        activation="sigmoid",
        aux_params={"classes": 5},
    )
    trained(network)
    network.save_pretrained(folder)
    return network, folder


def test_a_network_of_smp_keeps_its_logits(saved: tuple[Any, Path], tmp_path: Path) -> None:
    theirs, folder = saved
    card, weights = import_model(folder, size=64, normalisation="imagenet")
    save_model(tmp_path / "model.safetensors", card, weights)
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    picture = some_picture(64, 96)
    with torch.no_grad():
        expected = theirs.segmentation_head[0](theirs.decoder(theirs.encoder((picture - mean) / std)))
    assert card.architecture.encoder == "smp:Unet:mobilenet_v2"
    assert torch.equal(logits_of(*load_model(tmp_path / "model.safetensors"), picture), expected)


def test_a_network_of_smp_masks_pictures_of_any_size(saved: tuple[Any, Path]) -> None:
    card, weights = import_model(saved[1], size=64, normalisation="none")
    assert logits_of(card, weights, some_picture(19, 47)).shape == (2, 2, 19, 47)


def test_how_pictures_were_normalised_has_to_be_said(saved: tuple[Any, Path]) -> None:
    assert_refused(saved[1], "say it with --normalisation")
    assert_refused(saved[1], "--normalisation is none, imagenet", normalisation="half")


@pytest.mark.parametrize("text", ["", "1", "a/b", "1,2/1", "1,2/1,2", "0/0", "0/-1", "nan/1", "1/nan", "1/2/3"])
def test_a_normalisation_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--normalisation is"):
        parse_normalisation(text)


def rewrite_config(folder: Path, copy: Path, **changes: Any) -> Path:
    copy.mkdir()
    config = json.loads((folder / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, **changes}))
    (copy / "model.safetensors").symlink_to(folder / "model.safetensors")
    return copy


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"_model_class": "Unknown"}, "has no network 'Unknown:mobilenet_v2'"),
        ({"_model_class": None}, "config.json is not what"),
        ({"encoder_name": "hf-hub:someone/something"}, "has no network"),
        ({"encoder_name": "mobilenet_v9"}, "cannot build Unet:mobilenet_v9"),
        ({"checkpoint_path": "elsewhere.pth"}, "has no option 'checkpoint_path'"),
        ({"decoder_channels": [16, 8, 16]}, "weights of another network than its config.json says"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(
    saved: tuple[Any, Path], changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    assert_refused(rewrite_config(saved[1], tmp_path / "copy", **changes), words, normalisation="none")


def test_a_folder_without_a_config_is_refused(tmp_path: Path) -> None:
    assert_refused(tmp_path, "config.json is not what")


def test_without_their_package_a_sentence_says_how_to_get_it(
    saved: tuple[Any, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    with pytest.raises(MissingExtraError, match="pip install"):
        import_model(saved[1], size=64, normalisation="none")


def test_a_network_of_smp_is_not_trained_here() -> None:
    with pytest.raises(InputError, match="can be used here but not trained"):
        Settings(encoder="smp:Unet:resnet34")
