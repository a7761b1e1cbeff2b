"""`maskwright serve`: a model over HTTP, until a signal ends it."""

import logging
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from maskwright import terminal
from maskwright.config import ServeLimits
from maskwright.errors import InputError, MissingExtraError
from maskwright.signals import Stopped, catching_signals

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

KEY_VARIABLE = "MASKWRIGHT_API_KEY"
# What cannot be guessed by trying.
SHORTEST_KEY = 16
KEEP_ALIVE_SECONDS = 5
# Beyond the time that a request may take, for its answer to be sent.
GRACE_SECONDS = 10


def serve(
    model: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    api_key_file: str | Path | None = None,
    collect: str | Path | None = None,
    device: str = "auto",
    limits: ServeLimits | None = None,
) -> None:
    """Serve a model until SIGTERM or Ctrl-C; what was begun is finished then.

    Args:
        model: The model file, or one that `export` made of it, which needs no torch.
        host: Address to listen on.
        port: Port to listen on; 0 takes one that is free.
        api_key_file: File that holds the API key; else the variable MASKWRIGHT_API_KEY counts.
        collect: Folder to keep pictures with corrected masks in.
        device: Where to compute.
        limits: What is taken at most.

    Raises:
        InputError: Something given cannot be used.
        MissingExtraError: The server's packages are not installed.
    """
    limits = limits or ServeLimits()
    try:
        import uvicorn

        from maskwright.serving.app import create_app
        from maskwright.serving.logs import JsonLines
        from maskwright.serving.reception import is_loopback
    except ImportError as error:
        raise MissingExtraError(error.name or "fastapi", "serve") from error
    from maskwright.inference.predictor import load

    key = read_key(Path(api_key_file) if api_key_file else None, os.environ.get(KEY_VARIABLE))
    if key is None and not is_loopback(host):
        raise InputError(
            f"--host {host} can be reached by other machines; write a key of at least {SHORTEST_KEY} letters into a "
            f"file and name it with --api-key-file, or set {KEY_VARIABLE}."
        )
    predictor = load(model, device=device, many_at_once=True)
    listening = _listen(host, port)
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{listening.getsockname()[1]}"
    folder = Path(collect) if collect else None
    app = create_app(
        predictor,
        name=Path(model).name,
        limits=limits,
        api_key=key,
        collect=folder,
        started=lambda: terminal.say(f"Serving {model} at {address} (Ctrl-C ends it)"),
    )
    logger = logging.getLogger("uvicorn")
    logger.handlers, logger.propagate = [JsonLines(logging.WARNING)], False
    # uvicorn raises the signal again when it has ended; it was obeyed then.
    with catching_signals() as signals, suppress(Stopped), signals.waiting():
        uvicorn.Server(_configure(app, limits)).run(sockets=[listening])


def _configure(app: "FastAPI", limits: ServeLimits) -> "uvicorn.Config":
    """How uvicorn is to serve: with our own patience, and silently."""
    import uvicorn

    from maskwright.serving.protocol import ImpatientProtocol

    return uvicorn.Config(
        app,
        http=ImpatientProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=limits.max_connections + 1,  # from that many on uvicorn refuses
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=round(limits.body_seconds + limits.request_seconds + GRACE_SECONDS),
    )


def read_key(file: Path | None, variable: str | None) -> str | None:
    """The API key from a file, or else from the environment.

    Raises:
        InputError: It cannot be read, or is too short.
    """
    source, key = f"--api-key-file {file}" if file else KEY_VARIABLE, variable
    if file is not None:
        try:
            key = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{source} cannot be read; name a file that holds the key and nothing else.") from error
    if key is None or (file is None and not key):
        return None
    key = key.strip()
    if len(key) < SHORTEST_KEY or not key.isascii() or not key.isprintable() or " " in key:
        raise InputError(
            f"{source} holds no key of at least {SHORTEST_KEY} plain letters and digits; make a longer one."
        )
    return key


def _listen(host: str, port: int) -> socket.socket:
    """A socket that queues requests from now on.

    Raises:
        InputError: The address cannot be had.
    """
    if not 0 <= port <= 65535:
        raise InputError(f"There is no port {port}; choose another --port, up to 65535.")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"Nothing can listen on {host}, port {port} ({reason}); choose another --port.") from error
