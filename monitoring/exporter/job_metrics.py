"""What the exporter tells of queues, jobs, workers and schedulers, from the numbers that the job store keeps."""

import threading
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from heapq import nlargest
from typing import Final

from prometheus_client import Metric

from backroom.model.job import INTERNAL_QUEUE
from backroom.model.job_types import JobType
from backroom.model.states import FINISHED, State
from backroom.store import Histogram, Limits, MetricsSnapshot, QueueView, WorkerView
from backroom.store.metrics import RUN_BUCKETS, WAIT_BUCKETS
from monitoring.exporter import catalogue
from monitoring.exporter.cardinality import OTHER, Admission
from monitoring.exporter.catalogue import Family
from monitoring.exporter.histograms import below_each
from monitoring.exporter.settings import ExporterSettings

__all__ = ["MOST_SCHEDULERS", "JobMetrics"]

#: Only the schedulers that ticked last are told of: the store remembers those of a day, and one is at work at a time.
MOST_SCHEDULERS: Final = 20

Pair = tuple[str, str]
"""A queue and a job type."""


class JobMetrics:
    """Turns a snapshot of the job store into metric families, within the budget of time series.

    It remembers nothing but which names have series of their own. Safe to use from several threads.
    """

    def __init__(self, limits: ExporterSettings) -> None:
        self._lock = threading.Lock()
        self._queues: Admission[str] = Admission(limits.exporter_max_queues)
        self._pairs: Admission[Pair] = Admission(limits.exporter_max_job_types)
        self._workers: Admission[str] = Admission(limits.exporter_max_workers)

    def families(self, snapshot: MetricsSnapshot, job_types: Sequence[JobType]) -> list[Metric]:
        """Return the families of one scrape; the internal queue is left out.

        :param job_types: the types on offer. Each has all its series from the start, at 0: a counter that appears with
            its first failure already counted never shows that failure to ``rate()``.
        """
        offered = {(job_type.queue, job_type.name) for job_type in job_types}
        known = offered.union(snapshot.submitted, snapshot.started, snapshot.stalls, snapshot.run)
        known.update((queue, name) for queue, name, _ in snapshot.finished)
        pairs = {pair for pair in known if pair[0] != INTERNAL_QUEUE}
        with self._lock:
            self._admit(snapshot, offered, pairs)
            return [
                *self._queue_families(_with_offered(snapshot.queues, offered), snapshot.workers),
                *self._job_families(snapshot, pairs),
                *self._worker_families(snapshot.workers),
                _scheduler_ticks(snapshot.scheduler_ticks),
                self._folded(),
            ]

    def _admit(self, snapshot: MetricsSnapshot, offered: Collection[Pair], pairs: Collection[Pair]) -> None:
        """Names on offer go before others, busy ones before idle ones, and the alphabet decides the rest."""
        submitted: Counter[str] = Counter()
        for (queue, _), count in snapshot.submitted.items():
            submitted[queue] += count
        offered_queues = {queue for queue, _ in offered}
        queues = {queue.name for queue in snapshot.queues}.union(queue for queue, _ in pairs)
        self._queues.update(sorted(queues, key=lambda name: (name not in offered_queues, -submitted[name], name)))
        self._pairs.update(
            sorted(
                (pair for pair in pairs if pair[0] in self._queues),
                key=lambda pair: (pair not in offered, -snapshot.submitted.get(pair, 0), pair),
            )
        )
        self._workers.update(worker.id for worker in snapshot.workers)

    def _queue(self, name: str) -> str:
        return name if name in self._queues else OTHER

    def _pair(self, pair: Pair) -> Pair:
        return pair if pair in self._pairs else (self._queue(pair[0]), OTHER)

    def _queue_families(self, queues: Sequence[QueueView], workers: Sequence[WorkerView]) -> Iterator[Metric]:
        """Gauges of queues. Under ``(other)`` jobs and limits add up; of the rest the worst one counts."""
        groups: defaultdict[str, list[QueueView]] = defaultdict(list)
        for queue in queues:
            groups[self._queue(queue.name)].append(queue)
        jobs, oldest, paused = catalogue.JOBS.gauge(), catalogue.OLDEST_WAITING.gauge(), catalogue.PAUSED.gauge()
        serving, held = catalogue.QUEUE_WORKERS.gauge(), catalogue.RATE_LIMITED.gauge()
        concurrency = catalogue.CONCURRENCY_LIMIT.gauge()
        for label, group in groups.items():
            for state in State:
                jobs.add_metric([label, state], sum(queue.counts.get(state, 0) for queue in group))
            oldest.add_metric([label], max(queue.oldest_waiting_ms or 0 for queue in group) / 1000)
            paused.add_metric([label], max(queue.paused for queue in group))
            held.add_metric([label], max(queue.limits.limited_for_ms or 0 for queue in group) / 1000)
            serving.add_metric([label], min(_count_serving(queue.name, workers) for queue in group))
            limits = [queue.limits.concurrency for queue in group if queue.limits.concurrency is not None]
            if len(limits) == len(group):
                concurrency.add_metric([label], sum(limits))
        yield from (jobs, oldest, paused, serving, concurrency, held)

    def _job_families(self, snapshot: MetricsSnapshot, pairs: Collection[Pair]) -> Iterator[Metric]:
        members: defaultdict[Pair, list[Pair]] = defaultdict(list)
        for pair in sorted(pairs):
            members[self._pair(pair)].append(pair)
        yield _counters(catalogue.SUBMITTED, snapshot.submitted, members)
        yield _counters(catalogue.STARTED, snapshot.started, members)
        finished = catalogue.FINISHED.counter()
        for label, group in members.items():
            for outcome in sorted(FINISHED):
                total = sum(snapshot.finished.get((*pair, outcome), 0) for pair in group)
                finished.add_metric([*label, outcome], total)
        yield finished
        yield _counters(catalogue.RETRIES, snapshot.retries, members)
        yield _counters(catalogue.STALLED, snapshot.stalls, members)
        yield _histograms(catalogue.WAIT, WAIT_BUCKETS, snapshot.wait, members)
        yield _histograms(catalogue.RUN, RUN_BUCKETS, snapshot.run, members)

    def _worker_families(self, workers: Sequence[WorkerView]) -> Iterator[Metric]:
        groups: defaultdict[str, list[WorkerView]] = defaultdict(list)
        for worker in workers:
            groups[worker.id if worker.id in self._workers else OTHER].append(worker)
        count, heartbeat = catalogue.WORKERS.gauge(), catalogue.HEARTBEAT.gauge()
        slots, busy = catalogue.SLOTS.gauge(), catalogue.SLOTS_BUSY.gauge()
        count.add_metric([], len(workers))
        for label, group in groups.items():
            slots.add_metric([label], sum(worker.slots for worker in group))
            busy.add_metric([label], sum(worker.busy for worker in group))
            heartbeat.add_metric([label], min(worker.heartbeat_at for worker in group) / 1000)
        yield from (count, slots, busy, heartbeat)

    def _folded(self) -> Metric:
        folded = catalogue.LABELS_FOLDED.gauge()
        for kind, admission in (("queue", self._queues), ("type", self._pairs), ("worker", self._workers)):
            folded.add_metric([kind], admission.refused)
        return folded


