"""How much memory a device has left, how much this process takes of it, and how the C library hands it out.

On a CPU that is main memory, where every limit counts the whole process; on a GPU it is the card's.
"""

import contextlib
import ctypes
import os
import re
from pathlib import Path

import torch

from maskwright.evaluation.machine import peak_of_process, read_kibibytes

# What is not named may change at any moment: other programs live in the same memory.
CPU_SHARE, GPU_SHARE = 0.8, 0.95
# What a process takes of a card before its first tensor: driver, libraries, and kernels as they are first used.
# Source: 290 MB for one convolution in pytorch/pytorch pull request 86509, 300 to 400 MB in issues 107667 and 109888.
CUDA_CONTEXT = 400e6
# Blocks from so many bytes on are asked of the system one by one, and returned as soon as they are free ...
RETURNED_FROM = 65536
# ... or only these, and what is freed is not returned at all, ...
NEVER_RETURNED_BELOW = 2**30
# ... by these parameters of glibc's `mallopt`. Source: malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_PROC, _CGROUPS = Path("/proc/self"), Path("/sys/fs/cgroup")


def usable_memory(device: str) -> float | None:
    """Bytes that a training may hold on a device where nothing is said: what it holds and most of what is free."""
    free = free_memory(device)
    if free is None:
        return None
    return held_memory(device) + (GPU_SHARE if device.startswith("cuda") else CPU_SHARE) * free


def free_memory(device: str) -> float | None:
    """Bytes that are free on a device; None where nobody says."""
    if device.startswith("cuda"):
        card = torch.device(device)
        kept_for_later = torch.cuda.memory_reserved(card) - torch.cuda.memory_allocated(card)
        return float(torch.cuda.mem_get_info(card)[0] + kept_for_later)
    if device != "cpu":
        return None
    available = read_kibibytes(Path("/proc/meminfo"), "MemAvailable")
    known = [bytes_left for bytes_left in (available, _left_in_groups()) if bytes_left is not None]
    return min(known, default=None)


def held_memory(device: str) -> float:
    """Bytes that this process holds on a device; 0 where nobody says."""
    if device.startswith("cuda"):
        return CUDA_CONTEXT + torch.cuda.memory_allocated(torch.device(device))
    return (read_kibibytes(_PROC / "status", "VmRSS") or 0.0) if device == "cpu" else 0.0


def peak_memory(device: str) -> float | None:
    """The most that this process held on a device since `forget_peak`; None where nobody says."""
    if device.startswith("cuda"):
        return CUDA_CONTEXT + torch.cuda.max_memory_reserved(torch.device(device))
    return peak_of_process() if device == "cpu" else None


def forget_peak(device: str) -> None:
    """Let the peak begin at what is held now."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(torch.device(device))
    elif device == "cpu":
        with contextlib.suppress(OSError):  # elsewhere the peak is that of the whole process
            (_PROC / "clear_refs").write_text("5", encoding="ascii")


def return_freed_memory() -> bool:
    """Let the C library return large blocks as soon as they are freed, from now on; whether it can.

    By default glibc keeps blocks of up to 32 MiB for later, between which holes remain. docs/decisions/0018 says what
    that takes, and what this costs.
    """
    return _set_thresholds(RETURNED_FROM)


def keep_freed_memory() -> bool:
    """Let the C library keep large blocks, too, when they are freed, from now on; whether it can.

    A block of more than 32 MiB would otherwise be asked of the system each time, which fills all of it with zeros.
    docs/decisions/0037 says what that takes.
    """
    return _set_thresholds(NEVER_RETURNED_BELOW)


def _set_thresholds(size: int) -> bool:
    return _has_glibc() and all(
        ctypes.CDLL(None).mallopt(name, size) == 1 for name in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD)
    )


def trim_memory() -> None:
    """Return what the C library keeps for later, once."""
    if _has_glibc():
        ctypes.CDLL(None).malloc_trim(0)


def _has_glibc() -> bool:
    return "CS_GNU_LIBC_VERSION" in getattr(os, "confstr_names", {})


def _left_in_groups(groups: Path = _PROC / "cgroup", root: Path = _CGROUPS) -> float | None:
    """Bytes that the control groups of this process leave it, as in a container; None without a limit.

    The pages of files that nobody uses are given up before anything fails, and so count as free.
    """
    left: list[float] = []
    with contextlib.suppress(OSError, ValueError):
        for line in groups.read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                home, files = root, ("memory.max", "memory.current", "inactive_file")
            elif "memory" in controllers.split(","):
                files = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
                home = root / "memory"
            else:
                continue
            # In a container the path is often that outside of it; what is mounted inside is the group itself.
            own = home / path.strip("/")
            for folder in (own, *own.parents):
                found = _left_in_group(folder, *files)
                left += [] if found is None else [found]
                if folder == home:
                    break
    return min(left, default=None)


def _left_in_group(folder: Path, limit_file: str, used_file: str, inactive: str) -> float | None:
    with contextlib.suppress(OSError, ValueError):
        limit = int((folder / limit_file).read_text(encoding="ascii"))  # "max" is no number
        used = int((folder / used_file).read_text(encoding="ascii"))
        stat = (folder / "memory.stat").read_text(encoding="ascii")
        found = re.search(rf"^{inactive} (\d+)$", stat, re.MULTILINE)
        return max(0.0, float(limit - used + (int(found[1]) if found else 0)))
    return None
