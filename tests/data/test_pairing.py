import os
import time
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pytest

from maskwright.data.pairing import find_masks, find_pairs, find_pictures, match_masks, survey_pictures
from maskwright.data.pairs import Layers, Mask, Pair, mask_files
from maskwright.errors import InputError


def find_mask(image: Path) -> Mask | None:
    return find_masks([image]).get(image)


def make(folder: Path, files: Sequence[str]) -> Path:
    """Empty files do: only names are looked at."""
    for file in files:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def shown(folder: Path, pairs: Sequence[Pair]) -> list[tuple[str, str, str | None]]:
    return [
        (
            pair.image.relative_to(folder).as_posix(),
            pair.mask_path.relative_to(folder).as_posix(),
            pair.split,
        )
        for pair in pairs
    ]


# Each layout: image, mask, split. Every file but those is left out.
LAYOUTS: dict[str, list[tuple[str, str, str | None]]] = {
    "Carvana": [
        ("train/0cdf_01.jpg", "train_masks/0cdf_01_mask.gif", None),
        ("train/0cdf_02.jpg", "train_masks/0cdf_02_mask.gif", None),
    ],
    **{
        f"{images} and {masks}": [(f"{images}/a.jpg", f"{masks}/a.png", None)]
        for images, masks in [
            ("images", "masks"),
            ("imgs", "mask"),
            ("image", "label"),
            ("img", "labels"),
            ("photos", "annotations"),
            ("Images", "Annotation"),
            ("images", "gt"),
            ("my_images", "my_masks"),
            ("cars", "cars_masks"),
            ("images", "mask_images"),
            ("JPEGImages", "SegmentationClass"),
            ("sets/a/images", "sets/a/masks"),
            ("photo-2023/images", "photo-2023/masks"),
        ]
    },
    "a folder of masks beside the images": [("a.jpg", "masks/a.png", None)],
    "CamVid": [
        ("train/a.png", "trainannot/a.png", "train"),
        ("val/b.png", "valannot/b.png", "val"),
    ],
    "split folders outside": [
        ("test/images/c.jpg", "test/masks/c.png", "test"),
        ("train/images/a.jpg", "train/masks/a.png", "train"),
        ("valid/images/b.jpg", "valid/masks/b.png", "val"),
    ],
    "split folders inside": [
        ("images/train/a.jpg", "masks/train/a.png", "train"),
        ("images/validation/a.jpg", "masks/validation/a.png", "val"),
    ],
    "split in the folders' names": [
        ("train_images/a.jpg", "train_masks/a.png", "train"),
        ("val_images/a.jpg", "val_masks/a.png", "val"),
    ],
    "a split of one part is none": [("train/images/a.jpg", "train/masks/a.png", None)],
    "mirrored sub-folders": [
        ("images/cat/1.jpg", "masks/cat/1.png", None),
        ("images/dog/old/1.jpg", "masks/dog/old/1.png", None),
    ],
    "folders without a word, mirrored": [("cat/1.jpg", "masks/cat/1.png", None)],
    "sets called by a word": [
        ("imgs/images/1.jpg", "imgs/masks/1.png", None),
        ("photos/images/1.jpg", "photos/masks/1.png", None),
    ],
    "parts without train are no split": [
        ("test/images/a.jpg", "test/masks/a.png", None),
        ("val/images/a.jpg", "val/masks/a.png", None),
    ],
    "one folder": [("a.jpg", "a_mask.png", None), ("b.jpg", "b_mask.png", None)],
    "one folder per sample": [
        ("s1/image.png", "s1/mask.png", None),
        ("s2/image.png", "s2/mask.png", None),
    ],
    "one folder per part": [
        ("train/a.jpg", "train/a_mask.png", "train"),
        ("val/b.jpg", "val/b_mask.png", "val"),
    ],
    **{
        f"{image} and {mask}": [(f"images/{image}", f"masks/{mask}", None)]
        for image, mask in [
            ("001_image.png", "001_annotation.png"),
            ("a.JPG", "A_MASK.PNG"),
            ("a.jpg", "a-mask.png"),
            ("a.jpg", "a.mask.png"),
            ("a.jpg", "a mask.png"),
            ("a.jpg", "a_seg.png"),
            ("a.jpg", "a_segmentation.png"),
            ("a.jpg", "a_gt.png"),
            ("a.jpg", "a_labels.png"),
            ("a_img.jpg", "a_label.png"),
            ("IMG_7.jpg", "IMG_7_mask.png"),
            ("21_training.tif", "21_manual1.gif"),
            ("img_1.jpg", "mask_1.png"),
            ("image12.jpg", "mask12.png"),
            ("a.b.jpg", "a.b_mask.png"),
            ("Zürich 東京.jpg", unicodedata.normalize("NFD", "Zürich 東京_mask.png")),
        ]
    },
    **{
        f"{image} with {mask}": [(image, mask, None)]
        for image, mask in [
            ("PNG/Original/1.png", "PNG/Ground Truth/1.png"),
            ("Kvasir-SEG/images/a.jpg", "Kvasir-SEG/masks/a.jpg"),
            ("images/Abyssinian_1.jpg", "annotations/trimaps/Abyssinian_1.png"),
            ("ds0/img/a.jpg", "ds0/masks_machine/a.jpg.png"),
            ("ds0/img/a.jpg", "ds0/masks_machine/a.png"),
            ("images/a.jpg", "masks_png/a.png"),
            ("png_images/IMAGES/img_0001.png", "png_masks/MASKS/seg_0001.png"),
            ("dataA/CameraRGB/F1.png", "dataA/CameraSeg/F1.png"),
            ("original_images/0.jpg", "label_images_semantic/0.png"),
            ("images/7_sat_01.jpg", "masks/7_mask_01.jpg"),
            ("ISIC_0000000.jpg", "ISIC_0000000_segmentation.png"),
            ("1_sat.jpg", "1_mask.png"),
            ("tcga/T1_1.tif", "tcga/T1_1_mask.tif"),
            ("Images/Cat/1.jpg", "Masks/cat/1.png"),
            ("images/a (1) [x].v2.jpg", "masks/a (1) [x].v2.png"),
        ]
    },
    **{
        f"{images} with {masks}, split": [
            (f"{images.format('test')}/b.jpg", f"{masks.format('test')}/b.png", "test"),
            (f"{images.format('train')}/a.jpg", f"{masks.format('train')}/a.png", "train"),
        ]
        for images, masks in [
            ("{}_img", "{}_lab"),
            ("img_dir/{}", "ann_dir/{}"),
            ("images_prepped_{}", "annotations_prepped_{}"),
            ("images/{}2017", "annotations/{}2017"),
            ("{}2017", "stuffthingmaps/{}2017"),
            ("{}Dataset/images", "{}Dataset/masks"),
            ("tiff/{}", "tiff/{}_labels"),
            ("{}/images", "masks"),
            ("{}", "masks"),
            ("ISIC2018_Task1-2_{}_Input", "ISIC2018_Task1_{}_GroundTruth"),
        ]
    },
    "masks split, images not": [
        ("images/a.jpg", "train_masks/a.png", "train"),
        ("images/b.jpg", "val_masks/b.png", "val"),
    ],
    "ADE20K": [
        ("images/training/a.jpg", "annotations/training/a.png", "train"),
        ("images/validation/b.jpg", "annotations/validation/b.png", "val"),
    ],
    "photographs and masks of the same names": [("1.jpg", "1.png", None), ("2.jpg", "2.png", None)],
    "masks in batches that images do not mirror": [
        *((f"images/{number}.jpg", f"masks/first/{number}.png", None) for number in (1, 2)),
        *((f"images/{number}.jpg", f"masks/second/{number}.png", None) for number in (3, 4)),
    ],
    "a word that only masks have": [
        ("images/a.jpg", "masks/a_lesion.png", None),
        ("images/b.jpg", "masks/b_lesion.png", None),
    ],
    "words for masks in the middle of images' names": [
        ("images/with_mask_1.jpg", "masks/with_mask_1.png", None),
        ("images/with_mask_2.jpg", "masks/with_mask_2.png", None),
    ],
    "words for masks in the middle of all names": [
        ("with_mask_1.jpg", "with_mask_1_mask.png", None),
        ("with_mask_2.jpg", "with_mask_2_mask.png", None),
    ],
    "words that belong to the name": [
        ("images/1.jpg", "masks/1.png", None),
        ("images/audi.jpg", "masks/audi.png", None),
        ("images/audi_gt.jpg", "masks/audi_gt.png", None),
        ("images/img_1.jpg", "masks/img_1.png", None),
    ],
    "words that belong to the name, and suffixes": [
        ("images/1.jpg", "masks/1_mask.png", None),
        ("images/img_1.jpg", "masks/img_1_mask.png", None),
    ],
    "names that differ by case alone": [
        ("images/A.jpg", "masks/A.png", None),
        ("images/a.jpg", "masks/a.png", None),
    ],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pairs_are_found_in_the_layouts_people_have(tmp_path: Path, layout: str) -> None:
    expected = LAYOUTS[layout]
    make(tmp_path, [file for image, mask, _ in expected for file in (image, mask)])
    found = find_pairs(tmp_path)
    assert shown(tmp_path, found.pairs) == expected
    assert found.problems == ()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_mask_of_one_image_is_the_same_as_in_its_folder(tmp_path: Path, layout: str) -> None:
    expected = LAYOUTS[layout]
    make(tmp_path, [file for image, mask, _ in expected for file in (image, mask)])
    assert [find_mask(tmp_path / image) for image, _, _ in expected] == [tmp_path / mask for _, mask, _ in expected]


@pytest.mark.parametrize(
    ("layout", "phrase"),
    [
        ("Carvana", "train/ + train_masks/"),
        ("CamVid", "train/ + trainannot/ and val/ + valannot/"),
        ("mirrored sub-folders", "images/ + masks/"),
        ("split folders inside", "images/train/ + masks/train/ and images/validation/"),
        ("one folder", "images and masks in one folder"),
        ("a folder of masks beside the images", "the folder itself + masks/"),
    ],
)
def test_the_layout_is_said_in_one_phrase(tmp_path: Path, layout: str, phrase: str) -> None:
    make(tmp_path, [file for image, mask, _ in LAYOUTS[layout] for file in (image, mask)])
    assert find_pairs(tmp_path).layout.startswith(phrase)


# Images with the files of their masks, below the mask folder, and the classes that those show.
LAYERS: dict[str, dict[str, tuple[list[str], list[str] | None]]] = {
    "objects by number": {
        "images/a.jpg": (["masks/a_2.png", "masks/a_10.png"], None),
        "images/b.jpg": (["masks/b_0.png"], None),
    },
    "objects by number, in one folder": {
        "a.jpg": (["a_mask_1.png", "a_mask_2.png"], None),
        "b.jpg": (["b_mask_1.png"], None),
    },
    "a mask and further objects": {
        "benign/benign (1).png": (["benign/benign (1)_mask.png", "benign/benign (1)_mask_1.png"], None),
        "benign/benign (2).png": (["benign/benign (2)_mask.png"], None),
    },
    "a mask and one further object": {
        "images/a.jpg": (["masks/a.png", "masks/a_2.png"], None),
    },
    "a mask and further objects, by number": {
        "images/a.jpg": (["masks/a.png", "masks/a_1.png", "masks/a_2.png"], None),
        "images/b.jpg": (["masks/b.png"], None),
    },
    "classes by word": {
        "images/a.jpg": (["masks/a_car.png", "masks/a_Road.png"], ["car", "Road"]),
        "images/b.jpg": (["masks/b_car.png"], ["car"]),
        "images/c_d.jpg": (["masks/c_d_car.png", "masks/c_d_Road.png"], ["car", "Road"]),
    },
    "classes by word, in one folder": {
        "a.jpg": (["a_mask_car.png", "a_mask_road.png"], ["car", "road"]),
        "b.jpg": (["b_mask_car.png", "b_mask_road.png"], ["car", "road"]),
    },
    "objects of classes": {
        "images/a.jpg": (["masks/a_car_1.png", "masks/a_car_2.png", "masks/a_road.png"], ["car", "car", "road"]),
        "images/b.jpg": (["masks/b_car_1.png", "masks/b_road.png"], ["car", "road"]),
    },
    "classes by folder": {
        "images/a.jpg": (["masks/car/a.png", "masks/road/a.png"], ["car", "road"]),
        "images/b.jpg": (["masks/car/b.png", "masks/road/b.png"], ["car", "road"]),
    },
    "classes by folder, split": {
        "train/images/a.jpg": (["train/masks/2/a.png", "train/masks/10/a.png"], ["2", "10"]),
        "train/images/b.jpg": (["train/masks/2/b.png", "train/masks/10/b.png"], ["2", "10"]),
    },
    "objects of classes by folder": {
        "images/a.jpg": (["masks/car/a_1.png", "masks/car/a_2.png", "masks/road/a.png"], ["car", "car", "road"]),
        "images/b.jpg": (["masks/car/b_1.png", "masks/road/b.png"], ["car", "road"]),
    },
    "a folder for each image, called as the image": {
        "stage1_train/x1/images/x1.png": (["stage1_train/x1/masks/p.png", "stage1_train/x1/masks/q.png"], None),
        "stage1_train/x2/images/x2.png": (["stage1_train/x2/masks/r.png", "stage1_train/x2/masks/s.png"], None),
    },
}


def layers(folder: Path, mask: Mask) -> tuple[list[str], list[str] | None]:
    names = mask.class_names if isinstance(mask, Layers) else None
    return [path.relative_to(folder).as_posix() for path in mask_files(mask)], list(names) if names else None


@pytest.mark.parametrize("layout", LAYERS)
def test_several_masks_of_one_image_merge_when_their_names_say_so(tmp_path: Path, layout: str) -> None:
    expected = LAYERS[layout]
    make(tmp_path, [file for image, (masks, _) in expected.items() for file in (image, *masks)])
    found = find_pairs(tmp_path)
    assert {
        pair.image.relative_to(tmp_path).as_posix(): layers(tmp_path, pair.mask) for pair in found.pairs
    } == expected
    assert all(isinstance(pair.mask, Layers) for pair in found.pairs)
    assert found.problems == ()
    each = "class" if any(names for _, names in expected.values()) else "object"
    assert f"; one mask file for each {each}" in found.layout


@pytest.mark.parametrize("layout", LAYERS)
def test_the_masks_of_one_image_are_the_same_as_in_their_folder(tmp_path: Path, layout: str) -> None:
    expected = LAYERS[layout]
    make(tmp_path, [file for image, (masks, _) in expected.items() for file in (image, *masks)])
    found = find_masks([tmp_path / image for image in expected])
    assert {path.relative_to(tmp_path).as_posix(): layers(tmp_path, mask) for path, mask in found.items()} == expected


def test_masks_from_another_folder_merge_as_well(tmp_path: Path) -> None:
    masks = ["masks/car/a.png", "masks/road/a.png", "masks/car/b.png", "masks/road/b.png", "masks/c_mask.png"]
    make(tmp_path, [*masks, "a.jpg", "b.jpg", "c.jpg"])
    found = match_masks([tmp_path / f"{name}.jpg" for name in "abc"], tmp_path / "masks")
    assert [layers(tmp_path, found[tmp_path / f"{name}.jpg"]) for name in "ac"] == [
        (["masks/car/a.png", "masks/road/a.png"], ["car", "road"]),
        (["masks/c_mask.png"], None),
    ]


@pytest.mark.parametrize(
    ("files", "orphan"),
    [
        # The mask of a picture that is missing is no object of another one.
        (["images/a_1.jpg", "images/a.jpg", "masks/a_1.png", "masks/a.png", "masks/a_2.png"], "masks/a_2.png"),
        (["images/b.jpg", "masks/b.png", "images/a.jpg", "masks/a_5.png"], "masks/a_5.png"),
        (["images/b.jpg", "masks/b.png", "images/a.jpg", "masks/a.png", "masks/a_2.png"], "masks/a_2.png"),
        (["b.jpg", "b_mask.png", "a.jpg", "a_mask.png", "a_2_mask.png"], "a_2_mask.png"),
        (
            ["images/b.jpg", "masks/mask_b.png", "images/a.jpg", "masks/mask_a.png", "masks/mask_a_2.png"],
            "masks/mask_a_2.png",
        ),
        # A word must recur to be a class.
        (
            [f"{kind}/{name}" for kind in ("images",) for name in ("a.jpg", "b.jpg")]
            + [f"masks/{name}_{word}.png" for name in "ab" for word in ("car", "road")]
            + ["masks/a_final.png"],
            "masks/a_final.png",
        ),
    ],
)
def test_a_stray_mask_is_no_layer(tmp_path: Path, files: list[str], orphan: str) -> None:
    found = find_pairs(make(tmp_path, files))
    assert all(tmp_path / orphan not in mask_files(pair.mask) for pair in found.pairs)
    (problem,) = (problem for problem in found.problems if problem.kind == "mask without image")
    assert problem.path == tmp_path / orphan


# Images and the masks that are taken; the layout must say that the others are left aside.
CHOICES: dict[str, tuple[list[str], list[str], str]] = {
    "VOC": (["JPEGImages/a.jpg"], ["SegmentationClass/a.png", "SegmentationObject/a.png"], "SegmentationObject/"),
    "Cityscapes": (
        ["leftImg8bit/train/ulm/ulm_0_1_leftImg8bit.png"],
        [f"gtFine/train/ulm/ulm_0_1_gtFine_{kind}.png" for kind in ("labelIds", "color", "instanceIds")],
        "gtFine/train/*_color and gtFine/train/*_instanceIds",
    ),
    "Cityscapes with train ids": (
        ["leftImg8bit/train/ulm/ulm_0_1_leftImg8bit.png"],
        [f"gtFine/train/ulm/ulm_0_1_gtFine_{kind}.png" for kind in ("labelTrainIds", "labelIds")],
        "gtFine/train/*_labelIds",
    ),
    "DRIVE": (
        ["training/images/21_training.tif"],
        ["training/1st_manual/21_manual1.gif", "training/mask/21_training_mask.gif"],
        "training/mask/",
    ),
    "HRF": (["images/01_h.jpg"], ["manual1/01_h.tif", "mask/01_h_mask.tif"], "mask/"),
    "CHASE": (["Image_01L.jpg"], ["Image_01L_1stHO.png", "Image_01L_2ndHO.png"], "*_2ndho"),
    "Supervisely": (
        ["ds0/img/a.jpg"],
        ["ds0/masks_machine/a.png", "ds0/masks_human/a.png", "ds0/masks_instances/a.png"],
        "ds0/masks_human/ and ds0/masks_instances/",
    ),
    "KITTI": (
        ["training/image_2/0_10.png"],
        ["training/semantic/0_10.png", "training/semantic_rgb/0_10.png"],
        "training/semantic_rgb/",
    ),
    "previews beside the masks": (
        ["images/a.jpg", "images/b.jpg"],
        ["masks/a.png", "masks/b.png", "masks/a_drawn.png", "masks/b_drawn.png"],
        "masks/*_drawn",
    ),
    "previews below the masks": (
        ["images/a.jpg", "images/b.jpg"],
        ["masks/a.png", "masks/b.png", "masks/color/a.png", "masks/color/b.png"],
        "masks/*_color",
    ),
}


@pytest.mark.parametrize("layout", CHOICES)
def test_of_several_kinds_of_masks_the_one_that_says_most_is_taken(tmp_path: Path, layout: str) -> None:
    images, masks, aside = CHOICES[layout]
    found = find_pairs(make(tmp_path, [*images, *masks]))
    expected = list(zip(images, masks[: len(images)], [None] * len(images), strict=True))
    assert shown(tmp_path, found.pairs) == expected
    assert found.problems == ()
    assert found.layout.endswith(f"; left aside, other masks of the same images: {aside}")
    assert find_mask(tmp_path / images[0]) == tmp_path / masks[0]


def test_what_is_no_label_in_train_is_none_in_test(tmp_path: Path) -> None:
    files = ["training/images/21_training.tif", "training/1st_manual/21_manual1.gif"]
    files += ["training/mask/21_training_mask.gif", "test/images/01_test.tif", "test/mask/01_test_mask.gif"]
    found = find_pairs(make(tmp_path, files))
    assert shown(tmp_path, found.pairs) == [(files[0], files[1], None)]
    assert found.problems == ()
    assert found.layout.endswith("; left out, without masks: test/images/")


def test_a_kind_of_masks_that_fits_no_image_is_left_out_and_said(tmp_path: Path) -> None:
    files = ["set/original_images/0.jpg", "set/label_images/0.png", "color_masks/color_masks/0.png"]
    found = find_pairs(make(tmp_path, files))
    assert shown(tmp_path, found.pairs) == [("set/original_images/0.jpg", "set/label_images/0.png", None)]
    assert found.problems == ()
    assert found.layout.endswith("; left out, without images: color_masks/color_masks/")


@pytest.mark.parametrize(
    ("masks", "kinds"),
    [
        (["masks_a/{}.png", "masks_b/{}.png"], "masks_a/ and masks_b/"),
        (["masks/{}.png", "labels/{}.png"], "labels/ and masks/"),
        (["masks/{}_mask.png", "masks/{}_gt.png"], "*_gt and *_mask"),
    ],
)
def test_two_masks_that_nothing_decides_between_are_a_question(tmp_path: Path, masks: list[str], kinds: str) -> None:
    make(tmp_path, [file.format(name) for file in ("images/{}.jpg", *masks) for name in "ab"])
    with pytest.raises(InputError) as error:
        find_pairs(tmp_path)
    assert f"two masks for most images, {kinds}; " in str(error.value)
    assert "manifest.csv" in str(error.value)
    assert find_mask(tmp_path / "images" / "a.jpg") is None


def make_voc(folder: Path, lists: dict[str, str]) -> Path:
    make(folder, [*(f"VOC/JPEGImages/{name}.jpg" for name in "abcd"), "VOC/Annotations/a.xml"])
    make(folder, ["VOC/SegmentationClass/a.png", "VOC/SegmentationClass/b.png"])
    (folder / "VOC/ImageSets/Segmentation").mkdir(parents=True)
    for name, text in lists.items():
        (folder / f"VOC/ImageSets/Segmentation/{name}.txt").write_text(text)
    return folder


def test_the_lists_of_voc_give_the_split_and_say_which_pictures_count(tmp_path: Path) -> None:
    lists = {"train": "a\n", "val": '"b"\n', "trainval": "a\nb\n", "test": "c\n"}
    found = find_pairs(make_voc(tmp_path, lists))
    assert [(pair.image.stem, pair.split) for pair in found.pairs] == [("a", "train"), ("b", "val")]
    assert found.problems == ()
    assert found.layout.endswith("; left out, without masks: 2 of VOC/JPEGImages/")


def test_a_picture_in_two_lists_of_voc_is_not_trained_on(tmp_path: Path) -> None:
    found = find_pairs(make_voc(tmp_path, {"train": "a\nb\n", "val": "b\n"}))
    assert [pair.split for pair in found.pairs] == ["train", "val"]


def test_a_picture_that_voc_lists_needs_a_mask(tmp_path: Path) -> None:
    found = find_pairs(make_voc(tmp_path, {"default": "a\nb\nc\n"}))
    assert [(problem.path.stem, problem.kind) for problem in found.problems] == [("c", "image without mask")]


def test_an_export_without_its_images_is_told(tmp_path: Path) -> None:
    make(tmp_path, ["SegmentationClass/a.png", "SegmentationObject/a.png", "labelmap.txt"])
    with pytest.raises(InputError, match=r"holds 2 mask\(s\) but none of their images"):
        find_pairs(tmp_path)


def test_pictures_without_masks_in_a_test_folder_of_folders_are_left_out(tmp_path: Path) -> None:
    files = [f"stage1_train/{name}/{kind}/{name}.png" for name in "ab" for kind in ("images", "masks")]
    files += [f"stage1_test/{name}/images/{name}.png" for name in "cdefg"]
    found = find_pairs(make(tmp_path, files))
    assert [pair.image.stem for pair in found.pairs] == ["a", "b"]
    assert found.problems == ()
    assert found.layout.endswith("; left out, without masks: stage1_test/*/images/")


def test_folders_mirror_each_other_however_accents_are_stored(tmp_path: Path) -> None:
    files = [unicodedata.normalize("NFC", "images/Zürich/a.jpg"), unicodedata.normalize("NFD", "masks/Zürich/a.png")]
    assert shown(tmp_path, find_pairs(make(tmp_path, files)).pairs) == [(*files, None)]


def test_names_are_relative_unique_and_without_suffix(tmp_path: Path) -> None:
    files = ["images/x/a.v1.jpg", "masks/x/a.v1.png", "images/y/a.v1.jpg", "masks/y/a.v1.png"]
    found = find_pairs(make(tmp_path, files))
    assert [pair.name for pair in found.pairs] == ["images/x/a.v1", "images/y/a.v1"]


def test_2_comes_before_10(tmp_path: Path) -> None:
    files = [f"{kind}/{name}.png" for kind in ("images", "masks") for name in ("10", "2", "b1")]
    found = find_pairs(make(tmp_path, files))
    assert [pair.image.stem for pair in found.pairs] == ["2", "10", "b1"]


@pytest.mark.parametrize(
    "extra",
    [
        *("images/.a.jpg", "images/._b.jpg", "images/Thumbs.db", "images/.DS_Store"),
        *("images/@eaDir/c.jpg", "images/list.txt", "__MACOSX/images/c.jpg", ".cache/images/d.jpg", "masks/a.json"),
    ],
)
def test_what_is_no_picture_is_ignored(tmp_path: Path, extra: str) -> None:
    found = find_pairs(make(tmp_path, ["images/a.jpg", "masks/a.png", extra]))
    assert shown(tmp_path, found.pairs) == [("images/a.jpg", "masks/a.png", None)]
    assert found.problems == ()
    assert found.layout == "images/ + masks/"


def test_what_predict_has_written_is_no_data(tmp_path: Path) -> None:
    make(tmp_path, ["images/a.jpg", "masks/a.png", "predictions/images/a_mask.png", "predictions/.predict/note.png"])
    found = find_pairs(tmp_path)
    assert shown(tmp_path, found.pairs) == [("images/a.jpg", "masks/a.png", None)]
    assert found.problems == ()
    assert found.layout == "images/ + masks/; left out, results of predict: predictions/"
    (tmp_path / "masks/a.png").unlink()
    with pytest.raises(InputError, match=r"no masks for them.*Results of predict are no masks.*predictions"):
        find_pairs(tmp_path)


def test_a_folder_that_predict_has_written_into_itself_is_read_and_that_is_said(tmp_path: Path) -> None:
    found = find_pairs(make(tmp_path, ["a.jpg", "a_mask.png", ".predict/note.png"]))
    assert shown(tmp_path, found.pairs) == [("a.jpg", "a_mask.png", None)]
    assert found.layout.endswith("; predict has written into this folder, so masks may be its own")


def test_a_folder_for_masks_that_predict_has_filled_holds_no_truths(tmp_path: Path) -> None:
    make(tmp_path, ["images/a.jpg", "masks/a.png"])
    assert find_mask(tmp_path / "images/a.jpg") == tmp_path / "masks/a.png"
    make(tmp_path, ["masks/.predict/note.png"])
    assert find_mask(tmp_path / "images/a.jpg") is None


@pytest.mark.parametrize(
    ("files", "left_out"),
    [
        (["train/a.jpg", "train_masks/a_mask.gif", "test/b.jpg", "test/c.jpg"], "test/"),
        (["images/train/a.jpg", "masks/train/a.png", "images/test/b.jpg"], "images/test/"),
        (["images/a.jpg", "masks/a.png", "previews/b.jpg"], "previews/"),
        (["images/a.jpg", "masks/a.png", "cover.jpg"], "cover.jpg"),
        (["train/a.jpg", "train/a_mask.png", "test/b.jpg"], "test/"),
    ],
)
def test_folders_without_masks_are_left_out_and_named(tmp_path: Path, files: list[str], left_out: str) -> None:
    found = find_pairs(make(tmp_path, files))
    assert len(found.pairs) == 1
    assert found.problems == ()
    assert found.layout.endswith(f"; left out, without masks: {left_out}")


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    elsewhere = make(tmp_path / "elsewhere", ["a.jpg"])
    folder = make(tmp_path / "photos", ["masks/a.png"])
    (folder / "images").symlink_to(elsewhere)
    (elsewhere / "circle").symlink_to(folder)
    found = find_pairs(folder)
    assert shown(folder, found.pairs) == [("images/a.jpg", "masks/a.png", None)]


def test_what_is_really_there_goes_before_links_to_it(tmp_path: Path) -> None:
    make(tmp_path, ["images/a.jpg", "masks/a.png"])
    (tmp_path / "a_link").symlink_to(tmp_path / "images")
    assert shown(tmp_path, find_pairs(tmp_path).pairs) == [("images/a.jpg", "masks/a.png", None)]


def test_links_to_files_are_read_by_their_own_names(tmp_path: Path) -> None:
    make(tmp_path, ["store/0f3e.jpg", "images/.keep", "masks/a.png"])
    (tmp_path / "images" / "a.jpg").symlink_to(tmp_path / "store" / "0f3e.jpg")
    assert shown(tmp_path, find_pairs(tmp_path).pairs) == [("images/a.jpg", "masks/a.png", None)]


@pytest.mark.parametrize("target", ["nowhere.jpg", "b.jpg"])
def test_a_broken_link_is_named_and_its_partner_is_not(tmp_path: Path, target: str) -> None:
    make(tmp_path, ["images/a.jpg", "masks/a.png", "masks/b.png"])
    (tmp_path / "images" / "b.jpg").symlink_to(target)
    found = find_pairs(tmp_path)
    assert shown(tmp_path, found.pairs) == [("images/a.jpg", "masks/a.png", None)]
    (problem,) = found.problems
    assert (problem.path, problem.kind) == (tmp_path / "images" / "b.jpg", "unreadable")
    assert f"b.jpg is a link to {target}, which cannot be opened" in problem.sentence


def test_a_broken_link_in_place_of_the_images_is_told(tmp_path: Path) -> None:
    make(tmp_path, ["masks/a.png"])
    (tmp_path / "images").symlink_to("/nowhere/images")
    with pytest.raises(InputError, match="images is a link to /nowhere/images"):
        find_pairs(tmp_path)


def test_a_pipe_is_no_picture(tmp_path: Path) -> None:
    make(tmp_path, ["images/a.jpg", "masks/a.png", "masks/b.png"])
    os.mkfifo(tmp_path / "images" / "b.jpg")
    (problem,) = find_pairs(tmp_path).problems
    assert "b.jpg is no regular file" in problem.sentence


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("b.HEIC", "HEIC, which is not read; save it as JPEG."),
        ("b.heif", "HEIF, which is not read; save it as JPEG."),
        ("b.avif", "AVIF, which is not read; save it as PNG."),
        ("b.jp2", "JPEG 2000, which is not read; save it as TIFF."),
        ("b.dng", "a raw photograph, which is not read; save it as JPEG."),
    ],
)
def test_a_picture_of_a_format_that_nobody_reads_is_named_and_its_partner_is_not(
    tmp_path: Path, name: str, what: str
) -> None:
    found = find_pairs(make(tmp_path, ["images/a.jpg", "masks/a.png", f"images/{name}", "masks/b.png"]))
    assert shown(tmp_path, found.pairs) == [("images/a.jpg", "masks/a.png", None)]
    path = tmp_path / "images" / name
    assert [(problem.path, problem.sentence, problem.kind) for problem in found.problems] == [
        (path, f"{path} is {what}", "unreadable")
    ]


