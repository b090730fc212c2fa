"""A kombu transport that publishes tasks as jobs and carries Celery's remote control and events over Redis.

It does not fetch jobs: in a worker the `backroom.engine.desk` does that, on connections of its own that heal by
themselves, so that a lost connection never makes Celery restart its consumer. What is fetched here is the small traffic
of ``celery control``, ``celery inspect`` and task events: broadcasts over pub/sub, replies over lists.
"""

import logging
import os
import socket
import time
import traceback
from queue import Empty
from typing import Any

from celery import current_app
from celery.exceptions import ImproperlyConfigured
from celery.signals import worker_init
from kombu.transport import virtual
from kombu.utils.compat import detect_environment
from msgspec.structs import replace
from redis import Redis
from redis.exceptions import RedisError

from backroom.engine import current, messages
from backroom.engine.broadcasts import Listener, Subscriber
from backroom.engine.channel import Channel
from backroom.engine.urls import redis_url
from backroom.model.errors import StoreUnavailable
from backroom.model.job import NewJob
from backroom.settings import get_settings
from backroom.store import Store, connect

__all__ = ["Transport"]

logger = logging.getLogger(__name__)

#: How often a client that waits for replies looks at its list while it also listens to broadcasts, in seconds.
_LOOK_SECONDS = 0.05


