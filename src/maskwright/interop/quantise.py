"""Networks in 8 bits: static quantisation of an ONNX file with pictures of the user's own.

Weights get a scale for each channel and 7 bits. With 8, sums overflow in silence on processors without VNNI, and a file
may be computed anywhere. Only the network is quantised: what resizes pictures and logits stays as it is.
"""

import json
import logging
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.data.resizing import resize_image
from maskwright.errors import InputError
from maskwright.evaluation.evaluate import score_mask
from maskwright.inference.predictor import Predictor, load
from maskwright.interop.tracing import may_be_tiled
from maskwright.interop.trial_pictures import TrialPictures

# Layers that pass 8 bits on to one another.
QUANTISED = ("Conv", "Clip", "Relu", "Add", "Concat", "MaxPool")
# How many convolutions at either end of the network stay in float, tried one after the other: they see the picture and
# decide the logits, and take little of the time.
KEPT_IN_FLOAT = (1, 2, 4)
# Pictures that ranges are measured on, and others that masks are judged on.
MOST_PICTURES = 32
# Speeds are medians over so many pictures and rounds.
TIMED = 4
ROUNDS = 5


@dataclass(frozen=True)
class Int8Report:
    """What 8 bits cost and gained.

    Attributes:
        dice: Of the file in 8 bits.
        float_dice: Of the same file in float, on the same pictures.
        judged_by: What both were compared with.
        pictures: How many.
        seconds: Of the network alone, for a picture, on this machine.
        float_seconds: Likewise, of the file in float.
        kept_in_float: Convolutions at either end of the network that are not in 8 bits.
    """

    dice: float
    float_dice: float
    judged_by: str
    pictures: int
    seconds: float
    float_seconds: float
    kept_in_float: int

    @property
    def loss(self) -> float:
        """By how much the Dice fell."""
        return self.float_dice - self.dice

    @property
    def sentence(self) -> str:
        """The figures in words."""
        return (
            f"int8: Dice {self.dice:.4f} instead of {self.float_dice:.4f} against {self.judged_by} of {self.pictures} "
            f"pictures; {1000 * self.seconds:.1f} ms instead of {1000 * self.float_seconds:.1f} ms for the network."
        )


def quantise_within(file: Path, limit: float, pictures: TrialPictures, *, say: Callable[[str], None]) -> Int8Report:
    """Replace an ONNX file of ours by one in 8 bits, if its masks are as good.

    Ranges are measured on every other picture, masks are judged on the rest.

    Args:
        file: In float.
        limit: By how much the Dice may fall.
        pictures: Of the user's own.
        say: Takes a sentence on how it goes.

    Raises:
        InputError: The masks are worse than that, whatever stays in float; the file is as it was.
    """
    in_float = load(file)
    card = in_float.card
    small = [
        resize_image(image, *card.resize.shape_of(image.shape[0], image.shape[1]))
        for _, image in pictures.every_other(0).images(card.input, MOST_PICTURES)
    ]
    judged_on = pictures.every_other(1)
    float_dice, count = _mean_dice(in_float, judged_on, in_float)
    for kept in KEPT_IN_FLOAT:
        smaller = file.with_name(f"int8-{file.name}")
        quantise(file, smaller, small, kept_in_float=kept)
        in_int8 = load(smaller)
        report = Int8Report(
            dice=_mean_dice(in_int8, judged_on, in_float)[0],
            float_dice=float_dice,
            judged_by="the masks" if judged_on.formats else "the model's own masks",
            pictures=count,
            **_seconds(in_int8, in_float, small[:TIMED]),
            kept_in_float=kept,
        )
        if report.loss < limit:
            _write_report(smaller, report)
            smaller.replace(file)
            return report
        say(f"Not good enough with {kept} convolutions at either end in float. {report.sentence}")
        smaller.unlink()
    raise InputError(
        f"{file.name} was not written: with --int8 the Dice falls by {report.loss:.4f}, and the limit is {limit:g}; "
        "leave --int8 out, or allow more with --int8-limit."
    )


def quantise(source: Path, target: Path, pictures: Sequence[NDArray[np.uint8]], *, kept_in_float: int) -> None:
    """Write an ONNX file of ours with its network in 8 bits.

    Args:
        source: The file in float.
        target: The new one.
        pictures: What the ranges of values are measured on, ``(H, W, C)`` at the model's size.
        kept_in_float: Convolutions at either end that stay as they are.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    others = {"resized": np.array(True)} if may_be_tiled(load(source).card) else {}

    class Pictures(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
        def __init__(self) -> None:
            self.rest = iter(pictures)

        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            picture = next(self.rest, None)
            return None if picture is None else {"image": picture[np.newaxis], **others}

    with _quiet():
        quantize_static(
            source,
            target,
            Pictures(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTISED),
            nodes_to_exclude=_nodes_in_float(source, kept_in_float),
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )


def _write_report(path: Path, report: Int8Report) -> None:
    """Add to the metadata of an ONNX file what its 8 bits cost and gained."""
    import onnx

    model = onnx.load_model(path)
    known = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, known | {"int8": json.dumps(asdict(report))})
    onnx.save_model(model, path)


def _mean_dice(predictor: Predictor, pictures: TrialPictures, model: Predictor) -> tuple[float, int]:
    """Mean Dice, and of how many pictures."""
    samples = pictures.samples(model, MOST_PICTURES)
    scores = [score_mask(predictor(image), truth, predictor.card.labels).dice for image, truth in samples]
    return float(np.nanmean(scores)), len(scores)


def _seconds(in_int8: Predictor, in_float: Predictor, pictures: Sequence[NDArray[np.uint8]]) -> dict[str, float]:
    """Median seconds of both networks for a picture ``(H, W, C)`` at the model's size, taking turns."""
    taken: dict[str, list[float]] = {"seconds": [], "float_seconds": []}
    for _ in range(ROUNDS):
        for picture in pictures:
            for predictor, seconds in zip((in_int8, in_float), taken.values(), strict=True):
                started = time.perf_counter()
                predictor.logits(picture)
                seconds.append(time.perf_counter() - started)
    # The first round warms up.
    return {name: statistics.median(seconds[len(pictures) :]) for name, seconds in taken.items()}


def _nodes_in_float(path: Path, kept: int) -> list[str]:
    """Everything outside of the network, whose convolutions lie together, and some of these at either end."""
    import onnx

    nodes: Any = onnx.load_model(path, load_external_data=False).graph.node
    convolutions = [place for place, node in enumerate(nodes) if node.op_type == "Conv"]
    inner = convolutions[kept:-kept]
    if not inner:
        return [node.name for node in nodes]
    # What follows the last of them belongs to it until the next one, so that its sums are passed on in 8 bits.
    first, last = inner[0], convolutions[-kept]
    return [node.name for place, node in enumerate(nodes) if not first <= place < last]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without onnxruntime's advice on the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