@pytest.mark.parametrize(
    "files",
    [
        ["images/a.heic", "images/A.dng"],  # copies of a picture that is read
        ["test/b.heic", "test/c.jpg"],  # where no masks are expected
        ["cover.heic"],
    ],
)
def test_what_nobody_reads_is_no_problem_where_nobody_misses_it(tmp_path: Path, files: list[str]) -> None:
    found = find_pairs(make(tmp_path, ["images/a.jpg", "masks/a.png", *files]))
    assert shown(tmp_path, found.pairs) == [("images/a.jpg", "masks/a.png", None)]
    assert found.problems == ()


def test_one_file_of_a_picture_that_nobody_reads_is_named(tmp_path: Path) -> None:
    found = find_pairs(make(tmp_path, ["images/a.jpg", "masks/a.png", "images/b.HEIC", "images/b.DNG", "masks/b.png"]))
    assert [problem.path.name for problem in found.problems] == ["b.HEIC"]


@pytest.mark.parametrize("files", [["IMG_1.HEIC"], ["IMG_1.HEIC", "masks/a.png", "masks/b.png"]])
def test_where_nobody_reads_any_picture_one_is_named(tmp_path: Path, files: list[str]) -> None:
    with pytest.raises(InputError, match=r"IMG_1\.HEIC is HEIC, which is not read; save it as JPEG\.$"):
        find_pairs(make(tmp_path, files))


