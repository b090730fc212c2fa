"""The jobs where they belong: in a worker, submitted to the store, talking to real servers."""

from __future__ import annotations

import io
import json
from contextlib import ExitStack
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pypdf import PdfReader

from backroom.store import Rate, Store, connect
from services.worker.support.artifacts import ArtifactStore
from services.worker.support.webpush import VapidKey
from tests.integration.jobs.backroom_worker import JobBoard, worker
from tests.integration.jobs.servers import Answer, Authority, HttpServer, MailServer, Request, http_server, mail_server
from tests.unit.jobs.browser import Browser, verify

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backroom.local.server import EmbeddedServer

KEY = VapidKey.generate()
PAGES = 5


class World:
    """A worker, and everything around it."""

    def __init__(self, store: Store, artifacts: ArtifactStore, mail: MailServer) -> None:
        self.store, self.artifacts, self.mail = store, artifacts, mail
        self.board = JobBoard(store)
        self.browser = Browser()
        #: What the push service answers next; then it takes every message.
        self.push_answers: list[Answer] = []
        self.push: HttpServer
        self.api: HttpServer
        #: Pages whose first request is to be refused for a while.
        self.busy: set[int] = set()

    def subscription(self) -> dict[str, Any]:
        keys = {"p256dh": self.browser.p256dh, "auth": self.browser.auth}
        return {"endpoint": f"{self.push.url}/push/abc", "keys": keys}

    def answer_push(self, request: Request) -> Answer:
        return self.push_answers.pop(0) if self.push_answers else Answer(201)

    def answer_page(self, request: Request) -> Answer:
        """/things?page=N has two things, and a link to the next page."""
        page = int(request.path.partition("page=")[2] or 1)
        if page in self.busy:
            self.busy.discard(page)
            return Answer(429, headers={"Retry-After": "1"})
        if request.headers.get("If-None-Match") == '"v1"':
            return Answer(304)
        headers = {"ETag": '"v1"'}
        if page < PAGES:
            headers["Link"] = f'</things?page={page + 1}>; rel="next"'
        return Answer(body=json.dumps([{"id": 2 * page - 1}, {"id": 2 * page}]).encode(), headers=headers)


