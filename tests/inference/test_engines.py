import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import copyfile

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from maskwright.config import Architecture
from maskwright.errors import InputError, MissingExtraError
from maskwright.inference.engines import OnnxEngine, OpenVinoEngine, TorchEngine
from maskwright.inference.predictor import load
from maskwright.models.build import build_network

pytestmark = pytest.mark.usefixtures("one_thread")

ARCHITECTURE = Architecture(base_channels=8, depth=1)


def test_the_engine_computes_what_the_network_does_when_it_no_longer_learns() -> None:
    torch.manual_seed(0)
    network = build_network(ARCHITECTURE)
    network(torch.rand(4, 3, 16, 16))  # statistics that are not the initial ones
    engine = TorchEngine(ARCHITECTURE, {name: tensor.numpy() for name, tensor in network.state_dict().items()})
    batch = np.random.default_rng(0).random((2, 3, 17, 20), dtype=np.float32)
    logits = engine.logits(batch)
    assert logits.shape == (2, 1, 17, 20)
    assert logits.dtype == np.float32
    with torch.inference_mode():
        expected = network.eval()(torch.from_numpy(batch)).numpy()
    np.testing.assert_allclose(logits, expected, atol=1e-5 * float(np.abs(expected).max()))


def test_the_engine_keeps_weights_of_its_own() -> None:
    weights = {name: tensor.numpy() for name, tensor in build_network(ARCHITECTURE).state_dict().items()}
    engine = TorchEngine(ARCHITECTURE, weights)
    batch = np.zeros((1, 3, 8, 8), np.float32)
    before = engine.logits(batch)
    weights["head.bias"][:] += 1
    np.testing.assert_array_equal(engine.logits(batch), before)


def test_weights_of_another_network_are_not_used_silently() -> None:
    weights = {name: tensor.numpy() for name, tensor in build_network(ARCHITECTURE).state_dict().items()}
    with pytest.raises(ValueError, match="size mismatch"):
        TorchEngine(Architecture(base_channels=16, depth=1), weights)


