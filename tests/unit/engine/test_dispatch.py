"""Handing jobs to a pool: a pool that does what the test says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from celery import Celery

from backroom.engine import running
from backroom.engine.board import Board
from backroom.engine.current import Wish
from backroom.engine.dispatch import HELD_SECONDS, UNACCEPTED_SECONDS, Dispatcher
from backroom.engine.request import JobRequest
from backroom.engine.running import STOP_SIGNAL, Finished
from backroom.engine.stopping import PATIENCE_SECONDS
from backroom.settings import Settings
from backroom.store.execution import Claimed, Outcome, encode_outcome

if TYPE_CHECKING:
    from collections.abc import Callable

APP = Celery("unit-dispatch", set_as_current=False)
PID = 4711


@APP.task(name="unit-job")
def nothing() -> None:
    """Do nothing: these jobs are never run."""


class Sent:
    """A message in the hands of a pool slot."""

    def __init__(self, board: Board, place: int, wires: list[Any], calls: dict[str, Callable[..., None]]) -> None:
        self._board, self.place, self._calls = board, place, calls
        self.ids = [wire[0] for wire in wires]
        self._finished: list[Finished] = []

    def accept(self) -> Sent:
        self._calls["accept_callback"](PID, time.monotonic())
        return self

    def begin(self, index: int) -> bool:
        return self._board.begin(self.place, index)

    def end(self, index: int, seconds: float = 0.001) -> None:
        job_id = self.ids[index]
        outcome = Outcome(id=job_id, token="t", outcome="completed", result="null")
        self._finished.append(Finished(job_id, "completed", seconds, encode_outcome(outcome)))
        self._board.record(self.place, msgspec.msgpack.encode(self._finished[-1]))

    def run(self, *indexes: int, seconds: float = 0.001) -> Sent:
        """Begin and end these jobs, as far as that is allowed."""
        for index in indexes or range(len(self.ids)):
            if not self.begin(index):
                break
            self.end(index, seconds)
        return self

    def deliver(self) -> None:
        """Hand back what has ended."""
        self._calls["callback"](self._finished)

    def die(self) -> None:
        self._calls["error_callback"](SimpleNamespace(exception=RuntimeError("signal 9")))

    def wish(self, index: int = 0) -> int:
        return self._board.wish(self.place, index)


class Pool:
    """A pool of processes, driven by hand."""

    def __init__(self, board: Board, slots: int) -> None:
        self._board, self.sent = board, list[Sent]()
        self.open = True
        self._pool: Any = SimpleNamespace(
            _processes=slots, _all_inqueues=set(range(slots)), _maxtasksperchild=None, _pool=[]
        )

    def up(self, slots: int) -> None:
        """So many of its processes are up."""
        self._pool._all_inqueues = set(range(slots))

    def apply_async(self, _target: object, args: Any, **calls: Any) -> object:
        if not self.open:
            return None
        self.sent.append(Sent(self._board, *args, calls))
        return object()


class Stage:
    """A dispatcher, a pool, and what becomes of jobs; its clock stands still but for ``later``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, slots: int = 2) -> None:
        self._now = 1000.0
        clock = SimpleNamespace(monotonic=lambda: self._now, time=lambda: self._now, sleep=self.later)
        for module in ("dispatch", "request", "stopping"):
            monkeypatch.setattr(f"backroom.engine.{module}.time", clock)
        self.signals: list[tuple[int, int]] = []
        monkeypatch.setattr(os, "kill", lambda pid, number: self.signals.append((pid, number)))
        self.board = Board()
        self.pool = Pool(self.board, slots)
        self.settled: dict[str, str] = {}
        self.errors: dict[str, Any] = {}
        self.abandoned: list[str] = []
        self.roomier = 0
        self.dispatcher = Dispatcher(
            pool=self.pool,
            board=self.board,
            settings=Settings(),
            forked=True,
            settle=self._settle,
            abandon=lambda request: self.abandoned.append(request.id),
            feed=lambda pump: pump(),
            roomier=self._note_roomier,
        )

    def _settle(self, request: JobRequest, ended: Finished | Outcome) -> None:
        assert request.id not in self.settled, "a job is settled once"
        self.settled[request.id] = ended.kind if isinstance(ended, Finished) else ended.outcome
        if isinstance(ended, Outcome) and ended.error and ended.outcome != "stalled":
            self.errors[request.id] = json.loads(ended.error)

    def _note_roomier(self) -> None:
        self.roomier += 1

    def later(self, seconds: float) -> None:
        self._now += seconds

    def tick(self, seconds: float = 0.0) -> None:
        self.later(seconds)
        self.dispatcher.tick()

    def give(self, *ids: str, **claimed: Any) -> list[JobRequest]:
        given = {"data": "{}", "made": 0, "stalled": 0, "options": "", "celery": "", "traceparent": "", **claimed}
        requests = [
            JobRequest(
                Claimed(id=job_id, name="unit-job", queue="default", token="t", **given),
                task=APP.tasks["unit-job"],
                app=APP,
                hostname="here",
            )
            for job_id in ids
        ]
        self.dispatcher.add(requests)
        return requests

    def learn_that_jobs_are_short(self) -> None:
        for _ in range(100):
            self.dispatcher.estimate.saw(0.0005)

    @property
    def sent(self) -> list[list[str]]:
        return [sent.ids for sent in self.pool.sent]


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(monkeypatch)


