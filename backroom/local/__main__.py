"""``python -m backroom.local``: the whole stack on this machine, without Docker (``make run``)."""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pydantic import ValidationError

from backroom.local.console import Console
from backroom.local.lock import DataFolderInUse, lock_data_folder
from backroom.local.readiness import Readiness
from backroom.local.server import HOST, EmbeddedServer, ServerError, port_is_free
from backroom.local.settings import RunSettings
from backroom.local.stack import STORE_NAME, embedded_store, services, store_program
from backroom.local.supervisor import Supervisor
from backroom.settings import Settings
from backroom.store import Store, connect

KILL_MARGIN_SECONDS: Final = 10.0
"""Beyond the grace time that the workers give their own jobs, before they are killed."""
STORE_STOP_SECONDS: Final = 20.0
"""How long the store may take to write its data."""
REMIND_SECONDS: Final = 15.0
"""How often a start that takes long says what it is waiting for."""


class CannotStartError(Exception):
    """Something that the user must change first; nothing was started."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A run that nothing stands in the way of."""

    run: RunSettings
    settings: Settings
    data_dir: Path
    lock: int
    server: EmbeddedServer | None
    redis_url: str


def main() -> int:
    """Run the stack until SIGINT or SIGTERM; return the exit code: 0 after that, 2 if nothing could be started."""
    try:
        plan = _plan()
        _carry_out(plan)
    except (CannotStartError, ServerError) as error:
        sys.stderr.write(f"\nCannot start: {error}\n\n")
        return 2
    except KeyboardInterrupt:  # before the supervisor took over the signals: there is nothing to stop
        return 0
    return 0


def _plan() -> Plan:
    """Read the settings, and take the data folder and the port.

    :raises CannotStartError: if a setting is wrong, or the folder or the port is taken.
    """
    try:
        run, settings = RunSettings(), Settings()
    except ValidationError as error:
        prefix = "" if error.title == RunSettings.__name__ else "BACKROOM_"
        reasons = [
            f"{prefix}{'_'.join(map(str, e['loc'])).upper()}: {e['msg']} (it is {e['input']!r})" for e in error.errors()
        ]
        raise CannotStartError("\n".join(["a setting in the environment is wrong.", *reasons])) from None
    data_dir = run.data_dir.absolute()
    try:
        lock = lock_data_folder(data_dir)
    except DataFolderInUse as error:
        port = _free_port_after(run.port)
        hint = f"Stop that one, or choose another folder and port: DATA_DIR=.data-{port} PORT={port} make run"
        raise CannotStartError(f"{error}.\n{hint}") from None
    except OSError as error:
        raise CannotStartError(f"the data folder {data_dir} cannot be used: {error.strerror}") from None
    if not port_is_free(run.port):
        hint = f"Choose another one: PORT={_free_port_after(run.port)} make run"
        raise CannotStartError(f"port {run.port} of {HOST} is taken by another program.\n{hint}")
    given_url = os.environ.get("BACKROOM_REDIS_URL")
    server = None if given_url else embedded_store(data_dir)
    if server is not None:
        server.check_address()
    redis_url = given_url or (server.url if server else "")
    try:
        connect(redis_url).close()  # connects to nothing yet: it reads the address
    except ValueError as error:
        raise CannotStartError(str(error)) from None
    return Plan(run=run, settings=settings, data_dir=data_dir, lock=lock, server=server, redis_url=redis_url)


def _carry_out(plan: Plan) -> None:
    """Start everything, say so when it is up, and stop everything when asked."""
    level, embedded = plan.settings.log_level, plan.server is not None
    programs = services(plan.run, plan.data_dir, plan.redis_url, log_level=level, embedded=embedded)
    names = [program.name for program in programs]
    console = Console(width=max(map(len, names)))
    with Supervisor(console) as supervisor:
        if plan.server is not None:
            supervisor.start(store_program(plan.server, plan.lock))
            supervisor.run(until=plan.server.answers)
        if not supervisor.stop_requested:
            for program in programs:
                supervisor.start(program)
            _announce(plan, supervisor, console)
            supervisor.run()
        console.notice("Stopping: running jobs may finish. Once more stops them at once.")
        supervisor.stop(names, plan.settings.shutdown_grace_seconds + KILL_MARGIN_SECONDS)
        supervisor.stop([STORE_NAME], STORE_STOP_SECONDS)


def _announce(plan: Plan, supervisor: Supervisor, console: Console) -> None:
    """Print the address and a first job once all is really up; return without if a stop is requested first."""
    with connect(plan.redis_url, timeout=plan.settings.redis_timeout_seconds) as client:
        store = Store(client, prefix=plan.settings.key_prefix)
        readiness = Readiness(store, plan.run.port, supervisor.pids)
        readiness.start()
        if supervisor.run(until=_all_up(readiness, console)):
            console.notice(_welcome(plan))
        readiness.cancel()
        readiness.join()


def _all_up(readiness: Readiness, console: Console) -> Callable[[], bool]:
    """Return the condition that everything is up; while it is not, say every 15 s what is missing."""
    remind_at = time.monotonic() + REMIND_SECONDS

    def all_up() -> bool:
        nonlocal remind_at
        if readiness.missing and time.monotonic() >= remind_at:
            console.notice(f"Still waiting for {', '.join(readiness.missing)}.")
            remind_at += REMIND_SECONDS
        return not readiness.missing

    return all_up


def _welcome(plan: Plan) -> str:
    address = f"http://{HOST}:{plan.run.port}"
    key = plan.settings.api_keys or plan.settings.api_keys_file
    bearer = " -H 'Authorization: Bearer YOUR-KEY'" if key else ""
    jobs = plan.data_dir if plan.server else _public(plan.redis_url)
    return f"""\
Backroom is up: {address}
Workers: {plan.run.workers}, each with {plan.run.jobs_at_once} at once. The jobs are in {jobs}

Post a job, and read its result under the id in the answer:
  curl -s {address}/jobs/enqueue{bearer} -H 'Content-Type: application/json' -d '{{"userId": "u1", "payload": {{}}}}'
  curl -s {address}/v1/jobs/ID/result{bearer}

Ctrl-C stops everything."""


def _public(url: str) -> str:
    """Return an address without the password in it."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user.partition(':')[0]}:***{at}{host}" if at else host).geturl()


def _free_port_after(port: int) -> int:
    """Return the next free port; behind the last one those begin again that need no rights."""
    return next(filter(port_is_free, chain(range(port + 1, 65536), range(1024, port))))


if __name__ == "__main__":
    sys.exit(main())
