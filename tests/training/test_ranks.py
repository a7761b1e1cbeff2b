"""Several processes train as one: real ones, over gloo, with real signals."""

import dataclasses
import json
import re
import shutil
import signal
import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn
from torch.distributed import TCPStore  # type: ignore[attr-defined]  # torch's stubs forget it

from maskwright.config import Settings
from maskwright.data.cache import Cache
from maskwright.data.dataset import Batch, EpochBatches, InOrder, Samples, build_loader
from maskwright.data.groups import Groups
from maskwright.data.reading import Formats
from maskwright.errors import InputError
from maskwright.models.build import build_network
from maskwright.signals import Stopped, catching_signals
from maskwright.training import ranks
from maskwright.training.material import Material, kept_here
from maskwright.training.shared_network import SharedNetwork
from maskwright.training.state import build_learner, read_state
from maskwright.training.step import add_gradients
from tests.gangs import Gang, Strike, free_port, run_out_of_memory, start, start_gang, torchrun_environment
from tests.training.test_loop import SETTINGS, Bench

# Group normalisation knows nothing of how a batch is shared out, and no optimizer divides by what rounding leaves.
NETWORK = ["--preset", "classic", "--base-channels", "8", "--depth", "1", "--norm", "group", "--optimizer", "sgd"]
OPTIONS = [*NETWORK, "--size", "32", "--batch-size", "4", "--epochs", "4", "--save-every", "1", "--device", "cpu"]
OPTIONS += ["--loss", "ce+dice", "--ema", "0.5", "--precision", "fp32", "--learning-rate", "0.003"]
# After each validation, that is every second step, and where the run ends before its time.
SELDOM_SAVED = ["--save-every", "100"]
# Sums over a batch are rounded in another order.
RELATIVE, ABSOLUTE = 1e-4, 1e-6

Train = Callable[..., Gang]


@pytest.fixture(scope="module")
def photos(drawn_cars: Path) -> Path:
    """Six cars, two views each."""
    return drawn_cars


