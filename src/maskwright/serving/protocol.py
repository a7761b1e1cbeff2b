"""HTTP connections that do not wait for ever for the first line of a request.

uvicorn closes connections that are idle after an answer; one that never finishes its first headers it keeps, and a few
hundred of these would keep everybody else out.
"""

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

# From the opening of a connection, or the first byte of a further request, to the end of the request's headers.
HEADER_SECONDS = 10.0


class ImpatientProtocol(H11Protocol):
    """A connection that is closed where headers do not come to an end."""

    _headers_end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait."""
        super().connection_made(transport)
        self._wait_for_headers()

    def data_received(self, data: bytes) -> None:
        """Go on waiting where these are not all of the headers yet."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._stop_waiting()
        elif self._headers_end is None:
            self._wait_for_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait_for_headers(self) -> None:
        self._headers_end = self.loop.call_later(HEADER_SECONDS, self._give_up)

    def _stop_waiting(self) -> None:
        if self._headers_end is not None:
            self._headers_end.cancel()
            self._headers_end = None

    def _give_up(self) -> None:
        if self.conn.their_state is h11.IDLE:
            self.timeout_keep_alive_handler()
