"""Connections to Redis or Valkey, and what their errors mean to us."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from redis import Redis
from redis.backoff import NoBackoff
from redis.connection import BlockingConnectionPool
from redis.exceptions import (
    AuthenticationError,
    ClusterDownError,
    ConnectionError,  # noqa: A004 - the name the library gives it
    DataError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,  # noqa: A004 - the name the library gives it
    TryAgainError,
)
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool

from backroom.model.errors import StoreFull, StoreUnavailable

__all__ = ["KeptConnections", "connect", "store_errors"]

#: The first word of what Redis says while it cannot serve, of the errors that the library has no class for.
_NOT_READY = ("BUSY", "MISCONF", "NOREPLICAS", "UNKILLABLE")
#: A connection unused for this long is checked before it is used again, in seconds.
_CHECK_AFTER = 30
#: The library would refuse the 101st.
_ANY_NUMBER = 2**31
#: How long a caller waits for one of the connections, where their number is bounded, in seconds.
_WAIT_SECONDS = 10
#: `KeptConnections` keeps so many at most, and no more than one of so many that the pool may have.
_MOST_KEPT, _ONE_OF = 4, 8


def connect(
    url: str, *, timeout: float | None = 2.0, single: bool = False, decode: bool = True, most: int | None = None
) -> Redis:
    """A client for ``redis://``, ``rediss://`` (TLS), ``unix://`` or ``sentinel://host:port,host:port/service/db``.

    ``timeout`` bounds connecting and each answer, in seconds; None waits for ever, for blocking calls. ``single`` keeps
    one connection for the client's life instead of a pool. ``most`` bounds the connections of the pool: whoever needs
    one more waits for it. Connects on first use; raises `ValueError` for other URLs.
    """
    options: dict[str, Any] = {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout if timeout is not None else 5.0,
        "decode_responses": decode,
        "health_check_interval": _CHECK_AFTER,
        # One more try on a connection that proves dead. A time-out is not tried again: the server may be at work on it.
        "retry": Retry(NoBackoff(), 1, supported_errors=(ConnectionError,)),
        "protocol": 2,
        "max_connections": _ANY_NUMBER,
    }
    scheme = urlsplit(url).scheme
    if scheme not in {"redis", "rediss", "unix", "sentinel", "sentinels"}:
        raise ValueError(f"BACKROOM_REDIS_URL must begin with redis://, rediss://, unix:// or sentinel://, not {url!r}")
    if scheme != "unix":
        options["socket_keepalive"] = True
    if scheme in {"sentinel", "sentinels"}:
        return _sentinel(url, options, single=single, most=most)
    if most is not None:
        bound = {**options, "max_connections": most}
        return Redis(connection_pool=BlockingConnectionPool.from_url(url, timeout=_WAIT_SECONDS, **bound))
    return _finished(Redis.from_url(url, **options), single=single)


def _finished(client: Any, *, single: bool) -> Redis:
    """The client, or one that keeps one connection for its life. Any: the library leaves `Redis.client` untyped."""
    found: Redis = client.client() if single else client
    return found


class _BoundedSentinelPool(SentinelConnectionPool, BlockingConnectionPool):
    """A bounded number of connections to the primary that sentinels name."""


def _sentinel(url: str, options: dict[str, Any], *, single: bool, most: int | None) -> Redis:
    parts = urlsplit(url)
    login, _, hosts = parts.netloc.rpartition("@")
    service, _, database = parts.path.strip("/").partition("/")
    if not service:
        raise ValueError("a sentinel URL names its service: sentinel://host:port,host:port/service/db")
    nodes = []
    for node in hosts.split(","):
        host, _, port = node.rpartition(":")
        nodes.append((host or node, int(port) if host else 26379))
    user, _, password = login.partition(":")
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    sentinel_options: dict[str, Any] = {"socket_timeout": options["socket_timeout"] or 5.0}
    if "sentinel_password" in query:
        sentinel_options["password"] = query["sentinel_password"]
    if parts.scheme == "sentinels":
        options["ssl"] = sentinel_options["ssl"] = True
    if most is not None:
        options |= {"max_connections": most, "timeout": _WAIT_SECONDS, "connection_pool_class": _BoundedSentinelPool}
    sentinel = Sentinel(nodes, sentinel_kwargs=sentinel_options)  # type: ignore[no-untyped-call]  # untyped in the library
    client: Redis = sentinel.master_for(  # type: ignore[no-untyped-call]  # the same
        service, db=int(database or 0), username=unquote(user) or None, password=unquote(password) or None, **options
    )
    return _finished(client, single=single)


class KeptConnections:
    """Runs scripts on a few connections of its own: for calls so frequent that what the library does around one counts.

    The library takes a connection out of the pool for every command, asks the system whether it is still good, and
    keeps statistics: twice the processor time of sending the command and reading its answer. Here connections stay, for
    as many calls at the same time as there were; beyond a few, calls take theirs from the pool and give it back. Tried
    again is as everywhere (see `connect`), and what the library knows of a connection, from its health checks to who is
    the master now, it knows of these too. Threads may share it.
    """

    def __init__(self, client: Redis) -> None:
        """``client``: its pool makes the connections, and closes them with the others."""
        self._pool = client.connection_pool
        self._kept: list[Any] = []
        self._most_kept = max(1, min(_MOST_KEPT, self._pool.max_connections // _ONE_OF))
        self._lock = threading.Lock()

    def evalsha(self, sha: str, *arguments: Any) -> Any:
        """Run a script that Redis knows. Raises as a client does."""
        return self._call("EVALSHA", sha, *arguments)

    def eval(self, source: str, *arguments: Any) -> Any:
        """Run a script, which Redis knows from then on. Raises as a client does."""
        return self._call("EVAL", source, *arguments)

    def _call(self, *command: Any) -> Any:
        connection = self._connection()

        def ask() -> Any:
            if not connection.is_connected:
                connection.connect()  # behind sentinels to who is the master now; sending would go to who was it then
            connection.send_command(*command)
            return connection.read_response()

        try:
            return connection.retry.call_with_retry(ask, lambda _: connection.disconnect())
        except ResponseError:
            raise
        except BaseException:  # it may still have an answer to come, which is not that of the next command
            connection.disconnect()
            raise
        finally:
            self._give_back(connection)

    def _connection(self) -> Any:
        with self._lock:
            kept = self._kept.pop() if self._kept else None
        if kept is not None and kept.pid == os.getpid():  # else it is that of the process this one was forked from
            return kept
        try:
            return self._pool.get_connection()
        except (RedisError, OSError):
            raise
        except BaseException:  # interrupted: the pool has it back half made, and would hand it out again
            self._pool.disconnect(inuse_connections=False)
            raise

    def _give_back(self, connection: Any) -> None:
        """Keep a few: the pool may be bounded, and what is kept is missing to others."""
        with self._lock:
            if len(self._kept) < self._most_kept:
                self._kept.append(connection)
                return
        self._pool.release(connection)


@contextmanager
def store_errors() -> Iterator[None]:
    """Turns the client library's errors into `StoreUnavailable` and `StoreFull`; others are bugs and pass."""
    try:
        yield
    except OutOfMemoryError as error:
        raise StoreFull("The job store has reached its memory limit (maxmemory) and takes no new jobs.") from error
    except (ReadOnlyError, ClusterDownError, TryAgainError) as error:
        raise StoreUnavailable(f"The job store is not ready: {error}") from error
    except AuthenticationError as error:
        raise StoreUnavailable(f"The job store refuses the login of BACKROOM_REDIS_URL: {error}") from error
    except (ConnectionError, TimeoutError, OSError) as error:
        raise StoreUnavailable(f"The job store does not answer: {error}") from error
    except DataError:
        raise
    except ResponseError as error:
        if str(error).startswith(_NOT_READY):
            raise StoreUnavailable(f"The job store is not ready: {error}") from error
        raise
    except RedisError as error:
        raise StoreUnavailable(f"The job store does not answer: {error}") from error
