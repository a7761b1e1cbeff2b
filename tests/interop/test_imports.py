import json
import pickle
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from maskwright.config import Architecture, Norm, Settings, Upsampling
from maskwright.data.labels import LabelMap
from maskwright.errors import InputError, MissingExtraError
from maskwright.inference.engines import TorchEngine
from maskwright.inference.model_file import ModelCard, load_model, save_model
from maskwright.inference.predictor import load
from maskwright.interop.imports import import_model, parse_normalisation
from maskwright.interop.weights import write_state_dict
from maskwright.models.encoders.by_name import IMAGENET_MEAN, IMAGENET_STD
from maskwright.models.unet import UNet

pytestmark = pytest.mark.usefixtures("one_thread")


# --- A network with the names and shapes of milesial/Pytorch-UNet's files, written here


def two_convolutions(before: int, after: int, between: int | None = None, *, bias: bool = False) -> nn.Module:
    between = between or after
    layers = [
        *(nn.Conv2d(before, between, 3, padding=1, bias=bias), nn.BatchNorm2d(between), nn.ReLU()),
        *(nn.Conv2d(between, after, 3, padding=1, bias=bias), nn.BatchNorm2d(after), nn.ReLU()),
    ]
    return nn.ModuleDict({"double_conv": nn.Sequential(*layers)})


class Theirs(nn.Module):
    """Four halvings; its interpolating kind narrows within the second half's convolutions."""

    def __init__(self, classes: int, *, interpolating: bool, channels: int = 3, bias: bool = False) -> None:
        super().__init__()
        self.interpolating = interpolating
        base = 4  # theirs has 64
        widths = [base * 2**level for level in range(5)]
        lowest = widths[4] // 2 if interpolating else widths[4]
        self.inc = two_convolutions(channels, base, bias=bias)
        for level, (before, after) in enumerate(zip(widths, [*widths[1:4], lowest], strict=False), start=1):
            halving = nn.ModuleList([nn.MaxPool2d(2), two_convolutions(before, after, bias=bias)])
            self.add_module(f"down{level}", nn.ModuleDict({"maxpool_conv": halving}))
        for level in range(1, 5):
            joined = widths[5 - level]
            after = widths[max(3 - level, 0)] if interpolating else widths[4 - level]
            between = joined // 2 if interpolating else None
            up: dict[str, nn.Module] = {"conv": two_convolutions(joined, after, between, bias=bias)}
            if not interpolating:
                up["up"] = nn.ConvTranspose2d(joined, joined // 2, 2, stride=2)
            self.add_module(f"up{level}", nn.ModuleDict(up))
        self.outc = nn.ModuleDict({"conv": nn.Conv2d(base, classes, 1)})

    def forward(self, x: Tensor) -> Tensor:
        parts: dict[str, Any] = dict(self.named_children())
        x = parts["inc"]["double_conv"](x)
        skips = [x]
        for level in range(1, 5):
            pool, convolutions = parts[f"down{level}"]["maxpool_conv"]
            x = convolutions["double_conv"](pool(x))
            skips.append(x)
        skips.pop()
        for level in range(1, 5):
            up = parts[f"up{level}"]
            if self.interpolating:
                x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
            else:
                x = up["up"](x)
            x = up["conv"]["double_conv"](torch.cat([skips.pop(), x], dim=1))
        logits: Tensor = parts["outc"]["conv"](x)
        return logits


def trained(network: nn.Module) -> nn.Module:
    """The network with statistics as training leaves them: neither 0 nor 1."""
    torch.manual_seed(1)
    for name, buffer in network.named_buffers():
        if buffer.is_floating_point():
            buffer.copy_(torch.rand_like(buffer) + (0.5 if name.endswith("var") else -0.5))
    return network.eval()


def some_picture(height: int = 48, width: int = 32, channels: int = 3) -> Tensor:
    return torch.rand(2, channels, height, width, generator=torch.Generator().manual_seed(0))


def logits_of(card: ModelCard, weights: Mapping[str, Any], picture: Tensor) -> Tensor:
    return torch.from_numpy(TorchEngine(card.architecture, weights).logits(picture.numpy()))


@pytest.mark.parametrize("interpolating", [False, True])
@pytest.mark.parametrize("classes", [1, 2, 4])
def test_their_network_keeps_its_logits(classes: int, interpolating: bool, tmp_path: Path) -> None:
    theirs = trained(Theirs(classes, interpolating=interpolating))
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
    theirs = trained(Theirs(1, interpolating=False, bias=True))
    torch.save(theirs.state_dict(), tmp_path / "older.pth")
    found = logits_of(*import_model(tmp_path / "older.pth", size=64), some_picture())
    with torch.no_grad():
        torch.testing.assert_close(found, theirs(some_picture()), rtol=1e-4, atol=1e-5)


def test_grey_pictures_and_wrapped_names_are_understood(tmp_path: Path) -> None:
    theirs = trained(Theirs(1, interpolating=True, channels=1))
    torch.save({f"module.{name}": tensor for name, tensor in theirs.state_dict().items()}, tmp_path / "unet.pth")
    card, weights = import_model(tmp_path / "unet.pth", size=64)
    assert card.input.channels == 1
    with torch.no_grad():
        found = logits_of(card, weights, some_picture(channels=1))
        assert torch.equal(found, theirs(some_picture(channels=1)))


def test_an_imported_model_masks_pictures_of_any_size(tmp_path: Path) -> None:
    torch.save(trained(Theirs(3, interpolating=False)).state_dict(), tmp_path / "unet.pth")
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


def test_a_layer_too_many_or_of_another_shape_is_named(tmp_path: Path) -> None:
    path = tmp_path / "unet.pth"
    state = Theirs(1, interpolating=False).state_dict()
    torch.save({**state, "up2.attention.weight": torch.zeros(1)}, path)
    assert_refused(path, "up2.attention.weight has the shape .1,. instead of None")
    torch.save({**state, "down3.maxpool_conv.1.double_conv.0.weight": torch.zeros(1, 2, 3, 3)}, path)
    assert_refused(path, "downs.2.conv.0.weight has the shape")


def test_a_model_file_needs_no_import(tmp_path: Path) -> None:
    save_model(tmp_path / "model.safetensors", ModelCard(Architecture(), size=64), {"stem.0.weight": np.zeros(1)})
    assert_refused(tmp_path / "model.safetensors", "is a model file already")


# --- Networks of segmentation_models.pytorch


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


@pytest.mark.parametrize("text", ["", "1", "a/b", "1,2/1", "0/0", "0/-1", "1/2/3"])
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
