"""Which pictures the inputs name, and where their results go."""

from pathlib import Path

import pytest

from maskwright.errors import InputError
from maskwright.inference.claims import NOTES, Claim, write_claims
from maskwright.inference.jobs import find_jobs, with_truths
from tests.tiny_pictures import a_mask, an_image, write

KINDS = ("mask", "overlay", "soft")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("a", "below/b", "below/c"):
        write(tmp_path / "photos" / f"{name}.png", an_image(1))
    return tmp_path / "photos"


@pytest.fixture
def odd(photos: Path) -> Path:
    """A picture among the others whose name is no UTF-8."""
    odd = photos / "caf\udce9.png"
    try:
        write(photos / "d.png", an_image(2))
        (photos / "d.png").rename(odd)
    except OSError:
        pytest.skip("this file system takes no such names")
    return odd


def names(inputs: list[Path | str], out: Path) -> list[str]:
    return [job.name for job in find_jobs(inputs, out, KINDS).jobs]


def test_folders_are_mirrored(photos: Path, tmp_path: Path) -> None:
    jobs = find_jobs([photos], tmp_path / "out", KINDS).jobs
    assert [job.target for job in jobs] == [tmp_path / "out" / name for name in ("a", "below/b", "below/c")]
    assert [job.part for job in jobs] == [tmp_path / "out" / NOTES / name for name in ("a", "below/b", "below/c")]


def test_a_picture_named_twice_is_predicted_once(photos: Path, tmp_path: Path) -> None:
    assert names([photos / "below", f"{photos}/below/*.png"], tmp_path) == ["b.png", "c.png"]


def test_results_below_the_folder_are_no_pictures_to_predict(photos: Path) -> None:
    for place in ("out/a_mask.png", "out/below/b_overlay.png"):
        write(photos / place, an_image(2))
    assert names([photos], photos / "out") == ["a.png", "below/b.png", "below/c.png"]


def test_results_beside_their_pictures_are_no_pictures_to_predict(photos: Path) -> None:
    for place in ("a_overlay.png", "below/b_soft_3.png"):
        write(photos / place, an_image(2))
    write(photos / "below/street_overlay.png", an_image(3))  # of no picture here
    assert names([photos], photos) == ["a.png", "below/b.png", "below/c.png", "below/street_overlay.png"]


def test_masks_beside_their_pictures_are_truths(photos: Path, tmp_path: Path) -> None:
    for name in ("a", "below/b", "below/c"):
        write(photos / f"{name}_mask.png", a_mask(1))
    jobs = find_jobs([photos], tmp_path / "out", KINDS).jobs
    assert [job.truth for job in jobs] == [photos / f"{name}_mask.png" for name in ("a", "below/b", "below/c")]


def test_a_file_finds_its_truth_where_masks_usually_lie(photos: Path, tmp_path: Path) -> None:
    write(photos / "a_mask.png", a_mask(1))
    (job,) = with_truths(find_jobs([photos / "a.png"], tmp_path, KINDS).jobs, None)
    assert job.truth == photos / "a_mask.png"


def test_two_pictures_of_one_name_are_refused(photos: Path, tmp_path: Path) -> None:
    write(photos / "a.bmp", an_image(2))
    with pytest.raises(InputError, match=r"a\.bmp and .*a\.png would both be written to"):
        find_jobs([photos], tmp_path / "out", KINDS)


def test_a_name_that_is_no_utf_8_is_a_problem_of_its_own(odd: Path, photos: Path, tmp_path: Path) -> None:
    found = find_jobs([photos], tmp_path / "out", KINDS)
    assert len(found.jobs) == 3
    assert "UTF-8" in found.problems[0].sentence


def test_so_it_is_where_a_pattern_or_its_own_name_brings_it_in(odd: Path, photos: Path, tmp_path: Path) -> None:
    for name in (odd, f"{photos}/*.png"):
        (problem,) = find_jobs([name, photos / "below/b.png"], tmp_path / "out", KINDS).problems
        assert "UTF-8" in problem.sentence


def test_a_name_that_leaves_no_room_for_those_of_results_is_a_problem_of_its_own(photos: Path, tmp_path: Path) -> None:
    long = photos / f"{'d' * 245}.png"
    write(long, an_image(2))
    ways: list[list[Path | str]] = [[photos], [long, f"{photos}/**/?.png"]]
    for inputs in ways:
        found = find_jobs(inputs, tmp_path / "out", KINDS)
        assert len(found.jobs) == 3
        assert [problem.path for problem in found.problems] == [long]
        assert "too long a name" in found.problems[0].sentence


