"""`maskwright export`: a model for use elsewhere."""

from pathlib import Path
from typing import Literal

from maskwright import terminal
from maskwright.device import require_torch
from maskwright.errors import InputError
from maskwright.inference.model_file import load_model

Target = Literal["hub", "pth"]


def export(model: str | Path, *, to: Target, out: str | Path | None = None, scores: str | Path | None = None) -> Path:
    """Write a model in another form.

    Args:
        model: The model file.
        to: ``hub``, a folder with a model card that can be uploaded as it stands; ``pth``, a plain state dict of
            PyTorch, as the original commands read it.
        out: The folder or the file; by default beside the model, under its name.
        scores: For ``hub``: the scores.json to quote; by default the one beside the model.

    Returns:
        What was written.

    Raises:
        InputError: Something given cannot be used; the sentence says what.
    """
    model = Path(model)
    out = Path(out) if out else model.with_name(f"{model.stem}-hub") if to == "hub" else model.with_suffix(".pth")
    if out.exists():
        raise InputError(f"{out} is there already; name another --out.")
    match to:
        case "hub":
            from maskwright.interop.hub import write_hub_folder

            write_hub_folder(model, out, scores=Path(scores) if scores else None)
            terminal.say(f"Choose a licence in {out / 'README.md'}, then upload the folder: hf upload NAME {out}")
        case "pth":
            require_torch()
            from maskwright.interop.weights import write_state_dict

            write_state_dict(out, load_model(model)[1])
            terminal.say(f"Weights: {out} (a plain state dict)")
    return out
