"""Every measurement of README.md, one after the other: in hours, and as often stopped and gone on with as you like.

    python benchmarks/rerun.py ../shared/data            whatever is not done yet
    python benchmarks/rerun.py ../shared/data --list     what there is, and what is done
    python benchmarks/rerun.py ../shared/data --only parity shipping
    python benchmarks/rerun.py                           those that need no photographs

What is done is noted in runs/rerun/done.json, and what each command printed lies beside it; delete a name there, or the
folder, to measure again. A measurement that was cut off begins anew, but for the quality per minute, whose cells are
kept one by one. One that fails is named at the end, and the others go on. The models that some need are trained first.
"""

import argparse
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from maskwright.files import write_json

ROOT = Path(__file__).parents[1]
WORK = ROOT / "runs" / "rerun"
RESULTS = "benchmarks/results"


@dataclass(frozen=True)
class Measurement:
    """One command, run from the root of the repository.

    Attributes:
        name: What `--only` calls it.
        command: With ``{data}`` for the folder of photographs and ``{work}`` for that of models.
        output: The file that takes what it prints, where the command writes none.
    """

    name: str
    command: str
    output: str | None = None


# In this order: models first, then what is short, then what takes hours.
MEASUREMENTS = (
    Measurement("demo", "maskwright demo --out {work}/demo"),
    Measurement("quick-model", "maskwright train {data}/carvana --size 384 --epochs 40 --out {work}/quick"),
    Measurement(
        "fold-model",
        f"maskwright train {{data}}/carvana --split {RESULTS}/folds/carvana_0.json --minutes 5 --out {{work}}/fold",
    ),
    Measurement("onnx-model", "maskwright export {work}/quick/model.safetensors --out {work}/quick.onnx"),
    Measurement(
        "cut-outs-model",
        "maskwright train {work}/demo/photos --from {work}/demo/run/model.safetensors --factor 1 --crop 256 --epochs 2"
        " --out {work}/cut-outs",
    ),
    Measurement("house", "python benchmarks/house.py"),
    Measurement("bad-input", "python benchmarks/bad_input.py", f"{RESULTS}/bad_input.txt"),
    Measurement("saving", "python benchmarks/saving.py"),
    Measurement("package", "python benchmarks/package.py"),
    Measurement("cutout", "python benchmarks/cutout.py --model {work}/demo/run/model.safetensors"),
    Measurement("loader-speed", "python benchmarks/loader_speed.py {data}/carvana"),
    Measurement("parity", "python benchmarks/parity.py {data}/carvana --model {work}/quick/model.safetensors"),
    Measurement(
        "shipping",
        "python benchmarks/shipping.py {data}/carvana --model {work}/quick/model.safetensors --pictures 8 --rounds 3",
    ),
    Measurement(
        "bulk-predict", "python benchmarks/bulk_predict.py {work}/quick/model.safetensors --photos {data}/carvana/train"
    ),
    Measurement("serve-load", "python benchmarks/serve_load.py {work}/quick.onnx --seconds 60"),
    Measurement("serve-hostile", "python benchmarks/serve_hostile.py {work}/quick.onnx"),
    Measurement("network-speed", "python benchmarks/network_speed.py"),
    Measurement(
        "finer-masks",
        "python benchmarks/finer_masks.py {work}/fold/last.safetensors {data}/carvana"
        f" --split {RESULTS}/folds/carvana_0.json",
    ),
    Measurement("other-framings", "python benchmarks/other_framings.py {data} {work}/sets"),
    Measurement("pilot-runs", "python benchmarks/pilot_runs.py {data} {work}/sets"),
    Measurement("freed-memory", "python benchmarks/freed_memory.py"),
    Measurement("multiclass", "python benchmarks/multiclass.py {data} --minutes 3"),
    Measurement("storage-modes", "python benchmarks/storage_modes.py"),
    Measurement("classic-throughput", "python benchmarks/classic_throughput.py {data}/carvana --size 320 --steps 1"),
    Measurement("check-speed", "python benchmarks/check_speed.py 1000", f"{RESULTS}/check_speed.json"),
    Measurement("kill-test", "python benchmarks/kill_test.py"),
    Measurement("faults", "sudo python benchmarks/faults.py"),
    Measurement(
        "large-picture",
        "python benchmarks/large_picture.py --model {work}/cut-outs/model.safetensors"
        " --whole {work}/demo/run/model.safetensors",
    ),
    Measurement("two-processes", "python benchmarks/two_processes.py"),
    Measurement("ray-kill", "python benchmarks/ray_cluster.py --only kill"),
    Measurement("ray-memory", "python benchmarks/ray_cluster.py --only memory"),
    Measurement(
        "ray-overhead",
        "python benchmarks/ray_cluster.py {work}/demo/run/model.safetensors --only overhead --rounds 1",
    ),
    Measurement("ray-price", "python benchmarks/ray_cluster.py {work}/demo/run/model.safetensors --only price"),
    Measurement("ray-table", "python benchmarks/ray_cluster.py --table"),
    Measurement("memory-plan", "python benchmarks/memory_plan.py {data}/carvana"),
    Measurement("quality-per-minute", "python benchmarks/quality_per_minute.py {data}"),
    Measurement("quality-plot", "python benchmarks/quality_per_minute.py --plot"),
)


