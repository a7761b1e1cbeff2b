"""The package as a user without torch installs it: that it predicts, how large it is, how soon the first mask is there.

    python benchmarks/package.py [--model model.onnx --picture photo.jpg]        (make check-package)

Builds the wheel, installs it into an environment of its own without an extra, and predicts there with an exported file.
Without --model that is a network as `quick` trains it, untrained: 384 pixels, exported by this environment. Sizes are
those of the files, in millions of bytes; the environment's own pip and setuptools are not counted. Seconds are wall
clock, from the start of the process to its end: the first run finds nothing in memory, the others are repeats.

Fails where torch is there, where no mask is, and above 200 MB.
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
import venv
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from machine import describe_machine

from maskwright.commands.export import export
from maskwright.config import Architecture
from maskwright.data.drawn_cars import draw_car
from maskwright.data.image_files import write_image
from maskwright.files import write_json
from maskwright.inference.model_file import ModelCard, save_model
from maskwright.models.build import build_network

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "package.json"
MOST_MEGABYTES = 200
RUNS = 5
# What every environment begins with.
NOT_COUNTED = {"pip", "setuptools"}
FIRST_MASK = "import sys, numpy, PIL.Image, maskwright as mw; \
print(mw.load(sys.argv[1])(numpy.array(PIL.Image.open(sys.argv[2]))).shape)"


def outside() -> dict[str, str]:
    """The environment of processes that are to find nothing of the repository."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def install(folder: Path) -> Path:
    """Build the wheel and install it alone; returns the environment's Python."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT)], check=True)
    venv.create(folder / "env", with_pip=True)
    python = folder / "env" / "bin" / "python"
    (wheel,) = folder.glob("maskwright-*.whl")
    subprocess.run([python, *pip[1:], "install", str(wheel)], check=True, env=outside())
    return python


def megabytes_of(python: Path) -> dict[str, float]:
    """Installed size of each package, in millions of bytes, largest first."""
    (site,) = (python.parents[1] / "lib").glob("python*/site-packages")
    sizes = {}
    for package in distributions(path=[str(site)]):
        record = csv.reader((package.read_text("RECORD") or "").splitlines())
        files = [site / row[0] for row in record]
        sizes[package.name] = sum(file.stat().st_size for file in files if file.is_file()) / 1e6
    counted = {name: round(size, 1) for name, size in sizes.items() if name not in NOT_COUNTED}
    return dict(sorted(counted.items(), key=lambda entry: -entry[1]))


def export_untrained(folder: Path) -> Path:
    """A network as `quick` trains it, with first weights, exported."""
    card = ModelCard(Architecture("efficientnet_lite0", base_channels=16, unshuffle=2), size=384)
    network = build_network(card.architecture)
    save_model(folder / "model.safetensors", card, {name: each.numpy() for name, each in network.state_dict().items()})
    return export(folder / "model.safetensors", out=folder / "model.onnx").path


def seconds_of(command: list[str | Path], folder: Path) -> list[float]:
    """Wall clock of each run of a command, outside of the repository."""
    seconds = []
    for _ in range(RUNS):
        started = time.perf_counter()
        subprocess.run(command, check=True, cwd=folder, env=outside(), stdout=subprocess.DEVNULL)
        seconds.append(round(time.perf_counter() - started, 2))
    return seconds


def measure(folder: Path, model: Path | None, picture: Path | None) -> dict[str, Any]:
    """Everything, in a folder that is thrown away."""
    machine = describe_machine()
    python = install(folder)
    has_torch = subprocess.run([python, "-c", "import torch"], capture_output=True, check=False).returncode == 0
    if picture is None:
        picture = folder / "car.jpg"
        write_image(picture, draw_car(0, 3, width=1918, height=1280)[0])
    model = (model or export_untrained(folder)).resolve()
    words: list[str | Path] = ["predict", model, picture.resolve(), "--out", folder / "out", "--overwrite"]
    sizes = megabytes_of(python)
    return {
        "machine": machine,
        "command": "python benchmarks/package.py",
        "has_torch": has_torch,
        "megabytes": round(sum(sizes.values()), 1),
        "megabytes_by_package": sizes,
        "model_megabytes": round(model.stat().st_size / 1e6, 1),
        "seconds_to_first_mask": seconds_of([python, "-c", FIRST_MASK, model, picture.resolve()], folder),
        "seconds_of_predict_command": seconds_of([python, "-m", "maskwright", *words], folder),
        "masks": len(list((folder / "out").glob("*_mask.png"))),
    }


def main() -> None:
    """Measure, print, write, and fail where it is too large or not free of torch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder), options.model, options.picture)
    for name, size in result["megabytes_by_package"].items():
        print(f"{size:8.1f} MB  {name}")
    print(f"{result['megabytes']:8.1f} MB  altogether, beyond an empty environment")
    print(f"seconds from the start of a process to its first mask: {result['seconds_to_first_mask']}")
    print(f"seconds of `maskwright predict` for one picture: {result['seconds_of_predict_command']}")
    write_json(options.out, result)
    if result["has_torch"] or result["masks"] != 1 or result["megabytes"] > MOST_MEGABYTES:
        sys.exit(f"There should be no torch, one mask, and at most {MOST_MEGABYTES} MB.")


if __name__ == "__main__":
    main()
