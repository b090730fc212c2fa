"""Real workers on a real store, and what a test sees of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar
from unittest.mock import patch

import psutil
from celery._state import get_current_app
from kombu import pools

from backroom.engine.app import create_app
from backroom.model.job import new_job
from backroom.model.options import parse_options
from backroom.model.states import FINISHED
from backroom.settings import Settings, get_settings
from backroom.store import Store, connect
from tests.integration.engine.claims import most_in_a_window, starts_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from celery import Celery

    from backroom.model.job import Job, NewJob
    from backroom.model.job_types import JobType
    from backroom.store import Event, WorkerView

__all__ = ["LEASE_SECONDS", "PATIENCE", "ROOT", "Process", "Run", "Stage", "eventually"]

ROOT = Path(__file__).parents[3]
#: What has not happened after so many seconds never will.
PATIENCE = 60.0
#: Short enough for tests that wait for the end of a lease (see `Settings.lease_seconds`), and long enough that nobody
#: loses his jobs when the machine stands still for some seconds.
LEASE_SECONDS = 6.0

T = TypeVar("T")


def _forget(app: Celery) -> None:
    """Close an application, and what kombu would keep of it for the next one with the same address."""
    connection = app.connection_for_write()
    for group in (pools.producers, pools.connections):
        group[connection].force_close_all()
        del group[connection]
    app.close()


def eventually(look: Callable[[], T], *, until: Callable[[T], object] = bool, within: float = PATIENCE) -> T:
    """The first answer of ``look``, asked again and again, that is true (or that ``until`` says is right)."""
    deadline = time.monotonic() + within
    while True:
        found = look()
        if until(found):
            return found
        assert time.monotonic() < deadline, f"still {found!r} after {within} s"
        time.sleep(0.01)


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a job, as the job itself noted it; times in seconds since 1970."""

    job_id: str
    attempt: int
    pid: int
    begin: float
    end: float | None


class Process:
    """A worker or a scheduler: its main process and its children."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], output: Path) -> None:
        self.name, self._process, self._output = name, process, output

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def output(self) -> str:
        return self._output.read_text(errors="replace")

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def children(self) -> list[int]:
        """The pids of its children: of the prefork pool."""
        return [child.pid for child in psutil.Process(self.pid).children()]

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def freeze(self) -> None:
        """SIGSTOP for the whole family."""
        for pid in [self.pid, *self.children()]:
            _send(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        for pid in [*self.children(), self.pid]:
            _send(pid, signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL for the whole family, as when the machine loses its power."""
        children = self.children() if self.runs else []
        self._process.kill()
        for pid in children:
            _send(pid, signal.SIGKILL)
        self._process.wait()

    def ended(self, within: float = PATIENCE) -> int:
        """Its exit code, once it has ended."""
        try:
            return self._process.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} still runs after {within} s:\n{self.output}") from None

    def stop(self, within: float = PATIENCE) -> int:
        """SIGTERM, and its exit code."""
        self.send(signal.SIGTERM)
        return self.ended(within)


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # children come and go, and go with their parent
        os.kill(pid, number)


