"""Look inside a trained U-Net: what its stages make of a picture, and what the mask is without skip connections.

    python docs/drawings/inside.py MODEL PICTURE --out FOLDER

MODEL is a model file of the classic U-Net (`maskwright train --preset classic`); of a folder of pictures, the first
one is taken. Writes FOLDER/unet-stages.png, four maps of each stage, those that vary most over the picture, each
stretched to black and white by itself; and FOLDER/unet-skips.png, the probability of the foreground with all skips,
without the finest one, and without any.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor, nn

from maskwright.data.image_files import read_pixels
from maskwright.data.resizing import resize_image
from maskwright.inference.model_file import load_model
from maskwright.models.build import build_network
from maskwright.models.unet import UNet

MAPS, WIDTH, MARGIN, LINE = 4, 190, 6, 18
GROUND, INK = (22, 27, 34), (230, 237, 243)


def open_network(path: Path) -> tuple[UNet, int]:
    """A trained classic U-Net, and the longer side of the pictures that it has learnt from."""
    card, weights = load_model(path)
    network = build_network(card.architecture).eval()
    if not isinstance(network, UNet) or card.size is None:
        raise SystemExit(f"{path} is no classic U-Net for pictures of one size; train one with --preset classic.")
    network.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    return network, card.size


def maps_of(network: UNet, picture: Tensor) -> dict[str, Tensor]:
    """What each stage makes of a picture, ``(C, H, W)``."""
    stages: dict[str, nn.Module] = {"stem": network.stem}
    stages |= {f"downs[{index}]": down for index, down in enumerate(network.downs)}
    stages |= {f"ups[{index}]": up for index, up in enumerate(network.ups)}
    found: dict[str, Tensor] = {}
    handles = [
        stage.register_forward_hook(lambda _, _inputs, output, name=name: found.update({name: output[0]}))
        for name, stage in stages.items()
    ]
    with torch.inference_mode():
        network(picture)
    for handle in handles:
        handle.remove()
    return found


def probability_without(network: UNet, picture: Tensor, muted: set[int]) -> NDArray[np.float32]:
    """Probability of the foreground ``(H, W)`` where the skips of some levels, 0 the finest, are zeros."""
    depth = len(network.ups)
    handles = [
        up.register_forward_pre_hook(
            lambda _, inputs, level=depth - 1 - place: (inputs[0], inputs[1] * (level not in muted))
        )
        for place, up in enumerate(network.ups)
    ]
    with torch.inference_mode():
        logits: Tensor = network(picture)
    for handle in handles:
        handle.remove()
    return logits[0, 0].sigmoid().numpy()


def grey(values: NDArray[np.float32], low: float, high: float, height: int) -> Image.Image:
    """A map as a picture, its pixels enlarged and not smoothed."""
    levels = np.clip((values - low) / max(high - low, 1e-6), 0, 1) * 255
    return Image.fromarray(levels.astype(np.uint8)).convert("RGB").resize((WIDTH, height), Image.Resampling.NEAREST)


def table_of(rows: list[list[tuple[str, Image.Image]]]) -> Image.Image:
    """Rows of pictures, each with a line of text above it."""
    height = rows[0][0][1].height
    columns = max(map(len, rows))
    size = (MARGIN + columns * (WIDTH + MARGIN), MARGIN + len(rows) * (LINE + height + MARGIN))
    sheet = Image.new("RGB", size, GROUND)
    pen = ImageDraw.Draw(sheet)
    for place, row in enumerate(rows):
        top = MARGIN + place * (LINE + height + MARGIN)
        for column, (text, picture) in enumerate(row):
            left = MARGIN + column * (WIDTH + MARGIN)
            pen.text((left, top), text, fill=INK, font_size=12)
            sheet.paste(picture, (left, top + LINE))
    return sheet


def draw_stages(network: UNet, pixels: NDArray[np.uint8], picture: Tensor) -> Image.Image:
    """The maps of each stage that vary most, a row for each."""
    height = round(WIDTH * pixels.shape[0] / pixels.shape[1])
    rows = [[("the picture", Image.fromarray(pixels).resize((WIDTH, height)))]]
    for name, maps in maps_of(network, picture).items():
        chosen = maps[maps.std(dim=(1, 2)).argsort(descending=True)[:MAPS]].numpy()
        texts = [f"{name}: {MAPS} of {maps.shape[0]} maps", f"of {maps.shape[1]} x {maps.shape[2]}", *[""] * (MAPS - 2)]
        drawn = [grey(each, float(each.min()), float(each.max()), height) for each in chosen]
        rows.append(list(zip(texts, drawn, strict=True)))
    return table_of(rows)


def draw_skips(network: UNet, pixels: NDArray[np.uint8], picture: Tensor) -> Image.Image:
    """The picture, and the probabilities with all skips, without the finest, and without any."""
    height = round(WIDTH * pixels.shape[0] / pixels.shape[1])
    depth = len(network.ups)
    shown: dict[str, set[int]] = {"all skips": set(), "without the finest": {0}, "without any": {*range(depth)}}
    row = [("the picture", Image.fromarray(pixels).resize((WIDTH, height)))]
    for text, muted in shown.items():
        row.append((text, grey(probability_without(network, picture, muted), 0, 1, height)))
    return table_of([row])


def main() -> None:
    """Write both pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--out", type=Path, default=Path("inside"))
    options = parser.parse_args()
    network, size = open_network(options.model)
    pictures = sorted(options.picture.iterdir()) if options.picture.is_dir() else [options.picture]
    pixels = read_pixels(pictures[0])
    scale = size / max(pixels.shape[:2])
    pixels = resize_image(pixels, round(scale * pixels.shape[0]), round(scale * pixels.shape[1]))
    picture = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255  # (1, 3, H, W)
    options.out.mkdir(parents=True, exist_ok=True)
    draw_stages(network, pixels, picture).save(options.out / "unet-stages.png", optimize=True)
    draw_skips(network, pixels, picture).save(options.out / "unet-skips.png", optimize=True)


if __name__ == "__main__":
    main()