def letters(text: str) -> list[str]:
    return list(text)


def test_a_slot_is_given_one_job_at_a_time_until_jobs_are_known_to_be_short(stage: Stage) -> None:
    stage.give(*"abcd")

    assert stage.sent == [["a"], ["b"]]
    assert stage.dispatcher.slots == 2

    stage.pool.sent[0].accept().run(seconds=1).deliver()

    assert stage.sent == [["a"], ["b"], ["c"]]
    assert stage.settled == {"a": "completed"}


def test_very_short_jobs_travel_together_in_fair_shares_and_in_order(stage: Stage) -> None:
    stage.learn_that_jobs_are_short()

    stage.give(*"abcdefghij")

    assert [job_id for batch in stage.sent for job_id in batch] == letters("abcdefghij")
    assert len(stage.sent) == 4  # two messages a slot: the second hides the time that the pipe takes
    assert len(stage.sent[0]) == 5


@pytest.mark.parametrize(
    "history",
    [{"stalled": 1}, {"options": '{"timeout":1000}'}, {"options": '{"maxStalled":0}'}, {"data": "x" * 40_000}],
)
def test_jobs_with_a_history_limits_or_much_data_travel_alone(stage: Stage, history: dict[str, Any]) -> None:
    stage.learn_that_jobs_are_short()

    stage.give(*"abc", **history)

    assert stage.sent == [["a"], ["b"], ["c"]]


def test_children_that_count_their_jobs_are_given_one_a_message(stage: Stage) -> None:
    stage.pool._pool._maxtasksperchild = 10
    stage.learn_that_jobs_are_short()

    stage.give(*"abc")

    assert stage.sent == [["a"], ["b"]]


def test_the_results_of_a_dead_child_count_and_only_the_job_that_ran_is_lost(stage: Stage) -> None:
    stage.learn_that_jobs_are_short()
    stage.give(*"abcdefgh")
    first = stage.pool.sent[0]
    assert first.ids == letters("abcd")
    first.accept().run(0, 1)
    first.begin(2)

    first.die()

    assert stage.settled == {"a": "completed", "b": "completed", "c": "stalled"}
    assert stage.sent[-1] == ["d"]  # next in line, and not lost


def test_a_child_that_dies_before_it_announced_anything_may_have_died_of_its_first_job(stage: Stage) -> None:
    stage.learn_that_jobs_are_short()
    stage.give(*"abcdefgh")

    stage.pool.sent[0].accept().die()

    assert stage.settled == {"a": "stalled"}
    assert stage.sent[-1] == letters("bcd")[: len(stage.sent[-1])]


def test_what_waits_too_long_goes_back_to_the_store(stage: Stage) -> None:
    stage.give(*"abcd")
    stage.pool.sent[0].accept().begin(0)

    stage.tick(HELD_SECONDS + 0.01)

    assert stage.settled == {"c": "release", "d": "release"}
    assert not stage.dispatcher.estimate.very_short


def test_jobs_behind_a_long_one_in_their_message_go_back_to_the_store(stage: Stage) -> None:
    stage.learn_that_jobs_are_short()
    stage.give(*"abcdefgh")
    message = stage.pool.sent[0].accept().run(0)
    message.begin(1)

    stage.tick(HELD_SECONDS + 0.01)
    assert {"c", "d"}.isdisjoint(stage.settled)  # not before it is certain that they have not begun
    stage.tick(0.1)

    assert {"c", "d"} <= {job_id for job_id, kind in stage.settled.items() if kind == "release"}
    assert not message.begin(2)
    message.end(1)
    message.deliver()
    assert (stage.settled["a"], stage.settled["b"]) == ("completed", "completed")


def test_what_has_ended_of_a_message_is_settled_while_a_long_job_behind_it_runs(stage: Stage) -> None:
    stage.learn_that_jobs_are_short()
    stage.give(*"abcdefgh")
    message = stage.pool.sent[0].accept().run(0, 1)
    message.begin(2)
    assert not stage.settled

    stage.tick(HELD_SECONDS + 0.01)
    assert stage.settled == {"a": "completed", "b": "completed"}
    stage.tick(HELD_SECONDS)  # nothing is settled twice
    message.end(2)
    message.deliver()

    assert stage.settled["c"] == "completed"


