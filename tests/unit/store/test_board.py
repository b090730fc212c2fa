"""Random verbs in random order, against a model: no job is lost, doubled or in two states; every index is right."""

from __future__ import annotations

import os
from collections import Counter

from hypothesis import HealthCheck, settings
from hypothesis.stateful import invariant, run_state_machine_as_test

from backroom.model.states import State
from tests.unit.store.board_machine import NAMES, QUEUES, TAGS, USERS, BoardMachine


class CheckedBoard(BoardMachine):
    """What must hold after each verb."""

    @invariant()
    def every_job_is_in_the_set_of_its_state_and_in_no_other(self) -> None:
        for queue in QUEUES:
            for state in State:
                assert set(self.ids("queue", queue, state)) == self.board.ids(queue, state)
            assert self.ids("queue", queue, "waiting") == [job.id for job in self.board.waiting(queue)]

    @invariant()
    def every_record_says_what_the_model_says(self) -> None:
        keys = [key.split(":") for key in self.store.redis.keys("board:job:*")]
        assert {parts[2] for parts in keys if len(parts) == 3} == set(self.board.jobs)
        assert {parts[2] for parts in keys if len(parts) > 3} <= set(self.board.jobs)
        pipeline = self.store.redis.pipeline(transaction=False)
        fields = ("state", "token", "made", "attempts", "stalled", "cancel", "staged", "score")
        for job_id in self.board.jobs:
            pipeline.hmget(f"board:job:{job_id}", fields)
        for job, row in zip(self.board.jobs.values(), pipeline.execute(), strict=True):
            state, token, made, attempts, stalled, cancel, staged, score = row
            assert (state, token) == (job.state, job.token)
            assert (int(made or 0), int(attempts or 1), int(stalled or 0)) == (job.made, job.attempts, job.stalled)
            assert (cancel is not None, staged, score is not None) == (job.asked_to_stop, None, job.state == "active")

    @invariant()
    def every_index_has_exactly_the_stored_jobs(self) -> None:
        jobs = self.board.jobs.values()
        for kind, values in (("queue", QUEUES), ("name", NAMES), ("user", USERS)):
            for value in values:
                assert set(self.ids("by", kind, value)) == {job.id for job in jobs if getattr(job, kind) == value}
        for tag in TAGS:
            assert set(self.ids("by", "tag", tag)) == {job.id for job in jobs if tag in job.tags}

    @invariant()
    def a_queue_is_ready_if_and_only_if_it_may_start_a_job_now(self) -> None:
        assert set(self.ids("queues")) == self.board.known
        ready = {name for name in QUEUES if self.board.waiting(name) and self.board.allowance(name) > 0}
        assert set(self.ids("ready")) == ready
        held = {name for name in QUEUES if self.board.waiting(name) and self.board.limited(name)}
        assert held <= set(self.ids("limited"))

    @invariant()
    def the_timetable_has_the_first_due_time_of_each_queue(self) -> None:
        due = dict(self.store.redis.zrange("board:due", 0, -1, withscores=True))
        assert set(due) == {name for name in QUEUES if self.board.ids(name, "delayed")}
        for name, ms in due.items():
            [(_, score)] = self.store.redis.zrange(f"board:queue:{name}:delayed", 0, 0, withscores=True)
            assert int(score) // 2048 == int(ms)

    @invariant()
    def what_ends_by_itself_is_noted(self) -> None:
        for queue in QUEUES:
            jobs = [job for job in self.board.jobs.values() if job.queue == queue]
            assert set(self.ids("queue", queue, "ttl")) == {
                job.id for job in jobs if job.expiring and job.state == "waiting"
            }
            old = self.board.queues[queue].old
            assert self.ids("queue", queue, "old:completed") == old["completed"]
            assert self.ids("queue", queue, "old:failed") == old["failed"]
            assert set(self.ids("queue", queue, "until")) == {*old["completed"], *old["failed"]}

    @invariant()
    def the_counters_agree(self) -> None:
        found: Counter[tuple[str, ...]] = Counter()
        for name, value in self.store.redis.hgetall("board:metrics").items():
            parts = tuple(name.split("|"))
            if parts[0] in {"submitted", "started", "finished", "retries", "stalls"}:
                found[parts] = int(value)
        assert found == self.board.counters


def test_random_verbs_leave_the_board_as_the_model_has_it(redis_url: str) -> None:
    class Machine(CheckedBoard):
        url = redis_url

    run_state_machine_as_test(
        Machine,
        settings=settings(
            deadline=None,
            max_examples=int(os.environ.get("BOARD_EXAMPLES", "50")),
            stateful_step_count=40,
            suppress_health_check=list(HealthCheck),
            derandomize="CI" in os.environ,
            database=None,
        ),
    )
