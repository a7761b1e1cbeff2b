"""Draw the pictures of docs/guides/unet.md, their numbers taken from the network itself.

    python docs/drawings/unet.py        writes docs/pictures/unet.svg, unet-sees.svg and unet-threshold.svg

A drawing brings its own ground and colours, light or dark as the reader's system is.
"""

import base64
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from maskwright.data.drawn_cars import draw_car
from maskwright.data.resizing import resize_mask, resize_plane
from maskwright.models.unet import UNet

PICTURES = Path(__file__).parents[1] / "pictures"
HEIGHT, WIDTH = 320, 480

STYLE = """<style>
svg {
  --ground: #ffffff; --ink: #1f2328; --quiet: #656d76;
  --down: #2f6feb; --pale: #9ec1ff; --up: #bc4c00; --warm: #ffb77c;
}
@media (prefers-color-scheme: dark) {
  svg {
    --ground: #161b22; --ink: #e6edf3; --quiet: #9aa4af;
    --down: #6ea8ff; --pale: #284b80; --up: #ff9d57; --warm: #7a4316;
  }
}
text { font: 12px system-ui, sans-serif; fill: var(--ink); }
.small { font-size: 12px; fill: var(--quiet); }
.middle { text-anchor: middle; }
.end { text-anchor: end; }
.ground { fill: var(--ground); }
.encoder { fill: var(--pale); stroke: var(--down); }
.decoder { fill: var(--warm); stroke: var(--up); }
.line { fill: none; stroke: var(--quiet); stroke-width: 1.2; marker-end: url(#head); }
.skip { stroke-dasharray: 5 4; stroke: var(--down); }
.tip { fill: var(--quiet); }
.square { fill: none; stroke-width: 2; stroke: var(--down); }
.last { stroke: var(--up); stroke-dasharray: 6 4; }
</style>
<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">
<path class="tip" d="M0 0 L8 4 L0 8 z"/></marker></defs>"""

# A map is drawn as high as a fraction of its rows, and as wide as a fraction of its channels.
ROWS_A_UNIT, CHANNELS_A_UNIT, GAP = 2.5, 10.0, 16.0
TOP_OF_LEVEL = (56, 232, 338, 420, 492)


def shapes_of(network: UNet) -> dict[str, list[tuple[int, int, int]]]:
    """What comes into each stage and leaves it, and what its convolutions make: ``(C, H, W)`` each, in order."""
    stages = {"stem": network.stem}
    stages |= {f"downs[{index}]": down for index, down in enumerate(network.downs)}  # type: ignore[misc]
    stages |= {f"ups[{index}]": up for index, up in enumerate(network.ups)}  # type: ignore[misc]
    found: dict[str, list[tuple[int, int, int]]] = {name: [] for name in stages}
    for name, stage in stages.items():
        for module in stage.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.register_forward_hook(
                    lambda _, inputs, output, name=name: found[name].extend(
                        [tuple(inputs[0].shape[1:]), tuple(output.shape[1:])]
                    )
                )
    network(torch.empty(1, 3, HEIGHT, WIDTH, device="meta"))
    return {name: [shapes[0], shapes[1], shapes[3]] for name, shapes in found.items()}


