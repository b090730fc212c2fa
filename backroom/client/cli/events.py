"""``tail``: what happens, as it happens."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import click

from backroom.client.cli.console import Cell, progress_text
from backroom.client.cli.session import STATE_STYLES, Session, options
from backroom.client.cli.words import clock_time

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from backroom.client.answers.stack import Event

__all__ = ["tail"]

_KNOWN: Final = frozenset({"id", "type", "jobId", "queue", "name", "at"})
_STYLES: Final[Mapping[str, str]] = {**STATE_STYLES, "reset": "red", "stalled": "red", "retries-exhausted": "red"}


@click.command()
@click.option("--queue", "queues", multiple=True)
@click.option("--type", "types", multiple=True, help="Such as completed or failed.")
@click.option("--job", help="Of this job, until it has ended.")
@click.option("--last-event-id", metavar="ID", help="Begin behind this event; else with what happens from now on.")
@options()
@click.pass_obj
def tail(
    session: Session, queues: Sequence[str], types: Sequence[str], job: str | None, last_event_id: str | None
) -> None:
    """Follow the events of the stack, of some queues, or of one job."""
    with session.room.events(job=job, queue=queues, types=types, last_event_id=last_event_id) as events:
        for event in events:
            if session.console.as_json:
                session.console.json({"id": event.id, "type": event.type, **event.raw})
            else:
                _print(session, event)


def _print(session: Session, event: Event) -> None:
    style = _STYLES.get(event.type)
    where = " in ".join(word for word in (event.name, event.queue) if word)
    more = " ".join(_more(name, value) for name, value in event.raw.items() if name not in _KNOWN)
    session.console.line(
        Cell(clock_time(event.at), "dim"),
        Cell(f"{event.type:<9}", style),
        event.job_id or "-",
        where,
        Cell(more, "dim"),
    )


def _more(name: str, value: Any) -> str:
    """What else an event says."""
    if name == "progress" and isinstance(value, dict):
        return progress_text(value.get("percent"), value.get("message"))
    return f"{name}={value if isinstance(value, str) else json.dumps(value)}"