def test_masks_of_pictures_that_nobody_reads_are_not_called_lonely(tmp_path: Path) -> None:
    found = find_pairs(make(tmp_path, [file for n in range(3) for file in (f"images/{n}.heic", f"masks/{n}.png")]))
    assert found.pairs == ()
    assert [problem.path.name for problem in found.problems] == ["0.heic", "1.heic", "2.heic"]
    assert "which is not read" in found.problems[0].sentence


def test_photographs_and_masks_of_the_same_names_pair_beside_what_nobody_reads(tmp_path: Path) -> None:
    found = find_pairs(make(tmp_path, ["1.jpg", "1.png", "2.jpg", "2.png", "3.heic"]))
    assert [pair.name for pair in found.pairs] == ["1", "2"]
    assert [problem.path.name for problem in found.problems] == ["3.heic"]


def test_what_nobody_reads_is_listed_for_those_who_try(tmp_path: Path) -> None:
    make(tmp_path, ["a.jpg", "a.heic", "b.heic"])
    assert [file.name for file in survey_pictures(tmp_path)[0]] == ["a.jpg", "b.heic"]
    assert [file.name for file in find_pictures(tmp_path)] == ["a.jpg"]


def test_thousands_of_files_take_a_few_seconds(tmp_path: Path) -> None:
    images = [f"images/IMG_{number}.jpg" for number in range(4000)]
    make(tmp_path, [*images, *(f"masks/IMG_{number}_mask.png" for number in range(4000))])
    before = time.process_time()
    assert len(find_pairs(tmp_path).pairs) == 4000
    assert time.process_time() - before < 5