def draw_network() -> str:
    """The U: maps as slabs, whose height stands for rows and whose width for channels."""
    with torch.device("meta"):  # shapes without any memory
        network = UNet()
    shapes = shapes_of(network)
    parts, left, skips = [], 84.0, {}
    depth = len(network.downs)
    for level, name in enumerate(["stem", *(f"downs[{index}]" for index in range(depth))]):
        top = TOP_OF_LEVEL[level]
        edges, drawn = slabs(left, top, shapes[name], "encoder")
        parts += drawn
        _, height, width = shapes[name][-1]
        parts.append(
            f'<text class="end" x="{left - 8:g}" y="{top + middle_of(height) + 4:g}">{height} × {width}</text>'
        )
        skips[level] = (edges[-1][1], top + middle_of(height))
        if level < depth:
            x = sum(edges[-1]) / 2
            parts.append(arrow(x, top + height / ROWS_A_UNIT + 4, x, TOP_OF_LEVEL[level + 1] - 18))
        left = edges[-1][0]
    x = edges[-1][1] - 8
    for level in reversed(range(depth)):
        name, top = f"ups[{depth - 1 - level}]", TOP_OF_LEVEL[level]
        channels, height, _ = shapes[name][0]
        half = channels / 2 / CHANNELS_A_UNIT
        left = x - 1.5 * half  # what comes up from below arrives in the middle of its half
        parts.append(arrow(x, TOP_OF_LEVEL[level + 1] - 18, x, top + height / ROWS_A_UNIT + 4))
        start, y = skips[level]
        parts.append(arrow(start + 4, y, left - 4, y, "line skip"))
        parts.append(slab(left, top, half, height, "encoder"))
        edges, drawn = slabs(left, top, shapes[name], "decoder", first_from=left + half)
        parts += drawn
        x = edges[-1][1] - 6
    right = edges[-1][1]
    parts.append(arrow(right + 2, TOP_OF_LEVEL[0] + middle_of(HEIGHT), right + 26, TOP_OF_LEVEL[0] + middle_of(HEIGHT)))
    parts.append(slab(right + 28, TOP_OF_LEVEL[0], 1.5, HEIGHT, "decoder"))
    parts.append(f'<text class="middle" x="{right + 29:g}" y="{TOP_OF_LEVEL[0] - 6}">1</text>')
    parts.append(f'<text class="end" x="{right + 34:g}" y="22">logits</text><text x="40" y="22">picture</text>')
    parts += list(legend())
    return svg(
        1060, 592, "The classic U-Net: maps become smaller and deeper on the way down, larger on the way up", parts
    )


def slabs(
    left: float, top: float, shapes: list[tuple[int, int, int]], kind: str, *, first_from: float | None = None
) -> tuple[list[tuple[float, float]], list[str]]:
    """Maps beside each other with arrows of convolutions between them: where each begins and ends, and the drawing."""
    edges, drawn = [], []
    for index, (channels, height, _) in enumerate(shapes):
        width = max(channels / CHANNELS_A_UNIT, 1.5)
        if index:
            y = top + middle_of(height)
            drawn.append(arrow(left + 1, y, left + GAP - 1, y))
            left += GAP
        begin = first_from if first_from is not None and not index else left
        drawn.append(slab(begin, top, left + width - begin, height, kind))
        drawn.append(f'<text class="middle" x="{left + width / 2:g}" y="{top - 6}">{channels}</text>')
        edges.append((left, left + width))
        left += width
    return edges, drawn


def middle_of(height: int) -> float:
    """How far the middle of a map of so many rows is below its top."""
    return height / ROWS_A_UNIT / 2


def slab(x: float, y: float, width: float, rows: int, kind: str) -> str:
    """A map."""
    return f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{rows / ROWS_A_UNIT:g}"/>'


def arrow(x: float, y: float, to_x: float, to_y: float, kind: str = "line") -> str:
    """An arrow."""
    return f'<path class="{kind}" d="M{x:g} {y:g} L{to_x:g} {to_y:g}"/>'


