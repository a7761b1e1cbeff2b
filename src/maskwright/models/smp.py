"""Networks of segmentation_models.pytorch, built by that package where it is installed. Nothing is ever fetched."""

import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from maskwright.errors import InputError, MissingExtraError
from maskwright.models.encoders.by_name import REFUSALS, Normalise
from maskwright.models.unet import pad_to_multiple

# All their encoders halve five times at most.
COARSEST = 32
# What the Architecture says in its own words, or what has no place here: weights that would be fetched, an activation
# (the network gives logits), a second head that says what the whole picture shows.
NOT_OPTIONS = ("encoder_name", "encoder_weights", "in_channels", "classes", "activation", "aux_params")


class SmpNetwork(nn.Module):
    """A network of theirs that takes pictures in 0..1, of any size, as ours do.

    At sizes of 64 or more that divide by 32 its logits are theirs; others are padded on the way in and cropped on the
    way out.

    Args:
        in_channels: Channels of the input, scaled to 0..1.
        num_classes: Channels of the logits.
        name: Their network and their encoder, such as ``Unet:resnet34``.
        options: What else it is built with, under their names.

    Raises:
        InputError: There is no such network, or it cannot be built with these options.
        MissingExtraError: The package is not installed.
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 1,
        *,
        name: str = "Unet:resnet34",
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.coarsest = COARSEST
        self.normalise = Normalise((0.0,), (1.0,), in_channels)  # the weights bring those of its training
        self.network = _build(name, options or {}, in_channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, in_channels, H, W)`` in 0..1 to logits ``(N, num_classes, H, W)``."""
        height, width = x.shape[-2:]
        logits: Tensor = self.network(self.normalise(pad_to_multiple(x, self.coarsest, at_least=2 * self.coarsest)))
        return logits[..., :height, :width]


def _build(name: str, options: Mapping[str, Any], in_channels: int, num_classes: int) -> nn.Module:
    try:
        import segmentation_models_pytorch as smp
    except ImportError as error:
        raise MissingExtraError("segmentation-models-pytorch", "smp") from error
    kind, _, encoder = name.partition(":")
    builder = smp.MODEL_ARCHITECTURES_MAPPING.get(kind.lower())
    if builder is None or ":" in encoder:  # such an encoder would be looked up on a hub
        raise InputError(f"segmentation_models.pytorch has no network {name!r}; give one such as Unet:resnet34.")
    unknown = sorted(set(options) - (set(inspect.signature(builder).parameters) - set(NOT_OPTIONS)))
    if unknown:
        raise InputError(
            f"This segmentation_models.pytorch {smp.__version__} has no option {unknown[0]!r} for {name}; "
            "install the version that the network was saved with."
        )
    try:
        network: nn.Module = builder(
            encoder_name=encoder, encoder_weights=None, in_channels=in_channels, classes=num_classes, **options
        )
    except (KeyError, *REFUSALS) as error:
        raise InputError(f"segmentation_models.pytorch cannot build {name} ({error}); update it.") from error
    return network
