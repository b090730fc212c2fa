"""Which worker runs what: ``-Q``, ``-X``, routes, exchanges, broadcasts, and queues of single workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from kombu.exceptions import InconsistencyError

from tests.celery import tasks
from tests.celery.diary import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from tests.celery.diary import Diary
    from tests.celery.workers import Site

QUICK = ("--pool", "threads", "--concurrency", "2", "--without-mingle", "--without-gossip")


def test_a_worker_serves_the_queues_of_the_configuration(on_threads: Site) -> None:
    assert tasks.add.apply_async((1, 1), queue="celery").get(timeout=PATIENCE) == 2
    assert tasks.add.apply_async((1, 1), queue="pictures").get(timeout=PATIENCE) == 2
    other = tasks.add.apply_async((1, 1), queue="another-workers-queue")
    assert tasks.add.delay(2, 2).get(timeout=PATIENCE) == 4
    assert other.state == "PENDING"


def test_a_worker_serves_only_the_queues_it_was_given(unserved: Site) -> None:
    with unserved.another_worker(*QUICK, "-Q", "reports,mail"):
        first, default = tasks.add.apply_async((1, 1), queue="reports"), tasks.add.delay(2, 2)
        second = tasks.add.apply_async((3, 3), queue="mail")

        assert (first.get(timeout=PATIENCE), second.get(timeout=PATIENCE)) == (2, 6)
        assert default.state == "PENDING"


def test_a_worker_leaves_out_excluded_queues(unserved: Site) -> None:
    with unserved.another_worker(*QUICK, "-X", "celery"):
        excluded, other = tasks.add.delay(1, 1), tasks.add.apply_async((2, 2), queue="pictures")

        assert other.get(timeout=PATIENCE) == 4
        assert excluded.state == "PENDING"


def test_a_task_goes_by_its_route(on_threads: Site) -> None:
    result = tasks.routed.delay()

    assert result.get(timeout=PATIENCE) == "went by its route"
    assert on_threads.store.inspection.get(result.id).queue == "pictures"


def test_topics_bring_tasks_to_their_queue(on_threads: Site) -> None:
    result = tasks.add.apply_async((1, 1), exchange="media", routing_key="media.picture.large")

    assert on_threads.store.inspection.get(result.id).queue == "pictures"
    assert result.get(timeout=PATIENCE) == 2


def test_a_task_that_no_queue_would_take_is_refused(on_threads: Site) -> None:
    with pytest.raises(InconsistencyError, match=r"no queue is bound to the exchange 'media'.*media\.sound"):
        tasks.add.apply_async((1, 1), exchange="media", routing_key="media.sound")


@pytest.mark.parametrize("queue", ["two|three", "tab\tbed", "orders:failed", "x" * 257])
def test_names_that_cannot_be_kept_are_refused(unserved: Site, queue: str) -> None:
    with pytest.raises(ValueError, match="the name of a queue"):
        unserved.app.send_task("add", (1, 1), queue=queue)


def test_names_may_be_odd(unserved: Site) -> None:
    queue = "Größe: XL/täglich @ 5%"
    result = unserved.app.send_task("Größe messen!", queue=queue)

    job = unserved.store.inspection.get(result.id)

    assert (job.name, job.queue) == ("Größe messen!", queue)
    with unserved.another_worker(*QUICK, "-Q", queue):
        assert tasks.add.apply_async((1, 1), queue=queue).get(timeout=PATIENCE) == 2


def test_a_broadcast_is_run_by_every_worker(
    open_site: Callable[..., AbstractContextManager[Site]], diary: Diary
) -> None:
    with open_site(*QUICK, "--hostname", "one@here") as site, site.another_worker(*QUICK, "--hostname", "two@here"):
        site.app.set_current()

        tasks.who.apply_async(("everyone heard",), queue="everyone")

        heard = sorted(diary.next("everyone heard") for _ in range(2))
        assert heard == [["one@here"], ["two@here"]]


def test_each_worker_may_have_a_queue_of_its_own(
    open_site: Callable[..., AbstractContextManager[Site]], diary: Diary
) -> None:
    from celery.utils.nodenames import worker_direct  # noqa: PLC0415 - what this test is about

    with open_site() as site:
        site.app.set_current()
        direct = {"CELERY_TEST_DIRECT": "1"}
        with (
            site.another_worker(*QUICK, "--hostname", "one@here", **direct),
            site.another_worker(*QUICK, "--hostname", "two@here", **direct),
        ):
            for _ in range(3):
                tasks.who.apply_async(("direct",), queue=worker_direct("two@here"))
                assert diary.next("direct") == ["two@here"]
            assert tasks.add.delay(1, 1).get(timeout=PATIENCE) == 2


def test_purging_removes_what_waits(unserved: Site) -> None:
    waiting = [tasks.add.delay(n, n) for n in range(3)] + [tasks.add.apply_async((1, 1), countdown=60)]
    other = tasks.add.apply_async((1, 1), queue="elsewhere")

    assert unserved.app.control.purge() == 4

    assert [result.state for result in waiting] == ["PENDING"] * 4
    assert unserved.store.inspection.states([*(result.id for result in waiting), other.id])[:4] == [None] * 4
    assert unserved.store.inspection.get(other.id).queue == "elsewhere"


def test_a_retry_may_go_to_another_queue(on_threads: Site) -> None:
    result = tasks.move.apply_async(("pictures",), queue="celery")

    assert result.get(timeout=PATIENCE) == "pictures"
    assert on_threads.store.inspection.get(result.id).queue == "pictures"
