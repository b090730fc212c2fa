"""``submit``: a job goes in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import click

from backroom.client.cli.console import progress_text
from backroom.client.cli.session import Session, goes_on, options
from backroom.client.cli.words import BACKOFF, DURATION, JSON, MOMENT, duration_text
from backroom.client.errors import JobFailed
from backroom.model.states import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from backroom.client.answers.jobs import Job
    from backroom.client.options import Options

__all__ = ["job_options", "options_of", "see_through", "submit", "waiting_options"]


def waiting_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--wait`` and ``--wait-for``."""
    function = click.option("--wait-for", type=DURATION, help="The same, but no longer than this.")(function)
    return click.option("--wait", is_flag=True, help="Wait until the job has finished; exit code 1 if it fails.")(
        function
    )


def job_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of a job that a schedule can give as well."""
    for option in (
        click.option(
            "--webhook-event",
            "webhook_events",
            multiple=True,
            help="What --webhook is told, such as cancelled; may be repeated. Left out: completed, and failed.",
        ),
        click.option("--webhook", metavar="URL", help="Who is told how it fares."),
        click.option("--max-stalled", type=int, help="How often the process that runs it may die."),
        click.option("--tag", "tags", multiple=True, help="A word to find it by; may be repeated."),
        click.option("--ttl", type=DURATION, help="It expires if it has not started by then."),
        click.option("--run-timeout", type=DURATION, help="A try that takes longer is stopped."),
        click.option(
            "--backoff", type=BACKOFF, help="Before each further try: 5s, exponential:1s or exponential:1s:0.5."
        ),
        click.option("--attempts", type=int, help="Tries in all."),
        click.option("--lifo", is_flag=True, help="In front of those of its priority."),
        click.option("--priority", type=int, help="0 runs first, then 1, 2, ..."),
        click.option("--queue", help="Instead of the queue of its type."),
    ):
        function = option(function)
    return function


def options_of(given: dict[str, Any]) -> Options:
    """The options of a job, from those of the command."""
    found: dict[str, Any] = {
        name: given[name]
        for name in ("priority", "attempts", "backoff", "ttl", "max_stalled")
        if given[name] is not None
    }
    if given["run_timeout"] is not None:
        found["timeout"] = given["run_timeout"]
    if given["lifo"]:
        found["lifo"] = True
    if given["tags"]:
        found["tags"] = given["tags"]
    if given["webhook"] is not None:
        found["webhook"] = {"url": given["webhook"], "events": given["webhook_events"] or ("completed", "failed")}
    elif given["webhook_events"]:
        raise click.UsageError("--webhook-event needs --webhook")
    return cast("Options", found)


@click.command()
@click.argument("name")
@click.argument("data", type=JSON, default="{}")
@job_options
@click.option("--delay", type=DURATION, help="Not before so much time has passed.")
@click.option("--run-at", type=MOMENT, help="Not before this time.")
@click.option("--id", "job_id", help="An id of your own; one in use stores nothing.")
@click.option("--idempotency-key", help="Called again with the same key, this answers the same job.")
@waiting_options
@options()
@click.pass_obj
def submit(
    session: Session, /, name: str, data: Any, queue: str | None, idempotency_key: str | None, **given: Any
) -> None:
    """Submit a job of the type NAME.

    DATA is JSON, @file, or - for standard input; {} if left out. Prints the job's id; with --wait its result.
    """
    console = session.console
    timing = {name: given[name] for name in ("delay", "run_at", "job_id") if given[name] is not None}
    chosen = cast("Options", {**options_of(given), **timing})
    job = session.room.submit(name, data, queue=queue, idempotency_key=idempotency_key, **chosen)
    if job.duplicate:
        console.note(f"The id is in use: nothing was submitted, and this is the job that has it. It is {job.state}.")
    if given["wait"] or given["wait_for"] is not None:
        with goes_on(session, f"Job {job.id}", f"backroom result {job.id} --wait", job.raw):
            job = see_through(session, job.id, given["wait_for"])
        if console.as_json:
            console.json(job.raw)
        if job.state is not State.COMPLETED:
            raise JobFailed(job)
        if not console.as_json:
            console.json(job.result)
    elif console.as_json:
        console.json(job.raw)
    else:
        console.line(job.id)
        console.note(f"{job.name} is {job.state} in the queue {job.queue}.", "dim")


def see_through(session: Session, job_id: str, seconds: float | None) -> Job:
    """Wait for a job, and show on a terminal how it fares."""
    console = session.console
    if not console.is_watched:
        return session.room.wait(job_id, seconds)

    def report(job: Job) -> None:
        console.status(_situation(job))

    try:
        return session.room.wait(job_id, seconds, report=report)
    finally:
        console.clear_status()


def _situation(job: Job) -> str:
    words = [f"{job.name} {job.id} is {job.state}"]
    if job.state_reason is not None:
        words.append(f"({job.state_reason.code})")
    if job.progress is not None and job.state is State.ACTIVE:
        words.append(progress_text(job.progress.percent, job.progress.message))
    if job.finished and job.run_ms is not None:
        words.append(f"after {duration_text(job.run_ms / 1000)}")
    return " ".join(words)
