"""Webhooks: who is told how jobs fare, and how that went."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from backroom.client.cli.console import Cell, Column
from backroom.client.cli.session import Session, each_of, options
from backroom.client.cli.words import ago, moment_text
from backroom.model.states import DELIVERY_STATES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backroom.client.answers.webhooks import Delivery, WebhookEndpoint, WebhookSecret

__all__ = ["webhooks"]

COLUMNS = (
    Column("ID"),
    Column("STATE"),
    Column("EVENTS", shrinks=True),
    Column("URL", shrinks=True),
    Column("PENDING", right=True),
    Column("DROPPED", right=True),
    Column("FOR", shrinks=True),
)
DELIVERY_COLUMNS = (
    Column("ID"),
    Column("STATE"),
    Column("TYPE"),
    Column("JOB", shrinks=True),
    Column("AT", right=True),
    Column("TRIES", right=True),
    Column("LAST", shrinks=True),
    Column("NEXT", right=True),
)
_STYLES = {"delivered": "green", "pending": "yellow", "failed": "red"}


@click.group()
def webhooks() -> None:
    """List, add, change or remove endpoints of webhooks; see and repeat deliveries. Changing needs an admin key."""


@webhooks.command("list")
@options()
@click.pass_obj
def show_all(session: Session) -> None:
    """List the endpoints."""
    found = session.room.webhooks.list()
    session.console.listing(found, COLUMNS, _row, empty="There are no endpoints of webhooks.")


def _state(endpoint: WebhookEndpoint) -> Cell:
    return Cell("enabled", "green") if endpoint.enabled else Cell(endpoint.disabled_reason or "disabled", "red")


def _row(endpoint: WebhookEndpoint) -> Sequence[str | Cell]:
    return (
        endpoint.id,
        _state(endpoint),
        ", ".join(endpoint.events),
        endpoint.url,
        str(endpoint.pending),
        str(endpoint.dropped),
        endpoint.description or "",
    )


def _show(session: Session, endpoint: WebhookEndpoint) -> None:
    console, now = session.console, datetime.now(UTC)
    if console.as_json:
        console.json(endpoint.raw)
        return
    console.fields(
        (
            ("id", endpoint.id),
            ("state", _state(endpoint)),
            ("url", endpoint.url),
            ("events", ", ".join(endpoint.events)),
            ("for", endpoint.description or ""),
            ("created", moment_text(endpoint.created_at, now)),
            ("failing since", moment_text(endpoint.failing_since, now)),
            ("pending", str(endpoint.pending)),
            ("dropped", str(endpoint.dropped)),
        )
    )


@webhooks.command("show")
@click.argument("endpoint_id", metavar="ID")
@options()
@click.pass_obj
def show(session: Session, endpoint_id: str) -> None:
    """Show an endpoint."""
    _show(session, session.room.webhooks.get(endpoint_id))


_events = click.option("--event", "events", multiple=True, help="Such as completed or failed; give it again for more.")
_description = click.option("--description", help="What it is for.")


@webhooks.command("add")
@click.argument("url")
@_events
@_description
@options()
@click.pass_obj
def add(session: Session, /, url: str, events: tuple[str, ...], description: str | None) -> None:
    """Tell URL of all jobs, and print the secret that verifies it: now and never again.

    Without --event it is told of jobs that complete, and of jobs that fail for good.
    """
    made = session.room.webhooks.create(url, events or ("completed", "failed"), description=description)
    if session.console.as_json:
        session.console.json(made.raw)
        return
    session.console.line(made.secret or "")
    session.console.note(f"This is the secret of the endpoint {made.id}, for its receiver. It is not shown again.")


@webhooks.command("update")
@click.argument("endpoint_id", metavar="ID")
@click.option("--to", "url", metavar="URL", help="Where it is from now on.")
@_events
@_description
@click.option("--enable/--disable", "enabled", default=None, help="Whether it is told of jobs.")
@options()
@click.pass_obj
def update(
    session: Session,
    /,
    endpoint_id: str,
    url: str | None,
    events: tuple[str, ...],
    description: str | None,
    *,
    enabled: bool | None,
) -> None:
    """Change an endpoint, disable it, or enable it again."""
    changed = session.room.webhooks.update(
        endpoint_id, url=url, events=events or None, description=description, enabled=enabled
    )
    _show(session, changed)


@webhooks.command("rm")
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@options()
@click.pass_obj
def remove(session: Session, ids: tuple[str, ...]) -> None:
    """Remove endpoints, with their deliveries."""
    for endpoint_id in ids:
        with each_of(session):
            session.room.webhooks.remove(endpoint_id)
            if session.console.as_json:
                session.console.json({"id": endpoint_id, "removed": True})
            else:
                session.console.line(endpoint_id, "removed")


@webhooks.command("secret")
@options()
@click.pass_obj
def secret(session: Session) -> None:
    """Print the secret of the stack, which signs the jobs' own webhooks."""
    _show_secret(session, session.room.webhooks.secret())


@webhooks.command("rotate-secret")
@click.argument("endpoint_id", metavar="[ID]", required=False)
@options()
@click.pass_obj
def rotate_secret(session: Session, endpoint_id: str | None) -> None:
    """Replace the secret of an endpoint, or without ID that of the stack, and print the new one."""
    _show_secret(session, session.room.webhooks.rotate_secret(endpoint_id))


def _show_secret(session: Session, found: WebhookSecret) -> None:
    if session.console.as_json:
        session.console.json(found.raw)
        return
    session.console.line(found.secret)
    if found.old_secret_until is not None:
        until = moment_text(found.old_secret_until, datetime.now(UTC))
        session.console.note(f"The secret before it signs as well until {until}.")


@webhooks.command("deliveries")
@click.argument("endpoint_id", metavar="[ID]", required=False)
@click.option(
    "--state", "states", multiple=True, type=click.Choice(DELIVERY_STATES), help="Only these; give it again for more."
)
@click.option("--limit", type=click.IntRange(min=0), default=50, show_default=True, help="At most so many; 0: all.")
@options()
@click.pass_obj
def deliveries(session: Session, /, endpoint_id: str | None, states: tuple[str, ...], limit: int) -> None:
    """Show what an endpoint, or without ID the jobs' own webhooks, were told, newest first."""
    found = session.room.webhooks.deliveries(endpoint_id, state=states, limit=limit or None)
    now = datetime.now(UTC)
    session.console.listing(found, DELIVERY_COLUMNS, lambda one: _delivery_row(one, now), empty="Nothing was told yet.")


def _delivery_row(delivery: Delivery, now: datetime) -> Sequence[str | Cell]:
    last = delivery.attempts[-1] if delivery.attempts else None
    return (
        delivery.id,
        Cell(delivery.state, _STYLES.get(delivery.state)),
        delivery.type,
        delivery.job_id,
        ago(delivery.at, now),
        str(delivery.attempts_made),
        "" if last is None else last.error or str(last.status),
        ago(delivery.next_attempt_at, now),
    )


@webhooks.command("redeliver")
@click.argument("ids", metavar="DELIVERY...", nargs=-1, required=True)
@options()
@click.pass_obj
def redeliver(session: Session, ids: tuple[str, ...]) -> None:
    """Deliver again, under the same webhook-id."""
    for delivery_id in ids:
        with each_of(session):
            found = session.room.webhooks.redeliver(delivery_id)
            if session.console.as_json:
                session.console.json(found.raw)
            else:
                session.console.line(delivery_id, "is delivered again")
