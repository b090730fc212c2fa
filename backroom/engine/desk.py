"""The worker's side of the job board: claims jobs, settles them, keeps their leases, and heals by itself.

Three threads of the worker's main process, each with connections of its own, so that neither Celery's event loop nor a
pool child nor a slow answer of Redis can make the worker lose a lease:

- the **desk** settles outcomes and claims jobs, both in one exchange;
- the **waker** blocks on the wake-up key while the desk has nothing to do;
- the **pulse** renews leases, says that the worker lives, hears of cancellations and wishes, and sweeps.
"""

import json
import logging
import random
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
from redis.exceptions import ResponseError

from backroom.engine.dispatch import Dispatcher
from backroom.engine.request import JobRequest
from backroom.engine.running import Finished
from backroom.model.errors import StoreFull, StoreUnavailable
from backroom.model.job_types import JobType
from backroom.model.schedule import ScheduleSpec
from backroom.settings import Settings
from backroom.store import Store, WorkerView, connect
from backroom.store.connection import store_errors
from backroom.store.execution import Claimed, Exchanged, Held, Outcome, Served
from backroom.store.upkeep import Sweeper
from backroom.store.workers import WISHES, Wish

__all__ = ["Desk", "jobs_of"]

logger = logging.getLogger(__name__)

#: The most outcomes in one exchange (and leases in one renewal), and about the most bytes of them.
SETTLED_AT_ONCE = 500
SETTLED_BYTES = 4 * 1024 * 1024
#: Pauses between tries to reach a store that is away, in seconds.
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.0
#: A lease is renewed this many times before it would end.
RENEWALS_PER_LEASE = 3
#: How long a worker that stops tries to find out what a claim without an answer has claimed, in seconds.
CLAIM_PATIENCE = 5.0
#: The most jobs claimed beyond free slots.
MOST_AHEAD_FACTOR = 2
#: How long the pulse listens for cancellations before it looks at the clock again, in seconds.
LISTEN_SECONDS = 0.1
#: Steps of making deliveries of webhooks between two looks at the leases.
TOLD_AT_ONCE = 10
#: A worker says that it lives at least this often, in seconds.
BEAT_SECONDS = 3.0

Ending = tuple[JobRequest, Outcome | msgspec.Raw]


@dataclass(frozen=True, slots=True)
class _Call:
    """An exchange that is to be made, and made again until it is answered."""

    token: str
    batch: list[Ending]
    room: int
    served: Served | None


