"""`maskwright evaluate --compare`: which pictures are compared, and what is said where they may be others."""

import json
from pathlib import Path
from typing import Any

import pytest

from maskwright.cli import main
from maskwright.evaluation.compare import TOO_FEW_GROUPS

NAMES = ("img_0001", "img_0002", "img_0003")
OLD = ("", "", "")
NAMED_ALONE = "They were paired by their names alone"


def write_scores(folder: Path, photos: str | None, prints: tuple[str, ...] = ("a", "b", "c"), **content: Any) -> str:
    """What an evaluation leaves; before there were fingerprints, rows had none."""
    rows = [
        {"name": name, "group": name, "dice": 0.9, "iou": 0.8, **({"fingerprint": known} if known else {})}
        for name, known in zip(NAMES, prints, strict=True)
    ]
    interval = {"mean": 0.9, "low": 0.8, "high": 1.0}
    scores = {"dice": interval, "iou": interval, "groups": 3, "classes": [], "problems": [], "pictures": rows}
    if photos:
        scores |= {"model": "gone.safetensors", "photos": photos}
    folder.mkdir()
    (folder / "scores.json").write_text(json.dumps(scores | content))
    return str(folder)


def compared(a: str, b: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, Any], str]:
    """What the command leaves, and what it warns of."""
    assert main(["evaluate", "--compare", a, b, "--out", str(tmp_path / "out")]) == 0
    return json.loads((tmp_path / "out" / "comparison.json").read_text()), capsys.readouterr().err


def test_pictures_of_another_year_that_are_called_the_same_are_refused_with_both_folders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = write_scores(tmp_path / "a", "2023"), write_scores(tmp_path / "b", "2024", ("d", "e", "f"))
    assert main(["evaluate", "--compare", a, b, "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "have no picture in common (3 pictures have the same names in 2023 and 2024 and are other files" in said
    assert not (tmp_path / "out").exists()


def test_other_files_among_those_of_the_same_name_are_left_aside_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = write_scores(tmp_path / "a", "2023"), write_scores(tmp_path / "b", "2024", ("a", "e", "c"))
    found, said = compared(a, b, tmp_path, capsys)
    assert (found["common"], found["namesakes"]) == (2, 1)
    assert "1 pictures have the same names in 2023 and 2024 and are other files, which are not compared." in said
    assert NAMED_ALONE not in said
    assert "other files, which are not compared" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_a_copy_of_a_folder_holds_the_same_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = write_scores(tmp_path / "a", "2023"), write_scores(tmp_path / "b", "copy")
    found, _ = compared(a, b, tmp_path, capsys)
    assert (found["common"], found["remarks"]) == (3, [])


@pytest.mark.parametrize("prints", [OLD, ("a", "b", "c")])
def test_scores_that_do_not_say_which_pictures_they_are_of_are_compared_with_a_warning(
    prints: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = write_scores(tmp_path / "a", "2023", OLD), write_scores(tmp_path / "b", "2024", prints)
    found, said = compared(a, b, tmp_path, capsys)
    assert found["common"] == 3
    assert f"A scored pictures of 2023, B of 2024. {NAMED_ALONE}" in said


@pytest.mark.parametrize("others", ["2023", "2023/../2023", None])
def test_where_they_are_of_one_folder_or_nobody_knows_of_which_there_is_none(
    others: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = write_scores(tmp_path / "a", "2023", OLD), write_scores(tmp_path / "b", others, OLD)
    assert compared(a, b, tmp_path, capsys)[0]["remarks"] == []


@pytest.mark.parametrize("run", ["b", "b/fold-0"])
def test_runs_tell_their_folder_by_their_split(run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = write_scores(tmp_path / "a", "2023", OLD), write_scores(tmp_path / "b", None, OLD)
    (tmp_path / run).mkdir(exist_ok=True)
    (tmp_path / run / "split.json").write_text(json.dumps({"photos": "2024"}))
    assert "A scored pictures of 2023, B of 2024." in compared(a, b, tmp_path, capsys)[1]


def test_what_a_reader_of_one_of_them_must_know_is_said_of_both(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    leak = "LEAK: old/model.safetensors has learnt from 3 of the 3 pictures of val."
    a, b = write_scores(tmp_path / "a", "2023"), write_scores(tmp_path / "b", "2023", remarks=[leak], part="val")
    found, said = compared(a, b, tmp_path, capsys)
    assert found["remarks"][0] == f"B: {leak}"
    assert found["remarks"][1].startswith("B: The best weights were chosen on pictures of the same part")
    assert leak in said
    assert leak in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_a_gain_on_three_groups_is_not_called_better_and_it_is_said_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    better = [{"name": name, "group": name, "dice": 0.95, "iou": 0.8} for name in NAMES]
    a, b = write_scores(tmp_path / "a", "2023", OLD), write_scores(tmp_path / "b", "2023", OLD, pictures=better)
    assert main(["evaluate", "--compare", a, b, "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr()
    assert TOO_FEW_GROUPS in said.err
    assert "is better" not in said.out
    found = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert (found["remarks"], found["dice"]["low"] > 0) == ([TOO_FEW_GROUPS], True)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert TOO_FEW_GROUPS in page
    assert "is better<" not in page


def test_measures_that_earlier_versions_did_not_know_are_dashes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = write_scores(tmp_path / "a", "2023", OLD), write_scores(tmp_path / "b", "2023", OLD)
    assert main(["evaluate", "--compare", a, b, "--out", str(tmp_path / "out")]) == 0
    (row,) = [line for line in capsys.readouterr().out.splitlines() if "boundary F" in line and "tolerance" not in line]
    assert ("–" in row, "nan" in row, "single group" in row) == (True, False, False)


@pytest.mark.parametrize("content", [[], {"pictures": ["a"], "groups": 1}, {"pictures": [{"name": "a"}], "groups": 1}])
def test_other_json_is_no_scores(content: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.json").write_text(json.dumps(content))
    b = write_scores(tmp_path / "b", "2023")
    assert main(["evaluate", "--compare", str(tmp_path / "a.json"), b]) == 2
    assert f"{tmp_path / 'a.json'} holds no scores; run `maskwright evaluate`" in capsys.readouterr().err


def test_a_comparison_is_no_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = write_scores(tmp_path / "a", "2023"), write_scores(tmp_path / "b", "2023")
    compared(a, b, tmp_path, capsys)
    earlier = tmp_path / "out" / "comparison.json"
    assert main(["evaluate", "--compare", str(earlier), b]) == 2
    assert f"{earlier} holds no scores; run `maskwright evaluate`" in capsys.readouterr().err


def test_masks_that_were_read_in_different_ways_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = write_scores(tmp_path / "a", "2023", masks={"classes": None, "ignore": None, "foreground": None})
    b = write_scores(tmp_path / "b", "2023", masks={"classes": None, "ignore": None, "foreground": "dark"})
    found, _ = compared(a, b, tmp_path, capsys)
    said = "A and B were scored with masks that were read in different ways"
    assert found["remarks"] == [f"{said}: as in training for A, --foreground dark for B."]