PROBLEMS: dict[str, tuple[list[str], list[str]]] = {
    "an image without a mask": (["images/b.jpg"], ["images/b.jpg has no mask"]),
    "a mask without an image": (["masks/b.png"], ["masks/b.png is a mask without an image"]),
    "masks of equal stem": (
        ["images/b.jpg", "masks/b.png", "masks/b.gif"],
        ["images/b.jpg has several masks, ", "masks/b.gif and ", "masks/b.png;"],
    ),
    "masks of equal bare name": (
        ["images/b.jpg", "masks/b.png", "masks/b_mask.png"],
        ["images/b.jpg has several masks, ", "masks/b.png and ", "masks/b_mask.png;"],
    ),
    "images of equal stem": (
        ["images/b.jpg", "images/b.png", "masks/b.png"],
        ["images/b.jpg and ", "images/b.png are images of the same name for", "masks/b.png;"],
    ),
    "many masks": (
        ["images/b.jpg", *(f"masks/b.{kind}" for kind in ("bmp", "gif", "jpg", "png", "tif"))],
        ["masks/b.bmp, ", "masks/b.gif, ", "masks/b.jpg and 2 more; keep one"],
    ),
    "a sub-folder that is not mirrored": (["images/x/a.jpg"], ["images/x/a.jpg has no mask"]),
}


