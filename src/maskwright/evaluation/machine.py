"""What a result was computed on, and what it took: to be kept beside every figure."""

import contextlib
import os
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

# What decides how fast something is, and how it is rounded.
_PACKAGES = ("maskwright", "torch", "onnxruntime", "numpy", "pillow")


@dataclass(frozen=True)
class Machine:
    """A machine in words.

    Attributes:
        processor: Its model.
        cores: How many the system shows.
        memory: Bytes of main memory; None where the system does not say.
        device: What computed.
        system: The operating system.
        versions: Of Python and the packages that compute.
    """

    processor: str
    cores: int
    memory: float | None
    device: str
    system: str
    versions: Mapping[str, str]


@dataclass(frozen=True)
class Effort:
    """What something took, and where.

    Attributes:
        seconds: From beginning to end.
        peak_memory: The most bytes that were held on the device; None where the system does not say.
        machine: What it ran on.
    """

    seconds: float
    peak_memory: float | None
    machine: Machine


def machine_here(device: str) -> Machine:
    """This machine; ``device`` says in words what computes."""
    return Machine(
        processor=_processor(),
        cores=os.cpu_count() or 1,
        memory=_main_memory(),
        device=device,
        system=f"{platform.system()} {platform.release()}",
        versions={"python": platform.python_version(), **_versions()},
    )


def peak_of_process() -> float | None:
    """The most bytes of main memory that this process has held; None where the system does not say.

    Not `resource.getrusage`, whose peak a process takes over from the one that started it.
    """
    return read_kibibytes(Path("/proc/self/status"), "VmHWM")


def read_kibibytes(path: Path, name: str) -> float | None:
    """Bytes that a line such as ``VmRSS:  1024 kB`` tells; None where there is no such line."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        found = re.search(rf"^{name}:\s*(\d+) kB", path.read_text(encoding="utf-8"), re.MULTILINE)
        return None if found is None else 1024.0 * int(found[1])
    return None


def effort_from_json(content: Mapping[str, Any]) -> Effort:
    """What ``dataclasses.asdict`` made of an `Effort`."""
    peak = content["peak_memory"]
    return Effort(float(content["seconds"]), None if peak is None else float(peak), Machine(**content["machine"]))


def _processor() -> str:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
        if found:
            return found[1]
    return platform.processor() or platform.machine()


def _main_memory() -> float | None:
    with contextlib.suppress(AttributeError, ValueError, OSError):  # Windows has no sysconf
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return None


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
