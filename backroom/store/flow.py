"""How jobs flow through queues: how many come and go, how long they run, and what there is to run them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from backroom.model.states import State
from backroom.store.connection import store_errors
from backroom.store.part import Part
from backroom.store.queues import Queues, QueueView
from backroom.store.workers import Workers, WorkerView

__all__ = ["Flow", "FlowView", "QueueFlow"]

#: Whole minutes that the flow is averaged over, beside the running one.
_MINUTES = 5


@dataclass(frozen=True, slots=True)
class QueueFlow:
    """The flow through one queue, of the last minutes."""

    queue: QueueView
    #: Jobs submitted, and tries that ended, per second.
    in_per_second: float
    out_per_second: float
    #: Of the tries that ended, in ms; None: none did.
    mean_run_ms: float | None
    #: Workers that serve it and claim jobs.
    workers: tuple[WorkerView, ...]

    @property
    def ready(self) -> int:
        """Jobs that wait for a slot."""
        return self.queue.counts[State.WAITING]

    @property
    def running(self) -> int:
        """Jobs that have one."""
        return self.queue.counts[State.ACTIVE]

    @property
    def slots(self) -> int:
        """How many jobs its workers can run at once, shared with the other queues they serve."""
        return sum(worker.slots for worker in self.workers)


@dataclass(frozen=True, slots=True)
class FlowView:
    """The flow through all queues."""

    queues: tuple[QueueFlow, ...]
    #: Those that claim jobs.
    workers: tuple[WorkerView, ...]


class Flow(Part):
    """Reads the flow, in a handful of round trips."""

    def read(self) -> FlowView:
        """The flow through every queue but the internal one, by name."""
        parts = (self._redis, self._keys, self._scripts)
        queues = Queues(*parts).list()
        workers = tuple(worker for worker in Workers(*parts).list() if worker.state == "running")
        with store_errors():
            seconds, _ = self._redis.time()
            minute, span = divmod(int(seconds), 60)
            pipeline = self._redis.pipeline(transaction=False)
            for queue in queues:
                for ago in range(_MINUTES + 1):
                    pipeline.hmget(self._keys.rates(queue.name, minute - ago), "submitted", "ran", "runMs")
            answers = pipeline.execute()
        span += 60 * _MINUTES
        width = _MINUTES + 1
        return FlowView(
            tuple(
                _flow(queue, answers[place * width : (place + 1) * width], span, workers)
                for place, queue in enumerate(queues)
            ),
            workers,
        )


def _flow(queue: QueueView, minutes: Sequence[Any], seconds: int, workers: Sequence[WorkerView]) -> QueueFlow:
    submitted, ran, run_ms = (sum(int(minute[at] or 0) for minute in minutes) for at in range(3))
    return QueueFlow(
        queue=queue,
        in_per_second=submitted / seconds,
        out_per_second=ran / seconds,
        mean_run_ms=run_ms / ran if ran else None,
        workers=tuple(worker for worker in workers if worker.queues is None or queue.name in worker.queues),
    )
