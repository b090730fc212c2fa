"""Acting on many jobs in the background."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from backroom.client.cli.console import Cell, Column, progress_text
from backroom.client.cli.emptying import make_sure
from backroom.client.cli.filters import filter_options, filters_of
from backroom.client.cli.session import ExitCode, Session, goes_on, options
from backroom.client.cli.words import DURATION, ago

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backroom.client.answers.bulk import BulkAction
    from backroom.client.bulk import BulkActionKind

__all__ = ["bulk"]

COLUMNS = (
    Column("ID"),
    Column("ACTION"),
    Column("STATE"),
    Column("JOBS", right=True),
    Column("DONE", right=True),
    Column("SKIPPED", right=True),
    Column("FAILED", right=True),
    Column("BEGUN", right=True),
)
STYLES = {"running": "cyan", "completed": "green", "aborted": "magenta", "failed": "red"}
SHOWN = 20


@click.group()
def bulk() -> None:
    """Retry, cancel, promote or remove many jobs in the background, and watch that."""


def _command(action: BulkActionKind, text: str, *more: Any) -> click.Command:
    """A command that begins a bulk action."""

    @click.pass_obj
    def run(session: Session, /, job_ids: Sequence[str], wait_for: float | None, **given: Any) -> None:
        filters = filters_of(given)
        if bool(job_ids) == bool(filters):
            raise click.UsageError("say which jobs: by ids, or by filters such as --state failed --queue mail")
        ids = list(job_ids) or None
        if given["dry_run"]:
            _count(session, action, session.room.bulk.count(action, ids, **filters))
            return
        if action == "remove" and not given["yes"]:
            number = session.room.bulk.count(action, ids, **filters)
            make_sure(session, f"Remove {number} jobs, with their logs and results?")
        found = session.room.bulk.start(action, ids, reset_attempts=given.get("reset_attempts", False), **filters)
        if given["wait"] or wait_for is not None:
            with goes_on(session, f"Bulk action {found.id}", f"backroom bulk show {found.id} --wait", found.raw):
                found = _see_through(session, found, wait_for)
        _tell(session, found)

    command: Any = run
    for decorator in (
        options(),
        click.option("--wait-for", type=DURATION, help="The same, but no longer than this."),
        click.option("--wait", is_flag=True, help="Wait until it is done."),
        click.option("--dry-run", is_flag=True, help="Only count the jobs."),
        *more,
        filter_options,
        click.argument("job_ids", metavar="[ID]...", nargs=-1),
    ):
        command = decorator(command)
    return click.command(action, help=text)(command)


for each in (
    _command(
        "retry",
        "Run finished jobs again: those with these ids, or all that the filters choose.",
        click.option("--reset-attempts", is_flag=True, help="Give each all its tries again."),
    ),
    _command("cancel", "Cancel jobs. Those that run are stopped within seconds."),
    _command("promote", "Make delayed jobs ready now."),
    _command(
        "remove",
        "Remove jobs that do not run, with their logs and results.",
        click.option("-y", "--yes", is_flag=True, help="Do not ask."),
    ),
):
    bulk.add_command(each)


@bulk.command("list")
@click.option("--limit", type=click.IntRange(min=0), default=SHOWN, show_default=True, help="0: all.")
@options()
@click.pass_obj
def show_all(session: Session, limit: int) -> None:
    """List bulk actions, the newest first."""
    found = session.room.bulk.list(limit=limit or None)
    now = datetime.now(UTC)
    session.console.listing(found, COLUMNS, lambda one: _row(one, now), empty="There are no bulk actions.")


@bulk.command()
@click.argument("action_id", metavar="ID")
@click.option("--wait", is_flag=True, help="Wait until it is done.")
@click.option("--wait-for", type=DURATION, help="The same, but no longer than this.")
@options()
@click.pass_obj
def show(session: Session, action_id: str, *, wait: bool, wait_for: float | None) -> None:
    """Show how far a bulk action is."""
    found = session.room.bulk.get(action_id)
    if wait or wait_for is not None:
        found = _see_through(session, found, wait_for)
    _tell(session, found)


@bulk.command()
@click.argument("action_id", metavar="ID")
@options()
@click.pass_obj
def abort(session: Session, action_id: str) -> None:
    """Let a bulk action do no more. What it has done stays done."""
    found = session.room.bulk.abort(action_id)
    if session.console.as_json:
        session.console.json(found.raw)
    else:
        session.console.line(_words(found))


def _see_through(session: Session, action: BulkAction, seconds: float | None) -> BulkAction:
    """Wait for an action, and show on a terminal how far it is; the shell is told when the time was up before."""
    console = session.console

    def report(now: BulkAction) -> None:
        percent = 100.0 * now.done / now.total if now.total else None
        console.status(f"{now.action} {progress_text(percent, f'{now.done} of {now.total} jobs')}")

    try:
        found = session.room.bulk.wait(action.id, seconds, report=report if console.is_watched else None)
    finally:
        if console.is_watched:
            console.clear_status()
    if not found.finished:
        session.exit_code = ExitCode.NOT_FINISHED
    return found


def _tell(session: Session, action: BulkAction) -> None:
    """Print an action: to people in a sentence, its id alone where it goes on, so that a script can keep it."""
    console = session.console
    if console.as_json:
        console.json(action.raw)
    elif action.finished:
        console.line(_words(action))
    else:
        console.line(action.id)
        console.note(f"{_words(action)}; see: backroom bulk show {action.id} --wait", "dim")
    if action.state in {"aborted", "failed"} or action.failed:
        session.exit_code = max(session.exit_code, ExitCode.JOB_FAILED)


def _words(action: BulkAction) -> str:
    parts = [f"{action.action} {action.state}: {action.succeeded} of {action.total} jobs"]
    parts += [f"{action.skipped} skipped"] * bool(action.skipped)
    parts += [f"{action.failed} not found"] * bool(action.failed)
    parts += [action.detail] if action.detail else []
    return ", ".join(parts)


def _count(session: Session, action: str, number: int) -> None:
    if session.console.as_json:
        session.console.json({"action": action, "dryRun": True, "total": number})
    else:
        session.console.line(f"{number} jobs match.")


def _row(action: BulkAction, now: datetime) -> Sequence[str | Cell]:
    return (
        action.id,
        action.action,
        Cell(action.state, STYLES.get(action.state)),
        str(action.total),
        str(action.succeeded),
        str(action.skipped),
        Cell(str(action.failed), "red" if action.failed else None),
        ago(action.created_at, now),
    )
