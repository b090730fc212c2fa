"""Events of a real stack, as the client follows them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from itertools import islice

import pytest

from backroom.client import NotFound


def test_the_events_of_a_job_end_with_it(stack, room, name):
    job = room.submit("gate", {"for": name})
    seen = []
    with room.events(job=job.id) as stream:
        for event in stream:
            seen.append(event.type)
            assert (event.job_id, event.name) == (job.id, "gate")
            if event.type in {"active", "progress"}:
                stack.let_through(name)
    assert seen[-1] == "completed"
    assert set(seen) <= {"waiting", "active", "progress", "completed"}
    assert [event.type for event in room.events(job=job.id)] == ["completed"]
    assert list(room.events(job=job.id, last_event_id=stream.last_event_id)) == []


def test_the_events_of_a_queue_begin_where_one_was(room, name):
    first = room.submit("heavy-task", {"userId": name, "payload": {"rounds": 1}}, queue=name)
    *_, last = room.events(job=first.id)
    second = room.submit("heavy-task", {"userId": name, "payload": {"rounds": 1}}, queue=name)
    with room.events(queue=name, types=["added", "completed"], last_event_id=last.id) as stream:
        events = list(islice(stream, 2))
    assert [(event.type, event.job_id, event.queue) for event in events] == [
        ("added", second.id, name),
        ("completed", second.id, name),
    ]
    assert all(event.at is not None for event in events)


def test_events_go_on_over_a_restart_of_the_api_and_none_is_missed(stack, room, name):
    job = room.submit("gate", {"for": name})
    with room.events(job=job.id) as stream:
        seen = [next(stream).type]
        stack.api.stop()
        stack.let_through(name)
        stack.api.start()
        seen += [event.type for event in stream]
    assert seen.count("completed") == 1
    assert seen[-1] == "completed"
    assert "reset" not in seen


def test_the_events_of_a_job_that_is_not_there_are_none(room):
    with pytest.raises(NotFound):
        next(room.events(job="nowhere"))


def test_tail_follows_until_it_is_interrupted(stack, room, name):
    room.submit("heavy-task", {"userId": name, "payload": {"rounds": 1}}, queue=name, wait=60)
    words = ["tail", "--queue", name, "--type", "completed", "--last-event-id", "0-1", "--json"]
    code = "from backroom.client.cli import main; raise SystemExit(main())"
    with subprocess.Popen(
        [sys.executable, "-c", code, *words],
        env={**os.environ, "BACKROOM_URL": stack.url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        events = [json.loads(process.stdout.readline())]
        while events[-1]["type"] == "reset":
            events.append(json.loads(process.stdout.readline()))
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert (events[-1]["type"], events[-1]["queue"]) == ("completed", name)
    assert (process.returncode, errors) == (130, "\n")
