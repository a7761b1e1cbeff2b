import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pytest

from maskwright.data.pairing import find_mask, find_pairs
from maskwright.data.pairs import Pair
from maskwright.errors import InputError


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
        *("images/list.txt", "__MACOSX/images/c.jpg", ".cache/images/d.jpg", "masks/a.json"),
    ],
)
def test_what_is_no_picture_is_ignored(tmp_path: Path, extra: str) -> None:
    found = find_pairs(make(tmp_path, ["images/a.jpg", "masks/a.png", extra]))
    assert shown(tmp_path, found.pairs) == [("images/a.jpg", "masks/a.png", None)]
    assert found.problems == ()
    assert found.layout == "images/ + masks/"


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


def test_images_outside_of_val_need_masks_too(tmp_path: Path) -> None:
    found = find_pairs(make(tmp_path, ["images/a.jpg", "val/images/b.jpg", "val/masks/b.png"]))
    assert [problem.path for problem in found.problems] == [tmp_path / "images" / "a.jpg"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list everything")
def test_a_folder_that_may_not_be_listed_is_named(tmp_path: Path) -> None:
    make(tmp_path, ["images/a.jpg", "masks/a.png"])
    (tmp_path / "masks").chmod(0)
    with pytest.raises(InputError, match="masks cannot be listed"):
        find_pairs(tmp_path)


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


def test_a_name_that_is_no_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / os.fsdecode(b"caf\xe9.png")).touch()
    with pytest.raises(InputError, match=r"caf\\udce9\.png' has a name that is not UTF-8"):
        find_pairs(tmp_path)
