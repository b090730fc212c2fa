"""Schedules: jobs that are made again and again."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import click

from backroom.client.cli.console import Cell, Column
from backroom.client.cli.session import Session, options
from backroom.client.cli.submitting import job_options, options_of
from backroom.client.cli.words import DURATION, JSON, MOMENT, ago, moment_text
from backroom.client.options import NewJob

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backroom.client.answers.schedules import Schedule
    from backroom.client.schedules import Rhythm

__all__ = ["schedule", "schedules"]

COLUMNS = (
    Column("KEY", shrinks=True),
    Column("STATE"),
    Column("WHEN", shrinks=True),
    Column("JOB", shrinks=True),
    Column("NEXT", right=True),
    Column("LAST", right=True),
    Column("JOBS", right=True),
)
_STYLES = {"active": "green", "paused": "yellow", "finished": "dim"}


@click.command()
@options()
@click.pass_obj
def schedules(session: Session) -> None:
    """List the schedules."""
    found = session.room.schedules.list()
    now = datetime.now(UTC)
    session.console.listing(found, COLUMNS, lambda one: _row(one, now), empty="There are no schedules.")


def _row(schedule: Schedule, now: datetime) -> Sequence[str | Cell]:
    return (
        schedule.key,
        Cell(schedule.state, _STYLES.get(schedule.state)),
        schedule.description,
        schedule.job["name"],
        ago(schedule.next[0], now) if schedule.next else "",
        ago(schedule.last_fires[0].at, now) if schedule.last_fires else "",
        str(schedule.fire_count),
    )


@click.group()
def schedule() -> None:
    """Show, put, remove, pause, resume or run one schedule."""


@schedule.command("show")
@click.argument("key")
@options()
@click.pass_obj
def show(session: Session, key: str) -> None:
    """Show a schedule."""
    _show(session, session.room.schedules.get(key))


def _show(session: Session, schedule: Schedule) -> None:
    console, now = session.console, datetime.now(UTC)
    if console.as_json:
        console.json(schedule.raw)
        return
    console.fields(
        (
            ("key", schedule.key),
            ("state", Cell(schedule.state, _STYLES.get(schedule.state))),
            ("when", schedule.description),
            ("pattern", f"{schedule.pattern} ({schedule.tz})" if schedule.pattern else ""),
            ("from", moment_text(schedule.start, now)),
            ("until", moment_text(schedule.end, now)),
            ("jobs", f"{schedule.fire_count}" + (f" of {schedule.limit}" if schedule.limit else "")),
            ("misfire", schedule.misfire),
            ("overlap", "" if schedule.overlap else "no: a slot is left out while the last job waits or runs"),
            ("job", str(schedule.job["name"])),
            ("queue", str(schedule.job.get("queue") or "")),
            ("data", json.dumps(schedule.job.get("data"), ensure_ascii=False)),
            ("options", json.dumps(schedule.job["options"]) if schedule.job.get("options") else ""),
        )
    )
    for slot in schedule.next:
        console.line(Cell("next", "dim"), moment_text(slot, now))
    for fire in schedule.last_fires:
        console.line(Cell("last", "dim"), moment_text(fire.at, now), fire.job_id)


@schedule.command("put")
@click.argument("key")
@click.argument("name")
@click.argument("data", type=JSON, default="{}")
@click.option("--cron", "pattern", help="Such as '0 3 * * *': five fields, or six with seconds first.")
@click.option("--every", type=DURATION, help="Instead of --cron: a fixed interval.")
@click.option("--tz", help="The time zone of --cron, such as Europe/Berlin; UTC if left out.")
@click.option("--start", type=MOMENT, help="No job before.")
@click.option("--end", type=MOMENT, help="No job after.")
@click.option("--limit", type=click.IntRange(min=1), help="Finished after so many jobs.")
@click.option(
    "--misfire", type=click.Choice(["skip", "one", "all"]), help="Of slots that were missed, make up ... (one)"
)
@click.option("--no-overlap", is_flag=True, help="Leave a slot out while the last job waits or runs.")
@click.option("--paused", is_flag=True, help="Make no jobs before it is resumed.")
@job_options
@options()
@click.pass_obj
def put(session: Session, /, key: str, name: str, data: Any, queue: str | None, **given: Any) -> None:
    """Create or replace the schedule KEY, which makes jobs of the type NAME.

    DATA is JSON, @file, or - for standard input; {} if left out. Times are of this machine's zone.
    """
    words = ("pattern", "every", "tz", "start", "end", "limit", "misfire")
    rhythm = cast("Rhythm", {word: given[word] for word in words if given[word] is not None})
    if given["no_overlap"]:
        rhythm["overlap"] = False
    if given["paused"]:
        rhythm["paused"] = True
    job = NewJob(name, data, queue, options_of(given))
    _show(session, session.room.schedules.put(key, job, **rhythm))


@schedule.command("rm")
@click.argument("key")
@options()
@click.pass_obj
def remove(session: Session, key: str) -> None:
    """Remove a schedule; the jobs it has made stay."""
    session.room.schedules.remove(key)
    if session.console.as_json:
        session.console.json({"key": key, "removed": True})
    else:
        session.console.line(key, "removed")


@schedule.command("pause")
@click.argument("key")
@options()
@click.pass_obj
def pause(session: Session, key: str) -> None:
    """Make no more jobs until it is resumed."""
    _show(session, session.room.schedules.pause(key))


@schedule.command("resume")
@click.argument("key")
@options()
@click.pass_obj
def resume(session: Session, key: str) -> None:
    """Go on with the first slot from now on."""
    _show(session, session.room.schedules.resume(key))


@schedule.command("run")
@click.argument("key")
@options()
@click.pass_obj
def run(session: Session, /, key: str) -> None:
    """Make its job now. Prints the job's id."""
    job = session.room.schedules.run(key)
    if session.console.as_json:
        session.console.json(job.raw)
    else:
        session.console.line(job.id)
