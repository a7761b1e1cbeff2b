"""`maskwright export`: a model for use elsewhere."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from maskwright import terminal
from maskwright.device import require_torch
from maskwright.errors import InputError

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from maskwright.inference.model_file import ModelCard
    from maskwright.interop.parity import Agreement, Way
    from maskwright.interop.quantise import Int8Report

Format = Literal["onnx", "openvino", "torch", "hub", "pth"]
# Whole programs and what their files are called; the suffix says what loads them.
SUFFIXES: dict[Format, str] = {"onnx": ".onnx", "openvino": ".xml", "torch": ".pt2"}
# Pictures that an exported file is compared with its model on.
COMPARED = 8


@dataclass(frozen=True)
class Exported:
    """What was written, and how it compares.

    Attributes:
        path: The file or folder; OpenVINO's file has a ``.bin`` beside it.
        agreements: Of a whole program in float with the model.
        int8: What 8 bits cost and gained, where they were asked for.
    """

    path: Path
    agreements: tuple["Agreement", ...] = ()
    int8: "Int8Report | None" = None


def export(
    model: str | Path,
    *,
    out: str | Path,
    to: Format = "onnx",
    pictures: str | Path | None = None,
    int8: bool = False,
    int8_limit: float = 0.001,
    scores: str | Path | None = None,
    overwrite: bool = False,
) -> Exported:
    """Write a model in another form.

    Args:
        model: The model file.
        out: The new file or folder.
        to: ``onnx``, ``openvino`` and ``torch`` (`torch.export`) are whole programs from stored pictures to masks, and
            are written if they compute the same; ``hub``, a folder with a model card that can be uploaded as it stands;
            ``pth``, a plain state dict of PyTorch, as the original commands read it.
        pictures: Folder of pictures to compare on, and to calibrate int8 with; by default those that the best weights
            were chosen on, where they are still there, else drawn cars.
        int8: Compute the network in 8 bits, with ``onnx``.
        int8_limit: By how much the Dice may fall for it.
        scores: For ``hub``: the scores.json to quote; by default the one beside the model.
        overwrite: Replace a file that is there already, and with ``openvino`` the ``.bin`` beside it.

    Raises:
        InputError: The program would compute something else than the model, or something given cannot be used.
        MissingExtraError: What writes the format is not installed.
    """
    model, out = Path(model), Path(out)
    _refuse(out, to, pictures, int8=int8, overwrite=overwrite)
    match to:
        case "hub":
            from maskwright.interop.hub import write_hub_folder

            write_hub_folder(model, out, scores=Path(scores) if scores else None)
            terminal.say(f"{out} can be uploaded as it stands, once {out / 'README.md'} names a licence.")
            return Exported(out)
        case "pth":
            require_torch()
            from maskwright.inference.model_file import load_model
            from maskwright.interop.weights import write_state_dict

            write_state_dict(out, load_model(model)[1])
            terminal.say(f"Exported: {out}, a plain state dict")
            return Exported(out)
    folder = Path(pictures) if pictures else None
    return _export_program(model, out, to, folder, int8_limit=int8_limit if int8 else None)


def _export_program(model: Path, out: Path, to: Format, pictures: Path | None, *, int8_limit: float | None) -> Exported:
    require_torch()
    from maskwright.inference.engines import open_torch
    from maskwright.inference.model_file import load_model
    from maskwright.inference.predictor import Predictor
    from maskwright.interop import parity
    from maskwright.interop.quantise import quantise_within
    from maskwright.interop.tracing import trace
    from maskwright.interop.trial_pictures import choose_trial_pictures

    card, weights = load_model(model)
    in_torch = Predictor(card, open_torch(model, card, weights))
    tried_on = choose_trial_pictures(model, card, pictures)
    compared = list(parity.with_cut_outs(list(tried_on.images(card.input, COMPARED))))
    terminal.say(f"Tracing the network for pictures of any size; then comparing on {tried_on.source}")
    program = trace(card, weights)
    report: Int8Report | None = None

    def finish(file: Path) -> None:
        nonlocal report
        if int8_limit is not None:
            report = quantise_within(file, int8_limit, tried_on, say=terminal.say)

    with terminal.counting("Comparing", len(compared)) as advance:
        found = parity.write_if_equal(
            out, lambda file: _write(file, to, program, card), in_torch, compared, advance=advance, finish=finish
        )
    _say(out, found, report, card)
    return Exported(out, tuple(found), report)


def _refuse(out: Path, to: Format, pictures: str | Path | None, *, int8: bool, overwrite: bool) -> None:
    if to in SUFFIXES and out.suffix.lower() != SUFFIXES[to]:
        raise InputError(f"--out {out} should end in {SUFFIXES[to]}: by that it is known as --to {to}.")
    # OpenVINO puts the weights beside the file.
    for path in (out, out.with_suffix(".bin")) if to == "openvino" else (out,):
        if path.exists() and not (overwrite and path.is_file()):
            hint = ", or replace it with --overwrite" if path.is_file() else ""
            raise InputError(f"{path} is there already; choose another --out{hint}.")
    if int8 and to != "onnx":
        raise InputError("--int8 is for --to onnx.")
    if int8 and pictures is None:
        raise InputError("--int8 needs --pictures: the ranges of its values are measured on pictures of your own.")


def _write(file: Path, to: Format, program: "ExportedProgram", card: "ModelCard") -> "dict[str, Way]":
    """Write the file; returns the ways that it is used in."""
    from maskwright.inference.predictor import load
    from maskwright.interop import onnx, openvino, tracing

    if to == "torch":
        tracing.write_program(file, program, card)
        return {"in PyTorch alone": tracing.run_whole(file)}
    if to == "onnx":
        onnx.write_onnx(file, program, card)
        return {"in ONNX Runtime alone": onnx.run_whole(file), "through maskwright": load(file)}
    with tempfile.TemporaryDirectory() as scratch:
        bridge = Path(scratch) / "model.onnx"
        onnx.write_onnx(bridge, program, card)
        openvino.write_openvino(file, bridge, card)
    return {"in OpenVINO alone": openvino.run_whole(file), "through maskwright": load(file)}


def _say(out: Path, found: "Sequence[Agreement]", report: "Int8Report | None", card: "ModelCard") -> None:
    from maskwright.interop.card import note_on_tiles

    largest = max(found, key=lambda agreement: agreement.logit_difference)
    pixels = sum(agreement.pixels for agreement in found)
    terminal.say(
        f"{'In float, equal' if report else 'Equal'} to the model on {len(found)} comparisons: {pixels} pixels get "
        f"another class; logits differ by up to {largest.logit_difference:.2g}."
    )
    if report:
        terminal.say(report.sentence)
    if note := note_on_tiles(card):
        terminal.say(note)
    terminal.say(f"Exported: {out}")
