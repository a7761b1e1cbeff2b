"""What this machine can do: which device, which precision, how many threads.

The choice is a pure function of facts, so that it can be tested on a machine that has none of them.
"""

import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from typing import Literal

from maskwright.config import Precision
from maskwright.errors import InputError, MissingExtraError

ComputePrecision = Literal["fp32", "fp16", "bf16"]

# Cards of the TU116 and TU117 chips return NaN from half-precision convolutions, often only at larger batches.
# Source: pytorch/pytorch issues 58123 and 77955; the list of ultralytics/ultralytics pull request 17977, where it took
# batches of seven to see it. T500, MX450, MX550 and CMP 30HX are not on that list; they have the same chips.
UNSOUND_AT_FP16 = re.compile(r"GTX 16\d\d|\bT(?:400|500|550|600|1000|1200|2000)\b|MX450|MX550|CMP 30HX")


@dataclass(frozen=True)
class DeviceFacts:
    """What decides the precision.

    Attributes:
        kind: ``cpu``, ``cuda`` or ``mps``.
        name: The card's name.
        capability: CUDA compute capability, such as ``(8, 6)``.
        fast_bf16: The processor has AVX512-BF16 or AMX; elsewhere bf16 is emulated and many times slower than fp32.
    """

    kind: str
    name: str = ""
    capability: tuple[int, int] = (0, 0)
    fast_bf16: bool = False


def choose_precision(facts: DeviceFacts, wish: Precision = "auto") -> ComputePrecision:
    """The precision that is sound and fast on a device; a wish is obeyed.

    >>> choose_precision(DeviceFacts("cuda", "NVIDIA GeForce GTX 1650 Ti", (7, 5)))
    'fp32'
    >>> choose_precision(DeviceFacts("cuda", "NVIDIA GeForce RTX 2060", (7, 5)))
    'fp16'
    """
    if wish != "auto":
        return wish
    if facts.kind == "cuda":
        if facts.capability >= (8, 0):
            return "bf16"
        sound = facts.capability >= (7, 0) and not UNSOUND_AT_FP16.search(facts.name)
        return "fp16" if sound else "fp32"
    return "bf16" if facts.kind == "cpu" and facts.fast_bf16 else "fp32"


def prefers_channels_last(kind: str, precision: ComputePrecision) -> bool:
    """Whether convolutions are faster with the channels of a pixel side by side in memory.

    They are in 16 bit, where tensor cores and AVX512-BF16 multiply whole vectors of channels.

    >>> prefers_channels_last("cpu", "bf16"), prefers_channels_last("cpu", "fp32")
    (True, False)
    """
    return precision != "fp32" and kind in ("cpu", "cuda")


def prefers_fused_steps(kind: str) -> bool | None:
    """Whether an optimizer is to pass over the memory once a step; None leaves it to PyTorch.

    On a CPU PyTorch would pass over it a dozen times by itself.

    >>> prefers_fused_steps("cpu"), prefers_fused_steps("cuda")
    (True, None)
    """
    return True if kind == "cpu" else None


def local_rank() -> int | None:
    """Which of the processes that torchrun started on this machine this one is; None where it is the only one of all.

    Others than torchrun set ``RANK`` and ``WORLD_SIZE`` too, and do not mean that there is anybody to wait for.
    """
    is_one_of_many = "TORCHELASTIC_RUN_ID" in os.environ and os.environ.get("WORLD_SIZE", "1") != "1"
    return int(os.environ["LOCAL_RANK"]) if is_one_of_many else None


def choose_device(wish: str = "auto") -> str:
    """The best device that torch can use here, or the one wished for; of several processes, each has its own GPU.

    Raises:
        InputError: The wished device is not there.
        MissingExtraError: There is no torch.
    """
    require_torch()
    found = _choose_device(wish)
    rank = local_rank()
    if rank is None or found == "cpu":
        return found
    import torch

    if found != "cuda":
        raise InputError(f"Several processes train on GPUs of NVIDIA or on the CPU, not on {found}: say --device cpu.")
    here, processes = torch.cuda.device_count(), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if processes > here:
        raise InputError(
            f"{processes} processes were started on this machine, and torch finds {here} GPUs here: start {here}, or "
            "say --device cpu."
        )
    torch.cuda.set_device(rank)  # or each would hold some memory of the first one
    return f"cuda:{rank}"


