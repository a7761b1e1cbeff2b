import json
import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from maskwright.config import Architecture
from maskwright.data.pairs import Pair
from maskwright.data.reading import Formats, read_pair
from maskwright.evaluation.evaluate import Scores, evaluate_pairs, score_pair, scores_from_json
from maskwright.inference.model_file import ModelCard
from maskwright.inference.predictor import Predictor


class Brightness:
    """An engine to whom bright is foreground: mostly right about the ellipses."""

    name = "brightness"

    def __init__(self, bias: float = -0.65) -> None:
        self.bias = bias

    def logits(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(batch.mean(axis=1, keepdims=True) + self.bias, np.float32) * 20


def predictor(size: int = 64, bias: float = -0.65) -> Predictor:
    return Predictor(ModelCard(Architecture(), size=size), Brightness(bias))


def groups_of(pairs: tuple[Pair, ...]) -> dict[str, str]:
    return {pair.name: pair.name.split("_")[0] for pair in pairs}


def nothing() -> None:
    """No progress bar."""


def evaluate(pairs: tuple[Pair, ...], predictor: Predictor) -> Scores:
    return evaluate_pairs(predictor, pairs, groups_of(pairs), advance=nothing)


def write_empty(pair: Pair) -> None:
    """Make a picture dark and its mask empty."""
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(pair.image)
    Image.fromarray(np.zeros((48, 64), np.uint8)).save(pair.mask_path)


@pytest.mark.parametrize("size", [64, 32, 200])
def test_scores_are_counted_at_the_original_size(size: int, ellipses: tuple[Pair, ...]) -> None:
    model = predictor(size)
    for pair in ellipses[:3]:
        image, truth = read_pair(pair, Formats())
        called = model(image)
        assert called.shape == truth.shape == (48, 64)
        overlap, total = (called & truth).sum(), called.sum() + truth.sum()
        score = score_pair(model, pair, "a")
        assert score.dice == pytest.approx(2 * overlap / total)
        assert score.iou == pytest.approx(overlap / (total - overlap))


def test_every_picture_gets_a_row_in_order(ellipses: tuple[Pair, ...]) -> None:
    scores = evaluate(ellipses, predictor())
    assert [(row.name, row.group) for row in scores.pictures] == list(groups_of(ellipses).items())
    assert scores.groups == 6
    assert scores.problems == ()
    assert scores.dice.mean == pytest.approx(np.mean([row.dice for row in scores.pictures]))
    assert scores.dice.mean > 0.8
    assert scores.dice.low < scores.dice.mean < scores.dice.high


def test_a_picture_that_cannot_be_read_is_a_problem(ellipses: tuple[Pair, ...]) -> None:
    ellipses[4].image.write_text("not a picture")
    scores = evaluate(ellipses, predictor())
    assert len(scores.pictures) == 11
    assert [problem.path for problem in scores.problems] == [ellipses[4].image]
    assert str(ellipses[4].image) in scores.problems[0].sentence


def test_progress_counts_every_picture(ellipses: tuple[Pair, ...]) -> None:
    ellipses[4].image.unlink()
    calls: list[int] = []
    evaluate_pairs(predictor(), ellipses, groups_of(ellipses), advance=lambda: calls.append(1))
    assert len(calls) == 12


def test_a_picture_without_foreground_that_is_found_empty_has_no_score(ellipses: tuple[Pair, ...]) -> None:
    before = evaluate(ellipses[1:], predictor())
    write_empty(ellipses[0])
    scores = evaluate(ellipses, predictor())
    assert math.isnan(scores.pictures[0].dice)
    assert math.isnan(scores.pictures[0].iou)
    assert scores.dice.mean == pytest.approx(before.dice.mean)


def test_the_worst_pictures_come_first(ellipses: tuple[Pair, ...]) -> None:
    write_empty(ellipses[0])
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(ellipses[7].image)  # its ellipse cannot be seen
    scores = evaluate(ellipses, predictor())
    worst = scores.worst(3)
    assert worst[0].name == ellipses[7].name
    assert [row.dice for row in worst] == sorted(row.dice for row in scores.pictures if not math.isnan(row.dice))[:3]


def test_json_has_no_nan_and_everything_else(ellipses: tuple[Pair, ...]) -> None:
    write_empty(ellipses[0])
    ellipses[1].image.write_text("not a picture")
    text = json.dumps(evaluate(ellipses[:3], predictor()).to_json(), allow_nan=False)
    content = json.loads(text)
    assert content["pictures"][0] == {
        "name": ellipses[0].name,
        "group": "images/g0",
        "dice": None,
        "iou": None,
        "class_dice": [None],
        "class_iou": [None],
    }
    assert content["pictures"][1]["dice"] > 0.5
    assert content["dice"]["low"] is None  # a single group with a score
    assert content["groups"] == 2
    assert str(ellipses[1].image) in content["problems"][0]
    assert "Dice = " in content["definitions"]
    again = scores_from_json(content)
    assert again.to_json() == content
    assert isinstance(again.pictures[1].class_dice, tuple)
    assert math.isnan(again.pictures[0].dice)


def test_a_folder_in_which_nothing_can_be_read_has_no_score(tmp_path: Path) -> None:
    missing = (Pair("a_1", tmp_path / "a_1.png", tmp_path / "a_1_mask.png", None),)
    scores = evaluate(missing, predictor())
    assert math.isnan(scores.dice.mean)
    assert (scores.pictures, scores.groups, len(scores.problems)) == ((), 0, 1)
