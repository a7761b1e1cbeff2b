"""The two commands of the project that this one grew out of, with the words they always had.

`trainuNet.py` and `inference.py` at the root of the repository call these. Both say whether they came to their end;
only a signal keeps them from it.
"""

import dataclasses
import glob
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from maskwright import terminal
from maskwright.commands.train import train
from maskwright.config import read_preset
from maskwright.data.pairing import find_pairs
from maskwright.data.pairs import Pair, Pairing
from maskwright.data.splits import read_split
from maskwright.errors import InputError
from maskwright.files import RUNS
from maskwright.inference.model_file import load_model
from maskwright.interop.weights import write_state_dict

if TYPE_CHECKING:
    from maskwright.inference.predictor import Predictor

DATASET = Path("dataset")
WEIGHTS = Path("unet_carvana.pth")
PICTURE = Path("resources/inference_result.png")
SIZE = 480
DOWNLOAD = "https://www.kaggle.com/c/carvana-image-masking-challenge/data"


def train_original(
    *,
    epochs: int = 10,
    batchsize: int = 2,
    lr: float = 1e-4,
    stepsize: int = 5,
    data: Path = DATASET,
    size: int = SIZE,
    resume: bool = False,
) -> bool:
    """Train the classic U-Net on Kaggle's Carvana and leave unet_carvana.pth.

    Args:
        epochs: Passes over the pictures.
        batchsize: Pictures in a step.
        lr: Learning rate.
        stepsize: The learning rate is divided by ten after every so many epochs.
        data: Folder in Kaggle's layout: train/ and train_masks/.
        size: Longer side of the pictures during training, pixels.
        resume: Go on with the latest run that was stopped.
    """
    _find_dataset(data)
    settings = dataclasses.replace(
        read_preset("classic"),
        epochs=epochs,
        batch_size=batchsize,
        learning_rate=lr,
        schedule="step",
        step_epochs=stepsize,
        warmup=0.0,
        size=size,
    )
    run = train(data, settings=settings, resume=resume, again="the same command with --resume")
    if not run.finished:
        return False
    _keep_previous(WEIGHTS)
    write_state_dict(WEIGHTS, load_model(run.model_path)[1])
    shutil.copyfile(WEIGHTS, run.folder / WEIGHTS.name)
    terminal.say(f"Weights: {WEIGHTS} (a plain state dict); python inference.py draws a picture with them.")
    return True


def draw_original(
    *, data: Path = DATASET, weights: Path = WEIGHTS, size: int = SIZE, picture: str | None = None
) -> bool:
    """Draw original | ground truth | prediction to resources/inference_result.png.

    Args:
        data: Folder in Kaggle's layout: train/ and train_masks/.
        weights: What trainuNet.py left.
        size: Longer side that the weights were trained at, pixels.
        picture: Name of the picture to draw, such as 0cdf5b5d0ce1_01; by default one that training did not see.
    """
    from maskwright.data.image_files import write_image
    from maskwright.data.reading import read_pair
    from maskwright.inference.outputs import panel

    pair = _choose_picture(_find_dataset(data), picture, data)
    predictor = _load_state_dict(weights, size)
    image, truth = read_pair(pair, predictor.card.formats)
    write_image(PICTURE, panel(image, predictor(image), truth, labels=predictor.card.labels))
    terminal.say(
        f"{PICTURE} shows {pair.image.name} (predicted at a longer side of {size}): original, truth, prediction"
    )
    return True


def _find_dataset(data: Path) -> Pairing:
    """The pairs of the data set, or a sentence that says where to get it."""
    if not data.is_dir():
        raise InputError(
            f"{data}/ is not there: download train.zip and train_masks.zip from {DOWNLOAD} and unpack them to "
            f"{data}/train/<car>_<view>.jpg and {data}/train_masks/<car>_<view>_mask.gif, or name another folder "
            "with --data."
        )
    pairing = find_pairs(data)
    if not pairing.pairs:
        raise InputError(pairing.problems[0].sentence)
    return pairing


def _choose_picture(pairing: Pairing, name: str | None, data: Path) -> Pair:
    """The picture of that name, or the first that the latest training held out; without any, the first of all."""
    if name is not None:
        for pair in pairing.pairs:
            if name in (pair.name, pair.image.name, pair.image.stem):
                return pair
        raise InputError(f"--picture {name} is not among the pictures; give a name such as {pairing.pairs[0].name}.")
    splits = sorted(RUNS.glob(f"*-{glob.escape(data.resolve().name)}*/split.json"))
    held_out = {name for name, part in read_split(splits[-1]).items() if part == "val"} if splits else set()
    return next((pair for pair in pairing.pairs if pair.name in held_out), pairing.pairs[0])


def _keep_previous(path: Path) -> None:
    """Move earlier weights out of the way; they may have taken hours."""
    if not path.exists():
        return
    made = datetime.fromtimestamp(path.stat().st_mtime, UTC).astimezone().strftime("%Y-%m-%d-%H%M%S")
    kept = path.with_stem(f"{path.stem}-{made}")
    path.replace(kept)
    terminal.say(f"The weights of an earlier run are kept as {kept}")


def _load_state_dict(path: Path, size: int) -> "Predictor":
    """A predictor from what trainuNet.py left."""
    from maskwright.inference.engines import TorchEngine
    from maskwright.inference.predictor import Predictor
    from maskwright.interop.imports import import_model

    if not path.is_file():
        raise InputError(f"{path} is not there: python trainuNet.py leaves it, or name other weights with --weights.")
    card, weights = import_model(path, size=size)
    return Predictor(card, TorchEngine(card.architecture, weights))
