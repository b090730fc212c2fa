"""Receivers that hang hold up neither jobs nor other receivers; those that fail for too long are told nothing more."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.integration.engine.stage import eventually
from tests.integration.jobs.servers import Answer
from tests.integration.webhooks.receiver import Receiver, receiver

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.engine.stage import Stage

#: More than there are slots, by far.
MANY = 60
LONG = 600_000


@contextmanager
def hanging() -> Iterator[Receiver]:
    """A receiver that takes every call and answers none until the test is over."""
    over = threading.Event()

    def never() -> Answer:
        over.wait(120)
        return Answer()

    with receiver(*[never] * 1000) as there:
        yield there
        over.set()


def cancel_many(stage: Stage) -> None:
    """So many jobs are cancelled; an endpoint that hears of it has as much to be told."""
    for job_id in stage.submit_many("add", [{"x": 1, "delay": LONG}] * MANY):
        stage.store.actions.cancel(job_id)


def test_jobs_start_while_every_delivery_hangs(empty_office: Stage) -> None:
    empty_office.workers("prefork", "threads", webhook_timeout_seconds=120)
    with hanging() as there, hanging() as elsewhere:
        for url in (there.url, elsewhere.url):
            empty_office.store.webhooks.create(url=url, events=("cancelled",))
        cancel_many(empty_office)
        there.after(1)
        elsewhere.after(1)

        results = [empty_office.result(empty_office.submit("add", x=number, y=1)) for number in range(20)]

        assert results == list(range(1, 21))
        assert len(there.got) == len(elsewhere.got) == 1, "two of the four slots, and no more"
        # What is to be told is put down little by little.
        eventually(lambda: [view.pending for view in empty_office.store.webhooks.list()] == [MANY, MANY])


def test_another_receiver_is_told_before_it_is_known_that_one_hangs(empty_office: Stage) -> None:
    empty_office.worker(concurrency=4, webhook_timeout_seconds=120)
    with hanging() as there, receiver() as elsewhere:
        empty_office.store.webhooks.create(url=there.url, events=("cancelled",))
        empty_office.store.webhooks.create(url=elsewhere.url, events=("completed",))
        cancel_many(empty_office)
        there.after(1)

        for number in range(10):
            empty_office.submit("add", x=number)

        assert len(elsewhere.after(10)) == 10
        assert len(there.got) == 1


def test_a_receiver_is_told_while_another_one_hangs(empty_office: Stage) -> None:
    empty_office.worker(webhook_timeout_seconds=6)  # the other one answers in time on any machine
    with hanging() as there, receiver() as elsewhere:
        bad, _ = empty_office.store.webhooks.create(url=there.url, events=("cancelled",))
        good, secret = empty_office.store.webhooks.create(url=elsewhere.url, events=("completed",))
        cancel_many(empty_office)
        there.after(1)

        ids = [empty_office.submit("add", x=number) for number in range(20)]
        told = elsewhere.messages(secret, number=20)

        assert {message["data"]["id"] for message in told} == set(ids)
        eventually(lambda: empty_office.store.webhooks.get(bad.id).pending == MANY)
        eventually(lambda: empty_office.store.webhooks.get(good.id).pending, until=lambda pending: pending == 0)


def test_what_waits_is_told_once_the_receiver_answers(empty_office: Stage) -> None:
    empty_office.worker(concurrency=4, webhook_timeout_seconds=0.5)
    answers = threading.Event()

    def later() -> Answer:
        answers.wait(2)
        return Answer()

    with receiver(*[later] * 1000) as there:
        view, _ = empty_office.store.webhooks.create(url=there.url, events=("cancelled",))
        cancel_many(empty_office)
        there.after(3)
        answers.set()

        def pending() -> int:
            for delivery in empty_office.store.deliveries.page(view.id, states=("pending",), limit=MANY).deliveries:
                if delivery.next_at is not None and delivery.next_at - delivery.tries[-1].at > LONG:  # it has failed
                    empty_office.store.deliveries.redeliver(delivery.id)
            return empty_office.store.webhooks.get(view.id).pending

        eventually(pending, until=lambda pending: pending == 0)

        delivered = empty_office.store.deliveries.page(view.id, states=("delivered",), limit=200).deliveries
        assert len(delivered) == MANY


def test_an_endpoint_that_only_fails_is_disabled_and_works_again_when_it_is_enabled(empty_office: Stage) -> None:
    # The first two tries are less than that apart, although the machine may stand still between them.
    worker = empty_office.worker(webhook_retry_seconds="0,9,1000", webhook_disable_after_seconds=8)
    with receiver(*[Answer(500)] * 3) as there:
        view, _ = empty_office.store.webhooks.create(url=there.url, events=("completed",))
        empty_office.result(empty_office.submit("add", x=1))
        disabled = eventually(
            lambda: empty_office.store.webhooks.get(view.id), until=lambda found: found.disabled_reason is not None
        )

        assert disabled.disabled_reason == "failing"
        assert disabled.failing_since is not None
        assert len(there.got) == 3
        [entry] = empty_office.store.audit.page(limit=9).entries
        assert (entry.actor, entry.action, entry.target) == ("(stack)", "disable_webhook", f"/v1/webhooks/{view.id}")
        eventually(lambda: worker.output, until=lambda text: f"endpoint {view.id} at" in text)
        assert "is disabled: every try has failed for BACKROOM_WEBHOOK_DISABLE_AFTER_SECONDS" in worker.output

        assert empty_office.store.webhooks.update(view.id, enabled=True).failing_since is None
        empty_office.result(empty_office.submit("add", x=2))
        there.after(4)
        eventually(lambda: empty_office.store.metrics.read().webhooks.attempts.get("delivered"))
        assert empty_office.store.webhooks.get(view.id).disabled_reason is None
