"""What every request passes on its way in, and every answer on its way out.

In: a number that names it in the log, and the question who asks. Without a key only this machine may ask, and no web
page of another site through a browser on it (DNS rebinding, forged forms). Out: headers that keep browsers strict, a
line in the log, a count; and whatever went wrong becomes a sentence, never a stack trace.

An answer may be given before the request has been received, such as that it is too large. Then what still comes is
thrown away for a moment before the connection is closed: closed at once, the client would see a reset instead of the
answer. (nginx calls it lingering.)
"""

import asyncio
import hashlib
import hmac
import ipaddress
import json
import secrets
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from maskwright.serving.metrics import Metrics
from maskwright.serving.refusals import Refusal

Log = Callable[[Mapping[str, object]], None]

# Nothing but what comes from here, and pictures that the page made itself.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; connect-src 'self'; "
    "img-src 'self' data: blob:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
# What needs the key, where there is one.
_GUARDED = ("/v1/", "/metrics")
# How long, and how much, is thrown away of what comes after an answer.
LINGER_SECONDS, LINGER_BYTES = 2.0, 50_000_000
# The answer never reached anybody; nginx's number, for the log.
_DISCONNECTED = 499


@dataclass
class Visit:
    """A request while it is answered."""

    request_id: str = field(default_factory=lambda: secrets.token_hex(8))
    began: float = field(default_factory=time.perf_counter)
    status: int = _DISCONNECTED
    received: int = 0
    sent: int = 0
    is_received: bool = False
    is_answered: bool = False
    code: str | None = None
    trace: str | None = None


class Reception:
    """ASGI middleware around everything.

    Args:
        app: What answers.
        api_key: That clients have to send; without one, only this machine may ask.
        metrics: Counts.
        log: Is told of each request.
    """

    def __init__(self, app: ASGIApp, *, api_key: str | None, metrics: Metrics, log: Log) -> None:
        self._app = app
        self._key = None if api_key is None else _digest(api_key)
        self._metrics = metrics
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        visit = Visit()
        headers = Headers(scope=scope)
        visit.is_received = not ("transfer-encoding" in headers or headers.get("content-length", "0") != "0")

        async def receiving() -> Message:
            message = await receive()
            visit.received += len(message.get("body", b""))
            visit.is_received = visit.is_received or not message.get("more_body", False)
            return message

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                visit.status = message["status"]
                message = _with_headers(message, visit)
            else:
                visit.sent += len(message.get("body", b""))
                visit.is_answered = not message.get("more_body", False)
            if visit.is_answered and not visit.is_received:
                await send({**message, "more_body": True})
                await _linger(receiving, visit)
                message = {"type": "http.response.body", "body": b""}
            await send(message)

        try:
            self._admit(scope["path"], headers)
            await self._app(scope, receiving, sending)
        except Refusal as refusal:
            visit.code = refusal.code
            await _answer(refusal, sending)
        except ClientDisconnect:
            visit.status = _DISCONNECTED
        except Exception:  # noqa: BLE001 - whatever it is, the client gets a sentence and the log the rest
            visit.code, visit.trace = "internal_error", traceback.format_exc()
            if visit.status == _DISCONNECTED:
                sentence = f"This server has made a mistake; its log has more under {visit.request_id}."
                await _answer(Refusal(500, visit.code, sentence), sending)
        finally:
            self._note(scope, visit)

    def _admit(self, path: str, headers: Headers) -> None:
        """Refuse who may not ask.

        Raises:
            Refusal: The key is missing or wrong; or there is none, and another site asks through a browser.
        """
        if self._key is None:
            _refuse_other_sites(headers)
            return
        if not path.startswith(_GUARDED):
            return
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(_digest(given.strip()), self._key):
            sentence = "This server asks for its API key; send it in the header Authorization: Bearer KEY."
            raise Refusal(401, "api_key_needed", sentence, {"WWW-Authenticate": "Bearer"})

    def _note(self, scope: Scope, visit: Visit) -> None:
        seconds = time.perf_counter() - visit.began
        # A route and not a path, of which there are as many as somebody wants.
        route = getattr(scope.get("route"), "path", None) or "other"
        self._metrics.count_request(scope["method"], route, visit.status, seconds)
        event = {
            "event": "request",
            "request_id": visit.request_id,
            "client": (scope.get("client") or ("",))[0],
            "method": scope["method"],
            "path": scope["path"],
            "status": visit.status,
            "seconds": round(seconds, 4),
            "bytes_in": visit.received,
            "bytes_out": visit.sent,
        }
        wrong = {"code": visit.code, "traceback": visit.trace}
        self._log({**event, **{name: value for name, value in wrong.items() if value is not None}})


def is_loopback(host: str) -> bool:
    """Whether a name or an address is this machine's own, which nobody else can reach."""
    name = host.strip("[]").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _refuse_other_sites(headers: Headers) -> None:
    host = headers.get("host", "")
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    if host and not is_loopback(name):
        sentence = "This server is for its own machine; ask for 127.0.0.1 or localhost, or start it with an API key."
        raise Refusal(403, "other_host", sentence)
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2] != host:
        sentence = "This server takes no requests from pages of other sites; use its own page, or ask from a program."
        raise Refusal(403, "other_origin", sentence)


async def _answer(refusal: Refusal, send: Send) -> None:
    content = json.dumps(refusal.content()).encode()
    headers = {"Content-Type": "application/json", "Content-Length": str(len(content)), **refusal.headers}
    encoded = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": encoded})
    await send({"type": "http.response.body", "body": content})


def _with_headers(message: Message, visit: Visit) -> Message:
    """The start of an answer with what all answers carry, where it does not say otherwise itself."""
    found = list(message.get("headers", []))
    names = {name for name, _ in found}
    added = {**HEADERS, "X-Request-Id": visit.request_id}
    if not visit.is_received:
        added["Connection"] = "close"
    ours = [(name.lower().encode(), value.encode()) for name, value in added.items()]
    return {**message, "headers": [*found, *(pair for pair in ours if pair[0] not in names)]}


async def _linger(receive: Receive, visit: Visit) -> None:
    """Throw away what still comes, for a while."""
    limit = visit.received + LINGER_BYTES
    try:
        async with asyncio.timeout(LINGER_SECONDS):
            while not visit.is_received and visit.received < limit:
                await receive()
    except TimeoutError:
        pass


def _digest(key: str) -> bytes:
    """Of one length, whatever the key's is."""
    return hashlib.sha256(key.encode()).digest()
