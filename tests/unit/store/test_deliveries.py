"""Endpoints and deliveries in the store: kept, paged, forgotten, made again; and what becomes of lost ones."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from backroom.model.errors import InvalidInput, NotDeliverable, NotFound, WebhooksFull
from backroom.model.job import INTERNAL_QUEUE
from backroom.settings import Settings
from backroom.store import Store
from backroom.store.deliveries import Try
from backroom.store.metrics import DELIVERY_BUCKETS
from backroom.store.webhooks import MAX_ENDPOINTS, OWN
from tests.unit.store.hand import LONG, Worker, counts, outcome, run, state
from tests.unit.store.mail import URL, deliveries, dispatched, endpoint, told

if TYPE_CHECKING:
    from backroom.model.states import DeliveryState

TRY = Try(at=1_700_000_000_000, status=500, duration_ms=12, error="answered 500")


def record(store: Store, delivery_id: str, how: DeliveryState, *, disable: str | None = None) -> None:
    store.deliveries.record(delivery_id, TRY, how, url=URL, next_at=LONG if how == "pending" else None, disable=disable)


def end(store: Store, delivery_id: str, how: DeliveryState = "delivered") -> None:
    """Bring a delivery to its end, as its job does."""
    worker = Worker(store, "postman")
    claimed = worker.claim(100)
    worker.exchange([outcome(job, "release") for job in claimed if job.id != delivery_id])
    [job] = [job for job in claimed if job.id == delivery_id]
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
        "failingSince": None,
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


def test_pages_of_some_states_are_exact_while_deliveries_change_theirs(store: Store) -> None:
    webhook = endpoint(store)
    made = [a_delivery(store, webhook) for _ in range(9)]
    for place, how in enumerate(("failed", "delivered", "failed", "pending", "failed", "delivered", "failed")):
        end(store, made[place], how) if how != "pending" else None  # type: ignore[arg-type]  # states

    def listed(*states: DeliveryState) -> list[str]:
        found, cursor = [], None
        while True:
            page = store.deliveries.page(webhook, states=states, limit=2, cursor=cursor)
            found += [view.id for view in page.deliveries]
            if (cursor := page.next) is None:
                return found

    assert listed("failed") == [made[6], made[4], made[2], made[0]]
    assert listed("delivered") == [made[5], made[1]]
    assert listed("pending") == [made[8], made[7], made[3]]
    assert listed("delivered", "pending") == [made[place] for place in (8, 7, 5, 3, 1)]
    assert listed() == listed("pending", "failed", "delivered") == made[::-1]
    page = store.deliveries.page(webhook, states=("failed",), limit=2)
    store.deliveries.redeliver(made[4])
    end(store, made[8], "failed")
    rest = store.deliveries.page(webhook, states=("failed",), limit=9, cursor=page.next)
    assert [view.id for view in rest.deliveries] == [made[2], made[0]]
    assert listed("failed") == [made[8], made[6], made[2], made[0]]


def test_a_cursor_belongs_to_its_list(store: Store) -> None:
    one, two = endpoint(store), endpoint(store)
    for _ in range(3):
        a_delivery(store, one)
    cursor = store.deliveries.page(one, limit=1, states=("pending", "failed")).next

    assert store.deliveries.page(one, limit=1, states=("failed", "pending"), cursor=cursor).deliveries
    for webhook, states in ((two, ("pending", "failed")), (one, ("pending",)), (one, ())):
        with pytest.raises(InvalidInput):
            store.deliveries.page(webhook, states=states, cursor=cursor)  # type: ignore[arg-type]  # states


def test_what_is_forgotten_is_in_no_list(store: Store) -> None:
    small = Store(store.redis, prefix=store.keys.prefix, settings=Settings(webhook_keep_count=1))
    webhook = endpoint(small)
    for how in ("failed", "delivered", "failed"):
        end(small, a_delivery(small, webhook), how)  # type: ignore[arg-type]  # states

    [kept] = small.deliveries.page(webhook).deliveries
    assert [view.id for view in small.deliveries.page(webhook, states=("failed", "delivered")).deliveries] == [kept.id]


@pytest.mark.parametrize("cursor", ["x", "-1", "1.5", "\u0661", "inf", "MTIz"])
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


def age(store: Store, webhook: str, **ms: int) -> None:
    """Put the times of an endpoint's failures so many ms back."""
    for field, by in ms.items():
        store.redis.hincrby(store.keys.webhook(webhook), field, -by)


DAY = 86_400_000


def test_an_endpoint_is_disabled_after_five_days_of_nothing_but_failures(store: Store) -> None:
    webhook = endpoint(store, "completed")
    delivery_id = a_delivery(store, webhook)
    record(store, delivery_id, "pending")
    began = store.webhooks.get(webhook)
    age(store, webhook, failingSince=5 * DAY - 60_000, failedAt=DAY)
    assert store.deliveries.record(delivery_id, TRY, "pending", url=URL, next_at=LONG) is None
    assert store.webhooks.get(webhook).disabled_reason is None
    age(store, webhook, failingSince=60_000)

    assert store.deliveries.record(delivery_id, TRY, "pending", url=URL, next_at=LONG) == "failing"

    view = store.webhooks.get(webhook)
    assert (view.disabled_reason, view.to_dict()["enabled"]) == ("failing", False)
    assert began.failing_since is not None
    assert view.failing_since == began.failing_since - 5 * DAY
    run(store)
    assert len(told(store, webhook)) == 1
    assert store.deliveries.record(delivery_id, TRY, "failed", url=URL) is None, "it is disabled once"


