"""The networks of torchvision and timm as encoders, by the name they have there. Nothing is ever fetched."""

import difflib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from maskwright.errors import InputError, MissingExtraError
from maskwright.models.encoders.encoder import Encoder, first_convolution

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# Height and width of the picture that a network is tried with: neither square nor the size it was trained on.
TRIAL = (128, 192)
# What foreign code says of a picture that it cannot take, or of maps that it cannot give.
REFUSALS = (AssertionError, AttributeError, IndexError, RuntimeError, TypeError, ValueError)
# The layers of a network that end its feature maps.
CLASSIFIERS = (nn.AdaptiveAvgPool2d, nn.Dropout, nn.Linear)


class Normalise(nn.Module):
    """Minus the mean, by the deviation, of the pictures that a network was trained on.

    They go into the model file: a later version of the other project cannot change what a model computes.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], channels: int) -> None:
        super().__init__()
        for name, values in (("mean", mean), ("std", std)):
            # Other channels than red, green and blue get what a grey picture would, on average.
            fitting = values if len(values) == channels else [sum(values) / len(values)] * channels
            self.register_buffer(name, torch.tensor(fitting).view(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` in 0..1 to about zero mean and unit deviation."""
        return (x - self.mean) / self.std


class TorchvisionEncoder(Encoder):
    """The layers of a torchvision network up to its classifier, one after the other.

    Raises:
        InputError: There is no such network, or it is no chain of layers that halve.
        MissingExtraError: There is no torchvision.
    """

    def __init__(self, name: str, in_channels: int = 3) -> None:
        super().__init__()
        self.name = name
        self.normalise = Normalise(IMAGENET_MEAN, IMAGENET_STD, in_channels)
        self.network = _torchvision_network(name)
        _take_channels(self.network, in_channels)
        layers = _layers_before_classifier(self.network)
        word = f"torchvision:{name}"
        self.stages = [[layer] for layer in layers]  # the names of the layers from one map to the next
        maps = _try_out(word, self.network, self._maps, in_channels)
        last, self.strides, self.channels = _last_of_each_stride(word, maps)
        self.stages = [layers[before + 1 : end + 1] for before, end in zip([-1, *last[:-1]], last, strict=True)]

    def forward(self, x: Tensor) -> list[Tensor]:
        """``(N, in_channels, H, W)`` in 0..1 to the maps, finest first."""
        return self._maps(self.normalise(x))

    def reference_name(self, name: str) -> str | None:
        """As in torchvision's files (``layer1.0.conv1.weight``)."""
        return _inside("network.", name)

    def reference_names(self) -> set[str]:
        """All names in one of torchvision's files."""
        return set(_torchvision_network(self.name).state_dict())

    def _maps(self, x: Tensor) -> list[Tensor]:
        """A map after each stage."""
        maps = []
        for stage in self.stages:
            for layer in stage:
                x = self.network.get_submodule(layer)(x)
            maps.append(x)
        return maps


class TimmEncoder(Encoder):
    """The feature maps of a timm network.

    Raises:
        InputError: There is no such network, or it gives no maps of pictures of any size.
        MissingExtraError: There is no timm.
    """

    def __init__(self, name: str, in_channels: int = 3) -> None:
        super().__init__()
        self.name = name
        word = f"timm:{name}"
        self.network = _timm_network(name, in_channels=in_channels, features_only=True)
        config: Any = self.network.pretrained_cfg
        self.normalise = Normalise(config["mean"], config["std"], in_channels)
        maps = _try_out(word, self.network, self.network, in_channels)
        self.last, self.strides, self.channels = _last_of_each_stride(word, maps)

    def forward(self, x: Tensor) -> list[Tensor]:
        """``(N, in_channels, H, W)`` in 0..1 to the maps, finest first."""
        maps = self.network(self.normalise(x))
        return [maps[index] for index in self.last]

    def reference_name(self, name: str) -> str | None:
        """As in timm's files (``stages.0.blocks.0.conv_dw.weight``)."""
        return _inside("network.model.", name)

    def reference_names(self) -> set[str]:
        """All names in one of timm's files."""
        return set(_timm_network(self.name).state_dict())


def _torchvision_network(name: str) -> nn.Module:
    """A network with fresh weights and its classifier."""
    try:
        from torchvision import models
        from torchvision.ops import StochasticDepth
    except ImportError as error:
        raise MissingExtraError("torchvision", "train") from error
    names = models.list_models(module=models)
    if name not in names:
        raise InputError(f"torchvision has no network {name!r}{_meant(name, names)}.")
    network: nn.Module = models.get_model(name, weights=None)
    _drop_nothing(network, StochasticDepth, "p")
    return network


