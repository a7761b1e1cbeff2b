"""The server under load, beside the engine's own speed: throughput, waiting times, memory, and its end.

    python benchmarks/serve_load.py MODEL --seconds 60

The work is one and the same: the bytes of a JPEG file (drawn cars, 1918x1280) to the bytes of a mask PNG, by the same
engine and functions. The plain loop does it in this process, over and over, in the faster of two ways: a thread for
each core and a core for each picture (what `predict` does with a folder), or one picture after the other on all cores.
It runs before and after the server does. The server is asked by 16 clients in a process of their own, each with one
connection, which sends prepared bytes as soon as it has its answer; they use the same cores. `ratio` is the server's
masks per second by the plain loop's.

Memory is what the system says that the server and its decoders hold (VmRSS), after a warm-up and at the end. At last
the server gets SIGTERM under load: what its log has answered is held against what the clients got.
"""

import argparse
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import mean, quantiles
from typing import Any

from machine import describe_machine

from maskwright.data.drawn_cars import write_drawn_cars
from maskwright.data.input_format import read_image
from maskwright.data.threads import in_threads
from maskwright.files import write_json
from maskwright.inference.bulk import look
from maskwright.inference.engines import one_core_each
from maskwright.inference.predictor import Predictor, load
from maskwright.inference.results import encode_result

RESULT = Path(__file__).parent / "results" / "serve_load.json"
CORES = os.cpu_count() or 1
WARM_UP_SECONDS = 10.0


# --- The engine alone


def one_mask(predictor: Predictor, path: Path) -> int:
    """A JPEG file to the bytes of a mask PNG."""
    return len(encode_result("mask", path.name, look(predictor, read_image(path, predictor.card.input)))[0])


def masks_per_second(predictor: Predictor, pictures: Sequence[Path], seconds: float, threads: int) -> float:
    """Of a plain loop with so many threads."""
    started = time.perf_counter()

    def again_and_again() -> Iterator[Path]:
        while time.perf_counter() - started < seconds:
            yield from pictures

    number = sum(1 for _ in in_threads(lambda path: one_mask(predictor, path), again_and_again(), threads=threads))
    return number / (time.perf_counter() - started)


def plain_loop(model: Path, pictures: Sequence[Path], seconds: float) -> dict[str, float]:
    """Both ways."""
    with one_core_each():
        side_by_side = masks_per_second(load(model, many_at_once=True), pictures, seconds, CORES)
    return {
        "a_core_for_each_picture": round(side_by_side, 3),
        "all_cores_for_each_picture": round(masks_per_second(load(model), pictures, seconds, 1), 3),
    }


# --- The server


