import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from maskwright.config import Architecture, Norm, Upsampling
from maskwright.data.labels import LabelMap
from maskwright.errors import InputError
from maskwright.inference.model_file import ModelCard, load_model, save_model
from maskwright.inference.predictor import load
from maskwright.interop.imports import import_model
from maskwright.interop.weights import write_state_dict
from maskwright.models.unet import UNet
from tests.foreign_networks import MilesialLike, logits_of, some_picture, trained

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("interpolating", [False, True])
@pytest.mark.parametrize("classes", [1, 2, 4])
def test_their_network_keeps_its_logits(classes: int, interpolating: bool, tmp_path: Path) -> None:
    theirs = trained(MilesialLike(classes, interpolating=interpolating))
    torch.save(theirs.state_dict(), tmp_path / "unet.pth")
    card, weights = import_model(tmp_path / "unet.pth", size=64)
    upsampling: Upsampling = "bilinear_aligned" if interpolating else "transposed"
    assert card.architecture == Architecture(num_classes=classes, base_channels=4, upsampling=upsampling)
    save_model(tmp_path / "model.safetensors", card, weights)
    with torch.no_grad():
        assert torch.equal(
            logits_of(*load_model(tmp_path / "model.safetensors"), some_picture()), theirs(some_picture())
        )


def test_biases_before_a_normalisation_change_no_more_than_rounding(tmp_path: Path) -> None:
    theirs = trained(MilesialLike(1, interpolating=False, bias=True))
    torch.save(theirs.state_dict(), tmp_path / "older.pth")
    found = logits_of(*import_model(tmp_path / "older.pth", size=64), some_picture())
    with torch.no_grad():
        torch.testing.assert_close(found, theirs(some_picture()), rtol=1e-4, atol=1e-5)


def test_grey_pictures_and_wrapped_names_are_understood(tmp_path: Path) -> None:
    theirs = trained(MilesialLike(1, interpolating=True, channels=1))
    torch.save({f"module.{name}": tensor for name, tensor in theirs.state_dict().items()}, tmp_path / "unet.pth")
    card, weights = import_model(tmp_path / "unet.pth", size=64)
    assert card.input.channels == 1
    with torch.no_grad():
        found = logits_of(card, weights, some_picture(channels=1))
        assert torch.equal(found, theirs(some_picture(channels=1)))


def test_an_imported_model_masks_pictures_of_any_size(tmp_path: Path) -> None:
    torch.save(trained(MilesialLike(3, interpolating=False)).state_dict(), tmp_path / "unet.pth")
    save_model(tmp_path / "model.safetensors", *import_model(tmp_path / "unet.pth", size=40))
    mask = load(tmp_path / "model.safetensors")(np.zeros((21, 77, 3), np.uint8))
    assert mask.shape == (21, 77)


# --- What the file and the user say of the classes


@pytest.mark.parametrize(
    ("channels", "mask_values", "told", "expected"),
    [
        (1, [0, 255], None, LabelMap()),
        (1, None, "sky,cloud", LabelMap(class_names=("sky", "cloud"))),
        (2, [0, 1], "car=1,", None),
        (2, None, "background=0,car=1", LabelMap(class_names=("background", "car"))),
        (3, [0, 7, 9], None, LabelMap("indices", ("background", "class 7", "class 9"), ((0,), (7,), (9,)))),
        (3, [0, 7, 9], "road,car,tree", LabelMap("indices", ("road", "car", "tree"), ((0,), (7,), (9,)))),
        (3, [0, 7], "a,b=5,c", None),
        (3, [0, 7], "a=1,b=5,c=6", LabelMap("indices", ("a", "b", "c"), ((1,), (5,), (6,)))),
        (3, None, "a,b", None),
        (3, None, "a=1,b=2,c=#ff0000", None),
        (
            3,
            [[0, 0, 0], [0, 255, 0], [255, 0, 0]],
            "soil,crop,weed",
            LabelMap(
                "colours",
                ("soil", "crop", "weed"),
                (((0, 0, 0),), ((0, 255, 0),), ((255, 0, 0),)),
                colours=((0, 0, 0), (0, 255, 0), (255, 0, 0)),
            ),
        ),
    ],
)
def test_the_classes_are_those_of_the_file_and_the_user(
    channels: int, mask_values: list[Any] | None, told: str | None, expected: LabelMap | None, tmp_path: Path
) -> None:
    state: dict[str, Any] = UNet(num_classes=channels, base_channels=2, depth=1).state_dict()
    if mask_values is not None:
        state["mask_values"] = mask_values
    torch.save(state, tmp_path / "unet.pth")
    if expected is None:
        with pytest.raises(InputError):
            import_model(tmp_path / "unet.pth", size=64, classes=told)
    else:
        assert import_model(tmp_path / "unet.pth", size=64, classes=told)[0].labels == expected


