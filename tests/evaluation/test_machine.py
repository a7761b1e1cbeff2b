"""What stands beside a figure: the machine, and what it took."""

import json
import os
from dataclasses import asdict
from pathlib import Path

import pytest

from maskwright.evaluation.machine import Effort, effort_from_json, machine_here, peak_of_process, read_kibibytes


def test_this_machine_is_described() -> None:
    machine = machine_here("PyTorch on cpu")
    assert machine.processor
    assert machine.cores == os.cpu_count()
    installed = read_kibibytes(Path("/proc/meminfo"), "MemTotal")
    assert installed is None or machine.memory == pytest.approx(installed, rel=0.1)
    assert machine.device == "PyTorch on cpu"
    assert {"python", "numpy", "torch", "maskwright"} <= machine.versions.keys()


def test_what_something_took_goes_through_json() -> None:
    effort = Effort(1.5, None, machine_here("cpu"))
    assert effort_from_json(json.loads(json.dumps(asdict(effort)))) == effort


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="this system says nothing of processes")
def test_the_peak_grows_with_what_is_held() -> None:
    before = peak_of_process()
    assert before is not None
    held = bytearray(int(before) + 50_000_000)
    after = peak_of_process()
    assert after is not None
    assert after >= before + 40_000_000
    assert held
    del held
    assert (peak_of_process() or 0) >= after - 10_000_000  # it was held; systems count in batches


def test_lines_of_the_system_are_read(tmp_path: Path) -> None:
    (tmp_path / "status").write_text("NoVmHWM:\t  5 kB\nVmHWM:\t  2 kB\n")
    assert read_kibibytes(tmp_path / "status", "VmHWM") == 2048
    assert read_kibibytes(tmp_path / "status", "VmRSS") is None
    assert read_kibibytes(tmp_path / "missing", "VmRSS") is None
