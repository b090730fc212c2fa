"""Queues: how they stand, holding them, limiting them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from backroom.client.answers.queues import Limits, Rate
from backroom.client.cli.console import Cell, Column
from backroom.client.cli.session import Session, each_of, options, state_cell
from backroom.client.cli.words import RATE, duration_text
from backroom.model.states import State

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from backroom.client.answers.queues import Queue

__all__ = ["limits", "pause", "queue", "queues", "resume"]

SHOWN_STATES = (State.WAITING, State.DELAYED, State.ACTIVE, State.COMPLETED, State.FAILED)
COLUMNS = (
    Column("QUEUE", shrinks=True),
    *(Column(state.upper(), right=True) for state in SHOWN_STATES),
    Column("OLDEST", right=True),
    Column("IN/MIN", right=True),
    Column("DONE/MIN", right=True),
    Column("LIMITS", shrinks=True),
)


@click.command()
@options()
@click.pass_obj
def queues(session: Session) -> None:
    """List the queues."""
    found = session.room.queues.list()
    session.console.listing(found, COLUMNS, _row, empty="There are no queues yet: one begins with its first job.")


def _row(queue: Queue) -> Sequence[str | Cell]:
    done = queue.rates.get("completedPerMinute", 0.0) + queue.rates.get("failedPerMinute", 0.0)
    return (
        queue.name,
        *(_count(queue, state) for state in SHOWN_STATES),
        _oldest(queue),
        f"{queue.rates.get('submittedPerMinute', 0.0):g}",
        f"{done:g}",
        Cell(_brakes(queue), "yellow" if queue.paused else None),
    )


def _count(queue: Queue, state: State) -> Cell:
    count = queue.counts.get(state, 0)
    return Cell(str(count), state_cell(state).style if count else "dim")


def _oldest(queue: Queue) -> str:
    return "" if queue.oldest_waiting_ms is None else duration_text(queue.oldest_waiting_ms / 1000)


def _rate(rate: Rate | None) -> str:
    return "" if rate is None else f"{rate.max}/{duration_text(rate.seconds).replace(' ', '')}"


def _brakes(queue: Queue) -> str:
    """Everything that holds a queue back."""
    limits = queue.limits
    held = "" if limits.limited_for_ms is None else f"held for {duration_text(limits.limited_for_ms / 1000)}"
    return ", ".join(
        word
        for word in (
            "paused" if queue.paused else "",
            f"{limits.concurrency} at once" if limits.concurrency else "",
            _rate(limits.rate),
            f"at most {limits.max_length} waiting" if limits.max_length else "",
            held,
        )
        if word
    )


@click.command()
@click.argument("name")
@options()
@click.pass_obj
def queue(session: Session, name: str) -> None:
    """Show one queue."""
    _show(session, session.room.queues.get(name))


def _show(session: Session, queue: Queue) -> None:
    if session.console.as_json:
        session.console.json(queue.raw)
        return
    session.console.fields(
        (
            ("queue", queue.name),
            ("state", Cell("paused", "yellow") if queue.paused else Cell("running", "green")),
            *((state, str(count)) for state, count in queue.counts.items()),
            ("oldest waiting", _oldest(queue)),
            *((rate.removesuffix("PerMinute") + "/min", f"{value:g}") for rate, value in queue.rates.items()),
            *_limits(queue.limits),
        )
    )


def _limits(limits: Limits) -> Sequence[tuple[str, str]]:
    return (
        ("concurrency", str(limits.concurrency or "no limit")),
        ("rate", _rate(limits.rate) or "no limit"),
        ("max length", str(limits.max_length or "no limit")),
        ("held for", "" if not limits.limited_for_ms else duration_text(limits.limited_for_ms / 1000)),
    )


def _on_each(name: str, text: str, act: Callable[[Session, str], Queue]) -> click.Command:
    """A command that does something to each of the queues it is given."""

    @click.command(name, help=text)
    @click.argument("names", metavar="QUEUE...", nargs=-1, required=True)
    @options()
    @click.pass_obj
    def run(session: Session, names: Sequence[str]) -> None:
        for each in names:
            with each_of(session):
                done = act(session, each)
                if session.console.as_json:
                    session.console.json(done.raw)
                else:
                    session.console.line(each, Cell("paused", "yellow") if done.paused else Cell("running", "green"))

    return run


pause = _on_each(
    "pause",
    "Pause queues: jobs that run go on, no more are started, new ones are taken.",
    lambda session, name: session.room.queues.pause(name),
)
resume = _on_each("resume", "Resume queues.", lambda session, name: session.room.queues.resume(name))


class _OrNone(click.ParamType[Any]):
    """A value of another type, or ``none``."""

    def __init__(self, kind: click.ParamType[Any]) -> None:
        self.kind = kind
        self.name = f"{kind.name} or none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read it; none is 0."""
        return 0 if value == "none" else self.kind.convert(value, param, ctx)


@click.command()
@click.argument("name")
@click.option("--concurrency", type=_OrNone(click.INT), metavar="N|none", help="Jobs that run at once.")
@click.option("--rate", type=_OrNone(RATE), metavar="N/TIME|none", help="Jobs that start in a time, such as 10/1s.")
@click.option("--max-length", type=_OrNone(click.INT), metavar="N|none", help="Waiting and delayed jobs it takes.")
@click.option("--clear", is_flag=True, help="Take all limits away.")
@options()
@click.pass_obj
def limits(
    session: Session,
    name: str,
    *,
    concurrency: int | None,
    rate: Rate | int | None,
    max_length: int | None,
    clear: bool,
) -> None:
    """Show or change the limits of a queue, which hold over all workers. What is left out stays as it is."""
    given = [value for value in (concurrency, rate, max_length) if value is not None]
    if clear and given:
        raise click.UsageError("--clear takes all limits away: give it alone")
    queues = session.room.queues
    if clear:
        found = queues.clear_limits(name)
    elif not given:
        found = queues.get(name)
    else:
        before = next((one.limits for one in queues.list() if one.name == name), None)
        kept_rate = before.rate if before else None
        found = queues.set_limits(
            name,
            concurrency=(concurrency if concurrency is not None else before and before.concurrency) or None,
            rate=kept_rate if rate is None else rate if isinstance(rate, Rate) else None,
            max_length=(max_length if max_length is not None else before and before.max_length) or None,
        )
    if session.console.as_json:
        session.console.json(found.raw)
    else:
        session.console.fields(_limits(found.limits))
