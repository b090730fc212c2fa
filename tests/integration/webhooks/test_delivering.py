"""Webhooks from the end of a job to a real receiver, through real workers."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING

import pytest
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from backroom.model.job import INTERNAL_QUEUE
from backroom.store.webhooks import OWN
from tests.integration.engine.stage import eventually
from tests.integration.jobs.servers import Answer
from tests.integration.ports import held_port
from tests.integration.webhooks.receiver import read, receiver

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backroom.store.deliveries import DeliveryView
    from tests.integration.engine.stage import Stage


@contextmanager
def endpoint(stage: Stage, url: str, *events: str) -> Iterator[tuple[str, str]]:
    """An endpoint while the test runs: its id and its secret."""
    view, secret = stage.store.webhooks.create(url=url, events=events or ("completed", "failed"))  # type: ignore[arg-type]
    yield view.id, secret
    stage.store.webhooks.remove(view.id)


def delivery_of(stage: Stage, webhook: str, job_id: str) -> DeliveryView | None:
    found = stage.store.deliveries.page(webhook, limit=200).deliveries
    return next((view for view in found if view.job_id == job_id), None)


def ended(stage: Stage, webhook: str, job_id: str) -> DeliveryView:
    """The delivery about a job, once it has ended."""
    found = eventually(lambda: delivery_of(stage, webhook, job_id), until=lambda view: view and view.state != "pending")
    assert found is not None
    return found


def tried(stage: Stage, webhook: str, job_id: str, times: int) -> DeliveryView:
    """The delivery about a job, once it was tried so often."""
    found = eventually(lambda: delivery_of(stage, webhook, job_id), until=lambda view: view and view.made >= times)
    assert found is not None
    return found


def test_the_end_of_a_job_is_told_once_with_a_valid_signature(office: Stage) -> None:
    with receiver() as there, endpoint(office, there.url) as (webhook, secret):
        good = office.submit("add", x=1, y=2)
        bad = office.submit("moody", x=100)
        messages = there.messages(secret, number=2)
        views = [ended(office, webhook, job_id) for job_id in (good, bad)]

        assert {(message["type"], message["data"]["id"]) for message in messages} == {
            ("job.completed", good),
            ("job.failed", bad),
        }
        by_id = {message["data"]["id"]: message["data"] for message in messages}
        assert (by_id[good]["result"], by_id[good]["state"]) == (3, "completed")
        assert by_id[bad]["error"]["message"] == "not yet"
        assert [(view.state, view.made, view.tries[0].status) for view in views] == [("delivered", 1, 204)] * 2
        assert len(there.got) == 2
        for request in there.got:
            assert request.method == "POST"
            assert request.headers["Content-Type"] == "application/json"
            with pytest.raises(WebhookVerificationError):
                Webhook("whsec_" + "A" * 32).verify(request.body, request.headers)


def test_a_job_s_own_webhook_is_signed_with_the_secret_of_the_stack(office: Stage) -> None:
    with receiver() as there:
        job_id = office.submit("add", x=1, webhook={"url": there.url, "events": ["completed"]})

        [message] = there.messages(office.store.webhooks.secrets(OWN).secret)

        assert message["data"]["id"] == job_id
        assert ended(office, OWN, job_id).url == there.url


def test_a_receiver_that_is_down_gets_the_message_under_the_same_id_once_it_is_up(office: Stage) -> None:
    with held_port() as port, endpoint(office, f"http://127.0.0.1:{port}/hooks") as (webhook, secret):
        job_id = office.submit("add", x=1)
        before = tried(office, webhook, job_id, 1)
        assert before.tries[0].status is None
        assert before.tries[0].error
        with receiver(Answer(500), port=port) as there:
            eventually(lambda: there.got or office.store.deliveries.redeliver(before.id), until=lambda _: there.got)
            requests = there.after(2)
            after = ended(office, webhook, job_id)

    assert {request.headers["webhook-id"] for request in requests} == {before.message_id}
    assert {request.body for request in requests} == {requests[0].body}
    assert read(requests[-1], secret)["data"]["id"] == job_id
    assert (after.state, after.id, after.tries[-1].status) == ("delivered", before.id, 204)


@pytest.mark.parametrize("status", [500, 502, 404, 400, 401, 302, 304])
def test_any_answer_but_success_is_tried_again(office: Stage, status: int) -> None:
    with receiver(Answer(status)) as there, endpoint(office, there.url) as (webhook, secret):
        job_id = office.submit("add", x=1)
        view = ended(office, webhook, job_id)

        assert [each.status for each in view.tries] == [status, 204]
        assert len({request.headers["webhook-id"] for request in there.got}) == 1
        assert all(read(request, secret) for request in there.got)


def test_it_is_given_up_after_the_last_try(empty_office: Stage) -> None:
    empty_office.worker(webhook_retry_seconds="0,0")
    with receiver(*[Answer(500)] * 9) as there, endpoint(empty_office, there.url) as (webhook, _):
        job_id = empty_office.submit("add", x=1)
        view = ended(empty_office, webhook, job_id)

        assert (view.state, view.made, view.next_at) == ("failed", 3, None)
        assert [each.error for each in view.tries] == ["answered 500"] * 3
        assert len(there.got) == 3


def test_410_disables_the_endpoint(office: Stage) -> None:
    with receiver(Answer(410)) as there, endpoint(office, there.url) as (webhook, _):
        job_id = office.submit("add", x=1)
        view = ended(office, webhook, job_id)
        office.result(office.submit("add", x=2))

        assert (view.state, [each.status for each in view.tries]) == ("failed", [410])
        disabled = office.store.webhooks.get(webhook)
        assert disabled.disabled_reason == "gone"
        assert disabled.disabled_at is not None
        assert len(office.store.deliveries.page(webhook).deliveries) == 1

        office.store.webhooks.update(webhook, enabled=True)
        again = office.submit("add", x=3)
        assert ended(office, webhook, again).state == "delivered"
        assert len(there.got) == 2


def test_a_redirect_is_not_followed(office: Stage) -> None:
    with receiver() as elsewhere:
        redirect = Answer(307, headers={"Location": elsewhere.url})
        with receiver(redirect) as there, endpoint(office, there.url) as (webhook, _):
            view = ended(office, webhook, office.submit("add", x=1))

            assert [each.status for each in view.tries] == [307, 204]
            assert elsewhere.got == []
            assert len(there.got) == 2


@pytest.mark.parametrize("host", ["127.0.0.2", "2130706434", "[::1]", "10.0.0.1", "169.254.169.254"])
def test_a_private_address_is_refused_unless_it_is_allowed(empty_office: Stage, host: str) -> None:
    empty_office.worker(webhook_allowed_networks="192.0.2.0/24")
    with receiver(address="127.0.0.2") as there:
        url = f"http://{host}:{there.server.port}/hooks"
        job_id = empty_office.submit("add", x=1, webhook={"url": url, "events": ["completed"]})
        view = ended(empty_office, OWN, job_id)

        assert (view.state, view.made) == ("failed", 1)
        assert "BACKROOM_WEBHOOK_ALLOWED_NETWORKS" in str(view.tries[0].error)
        assert there.got == []


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_heeded(office: Stage, as_date: bool) -> None:  # noqa: FBT001 - a case of the test
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=500), usegmt=True)
    answer = Answer(503, headers={"Retry-After": later if as_date else "500"})
    with receiver(answer) as there, endpoint(office, there.url) as (webhook, _):
        view = tried(office, webhook, office.submit("add", x=1), 1)

        assert view.next_at is not None
        assert 450_000 < view.next_at - view.tries[0].at < 520_000
        assert view.state == "pending"
        assert len(there.got) == 1


def test_a_receiver_that_does_not_answer_in_time_is_tried_again(empty_office: Stage) -> None:
    empty_office.worker(webhook_timeout_seconds=6)
    done = threading.Event()

    def slow() -> Answer:
        done.wait(120)
        return Answer()

    with receiver(slow) as there:
        hook = {"url": there.url, "events": ["completed"]}
        view = ended(empty_office, OWN, empty_office.submit("add", x=1, webhook=hook))
        done.set()

    assert [each.status for each in view.tries] == [None, 204]
    assert "timed out" in str(view.tries[0].error)


def test_both_secrets_sign_while_one_replaces_the_other(office: Stage) -> None:
    with receiver() as there, endpoint(office, there.url) as (webhook, old):
        new = office.store.webhooks.rotate(webhook).secret
        assert new != old
        ended(office, webhook, office.submit("add", x=1))

        [request] = there.got
        assert read(request, old, new)["type"] == "job.completed"
        assert request.headers["webhook-signature"].count("v1,") == 2


def test_a_delivery_can_be_made_again_under_the_same_id(office: Stage) -> None:
    with receiver() as there, endpoint(office, there.url) as (webhook, secret):
        job_id = office.submit("add", x=1)
        first = ended(office, webhook, job_id)

        again = office.store.deliveries.redeliver(first.id)
        requests = there.after(2)
        view = ended(office, webhook, job_id)

        assert (again.id, again.state) == (first.id, "pending")
        assert len({request.headers["webhook-id"] for request in requests}) == 1
        assert [read(request, secret) for request in requests] == [read(requests[0])] * 2
        assert (view.state, view.made) == ("delivered", 2)


def test_a_delivery_whose_worker_is_killed_in_the_middle_is_made_after_all(empty_office: Stage) -> None:
    first = empty_office.worker("doomed", pool="threads")
    arrived, go_on = threading.Event(), threading.Event()

    def held() -> Answer:
        arrived.set()
        go_on.wait(60)
        return Answer()

    with receiver(held) as there:
        job_id = empty_office.submit("add", x=1, webhook={"url": there.url, "events": ["completed"]})
        assert arrived.wait(60)
        first.kill()
        go_on.set()
        empty_office.worker("heir")
        view = ended(empty_office, OWN, job_id)

    assert (view.state, view.made) == ("delivered", 1)
    assert {request.headers["webhook-id"] for request in there.got} == {view.message_id}
    assert len(there.got) == 2


def test_workers_that_name_queues_deliver_too_and_need_no_scheduler(empty_office: Stage) -> None:
    worker = empty_office.worker(queues=["some"])
    with receiver() as there:
        hook = {"url": there.url, "events": ["completed"]}
        job_id = empty_office.submit("add", queue="some", x=1, webhook=hook)

        assert ended(empty_office, OWN, job_id).state == "delivered"
        assert empty_office.wait_for_worker(worker).queues == ("some",)


def test_a_worker_that_excludes_the_internal_queue_leaves_it_alone(empty_office: Stage) -> None:
    empty_office.worker("picky", options=["-X", INTERNAL_QUEUE])
    with receiver() as there:
        job_id = empty_office.submit("add", x=1, webhook={"url": there.url, "events": ["completed"]})
        view = eventually(lambda: delivery_of(empty_office, OWN, job_id))
        assert view is not None
        empty_office.result(empty_office.submit("add", x=2))
        assert empty_office.store.queues.get(INTERNAL_QUEUE).counts["waiting"] == 1  # type: ignore[index]  # a text enum
        empty_office.worker("other", queues=["nothing"])

        assert ended(empty_office, OWN, job_id).state == "delivered"
