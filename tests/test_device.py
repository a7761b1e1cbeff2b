import os
from pathlib import Path

import pytest
import torch

from maskwright.config import Precision
from maskwright.device import DeviceFacts, choose_device, choose_precision, gpu_gigabytes, read_facts, unused_gpu_hint
from maskwright.errors import InputError

no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="torch can use the GPU here")


def card(name: str, major: int, minor: int) -> DeviceFacts:
    return DeviceFacts("cuda", name, (major, minor))


@pytest.mark.parametrize(
    ("facts", "precision"),
    [
        (card("NVIDIA GeForce GTX 1650 Ti", 7, 5), "fp32"),
        (card("NVIDIA GeForce GTX 1650 with Max-Q Design", 7, 5), "fp32"),
        (card("NVIDIA GeForce GTX 1660 SUPER", 7, 5), "fp32"),
        (card("Quadro T1000", 7, 5), "fp32"),
        (card("NVIDIA T600 Laptop GPU", 7, 5), "fp32"),
        (card("NVIDIA GeForce MX450", 7, 5), "fp32"),
        (card("NVIDIA T400 4GB", 7, 5), "fp32"),
        (card("NVIDIA T1200 Laptop GPU", 7, 5), "fp32"),
        (card("Quadro T2000 with Max-Q Design", 7, 5), "fp32"),
        (card("NVIDIA CMP 30HX", 7, 5), "fp32"),
        (card("Tesla T4", 7, 5), "fp16"),
        (card("NVIDIA T4G", 7, 5), "fp16"),
        (card("Tesla T40", 7, 5), "fp16"),
        (card("NVIDIA TITAN RTX", 7, 5), "fp16"),
        (card("NVIDIA T400E", 8, 6), "bf16"),
        (card("NVIDIA GeForce RTX 2060", 7, 5), "fp16"),
        (card("Quadro RTX 4000", 7, 5), "fp16"),
        (card("Tesla V100-SXM2-16GB", 7, 0), "fp16"),
        (card("Tesla P100-PCIE-16GB", 6, 0), "fp32"),
        (card("NVIDIA GeForce GTX 1080 Ti", 6, 1), "fp32"),
        (card("NVIDIA GeForce RTX 3060", 8, 6), "bf16"),
        (card("NVIDIA A100-SXM4-40GB", 8, 0), "bf16"),
        (card("NVIDIA H100 80GB HBM3", 9, 0), "bf16"),
        (DeviceFacts("cpu", fast_bf16=True), "bf16"),
        (DeviceFacts("cpu"), "fp32"),
        (DeviceFacts("mps"), "fp32"),
    ],
    ids=lambda value: value.name or value.kind if isinstance(value, DeviceFacts) else value,
)
def test_the_precision_is_sound_on_the_device(facts: DeviceFacts, precision: str) -> None:
    assert choose_precision(facts) == precision


@pytest.mark.parametrize("wish", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("facts", [card("NVIDIA GeForce GTX 1650 Ti", 7, 5), card("A100", 8, 0), DeviceFacts("cpu")])
def test_a_wished_precision_is_obeyed(facts: DeviceFacts, wish: Precision) -> None:
    assert choose_precision(facts, wish) == wish


def test_the_processor_can_always_be_had() -> None:
    assert choose_device("cpu") == "cpu"


@no_gpu
@pytest.mark.parametrize("wish", ["cuda", "cuda:1", "mps", "toaster"])
def test_a_device_that_is_not_there_is_refused(wish: str) -> None:
    if wish == "mps" and torch.backends.mps.is_available():
        pytest.skip("it is there")
    with pytest.raises(InputError, match=f"^--device {wish} cannot be used here") as raised:
        choose_device(wish)
    assert "\n" not in str(raised.value)


def test_the_chosen_device_computes() -> None:
    assert torch.ones(2, device=choose_device()).sum() == 2


def test_facts_name_the_kind_of_device() -> None:
    assert read_facts("cpu").kind == "cpu"


# --- A GPU that torch cannot use


@no_gpu
def test_a_gpu_that_torch_cannot_use_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_nvidia_smi(tmp_path, b"#!/bin/sh\necho 'NVIDIA GeForce GTX 1650 Ti'\necho 'NVIDIA T4'\n", monkeypatch)
    hint = unused_gpu_hint()
    assert hint is not None
    assert hint.startswith(f"NVIDIA GeForce GTX 1650 Ti is here, but torch {torch.__version__} ")
    assert ("built without CUDA" if torch.version.cuda is None else f"CUDA {torch.version.cuda}") in hint
    assert "training runs on the CPU" in hint


@no_gpu
@pytest.mark.parametrize(
    "script",
    [
        b"#!/bin/sh\necho 'NVIDIA-SMI has failed'\nexit 9\n",
        b"#!/bin/sh\n",
        b"no program at all",
    ],
    ids=["fails", "lists nothing", "does not start"],
)
def test_a_driver_that_lists_no_card_gives_no_hint(
    script: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_nvidia_smi(tmp_path, script, monkeypatch)
    assert unused_gpu_hint() is None


@no_gpu
def test_a_gpu_that_was_hidden_on_purpose_is_not_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_nvidia_smi(tmp_path, b"#!/bin/sh\necho 'NVIDIA T4'\n", monkeypatch)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert unused_gpu_hint() is None


def test_without_a_driver_there_is_no_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert unused_gpu_hint() is None


@no_gpu
def test_memory_that_torch_cannot_use_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for memory in ("24576", "[N/A]"):
        write_nvidia_smi(tmp_path, f"#!/bin/sh\necho '{memory}'\n".encode(), monkeypatch)
        assert gpu_gigabytes() == 0.0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_memory_of_a_gpu_is_what_torch_says_too() -> None:
    assert gpu_gigabytes() == pytest.approx(torch.cuda.get_device_properties(0).total_memory / 2**30, rel=0.1)


def write_nvidia_smi(folder: Path, script: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    program = folder / "nvidia-smi"
    program.write_bytes(script)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
