"""Endpoints and deliveries in the store: kept, paged, forgotten, made again; and what becomes of lost ones."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from backroom.model.errors import InvalidInput, NotDeliverable, NotFound, WebhooksFull
from backroom.model.job import INTERNAL_QUEUE
from backroom.settings import Settings
from backroom.store import Store
from backroom.store.deliveries import Try
from backroom.store.webhooks import MAX_ENDPOINTS, OWN
from tests.unit.store.hand import LONG, Worker, counts, run, state
from tests.unit.store.mail import URL, deliveries, dispatched, endpoint, told

if TYPE_CHECKING:
    from backroom.store.deliveries import DeliveryState

TRY = Try(at=1_700_000_000_000, status=500, duration_ms=12, error="answered 500")


def record(store: Store, delivery_id: str, how: DeliveryState, *, disable: str | None = None) -> None:
    store.deliveries.record(delivery_id, TRY, how, url=URL, next_at=LONG if how == "pending" else None, disable=disable)


def end(store: Store, delivery_id: str, how: DeliveryState = "delivered") -> None:
    """Bring a delivery to its end, as its job does."""
    worker = Worker(store, "postman")
    [job] = [job for job in worker.claim(100) if job.id == delivery_id]
    record(store, delivery_id, how)
    worker.end(job, "completed" if how == "delivered" else "failed")


def a_delivery(store: Store, webhook: str) -> str:
    run(store)
    return deliveries(store, webhook)[-1].id


def test_an_endpoint_is_what_was_said_of_it(store: Store) -> None:
    view, secret = store.webhooks.create(url=URL, events=("completed", "failed"), description="shop")

    assert store.webhooks.list() == [view] == [store.webhooks.get(view.id)]
    assert view.to_dict() == {
        "id": view.id,
        "url": URL,
        "events": ["completed", "failed"],
        "description": "shop",
        "enabled": True,
        "disabledReason": None,
        "disabledAt": None,
        "createdAt": view.to_dict()["createdAt"],
        "oldSecretUntil": None,
        "pending": 0,
        "dropped": 0,
    }
    assert store.webhooks.secrets(view.id).all == (secret,)


def test_what_is_not_said_stays(store: Store) -> None:
    webhook = endpoint(store, "completed")

    changed = store.webhooks.update(webhook, events=("failed",))
    assert (changed.url, changed.events) == (URL, ("failed",))
    assert store.webhooks.update(webhook, url="https://other.example/").events == ("failed",)
    assert store.webhooks.update(webhook, enabled=False).disabled_reason == "by-hand"
    assert store.webhooks.update(webhook, description="x").disabled_reason == "by-hand"
    assert store.webhooks.update(webhook, enabled=True).disabled_reason is None


@pytest.mark.parametrize("name", ["nobody", OWN, "a:deliveries", "", "x/y"])
def test_there_is_no_other_endpoint(store: Store, name: str) -> None:
    store.webhooks.secrets(OWN)
    webhook = endpoint(store)
    a_delivery(store, webhook)
    before = store.webhooks.secrets(OWN)

    for ask in (store.webhooks.get, store.webhooks.update, store.webhooks.remove):
        with pytest.raises(NotFound):
            ask(name)
    assert store.webhooks.secrets(OWN) == before
    assert [view.id for view in store.webhooks.list()] == [webhook]


def test_there_are_only_so_many(store: Store) -> None:
    for _ in range(MAX_ENDPOINTS):
        endpoint(store)

    with pytest.raises(WebhooksFull):
        endpoint(store)
    assert len(store.webhooks.list()) == MAX_ENDPOINTS


def test_the_secret_of_the_stack_is_made_once(store: Store) -> None:
    other = Store(store.redis, prefix=store.keys.prefix)

    assert store.webhooks.secrets(OWN) == other.webhooks.secrets(OWN)


@pytest.mark.parametrize("own", [True, False])
def test_the_old_secret_signs_for_a_day_and_no_longer(store: Store, *, own: bool) -> None:
    webhook = OWN if own else endpoint(store)
    old = store.webhooks.secrets(webhook).secret

    new = store.webhooks.rotate(webhook)

    assert new.all == (new.secret, old)
    assert new.old_until is not None
    assert abs(new.old_until - time.time() * 1000 - 86_400_000) < 60_000
    store.redis.hset(store.keys.webhook(webhook), "oldUntil", 1)
    assert store.webhooks.secrets(webhook).all == (new.secret,)


def test_a_delivery_tells_how_it_fares(store: Store) -> None:
    webhook = endpoint(store)
    delivery_id = a_delivery(store, webhook)
    fresh = store.deliveries.get(delivery_id)
    record(store, delivery_id, "pending")
    view = store.deliveries.get(delivery_id).to_dict()

    assert (fresh.state, fresh.made, fresh.tries, fresh.url) == ("pending", 0, (), URL)
    assert view["attempts"] == [
        {"at": "2023-11-14T22:13:20.000Z", "status": 500, "durationMs": 12, "error": "answered 500"}
    ]
    assert (view["state"], view["attemptsMade"], view["endpoint"]) == ("pending", 1, webhook)
    assert view["nextAttemptAt"] == "1970-01-01T00:10:00.000Z"
    assert store.webhooks.get(webhook).pending == 1


def test_pages_are_exact_while_others_are_added(store: Store) -> None:
    webhook = endpoint(store)
    first = [a_delivery(store, webhook) for _ in range(7)]
    page = store.deliveries.page(webhook, limit=3)
    found = [view.id for view in page.deliveries]
    while page.next is not None:
        a_delivery(store, webhook)
        page = store.deliveries.page(webhook, limit=3, cursor=page.next)
        found += [view.id for view in page.deliveries]

    assert found == first[::-1]


@pytest.mark.parametrize("cursor", ["x", "-1", "1.5", "\u0661", "inf"])
def test_a_cursor_of_something_else_is_refused(store: Store, cursor: str) -> None:
    with pytest.raises(InvalidInput):
        store.deliveries.page(OWN, cursor=cursor)


def test_ended_deliveries_are_kept_for_their_time(store: Store) -> None:
    webhook = endpoint(store)
    old, pending = a_delivery(store, webhook), a_delivery(store, webhook)
    end(store, old)
    store.redis.zadd(store.keys.single("webhooks:until"), {old: 1})

    dispatched(store)

    assert [view.id for view in deliveries(store, webhook)] == [pending]
    assert not store.redis.exists(store.keys.delivery(old), f"{store.keys.delivery(old)}:tries")


def test_only_so_many_ended_deliveries_are_kept_and_pending_ones_do_not_count(store: Store) -> None:
    small = Store(store.redis, prefix=store.keys.prefix, settings=Settings(webhook_keep_count=2))
    webhook = endpoint(small)
    pending = a_delivery(small, webhook)
    Worker(small).claim(1)
    ended = []
    for _ in range(4):
        ended.append(a_delivery(small, webhook))
        end(small, ended[-1], "failed")

    assert [view.id for view in deliveries(small, webhook)] == [pending, *ended[-2:]]
    assert small.webhooks.get(webhook).pending == 1


def test_an_endpoint_goes_with_its_deliveries(store: Store) -> None:
    webhook = endpoint(store)
    pending, done = a_delivery(store, webhook), a_delivery(store, webhook)
    end(store, done)

    store.webhooks.remove(webhook)

    for delivery_id in (pending, done):
        with pytest.raises(NotFound):
            store.deliveries.get(delivery_id)
        with pytest.raises(NotFound):
            store.deliveries.parcel(delivery_id)
    keys = [key for key in store.redis.scan_iter(f"{store.keys.prefix}:*") if webhook in key or done in key]
    assert keys == []


def test_a_reason_to_disable_comes_with_the_try(store: Store) -> None:
    webhook = endpoint(store, "completed")
    delivery_id = a_delivery(store, webhook)

    record(store, delivery_id, "failed", disable="gone")

    assert store.webhooks.get(webhook).disabled_reason == "gone"
    run(store)
    assert len(told(store, webhook)) == 1
    assert store.deliveries.parcel(delivery_id).refused == "the endpoint is disabled (gone)"


def test_a_delivery_is_made_again_as_a_job_with_all_its_tries(store: Store) -> None:
    webhook = endpoint(store)
    delivery_id = a_delivery(store, webhook)
    end(store, delivery_id, "failed")
    before = store.deliveries.get(delivery_id)
    assert state(store, delivery_id) is None

    after = store.deliveries.redeliver(delivery_id)

    assert (after.state, after.message_id, after.made) == ("pending", before.message_id, 1)
    assert state(store, delivery_id) == "waiting"
    assert store.inspection.get(delivery_id).attempts == len(Settings().webhook_retry_seconds) + 1
    end(store, delivery_id)
    assert store.deliveries.get(delivery_id).state == "delivered"


def test_one_that_waits_for_its_next_try_is_tried_at_once(store: Store) -> None:
    webhook = endpoint(store)
    delivery_id = a_delivery(store, webhook)
    worker = Worker(store)
    job = worker.claim_one()
    record(store, delivery_id, "pending")
    worker.end(job, "retry", delay=LONG)
    assert state(store, delivery_id) == "delayed"

    assert store.deliveries.redeliver(delivery_id).next_at is None

    assert state(store, delivery_id) == "waiting"
    assert worker.claim_one().made == 1


def test_one_that_is_about_to_end_is_not_made_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backroom.store.deliveries._PATIENCE", 0.1)
    webhook = endpoint(store)
    delivery_id = a_delivery(store, webhook)
    Worker(store).claim_one()
    record(store, delivery_id, "delivered")

    with pytest.raises(NotDeliverable, match="about to end"):
        store.deliveries.redeliver(delivery_id)


def test_what_nobody_takes_is_not_made_again(store: Store) -> None:
    webhook = endpoint(store)
    delivery_id = a_delivery(store, webhook)
    end(store, delivery_id, "failed")
    store.webhooks.update(webhook, enabled=False)

    with pytest.raises(NotDeliverable, match="disabled"):
        store.deliveries.redeliver(delivery_id)
    for name in ("nobody", "x:tries"):
        with pytest.raises(NotFound):
            store.deliveries.redeliver(name)


@pytest.mark.parametrize("how", ["cancel", "remove", "obliterate"])
def test_a_delivery_whose_job_is_taken_away_has_failed_and_can_be_made_again(store: Store, how: str) -> None:
    webhook = endpoint(store)
    delivery_id = a_delivery(store, webhook)
    if how == "cancel":
        store.actions.cancel(delivery_id)
    elif how == "remove":
        store.actions.remove(delivery_id)
    else:
        store.emptying.obliterate(INTERNAL_QUEUE)

    assert store.deliveries.get(delivery_id).state == "failed"
    assert store.webhooks.get(webhook).pending == 0
    store.deliveries.redeliver(delivery_id)
    assert counts(store, INTERNAL_QUEUE)["waiting"] == 1