def rerun(measurements: Sequence[Measurement], work: Path, data: Path | None) -> list[str]:
    """Run what is not done yet.

    Args:
        measurements: In order.
        work: Folder that takes ``done.json``, logs and models.
        data: Folder of photographs; None leaves out what needs it.

    Returns:
        The names of those that failed or were left out.
    """
    work.mkdir(parents=True, exist_ok=True)
    missing = []
    for each in measurements:
        done = read_done(work)
        if each.name in done:
            continue
        if "{data}" in each.command and data is None:
            print(f"{each.name}: left out, since it needs the folder of photographs")
            missing.append(each.name)
            continue
        began = time.monotonic()
        print(f"{each.name}: {each.command}", flush=True)
        if not run(each, work, data):
            print(f"{each.name}: FAILED; {work / each.name}.log says why")
            missing.append(each.name)
            continue
        done[each.name] = round((time.monotonic() - began) / 60, 1)
        write_json(work / "done.json", done)
    return missing


def run(measurement: Measurement, work: Path, data: Path | None) -> bool:
    """Run one command; whether it went well. The file of its output is replaced only then."""
    words = shlex.split(measurement.command.format(data=data, work=work))
    words = [str(Path(sys.executable).with_name(word)) if word in ("python", "maskwright") else word for word in words]
    log = work / f"{measurement.name}.log"
    with log.open("wb") as file:
        result = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=file, check=False)
        file.write(result.stdout)
    if result.returncode == 0 and measurement.output is not None:
        (ROOT / measurement.output).write_bytes(result.stdout)
    return result.returncode == 0


def read_done(work: Path) -> dict[str, float]:
    """What is done, and how many minutes it took."""
    path = work / "done.json"
    done: dict[str, float] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return done


def main() -> None:
    """Run, or list."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", help="folder that holds carvana and the other sets")
    parser.add_argument("--only", nargs="+", choices=[each.name for each in MEASUREMENTS])
    parser.add_argument("--list", action="store_true", help="only show what there is, and what is done")
    options = parser.parse_args()
    chosen = [each for each in MEASUREMENTS if options.only is None or each.name in options.only]
    if options.list:
        done = read_done(WORK)
        for each in chosen:
            print(f"{f'{done[each.name]} min' if each.name in done else 'to do':>10}  {each.name:20} {each.command}")
        return
    missing = rerun(chosen, WORK, options.data and options.data.resolve())
    if missing:
        sys.exit(f"Not measured: {', '.join(missing)}.")


if __name__ == "__main__":
    main()
