"""Each kind of finding, on a tiny folder that has it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskwright.data.doctor import diagnose
from maskwright.data.examination import examine
from maskwright.data.finding import find_dataset
from maskwright.data.label_survey import LabelOptions
from maskwright.data.reading import choose_formats
from maskwright.data.report import Diagnosis, Finding
from tests.tiny_pictures import HEIGHT, WIDTH, a_mask, an_image, write


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Ten clean pictures of five cars."""
    folder = tmp_path / "photos"
    for seed in range(10):
        name = f"car{seed // 2}_{seed % 2}"
        write(folder / "images" / f"{name}.png", an_image(seed))
        write(folder / "masks" / f"{name}.png", a_mask(seed))
    return folder


def check(folder: Path, *, size: int = 96, pattern: str | None = None, **options: object) -> Diagnosis:
    pairing = find_dataset(folder)
    told = LabelOptions(classes=pairing.classes, **options)  # type: ignore[arg-type]
    formats, decision = choose_formats(pairing.pairs, told, advance=lambda: None)
    examined = examine(pairing.pairs, formats, size=size, advance=lambda: None)
    return diagnose(folder, pairing, formats, decision, examined, pattern=pattern, size=size, val_share=0.2)


def the(diagnosis: Diagnosis, kind: str) -> Finding:
    (finding,) = [finding for finding in diagnosis.findings if finding.kind == kind]
    return finding


def image(photos: Path, name: str = "car0_0") -> Path:
    return photos / "images" / f"{name}.png"


def mask(photos: Path, name: str = "car0_0") -> Path:
    return photos / "masks" / f"{name}.png"


def test_a_clean_folder_is_clean_and_says_what_it_is(photos: Path) -> None:
    diagnosis = check(photos)
    assert diagnosis.verdict == "clean"
    assert [finding.kind for finding in diagnosis.findings] == ["labels"]
    assert diagnosis.parts() == {"train": (8, 4), "val": (2, 1)}
    assert [some.pictures for some in diagnosis.classes()] == [10, 10]
    assert diagnosis.classes()[1].share == pytest.approx(2000 / (HEIGHT * WIDTH))


def cut_short(photos: Path) -> None:
    image(photos).write_bytes(image(photos).read_bytes()[:200])


def no_mask(photos: Path) -> None:
    mask(photos).unlink()


def no_image(photos: Path) -> None:
    image(photos).unlink()


def text_for_mask(photos: Path) -> None:
    mask(photos).write_text("no picture")


def square_mask(photos: Path) -> None:
    write(mask(photos), a_mask(0)[:, :HEIGHT])


def mask_across(photos: Path) -> None:
    write(mask(photos), np.ascontiguousarray(a_mask(0).T))


def strange_values(photos: Path) -> None:
    odd = a_mask(0) // 255
    odd[:9] = 7
    write(mask(photos), odd)


def empty_mask(photos: Path) -> None:
    write(mask(photos), np.zeros_like(a_mask(0)))


def full_mask(photos: Path) -> None:
    write(mask(photos), np.full_like(a_mask(0), 255))


def small_mask(photos: Path) -> None:
    write(mask(photos), a_mask(0)[::2, ::2])


def grey_picture(photos: Path) -> None:
    write(image(photos), np.repeat(an_image(0)[..., :1], 3, axis=2))


def opaque_alpha(photos: Path) -> None:
    Image.fromarray(an_image(0)).convert("RGBA").save(image(photos))


def varying_alpha(photos: Path) -> None:
    write(image(photos), np.dstack([an_image(0), a_mask(0)]))


def sixteen_bits(photos: Path) -> None:
    deep = an_image(0)[..., 0].astype(np.uint16) * 16
    Image.fromarray(deep).save(image(photos))


def cmyk(photos: Path) -> None:
    image(photos).unlink()
    Image.fromarray(an_image(0)).convert("CMYK").save(image(photos).with_suffix(".jpg"))


def tiny_picture(photos: Path) -> None:
    write(image(photos), an_image(0)[::2, ::2])
    write(mask(photos), a_mask(0)[::2, ::2])


@pytest.mark.parametrize(
    ("spoil", "kind", "level"),
    [
        (cut_short, "unreadable", "problem"),
        (text_for_mask, "unreadable", "problem"),
        (no_mask, "image without mask", "problem"),
        (no_image, "mask without image", "problem"),
        (square_mask, "other shape", "problem"),
        (mask_across, "other shape", "problem"),
        (strange_values, "unexpected values", "problem"),
        (empty_mask, "empty masks", "warning"),
        (full_mask, "full masks", "warning"),
        (tiny_picture, "very small", "warning"),
        (small_mask, "resized masks", "note"),
        (grey_picture, "grey pictures", "note"),
        (opaque_alpha, "unused alpha", "note"),
        (varying_alpha, "transparent pictures", "note"),
        (sixteen_bits, "deep pictures", "note"),
        (cmyk, "CMYK pictures", "note"),
    ],
)
def test_one_odd_file_is_one_finding_that_names_it(
    photos: Path, spoil: Callable[[Path], None], kind: str, level: str
) -> None:
    spoil(photos)
    diagnosis = check(photos)
    found = the(diagnosis, kind)
    assert found.level == level
    assert len(found.files) == 1
    assert "car0_0" in next(iter(found.files))
    assert found.sentence.endswith(".")
    assert found.remedy
    assert {other.kind for other in diagnosis.findings} == {kind, "labels"}
    assert diagnosis.verdict == ("clean" if level == "note" else "findings")


