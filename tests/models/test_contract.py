"""What every network must keep, whatever it is built from."""

import builtins
import copy
import io
import os
from itertools import product
from pathlib import Path

import pytest
import torch
from torch import nn

from maskwright.config import Architecture, Norm, Storage, Upsampling
from maskwright.inference.engines import TorchEngine
from maskwright.inference.model_file import ModelCard, load_model, save_model
from maskwright.models.build import build_network, build_trained_network, count_parameters
from maskwright.models.storage import store

pytestmark = pytest.mark.usefixtures("one_thread")

NORMS: tuple[Norm, ...] = ("batch", "group", "none")
UPSAMPLINGS: tuple[Upsampling, ...] = ("transposed", "bilinear", "bilinear_aligned")

ARCHITECTURES = [
    *(Architecture(base_channels=8, depth=2, norm=norm, upsampling=up) for norm, up in product(NORMS, UPSAMPLINGS)),
    Architecture(base_channels=8, depth=1, in_channels=1),
    Architecture(base_channels=16, depth=4, in_channels=4, num_classes=3),
    *(
        Architecture("efficientnet_lite0", base_channels=8, norm=norm, upsampling=up)
        for norm, up in zip(NORMS, UPSAMPLINGS, strict=True)
    ),
    Architecture("efficientnet_lite0", base_channels=16, in_channels=4, num_classes=3),
    Architecture("efficientnet_lite0", base_channels=8, in_channels=1),
    Architecture("efficientnet_lite1", base_channels=8),
    Architecture("efficientnet_lite2", base_channels=8, in_channels=4, unshuffle=2),
    Architecture("efficientnet_lite0", base_channels=8, num_classes=3, unshuffle=4),
    Architecture("torchvision:resnet18", base_channels=8),
    Architecture("torchvision:mobilenet_v3_small", base_channels=8, in_channels=4, unshuffle=2),
    Architecture("timm:convnext_atto", base_channels=8, num_classes=2),
    Architecture("timm:mobilenetv3_small_050", base_channels=8, in_channels=1, norm="group"),
    Architecture(base_channels=8, depth=2, unshuffle=2),
    Architecture(base_channels=8, depth=1, in_channels=1, num_classes=3, unshuffle=4),
]
# Of each kind one, in every storage.
STORED = [
    ARCHITECTURES[0],
    Architecture("efficientnet_lite0", base_channels=8),
    Architecture("torchvision:mobilenet_v3_small", base_channels=8),
    Architecture("timm:convnext_atto", base_channels=8),
]
OTHER_STORAGES: tuple[Storage, ...] = ("lean", "checkpointed", "lean+checkpointed")
CASES = [
    *((architecture, "plain") for architecture in ARCHITECTURES),
    *product(STORED, OTHER_STORAGES),
]
# Divisible; one pixel off on either side; odd and oblong; smaller than the network halves; a single pixel.
SIZES = [(32, 64), (31, 33), (33, 31), (47, 19), (3, 70), (5, 3), (1, 1)]


def describe(case: tuple[Architecture, Storage]) -> str:
    architecture, storage = case
    kind = "unet" if architecture.encoder == "none" else architecture.encoder
    channels = f"{architecture.in_channels}to{architecture.num_classes}"
    size = f"b{architecture.base_channels}d{architecture.depth}"
    return f"{kind}-{channels}-{size}-{architecture.norm}-{architecture.upsampling}-u{architecture.unshuffle}-{storage}"


@pytest.fixture(scope="module", params=CASES, ids=describe)
def case(request: pytest.FixtureRequest) -> tuple[Architecture, Storage]:
    architecture, storage = request.param
    return architecture, storage


@pytest.fixture
def architecture(case: tuple[Architecture, Storage]) -> Architecture:
    return case[0]


@pytest.fixture(scope="module")
def fresh(case: tuple[Architecture, Storage]) -> nn.Module:
    """A network as it is built; first weights are drawn more slowly than copied."""
    torch.manual_seed(0)
    return store(build_network(case[0]), case[1])


@pytest.fixture
def network(fresh: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return copy.deepcopy(fresh)


def test_any_height_and_width_give_logits_of_the_same_size(architecture: Architecture, network: nn.Module) -> None:
    network.eval()
    for height, width in SIZES:
        with torch.inference_mode():
            logits = network(torch.rand(1, architecture.in_channels, height, width))
        assert logits.shape == (1, architecture.num_classes, height, width)
        assert logits.isfinite().all()


def test_an_image_alone_equals_the_same_image_in_a_batch(architecture: Architecture, network: nn.Module) -> None:
    images = torch.rand(3, architecture.in_channels, 40, 56)
    network.eval()
    with torch.inference_mode():
        together, alone = network(images), torch.cat([network(image.unsqueeze(0)) for image in images])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_gradients_reach_every_parameter(architecture: Architecture, network: nn.Module) -> None:
    network.train()
    network(torch.rand(2, architecture.in_channels, 64, 64)).square().mean().backward()
    unreached = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert unreached == []


def test_the_logits_see_every_pixel(architecture: Architecture, network: nn.Module) -> None:
    image = torch.rand(1, architecture.in_channels, 37, 35, requires_grad=True)
    network.eval()
    network(image).square().sum().backward()
    assert image.grad is not None
    assert image.grad.abs().amax(1).gt(0).all()


def test_the_input_is_left_as_it_was(architecture: Architecture, network: nn.Module) -> None:
    image = torch.rand(1, architecture.in_channels, 32, 32)
    before = image.clone()
    network.eval()
    with torch.inference_mode():
        network(image)
    assert torch.equal(image, before)


def test_the_seed_decides_the_first_weights(architecture: Architecture, network: nn.Module) -> None:
    torch.manual_seed(0)
    again = build_network(architecture).state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in network.state_dict().items())


def test_a_model_file_needs_nothing_else(architecture: Architecture, network: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    save_model(path, ModelCard(architecture, size=64), weights)
    image = torch.rand(1, architecture.in_channels, 40, 56)
    with torch.inference_mode():
        expected = network.eval()(image)
    card, kept = load_model(path)
    assert card.architecture == architecture
    state = {name: torch.from_numpy(array) for name, array in kept.items()}
    with torch.inference_mode():
        assert torch.equal(build_trained_network(card.architecture, state)(image), expected)
    # The engine folds normalisations into convolutions, which rounds otherwise.
    found = torch.from_numpy(TorchEngine(card.architecture, kept).logits(image.numpy()))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_no_network_touches_files(
    architecture: Architecture, network: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = torch.rand(1, architecture.in_channels, 32, 32)
    network.eval()(image)  # what torch itself loads lazily is loaded by now

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a file was opened")

    for module in (builtins, io, os):
        monkeypatch.setattr(module, "open", refuse)
    build_network(architecture).eval()(image)


def test_parameters_that_learn_are_counted() -> None:
    network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Linear(2, 2))
    network[2].requires_grad_(False)
    assert count_parameters(network) == 3 * 2 + 2 + 2 * 2
