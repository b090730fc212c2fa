"""Who may come in, and who did what."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from backroom.client.cli.console import Cell, Column
from backroom.client.cli.session import Session, each_of, options
from backroom.client.cli.words import MOMENT, ago, moment_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backroom.client.answers.access import ApiKey, AuditEntry

__all__ = ["audit", "keys"]

KEY_COLUMNS = (
    Column("ID"),
    Column("NAME", shrinks=True),
    Column("ROLES"),
    Column("ONLY FOR", shrinks=True),
    Column("CREATED", right=True),
    Column("USED", right=True),
    Column("ENDS", right=True),
)


@click.group()
def keys() -> None:
    """List, create or revoke API keys. Needs an admin key, or a stack without keys."""


@keys.command("list")
@options()
@click.pass_obj
def show(session: Session) -> None:
    """List the keys. Keys themselves are not shown: nobody has them but those they were given to."""
    found = session.room.keys.list()
    now = datetime.now(UTC)
    empty = "There are no keys: the stack is open to everybody who reaches it."
    session.console.listing(found, KEY_COLUMNS, lambda one: _row(one, now), empty=empty)


def _row(key: ApiKey, now: datetime) -> Sequence[str | Cell]:
    bounds = [*(f"queue {each}" for each in key.queues or ()), *(f"type {each}" for each in key.job_types or ())]
    ended = key.expires_at is not None and key.expires_at <= now
    return (
        key.id or Cell("(environment)", "dim"),
        key.name,
        ", ".join(key.roles),
        ", ".join(bounds),
        ago(key.created_at, now),
        ago(key.last_used_at, now),
        Cell(ago(key.expires_at, now), "red" if ended else None),
    )


@keys.command("create")
@click.argument("name")
@click.option(
    "--role",
    "roles",
    multiple=True,
    required=True,
    type=click.Choice(["submit", "read", "operate", "admin"]),
    help="What it may do; give it again for more.",
)
@click.option("--queue", "queues", multiple=True, help="Only this queue; give it again for more.")
@click.option("--type", "job_types", multiple=True, help="Only this job type; give it again for more.")
@click.option("--expires", type=MOMENT, help="When it ends; never if left out.")
@options()
@click.pass_obj
def create(
    session: Session,
    /,
    name: str,
    roles: tuple[str, ...],
    queues: tuple[str, ...],
    job_types: tuple[str, ...],
    expires: datetime | None,
) -> None:
    """Create a key for NAME, and print it: now and never again.

    The first key closes the stack, and must be an admin's: put it into BACKROOM_KEY to go on.
    """
    made = session.room.keys.create(name, roles, queues=queues or None, job_types=job_types or None, expires_at=expires)
    if session.console.as_json:
        session.console.json(made.raw)
        return
    session.console.line(made.key or "")
    session.console.note(f"This is the key of {name}, id {made.id}. It is not shown again: keep it in a safe place.")


@keys.command("revoke")
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@options()
@click.pass_obj
def revoke(session: Session, ids: tuple[str, ...]) -> None:
    """Take keys out of use for ever; `backroom keys list` has the ids."""
    for key_id in ids:
        with each_of(session):
            session.room.keys.revoke(key_id)
            if session.console.as_json:
                session.console.json({"id": key_id, "revoked": True})
            else:
                session.console.line(key_id, "revoked")


AUDIT_COLUMNS = (
    Column("AT"),
    Column("WHO", shrinks=True),
    Column("OUTCOME"),
    Column("ACTION", shrinks=True),
    Column("TARGET", shrinks=True),
    Column("FROM", shrinks=True),
)


@click.command()
@click.option("--actor", "actors", multiple=True, help="Only what this key did; give it again for more.")
@click.option("--action", "actions", multiple=True, help="Only this, such as pause_queue; give it again for more.")
@click.option("--outcome", type=click.Choice(["done", "refused"]), help="Only what was done, or what was refused.")
@click.option("--limit", type=click.IntRange(min=0), default=50, show_default=True, help="At most so many; 0: all.")
@options()
@click.pass_obj
def audit(
    session: Session, /, actors: tuple[str, ...], actions: tuple[str, ...], outcome: str | None, limit: int
) -> None:
    """Show who did what, newest first. Needs an admin key, or a stack without keys."""
    found = session.room.audit(actor=actors, action=actions, outcome=outcome, limit=limit or None)
    now = datetime.now(UTC)
    session.console.listing(found, AUDIT_COLUMNS, lambda one: _audit_row(one, now), empty="Nothing is written down.")


def _audit_row(entry: AuditEntry, now: datetime) -> Sequence[str | Cell]:
    return (
        moment_text(entry.at, now),
        entry.actor or Cell("(nobody)", "dim"),
        Cell(f"{entry.outcome} {entry.status}", "green" if entry.outcome == "done" else "red"),
        entry.action,
        entry.target,
        entry.address,
    )
