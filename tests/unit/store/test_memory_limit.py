"""At its memory limit the store takes no new jobs, and finishes those it has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from backroom.model.errors import StoreFull
from backroom.model.states import State
from backroom.store import Store, connect
from tests.unit.store.hand import LONG, Worker, counts, eventually, outcome, state, submit, submit_many
from tests.unit.store.test_worker_views import a_type, a_view

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backroom.local.server import EmbeddedServer


@pytest.fixture
def store(own_server: EmbeddedServer) -> Iterator[Store]:
    """An empty store on a server whose memory can be made short."""
    client = connect(own_server.url, timeout=10)
    yield Store(client, prefix="full")
    client.close()


def fill(store: Store) -> None:
    """From now on the server is above its limit."""
    store.redis.config_set("maxmemory", "1mb")
    with pytest.raises(StoreFull):
        submit(store)


def test_submissions_are_refused_with_the_reason_and_nothing_is_stored(store: Store) -> None:
    fill(store)

    with pytest.raises(StoreFull, match="memory limit"):
        submit_many(store, 3)

    assert store.queues.names() == []


def test_workers_go_on_until_the_queue_is_empty(store: Store, worker: Worker) -> None:
    submit_many(store, 20, attempts=2)
    fill(store)

    claimed = worker.claim(10)
    assert worker.renew(*claimed) == ["renewed"] * 10
    assert store.execution.report(claimed[0].id, claimed[0].token, progress="{}", logs=["{}"]) == "renewed"
    kinds = ["completed", "failed", "retry", "release", "stalled", "retry-after", "rate-limited", "cancelled"]
    for job, kind in zip(claimed, kinds, strict=False):
        assert worker.end(job, kind, **({"delay": 1} if kind == "retry" else {}))  # type: ignore[arg-type]
    eventually(lambda: store.upkeep.promote()[0])
    Worker(store, lease_ms=1).renew(*claimed[len(kinds) :])
    eventually(lambda: store.upkeep.sweep().stalled)
    while jobs := worker.claim(5):
        worker.exchange([outcome(job) for job in jobs])

    assert counts(store) == {"completed": 18, "failed": 1, "cancelled": 1}


def test_people_can_still_act(store: Store) -> None:
    waiting, delayed, other = submit(store), submit(store, delay=LONG), submit(store, delay=LONG)
    fill(store)

    assert store.queues.pause("default")
    store.queues.set_limits("default", concurrency=1)
    assert store.queues.resume("default")
    store.actions.promote(delayed)
    store.actions.reschedule(other, delay_ms=1)
    assert store.actions.cancel(waiting)
    store.actions.remove(delayed)

    assert store.inspection.states([waiting, delayed]) == [State.CANCELLED, None]


def test_workers_and_schedulers_are_still_heard(store: Store) -> None:
    fill(store)

    store.workers.beat(a_view())
    store.workers.tick("beat")
    store.job_types.publish("w1", [a_type()], ttl_seconds=60)

    assert [view.id for view in store.workers.list()] == ["w1"]
    assert list(store.workers.scheduler_ticks()) == ["beat"]
    assert [each.name for each in store.job_types.list()] == ["resize"]


def test_reading_goes_on(store: Store) -> None:
    job_id = submit(store)
    fill(store)

    assert store.inspection.get(job_id).id == store.inspection.get(job_id, attempts=True).id == job_id
    assert store.inspection.logs(job_id).logs == []
    assert store.queues.get("default").counts[State.WAITING] == 1
    assert store.metrics.read().submitted == {("default", "task"): 1}
    last = store.events.read("0-0")[-1].id
    assert str(store.events.span().last) == last
    told = store.events.state_of(job_id)
    assert told is not None
    assert (told.type, told.id) == ("waiting", last)


def test_those_who_have_keys_still_come_in(store: Store) -> None:
    store.api_keys.create(
        "k1", name="boss", digest="d", roles=["admin"], queues=None, job_types=None, expires_at=None, created_by="",
        admins_elsewhere=False,
    )  # fmt: skip
    fill(store)

    found = store.api_keys.read()

    assert found is not None
    assert found.keys["k1"].name == "boss"
    assert store.api_keys.read(found.version) is None


def test_once_there_is_room_again_submissions_are_taken(store: Store) -> None:
    fill(store)

    store.redis.config_set("maxmemory", "0")

    assert state(store, submit(store)) is State.WAITING
