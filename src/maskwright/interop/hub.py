"""A folder that a hub takes as it stands: the model file, and a card that says what it is and what it is worth."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

from maskwright.errors import InputError
from maskwright.files import write_json, write_text
from maskwright.inference.model_file import load_model
from maskwright.interop.card import MODEL, ONNX, render_card

# What of a model file's header stands in the card, in words; the settings may hold paths of the machine.
NOT_IN_CONFIG = ("metrics", "trained_on", "chosen_on", "looks", "groups", "group", "parent", "settings")


def write_hub_folder(model: Path, out: Path, *, scores: Path | None = None, onnx: Path | None = None) -> None:
    """Write a folder for a hub: README.md, config.json, the model file, and its ONNX form where there is one.

    Args:
        model: The model file.
        out: The new folder.
        scores: A scores.json of `train` or `evaluate`; by default the one beside the model, if there is one.
        onnx: The exported model; by default the one beside the model, unless it is older.

    Raises:
        InputError: One of the files cannot be used.
    """
    card, _ = load_model(model)
    beside = model.with_name("scores.json")
    found = _read_scores(scores or beside) if scores or beside.is_file() else None
    onnx = onnx or _exported(model)
    whole = model.resolve()
    name = whole.parent.name if whole.name == MODEL else whole.stem
    out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(model, out / MODEL)
    if onnx:
        shutil.copyfile(onnx, out / ONNX)
    config = {key: value for key, value in dataclasses.asdict(card).items() if key not in NOT_IN_CONFIG}
    write_json(out / "config.json", {"library_name": "maskwright", "model_type": "unet", **config})
    write_text(out / "README.md", render_card(card, name=name, scores=found, has_onnx=onnx is not None))


def _read_scores(path: Path) -> dict[str, Any]:
    """Read a scores.json.

    Raises:
        InputError: It is missing, or something else.
    """
    try:
        scores: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        whole = all({"mean", "low", "high"} <= set(scores[name]) for name in ("dice", "iou"))
        if whole and isinstance(scores["groups"], int) and isinstance(scores["pictures"], list):
            return scores
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InputError(f"{path} holds no scores; `maskwright evaluate` writes a scores.json.") from error
    raise InputError(f"{path} holds no scores; `maskwright evaluate` writes a scores.json.")


def _exported(model: Path) -> Path | None:
    """What `export --to onnx` left beside a model; an older file was made of other weights."""
    path = model.with_suffix(".onnx")
    return path if path.is_file() and path.stat().st_mtime >= model.stat().st_mtime else None
