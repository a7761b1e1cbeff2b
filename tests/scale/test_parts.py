"""A part of a run: the bytes of `predict`, rows for what fails, and the same files when it is done again."""

import itertools
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as arrow
import pytest
from numpy.typing import NDArray
from pyarrow import parquet

from maskwright.config import Architecture
from maskwright.data.labels import LabelMap
from maskwright.inference.bulk import predict_pictures
from maskwright.inference.jobs import Job
from maskwright.inference.model_file import ModelCard
from maskwright.inference.predictor import Predictor
from maskwright.inference.results import Wish
from maskwright.scale.attempts import watched
from maskwright.scale.manifest import Mark, Part, begin
from maskwright.scale.outcomes import KINDS, mean_certainty
from maskwright.scale.parts import FINISHING, Order, do_part, finish_part, infer_part, prepare_part
from maskwright.scale.places import open_place
from maskwright.scale.sources import list_source
from tests.scale.test_sources import write_shard
from tests.tiny_pictures import HEIGHT, WIDTH, an_image, write


class Reddish:
    """An engine that sees foreground where there is more red than green."""

    name = "reddish"

    def logits(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return (batch[:, :1] - batch[:, 1:2]) * 12


class ByChannel:
    """An engine of three classes: the strongest colour."""

    name = "by channel"

    def logits(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return batch * 12


@pytest.fixture
def predictor() -> Predictor:
    return Predictor(ModelCard(Architecture(), size=64), Reddish())


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Five pictures, the second of which is none."""
    for number in range(5):
        write(tmp_path / f"photos/{number % 2}/{number}.png", an_image(number))
    (tmp_path / "photos/0/2.png").write_bytes(b"no picture")
    return tmp_path / "photos"


def plan_of(source: Path, out: Path, kinds: Sequence[str], pictures: int = 100) -> tuple[Order, Sequence[Part]]:
    found, entries = list_source(str(source))
    place = open_place(str(out))
    return Order(found, place, list(kinds)), begin(place, found, entries, {}, pictures=pictures).parts


def done_apart(order: Order, predictor: Predictor, part: Part) -> Mark:
    """What becomes of a part that is decoded, computed and written apart."""
    prepared = prepare_part(order, predictor, part)
    return finish_part(order, predictor, part, prepared, infer_part(predictor, prepared))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def masks_of_predict(predictor: Predictor, photos: Path, out: Path) -> dict[str, bytes]:
    jobs = [
        Job(path, path.name, out, path.relative_to(photos).with_suffix("")) for path in sorted(photos.rglob("*.png"))
    ]
    list(predict_pictures(predictor, jobs, Wish(["mask"])))
    return contents(out)


def test_masks_are_those_of_predict_and_failures_are_listed(predictor: Predictor, photos: Path, tmp_path: Path) -> None:
    order, (part,) = plan_of(photos, tmp_path / "out", ["mask"])
    mark = do_part(order, predictor, part)
    assert (mark.pictures, mark.failed) == (5, 1)
    made = contents(tmp_path / "out")
    masks = {name: content for name, content in made.items() if name.endswith("_mask.png")}
    assert len(masks) == 4
    assert masks == masks_of_predict(predictor, photos, tmp_path / "alone")
    (failure,) = map(json.loads, made[".predict/failed/0000000.jsonl"].splitlines())
    assert (failure["path"], failure["shard"]) == ("0/2.png", "")
    assert str(photos / "0/2.png") in failure["error"]


@pytest.mark.parametrize("source", ["folder", "shard", "table", "store"])
def test_wherever_pictures_lie_their_masks_are_the_same(
    predictor: Predictor, photos: Path, tmp_path: Path, source: str
) -> None:
    files = {path.relative_to(photos).as_posix(): path.read_bytes() for path in sorted(photos.rglob("*.png"))}
    stored = tmp_path / "stored"
    stored.mkdir()
    match source:
        case "folder":
            stored = photos
        case "shard":
            write_shard(stored / "s.tar", files)
        case "table":
            parquet.write_table(arrow.table({"path": list(files), "image": list(files.values())}), stored / "s.parquet")
        case "store":
            import fsspec

            fsspec.filesystem("memory").pipe({f"/parts/{name}": content for name, content in files.items()})
            stored = Path("memory://parts")
    address = "memory://parts" if source == "store" else str(stored)
    found, entries = list_source(address)
    out = open_place(str(tmp_path / "out"))
    (part,) = begin(out, found, entries, {}, pictures=100).parts
    mark = do_part(Order(found, out, ["mask", "parquet"]), predictor, part)
    assert (mark.pictures, mark.failed) == (5, 1)
    expected = sorted(masks_of_predict(predictor, photos, tmp_path / "alone").values())
    assert sorted(content for name, content in contents(tmp_path / "out").items() if "_mask" in name) == expected
    rows = parquet.read_table(tmp_path / "out/parquet").to_pylist()
    assert [row["path"] for row in rows] == list(files)
    assert [row["error"] is None for row in rows] == [name != "0/2.png" for name in files]
    # Sentences name the picture, not a temporary file.
    assert all("0/2.png" in row["error"] for row in rows if row["error"])


def test_rows_hold_the_mask_in_run_lengths_and_a_score(predictor: Predictor, photos: Path, tmp_path: Path) -> None:
    order, (part,) = plan_of(photos, tmp_path / "out", KINDS)
    do_part(order, predictor, part)
    rows = parquet.read_table(tmp_path / "out/parquet/part-0000000.parquet").to_pylist()
    for row in rows:
        if row["error"]:
            assert (row["rle"], row["score"], row["height"]) == (None, None, None)
            continue
        mask = np.zeros(HEIGHT * WIDTH, np.uint8)
        (region,) = row["rle"]
        numbers = np.array(region["runs"].split(), int).reshape(-1, 2)
        for first, length in numbers:
            mask[first - 1 : first - 1 + length] = 1
        image = an_image(int(Path(row["path"]).stem))
        assert np.array_equal(mask.reshape(row["height"], row["width"]), predictor(image))
        assert row["score"] == round(
            float(predictor.probabilities(image)[0][mask.reshape(HEIGHT, WIDTH) == 1].mean()), 6
        )


def test_shards_hold_a_mask_and_a_note_of_each_picture(predictor: Predictor, photos: Path, tmp_path: Path) -> None:
    order, (part,) = plan_of(photos, tmp_path / "out", ["shards"])
    do_part(order, predictor, part)
    with tarfile.open(tmp_path / "out/shards/part-0000000.tar") as shard:
        members = {name: file.read() for name in shard.getnames() if (file := shard.extractfile(name))}
    masks = masks_of_predict(predictor, photos, tmp_path / "alone")
    assert {name: content for name, content in members.items() if name.endswith(".png")} == {
        name.replace("_mask", ".mask"): content for name, content in masks.items()
    }
    assert json.loads(members["0/0.json"])["path"] == "0/0.png"
    assert json.loads(members["failed/0000000-1.json"])["path"] == "0/2.png"


def test_names_that_lead_out_of_a_shard_fail_alone_and_write_nothing_outside(
    predictor: Predictor, photos: Path, tmp_path: Path
) -> None:
    picture = (photos / "0/0.png").read_bytes()
    write_shard(tmp_path / "s.tar", {"../../gone.png": picture, "good.png": picture})
    order, (part,) = plan_of(tmp_path / "s.tar", tmp_path / "a/b/out", ["mask", "shards"])
    mark = do_part(order, predictor, part)
    assert (mark.pictures, mark.failed) == (2, 1)
    assert not list(tmp_path.rglob("gone*"))
    with tarfile.open(tmp_path / "a/b/out/shards/part-0000000.tar") as shard:
        assert shard.getnames() == ["failed/0000000-0.json", "s/good.mask.png", "s/good.json"]


def test_a_name_that_is_no_unicode_is_written_down_escaped(predictor: Predictor, photos: Path, tmp_path: Path) -> None:
    picture = (photos / "0/0.png").read_bytes()
    write_shard(tmp_path / "s.tar", {"good\udcff.png": picture, "bad\udcff.png": b"no picture"})
    order, (part,) = plan_of(tmp_path / "s.tar", tmp_path / "out", ["parquet"])
    assert do_part(order, predictor, part).failed == 1
    good, bad = parquet.read_table(tmp_path / "out/parquet").to_pylist()
    assert (good["path"], good["error"], bad["path"]) == ("good\\udcff.png", None, "bad\\udcff.png")
    assert "s.tar: bad\\udcff.png" in bad["error"]


def test_a_part_that_is_done_again_writes_the_same_files(predictor: Predictor, photos: Path, tmp_path: Path) -> None:
    order, parts = plan_of(photos, tmp_path / "out", KINDS, pictures=2)
    for part in parts:
        do_part(order, predictor, part)
    before = contents(tmp_path / "out")
    for part in parts:
        do_part(order, predictor, part)
    assert contents(tmp_path / "out") == before
    assert sum(name.startswith(".predict/done/") for name in before) == len(parts) == 3


def test_a_part_that_cannot_be_written_is_not_marked(predictor: Predictor, photos: Path, tmp_path: Path) -> None:
    order, (part,) = plan_of(photos, tmp_path / "out", ["mask"])
    (tmp_path / "out/1").write_bytes(b"a file where a folder has to be")
    with pytest.raises(OSError, match="1"):
        do_part(order, predictor, part)
    assert not (tmp_path / "out/.predict/done").exists()


def test_three_steps_apart_give_what_one_process_gives(predictor: Predictor, photos: Path, tmp_path: Path) -> None:
    order, (part,) = plan_of(photos, tmp_path / "out", KINDS)
    do_part(order, predictor, part)
    apart, (part,) = plan_of(photos, tmp_path / "apart", KINDS)
    assert done_apart(apart, predictor, part).failed == 1
    assert contents(tmp_path / "apart") == contents(tmp_path / "out")


def test_a_picture_whose_mask_ends_processes_is_given_up_and_the_others_are_done(
    predictor: Predictor, photos: Path, tmp_path: Path
) -> None:
    order, (part,) = plan_of(photos, tmp_path / "out", ["mask"])
    prepared = prepare_part(order, predictor, part)
    dead = []
    for _ in range(3):  # that say nothing when they end, as a dead process does not
        dead.append(watched(order.out, part, [known.picture for known in prepared], step=FINISHING))
        for _ in range(4):
            last = next(dead[-1])
    assert finish_part(order, predictor, part, prepared, infer_part(predictor, prepared)).failed == 2
    made = contents(tmp_path / "out")
    assert f"{last.target}_mask.png" not in made
    assert sum(name.endswith("_mask.png") for name in made) == 3
    assert f"{last.title} ended the process" in made[".predict/failed/0000000.jsonl"].decode()
    assert not any("tried" in name for name in made)


def test_of_several_classes_each_has_its_runs(photos: Path, tmp_path: Path) -> None:
    labels = LabelMap("names", ("background", "green", "blue"))
    predictor = Predictor(ModelCard(Architecture(num_classes=3), size=64, labels=labels), ByChannel())
    order, (part,) = plan_of(photos, tmp_path / "out", ["parquet"])
    do_part(order, predictor, part)
    row = parquet.read_table(tmp_path / "out/parquet").to_pylist()[0]
    assert [region["class"] for region in row["rle"]] == ["green", "blue"]
    mask = predictor(an_image(0)).ravel()
    for index, region in enumerate(row["rle"], 1):
        assert sum(map(int, region["runs"].split()[1::2])) == (mask == index).sum()


def test_a_score_is_the_mean_probability_of_the_foreground() -> None:
    logits = np.array([[[0.0, 2.0], [-2.0, -9.0]]], np.float32)
    certain = 1 / (1 + np.exp(-2.0))
    assert mean_certainty(logits, np.array([[1, 1], [0, 0]], np.uint8)) == pytest.approx((0.5 + certain) / 2, abs=1e-6)
    nothing = mean_certainty(logits[:, 1:], np.array([[0, 0]], np.uint8))
    assert nothing == pytest.approx((certain + 1 / (1 + np.exp(-9.0))) / 2, abs=1e-6)
    several = np.stack([np.zeros((1, 2)), np.full((1, 2), 2.0)]).astype(np.float32)
    assert mean_certainty(several, np.array([[1, 1]], np.uint8)) == pytest.approx(certain, abs=1e-6)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried to"),
        RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB."),  # of which torch.OutOfMemoryError is one
    ],
    ids=["python", "cpu", "gpu"],
)
@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("step", ["shrink", "small_logits", "enlarge"])
def test_a_picture_that_takes_more_memory_than_there_is_fails_alone(
    step: str,
    apart: bool,
    error: Exception,
    predictor: Predictor,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls, work = itertools.count(), getattr(predictor, step)

    def run_out_once(*arguments: Any) -> Any:
        if next(calls) == 0:
            raise error
        return work(*arguments)

    monkeypatch.setattr(predictor, step, run_out_once)
    order, (part,) = plan_of(photos, tmp_path / "out", ["mask", "parquet"])
    mark = done_apart(order, predictor, part) if apart else do_part(order, predictor, part)
    assert mark.failed == 2  # and the one that is no picture
    large, none, *others = parquet.read_table(tmp_path / "out/parquet").to_pylist()
    assert large["error"] == "0/0.png takes more memory than there is; cut it up or make it smaller."
    assert "0/2.png" in none["error"]
    assert all(row["error"] is None for row in others)


def test_a_mistake_of_ours_is_no_row(
    predictor: Predictor, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> NDArray[np.float32]:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(predictor, "small_logits", fail)
    order, (part,) = plan_of(photos, tmp_path / "out", ["mask"])
    with pytest.raises(RuntimeError, match="shapes differ"):
        do_part(order, predictor, part)


def test_a_part_whose_table_cannot_be_written_is_not_marked(predictor: Predictor, photos: Path, tmp_path: Path) -> None:
    order, (part,) = plan_of(photos, tmp_path / "out", ["mask", "parquet"])
    (tmp_path / "out/parquet").write_bytes(b"a file where a folder has to be")
    with pytest.raises(OSError, match="parquet"):
        do_part(order, predictor, part)
    assert not (tmp_path / "out/.predict/done").exists()
