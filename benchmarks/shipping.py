"""Seconds and memory from a JPEG on disk to a mask PNG on disk: our engines beside the common way in eager PyTorch.

    python benchmarks/shipping.py ../shared/data/carvana --model runs/quick/model.safetensors

Each system has a process of its own, on two cores, and takes the same pictures, one after the other, at their own size:

- ours: a model file, and what `maskwright export` makes of it here (ONNX, OpenVINO, and ONNX in 8 bits, calibrated on
  half of the pictures), read, computed and written as `maskwright predict` does with one picture;
- ours-...-folder: the same files as `maskwright predict` takes a folder, a picture for each core at a time;
- classic: the U-Net of 31 million parameters at half size, as its many repositories predict: resized by Pillow, the
  probabilities enlarged, eager fp32. Untrained: what it computes takes as long;
- smp: segmentation_models.pytorch's Unet on the same encoder at 384x256, likewise; it is left out where that package is
  not installed (benchmarks/requirements.txt).

Seconds are wall clock for a picture, medians over all of them but the first two, which warm up; of a folder, those of
all its pictures, three times over and shared out, after once over to warm up. Memory is the most that the process ever
held. Dice is against the true masks, of what a trained model predicts. The systems take turns in
`--rounds` rounds, so that a machine whose speed drifts treats them alike.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
from machine import peak_megabytes
from numpy.typing import NDArray
from PIL import Image

from maskwright.data.finding import find_dataset
from maskwright.data.pairs import Pair, Problem
from maskwright.data.reading import read_mask
from maskwright.evaluation.evaluate import formats_for_model, score_mask
from maskwright.files import write_json
from maskwright.inference.model_file import load_model

RESULT = Path(__file__).parent / "results" / "shipping.json"
CORES = 2
WARM_UP = 2
TIMES_OVER = 3
OURS = {"ours-torch": ".safetensors", "ours-onnx": ".onnx", "ours-openvino": ".xml", "ours-int8": ".int8.onnx"}
FOLDER = "-folder"
PEERS = ("classic", "smp")
PEER_SIZES = {"classic": (959, 640), "smp": (384, 256)}
# Seconds of one stage of one picture.
Stages = dict[str, float]


def ours(model: Path) -> Callable[[Path, Path], Stages]:
    """A picture to its mask as `maskwright predict` does it."""
    from maskwright.data.input_format import read_image
    from maskwright.files import write_bytes
    from maskwright.inference.outputs import encode_mask
    from maskwright.inference.predictor import load

    predictor = load(model)

    def predict(picture: Path, out: Path) -> Stages:
        times = [time.perf_counter()]
        image = read_image(picture, predictor.card.input)
        times.append(time.perf_counter())
        mask = predictor(image)
        times.append(time.perf_counter())
        write_bytes(out, encode_mask(mask, predictor.card.labels))
        times.append(time.perf_counter())
        return dict(zip(("read", "compute", "write"), np.diff(times).tolist(), strict=True))

    return predict


def folder_seconds(model: Path, pictures: list[Path], out: Path) -> float:
    """Seconds for a picture of a folder, as `maskwright predict` takes it."""
    from maskwright.inference.bulk import predict_pictures
    from maskwright.inference.jobs import Job
    from maskwright.inference.predictor import load
    from maskwright.inference.results import Wish

    predictor = load(model, many_at_once=True)

    def predict(folder: Path) -> None:
        jobs = [Job(picture, picture.name, folder, Path(picture.stem)) for picture in pictures]
        for outcome in predict_pictures(predictor, jobs, Wish(["mask"])):
            assert not isinstance(outcome, Problem), outcome.sentence

    predict(out)
    started = time.perf_counter()
    for number in range(TIMES_OVER):
        predict(out / str(number))
    return (time.perf_counter() - started) / (TIMES_OVER * len(pictures))


def peer(name: str) -> Callable[[Path, Path], Stages]:
    """A picture to its mask in the common way."""
    import torch

    torch.set_num_threads(CORES)
    torch.manual_seed(0)
    if name == "classic":
        from maskwright.models.unet import UNet

        network: torch.nn.Module = UNet()
    else:
        import segmentation_models_pytorch as smp

        network = smp.Unet("tu-tf_efficientnet_lite0", encoder_weights=None)
    network.eval()

    def predict(picture: Path, out: Path) -> Stages:
        started = time.perf_counter()
        with torch.no_grad():
            image = Image.open(picture).convert("RGB")
            small = np.asarray(image.resize(PEER_SIZES[name], Image.Resampling.BICUBIC), np.float32) / 255
            logits = network(torch.from_numpy(small.transpose(2, 0, 1)[np.newaxis]))
            whole = torch.nn.functional.interpolate(logits, (image.height, image.width), mode="bilinear")
            mask = (whole.sigmoid() > 0.5)[0, 0].numpy()
        Image.fromarray(mask.astype(np.uint8) * 255).save(out)
        return {"all": time.perf_counter() - started}

    return predict


def mask_file(out: Path, picture: Path) -> Path:
    """Where the mask of a picture is written, by every system."""
    return out / f"{picture.stem}_mask.png"


def run_one(name: str, model: Path, pictures: list[Path], out: Path) -> dict[str, Any]:
    """One system on all pictures, in this process."""
    if name.endswith(FOLDER):
        seconds = folder_seconds(model, pictures, out)
        return {"seconds": seconds, "seconds_of_stages": {"all": seconds}, "peak_megabytes": peak_megabytes()}
    predict = peer(name) if name in PEERS else ours(model)
    stages = [predict(picture, mask_file(out, picture)) for picture in pictures][WARM_UP:]
    return {
        "seconds": median(sum(times.values()) for times in stages),
        "seconds_of_stages": {stage: median(times[stage] for times in stages) for stage in stages[0]},
        "peak_megabytes": peak_megabytes(),
    }


def export_all(model: Path, photos: Path, folder: Path) -> dict[str, Path]:
    """The model in every format, in a folder; what is there is taken, what cannot be made is left out, and said."""
    from maskwright.commands.export import export
    from maskwright.errors import InputError

    files = {name: folder / f"model{suffix}" for name, suffix in OURS.items()}
    files["ours-torch"] = model
    for name, more in (("onnx", {}), ("openvino", {"to": "openvino"}), ("int8", {"int8": True})):
        if files[f"ours-{name}"].exists():
            continue
        try:
            export(model, out=files[f"ours-{name}"], pictures=photos, **more)
        except InputError as error:
            print(f"ours-{name} is left out. {error}")
            del files[f"ours-{name}"]
    return files


def dice_of(out: Path, pairs: list[Pair], model: Path, photos: Path) -> float:
    """Mean Dice of the masks that a system left."""
    card = load_model(model)[0]
    formats = formats_for_model(find_dataset(photos), card)
    scores = []
    for pair in pairs:
        mask: NDArray[np.uint8] = np.asarray(np.asarray(Image.open(mask_file(out, pair.image))) > 0, np.uint8)
        scores.append(score_mask(mask, read_mask(pair, formats.labels, *mask.shape), card.labels).dice)
    return mean(scores)


def in_turns(files: dict[str, Path], pictures: list[Path], folder: Path, rounds: int) -> Iterator[tuple[str, Any]]:
    """Every system in every round, each in a process of its own on two cores."""
    for number in range(rounds):
        for name, model in files.items():
            (folder / name).mkdir(exist_ok=True)
            words = ["--child", name, "--model", str(model), "--out", str(folder / name), *map(str, pictures)]
            pinned = ["taskset", "-c", ",".join(map(str, range(CORES)))]
            done = subprocess.run(
                [*pinned, sys.executable, __file__, *words], check=True, stdout=subprocess.PIPE, text=True
            )
            found = json.loads(done.stdout.splitlines()[-1])
            print(f"round {number + 1} of {rounds}, {name}: {found['seconds']:.3f} s", flush=True)
            yield name, found


def measure(photos: Path, model: Path, exports: Path | None, *, most: int, rounds: int) -> dict[str, Any]:
    """A row for each system."""
    from machine import describe_machine

    machine = describe_machine()
    pairs = list(find_dataset(photos).pairs)
    chosen = [pairs[place * len(pairs) // most] for place in range(min(most, len(pairs)))]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        files = export_all(model, photos, exports or folder)
        files |= {name + FOLDER: path for name, path in files.items()}
        files |= {
            name: model for name in PEERS if name != "smp" or importlib.util.find_spec("segmentation_models_pytorch")
        }
        if "smp" not in files:
            print("smp is left out: segmentation_models.pytorch is not installed (benchmarks/requirements.txt).")
        found: dict[str, list[Any]] = {name: [] for name in files}
        for name, row in in_turns(files, [pair.image for pair in chosen], folder, rounds):
            found[name].append(row)
        rows = {
            name: {
                "seconds": round(median(row["seconds"] for row in several), 4),
                "seconds_by_round": [round(row["seconds"], 4) for row in several],
                "seconds_of_stages": {
                    stage: round(median(row["seconds_of_stages"][stage] for row in several), 4)
                    for stage in several[0]["seconds_of_stages"]
                },
                "peak_megabytes": round(max(row["peak_megabytes"] for row in several), 1),
                "dice": None if name in PEERS else round(dice_of(folder / name, chosen, model, photos), 4),
            }
            for name, several in found.items()
        }
    for row in rows.values():
        row["times_as_fast_as"] = {
            name: round(
                median(
                    found[name][place]["seconds"] / seconds for place, seconds in enumerate(row["seconds_by_round"])
                ),
                2,
            )
            for name in PEERS
            if name in rows
        }
    return {
        "machine": machine,
        "command": f"python benchmarks/shipping.py ../shared/data/{photos.name} --model MODEL"
        f" --pictures {most} --rounds {rounds}",
        "pictures": len(chosen),
        "systems": rows,
    }


def main() -> None:
    """Measure and write; or, as a child, one system alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, nargs="+", help="folder of photographs and masks")
    parser.add_argument("--model", type=Path, required=True, help="a trained model file")
    parser.add_argument("--pictures", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--exports", type=Path, help="an existing folder: keep the exported files, and take those in it"
    )
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(run_one(options.child, options.model, options.photos, options.out)))
        return
    (photos,) = options.photos
    result = measure(photos, options.model, options.exports, most=options.pictures, rounds=options.rounds)
    write_json(options.out, result)
    print(json.dumps(result["systems"], indent=2))


if __name__ == "__main__":
    main()
