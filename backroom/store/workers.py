"""Workers: who is there, doing what; and the ticks of schedulers."""

import json
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from backroom.model.errors import NotFound
from backroom.model.job import format_time
from backroom.store.connection import store_errors
from backroom.store.part import Part
from backroom.store.records import from_ms

__all__ = ["WISHES", "Wish", "WorkerView", "Workers"]

#: What a worker may be asked to do.
Wish = Literal["quiet", "stop"]
WISHES: tuple[Wish, ...] = get_args(Wish)

#: A worker that said nothing for this long is taken for gone, in seconds.
GONE_AFTER_SECONDS = 15
#: A wish that a worker did not hear of within this time is forgotten, so that no later worker of its name obeys it.
ASKED_FOR_SECONDS = 10


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
    #: How many it runs, those that were given up and hold a thread still among them.
    busy: int
    #: Ids of the jobs it runs, at most 100.
    jobs: tuple[str, ...]
    #: ms since 1970.
    started_at: int
    #: ms since 1970, by the store's clock.
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

    def beat(self, view: WorkerView) -> Wish | None:
        """Say that the worker is there; the store knows when it said so. Returns what it was asked to do meanwhile."""
        text = json.dumps(asdict(view), separators=(",", ":"))
        slots = view.slots if view.state == "running" else 0
        wish = self._run("beat", view.id, text, GONE_AFTER_SECONDS, slots)
        return wish if wish in WISHES else None

    def ask(self, worker: str, wish: Wish) -> None:
        """Ask a worker to claim no more jobs (``quiet``), or to end once those it runs have (``stop``).

        It hears of it on the channel ``control``, ``{"ask": wish, "worker": id}``, or with its next `beat`. Raises
        `NotFound`.
        """
        if not self._run("ask", worker, wish, ASKED_FOR_SECONDS):
            raise NotFound("worker", worker)

    def leave(self, worker: str) -> None:
        """Say that the worker has stopped."""
        with store_errors():
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.zrem(self._keys.single("workers"), worker)
            pipeline.hdel(self._keys.single("slots"), worker)
            pipeline.delete(
                self._keys.worker(worker),
                self._keys.single(f"types:of:{worker}"),
                self._keys.single(f"asked:{worker}"),
            )
            pipeline.execute()

    def tick(self, scheduler: str) -> None:
        """Say that the scheduler is there; forgets those silent for a day."""
        self._run("tick", scheduler)

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
            rows = self._redis.zrange(self._keys.single("workers"), 0, -1, withscores=True)
            texts = self._redis.mget([self._keys.worker(name) for name, _ in rows]) if rows else []
        views = [
            replace(_view(text), heartbeat_at=int(until) - GONE_AFTER_SECONDS * 1000)
            for (_, until), text in zip(rows, texts, strict=True)
            if text
        ]
        return sorted(views, key=lambda view: view.id)


def _view(text: str) -> WorkerView:
    raw = json.loads(text)
    raw["queues"] = None if raw["queues"] is None else tuple(raw["queues"])
    raw["jobs"] = tuple(raw["jobs"])
    return WorkerView(**raw)