def test_a_job_that_begins_while_it_is_taken_back_is_kept(stage: Stage) -> None:
    stage.learn_that_jobs_are_short()
    stage.give(*"abcdefgh")
    message = stage.pool.sent[0].accept().run(0)
    message.begin(1)
    stage.board.begin(message.place, 2)  # it has announced itself, and reads the old limit
    stage.tick(HELD_SECONDS + 0.01)
    stage.tick(0.1)

    assert "c" not in stage.settled
    assert stage.settled["d"] == "release"


def test_a_message_that_no_slot_accepts_is_taken_back_and_never_run(stage: Stage) -> None:
    stage.give("a")

    stage.tick(UNACCEPTED_SECONDS + 0.01)
    stage.tick(0.1)

    assert stage.settled == {"a": "release"}
    assert stage.dispatcher.slots == 1  # its slot has the empty message still
    stage.pool.sent[0].accept().run().deliver()
    assert stage.dispatcher.slots == 2
    assert stage.settled == {"a": "release"}


def test_a_waiting_job_is_cancelled_at_once(stage: Stage) -> None:
    *_, third = stage.give(*"abc")

    stage.dispatcher.terminate(third)

    assert stage.settled == {"c": "cancelled"}
    stage.pool.sent[0].accept().run(seconds=1).deliver()
    assert stage.sent == [["a"], ["b"]]


def test_a_running_job_is_asked_by_a_signal_that_means_it_alone(stage: Stage) -> None:
    [request] = stage.give("a")
    message = stage.pool.sent[0].accept()
    message.begin(0)

    stage.dispatcher.terminate(request)
    stage.tick(0.1)

    assert message.wish() == Wish.CANCELLED
    assert stage.signals == [(PID, STOP_SIGNAL)]


def test_a_job_that_was_asked_and_does_not_end_is_killed(stage: Stage) -> None:
    [request] = stage.give("a")
    message = stage.pool.sent[0].accept()
    message.begin(0)
    stage.dispatcher.terminate(request)

    stage.tick(PATIENCE_SECONDS + 0.1)
    assert stage.signals[-1] == (PID, signal.SIGKILL)
    message.die()

    assert stage.settled == {"a": "cancelled"}


def test_a_child_that_has_begun_something_else_is_not_killed(stage: Stage) -> None:
    stage.learn_that_jobs_are_short()
    requests = stage.give(*"abcdefgh")
    message = stage.pool.sent[0].accept()
    message.begin(0)
    stage.dispatcher.terminate(requests[0])
    message.end(0)
    message.begin(1)

    stage.tick(PATIENCE_SECONDS + 0.1)

    assert (PID, signal.SIGKILL) not in stage.signals


def test_a_cancelled_job_that_has_not_begun_in_its_message_never_does(stage: Stage) -> None:
    stage.learn_that_jobs_are_short()
    requests = stage.give(*"abcdefgh")
    message = stage.pool.sent[0].accept()
    message.begin(0)

    stage.dispatcher.terminate(requests[2])
    message.end(0)
    message.run(1, 2, 3).deliver()

    assert stage.settled == {"a": "completed", "c": "cancelled"}
    stage.pool.sent[1].accept().run().deliver()
    assert stage.sent[4:] == [["b"], ["d"]]


def test_a_lost_job_is_stopped_and_one_that_waits_is_dropped(stage: Stage) -> None:
    running_one, _, waiting = stage.give(*"abc")
    message = stage.pool.sent[0].accept()
    message.begin(0)

    stage.dispatcher.lose(waiting)
    stage.dispatcher.lose(running_one)

    assert stage.abandoned == ["c"]
    assert message.wish() == Wish.LOST
    assert stage.settled == {}


def test_a_job_is_asked_to_end_when_its_time_is_over(stage: Stage) -> None:
    stage.give("a", options='{"timeout":500}')
    message = stage.pool.sent[0].accept()
    message.begin(0)

    stage.tick(0.4)
    assert message.wish() == 0
    stage.tick(0.2)
    assert message.wish() == Wish.TIMEOUT
    stage.tick(PATIENCE_SECONDS + 0.1)

    assert stage.signals == [(PID, STOP_SIGNAL), (PID, signal.SIGKILL)]


def test_time_in_the_queue_of_the_pool_does_not_count(stage: Stage) -> None:
    stage.give("a", options='{"timeout":500}')
    stage.later(0.9)
    message = stage.pool.sent[0].accept()
    message.begin(0)

    stage.tick(0.4)

    assert message.wish() == 0