@contextmanager
def serving(model: Path, log: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A server in a process of its own, and its port."""
    command = [sys.executable, "-m", "maskwright", "serve", str(model), "--port", "0", *words]
    with (
        log.open("w") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            found = re.search(r":(\d+) ", process.stdout.readline())
            assert found, log.read_text()
            yield process, int(found[1])
        finally:
            process.kill()


def megabytes_of(pid: int, line: str = "VmRSS") -> float:
    """What the system says of a process."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(rf"{line}:\s+(\d+)", text)[1]) * 1024 / 1e6  # type: ignore[index]


def children_of(pid: int) -> list[int]:
    """The decoders of a server; those that were started again belong to the thread that did so."""
    return [int(word) for file in Path(f"/proc/{pid}/task").glob("*/children") for word in file.read_text().split()]


def memory_of(pid: int, line: str = "VmRSS") -> dict[str, float]:
    """Of a server and of its decoders together."""
    decoders = sum(megabytes_of(child, line) for child in children_of(pid))
    return {"server_mb": round(megabytes_of(pid, line), 1), "decoders_mb": round(decoders, 1)}


# --- The clients, in a process of their own


def drive(port: int, folder: Path, clients: int, seconds: float) -> dict[str, Any]:
    """Ask for masks until the time is over or the server has gone."""
    bodies = [path.read_bytes() for path in sorted(folder.glob("*.jpg"))]
    statuses: Counter[int] = Counter()
    waits: list[float] = []
    lost: list[str] = []
    ends = time.perf_counter() + seconds

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        while time.perf_counter() < ends:
            number += 1
            began = time.perf_counter()
            try:
                connection.request("POST", "/v1/predict", bodies[number % len(bodies)], {"Content-Type": "image/jpeg"})
                answer = connection.getresponse()
                answer.read()
            except http.client.IncompleteRead as error:
                lost.append(f"half an answer: {error}")
                return
            except (OSError, http.client.HTTPException) as error:
                lost.append(f"no answer: {type(error).__name__}")
                return
            waits.append(time.perf_counter() - began)
            statuses[answer.status] += 1

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {
        "seconds": round(time.perf_counter() - began, 2),
        "masks_per_second": round(statuses[200] / (time.perf_counter() - began), 3),
        "statuses": dict(statuses),
        "p50_seconds": round(quantiles(waits, n=100)[49], 3),
        "p99_seconds": round(quantiles(waits, n=100)[98], 3),
        "without_an_answer": dict(Counter(lost)),
    }


def start_clients(port: int, folder: Path, clients: int, seconds: float) -> subprocess.Popen[str]:
    """This file again, as clients."""
    words = [str(port), str(folder), str(clients), str(seconds)]
    return subprocess.Popen([sys.executable, __file__, "--drive", *words], stdout=subprocess.PIPE, text=True)


def answers_of(clients: subprocess.Popen[str]) -> dict[str, Any]:
    """What they found."""
    found: dict[str, Any] = json.loads(clients.communicate()[0])
    return found


# --- All of it


def under_load(model: Path, folder: Path, clients: int, seconds: float, scratch: Path) -> dict[str, Any]:
    """Throughput, waits and memory."""
    with serving(model, scratch / "load.jsonl") as (process, port):
        answers_of(start_clients(port, folder, clients, min(WARM_UP_SECONDS, seconds)))
        before = memory_of(process.pid)
        found = answers_of(start_clients(port, folder, clients, seconds))
        after = memory_of(process.pid)
        process.send_signal(signal.SIGTERM)
        code = process.wait()
    growth = sum(after.values()) / sum(before.values()) - 1
    return {**found, "memory_before": before, "memory_after": after, "growth": round(growth, 4), "exit_code": code}


def stopped_under_load(model: Path, folder: Path, clients: int, seconds: float, scratch: Path) -> dict[str, Any]:
    """Requests that were begun, answered and received, when a signal comes while all clients wait."""
    log = scratch / "stopped.jsonl"
    with serving(model, log) as (process, port):
        asking = start_clients(port, folder, clients, 600)
        time.sleep(seconds)
        process.send_signal(signal.SIGTERM)
        code = process.wait()
        found = answers_of(asking)
    logged = Counter(json.loads(line)["status"] for line in log.read_text().splitlines())
    received = sum(found["statuses"].values())
    return {
        "exit_code": code,
        "logged_by_the_server": dict(logged),
        "received_by_clients": found["statuses"],
        "accepted_and_lost": sum(logged.values()) - received,
        "clients_that_found_it_gone": found["without_an_answer"],
    }


def main() -> None:
    """Measure, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        pictures = list(write_drawn_cars(scratch / "drawn", cars=2, views=8, width=1918, height=1280))
        folder = pictures[0].parent
        loops = [plain_loop(options.model, pictures, options.seconds / 3)]
        served = under_load(options.model, folder, options.clients, options.seconds, scratch)
        loops.append(plain_loop(options.model, pictures, options.seconds / 3))
        stopped = stopped_under_load(options.model, folder, options.clients, min(5.0, options.seconds), scratch)
    plain = mean(max(loop.values()) for loop in loops)
    result = {
        "command": f"python benchmarks/serve_load.py MODEL --seconds {options.seconds:g} --clients {options.clients}",
        "model": options.model.name,
        "plain_loops": loops,
        "served": served,
        "ratio": round(served["masks_per_second"] / plain, 3),
        "stopped": stopped,
        "other_load_at_the_end": [round(value, 1) for value in os.getloadavg()],
        "machine": describe_machine(),
    }
    print(json.dumps(result, indent=2))
    write_json(options.out, result)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--drive"]:
        port, folder, clients, seconds = sys.argv[2:]
        print(json.dumps(drive(int(port), Path(folder), int(clients), float(seconds))))
    else:
        main()
