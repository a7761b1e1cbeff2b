"""Many pictures at a time give what each gives alone."""

import itertools
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from maskwright.config import Architecture
from maskwright.data.pairs import Problem
from maskwright.data.video_files import open_video, writing_video
from maskwright.errors import InputError
from maskwright.inference.bulk import film_of, look, predict_by_rows, predict_pictures, predict_video
from maskwright.inference.jobs import Job
from maskwright.inference.model_file import ModelCard
from maskwright.inference.predictor import Predictor
from maskwright.inference.results import SUFFIXES, Wish, missing_kinds
from tests.tiny_pictures import an_image, write

GREEN = (0, 255, 136)
KINDS = list(SUFFIXES)


class Reddish:
    """An engine that sees foreground where there is more red than green; counts its calls."""

    name = "reddish"

    def __init__(self) -> None:
        self.calls = 0
        self.lock = threading.Lock()

    def logits(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        with self.lock:
            self.calls += 1
        return (batch[:, :1] - batch[:, 1:2]) * 12


@pytest.fixture
def engine() -> Reddish:
    return Reddish()


@pytest.fixture
def predictor(engine: Reddish) -> Predictor:
    return Predictor(ModelCard(Architecture(), size=64), engine)


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    for number in range(9):
        write(tmp_path / f"in/{number}.png", an_image(number))
    return [
        Job(tmp_path / f"in/{number}.png", f"{number}.png", tmp_path / "out", Path(f"{number}")) for number in range(9)
    ]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_results_are_byte_for_byte_those_of_one_picture_after_the_other(
    predictor: Predictor, jobs: list[Job], tmp_path: Path
) -> None:
    jobs, wish = jobs[:5], Wish(KINDS, GREEN)
    assert list(predict_pictures(predictor, jobs, wish, threads=4))
    for job in jobs:
        alone = replace(job, out=tmp_path / "alone")
        assert len(list(predict_pictures(predictor, [alone], wish, threads=1))) == 1
    together = contents(tmp_path / "out")
    assert len(together) == len(jobs) * len(KINDS)
    assert together == contents(tmp_path / "alone")


def test_the_network_is_asked_once_for_all_kinds(predictor: Predictor, engine: Reddish, jobs: list[Job]) -> None:
    list(predict_pictures(predictor, jobs[:1], Wish(KINDS, GREEN)))
    assert engine.calls == 1


def test_outcomes_come_in_order_and_a_bad_picture_keeps_no_other_back(predictor: Predictor, jobs: list[Job]) -> None:
    jobs[2].source.write_bytes(b"no picture")
    outcomes = list(predict_pictures(predictor, jobs, Wish(["mask"])))
    assert isinstance(outcomes[2], Problem)
    assert str(jobs[2].source) in outcomes[2].sentence
    assert [outcome for place, outcome in enumerate(outcomes) if place != 2] == [
        [job.target.with_name(f"{job.target.name}_mask.png")] for place, job in enumerate(jobs) if place != 2
    ]


def test_what_is_there_is_not_made_again(predictor: Predictor, jobs: list[Job]) -> None:
    list(predict_pictures(predictor, jobs[:1], Wish(["mask"])))
    mask = jobs[0].target.with_name("0_mask.png")
    mask.write_bytes(b"mine")
    (written,) = predict_pictures(predictor, jobs[:1], Wish(["mask", "overlay"]))
    assert written == [jobs[0].target.with_name("0_overlay.png")]
    assert mask.read_bytes() == b"mine"
    list(predict_pictures(predictor, jobs[:1], Wish(["mask"], renew=True)))
    assert mask.read_bytes() != b"mine"


def test_memory_that_runs_out_is_a_problem_of_that_picture(
    predictor: Predictor, jobs: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    def logits(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        raise MemoryError

    monkeypatch.setattr(predictor, "logits", logits)
    (outcome,) = predict_pictures(predictor, jobs[:1], Wish(["mask"]))
    assert isinstance(outcome, Problem)
    assert "memory" in outcome.sentence


OUT_OF_MEMORY = [
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried to"),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["cpu", "gpu"])
def test_memory_that_torch_cannot_have_is_a_problem_of_that_picture_alone(
    error: Exception, predictor: Predictor, jobs: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, ask = itertools.count(), predictor.logits

    def logits(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        if next(calls) == 1:
            raise error
        return ask(image)

    monkeypatch.setattr(predictor, "logits", logits)
    outcomes = list(predict_pictures(predictor, jobs[:4], Wish(["mask"]), threads=1))
    sentence = f"{jobs[1].source} takes more memory than there is; cut it up or make it smaller."
    assert outcomes[1] == Problem(jobs[1].source, sentence)
    assert [isinstance(outcome, Problem) for outcome in outcomes] == [False, True, False, False]


def test_a_mistake_of_ours_is_no_problem_of_a_picture(
    predictor: Predictor, jobs: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    def logits(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(predictor, "logits", logits)
    with pytest.raises(RuntimeError, match="shapes differ"):
        list(predict_pictures(predictor, jobs[:1], Wish(["mask"])))


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["cpu", "gpu"])
def test_what_is_predicted_alone_is_named_where_memory_runs_out(
    error: Exception, predictor: Predictor, clip: Job, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def run_out(*_: object) -> NDArray[np.float32]:
        raise error

    monkeypatch.setattr(predictor, "logits", run_out)
    monkeypatch.setattr(predictor, "strips", run_out)
    np.save(tmp_path / "a.npy", an_image(3))
    large = Job(tmp_path / "a.npy", "a.npy", tmp_path / "out", Path("a"), by_rows=True)
    with pytest.raises(InputError, match=r"a\.npy takes more memory than there is"):
        predict_by_rows(predictor, large, Wish(["mask"]))
    with pytest.raises(InputError, match=r"clip\.mp4 takes more memory than there is"):
        predict_video(predictor, clip, Wish(["overlay"]), advance=lambda *_: None)
    assert not list(clip.out.rglob("*.*"))


def test_mask_and_probabilities_are_those_of_the_predictor(predictor: Predictor) -> None:
    image = an_image(3)
    seen = look(predictor, image)
    assert np.array_equal(seen.mask, predictor(image))
    assert np.array_equal(seen.logits, predictor.logits(image))


def test_a_picture_that_is_predicted_by_rows_leaves_a_tiff_file(predictor: Predictor, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", an_image(3))
    job = Job(tmp_path / "a.npy", "a.npy", tmp_path / "out", Path("a"), by_rows=True)
    wish = Wish(["mask"])
    assert predict_by_rows(predictor, job, wish) == [tmp_path / "out/a_mask.tif"]
    assert not missing_kinds(job, wish, predictor.card.labels)
    with Image.open(tmp_path / "out/a_mask.tif") as mask:
        assert (np.asarray(mask) == predictor(an_image(3)) * 255).mean() > 0.999


def test_a_picture_is_computed_on_one_core(
    predictor: Predictor, jobs: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    ask = predictor.logits

    def logits(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        seen.append(torch.get_num_threads())
        return ask(image)

    monkeypatch.setattr(predictor, "logits", logits)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        list(predict_pictures(predictor, jobs, Wish(["mask"])))
        after = torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
    assert (set(seen), after) == ({1}, 3)


# --- Videos


@pytest.fixture
def clip(tmp_path: Path) -> Job:
    pytest.importorskip("cv2")
    with writing_video(tmp_path / "in/clip.mp4", 10) as write_frame:
        for number in range(5):
            frame = np.full((48, 64, 3), (20, 120, 40), np.uint8)
            frame[8:40, 8 * number : 8 * number + 24] = (220, 40, 40)
            write_frame(frame)
    return Job(tmp_path / "in/clip.mp4", "clip.mp4", tmp_path / "out", Path("clip"))


def test_a_video_becomes_a_video_and_frames_of_what_a_video_would_spoil(predictor: Predictor, clip: Job) -> None:
    told: list[tuple[int, int]] = []
    written = predict_video(
        predictor, clip, Wish(["mask", "background"], GREEN), advance=lambda *frame: told.append(frame)
    )
    assert written == [clip.out / "clip_background.mp4", clip.out / "clip_frames"]
    assert told == [(number, 5) for number in range(1, 6)]
    assert sorted(path.name for path in written[1].iterdir()) == [f"{number:06}_mask.png" for number in range(1, 6)]
    with open_video(written[0]) as video:
        frames = list(video.frames)
    assert len(frames) == 5
    for number, frame in enumerate(frames):
        inside = frame[16:32, 8 * number + 6 : 8 * number + 18]
        assert np.abs(inside.astype(int) - (220, 40, 40)).mean() < 30
        assert np.abs(frame[:4].astype(int) - GREEN).mean() < 30


def test_frames_that_are_there_are_not_computed_again(predictor: Predictor, engine: Reddish, clip: Job) -> None:
    wish = Wish(["mask"])
    predict_video(predictor, clip, wish, advance=lambda *_: None)
    (clip.out / "clip_frames/000003_mask.png").unlink()
    before = engine.calls
    predict_video(predictor, clip, wish, advance=lambda *_: None)
    assert engine.calls == before + 1
    assert (clip.out / "clip_frames/000003_mask.png").is_file()


def test_a_video_that_fails_leaves_no_film(predictor: Predictor, clip: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def logits(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        raise KeyboardInterrupt

    monkeypatch.setattr(predictor, "logits", logits)
    with pytest.raises(KeyboardInterrupt):
        predict_video(predictor, clip, Wish(["overlay"]), advance=lambda *_: None)
    assert not film_of("overlay", clip).exists()
    assert not list(clip.out.rglob("*.mp4"))
