"""Parts done by Ray, on one machine of two cores: the bytes of `predict`, and nothing lost or twice."""

import json
import os
import signal
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow.dataset as datasets
import pytest

from maskwright.cli import main
from maskwright.config import PredictSettings
from maskwright.inference.predictor import Predictor, load
from maskwright.scale.manifest import LIST, Mark, Part, Plan, begin
from maskwright.scale.parts import Order
from maskwright.scale.places import open_place
from maskwright.scale.ray_runner import (
    STORED,
    Inferring,
    Model,
    Predicting,
    _finish,
    _prepare,
    connected,
    ray_run,
    store_model,
)
from maskwright.scale.rounds import Failure, Run, do_all
from maskwright.scale.sources import list_source
from tests.tiny_pictures import an_image, write

# Ray leaves files and sockets to the collector, and tells what it will change.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

PICTURES = 12


@pytest.fixture(scope="module")
def handler() -> Any:
    """What is done at a SIGTERM before Ray is started."""
    return signal.getsignal(signal.SIGTERM)


@pytest.fixture(scope="module")
def two_cores(handler: Any) -> Iterator[Mapping[str, float]]:
    """Ray on this machine, with two cores and what it takes for a GPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        # What Ray would find on another machine.
        patch.setenv("RAY_OVERRIDE_RESOURCES", json.dumps({"CPU": 2, "GPU": 1, "object_store_memory": 10**8}))
        with connected(None) as resources:
            yield resources


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(PICTURES):
        write(folder / f"{number % 2}/{number}.png", an_image(number))
    (folder / "0/4.png").write_bytes(b"no picture")
    return folder


def masks_of_predict(model: Path, photos: Path, out: Path) -> dict[str, bytes]:
    assert main(["predict", str(model), str(photos), "--out", str(out)]) == 1
    return masks_in(out)


def masks_in(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*_mask.png"))}


def planned(model: Path, photos: Path, out: Path, *, pictures: int, gpus: int = 0) -> tuple[Plan, Run]:
    """Parts of so many pictures, and what does them on two cores."""
    place = open_place(str(out))
    source, entries = list_source(str(photos))
    plan = begin(place, source, entries, {}, pictures=pictures)
    portable = store_model(place, model, PredictSettings(), "cpu")
    return plan, ray_run(Order(source, place, ["mask"]), portable, load(model), cores=2, gpus=gpus)


# Of PyTorch's models the command has one; without, workers are ready sooner.


def test_masks_are_to_the_byte_those_of_predict_and_a_killed_worker_loses_none(
    two_cores: Mapping[str, float], tiny_onnx: Path, photos: Path, tmp_path: Path
) -> None:
    plan, run = planned(tiny_onnx, photos, tmp_path / "out", pictures=1)
    marks: list[Mark] = []
    for outcome in do_all(run, plan.parts):
        assert isinstance(outcome, Mark)
        if not marks:
            os.kill(workers()[0], signal.SIGKILL)
        marks.append(outcome)
    assert sorted(mark.number for mark in marks) == [part.number for part in plan.parts]
    assert sum(mark.failed for mark in marks) == 1
    assert masks_in(tmp_path / "out") == masks_of_predict(tiny_onnx, photos, tmp_path / "alone")


def test_the_command_does_what_is_left_and_fails_for_no_picture(
    two_cores: Mapping[str, float], tiny_model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["--runner", "ray", "--save", "mask,parquet", "--device", "cpu"]
    command = ["predict", str(tiny_model), str(photos), "--out", str(out), *words]
    assert main(command) == 1
    assert f"{PICTURES - 1} of {PICTURES} pictures predicted; results in {out}" in capsys.readouterr().out
    assert masks_in(out) == masks_of_predict(tiny_model, photos, tmp_path / "alone")
    rows = datasets.dataset(out / "parquet").to_table().to_pylist()
    assert [row["path"] for row in rows] == sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.*"))
    assert [row["path"] for row in rows if row["error"]] == ["0/4.png"]
    before = (out / "parquet/part-0000000.parquet").stat().st_mtime_ns
    assert main(command) == 1
    assert f"({PICTURES} of them by earlier runs" in capsys.readouterr().out
    assert (out / "parquet/part-0000000.parquet").stat().st_mtime_ns == before


def test_decoding_computing_and_writing_apart_give_the_same(
    two_cores: Mapping[str, float], tiny_onnx: Path, photos: Path, tmp_path: Path
) -> None:
    plan, run = planned(tiny_onnx, photos, tmp_path / "out", pictures=6, gpus=1)
    done, (undone,) = told_of(run([*plan.parts, replace(plan.parts[0], number=7, stop=10)]))
    assert {mark.number for mark in done} == {0, 1}
    assert undone.number == 7
    assert undone.reason.startswith("JSONDecodeError: ")  # it has half a line of the list
    assert masks_in(tmp_path / "out") == masks_of_predict(tiny_onnx, photos, tmp_path / "alone")


def test_ray_that_is_there_already_is_used_and_left(two_cores: Mapping[str, float]) -> None:
    import ray

    with connected(None) as resources:
        assert resources["CPU"] == two_cores["CPU"] == 2
    assert ray.is_initialized()


def test_a_signal_is_handled_as_before_ray_was_started(two_cores: Mapping[str, float], handler: Any) -> None:
    assert signal.getsignal(signal.SIGTERM) is handler


# --- Without Ray


def done_apart(order: Order, model: Model, predictor: Predictor, part: Part) -> dict[str, Any]:
    """What becomes of a part that is decoded, computed and written apart."""
    prepared = _prepare(order, predictor, asdict(part))
    return _finish(order, predictor, Inferring(order, model)(prepared))


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize(
    ("spoilt", "reason"),
    [
        ("model", "{stored}/model.onnx is not a whole ONNX file"),
        ("list", "FileNotFoundError: "),
        ("out", "FileExistsError: "),
    ],
)
def test_what_goes_wrong_with_a_part_is_said_of_it_and_raised_nowhere(
    spoilt: str, reason: str, apart: bool, tiny_onnx: Path, photos: Path, tmp_path: Path
) -> None:
    place = open_place(str(tmp_path / "out"))
    source, entries = list_source(str(photos))
    (part,) = begin(place, source, entries, {}, pictures=100).parts
    order, model = Order(source, place, ["mask"]), store_model(place, tiny_onnx, PredictSettings(), "cpu")
    match spoilt:
        case "model":
            place.write(f"{STORED}/{model.names[0]}", b"no model")
        case "list":
            place.remove_file(LIST)
        case "out":
            place.write("1", b"a file where a folder has to be")
    told = done_apart(order, model, load(tiny_onnx), part) if apart else Predicting(order, model)(asdict(part))
    assert (told["number"], told["pictures"], told["failed"]) == (0, 0, 0)
    assert told["reason"].startswith(reason.format(stored=place.path(STORED)))


def told_of(outcomes: Iterable[Mark | Failure]) -> tuple[list[Mark], list[Failure]]:
    """What is done, and what is not."""
    told = list(outcomes)
    return [mark for mark in told if isinstance(mark, Mark)], [fact for fact in told if isinstance(fact, Failure)]


def workers() -> list[int]:
    """The processes of our actors; Ray has some of its own, which do no part."""
    from ray._private.state import actors

    living = [facts for facts in actors().values() if facts["State"] == "ALIVE"]
    return [int(facts["Pid"]) for facts in living if "MapWorker" in facts["ActorClassName"]]