def test_a_threshold_needs_a_single_logit(tmp_path: Path) -> None:
    for channels in (1, 2):
        torch.save(UNet(num_classes=channels, base_channels=2, depth=1).state_dict(), tmp_path / f"{channels}.pth")
    assert import_model(tmp_path / "1.pth", size=64, threshold=0.3)[0].threshold == 0.3
    with pytest.raises(InputError, match="2 classes, of which the highest wins"):
        import_model(tmp_path / "2.pth", size=64, threshold=0.3)


# --- The original flow's state dict


@pytest.mark.parametrize("upsampling", ["transposed", "bilinear", "bilinear_aligned"])
@pytest.mark.parametrize("norm", ["batch", "group", "none"])
def test_a_plain_state_dict_goes_in_and_out_unchanged(upsampling: Upsampling, norm: Norm, tmp_path: Path) -> None:
    network = UNet(base_channels=8, depth=2, norm=norm, upsampling=upsampling)
    torch.save(network.state_dict(), tmp_path / "unet.pth")
    card, weights = import_model(tmp_path / "unet.pth", size=480)
    assert card.architecture == Architecture(base_channels=8, depth=2, norm=norm, upsampling=upsampling)
    write_state_dict(tmp_path / "again.pth", weights)
    again = torch.load(tmp_path / "again.pth", weights_only=True)
    assert list(again) == list(network.state_dict())
    assert all(torch.equal(again[name], tensor) for name, tensor in network.state_dict().items())


def test_weights_in_16_bit_come_back_in_32(tmp_path: Path) -> None:
    torch.save(UNet(base_channels=2, depth=1).bfloat16().state_dict(), tmp_path / "unet.pth")
    _, weights = import_model(tmp_path / "unet.pth", size=64)
    assert weights["stem.0.weight"].dtype == np.float32


def test_the_card_says_where_the_weights_come_from(tmp_path: Path) -> None:
    torch.save(UNet(base_channels=2, depth=1).state_dict(), tmp_path / "unet.pth")
    card, _ = import_model(tmp_path / "unet.pth", size=64)
    assert card.is_imported
    assert card.parent is not None
    assert card.parent.name == f"{tmp_path.name}/unet.pth"
    assert card.settings == {"imported_from": "the original commands"}


# --- Files that are refused


def assert_refused(path: Path, words: str, **options: Any) -> None:
    with pytest.raises(InputError, match=words) as raised:
        import_model(path, **{"size": 64, **options})
    assert "\n" not in str(raised.value)


class Trap:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return print, ("executed",)


def test_code_in_a_file_is_not_executed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"inc": Trap()}, tmp_path / "unet.pth")
    assert_refused(tmp_path / "unet.pth", "cannot|no weights that can be read safely")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Trap(), protocol=2))
    assert_refused(tmp_path / "plain.pth", "no weights that can be read safely")
    assert "executed" not in capsys.readouterr().out


def test_other_networks_and_other_things_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    assert_refused(path, "is not there")
    torch.save({"fc.weight": torch.zeros(3)}, path)
    assert_refused(path, r"not known here \(fc.weight")
    torch.save({"epoch": 3}, path)
    assert_refused(path, "holds no state_dict")
    torch.save(UNet(base_channels=2, depth=1).state_dict(), path)
    assert_refused(path, "leave --normalisation out", normalisation="imagenet")
    assert_refused(path, "--size must be at least 32", size=8)
    assert_refused(path, "--factor must be above 0", size=None, factor=1.5)
    assert_refused(path, "give --size for the longer side of all, or --factor", size=None)
    assert_refused(path, "give --size for the longer side of all, or --factor", factor=0.5)


def test_a_layer_too_many_or_of_another_shape_is_named(tmp_path: Path) -> None:
    path = tmp_path / "unet.pth"
    state = MilesialLike(1, interpolating=False).state_dict()
    torch.save({**state, "up2.attention.weight": torch.zeros(1)}, path)
    assert_refused(path, "up2.attention.weight has the shape .1,. instead of None")
    torch.save({**state, "down3.maxpool_conv.1.double_conv.0.weight": torch.zeros(1, 2, 3, 3)}, path)
    assert_refused(path, "downs.2.conv.0.weight has the shape")


def test_a_model_file_needs_no_import(tmp_path: Path) -> None:
    save_model(tmp_path / "model.safetensors", ModelCard(Architecture(), size=64), {"stem.0.weight": np.zeros(1)})
    assert_refused(tmp_path / "model.safetensors", "is a model file already")