def test_videos_are_told_by_their_names(tmp_path: Path) -> None:
    (tmp_path / "clip.MP4").touch()
    (job,) = find_jobs([f"{tmp_path}/*"], tmp_path / "out", KINDS).jobs
    assert job.is_video


@pytest.mark.parametrize("name", ["missing.png", "*.png"])
def test_what_matches_nothing_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="matches no picture"):
        find_jobs([tmp_path / name], tmp_path / "out", KINDS)


def test_what_an_earlier_run_has_noted_is_no_picture_to_predict(photos: Path) -> None:
    write_claims(photos, [Claim("e", "e.png", "../e.png", 1, 1, "0a", ("mask", "sheet"))])
    for place in ("e_mask.png", "sheet_001.png"):
        write(photos / place, an_image(2))
    assert names([photos], photos) == ["a.png", "below/b.png", "below/c.png"]


def test_nor_is_it_where_a_pattern_or_its_own_name_brings_it_in(photos: Path, tmp_path: Path) -> None:
    write_claims(photos, [Claim("a", "a.png", "a.png", 1, 1, "0a", ("mask",))])
    for place in ("a_mask.png", "e_mask.png"):
        write(photos / place, an_image(2))
    assert names([f"{photos}/*.png"], photos) == ["a.png", "e_mask.png"]
    assert names([photos / "a_mask.png", photos / "a.png"], photos) == ["a.png"]
    assert names([photos / "a_mask.png"], tmp_path / "out") == ["a_mask.png"]  # a picture like any other there


@pytest.mark.parametrize("named", ["a_mask.png", "*_mask.png"])
def test_inputs_that_are_all_results_are_refused_as_such(photos: Path, named: str) -> None:
    write_claims(photos, [Claim("a", "a.png", "a.png", 1, 1, "0a", ("mask",))])
    write(photos / "a_mask.png", a_mask(1))
    with pytest.raises(InputError, match="only results of earlier runs in"):
        find_jobs([photos / named], photos, KINDS)


def test_photographs_that_were_predicted_in_place_are_pictures_of_the_folder_above(
    photos: Path, tmp_path: Path
) -> None:
    below = photos / "below"
    write_claims(below, [Claim("b", "b.png", "b.png", 1, 1, "0a", ("mask",))])
    for name in ("b", "c"):
        write(below / f"{name}_mask.png", a_mask(1))
    jobs = find_jobs([photos], tmp_path / "out", KINDS).jobs
    assert [(job.name, job.truth) for job in jobs] == [
        ("a.png", None),
        ("below/b.png", None),
        ("below/c.png", below / "c_mask.png"),
    ]
    assert [job.truth for job in with_truths(jobs, None)] == [None, None, below / "c_mask.png"]


def test_notes_that_name_no_results_leave_out_the_whole_folder(photos: Path, tmp_path: Path) -> None:
    (photos / "below" / NOTES).mkdir()  # as --runner ray does
    (photos / "below" / NOTES / "manifest.json").touch()
    assert names([photos], tmp_path / "out") == ["a.png"]


def test_a_predicted_mask_is_no_truth(photos: Path) -> None:
    for name in ("a", "below/b", "below/c"):
        write(photos / f"{name}_mask.png", a_mask(1))
    write_claims(photos, [Claim("a", "a.png", "a.png", 1, 1, "0a", ("mask",))])
    jobs = find_jobs([photos], photos, KINDS).jobs
    assert [job.truth for job in jobs] == [None, photos / "below/b_mask.png", photos / "below/c_mask.png"]
    (job,) = with_truths(find_jobs([photos / "a.png"], photos, KINDS).jobs, None)
    assert job.truth is None
    (job,) = with_truths([job], photos / "below")
    assert job.truth is None
    write(photos / "masks/a.png", a_mask(2))
    (job,) = with_truths([job], photos / "masks")
    assert job.truth == photos / "masks/a.png"


def test_a_claim_names_the_picture_from_the_folder_of_results(photos: Path, tmp_path: Path) -> None:
    job, *_ = find_jobs([photos], tmp_path / "out", KINDS).jobs
    claim = job.claim("0a", ["mask"])
    assert (claim.place, claim.name, claim.source) == ("a", "a.png", "../photos/a.png")
    assert claim.size == (photos / "a.png").stat().st_size
    (photos / "a.png").unlink()
    assert not claim.is_of(job.claim("0a", ["mask"]))