class Stage:
    """A job store of its own and everything that works on it."""

    def __init__(self, url: str, prefix: str, folder: Path, **settings: object) -> None:
        """``url`` is where workers connect; ``settings`` are those of all processes, by their names in `Settings`."""
        self.url, self.folder = url, folder
        folder.mkdir(parents=True, exist_ok=True)
        given: dict[str, object] = {
            "redis_url": url,
            "key_prefix": prefix,
            "lease_seconds": LEASE_SECONDS,
            "sweep_seconds": 0.25,
            "worker_sweep_seconds": 0.5,
            "shutdown_grace_seconds": 20.0,
            **settings,
        }
        self.settings = Settings(**given)  # type: ignore[arg-type]  # checked when it is made
        self._environment = {f"BACKROOM_{name.upper()}": str(value) for name, value in given.items()}
        self._stack = ExitStack()
        self._seen, self._events = "0-0", list["Event"]()
        self._read_to, self._lines = 0, list[list[str]]()
        self._names = 0
        self._types: dict[str, JobType] = {}
        #: The processes started here, in this order.
        self.processes: list[Process] = []
        self.connect(url)

    def connect(self, url: str) -> None:
        """Look at the store by way of this URL from now on."""
        self.server_url = url
        redis = connect(url, timeout=10)
        self._stack.callback(redis.close)
        self.store = Store(redis, settings=self.settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # Processes.

    @property
    def first(self) -> Process:
        """The first process started here."""
        return self.processes[0]

    def worker(
        self,
        name: str = "",
        *,
        pool: str = "prefork",
        concurrency: int = 2,
        queues: Sequence[str] = (),
        options: Sequence[str] = (),
        wait: bool = True,
        **settings: Any,
    ) -> Process:
        """Start a worker and wait until it claims jobs. It is killed at the end, if it still runs then.

        :param settings: of this worker alone.
        """
        self._names += 1
        name = name or f"worker-{self._names}"
        words = ["worker", "--pool", pool, "--concurrency", str(concurrency), "--hostname", f"{name}@here"]
        words += ["--without-mingle", "--without-gossip", "--loglevel", "WARNING", *options]
        if queues:
            words += ["-Q", ",".join(queues)]
        process = self._start(f"{name}@here", words, settings)
        if wait:
            self.wait_for_worker(process)
        return process

    def workers(self, *pools: str, concurrency: int = 2, **settings: Any) -> list[Process]:
        """Start a worker of each of these pools, at the same time, and wait for all."""
        started = [self.worker(pool=pool, concurrency=concurrency, wait=False, **settings) for pool in pools]
        for process in started:
            self.wait_for_worker(process)
        return started

    def wait_for_worker(self, process: Process) -> WorkerView:
        """The worker as it says of itself, once it does."""

        def look() -> WorkerView | None:
            assert process.runs, process.output
            return next((view for view in self.store.workers.list() if view.id == process.name), None)

        view = eventually(look)
        assert view is not None
        return view

    def wait_for_news(self, process: Process, *, until: Callable[[WorkerView], object] = bool) -> None:
        """Until the worker says something of itself from now on (or what ``until`` says is right)."""
        seconds, micros = self.store.redis.time()
        now = seconds * 1000 + micros // 1000

        def told() -> object:
            view = self.wait_for_worker(process)
            return view.heartbeat_at > now and until(view)

        eventually(told)

    def wait_until_idle(self, process: Process) -> None:
        """Until the worker says, from now on, that it runs no job; one that was given up may still hold a thread."""
        self.wait_for_news(process, until=lambda view: not view.jobs)

    def scheduler(self, name: str = "scheduler") -> Process:
        """Start a scheduler and wait for its first round."""
        process = self._start(name, ["beat", "--schedule", str(self.folder / name)], {})
        eventually(self.store.workers.scheduler_ticks)
        return process

    def _start(self, name: str, words: Sequence[str], settings: dict[str, object]) -> Process:
        own = {f"BACKROOM_{key.upper()}": str(value) for key, value in settings.items()}
        environment = {**os.environ, **self._environment, **own, "TRIAL_FOLDER": str(self.folder)}
        output = self.folder / f"{name}.log"
        command = [sys.executable, "-W", "ignore", "-m", "celery", "-A", "tests.integration.engine.trial", *words]
        with output.open("ab") as log:
            started = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        process = Process(name, started, output)
        self.processes.append(process)

        def end() -> None:
            if process.runs:
                process.thaw()
                process.kill()

        self._stack.callback(end)
        return process

    def control(self, command: str, *, to: Process, **arguments: Any) -> Any:
        """Have a worker carry out a command of Celery's remote control. Returns its answer."""
        with self._as_a_client():
            before = get_current_app()

            def ask(command: str, arguments: dict[str, Any], seconds: float) -> Any:
                """Each with a mailbox of its own: Celery takes a late answer to a question for that to the next one."""
                app = create_app("control", settings=self.settings)
                try:
                    answers = app.control.broadcast(
                        command, arguments, reply=True, timeout=seconds, limit=1, destination=[to.name]
                    )
                finally:
                    _forget(app)
                    before.set_current()  # tasks of other tests are looked up in the current application
                return answers and answers[0][to.name]

            eventually(lambda: ask("ping", {}, 1.0))  # it listens
            return ask(command, arguments, PATIENCE)

    @contextmanager
    def _as_a_client(self) -> Iterator[None]:
        """Celery's side of the library reads settings from the environment."""
        with patch.dict(os.environ, self._environment):
            get_settings.cache_clear()
            yield
        get_settings.cache_clear()

    # Jobs.

    def submit(self, name: str, *, queue: str | None = None, **data_and_options: Any) -> str:
        """Submit a job as the API does: with its type's queue and defaults. Returns its id.

        What is one of BullMQ's options is one; the rest is the job's data.
        """
        return self.submit_many(name, [data_and_options], queue=queue)[0]

    def submit_many(self, name: str, each: Sequence[dict[str, Any]], *, queue: str | None = None) -> list[str]:
        """Submit jobs of one type in one call. Returns their ids."""
        jobs = [self.a_job(name, queue=queue, **given) for given in each]
        return [submitted.id for submitted in self.store.submission.submit(jobs)]

    def a_job(self, name: str, *, queue: str | None = None, **data_and_options: Any) -> NewJob:
        """A job that is not submitted."""
        if name not in self._types:
            job_type = eventually(lambda: self.store.job_types.get(name))
            assert job_type is not None
            self._types[name] = job_type
        job_type = self._types[name]
        options = parse_options({key: value for key, value in data_and_options.items() if key in _OPTIONS})
        data = {key: value for key, value in data_and_options.items() if key not in _OPTIONS}
        merged = options.merged(parse_options(job_type.defaults))
        return new_job(name=name, data=data, queue=queue or job_type.queue, options=merged)

    def job(self, job_id: str) -> Job:
        """The job as it is now, with its attempt log."""
        return self.store.inspection.get(job_id, attempts=True)

    def finished(self, job_id: str) -> Job:
        """The job, once it is finished."""
        self.wait_for(lambda event: event.job_id == job_id and event.type in FINISHED)
        return self.job(job_id)

    def result(self, job_id: str) -> Any:
        """The result of the job, once it is completed."""
        job = self.finished(job_id)
        assert job.state == "completed", (job.state, job.error)
        return job.result

    def began(self, job_id: str, times: int = 1) -> list[Run]:
        """The runs of a job, once it has begun so often."""
        return eventually(lambda: self.runs(job_id), until=lambda runs: len(runs) >= times)

    def let(self, name: str) -> None:
        """Let jobs go on that wait for this file."""
        (self.folder / name).touch()

    def lines(self) -> list[list[str]]:
        """The lines of the diary: time, word, job, attempt, pid."""
        diary = self.folder / "diary"
        if diary.exists():
            with diary.open() as file:
                file.seek(self._read_to)
                whole, newline, _ = file.read().rpartition("\n")  # the last line may not be all there yet
            self._read_to += len(whole + newline)
            self._lines += [line.split() for line in whole.splitlines()]
        return self._lines

    def noted(self, job_id: str, word: str = "try") -> list[float]:
        """When the job noted this word, in seconds since 1970."""
        return [float(time) for time, said, about, *_ in self.lines() if (said, about) == (word, job_id)]

    def runs(self, job_id: str | None = None) -> list[Run]:
        """The runs of a job, or of all jobs, in the order in which they began."""
        runs: list[Run] = []
        open_runs: dict[tuple[str, str], int] = {}
        for at, word, about, attempt, pid in self.lines():
            if job_id not in {None, about}:
                continue
            if word == "begin":
                open_runs[about, pid] = len(runs)
                runs.append(Run(about, int(attempt), int(pid), float(at), None))
            elif word == "end" and (place := open_runs.pop((about, pid), None)) is not None:
                runs[place] = replace(runs[place], end=float(at))
        return runs

    # Events.

    def wait_for(self, happened: Callable[[Event], object]) -> Event:
        """The first event for which ``happened``, waiting for it if it is yet to come."""
        deadline = time.monotonic() + PATIENCE
        position = 0
        while True:
            for event in self._events[position:]:
                if happened(event):
                    return event
            position = len(self._events)
            assert time.monotonic() < deadline, f"it never happened; the last that did: {self._events[-20:]}"
            self._read(block_ms=500)

    def happened(self, job_id: str, *kinds: str) -> list[Event]:
        """What has happened to the job so far, or only events of these types."""
        while self._read(block_ms=1):
            pass
        return [event for event in self._events if event.job_id == job_id and (not kinds or event.type in kinds)]

    def starts(self) -> list[Event]:
        """The claims of all jobs that were not given back unstarted, in their order; see `starts_of`."""
        return starts_of(self.everything("active", "stalled", "waiting"))

    def kept_the_order(self, ids: Sequence[str]) -> None:
        """Jobs were claimed in this order, by a worker of one slot, and began in it. They have all ended.

        A worker gives back what does not begin within a moment, as on a machine that stands still. What it has claimed
        behind such a job may begin before it.
        """
        wanted = set(ids)
        claims = [event.job_id for event in self.everything("active") if event.job_id in wanted]
        assert list(dict.fromkeys(claims)) == list(ids)
        given_back = {job_id for job_id, times in Counter(claims).items() if times > 1}
        begun = [run.job_id for run in self.runs() if run.job_id in wanted]
        assert sorted(begun) == sorted(ids)
        assert [each for each in begun if each not in given_back] == [each for each in ids if each not in given_back]

    def most_in_a_window(self, ids: Sequence[str], duration_ms: int) -> int:
        """How many of these jobs, which have started, did so within one window of a rate limit at most."""
        wanted = set(ids)
        events = [each for each in self.everything("active", "stalled", "waiting") if each.job_id in wanted]
        most = most_in_a_window(events, duration_ms)
        assert most, "none of them has started"
        return most

    def everything(self, *kinds: str) -> list[Event]:
        """All events of these types so far."""
        while self._read(block_ms=1):
            pass
        return [event for event in self._events if event.type in kinds]

    def _read(self, *, block_ms: int) -> int:
        found = self.store.events.read(self._seen, block_ms=block_ms, count=1000)
        self._events += found
        self._seen = found[-1].id if found else self._seen
        return len(found)


_OPTIONS = frozenset(
    {
        "jobId",
        "attempts",
        "backoff",
        "delay",
        "runAt",
        "priority",
        "lifo",
        "timeout",
        "ttl",
        "maxStalled",
        "tags",
        "webhook",
    }
)
