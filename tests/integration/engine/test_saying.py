"""What a job says while it runs: its log, what it prints, and how far it is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.integration.engine.stage import eventually

if TYPE_CHECKING:
    from tests.integration.engine.stage import Stage


def messages(stage: Stage, job_id: str) -> list[str]:
    return [line.message for line in stage.store.inspection.logs(job_id).logs]


def test_what_a_job_says_is_seen_while_it_runs_and_stays(stage: Stage) -> None:
    job_id = stage.submit("log", text="words", **{"for": "heard"})

    eventually(lambda: "said ?" in messages(stage, job_id))

    assert stage.job(job_id).state == "active"
    # It is told after that line, and may come with the next report.
    eventually(lambda: stage.job(job_id).progress == {"percent": 40, "message": "nearly"})
    stage.let("heard")
    stage.result(job_id)
    lines = stage.store.inspection.logs(job_id).logs
    assert [(line.level, line.logger.rpartition(".")[2], line.message) for line in lines] == [
        ("INFO", "trial", "logged words"),
        ("INFO", "trial", "through Celery's logger"),
        ("INFO", "print", "printed words"),
        ("WARNING", "stderr", "complained"),
        ("INFO", "log", "said ?"),
        ("INFO", "log", "last word"),
        ("INFO", "print", "and no newline"),
    ]
    assert {line.attempt for line in lines} == {1}
    assert stage.job(job_id).progress == {"percent": 40, "message": "nearly"}


def test_progress_is_an_event_of_its_own(stage: Stage) -> None:
    job_id = stage.submit("log", text="words", **{"for": "progress-seen"})

    event = stage.wait_for(lambda event: event.job_id == job_id and event.type == "progress")

    assert json.loads(event.fields["progress"])["percent"] == 40
    stage.let("progress-seen")
    stage.result(job_id)


def test_lines_of_a_failed_try_stay_too(stage: Stage) -> None:
    stage.let("at-once")
    job_id = stage.submit("wait", **{"for": "at-once"})

    stage.result(job_id)

    assert messages(stage, job_id) == ["waiting for at-once"]
