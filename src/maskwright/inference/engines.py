"""What computes: an engine turns a batch of pictures into logits.

Engines stand behind one seam, so that the predictor and everything after it need no torch: a model file is computed by
PyTorch, an exported file by ONNX Runtime or OpenVINO. They get the same numbers and give the same ones; what happens to
a picture before and after is the predictor's, whatever computes. All of them may be used by many threads at once, of
which few compute at a time on a GPU.
"""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from maskwright.config import Architecture, EngineName
from maskwright.device import choose_device, require_torch
from maskwright.errors import InputError, MissingExtraError
from maskwright.inference.model_file import HEADER, ModelCard, card_from_header, load_model

# What computes a file, by its suffix.
ENGINES: dict[str, EngineName] = {".safetensors": "torch", ".onnx": "onnx", ".xml": "openvino"}
# What ONNX Runtime calls the devices.
_ONNX_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
# By itself OpenVINO computes in bf16 where a processor can, and gives other masks there than elsewhere.
OPENVINO_IN_FP32 = {"INFERENCE_PRECISION_HINT": "f32"}
# Networks that compute at a time on a device that is no processor: one, while the next one's picture is brought there.
NETWORKS_ON_A_GPU = 2


class Engine(Protocol):
    """A network ready to compute.

    Attributes:
        name: What computes, with its version and where, for a person to read.
    """

    name: str

    def logits(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """``(N, C, H, W)`` in 0..1, in steps of 1/255, to logits ``(N, num_classes, H, W)``."""
        ...


def open_model(
    path: Path,
    *,
    engine: EngineName | None = None,
    device: str = "cpu",
    many_at_once: bool = False,
    cores: int | None = None,
) -> tuple[ModelCard, Engine]:
    """Open a model file or an exported one.

    Args:
        path: The file; its suffix decides what computes it.
        engine: What is to compute it; refused where that cannot read the file.
        device: auto, cpu, cuda, cuda:1 or mps.
        many_at_once: Each call computes on one core, since as many are made at once as there are cores; otherwise a
            call takes all of them. PyTorch is told by `one_core_each` instead, for all of its networks.
        cores: How many there are for this process; by default all of the machine.

    Raises:
        InputError: The file is missing, damaged or not one of ours, or cannot be computed so.
        MissingExtraError: What computes it is not installed.
    """
    fitting = ENGINES.get(path.suffix.lower(), "torch")
    if engine not in (None, fitting):
        wanted = "train" if engine == "torch" else f"export --to {engine}"
        raise InputError(f"{path} is computed by {fitting}; --engine {engine} takes a file of `maskwright {wanted}`.")
    if not path.is_file():
        raise InputError(f"{path} is not there; `maskwright train` leaves a model.safetensors in its run folder.")
    match fitting:
        case "torch":
            card, weights = load_model(path)
            return card, open_torch(path, card, weights, choose_device(device))
        case "onnx":
            return _open_onnx(path, device, many_at_once=many_at_once)
        case "openvino":
            return _open_openvino(path, device, many_at_once=many_at_once, cores=cores or os.cpu_count() or 1)


def turns_on(kind: str) -> AbstractContextManager[bool | None]:
    """What each call holds while it computes on a device.

    Threads are as many as there are cores, for pictures that are read, enlarged and written. Their networks have a core
    each on a processor; a GPU has memory for few of them, and gains nothing by more.

    Args:
        kind: cpu, cuda or mps.
    """
    return nullcontext() if kind == "cpu" else BoundedSemaphore(NETWORKS_ON_A_GPU)


class TorchEngine:
    """The network in PyTorch, in fp32.

    It is simplified first, and laid out with the channels of a pixel side by side where that is faster: logits differ
    from the network's by rounding, by less than a hundred-thousandth of the largest.

    Raises:
        MissingExtraError: There is no torch.
        ValueError: The weights are those of another network.
    """

    def __init__(self, architecture: Architecture, weights: Mapping[str, NDArray[Any]], device: str = "cpu") -> None:
        require_torch()
        import torch

        from maskwright.models.build import build_trained_network
        from maskwright.models.simplify import simplify

        network = build_trained_network(
            architecture, {name: torch.from_numpy(array) for name, array in weights.items()}
        )
        simplify(network)
        self._device = torch.device(device)
        self._layout = torch.channels_last if self._device.type == "cpu" else torch.contiguous_format
        self._network = network.to(self._device).to(memory_format=self._layout)
        self._turn = turns_on(self._device.type)
        self.name = f"PyTorch {torch.__version__} on {device}"

    def logits(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """``(N, C, H, W)`` in 0..1 to logits ``(N, num_classes, H, W)``."""
        import torch

        with self._turn, torch.inference_mode():
            images = torch.from_numpy(batch).to(self._device, memory_format=self._layout)
            logits: NDArray[np.float32] = self._network(images).contiguous().cpu().numpy()
            return logits


class OnnxEngine:
    """An exported file in ONNX Runtime.

    The file holds more than the network: it takes pictures as they are stored, of any size, and resizes them. Those
    that have the model's size it leaves as they are, and their logits too; so it does here. Of tiles it is told.
    """

    def __init__(self, session: Any, provider: str, version: str) -> None:  # noqa: ANN401 - onnxruntime has no types
        self._session = session
        self._turn = turns_on("cpu" if provider == _ONNX_PROVIDERS["cpu"] else "cuda")
        self._others = _other_inputs(put.name for put in session.get_overridable_initializers())
        self.name = f"ONNX Runtime {version} ({provider})"

    def logits(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """``(N, C, H, W)`` in 0..1 to logits ``(N, num_classes, H, W)``."""
        with self._turn:
            logits: NDArray[np.float32] = self._session.run(["logits"], {"image": _as_stored(batch), **self._others})[0]
            return logits


class OpenVinoEngine:
    """An exported file in OpenVINO; see `OnnxEngine`."""

    def __init__(self, compiled: Any, version: str) -> None:  # noqa: ANN401 - openvino has no types
        self._compiled = compiled
        self._others = _other_inputs(put.any_name for put in compiled.inputs)
        self.name = f"OpenVINO {version} (CPU)"

    def logits(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """``(N, C, H, W)`` in 0..1 to logits ``(N, num_classes, H, W)``."""
        # A request of its own for each call: the compiled model's would be shared between threads.
        results = self._compiled.create_infer_request().infer({"image": _as_stored(batch), **self._others})
        return np.array(results["logits"])


def _as_stored(batch: NDArray[np.float32]) -> NDArray[np.uint8]:
    """``(N, C, H, W)`` in 0..1 to the ``(N, H, W, C)`` in 0..255 that exported files take."""
    return np.rint(batch.transpose(0, 2, 3, 1) * 255).astype(np.uint8)


def _other_inputs(names: Iterable[str]) -> dict[str, NDArray[np.bool_]]:
    """What an exported file may ask for beside its pictures: whether these have been resized already."""
    return {"resized": np.array(True)} if "resized" in names else {}


def open_torch(path: Path, card: ModelCard, weights: Mapping[str, NDArray[Any]], device: str = "cpu") -> TorchEngine:
    """The network of a model file that has been read.

    Raises:
        InputError: The weights are those of another network.
        MissingExtraError: There is no torch.
    """
    try:
        return TorchEngine(card.architecture, weights, device)
    except ValueError as error:
        raise InputError(f"{path} holds weights of another network than it says; use another model file.") from error


def _open_onnx(path: Path, device: str, *, many_at_once: bool) -> tuple[ModelCard, Engine]:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("onnxruntime", "onnx") from error
    usable = onnxruntime.get_available_providers()
    kind, _, index = device.partition(":")
    if kind == "auto":
        kind = "cuda" if _ONNX_PROVIDERS["cuda"] in usable else "cpu"
    provider = _ONNX_PROVIDERS.get(kind, "")
    if provider not in usable:
        raise InputError(f"--device {device} cannot be used by this ONNX Runtime; try --device cpu.")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors: warnings are about what it optimises
    options.intra_op_num_threads = 1 if many_at_once else 0  # 0: all cores
    try:
        session = onnxruntime.InferenceSession(
            path, options, providers=[(provider, {"device_id": index} if index else {})]
        )
    except Exception as error:  # it has a dozen of its own, without a common one
        raise InputError(f"{path} is not a whole ONNX file; export it again.") from error
    card = card_from_header(session.get_modelmeta().custom_metadata_map, path)
    return card, OnnxEngine(session, provider, onnxruntime.__version__)


def _open_openvino(path: Path, device: str, *, many_at_once: bool, cores: int) -> tuple[ModelCard, Engine]:
    openvino = import_openvino()
    if device not in ("auto", "cpu"):
        raise InputError(f"--device {device} cannot be used with OpenVINO here; try --device cpu.")
    try:
        core = openvino.Core()
        model = core.read_model(path)
        header = {HEADER: model.get_rt_info(HEADER).value} if model.has_rt_info(HEADER) else {}
    except RuntimeError as error:
        raise InputError(f"{path} and its .bin are no whole OpenVINO model; export it again.") from error
    # Calls wait for each other within a stream, of which there is one by itself, with a thread for each core.
    threads = {"INFERENCE_NUM_THREADS": cores, "NUM_STREAMS": cores} if many_at_once else {}
    compiled = core.compile_model(model, "CPU", {**OPENVINO_IN_FP32, **threads})
    return card_from_header(header, path), OpenVinoEngine(compiled, openvino.__version__)


def import_openvino() -> Any:  # noqa: ANN401 - a module without types
    """OpenVINO, which tells nobody.

    By itself it sends its maker an event for each import and each conversion, from a process that it starts for that.
    Where its package for that is not installed, it does without, and so it does where importing that fails.

    Raises:
        MissingExtraError: It is not installed.
    """
    teller = "openvino_telemetry"
    is_known = teller in sys.modules
    if not is_known:
        sys.modules[teller] = None  # type: ignore[assignment]
    try:
        import openvino
    except ImportError as error:
        raise MissingExtraError("openvino", "openvino") from error
    finally:
        if not is_known:
            del sys.modules[teller]
    return openvino


@contextmanager
def one_core_each() -> Iterator[None]:
    """While it lasts, each call of an engine in PyTorch computes on one core: many calls are made at once.

    The others are told when they are opened; see `open_model`.

    So none waits for another, which saves a third of the processor's time, and a picture's logits are the same to the
    last bit however many others are computed beside it: sums taken by two cores are rounded in another order.
    """
    torch = sys.modules.get("torch")  # without it, there is nothing to tell
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
