"""Taking jobs out of queues, which cannot be undone."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from backroom.client.cli.session import Session, options
from backroom.client.cli.words import DURATION
from backroom.model.states import State

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["clean", "drain", "make_sure", "obliterate"]

CLEANED = 1000


def _sure(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("-y", "--yes", is_flag=True, help="Do not ask.")(function)


def _ask(session: Session, question: str, *, yes: bool) -> None:
    if not yes:
        make_sure(session, question)


def make_sure(session: Session, question: str) -> None:
    """Go on only if somebody wants that. Raises `click.UsageError` where nobody can be asked."""
    if not sys.stdin.isatty():
        raise click.UsageError("this cannot be undone: say --yes")
    if not click.confirm(question, err=True):
        session.console.note("Nothing was removed.")
        click.get_current_context().exit()


def _tell(session: Session, queue: str, removed: int) -> None:
    if session.console.as_json:
        session.console.json({"queue": queue, "removed": removed})
    else:
        session.console.line(f"{removed} jobs removed from {queue}")


@click.command()
@click.argument("queue")
@click.option("--delayed", is_flag=True, help="The delayed jobs too.")
@_sure
@options()
@click.pass_obj
def drain(session: Session, queue: str, *, delayed: bool, yes: bool) -> None:
    """Remove the waiting jobs of a queue."""
    _ask(session, f"Remove all waiting jobs of {queue}?", yes=yes)
    _tell(session, queue, session.room.queues.drain(queue, delayed=delayed))


@click.command()
@click.argument("queue")
@click.option(
    "--state",
    default=str(State.COMPLETED),
    show_default=True,
    type=click.Choice([str(state) for state in State if state is not State.ACTIVE]),
)
@click.option("--older-than", type=DURATION, default=0.0, help="Only jobs that are older.")
@click.option("--limit", type=click.IntRange(min=1), default=CLEANED, show_default=True)
@_sure
@options()
@click.pass_obj
def clean(session: Session, queue: str, *, state: str, older_than: float, limit: int, yes: bool) -> None:
    """Remove jobs of a queue that are in one state."""
    _ask(session, f"Remove {state} jobs of {queue}?", yes=yes)
    ids = session.room.queues.clean(queue, state, grace=older_than, limit=limit)
    if session.console.as_json:
        session.console.json({"queue": queue, "removed": len(ids), "ids": list(ids)})
    else:
        _tell(session, queue, len(ids))


@click.command()
@click.argument("queue")
@click.option("--force", is_flag=True, help="Even while jobs run; they are told to stop.")
@_sure
@options()
@click.pass_obj
def obliterate(session: Session, queue: str, *, force: bool, yes: bool) -> None:
    """Remove a queue with everything in it."""
    _ask(session, f"Remove {queue} with everything in it?", yes=yes)
    _tell(session, queue, session.room.queues.obliterate(queue, force=force))
