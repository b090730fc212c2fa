"""The numbers that the scripts keep: counters and histograms, whole and restart-proof."""

from collections import Counter
from dataclasses import dataclass
from typing import Final

from backroom.store.connection import store_errors
from backroom.store.part import Part
from backroom.store.queues import Queues, QueueView
from backroom.store.records import ms_of_clock
from backroom.store.webhooks import OWN, Webhooks
from backroom.store.workers import Workers, WorkerView

__all__ = [
    "DELIVERY_BUCKETS",
    "RUN_BUCKETS",
    "WAIT_BUCKETS",
    "Histogram",
    "Metrics",
    "MetricsSnapshot",
    "WebhookNumbers",
]

#: Upper bounds in seconds; the same as in `scripts/shared/metrics.lua` and `deliveries.lua`, which a test compares.
WAIT_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
RUN_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)
#: Deliveries are tried again for days.
DELIVERY_BUCKETS = (
    *(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
    *(1800, 7200, 21_600, 86_400, 345_600),
)

#: About how many counters are read in one command.
_AT_ONCE: Final = 2000

#: A job's queue and name.
Kind = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Histogram:
    """How often a duration fell between two bounds."""

    #: Upper bounds in seconds; one more count than bounds, the last for everything above.
    buckets: tuple[float, ...]
    counts: tuple[int, ...]
    #: The sum of all durations, in seconds.
    sum: float


@dataclass(frozen=True, slots=True)
class WebhookNumbers:
    """What becomes of webhooks."""

    #: Calls by how they ended: delivered, failed.
    attempts: dict[str, int]
    #: Deliveries by how they ended: delivered, given-up, dropped.
    deliveries: dict[str, int]
    #: From the event to the delivery.
    delay: Histogram
    #: Deliveries that wait or are tried again.
    pending: int
    #: Notices that are no deliveries yet, and for how long the oldest has been one, in seconds; 0 without any.
    outbox: int
    outbox_oldest: float
    #: Endpoints: enabled, and disabled by reason.
    endpoints: dict[str, int]


@dataclass(frozen=True, slots=True)
class MetricsSnapshot:
    """All numbers. Counters never go down while the store lives."""

    queues: list[QueueView]
    submitted: dict[Kind, int]
    started: dict[Kind, int]
    #: By queue, name and outcome: completed, failed, cancelled, expired.
    finished: dict[tuple[str, str, str], int]
    retries: dict[Kind, int]
    stalls: dict[Kind, int]
    wait: dict[Kind, Histogram]
    run: dict[Kind, Histogram]
    workers: list[WorkerView]
    #: Last tick of each scheduler, seconds since 1970.
    scheduler_ticks: dict[str, float]
    webhooks: WebhookNumbers


class Metrics(Part):
    """Reads the numbers; the scripts write them."""

    def read(self) -> MetricsSnapshot:
        """Everything, in commands that each hold Redis for a moment, whatever the number of jobs, queues and types.

        Counters of a moment are not of the same moment to the last job: they are read a few thousand at a time.
        """
        queues = Queues(self._redis, self._keys, self._scripts).list()
        workers = Workers(self._redis, self._keys, self._scripts)
        with store_errors():
            fields = dict(self._redis.hscan_iter(self._keys.single("metrics"), count=_AT_ONCE))
        counters: dict[str, dict[Kind, int]] = {name: {} for name in ("submitted", "started", "retries", "stalls")}
        finished: dict[tuple[str, str, str], int] = {}
        histograms: dict[str, dict[Kind, dict[str, int]]] = {"wait": {}, "run": {}}
        for field, value in fields.items():
            metric, queue, name, *rest = field.split("|")
            if metric in counters:
                counters[metric][queue, name] = int(value)
            elif metric == "finished":
                finished[queue, name, rest[0]] = int(value)
            else:
                which, _, total = metric.partition("_")
                histograms[which].setdefault((queue, name), {})[total or rest[0]] = int(value)
        return MetricsSnapshot(
            queues=queues,
            submitted=counters["submitted"],
            started=counters["started"],
            finished=finished,
            retries=counters["retries"],
            stalls=counters["stalls"],
            wait={kind: _histogram(WAIT_BUCKETS, found) for kind, found in histograms["wait"].items()},
            run={kind: _histogram(RUN_BUCKETS, found) for kind, found in histograms["run"].items()},
            workers=workers.list(),
            scheduler_ticks=workers.scheduler_ticks(),
            webhooks=self._webhooks(),
        )

    def _webhooks(self) -> WebhookNumbers:
        with store_errors():
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.time()
            pipeline.hgetall(self._keys.single("metrics:webhooks"))
            pipeline.xlen(self._keys.single("webhooks:outbox"))
            pipeline.xrange(self._keys.single("webhooks:outbox"), count=1)
            pipeline.zcard(self._keys.webhook(f"{OWN}:pending"))
            clock, fields, outbox, oldest, own = pipeline.execute()
        counts: dict[str, dict[str, int]] = {"attempts": {}, "deliveries": {}, "delay": {}}
        for field, value in fields.items():
            metric, _, what = field.partition("|")
            if what:
                counts[metric][what] = int(value)
        counts["delay"]["sum"] = int(fields.get("delay_sum", 0))
        views = Webhooks(self._redis, self._keys, self._scripts).list()
        now, begun = ms_of_clock(clock), int(oldest[0][0].partition("-")[0]) if oldest else None
        return WebhookNumbers(
            attempts=counts["attempts"],
            deliveries=counts["deliveries"],
            delay=_histogram(DELIVERY_BUCKETS, counts["delay"]),
            pending=own + sum(view.pending for view in views),
            outbox=outbox,
            outbox_oldest=0.0 if begun is None else max(0, now - begun) / 1000,
            endpoints=dict(Counter(view.disabled_reason or "enabled" for view in views)),
        )


def _histogram(buckets: tuple[float, ...], found: dict[str, int]) -> Histogram:
    counts = tuple(found.get(str(place), 0) for place in range(1, len(buckets) + 2))
    return Histogram(buckets, counts, found.get("sum", 0) / 1000)
