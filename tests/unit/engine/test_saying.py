"""What a running job says: gathered, reported, and handed over at its end."""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING, Any

import pytest

from backroom.engine import current
from backroom.engine.capturing import LogCapture, capture
from backroom.engine.current import MAX_LOG_MESSAGE, MAX_UNREPORTED, JobStopped, NullReporter, RunningJob, Wish

if TYPE_CHECKING:
    from collections.abc import Iterator


def a_job(**given: Any) -> RunningJob:
    given = {"job_id": "id", "name": "name", "queue": "queue", "token": "t", "attempt": 2, "options": {}, **given}
    return RunningJob(reporter=NullReporter(), **given)


def told(job: RunningJob) -> list[str]:
    return [json.loads(line)["message"] for line in job.finish()[1]]


@contextmanager
def captured() -> Iterator[tuple[io.StringIO, logging.Logger]]:
    """Logging and printing of this process go into the logs of its jobs: its standard output, and its root logger."""
    root = logging.getLogger()
    handlers, level, output = list(root.handlers), root.level, io.StringIO()
    with redirect_stdout(output), redirect_stderr(io.StringIO()):
        capture()
        yield output, root
    root.handlers[:] = handlers
    root.setLevel(level)


def line(text: str, **how: Any) -> None:
    print(text, **how)  # noqa: T201 - printing is what is tested


def test_the_newest_progress_and_all_lines_go_along_with_the_outcome() -> None:
    job = a_job()
    job.progress(10)
    job.log("INFO", "here", "one")
    job.progress(20, "more")
    job.log("WARNING", "here", "two")

    progress, lines = job.finish()

    assert json.loads(progress or "") == {"percent": 20, "message": "more"}
    first, second = map(json.loads, lines)
    assert (first["level"], first["logger"], first["message"], first["attempt"]) == ("INFO", "here", "one", 2)
    assert (second["level"], second["message"]) == ("WARNING", "two")
    assert job.finish() == (None, [])


def test_what_was_reported_is_not_told_again() -> None:
    job = a_job()
    job.log("INFO", "here", "one")

    assert job.report(lambda _progress, lines: len(lines) == 1)

    job.log("INFO", "here", "two")
    assert told(job) == ["two"]


def test_what_could_not_be_reported_is_kept_in_its_order() -> None:
    job = a_job()
    job.progress(10)
    job.log("INFO", "here", "one")
    assert not job.report(lambda _progress, _lines: False)
    job.log("INFO", "here", "two")

    progress, lines = job.finish()

    assert json.loads(progress or "")["percent"] == 10
    assert [json.loads(line)["message"] for line in lines] == ["one", "two"]


def test_a_newer_progress_is_not_overwritten_by_one_that_could_not_be_reported() -> None:
    job = a_job()
    job.progress(10)

    def fails_while_there_is_news(_progress: str | None, _lines: list[str]) -> bool:
        job.progress(20)
        return False

    job.report(fails_while_there_is_news)

    assert json.loads(job.finish()[0] or "")["percent"] == 20


def test_nothing_is_sent_when_there_is_nothing_to_say_or_the_job_has_ended() -> None:
    def never(_progress: str | None, _lines: list[str]) -> bool:
        raise AssertionError("there is nothing to send")

    job = a_job()
    assert job.report(never)
    job.finish()
    job.log("INFO", "here", "too late")
    assert job.report(never)


def test_the_end_of_a_job_waits_for_a_report_under_way() -> None:
    """A report that comes after the outcome would be refused, and its lines lost."""
    job = a_job()
    job.log("INFO", "here", "one")
    sending, go_on = threading.Event(), threading.Event()

    def send(_progress: str | None, _lines: list[str]) -> bool:
        sending.set()
        go_on.wait(10)
        return False

    reporter = threading.Thread(target=job.report, args=[send])
    reporter.start()
    assert sending.wait(10)
    ends: list[list[str]] = []
    end = threading.Thread(target=lambda: ends.append(told(job)))
    end.start()
    assert not ends

    go_on.set()
    reporter.join(10)
    end.join(10)

    assert ends == [["one"]]


def test_only_the_newest_lines_are_kept_while_they_cannot_be_reported() -> None:
    job = a_job(most_lines=3)
    for number in range(10):
        job.log("INFO", "here", str(number))

    assert told(job) == ["7", "8", "9"]


def test_lines_take_only_so_much_memory() -> None:
    job = a_job(most_lines=100_000)
    for _ in range(200):
        job.log("INFO", "here", "x" * 2 * MAX_LOG_MESSAGE)

    _, lines = job.finish()

    assert sum(map(len, lines)) <= MAX_UNREPORTED
    assert len(json.loads(lines[0])["message"]) == MAX_LOG_MESSAGE


def test_a_stopped_job_hears_of_it_at_its_next_word() -> None:
    job = a_job()
    job.stop = Wish.CANCELLED
    with current.running(job):
        assert current.current_job.cancelled
        for say in (lambda: current.current_job.progress(1), lambda: current.current_job.log("word")):
            with pytest.raises(JobStopped, match="cancelled"):
                say()


def test_a_job_that_is_stopped_is_not_stopped_by_its_own_logging() -> None:
    job = a_job()
    job.stop = Wish.TIMEOUT
    with captured(), current.running(job):
        logging.getLogger("mine").info("goes on")

    assert told(job) == ["goes on"]


def test_logging_goes_into_the_log_of_the_job_that_runs_in_its_thread() -> None:
    log = logging.getLogger("mine")
    job, other = a_job(), a_job()
    with captured():
        with current.running(job):
            log.info("hello %s", "there")
            log.debug("too quiet")
            thread = threading.Thread(target=lambda: log.info("somebody else's"))
            thread.start()
            thread.join()
            with current.running(other):
                log.warning("the other's")
            log.error("it broke", exc_info=ValueError("oops"))
        log.info("nobody's")

    assert told(job) == ["hello there", "it broke\nValueError: oops"]
    assert told(other) == ["the other's"]


@pytest.mark.parametrize("name", ["celery.app.trace", "kombu", "backroom.engine.desk", "redis.client"])
def test_what_the_machinery_logs_is_not_the_jobs(name: str) -> None:
    job = a_job()
    with captured(), current.running(job):
        logging.getLogger(name).warning("internal")
        logging.getLogger("redis_tools").warning("mine")

    assert told(job) == ["mine"]


def test_printing_goes_into_the_log_line_by_line() -> None:
    job = a_job()
    with captured():
        with current.running(job):
            print("one", 1)  # noqa: T201 - the same
            line("two\nthree")
            line("half", end="")
            line("")
            line("on stderr", file=sys.stderr)
            line("rest", end="")
        line("nobody's")

    assert told(job) == ["one 1", "two", "three", "half", "on stderr", "rest"]


def test_printing_still_prints() -> None:
    with captured() as (output, _), current.running(a_job()):
        line("seen")

    assert output.getvalue() == "seen\n"


def test_capturing_twice_captures_once() -> None:
    job = a_job()
    with captured(), current.running(job):
        capture()
        logging.getLogger("mine").info("once")
        line("once printed")

    assert told(job) == ["once", "once printed"]


def test_what_a_process_prints_of_its_log_stays_as_quiet_as_it_was() -> None:
    with captured() as (_, root):
        root.handlers[:] = [logging.StreamHandler(io.StringIO())]
        root.setLevel(logging.WARNING)

        capture()

        [printed, kept] = root.handlers
        assert (root.level, printed.level) == (logging.INFO, logging.WARNING)
        assert isinstance(kept, LogCapture)
