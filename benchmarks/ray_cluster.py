"""Millions of pictures with Ray: what is lost with a machine, what Ray costs, what it holds, and what 100 million take.

    python benchmarks/ray_cluster.py MODEL                 all parts, one after the other
    python benchmarks/ray_cluster.py MODEL --only kill     one part; the others' results stay in the file
    python benchmarks/ray_cluster.py --table               write the tables of docs/scale.md, from the file

Pictures are drawn cars, a few drawn and copied under as many names as are asked for. Parts:

kill      Two nodes of one core each on this machine (`ray.cluster_utils.Cluster`); one is killed when half of the parts
          are done. Every mask must be there, every picture stand in one row of one table, and every mask be that of
          the single process.
overhead  Pictures per second of `predict --runner ray` on two cores, and of two plain processes that share the same
          pictures, in turns; as a whole, and without what both take to start and to end.
memory    The most that all processes together hold, at 1,000, 2,500 and 5,000 pictures: proportional set sizes, so that
          memory which they share counts once; beside it the object store.
price     Of one core and one picture of 1918x1280: seconds of decoding, computing and finishing, and bytes that are
          read, sent and written. The table follows from these.

Without MODEL, `kill` and `memory` take a small network with first weights: nothing in them depends on what it sees.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from machine import describe_machine

from maskwright.config import PredictSettings
from maskwright.data.drawn_cars import write_drawn_cars
from maskwright.files import write_json

RESULT = Path(__file__).parent / "results" / "ray_cluster.json"
PARTS = ("kill", "overhead", "memory", "price")
# Seconds between two looks at the memory of all processes.
LOOK = 0.5
# Pictures drawn; all others are copies of these.
DRAWN = 20


# --- What is predicted


def draw(folder: Path, number: int, *, width: int = 480, height: int = 320) -> Path:
    """A folder of so many pictures in folders of a thousand; copies of a few drawn ones under names of their own."""
    sources = sorted(write_drawn_cars(folder / "drawn", cars=DRAWN // 4, views=4, width=width, height=height))
    photos = folder / f"photos-{number}"
    for place in range(number):
        path = photos / f"{place // 1000:03}" / f"{place:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(sources[place % len(sources)], path)
    shutil.rmtree(folder / "drawn")
    return photos


def small_model(folder: Path) -> Path:
    """A model file of a few channels with first weights."""
    import torch

    from maskwright.config import Architecture
    from maskwright.inference.model_file import ModelCard, save_model
    from maskwright.models.build import build_network

    torch.manual_seed(0)
    architecture = Architecture(base_channels=8, depth=2)
    weights = {name: tensor.numpy() for name, tensor in build_network(architecture).state_dict().items()}
    save_model(folder / "small.safetensors", ModelCard(architecture, size=128), weights)
    return folder / "small.safetensors"


# --- Nothing lost, nothing twice


def kill(model: Path, folder: Path, pictures: int, part: int) -> dict[str, Any]:
    """Lose one of two nodes half way."""
    import ray
    from ray.cluster_utils import Cluster

    photos, out = draw(folder, pictures), folder / "out"
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    doomed = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    killed: dict[str, Any] = {}

    def end_half_way() -> None:
        while len(marks := marks_in(out)) < pictures / part / 2:
            time.sleep(0.2)
        cluster.remove_node(doomed, allow_graceful=False)
        killed.update(parts_done_when_killed=len(marks), at=time.monotonic())

    watcher = threading.Thread(target=end_half_way, daemon=True)
    watcher.start()
    began = time.monotonic()
    predict_by_ray(model, photos, out, part=part, save="mask,parquet", address=cluster.address)
    ended = time.monotonic()
    watcher.join(timeout=10)
    ray.shutdown()
    cluster.shutdown()
    return {
        "pictures": pictures,
        "parts": -(-pictures // part),
        "parts_done_when_killed": killed["parts_done_when_killed"],
        "seconds": round(ended - began, 1),
        "seconds_after_the_loss": round(ended - killed["at"], 1),
        **compare(model, photos, out, folder / "alone"),
    }


def compare(model: Path, photos: Path, out: Path, alone: Path) -> dict[str, int]:
    """Count what is missing, twice, or other than what a single process makes of the drawn pictures."""
    import pyarrow.dataset as datasets

    from maskwright.inference.bulk import predict_pictures
    from maskwright.inference.jobs import Job
    from maskwright.inference.predictor import load
    from maskwright.inference.results import Wish

    names = sorted(path.relative_to(photos) for path in photos.rglob("*.jpg"))
    jobs = [Job(photos / name, name.name, alone, Path(name.stem)) for name in names[:DRAWN]]
    list(predict_pictures(load(model, many_at_once=True), jobs, Wish(["mask"])))
    expected = [(alone / f"{name.stem}_mask.png").read_bytes() for name in names[:DRAWN]]
    masks = {name: out / name.with_name(f"{name.stem}_mask.png") for name in names}
    rows = datasets.dataset(out / "parquet").to_table(columns=["path", "error"]).to_pylist()
    there = set(out.rglob("*_mask.png"))
    return {
        "masks_missing": len(set(masks.values()) - there),
        "masks_too_many": len(there - set(masks.values())),
        "masks_that_differ": sum(
            path.read_bytes() != expected[int(name.stem) % DRAWN] for name, path in masks.items() if path in there
        ),
        "rows": len(rows),
        "rows_twice": len(rows) - len({row["path"] for row in rows}),
        "rows_with_an_error": sum(row["error"] is not None for row in rows),
    }


# --- What Ray costs


def overhead(model: Path, folder: Path, pictures: int, part: int, rounds: int) -> dict[str, Any]:
    """Ray and two plain processes in turns."""
    photos = draw(folder, pictures)
    found = []
    for number in range(rounds):
        row = {
            "plain": timed(
                lambda out: plain_pool(model, photos, out, part), folder / f"plain-{number}", pictures / part
            ),
            "ray": timed(
                lambda out: predict_by_ray(model, photos, out, part=part, save="mask", cores=2),
                folder / f"ray-{number}",
                pictures / part,
            ),
        }
        print(row, flush=True)
        found.append(row)
    ratios = {
        key: round(median(row["ray"][key] / row["plain"][key] for row in found), 3)
        for key in ("seconds", "seconds_of_the_last_three_quarters")
    }
    return {"pictures": pictures, "part": part, "rounds": found, "ray_to_plain": ratios}


def timed(work: Callable[[Path], None], out: Path, parts: float) -> dict[str, float]:
    """Seconds of it all, and of the last three quarters of the parts: neither start nor end are in these."""
    began = time.monotonic()
    times: list[float] = []  # when there was a quarter of the parts, and all of them
    ended = threading.Event()

    def watch() -> None:
        for number in (parts / 4, parts):
            while len(marks_in(out)) < number and not ended.wait(0.05):
                pass
            times.append(time.monotonic())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    work(out)
    end = time.monotonic()
    ended.set()
    watcher.join()
    shutil.rmtree(out)
    return {"seconds": round(end - began, 2), "seconds_of_the_last_three_quarters": round(times[1] - times[0], 2)}


def plain_pool(model: Path, photos: Path, out: Path, part: int) -> None:
    """Two processes that take as many pictures at a time as a part has, and make the masks that `predict` makes."""
    names = sorted(path.relative_to(photos) for path in photos.rglob("*.jpg"))
    chunks = [names[start : start + part] for start in range(0, len(names), part)]
    (out / ".predict/done").mkdir(parents=True)
    # Not forked: what is left of Ray's and torch's threads in this process would be copied half way.
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=spawned, initializer=_load_here, initargs=(model,)) as pool:
        for number, _ in enumerate(pool.map(_predict_here, chunks, [photos] * len(chunks), [out] * len(chunks))):
            (out / f".predict/done/{number:07}.{part}.0").touch()


_here: list[Any] = []


def _load_here(model: Path) -> None:
    from maskwright.inference.predictor import load

    _here.append(load(model, many_at_once=True, cores=1))


def _predict_here(names: Sequence[Path], photos: Path, out: Path) -> int:
    from maskwright.inference.bulk import predict_pictures
    from maskwright.inference.jobs import Job
    from maskwright.inference.results import Wish

    jobs = [Job(photos / name, name.as_posix(), out, name.with_suffix("")) for name in names]
    return len(list(predict_pictures(_here[0], jobs, Wish(["mask"]), threads=1)))


# --- What it holds


def memory(model: Path, folder: Path, numbers: Sequence[int], part: int) -> dict[str, Any]:
    """The most that all processes hold, for several numbers of pictures; each in a process of its own."""
    found = {}
    for number in numbers:
        photos = draw(folder / str(number), number)
        words = [sys.executable, __file__, str(model), "--held", str(photos), "--part", str(part)]
        told = subprocess.run(words, check=True, capture_output=True, text=True).stdout
        found[str(number)] = json.loads(told.splitlines()[-1])
        print(number, found[str(number)], flush=True)
        shutil.rmtree(folder / str(number))
    peaks = [row["peak_megabytes"] for row in found.values()]
    return {"part": part, "pictures": found, "last_to_first": round(peaks[-1] / peaks[0], 3)}


def held(model: Path, photos: Path, part: int) -> dict[str, int]:
    """Predict a folder, and watch what this process and all below it hold."""
    peaks = {"peak_megabytes": 0, "of_them_object_store_megabytes": 0}
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(LOOK):
            total, store = megabytes_held(os.getpid())
            peaks["peak_megabytes"] = max(peaks["peak_megabytes"], total)
            peaks["of_them_object_store_megabytes"] = max(peaks["of_them_object_store_megabytes"], store)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    with tempfile.TemporaryDirectory() as out:
        predict_by_ray(model, photos, Path(out) / "out", part=part, save="mask,parquet", cores=2)
    ended.set()
    watcher.join()
    return peaks


def megabytes_held(process: int) -> tuple[int, int]:
    """What a process and all below it hold: memory that several share counts once. And the shared part of it."""
    total = shared = 0
    for one in _family(process):
        try:
            lines = Path(f"/proc/{one}/smaps_rollup").read_text(encoding="utf-8").splitlines()
        except OSError:  # it has ended
            continue
        facts = {words[0]: int(words[1]) for line in lines[1:] if len(words := line.split()) == 3}
        total += facts.get("Pss:", 0)
        shared += facts.get("Pss_Shmem:", 0)
    return total // 1000, shared // 1000


def _family(process: int) -> Iterator[int]:
    yield process
    try:
        threads = list(Path(f"/proc/{process}/task").iterdir())
        children = [child for thread in threads for child in (thread / "children").read_text().split()]
    except OSError:
        return
    for child in children:
        yield from _family(int(child))


# --- What a picture takes


def price(model: Path, folder: Path, rounds: int) -> dict[str, Any]:
    """Seconds of a core and bytes, of a picture of 1918x1280."""
    import pickle

    from maskwright.inference.engines import one_core_each
    from maskwright.inference.predictor import load
    from maskwright.scale.outcomes import finish, infer, prepare
    from maskwright.scale.parts import encode_table
    from maskwright.scale.sources import Picture

    files = sorted(write_drawn_cars(folder / "large", cars=2, views=4, width=1918, height=1280))
    predictor = load(model, many_at_once=True, cores=1)
    found: list[dict[str, float]] = []
    rows: dict[Path, dict[str, Any]] = {}
    with one_core_each():
        for _ in range(rounds):
            for file in files:
                content = file.read_bytes()
                times = [time.process_time()]
                prepared = prepare(predictor, Picture(file.name, content=content), ["mask"])
                times.append(time.process_time())
                logits = infer(predictor, prepared)
                times.append(time.process_time())
                outcome = finish(predictor, prepared, logits, ["mask"])
                times.append(time.process_time())
                rows[file] = finish(predictor, prepared, logits, ["parquet"]).row
                assert outcome.mask is not None
                found.append(
                    {
                        "seconds_to_decode": times[1] - times[0],
                        "seconds_to_compute": times[2] - times[1],
                        "seconds_to_finish": times[3] - times[2],
                        "bytes_read": len(content),
                        "bytes_sent_to_the_engine": len(pickle.dumps(prepared, protocol=5)),
                        "bytes_sent_from_it": len(pickle.dumps(logits, protocol=5)),
                        "bytes_of_a_mask": len(outcome.mask),
                    }
                )
    # Without what a table has once; rows that are alike would take next to nothing.
    of_a_row = (len(encode_table([*rows.values()])) - len(encode_table([]))) / len(rows)
    medians = {key: median(row[key] for row in found) for key in found[0]}
    return {key: float(f"{value:.4g}") for key, value in {**medians, "bytes_of_a_row": of_a_row}.items()}


# Machines that the table reckons with: cores, GPUs, and gigabits a second of their network.
MACHINES = {
    "this machine": (2, 0, 1),
    "16 cores": (16, 0, 10),
    "ten machines of 64 cores": (640, 0, 250),
    "16 cores and a GPU": (16, 1, 10),
    "64 cores and 8 GPUs": (64, 8, 50),
}
PICTURES = 100_000_000
PAGE = Path(__file__).parents[1] / "docs" / "scale.md"
# What the tables of the page stand between.
BEGIN = "<!-- python benchmarks/ray_cluster.py --table -->"
END = "<!-- end of the tables -->"
# No GPU was measured: pictures a second that one is taken to compute.
GPU_RATES = (200, 1000)


def tables(price_of: dict[str, float], overhead_of: float) -> str:
    """What a picture takes, and the days that 100 million take on machines, with what is full first.

    Args:
        price_of: What `price` found.
        overhead_of: Seconds with Ray for each second without.
    """
    lines = ["| a picture of 1918x1280 | |", "|---|---|"]
    lines += [f"| {key.replace('_', ' ')} | {price_of[key]:,g} |" for key in price_of if key.startswith(("sec", "byt"))]
    lines += [
        f"| seconds with Ray for each without | {overhead_of:g} |",
        "",
        "| machines | pictures a second | days for 100 million | core hours | full first | next |",
        "|---|---|---|---|---|---|",
    ]
    for name, (cores, gpus, gigabits) in MACHINES.items():
        for rate in GPU_RATES if gpus else (0,):
            limits = limits_of(price_of, overhead_of, cores, gpus * rate, gigabits)
            (first, pictures), (second, later), *_ = sorted(limits.items(), key=lambda item: item[1])
            seconds = PICTURES / pictures
            title = f"{name}, {gigabits} Gbit/s" + (f", GPUs of {rate} pictures/s" if gpus else "")
            lines.append(
                f"| {title} | {pictures:,.0f} | {seconds / 86400:,.1f} | {cores * seconds / 3600:,.0f} "
                f"| {first} | {second}, at {later:,.0f}/s |"
            )
    return "\n".join(lines)


def with_tables(page: str, known: dict[str, Any]) -> str:
    """The page with its tables made anew from the results; without tables while these are not measured."""
    start, rest = page.split(BEGIN)
    text = "Not measured yet."
    if {"price", "overhead"} <= known.keys():
        text = tables(known["price"], known["overhead"]["ray_to_plain"]["seconds_of_the_last_three_quarters"])
    return f"{start}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}"


def read_results(path: Path) -> dict[str, Any]:
    """What has been measured so far."""
    known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return known


def limits_of(
    price_of: dict[str, float], overhead_of: float, cores: int, gpu_rate: float, gigabits: float
) -> dict[str, float]:
    """Pictures a second that each part of a machine allows."""
    around = price_of["seconds_to_decode"] + price_of["seconds_to_finish"]
    wire = gigabits * 1e9 / 8
    limits = {
        "network": wire / (price_of["bytes_read"] + price_of["bytes_of_a_mask"]),
        "cores": cores / ((around + (0 if gpu_rate else price_of["seconds_to_compute"])) * overhead_of),
    }
    if gpu_rate:
        limits["GPU"] = gpu_rate
    return limits


# --- What all of them need


def predict_by_ray(
    model: Path, photos: Path, out: Path, *, part: int, save: str, address: str | None = None, cores: int | None = None
) -> None:
    """The command, in this process."""
    import ray

    from maskwright.commands.predict_at_scale import predict_at_scale
    from maskwright.config import ScaleSettings

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if cores:
        os.environ.setdefault("RAY_worker_niceness", "0")  # as the command does where it starts Ray
        ray.init(
            "local", num_cpus=cores, num_gpus=0, include_dashboard=False, log_to_driver=False, logging_level="ERROR"
        )
    tally = predict_at_scale(
        model,
        str(photos),
        out=str(out),
        save=save,
        device="cpu",
        settings=PredictSettings(),
        scale=ScaleSettings("ray", address, part),
    )
    assert not tally.undone, tally
    if cores:
        ray.shutdown()


def marks_in(out: Path) -> list[str]:
    """The marks of parts that are done."""
    try:
        return os.listdir(out / ".predict/done")  # noqa: PTH208 - names are enough
    except OSError:
        return []


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for pictures and results."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def measure(options: argparse.Namespace, name: str) -> dict[str, Any]:
    """One part of it."""
    with scratch() as folder:
        model = options.model or small_model(folder)
        command = f"python benchmarks/ray_cluster.py {'MODEL ' if options.model else ''}--only {name}"
        match name:
            case "kill":
                found = kill(model, folder, options.pictures, options.part)
            case "overhead":
                command += f" --rounds {options.rounds}"
                found = overhead(model, folder, options.pictures, options.part, options.rounds)
            case "memory":
                numbers = [options.pictures // 5, options.pictures // 2, options.pictures]
                found = memory(model, folder, numbers, options.part)
            case _:
                found = price(model, folder, options.rounds)
        if name != "price":
            command += f" --pictures {options.pictures} --part {options.part}"
    return {
        "command": command,
        "model": model.name,
        **found,
        "other_load_at_the_end": [round(value, 1) for value in os.getloadavg()],
        "machine": describe_machine(),
    }


def words_of(arguments: Iterable[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("--pictures", type=int, default=5000)
    parser.add_argument("--part", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--held", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(None if arguments is None else list(arguments))


def main() -> None:
    """Measure what is asked for, and keep the rest of the results."""
    options = words_of()
    if options.held:
        print(json.dumps(held(options.model, options.held, options.part)))
        return
    known = read_results(options.out)
    if options.table:
        PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8"), known), encoding="utf-8")
        return
    for name in [options.only] if options.only else PARTS:
        known[name] = measure(options, name)
        print(json.dumps(known[name], indent=2), flush=True)
        write_json(options.out, known)


if __name__ == "__main__":
    main()
