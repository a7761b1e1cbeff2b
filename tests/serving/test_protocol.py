import asyncio
import socket
from typing import Any

import pytest
import uvicorn

from maskwright.serving import protocol
from maskwright.serving.protocol import ImpatientProtocol


async def answer(scope: Any, receive: Any, send: Any) -> None:
    """Nothing, once the request has been received."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


async def talk(*words: bytes) -> list[bytes]:
    """What a server says to each of these, up to the end of an answer or of the connection."""
    config = uvicorn.Config(answer, http=ImpatientProtocol, ws="none", lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    said = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = listening.getsockname()
        serving = asyncio.create_task(server._serve([listening]))
        reader, writer = await asyncio.open_connection(*address)
        for word in words:
            writer.write(word)
            await writer.drain()
            try:
                said.append(await reader.readuntil(b"\r\n\r\n"))
            except asyncio.IncompleteReadError as end:
                said.append(end.partial)
        writer.close()
        await writer.wait_closed()
        server.should_exit = True
        await serving
    return said


@pytest.mark.parametrize("words", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: a\r\n"])
def test_headers_that_never_end_end_the_connection(words: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEADER_SECONDS", 0.05)
    assert asyncio.run(talk(words)) == [b""]


def test_headers_that_end_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEADER_SECONDS", 1000)
    (said,) = asyncio.run(talk(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab"))
    assert said.startswith(b"HTTP/1.1 204 ")


def test_a_second_request_on_a_connection_is_waited_for_likewise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEADER_SECONDS", 0.05)
    first, second = asyncio.run(talk(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"GET / HT"))
    assert first.startswith(b"HTTP/1.1 204 ")
    assert second == b""
