"""Changing a job that has not started, by somebody who has read what it is now."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import backroom.store
from backroom.model.errors import NotFound, Stale, WrongState
from backroom.store import JobQuery
from backroom.store.records import VERSIONED
from tests.unit.store.hand import LONG, Worker, a_job_that_is, order, state, submit

if TYPE_CHECKING:
    from backroom.model.job import Job
    from backroom.store import Store


def read(store: Store, job_id: str) -> Job:
    return store.inspection.get(job_id)


def change(store: Store, job_id: str, **fields: Any) -> Job:
    """Change a job as it is now. Returns it as it is then."""
    store.actions.update(job_id, read(store, job_id).version, **fields)
    return read(store, job_id)


def listed(store: Store, **query: Any) -> list[str]:
    return [job.id for job in store.listing.page(JobQuery(**query)).jobs]


def test_python_and_lua_make_a_version_of_the_same_fields() -> None:
    source = (Path(backroom.store.__file__).parent / "scripts/update.lua").read_text()
    call = re.search(r"local record = redis.call\('HMGET', key, (.*?)\)", source, re.DOTALL)

    assert call is not None
    assert tuple(re.findall(r"'(\w+)'", call[1])) == VERSIONED
    assert f"for at = 1, {len(VERSIONED)} do" in source


def test_new_data_is_what_the_worker_gets(store: Store, worker: Worker) -> None:
    job_id = submit(store, data={"n": 1})

    job = change(store, job_id, data='{"n":2}')

    assert job.data == {"n": 2}
    assert worker.claim_one().data == '{"n":2}'


def test_new_data_moves_the_job_to_its_new_user(store: Store) -> None:
    job_id = submit(store, data={"userId": "ann"})

    change(store, job_id, data='{"userId":"bob"}', user_id="bob")
    assert (listed(store, user_ids=["ann"]), listed(store, user_ids=["bob"])) == ([], [job_id])

    change(store, job_id, data="{}")
    assert listed(store, user_ids=["bob"]) == []


def test_a_new_priority_is_a_new_place_behind_its_equals(store: Store, worker: Worker) -> None:
    moved = submit(store, "moved", priority=5)
    submit(store, "first", priority=1)
    submit(store, "last", priority=2)

    assert change(store, moved, priority=1).priority == 1

    assert order(worker.claim(9)) == ["first", "moved", "last"]


def test_a_new_priority_with_lifo_goes_before_its_equals(store: Store, worker: Worker) -> None:
    moved = submit(store, "moved", priority=5, lifo=True)
    submit(store, "first", priority=1)

    change(store, moved, priority=1)

    assert order(worker.claim(9)) == ["moved", "first"]


def test_a_delayed_job_keeps_its_due_time_and_takes_its_new_priority_along(store: Store, worker: Worker) -> None:
    delayed = submit(store, "delayed", delay=LONG, priority=9)
    before = read(store, delayed).run_at
    submit(store, "other", priority=5)

    assert change(store, delayed, priority=1).run_at == before

    store.actions.promote(delayed)
    assert order(worker.claim(9)) == ["delayed", "other"]


def test_new_tags_replace_the_old_ones(store: Store) -> None:
    job_id = submit(store, tags=["a", "b"])

    assert change(store, job_id, tags=["b", "c"]).tags == ("b", "c")
    assert [listed(store, tags=[tag]) for tag in "abc"] == [[], [job_id], [job_id]]

    assert change(store, job_id, tags=[]).tags == ()
    assert listed(store, tags=["a", "b", "c"]) == []


def test_what_is_not_named_stays(store: Store) -> None:
    job_id = submit(store, data={"userId": "ann"}, tags=["a"], priority=3)

    job = change(store, job_id, priority=4)

    assert (job.data, job.tags) == ({"userId": "ann"}, ("a",))
    assert listed(store, user_ids=["ann"], tags=["a"]) == [job_id]


def test_every_change_has_a_new_version(store: Store, worker: Worker) -> None:
    job_id = submit(store)
    versions = [read(store, job_id).version]
    versions.append(change(store, job_id, data='{"n":2}').version)
    versions.append(change(store, job_id, tags=["x"]).version)
    versions.append(change(store, job_id, priority=2).version)
    claimed = worker.claim_one()
    versions.append(read(store, job_id).version)
    store.execution.report(job_id, claimed.token, progress='{"percent":1}')
    versions.append(read(store, job_id).version)
    worker.end(claimed)
    versions.append(read(store, job_id).version)

    assert len(set(versions)) == len(versions)


def test_reading_does_not_change_a_version(store: Store) -> None:
    job_id = submit(store, data={"text": "é\u2028"})

    assert read(store, job_id).version == read(store, job_id).version


def test_a_change_of_something_read_too_long_ago_is_refused(store: Store) -> None:
    job_id = submit(store, data={"n": 1})
    version = read(store, job_id).version
    change(store, job_id, priority=1)

    with pytest.raises(Stale):
        store.actions.update(job_id, version, data='{"n":2}')

    assert read(store, job_id).data == {"n": 1}


@pytest.mark.parametrize("where", ["active", "completed", "failed", "cancelled", "expired"])
def test_a_job_that_runs_or_has_ended_cannot_be_changed(store: Store, where: str) -> None:
    job_id = a_job_that_is(store, where)

    with pytest.raises(WrongState, match="cannot be changed"):
        change(store, job_id, priority=1)

    assert state(store, job_id) == where


def test_an_unknown_job_cannot_be_changed(store: Store) -> None:
    with pytest.raises(NotFound):
        store.actions.update("missing", "version", priority=1)


def test_a_job_removed_after_a_change_leaves_nothing(store: Store) -> None:
    job_id = submit(store, data={"userId": "ann"}, tags=["a"])
    change(store, job_id, data='{"userId":"bob"}', user_id="bob", tags=["b"], priority=2)

    store.actions.remove(job_id)

    left = store.redis.keys(f"{store.keys.prefix}:*")
    assert not [key for key in left if ":by:" in key or ":job:" in key]
