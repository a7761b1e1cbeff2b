"""Models that other projects saved, as models of ours.

Whose a file is shows in the names of its weights. What it cannot tell, such as the size of the pictures that it was
trained at, the user says. The logits stay the same bit for bit where ours pad nothing: at sides that divide by 16 and
are 32 or more in a U-Net of four halvings, and twice that in those of segmentation_models.pytorch.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from maskwright.config import SMALLEST_SIDE
from maskwright.data.formats.class_lists import parse_classes
from maskwright.data.input_format import InputFormat
from maskwright.data.reading import fingerprint_of
from maskwright.device import require_torch
from maskwright.errors import InputError
from maskwright.inference.model_file import ModelCard, Parent, versions_here
from maskwright.interop.import_smp import read_smp_folder
from maskwright.interop.import_unet import read_unet
from maskwright.interop.imported import choose_labels

if TYPE_CHECKING:
    from torch import Tensor


def import_model(
    path: Path,
    *,
    size: int | None = None,
    factor: float | None = None,
    classes: str | None = None,
    threshold: float = 0.5,
    normalisation: str | None = None,
) -> tuple[ModelCard, dict[str, NDArray[Any]]]:
    """Read what another project saved.

    Args:
        path: A file of weights, or a folder that segmentation_models.pytorch's ``save_pretrained`` wrote.
        size: Pictures are resized so that their longer side has so many pixels.
        factor: Instead of that, each is resized by this factor.
        classes: As for ``--classes`` of training; by default what the file says, or numbers.
        threshold: Probability from which a pixel is foreground.
        normalisation: See `import_smp.parse_normalisation`; only for networks of segmentation_models.pytorch, which do
            not keep theirs.

    Returns:
        What `save_model` takes.

    Raises:
        InputError: It is nothing that is known here, or something is missing.
    """
    require_torch()
    _check_size(path, size, factor)
    found = read_smp_folder(path, normalisation) if path.is_dir() else read_unet(path, normalisation)
    channels = found.architecture.num_classes
    if channels > 1 and threshold != ModelCard.threshold:
        raise InputError(f"{path} has logits for {channels} classes, of which the highest wins; leave --threshold out.")
    card = ModelCard(
        architecture=found.architecture,
        size=size,
        factor=factor,
        labels=choose_labels(channels, parse_classes(classes) if classes else None, found.mask_values),
        input=InputFormat(found.architecture.in_channels),
        threshold=threshold,
        parent=Parent(f"{path.resolve().parent.name}/{path.name}", fingerprint_of(found.file)),
        settings={"imported_from": found.project},
        versions=versions_here(),
    )
    return card, {name: _as_array(tensor) for name, tensor in found.weights.items()}


def _check_size(path: Path, size: int | None, factor: float | None) -> None:
    if (size is None) == (factor is None):
        raise InputError(
            f"{path} does not say how large its pictures were in training; give --size for the longer side of all, or "
            "--factor where each was shrunk to a share of its own size."
        )
    if size is not None and size < SMALLEST_SIDE:
        raise InputError(f"--size must be at least {SMALLEST_SIDE} pixels.")
    if factor is not None and not 0 < factor <= 1:
        raise InputError("--factor must be above 0 and at most 1.")


def _as_array(tensor: "Tensor") -> NDArray[Any]:
    """Weights as they are computed with; those that were kept in 16 bits come back in 32."""
    array: NDArray[Any] = (tensor.float() if tensor.is_floating_point() else tensor).detach().numpy()
    return array
