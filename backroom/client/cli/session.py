"""What one call of the command line knows: which stack, in what form to answer, and how it ends."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from backroom.client.cli.console import Cell, Console
from backroom.client.cli.words import DURATION, duration_text
from backroom.client.client import DEFAULT_URL, Backroom
from backroom.client.errors import (
    BackroomAPIError,
    BackroomClientError,
    JobFailed,
    ServerError,
    Unauthorized,
    Unreachable,
    WaitTimeout,
)
from backroom.model.states import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from backroom.client.answers.fields import Raw

__all__ = ["ExitCode", "Session", "each_of", "explain", "goes_on", "options", "state_cell"]

F = TypeVar("F", bound="Callable[..., Any]")

STATE_STYLES: Final[Mapping[str, str]] = {
    State.WAITING: "yellow",
    State.DELAYED: "blue",
    State.ACTIVE: "cyan",
    State.WAITING_CHILDREN: "blue",
    State.COMPLETED: "green",
    State.FAILED: "red",
    State.CANCELLED: "magenta",
    State.EXPIRED: "magenta",
}


class ExitCode(IntEnum):
    """What the command says to the shell."""

    OK = 0
    JOB_FAILED = 1
    USAGE = 2
    REFUSED = 3
    UNREACHABLE = 4
    NOT_FINISHED = 5
    INTERRUPTED = 130


@dataclass
class Session:
    """One call of the command line."""

    url: str = DEFAULT_URL
    key: str | None = None
    as_json: bool = False
    timeout: float = 10.0
    #: The worst that has happened to one of several things that were to be done.
    exit_code: ExitCode = field(default=ExitCode.OK, init=False)

    @cached_property
    def console(self) -> Console:
        """Where answers go; made when all options are known."""
        return Console(as_json=self.as_json)

    @cached_property
    def room(self) -> Backroom:
        """The stack."""
        try:
            room = Backroom(self.url, self.key, timeout=self.timeout)
        except ValueError as error:
            raise click.UsageError(str(error)) from None
        click.get_current_context().call_on_close(room.close)
        return room


def explain(error: BackroomClientError, console: Console) -> ExitCode:
    """Tell what went wrong and what to do, and with which exit code it ends."""
    value: dict[str, Any] = {"error": type(error).__name__, "detail": str(error)}
    words = [str(error)]
    if isinstance(error, JobFailed):
        console.error("\n".join(words), {**value, "job": error.job.raw})
        return ExitCode.JOB_FAILED
    if isinstance(error, WaitTimeout):
        console.error("\n".join(words), {**value, "job": error.job.raw})
        return ExitCode.NOT_FINISHED
    if not isinstance(error, BackroomAPIError):
        if isinstance(error, Unreachable):
            words.append("Say which stack is meant with --url or BACKROOM_URL.")
        console.error("\n".join(words), value)
        return ExitCode.UNREACHABLE
    value |= {"status": error.status, "type": error.type, "title": error.title, "requestId": error.request_id}
    value |= {"retryAfter": error.retry_after, "errors": [each._asdict() for each in error.errors]}
    if error.errors:
        words = [error.title, *(f"{each.pointer or '/'}: {each.message}" for each in error.errors)]
    if isinstance(error, Unauthorized):
        words.append("Give a key of this stack with BACKROOM_KEY or --key.")
    if error.retry_after is not None:
        words.append(f"Try again in {duration_text(error.retry_after)}.")
    if isinstance(error, ServerError) and error.request_id is not None:
        words.append(f"The log of the API has more, under the request id {error.request_id}.")
    console.error("\n".join(words), value)
    return ExitCode.REFUSED if error.code else ExitCode.UNREACHABLE  # without a code it was said by something else


@contextmanager
def goes_on(session: Session, what: str, look: str, raw: Raw) -> Iterator[None]:
    """Wait for something that goes on without us: one who interrupts it is told what it is, and how to ``look``."""
    try:
        yield
    except KeyboardInterrupt:
        detail = f"{what} goes on; see: {look}"
        session.console.error(f"interrupted\n{detail}", {"error": "Interrupted", "detail": detail, "waitedFor": raw})
        raise


@contextmanager
def each_of(session: Session) -> Iterator[None]:
    """Do one of several things: that it is refused keeps nobody from doing the others."""
    try:
        yield
    except BackroomAPIError as error:
        session.exit_code = max(session.exit_code, explain(error, session.console))


def state_cell(state: State) -> Cell:
    """A state in its colour."""
    return Cell(state, STATE_STYLES.get(state))


def _set(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    """Keep what was given in the session; what stands nearer to the end of the line wins."""

    def callback(context: click.Context, _: click.Parameter, value: Any) -> None:
        if value not in {None, False}:
            setattr(context.ensure_object(Session), name, value)

    return callback


def options(*, environment: bool = False) -> Callable[[F], F]:
    """The options that every command has, in front of it or behind it; ``environment`` where the environment counts."""
    url, key = ("BACKROOM_URL", "BACKROOM_KEY") if environment else (None, None)
    shared: dict[str, Any] = {"expose_value": False}

    def decorate(function: F) -> F:
        for option in (
            click.option("--json", "_json", is_flag=True, callback=_set("as_json"), help="Answer in JSON.", **shared),
            click.option("--url", "_url", envvar=url, callback=_set("url"), help="The stack (BACKROOM_URL).", **shared),
            click.option("--key", "_key", envvar=key, callback=_set("key"), help="Its key (BACKROOM_KEY).", **shared),
            click.option(
                "--timeout", "_timeout", type=DURATION, callback=_set("timeout"), help="Of one request (10s).", **shared
            ),
        ):
            function = option(function)
        return function

    return decorate