def test_all_that_is_wrong_with_a_file_is_told(tmp_path: Path) -> None:
    write(tmp_path / "a.png", an_image(0))
    (tmp_path / "manifest.csv").write_text("image,mask\n/b.png,\n/c.png,\n", encoding="utf-8")
    told = the(check(tmp_path), "unreadable").files["manifest.csv"]
    assert "line 2 has the path '/b.png'" in told
    assert "line 3 has the path '/c.png'" in told


def test_names_and_sentences_give_no_orders_to_a_terminal(photos: Path) -> None:
    image(photos).rename(photos / "images" / "\x1b[2J\nx.png")
    (photos / "masks" / "\x1b[2J\nx.png").write_text("car", encoding="utf-8")
    ((name, sentence),) = the(check(photos), "unreadable").files.items()
    assert name == "masks/\\u001b[2J\\nx.png"
    assert (name + sentence).isprintable()


def test_copies_with_equal_masks_are_duplicates(photos: Path) -> None:
    shutil.copy(image(photos), image(photos, "car0_2"))
    shutil.copy(mask(photos), mask(photos, "car0_2"))
    found = the(check(photos), "duplicates")
    assert found.sentence.startswith("1 picture is an exact copy")
    assert found.files == {"images/car0_0.png": "like images/car0_2.png", "images/car0_2.png": "like images/car0_0.png"}


def test_copies_with_different_masks_contradict_each_other(photos: Path) -> None:
    shutil.copy(image(photos), image(photos, "car0_1"))
    diagnosis = check(photos)
    assert list(the(diagnosis, "contradictory masks").files) == ["images/car0_0.png", "images/car0_1.png"]
    assert "duplicates" not in {found.kind for found in diagnosis.findings}


def test_lookalikes_of_different_groups_are_kept_together(photos: Path) -> None:
    brighter = np.clip(an_image(0).astype(int) + 12, 0, 255).astype(np.uint8)
    write(image(photos, "car4_0"), brighter)
    diagnosis = check(photos)
    found = the(diagnosis, "near-duplicates")
    assert (found.level, sorted(found.files)) == ("note", ["images/car0_0.png", "images/car4_0.png"])
    assert diagnosis.split["images/car0_0"] == diagnosis.split["images/car4_1"]


def test_copies_in_two_given_parts_are_a_leak(photos: Path) -> None:
    for part, cars in (("train", range(4)), ("val", [4])):
        for car in cars:
            for kind, view in (("images", 0), ("images", 1), ("masks", 0), ("masks", 1)):
                target = photos / part / kind / f"car{car}_{view}.png"
                target.parent.mkdir(parents=True, exist_ok=True)
                (photos / kind / f"car{car}_{view}.png").rename(target)
    (photos / "images").rmdir()
    (photos / "masks").rmdir()
    assert check(photos).verdict == "clean"
    shutil.copy(photos / "train/images/car0_0.png", photos / "val/images/car4_0.png")
    shutil.copy(photos / "train/masks/car0_0.png", photos / "val/masks/car4_0.png")
    assert list(the(check(photos), "leak").files) == ["train/images/car0_0.png", "val/images/car4_0.png"]


@pytest.mark.parametrize("part", ["val", "test"])
def test_groups_in_two_given_parts_are_a_leak(photos: Path, part: str) -> None:
    for car in range(5):
        for kind in ("images", "masks"):
            for view, where in enumerate(("train", "train" if car > 1 else part)):
                (photos / where / kind).mkdir(parents=True, exist_ok=True)
                (photos / kind / f"car{car}_{view}.png").rename(photos / where / kind / f"car{car}_{view}.png")
    diagnosis = check(photos)
    found = the(diagnosis, "group leak")
    assert (found.level, diagnosis.verdict) == ("warning", "findings")
    assert found.sentence.startswith(
        f"2 groups have pictures in train and in {part}, as the folders give them: car0, car1;"
    )
    assert found.files == {
        "train/images/car0_0.png": "car0, in train",
        f"{part}/images/car0_1.png": f"car0, in {part}",
        "train/images/car1_0.png": "car1, in train",
        f"{part}/images/car1_1.png": f"car1, in {part}",
    }


def test_one_mask_for_all_pictures_is_said(photos: Path) -> None:
    for path in (photos / "masks").iterdir():
        write(path, a_mask(0))
    assert the(check(photos), "same mask").level == "warning"


