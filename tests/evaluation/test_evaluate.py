import json
import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from maskwright.config import Architecture
from maskwright.data.labels import IGNORED, LabelMap
from maskwright.data.pairs import Pair
from maskwright.data.reading import Formats, fingerprint_of, read_pair
from maskwright.evaluation.certainty import count_logits
from maskwright.evaluation.evaluate import (
    DEFINITIONS,
    TITLES,
    Compared,
    Counted,
    Scores,
    count_pairs,
    evaluate_pairs,
    score_mask,
    score_pair,
    scores_from_json,
    summarise,
)
from maskwright.evaluation.metrics import confusion_counts
from maskwright.evaluation.outlines import compare_outlines, tolerance_of
from maskwright.inference.model_file import ModelCard
from maskwright.inference.predictor import Predictor


class Brightness:
    """An engine to whom bright is foreground: mostly right about the ellipses."""

    name = "brightness"

    def __init__(self, bias: float = -0.65) -> None:
        self.bias = bias

    def logits(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(batch.mean(axis=1, keepdims=True) + self.bias, np.float32) * 20


class ShortOfMemory(Brightness):
    """The same, with too little memory for one of the pictures."""

    def __init__(self, *, fails_at: int) -> None:
        super().__init__()
        self.left = fails_at

    def logits(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        self.left -= 1
        if self.left == -1:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")
        return super().logits(batch)


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
        compared = score_pair(model, pair, "a")
        score, table = compared.row, compared.table
        assert score.dice == pytest.approx(2 * overlap / total)
        assert score.iou == pytest.approx(overlap / (total - overlap))
        assert score.precision == pytest.approx(overlap / called.sum())
        assert score.recall == pytest.approx(overlap / truth.sum())
        assert score.edge_error + score.inner_error == pytest.approx(1 - score.iou)
        assert table[0].sum() == 48 * 64
        assert table[2].sum() == truth.sum()


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


def test_a_picture_that_takes_too_much_memory_is_a_problem_and_the_others_are_scored(
    ellipses: tuple[Pair, ...],
) -> None:
    scores = evaluate(ellipses, Predictor(ModelCard(Architecture(), size=64), ShortOfMemory(fails_at=4)))
    assert len(scores.pictures) == 11
    assert [problem.path for problem in scores.problems] == [ellipses[4].image]
    assert f"{ellipses[4].image} takes more memory than there is" in scores.problems[0].sentence


def test_who_goes_on_where_there_is_more_memory_is_told_that_it_ran_out(ellipses: tuple[Pair, ...]) -> None:
    small = Predictor(ModelCard(Architecture(), size=64), ShortOfMemory(fails_at=4))
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        list(count_pairs(small, ellipses, groups_of(ellipses), must_fit=True, advance=nothing))


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
    assert scores.classes[0].pictures == len(ellipses) - 1


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
    empty = dict.fromkeys(TITLES)
    assert content["pictures"][0] == {
        "name": ellipses[0].name,
        "group": "images/g0",
        "classes": [empty],
        "fingerprint": fingerprint_of(ellipses[0].image),
        **empty,
    }
    assert content["pictures"][1]["dice"] > 0.5
    assert content["dice"]["low"] is None  # a single group with a score
    assert content["groups"] == 2
    assert str(ellipses[1].image) in content["problems"][0]
    assert "Dice = " in content["definitions"]
    again = scores_from_json(content)
    assert again.to_json() == content
    assert isinstance(again.pictures[1].classes, tuple)
    assert math.isnan(again.pictures[0].dice)


def test_scores_of_earlier_versions_are_read_without_what_they_lack() -> None:
    interval = {"mean": 0.9, "low": None, "high": None}
    row = {"name": "a", "group": "a", "dice": 0.9, "iou": 0.8, "class_dice": [0.9], "class_iou": [0.8]}
    content = {"pictures": [row], "dice": interval, "iou": interval, "groups": 1, "classes": [], "problems": []}
    scores = scores_from_json(content)
    assert (scores.dice.mean, scores.pictures[0].iou) == (0.9, 0.8)
    assert math.isnan(scores.hausdorff_95.mean)
    assert math.isnan(scores.pictures[0].boundary_f)
    assert scores.pictures[0].fingerprint == ""
    assert (scores.calibration, scores.sweep) == (None, None)


def test_scores_of_a_cross_validation_have_no_classes_and_no_problems() -> None:
    interval = {"mean": 0.9, "low": 0.8, "high": 1.0}
    row = {"name": "a", "group": "a", "dice": 0.9, "iou": 0.8, "fold": 1}
    scores = scores_from_json({"pictures": [row], "dice": interval, "iou": interval, "groups": 1, "folds": []})
    assert (scores.dice.high, scores.pictures[0].dice) == (1.0, 0.9)
    assert (scores.classes, scores.problems) == ((), ())


def test_every_class_gets_its_scores_and_a_picture_their_mean() -> None:
    truth, called = np.random.default_rng(0).integers(0, 3, (2, 40, 50), dtype=np.uint8)
    truth[:3] = IGNORED
    labels = LabelMap("indices", ("background", "car", "tree", "never"), values=((0,), (1,), (2,), (3,)))
    row = score_mask(called, truth, labels)
    counted = truth < 4
    for place, index in enumerate((1, 2)):
        a, b = (truth == index) & counted, (called == index) & counted
        assert row.classes[place].precision == pytest.approx((a & b).sum() / b.sum())
        expected = compare_outlines(a, b, counted, tolerance=tolerance_of(40, 50))
        assert row.classes[place].hausdorff_95 == expected.hausdorff_95
    assert all(math.isnan(getattr(row.classes[2], measure)) for measure in TITLES)
    for measure in TITLES:
        assert getattr(row, measure) == pytest.approx(np.mean([getattr(of, measure) for of in row.classes[:2]]))


def test_classes_have_their_own_means_and_several_have_no_threshold_to_sweep() -> None:
    labels = LabelMap("indices", ("background", "car", "tree"), values=((0,), (1,), (2,)))
    rng = np.random.default_rng(0)
    counted = []
    for name in ("a", "b", "c"):
        truth, called = rng.integers(0, 3, (2, 20, 30), dtype=np.uint8)
        row = score_mask(called, truth, labels, name=name, group=name)
        logits = rng.normal(size=(3, 20, 30)).astype(np.float32)
        counted.append(Counted(row, confusion_counts(truth, called, 3), count_logits(logits, truth)))
    scores = summarise(counted, ModelCard(Architecture(num_classes=3), size=64, labels=labels))
    assert [row.name for row in scores.classes] == ["car", "tree"]
    for place, found in enumerate(scores.classes):
        for measure in TITLES:
            expected = np.mean([getattr(of.row.classes[place], measure) for of in counted])
            assert getattr(found, measure).mean == pytest.approx(expected)
    assert scores.sweep is None


def test_the_tolerance_may_be_given_in_pixels() -> None:
    truth = np.zeros((40, 60), np.uint8)
    truth[5:25, 5:25] = 1
    called = np.roll(truth, 3, axis=1)
    labels = LabelMap("indices", ("background", "car"), values=((0,), (1,)))
    assert score_mask(called, truth, labels, tolerance=3).boundary_f == 1
    assert score_mask(called, truth, labels).boundary_f < 1


def test_definitions_name_every_measure() -> None:
    for title in TITLES.values():
        assert title.removesuffix(" (pixels)").lower() in DEFINITIONS.lower()


def test_the_best_threshold_is_chosen_on_validation_pictures_alone(ellipses: tuple[Pair, ...]) -> None:
    model = predictor(bias=-0.25)  # too much is foreground, so that a higher threshold is better
    validation = {pair.name for pair in ellipses[:4]}
    scores = evaluate_pairs(
        model, ellipses, groups_of(ellipses), is_validation=validation.__contains__, advance=nothing
    )
    sweep = scores.sweep
    assert sweep is not None
    assert sweep.best is not None
    assert sweep.best > 0.5
    for threshold in (0.5, sweep.best):
        moved = evaluate(ellipses, model.with_threshold(threshold))
        expected = [np.mean([row.dice for row in rows]) for rows in (moved.pictures[:4], moved.pictures[4:])]
        assert sweep.at(threshold) == pytest.approx(expected, abs=1e-4)
    assert max(sweep.on_validation) == sweep.at(sweep.best)[0]
    without = evaluate(ellipses, model).sweep
    assert without is not None
    assert without.best is None
    assert without.on_others == pytest.approx((4 * np.array(sweep.on_validation) + 8 * np.array(sweep.on_others)) / 12)


def test_pixels_are_counted_by_what_they_are_and_what_they_were_called(ellipses: tuple[Pair, ...]) -> None:
    mask = np.array(Image.open(ellipses[0].mask_path))
    mask[:5] = 7
    Image.fromarray(mask).save(ellipses[0].mask_path)
    formats = Formats(LabelMap("indices", ("background", "ellipse"), values=((0,), (255,)), ignore=(7,)))
    scores = evaluate_pairs(predictor(), ellipses[:2], groups_of(ellipses), formats=formats, advance=nothing)
    expected = np.zeros((2, 2), int)
    for pair in ellipses[:2]:
        image, truth = read_pair(pair, formats)
        called = predictor()(image)
        for row in range(2):
            for column in range(2):
                expected[row, column] += ((truth == row) & (called == column)).sum()
    assert scores.confusion == tuple(map(tuple, expected.tolist()))
    assert sum(map(sum, scores.confusion)) == 2 * 48 * 64 - 5 * 64
    assert scores_from_json(json.loads(json.dumps(scores.to_json()))).confusion == scores.confusion


def test_each_scored_picture_can_be_looked_at(ellipses: tuple[Pair, ...]) -> None:
    ellipses[1].image.write_text("not a picture")
    seen: list[Compared] = []
    scores = evaluate_pairs(predictor(), ellipses[:3], groups_of(ellipses), look=seen.append, advance=nothing)
    assert tuple(of.row for of in seen) == scores.pictures
    assert [of.row.name for of in seen] == [ellipses[0].name, ellipses[2].name]
    assert seen[0].image.shape == (48, 64, 3)


def test_a_folder_in_which_nothing_can_be_read_has_no_score(tmp_path: Path) -> None:
    missing = (Pair("a_1", tmp_path / "a_1.png", tmp_path / "a_1_mask.png", None),)
    scores = evaluate(missing, predictor())
    assert math.isnan(scores.dice.mean)
    assert (scores.pictures, scores.groups, len(scores.problems)) == ((), 0, 1)