@pytest.fixture(scope="module")
def train(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Train:
    """Starts a training in a folder, by default in two processes."""
    environment = {"MASKWRIGHT_CACHE": str(tmp_path_factory.mktemp("cache"))}

    def begin(out: Path, *options: str, pictures: Path = photos, cache: Path | None = None, **how: Any) -> Gang:
        words = ["train", str(pictures), "--out", str(out), *OPTIONS, *options]
        own = environment if cache is None else {"MASKWRIGHT_CACHE": str(cache)}
        return start_gang(words, out.with_suffix(".txt"), environment=own, **how)

    return begin


@pytest.fixture(scope="module")
def one(train: Train, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one process."""
    folder = tmp_path_factory.mktemp("runs") / "one"
    assert train(folder, size=1).codes() == [0]
    return folder


@pytest.fixture(scope="module")
def two(train: Train, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of two."""
    folder = tmp_path_factory.mktemp("runs") / "two"
    assert train(folder).codes() == [0, 0]
    return folder


@pytest.fixture(scope="module")
def stopped(train: Train, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two processes, of which one was asked to stop."""
    folder = tmp_path_factory.mktemp("runs") / "stopped"
    assert train(folder, struck=Strike(1, 4, partial(signal.raise_signal, signal.SIGTERM))).codes() == [75, 75]
    return folder


def held_in(run: Path, part: str) -> str:
    """The first picture of a part."""
    name: str = json.loads((run / "split.json").read_text())["pictures"][part][0]
    return name


def copy_of(run: Path, to: Path) -> Path:
    shutil.copytree(run, to)
    return to


def metrics(run: Path) -> list[dict[str, float]]:
    """Its lines, without what the clock says."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: line[name] for name in line if name not in ("seconds", "images_per_second")} for line in lines]


def pictures_in(page: Path) -> list[str]:
    return re.findall(r"data:image/[^\"')]+", page.read_text())


def assert_alike(first: Path, second: Path) -> None:
    """Weights, averaged ones, and metrics."""
    for name in ("model.safetensors", "last.safetensors"):
        ours, theirs = load_file(first / name), load_file(second / name)
        assert ours.keys() == theirs.keys()
        for key, value in ours.items():
            np.testing.assert_allclose(value, theirs[key], rtol=RELATIVE, atol=ABSOLUTE, err_msg=key)
    for mine, other in zip(metrics(first), metrics(second), strict=True):
        assert mine == pytest.approx(other, rel=1e-4)


# --- Who does what


def test_slices_are_a_batch_in_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn(count: int) -> list[list[int]]:
        orders = []
        for rank in range(count):
            monkeypatch.setattr(ranks._company, "rank", rank)
            monkeypatch.setattr(ranks._company, "size", count)
            orders.append(EpochBatches(range(10), Settings(batch_size=5), share_of=ranks.share_of))
        return [[draw.picture for part in parts for draw in part] for parts in zip(*orders, strict=True)]

    assert drawn(1) == drawn(2) == drawn(3)
    assert all(len(batch) == 5 for batch in drawn(3))


def test_other_launchers_variables_make_no_company(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "1", "WORLD_SIZE": "4", "MASTER_ADDR": "nowhere"}.items():
        monkeypatch.setenv(name, value)
    with ranks.joined():
        assert (ranks.rank(), ranks.size()) == (0, 1)


def test_restarts_that_would_meet_the_dead_are_refused_on_several_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"GROUP_WORLD_SIZE": "2", "TORCHELASTIC_MAX_RESTARTS": "3", "TORCHELASTIC_USE_AGENT_STORE": "True"}
    for name, value in {**torchrun_environment(0, 2, 1), **known}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match="TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1"), ranks.joined():
        pass


def test_a_signal_is_heard_while_one_that_never_comes_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    port, main = free_port(), threading.get_ident()
    server = TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False)
    known = {**torchrun_environment(0, 2, port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    for name, value in known.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(ranks, "PATIENCE", timedelta(seconds=20))

    def stop_it_then() -> None:
        server.wait(["restart 0/rank 0 has begun"], timedelta(seconds=20))
        signal.pthread_kill(main, signal.SIGTERM)

    with catching_signals():
        stopper = threading.Thread(target=stop_it_then)
        stopper.start()
        with pytest.raises(Stopped), ranks.joined():
            pass
        stopper.join()


@pytest.mark.parametrize("is_store_gone", [False, True], ids=["before they join", "when the store is gone"])
def test_where_ranks_cannot_agree_only_the_first_of_a_machine_speaks(
    is_store_gone: bool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    if is_store_gone:
        port = free_port()
        server = TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False)
        monkeypatch.setattr(ranks._company, "store", TCPStore("127.0.0.1", port))
        del server
    for rank in range(2):
        for name, value in torchrun_environment(rank, 2, 1).items():
            monkeypatch.setenv(name, value)
        ranks.last_word(f"rank {rank} ends")
    assert "rank 0 ends" in (said := capfd.readouterr().err)
    assert "rank 1 ends" not in said


def gradients_of_slice() -> dict[str, Any]:
    """What a rank makes of its slice of five pictures, in parts of one or two where there are several ranks."""
    settings = Settings(base_channels=8, depth=1, norm="group", loss="ce")
    generator = torch.Generator().manual_seed(0)
    images, targets, weights = (torch.rand(5, channels, 16, 16, generator=generator) for channels in (3, 1, 1))
    weights[3] = 0  # of this one nothing counts
    torch.manual_seed(0)
    learner = build_learner(build_network(settings.architecture()), settings, precision="fp32")
    if ranks.size() > 1:
        learner.shared, learner.position.micro_batch = SharedNetwork(learner.network, "cpu"), 1
    mine = ranks.share_of(5)
    outcome = add_gradients(learner, Batch(images[mine], targets[mine], weights[mine]), settings)
    gradients = [weight.grad.flatten() for weight in learner.network.parameters() if weight.grad is not None]
    return {"gradients": torch.cat(gradients).tolist(), "loss": outcome.loss, "dices": outcome.dices.tolist()}


def refuse() -> None:
    raise InputError("The writer refuses.")


def agree(result: Path) -> None:
    """What each rank knows after talking to the other one, where both began with something of their own."""
    with ranks.joined():
        own = ranks.rank()
        pulse = ranks.Pulse(lambda: 7.0 + own, lambda: own == 1)
        layer = nn.BatchNorm2d(1)
        layer.load_state_dict(layer.state_dict() | {"running_mean": torch.tensor([float(own)])})
        SharedNetwork(layer, "cpu").follow_writer(layer)
        known: dict[str, Any] = {
            "clock": pulse.now(),
            "is asked": pulse.stop_asked(),
            "mean": layer.state_dict()["running_mean"].item(),
        }
        ranks.check_devices(f"cuda:{own}")
        refusals: dict[str, Callable[[], None]] = {
            "refusal": partial(ranks.on_writer, refuse),
            "devices": partial(ranks.check_devices, "cpu" if own else "cuda:0"),
        }
        for name, work in refusals.items():
            try:
                work()
            except InputError as error:
                known[name] = str(error)
        known |= gradients_of_slice()
    result.with_suffix(f".{own}").write_text(json.dumps(known | {"size afterwards": ranks.size()}))


@pytest.fixture(scope="module")
def agreed(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two ranks knows."""
    folder, port = tmp_path_factory.mktemp("agreed"), free_port()
    processes = [
        start(agree, folder / "known", torchrun_environment(rank, 2, port), folder / "said") for rank in (0, 1)
    ]
    for process in processes:
        process.join()
    assert (folder / "said").read_text() == ""
    return [json.loads((folder / f"known.{rank}").read_text()) for rank in (0, 1)]


def test_ranks_agree_on_what_each_sees_otherwise(agreed: list[dict[str, Any]]) -> None:
    for known in agreed:
        assert (known["clock"], known["is asked"], known["mean"]) == (7, True, 0)
        assert known["refusal"] == "The writer refuses."
        assert known["devices"].startswith("Some of the processes find a GPU and others none")
        assert known["size afterwards"] == 1


@pytest.mark.usefixtures("one_thread")
def test_a_slice_learnt_in_parts_gives_the_gradients_of_the_batch(agreed: list[dict[str, Any]]) -> None:
    whole = gradients_of_slice()
    for known in agreed:
        assert known["loss"] == pytest.approx(whole["loss"], rel=1e-5)
        np.testing.assert_allclose(known["dices"], whole["dices"], rtol=1e-5)
        np.testing.assert_allclose(known["gradients"], whole["gradients"], rtol=1e-4, atol=1e-6)


def test_two_processes_learn_what_one_learns(one: Path, two: Path) -> None:
    assert_alike(one, two)


def test_only_the_first_writes_and_the_other_has_a_log(one: Path, two: Path) -> None:
    assert {path.name for path in two.iterdir()} - {path.name for path in one.iterdir()} == {"rank-1.log"}
    assert "Rank 1 of 2" in (two / "rank-1.log").read_text()
    said = two.with_suffix(".txt").read_text()
    assert said.count("classic U-Net") == 1
    assert said.count("Dice 0.") == 1
    assert "Warning" not in said


def validate_share(given: tuple[Cache, Path]) -> None:
    """What each rank does of a validation; all but the first cannot see what the first has decoded."""
    cache, result = given
    with ranks.joined():
        if not ranks.is_writer():
            gone = tuple(dataclasses.replace(entry, path=Path("/elsewhere/gone.pixels")) for entry in cache.entries)
            cache = dataclasses.replace(cache, entries=gone)
        material = Material(cache, Formats(), {}, Groups({}, "alone"), ())
        samples = Samples(kept_here(material, SETTINGS).cache, SETTINGS, augment=False)
        bench = Bench(cache, result.with_name(f"run {ranks.rank()}"), SETTINGS)
        bench.val = build_loader(samples, InOrder(range(12), 5, batches=ranks.every_nth()), workers=0, pin=False)
        tally = bench.validate()
        result.with_suffix(f".{ranks.rank()}").write_text(json.dumps(dataclasses.asdict(tally) | {"seconds": 0}))


def test_a_shared_validation_says_to_the_bit_what_one_process_says(ellipse_cache: Cache, tmp_path: Path) -> None:
    port, elsewhere = free_port(), tmp_path / "another machine"
    environments = [torchrun_environment(rank, 3, port) for rank in range(3)]
    for local_rank, environment in enumerate(environments[1:]):
        environment |= {"LOCAL_RANK": str(local_rank), "MASKWRIGHT_CACHE": str(elsewhere)}
    together = [
        start(validate_share, (ellipse_cache, tmp_path / "tally"), own, tmp_path / "said") for own in environments
    ]
    alone = start(validate_share, (ellipse_cache, tmp_path / "alone"), {}, tmp_path / "said")
    for process in (alone, *together):
        process.join()
    expected = (tmp_path / "alone.0").read_text()
    assert [(tmp_path / f"tally.{rank}").read_text() for rank in range(3)] == [expected] * 3
    assert json.loads(expected)["images"] == 12
    assert len(list(elsewhere.rglob("*.pixels"))) == 12  # decoded once for the two processes that are there


def test_a_shared_scoring_says_to_the_bit_what_one_process_says(train: Train, two: Path, tmp_path: Path) -> None:
    alone = copy_of(two, tmp_path / "alone")
    (alone / "scores.json").unlink()
    assert train(alone, "--resume", size=1).codes() == [0]
    assert (alone / "scores.json").read_text() == (two / "scores.json").read_text()
    assert pictures_in(alone / "report.html") == pictures_in(two / "report.html") != []


# --- The end


def test_a_signal_to_one_stops_all_at_the_same_step(stopped: Path) -> None:
    assert stopped.with_suffix(".txt").read_text().count("Stopped and saved") == 1
    assert read_state(stopped / "state.pth")["position"]["step"] == 4
    assert not (stopped / "scores.json").exists()


def test_a_run_of_two_processes_goes_on_in_one(train: Train, one: Path, stopped: Path, tmp_path: Path) -> None:
    folder = copy_of(stopped, tmp_path / "run")
    assert train(folder, "--resume", size=1).codes() == [0]
    assert_alike(one, folder)


def test_a_run_of_one_process_goes_on_in_two(train: Train, one: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert train(folder, size=1, struck=Strike(0, 3, partial(signal.raise_signal, signal.SIGTERM))).codes() == [75]
    assert train(folder, "--resume").codes() == [0, 0]
    assert_alike(one, folder)


def test_after_a_kill_the_others_end_in_silence_and_a_restart_goes_on(train: Train, one: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    gang = train(folder, *SELDOM_SAVED, struck=Strike(1, 4, partial(signal.raise_signal, signal.SIGKILL)))
    assert gang.codes() == [2, -signal.SIGKILL]
    assert not re.search(r"Error|Traceback|Stopped", gang.said())
    assert read_state(folder / "state.pth")["position"]["step"] in (3, 4)  # the last gradients may not have arrived
    assert train(folder, restart=1).codes() == [0, 0]  # nobody says --resume
    assert_alike(one, folder)


@pytest.mark.parametrize("rank", [0, 1])
def test_memory_that_runs_out_in_one_ends_all_before_that_step(
    rank: int, train: Train, one: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    gang = train(folder, *SELDOM_SAVED, struck=Strike(rank, 4, run_out_of_memory, instead=True))
    assert gang.codes() == [2, 2]
    assert gang.said().count("ran out in a step") == 1
    assert ("ran out in a step" in (folder / "rank-1.log").read_text()) is (rank == 1)
    assert not re.search(r"Error|Traceback|Stopped", gang.said())
    assert read_state(folder / "state.pth")["position"]["step"] == 3
    assert train(folder, "--resume", size=1).codes() == [0]
    assert_alike(one, folder)


@pytest.mark.parametrize("part", ["train", "val"])
def test_a_picture_that_goes_is_named_once_and_ends_all(
    part: str, train: Train, photos: Path, two: Path, tmp_path: Path
) -> None:
    """Pictures are read whenever they are needed, by one or the other; it goes before anybody reads the next batch."""
    pictures, folder = copy_of(photos, tmp_path / "photos"), tmp_path / "run"
    picture = pictures / f"{held_in(two, part)}.jpg"
    strike = Strike(1, 1, picture.unlink)
    gang = train(folder, "--cache-gb", "0", pictures=pictures, struck=strike, cache=tmp_path / "cache")
    assert gang.codes() == [2, 2]
    assert gang.said().count(str(picture)) == 1
    assert not re.search(r"Error|Traceback|Stopped", gang.said())


def test_a_picture_that_goes_before_it_is_scored_is_named_once(
    train: Train, photos: Path, two: Path, tmp_path: Path
) -> None:
    """All have it decoded at the size for training, and only scoring reads the file."""
    pictures, folder = copy_of(photos, tmp_path / "photos"), tmp_path / "run"
    picture = pictures / f"{held_in(two, 'val')}.jpg"
    gang = train(folder, pictures=pictures, struck=Strike(1, 1, picture.unlink))
    assert gang.codes() == [0, 0]
    assert gang.said().count(f"Not scored: {picture}") == 1
    assert len(json.loads((folder / "scores.json").read_text())["problems"]) == 1


def test_what_is_wrong_with_all_is_said_once(train: Train, two: Path) -> None:
    gang = train(two)
    assert gang.codes() == [2, 2]
    assert gang.said().count("is not empty") == 1


def test_minutes_end_all_at_the_same_step_in_whatever_way_they_train(train: Train, one: Path, tmp_path: Path) -> None:
    """With batch normalisation, several passes a step, little kept for the backward pass, layers held at first."""
    gang = train(
        tmp_path / "run",
        *("--epochs", "None", "--minutes", "0.06", "--norm", "batch", "--accumulate", "2", "--small-first", "0.4"),
        *("--storage", "lean+checkpointed", "--freeze", "0.3", "--from", str(one / "model.safetensors")),
    )
    assert gang.codes() == [0, 0]
    assert (tmp_path / "run" / "scores.json").is_file()


def test_a_batch_too_small_for_all_is_refused(train: Train, tmp_path: Path) -> None:
    gang = train(tmp_path / "run", "--batch-size", "1")
    assert gang.codes() == [2, 2]
    assert gang.said().count("cannot be shared out to 2 processes") == 1
