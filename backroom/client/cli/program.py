"""The command with all its commands, and how each ends."""

from __future__ import annotations

import signal
import sys
from itertools import chain
from typing import TYPE_CHECKING, Final

import click

from backroom import __version__
from backroom.client.cli.access import audit, keys
from backroom.client.cli.bulk import bulk
from backroom.client.cli.emptying import clean, drain, obliterate
from backroom.client.cli.events import tail
from backroom.client.cli.jobs import cancel, job, jobs, logs, promote, remove, reschedule, result, retry, update
from backroom.client.cli.queues import limits, pause, queue, queues, resume
from backroom.client.cli.schedules import schedule, schedules
from backroom.client.cli.session import ExitCode, Session, explain, options
from backroom.client.cli.stack import stats, types, workers
from backroom.client.cli.submitting import submit
from backroom.client.cli.webhooks import webhooks
from backroom.client.errors import BackroomClientError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["cli", "main", "run"]


class _Sections(click.Group):
    """A group whose help lists commands by what they are about."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write them, section by section."""
        there = set(self.list_commands(ctx))
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                lines = [(each.name, each.get_short_help_str(limit=100)) for each in commands if each.name in there]
                formatter.write_dl([(str(name), text) for name, text in lines])


@click.group(
    cls=_Sections,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    epilog="Exit codes: 0 done; 1 the job failed; 2 wrong usage; 3 the stack refused; 4 it cannot be reached; "
    "5 the job has not finished in time. Colours are left out where NO_COLOR is set.",
)
@click.version_option(__version__, prog_name="backroom")
@options(environment=True)
def cli() -> None:
    """Background jobs of a Backroom stack: submit them, watch them, act on them.

    The stack is the one at BACKROOM_URL (http://127.0.0.1:8000), and the key for it BACKROOM_KEY. A key on the command
    line can be seen by other users of this machine.
    """


SECTIONS: Final[Mapping[str, Sequence[click.Command]]] = {
    "Jobs": (submit, jobs, job, result, logs, tail),
    "Acting on jobs": (retry, cancel, promote, reschedule, update, remove, bulk),
    "Queues": (queues, queue, pause, resume, limits, drain, clean, obliterate),
    "Schedules": (schedules, schedule),
    "Webhooks": (webhooks,),
    "The stack": (workers, types, stats),
    "Access": (keys, audit),
}
for command in chain.from_iterable(SECTIONS.values()):
    cli.add_command(command)


def main() -> int:
    """The command as the shell starts it; returns its exit code."""
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `backroom jobs | head` ends quietly, as any filter does
    return run(sys.argv[1:])


def run(arguments: Sequence[str]) -> int:
    """Run the command with these arguments; return its exit code, see `ExitCode`."""
    session = Session()
    try:
        code = cli.main(list(arguments), prog_name="backroom", standalone_mode=False, obj=session)
    except click.ClickException as error:
        if session.as_json or "--json" in arguments:  # it may stand behind what is wrong
            session.as_json = True
            session.console.error("", {"error": "UsageError", "detail": error.format_message()})
        else:
            error.show()
        return ExitCode.USAGE
    except (ValueError, TypeError) as error:  # the client's own refusals, such as of two due times at once
        session.console.error(str(error), {"error": "UsageError", "detail": str(error)})
        return ExitCode.USAGE
    except BackroomClientError as error:
        return explain(error, session.console)
    except click.Abort:  # click's word for Ctrl-C
        return ExitCode.INTERRUPTED
    return code if isinstance(code, int) and code else session.exit_code
