"""A shared network alone: what it does to the network of one rank."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from maskwright.config import Settings
from maskwright.errors import InputError
from maskwright.models.unet import UNet
from maskwright.training import ranks
from maskwright.training.freezing import hold
from maskwright.training.shared_network import SharedNetwork, check_storage, synchronise_statistics, synchronises

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def company_of_one() -> Iterator[None]:
    store = torch.distributed.HashStore()  # type: ignore[attr-defined]  # torch's stubs forget it
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def learn(shared: SharedNetwork, *, last: bool) -> dict[str, Tensor]:
    """The gradients after a pass."""
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with shared.passing(last=last) as network:
        shared.total(network(images).square().sum()).backward()  # type: ignore[no-untyped-call]
    found = shared.network.named_parameters()
    return {name: weight.grad.clone() for name, weight in found if weight.grad is not None}


@pytest.mark.usefixtures("company_of_one")
def test_layers_that_begin_to_learn_are_shared_from_then_on() -> None:
    network = UNet(base_channels=8, depth=1, norm="group")
    shared = SharedNetwork(network, "cpu")
    hold([network.head], held=True)
    assert not any(name.startswith("head") for name in learn(shared, last=True))
    wrapped = shared._wrapped
    network.zero_grad(set_to_none=True)
    learn(shared, last=True)
    assert shared._wrapped is wrapped
    hold([network.head], held=False)
    network.zero_grad(set_to_none=True)
    assert learn(shared, last=True).keys() == dict(network.named_parameters()).keys()
    assert shared._wrapped is not wrapped


@pytest.mark.usefixtures("company_of_one")
def test_weights_that_lie_otherwise_in_memory_are_shared_as_they_lie() -> None:
    network = UNet(base_channels=8, depth=1, norm="group")
    shared = SharedNetwork(network, "cpu")
    learn(shared, last=True)
    wrapped = shared._wrapped
    network.to(memory_format=torch.channels_last)
    network.zero_grad(set_to_none=True)
    learn(shared, last=True)
    assert shared._wrapped is not wrapped


@pytest.mark.usefixtures("company_of_one")
def test_gradients_of_several_passes_are_added_up() -> None:
    shared = SharedNetwork(UNet(base_channels=8, depth=1, norm="group"), "cpu")
    once = learn(shared, last=False)
    twice = learn(shared, last=True)
    torch.testing.assert_close(twice, {name: 2 * gradient for name, gradient in once.items()})


@pytest.mark.usefixtures("company_of_one")
def test_a_network_that_is_held_as_a_whole_passes() -> None:
    network = UNet(base_channels=8, depth=1, norm="group")
    shared = SharedNetwork(network.requires_grad_(False), "cpu")
    with shared.passing(last=True) as passed:
        assert passed is network


def test_statistics_are_synchronised_in_place() -> None:
    network = UNet(base_channels=8, depth=1)
    images = torch.rand(2, 3, 16, 16)
    network(images)
    network.eval()
    before, weights, modules = network(images), list(network.parameters()), list(network.modules())
    names = list(network.state_dict())
    synchronise_statistics(network, None)
    assert sum(isinstance(module, nn.SyncBatchNorm) for module in network.modules()) == 6
    assert [id(weight) for weight in network.parameters()] == [id(weight) for weight in weights]
    assert [id(module) for module in network.modules()] == [id(module) for module in modules]
    assert list(network.state_dict()) == names
    torch.testing.assert_close(network(images), before, atol=0, rtol=0)


def test_lean_storage_cannot_be_synchronised(monkeypatch: pytest.MonkeyPatch) -> None:
    lean, left_open = Settings(storage="lean"), Settings()
    assert check_storage(lean, "cuda:0") == "lean"
    monkeypatch.setattr(ranks._company, "size", 2)
    with pytest.raises(InputError, match="--storage lean computes batch normalisation by itself"):
        check_storage(lean, "cuda:0")
    assert [synchronises(left_open, device) for device in ("cuda", "cuda:0", "cpu")] == [True, True, False]
    assert check_storage(left_open, "cuda:0") == "plain"
    assert check_storage(left_open, "cpu") is None
    assert check_storage(Settings(storage="lean", norm="group"), "cuda:0") == "lean"
