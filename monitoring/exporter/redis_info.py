"""What the exporter tells of Redis itself, from ``INFO``: a constant-time command that needs no key."""

from collections.abc import Iterator, Mapping

from prometheus_client import Metric

from monitoring.exporter import catalogue
from monitoring.exporter.catalogue import Family

__all__ = ["SECTIONS", "redis_metrics"]

#: The sections of ``INFO`` that :func:`redis_metrics` reads.
SECTIONS = ("server", "clients", "memory", "persistence", "stats", "errorstats")

_GAUGES: Mapping[Family, str] = {
    catalogue.REDIS_UPTIME: "uptime_in_seconds",
    catalogue.REDIS_LOADING: "loading",
    catalogue.REDIS_MEMORY_USED: "used_memory",
    catalogue.REDIS_MEMORY_MAX: "maxmemory",
    catalogue.REDIS_CLIENTS: "connected_clients",
    catalogue.REDIS_CLIENTS_MAX: "maxclients",
    catalogue.REDIS_AOF_ENABLED: "aof_enabled",
}
_STATUSES: Mapping[Family, str] = {
    catalogue.REDIS_AOF_OK: "aof_last_write_status",
    catalogue.REDIS_AOF_REWRITE_OK: "aof_last_bgrewrite_status",
}
_COUNTERS: Mapping[Family, str] = {
    catalogue.REDIS_COMMANDS: "total_commands_processed",
    catalogue.REDIS_AOF_DELAYED: "aof_delayed_fsync",
    catalogue.REDIS_REJECTED: "rejected_connections",
    catalogue.REDIS_EVICTED: "evicted_keys",
}


def redis_metrics(info: Mapping[str, object]) -> Iterator[Metric]:
    """Turn the answer to ``INFO``, as redis-py parses it, into metric families.

    What a server does not tell is left out, as a managed Redis may hide some of it; ``aof_delayed_fsync`` is told only
    while there is an append-only file, and reads 0 without one.
    """
    identity = catalogue.REDIS_INFO.gauge()
    server = "valkey" if "valkey_version" in info else "redis"
    version = str(info.get("valkey_version") or info.get("redis_version") or "")
    identity.add_metric([server, version, str(info.get("maxmemory_policy", ""))], 1)
    yield identity
    for family, field in _GAUGES.items():
        if field in info:
            gauge = family.gauge()
            gauge.add_metric([], _number(info[field]))
            yield gauge
    for family, field in _STATUSES.items():
        if field in info:
            status = family.gauge()
            status.add_metric([], 1 if info[field] == "ok" else 0)
            yield status
    for family, value in {family: info.get(field, 0) for family, field in _COUNTERS.items()}.items():
        counter = family.counter()
        counter.add_metric([], _number(value))
        yield counter
    refused = catalogue.REDIS_OOM.counter()
    refused.add_metric([], _out_of_memory_errors(info.get("errorstat_OOM")))
    yield refused


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float | str) else 0.0


def _out_of_memory_errors(errors: object) -> float:
    """``errorstat_OOM:count=3``, which redis-py parses into a mapping; there is no such line before the first error."""
    return _number(errors.get("count")) if isinstance(errors, Mapping) else 0.0
