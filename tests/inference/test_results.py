"""Kinds of results: their files, and what these hold."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from maskwright.config import Architecture
from maskwright.data.labels import BLACK_AND_WHITE, LabelMap
from maskwright.errors import InputError
from maskwright.inference.jobs import Job
from maskwright.inference.model_file import ModelCard
from maskwright.inference.predictor import Predictor, as_probabilities
from maskwright.inference.results import (
    GATHERED,
    SUFFIXES,
    Seen,
    Wish,
    check_kinds,
    missing_kinds,
    paths_of,
    read_kinds,
    write_result,
)

THREE = LabelMap("names", ("background", "car", "road"))


class Still:
    """An engine that is never asked."""

    name = "still"

    def logits(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        raise NotImplementedError


def seen(labels: LabelMap, threshold: float = 0.5) -> Seen:
    logits = np.random.default_rng(0).normal(0, 3, (labels.logit_channels, 12, 16)).astype(np.float32)
    logits = np.repeat(np.repeat(logits, 3, axis=1), 3, axis=2)
    predictor = Predictor(ModelCard(Architecture(), size=32, labels=labels, threshold=threshold), Still())
    image = np.random.default_rng(1).integers(0, 256, (36, 48, 3), dtype=np.uint8)
    return Seen(image, predictor.classes(logits), logits, predictor)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path / "in/a.jpg", "below/a.jpg", tmp_path / "out", Path("below/a"))


def read(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as file:
        return np.asarray(file)


@pytest.mark.parametrize("labels", [BLACK_AND_WHITE, THREE], ids=["two", "three"])
@pytest.mark.parametrize("kind", SUFFIXES)
def test_every_kind_leaves_the_files_it_says_and_no_others(kind: str, labels: LabelMap, job: Job) -> None:
    written = write_result(kind, job, seen(labels), (0, 255, 136))
    assert written == paths_of(kind, job, labels)
    assert sorted(path for path in job.out.rglob("*") if path.is_file()) == sorted(written)
    if kind not in GATHERED:
        assert all(path.parent == job.out / "below" and path.name.startswith(f"a_{kind}") for path in written)


def test_a_soft_mask_is_the_probability(job: Job) -> None:
    picture = seen(BLACK_AND_WHITE)
    (path,) = write_result("soft", job, picture, None)
    assert np.abs(read(path) / 255 - as_probabilities(picture.logits)[0]).max() <= 0.5 / 255 + 1e-6
    with Image.open(path) as file:
        assert file.mode == "L"


def test_two_logits_for_two_classes_make_one_soft_mask_of_the_second(job: Job) -> None:
    for names in (("background", "car"), ("sky", "cloud")):
        picture = seen(LabelMap(class_names=names))
        both = replace(picture, logits=np.concatenate([np.zeros_like(picture.logits), picture.logits]))
        (path,) = write_result("soft", job, both, None)
        np.testing.assert_array_equal(read(path), np.rint(as_probabilities(picture.logits)[0] * 255))


def test_of_several_classes_each_has_a_soft_mask_called_by_its_index(job: Job) -> None:
    picture = seen(THREE)
    paths = write_result("soft", job, picture, None)
    assert [path.name for path in paths] == ["a_soft_1.png", "a_soft_2.png"]
    for index, path in enumerate(paths, 1):
        assert np.abs(read(path) / 255 - as_probabilities(picture.logits)[index]).max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize("labels", [BLACK_AND_WHITE, THREE], ids=["two", "three"])
@pytest.mark.parametrize("threshold", [0.5, 0.2])
def test_a_cutout_shows_what_the_mask_does(labels: LabelMap, threshold: float, job: Job) -> None:
    picture = seen(labels, threshold)
    cut = read(write_result("cutout", job, picture, None)[0])
    assert cut.shape == (36, 48, 4)
    # Half transparent at the very edge, on one side or the other of it.
    assert ((cut[..., 3] >= 128) == (picture.mask != 0)).mean() > 0.99


@pytest.mark.parametrize("threshold", [0.5, 0.2])
def test_two_logits_are_cut_out_as_one_is(threshold: float) -> None:
    picture = seen(BLACK_AND_WHITE, threshold)
    logits = np.concatenate([np.ones_like(picture.logits), picture.logits + 1])
    both = replace(picture, logits=logits, mask=picture.predictor.classes(logits))
    assert np.array_equal(both.mask, picture.mask)
    np.testing.assert_allclose(both.alpha().astype(int), picture.alpha(), atol=1)


def test_polygons_name_their_classes_and_close_their_rings(job: Job) -> None:
    picture = seen(THREE)
    content = json.loads(write_result("polygons", job, picture, None)[0].read_text())
    assert content["image"] == {"file_name": "below/a.jpg", "width": 48, "height": 36}
    assert {feature["properties"]["class"] for feature in content["features"]} == {"car", "road"}
    for feature in content["features"]:
        for ring in feature["geometry"]["coordinates"]:
            assert ring[0] == ring[-1]
            assert len(ring) >= 5


def test_a_picture_is_done_when_all_its_files_are_there(job: Job) -> None:
    picture, wish = seen(THREE), Wish(["mask", "soft", "coco"])
    assert missing_kinds(job, wish, THREE) == ["mask", "soft", "coco"]
    for kind in ("mask", "soft"):
        write_result(kind, job, picture, None)
    assert missing_kinds(job, wish, THREE) == ["coco"]
    paths_of("soft", job, THREE)[1].unlink()
    assert missing_kinds(job, wish, THREE) == ["soft", "coco"]
    assert missing_kinds(job, Wish(wish.kinds, renew=True), THREE) == ["mask", "soft", "coco"]


def test_an_unknown_kind_is_named() -> None:
    assert read_kinds("mask, soft,mask") == ["mask", "soft"]
    with pytest.raises(InputError, match="not 'sotf'"):
        read_kinds("mask,sotf")


@pytest.mark.parametrize("kind", ["cutout", "background"])
def test_without_a_background_nothing_can_be_cut_out(kind: str) -> None:
    with pytest.raises(InputError, match=f"--save {kind}"):
        check_kinds(["mask", kind], LabelMap("indices", ("sky", "road", "car")))
