"""Pictures with what a model got wrong in them, small enough to stand in a page.

They are drawn while they are scored, when picture, mask and prediction are there anyhow; the worst and the best are
kept. Over each photograph lie transparent layers, so that a reader can uncover it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskwright.data.labels import IGNORED_COLOUR, LabelMap
from maskwright.data.resizing import fit_size, resize_classes, resize_image, resize_mask
from maskwright.evaluation.compare import side_by_side
from maskwright.evaluation.evaluate import Compared
from maskwright.evaluation.pages.markup import Html, join, picture_url, tag
from maskwright.inference.outputs import FIRST_COLOURS, as_rgb, class_colours, outline

WORST, BEST = 6, 3
# Longer side of a picture on the page, pixels: what it takes there, times 1.5 for sharp screens.
LONGER_SIDE = 560
# A pixel of the page shows an error when so much of what it stands for is wrong: thin errors are the usual ones.
SHOWN_FROM = 0.2
_CLASS_ALPHA, _ERROR_ALPHA = 140, 215

# Told apart with any colour vision, on photographs too. Source: Okabe and Ito, "Color Universal Design" (2008).
MISSED, TOO_MUCH, OTHER_CLASS = (86, 180, 233), (230, 100, 0), (240, 228, 66)
# What the colours of errors mean.
ERRORS: Mapping[str, tuple[int, int, int]] = {
    "missed": MISSED,
    "too much": TOO_MUCH,
    "another class": OTHER_CLASS,
    "not counted": IGNORED_COLOUR,
}
# What a reader can choose to lie over the photographs: names of layers, and what they are called; of one model ...
VIEWS: Mapping[str, str] = {"errors": "Errors", "prediction": "Prediction", "truth": "Mask"}
# ... and of two.
VIEWS_OF_TWO: Mapping[str, str] = {"errors-a": "Errors of A", "errors-b": "Errors of B", "truth": "Mask"}

SCRIPT = """
for (const figure of document.querySelectorAll(".compare")) {
  const range = figure.querySelector("input"), stack = figure.querySelector(".layers");
  const uncover = share => {
    range.value = share;
    stack.style.setProperty("--at", range.value < 100 ? range.value + "%" : "");
  };
  range.hidden = false;
  range.addEventListener("input", () => uncover(range.value));
  stack.addEventListener("pointermove", event => {
    const box = stack.getBoundingClientRect();
    uncover(100 * (event.clientX - box.left) / box.width);
  });
  stack.addEventListener("pointerleave", () => uncover(100));
}
"""

STYLE = """
.views { position: absolute; opacity: 0; pointer-events: none; }
.views + label { display: inline-block; margin: 0 .4rem .6rem 0; padding: .25rem .8rem; border: 1px solid var(--line);
  border-radius: 99px; background: var(--card); font-size: .88rem; cursor: pointer; }
.views:checked + label { border-color: var(--fill); background: var(--fill); color: var(--paper); }
.views:focus-visible + label { outline: 2px solid var(--ink); outline-offset: 2px; }
.wall { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 280px), 1fr)); gap: 1.2rem 1rem;
  clear: both; }
.legend { display: none; flex-wrap: wrap; gap: .2rem 1.1rem; margin: .1rem 0 .9rem; font-size: .84rem;
  color: var(--soft); }
.legend .swatch.line { height: 0; border: 0; border-top: 2px solid var(--soft); border-radius: 0;
  vertical-align: .25em; }
.layers { position: relative; overflow: hidden; border-radius: 8px; background: var(--track); touch-action: pan-y; }
.compare .layers img { width: 100%; height: auto; aspect-ratio: auto; border-radius: 0; }
.compare .layers img + img { position: absolute; inset: 0; height: 100%; display: none; background: none;
  clip-path: inset(0 calc(100% - var(--at, 100%)) 0 0); }
