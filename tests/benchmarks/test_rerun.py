"""One command reruns every measurement, and goes on where it was stopped."""

import re
from pathlib import Path

import rerun
from rerun import MEASUREMENTS, Measurement

BENCHMARKS = Path(rerun.__file__).parent
# What is no table of README.md: rows of docs/experiments.md that have to be named one by one, and a part of another.
NAMED_ONE_BY_ONE = {"levers.py", "peers.py", "rerun.py", "trials.py"}


def test_every_script_is_rerun() -> None:
    scripts = {path.name for path in BENCHMARKS.glob("*.py") if "__main__" in path.read_text(encoding="utf-8")}
    run = {found for each in MEASUREMENTS for found in re.findall(r"benchmarks/(\w+\.py)", each.command)}
    assert run == scripts - NAMED_ONE_BY_ONE


def test_what_is_done_is_not_done_again_and_what_failed_is(tmp_path: Path) -> None:
    counted = Measurement("counted", f"python -c \"open('{tmp_path}/count', 'a').write('x')\"")
    needs = Measurement("needs", f"python -c \"open('{tmp_path}/there')\"")
    photographs = Measurement("photographs", "python {data}/script.py")
    assert rerun.rerun([counted, needs, photographs], tmp_path / "work", None) == ["needs", "photographs"]
    assert "FileNotFoundError" in (tmp_path / "work/needs.log").read_text()
    (tmp_path / "there").touch()
    assert rerun.rerun([counted, needs], tmp_path / "work", None) == []
    assert (tmp_path / "count").read_text() == "x"
    assert set(rerun.read_done(tmp_path / "work")) == {"counted", "needs"}
