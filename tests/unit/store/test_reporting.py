"""What a running job says: progress, log lines, and what its next try is to be given."""

from __future__ import annotations

import json

import pytest

from backroom.model.errors import NotFound
from backroom.settings import Settings
from backroom.store import JobQuery, Store
from tests.unit.store.hand import Worker, events, run, submit


def line(message: str, *, attempt: int = 1) -> str:
    return json.dumps(
        {"at": 1_700_000_000_123, "level": "INFO", "logger": "jobs", "message": message, "attempt": attempt}
    )


def messages(store: Store, job_id: str, *, after: int = 0, limit: int = 100) -> list[str]:
    return [each.message for each in store.inspection.logs(job_id, after=after, limit=limit).logs]


def test_progress_is_shown_and_announced(store: Store, worker: Worker) -> None:
    job_id = submit(store)
    claimed = worker.claim_one()

    assert store.execution.report(job_id, claimed.token, progress='{"percent":40,"message":"half"}') == "renewed"

    assert store.inspection.get(job_id).progress == {"percent": 40, "message": "half"}
    assert store.events.read("0-0")[-1].fields == {"progress": '{"percent":40,"message":"half"}'}


def test_progress_may_come_with_the_outcome(store: Store, worker: Worker) -> None:
    job_id = submit(store)

    worker.end(worker.claim_one(), progress='{"percent":100}')

    assert store.inspection.get(job_id).progress == {"percent": 100}


def test_log_lines_are_numbered_and_kept_in_their_order(store: Store, worker: Worker) -> None:
    job_id = submit(store)
    claimed = worker.claim_one()
    store.execution.report(job_id, claimed.token, logs=[line("one"), line("two")])
    worker.end(claimed, logs=[line("three")])

    page = store.inspection.logs(job_id)

    assert [(each.seq, each.message) for each in page.logs] == [(1, "one"), (2, "two"), (3, "three")]
    assert page.next is None
    assert page.logs[0].to_dict() == {
        "seq": 1,
        "at": "2023-11-14T22:13:20.123Z",
        "level": "INFO",
        "logger": "jobs",
        "message": "one",
        "attempt": 1,
    }


def test_a_log_is_read_page_by_page(store: Store, worker: Worker) -> None:
    job_id = submit(store)
    claimed = worker.claim_one()
    store.execution.report(job_id, claimed.token, logs=[line(str(number)) for number in range(1, 8)])

    first = store.inspection.logs(job_id, limit=3)
    second = store.inspection.logs(job_id, after=first.next or 0, limit=3)
    third = store.inspection.logs(job_id, after=second.next or 0, limit=3)

    assert [[each.message for each in page.logs] for page in (first, second, third)] == [
        ["1", "2", "3"],
        ["4", "5", "6"],
        ["7"],
    ]
    assert (first.next, second.next, third.next) == (3, 6, None)
    assert messages(store, job_id, after=7) == []
    assert messages(store, job_id, after=99) == []


def test_an_old_log_is_trimmed_and_keeps_its_numbers(store: Store) -> None:
    short = Store(store.redis, prefix=store.keys.prefix, settings=Settings(max_log_lines=5))
    job_id = submit(short)
    worker = Worker(short)
    claimed = worker.claim_one()
    for number in range(1, 13):
        short.execution.report(job_id, claimed.token, logs=[line(str(number))])

    page = short.inspection.logs(job_id)

    assert [(each.seq, each.message) for each in page.logs] == [(number, str(number)) for number in range(8, 13)]
    assert messages(short, job_id, after=10) == ["11", "12"]


def test_the_log_of_a_job_without_lines_is_empty(store: Store) -> None:
    assert store.inspection.logs(run(store)).logs == []


def test_the_log_of_an_unknown_job_is_not_found(store: Store) -> None:
    with pytest.raises(NotFound):
        store.inspection.logs("missing")


def test_a_report_says_whether_to_stop(store: Store, worker: Worker) -> None:
    job_id = submit(store)
    claimed = worker.claim_one()
    store.actions.cancel(job_id)

    assert store.execution.report(job_id, claimed.token, logs=[line("still here")]) == "cancel"

    assert messages(store, job_id) == ["still here"]


def test_a_report_of_a_worker_that_lost_the_job_is_refused(store: Store, worker: Worker) -> None:
    job_id = submit(store)
    claimed = worker.claim_one()
    worker.end(claimed)
    before = events(store)

    answer = store.execution.report(job_id, claimed.token, progress='{"percent":1}', logs=[line("late")])

    assert answer == "lost"
    assert store.inspection.get(job_id).progress is None
    assert messages(store, job_id) == []
    assert events(store) == before


def test_the_log_goes_on_over_tries(store: Store, worker: Worker) -> None:
    job_id = submit(store, attempts=2)
    worker.end(worker.claim_one(), "retry", logs=[line("first")])

    worker.end(worker.claim_one(), logs=[line("second", attempt=2)])

    assert [(each.message, each.attempt) for each in store.inspection.logs(job_id).logs] == [
        ("first", 1),
        ("second", 2),
    ]


def test_what_was_staged_is_given_to_the_next_try(store: Store, worker: Worker) -> None:
    submit(store, "before", data={"n": 1}, attempts=2)
    staged = json.dumps({"name": "after", "data": '{"n":2}', "celery": '{"c":1}'})

    worker.end(worker.claim_one(), "retry", staged=staged)

    again = worker.claim_one()
    assert (again.name, again.data, again.celery) == ("after", '{"n":2}', '{"c":1}')


def test_a_job_that_became_another_task_is_found_by_its_new_name(store: Store, worker: Worker) -> None:
    job_id = submit(store, "before", attempts=2)
    worker.end(worker.claim_one(), "retry", staged=json.dumps({"name": "after", "data": "{}", "celery": "{}"}))

    found = {name: [job.id for job in store.listing.page(JobQuery(names=[name])).jobs] for name in ("before", "after")}

    assert found == {"before": [], "after": [job_id]}
