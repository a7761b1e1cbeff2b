import asyncio
from typing import Any

import pytest
from fastapi.testclient import TestClient
from starlette.types import Message

from maskwright.inference.predictor import Predictor
from maskwright.serving import reception
from maskwright.serving.app import create_app
from tests.serving.conftest import MakeClient, limits, refusal, send

pytestmark = pytest.mark.usefixtures("one_thread")

PREDICT = {
    "type": "http",
    "asgi": {"version": "3.0"},
    "http_version": "1.1",
    "method": "POST",
    "scheme": "http",
    "path": "/v1/predict",
    "raw_path": b"/v1/predict",
    "query_string": b"",
    "root_path": "",
    "client": ("127.0.0.1", 1),
    "server": ("127.0.0.1", 80),
}


class Client:
    """One that sends what it likes: pieces of a body, and then nothing."""

    def __init__(self, *pieces: bytes, ends: bool, then_hangs_up: bool = False) -> None:
        self.pieces = list(pieces)
        self.ends = ends
        self.then_hangs_up = then_hangs_up
        self.got: list[Message] = []
        self.was_answered_when_asked: list[bool] = []

    async def receive(self) -> Message:
        self.was_answered_when_asked.append(any(message.get("body") for message in self.got))
        if self.pieces:
            body = self.pieces.pop(0)
            return {"type": "http.request", "body": body, "more_body": bool(self.pieces) or not self.ends}
        if self.then_hangs_up:
            return {"type": "http.disconnect"}
        await asyncio.Event().wait()
        raise AssertionError("nobody waits for ever")

    async def send(self, message: Message) -> None:
        self.got.append(message)

    def ask(self, app: Any, *headers: tuple[bytes, bytes]) -> None:
        async def ask() -> None:
            await app({**PREDICT, "headers": [(b"host", b"127.0.0.1"), *headers]}, self.receive, self.send)

        asyncio.run(ask())

    @property
    def status(self) -> int:
        status: int = self.got[0]["status"]
        return status

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.got[0]["headers"])


CHUNKED = (b"transfer-encoding", b"chunked")


# --- Sizes


def test_a_stated_length_that_is_too_large_is_refused_before_anything_is_read(predictor: Predictor) -> None:
    client = Client(b"x" * 10, ends=True)
    client.ask(create_app(predictor, log=lambda _: None), (b"content-length", b"20000001"))
    assert client.status == 413
    assert client.was_answered_when_asked[0]


def test_a_body_without_a_length_is_counted(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reception, "LINGER_BYTES", 200_000)
    client = Client(*[bytes(100_000)] * 100, ends=False)
    app = create_app(predictor, log=lambda _: None, limits=limits(max_megabytes=0.25))
    client.ask(app, CHUNKED, (b"content-type", b"image/png"))
    assert client.status == 413
    assert client.headers[b"connection"] == b"close"
    assert len(client.pieces) > 90


def test_a_form_is_counted_likewise(make_client: MakeClient) -> None:
    client = make_client(limits=limits(max_megabytes=0.25))
    assert refusal(client.post("/v1/predict", files={"image": bytes(300_000)})) == (413, "body_too_large")


def test_an_answer_before_the_end_is_sent_at_once_and_the_connection_closed_a_little_later(
    predictor: Predictor,
) -> None:
    client = Client(*[bytes(1000)] * 5, ends=True)
    client.ask(create_app(predictor, log=lambda _: None), (b"content-length", b"5000"), (b"origin", b"http://evil"))
    assert client.status == 403
    assert client.pieces == []  # thrown away
    assert all(client.was_answered_when_asked)
    assert [message["type"] for message in client.got] == ["http.response.start", *["http.response.body"] * 2]


# --- Slow and broken clients


def test_a_body_that_never_ends_is_given_up(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reception, "LINGER_SECONDS", 0.01)
    records: list[Any] = []
    app = create_app(predictor, log=records.append, limits=limits(body_seconds=0.05, max_requests=1))
    for kind in (b"image/png", b"multipart/form-data; boundary=b"):
        client = Client(b"--b\r\n", ends=False)
        client.ask(app, CHUNKED, (b"content-type", kind))
        assert client.status == 408  # and not 503: the place is free again
    assert [record["status"] for record in records] == [408, 408]


def test_a_client_that_hangs_up_leaves_its_place_and_no_trace(predictor: Predictor) -> None:
    records: list[Any] = []
    app = create_app(predictor, log=records.append, limits=limits(max_requests=1))
    for _ in range(2):
        Client(b"half", ends=False, then_hangs_up=True).ask(app, CHUNKED)
    assert [record["status"] for record in records] == [499, 499]
    assert records[0]["bytes_in"] == 4


# --- Kinds


@pytest.mark.parametrize("kind", ["text/html", "application/json", "application/x-www-form-urlencoded", "nonsense"])
def test_other_kinds_of_bodies_are_refused(kind: str, client: TestClient, jpeg: bytes) -> None:
    answer = send(client, jpeg, **{"Content-Type": kind})
    assert refusal(answer) == (415, "unsupported_media_type")


@pytest.mark.parametrize("kind", ["image/jpeg", "image/whatever", "IMAGE/PNG; q=1", "application/octet-stream", ""])
def test_the_content_decides_what_a_picture_is(kind: str, client: TestClient, jpeg: bytes) -> None:
    assert send(client, jpeg, **{"Content-Type": kind}).status_code == 200
    assert refusal(send(client, b"<svg/>", **{"Content-Type": kind})) == (415, "not_a_picture")


def test_nothing_is_no_picture(client: TestClient) -> None:
    assert refusal(send(client, b"")) == (422, "empty_body")
    assert refusal(client.post("/v1/predict", files={"image": ("a.png", b"")})) == (422, "empty_body")
    assert refusal(client.post("/v1/predict", files={"photo": b"x"})) == (422, "missing_field")
    assert refusal(client.post("/v1/predict", data={"image": "x"}, files={"b": b"x"})) == (422, "missing_field")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"no form", "multipart/form-data; boundary=b"),
        (b"no form", "multipart/form-data"),
        (
            b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\nx',
            "multipart/form-data;boundary=b",
        ),
        (b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n", "multipart/form-data; boundary=b"),
        (b"--b\r\n" * 100, "multipart/form-data; boundary=b"),
    ],
)
def test_forms_that_are_none_are_refused(content: bytes, kind: str, client: TestClient) -> None:
    answer = send(client, content, **{"Content-Type": kind})
    assert refusal(answer)[0] in (400, 415, 422)


def test_many_parts_are_refused(client: TestClient) -> None:
    files = [("image", ("a.png", b"x"))] * 50
    assert refusal(client.post("/v1/predict", files=files)) == (400, "malformed_form")