.layers::after { content: ""; position: absolute; top: 0; bottom: 0; left: var(--at, 110%); width: 2px;
  background: #fff; box-shadow: 0 0 3px #0009; }
.compare figcaption span { white-space: nowrap; }
.compare input { display: block; width: 100%; height: 1.4rem; margin: .15rem 0 0; accent-color: var(--fill); }
.compare input[hidden] { display: none; }
""" + "".join(
    f"#view-{view}:checked ~ .wall .{view} {{ display: block !important; }} "
    f"#view-{view}:checked ~ .legend.{view} {{ display: flex; }}\n"
    for view in {**VIEWS, **VIEWS_OF_TWO}
)


@dataclass(frozen=True)
class Exhibit:
    """A picture on the page.

    Attributes:
        name: Of the picture.
        caption: Its scores.
        dice: That it is ranked by.
        width: Of the small picture, pixels.
        height: Likewise.
        photo: Data URL.
        layers: Data URLs of what lies over it, by the names of views.
        errors: Which of `ERRORS` it shows.
    """

    name: str
    caption: str
    dice: float
    width: int
    height: int
    photo: str
    layers: Mapping[str, str]
    errors: frozenset[str]


class Gallery:
    """Keeps the worst and the best of the pictures that it is shown.

    Args:
        labels: Their classes.
        worst: How many of the worst.
        best: How many of the best.
    """

    def __init__(self, labels: LabelMap, *, worst: int = WORST, best: int = BEST) -> None:
        self.labels = labels
        self._sizes = worst, best
        self._worst: list[Exhibit] = []
        self._best: list[Exhibit] = []

    def look(self, compared: Compared) -> None:
        """Draw a picture if it is among the worst or the best so far."""
        dice, (worst, best) = compared.row.dice, self._sizes
        is_bad = len(self._worst) < worst or dice < self._worst[-1].dice
        is_good = len(self._best) < best or dice > self._best[-1].dice
        if np.isnan(dice) or not (is_bad or is_good):
            return
        exhibit = draw_exhibit(compared, self.labels)
        self._worst = sorted([*self._worst, exhibit], key=lambda of: of.dice)[:worst]
        self._best = sorted([*self._best, exhibit], key=lambda of: -of.dice)[:best]

    def take_over(self, other: "Gallery") -> None:
        """Keep the worst and the best of this gallery and another."""
        worst, best = self._sizes
        self._worst = sorted([*self._worst, *other._worst], key=lambda of: of.dice)[:worst]
        self._best = sorted([*self._best, *other._best], key=lambda of: -of.dice)[:best]

    def worst(self) -> list[Exhibit]:
        """The worst, worst first."""
        return self._worst

    def best(self) -> list[Exhibit]:
        """The best that are not among the worst, best first."""
        return [exhibit for exhibit in self._best if exhibit not in self._worst]


def hung_together(galleries: Sequence[Gallery]) -> Gallery:
    """The worst and the best of several galleries, of which each was shown other pictures."""
    first, *others = galleries
    for other in others:
        first.take_over(other)
    return first


# --- On the page


def draw_walls(walls: Mapping[str, Sequence[Exhibit]], labels: LabelMap, *, views: Mapping[str, str] = VIEWS) -> Html:
    """Pictures under headings, with one choice of what lies over all of them.

    Args:
        walls: Exhibits by their heading; one without any is left out.
        labels: The classes that they show.
        views: The layers to choose from, the first one chosen.
    """
    walls = {heading: exhibits for heading, exhibits in walls.items() if exhibits}
    if not walls:
        return Html()
    choices: list[Html] = []
    for view, word in views.items():
        checked = None if choices else ""
        choices.append(tag("input", type="radio", name="view", id=f"view-{view}", class_="views", checked=checked))
        choices.append(tag("label", word, for_=f"view-{view}"))
    found = frozenset().union(*(exhibit.errors for exhibits in walls.values() for exhibit in exhibits))
    errors = [_swatch(kind, colour) for kind, colour in ERRORS.items() if kind in found]
    outline_of_mask = tag("span", tag("span", class_="swatch line"), "outline of the mask")
    colours = _colours_of(labels)
    classes = [_swatch(labels.class_names[index], colours[index]) for index in labels.scored_classes]
    hung = [
        join(tag("h3", heading), tag("div", *(_figure(exhibit, views) for exhibit in exhibits), class_="wall"))
        for heading, exhibits in walls.items()
    ]
    return tag(
        "section",
        tag("h2", "Pictures"),
        *choices,
        *(
            tag("div", *([*errors, outline_of_mask] if view.startswith("errors") else classes), class_=f"legend {view}")
            for view in views
        ),
        *hung,
    )


def _figure(exhibit: Exhibit, views: Mapping[str, str]) -> Html:
    name = exhibit.name
    size = {"width": exhibit.width, "height": exhibit.height}
    layers = [
        tag("img", src=url, alt=f"{views[view]}: {name}", class_=view, loading="lazy", **size)
        for view, url in exhibit.layers.items()
    ]
    slider = tag(
        "input", type="range", min=0, max=100, value=100, hidden="", aria_label=f"How much of {name} is covered"
    )
    return tag(
        "figure",
        tag("div", tag("img", src=exhibit.photo, alt=name, loading="lazy", **size), *layers, class_="layers"),
        slider,
        tag("figcaption", tag("b", name), tag("div", *_unbroken(exhibit.caption))),
        class_="compare",
    )


def _unbroken(caption: str) -> list[Html]:
    """Figures between dots, whose lines break at the dots only."""
    first, *others = caption.split(" · ")
    return [tag("span", first), *(join(" · ", tag("span", other)) for other in others)]


def _swatch(word: str, colour: tuple[int, int, int]) -> Html:
    return tag("span", tag("span", class_="swatch", style="background:rgb({},{},{})".format(*colour)), word)


# --- Drawing


def draw_exhibit(compared: Compared, labels: LabelMap) -> Exhibit:
    """A small picture with what one model makes of it."""
    truth, mask = (_small(of) for of in (compared.truth, compared.mask))
    errors, found = _draw_errors(compared, truth, labels)
    layers = {"errors": errors, "prediction": _draw_classes(mask, labels), "truth": _draw_classes(truth, labels)}
    row = compared.row
    caption = f"Dice {row.dice:.4f} · IoU {row.iou:.4f}"
    caption += "" if np.isnan(row.boundary_f) else f" · boundary F {row.boundary_f:.4f}"
    return _exhibit(compared, layers, found, caption=caption)


def draw_two(first: Compared, second: Compared, labels: LabelMap) -> Exhibit:
    """A small picture with what each of two models gets wrong in it."""
    truth = _small(first.truth)
    (errors_a, found_a), (errors_b, found_b) = (_draw_errors(of, truth, labels) for of in (first, second))
    layers = {"errors-a": errors_a, "errors-b": errors_b, "truth": _draw_classes(truth, labels)}
    dice_a, dice_b = (row.dice for row in side_by_side(first.row, second.row))
    caption = f"Dice of A {dice_a:.4f} · of B {dice_b:.4f} · B - A {dice_b - dice_a:+.4f}"
    return _exhibit(first, layers, found_a | found_b, caption=caption)


def _exhibit(
    compared: Compared, layers: Mapping[str, NDArray[np.uint8]], errors: frozenset[str], *, caption: str
) -> Exhibit:
    height, width = _small(compared.truth).shape
    return Exhibit(
        name=compared.row.name,
        caption=caption,
        dice=compared.row.dice,
        width=width,
        height=height,
        photo=picture_url(resize_image(as_rgb(compared.image), height, width)),
        layers={view: picture_url(layer) for view, layer in layers.items()},
        errors=errors,
    )


def _small(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Classes at the size that the page shows."""
    height, width = mask.shape
    return resize_classes(mask, *fit_size(height, width, min(LONGER_SIDE, max(height, width))))


def errors_of(truth: NDArray[np.uint8], mask: NDArray[np.uint8], labels: LabelMap) -> dict[str, NDArray[np.bool_]]:
    """Where each kind of error lies, and what is not counted.

    "Missed" and "too much" are said of a background; where there is none, every error is another class.
    """
    counted = truth < labels.num_classes
    wrong = counted & (mask != truth)
    missed, too_much = wrong & (mask == 0) & labels.has_background, wrong & (truth == 0) & labels.has_background
    return {
        "missed": missed,
        "too much": too_much,
        "another class": wrong & ~missed & ~too_much,
        "not counted": ~counted,
    }


def _draw_errors(
    compared: Compared, truth: NDArray[np.uint8], labels: LabelMap
) -> tuple[NDArray[np.uint8], frozenset[str]]:
    """Errors, found at the picture's own size, and the outline of the small true mask; ``(H, W, 4)``."""
    drawn = np.zeros((*truth.shape, 4), np.uint8)
    line = np.zeros(truth.shape, np.bool_)
    for index in labels.scored_classes:
        line |= outline(truth == index, 1) & (truth == index)
    drawn[line] = (255, 255, 255, 230)
    found = set()
    for kind, where in errors_of(compared.truth, compared.mask, labels).items():
        shown = resize_mask(where.view(np.uint8), *truth.shape) >= SHOWN_FROM * 255
        if shown.any():
            found.add(kind)
            drawn[shown] = (*ERRORS[kind], _ERROR_ALPHA if kind != "not counted" else _CLASS_ALPHA)
    return drawn, frozenset(found)


def _draw_classes(mask: NDArray[np.uint8], labels: LabelMap) -> NDArray[np.uint8]:
    """Classes in their colours and the lines between them, a background left as it is; ``(H, W, 4)``."""
    drawn = np.zeros((*mask.shape, 4), np.uint8)
    colours = _colours_of(labels)
    for index in labels.scored_classes:
        inside = mask == index
        drawn[inside] = (*colours[index], _CLASS_ALPHA)
        drawn[outline(inside, 1) & inside] = (*colours[index], 255)
    return drawn


def _colours_of(labels: LabelMap) -> Sequence[tuple[int, int, int]]:
    """What each class is drawn in over photographs; of two classes, the second in a colour of ours."""
    return class_colours(labels) if labels.num_classes > 2 else ((0, 0, 0), FIRST_COLOURS[0])