class Desk:
    """Started with the worker, ended after its pool.

    ``adopt(claimed)`` makes requests of claimed jobs, in the desk's thread; it may settle one at once. ``served()``
    says which queues to claim from.
    """

    def __init__(
        self,
        *,
        worker: str,
        url: str,
        settings: Settings,
        adopt: Callable[[Claimed], JobRequest],
        served: Callable[[], Served],
        job_types: Sequence[JobType],
        schedules: Mapping[str, ScheduleSpec],
        view: Callable[[], WorkerView],
    ) -> None:
        self.worker, self.settings, self.view = worker, settings, view
        self.job_types, self.schedules = list(job_types), dict(schedules)
        self._adopt, self._served = adopt, served
        #: The store, on a pool of connections that every thread may use.
        self.store = Store(connect(url, timeout=settings.redis_timeout_seconds), settings=settings)
        self.lease_ms = int(settings.lease_seconds * 1000)
        self._tokens = f"{worker}.{secrets.token_hex(4)}"
        self._turns = 0
        self._lock = threading.Lock()
        #: Claimed and not settled yet, by id: their leases are renewed.
        self._held: dict[str, JobRequest] = {}
        self._outcomes: deque[Ending] = deque()
        self._open = 0  # claimed and not ended
        self._call: _Call | None = None
        self._singly = 0  # so many outcomes are to be settled one by one: one of them upsets the store
        self._signal = threading.Event()
        self._hungry = True
        self._claiming = True
        self._next_due_at: float | None = None
        self._away = False
        #: Set once the worker stops: when the desk gives up settling, and finding out what it has claimed.
        self._last_turn_at: float | None = None
        self._last_claim_at = 0.0
        #: Set when the worker is done.
        self.ended = threading.Event()
        #: Called when tasks have ended of which others are to be told.
        self.on_consequences: Callable[[], None] = lambda: None
        #: Called when somebody asks the worker to be quiet or to stop.
        self.on_wish: Callable[[Wish], None] = lambda _: None
        self._waker = _Waker(self, url)
        self._pulse = _Pulse(self)
        self._thread = threading.Thread(target=self._run, name="backroom-desk", daemon=True)
        self._dispatcher: Dispatcher

    # Called by the worker.

    def start(self, dispatcher: Dispatcher) -> None:
        """Begin, and hand jobs on to the dispatcher."""
        self._dispatcher = dispatcher
        self._thread.start()
        self._waker.start()
        self._pulse.start()

    def stop_claiming(self) -> None:
        """Claim no more; settling and renewing go on."""
        self._claiming = False
        self._signal.set()

    def resume_claiming(self) -> None:
        """Undo `stop_claiming`."""
        self._claiming = True
        self.woken()

    def finish(self, timeout: float) -> None:
        """Settle what is left, for ``timeout`` seconds at most, say goodbye, and end."""
        self._claiming = False
        now = time.monotonic()
        self._last_claim_at, self._last_turn_at = now + min(timeout, CLAIM_PATIENCE), now + timeout
        self._signal.set()
        if self._thread.is_alive():
            self._thread.join(timeout + 2 * self.settings.redis_timeout_seconds)
        self.ended.set()
        with self._lock:
            left = len(self._outcomes) + (len(self._call.batch) if self._call else 0)
        if left:
            logger.warning("%d outcomes could not be settled: the jobs will be run again", left)
        try:
            self._waker.pass_on()
            self.store.workers.leave(self.worker)
        except StoreUnavailable:
            logger.info("the store is away: this worker's record will expire by itself")

    def settle(self, request: JobRequest, ended: Finished | Outcome) -> None:
        """A job has ended: settle it soon. Called from any thread."""
        outcome = msgspec.Raw(ended.outcome) if isinstance(ended, Finished) else ended
        with self._lock:
            self._open -= 1
            self._outcomes.append((request, outcome))
        self._signal.set()

    def abandon(self, request: JobRequest) -> None:
        """A job that is not ours any more will not be run here. Called from any thread."""
        with self._lock:
            self._open -= 1
            if self._held.get(request.id) is request:
                del self._held[request.id]
        self.woken()

    def woken(self) -> None:
        """There may be work, or room for it."""
        self._hungry = True
        self._signal.set()

    def served_anew(self) -> None:
        """What `served` says has changed."""
        self._waker.rearm()
        self.woken()

    def held(self) -> list[JobRequest]:
        """The requests whose leases are to be renewed."""
        with self._lock:
            return list(self._held.values())

    def room(self) -> int:
        """How many jobs to claim now."""
        if not self._claiming:
            return 0
        settings, slots = self.settings, self._dispatcher.slots
        most = MOST_AHEAD_FACTOR * settings.claim_batch
        ahead = self._dispatcher.estimate.ahead(settings.claim_ahead_seconds, slots, most)
        room = min(slots + ahead - self._open, settings.claim_batch)
        # Asking for a few at a time would lose what batches win; with less than a quarter free there is enough in
        # store.
        return 0 if room < 1 or (ahead and room < min(settings.claim_batch, ahead) // 4) else room

    # The desk's thread.

    def _run(self) -> None:
        pause = FIRST_PAUSE
        while not self._may_end():
            try:
                self._turn()
                pause = FIRST_PAUSE
            except StoreUnavailable as error:
                if not self._away:
                    self._away = True
                    logger.warning("the job store is away, trying again until it is back: %s", error)
                self._hungry = True
                self.ended.wait(pause * random.uniform(0.8, 1.2))  # noqa: S311 - spreads workers, no secret
                pause = min(LONGEST_PAUSE, pause * 2)
            except Exception:
                logger.exception("the desk stumbled and goes on")
                self.ended.wait(pause)
                pause = min(LONGEST_PAUSE, pause * 2)

    def _may_end(self) -> bool:
        if self._last_turn_at is None:
            return False
        with self._lock:
            left = self._open > 0 or self._outcomes or (self._call is not None and self._call.batch)
        if left:
            return time.monotonic() > self._last_turn_at
        return self._call is None or time.monotonic() > self._last_claim_at

    def _turn(self) -> None:
        if self._call is None:
            self._call = self._next_call()
        if self._call is None:
            self._wait()
            return
        call = self._call
        try:
            answer = self.store.execution.exchange(
                worker=self.worker,
                token=call.token,
                lease_ms=self.lease_ms,
                outcomes=[outcome for _, outcome in call.batch],
                room=call.room,
                served=call.served,
            )
        except ResponseError:
            self._call = None
            self._isolate(call)
            raise
        if self._away:
            self._away = False
            logger.warning("the job store is back")
        self._call = None
        self._digest(call, answer)

    def _next_call(self) -> _Call | None:
        hungry, self._hungry = self._hungry, False  # before the exchange: what it does not see sets it again
        room = self.room() if not self._singly and (hungry or self._outcomes) else 0
        batch: list[Ending] = []
        with self._lock:
            most, size = (1 if self._singly else SETTLED_AT_ONCE), 0
            while self._outcomes and len(batch) < most and size < SETTLED_BYTES:
                ending = self._outcomes.popleft()
                batch.append(ending)
                size += len(bytes(ending[1])) if isinstance(ending[1], msgspec.Raw) else 0
        if not batch and room == 0:
            return None
        self._singly = max(0, self._singly - len(batch))
        self._turns += 1
        return _Call(f"{self._tokens}.{self._turns}", batch, room, self._served() if room else None)

    def _isolate(self, call: _Call) -> None:
        """The store stumbled over this call: find the outcome it stumbles over, and leave that one out."""
        self._hungry = True
        with self._lock:
            if len(call.batch) == 1 and call.room == 0:
                request, _ = call.batch[0]
                logger.error("the outcome of job %s cannot be settled and is left out", request.id)
                if self._held.get(request.id) is request:
                    del self._held[request.id]
            else:
                self._outcomes.extendleft(reversed(call.batch))
                self._singly = len(call.batch)

    def _digest(self, call: _Call, answer: Exchanged) -> None:
        with self._lock:
            for (request, _), accepted in zip(call.batch, answer.accepted, strict=True):
                if self._held.get(request.id) is request:
                    del self._held[request.id]
                if not accepted and not request.lost:
                    logger.warning("the outcome of job %s came too late and was refused", request.id)
        if call.room:
            self._next_due_at = None if answer.next_due is None else time.monotonic() + (answer.next_due + 1) / 1000
            if answer.claimed:
                self._hungry = True
                self._take(answer.claimed)

    def _take(self, claimed: Sequence[Claimed]) -> None:
        requests = []
        for each in claimed:
            with self._lock:
                self._open += 1
            request = self._adopt(each)
            with self._lock:
                self._held[request.id] = request
            if not request.over:
                requests.append(request)
        self._dispatcher.add(requests)

    def _wait(self) -> None:
        """Nothing to settle, and no room or no work: until someone says otherwise."""
        if self.room() > 0:
            self._waker.arm(self._served())
        timeout = 2 * self.settings.idle_wait_seconds
        if self._next_due_at is not None:
            timeout = min(timeout, max(0.0, self._next_due_at - time.monotonic()))
        if self._last_turn_at is not None:
            timeout = min(timeout, FIRST_PAUSE)
        if not self._signal.wait(timeout):
            self._hungry = True
        self._signal.clear()


class _Waker(threading.Thread):
    """Blocks on the wake-up key for the desk; never while it has no room, or it would swallow others' wake-ups."""

    def __init__(self, desk: Desk, url: str) -> None:
        super().__init__(name="backroom-waker", daemon=True)
        self._desk = desk
        # The answer to a blocking call may take as long as the call blocks, and the usual time on top.
        settings = desk.settings
        self._redis = connect(url, timeout=settings.idle_wait_seconds + settings.redis_timeout_seconds)
        #: A wake-up key of this worker alone.
        self._own = desk.store.keys.wake(f"worker:{desk.worker}")
        self._armed = threading.Event()
        self._served = Served()

    def arm(self, served: Served) -> None:
        """Wait for a wake-up, unless it waits already."""
        if not self._armed.is_set():
            self._served = served
            self._armed.set()

    def rearm(self) -> None:
        """Wait for other wake-ups from now on."""
        if self._armed.is_set():
            try:
                with store_errors():
                    self._redis.zadd(self._own, {"1": 0})
                    self._redis.expire(self._own, 60)
            except StoreUnavailable:
                pass  # it will have to wait anew anyway

    def pass_on(self) -> None:
        """The worker ends: if a wake-up has just reached it, someone else should have it."""
        with store_errors():
            for who in {"", *self._served.sleeps_on}:
                self._redis.zadd(self._desk.store.keys.wake(who), {"1": 0})

    def run(self) -> None:
        """Wait and wake until the worker ends."""
        desk = self._desk
        while not desk.ended.is_set():
            if not self._armed.wait(1.0):
                continue
            try:
                with store_errors():
                    key = self._sleep()
                    if key not in {None, self._own} and desk.room() == 0:
                        self._redis.zadd(key, {"1": 0})  # for someone who has room
            except StoreUnavailable:
                desk.ended.wait(LONGEST_PAUSE)
            except Exception:
                logger.exception("the waker stumbled and goes on")
                desk.ended.wait(LONGEST_PAUSE)
            self._armed.clear()
            desk.woken()

    def _sleep(self) -> str | None:
        """Until a wake-up arrives (its key) or for the idle wait, which heals a lost one (None)."""
        names = [self._desk.store.keys.wake(who) for who in self._served.sleeps_on]
        found = self._redis.bzpopmin([*names, self._own], self._desk.settings.idle_wait_seconds)
        return str(found[0]) if found else None


class _Pulse(threading.Thread):
    """Renews leases, says that the worker lives, hears of cancellations and wishes, sweeps."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(name="backroom-pulse", daemon=True)
        self._desk, self._store, self._settings = desk, desk.store, desk.settings
        self._renew_seconds = desk.settings.lease_seconds / RENEWALS_PER_LEASE
        self._beat_seconds = min(self._renew_seconds, BEAT_SECONDS)
        self._renew_at = self._beat_at = 0.0
        self._sweeper = Sweeper(desk.store.upkeep)
        self._sweep_at = time.monotonic() + self._sweep_pause()
        self._pubsub = desk.store.redis.pubsub(ignore_subscribe_messages=True)
        self._subscribed = self._schedules_published = False

    def run(self) -> None:
        """Until the worker ends."""
        while not self._desk.ended.is_set():
            try:
                self._round(time.monotonic())
            except StoreUnavailable:
                self._subscribed = False
                self._renew_at = self._beat_at = 0.0
                self._desk.ended.wait(FIRST_PAUSE)
            except Exception:
                logger.exception("the pulse stumbled and goes on")
                self._desk.ended.wait(FIRST_PAUSE)

    def _round(self, now: float) -> None:
        # Leases first: after an outage of the store there is little time for them.
        if now >= self._renew_at:
            self._renew()
            self._renew_at = now + self._renew_seconds
        if now >= self._beat_at:
            self._beat()
            self._beat_at = now + self._beat_seconds
        begins = now >= self._sweep_at
        if begins:
            self._sweep_at = now + self._sweep_pause()
        if begins or self._sweeper.has_more:
            self._sweeper.go_on()
        if begins:
            self._tell()
        self._listen()

    def _tell(self) -> None:
        """What the scheduler does at once: make deliveries of what webhooks are to tell."""
        for _ in range(TOLD_AT_ONCE):
            if not self._store.outbox.dispatch():
                return
        self._sweep_at = 0.0  # leases come first, and then the rest

    def _sweep_pause(self) -> float:
        return self._settings.worker_sweep_seconds * random.uniform(0.75, 1.25)  # noqa: S311 - spreads workers, no secret

    def _beat(self) -> None:
        view, types = self._desk.view(), self._desk.job_types
        if (wish := self._store.workers.beat(view)) is not None:
            self._obey(wish)
        if view.state != "running":
            return
        self._store.job_types.publish(view.id, types, ttl_seconds=self._settings.job_type_ttl_seconds)
        if not self._schedules_published:
            try:
                self._store.schedules.put_code(self._desk.schedules, [each.name for each in types])
                self._schedules_published = True
            except StoreFull:
                logger.warning("the job store is full: the schedules of this worker's jobs will be published later")

    def _obey(self, wish: Wish) -> None:
        logger.info("asked to %s", wish)
        self._desk.on_wish(wish)
        self._beat_at = 0.0  # so that everybody sees it soon

    def _renew(self) -> None:
        requests = self._desk.held()
        for first in range(0, len(requests), SETTLED_AT_ONCE):
            chunk = requests[first : first + SETTLED_AT_ONCE]
            held = [Held(request.id, request.claimed.token, request.claimed.queue) for request in chunk]
            answers = self._store.execution.renew(held, lease_ms=self._desk.lease_ms)
            for request, answer in zip(chunk, answers, strict=True):
                if answer == "cancel":
                    request.on_terminate(request, None)
                elif answer == "lost" and not request.over and not request.lost:
                    request.lost = True
                    logger.warning("the lease of job %s was lost", request.id)
                    request.on_lost(request)

    def _listen(self) -> None:
        """Hear of cancellations and wishes, until something else is to be done."""
        with store_errors():
            if not self._subscribed:
                self._pubsub.close()
                self._pubsub.subscribe(self._store.keys.single("control"))
                self._subscribed = True
            found = self._pubsub.get_message(timeout=LISTEN_SECONDS)
        if not found or found["type"] != "message":
            return
        told = json.loads(found["data"])
        if told.get("consequences"):
            self._desk.on_consequences()
        if told.get("worker") == self._desk.worker and told.get("ask") in WISHES:
            self._obey(told["ask"])
        wanted = told.get("cancel")
        for request in self._desk.held() if wanted else ():
            if request.id == wanted:
                request.on_terminate(request, None)


def jobs_of(requests: Iterable[JobRequest]) -> tuple[str, ...]:
    """The ids of requests, at most 100."""
    return tuple(request.id for request in list(requests)[:100])
