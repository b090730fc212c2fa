"""Every metric family of the exporter: its name, its type, its labels and what it means.

This is the one list: the collector builds its families from it, and the tests hold the dashboard, the rules and
`docs/metrics.md` to it. Names follow Prometheus' conventions: base units, counters end in ``_total``.
"""

from dataclasses import dataclass
from typing import Final, Literal

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

__all__ = [
    "BUILD_INFO",
    "COLLECTOR_DURATION",
    "COLLECTOR_ERRORS",
    "CONCURRENCY_LIMIT",
    "FAMILIES",
    "FINISHED",
    "HEARTBEAT",
    "JOBS",
    "LABELS_FOLDED",
    "OLDEST_WAITING",
    "PAUSED",
    "QUEUE_WORKERS",
    "RATE_LIMITED",
    "REDIS_AOF_DELAYED",
    "REDIS_AOF_ENABLED",
    "REDIS_AOF_OK",
    "REDIS_AOF_REWRITE_OK",
    "REDIS_CLIENTS",
    "REDIS_CLIENTS_MAX",
    "REDIS_COMMANDS",
    "REDIS_EVICTED",
    "REDIS_INFO",
    "REDIS_LOADING",
    "REDIS_MEMORY_MAX",
    "REDIS_MEMORY_USED",
    "REDIS_OOM",
    "REDIS_REJECTED",
    "REDIS_UPTIME",
    "RETRIES",
    "RUN",
    "SCHEDULER_TICK",
    "SLOTS",
    "SLOTS_BUSY",
    "STALLED",
    "STARTED",
    "SUBMITTED",
    "UP",
    "WAIT",
    "WEBHOOK_ATTEMPTS",
    "WEBHOOK_DELAY",
    "WEBHOOK_DELIVERIES",
    "WEBHOOK_ENDPOINTS",
    "WEBHOOK_OUTBOX",
    "WEBHOOK_OUTBOX_AGE",
    "WEBHOOK_PENDING",
    "WORKERS",
    "Family",
]


@dataclass(frozen=True)
class Family:
    """One metric family."""

    #: The full name, as it is queried (a histogram adds ``_bucket``, ``_sum`` and ``_count``).
    name: str
    kind: Literal["counter", "gauge", "histogram"]
    #: What it means, in one sentence: the HELP text.
    help: str
    #: The names of its labels, in order.
    labels: tuple[str, ...] = ()

    def counter(self) -> CounterMetricFamily:
        """An empty family to fill, for a scrape."""
        return CounterMetricFamily(self.name, self.help, labels=self.labels)

    def gauge(self) -> GaugeMetricFamily:
        """An empty family to fill, for a scrape."""
        return GaugeMetricFamily(self.name, self.help, labels=self.labels)

    def histogram(self) -> HistogramMetricFamily:
        """An empty family to fill, for a scrape."""
        return HistogramMetricFamily(self.name, self.help, labels=self.labels)


_families: list[Family] = []


def _family(
    name: str, kind: Literal["counter", "gauge", "histogram"], meaning: str, labels: tuple[str, ...] = ()
) -> Family:
    family = Family(name, kind, meaning, labels)
    _families.append(family)
    return family


_KIND: Final = ("queue", "type")

# The exporter itself.
UP: Final = _family("backroom_up", "gauge", "1 if the job store in Redis answered this scrape, else 0.")
BUILD_INFO: Final = _family(
    "backroom_build_info", "gauge", "Always 1; the labels tell the versions.", ("version", "python")
)
COLLECTOR_DURATION: Final = _family(
    "backroom_collector_duration_seconds", "gauge", "How long the last read took.", ("collector",)
)
COLLECTOR_ERRORS: Final = _family(
    "backroom_collector_errors_total", "counter", "Reads that failed since the exporter started.", ("collector",)
)
LABELS_FOLDED: Final = _family(
    "backroom_labels_folded", "gauge", "Label sets that are counted under (other), to bound the series.", ("kind",)
)

# Queues.
JOBS: Final = _family("backroom_jobs", "gauge", "Jobs in a queue, by state.", ("queue", "state"))
OLDEST_WAITING: Final = _family(
    "backroom_queue_oldest_waiting_age_seconds",
    "gauge",
    "How long the job that has been ready the longest has waited; 0 if none waits.",
    ("queue",),
)
PAUSED: Final = _family("backroom_queue_paused", "gauge", "1 while the queue is paused, else 0.", ("queue",))
QUEUE_WORKERS: Final = _family("backroom_queue_workers", "gauge", "Live workers that serve the queue.", ("queue",))
CONCURRENCY_LIMIT: Final = _family(
    "backroom_queue_concurrency_limit",
    "gauge",
    "The most jobs of the queue that may run at once; absent without a limit.",
    ("queue",),
)
RATE_LIMITED: Final = _family(
    "backroom_queue_rate_limited_seconds",
    "gauge",
    "How long the queue's rate limit still holds its jobs back; 0 if it does not.",
    ("queue",),
)

