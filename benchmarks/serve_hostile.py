"""Hostile clients: what each is answered, and the most memory that the server and its decoders ever held.

    python benchmarks/serve_hostile.py MODEL

The server gets 3 seconds for a request's body and for a decoder, and its usual limits for the rest. One kind of
hostility after the other: every broken picture of the tests' corpus (bombs, sizes that headers lie about, files cut
short, files of other kinds), a JPEG file that takes hours to decode, bodies that are too large or never end,
connections that say nothing, and 1,000 tiny requests from 32 clients. After each, an honest picture has to be answered.
"""

import argparse
import http.client
import json
import socket
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from machine import describe_machine
from serve_load import memory_of, serving

from maskwright.data.drawn_cars import write_drawn_cars
from maskwright.files import write_json

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.hostile_corpus import PICTURES
from tests.serving.slow_pictures import endless_jpeg

RESULT = Path(__file__).parent / "results" / "serve_hostile.json"
CLIENTS = 32
SECONDS = 3
# More than the server takes, and no more than a test should send.
MOST_BYTES = 30_000_000


def post(port: int, content: bytes | Iterable[bytes], kind: str = "image/png") -> int:
    """The status that a body is answered with; 0 where the connection ends without an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request("POST", "/v1/predict", content, {"Content-Type": kind})
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def corpus(folder: Path) -> dict[str, bytes]:
    """The broken pictures that are small enough to be sent."""
    found = {}
    for number, (name, case) in enumerate(PICTURES.items()):
        path = folder / str(number)
        case.make(path)
        if path.is_file() and path.stat().st_size <= MOST_BYTES:
            found[name] = path.read_bytes()
    return found


def many(port: int, bodies: Iterable[bytes]) -> dict[int, int]:
    """How often each status comes back."""
    with ThreadPoolExecutor(CLIENTS) as clients:
        return dict(Counter(clients.map(lambda body: post(port, body), bodies)))


def silent(port: int, words: bytes, number: int) -> dict[int, int]:
    """Connections that say so much and no more: what comes back, up to their end; 0 for nothing."""
    opened = [socket.create_connection(("127.0.0.1", port), timeout=60) for _ in range(number)]
    statuses: Counter[int] = Counter()
    for connection in opened:
        connection.sendall(words)
    for connection in opened:
        with connection:
            said = connection.recv(4096)
            statuses[int(said.split()[1]) if said else 0] += 1
    return dict(statuses)


def hostilities(port: int, scratch: Path) -> dict[str, tuple[Callable[[], dict[int, int]], set[int]]]:
    """What is done, and which statuses are right."""
    broken = corpus(scratch / "corpus")
    unfinished = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\n"
    endless = (bytes(2**16) for _ in range(MOST_BYTES // 2**16))
    return {
        "broken pictures": (lambda: many(port, broken.values()), {200, 413, 415, 422}),
        "JPEG that takes hours": (lambda: many(port, [endless_jpeg()] * 4), {422}),
        "30 MB, length stated": (lambda: many(port, [bytes(MOST_BYTES)] * 4), {413}),
        "30 MB, in pieces": (lambda: {post(port, endless): 1}, {413}),
        "bodies that never end": (lambda: silent(port, unfinished + b"Content-Length: 9\r\n\r\nabc", 16), {408}),
        "headers that never end": (lambda: silent(port, unfinished, 200), {0}),
        "connections that say nothing": (lambda: silent(port, b"", 200), {0}),
        "no HTTP": (lambda: silent(port, b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 16), {400}),
        "1,000 tiny requests": (lambda: many(port, [b"x"] * 1000), {415}),
    }


def main() -> int:
    """Try all of it, and write what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    found: dict[str, Any] = {}
    words = ["--body-seconds", str(SECONDS), "--decode-seconds", str(SECONDS), "--max-requests", str(CLIENTS)]
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        (scratch / "corpus").mkdir()
        (honest,) = write_drawn_cars(scratch / "drawn", cars=1, views=1, width=1918, height=1280)
        picture = honest.read_bytes()
        with serving(options.model, scratch / "log.jsonl", *words) as (process, port):
            many(port, [picture] * CLIENTS)
            before = memory_of(process.pid)
            for hostility, (act, right) in hostilities(port, scratch).items():
                statuses = act()
                afterwards = post(port, picture, "image/jpeg")
                is_right = set(statuses) <= right and afterwards == 200
                found[hostility] = {
                    "statuses": statuses,
                    "an_honest_picture_afterwards": afterwards,
                    "right": is_right,
                    "memory": memory_of(process.pid),
                }
                print(hostility, found[hostility], flush=True)
            peak = memory_of(process.pid, "VmHWM")
        traces = sum("traceback" in json.loads(line) for line in (scratch / "log.jsonl").read_text().splitlines())
    result = {
        "command": "python benchmarks/serve_hostile.py MODEL",
        "model": options.model.name,
        "memory_before": before,
        "peak_memory": peak,
        "mistakes_in_the_log": traces,
        "hostilities": found,
        "machine": describe_machine(),
    }
    write_json(options.out, result)
    return 0 if traces == 0 and all(entry["right"] for entry in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
