"""Who is there: workers and what they offer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backroom.model.job_types import JobType
from backroom.store import WorkerView

if TYPE_CHECKING:
    from backroom.store import Store


def a_view(worker: str = "w1", **fields: Any) -> WorkerView:
    given = {
        "id": worker,
        "host": "h",
        "pid": 1,
        "queues": None,
        "pool": "prefork",
        "slots": 4,
        "busy": 1,
        "jobs": ("a",),
        "started_at": 1_700_000_000_000,
    }
    return WorkerView(**{**given, **fields})


def a_type(name: str = "resize", **fields: Any) -> JobType:
    return JobType(**{"name": name, "queue": "images", "description": "Größe", "schema": {}, "defaults": {}, **fields})


def test_a_worker_that_beats_is_listed(store: Store) -> None:
    store.workers.beat(a_view("b", queues=("x", "y"), jobs=()))
    store.workers.beat(a_view("a"))

    first, second = store.workers.list()

    assert (first.id, first.queues, first.jobs) == ("a", None, ("a",))
    assert (second.id, second.queues, second.jobs) == ("b", ("x", "y"), ())


def test_the_store_knows_when_a_worker_beat(store: Store) -> None:
    store.workers.beat(a_view(heartbeat_at=5))
    seconds, _ = store.redis.time()

    [view] = store.workers.list()

    assert abs(view.heartbeat_at / 1000 - int(seconds)) <= 60


def test_a_worker_that_leaves_is_gone_with_its_offers(store: Store) -> None:
    store.workers.beat(a_view())
    store.job_types.publish("w1", [a_type()], ttl_seconds=60)

    store.workers.leave("w1")

    assert store.workers.list() == []
    assert [(each.name, each.workers) for each in store.job_types.list()] == [("resize", 0)]


def test_a_silent_worker_is_gone_by_itself(store: Store) -> None:
    store.workers.beat(a_view("silent"))
    store.redis.delete(store.keys.worker("silent"))  # what its expiry does
    store.redis.zadd(store.keys.single("workers"), {"silent": 1})
    assert store.workers.list() == []

    store.workers.beat(a_view("other"))

    assert store.redis.zrange(store.keys.single("workers"), 0, -1) == ["other"]


def test_a_worker_s_record_expires(store: Store) -> None:
    store.workers.beat(a_view())

    assert 0 < store.redis.ttl(store.keys.worker("w1")) <= 15


def test_a_view_of_a_worker_speaks_json(store: Store) -> None:
    store.workers.beat(a_view(queues=("x",)))

    [view] = store.workers.list()

    words = view.to_dict()
    assert words["startedAt"] == "2023-11-14T22:13:20.000Z"
    assert words["queues"] == ["x"]
    assert words["jobs"] == ["a"]
    assert words["state"] == "running"


def test_published_job_types_are_listed_by_name(store: Store) -> None:
    types = [
        a_type("b", schema={"type": "object", "properties": {}, "required": []}),
        a_type("a", defaults={"attempts": 3}),
    ]

    store.job_types.publish("w1", types, ttl_seconds=60)

    assert store.job_types.list() == [types[1], types[0]]
    assert store.job_types.get("b") == types[0]
    assert store.job_types.get("c") is None


def test_a_job_type_counts_the_workers_that_offer_it(store: Store) -> None:
    for worker, names in [("w1", ["a", "b"]), ("w2", ["a"]), ("gone", ["a", "b"])]:
        store.job_types.publish(worker, [a_type(name) for name in names], ttl_seconds=60)
    store.workers.beat(a_view("w1"))
    store.workers.beat(a_view("w2"))

    assert {each.name: each.workers for each in store.job_types.list()} == {"a": 2, "b": 1}


def test_a_job_type_that_nobody_offers_any_more_expires(store: Store) -> None:
    store.job_types.publish("w1", [a_type("old"), a_type("new")], ttl_seconds=60)
    store.redis.zadd(store.keys.single("types:seen"), {"old": 1})  # its time is over

    assert [each.name for each in store.job_types.list()] == ["new"]

    store.job_types.publish("w2", [a_type("new")], ttl_seconds=60)
    assert store.redis.hkeys(store.keys.single("types")) == ["new"]


def test_publishing_again_replaces_a_type(store: Store) -> None:
    store.job_types.publish("w1", [a_type(queue="before")], ttl_seconds=60)
    store.job_types.publish("w1", [a_type(queue="after")], ttl_seconds=60)

    assert [each.queue for each in store.job_types.list()] == ["after"]


def test_publishing_nothing_is_no_offer(store: Store) -> None:
    store.job_types.publish("w1", [], ttl_seconds=60)

    assert store.job_types.list() == []
    assert store.redis.keys(f"{store.keys.prefix}:*") == []
