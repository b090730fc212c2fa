"""Drives a store and the model of it (`board`) side by side: the verbs, each with what the model expects of it."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from backroom.model.errors import NotFound, QueueFull, WrongState
from backroom.model.states import State
from backroom.settings import Settings
from backroom.store import Store, connect
from backroom.store.execution import Served
from backroom.store.queues import Rate
from tests.unit.store.board import FINISHED, Board, BoardJob, Wait
from tests.unit.store.hand import LONG, Worker, a_job, outcome, outlive

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backroom.store.execution import Claimed, OutcomeKind

QUEUES, NAMES, USERS, TAGS = ("blue", "green"), ("crop", "mail"), ("ann", "bob"), ("x", "y")
MS: dict[Wait, int] = {"soon": 1, "late": LONG}
KINDS = ("completed", "failed", "retry", "cancelled", "stalled", "release", "retry-after", "rate-limited")

#: A claim looks in eight passes at most past jobs that have expired: with more of them it may come back short.
MOST_EXPIRING = 4

waits: st.SearchStrategy[Wait | None] = st.sampled_from([None, None, "soon", "late"])
delays: st.SearchStrategy[Wait | None] = st.sampled_from([None, None, None, None, "soon", "late"])
keeps = st.sampled_from([None, None, None, True, False, 0, 1, 2])
which_ids = st.sampled_from(["new", "new", "new", "new", "new", "new", "known", "same"])
anyone = st.integers(0, 10**6)
drafts = st.fixed_dictionaries(
    {
        "name": st.sampled_from(NAMES),
        "queue": st.sampled_from(["blue", "blue", "green"]),
        "user": st.sampled_from([None, *USERS]),
        "tags": st.sampled_from([(), ("x",), ("y", "x")]),
        "priority": st.sampled_from([0, 0, 0, 1, 2]),
        "lifo": st.sampled_from([False, False, True]),
        "own_attempts": st.sampled_from([None, 1, 3]),
        "max_stalled": st.sampled_from([0, 1, 1, 2]),
        "ttl": st.sampled_from([None, None, None, "late", "soon"]),
        "keep_completed": keeps,
        "keep_failed": keeps,
    }
)


def options(draft: dict[str, Any], delay: Wait | None) -> dict[str, Any]:
    """The options of a draft in BullMQ's words."""
    found = {
        "priority": draft["priority"] or None,
        "lifo": draft["lifo"] or None,
        "attempts": draft["own_attempts"],
        "maxStalled": draft["max_stalled"],
        "ttl": draft["ttl"] and MS[draft["ttl"]],
        "removeOnComplete": draft["keep_completed"],
        "removeOnFail": draft["keep_failed"],
        "tags": list(draft["tags"]) or None,
        "delay": delay and MS[delay],
    }
    return {name: value for name, value in found.items() if value is not None}


