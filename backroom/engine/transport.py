"""A kombu transport that publishes tasks as jobs and carries Celery's remote control and events over Redis.

It does not fetch jobs: in a worker the `backroom.engine.desk` does that, on connections of its own that heal by
themselves, so that a lost connection never makes Celery restart its consumer. What is fetched here is the small traffic of
``celery control``, ``celery inspect`` and task events: broadcasts over pub/sub, replies over lists.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Callable
from queue import Empty
from typing import Any

from celery.signals import worker_init
from kombu.transport import virtual
from redis import Redis
from redis.client import PubSub
from redis.exceptions import RedisError

from backroom.engine import current, messages
from backroom.engine.urls import redis_url
from backroom.model.errors import StoreUnavailable
from backroom.settings import get_settings
from backroom.store import Store, connect
from backroom.store.connection import store_errors

__all__ = ["Channel", "Transport"]

#: Replies and bindings that nobody fetched or used are forgotten after this long, in seconds.
REPLY_SECONDS = 600
BINDING_SECONDS = 86_400
#: How often a client that waits for replies looks at its list while it also listens to broadcasts, in seconds.
_LOOK_SECONDS = 0.05
_SEPARATOR = "\x06\x16"
_EVENT_EXCHANGE = "celeryev"


class Channel(virtual.Channel):
    """Publishing and remote control; acknowledging means nothing here, jobs are settled by the desk."""

    do_restore = False
    supports_fanout = True
    body_encoding = "utf-8"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: queue -> exchange, for queues bound to a fanout exchange.
        self.fanout_queues: dict[str, str] = {}

    @property
    def transport(self) -> "Transport":
        """The transport, under its own name (kombu calls it the connection)."""
        return self.connection  # type: ignore[no-any-return]  # kombu is untyped

    def is_fanout(self, queue: str) -> bool:
        """Whether the queue takes broadcasts."""
        return queue in self.fanout_queues

    def basic_consume(self, queue: str, *args: Any, **kwargs: Any) -> None:
        """Consume from a queue; broadcasts need a subscription first."""
        super().basic_consume(queue, *args, **kwargs)
        self.transport.subscriptions_changed()

    def basic_cancel(self, consumer_tag: str) -> None:
        """Stop consuming."""
        super().basic_cancel(consumer_tag)
        if self.connection is not None:
            self.transport.subscriptions_changed()

    def active_exchanges(self) -> set[str]:
        """The fanout exchanges that this channel consumes from."""
        return {self.fanout_queues[queue] for queue in self._active_queues if queue in self.fanout_queues}

    def active_lists(self) -> list[str]:
        """The queues that this channel consumes from lists."""
        return [queue for queue in dict.fromkeys(self._active_queues) if queue not in self.fanout_queues]

    def _put(self, queue: str, message: dict[str, Any], **_: Any) -> None:
        if messages.is_task_message(message):
            self.transport.publish_task(queue, message)
            return
        key = self.transport.key("list", queue)
        with store_errors():
            pipeline = self.transport.redis.pipeline(transaction=True)
            pipeline.rpush(key, json.dumps(message))
            pipeline.expire(key, REPLY_SECONDS)
            pipeline.execute()

    def _put_fanout(self, exchange: str, message: dict[str, Any], _routing_key: str, **_: Any) -> None:
        try:
            with store_errors():
                self.transport.redis.publish(self.transport.key("fanout", exchange), json.dumps(message))
        except StoreUnavailable:
            # Task events are for whoever happens to look; a worker must not stumble over them.
            if exchange != _EVENT_EXCHANGE:
                raise

    def _get(self, queue: str, timeout: float | None = None) -> dict[str, Any]:  # noqa: ARG002 - kombu's signature
        with store_errors():
            text = self.transport.redis.lpop(self.transport.key("list", queue))
        if text is None:
            raise Empty
        return json.loads(text)  # type: ignore[no-any-return,arg-type]  # a JSON object, as `_put` wrote it

    def _size(self, queue: str) -> int:
        with store_errors():
            return int(self.transport.redis.zcard(self.transport.store.keys.state(queue, "waiting")))

    def _purge(self, queue: str) -> int:
        """Remove the waiting jobs of a queue, one by one (`celery purge`); jobs that are running or delayed stay."""
        removed = 0
        while True:
            with store_errors():
                found = self.transport.redis.zrange(self.transport.store.keys.state(queue, "waiting"), 0, 99)
            if not found:
                return removed
            for job_id in found:
                self.transport.store.actions.remove(str(job_id))
                removed += 1

    def _has_queue(self, _queue: str, **_: Any) -> bool:
        return True

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str | None, queue: str) -> None:
        if self.typeof(exchange).type == "fanout":
            self.fanout_queues[queue] = exchange
            return
        key = self.transport.key("binding", exchange)
        with store_errors():
            pipeline = self.transport.redis.pipeline(transaction=True)
            pipeline.sadd(key, _SEPARATOR.join([routing_key or "", pattern or "", queue or ""]))
            pipeline.expire(key, BINDING_SECONDS)
            pipeline.execute()

    def get_table(self, exchange: str) -> list[tuple[str, ...]]:
        """The bindings of an exchange: (routing key, pattern, queue)."""
        with store_errors():
            members = self.transport.redis.smembers(self.transport.key("binding", exchange))
        return [tuple(str(member).split(_SEPARATOR)) for member in members]

    def _delete(self, queue: str, exchange: str, routing_key: str, pattern: str | None, *_: Any, **__: Any) -> None:
        self.fanout_queues.pop(queue, None)
        with store_errors():
            member = _SEPARATOR.join([routing_key or "", pattern or "", queue or ""])
            self.transport.redis.srem(self.transport.key("binding", exchange), member)
            self.transport.redis.delete(self.transport.key("list", queue))


class Transport(virtual.Transport):
    """``backroom://`` for kombu."""

    Channel = Channel
    can_parse_url = True
    default_port = 6379
    driver_name = "backroom"
    #: Celery makes task events a broadcast, and lets gossip and mingle work, only for drivers that it knows by name.
    driver_type = "redis"
    polling_interval = None
    implements = virtual.Transport.implements.extend(
        asynchronous=True, exchange_type=frozenset(["direct", "topic", "fanout"])
    )
    connection_errors = (StoreUnavailable, RedisError, OSError)
    channel_errors = ()

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        self._store: Store | None = None
        self._pid = os.getpid()
        self._subscriber: _Subscriber | None = None
        self._pubsub: PubSub | None = None
        self._subscribed: set[str] = set()

    @property
    def store(self) -> Store:
        """The job store at this connection's URL; a new one in a forked process."""
        if self._store is None or self._pid != os.getpid():
            settings = get_settings()
            url = redis_url(self.client.hostname or "")
            if "://" not in url:
                url = settings.redis_url
            self._pid = os.getpid()
            self._store = Store(connect(url, timeout=settings.redis_timeout_seconds), settings=settings)
        return self._store

    @property
    def redis(self) -> Redis:
        """The client of the store."""
        return self.store.redis

    def key(self, kind: str, name: str) -> str:
        """A key of this transport's own."""
        return self.store.keys.single(f"kombu:{kind}:{name}")

    def establish_connection(self) -> "Transport":
        """Make sure that the server is there."""
        self.store.ping()
        return super().establish_connection()  # type: ignore[no-any-return]  # kombu is untyped

    def close_connection(self, connection: Any) -> None:
        """Close everything that this connection opened."""
        if self._subscriber is not None:
            self._subscriber.stop()
            self._subscriber = None
        if self._pubsub is not None:
            self._pubsub.close()
            self._pubsub = None
        super().close_connection(connection)
        if self._store is not None and self._pid == os.getpid():
            self._store.redis.close()

    def driver_version(self) -> str:
        """Which Backroom this is."""
        from backroom import __version__  # noqa: PLC0415 - the package's front imports the engine

        return __version__

    def publish_task(self, queue: str, message: dict[str, Any]) -> None:
        """Submit the job that a task message stands for; from inside that very job, it is what its next try is given."""
        running = current.running_job()
        if running is not None and running.id == message["headers"]["id"]:
            job = messages.job_from_message(queue, message)
            running.stage(name=job.name, data=job.data, celery=job.celery or "")
            return
        job = messages.job_from_message(queue, message, defaults=current.options_of(message["headers"]["task"]))
        self.store.submission.submit([job])

    # Broadcasts.

    def exchanges(self) -> set[str]:
        """The fanout exchanges that some channel consumes from."""
        return {exchange for channel in self.channels for exchange in channel.active_exchanges()}

    def subscriptions_changed(self) -> None:
        """Some channel consumes from something else now."""
        if self._subscriber is not None:
            self._subscriber.wanted = self.exchanges()

    def deliver_broadcast(self, exchange: str, message: dict[str, Any]) -> None:
        """Hand a broadcast to every consumer of its exchange."""
        for channel in list(self.channels):
            for queue, bound in list(channel.fanout_queues.items()):
                if bound == exchange and queue in channel._active_queues and queue in self._callbacks:  # noqa: SLF001 - our own subclass
                    self._callbacks[queue](message)

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:  # noqa: ARG002 - kombu's signature
        """In a worker: broadcasts arrive in a thread of their own and are handled in the event loop."""
        if self._subscriber is not None:
            self._subscriber.stop()

        def deliver(exchange: str, message: dict[str, Any]) -> None:
            loop.call_soon(self.deliver_broadcast, exchange, message)

        self._subscriber = _Subscriber(self.store, self.key("fanout", ""), deliver)
        self._subscriber.wanted = self.exchanges()
        self._subscriber.start()

    def drain_events(self, connection: Any, timeout: float | None = None) -> None:  # noqa: ARG002 - kombu's signature
        """In a client: wait for one reply or broadcast. Raises `socket.timeout` after ``timeout`` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            if self._drain_lists() or self._drain_broadcasts(deadline):
                return
            if deadline is not None and time.monotonic() >= deadline:
                raise socket.timeout  # noqa: UP041 - the name that kombu documents

    def _drain_lists(self) -> bool:
        for channel in list(self.channels):
            for queue in channel.active_lists():
                try:
                    message = channel._get(queue)  # noqa: SLF001 - our own subclass
                except Empty:
                    continue
                self._callbacks[queue](message)
                return True
        return False

    def _drain_broadcasts(self, deadline: float | None) -> bool:
        """Wait a moment for a broadcast; longer when there is nothing else to look at."""
        left = _LOOK_SECONDS if deadline is None else max(0.001, min(_LOOK_SECONDS, deadline - time.monotonic()))
        wanted = self.exchanges()
        if not wanted:
            time.sleep(left)
            return False
        prefix = self.key("fanout", "")
        with store_errors():
            if self._pubsub is None:
                self._pubsub = self.redis.pubsub(ignore_subscribe_messages=True)
                self._subscribed = set()
            if new := wanted - self._subscribed:
                self._pubsub.subscribe(*(prefix + exchange for exchange in new))
            if gone := self._subscribed - wanted:
                self._pubsub.unsubscribe(*(prefix + exchange for exchange in gone))
            self._subscribed = wanted
            found = self._pubsub.get_message(timeout=left)
        if not found or found["type"] != "message":
            return False
        self.deliver_broadcast(str(found["channel"]).removeprefix(prefix), json.loads(found["data"]))
        return True


class _Subscriber(threading.Thread):
    """Listens to broadcasts, whatever happens to the connection."""

    #: How long it waits before it connects again, and how soon it notices other subscriptions, in seconds.
    _AGAIN_SECONDS = 0.5

    def __init__(self, store: Store, prefix: str, deliver: Callable[[str, dict[str, Any]], None]) -> None:
        super().__init__(name="backroom-subscriber", daemon=True)
        self._store, self._prefix, self._deliver = store, prefix, deliver
        self.wanted: set[str] = set()
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End soon; does not wait."""
        self._stopped.set()

    def run(self) -> None:
        """Listen until stopped."""
        while not self._stopped.is_set():
            try:
                with store_errors():
                    self._listen()
            except StoreUnavailable:
                self._stopped.wait(self._AGAIN_SECONDS)

    def _listen(self) -> None:
        pubsub = self._store.redis.pubsub(ignore_subscribe_messages=True)
        subscribed: set[str] = set()
        try:
            while not self._stopped.is_set():
                wanted = set(self.wanted)
                if new := wanted - subscribed:
                    pubsub.subscribe(*(self._prefix + exchange for exchange in new))
                if gone := subscribed - wanted:
                    pubsub.unsubscribe(*(self._prefix + exchange for exchange in gone))
                subscribed = wanted
                if not subscribed:
                    self._stopped.wait(self._AGAIN_SECONDS)
                    continue
                found = pubsub.get_message(timeout=self._AGAIN_SECONDS)
                if found and found["type"] == "message":
                    self._deliver(str(found["channel"]).removeprefix(self._prefix), json.loads(found["data"]))
        finally:
            pubsub.close()


@worker_init.connect  # type: ignore[untyped-decorator]  # Celery is untyped
def _install(sender: Any = None, **_: Any) -> None:
    """A worker whose broker this is becomes a Backroom worker."""
    from backroom.engine.worker import install  # noqa: PLC0415 - only workers need it

    if isinstance(sender._conninfo.transport, Transport):  # noqa: SLF001 - how Celery itself asks
        install(sender)