def test_the_audit_log_says_that_the_stack_has_disabled_an_endpoint(store: Store) -> None:
    for reason in ("gone", None):
        webhook = endpoint(store)
        delivery_id = a_delivery(store, webhook)
        record(store, delivery_id, "pending")
        age(store, webhook, failingSince=6 * DAY, failedAt=DAY)
        record(store, delivery_id, "failed", disable=reason)

        [newest, *_] = store.audit.page(limit=1).entries
        assert (newest.actor, newest.action, newest.target) == ("(stack)", "disable_webhook", f"/v1/webhooks/{webhook}")
        assert newest.outcome == "done"
        assert abs(newest.at - time.time() * 1000) < 60_000
    assert len(store.audit.page(limit=9).entries) == 2


def test_one_success_begins_the_days_anew(store: Store) -> None:
    webhook = endpoint(store)
    first, second = a_delivery(store, webhook), a_delivery(store, webhook)
    record(store, first, "pending")
    age(store, webhook, failingSince=6 * DAY, failedAt=DAY)
    record(store, second, "delivered")
    assert store.webhooks.get(webhook).failing_since is None

    record(store, first, "pending")

    view = store.webhooks.get(webhook)
    assert view.disabled_reason is None
    assert view.failing_since is not None


def test_days_without_a_try_are_no_days_of_failures(store: Store) -> None:
    webhook = endpoint(store)
    delivery_id = a_delivery(store, webhook)
    record(store, delivery_id, "pending")
    age(store, webhook, failingSince=9 * DAY, failedAt=3 * DAY)

    record(store, delivery_id, "pending")

    assert store.webhooks.get(webhook).disabled_reason is None


@pytest.mark.parametrize("change", [{"enabled": True}, {"url": "https://other.example/"}])
def test_an_endpoint_that_is_enabled_again_or_has_moved_has_its_days_anew(store: Store, change: dict[str, Any]) -> None:
    webhook = endpoint(store)
    delivery_id = a_delivery(store, webhook)
    record(store, delivery_id, "pending")
    age(store, webhook, failingSince=6 * DAY, failedAt=DAY)
    if "enabled" in change:
        record(store, delivery_id, "pending")
        assert store.webhooks.get(webhook).disabled_reason == "failing"

    changed = store.webhooks.update(webhook, **change)
    assert (changed.disabled_reason, changed.failing_since) == (None, None)
    record(store, delivery_id, "pending")

    assert store.webhooks.get(webhook).disabled_reason is None


def test_how_long_an_endpoint_may_fail_is_a_setting(store: Store) -> None:
    for seconds, reason in ((60, "failing"), (0, None)):
        own = Store(store.redis, prefix=store.keys.prefix, settings=Settings(webhook_disable_after_seconds=seconds))
        webhook = endpoint(own)
        delivery_id = a_delivery(own, webhook)
        record(own, delivery_id, "pending")
        age(own, webhook, failingSince=60_000)
        record(own, delivery_id, "pending")
        assert own.webhooks.get(webhook).disabled_reason == reason


def test_calls_and_ends_are_counted(store: Store) -> None:
    small = Store(store.redis, prefix=store.keys.prefix, settings=Settings(webhook_max_pending=3))
    webhook = endpoint(small, "completed")
    first, second, third = (a_delivery(small, webhook) for _ in range(3))
    run(small)
    dispatched(small)
    record(small, first, "pending")
    end(small, first)
    end(small, second, "failed")
    small.actions.cancel(third)
    run(small)

    told = small.metrics.read().webhooks

    assert told.attempts == {"failed": 2, "delivered": 1}
    assert told.deliveries == {"delivered": 1, "given-up": 2, "dropped": 1}
    assert (sum(told.delay.counts), told.pending, told.outbox) == (1, 0, 1)
    assert told.outbox_oldest >= 0
    assert told.endpoints == {"enabled": 1}


def test_the_delay_of_a_delivery_counts_from_its_event_and_once(store: Store) -> None:
    webhook = endpoint(store)
    delivery_id = a_delivery(store, webhook)
    store.redis.hincrby(store.keys.delivery(delivery_id), "at", -45_000)
    end(store, delivery_id)
    store.deliveries.redeliver(delivery_id)
    end(store, delivery_id)

    told = store.metrics.read().webhooks

    assert told.delay.counts[DELIVERY_BUCKETS.index(60)] == sum(told.delay.counts) == 1
    assert told.delay.sum >= 45
    assert told.deliveries == {"delivered": 2}


def test_endpoints_are_counted_by_why_they_are_told_nothing(store: Store) -> None:
    first, *_ = [endpoint(store) for _ in range(3)]
    store.webhooks.update(first, enabled=False)
    delivery_id = a_delivery(store, store.webhooks.list()[1].id)
    record(store, delivery_id, "failed", disable="gone")
    store.redis.delete(store.keys.single("webhooks:outbox"))

    assert store.metrics.read().webhooks.endpoints == {"by-hand": 1, "gone": 1, "enabled": 1}


def test_what_an_endpoint_that_is_disabled_was_not_told_is_no_call(store: Store) -> None:
    webhook = endpoint(store)
    delivery_id = a_delivery(store, webhook)
    store.webhooks.update(webhook, enabled=False)
    record(store, delivery_id, "failed")

    told = store.metrics.read().webhooks
    assert (told.attempts, told.deliveries) == ({}, {"given-up": 1})
