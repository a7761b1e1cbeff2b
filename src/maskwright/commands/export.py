"""`maskwright export`: a model for use elsewhere."""

from pathlib import Path
from typing import Literal

from maskwright import terminal
from maskwright.device import require_torch
from maskwright.errors import InputError
from maskwright.inference.model_file import load_model

Format = Literal["hub", "pth"]


def export(model: str | Path, *, out: str | Path, to: Format, scores: str | Path | None = None) -> Path:
    """Write a model in another form.

    Args:
        model: The model file.
        out: The new file or folder.
        to: ``hub``, a folder with a model card that can be uploaded as it stands; ``pth``, a plain state dict of
            PyTorch, as the original commands read it.
        scores: For ``hub``: the scores.json to quote; by default the one beside the model.

    Returns:
        What was written.

    Raises:
        InputError: Something given cannot be used; the sentence says what.
    """
    model, out = Path(model), Path(out)
    if out.exists():
        raise InputError(f"{out} is there already; choose another --out.")
    match to:
        case "hub":
            from maskwright.interop.hub import write_hub_folder

            write_hub_folder(model, out, scores=Path(scores) if scores else None)
            terminal.say(f"{out} can be uploaded as it stands, once {out / 'README.md'} names a licence.")
        case "pth":
            require_torch()
            from maskwright.interop.weights import write_state_dict

            write_state_dict(out, load_model(model)[1])
            terminal.say(f"Exported: {out}, a plain state dict")
    return out