class Transport(virtual.Transport):
    """``backroom://`` for kombu."""

    Channel = Channel
    can_parse_url = True
    default_port = 6379  # type: ignore[assignment]  # kombu's types know no port
    driver_name = "backroom"
    #: Celery makes task events a broadcast, and lets gossip and mingle work, only for drivers that it knows by name.
    driver_type = "redis"
    polling_interval = None  # type: ignore[assignment]  # kombu's own Redis transport says None too
    implements = virtual.Transport.implements.extend(
        asynchronous=True, exchange_type=frozenset(["direct", "topic", "fanout"])
    )
    connection_errors: tuple[Any, ...] = (StoreUnavailable, RedisError, OSError)
    channel_errors: tuple[Any, ...] = ()

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        self._store: Store | None = None
        self._pid = os.getpid()
        self._subscriber: Subscriber | None = None
        self._listener: Listener | None = None

    @property
    def store(self) -> Store:
        """The job store at this connection's URL; a new one in a forked process."""
        if self._store is None or self._pid != os.getpid():
            self._pid, self._store = os.getpid(), Store(self._connect(), settings=get_settings())
        return self._store

    def _connect(self) -> Redis:
        settings = get_settings()
        client: Any = self.client
        url = redis_url(client.hostname or "")
        return connect(url if "://" in url else settings.redis_url, timeout=settings.redis_timeout_seconds)

    @property
    def redis(self) -> Redis:
        """The client of the store."""
        return self.store.redis

    def key(self, kind: str, name: str) -> str:
        """A key of this transport's own."""
        return self.store.keys.single(f"kombu:{kind}:{name}")

    @property
    def fanout_prefix(self) -> str:
        """Begins the Redis channel of each fanout exchange. Redis' databases share channels, so it names ours."""
        database = self.redis.connection_pool.connection_kwargs.get("db") or 0
        return self.key("fanout", f"{database}:")

    def establish_connection(self) -> "Transport":
        """Make sure that the server is there."""
        if detect_environment() != "default" and current_app.loader.worker_initialized:
            # Celery loads a transport only now in a worker of greenlets: `_install` was not asked.
            logger.critical("Backroom runs jobs in the pools prefork, threads and solo: choose one with --pool")
            raise SystemExit(1)
        if current.running_job() is None:  # what a running job goes on as needs no server (see `publish_task`)
            self.store.ping()
        return super().establish_connection()  # type: ignore[no-any-return]  # kombu is untyped

    def close_connection(self, connection: Any) -> None:
        """Close everything that this connection opened."""
        if self._subscriber is not None:
            self._subscriber.stop()
            self._subscriber = None
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        super().close_connection(connection)
        if self._store is not None and self._pid == os.getpid():
            self._store.redis.close()

    def driver_version(self) -> str:
        """Which Backroom this is."""
        from backroom import __version__  # noqa: PLC0415 - the package's front imports the engine

        return __version__

    # Tasks.

    def publish_task(self, queue: str, message: dict[str, Any]) -> None:
        """Submit the job that a task message stands for.

        Published from inside that very job, it is what the job goes on as. Raises `StoreUnavailable`, `QueueFull`, and
        `ValueError` for names that cannot be kept.
        """
        task_id = message["headers"]["id"]
        running = current.running_job()
        if running is not None and running.id == task_id:
            job = messages.job_from_message(queue, message, staged=True)
            start = job.options.run_at
            running.stage(
                name=job.name,
                queue=queue,
                data=job.data,
                celery=job.celery or "",
                start_at=start.timestamp() if start else 0.0,
            )
            return
        if running is not None and not running.expects and messages.brings_on(message, running.id):
            running.expect()
        job = messages.job_from_message(queue, message, defaults=current.options_of(message["headers"]["task"]))
        if running is not None:  # what a job submits belongs to the same trace
            job = replace(job, traceparent=running.traceparent or None, request_id=running.request_id or None)
        [submitted] = self.store.submission.submit([job])
        if submitted.duplicate and not self._supply(queue, job):
            logger.info("task %s has an id that is stored already (%s): nothing was added", task_id, submitted.state)

    def _supply(self, queue: str, job: NewJob) -> bool:
        """Whether a job with that id waits for just this: the last task of the chain that it replaced itself with."""
        delay_ms = max(0, (job.options.run_at_ms() or 0) - int(time.time() * 1000))
        return self.store.execution.supply(
            job.id, name=job.name, queue=queue, data=job.data, celery=job.celery or "", delay_ms=delay_ms
        )

    # Broadcasts and replies.

    def exchanges(self) -> frozenset[str]:
        """The fanout exchanges that some channel consumes from."""
        return frozenset(exchange for channel in self.channels for exchange in channel.active_exchanges())

    def subscriptions_changed(self) -> None:
        """Some channel consumes from something else now."""
        if self._subscriber is not None:
            self._subscriber.want(self.exchanges(), get_settings().redis_timeout_seconds)

    def deliver_broadcast(self, exchange: str, message: dict[str, Any]) -> None:
        """Hand a broadcast to every consumer of its exchange."""
        for channel in list(self.channels):
            for queue, bound in list(channel.fanout_queues.items()):
                if bound == exchange and channel.consumes(queue) and queue in self._callbacks:
                    self._callbacks[queue](message)

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:  # noqa: ARG002 - kombu's signature
        """In a worker: broadcasts arrive in a thread of their own and are handled in the event loop."""
        if self._subscriber is not None:
            self._subscriber.stop()

        def deliver(exchange: str, message: dict[str, Any]) -> None:
            loop.call_soon(self.deliver_broadcast, exchange, message)

        self._subscriber = Subscriber(self._connect(), self.fanout_prefix, deliver)
        self.subscriptions_changed()

    def drain_events(self, connection: Any, timeout: float | None = None, **_: Any) -> None:  # noqa: ARG002 - kombu's
        """In a client: wait for one reply or broadcast. Raises `socket.timeout` after ``timeout`` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._drain_lists() and not self._drain_broadcasts(deadline):
            if deadline is not None and time.monotonic() >= deadline:
                raise socket.timeout  # noqa: UP041 - the name that kombu documents

    def _drain_lists(self) -> bool:
        for channel in list(self.channels):
            for queue in channel.active_lists():
                try:
                    message = channel._get(queue)  # noqa: SLF001 - kombu's name for it
                except Empty:
                    continue
                self._callbacks[queue](message)
                return True
        return False

    def _drain_broadcasts(self, deadline: float | None) -> bool:
        """Wait a moment for a broadcast."""
        left = _LOOK_SECONDS if deadline is None else max(0.001, min(_LOOK_SECONDS, deadline - time.monotonic()))
        wanted = set(self.exchanges())
        if not wanted:
            time.sleep(left)
            return False
        if self._listener is None:
            self._listener = Listener(self.redis, self.fanout_prefix)
        heard = self._listener.hear(wanted, left)
        if heard is None:
            return False
        self.deliver_broadcast(*heard)
        return True


@worker_init.connect
def _install(sender: Any = None, **_: Any) -> None:
    """A worker whose broker this is becomes a Backroom worker, or ends: Celery would swallow an exception and go on."""
    if not isinstance(sender._conninfo.transport, Transport):  # noqa: SLF001 - how Celery itself asks
        return
    try:
        from backroom.engine.worker import install  # noqa: PLC0415 - only workers need it

        install(sender)
    except ImproperlyConfigured as error:
        raise SystemExit(f"The worker cannot start: {error}") from error
    except Exception as error:
        traceback.print_exc()
        raise SystemExit("The worker cannot start") from error