def _with_offered(queues: Sequence[QueueView], offered: Collection[Pair]) -> list[QueueView]:
    """The queues, and those that workers offer types for but that have had no job yet."""
    missing = {queue for queue, _ in offered} - {queue.name for queue in queues} - {INTERNAL_QUEUE}
    return [
        *queues,
        *(
            QueueView(name, paused=False, counts={}, oldest_waiting_ms=None, limits=Limits())
            for name in sorted(missing)
        ),
    ]


def _count_serving(queue: str, workers: Sequence[WorkerView]) -> int:
    return sum(worker.state == "running" and (worker.queues is None or queue in worker.queues) for worker in workers)


def _counters(family: Family, counts: Mapping[Pair, int], members: Mapping[Pair, Sequence[Pair]]) -> Metric:
    metric = family.counter()
    for label, group in members.items():
        metric.add_metric(label, sum(counts.get(pair, 0) for pair in group))
    return metric


def _histograms(
    family: Family,
    bounds: Sequence[float],
    histograms: Mapping[Pair, Histogram],
    members: Mapping[Pair, Sequence[Pair]],
) -> Metric:
    metric = family.histogram()
    for label, group in members.items():
        found = [histograms[pair] for pair in group if pair in histograms]
        metric.add_metric(label, below_each(bounds, found), sum(histogram.sum for histogram in found))
    return metric


def _scheduler_ticks(ticks: Mapping[str, float]) -> Metric:
    metric = catalogue.SCHEDULER_TICK.gauge()
    for scheduler in sorted(nlargest(MOST_SCHEDULERS, ticks, key=ticks.__getitem__)):
        metric.add_metric([scheduler], ticks[scheduler])
    return metric