@pytest.mark.parametrize("kind", PROBLEMS)
def test_what_cannot_be_paired_is_listed_by_name(tmp_path: Path, kind: str) -> None:
    files, expected = PROBLEMS[kind]
    found = find_pairs(make(tmp_path, ["images/a.jpg", "masks/a.png", *files]))
    assert shown(tmp_path, found.pairs) == [("images/a.jpg", "masks/a.png", None)]
    (problem,) = found.problems
    assert problem.path == tmp_path / files[0]
    assert all(part in problem.sentence for part in expected)
    assert problem.sentence.endswith(".")
    kinds = {"has no mask": "image without mask", "without an image": "mask without image"}
    assert problem.kind == next((kind for words, kind in kinds.items() if words in problem.sentence), "ambiguous")


def test_images_outside_of_val_need_masks_too(tmp_path: Path) -> None:
    found = find_pairs(make(tmp_path, ["images/a.jpg", "val/images/b.jpg", "val/masks/b.png"]))
    assert [problem.path for problem in found.problems] == [tmp_path / "images" / "a.jpg"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list everything")
def test_a_folder_that_may_not_be_listed_is_named(tmp_path: Path) -> None:
    make(tmp_path, ["images/a.jpg", "masks/a.png"])
    (tmp_path / "masks").chmod(0)
    with pytest.raises(InputError, match="masks cannot be listed"):
        find_pictures(tmp_path)


def test_sub_folders_of_other_names_do_not_pair(tmp_path: Path) -> None:
    found = find_pairs(make(tmp_path, ["images/cat/1.jpg", "masks/dog/1.png"]))
    assert found.pairs == ()
    assert len(found.problems) == 2


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ([], "holds no pictures"),
        (["notes.txt", "images/.hidden.jpg"], "holds no pictures"),
        (["a.jpg", "b.jpg"], "holds 2 picture(s) but no masks"),
        (["a.jpg", "b_mask.png"], "holds 2 picture(s) but no masks"),
        (["images/a.jpg", "masks/a.json"], "holds 1 picture(s) but no masks"),
    ],
)
def test_a_folder_without_pairs_is_one_sentence_with_the_layouts(
    tmp_path: Path, files: list[str], expected: str
) -> None:
    with pytest.raises(InputError) as error:
        find_pairs(make(tmp_path, files))
    assert str(error.value).startswith(f"{tmp_path} {expected}")
    assert "train/ with train_masks/" in str(error.value)


