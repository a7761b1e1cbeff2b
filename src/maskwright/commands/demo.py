"""`maskwright demo`: the whole way on drawn cars, so that nothing has to be downloaded to see it."""

import dataclasses
import json
import shlex
import time
from pathlib import Path

from maskwright import terminal
from maskwright.commands.evaluate import evaluate
from maskwright.commands.predict import predict
from maskwright.commands.train import train
from maskwright.config import Settings, read_preset
from maskwright.data.drawn_cars import VIEWS, write_drawn_cars
from maskwright.device import require_torch
from maskwright.errors import InputError
from maskwright.files import choose_new_folder, write_json
from maskwright.training.record import train_command

# Unseen cars are drawn with another seed, so that no car stands on both sides.
UNSEEN_SEED_STEP = 1_000_003
# Of the drawn pictures, pixels.
WIDTH, HEIGHT = 640, 427
# What names a car in `<car>_<view>`. Said outright, since fewer than five cars are not recognised as groups.
CAR = "([0-9a-f]{12})_"


def demo(*, out: str | Path | None = None, minutes: float = 2.5, cars: int = 16, seed: int = 0) -> Path | None:
    """Draw cars, train on them, evaluate on cars that training never saw, and predict those.

    Args:
        out: Folder for everything; by default a new one under ``runs/``.
        minutes: How long to train.
        cars: Cars to learn from, sixteen views each; a quarter as many, at least two, are drawn to evaluate on.
        seed: Another seed draws other cars.

    Returns:
        The folder: ``photos/`` and ``unseen/`` (drawn), ``run/`` (the model), ``evaluation/`` and ``predictions/``;
        None when a signal stopped the training.

    Raises:
        InputError: ``out`` is not empty, or there is no torch.
    """
    started = time.monotonic()
    require_torch()
    if cars < 2:
        raise InputError("--cars must be at least 2: one to learn from and one to choose the best weights on.")
    settings = dataclasses.replace(read_preset("quick"), minutes=minutes, seed=seed, group=CAR)
    folder = choose_new_folder(out, "demo")
    unseen = max(2, cars // 4)
    _draw(folder / "photos", cars, seed)
    _draw(folder / "unseen", unseen, seed + UNSEEN_SEED_STEP)
    run = train(folder / "photos", out=folder / "run", settings=settings, again=_again(folder, settings))
    if not run.finished:
        return None
    scores = evaluate(run.model_path, folder / "unseen", out=folder / "evaluation", group=CAR)
    examples = sorted((folder / "unseen" / "train").iterdir())[:: VIEWS + 3]
    predict(run.model_path, examples, out=folder / "predictions", save="mask,overlay,panel")
    summary = {
        "dice": round(scores.dice.mean, 4),
        "dice_interval": [round(scores.dice.low, 4), round(scores.dice.high, 4)],
        "iou": round(scores.iou.mean, 4),
        "unseen_pictures": len(scores.pictures),
        "unseen_cars": scores.groups,
        "minutes": round((time.monotonic() - started) / 60, 2),
    }
    write_json(folder / "summary.json", summary)
    terminal.say(json.dumps(summary))
    terminal.say(f"Look at {folder}/predictions (panels), {run.folder}/report.html and {folder}/evaluation/report.html")
    terminal.say(f"For a picture of your own: maskwright predict {run.model_path} photo.jpg --out tried")
    return folder


def _again(folder: Path, settings: Settings) -> str:
    """What goes on with the training of a demo that was stopped; the demo itself begins anew."""
    command = train_command(str(folder / "photos"), settings)
    return f"{command} --out {shlex.quote(str(folder / 'run'))} --resume"


def _draw(folder: Path, cars: int, seed: int) -> None:
    with terminal.counting(f"Drawing {folder.name}", cars * VIEWS) as advance:
        for _ in write_drawn_cars(folder, cars=cars, width=WIDTH, height=HEIGHT, seed=seed):
            advance()
