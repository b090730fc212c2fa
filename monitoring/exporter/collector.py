"""One scrape: read Redis and the job store, once each, and tell what was found and what was not."""

import platform
import threading
import time
from collections.abc import Iterator
from typing import Final

import structlog
from prometheus_client import Metric
from prometheus_client.registry import Collector

import backroom
from backroom.model.errors import StoreUnavailable
from backroom.store import Store
from backroom.store.connection import store_errors
from monitoring.exporter import catalogue
from monitoring.exporter.job_metrics import JobMetrics
from monitoring.exporter.redis_info import SECTIONS, redis_metrics
from monitoring.exporter.settings import ExporterSettings
from monitoring.exporter.webhook_metrics import webhook_metrics

__all__ = ["StackCollector"]

log = structlog.get_logger("backroom.exporter")

_REDIS: Final = "redis"
_JOBS: Final = "jobs"


class StackCollector(Collector):
    """What Prometheus' client library asks at each scrape; several scrapes may run at once.

    It answers whatever happens. While Redis is away there are no numbers of it, rather than old ones, and
    ``backroom_up`` is 0.
    """

    def __init__(self, store: Store, limits: ExporterSettings) -> None:
        self._store = store
        self._job_metrics = JobMetrics(limits)
        self._lock = threading.Lock()
        self._errors = {_REDIS: 0, _JOBS: 0}
        self._failing: set[str] = set()

    def describe(self) -> Iterator[Metric]:
        """Every family, empty, so that registering needs no Redis."""
        for family in catalogue.FAMILIES:
            yield {"counter": family.counter, "gauge": family.gauge, "histogram": family.histogram}[family.kind]()

    def collect(self) -> Iterator[Metric]:
        """Read everything; the families of one scrape."""
        took = catalogue.COLLECTOR_DURATION.gauge()
        families: list[Metric] = []
        away = False
        for name, read in ((_REDIS, self._read_redis), (_JOBS, self._read_jobs)):
            started = time.perf_counter()
            try:
                families += read()
            except Exception as error:  # noqa: BLE001 - whatever is wrong with one read, the scrape tells of the rest
                self._note_failure(name, error)
                away = isinstance(error, StoreUnavailable)
            else:
                self._note_success(name)
            took.add_metric([name], time.perf_counter() - started)
            if away:  # a Redis that did not answer once would only cost a second time-out
                break
        up = catalogue.UP.gauge()
        up.add_metric([], 1 if families and not away else 0)
        yield from (up, _build_info(), took, self._error_counts())
        yield from families

    def _read_redis(self) -> list[Metric]:
        with store_errors():
            return list(redis_metrics(self._store.redis.info(*SECTIONS)))

    def _read_jobs(self) -> list[Metric]:
        snapshot = self._store.metrics.read()
        families = self._job_metrics.families(snapshot, self._store.job_types.list())
        return [*families, *webhook_metrics(snapshot.webhooks)]

    def _note_failure(self, name: str, error: Exception) -> None:
        with self._lock:
            self._errors[name] += 1
            news = name not in self._failing
            self._failing.add(name)
        if news:  # once, not at every scrape
            log.warning("reading fails", collector=name, error=str(error) or repr(error))

    def _note_success(self, name: str) -> None:
        with self._lock:
            news = name in self._failing
            self._failing.discard(name)
        if news:
            log.info("reading works again", collector=name)

    def _error_counts(self) -> Metric:
        errors = catalogue.COLLECTOR_ERRORS.counter()
        with self._lock:
            for name, count in self._errors.items():
                errors.add_metric([name], count)
        return errors


def _build_info() -> Metric:
    info = catalogue.BUILD_INFO.gauge()
    info.add_metric([backroom.__version__, platform.python_version()], 1)
    return info
