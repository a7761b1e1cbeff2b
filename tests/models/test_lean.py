"""Whatever is stored, the gradients are the same."""

import copy
import functools
import math
import weakref
from dataclasses import dataclass
from itertools import product
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from maskwright.config import Architecture, Norm, Storage, Upsampling
from maskwright.models.build import build_network
from maskwright.models.lean import _largest_of_four
from maskwright.models.remade import Remade
from maskwright.models.storage import store
from maskwright.training.freezing import hold, pretrained_layers

pytestmark = pytest.mark.usefixtures("one_thread")

PLAIN: Storage = "plain"
OTHERS: tuple[Storage, ...] = ("lean", "checkpointed", "lean+checkpointed")
UNETS = [
    Architecture(base_channels=8, depth=2, norm=norm, upsampling=upsampling)
    for norm, upsampling in product(get_args(Norm), get_args(Upsampling))
]
LITE = Architecture("efficientnet_lite0", base_channels=8)
ENCODED = [
    LITE,
    Architecture("efficientnet_lite0", base_channels=8, norm="group", upsampling="bilinear", unshuffle=2),
    Architecture("efficientnet_lite2", base_channels=8, norm="none", num_classes=3, unshuffle=4),
    Architecture("torchvision:mobilenet_v3_small", base_channels=8),
    Architecture("timm:convnext_atto", base_channels=8, upsampling="bilinear"),
    Architecture("timm:mobilenetv3_small_050", base_channels=8),
]
ARCHITECTURES = [*UNETS, *ENCODED, Architecture(base_channels=8, depth=1, unshuffle=2, num_classes=2)]
# Neither side divides by what the networks halve, and none is a multiple of the other.
HEIGHT, WIDTH = 35, 50


@dataclass(frozen=True)
class Step:
    """What a forward and a backward pass leave behind."""

    logits: Tensor
    gradients: dict[str, Tensor | None]
    buffers: dict[str, Tensor]


