"""The channel of our kombu transport: tasks become jobs, remote control goes over lists and pub/sub."""

import base64
import json
from contextlib import AbstractContextManager, nullcontext, suppress
from queue import Empty
from typing import TYPE_CHECKING, Any

from kombu.exceptions import InconsistencyError
from kombu.transport import virtual

from backroom.engine import current, messages
from backroom.model.errors import NotFound, StoreUnavailable, WrongState
from backroom.store.connection import store_errors

if TYPE_CHECKING:
    from backroom.engine.transport import Transport

__all__ = ["Channel"]

#: Replies that nobody fetched, and bindings of exchanges that are not durable, are forgotten after so many seconds.
REPLY_SECONDS = 600
BINDING_SECONDS = 86_400
_SEPARATOR = "\x06\x16"
_EVENT_EXCHANGE = "celeryev"
_CONTROL_EXCHANGE = ".pidbox"


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

    def consumes(self, queue: str) -> bool:
        """Whether this channel consumes from the queue."""
        return queue in self._active_queues

    # Sending.

    def _put(self, queue: str, message: dict[str, Any], **_: Any) -> None:
        if messages.is_task_message(message):
            self.transport.publish_task(queue, message)
            return
        messages.refuse_old_protocol(message)
        key = self.transport.key("list", queue)
        with store_errors():
            pipeline = self.transport.redis.pipeline(transaction=True)
            pipeline.rpush(key, _text_of(message))
            pipeline.expire(key, REPLY_SECONDS)
            pipeline.execute()

    def _put_fanout(self, exchange: str, message: dict[str, Any], _routing_key: str, **_: Any) -> None:
        if exchange.endswith(_CONTROL_EXCHANGE):
            self._revoke_for_good(message)
        try:
            with store_errors():
                self.transport.redis.publish(self.transport.fanout_prefix + exchange, _text_of(message))
        except StoreUnavailable:
            # Task events are for whoever happens to look; a worker must not stumble over them.
            if exchange != _EVENT_EXCHANGE:
                raise

    def _revoke_for_good(self, message: dict[str, Any]) -> None:
        """Celery's ``revoke`` tells the workers that are up; the store remembers it, so that those to come know too."""
        revoked = messages.revoked_by(message)
        if revoked is None:
            return
        for task_id in revoked.task_ids:
            with suppress(NotFound, WrongState):  # it is not a job here, or has ended, or runs and may go on
                self.transport.store.actions.cancel(task_id, running=revoked.running)

    # Receiving replies.

    def _get(self, queue: str, timeout: float | None = None) -> dict[str, Any]:  # noqa: ARG002 - kombu's signature
        with store_errors():
            text = self.transport.redis.lpop(self.transport.key("list", queue))
        if text is None:
            raise Empty
        return json.loads(text)  # type: ignore[no-any-return,arg-type]  # a JSON object, as `_put` wrote it

    # Queues.

    def _size(self, queue: str) -> int:
        with _known_here(), store_errors():
            return int(self.transport.redis.zcard(self.transport.store.keys.state(queue, "waiting")))
        return 0

    def _purge(self, queue: str) -> int:
        """`celery purge`: remove the jobs of a queue that wait for their turn or their time."""
        return self.transport.store.emptying.drain(queue, delayed=True)

    def _has_queue(self, queue: str, **_: Any) -> bool:  # noqa: ARG002 - kombu's signature
        return True

    def _lookup(self, exchange: str, routing_key: str, default: str | None = None) -> list[str]:
        """The queues a message goes to. Raises `InconsistencyError` instead of dropping one that goes nowhere."""
        queues: list[str] = super()._lookup(exchange, routing_key, default)
        if not queues:
            raise InconsistencyError(
                f"no queue is bound to the exchange {exchange!r} with the routing key {routing_key!r}"
            )
        return queues

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str | None, queue: str) -> None:
        declared = self.state.exchanges[exchange]
        fanout = declared["type"] == "fanout"
        if fanout:
            self.fanout_queues[queue] = exchange
            if not declared["durable"]:
                return
        key = self.transport.key("binding", exchange)
        with _known_here(), store_errors():
            pipeline = self.transport.redis.pipeline(transaction=True)
            if not fanout:
                pipeline.sadd(key, _binding(routing_key, pattern, queue))
            if declared["durable"]:
                pipeline.hset(self.transport.key("exchanges", "types"), exchange, declared["type"])
            else:
                pipeline.expire(key, BINDING_SECONDS)
            pipeline.execute()

    def typeof(self, exchange: str, default: str = "direct") -> Any:
        """The type of an exchange; of one that this client has not declared, what its consumers have said of it."""
        if exchange not in self.state.exchanges:
            with store_errors():
                said = self.transport.redis.hget(self.transport.key("exchanges", "types"), exchange)
            default = str(said) if said else default
        return super().typeof(exchange, default)

    def get_table(self, exchange: str) -> list[tuple[str, ...]]:
        """The bindings of an exchange: (routing key, pattern, queue)."""
        with _known_here(), store_errors():
            members = self.transport.redis.smembers(self.transport.key("binding", exchange))
            return [tuple(str(member).split(_SEPARATOR)) for member in members]
        return [tuple(binding) for binding in super().get_table(exchange)]

    def _delete(self, queue: str, exchange: str, routing_key: str, pattern: str | None, *_: Any, **__: Any) -> None:
        self.fanout_queues.pop(queue, None)
        with store_errors():
            self.transport.redis.srem(self.transport.key("binding", exchange), _binding(routing_key, pattern, queue))
            self.transport.redis.delete(self.transport.key("list", queue))


def _known_here() -> AbstractContextManager[None]:
    """For a running job, which may go on as something else without a server: what this process knows has to do then."""
    return nullcontext() if current.running_job() is None else suppress(StoreUnavailable)


def _binding(routing_key: str | None, pattern: str | None, queue: str) -> str:
    return _SEPARATOR.join([routing_key or "", pattern or "", queue])


def _text_of(message: dict[str, Any]) -> str:
    """A message as text; a body of bytes needs an encoding of its own."""
    if isinstance(message["body"], bytes):
        properties = {**message["properties"], "body_encoding": "base64"}
        message = {**message, "body": base64.b64encode(message["body"]).decode(), "properties": properties}
    return json.dumps(message)
