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


async def talk(*words: bytes, ends: bool) -> bytes:
    """What a server says to these words, up to the end of the connection, or up to its first answer."""
    config = uvicorn.Config(answer, http=ImpatientProtocol, ws="none", lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = listening.getsockname()
        serving = asyncio.create_task(server._serve([listening]))
        reader, writer = await asyncio.open_connection(*address)
        for word in words:
            writer.write(word)
            await writer.drain()
        said = await reader.read() if ends else await reader.readuntil(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()
        server.should_exit = True
        await serving
    return said


@pytest.mark.parametrize("words", [(), (b"GET / HT",), (b"GET / HTTP/1.1\r\n", b"Host: a\r\n")])
def test_headers_that_never_end_end_the_connection(
    words: tuple[bytes, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEADER_SECONDS", 0.05)
    assert asyncio.run(talk(*words, ends=True)) == b""


def test_a_body_may_take_longer_than_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEADER_SECONDS", 1000)
    words = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n", b"a", b"b"
    assert asyncio.run(talk(*words, ends=False)).startswith(b"HTTP/1.1 204 ")


def test_a_second_request_on_a_connection_is_waited_for_likewise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEADER_SECONDS", 0.05)
    said = asyncio.run(talk(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HT", ends=True))
    assert said.startswith(b"HTTP/1.1 204 ")
