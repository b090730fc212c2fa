# ruff: noqa: N999 - gunicorn's own name for this file
"""How gunicorn runs the API: ``gunicorn -c services/api/gunicorn.conf.py 'services.api:create_app()'``.

Processes x greenlets. Python runs one thread of a process at a time, so a process a core; in it every connection has a
greenlet, which costs little, because a request is mostly waiting for Redis. How many callers ask to wait (``Prefer:
wait``) or listen to events is counted over all processes. Counters are kept
per process in files and added up when `/metrics` is read (prometheus_client's multiprocess mode), so that any process
answers for all.

Environment: PORT (8000), HOST (127.0.0.1), and `services.api.settings`.
"""

import gc
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, Protocol

from gevent import monkey  # type: ignore[import-untyped]  # the library has no types

# Here, as the application is imported by the process that forks the others, and must find gevent's sockets and locks.
# That process itself watches over its children by signals, which are left to it.
monkey.patch_all(os=False, signal=False, subprocess=False)

# Before anything imports prometheus_client, which decides by this where counters live. Kept over a reload (SIGHUP).
_OWN_FOLDER = "backroom-api-metrics-"
if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix=_OWN_FOLDER)

from prometheus_client import multiprocess  # noqa: E402 - see above

from backroom.logs import formatter  # noqa: E402 - see above
from backroom.settings import get_settings  # noqa: E402 - see above
from services.api.http.seats import Tally  # noqa: E402 - see above
from services.api.settings import get_api_settings  # noqa: E402 - see above

_settings, _api = get_settings(), get_api_settings()

bind = f"{os.environ.get('HOST', '127.0.0.1')}:{os.environ.get('PORT', '8000')}"
proc_name = "services.api"
workers = _api.processes
worker_class = "services.api.server.Worker"
# Connections a process holds open: those being answered, and idle ones that clients keep for their next request.
worker_connections = _api.connections + _api.max_waits
backlog = 2048
# Longer than the 60 s most proxies and client pools keep idle connections: the client closes first, so that no request
# meets a connection that is just being closed.
keepalive = 75
# The process is replaced if nothing in it has its turn for so long; requests may take as long as they need.
timeout = 60
graceful_timeout = _api.shutdown_seconds
# Addresses, headers in number and single headers above these are refused with 414 and 431.
limit_request_line = 8190
limit_request_fields = 100
limit_request_field_size = 8190
# The heartbeat file belongs in memory: on a busy disk its update can block the main loop.
_memory = Path("/dev/shm")  # noqa: S108 - gunicorn makes the file there as a private one
worker_tmp_dir = str(_memory) if _memory.is_dir() else None

# Its socket would lie in the home directory, one for all stacks of a user.
control_socket_disable = True

accesslog = None  # the app writes a line a request itself, with the request id, and none for /livez and /readyz
logconfig_dict: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "root": {"level": _settings.log_level, "handlers": ["stderr"]},
    "loggers": {
        "gunicorn.error": {"level": _settings.log_level, "handlers": ["stderr"], "propagate": False},
        "gunicorn.access": {"handlers": [], "propagate": False},
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "lines", "stream": "ext://sys.stderr"}},
    "formatters": {"lines": {"()": formatter, "settings": _settings}},
}


class Worker(Protocol):
    """What the hooks use of gunicorn's worker, whose classes carry no types."""

    pid: int
    alive: bool
    wsgi: Any
    tally_cell: int


def on_starting(_server: object) -> None:
    """Begin with empty counters, in a folder that was kept as well."""
    folder = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
    folder.mkdir(parents=True, exist_ok=True)
    for counters in folder.glob("*.db"):
        counters.unlink()


#: In memory that the processes share.
_tally = Tally()


def pre_fork(_server: object, worker: Worker) -> None:
    """Give the process a cell to count its seats in."""
    worker.tally_cell = _tally.open()


def post_worker_init(worker: Worker) -> None:
    """Let the app see that its process is being stopped, and count its seats together with the other processes.

    From now on it also goes on with bulk actions that other processes have begun.

    When it is stopped, /readyz says so, those who wait are answered at once, and streams end.
    """
    gc.collect()
    gc.freeze()  # what is there now stays, and is not gone through again with every collection
    backend = worker.wsgi.extensions["backroom"]
    backend.server = worker
    backend.seats.share(_tally, worker.tally_cell)
    backend.bulk_runner.nudge()


def worker_exit(_server: object, worker: Worker) -> None:
    """Write what is left for the audit log; the process may have ended before it had an app."""
    if (app := getattr(worker, "wsgi", None)) is not None:
        app.extensions["backroom"].ledger.close()


def child_exit(_server: object, worker: Worker) -> None:
    """Take the seats and the gauges of a process that ended out of the sums; its counters stay in."""
    _tally.close(worker.tally_cell)
    multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]  # the library leaves it untyped


def on_exit(_server: object) -> None:
    """Leave no folder behind that nobody else made."""
    folder = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
    if folder.name.startswith(_OWN_FOLDER):
        shutil.rmtree(folder, ignore_errors=True)
