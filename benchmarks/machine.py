"""What a measurement was taken on: to be kept beside every figure."""

import os
import platform
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import torch

from maskwright.device import choose_precision, read_facts


def describe_machine() -> dict[str, Any]:
    """Processor, versions, precision, date, and how fast this machine multiplies matrices just now."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        cpu = names[0] if names else cpu
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": cpu,
        "cores": os.cpu_count(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "precision": choose_precision(read_facts("cpu")),
        "matmul_gflops_fp32": round(matmul_gflops(torch.float32), 1),
        "matmul_gflops_bf16": round(matmul_gflops(torch.bfloat16), 1),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def matmul_gflops(dtype: torch.dtype, *, size: int = 1024, repeats: int = 9) -> float:
    """Median speed of a square matrix product, in billions of operations a second."""
    first, second = torch.rand(size, size, dtype=dtype), torch.rand(size, size, dtype=dtype)
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        torch.mm(first, second)
        seconds.append(time.perf_counter() - started)
    return 2 * size**3 / median(seconds) / 1e9
