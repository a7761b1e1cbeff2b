"""Whose the results in a folder are."""

from dataclasses import replace
from pathlib import Path, PurePath

import pytest

from maskwright.inference.claims import (
    NOTES,
    Claim,
    by_kind,
    digest_of,
    is_result,
    leaves_no_room,
    read_claims,
    write_claims,
)
from maskwright.inference.results import SUFFIXES


def a_claim(place: str = "a", kinds: tuple[str, ...] = ("mask",)) -> Claim:
    return Claim(place, f"{place}.png", f"../{place}.png", size=7, modified=3, makers="0a", kinds=kinds)


def test_the_newest_claim_of_a_kind_counts(tmp_path: Path) -> None:
    assert read_claims(tmp_path) == {}
    write_claims(tmp_path, [a_claim(kinds=("mask", "overlay")), a_claim("b")])
    write_claims(tmp_path, [replace(a_claim(), makers="1b")])
    claims = read_claims(tmp_path)
    assert {key: claim.makers for key, claim in claims.items()} == {
        ("a", "mask"): "1b",
        ("a", "overlay"): "0a",
        ("b", "mask"): "0a",
    }
    assert claims["b", "mask"] == a_claim("b")


def test_half_a_line_is_none_and_spoils_no_other(tmp_path: Path) -> None:
    write_claims(tmp_path, [a_claim(), a_claim("b")])
    lines = tmp_path / NOTES / "results.jsonl"
    lines.write_text(lines.read_text()[:-30])  # as a kill leaves it
    assert [*read_claims(tmp_path)] == [("a", "mask")]
    write_claims(tmp_path, [a_claim("c")])
    assert [*read_claims(tmp_path)] == [("a", "mask"), ("c", "mask")]


@pytest.mark.parametrize(
    "changed",
    [replace(a_claim(), size=8), replace(a_claim(), modified=4), replace(a_claim(), source="../other/a.png")],
)
def test_a_changed_picture_is_not_covered(changed: Claim) -> None:
    assert a_claim().covers(a_claim(kinds=("soft",)))
    assert not a_claim().covers(changed)
    assert not a_claim().is_of(changed)


def test_another_maker_is_not_covered() -> None:
    other = replace(a_claim(), makers="1b")
    assert not a_claim().covers(other)
    assert a_claim().is_of(other)
    assert digest_of({"model": "x", "threshold": 0.5}) == digest_of({"threshold": 0.5, "model": "x"})
    assert digest_of({"model": "x"}) != digest_of({"model": "y"})


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("below/a_mask.png", True),
        ("below/a_soft_2.png", True),
        ("below/a_overlay.png", False),  # not claimed
        ("below/a.png", False),
        ("a_mask.png", False),  # of another folder
        ("sheet_001.png", True),
        ("below/sheet_001.png", False),
        ("coco.json", False),
        ("clip_frames/000001_mask.png", True),
        ("other_frames/000001_mask.png", False),
        ("_frames/000001_mask.png", False),
    ],
)
def test_results_are_known_by_their_claims(path: str, expected: bool) -> None:
    claims = by_kind([a_claim("below/a", ("mask", "soft", "sheet")), a_claim("clip")])
    assert is_result(PurePath(path), claims) is expected


def test_the_longest_name_of_a_picture_leaves_room_for_every_kind_of_result() -> None:
    longest = max(length for length in range(256) if not leaves_no_room("a" * length))
    assert longest + max(len(f"_{kind}{suffix}") for kind, suffix in SUFFIXES.items()) == 255
    assert leaves_no_room("ä" * 120)