@pytest.fixture(scope="module")
def world(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[World]:
    """One worker for the tests of this module; each test uses users and servers of its own."""
    folder = tmp_path_factory.mktemp("world")
    prefix = "jobs-in-a-worker"
    redis = connect(server.url, timeout=10)
    store = Store(redis, prefix=prefix)
    with ExitStack() as stack:
        stack.callback(redis.close)
        mail = stack.enter_context(mail_server())
        world = World(store, ArtifactStore(folder / "artifacts", max_bytes=10_000_000), mail)
        world.push = stack.enter_context(http_server(world.answer_push, tls=authority.context("127.0.0.1")))
        world.api = stack.enter_context(http_server(world.answer_page))
        environment = {
            "REDIS_URL": server.url,
            "KEY_PREFIX": prefix,
            "ARTIFACTS_DIR": str(folder / "artifacts"),
            "JOBS_ALLOWED_NETWORKS": "127.0.0.1",
            "JOBS_CA_FILE": str(authority.file),
            "SMTP_HOST": "127.0.0.1",
            "SMTP_PORT": str(mail.port),
            "SMTP_TLS": "none",
            "SMTP_FROM": "Backroom <room@example.com>",
            "VAPID_PRIVATE_KEY": KEY.private,
            "VAPID_SUBJECT": "mailto:ops@example.com",
            "SYNC_RATE_MAX": "1",
            "SYNC_RATE_SECONDS": "0.2",
        }
        settings = {f"BACKROOM_{name}": value for name, value in environment.items()}
        stack.enter_context(worker(store, folder, settings))
        yield world


@pytest.fixture(autouse=True)
def fresh(world: World) -> None:
    """Forget what the servers saw in the test before."""
    for server in (world.push, world.api):
        server.requests.clear()
    world.mail.mails.clear()
    world.mail.recipients.clear()


def test_a_worker_offers_every_job_of_the_stack(world: World) -> None:
    types = {job_type.name: job_type for job_type in world.store.job_types.list()}
    expected = {
        "heavy-task": "default",
        "purge-artifacts": "maintenance",
        "resize-image": "images",
        "send-email": "mail",
        "send-push": "push",
        "sync-api": "sync",
        "usage-report": "reports",
    }
    assert {name: types[name].queue for name in expected} == expected
    for name in expected:
        assert types[name].description
        assert types[name].schema["additionalProperties"] is False


def test_a_heavy_task_says_how_far_it_is_and_logs_its_start_and_end(world: World) -> None:
    job_id = world.board.submit("heavy-task", {"userId": "u-heavy", "payload": {"rounds": 20, "x": [1]}})
    result = world.board.result(job_id)
    assert (result["userId"], result["rounds"]) == ("u-heavy", 20)
    job = world.store.inspection.get(job_id)
    assert job.progress is not None
    assert job.progress["percent"] == 100
    words = [line.message for line in world.store.inspection.logs(job_id).logs]
    assert words[0] == "started: 20 rounds for user u-heavy"
    assert words[-1].startswith("finished: 20 rounds in ")


def test_a_usage_report_becomes_a_pdf_that_arrives_by_mail_and_is_announced_by_push(world: World) -> None:
    done = [world.board.submit("heavy-task", {"userId": "u-report", "payload": {"rounds": 1}}) for _ in range(3)]
    others = world.board.submit("heavy-task", {"userId": "u-other", "payload": {"rounds": 1}})
    for job_id in (*done, others):
        world.board.result(job_id)
    notify = {"email": "ann@example.com", "pushSubscription": world.subscription()}
    report = world.board.submit("usage-report", {"userId": "u-report", "notify": notify})
    result = world.board.result(report)
    assert result["jobs"] == 4  # the report itself is one of the user's jobs
    pdf = world.artifacts.read(result["artifact"])
    text = "".join(page.extract_text() for page in PdfReader(io.BytesIO(pdf)).pages)
    assert all(job_id in text for job_id in (*done, report))
    assert others not in text

    assert world.board.result(result["notified"]["send-email"])["accepted"] == ["ann@example.com"]
    ((_, recipients, message),) = world.mail.mails
    assert recipients == ["ann@example.com"]
    (attachment,) = message.iter_attachments()
    assert (attachment.get_filename(), attachment.get_content_type()) == (result["artifact"], "application/pdf")
    assert attachment.get_content() == pdf

    assert world.board.result(result["notified"]["send-push"])["status"] == 201
    (request,) = world.push.requests
    assert json.loads(world.browser.read(request.body))["artifact"] == result["artifact"]
    assert verify(request.headers["Authorization"])["aud"] == world.push.url


def test_a_report_that_runs_twice_tells_once(world: World) -> None:
    report = world.board.submit("usage-report", {"userId": "u-twice", "notify": {"email": "ann@example.com"}})
    told = world.board.result(report)["notified"]["send-email"]
    world.board.result(told)
    seen = world.store.events.last_id()
    world.store.actions.retry(report)
    again = world.board.result(report, after=seen)
    assert again["notified"]["send-email"] == told
    assert world.store.inspection.get(told).attempts_made == 1
    assert len(world.mail.mails) == 1


def test_a_month_without_jobs_makes_an_empty_report_and_tells_nobody_unasked(world: World) -> None:
    result = world.board.result(world.board.submit("usage-report", {"userId": "u-report", "month": "2001-01"}))
    assert (result["jobs"], result["notified"]) == (0, {})
    assert world.mail.mails == []


def test_a_mail_that_is_put_off_is_tried_again(world: World) -> None:
    world.mail.recipients["ann@example.com"] = ["450 greylisted", "250 OK"]
    data = {"to": ["ann@example.com"], "subject": "Hello", "text": "Hi"}
    job_id = world.board.submit("send-email", data, backoff=10)
    job = world.board.finished(job_id)
    assert (job.state, job.attempts_made) == ("completed", 2)
    assert [entry["outcome"] for entry in job.attempt_log or []] == ["failed", "completed"]
    assert len(world.mail.mails) == 1


def test_a_mail_that_is_refused_is_not(world: World) -> None:
    world.mail.recipients["ann@example.com"] = ["550 5.1.1 unknown"]
    job = world.board.finished(
        world.board.submit("send-email", {"to": ["ann@example.com"], "subject": "Hello", "text": "Hi"}, backoff=10)
    )
    assert (job.state, job.attempts_made) == ("failed", 1)
    assert job.error is not None
    assert "550 5.1.1 unknown" in job.error["message"]


def test_recipients_who_are_put_off_get_a_job_of_their_own(world: World) -> None:
    world.mail.recipients["bob@example.com"] = ["450 greylisted", "250 OK"]
    data = {"to": ["ann@example.com", "bob@example.com"], "subject": "Hello", "text": "Hi"}
    result = world.board.result(world.board.submit("send-email", data))
    assert result["accepted"] == ["ann@example.com"]
    follow_up = result["deferred"]["jobId"]
    assert world.store.inspection.get(follow_up).state == "delayed"
    world.store.actions.promote(follow_up)
    assert world.board.result(follow_up)["accepted"] == ["bob@example.com"]
    assert [recipients for _, recipients, _ in world.mail.mails] == [["ann@example.com"], ["bob@example.com"]]


def test_a_push_to_a_withdrawn_subscription_fails_at_once(world: World) -> None:
    world.push_answers = [Answer(410)]
    job = world.board.finished(world.board.submit("send-push", {"subscription": world.subscription(), "payload": "x"}))
    assert (job.state, job.attempts_made) == ("failed", 1)
    assert job.error is not None
    assert job.error["type"].endswith("SubscriptionGone")


def test_a_push_service_that_asks_for_patience_costs_no_attempt(world: World) -> None:
    world.push_answers = [Answer(429, headers={"Retry-After": "1"})]
    data = {"subscription": world.subscription(), "payload": "x"}
    job = world.board.finished(world.board.submit("send-push", data, attempts=1))
    assert job.state == "completed"
    assert [entry["outcome"] for entry in job.attempt_log or []] == ["retry-after", "completed"]


def pull(world: World, **data: Any) -> list[dict[str, Any]]:
    """The results of all jobs of a run."""
    results = [world.board.result(world.board.submit("sync-api", {"url": f"{world.api.url}/things", **data}))]
    while results[-1]["next"] is not None:
        results.append(world.board.result(results[-1]["next"]))
    return results


def test_all_pages_of_an_api_are_pulled_into_one_artifact(world: World) -> None:
    results = pull(world)
    assert [result["page"] for result in results] == [1, 2, 3, 4, 5]
    last = results[-1]
    assert (last["items"], last["truncated"], last["etag"]) == (10, False, '"v1"')
    lines = world.artifacts.read(last["artifact"]).splitlines()
    assert [json.loads(line)["id"] for line in lines] == list(range(1, 11))
    assert not [artifact for artifact in world.artifacts if ".page-" in artifact.name]


def test_the_api_is_never_asked_faster_than_the_queue_allows(world: World) -> None:
    world.store.queues.clear_limits("sync")
    pull(world)
    assert world.store.queues.get("sync").limits.rate == Rate(max=1, duration_ms=200)
    first, *_, last = [request.at for request in world.api.requests]
    # A request may be on its way for a while: the first may arrive late, and only that makes the span shorter.
    assert last - first >= timedelta(milliseconds=200 * (PAGES - 2))


def test_a_limit_of_the_operator_is_kept(world: World) -> None:
    world.store.queues.set_limits("sync", rate=Rate(max=100, duration_ms=1000), concurrency=1)
    pull(world, maxPages=1)
    limits = world.store.queues.get("sync").limits
    assert (limits.rate, limits.concurrency) == (Rate(max=100, duration_ms=1000), 1)


def test_an_api_that_asks_for_patience_is_given_it(world: World) -> None:
    world.busy = {2}
    results = pull(world)
    assert results[-1]["items"] == 10
    refused, again = [request.at for request in world.api.requests if request.path.endswith("page=2")]
    assert again - refused >= timedelta(seconds=1)


def test_an_api_that_has_not_changed_is_left_alone(world: World) -> None:
    (result,) = pull(world, etag='"v1"')
    assert (result["notModified"], result["items"], result["artifact"]) == (True, 0, None)
    assert len(world.api.requests) == 1


def test_a_run_stops_where_it_was_told_to(world: World) -> None:
    results = pull(world, maxPages=2)
    assert (len(results), results[-1]["items"], results[-1]["truncated"]) == (2, 4, True)


def test_an_address_that_jobs_may_not_call_fails_the_job_at_once(world: World) -> None:
    job = world.board.finished(world.board.submit("sync-api", {"url": f"http://127.0.0.2:{world.api.port}/things"}))
    assert (job.state, job.attempts_made) == ("failed", 1)
    assert job.error is not None
    assert job.error["type"].endswith("AddressRefused")


def test_a_page_that_leads_to_no_address_fails_the_job_at_once(world: World) -> None:
    astray = Answer(body=b"[]", headers={"Link": '<ftp://a.example/>; rel="next"'})
    with http_server(lambda _: astray) as server:
        job = world.board.finished(world.board.submit("sync-api", {"url": server.url}))
    assert (job.state, job.attempts_made) == ("failed", 1)
    assert job.error is not None
    assert job.error["type"].endswith("Unrecoverable")


def test_old_artifacts_are_removed(world: World) -> None:
    world.artifacts.write("kept.txt", b"1")
    result = world.board.result(world.board.submit("purge-artifacts", {}))
    assert (result["removed"], result["more"]) == (0, False)
    assert world.artifacts.exists("kept.txt")
