"""Jobs: listing them, looking at one, acting on some."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from backroom.client.cli.console import Cell, Column, progress_text
from backroom.client.cli.filters import filter_options, filters_of
from backroom.client.cli.session import Session, each_of, options, state_cell
from backroom.client.cli.submitting import see_through, waiting_options
from backroom.client.cli.words import DURATION, JSON, MOMENT, ago, clock_time, duration_text, moment_text
from backroom.model.states import State

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from backroom.client.answers.jobs import Job

__all__ = ["cancel", "job", "jobs", "logs", "promote", "remove", "reschedule", "result", "retry", "update"]

COLUMNS = (
    Column("STATE"),
    Column("ID"),
    Column("TYPE", shrinks=True),
    Column("QUEUE", shrinks=True),
    Column("CREATED", right=True),
    Column("WAITED", right=True),
    Column("RAN", right=True),
    Column("TRIES", right=True),
    Column("NOTE", shrinks=True),
)
SHOWN_JOBS = 50


@click.command()
@filter_options
@click.option(
    "--sort", help="createdAt; with a state finishedAt, runAt or priority. A minus turns it round (-createdAt)."
)
@click.option("--limit", type=click.IntRange(min=0), default=SHOWN_JOBS, show_default=True, help="0: all.")
@options()
@click.pass_obj
def jobs(session: Session, /, limit: int, sort: str | None, **given: Any) -> None:
    """List jobs, the newest first. Filters can be repeated: any of one kind, and all kinds together."""
    found = session.room.jobs(**filters_of(given), sort=sort, limit=limit or None)
    now = datetime.now(UTC)
    session.console.listing(found, COLUMNS, lambda one: _row(one, now), empty="No jobs match.")


def _row(job: Job, now: datetime) -> Sequence[str | Cell]:
    return (
        state_cell(job.state),
        job.id,
        job.name,
        job.queue,
        ago(job.created_at, now),
        _milliseconds(job.wait_ms),
        _milliseconds(job.run_ms),
        f"{job.attempts_made}/{job.attempts}",
        _note(job, now),
    )


def _note(job: Job, now: datetime) -> str:
    if job.error is not None and job.state is not State.COMPLETED:
        return f"{job.error.type}: {job.error.message}"
    if job.state is State.ACTIVE and job.progress is not None:
        return _progress(job)
    if job.state_reason is not None:
        until = job.state_reason.until
        return job.state_reason.code if until is None else f"{job.state_reason.code}, {ago(until, now)}"
    return ""


def _progress(job: Job) -> str:
    return "" if job.progress is None else progress_text(job.progress.percent, job.progress.message)


def _milliseconds(value: int | None) -> str:
    return "" if value is None else duration_text(value / 1000)


@click.command()
@click.argument("job_id", metavar="ID")
@waiting_options
@options()
@click.pass_obj
def job(session: Session, job_id: str, *, wait: bool, wait_for: float | None) -> None:
    """Show everything about one job."""
    if wait or wait_for is not None:
        see_through(session, job_id, wait_for)
    found = session.room.job(job_id)
    if session.console.as_json:
        session.console.json(found.raw)
    else:
        _describe(session, found)


def _describe(session: Session, job: Job) -> None:
    console, now = session.console, datetime.now(UTC)
    console.fields(
        (
            ("id", job.id),
            ("type", job.name),
            ("queue", job.queue),
            ("state", state_cell(job.state)),
            ("why", _note(job, now) if job.state_reason is not None else ""),
            ("priority", str(job.priority or "")),
            ("tags", ", ".join(job.tags)),
            ("tries", f"{job.attempts_made} of {job.attempts}" + (f", stalled {job.stalled}" if job.stalled else "")),
            ("progress", _progress(job)),
            ("created", moment_text(job.created_at, now)),
            ("due", moment_text(job.run_at, now)),
            ("started", moment_text(job.started_at, now)),
            ("finished", moment_text(job.finished_at, now)),
            ("waited", _milliseconds(job.wait_ms)),
            ("ran", _milliseconds(job.run_ms)),
            ("worker", job.worker or ""),
            ("trace", job.trace_id or ""),
            ("options", json.dumps(job.options) if job.options else ""),
            ("data", json.dumps(job.data, ensure_ascii=False)),
            ("result", json.dumps(job.result, ensure_ascii=False) if job.state is State.COMPLETED else ""),
        )
    )
    for attempt in job.attempt_log:
        took = ""
        if attempt.started_at and attempt.finished_at:
            took = f"after {duration_text((attempt.finished_at - attempt.started_at).total_seconds())}"
        why = f": {attempt.error.type}: {attempt.error.message}" if attempt.error else ""
        console.line(Cell(f"try {attempt.attempt}", "dim"), f"{attempt.outcome} {took} on {attempt.worker}{why}")
    if job.error is not None and job.error.traceback:
        console.text(job.error.traceback)


@click.command()
@click.argument("job_id", metavar="ID")
@waiting_options
@options()
@click.pass_obj
def result(session: Session, job_id: str, *, wait: bool, wait_for: float | None) -> None:
    """Print what a job has returned."""
    if wait or wait_for is not None:
        see_through(session, job_id, wait_for)
    session.console.json(session.room.result(job_id))


@click.command()
@click.argument("job_id", metavar="ID")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job has finished.")
@options()
@click.pass_obj
def logs(session: Session, job_id: str, *, follow: bool) -> None:
    """Print what a job has logged."""
    console, attempt = session.console, 1
    for line in session.room.logs(job_id, follow=follow):
        if console.as_json:
            console.json(line.raw)
            continue
        if line.attempt not in {None, attempt}:
            attempt = line.attempt or attempt
            console.line(Cell(f"try {attempt}", "dim"))
        style = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "red"}.get(line.level)
        console.line(Cell(clock_time(line.at), "dim"), Cell(f"{line.level:<7}", style), line.message)


def _on_each(name: str, text: str, act: Callable[[Session, str, Any], Job | None], *more: Any) -> click.Command:
    """A command that does something to each of the jobs it is given."""

    @click.pass_obj
    def run(session: Session, /, job_ids: Sequence[str], **given: Any) -> None:
        for job_id in job_ids:
            with each_of(session):
                done = act(session, job_id, given)
                if session.console.as_json:
                    session.console.json({"id": job_id, "removed": True} if done is None else done.raw)
                else:
                    session.console.line(job_id, "removed" if done is None else state_cell(done.state))

    command: Any = run
    for decorator in (options(), *more, click.argument("job_ids", metavar="ID...", nargs=-1, required=True)):
        command = decorator(command)
    return click.command(name, help=text)(command)


retry = _on_each(
    "retry",
    "Run finished jobs again: once more, or with all their tries.",
    lambda session, job_id, given: session.room.retry(job_id, reset_attempts=given["reset_attempts"]),
    click.option("--reset-attempts", is_flag=True, help="Give it all its tries again."),
)
cancel = _on_each(
    "cancel",
    "Cancel jobs. Those that run are stopped within seconds.",
    lambda session, job_id, _: session.room.cancel(job_id),
)
promote = _on_each(
    "promote",
    "Make delayed jobs ready now.",
    lambda session, job_id, _: session.room.promote(job_id),
)
reschedule = _on_each(
    "reschedule",
    "Give delayed jobs another due time.",
    lambda session, job_id, given: session.room.reschedule(job_id, delay=given["delay"], run_at=given["run_at"]),
    click.option("--delay", type=DURATION, help="So much time from now."),
    click.option("--run-at", type=MOMENT, help="This time."),
)
remove = _on_each(
    "remove",
    "Remove jobs that do not run, with their logs and results.",
    lambda session, job_id, _: session.room.remove(job_id),
)


def _change(session: Session, job_id: str, given: dict[str, Any]) -> Job:
    changes: dict[str, Any] = {} if given["data"] is None else {"data": given["data"]}
    tags = given["tags"] or None
    return session.room.update(job_id, priority=given["priority"], tags=tags, **changes)


update = _on_each(
    "update",
    "Change jobs that neither run nor have finished; what is left out stays.",
    _change,
    click.option("--tag", "tags", multiple=True, help="Replaces its tags; may be repeated."),
    click.option("--priority", type=int, help="0 runs first, then 1, 2, ..."),
    click.option("--data", type=JSON, help="JSON, @file, or - for standard input."),
)
