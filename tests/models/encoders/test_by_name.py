import builtins
import sys
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models.feature_extraction import create_feature_extractor

from maskwright.errors import InputError, MissingExtraError
from maskwright.models.encoder_unet import build_encoder
from maskwright.models.encoders.by_name import IMAGENET_MEAN, IMAGENET_STD, TimmEncoder, TorchvisionEncoder
from maskwright.models.encoders.encoder import Encoder, find_misfit, load_weights

pytestmark = pytest.mark.usefixtures("one_thread")

# Networks of many kinds, with the layers of torchvision's whose outputs are the last of their stride.
LAYERS = {
    "resnet18": ("relu", "layer1", "layer2", "layer3", "layer4"),
    "mobilenet_v3_small": ("features.0", "features.1", "features.3", "features.8", "features.12"),
    "shufflenet_v2_x0_5": ("conv1", "maxpool", "stage2", "stage3", "conv5"),
    "regnet_y_400mf": ("stem", *(f"trunk_output.block{number}" for number in (1, 2, 3, 4))),
    "densenet121": ("features.relu0", *(f"features.denseblock{number}" for number in (1, 2, 3)), "features.norm5"),
    "convnext_tiny": ("features.1", "features.3", "features.5", "features.7"),
}
TIMM = ("resnet18", "convnext_atto", "mobilenetv3_small_050", "regnety_002", "tf_efficientnet_lite0")


def normalised(image: Tensor, mean: Any = IMAGENET_MEAN, std: Any = IMAGENET_STD) -> Tensor:
    return (image - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)


@torch.inference_mode()
def assert_equal_maps(encoder: Encoder, reference: nn.Module) -> None:
    image = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    config = getattr(reference, "pretrained_cfg", {"mean": IMAGENET_MEAN, "std": IMAGENET_STD})
    found, theirs = encoder.eval()(image), reference.eval()(normalised(image, config["mean"], config["std"]))
    expected = list(theirs.values()) if isinstance(theirs, dict) else theirs
    for mine, other in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-5)
    assert tuple(found[0].shape[-2:]) == (64 // encoder.strides[0], 96 // encoder.strides[0])
    assert tuple(one.shape[1] for one in found) == encoder.channels


@pytest.mark.parametrize("name", LAYERS)
def test_torchvisions_maps_are_those_of_its_own_feature_extractor(name: str) -> None:
    reference = models.get_model(name, weights=None)
    encoder = TorchvisionEncoder(name)
    load_weights(encoder, reference.state_dict())
    assert_equal_maps(encoder, create_feature_extractor(reference, list(LAYERS[name])))


@pytest.mark.parametrize("name", TIMM)
def test_timms_maps_are_those_of_its_own_feature_networks(name: str) -> None:
    encoder = TimmEncoder(name)
    reference = timm.create_model(name, pretrained=False, features_only=True)
    names = {own.replace("_", "."): own for own in reference.state_dict()}  # stages_0.blocks for stages.0.blocks
    weights = {str(encoder.reference_name(own)): tensor for own, tensor in encoder.state_dict().items()}
    reference.load_state_dict({names[own.replace("_", ".")]: weights[own] for own in weights if own != "None"})
    assert_equal_maps(encoder, reference)


@pytest.mark.parametrize("name", TIMM)
def test_a_file_with_the_whole_network_of_timm_fits(name: str) -> None:
    whole = timm.create_model(name, pretrained=False)
    encoder = TimmEncoder(name)
    assert find_misfit(encoder, whole.state_dict()) is None
    load_weights(encoder, whole.state_dict())
    first = next(iter(whole.state_dict()))
    assert torch.equal(encoder.network.get_parameter(f"model.{first}"), whole.state_dict()[first])


@pytest.mark.parametrize("word", ["torchvision:resnet18", "timm:resnet18"])
def test_weights_of_another_network_are_a_misfit(word: str) -> None:
    other = models.resnet34(weights=None).state_dict()
    assert find_misfit(build_encoder(word), other) == "layer1.2.conv1.weight is not a part of it"


@pytest.mark.parametrize(("name", "mean"), [("resnet18", 0.485), ("tf_efficientnet_lite0", 0.5)])
def test_timms_networks_get_pictures_in_the_range_of_their_training(name: str, mean: float) -> None:
    assert TimmEncoder(name).normalise.mean.flatten()[0].item() == pytest.approx(mean)


@pytest.mark.parametrize("word", ["torchvision:resnet18", "timm:resnet18"])
def test_the_range_is_a_part_of_the_weights(word: str) -> None:
    """A later version of the other project cannot change what a model file computes."""
    encoder = build_encoder(word)
    encoder.load_state_dict({**encoder.state_dict(), "normalise.mean": torch.full((1, 3, 1, 1), 0.25)})
    assert encoder.get_buffer("normalise.mean").flatten().tolist() == [0.25] * 3


@pytest.mark.parametrize("word", ["torchvision:resnet18", "timm:resnet18", "torchvision:mobilenet_v3_small"])
def test_other_channels_can_be_looked_at(word: str) -> None:
    encoder = build_encoder(word, 5)
    maps = encoder(torch.rand(2, 5, 64, 64))
    assert [found.shape[1] for found in maps] == list(encoder.channels)


def test_what_belongs_to_the_classifier_is_not_there() -> None:
    assert not any(name.startswith("network.fc") for name in TorchvisionEncoder("resnet18").state_dict())
    assert not any(name.startswith("network.model.fc") for name in TimmEncoder("resnet18").state_dict())


@pytest.mark.parametrize("word", ["torchvision:efficientnet_b0", "timm:focalnet_tiny_srf"])
def test_no_layer_is_left_out_at_random(word: str) -> None:
    """A resumed run has to be the same run, and chance is not a part of its state."""
    encoder = build_encoder(word).train()
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()  # only chance is to make a difference
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(encoder(image)[-1], encoder(image)[-1])


def test_a_new_encoder_is_in_training_mode() -> None:
    for word in ("torchvision:resnet18", "timm:resnet18"):
        assert all(module.training for module in build_encoder(word).modules())


# --- What is refused


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("torchvision:resnet35", r"torchvision has no network 'resnet35'; its nearest names are .*resnet34.*\.$"),
        ("timm:resnet19", r"timm has no network 'resnet19'; its nearest names are .*resnet18.*\.$"),
        ("timm:hf-hub:timm/resnet18", "timm has no network"),
        ("timm:resnet18.no_such_weights", "timm:resnet18.no_such_weights cannot be built"),
        ("torchvision:squeezenet1_1", "torchvision:squeezenet1_1 does not halve the picture"),
        ("timm:vit_tiny_patch16_224", "timm:vit_tiny_patch16_224 cannot look at pictures of any size"),
    ],
)
def test_a_network_that_is_no_encoder_is_refused_in_one_sentence(word: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as raised:
        build_encoder(word)
    assert "\n" not in str(raised.value)
    assert str(raised.value).endswith(".")


@pytest.mark.parametrize(("package", "extra"), [("timm", "encoders"), ("torchvision", "train")])
def test_a_package_that_is_not_there_is_named_with_its_extra(
    package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole_import = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name.partition(".")[0] == package:
            raise ImportError(name)
        return whole_import(name, *arguments, **options)

    monkeypatch.delitem(sys.modules, package)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=rf"{package} is not installed.*\[{extra}\]"):
        build_encoder(f"{package}:resnet18")