def build(architecture: Architecture, storage: Storage, dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(0)
    return store(build_network(architecture), storage).to(dtype)


def picture(architecture: Architecture, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(2, architecture.in_channels, HEIGHT, WIDTH, dtype=dtype, generator=generator)


def loss_of(logits: Tensor) -> Tensor:
    target = torch.rand(logits.shape, generator=torch.Generator().manual_seed(2))
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return F.binary_cross_entropy_with_logits(logits, target.to(logits.dtype))


def step(network: nn.Module, image: Tensor, *, bf16: bool = False) -> Step:
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        logits = network(image)
    loss_of(logits).backward()  # type: ignore[no-untyped-call]
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    return Step(logits.detach(), gradients, dict(network.named_buffers()))


@functools.cache
def plain_step_of(index: int) -> Step:
    architecture = ARCHITECTURES[index]
    return step(build(architecture, PLAIN), picture(architecture))


def plain_step(architecture: Architecture) -> Step:
    return plain_step_of(ARCHITECTURES.index(architecture))  # an architecture cannot be hashed


def assert_equal(found: Step, expected: Step) -> None:
    torch.testing.assert_close(found.logits, expected.logits, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(found.gradients, expected.gradients, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(found.buffers, expected.buffers, atol=1e-12, rtol=1e-12)


def describe(value: object) -> str:
    if isinstance(value, Architecture):
        return f"{value.encoder}-{value.norm}-{value.upsampling}-u{value.unshuffle}"
    return str(value)


every_storage = pytest.mark.parametrize("storage", OTHERS)


@every_storage
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=describe)
def test_logits_gradients_and_statistics_are_those_of_the_plain_network(
    architecture: Architecture, storage: Storage
) -> None:
    """Running statistics and the count of batches are buffers: they took note of the batch once."""
    assert_equal(step(build(architecture, storage), picture(architecture)), plain_step(architecture))


@every_storage
@pytest.mark.parametrize("architecture", [UNETS[0], UNETS[1], LITE], ids=describe)
def test_with_fixed_statistics_the_gradients_are_the_same_too(architecture: Architecture, storage: Storage) -> None:
    image = picture(architecture)
    found, expected = (step(build(architecture, one).eval(), image) for one in (storage, PLAIN))
    assert_equal(found, expected)


@every_storage
@pytest.mark.parametrize("architecture", [UNETS[0], LITE], ids=describe)
def test_the_gradient_of_the_picture_is_the_same(architecture: Architecture, storage: Storage) -> None:
    images = [picture(architecture).requires_grad_() for _ in range(2)]
    for image, one in zip(images, (storage, PLAIN), strict=True):
        step(build(architecture, one), image)
    torch.testing.assert_close(images[0].grad, images[1].grad, atol=1e-12, rtol=1e-12)


@every_storage
@pytest.mark.parametrize("architecture", [UNETS[0], LITE], ids=describe)
def test_nothing_is_learnt_while_validating(architecture: Architecture, storage: Storage) -> None:
    network, plain = (build(architecture, one).eval() for one in (storage, PLAIN))
    before = copy.deepcopy(network.state_dict())
    with torch.inference_mode():
        torch.testing.assert_close(network(picture(UNETS[0])), plain(picture(UNETS[0])), atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(network.state_dict(), before, atol=0, rtol=0)


@every_storage
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("architecture", [UNETS[0], UNETS[1], UNETS[3]], ids=describe)
def test_in_16_bit_the_gradients_differ_by_less_than_16_bit_does(
    architecture: Architecture, storage: Storage, channels_last: bool
) -> None:
    """A hundredth of the gradient's length; bf16 itself changes it by more than that."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    image = picture(architecture, torch.float32)
    found, expected = (
        _flat(step(build(architecture, one, torch.float32).to(memory_format=layout), image, bf16=True))
        for one in (storage, PLAIN)
    )
    assert (found - expected).norm() < 0.01 * expected.norm()


@every_storage
def test_in_16_bit_a_pretrained_kind_of_encoder_learns_as_well(storage: Storage) -> None:
    """Rounding errors grow over its many layers; against exact gradients, none is worse than plain."""
    image = picture(LITE, torch.float32)
    exact = _flat(plain_step(LITE)).float()
    plain, found = (
        (_flat(step(build(LITE, one, torch.float32), image, bf16=True)) - exact).norm() for one in (PLAIN, storage)
    )
    assert found < 1.2 * plain


@every_storage
def test_gradients_add_up_over_batches(storage: Storage) -> None:
    networks = [build(UNETS[0], one) for one in (storage, PLAIN)]
    for network in networks:
        step(network, picture(UNETS[0]))
    found, expected = (step(network, picture(UNETS[0]).flip(-1)) for network in networks)
    assert_equal(found, expected)


@every_storage
@pytest.mark.parametrize("architecture", [UNETS[0], LITE], ids=describe)
def test_a_graph_may_be_gone_through_twice(architecture: Architecture, storage: Storage) -> None:
    if storage == "checkpointed" or (storage != "lean" and architecture is LITE):
        pytest.skip("torch's checkpoints are made again only once")
    network = build(architecture, storage)
    loss = loss_of(network(picture(architecture)))
    loss.backward(retain_graph=True)  # type: ignore[no-untyped-call]
    loss.backward()  # type: ignore[no-untyped-call]
    for name, parameter in network.named_parameters():
        once = plain_step(architecture).gradients[name]
        assert once is not None
        torch.testing.assert_close(parameter.grad, 2 * once, atol=1e-12, rtol=1e-12)


@every_storage
@pytest.mark.parametrize("architecture", [UNETS[0], LITE], ids=describe)
def test_layers_that_are_held_stay_and_the_others_learn(architecture: Architecture, storage: Storage) -> None:
    steps = []
    for one in (storage, PLAIN):
        network = build(architecture, one)
        hold(pretrained_layers(network), held=True)
        steps.append(step(network, picture(architecture)))
    assert_equal(*steps)
    assert None in steps[0].gradients.values()


@every_storage
@pytest.mark.parametrize("architecture", ENCODED, ids=describe)
def test_weights_go_from_one_storage_to_another_by_their_names(architecture: Architecture, storage: Storage) -> None:
    network, plain = build(architecture, storage), build(architecture, PLAIN)
    assert list(network.state_dict()) == list(plain.state_dict())
    assert [name for name, _ in network.named_parameters()] == [name for name, _ in plain.named_parameters()]


@every_storage
@pytest.mark.parametrize("architecture", [UNETS[0], LITE], ids=describe)
def test_an_average_computes_with_its_own_weights(architecture: Architecture, storage: Storage) -> None:
    network = build(architecture, storage)
    average = AveragedModel(network, use_buffers=True)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    assert_equal(step(average.module, picture(architecture)), plain_step(architecture))
    assert not any(parameter.any() for parameter in network.parameters())


@pytest.mark.parametrize("architecture", [UNETS[0], UNETS[1], LITE], ids=describe)
def test_each_storage_needs_less_than_the_one_before(architecture: Architecture) -> None:
    plain, lean, checkpointed, both = (peak_megabytes(architecture, one) for one in get_args(Storage))
    # Blocks of an EfficientNet-Lite are mostly convolutions, whose outputs are stored.
    assert both < lean < (0.85 if architecture is LITE else 0.75) * plain
    assert both < checkpointed < plain


@pytest.mark.parametrize("encoder", ["torchvision:mobilenet_v3_small", "timm:mobilenetv3_small_050"])
def test_encoders_of_others_are_checkpointed(encoder: str) -> None:
    architecture = Architecture(encoder, base_channels=8)
    plain, lean, checkpointed, both = (peak_megabytes(architecture, one) for one in get_args(Storage))
    assert lean < plain
    assert both < lean
    assert both < checkpointed < plain


@pytest.mark.parametrize("sides", [(8, 12), (7, 9), (2, 3)])
def test_the_largest_of_four_is_what_pooling_finds(sides: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *sides)
    x[0, 0, 1, 1] = math.nan
    torch.testing.assert_close(_largest_of_four(x), F.max_pool2d(x, 2), rtol=0, atol=0, equal_nan=True)


def test_a_token_holds_no_data() -> None:
    stem = store(build_network(UNETS[0]), "lean").get_submodule("stem")
    with torch.no_grad():
        remade = stem(torch.rand(1, 3, 32, 32))
        assert isinstance(remade, Remade)
        assert remade.token.shape == remade.made().shape == (1, 8, 32, 32)
    assert remade.token.untyped_storage().nbytes() == 4


@pytest.mark.parametrize("storage", [None, PLAIN])
def test_where_nothing_is_said_the_network_is_the_plain_one(storage: Storage | None) -> None:
    network = build_network(UNETS[0])
    kinds = [type(module) for module in network.modules()]
    assert [type(module) for module in store(network, storage).modules()] == kinds


class Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the tensors that are made while it looks on, for as long as they are there."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.known = weakref.WeakSet[torch.UntypedStorage]()
        self.now, self.peak = 0, 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor) and tensor.untyped_storage() not in self.known:
                storage = tensor.untyped_storage()
                self.known.add(storage)
                self.now += storage.nbytes()
                weakref.finalize(storage, self.forget, storage.nbytes())
        self.peak = max(self.peak, self.now)
        return made

    def forget(self, size: int) -> None:
        self.now -= size


def peak_megabytes(architecture: Architecture, storage: Storage) -> float:
    """The most that tensors take at once in a forward and a backward pass, besides the weights."""
    network = build(architecture, storage, torch.float32)
    image = torch.rand(2, 3, 64, 64)
    with Counter() as counter:
        counter.known.update(tensor.untyped_storage() for tensor in (*network.parameters(), *network.buffers()))
        loss_of(network(image)).backward()  # type: ignore[no-untyped-call]
    return float(counter.peak) / 1e6


def _flat(found: Step) -> Tensor:
    return torch.cat([gradient.flatten() for gradient in found.gradients.values() if gradient is not None])


@pytest.mark.parametrize("architecture", [UNETS[0], ENCODED[0]], ids=str)
def test_a_lean_network_can_be_checkpointed_later(architecture: Architecture) -> None:
    later, at_once = store(build(architecture, "lean"), "lean+checkpointed"), build(architecture, "lean+checkpointed")
    assert [type(module) for module in later.modules()] == [type(module) for module in at_once.modules()]