def test_a_missing_folder_and_a_file_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    with pytest.raises(InputError, match=r"a\.jpg is a file"):
        find_pairs(tmp_path / "a.jpg")
    with pytest.raises(InputError, match="nowhere does not exist"):
        find_pairs(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "files",
    [
        ["images/a.jpg"],
        ["images/a.jpg", "masks/b.png"],
        ["images/a.jpg", "masks/a.png", "masks/a.gif"],
        ["images/a.jpg", "masks/other/a.png"],
        [],
    ],
)
def test_no_mask_is_better_than_a_wrong_one(tmp_path: Path, files: list[str]) -> None:
    assert find_mask(make(tmp_path, files) / "images" / "a.jpg") is None


def test_a_mask_is_not_its_own_mask(tmp_path: Path) -> None:
    make(tmp_path, ["masks/a.png"])
    assert find_mask(tmp_path / "masks" / "a.png") is None


def test_a_relative_path_finds_its_mask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, ["images/a.jpg", "masks/a.png"])
    monkeypatch.chdir(tmp_path / "images")
    assert find_mask(Path("a.jpg")) == tmp_path / "masks" / "a.png"


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "count", "layout"),
    [
        ("carvana", 73, "train/ + train_masks/"),
        ("people", 60, "images/ + masks/"),
        ("nuclei", 60, "images/ + masks/"),
        ("crops", 8, "images/ + annotations/"),
        ("camvid", 56, "train/ + trainannot/ and val/ + valannot/"),
        ("cracks", 40, "images/ + masks/"),
        ("membranes", 12, "image/ + label/"),
    ],
)
def test_real_sets_are_paired_completely(real_data: Path, name: str, count: int, layout: str) -> None:
    found = find_pairs(real_data / name)
    assert len(found.pairs) == count
    assert found.problems == ()
    assert found.layout == layout
    assert all(find_mask(pair.image) == pair.mask_path for pair in found.pairs[:3])


