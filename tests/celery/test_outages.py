"""The job store goes away and comes back while an application works."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from kombu.exceptions import OperationalError

from backroom.local.server import EmbeddedServer
from backroom.store import Store, connect
from tests.celery import tasks
from tests.celery.diary import PATIENCE
from tests.celery.plain import make_app
from tests.celery.workers import Site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.celery.diary import Diary


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    """A server that writes everything down before it answers."""
    with EmbeddedServer(tmp_path, fsync="always") as running:
        yield running


@pytest.fixture
def fragile(server: EmbeddedServer, celery_server: EmbeddedServer) -> Iterator[Site]:
    """A site on that server; the diary is on another."""
    url = f"backroom://127.0.0.1:{server.port}/0"
    app = make_app(url)
    app.set_current()
    client = connect(server.url, timeout=10)
    yield Site(url, app, Store(client), {"CELERY_TEST_URL": url, "DIARY_URL": celery_server.url})
    app.close()
    client.close()


def test_publishing_without_a_store_fails_after_its_retries(fragile: Site, server: EmbeddedServer) -> None:
    assert tasks.add.delay(1, 1).state == "PENDING"
    server.kill()

    with pytest.raises(OperationalError, match="The job store does not answer"):
        tasks.add.delay(1, 1)
    with pytest.raises(OperationalError):
        tasks.add.apply_async((1, 1), retry=False)

    server.start()
    assert tasks.add.delay(2, 2).state == "PENDING"
    assert len(fragile.store.redis.zrange(fragile.store.keys.state("celery", "waiting"), 0, -1)) == 2


def test_publishing_to_a_frozen_store_fails_and_does_not_hang(fragile: Site, server: EmbeddedServer) -> None:
    server.pause()
    try:
        with pytest.raises(OperationalError):
            tasks.add.apply_async((1, 1), retry=False)
    finally:
        server.resume()


def test_publishing_is_tried_again_until_the_store_is_back(fragile: Site, server: EmbeddedServer) -> None:
    add = fragile.app.tasks["add"]
    server.kill()
    refused = threading.Event()
    patient = {"max_retries": 300, "interval_start": 0.1, "interval_step": 0, "interval_max": 0.1}

    with ThreadPoolExecutor() as others:
        policy = {**patient, "errback": lambda *_: refused.set()}
        published = others.submit(add.apply_async, (1, 1), retry_policy=policy)
        assert refused.wait(PATIENCE)
        server.start()
        result = published.result(PATIENCE)

    assert fragile.store.inspection.get(result.id).state == "waiting"


def test_no_task_is_lost_that_was_published(fragile: Site, server: EmbeddedServer) -> None:
    add = fragile.app.tasks["add"]
    published: list[str] = []
    stop = threading.Event()

    def publish() -> None:
        while not stop.is_set():
            try:
                published.append(add.apply_async((1, 1), retry=False).id)
            except OperationalError:
                stop.wait(0.01)

    with ThreadPoolExecutor() as others:
        publisher = others.submit(publish)
        for _ in range(3):
            known = len(published)
            while len(published) < known + 20:
                assert publisher.running()
                stop.wait(0.01)
            server.kill()
            server.start()
        stop.set()
        publisher.result(PATIENCE)

    assert len(published) >= 60
    assert None not in fragile.store.inspection.states(published)


def test_waiting_for_a_result_outlives_an_outage(fragile: Site, server: EmbeddedServer, diary: Diary) -> None:
    with fragile.another_worker("--pool", "threads", "--without-mingle"), ThreadPoolExecutor() as others:
        result = tasks.wait.delay("outage")
        diary.next(result.id)
        waiting = others.submit(result.get, timeout=PATIENCE)

        server.kill()
        server.start()
        diary.note("outage", "still there")

        assert waiting.result(PATIENCE) == "still there"
        while not fragile.app.control.ping(timeout=1):
            pass  # the worker listens again within a second; with a limit, a late answer would be taken for the next


def test_a_retry_outlives_an_outage(fragile: Site, server: EmbeddedServer, diary: Diary) -> None:
    with fragile.another_worker("--pool", "threads", "--without-mingle"):
        result = tasks.retry_when_told.delay("now")
        diary.next(result.id)
        server.kill()

        diary.note("now", "retry")

        assert diary.next(result.id) == ["retrying"]
        assert diary.next(result.id) == ["asked for another try"]
        server.start()
        assert result.get(timeout=PATIENCE) == 1
