"""What happens to jobs reaches the outbox of webhooks, in the same step, and leaves it as deliveries, once."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

from backroom.model.job import DELIVER_WEBHOOK, INTERNAL_QUEUE, new_job
from backroom.model.options import parse_options
from backroom.model.schedule import parse_schedule
from backroom.settings import Settings
from backroom.store import JobQuery, Store
from tests.unit.store.hand import LONG, Worker, a_job, counts, error_text, outlive, run, state, submit
from tests.unit.store.mail import URL, body, deliveries, dispatched, endpoint, notices, told

if TYPE_CHECKING:
    from collections.abc import Callable

HOOK = {"url": "https://mine.example/", "events": ["completed", "failed"]}


def test_without_webhooks_nothing_is_put_into_the_outbox(store: Store) -> None:
    for kind in ("completed", "failed", "cancelled"):
        run(store, kind=kind)  # type: ignore[arg-type]  # outcomes

    assert notices(store) == 0
    assert not store.outbox.dispatch()
    assert store.queues.names(internal=True) == ["default"]


def a_cancelled_one(store: Store, **options: Any) -> str:
    job_id = submit(store, **options)
    store.actions.cancel(job_id)
    return job_id


def a_late_one(store: Store, **options: Any) -> str:
    job_id = submit(store, ttl=LONG, **options)
    outlive(store, "ttl")
    store.upkeep.sweep()
    return job_id


def one_claimed_too_late(store: Store, **options: Any) -> str:
    job_id = submit(store, ttl=LONG, **options)
    store.redis.hset(store.keys.job(job_id), "expires", 1)
    Worker(store).claim()
    return job_id


def a_lost_one(store: Store, **options: Any) -> str:
    job_id = submit(store, maxStalled=0, **options)
    Worker(store).claim_one()
    outlive(store, "active")
    store.upkeep.sweep()
    return job_id


ENDS: list[tuple[Callable[..., str], list[str]]] = [
    (run, ["active", "completed"]),
    (
        lambda store, **options: run(store, kind="failed", attempts=2, **options),
        ["active", "failed"],
    ),
    (lambda store, **options: run(store, kind="failed", **options), ["active", "retries-exhausted", "failed"]),
    (lambda store, **options: run(store, kind="cancelled", **options), ["active", "cancelled"]),
    (a_cancelled_one, ["cancelled"]),
    (a_late_one, ["expired"]),
    (one_claimed_too_late, ["expired"]),
    (a_lost_one, ["active", "stalled", "failed"]),
]
EVERY = ["active", "completed", "failed", "retries-exhausted", "stalled", "cancelled", "expired"]


@pytest.mark.parametrize(("bring_to", "events"), ENDS)
def test_a_job_tells_of_itself_if_it_was_asked_to(
    store: Store, bring_to: Callable[..., str], events: list[str]
) -> None:
    job_id = bring_to(store, webhook={"url": "https://mine.example/", "events": EVERY})

    assert told(store) == [(event, job_id) for event in events]


@pytest.mark.parametrize(("bring_to", "events"), ENDS)
def test_an_endpoint_is_told_of_every_job(store: Store, bring_to: Callable[..., str], events: list[str]) -> None:
    every = endpoint(store, *EVERY)

    job_id = bring_to(store)

    assert told(store, every) == [(event, job_id) for event in events]
    assert told(store) == []


def test_each_is_told_what_it_wants_to_hear(store: Store) -> None:
    ends, losses = endpoint(store, "completed", "failed"), endpoint(store, "failed")

    good, bad = run(store), run(store, kind="failed", webhook=HOOK)

    assert told(store, ends) == [("completed", good), ("failed", bad)]
    assert told(store, losses) == [("failed", bad)]
    assert told(store) == [("failed", bad)]


@pytest.mark.parametrize("wish", ["removeOnComplete", "removeOnFail"])
def test_a_job_that_leaves_nothing_behind_is_told_of_all_the_same(store: Store, wish: str) -> None:
    kind = "completed" if wish == "removeOnComplete" else "failed"

    job_id = run(store, kind=kind, data={"a": 1}, webhook=HOOK, **{wish: True})  # type: ignore[arg-type]  # an outcome

    [delivery] = deliveries(store)
    assert state(store, job_id) is None
    data = body(store, delivery)["data"]
    assert (data["id"], data["state"], data["data"]) == (job_id, kind, {"a": 1})
    assert data["finishedAt"]


def test_the_message_has_the_job_as_it_was_at_the_event(store: Store, worker: Worker) -> None:
    job_id = submit(store, "resize", queue="images", data={"n": 12345678901234567890, "t": "ä/\u2028"}, webhook=HOOK)
    job = worker.claim_one()
    worker.end(job, result='{"pages":[1,2.50]}', run=7)
    view = store.inspection.get(job_id).to_dict()
    store.actions.retry(job_id)

    [delivery] = deliveries(store)
    message = body(store, delivery)

    assert message["type"] == "job.completed"
    assert message["timestamp"] == view["finishedAt"]
    links = message["data"].pop("links")
    assert links["self"] == f"/v1/jobs/{job_id}"
    assert message["data"] == view
    assert view["result"] == {"pages": [1, 2.5]}


def test_a_failure_tells_its_error(store: Store) -> None:
    run(store, kind="failed", webhook=HOOK)

    [delivery] = deliveries(store)

    assert body(store, delivery)["data"]["error"]["message"] == "it broke"


def test_retries_exhausted_tells_of_the_last_failure(store: Store, worker: Worker) -> None:
    every = endpoint(store, "retries-exhausted")
    submit(store, attempts=1)
    worker.end(worker.claim_one(), "failed", error=error_text("for good"))

    [delivery] = deliveries(store, every)

    data = body(store, delivery)["data"]
    assert (data["state"], data["attemptsMade"], data["error"]["message"]) == ("failed", 1, "for good")


def test_what_is_too_large_for_a_message_is_left_out_and_named(store: Store, worker: Worker) -> None:
    small = Store(store.redis, prefix=store.keys.prefix, settings=Settings(webhook_max_bytes=1024))
    for data, result in ((900, 100), (900, 200), (100, 2000), (2000, 2000)):
        submit(small, data="d" * data, webhook=HOOK)
        worker = Worker(small)
        worker.end(worker.claim_one(), result=json.dumps("r" * result))

    messages = [body(small, delivery)["data"] for delivery in deliveries(small)]

    assert [message.get("omitted") for message in messages] == [None, ["data"], ["result"], ["result", "data"]]
    assert [len(message["data"] or "") for message in messages] == [900, 0, 100, 0]
    assert [len(message["result"] or "") for message in messages] == [100, 200, 0, 0]


def test_deliveries_are_internal_jobs_that_nobody_sees_who_does_not_ask_for_them(store: Store) -> None:
    job_id = run(store, webhook=HOOK)
    [delivery] = deliveries(store)

    assert [job.id for job in store.listing.page(JobQuery()).jobs] == [job_id]
    assert [job.id for job in store.listing.page(JobQuery(names=(DELIVER_WEBHOOK,))).jobs] == []
    assert [job.id for job in store.listing.page(JobQuery(queues=(INTERNAL_QUEUE,))).jobs] == [delivery.id]
    assert [queue.name for queue in store.queues.list()] == ["default"]
    assert counts(store, INTERNAL_QUEUE) == {"waiting": 1}
    assert [flow.queue.name for flow in store.flow.read().queues] == ["default"]
    assert store.inspection.get(delivery.id).data == {"delivery": delivery.id}


def test_internal_jobs_never_notify(store: Store) -> None:
    every = endpoint(store, *EVERY)
    job_id = run(store, webhook=HOOK)
    dispatched(store)
    own = new_job(name="tidy", queue=INTERNAL_QUEUE, data={}, options=parse_options({"webhook": HOOK}))
    store.submission.submit([own])
    worker = Worker(store)
    for job in worker.claim(10):
        worker.end(job)

    assert {about for _, about in told(store, every) + told(store)} == {job_id}


def test_a_notice_becomes_one_delivery_however_many_make_it(store: Store) -> None:
    every = endpoint(store, "completed")
    ids = [run(store) for _ in range(50)]
    threads = [threading.Thread(target=dispatched, args=[store]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(about for _, about in told(store, every)) == sorted(ids)
    assert counts(store, INTERNAL_QUEUE) == {"waiting": 50}
    assert notices(store) == 0


def test_one_that_died_before_it_made_deliveries_leaves_the_notices(store: Store) -> None:
    every = endpoint(store, "completed")
    job_id = run(store)
    rows = store.outbox._run("notices", 10, 10)

    assert len(rows) == 1
    assert told(store, every) == [("completed", job_id)]


def test_all_endpoints_get_the_same_message_id_and_each_its_own_delivery(store: Store) -> None:
    one, two = endpoint(store, "completed"), endpoint(store, "completed")
    run(store, webhook=HOOK)

    found = [*deliveries(store, one), *deliveries(store, two), *deliveries(store)]

    assert len({delivery.message_id for delivery in found}) == 1
    assert len({delivery.id for delivery in found}) == 3
    assert [delivery.url for delivery in found] == [URL, URL, HOOK["url"]]
    assert "." not in found[0].message_id


def test_two_stacks_never_make_the_same_message_id(store: Store) -> None:
    other = Store(store.redis, prefix=store.keys.prefix + "-other")
    fields = {"event": "completed", "job": "a", "theirs": "", "url": "https://a.example/", "omitted": ""}
    fields |= {"name": "task", "queue": "default", "state": "completed", "created": "1"}
    for stack in (store, other):
        stack.redis.xadd(stack.keys.single("webhooks:outbox"), fields, id="1-1")

    assert deliveries(store)[0].message_id != deliveries(other)[0].message_id


def test_a_disabled_endpoint_is_told_nothing_until_it_is_enabled(store: Store) -> None:
    every = endpoint(store, "completed")
    store.webhooks.update(every, enabled=False)
    run(store)
    assert notices(store) == 0

    store.webhooks.update(every, enabled=True)
    job_id = run(store)

    assert told(store, every) == [("completed", job_id)]


def test_an_endpoint_that_was_removed_meanwhile_is_not_told(store: Store) -> None:
    every = endpoint(store, "completed")
    run(store)

    store.webhooks.remove(every)

    assert told(store, every) == []
    assert notices(store) == 0


def test_a_notice_that_cannot_be_read_does_not_hold_up_the_others(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    store.redis.xadd(
        store.keys.single("webhooks:outbox"),
        {"event": "completed", "job": "broken", "theirs": "", "url": "https://a.example/", "omitted": ""},
    )
    job_id = run(store, webhook=HOOK)

    assert told(store) == [("completed", job_id)]
    assert "notice about job broken could not be read" in caplog.text


def test_more_than_may_be_pending_are_dropped_and_counted(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    small = Store(store.redis, prefix=store.keys.prefix, settings=Settings(webhook_max_pending=2))
    every = endpoint(small, "completed")
    ids = [run(small) for _ in range(5)]

    assert [about for _, about in told(small, every)] == ids[:2]
    view = small.webhooks.get(every)
    assert (view.pending, view.dropped) == (2, 3)
    assert "3 notices of webhooks were dropped" in caplog.text


def test_the_scheduler_is_woken_by_a_notice(store: Store) -> None:
    store.redis.delete(store.keys.wake("scheduler"))
    run(store)
    assert not store.redis.exists(store.keys.wake("scheduler"))

    run(store, webhook=HOOK)

    assert store.redis.exists(store.keys.wake("scheduler"))


def test_a_job_that_is_retried_tells_of_its_second_end_too(store: Store, worker: Worker) -> None:
    job_id = run(store, kind="failed", webhook=HOOK)
    store.actions.retry(job_id)
    worker.end(worker.claim_one())

    assert told(store) == [("failed", job_id), ("completed", job_id)]


def test_trace_and_request_go_on_to_the_delivery_and_its_job(store: Store) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    job = a_job(webhook=HOOK)
    store.submission.submit(
        [new_job(name=job.name, data={}, options=job.options, traceparent=trace, request_id="req-1")]
    )
    worker = Worker(store)
    claimed = worker.claim_one()
    worker.end(claimed)
    assert (claimed.traceparent, claimed.request_id) == (trace, "req-1")

    [delivery] = deliveries(store)
    parcel = store.deliveries.parcel(delivery.id)
    carrier = worker.claim_one()

    assert (parcel.traceparent, parcel.request_id) == (trace, "req-1")
    assert (carrier.traceparent, carrier.request_id) == (trace, "req-1")


def test_schedules_make_jobs_that_tell_of_themselves(store: Store) -> None:
    spec = parse_schedule({"every": 60_000, "job": {"name": "task", "data": {}, "options": {"webhook": HOOK}}})
    store.schedules.put("often", spec)
    store.schedules.run("often")
    worker = Worker(store)
    job = worker.claim_one()
    worker.end(job)

    assert told(store) == [("completed", job.id)]
