"""What a client may have of a picture, and how it is made: the same functions as those of `maskwright predict`."""

import json
import time
from dataclasses import dataclass
from typing import Any, Literal, get_args

from maskwright.data.labels import LabelMap
from maskwright.errors import InputError
from maskwright.inference.bulk import look
from maskwright.inference.gathering import coco_lists, coco_part, kaggle_runs
from maskwright.inference.predictor import Predictor
from maskwright.inference.results import Seen, encode_result
from maskwright.serving.decoder import Decoder, Room
from maskwright.serving.refusals import Refusal

Output = Literal["mask", "soft", "cutout", "rle", "coco"]
PNG, JSON = "image/png", "application/json"
MEDIA_TYPES: dict[Output, str] = {"mask": PNG, "soft": PNG, "cutout": PNG, "rle": JSON, "coco": JSON}
# What `Accept` means where no output is named.
DEFAULTS: dict[str, Output] = {PNG: "mask", JSON: "coco"}


@dataclass(frozen=True)
class Order:
    """What is to be made of a picture.

    Attributes:
        output: Which kind of result.
        threshold: Probability from which a pixel is foreground, in place of the model's.
        soft_class: Whose soft mask it is to be, of a model of several classes.
        name: What lists call the picture.
    """

    output: Output
    threshold: float | None = None
    soft_class: int | None = None
    name: str = "picture"


@dataclass(frozen=True)
class Made:
    """A result, and the seconds that it took to make it."""

    content: bytes
    seconds: float


def outputs_of(labels: LabelMap) -> list[Output]:
    """What a model of these classes can give; a cutout takes a background away."""
    return [output for output in get_args(Output) if output != "cutout" or labels.has_background]


def check_order(order: Order, labels: LabelMap) -> None:
    """Refuse what a model of these classes cannot give, before the picture is received."""
    if order.output not in outputs_of(labels):
        raise Refusal(422, "no_background", "A cutout takes a background away, and this model's classes have none.")
    if order.threshold is not None and labels.num_classes > 2:
        sentence = "A threshold is for models of two classes; of several, the likeliest is taken; leave it out."
        raise Refusal(422, "invalid_parameter", sentence)
    if order.output == "soft" and labels.num_classes > 2 and order.soft_class not in labels.scored_classes:
        known = ", ".join(map(str, labels.scored_classes))
        raise Refusal(422, "invalid_parameter", f"Each class has a soft mask of its own; say which with class={known}.")


def choose_output(output: Output | None, accept: str) -> Output:
    """The output that is named, or else the one whose media type `Accept` prefers.

    Raises:
        Refusal: It accepts none of them.
    """
    if output is not None:
        return output
    for media_range in _by_preference(accept or "*/*"):
        for media_type, default in DEFAULTS.items():
            if media_range in (media_type, f"{media_type.partition('/')[0]}/*", "*/*"):
                return default
    raise Refusal(406, "not_acceptable", f"This gives {' and '.join(DEFAULTS)}; accept one of them, or name an output.")


def make(order: Order, predictor: Predictor, content: bytes, decoder: Decoder, room: Room) -> Made:
    """Decode a picture, compute it, and encode what was ordered; in the thread that owns the decoder.

    Raises:
        Refusal: The picture cannot be used.
    """
    began = time.perf_counter()
    if order.threshold is not None:
        predictor = predictor.with_threshold(order.threshold)
    with decoder.decoded(content, "picture", room) as image:
        try:
            seen = look(predictor, image)
        except InputError as error:
            raise Refusal(422, "unusable_picture", str(error)) from error
        encoded = _encode(order, seen)
    return Made(encoded, time.perf_counter() - began)


def _encode(order: Order, seen: Seen) -> bytes:
    match order.output:
        case "rle":
            return _as_json(_run_lengths(seen))
        case "coco":
            part = json.loads(coco_part(seen.mask, seen.labels))
            lists = coco_lists(lambda: [(order.name, part)], seen.labels)
            return _as_json({name: list(entries) for name, entries in lists.items()})
        case "soft":
            planes = encode_result("soft", order.name, seen)
            return planes[0 if len(planes) == 1 else seen.labels.scored_classes.index(order.soft_class or 0)]
        case _:
            return encode_result(order.output, order.name, seen)[0]


def _run_lengths(seen: Seen) -> dict[str, Any]:
    """The size of a picture, and the pixels of each class in Kaggle's run lengths."""
    height, width = seen.mask.shape
    classes = [
        {"index": index, "name": seen.labels.class_names[index], "runs": kaggle_runs(seen.mask == index)}
        for index in seen.labels.scored_classes
    ]
    return {"height": height, "width": width, "classes": classes}


def _as_json(content: object) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()


def _by_preference(accept: str) -> list[str]:
    """The media ranges of an `Accept` header that are not ruled out, most wanted first."""
    wanted = []
    for entry in accept.split(","):
        media_range, *parameters = (word.strip().lower() for word in entry.split(";"))
        weights = [word.partition("=")[2] for word in parameters if word.startswith("q=")]
        weight = _number(weights[0]) if weights else 1.0
        if media_range and weight > 0:
            wanted.append((weight, media_range))
    return [media_range for _, media_range in sorted(wanted, key=lambda pair: -pair[0])]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
