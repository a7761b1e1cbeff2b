"""What a measurement was taken on: to be kept beside every figure."""

import os
import platform
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from maskwright.device import choose_precision, read_facts
from maskwright.evaluation.machine import machine_here, peak_of_process

if TYPE_CHECKING:
    import torch


def describe_machine() -> dict[str, Any]:
    """Processor, versions, commit, precision, date, and how fast this machine multiplies matrices just now."""
    import torch

    precision = choose_precision(read_facts("cpu"))
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit_here(),
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


def commit_here() -> str | None:
    """The commit that is measured, with ``-dirty`` where files differ from it; None outside a repository."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    found = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return found.stdout.strip() or None


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