def _timm_network(name: str, *, in_channels: int = 3, features_only: bool = False) -> nn.Module:
    """A network with fresh weights, with its classifier or for its feature maps."""
    try:
        import timm
        from timm.layers.drop import DropPath
    except ImportError as error:
        raise MissingExtraError("timm", "encoders") from error
    if not timm.is_model(name):  # which also keeps away names that would be looked up on a hub
        raise InputError(f"timm has no network {name!r}{_meant(name, timm.list_models())}.")
    # The getter leaves each weight its name in timm's files; other ways to ask for maps do not.
    maps: dict[str, Any] = {"features_only": True, "feature_cls": "getter"} if features_only else {}
    try:
        network: nn.Module = timm.create_model(name, pretrained=False, in_chans=in_channels, **maps)
    except REFUSALS as error:
        raise InputError(
            f"timm:{name} cannot be built as an encoder ({_first_line(error)}); choose another."
        ) from error
    _drop_nothing(network, DropPath, "drop_prob")
    return network


def _meant(name: str, names: Iterable[str]) -> str:
    """How a sentence about a name that nobody has goes on."""
    close = difflib.get_close_matches(name, list(names), n=3)
    return f"; its nearest names are {', '.join(close)}" if close else "; look the names up in its documentation"


def _inside(prefix: str, name: str) -> str | None:
    """A name without its prefix; None where it has another."""
    return name.removeprefix(prefix) if name.startswith(prefix) else None


def _take_channels(network: nn.Module, in_channels: int) -> None:
    """Let the first convolution of a network look at so many channels."""
    name, first = first_convolution(network)
    if first.in_channels != in_channels:
        padding = first.padding if isinstance(first.padding, str) else (first.padding[0], first.padding[1])
        fresh = nn.Conv2d(
            in_channels,
            first.out_channels,
            (first.kernel_size[0], first.kernel_size[1]),
            (first.stride[0], first.stride[1]),
            padding,
            bias=first.bias is not None,
        )
        network.set_submodule(name, fresh)


def _drop_nothing(network: nn.Module, chance: type[nn.Module], probability: str) -> None:
    """Leave no layer out at random: a run that is resumed has to be the same run."""
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        elif isinstance(module, chance):
            setattr(module, probability, 0.0)


def _layers_before_classifier(network: nn.Module) -> list[str]:
    """Names of the layers and blocks in their order; what does not belong to them is taken from the network."""
    layers = []
    for name, layer in _layers(network):
        if isinstance(layer, CLASSIFIERS):
            break
        layers.append(name)
    used = {name.partition(".")[0] for name in layers}
    for name, _ in list(network.named_children()):
        if name not in used:
            delattr(network, name)
    return layers


def _layers(network: nn.Module) -> Iterable[tuple[str, nn.Module]]:
    """The children of a network by their names, sequences of them opened."""
    for name, child in network.named_children():
        if isinstance(child, nn.Sequential):
            yield from ((f"{name}.{inner}", layer) for inner, layer in child.named_children())
        else:
            yield name, child


def _try_out(
    word: str, network: nn.Module, maps_of: Callable[[Tensor], list[Tensor]], in_channels: int
) -> list[Tensor]:
    """The maps of an empty picture; refuses a network that cannot look at one of any size."""
    network.eval()
    try:
        with torch.no_grad():
            return maps_of(torch.zeros(1, in_channels, *TRIAL))
    except REFUSALS as error:
        raise InputError(
            f"{word} cannot look at pictures of any size ({_first_line(error)}); choose another --encoder."
        ) from error
    finally:
        network.train()


def _last_of_each_stride(word: str, maps: Sequence[Tensor]) -> tuple[list[int], tuple[int, ...], tuple[int, ...]]:
    """Of maps in their order: the index of the last of each stride, the strides, and the channels."""
    last: dict[int, int] = {}
    for index, found in enumerate(maps):
        stride = TRIAL[0] // found.shape[-2] if found.ndim == 4 else 0
        halved = stride.bit_count() == 1 and found.shape[-2:] == (TRIAL[0] // stride, TRIAL[1] // stride)
        if not halved or (last and stride < max(last)):
            raise InputError(f"{word} does not halve the picture from map to map; choose another --encoder.")
        last[stride] = index
    if max(last, default=0) < 8:
        raise InputError(f"{word} hardly looks beyond single pixels; choose another --encoder.")
    channels = tuple(maps[index].shape[1] for index in last.values())
    return list(last.values()), tuple(last), channels


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0].rstrip(".")
