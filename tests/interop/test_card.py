import dataclasses
from typing import Any

import pytest
from huggingface_hub import ModelCard as HubCard

from maskwright.config import Architecture
from maskwright.data.input_format import InputFormat
from maskwright.data.labels import LabelMap
from maskwright.inference.model_file import ModelCard, Parent
from maskwright.interop.card import data_fingerprint, render_card

CARD = ModelCard(
    Architecture("efficientnet_lite0"),
    size=384,
    labels=LabelMap(class_names=("background", "car")),
    trained_on=("aa11", "bb22", "cc33"),
    chosen_on=("dd44",),
    settings={"size": 384, "loss": "ce+dice", "seed": 0, "split": "/home/somebody/split.json", "device": "cuda"},
    versions={"maskwright": "0.1.0", "torch": "2.14.1"},
)
IMPORTED = dataclasses.replace(
    CARD, trained_on=(), chosen_on=(), parent=Parent("a/unet.pth", "ff"), settings={"imported_from": "somebody"}
)
NAME = 'cars: "best" | straße'


def scores(**changes: Any) -> dict[str, Any]:
    content = {
        "part": "val",
        "scored": 2,
        "available": 9,
        "pictures": [{"name": "secret/IMG_1", "dice": 0.99}, {"name": "secret/IMG_2", "dice": 0.97}],
        "dice": {"mean": 0.98, "low": 0.97123, "high": 0.99},
        "iou": {"mean": 0.96, "low": 0.95, "high": 0.97},
        "groups": 2,
        "classes": [],
        "definitions": "Dice = 2|A∩B| / (|A|+|B|).",
    }
    return {**content, **changes}


def head_of(card: str) -> Any:  # its fields are set by what it reads
    return HubCard(card).data


def test_the_head_is_what_the_hub_reads() -> None:
    data = head_of(render_card(CARD, name=NAME, scores=scores()))
    assert (data.library_name, data.pipeline_tag) == ("maskwright", "image-segmentation")
    assert data.license is None
    assert {"maskwright", "efficientnet_lite0"} <= set(data.tags)
    assert data.model_name == NAME
    assert [(result.metric_type, result.metric_value) for result in data.eval_results] == [
        ("dice", 0.98),
        ("iou", 0.96),
    ]
    assert data.eval_results[0].metric_name == "Dice per picture (95 % interval 0.9712 to 0.9900)"


@pytest.mark.parametrize("found", [None, scores(dice={"mean": None, "low": None, "high": None}, iou={"mean": None})])
def test_without_scores_the_head_claims_none(found: dict[str, Any] | None) -> None:
    data = head_of(render_card(IMPORTED, name=NAME, scores=found))
    assert data.eval_results is None
    assert data.get("metrics") is None


def test_the_scores_stand_with_their_interval_and_what_they_were_measured_on() -> None:
    text = render_card(CARD, name=NAME, scores=scores())
    assert "| Dice per picture | 0.9800 | 95 % interval 0.9712 to 0.9900 |" in text
    assert "On 2 unseen pictures of 2 groups" in text
    assert "weights were chosen on pictures of the same part" in text
    assert "A sample of the 9 pictures" in text
    assert "Dice = 2|A∩B| / (|A|+|B|)." in text


@pytest.mark.parametrize(
    ("card", "remarks"),
    [
        (CARD, ["LEAK: training learnt from 1 of these 2 pictures."]),
        (dataclasses.replace(CARD, parent=Parent("a", "ff")), []),
        (IMPORTED, []),
    ],
)
def test_pictures_are_called_unseen_only_where_that_is_known(card: ModelCard, remarks: list[str]) -> None:
    text = render_card(card, name=NAME, scores=scores(remarks=remarks))
    assert "unseen" not in text
    assert all(remark in text for remark in remarks)


def test_a_single_group_has_no_interval_and_is_a_limit() -> None:
    single = scores(dice={"mean": 0.9, "low": None, "high": None}, iou={"mean": 0.8, "low": None, "high": None})
    text = render_card(CARD, name=NAME, scores=single)
    assert "| Dice per picture | 0.9000 | a single group: no interval |" in text
    assert "All scored pictures are of one group" in text


def test_classes_that_break_a_table_do_not() -> None:
    entry = {"name": "a|b", "dice": {"mean": None}, "iou": {"mean": 0.5}, "pictures": 0}
    text = render_card(CARD, name=NAME, scores=scores(classes=[entry, {**entry, "name": "c"}]))
    assert "| a\\|b | – | 0.5000 | 0 |" in text


def test_the_data_have_one_fingerprint_in_any_order() -> None:
    assert data_fingerprint(["aa11", "bb22", "cc33"]) == data_fingerprint(["cc33", "aa11", "bb22"])
    assert data_fingerprint(["aa11", "bb22", "cc33"]) != data_fingerprint(["aa11", "bb22", "cc34"])
    text = render_card(CARD, name=NAME)
    assert f"- 3 pictures; fingerprint of the set: `{data_fingerprint(CARD.trained_on)}`" in text
    assert "aa11" not in text


def test_the_recipe_is_what_differs_from_the_defaults() -> None:
    text = render_card(CARD, name=NAME)
    assert "| `loss` | `ce+dice` |" in text
    assert "| `seed` |" not in text


def test_no_picture_and_no_place_is_named() -> None:
    text = render_card(CARD, name=NAME, scores=scores(photos="/home/somebody/photos"))
    assert "secret" not in text
    assert "somebody" not in text


def test_an_imported_model_says_what_is_not_known() -> None:
    text = render_card(IMPORTED, name=NAME)
    assert "A network imported from somebody" in text
    assert "Not known: it was trained elsewhere" in text
    assert "None are known" in text


def test_the_size_is_named_either_way() -> None:
    assert "inside, they have a longer side of 384 pixels" in render_card(CARD, name=NAME)
    assert "inside, they have 0.5 of their own size" in render_card(
        dataclasses.replace(CARD, size=None, factor=0.5), name=NAME
    )


@pytest.mark.parametrize(("channels", "words"), [(1, "1 channel"), (3, "3 channels")])
def test_the_channels_are_counted_in_words(channels: int, words: str) -> None:
    text = render_card(dataclasses.replace(CARD, input=InputFormat(channels)), name=NAME)
    assert f"Pictures of {words} go in at any size" in text


def test_two_logits_have_a_threshold_too() -> None:
    card = dataclasses.replace(CARD, architecture=Architecture(num_classes=2), threshold=0.3)
    assert "a pixel is car from a probability of 0.3 on" in render_card(card, name=NAME)


def test_onnx_is_named_where_it_lies_beside() -> None:
    assert "model.onnx" in render_card(CARD, name=NAME, has_onnx=True)
    assert "model.onnx" not in render_card(CARD, name=NAME)


def test_an_exported_file_that_knows_no_tiles_is_said_to() -> None:
    in_tiles = dataclasses.replace(CARD, size=None, factor=0.5, tile=512)
    words = "sees every picture whole; maskwright cuts those into tiles that have more than 1152 pixels a side"
    assert words in render_card(in_tiles, name=NAME, has_onnx=True)
    assert "every picture whole" not in render_card(in_tiles, name=NAME)
    assert "every picture whole" not in render_card(CARD, name=NAME, has_onnx=True)
