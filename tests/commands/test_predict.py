"""`maskwright predict`: what is named, skipped, refused and gathered."""

import io
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from maskwright.cli import main
from maskwright.commands.predict import are_many_at_once
from maskwright.config import Architecture
from maskwright.inference.jobs import Job
from maskwright.inference.model_file import ModelCard, save_model
from maskwright.models.build import build_network
from tests.tiny_pictures import an_image, write

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network with first weights."""
    return save(tmp_path_factory.mktemp("model") / "model.safetensors", seed=0)


def save(path: Path, *, seed: int) -> Path:
    torch.manual_seed(seed)
    architecture = Architecture(base_channels=4, depth=1, norm="none")
    weights = {name: tensor.numpy() for name, tensor in build_network(architecture).state_dict().items()}
    save_model(path, ModelCard(architecture, size=32), weights)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number, name in enumerate(("a", "below/b", "below/c")):
        write(tmp_path / "photos" / f"{name}.png", an_image(number))
    return tmp_path / "photos"


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".predict" not in path.parts
    }


def test_what_is_there_is_skipped_and_said(
    model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["predict", str(model), str(photos), "--out", str(tmp_path / "out")]
    assert main(command) == 0
    (tmp_path / "out/below/b_mask.png").write_bytes(b"mine")
    (tmp_path / "out/a_mask.png").unlink()
    capsys.readouterr()
    assert main(command) == 0
    assert "1 of 3 pictures predicted (2 were there already; --overwrite makes them anew)" in capsys.readouterr().out
    assert (tmp_path / "out/below/b_mask.png").read_bytes() == b"mine"
    assert main([*command, "--overwrite"]) == 0
    assert (tmp_path / "out/below/b_mask.png").read_bytes() != b"mine"


def test_a_run_that_was_killed_goes_on_and_ends_as_if_it_had_not_been(
    model: Path, photos: Path, tmp_path: Path
) -> None:
    words = ["--save", "mask,overlay,coco,kaggle,sheet,polygons"]
    assert main(["predict", str(model), str(photos), "--out", str(tmp_path / "whole"), *words]) == 0
    code = (
        "import os, signal, sys\n"
        "from maskwright.inference import results\n"
        "encode, encoded = results.outputs.encode_mask, []\n"
        "def encode_and_die(mask, labels):\n"
        "    encoded.append(mask)\n"
        "    if len(encoded) == 2: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return encode(mask, labels)\n"
        "results.outputs.encode_mask = encode_and_die\n"
        "from maskwright.cli import main\n"
        f"main(['predict', {str(model)!r}, {str(photos)!r}, '--out', 'out', *{words!r}])"
    )
    killed = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "out/coco.json").exists()
    assert main(["predict", str(model), str(photos), "--out", str(tmp_path / "out"), *words]) == 0
    left = {
        name: content for name, content in contents(tmp_path / "out").items() if not Path(name).name.startswith(".")
    }
    assert left == contents(tmp_path / "whole")


def test_lists_hold_pictures_of_earlier_runs_too(model: Path, photos: Path, tmp_path: Path) -> None:
    command = ["predict", str(model), str(photos), "--out", str(tmp_path / "out"), "--save", "coco,kaggle"]
    assert main(command) == 0
    write(photos / "aa.png", an_image(9))
    assert main(command) == 0
    images = json.loads((tmp_path / "out/coco.json").read_text())["images"]
    assert [image["file_name"] for image in images] == ["a.png", "aa.png", "below/b.png", "below/c.png"]
    assert len((tmp_path / "out/submission.csv").read_text().splitlines()) == 5


def test_results_of_another_model_or_threshold_are_not_mixed(
    model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "out"), "--save", "soft"]
    other = save(tmp_path / "other.safetensors", seed=1)
    assert main(["predict", str(model), str(photos), *out]) == 0
    before = contents(tmp_path / "out")
    assert main(["predict", str(other), str(photos), *out]) == 2
    assert "another model" in capsys.readouterr().err
    assert main(["predict", str(model), str(photos), *out, "--threshold", "0.4"]) == 2
    assert "another threshold" in capsys.readouterr().err
    assert contents(tmp_path / "out") == before
    assert main(["predict", str(other), str(photos), *out, "--overwrite"]) == 0
    assert contents(tmp_path / "out") != before
    assert main(["predict", str(other), str(photos), *out]) == 0


def test_files_that_predict_has_not_made_are_not_taken_for_results(
    model: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "a_mask.png").write_bytes(b"drawn by hand")
    assert main(["predict", str(model), str(photos / "a.png"), "--out", str(photos)]) == 2
    assert "a_mask.png is there and was not made here" in capsys.readouterr().err
    assert (photos / "a_mask.png").read_bytes() == b"drawn by hand"


# --- Whose results they are


def predicted(model: Path, inputs: Path, out: Path, *words: str) -> dict[str, bytes]:
    assert main(["predict", str(model), str(inputs), "--out", str(out), *words]) == 0
    return contents(out)


def refused(model: Path, inputs: Path, out: Path, *words: str) -> None:
    before = contents(out)
    assert main(["predict", str(model), str(inputs), "--out", str(out), *words]) == 2
    assert contents(out) == before


def test_a_picture_of_the_same_name_does_not_get_the_mask_of_another(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, day in enumerate(("monday", "tuesday")):
        write(tmp_path / day / "a.png", an_image(number))
    predicted(model, tmp_path / "monday", tmp_path / "out")
    refused(model, tmp_path / "tuesday", tmp_path / "out")
    said = " ".join(capsys.readouterr().err.split())
    assert f"a_mask.png was made of {tmp_path}/monday/a.png, and that of {tmp_path}/tuesday/a.png would" in said
    alone = predicted(model, tmp_path / "tuesday", tmp_path / "alone")
    assert predicted(model, tmp_path / "tuesday", tmp_path / "out", "--overwrite") == alone


def test_a_picture_that_has_changed_is_predicted_anew(
    model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = predicted(model, photos, tmp_path / "out", "--save", "soft")
    write(photos / "a.png", an_image(7))
    after = predicted(model, photos, tmp_path / "out", "--save", "soft")
    assert [name for name in before if before[name] != after[name]] == ["a_soft.png"]
    assert "1 pictures have changed since they were predicted" in capsys.readouterr().out
    assert after == predicted(model, photos, tmp_path / "alone", "--save", "soft")


def test_what_another_model_left_does_not_pass_as_made_by_this_one(model: Path, photos: Path, tmp_path: Path) -> None:
    other, out = save(tmp_path / "other.safetensors", seed=1), tmp_path / "out"
    predicted(model, photos, out, "--save", "soft,overlay,coco")
    predicted(other, photos / "a.png", out, "--save", "soft,coco", "--overwrite")  # or killed after the first picture
    assert len(json.loads((out / "coco.json").read_text())["images"]) == 1
    predicted(other, photos, out, "--save", "soft,coco")
    predicted(other, photos, out, "--save", "overlay")
    assert contents(out) == predicted(other, photos, tmp_path / "alone", "--save", "soft,overlay,coco")


def test_lists_leave_out_a_picture_that_can_no_longer_be_predicted(model: Path, photos: Path, tmp_path: Path) -> None:
    predicted(model, photos, tmp_path / "out", "--save", "coco")
    (photos / "a.png").write_bytes(b"no picture any more")
    assert main(["predict", str(model), str(photos), "--out", str(tmp_path / "out"), "--save", "coco"]) == 1
    images = json.loads((tmp_path / "out/coco.json").read_text())["images"]
    assert [image["file_name"] for image in images] == ["below/b.png", "below/c.png"]


def test_lists_hold_pictures_of_other_folders_too(model: Path, photos: Path, tmp_path: Path) -> None:
    for place in (photos / "below", photos / "a.png"):
        predicted(model, place, tmp_path / "out", "--save", "coco,kaggle,sheet")
    images = json.loads((tmp_path / "out/coco.json").read_text())["images"]
    assert [image["file_name"] for image in images] == ["a.png", "b.png", "c.png"]
    assert len((tmp_path / "out/submission.csv").read_text().splitlines()) == 4


@pytest.mark.parametrize(
    ("kind", "name"), [("coco", "coco.json"), ("kaggle", "submission.csv"), ("sheet", "sheet_001.png")]
)
def test_lists_that_predict_has_not_made_are_not_replaced(
    model: Path, photos: Path, kind: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / name).write_bytes(b"{}")
    refused(model, photos / "a.png", photos, "--save", kind)
    assert f"{name} is there and was not made here" in capsys.readouterr().err
    predicted(model, photos / "a.png", photos, "--save", kind, "--overwrite")
    assert (photos / name).read_bytes() != b"{}"
    predicted(model, photos / "a.png", photos, "--save", kind)


def test_pages_that_a_smaller_run_leaves_over_are_removed(model: Path, tmp_path: Path) -> None:
    other, out = save(tmp_path / "other.safetensors", seed=1), tmp_path / "out"
    for number in range(31):
        write(tmp_path / f"photos/{number}.png", an_image(number))
    assert "sheet_002.png" in predicted(model, tmp_path / "photos", out, "--save", "sheet")
    write(out / "sheet_003.png", an_image(0))  # of no run
    left = predicted(other, tmp_path / "photos/1.png", out, "--save", "sheet", "--overwrite")
    assert [*left] == ["sheet_001.png", "sheet_003.png"]


def test_a_pattern_may_be_predicted_in_place_twice(model: Path, photos: Path) -> None:
    for _ in range(2):
        assert main(["predict", str(model), f"{photos}/*.png", "--out", str(photos), "--save", "mask,coco"]) == 0
    assert not (photos / "a_mask_mask.png").exists()
    images = json.loads((photos / "coco.json").read_text())["images"]
    assert [image["file_name"] for image in images] == ["a.png"]


def test_one_name_that_is_too_long_keeps_no_other_picture_back(
    model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(photos / f"{'d' * 250}.png", an_image(4))
    for _ in range(2):
        assert main(["predict", str(model), str(photos), "--out", str(tmp_path / "out")]) == 1
        assert "too long a name" in capsys.readouterr().err
    assert len(contents(tmp_path / "out")) == 3


def test_an_earlier_prediction_is_no_ground_truth(model: Path, photos: Path, tmp_path: Path) -> None:
    words = ["--save", "mask,panel,coco"]
    alone = predicted(model, photos, tmp_path / "out", *words)
    predicted(model, photos, photos / "predictions", "--save", "mask,coco")
    assert predicted(model, photos, photos / "predictions", *words) == alone
    predicted(model, photos, photos, "--save", "mask,coco")
    assert alone.items() <= predicted(model, photos, photos, *words).items()


def test_a_true_mask_that_cannot_be_read_keeps_no_prediction_back(
    model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = predicted(model, photos / "a.png", tmp_path / "alone", "--save", "mask,panel")
    (photos / "a_mask.png").write_bytes((photos / "a.png").read_bytes()[:200])
    assert predicted(model, photos / "a.png", tmp_path / "out", "--save", "mask,panel") == alone
    assert "No true mask beside the prediction" in capsys.readouterr().err


def test_the_threshold_moves_the_mask(model: Path, photos: Path, tmp_path: Path) -> None:
    shares = []
    for threshold in ("0.01", "0.99"):
        out = tmp_path / threshold
        assert main(["predict", str(model), str(photos), "--out", str(out), "--threshold", threshold]) == 0
        with Image.open(out / "a_mask.png") as mask:
            shares.append(np.asarray(mask).mean() / 255)
    assert shares == [1, 0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--save", "mask,mist"], "not 'mist'"),
        (["--save", "background"], "--background"),
        (["--background", "red"], "--save background"),
        (["--save", "background", "--background", "reddish"], "reddish"),
        (["--threshold", "1"], "--threshold"),
    ],
)
def test_bad_words_give_a_sentence_and_write_nothing(
    model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main(["predict", str(model), str(photos), "--out", str(tmp_path / "out"), *words]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_background_may_be_a_picture(model: Path, photos: Path, tmp_path: Path) -> None:
    behind = tmp_path / "sky.png"
    Image.new("RGB", (5, 5), (1, 2, 250)).save(behind)
    words = ["--save", "background,mask", "--background", str(behind), "--threshold", "0.99"]  # nothing is foreground
    assert main(["predict", str(model), str(photos / "a.png"), "--out", str(tmp_path / "out"), *words]) == 0
    with Image.open(tmp_path / "out/a_background.png") as placed:
        assert placed.getcolors() == [(72 * 96, (1, 2, 250))]


def test_failures_are_listed_at_the_end_and_the_others_are_done(
    model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "broken.png").write_bytes((photos / "a.png").read_bytes()[:200])
    (photos / "text.jpg").write_text("no picture")
    (photos / "empty.png").touch()
    assert main(["predict", str(model), str(photos), "--out", str(tmp_path / "out"), "--save", "mask,coco"]) == 1
    said = capsys.readouterr()
    sentences = [line for line in said.err.splitlines() if line.startswith("Not predicted")]
    assert [name in line for name, line in zip(("broken", "empty", "text"), sentences, strict=True)] == [True] * 3
    assert "3 of 6 pictures predicted" in said.out
    assert len(json.loads((tmp_path / "out/coco.json").read_text())["images"]) == 3


# --- Pipes


def pipe(model: Path, picture: bytes, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(picture)))
    return main(["predict", str(model), "-", "--device", "cpu"])


def test_a_pipe_gets_the_result_and_nothing_else(
    model: Path,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    assert main(["predict", str(model), str(photos / "a.png"), "--out", str(tmp_path / "out"), "--device", "cpu"]) == 0
    capfdbinary.readouterr()
    assert pipe(model, (photos / "a.png").read_bytes(), monkeypatch) == 0
    piped = capfdbinary.readouterr().out
    assert piped == (tmp_path / "out/a_mask.png").read_bytes()
    with Image.open(io.BytesIO(piped)) as mask:
        assert mask.size == (96, 72)


def test_a_pipe_that_brings_no_picture_gets_a_sentence(
    model: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert pipe(model, b"no picture", monkeypatch) == 2
    said = capfd.readouterr()
    assert said.out == ""
    assert "The picture on standard input is not a picture" in said.err


@pytest.mark.parametrize("words", [["-", "a.png"], ["-", "--save", "mask,overlay"], ["-", "--save", "coco"]])
def test_a_pipe_takes_one_picture_and_one_kind(
    model: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(model), *words]) == 2
    assert "one picture becomes one result" in capsys.readouterr().err


# --- Videos


def test_a_video_is_not_made_again_and_lists_are_refused(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("cv2")
    from maskwright.data.video_files import writing_video

    with writing_video(tmp_path / "clip.mp4", 10) as write_frame:
        for number in range(3):
            write_frame(np.array(Image.fromarray(an_image(number)).resize((64, 48))))
    command = ["predict", str(model), str(tmp_path / "clip.mp4"), "--out", str(tmp_path / "out")]
    assert main([*command, "--save", "overlay"]) == 0
    film = (tmp_path / "out/clip_overlay.mp4").read_bytes()
    (tmp_path / "out/clip_overlay.mp4").write_bytes(b"mine")
    assert main([*command, "--save", "overlay"]) == 0
    assert (tmp_path / "out/clip_overlay.mp4").read_bytes() == b"mine" != film
    assert main([*command, "--save", "coco"]) == 2
    assert "clip.mp4 is a video" in capsys.readouterr().err


def test_a_broken_video_is_listed(
    model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("cv2")
    (tmp_path / "clip.mp4").write_bytes(b"no video")
    words = ["predict", str(model), str(tmp_path / "clip.mp4"), str(photos), "--out", str(tmp_path / "out")]
    assert main(words) == 1
    assert "clip.mp4 is no video" in capsys.readouterr().err
    assert len(contents(tmp_path / "out")) == 3


# --- Large pictures


@pytest.fixture
def huge(tmp_path: Path) -> Path:
    """More pixels than are read as a whole, in a file with a hole where they are."""
    path = tmp_path / "huge.npy"
    np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(9000, 8000)).flush()
    return path


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "huge.npy has more than 64 million pixels"),
        (["--large", "--save", "mask,overlay"], "huge.npy is predicted row by row"),
        (["--large", "--largest"], "cannot be cleaned up"),
    ],
)
def test_a_picture_too_large_to_be_held_is_refused_where_it_cannot_be_done_by_rows(
    model: Path, huge: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main(["predict", str(model), str(huge), "--out", str(tmp_path / "out"), *words]) == 1
    assert said in capsys.readouterr().err
    assert contents(tmp_path / "out") == {}


def a_job(name: str, *, by_rows: bool = False) -> Job:
    return Job(Path(name), name, Path("out"), Path(name).with_suffix(""), by_rows=by_rows)


def test_many_pictures_have_a_core_each_and_one_has_all() -> None:
    assert are_many_at_once([a_job("a.png"), a_job("b.png")])
    assert not are_many_at_once([a_job("a.png")])


def test_a_video_is_many_pictures() -> None:
    assert are_many_at_once([a_job("a.mp4")])


def test_a_picture_that_is_predicted_by_rows_has_all_cores() -> None:
    assert not are_many_at_once([a_job("a.png"), a_job("b.tif", by_rows=True)])
