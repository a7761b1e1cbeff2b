"""What a measurement was taken on: to be kept beside every figure."""

import os
import platform
import time
from datetime import UTC, datetime
from statistics import median
from typing import TYPE_CHECKING, Any

from maskwright.device import choose_precision, read_facts
from maskwright.evaluation.machine import machine_here, peak_of_process

if TYPE_CHECKING:
    import torch


def describe_machine() -> dict[str, Any]:
    """Processor, versions, precision, date, and how fast this machine multiplies matrices just now."""
    import torch

    precision = choose_precision(read_facts("cpu"))
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": machine_here("cpu").processor,
        "cores": os.cpu_count(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "precision": precision,
        "matmul_gflops_fp32": round(matmul_gflops(torch.float32), 1),
        # Where it is emulated, a single product takes longer than many a measurement.
        "matmul_gflops_bf16": round(matmul_gflops(torch.bfloat16), 1) if precision == "bf16" else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def matmul_gflops(dtype: "torch.dtype", *, size: int = 1024, repeats: int = 9) -> float:
    """Median speed of a square matrix product, in billions of operations a second."""
    import torch

    first, second = torch.rand(size, size, dtype=dtype), torch.rand(size, size, dtype=dtype)
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        torch.mm(first, second)
        seconds.append(time.perf_counter() - started)
    return 2 * size**3 / median(seconds) / 1e9


def peak_megabytes() -> float:
    """The most memory that this process has held since its program was started."""
    peak = peak_of_process()
    assert peak is not None, "the system does not say"
    return peak / 1e6
