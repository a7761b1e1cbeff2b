"""How far every engine agrees with PyTorch: on real pictures, and on noise of many sizes.

    python benchmarks/parity.py ../shared/data/carvana --model runs/quick/model.safetensors

The model is exported to every format here, and each file is used in both ways: as `maskwright.load` does, and alone, as
a program without maskwright would, with everything inside its graph. Compared with the network in PyTorch: the largest
difference between logits at the picture's own size, their range, and the number of pixels that get another class. On
`--pictures` real pictures, and on noise, smooth as photographs are, at `--sizes` sizes from 1x1 to 3000x2000.

The ONNX file in 8 bits, as `maskwright export --int8` makes it, is not held to be equal: its differences are told
beside the others, and what it costs in Dice on the pictures that were not used for its ranges.
"""

import argparse
import importlib.util
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe_machine
from numpy.typing import NDArray
from PIL import Image

from maskwright import terminal
from maskwright.commands.export import SUFFIXES, export
from maskwright.data.input_format import read_image
from maskwright.errors import InputError
from maskwright.files import write_json
from maskwright.inference.predictor import load
from maskwright.interop import onnx, openvino, tracing
from maskwright.interop.parity import Agreement, Way, compare
from maskwright.interop.quantise import Int8Report, quantise_within
from maskwright.interop.trial_pictures import TrialPictures, choose_trial_pictures, evenly

RESULT = Path(__file__).parent / "results" / "parity.json"
TALLEST, WIDEST = 2000, 3000
# By how much the Dice may fall in 8 bits: the default of `maskwright export`.
INT8_LIMIT = 0.001
SEED = 0


def smooth_noise(count: int, channels: int) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """So many pictures: the smallest, the largest, and others whose sides are drawn evenly on a logarithmic scale."""
    rng = np.random.default_rng(SEED)
    drawn = np.exp(rng.uniform(0, 1, (count - 2, 2)) * np.log((TALLEST, WIDEST))).astype(int)
    for height, width in [(1, 1), (TALLEST, WIDEST), *drawn.tolist()]:
        coarse = rng.integers(0, 256, (height // 40 + 2, width // 40 + 2, channels)).astype(np.uint8)
        planes = [
            np.asarray(Image.fromarray(coarse[..., channel]).resize((width, height), Image.Resampling.BICUBIC))
            for channel in range(channels)
        ]
        yield f"noise {width}x{height}", np.stack(planes, axis=-1)


def ways_of(model: Path, folder: Path) -> dict[str, Way]:
    """Every exported file in both ways that it is used."""
    ways: dict[str, Way] = {}
    for to, whole in (("onnx", onnx.run_whole), ("openvino", openvino.run_whole), ("torch", tracing.run_whole)):
        if to == "openvino" and importlib.util.find_spec("openvino") is None:
            print("openvino is left out: it is not installed.")
            continue
        file = export(model, out=folder / f"model{SUFFIXES[to]}", to=to).path  # type: ignore[index,arg-type]  # its words
        ways[f"{to} alone"] = whole(file)
        if to != "torch":
            ways[f"{to} through maskwright"] = load(file)
    return ways


def in_8_bits(file: Path, pictures: TrialPictures) -> tuple[dict[str, Way], Int8Report | None]:
    """An exported ONNX file in 8 bits in both ways, and what it costs; nothing where that is too much."""
    smaller = file.with_name("int8.onnx")
    shutil.copy(file, smaller)
    try:
        report = quantise_within(smaller, INT8_LIMIT, pictures, say=print)
    except InputError as error:
        print(f"int8 is left out. {error}")
        return {}, None
    print(report.sentence)
    return {"int8 alone": onnx.run_whole(smaller), "int8 through maskwright": load(smaller)}, report


def summary(found: list[Agreement]) -> dict[str, Any]:
    """The figures of one way on several pictures."""
    worst = max(found, key=lambda agreement: agreement.logit_difference)
    return {
        "pictures": len(found),
        "largest_logit_difference": float(f"{worst.logit_difference:.3g}"),
        "at": f"{worst.picture.rpartition('/')[2]} {worst.width}x{worst.height}",
        "logit_range_there": round(worst.logit_range, 3),
        "differing_pixels": sum(agreement.pixels for agreement in found),
        "of_pixels": sum(agreement.height * agreement.width for agreement in found),
        "pictures_with_differing_pixels": sum(agreement.pixels > 0 for agreement in found),
    }


def main() -> None:
    """Export, compare, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=24)
    parser.add_argument("--sizes", type=int, default=50)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    machine = describe_machine()
    model = load(options.model)
    chosen = choose_trial_pictures(options.model, model.card, options.photos)
    files = evenly(chosen.files, options.pictures)
    real = ((path.name, read_image(path, model.card.input)) for path in files)
    with tempfile.TemporaryDirectory() as folder:
        ways = ways_of(options.model, Path(folder))
        more, report = in_8_bits(Path(folder) / f"model{SUFFIXES['onnx']}", chosen)
        ways |= more
        rows: dict[str, Any] = {way: {} for way in ways}
        for kind, pictures, count in (
            ("real", real, len(files)),
            ("noise", smooth_noise(options.sizes, model.card.input.channels), options.sizes),
        ):
            with terminal.counting(f"Comparing, {kind}", count) as advance:
                found = compare(model, ways, pictures, advance=advance)
            for way in ways:
                rows[way][kind] = summary([agreement for agreement in found if agreement.way == way])
    result = {
        "machine": machine,
        "command": f"python benchmarks/parity.py ../shared/data/{options.photos.name} --model MODEL"
        f" --pictures {len(files)} --sizes {options.sizes}",
        "seed": SEED,
        "reference": model.engine_name,
        "ways": rows,
        "int8": report
        and {
            "dice": round(report.dice, 5),
            "float_dice": round(report.float_dice, 5),
            "judged_by": report.judged_by,
            "pictures": report.pictures,
            "convolutions_in_float_at_either_end": report.kept_in_float,
        },
    }
    write_json(options.out, result)
    rows_shown = [
        (f"{way}, {kind}", f"{row['largest_logit_difference']:g}", f"{row['differing_pixels']} of {row['of_pixels']}")
        for way, kinds in rows.items()
        for kind, row in kinds.items()
    ]
    terminal.show_table("Beside PyTorch", ("engine and pictures", "largest logit difference", "pixels"), rows_shown)


if __name__ == "__main__":
    main()
