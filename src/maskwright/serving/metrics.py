"""What the server counts, for Prometheus; a registry for each server, and as many series as there are routes."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# From a thumbnail on a fast machine to a picture that waits its minute.
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Counters and their page.

    Args:
        under_way: Says how many pictures are received, wait or are computed.
    """

    def __init__(self, under_way: Callable[[], float]) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "maskwright_requests", "Requests answered.", ["method", "route", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "maskwright_request_seconds",
            "Time from a request's first line to its last byte.",
            ["route"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._pictures = Histogram(
            "maskwright_picture_seconds",
            "Time that a picture took to be decoded, computed and encoded, without waiting.",
            ["output"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        gauge = Gauge(
            "maskwright_pictures_under_way", "Pictures received, waiting or computed.", registry=self._registry
        )
        gauge.set_function(under_way)

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Called once for each request; words that strangers invent share a series."""
        self._requests.labels(method if method in METHODS else "other", route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def count_picture(self, output: str, seconds: float) -> None:
        """Called once for each picture that was computed."""
        self._pictures.labels(output).observe(seconds)

    def page(self) -> bytes:
        """What Prometheus reads."""
        return generate_latest(self._registry)
