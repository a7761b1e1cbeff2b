from pathlib import PurePath

import pytest

from maskwright.data.folder_words import (
    Place,
    bare_name,
    name_pattern,
    natural,
    read_folder,
    read_place,
    score,
    shorter_names,
)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("Masks", Place("mask", kind="masks")),
        ("Ground Truth", Place("mask", kind="ground truth")),
        ("train_masks", Place("mask", "train", kind="masks")),
        ("trainannot", Place("mask", "train", kind="annot")),
        ("my_masks", Place("mask", None, ("my",), kind="my_masks")),
        ("annotations_prepped_train", Place("mask", "train", ("prepped",), kind="annotations_prepped")),
        ("label_images_semantic", Place("mask", kind="label_images_semantic")),
        ("leftImg8bit", Place("image")),
        ("images_prepped_test", Place("image", "test", ("prepped",))),
        ("stage1_train", Place(split="train")),
        ("val2017", Place(split="val")),
        ("TestDataset", Place(split="test")),
        ("Speed_Test", Place(folders=("Speed_Test",), plain_folders=("speed_test",))),
        ("label1", Place(folders=("label1",), plain_folders=("label1",))),
    ],
)
def test_a_folder_is_read_as_words(name: str, place: Place) -> None:
    assert read_folder(name) == place


def test_the_innermost_word_counts() -> None:
    place = read_place(("photo-2023", "annotations", "train", "masks"))
    assert (place.role, place.split, place.folders) == ("mask", "train", ("photo-2023", "annotations"))
    assert place.plain_folders == ()
    assert place.kind == "annotations/masks"


@pytest.mark.parametrize(
    ("stem", "bare"),
    [
        *(("IMG_7_mask", "7"), ("mask7", "7"), ("mask", ""), ("masked", "masked"), ("21_manual1", "21")),
        *(("a_gtFine", "a"), ("a.jpg", "a"), ("01_1stHO", "01"), ("Ünder", "ünder"), ("a_img_b", "a_img_b")),
    ],
)
def test_words_are_taken_off_both_ends_of_a_name(stem: str, bare: str) -> None:
    assert bare_name(stem) == bare


def test_shorter_names_come_longest_first() -> None:
    assert list(shorter_names("a_b-Car_mask")) == [("a_b", "Car"), ("a", "b-Car")]


@pytest.mark.parametrize(
    ("stem", "bare", "pattern"),
    [
        *(("a_mask", "a", "*_mask"), ("a_mask_2", "a", "*_mask"), ("a", "a", "*"), ("a_1", "a", "*")),
        *(("21_training_mask", "21", "*_mask"), ("image_01_2ndHO", "01", "*_2ndho")),
    ],
)
def test_a_pattern_tells_kinds_of_masks_apart_and_not_their_objects(stem: str, bare: str, pattern: str) -> None:
    assert name_pattern(stem, bare) == pattern


def test_labels_score_over_pictures_of_them() -> None:
    kinds = [("gtfine", "*_gtfine_labeltrainids"), ("gtfine", "*_gtfine_labelids"), ("gtfine", "*_gtfine_color")]
    assert sorted(kinds, key=lambda kind: score(*kind), reverse=True) == kinds
    assert score("1st_manual", "*") > score("mask", "*_mask") == score("masks", "*") > score("masks_human", "*")


def test_2_sorts_before_10_in_folders_and_names() -> None:
    paths = [PurePath("b2/x"), PurePath("b10/2.png"), PurePath("b10/10.png")]
    paths_by_text = sorted(paths, key=str)
    assert sorted(paths_by_text, key=natural) == paths
