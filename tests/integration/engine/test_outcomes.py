"""How jobs end: results, errors, retries, and what the store says of them."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from backroom.model.job import new_job
from backroom.model.states import State
from tests.integration.engine.stage import eventually

if TYPE_CHECKING:
    from tests.integration.engine.stage import Stage


def gaps(times: list[float]) -> list[float]:
    return [later - earlier for earlier, later in pairwise(times)]


def test_a_job_ends_with_its_result(stage: Stage) -> None:
    job = stage.finished(stage.submit("echo", text="grüße", deep=[{"a": None}]))

    assert job.state is State.COMPLETED
    assert job.result == {"text": "grüße", "deep": [{"a": None}]}
    assert (job.attempts_made, job.stalled, job.error, job.state_reason) == (1, 0, None, None)
    assert job.worker is not None
    assert job.worker.startswith("worker-1@")
    assert job.started_at is not None
    assert job.finished_at is not None
    assert job.created_at <= job.started_at <= job.finished_at


def test_data_becomes_an_instance_of_the_model(stage: Stage) -> None:
    assert stage.result(stage.submit("ordered", number=7)) == {"number": 7, "type": "Order"}


def test_what_the_model_refuses_fails_without_another_try(stage: Stage) -> None:
    job = stage.finished(stage.submit("ordered", number=0))

    assert (job.state, job.attempts_made) == (State.FAILED, 1)
    assert job.error is not None
    assert job.error["type"] == "InvalidInput"
    assert "/data/number" in job.error["message"]
    assert stage.noted(job.id) == []


def test_a_failing_job_is_tried_as_often_as_it_may(stage: Stage) -> None:
    job = stage.finished(stage.submit("flaky", fails=9, attempts=3))

    assert (job.state, job.attempts_made) == (State.FAILED, 3)
    assert len(stage.noted(job.id)) == 3
    assert job.error is not None
    assert (job.error["type"], job.error["message"], job.error["attempt"]) == ("Refusal", "try 3", 3)
    assert "raise Refusal" in job.error["traceback"]
    assert "celery/app/trace.py" not in job.error["traceback"]
    assert [entry["attempt"] for entry in job.attempt_log] == [1, 2, 3]
    assert {entry["outcome"] for entry in job.attempt_log} == {"failed"}
    assert len(stage.happened(job.id, "retries-exhausted")) == 1


def test_no_error_is_left_once_a_retry_has_succeeded(stage: Stage) -> None:
    job = stage.finished(stage.submit("flaky", fails=2, attempts=3))

    assert (job.state, job.result, job.attempts_made, job.error) == (State.COMPLETED, "at last", 3, None)
    assert [entry["outcome"] for entry in job.attempt_log] == ["failed", "failed", "completed"]


def test_without_a_backoff_the_next_try_comes_at_once(stage: Stage) -> None:
    job_id = stage.submit("flaky", fails=1, attempts=2)

    stage.result(job_id)

    assert stage.happened(job_id, "delayed") == []


def test_a_fixed_backoff_waits_the_same_before_each_try(stage: Stage) -> None:
    job_id = stage.submit("flaky", fails=9, attempts=3, backoff={"type": "fixed", "delay": 300})

    stage.finished(job_id)

    assert all(gap >= 0.3 for gap in gaps(stage.noted(job_id)))
    assert len(stage.happened(job_id, "delayed")) == 2


def test_an_exponential_backoff_doubles(stage: Stage) -> None:
    job_id = stage.submit("flaky", fails=9, attempts=4, backoff={"type": "exponential", "delay": 100})

    stage.finished(job_id)

    first, second, third = gaps(stage.noted(job_id))
    assert first >= 0.1
    assert second >= 0.2
    assert third >= 0.4


def test_a_function_may_be_the_backoff(stage: Stage) -> None:
    job = stage.finished(stage.submit("stepped"))

    first, _, third = gaps(stage.noted(job.id))
    assert first >= 0.2
    assert third >= 0.1
    assert job.attempts_made == 4
    assert len(stage.happened(job.id, "delayed")) == 2


def test_a_backoff_of_minus_one_fails_the_job_now(stage: Stage) -> None:
    job = stage.finished(stage.submit("picky"))

    assert (job.state, job.attempts_made) == (State.FAILED, 2)


def test_an_unrecoverable_error_ends_all_tries(stage: Stage) -> None:
    job = stage.finished(stage.submit("doomed"))

    assert (job.state, job.attempts_made) == (State.FAILED, 1)
    assert job.error is not None
    assert (job.error["type"], job.error["message"]) == ("Unrecoverable", "there is no hope")


def test_retry_after_spends_no_attempt(stage: Stage) -> None:
    job = stage.finished(stage.submit("later", times=3, seconds=0.1))

    assert (job.state, job.result, job.attempts_made, job.error) == (State.COMPLETED, "attempt 1", 1, None)
    assert [entry["outcome"] for entry in job.attempt_log] == ["retry-after"] * 3 + ["completed"]
    assert all(gap >= 0.1 for gap in gaps(stage.noted(job.id)))


def test_a_hundred_deferrals_in_a_row_are_enough(stage: Stage) -> None:
    job = stage.finished(stage.submit("later", times=None, seconds=0))

    assert job.state is State.FAILED
    assert job.error is not None
    assert job.error["type"] == "TooManyDeferrals"
    assert len(stage.noted(job.id)) == 101


def test_rate_limited_holds_the_queue_and_puts_the_job_in_front(stage: Stage) -> None:
    first = stage.submit("later", times=1, seconds=5, limit=True, queue="slow-api")
    [tried] = eventually(lambda: stage.noted(first))
    eventually(lambda: stage.job(first).state is State.WAITING)
    second = stage.submit("echo", queue="slow-api")

    for job_id in (first, second):
        reason = stage.job(job_id).state_reason
        assert reason is not None
        assert (reason["code"], bool(reason["until"])) == ("rate-limited", True)
    assert stage.result(first) == "attempt 1"
    stage.result(second)
    assert tried + 5 <= stage.noted(first, "end")[0]
    assert tried + 5 <= stage.runs(second)[0].begin
    started = [stage.job(job_id).started_at for job_id in (first, second)]
    assert started == sorted(filter(None, started))


@pytest.mark.parametrize("how", ["exit", "interrupt", "memory"])
def test_what_no_job_should_raise_is_a_failed_try(stage: Stage, how: str) -> None:
    job = stage.finished(stage.submit("leave", how=how, attempts=2))

    assert (job.state, job.attempts_made, job.stalled) == (State.FAILED, 2, 0)
    assert job.error is not None
    assert job.error["type"] == {"exit": "SystemExit", "interrupt": "KeyboardInterrupt", "memory": "MemoryError"}[how]
    assert stage.result(stage.submit("echo")) == {}


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("object", "not JSON"),
        ("nan", "not JSON"),
        ("surrogate", "not JSON"),
        ("large", "the limit is 1048576"),
    ],
)
def test_a_result_that_cannot_be_kept_fails_the_job_and_says_why(stage: Stage, what: str, says: str) -> None:
    job = stage.finished(stage.submit("return", what=what))

    assert job.state is State.FAILED
    assert job.error is not None
    assert says in job.error["message"]


def test_a_result_of_the_largest_size_is_kept(stage: Stage) -> None:
    assert len(stage.result(stage.submit("return", what="just"))) == 1_048_574


@pytest.mark.parametrize("what", ["surrogate", "long", "object", "mute"])
def test_every_error_can_be_read(stage: Stage, what: str) -> None:
    job = stage.finished(stage.submit("raise", what=what))

    assert job.state is State.FAILED
    assert job.error is not None
    assert job.error["type"] in {"Refusal", "Mute"}
    assert job.error["message"].isascii()
    assert len(job.error["message"].encode()) <= 4096


def test_a_job_called_by_a_job_is_a_function_like_any_other(stage: Stage) -> None:
    assert stage.result(stage.submit("outer")) == "saw passing"


def test_plain_celery_tasks_take_their_arguments_from_the_data(stage: Stage) -> None:
    assert stage.result(stage.submit("add", x=1, y=2)) == 3
    assert stage.result(stage.submit("add", args=[5], kwargs={"y": 6})) == 11


def test_plain_celery_tasks_are_tried_again_if_the_caller_asked_for_it(stage: Stage) -> None:
    job = stage.finished(stage.submit("moody", x=3, attempts=3))

    assert (job.state, job.result, job.attempts_made) == (State.COMPLETED, 3, 3)


def test_a_job_of_an_unknown_type_goes_back_for_another_worker(stage: Stage) -> None:
    unknown = new_job(name="unknown-here", data={})
    stage.store.submission.submit([unknown])

    stage.wait_for(lambda event: event.job_id == unknown.id and event.type == "delayed")

    job = stage.job(unknown.id)
    assert (job.state, job.attempts_made) == (State.DELAYED, 0)
    assert job.attempt_log[0]["outcome"] == "retry-after"
    assert "no job type 'unknown-here'" in job.attempt_log[0]["error"]["message"]
