"""The worker's side of the job board: claims jobs, settles them, keeps their leases, and heals by itself.

Three threads of the worker's main process, each with connections of its own, so that neither Celery's event loop nor a pool
child nor a slow answer of Redis can make the worker lose a lease:

- the **desk** settles outcomes and claims jobs, both in one exchange;
- the **waker** blocks on the wake-up key while the desk has nothing to do;
- the **pulse** renews leases, says that the worker lives, hears of cancellations, and sweeps.
"""

import json
import logging
import random
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec
from redis import Redis

from backroom.engine.dispatch import Dispatcher
from backroom.engine.request import JobRequest
from backroom.engine.running import Finished
from backroom.model.errors import StoreUnavailable
from backroom.model.job_types import JobType
from backroom.model.schedule import ScheduleSpec
from backroom.settings import Settings
from backroom.store import Store, WorkerView, connect
from backroom.store.connection import store_errors
from backroom.store.execution import Claimed, Held, Outcome, Served

__all__ = ["Desk"]

logger = logging.getLogger(__name__)

#: The most outcomes in one exchange, and leases in one renewal.
SETTLED_AT_ONCE = 500
#: Pauses between tries to reach a store that is away, in seconds.
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.0
#: A lease is renewed this many times before it would end.
RENEWALS_PER_LEASE = 3
#: The most jobs claimed beyond free slots.
MOST_AHEAD_FACTOR = 2
#: How often the dispatcher looks after what waits and what does not end, in seconds.
TICK_SECONDS = 0.1