class BoardMachine(RuleBasedStateMachine):
    """Drives a store and the model side by side."""

    url: str

    def __init__(self) -> None:
        super().__init__()
        settings = Settings(lease_seconds=3600)  # a slow test must not be taken for an outage, which begins leases anew
        self.store = Store(connect(self.url, timeout=10), prefix="board", settings=settings)
        self.store.redis.flushdb()
        self.board = Board()
        self.workers = {name: Worker(self.store, name) for name in ("one", "two", "three")}
        #: Everything that anybody ever held: a worker may settle any of it, at any time.
        self.holdings: list[Claimed] = []
        self.last_call: dict[str, tuple[str, list[Claimed]]] = {}
        self.made = 0

    def teardown(self) -> None:
        self.store.redis.close()

    # Helpers.

    def let_soon_pass(self) -> None:
        """Wait until everything that was to be over soon is over."""
        micros = self.micros()
        while self.micros() < micros + 2500:
            pass

    def micros(self) -> int:
        seconds, micros = self.store.redis.time()
        return int(seconds) * 1_000_000 + int(micros)

    def a_job(self, pick: int) -> BoardJob:
        """Any job on the board."""
        jobs = list(self.board.jobs.values())
        return jobs[pick % len(jobs)]

    def ids(self, *key: str) -> list[str]:
        """The members of a sorted set in their order."""
        return self.store.redis.zrange(":".join(["board", *key]), 0, -1)  # type: ignore[return-value]

    def due_soon(self, queue: str) -> list[str]:
        """What a promotion will move, in its order."""
        return [job_id for job_id in self.ids("queue", queue, "delayed") if self.board.jobs[job_id].due == "soon"]

    def has_jobs(self) -> bool:
        return bool(self.board.jobs)

    def attempt(self, act: Any, *, allowed: bool) -> bool:
        """Do it if the model allows it; it must be refused if not."""
        try:
            act()
        except WrongState:
            assert not allowed
            return False
        assert allowed
        return True

    # Rules.

    @rule(new=st.lists(st.tuples(drafts, delays, which_ids), min_size=1, max_size=6), pick=anyone)
    def submit(self, new: list[tuple[dict[str, Any], Wait | None, str]], pick: int) -> None:
        pairs: list[tuple[BoardJob, Wait | None]] = []
        expiring = sum(job.expiring == "soon" or job.ttl_ahead == "soon" for job in self.board.jobs.values())
        for draft, delay, which in new:
            self.made += 1
            job_id = f"job-{pick % self.made if which == 'known' else self.made}"  # known: in use, or free again
            if which == "same" and pairs:
                job_id = pairs[-1][0].id
            fields = {**draft, "ttl": None if draft["ttl"] == "soon" and expiring >= MOST_EXPIRING else draft["ttl"]}
            expiring += fields["ttl"] == "soon"
            pairs.append((BoardJob(id=job_id, **fields), delay))
        sent = [
            a_job(
                job.name,
                queue=job.queue,
                data={"userId": job.user} if job.user else {},
                jobId=job.id,
                **options(vars(job), delay),
            )
            for job, delay in pairs
        ]
        try:
            answers = self.store.submission.submit(sent)
        except QueueFull:
            assert not self.board.room_for([job for job, _ in pairs])
            return
        assert self.board.room_for([job for job, _ in pairs])
        for (job, delay), answer in zip(pairs, answers, strict=True):
            assert answer.duplicate != self.board.add(job, delay)
            assert answer.state == self.board.jobs[job.id].state

    @rule(
        who=st.sampled_from(["one", "two", "three"]),
        room=st.integers(1, 6),
        lease=st.sampled_from(["late", "late", "soon"]),
        named=st.sampled_from([None, None, ("blue",), ("green", "blue")]),
        ended=st.lists(st.tuples(anyone, st.sampled_from(KINDS), waits), max_size=3),
    )
    def exchange(
        self,
        who: str,
        room: int,
        lease: Wait,
        named: tuple[str, ...] | None,
        ended: list[tuple[int, OutcomeKind, Wait | None]],
    ) -> None:
        self.let_soon_pass()
        worker = self.workers[who]
        worker.lease_ms, worker.served = MS[lease], Served(named=list(named)) if named else None
        due = {queue: self.due_soon(queue) for queue in QUEUES}
        outcomes, expected = self.outcomes(ended)
        answer = worker.exchange(outcomes, room)
        assert answer.accepted == expected
        for queue in QUEUES:
            self.board.promote(due[queue])
        self.take(answer.claimed, room, lease, named or QUEUES)
        self.last_call[who] = (answer.claimed[0].token if answer.claimed else "", answer.claimed)

    def outcomes(self, ended: Sequence[tuple[int, OutcomeKind, Wait | None]]) -> tuple[list[Any], list[bool]]:
        """Outcomes to send, applied to the model, and whether each must be accepted."""
        sent, expected = [], []
        for pick, kind, delay in ended:
            if not self.holdings:
                continue
            held = self.holdings[pick % len(self.holdings)]
            later = delay if kind in {"retry", "retry-after", "rate-limited"} else None
            later = "late" if later == "soon" and kind == "rate-limited" else later  # a short limit would end by itself
            sent.append(outcome(held, kind, delay=later and MS[later]))
            job = self.board.jobs.get(held.id)
            expected.append(job is not None and job.token == held.token)
            if expected[-1] and job is not None:
                self.board.settle(job, kind, later)
        return sent, expected

    def take(self, claimed: list[Claimed], room: int, lease: Wait, served: Sequence[str]) -> None:
        """What was claimed must be what the model allows, in its order; what was overdue before it has expired."""
        assert len({job.id for job in claimed}) == len(claimed)
        by_queue = defaultdict(list)
        for job in claimed:
            by_queue[job.queue].append(job.id)
        assert set(by_queue) <= set(served)
        possible = {
            queue: min(self.board.allowance(queue), sum(job.expiring != "soon" for job in self.board.waiting(queue)))
            for queue in served
        }
        assert len(claimed) == min(room, sum(possible.values()))
        for queue in served:
            waiting, ids = self.board.waiting(queue), by_queue[queue]
            good = [job.id for job in waiting if job.expiring != "soon"]
            assert ids == good[: len(ids)]
            last = waiting.index(self.board.jobs[ids[-1]]) if ids else -1
            for place, job in enumerate(waiting):
                if job.expiring == "soon":
                    gone = self.store.inspection.states([job.id]) != [State.WAITING]
                    assert gone or place > last
                    if gone:
                        self.board.expire(job)
        for each in claimed:
            job = self.board.jobs[each.id]
            assert (each.made, each.stalled, each.name) == (job.made, job.stalled, job.name)
            self.board.claim(job, each.token, lease)
        self.holdings += claimed

    @precondition(lambda self: self.holdings)
    @rule(ended=st.lists(st.tuples(anyone, st.sampled_from(KINDS), waits), min_size=1, max_size=3))
    def settle(self, ended: list[tuple[int, OutcomeKind, Wait | None]]) -> None:
        outcomes, expected = self.outcomes(ended)
        assert self.workers["one"].exchange(outcomes).accepted == expected
        self.last_call.pop("one", None)

    @precondition(lambda self: self.holdings)
    @rule(pick=anyone)
    def renew(self, pick: int) -> None:
        held = self.holdings[pick % len(self.holdings)]
        job = self.board.jobs.get(held.id)
        worker = Worker(self.store)
        if job is None or job.token != held.token:
            assert worker.renew(held) == ["lost"]
        else:
            assert worker.renew(held) == ["cancel" if job.asked_to_stop else "renewed"]
            job.lease = "late"

    @precondition(lambda self: self.last_call)
    @rule(pick=anyone)
    def recover(self, pick: int) -> None:
        who = sorted(self.last_call)[pick % len(self.last_call)]
        token, claimed = self.last_call[who]
        held = [each for each in claimed if self.holds(each)]
        found = self.store.execution.recover(worker=who, token=token, lease_ms=LONG)
        assert [each.id for each in found] == [each.id for each in held]
        for each in held:
            self.board.jobs[each.id].lease = "late"

    def holds(self, claimed: Claimed) -> bool:
        return claimed.id in self.board.jobs and self.board.jobs[claimed.id].token == claimed.token

    @rule()
    def sweep(self) -> None:
        self.let_soon_pass()
        jobs = list(self.board.jobs.values())
        lost = [job.id for job in jobs if job.state == "active" and job.lease == "soon"]
        late = [job.id for job in jobs if job.state == "waiting" and job.expiring == "soon"]
        lost.sort(key=[job_id for queue in QUEUES for job_id in self.ids("queue", queue, "active")].index)
        late.sort(key=[job_id for queue in QUEUES for job_id in self.ids("queue", queue, "ttl")].index)
        swept = self.store.upkeep.sweep()
        assert (swept.stalled, swept.expired, swept.forgotten) == (len(lost), len(late), 0)
        for job_id in lost:
            self.board.lose(self.board.jobs[job_id])
        for job_id in late:
            self.board.expire(self.board.jobs[job_id])

    @rule()
    def promote(self) -> None:
        self.let_soon_pass()
        due = {queue: self.due_soon(queue) for queue in QUEUES}
        moved, _ = self.store.upkeep.promote()
        assert moved == sum(map(len, due.values()))
        for queue in QUEUES:
            self.board.promote(due[queue])

    @rule(queue=st.sampled_from(QUEUES))
    def outlive(self, queue: str) -> None:
        self.let_soon_pass()
        self.sweep()
        outlive(self.store, "until", queue=queue)
        assert self.store.upkeep.sweep().forgotten == self.board.forget_old(queue)

    @precondition(has_jobs)
    @rule(pick=anyone)
    def cancel(self, pick: int) -> None:
        job = self.a_job(pick)
        if not self.attempt(lambda: self.store.actions.cancel(job.id), allowed=job.state not in FINISHED):
            return
        if job.state == "active":
            job.asked_to_stop = True
        else:
            job.ttl_ahead = None
            self.board.finish(job, "cancelled")

    @precondition(has_jobs)
    @rule(pick=anyone, reset=st.booleans())
    def retry(self, pick: int, reset: bool) -> None:  # noqa: FBT001 - drawn by name
        job = self.a_job(pick)
        if self.attempt(lambda: self.store.actions.retry(job.id, reset_attempts=reset), allowed=job.state in FINISHED):
            self.board.retry(job, reset=reset)

    @precondition(has_jobs)
    @rule(pick=anyone)
    def remove(self, pick: int) -> None:
        job = self.a_job(pick)
        if self.attempt(lambda: self.store.actions.remove(job.id), allowed=job.state != "active"):
            self.board.remove(job)

    @precondition(has_jobs)
    @rule(pick=anyone, delay=waits)
    def reschedule(self, pick: int, delay: Wait | None) -> None:
        job = self.a_job(pick)
        ms = MS[delay] if delay else 0
        act = lambda: self.store.actions.reschedule(job.id, delay_ms=ms)  # noqa: E731 - one of two ways to say it
        if self.attempt(act, allowed=job.state == "delayed"):
            self.board.again(job, delay)

    @rule(queue=st.sampled_from(QUEUES), paused=st.booleans())
    def pause(self, queue: str, paused: bool) -> None:  # noqa: FBT001 - drawn by name
        changed = self.store.queues.pause(queue) if paused else self.store.queues.resume(queue)
        assert changed == self.board.pause(queue, paused=paused)

    @rule(
        queue=st.sampled_from(QUEUES),
        concurrency=st.sampled_from([None, 1, 3]),
        rate=st.sampled_from([None, None, 1, 4]),
        max_length=st.sampled_from([None, None, 5]),
    )
    def limit(self, queue: str, concurrency: int | None, rate: int | None, max_length: int | None) -> None:
        self.store.queues.set_limits(
            queue, concurrency=concurrency, rate=Rate(rate, LONG) if rate else None, max_length=max_length
        )
        self.board.limit(queue, concurrency=concurrency, rate=rate, max_length=max_length)

    @rule(queue=st.sampled_from(QUEUES), delayed=st.booleans())
    def drain(self, queue: str, delayed: bool) -> None:  # noqa: FBT001 - drawn by name
        gone = self.board.ids(queue, *(["waiting", "delayed"] if delayed else ["waiting"]))
        assert self.store.emptying.drain(queue, delayed=delayed) == len(gone)
        for job_id in gone:
            self.board.remove(self.board.jobs[job_id])

    @rule()
    def lose_all_wake_ups(self) -> None:
        self.store.redis.delete(*(self.store.keys.wake(who) for who in ("", "scheduler", *QUEUES)))

    @rule(job=st.sampled_from(["job-0", "nobody"]))
    def act_on_nobody(self, job: str) -> None:
        if job not in self.board.jobs:
            for act in (self.store.actions.cancel, self.store.actions.retry, self.store.actions.remove):
                try:
                    act(job)
                except NotFound:
                    continue
                raise AssertionError(act)
