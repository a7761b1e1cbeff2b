"""`maskwright predict --runner ray`: what is refused before Ray is started, and what is listed.

What it does once Ray runs is in tests/scale/test_ray_runner.py.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from maskwright.cli import main
from maskwright.commands.predict_at_scale import Tally, _list, _tell, makers_of, predict_at_scale
from maskwright.config import PredictSettings
from maskwright.errors import InputError
from maskwright.scale.manifest import begin, mark_done
from maskwright.scale.places import open_place
from maskwright.scale.rounds import Failure
from maskwright.scale.sources import list_source
from tests.tiny_pictures import an_image, write


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number in range(3):
        write(tmp_path / f"photos/{number}.png", an_image(number))
    return tmp_path / "photos"


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["predict", *words]) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--save", "cutout"], "With --runner ray, --save knows mask, parquet, shards, not 'cutout'"),
        (["--large"], "leave --large and --background out"),
        (["--masks", "photos"], "no --masks"),
        (["more/"], "takes one folder"),
        (["--part", "0"], "--part counts pictures"),
        (["--threshold", "2"], "--threshold must lie between"),
    ],
)
def test_what_cannot_be_is_refused_at_once(
    tiny_model: Path, photos: Path, words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sentence in refused([str(tiny_model), str(photos), *words, "--runner", "ray"], capsys)


def test_an_address_without_ray_is_refused(tiny_model: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "goes with --runner ray" in refused([str(tiny_model), str(photos), "--address", "auto"], capsys)


def test_results_among_the_pictures_are_refused(tiny_model: Path, photos: Path) -> None:
    with pytest.raises(InputError, match="would lie among the pictures"):
        predict_at_scale(tiny_model, str(photos), out=str(photos))


@pytest.mark.parametrize("source", ["shards/*.tar", "shards", "shards/cars.tar", "parquet/below"])
def test_a_source_where_tables_and_shards_are_to_go_is_refused(tmp_path: Path, source: str) -> None:
    write(tmp_path / "parquet/below/a.png", an_image(0))
    for folder in ("shards", "incoming"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "cars.tar").touch()
    with pytest.raises(InputError, match=r"lies where results of .* go; choose another --out"):
        _list(f"{tmp_path}/{source}", open_place(str(tmp_path)), ["mask"])
    assert len(_list(f"{tmp_path}/incoming/*.tar", open_place(str(tmp_path)), ["mask"])[1]) == 1


def test_pictures_whose_masks_would_have_one_name_are_refused_before_anything_is_written(
    tiny_model: Path, photos: Path, tmp_path: Path
) -> None:
    write(photos / "0.jpg", an_image(9))
    with pytest.raises(InputError, match=r"0\.jpg and 0\.png would both be written"):
        predict_at_scale(tiny_model, str(photos), out=str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_where_no_masks_are_written_their_names_do_not_matter(photos: Path, tmp_path: Path) -> None:
    write(photos / "0.jpg", an_image(9))
    _, entries = _list(str(photos), open_place(str(tmp_path / "out")), ["parquet"])
    assert [entry.name for entry in entries] == ["0.jpg", "0.png", "1.png", "2.png"]


def test_a_run_that_names_its_engine_is_no_other_run(tiny_model: Path) -> None:
    named = makers_of(tiny_model, PredictSettings(engine="torch"), ["mask"])
    assert named == makers_of(tiny_model, PredictSettings(), ["mask"])


def test_results_of_predict_are_not_mixed_with_these(
    tiny_model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    assert main(["predict", str(tiny_model), str(photos), "--out", out]) == 0
    assert "is not empty" in refused([str(tiny_model), str(photos), "--out", out, "--runner", "ray"], capsys)


def test_without_ray_the_extra_is_named(tiny_model: Path, photos: Path, tmp_path: Path) -> None:
    code = (
        "import sys, importlib.util as util\n"
        "find = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 'ray' else find(name, *rest)\n"
        "from maskwright.cli import main\n"
        f"sys.exit(main(['predict', {str(tiny_model)!r}, {str(photos)!r}, '--runner', 'ray']))"
    )
    told = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (told.returncode, told.stderr.strip()) == (2, "ray is not installed; it comes with: pip install '.[scale]'")
    assert not (tmp_path / "predictions").exists()


def test_results_below_the_pictures_are_no_pictures_and_a_finished_run_needs_no_ray(
    tiny_model: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = open_place(str(photos / "results"))
    makers = makers_of(tiny_model, PredictSettings(), ["mask"])
    plan = begin(place, *list_source(str(photos)), makers, pictures=100)
    write(photos / "results/1_mask.png", an_image(0))
    mark_done(place, plan.parts[0], 3, [{"path": "0.png", "error": "0.png is no picture."}])
    assert predict_at_scale(tiny_model, str(photos), out=str(photos / "results")) == Tally(3, 1, 0)
    told = capsys.readouterr()
    assert "Not predicted: 0.png is no picture." in told.err
    assert "2 of 3 pictures predicted (3 of them by earlier runs" in told.out


def test_parts_that_are_not_done_are_named_with_the_reason(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = open_place(str(tmp_path / "out"))
    plan = begin(place, *list_source(str(photos)), {}, pictures=2)
    done = mark_done(place, plan.parts[0], 2, [])
    assert _tell(place, plan, {0: done}, [Failure(1, "disk full")]) == Tally(2, 0, 1)
    told = capsys.readouterr().err
    assert "Part 1 is not done: disk full" in told
    assert "Parts that are not done: 1; the same command tries them again" in told
