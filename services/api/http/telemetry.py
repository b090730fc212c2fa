"""The API's own metrics: requests by method, route and class of status, and how long they took.

They are counted in every gunicorn process. With ``PROMETHEUS_MULTIPROC_DIR`` set, as `gunicorn.conf.py` does, the
processes keep their counters in files of that folder and any of them can answer for all; without it there is one.
Gauges of the stack itself, such as the depth of queues, come from the exporter and not from here.
"""

import os
from functools import cache
from typing import Final

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

from services.api.http.answers import Answer

__all__ = ["exposition", "observe"]

UNMATCHED: Final = "unmatched"
"""The route of requests to addresses that do not exist: their paths are without number."""
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

# What several processes tell together has no times of creation: one alone tells none either.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library leaves it untyped
_registry = CollectorRegistry()
_requests = Counter(
    "backroom_http_requests",
    "Requests answered, by class of status.",
    ("method", "route", "status"),
    registry=_registry,
)
_seconds = Histogram(
    "backroom_http_request_duration_seconds",
    "Time from a request to its answer; requests that asked to wait (Prefer: wait) are left out.",
    ("method", "route"),
    buckets=_BUCKETS,
    registry=_registry,
)


def observe(*, method: str, route: str | None, status: int, seconds: float | None) -> None:
    """Count one answered request, and its time unless that is None."""
    method = method if method in _METHODS else "other"
    route = route or UNMATCHED
    _counter(method, route, status // 100).inc()
    if seconds is not None:
        _histogram(method, route).observe(seconds)


@cache  # there are as many as methods, routes and classes of status; the library looks each up under a lock
def _counter(method: str, route: str, status_class: int) -> Counter:
    return _requests.labels(method, route, f"{status_class}xx")


@cache  # the same
def _histogram(method: str, route: str) -> Histogram:
    return _seconds.labels(method, route)


def exposition() -> Answer:
    """The metrics of all processes of this API in the text format of Prometheus."""
    registry = _registry
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # the library leaves its constructor untyped
    return Answer(200, generate_latest(registry), content_type=CONTENT_TYPE_LATEST)
