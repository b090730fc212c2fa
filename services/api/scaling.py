"""How many workers the work needs: Little's law for what arrives, and the backlog over the time it may take.

Slots needed = arrivals a second x mean run time (the jobs that run at once in a steady flow, by Little's law) + ready
jobs x mean run time / the time in which a backlog should be gone. Limits of the queue cap them, and what runs already
keeps its slots, so that no running job is in the way of scaling down.
"""

import math
from dataclasses import dataclass
from typing import Any, Final

from backroom.store.flow import FlowView, QueueFlow

__all__ = ["Advice", "Targets", "advise", "scaling_view"]

ASSUMED_RUN_MS: Final = 1000.0
"""What a job is taken to run while none has."""


@dataclass(frozen=True, slots=True)
class Targets:
    """What the operator wants."""

    #: The time in which a backlog should be gone, in seconds.
    drain_seconds: float
    #: The slots of a worker while there is none to ask.
    slots_per_worker: int


@dataclass(frozen=True, slots=True)
class Advice:
    """How many slots a queue needs, and why."""

    slots: float
    #: idle, running, arrivals, backlog, concurrency, rate-limit or paused: what decided.
    code: str
    detail: str


def advise(flow: QueueFlow, targets: Targets) -> Advice:
    """How many slots the queue needs."""
    run_seconds = (ASSUMED_RUN_MS if flow.mean_run_ms is None else flow.mean_run_ms) / 1000
    arrivals = flow.in_per_second * run_seconds
    backlog = flow.ready * run_seconds / targets.drain_seconds
    wanted = arrivals + backlog
    limits, running = flow.queue.limits, float(flow.running)
    if flow.queue.paused:
        return Advice(running, "paused", f"the queue is paused; {flow.running} jobs run")
    rate = None if limits.rate is None else limits.rate.max * 1000 / limits.rate.duration_ms
    if rate is not None and wanted > rate * run_seconds >= running:
        return Advice(rate * run_seconds, "rate-limit", f"at most {rate:g} jobs a second may start")
    if limits.concurrency is not None and wanted > limits.concurrency:
        return Advice(float(limits.concurrency), "concurrency", f"at most {limits.concurrency} jobs may run at once")
    if wanted <= running:
        return Advice(running, "running" if running else "idle", f"{flow.running} jobs run, and few others come")
    words = f"{flow.in_per_second:.3g}/s come and {flow.ready} wait, {run_seconds:.3g} s each"
    return Advice(wanted, "backlog" if backlog > arrivals else "arrivals", words)


def scaling_view(flow: FlowView, targets: Targets) -> dict[str, Any]:
    """The numbers for an autoscaler in JSON's words."""
    advice = [(each, advise(each, targets)) for each in flow.queues]
    slots = sum(worker.slots for worker in flow.workers)
    needed = sum(found.slots for _, found in advice)
    return {
        "desiredWorkers": _workers(needed, len(flow.workers), slots, targets),
        "desiredSlots": _slots(needed),
        "workers": len(flow.workers),
        "slots": slots,
        "drainSeconds": targets.drain_seconds,
        "queues": [_queue_view(each, found, targets) for each, found in advice],
    }


def _queue_view(flow: QueueFlow, advice: Advice, targets: Targets) -> dict[str, Any]:
    return {
        "name": flow.queue.name,
        "ready": flow.ready,
        "running": flow.running,
        "oldestWaitingMs": flow.queue.oldest_waiting_ms,
        "inPerSecond": round(flow.in_per_second, 3),
        "outPerSecond": round(flow.out_per_second, 3),
        "meanRunMs": None if flow.mean_run_ms is None else round(flow.mean_run_ms, 1),
        "workers": len(flow.workers),
        "slots": flow.slots,
        "desiredSlots": _slots(advice.slots),
        "desiredWorkers": _workers(advice.slots, len(flow.workers), flow.slots, targets),
        "reason": {"code": advice.code, "detail": advice.detail},
    }


def _slots(needed: float) -> int:
    """Whole slots; a flow that rounds to nothing needs one all the same."""
    return math.ceil(round(needed, 6))


def _workers(needed: float, workers: int, slots: int, targets: Targets) -> int:
    """How many workers have so many slots, if they are like those there are."""
    each = slots / workers if workers and slots else targets.slots_per_worker
    return math.ceil(round(needed / each, 6))