def legend() -> Iterator[str]:
    """What the arrows stand for."""
    entries = (
        ("M{x} {y} h22", "line", "3×3 convolution, normalisation, ReLU; the last one: 1×1 alone"),
        ("M{x} {y} h22", "line skip", "skip connection: copied, and laid beside what came up"),
        ("M{middle} {above} v16", "line", "2×2 max-pooling: half the rows and columns"),
        ("M{middle} {below} v-16", "line", "2×2 transposed convolution: twice the rows and columns"),
    )
    for index, (path, kind, text) in enumerate(entries):
        x, y = 84 + 480 * (index // 2), 546 + 26 * (index % 2)
        place = path.format(x=x, middle=x + 11, y=y, above=y - 8, below=y + 8)
        yield f'<path class="{kind}" d="{place}"/>'
        yield f'<text class="small" x="{x + 34}" y="{y + 4}">{text}</text>'


def draw_what_is_seen() -> str:
    """A drawn car, and the squares of it that a value of each stage, and a logit, depend on."""
    image, _ = draw_car(0, 3, width=WIDTH, height=HEIGHT)
    parts = [f'<image href="{as_jpeg(image)}" width="{WIDTH}" height="{HEIGHT}"/>']
    x, y = 150, 190
    for name, side in (*seen_by_stages(), ("a logit", max(seen_by_logits()))):
        kind = "square last" if name == "a logit" else "square"
        parts.append(f'<rect class="{kind}" x="{x - side // 2}" y="{y - side // 2}" width="{side}" height="{side}"/>')
    for index, (name, side) in enumerate((*seen_by_stages(), ("a logit, at most", max(seen_by_logits())))):
        line = 40 + 26 * index
        parts.append(f'<text x="{WIDTH + 20}" y="{line}">{name}</text>')
        parts.append(f'<text class="end" x="{WIDTH + 200}" y="{line}">{side} × {side}</text>')
    parts.append(
        f'<text class="small" x="{WIDTH + 20}" y="{HEIGHT - 14}">pixels of a picture {WIDTH} × {HEIGHT}</text>'
    )
    return svg(WIDTH + 220, HEIGHT, "The squares of a picture that values of each stage depend on", parts)


def seen_by_stages(depth: int = 4) -> list[tuple[str, int]]:
    """Pixels a side that a value of the stem, and of each stage below it, depends on."""
    return [(name, seen(level, 0, 0)) for level, name in enumerate(["stem", *(f"downs[{i}]" for i in range(depth))])]


def seen(level: int, low: int, high: int) -> int:
    """How many columns of the picture the values ``low`` to ``high`` of a stage of the encoder depend on."""
    low, high = _down(level, low, high)
    return high - low + 1


def seen_by_logits(depth: int = 4) -> list[int]:
    """The same of logits, which depends on where in a square of the coarsest pixels they lie."""
    spans = [_up(0, depth, column, column) for column in range(2**depth)]
    return [high - low + 1 for low, high in spans]


def _down(level: int, low: int, high: int) -> tuple[int, int]:
    low, high = low - 2, high + 2  # two convolutions
    return (low, high) if level == 0 else _down(level - 1, 2 * low, 2 * high + 1)


def _up(level: int, depth: int, low: int, high: int) -> tuple[int, int]:
    if level == depth:
        return _down(level, low, high)
    low, high = low - 2, high + 2
    skip, below = _down(level, low, high), _up(level + 1, depth, low // 2, high // 2)
    return min(skip[0], below[0]), max(skip[1], below[1])


def draw_thresholds() -> str:
    """A corner of a car's outline: thresholded and then enlarged, and enlarged and then thresholded."""
    _, coverage = draw_car(0, 3, width=960, height=640)
    truth = coverage >= 128
    share = np.clip(resize_mask(truth.astype(np.uint8), 80, 120) / 255, 0.01, 0.99)
    logits = np.log(share / (1 - share)).astype(np.float32)
    early = np.kron(logits >= 0, np.ones((8, 8), bool))
    late = resize_plane(logits, 640, 960) >= 0
    rows, columns = np.nonzero(truth)
    top = int(rows.min()) // 8 * 8 - 16
    left = int(columns[rows == rows.min()].min()) // 8 * 8 - 80
    window = np.s_[top : top + 96, left : left + 144]
    parts = []
    for place, (name, mask) in enumerate((("threshold, then enlarge", early), ("enlarge, then threshold", late))):
        x = 20 + 340 * place
        parts.append(
            f'<image href="{as_png(shaded(mask[window], truth[window]))}" x="{x}" y="20" width="320" height="213"/>'
        )
        parts.append(f'<text class="middle" x="{x + 160}" y="254">{name}</text>')
    return svg(700, 270, "The same logits, thresholded before and after they are enlarged", parts)


def shaded(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Right pixels light or blue, wrong ones orange, enlarged four times."""
    colours = np.array([[232, 236, 240], [255, 140, 0], [255, 140, 0], [70, 130, 230]], np.uint8)
    return np.kron(colours[2 * truth + mask], np.ones((4, 4, 1), np.uint8))


def as_jpeg(image: NDArray[np.uint8]) -> str:
    """A photograph as an address that holds it."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=72)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def as_png(image: NDArray[np.uint8]) -> str:
    """A drawing of few colours likewise."""
    buffer = io.BytesIO()
    Image.fromarray(image).quantize(4).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def svg(width: int, height: int, label: str, parts: list[str]) -> str:
    """A drawing."""
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="{label}">'
    ground = f'<rect class="ground" width="{width}" height="{height}" rx="8"/>'
    return "\n".join([head, STYLE, ground, *parts, "</svg>", ""])


DRAWINGS = {"unet.svg": draw_network, "unet-sees.svg": draw_what_is_seen, "unet-threshold.svg": draw_thresholds}


def main() -> None:
    """Write all of them."""
    for name, draw in DRAWINGS.items():
        (PICTURES / name).write_text(draw(), encoding="utf-8")


if __name__ == "__main__":
    main()
