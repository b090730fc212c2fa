"""The feed: one reader of events in each process, for all in it who want to hear of them."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Final, TypeVar

import msgspec
import structlog

from backroom.model.errors import StoreUnavailable
from backroom.model.job import INTERNAL_QUEUE
from backroom.store import Event, Store
from backroom.store.events import EventId
from services.api.http.line import chunk_of

__all__ = ["ENDINGS", "Batch", "Feed", "Frame", "Subscription", "Topic"]

K = TypeVar("K")
L = TypeVar("L")

log = structlog.get_logger("backroom.api")

#: The events after which a job has no more.
ENDINGS: Final = frozenset({"completed", "failed", "cancelled", "expired", "removed"})
BLOCK_SECONDS: Final = 1.0
"""How long one read of events waits for the first; also how soon a process that is stopped lets its listeners go."""
PACE_SECONDS, TOPIC_PACE_SECONDS = 0.005, 0.02
"""Events that come sooner after others than this are read together; the longer one where many are told of them all."""
LONGEST_PACE_SECONDS, HANDING_SHARE = 0.2, 0.05
"""Handing events on takes no more than this share of the reader's time: with many listeners they are told less often,
but at least so often."""
RETRY_SECONDS: Final = 0.5
"""Pause of the reader while the store is away."""
BATCH: Final = 200
"""Entries of the stream that are read at once, of up to 32 events each."""
MOST_BYTES: Final = 1024 * 1024
"""How far a subscriber may lag behind before its events are dropped here and read from the store by itself."""


@dataclass(frozen=True, slots=True)
class Topic:
    """What a subscriber wants to hear of."""

    #: One job; None: all of them.
    job_id: str | None = None
    #: None: every queue, but the internal one only for one job.
    queues: frozenset[str] | None = None
    #: Types of events.
    types: frozenset[str] = frozenset()
    #: Job types; None: all of them, and events of queues as well.
    names: frozenset[str] | None = None

    def includes(self, event: Event) -> bool:
        """Whether the event belongs to it."""
        if event.type not in self.types or (self.names is not None and event.name not in self.names):
            return False
        if self.queues is not None and event.queue not in self.queues:
            return False
        if self.job_id is not None:
            return event.job_id == self.job_id
        return self.queues is not None or event.queue != INTERNAL_QUEUE


class Frame(msgspec.Struct, frozen=True):
    """An event as it is sent."""

    id: EventId
    data: bytes
    #: Whether its job has no more events.
    ends: bool


class Batch:
    """Frames that are handed on together; the same object to everybody with the same topic."""

    def __init__(self, frames: Sequence[Frame]) -> None:
        self.frames = frames

    @cached_property
    def data(self) -> bytes:
        """All of them."""
        return b"".join(frame.data for frame in self.frames)

    @cached_property
    def chunk(self) -> bytes:
        """All of them, as a piece of an answer."""
        return chunk_of(self.data)


class Subscription:
    """Where the reader puts what one subscriber has not taken yet; or what it calls, while the subscriber sleeps."""

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self._lock = threading.Lock()
        self._batches: deque[Batch] = deque()
        self._size = 0
        self._missed = False
        self._write: Callable[[Batch], bool] | None = None
        self.news = threading.Event()

    @contextmanager
    def handed_to(self, write: Callable[[Batch], bool]) -> Iterator[None]:
        """While this lasts the reader hands batches to ``write``, which must not wait, until that answers False.

        Then, and if something is here already, there are news.
        """
        with self._lock:
            if not (self._batches or self._missed):
                self._write = write
        try:
            yield
        finally:
            with self._lock:
                self._write = None

    def put(self, batch: Batch) -> None:
        """Called by the reader."""
        with self._lock:
            if self._write is not None:
                if not self._write(batch):
                    self._write = None
                    self.news.set()
                return
            self._size += len(batch.data)
            if self._size > MOST_BYTES:
                self._drop()
            if not self._missed:
                self._batches.append(batch)
        self.news.set()

    def miss(self) -> None:
        """Called by the reader: events may be missing."""
        with self._lock:
            self._drop()
        self.news.set()

    def _drop(self) -> None:
        self._missed, self._write = True, None
        self._batches.clear()

    def take(self) -> tuple[list[Batch], bool]:
        """What has come, and whether something has been left out: then read the store from where you are."""
        with self._lock:
            self.news.clear()
            taken, missed = list(self._batches), self._missed
            self._batches.clear()
            self._size, self._missed = 0, False
            return taken, missed


class Feed:
    """Reads the event stream for as long as anybody listens, in a thread of its own.

    ``frame`` turns an event into what is sent.
    """

    def __init__(self, store: Store, frame: Callable[[Event], Frame], *, is_draining: Callable[[], bool]) -> None:
        self._store, self._frame, self._is_draining = store, frame, is_draining
        self._lock = threading.Lock()
        self._waiting: dict[str, set[threading.Event]] = {}
        self._of_jobs: dict[str, set[Subscription]] = {}
        self._of_topics: dict[Topic, set[Subscription]] = {}
        self._reading = False
        self._placed = threading.Event()

    @property
    def is_draining(self) -> bool:
        """Whether the process is on its way out, so that nobody should listen any longer."""
        return self._is_draining()

    @contextmanager
    def notice_of(self, job_id: str) -> Iterator[threading.Event]:
        """An event that is set whenever the job may have ended, from now on."""
        notice = threading.Event()
        with self._lock:
            self._waiting.setdefault(job_id, set()).add(notice)
            self._read_on()
        try:
            yield notice
        finally:
            with self._lock:
                _discard(self._waiting, job_id, notice)

    def subscribe(self, topic: Topic) -> Subscription:
        """Begin to collect events of the topic, every one from now on. Raises `StoreUnavailable`."""
        subscription = Subscription(topic)
        with self._lock:
            if topic.job_id is None:
                self._of_topics.setdefault(topic, set()).add(subscription)
            else:
                self._of_jobs.setdefault(topic.job_id, set()).add(subscription)
            self._read_on()
        if not self._placed.wait(self._store.settings.redis_timeout_seconds):
            self.leave(subscription)
            raise StoreUnavailable("The event stream cannot be read.")
        return subscription

    def leave(self, subscription: Subscription) -> None:
        """Collect no more."""
        topic = subscription.topic
        with self._lock:
            if topic.job_id is None:
                _discard(self._of_topics, topic, subscription)
            else:
                _discard(self._of_jobs, topic.job_id, subscription)

    def _read_on(self) -> None:
        if not self._reading:
            self._reading = True
            self._placed.clear()
            threading.Thread(target=self._read, name="event-feed", daemon=True).start()

    def _goes_on(self) -> bool:
        with self._lock:
            self._reading = bool(self._waiting or self._of_jobs or self._of_topics)
            return self._reading

    def _read(self) -> None:
        block_ms = int(1000 * min(BLOCK_SECONDS, self._store.settings.redis_timeout_seconds / 2))
        position: EventId | None = None
        while self._goes_on():
            began = time.monotonic()
            try:
                if position is None:
                    position = EventId.parse(self._store.events.last_id())
                    self._placed.set()
                    self._notify_all()  # what ended before this point is in no event to come: look once more
                events = self._store.events.read(str(position), block_ms=block_ms, count=BATCH)
                if len(events) >= BATCH and self._store.events.span().misses(position):
                    self._miss()  # so far behind that the stream may have been trimmed in front of us
            except StoreUnavailable:
                time.sleep(RETRY_SECONDS)
                continue
            except Exception:
                log.exception("reading events failed; those who wait look for themselves")
                time.sleep(RETRY_SECONDS)
                continue
            finally:
                if self._is_draining():
                    self._notify_all()
                    self._miss()
            if events:
                position = EventId.parse(events[-1].id)
                worked = time.thread_time()
                self._hand_on(events)
                worked = time.thread_time() - worked
                pace = TOPIC_PACE_SECONDS if self._of_topics else PACE_SECONDS
                pace = max(pace, min(worked / HANDING_SHARE, LONGEST_PACE_SECONDS))
                time.sleep(max(0.0, began + pace - time.monotonic()))

    def _hand_on(self, events: Sequence[Event]) -> None:
        frames: dict[str, Frame] = {}

        def frame(event: Event) -> Frame:
            found = frames.get(event.id)
            if found is None:
                found = frames[event.id] = self._frame(event)
            return found

        of_queues: dict[str, list[Event]] = {}
        for event in events:
            of_queues.setdefault(event.queue, []).append(event)
        with self._lock:
            # Those who come and go do not wait until all have been told.
            topics = [
                (topic, tuple(subscriptions))
                for topic, subscriptions in self._of_topics.items()
                if topic.queues is None or not of_queues.keys().isdisjoint(topic.queues)
            ]
            of_jobs = self._tell_of_jobs(events) if self._of_jobs or self._waiting else []
        for topic, subscriptions in topics:
            only = next(iter(topic.queues)) if topic.queues is not None and len(topic.queues) == 1 else None
            candidates = events if only is None else of_queues[only]
            wanted = [frame(event) for event in candidates if topic.includes(event)]
            if wanted:
                batch = Batch(wanted)
                for subscription in subscriptions:
                    subscription.put(batch)
        for subscription, event in of_jobs:
            subscription.put(Batch([frame(event)]))

    def _tell_of_jobs(self, events: Sequence[Event]) -> list[tuple[Subscription, Event]]:
        """Wake those who wait for the end of a job; who is to be told of single jobs, and what."""
        found = []
        for event in events:
            subscriptions = self._of_jobs.get(event.job_id, ())
            found += [(each, event) for each in subscriptions if each.topic.includes(event)]
            if event.type in ENDINGS:
                for notice in self._waiting.get(event.job_id, ()):
                    notice.set()
        return found

    def _notify_all(self) -> None:
        with self._lock:
            for notices in self._waiting.values():
                for notice in notices:
                    notice.set()

    def _miss(self) -> None:
        """Let every subscriber look for itself: what has happened, and whether the process is being stopped."""
        with self._lock:
            everybody: Iterable[set[Subscription]] = (*self._of_jobs.values(), *self._of_topics.values())
            for subscriptions in everybody:
                for subscription in subscriptions:
                    subscription.miss()


def _discard(listeners: dict[K, set[L]], key: K, listener: L) -> None:
    listeners[key].discard(listener)
    if not listeners[key]:
        del listeners[key]
