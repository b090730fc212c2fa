"""The stack: who works, what is offered, and the whole in numbers."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from backroom.client.cli.console import Cell, Column
from backroom.client.cli.session import Session, options, state_cell
from backroom.client.cli.words import ago, duration_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backroom.client.answers.stack import JobType, Worker

__all__ = ["stats", "types", "workers"]

WORKER_COLUMNS = (
    Column("WORKER", shrinks=True),
    Column("STATE"),
    Column("POOL"),
    Column("BUSY", right=True),
    Column("QUEUES", shrinks=True),
    Column("STARTED", right=True),
    Column("HEARD OF", right=True),
)
TYPE_COLUMNS = (
    Column("TYPE", shrinks=True),
    Column("QUEUE", shrinks=True),
    Column("WORKERS", right=True),
    Column("DESCRIPTION", shrinks=True),
)


@click.command()
@options()
@click.pass_obj
def workers(session: Session) -> None:
    """List the workers."""
    found = session.room.workers.list()
    now = datetime.now(UTC)
    empty = "There are no workers: jobs wait until one is started."
    session.console.listing(found, WORKER_COLUMNS, lambda one: _worker_row(one, now), empty=empty)


def _worker_row(worker: Worker, now: datetime) -> Sequence[str | Cell]:
    return (
        worker.id,
        Cell(worker.state, "green" if worker.state == "running" else "yellow"),
        worker.pool,
        f"{worker.busy}/{worker.slots}",
        "all" if worker.queues is None else ", ".join(worker.queues),
        ago(worker.started_at, now),
        ago(worker.heartbeat_at, now),
    )


@click.command()
@click.argument("name", required=False)
@options()
@click.pass_obj
def types(session: Session, name: str | None) -> None:
    """List the job types, or show the one called NAME with the schema of its data."""
    found = [one for one in session.room.job_types() if name in {None, one.name}]
    if name is not None and not found:
        raise click.UsageError(f"no worker offers {name!r}; `backroom types` lists what there is")
    if name is not None and not session.console.as_json:
        _show_type(session, found[0])
    else:
        session.console.listing(found, TYPE_COLUMNS, _type_row, empty="No worker offers anything: start one.")


def _type_row(one: JobType) -> Sequence[str | Cell]:
    return one.name, one.queue, str(one.workers), one.description.partition("\n")[0]


def _show_type(session: Session, one: JobType) -> None:
    session.console.fields(
        (
            ("type", one.name),
            ("queue", one.queue),
            ("workers", str(one.workers)),
            ("description", one.description),
            ("defaults", json.dumps(one.defaults) if one.defaults else ""),
        )
    )
    session.console.json(one.schema)


@click.command()
@options()
@click.pass_obj
def stats(session: Session) -> None:
    """Show the stack in a few numbers."""
    found = session.room.stats()
    if session.console.as_json:
        session.console.json(found.raw)
        return
    oldest = found.oldest_waiting_ms
    session.console.fields(
        (
            *(
                (str(state), Cell(str(count), state_cell(state).style if count else "dim"))
                for state, count in found.counts.items()
            ),
            ("oldest waiting", "" if oldest is None else duration_text(oldest / 1000)),
            ("queues", f"{found.queues}" + (f", {found.paused_queues} paused" if found.paused_queues else "")),
            ("workers", str(found.workers)),
            ("busy", f"{found.busy} of {found.slots} slots"),
        )
    )
