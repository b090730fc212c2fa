"""Applications from `create_app`: jobs are Celery tasks, and Celery tasks are jobs."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import pytest
from celery import chain, chord
from celery.exceptions import NotRegistered, TaskRevokedError
from kombu.exceptions import ContentDisallowed

from backroom import Unrecoverable
from backroom.engine import current, urls
from backroom.model.errors import InvalidInput
from backroom.model.job import new_job
from backroom.model.options import parse_options
from backroom.model.states import State
from backroom.settings import get_settings
from backroom.store import Store, connect
from tests.celery.diary import PATIENCE
from tests.celery.workers import Site, Worker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from backroom.local.server import EmbeddedServer

#: The database of these tests.
DATABASE = 210


@pytest.fixture(scope="module")
def own(celery_server: EmbeddedServer) -> Iterator[tuple[Site, ModuleType]]:
    """A site with the application in `tests.celery.ours`, and a worker that serves every queue but one."""
    redis_url = f"redis://127.0.0.1:{celery_server.port}/{DATABASE}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BACKROOM_REDIS_URL", redis_url)
        get_settings.cache_clear()
        ours = importlib.import_module("tests.celery.ours")
        client = connect(redis_url, timeout=10)
        environment = {"BACKROOM_REDIS_URL": redis_url, "DIARY_URL": celery_server.url}
        site = Site(urls.celery_url(redis_url), ours.app, Store(client), environment)
        site.worker = Worker("--pool", "threads", "-X", "closed", app="tests.celery.ours", environment=environment)
        try:
            site.wait_until_ready(site.worker)
            yield site, ours
        finally:
            site.worker.stop()
            ours.app.close()
            client.close()
            get_settings.cache_clear()


@pytest.fixture
def ours(own: tuple[Site, ModuleType]) -> ModuleType:
    """The module with the application, which is the current one."""
    own[1].app.set_current()
    return own[1]


@pytest.fixture
def store(own: tuple[Site, ModuleType]) -> Store:
    """The store of the application."""
    return own[0].store


def submit(store: Store, name: str, data: object, **options: Any) -> str:
    """Submit a job as the API does."""
    job = new_job(name=name, queue="default", data=data, options=parse_options(options))
    [submitted] = store.submission.submit([job])
    return submitted.id


def test_a_job_is_called_like_a_task(ours: ModuleType, store: Store) -> None:
    result = ours.pack.delay({"number": 7, "lines": ["a", "b"]})

    assert result.get(timeout=PATIENCE) == {"number": 7, "parcels": 2, "attempt": 1}
    assert store.inspection.get(result.id).queue == "warehouse"


def test_a_job_takes_a_model_and_refuses_what_does_not_fit(ours: ModuleType) -> None:
    assert ours.pack.delay(ours.Order(number=1)).get(timeout=PATIENCE)["parcels"] == 0
    with pytest.raises(InvalidInput):
        ours.pack.delay({"number": "many"})
    with pytest.raises(TypeError, match="exactly one argument"):
        ours.pack.delay(1, 2)


def test_a_job_retries_as_its_options_say(ours: ModuleType, store: Store) -> None:
    result = ours.ship.delay({"n": 1})

    assert result.get(timeout=PATIENCE) == {"n": 1, "shipped": True}
    assert store.inspection.get(result.id).attempts_made == 2


def test_a_jobs_own_exception_is_raised(ours: ModuleType) -> None:
    with pytest.raises(Unrecoverable, match="fell off the lorry"):
        ours.lose.delay({}).get(timeout=PATIENCE)


def test_jobs_and_tasks_in_one_canvas(ours: ModuleType) -> None:
    steps = chain(ours.pack.s({"number": 1, "lines": ["x"]}), ours.ship.s())
    both = chord([ours.pack.s({"number": 2}), ours.invoice.si(3)], ours.collect.s())

    assert steps.delay().get(timeout=PATIENCE) == {"number": 1, "parcels": 1, "attempt": 1, "shipped": True}
    assert both.delay().get(timeout=PATIENCE) == {
        "parts": [{"number": 2, "parcels": 0, "attempt": 1}, "3 EUR"],
    }


def test_a_worker_serves_queues_that_nobody_has_named_before(ours: ModuleType) -> None:
    assert ours.invoice.apply_async((1,), queue="brand-new").get(timeout=PATIENCE) == "1 EUR"


def test_a_worker_leaves_out_an_excluded_queue_that_it_did_not_know(ours: ModuleType) -> None:
    closed = ours.invoice.apply_async((1,), queue="closed")
    assert ours.invoice.apply_async((2,), queue="another").get(timeout=PATIENCE) == "2 EUR"

    assert closed.state == "PENDING"


@pytest.mark.parametrize(
    ("data", "expected"),
    [({"number": 1}, "1 EUR"), ({"args": [2]}, "2 EUR"), ({"args": [3], "kwargs": {"currency": "CHF"}}, "3 CHF")],
)
def test_a_plain_task_is_submitted_over_http(ours: ModuleType, store: Store, data: object, expected: str) -> None:
    job_id = submit(store, "invoice", data)

    assert ours.app.AsyncResult(job_id).get(timeout=PATIENCE) == expected


def test_a_plain_task_is_tried_as_often_as_its_job_says(ours: ModuleType, store: Store) -> None:
    job_id = submit(store, "moody", {"tries": 3}, attempts=3)

    assert ours.app.AsyncResult(job_id).get(timeout=PATIENCE) == 3


def test_data_that_is_no_object_fails_a_plain_task(ours: ModuleType, store: Store) -> None:
    job_id = submit(store, "invoice", ["not", "an", "object"])

    with pytest.raises(TypeError, match="must be an object"):
        ours.app.AsyncResult(job_id).get(timeout=PATIENCE)


def test_pickle_is_not_accepted(ours: ModuleType) -> None:
    with pytest.raises(ContentDisallowed):
        ours.invoice.apply_async((1,), serializer="pickle").get(timeout=PATIENCE)


def test_a_task_that_no_worker_knows_waits_for_one_that_does(ours: ModuleType, store: Store) -> None:
    result = ours.app.send_task("from-tomorrow")
    while (job := store.inspection.get(result.id, attempts=True)).state != State.DELAYED:
        store.events.read("$", block_ms=20)

    assert job.attempt_log is not None
    assert job.attempt_log[-1]["error"]["type"] == NotRegistered.__name__
    assert "no job type 'from-tomorrow'" in job.attempt_log[-1]["error"]["message"]
    result.revoke()
    with pytest.raises(TaskRevokedError):
        result.get(timeout=PATIENCE)


def test_the_defaults_of_a_job_travel_with_it(ours: ModuleType, store: Store) -> None:
    options = current.options_of("ship")
    assert options is not None

    result = ours.ship.apply_async(({"n": 2},), countdown=600)

    job = store.inspection.get(result.id)
    assert (job.attempts, job.options["backoff"]) == (3, {"type": "fixed", "delay": 0, "jitter": 0})
    result.revoke()