def gpu_count() -> int:
    """How many of NVIDIA's GPUs torch finds here."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _choose_device(wish: str) -> str:
    import torch

    if wish == "auto":
        available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        return next((kind for kind in available if available[kind] and why_unusable(kind) is None), "cpu")
    reason = why_unusable(wish)
    if reason is not None:
        raise InputError(f"--device {wish} cannot be used here ({reason}); try --device cpu.")
    return wish


def require_torch() -> None:
    """Say in one sentence that torch is missing.

    Raises:
        MissingExtraError: The extra that brings torch is not installed.
    """
    for package in ("torch", "torchvision", "matplotlib"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, "train")


def why_unusable(device: str) -> str | None:
    """What torch says when it is to add two numbers on a device; None where it can.

    A card may be there, and seen by torch, without kernels for its generation in this build.
    """
    import torch

    rank = local_rank()
    if device == "cuda" and rank is not None and rank < torch.cuda.device_count():
        device = f"cuda:{rank}"
    try:
        (torch.ones(1, device=device) + 1).item()
    except (RuntimeError, AssertionError) as error:
        return str(error).splitlines()[0].rstrip(".")
    return None


def read_facts(device: str) -> DeviceFacts:
    """Look at the device."""
    import torch

    kind = device.partition(":")[0]
    if kind == "cuda":
        return DeviceFacts(kind, torch.cuda.get_device_name(device), torch.cuda.get_device_capability(device))
    return DeviceFacts(kind, fast_bf16=kind == "cpu" and _cpu_has_fast_bf16())


def assumed_facts(device: str) -> DeviceFacts:
    """Those of a device that is not here: a GPU is taken for a sound one from Volta (2017) on."""
    kind = device.partition(":")[0]
    return DeviceFacts(kind, capability=(7, 0) if kind == "cuda" else (0, 0))


def unused_gpu_hint() -> str | None:
    """A sentence for the user when an NVIDIA GPU is there and this torch cannot use it, else None."""
    import torch

    name = _nvidia_name()
    if name is None or "CUDA_VISIBLE_DEVICES" in os.environ:  # hidden on purpose
        return None
    if torch.version.cuda is None:
        build = "was built without CUDA"
    elif not torch.cuda.is_available():
        build = f"finds no driver for CUDA {torch.version.cuda}"
    elif reason := why_unusable("cuda"):
        build = f"cannot compute on it ({reason})"
    else:
        return None
    return (
        f"{name} is here, but torch {torch.__version__} {build}: training runs on the CPU. "
        "See 'A GPU that torch cannot use' in README.md."
    )


def gpu_gigabytes() -> float:
    """Memory of the first NVIDIA card that the driver lists; 0 without one, or where torch cannot use it.

    Without a driver, which is the answer on most machines, torch is not even imported.
    """
    try:
        gigabytes = float(_ask_nvidia("memory.total") or 0) / 1024
    except ValueError:  # a card that shares the machine's memory has none to name
        return 0.0
    usable = gigabytes > 0 and importlib.util.find_spec("torch") is not None and why_unusable("cuda") is None
    return gigabytes if usable else 0.0


def _nvidia_name() -> str | None:
    """The first NVIDIA card that the driver lists, or None."""
    return _ask_nvidia("name")


def _ask_nvidia(field: str) -> str | None:
    """What the driver says of its first card, or None."""
    if shutil.which("nvidia-smi") is None:
        return None
    command = ["nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader,nounits"]
    try:
        listing = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None  # a broken driver; the hint is not worth more than the run
    lines = listing.stdout.strip().splitlines()
    return lines[0] if listing.returncode == 0 and lines else None


def _cpu_has_fast_bf16() -> bool:
    """Whether the processor computes bf16 in hardware."""
    import torch

    # torch keeps these checks private; a version without them answers no, which is slower but right.
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, check, bool)() for check in checks)
