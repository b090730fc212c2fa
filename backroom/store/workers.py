"""Workers: who is there, doing what; and the ticks of schedulers."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from backroom.model.job import format_time
from backroom.store.connection import store_errors
from backroom.store.part import Part
from backroom.store.records import from_ms

__all__ = ["WorkerView", "Workers"]

#: A worker that said nothing for this long is taken for gone, in seconds.
GONE_AFTER_SECONDS = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerView:
    """A worker as it describes itself in its heartbeats."""

    #: The ``worker`` of its jobs.
    id: str
    host: str
    pid: int
    #: The queues it serves; None: every queue.
    queues: tuple[str, ...] | None
    pool: str
    #: How many jobs it can run at once.
    slots: int
    #: How many it runs.
    busy: int
    #: Ids of the jobs it runs, at most 100.
    jobs: tuple[str, ...]
    #: ms since 1970.
    started_at: int
    heartbeat_at: int = 0
    state: Literal["running", "quiet", "stopping"] = "running"

    def to_dict(self) -> dict[str, Any]:
        """The worker in JSON's words."""
        return {
            "id": self.id,
            "host": self.host,
            "pid": self.pid,
            "queues": None if self.queues is None else list(self.queues),
            "pool": self.pool,
            "slots": self.slots,
            "busy": self.busy,
            "jobs": list(self.jobs),
            "startedAt": format_time(from_ms(self.started_at)),
            "heartbeatAt": format_time(from_ms(self.heartbeat_at)),
            "state": self.state,
        }


class Workers(Part):
    """``workers`` is a sorted set: worker id -> ms since 1970 at which it is taken for gone."""

    def beat(self, view: WorkerView) -> None:
        """Say that the worker is there."""
        with store_errors():
            seconds, micros = self._redis.time()
            now_ms = int(seconds) * 1000 + int(micros) // 1000
            text = json.dumps({**asdict(view), "heartbeat_at": now_ms}, separators=(",", ":"))
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.zadd(self._keys.single("workers"), {view.id: now_ms + GONE_AFTER_SECONDS * 1000})
            pipeline.set(self._keys.worker(view.id), text, ex=GONE_AFTER_SECONDS)
            pipeline.zremrangebyscore(self._keys.single("workers"), "-inf", now_ms - 1)
            pipeline.execute()

    def leave(self, worker: str) -> None:
        """Say that the worker has stopped."""
        with store_errors():
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.zrem(self._keys.single("workers"), worker)
            pipeline.delete(self._keys.worker(worker), self._keys.single(f"types:of:{worker}"))
            pipeline.execute()

    def tick(self, scheduler: str) -> None:
        """Say that the scheduler is there; forgets those silent for a day."""
        with store_errors():
            seconds, micros = self._redis.time()
            now = int(seconds) + int(micros) / 1e6
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.zadd(self._keys.single("schedulers"), {scheduler: now})
            pipeline.zremrangebyscore(self._keys.single("schedulers"), "-inf", now - 86_400)
            pipeline.execute()

    def scheduler_ticks(self) -> dict[str, float]:
        """When each scheduler last ticked, in seconds since 1970."""
        with store_errors():
            rows = self._redis.zrange(self._keys.single("schedulers"), 0, -1, withscores=True)
        return {str(name): float(score) for name, score in rows}

    def retire_scheduler(self, scheduler: str) -> None:
        """Say that the scheduler has stopped."""
        with store_errors():
            self._redis.zrem(self._keys.single("schedulers"), scheduler)

    def list(self) -> list[WorkerView]:
        """The workers that are there, by id."""
        with store_errors():
            names = self._redis.zrange(self._keys.single("workers"), 0, -1)
            texts = self._redis.mget([self._keys.worker(name) for name in names]) if names else []
        found = []
        for text in texts:
            if text:
                raw = json.loads(text)
                raw["queues"] = None if raw["queues"] is None else tuple(raw["queues"])
                raw["jobs"] = tuple(raw["jobs"])
                found.append(WorkerView(**raw))
        return sorted(found, key=lambda view: view.id)
