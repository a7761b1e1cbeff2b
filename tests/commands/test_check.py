"""`maskwright check`: what it prints, writes and returns; and what it says of real data sets."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import maskwright as mw
from maskwright.cli import main
from maskwright.config import MaskSettings

EXPECTATIONS = Path(__file__).parent / "check_expectations"
# Each set, and the one option that answers its one question.
ANSWERS = {
    "car_parts": None,
    "camvid": MaskSettings(ignore="11"),
    "carvana": None,
    "cracks": None,
    "crops": None,
    "membranes": MaskSettings(foreground="dark"),
    "nuclei": None,
    "people": None,
}


@pytest.fixture
def photos(drawn_cars: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(drawn_cars, tmp_path / "photos"))


def a_mask(photos: Path) -> Path:
    return min((photos / "train_masks").iterdir())


def test_a_clean_folder_ends_with_0_and_leaves_a_page(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["check", str(photos), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "12 pictures with masks (train/ + train_masks/)" in said
    assert "6 groups" in said
    assert said.rstrip().endswith(str(out / "check.html"))
    assert sorted(path.name for path in out.iterdir()) == ["check.html", "check.json"]


def test_findings_end_with_1_and_name_the_file(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    culprit = a_mask(photos)
    Image.fromarray(np.zeros((64, 96), np.uint8)).save(culprit)
    assert main(["check", str(photos), "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().out
    assert "WARNING" in said
    assert culprit.stem.removesuffix("_mask") in said


@pytest.mark.parametrize("is_there", [True, False])
def test_what_cannot_be_used_at_all_ends_with_2(photos: Path, tmp_path: Path, is_there: bool) -> None:
    for path in (photos / "train").iterdir():
        path.write_bytes(b"no picture") if is_there else path.unlink()
    assert main(["check", str(photos), "--out", str(tmp_path / "out")]) == 2


@pytest.mark.parametrize("size", [-5, 0, 31])
def test_a_size_that_train_refuses_is_refused(
    photos: Path, tmp_path: Path, size: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(photos), "--out", str(tmp_path / "out"), "--size", str(size)]) == 2
    assert "--size must be at least 32 pixels" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_json_is_one_document_on_standard_output(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(photos), "--out", str(tmp_path / "out"), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "out/check.json").read_text(encoding="utf-8"))
    assert printed["verdict"] == "clean"


def test_the_default_folder_is_a_new_one(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert main(["check", str(photos)]) == 0
    assert len(list((tmp_path / "runs").glob("*-check-photos*/check.html"))) == 2


def test_a_copy_is_written_when_asked_for(photos: Path, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(a_mask(photos))
    out, copy = tmp_path / "out", tmp_path / "copy"
    assert main(["check", str(photos), "--out", str(out), "--fix", str(copy)]) == 1
    assert main(["check", str(copy), "--out", str(tmp_path / "again")]) == 0
    assert main(["check", str(photos), "--out", str(tmp_path / "third"), "--fix", str(copy)]) == 2
    assert not (tmp_path / "third").exists()  # refused before anything is read


def test_a_copy_waits_for_the_answer_to_a_question(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (photos / "train_masks").iterdir():
        with Image.open(path) as mask:
            inverted = 255 - np.asarray(mask.convert("L"))
        Image.fromarray(inverted).save(path)
    fix = ["--fix", str(tmp_path / "copy")]
    assert main(["check", str(photos), "--out", str(tmp_path / "one"), *fix]) == 2
    assert "--foreground dark" in capsys.readouterr().err
    assert not (tmp_path / "copy").exists()
    assert main(["check", str(photos), "--out", str(tmp_path / "two"), *fix, "--foreground", "dark"]) == 0
    assert main(["check", str(tmp_path / "copy"), "--out", str(tmp_path / "three")]) == 0


def test_an_odd_name_reaches_every_output(photos: Path, tmp_path: Path) -> None:
    odd = "<b>été[red] 日本_mask.png"
    a_mask(photos).rename(photos / "train_masks" / odd)
    assert main(["check", str(photos), "--out", str(tmp_path / "out")]) == 1
    assert odd in (tmp_path / "out/check.json").read_text(encoding="utf-8")
    assert "<b>été" not in (tmp_path / "out/check.html").read_text(encoding="utf-8")


@pytest.mark.realdata
@pytest.mark.parametrize("name", ANSWERS)
def test_real_data_is_understood(name: str, real_data: Path, tmp_path: Path) -> None:
    diagnosis = mw.check(real_data / name, out=tmp_path / "out")
    expected = json.loads((EXPECTATIONS / f"{name}.json").read_text(encoding="utf-8"))
    assert reduce(diagnosis.to_json()) == expected


@pytest.mark.realdata
@pytest.mark.parametrize("name", ANSWERS)
def test_real_data_leaves_at_most_one_question_with_one_answer(name: str, real_data: Path, tmp_path: Path) -> None:
    answer = ANSWERS[name]
    asked = json.loads((EXPECTATIONS / f"{name}.json").read_text(encoding="utf-8"))["findings"]
    assert [found["level"] for found in asked].count("question") == (0 if answer is None else 1)
    if answer is not None:
        assert mw.check(real_data / name, masks=answer, out=tmp_path / "out").verdict == "clean"


def reduce(report: dict[str, Any]) -> dict[str, Any]:
    """What of a report says how a set was understood; sentences may be worded better."""
    return {
        **{key: report[key] for key in ("verdict", "layout", "pictures", "masks", "ignored", "split")},
        "findings": [
            {"kind": found["kind"], "level": found["level"], "files": len(found["files"])}
            for found in report["findings"]
        ],
        "classes": {some["name"]: some["pictures"] for some in report["classes"]},
        "groups": report["groups"]["count"],
        "sizes": {key: list(size) for key, size in report["sizes"].items()},
    }
