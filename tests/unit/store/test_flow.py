"""How jobs flow through queues."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from backroom.model.job import INTERNAL_QUEUE
from backroom.store import WorkerView
from tests.unit.store.hand import outcome, submit

if TYPE_CHECKING:
    from backroom.store import Store
    from tests.unit.store.hand import Worker


def beat(store: Store, name: str, **fields: object) -> None:
    view = {
        "host": "h",
        "pid": 1,
        "queues": None,
        "pool": "prefork",
        "slots": 4,
        "busy": 0,
        "jobs": (),
        "started_at": 0,
    }
    store.workers.beat(WorkerView(id=name, **(view | fields)))  # type: ignore[arg-type]  # complete, and checked above


def test_what_comes_runs_and_goes_is_counted_by_queue(store: Store, worker: Worker) -> None:
    for _ in range(4):
        submit(store, queue="a")
    submit(store, queue="b")
    submit(store, queue=INTERNAL_QUEUE)
    jobs = [job for job in worker.claim(9) if job.queue == "a"]
    worker.exchange([outcome(jobs[0], run=100), outcome(jobs[1], "failed", run=300)])

    first, second = store.flow.read().queues

    assert (first.queue.name, first.ready, first.running) == ("a", 0, 2)
    assert first.mean_run_ms == 200
    assert first.in_per_second == pytest.approx(2 * first.out_per_second)
    assert (second.queue.name, second.mean_run_ms, second.out_per_second) == ("b", None, 0)


def test_a_queue_has_the_slots_of_those_that_serve_it_and_claim(store: Store) -> None:
    store.queues.pause("a")
    store.queues.pause("b")
    beat(store, "all")
    beat(store, "of-a", queues=("a",), slots=2)
    beat(store, "quiet", state="quiet")

    flow = store.flow.read()

    assert [queue.slots for queue in flow.queues] == [6, 4]
    assert [view.id for view in flow.workers] == ["all", "of-a"]
