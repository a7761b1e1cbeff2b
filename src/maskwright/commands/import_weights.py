"""`maskwright import`: other projects' weights become a model file."""

from pathlib import Path

from maskwright import terminal
from maskwright.errors import InputError
from maskwright.inference.model_file import save_model
from maskwright.interop.imports import import_model

MODEL = Path("model.safetensors")


def import_weights(
    weights: str | Path,
    *,
    size: int | None = None,
    factor: float | None = None,
    out: str | Path = MODEL,
    classes: str | None = None,
    threshold: float = 0.5,
    normalisation: str | None = None,
) -> Path:
    """Make a model file of what another project saved.

    Args:
        weights: A .pth of milesial/Pytorch-UNet or of the original commands, or a folder that
            segmentation_models.pytorch's ``save_pretrained`` wrote.
        size: Longer side that the pictures had in training, pixels.
        factor: Where each was shrunk to a share of its own size instead, that share.
        out: The model file.
        classes: Names of the classes in the order of the logits, as for ``--classes`` of training.
        threshold: Probability from which a pixel is foreground, where there is one logit.
        normalisation: How pictures in 0..1 were normalised: ``none``, ``imagenet``, or means and deviations.

    Returns:
        The model file.

    Raises:
        InputError: Something given cannot be used; the sentence says what.
    """
    out = Path(out)
    if out.exists():
        raise InputError(f"{out} is there already; name another file with --out.")
    card, arrays = import_model(
        Path(weights), size=size, factor=factor, classes=classes, threshold=threshold, normalisation=normalisation
    )
    save_model(out, card, arrays)
    kind = "U-Net" if card.architecture.encoder == "none" else card.architecture.encoder
    terminal.say(
        f"{kind} of {card.settings['imported_from']}, classes {', '.join(card.class_names)}, pictures at "
        f"{card.resize.in_words()}: {out}"
    )
    return out
