"""OpenVINO models, made of an ONNX file: an .xml, and a .bin with the weights beside it."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maskwright.inference.engines import OPENVINO_IN_FP32, import_openvino
from maskwright.inference.model_file import ModelCard
from maskwright.interop.onnx import metadata
from maskwright.interop.parity import Compute


def write_openvino(path: Path, onnx_file: Path, card: ModelCard) -> None:
    """Write an ONNX file of ours as an OpenVINO model, in fp32.

    Raises:
        MissingExtraError: openvino is not installed.
    """
    openvino = import_openvino()
    model = openvino.convert_model(onnx_file)
    for name, text in metadata(card).items():
        model.set_rt_info(text, name)
    openvino.save_model(model, path, compress_to_fp16=False)


def run_whole(path: Path) -> Compute:
    """A model as a program without this project uses it: stored pictures in, masks and logits at their size out."""
    compiled = import_openvino().Core().compile_model(path, "CPU", OPENVINO_IN_FP32)
    others = {"resized": np.array(False)} if len(compiled.inputs) > 1 else {}

    def compute(image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        results = compiled.create_infer_request().infer({"image": image[np.newaxis], **others})
        return results["mask"][0], results["logits"][0]

    return compute
