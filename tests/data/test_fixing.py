"""A clean copy leaves nothing to mend, and the original as it was."""

import csv
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskwright.data.doctor import diagnose
from maskwright.data.examination import examine
from maskwright.data.finding import find_dataset
from maskwright.data.fixing import write_clean_copy
from maskwright.data.label_survey import LabelOptions
from maskwright.data.pairs import ClassEntry, ClassList
from maskwright.data.reading import choose_formats, read_pair
from maskwright.data.report import Diagnosis
from maskwright.errors import InputError
from tests.tiny_pictures import a_mask, an_image, write

COLOURS = ((0, 0, 0), (230, 159, 0), (86, 180, 233))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Ten pictures of five cars, a folder for each car."""
    folder = tmp_path / "photos"
    for seed in range(10):
        name = f"car{seed // 2}/{seed % 2}.png"
        write(folder / "images" / name, an_image(seed))
        write(folder / "masks" / name, a_mask(seed))
    return folder


def check(folder: Path, options: LabelOptions | None = None) -> Diagnosis:
    pairing = find_dataset(folder)
    formats, decision = choose_formats(
        pairing.pairs, options or LabelOptions(classes=pairing.classes), advance=lambda: None
    )
    examined = examine(pairing.pairs, formats, size=96, advance=lambda: None)
    return diagnose(folder, pairing, formats, decision, examined, pattern=None, size=96, val_share=0.2)


def fix(diagnosis: Diagnosis, out: Path) -> dict[str, dict[str, object]]:
    changes = write_clean_copy(diagnosis, out, colours=COLOURS, advance=lambda: None)
    assert json.loads((out / "changes.json").read_text()) == changes
    return {entry.get("image") or entry["file"]: entry for entry in changes}


def content_of(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def make_a_mess(photos: Path) -> None:
    image, mask = photos / "images", photos / "masks"
    (image / "car0/0.png").write_bytes((image / "car0/0.png").read_bytes()[:200])
    (mask / "car0/1.png").unlink()
    write(mask / "car1/0.png", a_mask(2)[:, :72])
    write(mask / "car1/1.png", a_mask(3)[::2, ::2])
    shutil.copy(image / "car2/0.png", image / "car2/2.png")
    shutil.copy(mask / "car2/0.png", mask / "car2/2.png")
    shutil.copy(image / "car2/1.png", image / "car2/3.png")
    shutil.copy(mask / "car3/1.png", mask / "car2/3.png")
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(an_image(6)).transpose(Image.Transpose.ROTATE_90).save(image / "car3/0.png", exif=exif)
    write(mask / "car4/2.png", a_mask(0))


def test_the_copy_of_a_mess_is_clean_and_the_mess_is_untouched(photos: Path, tmp_path: Path) -> None:
    make_a_mess(photos)
    before = content_of(photos)
    messy = check(photos)
    assert messy.verdict == "findings"
    changes = fix(messy, tmp_path / "out")
    assert content_of(photos) == before
    assert check(tmp_path / "out").verdict == "clean"
    left_out = {name for name, entry in changes.items() if "left_out" in entry}
    assert left_out == {
        "images/car0/0.png",
        "images/car0/1.png",
        "masks/car1/0.png",
        "masks/car4/2.png",
        "images/car2/2.png",
        "images/car2/1.png",
        "images/car2/3.png",
    }


def test_the_copy_reads_as_the_original_does(photos: Path, tmp_path: Path) -> None:
    make_a_mess(photos)
    messy = check(photos)
    changes = fix(messy, tmp_path / "out")
    clean = check(tmp_path / "out")
    copies = {picture.pair.image.relative_to(tmp_path / "out").as_posix(): picture.pair for picture in clean.pictures}
    kept = [picture for picture in messy.pictures if "became" in changes[messy.name_of(picture)]]
    assert len(kept) == len(copies) == 6
    for picture in kept:
        copy = copies[changes[messy.name_of(picture)]["became"]["image"]]  # type: ignore[index]
        for original, again in zip(read_pair(picture.pair, messy.formats), read_pair(copy, clean.formats), strict=True):
            np.testing.assert_array_equal(original, again)


def test_groups_and_the_given_split_are_kept(photos: Path, tmp_path: Path) -> None:
    before = check(photos)
    fix(before, tmp_path / "out")
    after = check(tmp_path / "out")
    assert sorted(after.groups.of.values()) == sorted(before.groups.of.values())
    rows = (tmp_path / "out/manifest.csv").read_text().splitlines()
    assert rows[:2] == ["image,mask,group", "images/car0/0.png,masks/car0/0.png,car0"]


@pytest.mark.parametrize("held_out", [1, 4])  # of five cars; with four, no more can be taken from train
def test_the_copy_says_of_the_split_what_the_original_says(photos: Path, tmp_path: Path, held_out: int) -> None:
    for car in range(5):
        part = "test" if car < held_out else "train"
        for kind in ("images", "masks"):
            (photos / part / kind).mkdir(parents=True, exist_ok=True)
            (photos / kind / f"car{car}").rename(photos / part / kind / f"car{car}")
    diagnosis = check(photos)
    assert ("val" in diagnosis.split.values()) == (held_out == 1)
    fix(diagnosis, tmp_path / "out")
    rows = list(csv.DictReader((tmp_path / "out/manifest.csv").read_text().splitlines()))
    assert {row["image"]: row["split"] for row in rows} == {
        f"images/{part}/images/car{car}/{view}.png": part
        for car in range(5)
        for view in range(2)
        for part in ["test" if car < held_out else "train"]
    }


def test_upright_pictures_are_copied_byte_for_byte(photos: Path, tmp_path: Path) -> None:
    fix(check(photos), tmp_path / "out")
    assert (tmp_path / "out/images/car0/0.png").read_bytes() == (photos / "images/car0/0.png").read_bytes()


def test_more_classes_and_ignored_pixels_come_back(photos: Path, tmp_path: Path) -> None:
    for seed, path in enumerate(sorted((photos / "masks").rglob("*.png"))):
        classes = a_mask(seed) // 255 * 4
        classes[:4] = 9
        classes[4:6] = 11
        write(path, classes)
    entries = (ClassEntry("background", 0), ClassEntry("car", 4), ClassEntry("sky", 9))
    options = LabelOptions(classes=ClassList(entries, "--classes"), ignore=("11",))
    before = check(photos, options)
    fix(before, tmp_path / "out")
    after = check(tmp_path / "out")
    assert after.verdict == before.verdict == "clean"
    assert [(some.name, some.share) for some in after.classes()] == [
        (some.name, some.share) for some in before.classes()
    ]
    assert [picture.counts for picture in after.pictures] == [picture.counts for picture in before.pictures]
    with Image.open(tmp_path / "out/masks/car0/0.png") as mask:
        assert mask.mode == "P"


def test_dark_foreground_is_settled_for_good(photos: Path, tmp_path: Path) -> None:
    for seed, path in enumerate(sorted((photos / "masks").rglob("*.png"))):
        write(path, 255 - a_mask(seed))
    fix(check(photos, LabelOptions(foreground="light")), tmp_path / "light")
    fix(check(photos, LabelOptions(foreground="dark")), tmp_path / "dark")
    light, dark = check(tmp_path / "light"), check(tmp_path / "dark")
    assert light.verdict == dark.verdict == "clean"
    assert light.classes()[1].share == pytest.approx(1 - dark.classes()[1].share)


def test_a_folder_in_use_or_within_the_original_is_refused(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used/file").touch()
    for out in (tmp_path / "used", photos / "clean"):
        with pytest.raises(InputError, match=out.name):
            fix(check(photos), out)
    assert not (photos / "clean").exists()
