import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from maskwright.config import Architecture
from maskwright.data.input_format import InputFormat
from maskwright.data.pairs import Pair
from maskwright.data.reading import fingerprint_of
from maskwright.errors import InputError
from maskwright.inference.model_file import ModelCard
from maskwright.inference.predictor import load
from maskwright.interop.trial_pictures import choose_trial_pictures, evenly

CARD = ModelCard(Architecture(), size=48)


def test_pictures_of_a_folder_come_with_their_masks(ellipses: tuple[Pair, ...], tiny_model: Path) -> None:
    folder = ellipses[0].image.parents[1]
    found = choose_trial_pictures(tiny_model, CARD, folder)
    assert len(found.files) == len(found.pairs) == 12
    image, mask = next(found.samples(load(tiny_model), 12))
    assert image.shape == (48, 64, 3)
    assert set(np.unique(mask)) == {0, 1}


def test_without_masks_the_model_itself_is_the_judge(ellipses: tuple[Pair, ...], tiny_model: Path) -> None:
    found = choose_trial_pictures(tiny_model, CARD, ellipses[0].image.parent)
    model = load(tiny_model)
    samples = list(found.samples(model, 3))
    assert found.formats is None
    assert len(samples) == 3
    assert all(np.array_equal(mask, model(image)) for image, mask in samples)


def test_the_halves_have_no_picture_in_common(ellipses: tuple[Pair, ...], tiny_model: Path) -> None:
    found = choose_trial_pictures(tiny_model, CARD, ellipses[0].image.parents[1])
    first, second = found.every_other(0), found.every_other(1)
    assert not set(first.files) & set(second.files)
    assert set(first.files) | set(second.files) == set(found.files)
    assert [pair.image for pair in second.pairs] == list(second.files)
    alone = dataclasses.replace(found, files=found.files[:1], pairs=found.pairs[:1])
    assert alone.every_other(1) == alone


def test_a_run_compares_on_what_it_held_out(ellipses: tuple[Pair, ...], tmp_path: Path) -> None:
    held_out = [pair.image for pair in ellipses[:3]]
    card = dataclasses.replace(CARD, chosen_on=tuple(fingerprint_of(image) for image in held_out))
    photos = ellipses[0].image.parents[1]
    (tmp_path / "split.json").write_text(json.dumps({"photos": str(photos)}))
    found = choose_trial_pictures(tmp_path / "model.safetensors", card, None)
    assert sorted(found.files) == sorted(held_out)
    assert "held out" in found.source


@pytest.mark.parametrize("split", [None, "", "[]", '{"rule": "x"}', '{"photos": "gone"}', '{"photos": 3}'])
def test_where_that_is_gone_cars_are_drawn(split: str | None, tmp_path: Path) -> None:
    if split is not None:
        (tmp_path / "split.json").write_text(split)
    found = choose_trial_pictures(tmp_path / "model.safetensors", CARD, None)
    assert found.source == "drawn cars"


def test_drawn_cars_have_the_models_channels(tmp_path: Path) -> None:
    found = choose_trial_pictures(tmp_path / "model.safetensors", CARD, None)
    name, image = next(found.images(InputFormat(5), 1))
    assert "drawn car" in name
    assert image.shape[2] == 5


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no pictures"):
        choose_trial_pictures(tmp_path / "model.safetensors", CARD, tmp_path)


@pytest.mark.parametrize(("count", "most"), [(0, 3), (2, 3), (3, 3), (100, 7)])
def test_evenly_spaced_items_are_different_ones(count: int, most: int) -> None:
    found = evenly(range(count), most)
    assert len(set(found)) == len(found) == min(count, most)
