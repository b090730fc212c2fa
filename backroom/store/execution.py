"""What workers do with jobs: claim, settle, renew."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
from redis import Redis

from backroom.store.part import Part
from backroom.store.scripts import pack

__all__ = [
    "Claimed",
    "Exchanged",
    "Execution",
    "Held",
    "Outcome",
    "OutcomeKind",
    "Renewal",
    "Served",
    "decode_outcome",
    "encode_outcome",
]

OutcomeKind = Literal[
    "completed", "failed", "retry", "cancelled", "stalled", "release", "retry-after", "rate-limited", "replaced"
]


_WITH_ERROR = frozenset({"failed", "retry", "stalled"})
#: Bounds the time that one call holds Redis.
MAX_AT_ONCE = 1000


class Claimed(msgspec.Struct, frozen=True):
    """A job that this worker holds now."""

    id: str
    name: str
    queue: str
    #: Compact JSON text.
    data: str
    #: Tries that came to an outcome before this one.
    made: int
    stalled: int
    #: JSON text of the job's options, or "".
    options: str
    #: JSON text for a task that was submitted through Celery, or "".
    celery: str
    traceparent: str
    #: Proves the holding; settling and renewing need it.
    token: str
    #: The id of the request that submitted it, or "".
    request_id: str = ""


class Outcome(msgspec.Struct, omit_defaults=True):
    """How a try ended."""

    id: str
    token: str
    outcome: OutcomeKind
    #: JSON text of the result of a completed try.
    result: str | None = None
    #: JSON text ``{type, message, traceback, attempt, at, ...}`` (for stalled: a plain reason).
    error: str | None = None
    #: ms until the next try: retry, retry-after, rate-limited.
    delay: int | None = None
    #: How long it ran, in ms.
    run: int | None = None
    #: What the attempt log calls it, when that is not ``failed``: ``timeout``.
    tried: str | None = None
    #: The newest progress, JSON text, if it was not reported yet.
    progress: str | None = None
    #: Log lines, JSON texts, that were not reported yet.
    logs: list[str] | None = None
    #: JSON text: the results of the tasks that it published, as Celery writes them.
    children: str | None = None
    #: JSON text ``{name, data, celery, queue?}``, all texts: what the job goes on as; retry and replaced.
    staged: str | None = None

    def __post_init__(self) -> None:
        """Refuse what a script could not carry out: it would stop half-way."""
        if self.outcome == "completed":
            if self.result is None:
                raise ValueError("a completed outcome needs its result, as JSON text")
        elif self.error is None and self.outcome in _WITH_ERROR:
            raise ValueError(f"a {self.outcome} outcome needs its error")


def encode_outcome(outcome: Outcome) -> bytes:
    """The outcome as bytes, to be handed on as ``msgspec.Raw(bytes)``."""
    return pack(outcome)


def decode_outcome(encoded: bytes) -> Outcome:
    """The outcome that `encode_outcome` made these bytes of."""
    return msgspec.msgpack.decode(encoded, type=Outcome)


class Served(msgspec.Struct, omit_defaults=True):
    """Which queues a worker serves: those ``named``, or (None) all but those in ``without``."""

    named: list[str] | None = None
    without: dict[str, bool] | None = None
    #: Of those that leave some queues alone: which ones, in short. Set when it is made.
    kind: str | None = None

    def __post_init__(self) -> None:
        """Work out its kind."""
        if self.named is None and self.without:
            names = "\n".join(sorted(self.without))
            self.kind = hashlib.sha1(names.encode(), usedforsecurity=False).hexdigest()[:16]

    @property
    def sleeps_on(self) -> list[str]:
        """For whom the wake-ups are that are meant for such a worker, as `Keys.wake` takes it.

        Never those for other queues: it would do nothing about them, and whom they were meant for would sleep on.
        """
        if self.named is not None:
            return self.named
        return [f"*{self.kind}" if self.kind else ""]


class Held(msgspec.Struct, array_like=True):
    """A job to renew the lease of."""

    id: str
    token: str
    queue: str


@dataclass(frozen=True, slots=True)
class Exchanged:
    """The answer of an exchange."""

    #: For each outcome: whether it was accepted; a worker that has lost the lease is refused.
    accepted: list[bool]
    claimed: list[Claimed]
    #: ms until something is due that could be claimed, or None.
    next_due: int | None


#: The answers of `Execution.renew`.
Renewal = Literal["renewed", "lost", "cancel"]
_RENEWALS: tuple[Renewal, ...] = ("lost", "renewed", "cancel")


class Execution(Part):
    """The worker's side of the job board. ``lease_ms`` is how long a claim holds unless renewed."""

    def exchange(
        self,
        *,
        worker: str,
        token: str,
        lease_ms: int,
        outcomes: Sequence[Outcome | msgspec.Raw] = (),
        room: int = 0,
        served: Served | None = None,
        redis: Redis | None = None,
    ) -> Exchanged:
        """Settle ``outcomes`` and claim up to ``room`` jobs under ``token``, atomically and in one round trip.

        Each outcome is an `Outcome`, or ``msgspec.Raw`` of one encoded by `encode_outcome`; at most 1000 of them, and
        at most 1000 of room. ``token`` is new for every call. If the answer is lost (`StoreUnavailable`), make the same
        call again before any other: a worker's last call is answered again and nothing is done twice. `recover` hands
        out again only what it claimed.
        """
        _check_number(len(outcomes))
        _check_number(room)
        accepted, claimed, due = self._run(
            "exchange", pack(outcomes), room, worker, token, lease_ms, pack(served or Served()), redis=redis
        )
        return Exchanged(
            [bool(flag) for flag in accepted],
            [_claimed(row, token) for row in claimed],
            None if due < 0 else int(due),
        )

    def recover(self, *, worker: str, token: str, lease_ms: int, redis: Redis | None = None) -> list[Claimed]:
        """The jobs of the claim made under ``token``, whose answer was lost; empty if it never took place."""
        return [_claimed(row, token) for row in self._run("recover", worker, token, lease_ms, redis=redis)]

    def renew(self, held: Sequence[Held], *, lease_ms: int, redis: Redis | None = None) -> list[Renewal]:
        """Renew leases, at most 1000 a call.

        ``lost``: someone else may have the job; ``cancel``: renewed, but stop it.
        """
        if not held:
            return []
        _check_number(len(held))
        return [_RENEWALS[code] for code in self._run("renew", lease_ms, pack(held), redis=redis)]

    def report(
        self,
        job_id: str,
        token: str,
        *,
        progress: str | None = None,
        logs: Sequence[str] = (),
        redis: Redis | None = None,
    ) -> Renewal:
        """Store progress (JSON text) and log lines (JSON texts) of a running job."""
        code: int = self._run("report", job_id, token, progress or "", pack(logs), redis=redis)
        return _RENEWALS[code]

    def expect(self, job_id: str, token: str) -> bool:
        """Let a running job, once it is settled as replaced, wait for what others `supply`."""
        return bool(self._run("expect", job_id, token))

    def supply(self, job_id: str, *, name: str, queue: str, data: str, celery: str, delay_ms: int = 0) -> bool:
        """Bring what a job expects to go on as. False: it expects nothing."""
        new = json.dumps({"name": name, "queue": queue, "data": data, "celery": celery})
        return bool(self._run("supply", job_id, new, delay_ms))

    def forsake(self, job_id: str, error: str) -> bool:
        """Fail a job: what it expects will never come. ``error`` is JSON text. False: it expects nothing."""
        return bool(self._run("forsake", job_id, error))


def _check_number(number: int) -> None:
    if not 0 <= number <= MAX_AT_ONCE:
        raise ValueError(f"at most {MAX_AT_ONCE} at once, not {number}")


def _claimed(row: list[str], token: str) -> Claimed:
    job_id, name, queue, data, made, stalled, options, celery, trace, request = row
    return Claimed(job_id, name, queue, data, int(made), int(stalled), options, celery, trace, token, request)
