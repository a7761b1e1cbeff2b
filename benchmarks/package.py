"""The package as a user without torch installs it: that it predicts, how large it is, how soon the first mask is there.

    python benchmarks/package.py [--model model.onnx --picture photo.jpg]        (make check-package)
    python benchmarks/package.py --pythons python3.12 python3.13                 other versions of Python as well

Builds the source archive and of it the wheel, looks whether all is in them that should be, and lets twine read what
they say of themselves. Installs the wheel into an environment of its own without an extra, and predicts there with an
exported file; with each of --pythons likewise, which is not timed. Without --model that is a network as `quick` trains
it, untrained: 384 pixels, exported by this environment. Sizes are those of the files, in millions of bytes; the
environment's own pip and setuptools are not counted. Seconds are wall clock, from the start of the process to its end:
the first run finds nothing in memory, the others are repeats.

Fails where something is missing or does not fit together, where torch is there, where no mask is, and above 200 MB.
"""

import argparse
import csv
import os
import platform
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Sequence
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
TOOLS = ("build==1.6.1", "twine==7.0.0")
# What every environment begins with.
NOT_COUNTED = {"pip", "setuptools"}
FIRST_MASK = "import sys, numpy, PIL.Image, maskwright as mw; \
print(mw.load(sys.argv[1])(numpy.array(PIL.Image.open(sys.argv[2]))).shape)"


def outside() -> dict[str, str]:
    """The environment of processes that are to find nothing of the repository."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def build(folder: Path) -> Path:
    """Build the source archive and, of it, the wheel, by tools in an environment of their own; returns the wheel."""
    tools = new_environment(Path(sys.executable), folder / "tools", *TOOLS)
    subprocess.run([tools, "-m", "build", "--outdir", folder / "dist", ROOT], check=True, stdout=subprocess.DEVNULL)
    ((wheel,), (archive,)) = ((folder / "dist").glob(pattern) for pattern in ("*.whl", "*.tar.gz"))
    subprocess.run([tools, "-m", "twine", "check", "--strict", wheel, archive], check=True)
    require_complete(wheel, archive)
    return wheel


def require_complete(wheel: Path, archive: Path) -> None:
    """Every file of the package, and what has to lie beside it, is in both.

    Raises:
        SystemExit: Something is missing; the sentence names it.
    """
    tracked = subprocess.run(["git", "ls-files", "src"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    package = [path.removeprefix("src/") for path in tracked.splitlines()]
    with zipfile.ZipFile(wheel) as opened:
        in_wheel = set(opened.namelist())
    with tarfile.open(archive) as opened_archive:
        in_archive = {name.partition("/")[2] for name in opened_archive.getnames()}
    licence = f"{'-'.join(wheel.name.split('-')[:2])}.dist-info/licenses/LICENSE"
    missing = [f"{name} in the wheel" for name in (*package, licence) if name not in in_wheel]
    beside = (*(f"src/{name}" for name in package), "LICENSE", "README.md", "pyproject.toml")
    missing += [f"{name} in the source archive" for name in beside if name not in in_archive]
    if missing:
        sys.exit(f"What is not there: {', '.join(missing)}.")


def new_environment(python: Path | str, folder: Path, *packages: Path | str) -> Path:
    """An environment with these packages, whose requirements fit together; returns its Python."""
    subprocess.run([python, "-m", "venv", folder], check=True, env=outside())
    pip: list[str | Path] = [folder / "bin" / "python", "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", *packages], check=True, env=outside())
    subprocess.run([*pip, "check"], check=True, env=outside())
    return folder / "bin" / "python"


def works_with(python: str, wheel: Path, model: Path, picture: Path, folder: Path) -> str:
    """Install the wheel with another Python and predict there; returns its version."""
    installed = new_environment(python, folder, wheel)
    for words in (["--version"], ["predict", model, picture, "--out", folder / "out"]):
        subprocess.run([installed, "-m", "maskwright", *words], check=True, cwd=folder, env=outside())
    (_,) = (folder / "out").glob("*_mask.png")
    code = "import platform; print(platform.python_version())"
    return subprocess.run([installed, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


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
    """A network such as `quick` trained before its decoder was bounded, with first weights, exported."""
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


def measure(folder: Path, model: Path | None, picture: Path | None, pythons: Sequence[str]) -> dict[str, Any]:
    """Everything, in a folder that is thrown away."""
    machine = describe_machine()
    wheel = build(folder)
    python = new_environment(sys.executable, folder / "env", wheel)
    has_torch = subprocess.run([python, "-c", "import torch"], capture_output=True, check=False).returncode == 0
    if picture is None:
        picture = folder / "car.jpg"
        write_image(picture, draw_car(0, 3, width=1918, height=1280)[0])
    model = (model or export_untrained(folder)).resolve()
    words: list[str | Path] = ["predict", model, picture.resolve(), "--out", folder / "out", "--overwrite"]
    sizes = megabytes_of(python)
    others = [
        works_with(each, wheel, model, picture.resolve(), folder / f"other-{place}")
        for place, each in enumerate(pythons)
    ]
    return {
        "machine": machine,
        "command": "python benchmarks/package.py",
        "pythons": [platform.python_version(), *others],
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
    parser.add_argument("--pythons", nargs="+", default=[], help="other interpreters")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder), options.model, options.picture, options.pythons)
    for name, size in result["megabytes_by_package"].items():
        print(f"{size:8.1f} MB  {name}")
    print(f"{result['megabytes']:8.1f} MB  altogether, beyond an empty environment")
    print(f"works with Python {', '.join(result['pythons'])}")
    print(f"seconds from the start of a process to its first mask: {result['seconds_to_first_mask']}")
    print(f"seconds of `maskwright predict` for one picture: {result['seconds_of_predict_command']}")
    write_json(options.out, result)
    if result["has_torch"] or result["masks"] != 1 or result["megabytes"] > MOST_MEGABYTES:
        sys.exit(f"There should be no torch, one mask, and at most {MOST_MEGABYTES} MB.")


if __name__ == "__main__":
    main()
