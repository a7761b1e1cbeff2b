"""ONNX files that carry their pre- and post-processing, and what is known of them in their metadata."""

import json
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch.export import ExportedProgram

from maskwright.errors import MissingExtraError
from maskwright.inference.model_file import HEADER, ModelCard, card_to_json
from maskwright.interop.card import note_on_tiles
from maskwright.interop.parity import Compute
from maskwright.interop.tracing import OUTPUTS, inputs, may_be_tiled

if TYPE_CHECKING:
    from onnx import GraphProto

OPSET = 18


def write_onnx(path: Path, program: ExportedProgram, card: ModelCard) -> None:
    """Write a traced model as one ONNX file.

    Raises:
        MissingExtraError: onnx or onnxscript is not installed.
    """
    _require_onnx()
    import onnx

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch and onnxscript, about themselves
        exported = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            input_names=inputs(card),
            output_names=OUTPUTS,
            verbose=False,
        )
    assert exported is not None  # noqa: S101 - it is where no file is named
    model = exported.model_proto
    _name_sides(model.graph)
    if may_be_tiled(card):
        # An input with a value of its own may be left out: who only has pictures need not know of it.
        model.graph.initializer.append(onnx.helper.make_tensor("resized", onnx.TensorProto.BOOL, [], [False]))
    onnx.helper.set_model_props(model, metadata(card))
    onnx.save_model(model, path)


def run_whole(path: Path) -> Compute:
    """A file as a program without this project uses it: stored pictures in, masks and logits at their size out."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path)

    def compute(image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        mask, logits = session.run(["mask", "logits"], {"image": image[np.newaxis]})
        return mask[0], logits[0]

    return compute


def metadata(card: ModelCard) -> dict[str, str]:
    """What an exported file says of itself: the whole card, and in plain words what users of the bare file need."""
    channels, note = card.input.channels, note_on_tiles(card)
    return {
        HEADER: card_to_json(card),
        "version": card.versions.get("maskwright", ""),
        "class_names": json.dumps(card.class_names, ensure_ascii=False),
        "threshold": str(card.threshold),
        "input": f"image: uint8 (N, H, W, {channels}), 0..255, {'RGB' if channels == 3 else 'channels as stored'}",
        "output": "mask: uint8 (N, H, W), class indices; probabilities and logits: float32 (N, K, H, W)",
        **({"tiles": note} if note else {}),
    }


def _name_sides(graph: "GraphProto") -> None:
    """Call the open dimensions what they are; the tracer's names for them, and for shapes in between, say nothing."""
    traced = [dim.dim_param for dim in graph.input[0].type.tensor_type.shape.dim]
    names = dict(zip(traced, ("batch", "height", "width"), strict=False))
    del graph.value_info[:]
    for value in (*graph.input, *graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in names:
                dim.dim_param = names[dim.dim_param]


def _require_onnx() -> None:
    """Say in one sentence what is missing.

    Raises:
        MissingExtraError: The extra that writes ONNX files is not installed.
    """
    for package in ("onnx", "onnxscript"):
        if find_spec(package) is None:
            raise MissingExtraError(package, "export")
