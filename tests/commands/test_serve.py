"""The command itself, in a process of its own."""

import http.client
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from maskwright.cli import main
from maskwright.commands.serve import read_key
from maskwright.errors import InputError
from tests.serving.conftest import encoded
from tests.tiny_pictures import an_image

# What a proxy says of whom it speaks for, and anybody can say.
FORWARDED = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https", "Forwarded": "for=203.0.113.9"}


@dataclass
class Answered:
    """What clients got, counted by all of them."""

    whole: list[int] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    enough: threading.Event = field(default_factory=threading.Event)


@contextmanager
def serving(*words: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A server on a free port, once it answers."""
    command = [sys.executable, "-m", "maskwright", "serve", *words, "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.fullmatch(r"Serving .* at http://127.0.0.1:(\d+) .*\n", line)
            assert found, line + (process.stderr.read() if process.stderr else "")
            yield process, int(found[1])
        finally:
            process.kill()


def ask(port: int, body: bytes, answered: Answered) -> None:
    """Send a picture again and again, until the server takes no more."""
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        try:
            connection.request("POST", "/v1/predict", body, {"Content-Type": "image/jpeg", **FORWARDED})
            answer = connection.getresponse()
            answered.whole.append(answer.status if answer.read() else 0)
            if len(answered.whole) >= 40:
                answered.enough.set()
        except http.client.IncompleteRead as error:
            answered.broken.append(str(error))
            return
        except (OSError, http.client.HTTPException):  # refused, or closed before there was an answer
            return
        finally:
            connection.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_under_load_loses_no_request_and_ends_the_server_well(number: int, tiny_onnx: Path) -> None:
    """Requests that the log names are those that clients got a whole answer to, and no others.

    The signal goes to the whole group, as that of a terminal does: decoders are to outlive it.
    """
    body, answered = encoded(an_image(0), "JPEG"), Answered()
    with serving(str(tiny_onnx), "--max-requests", "4") as (process, port):
        clients = [threading.Thread(target=ask, args=(port, body, answered)) for _ in range(6)]
        log: list[str] = []
        assert process.stderr is not None
        reader = threading.Thread(target=log.extend, args=(process.stderr,))
        for thread in (*clients, reader):
            thread.start()
        assert answered.enough.wait(120)
        os.killpg(process.pid, number)
        for thread in (*clients, reader):
            thread.join()
        assert process.wait() == 0
    events = [json.loads(line) for line in log]
    assert {event["event"] for event in events} == {"request"}
    assert {event["client"] for event in events} == {"127.0.0.1"}  # and not what a header says
    assert {(event["status"], event.get("code")) for event in events} <= {(200, None), (503, "too_busy")}
    assert sorted(event["status"] for event in events) == sorted(answered.whole)
    assert {200, 503} >= set(answered.whole)
    assert answered.broken == []


def test_as_many_connections_and_pictures_are_served_as_the_options_say(tiny_onnx: Path) -> None:
    picture, unfinished = encoded(an_image(0), "JPEG"), b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\n"
    with serving(str(tiny_onnx), "--max-connections", "2", "--max-requests", "1") as (_, port):
        first = socket.create_connection(("127.0.0.1", port))
        second, third = (http.client.HTTPConnection("127.0.0.1", port) for _ in range(2))
        with first, closing(second), closing(third):
            first.sendall(unfinished + b"Content-Length: 9\r\n\r\nabc")
            while b"pictures_under_way 1.0" not in ask_once(second, "GET", "/metrics")[1]:
                pass
            assert ask_once(third, "GET", "/healthz") == (503, b"Service Unavailable")
            status, content = ask_once(second, "POST", "/v1/predict", picture)
            assert (status, json.loads(content)["error"]["code"]) == (503, "too_busy")
            first.sendall(b"defghi")
            assert first.recv(4096).startswith(b"HTTP/1.1 415 ")
            assert ask_once(second, "POST", "/v1/predict", picture)[0] == 200


def ask_once(connection: http.client.HTTPConnection, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
    """Status and content of an answer, on a connection that stays open."""
    connection.request(method, path, body)
    answer = connection.getresponse()
    return answer.status, answer.read()


def test_an_exported_file_is_served_without_torch(tiny_onnx: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"  # importing it fails from here on
        "from fastapi.testclient import TestClient\n"
        "from maskwright.inference.predictor import load\n"
        "from maskwright.serving.app import create_app\n"
        "app = create_app(load(sys.argv[1], many_at_once=True), threads=1)\n"
        "with TestClient(app, base_url='http://localhost') as client:\n"
        "    answer = client.post('/v1/predict', content=sys.stdin.buffer.read())\n"
        "print(answer.status_code, answer.headers['content-type'])\n"
    )
    picture = encoded(an_image(0), "JPEG")
    result = subprocess.run([sys.executable, "-c", code, tiny_onnx], input=picture, capture_output=True, check=True)
    assert result.stdout == b"200 image/png\n"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_commands_of_the_documentation_work_as_written(tiny_onnx: Path, tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs/serve.md").read_text(encoding="utf-8")
    commands = [line for line in text.splitlines() if line.startswith("curl ") and "http://127.0.0.1:8000/" in line]
    assert len(commands) >= 5
    (tmp_path / "car.jpg").write_bytes(encoded(an_image(0), "JPEG"))
    with serving(str(tiny_onnx), "--collect", str(tmp_path / "corrected")) as (_, port):
        for command in commands:
            words = shlex.split(command.replace("127.0.0.1:8000", f"127.0.0.1:{port}"))
            subprocess.run([*words, "--fail", "--silent"], cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    assert {path.name for path in tmp_path.iterdir()} == {"car.jpg", "mask.png", "cutout.png", "coco.json", "corrected"}
    assert (tmp_path / "corrected/masks/car.png").read_bytes() == (tmp_path / "mask.png").read_bytes()


# --- What does not start


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--host", "0.0.0.0"], "write a key of at least 16 letters"),  # noqa: S104
        (["--port", "99999999"], "choose another --port"),
        (["--max-requests", "0"], "--max-requests must be more than 0"),
        (["--api-key-file", "nowhere"], "--api-key-file nowhere cannot be read"),
    ],
)
def test_what_cannot_be_served_is_said_in_a_sentence(
    words: list[str], sentence: str, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", str(tiny_model), *words]) == 2
    assert sentence in capsys.readouterr().err


def test_a_port_in_use_is_said_in_a_sentence(tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", str(tiny_model), "--port", str(port)]) == 2
    assert f"Nothing can listen on 127.0.0.1, port {port}" in capsys.readouterr().err


def test_the_key_comes_from_a_file_or_from_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("0123456789abcdef\n")
    assert read_key(file, None) == "0123456789abcdef"
    assert read_key(None, "fedcba9876543210") == "fedcba9876543210"
    assert read_key(file, "fedcba9876543210") == "0123456789abcdef"
    assert read_key(None, None) is None
    assert read_key(None, "") is None
    for bad in ("short", "with spaces in between", "0123456789abcdé-0123456789"):
        with pytest.raises(InputError, match="holds no key of at least 16"):
            read_key(None, bad)


def test_the_servers_packages_are_hinted_at_where_they_are_missing(tiny_model: Path) -> None:
    code = (
        "import sys; sys.modules['uvicorn'] = None\n"
        "from maskwright.cli import main\n"
        f"sys.exit(main(['serve', {str(tiny_model)!r}]))\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.strip() == "uvicorn is not installed; it comes with: pip install '.[serve]'"