class Counting(nn.Module):
    """A network that takes a while, and knows how many threads have asked it at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()
        self.inside = self.most = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        with self.lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        time.sleep(0.05)
        with self.lock:
            self.inside -= 1
        return torch.zeros(len(images), 1, *images.shape[2:])


# A device that computes nothing is no processor either.
@pytest.mark.parametrize(("device", "are_few"), [("cpu", False), ("meta", True)])
def test_of_many_threads_few_compute_at_a_time_where_the_device_is_no_processor(device: str, are_few: bool) -> None:
    weights = {name: tensor.numpy() for name, tensor in build_network(ARCHITECTURE).state_dict().items()}
    engine = TorchEngine(ARCHITECTURE, weights, device)
    engine._network = network = Counting()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(engine.logits, [np.zeros((1, 3, 8, 8), np.float32)] * 16))
    assert [logits.shape for logits in found] == [(1, 1, 8, 8)] * 16
    assert (network.most <= 2) == are_few


# --- Files and what computes them


@pytest.fixture(params=["tiny_model", "tiny_onnx", "tiny_openvino"])
def model(request: pytest.FixtureRequest) -> Path:
    """The same model for each engine."""
    path: Path = request.getfixturevalue(request.param)
    return path


def test_threads_get_the_masks_that_one_gets(model: Path) -> None:
    predictor = load(model)
    noise = np.random.default_rng(0)
    images = [noise.integers(0, 256, (30 + place % 3, 70, 3), dtype=np.uint8) for place in range(12)]
    expected = [predictor(image) for image in images]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(predictor, images * 3))
    assert all(np.array_equal(mask, other) for mask, other in zip(found, expected * 3, strict=True))
    assert 0 < np.mean([mask.mean() for mask in expected]) < 1


@pytest.mark.parametrize("many_at_once", [False, True])
def test_onnx_runtime_takes_one_core_for_each_of_many_pictures_and_all_for_one(
    many_at_once: bool, tiny_onnx: Path
) -> None:
    engine = load(tiny_onnx, many_at_once=many_at_once)._engine
    assert isinstance(engine, OnnxEngine)
    # 0 stands for all of them.
    assert engine._session.get_session_options().intra_op_num_threads == int(many_at_once)


@pytest.mark.parametrize("many_at_once", [False, True])
def test_openvino_takes_one_core_for_each_of_many_pictures_and_all_for_one(
    many_at_once: bool, tiny_openvino: Path
) -> None:
    engine = load(tiny_openvino, many_at_once=many_at_once)._engine
    assert isinstance(engine, OpenVinoEngine)
    streams = engine._compiled.get_property("NUM_STREAMS")
    assert streams == (os.cpu_count() if many_at_once else 1)
    if many_at_once:
        assert engine._compiled.get_property("INFERENCE_NUM_THREADS") == streams


def test_how_many_are_computed_at_once_changes_no_bit(model: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (77, 130, 3), dtype=np.uint8)
    np.testing.assert_array_equal(load(model, many_at_once=True).logits(image), load(model).logits(image))


def test_every_engine_gives_the_same_logits(model: Path, tiny_model: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (77, 130, 3), dtype=np.uint8)
    expected = load(tiny_model).logits(image)
    np.testing.assert_allclose(load(model).logits(image), expected, atol=1e-4)
    assert np.ptp(expected) > 1


def test_a_batch_gives_what_its_pictures_give_alone(model: Path) -> None:
    engine = load(model)._engine
    batch = np.random.default_rng(0).integers(0, 256, (3, 3, 48, 32)).astype(np.float32) / np.float32(255)
    together = engine.logits(batch)
    for place in range(3):
        np.testing.assert_allclose(engine.logits(batch[place : place + 1])[0], together[place], atol=1e-4)


def test_an_engine_says_what_it_is(tiny_model: Path, tiny_onnx: Path) -> None:
    assert load(tiny_model, engine="torch").engine_name == f"PyTorch {torch.__version__} on cpu"
    assert load(tiny_onnx, engine="onnx").engine_name.startswith("ONNX Runtime 1.")
    assert load(tiny_onnx, device="auto").engine_name.endswith("ExecutionProvider)")


def test_an_engine_that_cannot_compute_a_file_is_refused(tiny_model: Path, tiny_onnx: Path) -> None:
    with pytest.raises(InputError, match=r"is computed by torch; --engine onnx takes .*export --to onnx"):
        load(tiny_model, engine="onnx")
    with pytest.raises(InputError, match=r"is computed by onnx; --engine torch takes .*train"):
        load(tiny_onnx, engine="torch")


@pytest.mark.parametrize("name", ["model.safetensors", "model.onnx", "model.xml"])
def test_a_missing_file_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not there"):
        load(tmp_path / name)


@pytest.mark.parametrize("name", ["model.safetensors", "model.onnx", "model.xml"])
def test_a_damaged_file_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match=rf"^\S*{name} "):
        load(tmp_path / name)


def test_an_onnx_file_of_another_program_is_refused(tiny_onnx: Path, tmp_path: Path) -> None:
    path = Path(copyfile(tiny_onnx, tmp_path / "model.onnx"))
    other = onnx.load_model(path)
    onnx.helper.set_model_props(other, {"author": "somebody"})
    onnx.save_model(other, path)
    with pytest.raises(InputError, match="not written by maskwright"):
        load(path)


@pytest.mark.parametrize("device", ["mps", "cuda:7"])
def test_a_device_that_is_not_there_is_refused(device: str, tiny_onnx: Path) -> None:
    with pytest.raises(InputError, match=rf"--device {device} cannot be used"):
        load(tiny_onnx, device=device)


@pytest.mark.parametrize(("package", "name"), [("onnxruntime", "model.onnx"), ("openvino", "model.xml")])
def test_a_missing_package_is_named(package: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / name).touch()
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"^{package} is not installed"):
        load(tmp_path / name)
