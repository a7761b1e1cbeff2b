"""What the system says of memory, from files as it writes them, and from this process."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from maskwright.training import machine_memory
from maskwright.training.machine_memory import (
    CPU_SHARE,
    forget_peak,
    free_memory,
    held_memory,
    peak_memory,
    trim_memory,
    usable_memory,
)

on_linux = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux says how much a process holds")


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def left(tmp_path: Path, groups: str) -> float | None:
    (tmp_path / "cgroup").write_text(groups)
    return machine_memory._left_in_groups(tmp_path / "cgroup", tmp_path / "fs")


def test_free_memory_is_some_of_the_machines() -> None:
    free = free_memory("cpu")
    assert free is None or 1e6 < free < 1e14


def test_a_device_of_which_nobody_knows_has_no_free_memory() -> None:
    assert free_memory("mps") is None
    assert usable_memory("mps") is None
    assert peak_memory("mps") is None


def test_the_tightest_group_above_a_process_counts(tmp_path: Path) -> None:
    write(tmp_path / "fs/outer", memory__max="1000", memory__current="700", memory__stat="anon 5\ninactive_file 100\n")
    write(tmp_path / "fs/outer/inner", memory__max="max", memory__current="700", memory__stat="")
    assert left(tmp_path, "0::/outer/inner\n") == 1000 - 700 + 100


def test_in_a_container_the_group_is_what_is_mounted(tmp_path: Path) -> None:
    write(tmp_path / "fs", memory__max="5000", memory__current="4000", memory__stat="inactive_file 0\n")
    assert left(tmp_path, "0::/docker/0123abc\n") == 1000


def test_groups_of_the_first_version_are_read_as_well(tmp_path: Path) -> None:
    write(
        tmp_path / "fs/memory/job",
        memory__limit_in_bytes="9000",
        memory__usage_in_bytes="3000",
        memory__stat="total_inactive_file 500\n",
    )
    assert left(tmp_path, "5:cpu,cpuacct:/x\n4:memory:/job\n0::/\n") == 6500


@pytest.mark.parametrize("groups", ["", "0::/\n", "nonsense\n"])
def test_without_a_limit_nothing_is_known(groups: str, tmp_path: Path) -> None:
    assert left(tmp_path, groups) is None


@on_linux
def test_what_may_be_used_is_what_is_held_and_a_share_of_what_is_free() -> None:
    free, held, usable = free_memory("cpu"), held_memory("cpu"), usable_memory("cpu")
    assert free is not None
    assert usable is not None
    assert 1e7 < held < usable < held + free
    assert usable == pytest.approx(held + CPU_SHARE * free, rel=0.3)


@on_linux
def test_a_peak_is_remembered_until_it_is_forgotten() -> None:
    trim_memory()  # what other tests have left would be used again
    forget_peak("cpu")
    before = peak_memory("cpu")
    tensor = torch.ones(25_000_000)
    while_held = peak_memory("cpu")
    del tensor
    trim_memory()
    after = peak_memory("cpu")
    assert before is not None
    assert while_held is not None
    assert while_held > before + 9e7
    assert after == pytest.approx(while_held, rel=0.01)  # it is counted in batches
    forget_peak("cpu")
    assert (peak_memory("cpu") or 0) < while_held - 9e7


def test_a_gpu_that_is_not_here_holds_its_context() -> None:
    if not torch.cuda.is_available():
        assert held_memory("cuda") == machine_memory.CUDA_CONTEXT


# These have a process of their own: where blocks come to lie depends on all that was freed before.
HOLES = """
import torch
from maskwright.training.machine_memory import held_memory, return_freed_memory

is_glibc = return_freed_memory()
blocks = [torch.ones(50_000) for _ in range(500)]  # of 200 kB, which glibc would keep
del blocks[::2]  # holes between those that stay
held = held_memory("cpu")
more = [torch.ones(50_000) for _ in range(250)]
del more
print(held_memory("cpu") - held if is_glibc else "another C library")
"""
# The second is the smaller one, since an aligned block takes room for its alignment while it is placed.
TWO_BLOCKS = """
import resource
import torch
from maskwright.training.machine_memory import keep_freed_memory

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

is_glibc = keep_freed_memory()
torch.ones(40_000_000)  # 160 MB, which glibc would return
before = faults()
torch.ones(20_000_000)
print(faults() - before if is_glibc else "another C library")
"""


@on_linux
def test_freed_blocks_are_returned_at_once() -> None:
    assert float(_said_by(HOLES)) < 3.5e7  # of the 50 MB that they were


@on_linux
def test_large_blocks_are_kept_and_not_filled_with_zeros_again() -> None:
    assert int(_said_by(TWO_BLOCKS)) < 2_000  # of the 20,000 pages that they are


def _said_by(program: str) -> str:
    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.strip()
    if said == "another C library":
        pytest.skip(said)
    return said