def test_a_worker_that_stops_gives_back_what_has_not_begun_and_lets_the_rest_end(stage: Stage) -> None:
    stage.learn_that_jobs_are_short()
    stage.give(*"abcdefghij")
    first, second = stage.pool.sent[:2]
    first.accept().run(0)
    first.begin(1)

    stage.dispatcher.close()

    assert {job_id for job_id, kind in stage.settled.items() if kind == "release"} == set("cdefghij")
    first.end(1)
    first.deliver()
    second.accept().run().deliver()
    assert (stage.settled["a"], stage.settled["b"]) == ("completed", "completed")
    assert stage.dispatcher.slots == 0


def test_jobs_that_come_after_the_end_go_back_at_once(stage: Stage) -> None:
    stage.dispatcher.close()

    stage.give("late")

    assert stage.settled == {"late": "release"}


def test_giving_up_keeps_what_had_ended_and_gives_back_the_rest(stage: Stage) -> None:
    stage.learn_that_jobs_are_short()
    stage.give(*"abcdefgh")
    message = stage.pool.sent[0].accept().run(0)
    message.begin(1)
    stage.pool._pool._pool = [SimpleNamespace(pid=PID)]

    stage.dispatcher.give_up()

    assert stage.signals == [(PID, signal.SIGKILL)]
    assert stage.settled.pop("a") == "completed"
    assert stage.settled == dict.fromkeys("bcdefgh", "release")


def test_a_pool_that_has_closed_takes_nothing_and_loses_nothing(stage: Stage) -> None:
    stage.pool.open = False

    stage.give(*"ab")

    assert stage.settled == {"a": "release", "b": "release"}


def test_a_restart_of_the_event_loop_takes_back_what_no_slot_has_accepted(stage: Stage) -> None:
    stage.give(*"abc")
    stage.pool.sent[0].accept().begin(0)

    stage.dispatcher.suspend()
    forgotten = stage.pool.sent[1]
    assert stage.dispatcher.slots == 0
    stage.dispatcher.resume()

    assert not forgotten.begin(0)  # should it still be in a pipe
    assert stage.sent == [["a"], ["b"], ["b"]]
    assert stage.pool.sent[2].place != forgotten.place
    assert stage.settled == {}


def test_children_that_are_not_up_yet_are_no_slots_and_new_ones_are_noticed(stage: Stage) -> None:
    stage.pool.up(1)
    stage.tick()
    stage.give(*"ab")
    assert stage.dispatcher.slots == 1
    assert stage.sent == [["a"]]
    before = stage.roomier

    stage.pool.up(2)
    stage.tick()

    assert stage.roomier == before + 1
    assert stage.sent == [["a"], ["b"]]


def test_a_child_that_was_replaced_between_two_looks_is_noticed(stage: Stage) -> None:
    """Whoever asked for slots in between was told that there is none, and waits to hear of one."""
    stage.pool._pool._pool = [SimpleNamespace(pid=2**30)]
    stage.tick()
    before = stage.roomier
    stage.tick()
    assert stage.roomier == before

    stage.pool._pool._pool = [SimpleNamespace(pid=2**30 + 1)]
    stage.tick()

    assert stage.roomier == before + 1


def test_the_desk_hears_that_the_event_loop_runs_again(stage: Stage) -> None:
    stage.tick()
    stage.dispatcher.suspend()
    before = stage.roomier

    stage.dispatcher.resume()

    assert stage.roomier == before + 1


def test_threads_that_were_given_up_are_no_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch)
    stage.pool.num_processes = 2  # type: ignore[attr-defined]  # what Celery's pool of threads says
    threads = Dispatcher(
        pool=stage.pool,
        board=stage.board,
        settings=Settings(),
        forked=False,
        settle=stage._settle,
        abandon=lambda request: stage.abandoned.append(request.id),
        feed=lambda pump: pump(),
        roomier=lambda: None,
    )
    stage.dispatcher = threads
    [request] = stage.give("a")
    message = stage.pool.sent[0].accept()
    message.begin(0)
    job = SimpleNamespace(stop=None)
    monkeypatch.setitem(running.running_here, ("a", "t"), job)

    threads.terminate(request)
    assert job.stop is Wish.CANCELLED
    stage.tick(PATIENCE_SECONDS + 0.1)

    assert stage.settled == {"a": "cancelled"}
    assert threads.slots == 1
    message.end(0)
    message.deliver()
    assert threads.slots == 2
    assert stage.settled == {"a": "cancelled"}


def test_the_pool_is_told_of_a_dead_child_until_it_has_buried_it(stage: Stage) -> None:
    """It may have missed the news."""
    looks: list[None] = []
    stage.pool._pool.maintain_pool = lambda: looks.append(None)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        stage.pool._pool._pool = [child]
        stage.dispatcher.tick()
        assert looks == []

        child.stdin.close()  # type: ignore[union-attr]  # it is a pipe
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        stage.dispatcher.tick()
        stage.dispatcher.tick()
        assert len(looks) == 2

        child.wait()
        stage.dispatcher.tick()
        assert len(looks) == 2
