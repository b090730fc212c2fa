"""How many workers the work needs."""

from dataclasses import replace

import pytest

from backroom.model.states import State
from backroom.store import Limits, QueueView, Rate, WorkerView
from backroom.store.flow import FlowView, QueueFlow
from services.api.scaling import Targets, advise, scaling_view

TARGETS = Targets(drain_seconds=60, slots_per_worker=3)


def a_worker(slots: int = 4) -> WorkerView:
    return WorkerView(id="w", host="h", pid=1, queues=None, pool="prefork", slots=slots, busy=0, jobs=(), started_at=0)


def a_flow(
    *, ready: int = 0, running: int = 0, comes: float = 0.0, run_ms: float | None = 500.0, paused: bool = False,
    limits: Limits | None = None, workers: tuple[WorkerView, ...] = (),
) -> QueueFlow:  # fmt: skip
    counts = dict.fromkeys(State, 0) | {State.WAITING: ready, State.ACTIVE: running}
    queue = QueueView("q", paused, counts, None, limits or Limits())
    return QueueFlow(queue, comes, 0.0, run_ms, workers)


@pytest.mark.parametrize(
    ("flow", "slots", "code"),
    [
        (a_flow(), 0, "idle"),
        (a_flow(comes=10), 5, "arrivals"),
        (a_flow(ready=1200), 10, "backlog"),
        (a_flow(comes=4, ready=1200), 12, "backlog"),
        (a_flow(comes=10, ready=120), 6, "arrivals"),
        (a_flow(running=7), 7, "running"),
        (a_flow(comes=10, running=5), 5, "running"),
        (a_flow(comes=10, running=4), 5, "arrivals"),
        (a_flow(ready=60, run_ms=None), 1, "backlog"),
        (a_flow(ready=1200, running=2, paused=True), 2, "paused"),
        (a_flow(ready=1200, limits=Limits(concurrency=3)), 3, "concurrency"),
        (a_flow(ready=1200, limits=Limits(concurrency=30)), 10, "backlog"),
        (a_flow(ready=1200, limits=Limits(rate=Rate(4, 1000))), 2, "rate-limit"),
        (a_flow(ready=1200, running=3, limits=Limits(rate=Rate(4, 1000))), 10, "backlog"),
        (a_flow(comes=1, limits=Limits(rate=Rate(4, 1000))), 0.5, "arrivals"),
    ],
)
def test_slots_and_what_decided(flow: QueueFlow, slots: float, code: str) -> None:
    advice = advise(flow, TARGETS)
    assert (advice.slots, advice.code) == (pytest.approx(slots), code)
    assert advice.detail


def test_workers_are_as_large_as_those_there_are() -> None:
    workers = (a_worker(4), replace(a_worker(8), id="v"))
    view = scaling_view(FlowView((a_flow(ready=1200, workers=workers),), workers), TARGETS)
    assert (view["desiredSlots"], view["desiredWorkers"], view["slots"], view["workers"]) == (10, 2, 12, 2)
    assert view["queues"][0]["desiredWorkers"] == 2


def test_while_there_is_no_worker_their_size_is_a_setting() -> None:
    view = scaling_view(FlowView((a_flow(ready=1200),), ()), TARGETS)
    assert (view["desiredSlots"], view["desiredWorkers"]) == (10, 4)


def test_queues_that_share_workers_share_them_to_the_full() -> None:
    workers = (a_worker(10),)
    flows = tuple(a_flow(comes=0.5, workers=workers) for _ in range(8))
    view = scaling_view(FlowView(flows, workers), TARGETS)
    assert [queue["desiredWorkers"] for queue in view["queues"]] == [1] * 8
    assert (view["desiredSlots"], view["desiredWorkers"]) == (2, 1)


def test_nothing_needs_nothing() -> None:
    view = scaling_view(FlowView((), ()), TARGETS)
    assert (view["desiredSlots"], view["desiredWorkers"], view["queues"]) == (0, 0, [])