# Jobs.
SUBMITTED: Final = _family("backroom_jobs_submitted_total", "counter", "Jobs stored.", _KIND)
STARTED: Final = _family("backroom_jobs_started_total", "counter", "Tries started.", _KIND)
FINISHED: Final = _family(
    "backroom_jobs_finished_total", "counter", "Jobs that ended for good, by outcome.", (*_KIND, "outcome")
)
RETRIES: Final = _family("backroom_job_retries_total", "counter", "Tries that failed and are to be repeated.", _KIND)
STALLED: Final = _family("backroom_jobs_stalled_total", "counter", "Tries whose process died or lost its lease.", _KIND)
WAIT: Final = _family(
    "backroom_job_queue_wait_seconds",
    "histogram",
    "From ready to started, of each try; a delay is not part of it.",
    _KIND,
)
RUN: Final = _family("backroom_job_run_seconds", "histogram", "From started to settled, of each try.", _KIND)

# Workers and schedulers.
WORKERS: Final = _family("backroom_workers", "gauge", "Worker processes that report.")
SLOTS: Final = _family("backroom_worker_slots", "gauge", "Jobs that the worker can run at once.", ("worker",))
SLOTS_BUSY: Final = _family(
    "backroom_worker_slots_busy",
    "gauge",
    "Slots of the worker that are taken: by jobs, and in threads also by those that were given up.",
    ("worker",),
)
HEARTBEAT: Final = _family(
    "backroom_worker_last_heartbeat_timestamp_seconds", "gauge", "When the worker last reported.", ("worker",)
)
SCHEDULER_TICK: Final = _family(
    "backroom_scheduler_last_tick_timestamp_seconds", "gauge", "When the scheduler last did its rounds.", ("scheduler",)
)

# Webhooks.
WEBHOOK_ATTEMPTS: Final = _family(
    "backroom_webhook_attempts_total", "counter", "Calls of receivers, by outcome.", ("outcome",)
)
WEBHOOK_DELIVERIES: Final = _family(
    "backroom_webhook_deliveries_total", "counter", "Deliveries that came to an end, by outcome.", ("outcome",)
)
WEBHOOK_DELAY: Final = _family(
    "backroom_webhook_delivery_delay_seconds", "histogram", "From the event to the call that delivered it."
)
WEBHOOK_PENDING: Final = _family(
    "backroom_webhook_deliveries_pending", "gauge", "Deliveries that wait or are tried again."
)
WEBHOOK_OUTBOX: Final = _family("backroom_webhook_outbox_notices", "gauge", "Notices that are no deliveries yet.")
WEBHOOK_OUTBOX_AGE: Final = _family(
    "backroom_webhook_outbox_oldest_age_seconds",
    "gauge",
    "How long the oldest notice has been in the outbox; 0 if it is empty.",
)
WEBHOOK_ENDPOINTS: Final = _family("backroom_webhook_endpoints", "gauge", "Endpoints, by state.", ("state",))

# Redis.
REDIS_INFO: Final = _family(
    "backroom_redis_info",
    "gauge",
    "Always 1; the labels tell the server, its version and what it does when memory is full.",
    ("server", "version", "maxmemory_policy"),
)
REDIS_UPTIME: Final = _family("backroom_redis_uptime_seconds", "gauge", "How long the server has been up.")
REDIS_LOADING: Final = _family("backroom_redis_loading", "gauge", "1 while the server loads its data, else 0.")
REDIS_MEMORY_USED: Final = _family("backroom_redis_memory_used_bytes", "gauge", "Memory that counts against maxmemory.")
REDIS_MEMORY_MAX: Final = _family("backroom_redis_memory_max_bytes", "gauge", "maxmemory; 0 if there is no limit.")
REDIS_CLIENTS: Final = _family("backroom_redis_connected_clients", "gauge", "Open connections.")
REDIS_CLIENTS_MAX: Final = _family("backroom_redis_max_clients", "gauge", "maxclients: more connections are refused.")
REDIS_COMMANDS: Final = _family("backroom_redis_commands_processed_total", "counter", "Commands carried out.")
REDIS_AOF_ENABLED: Final = _family(
    "backroom_redis_aof_enabled", "gauge", "1 if every change is written to the append-only file, else 0."
)
REDIS_AOF_OK: Final = _family(
    "backroom_redis_aof_last_write_ok", "gauge", "1 if the last write to the append-only file succeeded, else 0."
)
REDIS_AOF_REWRITE_OK: Final = _family(
    "backroom_redis_aof_last_rewrite_ok", "gauge", "1 if the last rewrite of the append-only file succeeded, else 0."
)
REDIS_AOF_DELAYED: Final = _family(
    "backroom_redis_aof_delayed_fsyncs_total", "counter", "Writes that waited for a slow disk."
)
REDIS_REJECTED: Final = _family(
    "backroom_redis_rejected_connections_total", "counter", "Connections refused because of maxclients."
)
REDIS_OOM: Final = _family(
    "backroom_redis_out_of_memory_errors_total", "counter", "Commands refused because maxmemory is reached."
)
REDIS_EVICTED: Final = _family(
    "backroom_redis_evicted_keys_total", "counter", "Keys thrown away for lack of memory; above 0 jobs are lost."
)

#: All of them, in the order in which they are shown.
FAMILIES: Final = tuple(_families)