class Desk:
    """Started with the worker, ended after its pool.

    ``adopt(claimed)`` makes requests of claimed jobs, ``hand_on(requests)`` gives them to the dispatcher; both are called in
    the desk's thread and must return soon. ``served()`` says which queues to claim from.
    """

    def __init__(
        self,
        *,
        worker: str,
        url: str,
        settings: Settings,
        dispatcher: Dispatcher,
        adopt: Callable[[Claimed], JobRequest | None],
        hand_on: Callable[[Sequence[JobRequest]], None],
        served: Callable[[], Served],
        job_types: Sequence[JobType],
        schedules: Mapping[str, ScheduleSpec],
        view: Callable[[], WorkerView],
    ) -> None:
        self._worker, self._url, self._settings = worker, url, settings
        self._dispatcher, self._served, self._view = dispatcher, served, view
        self._adopt, self._hand_on = adopt, hand_on
        self._job_types, self._schedules = list(job_types), dict(schedules)
        self._store = Store(connect(url, timeout=settings.redis_timeout_seconds), settings=settings)
        self._lease_ms = int(settings.lease_seconds * 1000)
        self._tokens = f"{worker}.{secrets.token_hex(4)}"
        self._turns = 0
        #: Claimed and not settled yet, by id: their leases are renewed.
        self.held: dict[str, JobRequest] = {}
        self._outcomes: deque[tuple[JobRequest, Outcome | msgspec.Raw]] = deque()
        self._open = 0  # claimed and not ended
        self._count_lock = threading.Lock()
        self._signal = threading.Event()
        self._hungry = True
        self._claiming = True
        self._ended = threading.Event()
        self._lost_token: str | None = None
        # The answer to a blocking call may take as long as the call blocks, and the usual time on top.
        patience = settings.idle_wait_seconds + settings.redis_timeout_seconds
        self._waker = _Waker(self, connect(url, timeout=patience))
        self._pulse = _Pulse(self)
        self._thread = threading.Thread(target=self._run, name="backroom-desk", daemon=True)

    # Called by the worker.

    def start(self) -> None:
        """Begin."""
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

    @property
    def claiming(self) -> bool:
        """Whether it claims jobs."""
        return self._claiming

    def finish(self, timeout: float) -> None:
        """Settle what is left, for ``timeout`` seconds at most, say goodbye, and end."""
        deadline = time.monotonic() + timeout
        while (self._outcomes or self._settling) and time.monotonic() < deadline:
            self._signal.set()
            time.sleep(0.005)
        self._ended.set()
        self._signal.set()
        if self._outcomes:
            logger.warning("%d outcomes could not be settled: the jobs will be run again", len(self._outcomes))
        try:
            self._store.workers.leave(self._worker)
        except StoreUnavailable:
            logger.info("the store is away: this worker's record will expire by itself")

    def settle(self, request: JobRequest, ended: Finished | Outcome) -> None:
        """A job has ended: settle it soon. Called from any thread."""
        outcome = msgspec.Raw(ended.outcome) if isinstance(ended, Finished) else ended
        with self._count_lock:
            self._open -= 1
        self._outcomes.append((request, outcome))
        self._signal.set()

    def woken(self) -> None:
        """There may be work."""
        self._hungry = True
        self._signal.set()

    def drop(self, request: JobRequest) -> None:
        """A job that was not begun is no longer ours."""
        self._dispatcher.forget(request)

    # The desk's thread.

    _settling = False

    def _run(self) -> None:
        pause = FIRST_PAUSE
        while not self._ended.is_set():
            try:
                self._turn()
                pause = FIRST_PAUSE
            except StoreUnavailable as error:
                logger.warning("the job store is away, trying again in %.1f s: %s", pause, error)
                self._hungry = True
                self._ended.wait(pause * random.uniform(0.8, 1.2))  # noqa: S311 - spreads workers, no secret
                pause = min(LONGEST_PAUSE, pause * 2)
            except Exception:
                logger.exception("the desk stumbled and goes on")
                self._ended.wait(pause)

    def room(self) -> int:
        """How many jobs to claim now."""
        if not self._claiming:
            return 0
        settings, slots = self._settings, self._dispatcher.slots
        most = MOST_AHEAD_FACTOR * settings.claim_batch
        ahead = self._dispatcher.estimate.ahead(settings.claim_ahead_seconds, slots, most)
        room = min(slots + ahead - self._open, settings.claim_batch)
        # Asking for a few at a time would lose what batches win; with less than a quarter free there is enough in store.
        return 0 if room < 1 or (ahead and room < min(settings.claim_batch, ahead) // 4) else room

    def _turn(self) -> None:
        if self._lost_token is not None:
            token = self._lost_token
            self._take(self._store.execution.recover(worker=self._worker, token=token, lease_ms=self._lease_ms))
            self._lost_token = None
        room = self.room() if self._hungry or self._outcomes else 0
        if not self._outcomes and room == 0:
            self._wait()
            return
        self._exchange(room)

    def _wait(self) -> None:
        """Nothing to settle, and no room or no work: until someone says otherwise."""
        if self.room() > 0 and not self._hungry:
            self._waker.arm(self._served())
        timeout = 2 * self._settings.idle_wait_seconds
        if self._next_due_at is not None:
            timeout = min(timeout, max(0.0, self._next_due_at - time.monotonic()))
        if not self._signal.wait(timeout):
            self._hungry = True
        self._signal.clear()

    _next_due_at: float | None = None

    def _exchange(self, room: int) -> None:
        batch = []
        self._settling = True
        try:
            while self._outcomes and len(batch) < SETTLED_AT_ONCE:
                batch.append(self._outcomes.popleft())
            self._turns += 1
            token = f"{self._tokens}.{self._turns}"
            try:
                answer = self._store.execution.exchange(
                    worker=self._worker,
                    token=token,
                    lease_ms=self._lease_ms,
                    outcomes=[outcome for _, outcome in batch],
                    room=room,
                    served=self._served() if room else None,
                )
            except StoreUnavailable:
                self._outcomes.extendleft(reversed(batch))
                if room:
                    self._lost_token = token
                raise
            for (request, _), accepted in zip(batch, answer.accepted, strict=True):
                if self.held.get(request.id) is request:
                    del self.held[request.id]
                if not accepted:
                    logger.warning("the outcome of job %s came too late and was refused", request.id)
        finally:
            self._settling = False
        if room:
            self._next_due_at = None if answer.next_due is None else time.monotonic() + (answer.next_due + 1) / 1000
            self._hungry = len(answer.claimed) > 0
            self._take(answer.claimed)

    def _take(self, claimed: Sequence[Claimed]) -> None:
        if not claimed:
            return
        with self._count_lock:
            self._open += len(claimed)
        requests = [request for each in claimed if (request := self._adopt(each)) is not None]
        self.held.update((request.id, request) for request in requests)
        self._hand_on(requests)

    @property
    def store(self) -> Store:
        """The store, on a pool of connections that every thread may use."""
        return self._store

    @property
    def ended(self) -> threading.Event:
        """Set when the worker is done."""
        return self._ended


class _Waker(threading.Thread):
    """Blocks on the wake-up key for the desk; never while the desk has no room, or it would swallow others' wake-ups."""

    def __init__(self, desk: Desk, redis: Redis) -> None:
        super().__init__(name="backroom-waker", daemon=True)
        self._desk, self._redis = desk, redis
        self._armed = threading.Event()
        self._served = Served()
        self._pause = FIRST_PAUSE

    def arm(self, served: Served) -> None:
        """Wait for a wake-up, unless it waits already."""
        if not self._armed.is_set():
            self._served = served
            self._armed.set()

    def run(self) -> None:
        """Wait and wake until the worker ends."""
        desk = self._desk
        while not desk.ended.is_set():
            if not self._armed.wait(1.0):
                continue
            try:
                with store_errors():
                    key = self._sleep()
                    if key is not None and desk.room() == 0:
                        self._redis.zadd(key, {"1": 0})  # for someone who has room
            except StoreUnavailable:
                desk.ended.wait(LONGEST_PAUSE)
            self._armed.clear()
            desk.woken()

    def _sleep(self) -> str | None:
        """Until a wake-up arrives (its key) or for the idle wait, which heals a lost one (None)."""
        keys = self._desk.store.keys
        names = [keys.wake(queue) for queue in self._served.named] if self._served.named is not None else [keys.wake()]
        wait = self._desk._settings.idle_wait_seconds  # noqa: SLF001 - the waker is a part of the desk
        if not names:
            self._desk.ended.wait(wait)
            return None
        found = self._redis.bzpopmin(names, wait)
        return str(found[0]) if found else None


class _Pulse(threading.Thread):
    """Renews leases, says that the worker lives, hears of cancellations, sweeps."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(name="backroom-pulse", daemon=True)
        self._desk = desk
        settings = desk._settings  # noqa: SLF001 - the pulse is a part of the desk
        self._settings = settings
        self._period = settings.lease_seconds / RENEWALS_PER_LEASE
        self._beat_seconds = min(self._period, 3.0)
        self._pubsub = desk.store.redis.pubsub(ignore_subscribe_messages=True)
        self._subscribed = False
        self._schedules_published = False

    def run(self) -> None:
        """Until the worker ends."""
        desk = self._desk
        renew_at = beat_at = 0.0
        sweep_at = time.monotonic() + self._sweep_pause()
        tick_at = 0.0
        while not desk.ended.is_set():
            now = time.monotonic()
            try:
                if now >= tick_at:
                    desk._dispatcher.tick()  # noqa: SLF001 - the pulse is a part of the desk
                    tick_at = now + TICK_SECONDS
                if now >= beat_at:
                    beat_at = now + self._beat_seconds
                    self._beat()
                if now >= renew_at:
                    renew_at = now + self._period
                    self._renew()
                if now >= sweep_at:
                    sweep_at = now + self._sweep_pause()
                    desk.store.upkeep.sweep()
                self._listen()
            except StoreUnavailable:
                self._subscribed = False
                renew_at = beat_at = time.monotonic() + FIRST_PAUSE
                desk.ended.wait(FIRST_PAUSE)
            except Exception:
                logger.exception("the pulse stumbled and goes on")
                desk.ended.wait(FIRST_PAUSE)

    def _sweep_pause(self) -> float:
        return self._settings.worker_sweep_seconds * random.uniform(0.75, 1.25)  # noqa: S311 - spreads workers, no secret

    def _beat(self) -> None:
        desk = self._desk
        view = desk._view()  # noqa: SLF001 - the pulse is a part of the desk
        desk.store.workers.beat(view)
        if view.state == "running":
            types = desk._job_types  # noqa: SLF001 - the pulse is a part of the desk
            desk.store.job_types.publish(view.id, types, ttl_seconds=self._settings.job_type_ttl_seconds)
            if not self._schedules_published:
                schedules = desk._schedules  # noqa: SLF001 - the pulse is a part of the desk
                desk.store.schedules.put_code(schedules, [each.name for each in types])
                self._schedules_published = True

    def _renew(self) -> None:
        desk = self._desk
        requests = list(desk.held.values())
        for first in range(0, len(requests), SETTLED_AT_ONCE):
            chunk = requests[first : first + SETTLED_AT_ONCE]
            held = [Held(request.id, request.claimed.token, request.claimed.queue) for request in chunk]
            answers = desk.store.execution.renew(held, lease_ms=int(self._settings.lease_seconds * 1000))
            for request, answer in zip(chunk, answers, strict=True):
                if answer == "cancel":
                    self._cancel(request)
                elif answer == "lost" and desk.held.get(request.id) is request and not request.lost:
                    request.lost = True
                    logger.warning("the lease of job %s was lost", request.id)
                    desk.drop(request)

    def _cancel(self, request: JobRequest) -> None:
        if not request.cancel_asked:
            request.on_terminate(request, None)

    def _listen(self) -> None:
        """Hear of cancellations, until something else is to be done."""
        desk = self._desk
        with store_errors():
            if not self._subscribed:
                self._pubsub.close()
                self._pubsub.subscribe(desk.store.keys.single("control"))
                self._subscribed = True
            found = self._pubsub.get_message(timeout=TICK_SECONDS)
        if not found or found["type"] != "message":
            return
        wanted = json.loads(found["data"]).get("cancel")
        request = desk.held.get(wanted)
        if request is not None:
            self._cancel(request)


def jobs_of(requests: Iterable[JobRequest]) -> tuple[str, ...]:
    """The ids of requests, at most 100."""
    return tuple(request.id for request in list(requests)[:100])
