"""A line of JSON for each request and for whatever else happens, on standard error: no keys, queries or pictures."""

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime


def write_line(event: Mapping[str, object]) -> None:
    """Write what happened, with the time."""
    time = datetime.now(UTC).isoformat(timespec="milliseconds")
    sys.stderr.write(json.dumps({"time": time, **event}) + "\n")
    sys.stderr.flush()


class JsonLines(logging.Handler):
    """What libraries log, likewise."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        event = {"event": "log", "level": record.levelname.lower(), "message": record.getMessage()}
        if record.exc_info:
            event["traceback"] = logging.Formatter().formatException(record.exc_info)
        write_line(event)
