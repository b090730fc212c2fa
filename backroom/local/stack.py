"""Which processes make up the stack on this machine, and their command lines."""

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from backroom.local.program import Program
from backroom.local.server import HOST, LONGEST_SOCKET_PATH, EmbeddedServer
from backroom.local.settings import RunSettings

__all__ = ["ROOT", "STORE_NAME", "embedded_store", "services", "store_program"]

ROOT: Final = Path(__file__).resolve().parents[2]
"""The folder that holds the packages ``backroom`` and ``services``."""
STORE_NAME: Final = "valkey"
_CELERY: Final = ("celery", "--quiet")  # without its banner, which would be on the terminal once a process


def embedded_store(data_dir: Path) -> EmbeddedServer:
    """Describe the job store of a run: its data in ``valkey/``, its socket beside it.

    A Unix socket is reached by nobody else, and needs no port. Where the path is too long for one, a port is chosen.
    """
    socket = data_dir / "valkey.sock"
    fits = len(os.fsencode(socket)) <= LONGEST_SOCKET_PATH
    return EmbeddedServer(data_dir / "valkey", socket=socket if fits else None)


def store_program(server: EmbeddedServer, lock: int) -> Program:
    """Return the program of the embedded store.

    :param lock: the locked file of the data folder. The store holds it too, so that no other run can start on the
        same data while a store whose supervisor was killed still writes.
    """
    server.data_dir.mkdir(parents=True, exist_ok=True)
    return Program(
        name=STORE_NAME,
        command=server.command,
        cwd=server.data_dir,
        environment=os.environ,
        orphan_signal=signal.SIGTERM,  # it writes its data and ends, whatever happens; the others could hang on it
        files=(lock,),
    )


def services(settings: RunSettings, data_dir: Path, redis_url: str, *, log_level: str, embedded: bool) -> list[Program]:
    """Return the programs of the API, the workers and the scheduler.

    :param redis_url: the job store they share.
    :param log_level: the least severe level that the workers and the scheduler log; the API reads it itself.
    :param embedded: whether no other run can share that store; else the workers' names say which run is theirs.
    """
    environment = _environment(settings, data_dir, redis_url)
    python = sys.executable

    def program(name: str, *words: str) -> Program:
        return Program(name=name, command=[python, "-m", *words], cwd=ROOT, environment=environment)

    config = str(Path("services", "api", "gunicorn.conf.py"))
    # The control socket's place in the home folder is the same for every run: the last one would take it over.
    gunicorn = ["gunicorn", "-c", config, "--bind", f"{HOST}:{settings.port}", "--no-control-socket"]
    programs = [program("api", *gunicorn, "services.api:create_app()")]
    run = "" if embedded else f"-{settings.port}"
    level = ["--loglevel", log_level]
    queues = ["-Q", settings.worker_queues] if settings.worker_queues else []
    for number in range(1, settings.workers + 1):
        celery = [*_CELERY, "-A", "services.worker.app", "worker", "--hostname", f"worker-{number}{run}@%h", *level]
        pool = ["--pool", settings.worker_pool, "--concurrency", str(settings.jobs_at_once)]
        programs.append(program(f"worker-{number}", *celery, *pool, *queues))
    programs.append(program("scheduler", *_CELERY, "-A", "services.scheduler.app", "beat", *level))
    return programs


def _environment(settings: RunSettings, data_dir: Path, redis_url: str) -> Mapping[str, str]:
    defaults = {
        "BACKROOM_ARTIFACTS_DIR": str(data_dir / "artifacts"),
        "BACKROOM_LOG_FORMAT": "console",  # they write to a pipe, and a person reads it
    }
    if not sys.stdout.isatty():
        defaults["NO_COLOR"] = "1"
    fixed = {
        "BACKROOM_REDIS_URL": redis_url,
        "PORT": str(settings.port),
        "PROMETHEUS_MULTIPROC_DIR": str(data_dir / "api-metrics"),  # the counters of the API's processes
        "PYTHONUNBUFFERED": "1",
    }
    return {**defaults, **{name: value for name, value in os.environ.items() if value}, **fixed}
