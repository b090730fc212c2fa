"""The client against a real stack."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from backroom.client import (
    Backroom,
    Conflict,
    Exponential,
    Forbidden,
    InvalidInput,
    JobFailed,
    NewJob,
    NotFound,
    PreconditionFailed,
    Rate,
    State,
    Unauthorized,
    WaitTimeout,
)

LONG = timedelta(minutes=1)


def heavy(user: str, **payload: object) -> dict[str, object]:
    return {"userId": user, "payload": payload}


class Heavy(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    user_id: str
    payload: dict[str, int]


# Submitting and waiting.


def test_a_job_is_submitted_and_its_result_waited_for(room, name):
    job = room.submit("heavy-task", heavy(name, rounds=5), attempts=3, backoff=Exponential(1), tags=[name])
    assert (job.duplicate, job.attempts, job.tags) == (False, 3, (name,))
    assert room.result(job.id, LONG)["rounds"] == 5
    done = room.job(job.id)
    assert (done.state, done.finished, done.attempts_made) == (State.COMPLETED, True, 1)
    assert [attempt.outcome for attempt in done.attempt_log] == ["completed"]
    assert done.result == room.result(job.id)


def test_the_quick_door_and_a_model_lead_to_the_same_job(room, name):
    first = room.enqueue(name, {"rounds": 3}, wait=LONG)
    second = room.submit("heavy-task", Heavy(user_id=name, payload={"rounds": 3}), wait=LONG)
    assert first.data == second.data == heavy(name, rounds=3)
    assert first.result["digest"] == second.result["digest"]


def test_many_jobs_go_in_together_or_not_at_all(room, name):
    good = NewJob("heavy-task", heavy(name, rounds=1))
    with pytest.raises(InvalidInput) as refused:
        room.submit_many([good, NewJob("heavy-task", heavy(name), options={"priority": -1})])
    assert [error.pointer for error in refused.value.errors] == ["/jobs/1/options/priority"]
    assert list(room.jobs(user_id=name)) == []
    submitted = room.submit_many([good] * 3)
    assert len({each.id for each in submitted}) == 3
    assert {room.wait(each.id, LONG).state for each in submitted} == {"completed"}


def test_an_id_in_use_answers_the_job_that_has_it(room, name):
    room.submit("heavy-task", heavy(name, rounds=1), job_id=name, wait=LONG)
    again = room.submit("heavy-task", heavy("somebody else"), job_id=name)
    assert (again.duplicate, again.data["userId"]) == (True, name)


def test_calls_with_one_idempotency_key_make_one_job(stack, name):
    def submit() -> str:
        with Backroom(stack.url) as room:
            return room.submit("heavy-task", heavy(name, rounds=1), idempotency_key=name).id

    with ThreadPoolExecutor(8) as clients:
        ids = {future.result() for future in [clients.submit(submit) for _ in range(8)]}
    assert ids == {submit()}
    with Backroom(stack.url) as room:
        assert [job.id for job in room.jobs(user_id=name)] == list(ids)
        with pytest.raises(InvalidInput) as refused:
            room.submit("heavy-task", heavy(name, rounds=2), idempotency_key=name)
    assert refused.value.code == "key-reused"


def test_many_jobs_with_one_idempotency_key_are_stored_once(room, name):
    jobs = [NewJob("heavy-task", heavy(name, rounds=1))] * 2
    first = room.submit_many(jobs, idempotency_key=name)
    assert room.submit_many(jobs, idempotency_key=name) == first
    assert len(list(room.jobs(user_id=name))) == 2


def test_data_that_the_type_does_not_take_is_refused_with_its_place(room):
    with pytest.raises(InvalidInput) as refused:
        room.submit("heavy-task", {"userId": 7, "payload": {}})
    assert refused.value.code == "invalid-input"
    assert [error.pointer for error in refused.value.errors] == ["/data/userId"]
    assert refused.value.request_id


def test_a_job_that_fails_says_why(room, name):
    job = room.submit("fail", {"words": f"no {name}"})
    with pytest.raises(JobFailed, match=f"is failed: ValueError: no {name}") as failed:
        room.result(job.id, LONG)
    assert failed.value.job.error is not None
    assert "raise ValueError" in (failed.value.job.error.traceback or "")
    assert failed.value.job.attempts_made == 2


def test_a_wait_ends_with_its_time_and_the_job_goes_on(stack, room, name):
    with pytest.raises(WaitTimeout) as error:
        room.submit("gate", {"for": name}, wait=0.1)
    job = error.value.job
    with pytest.raises(WaitTimeout):
        room.result(job.id)
    stack.let_through(name)
    assert room.result(job.id, None) == "through"


def test_one_may_watch_a_job_on_its_way(stack, room, name):
    seen = []

    def watch(job) -> None:
        seen.append(job.state)
        if job.progress is not None and job.state is State.ACTIVE:
            assert job.progress.message == "at the gate"
            stack.let_through(name)

    job = room.submit("gate", {"for": name})
    assert room.wait(job.id, LONG, report=watch).result == "through"
    assert "active" in seen
    assert seen[-1] == "completed"


def test_waiting_goes_on_while_the_api_is_restarted(stack, room, name):
    job = room.submit("gate", {"for": name})
    found = []
    looks = threading.Semaphore(0)
    waiter = threading.Thread(
        target=lambda: found.append(room.wait(job.id, LONG, report=lambda _: looks.release()).result)
    )
    waiter.start()
    assert looks.acquire(timeout=30)
    stack.api.stop()
    stack.let_through(name)
    stack.api.start()
    waiter.join(60)
    assert found == ["through"]


# Reading.


def test_jobs_are_listed_lazily_over_pages(room, name):
    room.submit_many(NewJob("heavy-task", heavy(name), name, {"delay": 3600}) for _ in range(205))
    jobs = room.jobs(queue=name, state=State.DELAYED)
    assert len(list(islice(jobs, 5))) == 5
    assert len({job.id for job in jobs}) == 200
    assert len(list(room.jobs(queue=name, limit=7))) == 7
    newest, *_ = room.jobs(queue=name)
    oldest, *_ = room.jobs(queue=name, sort="createdAt")
    assert newest.created_at >= oldest.created_at
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    assert len(list(room.jobs(queue=name, since=hour_ago, name="heavy-task", user_id=name))) == 205
    assert list(room.jobs(queue=name, before=hour_ago)) == []
    assert room.queues.drain(name, delayed=True) == 205


def test_logs_are_followed_while_they_are_written(stack, room, name):
    job = room.submit("gate", {"for": name})
    with closing(room.logs(job.id, follow=True)) as lines:
        assert next(lines).message == f"waiting for {name}"
        stack.let_through(name)
        assert [line.message for line in lines] == ["through"]
    assert [(line.seq, line.level) for line in room.logs(job.id)] == [(1, "INFO"), (2, "INFO")]


def test_what_is_not_there_is_told_apart(room):
    with pytest.raises(NotFound, match="There is no job 'nowhere'"):
        room.job("nowhere")
    with pytest.raises(NotFound):
        room.result("nowhere")
    with pytest.raises(NotFound):
        room.queues.get("nowhere")
    with pytest.raises(NotFound):
        list(room.logs("nowhere", follow=True))


def test_the_stack_is_described(room):
    types = {each.name: each for each in room.job_types()}
    assert types["heavy-task"].queue == "default"
    assert "userId" in types["heavy-task"].schema["properties"]
    (worker,) = room.workers.list()
    assert (worker.id, worker.queues, worker.slots, worker.state) == ("worker-1@office", None, 2, "running")
    stats = room.stats()
    assert (stats.workers, stats.slots, set(stats.counts)) == (1, 2, set(State))


# Acting.


def test_a_delayed_job_is_changed_rescheduled_promoted_and_cancelled(room, name):
    job = room.submit("heavy-task", heavy(name), delay=timedelta(hours=1))
    assert (job.state, job.run_at is not None) == (State.DELAYED, True)
    later = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=2)
    assert room.reschedule(job.id, run_at=later).run_at == later
    seen = room.job(job.id)
    changed = room.update(job.id, data=heavy(name, rounds=2), priority=3, tags=[name])
    assert (changed.data, changed.priority, changed.tags) == (heavy(name, rounds=2), 3, (name,))
    with pytest.raises(PreconditionFailed):
        room.update(job.id, priority=4, etag=seen.etag)
    assert room.update(job.id, priority=5, etag=changed.etag).priority == 5
    room.promote(job.id)
    assert room.result(job.id, LONG)["rounds"] == 2
    with pytest.raises(Conflict):
        room.promote(job.id)
    other = room.submit("heavy-task", heavy(name), delay=3600)
    assert room.cancel(other.id).state is State.CANCELLED
    with pytest.raises(JobFailed, match="is cancelled"):
        room.result(other.id)


def test_a_running_job_is_cancelled(room, name):
    job = room.submit("gate", {"for": name})
    with closing(room.logs(job.id, follow=True)) as lines:
        next(lines)
    assert room.cancel(job.id).id == job.id
    assert room.wait(job.id, LONG).state is State.CANCELLED


def test_a_finished_job_is_run_again_and_removed(room, name):
    job = room.submit("fail", {"words": name}, wait=LONG)
    room.retry(job.id, reset_attempts=True)
    again = room.wait(job.id, LONG)
    assert [attempt.outcome for attempt in again.attempt_log] == ["failed"] * 4
    room.remove(job.id)
    with pytest.raises(NotFound):
        room.job(job.id)
    with pytest.raises(NotFound):
        room.remove(job.id)


def test_a_queue_is_paused_limited_and_emptied(room, name):
    room.queues.pause(name)
    job = room.submit("heavy-task", heavy(name, rounds=1), queue=name)
    assert room.job(job.id).state_reason.code == "paused"
    queue = room.queues.set_limits(name, concurrency=2, rate=Rate(10, 0.5), max_length=5)
    assert (queue.paused, queue.counts[State.WAITING]) == (True, 1)
    assert (queue.limits.concurrency, queue.limits.rate, queue.limits.max_length) == (2, Rate(10, 0.5), 5)
    assert room.queues.clear_limits(name).limits.rate is None
    room.queues.resume(name)
    assert room.wait(job.id, LONG).state is State.COMPLETED
    assert room.queues.clean(name, grace=0) == (job.id,)
    assert name in [queue.name for queue in room.queues.list()]
    assert room.queues.obliterate(name) == 0
    with pytest.raises(NotFound):
        room.queues.get(name)


def test_a_schedule_is_put_run_paused_and_removed(room, name):
    template = NewJob("heavy-task", heavy(name, rounds=1), options={"attempts": 2})
    schedule = room.schedules.put(name, template, pattern="0 3 * * *", tz="Europe/Berlin", misfire="skip")
    assert (schedule.key, schedule.tz, schedule.state, len(schedule.next)) == (name, "Europe/Berlin", "active", 5)
    job = room.schedules.run(name)
    assert (job.data, job.attempts) == (heavy(name, rounds=1), 2)
    assert room.wait(job.id, LONG).state is State.COMPLETED
    assert room.schedules.pause(name).paused
    assert name in [each.key for each in room.schedules.list()]
    assert not room.schedules.resume(name).paused
    assert room.schedules.put(name, template, every=timedelta(hours=1), paused=True).every == 3600
    room.schedules.remove(name)
    with pytest.raises(NotFound):
        room.schedules.get(name)
    with pytest.raises(InvalidInput) as refused:
        room.schedules.put(name, template, pattern="every full moon")
    assert refused.value.errors[0].pointer == "/pattern"


# Keys.


def test_a_key_opens_what_its_roles_allow(guarded):
    with Backroom(guarded.url) as nobody, pytest.raises(Unauthorized):
        nobody.stats()
    with Backroom(guarded.url, guarded.reading_key) as reader:
        assert reader.stats().workers == 1
        with pytest.raises(Forbidden):
            reader.queues.pause("default")
