"""Revoking tasks: before they run, while they run, and while no worker is there to hear of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from celery import chord, group
from celery.exceptions import ChordError, TaskRevokedError

from backroom.model.states import State
from tests.celery import tasks
from tests.celery.diary import PATIENCE

if TYPE_CHECKING:
    from tests.celery.diary import Diary
    from tests.celery.workers import Site


def test_a_task_revoked_while_no_worker_is_up_never_runs(unserved: Site, diary: Diary) -> None:
    revoked, kept = tasks.write.delay("revoked early", "ran"), tasks.write.delay("revoked early", "the other")

    revoked.revoke()

    assert revoked.state == "REVOKED"
    assert unserved.store.inspection.get(revoked.id).state == State.CANCELLED
    with pytest.raises(TaskRevokedError):
        revoked.get(timeout=PATIENCE)
    with unserved.another_worker("--pool", "threads", "--without-mingle"):
        assert kept.get(timeout=PATIENCE) == "revoked early"
    assert diary.lines("revoked early") == [["the other"]]


def test_a_delayed_task_and_a_whole_group_are_revoked(unserved: Site) -> None:
    later = tasks.add.apply_async((1, 1), countdown=3600)
    several = group(tasks.add.s(n, n) for n in range(3)).delay()

    later.revoke()
    several.revoke()

    assert [result.state for result in (later, *several.results)] == ["REVOKED"] * 4
    states = unserved.store.inspection.states([result.id for result in several.results])
    assert states == [State.CANCELLED] * 3


def test_several_ids_are_revoked_at_once(unserved: Site) -> None:
    results = [tasks.add.delay(n, n) for n in range(3)]

    unserved.app.control.revoke([result.id for result in results[:2]])

    assert [result.state for result in results] == ["REVOKED", "REVOKED", "PENDING"]


def test_revoking_a_running_task_lets_it_finish(site: Site, diary: Diary) -> None:
    result = tasks.wait.delay(page := f"finish {site.url}")
    diary.next(result.id)

    assert site.app.control.revoke(result.id, reply=True, limit=1, timeout=PATIENCE)

    diary.note(page, "finished")
    assert result.get(timeout=PATIENCE) == "finished"


def test_terminating_a_running_task_stops_it(on_prefork: Site, diary: Diary) -> None:
    result = tasks.hang.apply_async(link_error=tasks.note_failed_id.s())
    _, pid = diary.next(result.id)

    result.revoke(terminate=True)

    with pytest.raises(TaskRevokedError):
        result.get(timeout=PATIENCE)
    assert result.state == "REVOKED"
    job = on_prefork.store.inspection.get(result.id)
    assert (job.state, job.stalled) == (State.CANCELLED, 0)
    assert tasks.told.delay().get(timeout=PATIENCE)["pid"] is not None
    assert pid > 0


def test_terminating_with_another_signal(on_prefork: Site, diary: Diary) -> None:
    result = tasks.hang.delay()
    diary.next(result.id)

    on_prefork.app.control.terminate(result.id, signal="SIGKILL")

    with pytest.raises(TaskRevokedError):
        result.get(timeout=PATIENCE)


def test_a_waiting_task_is_terminated_without_running(unserved: Site) -> None:
    result = tasks.hang.delay()

    result.revoke(terminate=True)

    assert result.state == "REVOKED"


def test_revoking_a_finished_task_changes_nothing(on_threads: Site) -> None:
    result = tasks.add.delay(1, 1)
    assert result.get(timeout=PATIENCE) == 2

    result.revoke(terminate=True)

    assert on_threads.app.AsyncResult(result.id).state == "SUCCESS"


def test_a_revoked_task_that_retries_is_not_run_again(on_threads: Site, diary: Diary) -> None:
    result = tasks.again.delay(1, countdown=3600)
    while result.state != "RETRY":
        on_threads.store.events.read("$", block_ms=20)

    result.revoke()

    with pytest.raises(TaskRevokedError):
        result.get(timeout=PATIENCE)


def test_revoking_by_stamps(on_threads: Site, diary: Diary) -> None:
    stamped = tasks.write.s("stamped", "ran")
    stamped.stamp(customer="revoked")  # by this worker, from now on
    headers = {"customer": ["revoked"]}
    assert on_threads.app.control.revoke_by_stamped_headers(headers, reply=True, limit=1, timeout=PATIENCE)

    result = stamped.apply_async()

    with pytest.raises(TaskRevokedError):
        result.get(timeout=PATIENCE)
    assert diary.lines("stamped") == []


def test_a_chord_fails_when_one_of_its_header_is_revoked(on_threads: Site) -> None:
    result = chord([tasks.add.s(1, 1), tasks.add.s(2, 2).set(countdown=3600)])(tasks.total.s())

    result.parent.results[1].revoke()

    with pytest.raises(ChordError):
        on_threads.app.AsyncResult(result.id).get(timeout=PATIENCE)


def test_a_chord_fails_when_one_of_its_header_expires(on_threads: Site) -> None:
    late = tasks.add.s(2, 2).set(expires=0.05, queue="nobody-serves-this")
    result = chord([tasks.add.s(1, 1), late])(tasks.total.s())

    with pytest.raises(ChordError):
        on_threads.app.AsyncResult(result.id).get(timeout=PATIENCE)


def test_the_rest_of_a_chain_is_revoked_with_its_first_task(on_threads: Site) -> None:
    result = (tasks.add.s(1, 1).set(countdown=3600) | tasks.same.s() | tasks.same.s()).delay()

    result.parent.parent.revoke()

    with pytest.raises(TaskRevokedError):
        on_threads.app.AsyncResult(result.id).get(timeout=PATIENCE)