def test_inverted_masks_are_a_question_that_an_option_answers(photos: Path) -> None:
    for seed, path in enumerate(sorted((photos / "masks").iterdir())):
        write(path, 255 - a_mask(seed))
    questions = [found for found in check(photos).findings if found.level == "question"]
    assert len(questions) == 1
    assert "--foreground dark" in questions[0].sentence
    assert check(photos, foreground="dark").verdict == "clean"


@pytest.mark.parametrize("orientation", [6, 8])
@pytest.mark.parametrize("is_drawn_before", [False, True])
def test_of_turned_pictures_it_is_said_what_the_mask_was_drawn_on(
    photos: Path, orientation: int, is_drawn_before: bool
) -> None:
    turn = Image.Transpose.ROTATE_90 if orientation == 6 else Image.Transpose.ROTATE_270
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(an_image(0)).transpose(turn).save(image(photos), exif=exif)
    if is_drawn_before:
        Image.fromarray(a_mask(0)).transpose(turn).save(mask(photos))
    diagnosis = check(photos)
    where = "the picture as it is stored" if is_drawn_before else "the upright picture"
    assert the(diagnosis, "turned pictures").files == {"images/car0_0.png": f"its mask was drawn on {where}"}
    assert diagnosis.classes()[1].share == pytest.approx(2000 / (HEIGHT * WIDTH))


def test_where_the_shape_of_a_mask_does_not_tell_that_is_a_warning(photos: Path) -> None:
    exif = Image.Exif()
    exif[274] = 3
    Image.fromarray(an_image(0)).save(image(photos), exif=exif)
    assert the(check(photos), "turned masks").level == "warning"


def test_classes_that_are_absent_rare_or_without_a_score_are_named(photos: Path) -> None:
    (photos / "classes.txt").write_text("background\ncar\nbus\ntram\n")
    for seed, path in enumerate(sorted((photos / "masks").iterdir())):
        write(path, a_mask(seed) // 255)
    diagnosis = check(photos)
    trained = next(name for name, part in diagnosis.split.items() if part == "train")
    shown = a_mask(0) // 255
    shown[:2, :2] = 2
    write(photos / "masks" / f"{Path(trained).name}.png", shown)
    diagnosis = check(photos)
    assert "tram" in the(diagnosis, "absent classes").sentence
    assert "bus (1 picture)" in the(diagnosis, "rare classes").sentence
    assert "bus" in the(diagnosis, "unscored classes").sentence
    assert "bus 0.0" in the(diagnosis, "tiny classes").sentence


def test_thin_masks_cost_resolution_and_the_size_that_is_enough_is_named(photos: Path) -> None:
    for path in (photos / "masks").iterdir():
        thin = np.zeros((HEIGHT, WIDTH), np.uint8)
        thin[:, ::12] = 255
        write(path, thin)
    found = the(check(photos, size=32), "resolution")
    assert "--size 128" in found.remedy
    assert "resolution" not in {other.kind for other in check(photos, size=128).findings}


def test_too_few_pictures_to_split_are_a_problem(photos: Path) -> None:
    for path in [*(photos / "images").iterdir(), *(photos / "masks").iterdir()]:
        if path.stem != "car0_0":
            path.unlink()
    diagnosis = check(photos)
    assert the(diagnosis, "split").level == "problem"
    assert diagnosis.split == {}


def test_a_folder_of_nothing_but_damage_is_unusable(photos: Path) -> None:
    for path in (photos / "images").iterdir():
        path.write_bytes(b"no picture")
    diagnosis = check(photos)
    assert diagnosis.verdict == "unusable"
    assert len(the(diagnosis, "unreadable").files) == 10
    json.dumps(diagnosis.to_json())


def test_the_gravest_findings_come_first(photos: Path) -> None:
    small_mask(photos)
    write(mask(photos, "car1_0"), np.zeros_like(a_mask(0)))
    mask(photos, "car2_0").unlink()
    levels = [found.level for found in check(photos).findings]
    assert levels == ["problem", "warning", "note", "note"]


def test_the_report_for_scripts_keeps_its_shape(photos: Path) -> None:
    empty_mask(photos)
    report = check(photos).to_json()
    assert list(report) == [
        "photos",
        "verdict",
        "layout",
        "pictures",
        "findings",
        "masks",
        "ignored",
        "classes",
        "groups",
        "split",
        "sizes",
        "resolution",
    ]
    assert list(report["findings"][0]) == ["kind", "level", "sentence", "remedy", "files"]
    assert list(report["classes"][0]) == ["name", "raw", "share", "pictures"]
    assert report["split"] == {"train": {"pictures": 8, "groups": 4}, "val": {"pictures": 2, "groups": 1}}
    assert json.loads(json.dumps(report))["sizes"]["largest"] == [WIDTH, HEIGHT]


def test_a_pattern_makes_the_groups(photos: Path) -> None:
    assert check(photos, pattern="_[01]").to_json()["groups"]["count"] == 2