@pytest.mark.realdata
def test_real_split_folders_are_kept(real_data: Path) -> None:
    splits = [pair.split for pair in find_pairs(real_data / "camvid").pairs]
    assert (splits.count("train"), splits.count("val")) == (40, 16)


@pytest.mark.realdata
def test_a_real_set_without_mask_pictures_is_refused(real_data: Path) -> None:
    with pytest.raises(InputError, match="car_parts holds 40 picture"):
        find_pairs(real_data / "car_parts")


def test_a_name_that_is_no_utf8_is_a_problem_that_can_be_printed(tmp_path: Path) -> None:
    make(tmp_path, ["images/a.jpg", "masks/a.png", os.fsdecode(b"images/caf\xe9.png"), os.fsdecode(b"\xe9/c.png")])
    found = find_pairs(tmp_path)
    assert shown(tmp_path, found.pairs) == [("images/a.jpg", "masks/a.png", None)]
    assert {problem.kind for problem in found.problems} == {"name"}
    assert [str(problem.path.relative_to(tmp_path)) for problem in found.problems] == [
        "\\udce9",
        "images/caf\\udce9.png",
    ]
    assert all("has a name that is not UTF-8; rename it." in problem.sentence for problem in found.problems)


@pytest.mark.parametrize("odd", ["images/caf\udce9.png", "masks/caf\udce9_mask.png"])
def test_the_partner_of_a_name_that_is_no_utf8_is_not_called_lonely(tmp_path: Path, odd: str) -> None:
    partner = "masks/café.png" if odd.startswith("images") else "images/café.png"
    found = find_pairs(make(tmp_path, ["images/a.jpg", "masks/a.png", odd, partner]))
    assert [problem.kind for problem in found.problems] == ["name"]


def test_a_folder_that_is_too_deep_is_a_problem_and_the_others_are_found(tmp_path: Path) -> None:
    make(tmp_path, ["images/a.jpg", "masks/a.png"])
    here = Path.cwd()
    os.chdir(tmp_path)
    try:
        for _ in range(25):
            Path("x" * 200).mkdir()
            os.chdir("x" * 200)
    finally:
        os.chdir(here)
    found = find_pairs(tmp_path)
    assert len(found.pairs) == 1
    (problem,) = found.problems
    assert problem.sentence.endswith("x cannot be listed (File name too long); move it up.")
    with pytest.raises(InputError, match="cannot be listed"):
        find_pictures(tmp_path)


def test_a_list_of_pictures_holds_no_name_that_cannot_be_printed(tmp_path: Path) -> None:
    make(tmp_path, ["a.jpg", os.fsdecode(b"caf\xe9.png")])
    with pytest.raises(InputError, match=r"caf\\udce9\.png' has a name that is not UTF-8"):
        find_pictures(tmp_path)
