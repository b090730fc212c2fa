"""A job in the worker's main process, in the shape that Celery's remote control and signals know: a `Request`."""

import json
import logging
import time
from dataclasses import dataclass
from typing import Any, Literal

from celery import Celery, signals
from celery.utils.saferepr import saferepr
from celery.worker import state as worker_state
from celery.worker.request import Request

from backroom.engine import messages
from backroom.engine.running import Finished, Wire
from backroom.store.execution import Claimed, Outcome, decode_outcome

__all__ = ["JobRequest", "Message", "Stop"]

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Stop:
    """Someone wants a job to end."""

    why: Literal["cancelled", "timeout", "lost"]
    #: When the running job was asked, on the monotonic clock; None: it has not begun.
    asked_at: float | None = None
    #: It is killed at once instead of asked.
    at_once: bool = False


@dataclass(eq=False, slots=True)
class Message:
    """Jobs on their way to one pool slot."""

    #: Where on the board the slot says how far it is.
    place: int
    #: Those that have not ended and were not taken back, by index.
    open: dict[int, "JobRequest"]
    #: Hard and soft time limit in seconds; a message of several jobs has none.
    limits: tuple[float | None, float | None]
    #: When it was sent and, once a slot has accepted it, when that was; on the monotonic clock.
    since: float
    #: The process of the slot that accepted it.
    pid: int | None = None
    #: When the slot was told to begin no further job of it.
    recalled_at: float | None = None
    #: Whether what is taken back goes to the store, for others to do.
    blocked: bool = False
    #: Whether its job was reminded of the soft time limit.
    reminded: bool = False


class JobRequest(Request):
    """One claimed job. Lean: nothing is decoded here unless someone asks."""

    def __init__(
        self,
        claimed: Claimed,
        *,
        task: Any,
        app: Celery,
        hostname: str,
        eventer: Any = None,
        worker_limits: tuple[float | None, float | None] = (None, None),
    ) -> None:
        self.claimed = claimed
        #: The time limits of the worker, for jobs that have none of their own.
        self._worker_limits = worker_limits
        self.id, self.name = claimed.id, claimed.name
        self._type, self._task, self._app = claimed.name, task, app
        self._hostname, self._eventer = hostname, eventer
        self._delivery_info = {
            "exchange": "",
            "routing_key": claimed.queue,
            "priority": 0,
            "redelivered": claimed.stalled > 0,
        }
        self._argsrepr = self._kwargsrepr = ""
        self._eta = self._expires = None
        self._ignore_result = task.ignore_result
        self._connection_errors = ()
        #: When it was claimed, on the monotonic clock.
        self.claimed_at = time.monotonic()
        #: Its message to a pool slot, once there is one, and its index in it.
        self.sent_in: Message | None = None
        self.index = 0
        #: Set once someone wants it to end.
        self.stop: Stop | None = None
        #: It has come to an outcome here, which may not be settled yet.
        self.over = False
        #: The store gave it to someone else; its outcome will be refused.
        self.lost = False
        self._options: dict[str, Any] | None = None
        self._decoded_once: tuple[Any, Any, Any] | None = None

    # What Celery asks of a request.

    def _decode(self) -> tuple[Any, Any, Any]:
        if self._decoded_once is None:
            celery = messages.celery_part(self.claimed.celery)
            try:
                accept = frozenset({"application/json"})
                takes_data = getattr(self._task, "takes_data", False)
                self._decoded_once = messages.arguments_of(
                    self.claimed.data, celery, takes_data=takes_data, accept=accept
                )
            except Exception:  # noqa: BLE001 - only shown to people; the job itself fails where it is run
                self._decoded_once = ([], {}, {})
        return self._decoded_once

    @property
    def _args(self) -> Any:
        return self._decode()[0]

    @property
    def _kwargs(self) -> Any:
        return self._decode()[1]

    @property
    def _payload(self) -> tuple[Any, Any, Any]:
        return self._decode()

    @property
    def _request_dict(self) -> dict[str, Any]:
        claimed = self.claimed
        celery = messages.celery_part(claimed.celery)
        return messages.request_of(
            job_id=claimed.id,
            name=claimed.name,
            queue=claimed.queue,
            made=claimed.made,
            stalled=claimed.stalled,
            priority=int(self.options.get("priority", 0)),
            hostname=self._hostname,
            celery=celery,
            embed=self._decode()[2],
        )

    @property
    def options(self) -> dict[str, Any]:
        """The job's options in JSON's words."""
        if self._options is None:
            self._options = json.loads(self.claimed.options) if self.claimed.options else {}
        return self._options

    @property
    def wire(self) -> Wire:
        """The job on its way to the pool."""
        claimed = self.claimed
        return Wire(
            claimed.id,
            claimed.name,
            claimed.queue,
            claimed.token,
            claimed.data,
            claimed.made,
            claimed.stalled,
            claimed.options,
            claimed.celery,
            claimed.traceparent,
            claimed.request_id,
        )

    @property
    def size(self) -> int:
        """About how many bytes it has on its way to the pool."""
        claimed = self.claimed
        return 300 + len(claimed.data) + len(claimed.options) + len(claimed.celery)

    def limits(self) -> tuple[float | None, float | None]:
        """Hard and soft limit of this try in seconds: the job's, Celery's for this call, the type's, the worker's."""
        hard = self._task.time_limit or self._worker_limits[0]
        soft = self._task.soft_time_limit or self._worker_limits[1]
        if self.claimed.celery and '"timelimit"' in self.claimed.celery:
            own = json.loads(self.claimed.celery).get("headers", {}).get("timelimit") or (None, None)
            hard, soft = own[0] or hard, own[1] or soft
        if self.claimed.options and '"timeout"' in self.claimed.options:
            hard = self.options["timeout"] / 1000
        if hard is not None and soft is not None and soft >= hard:
            soft = None
        return hard, soft

    def may_share(self) -> bool:
        """Whether it may travel to the pool with others: not if it has limits, or a history of killing its process."""
        claimed = self.claimed
        return claimed.stalled == 0 and '"maxStalled":0' not in claimed.options and self.limits() == (None, None)

    # Its life in Celery's books.

    def reserved(self) -> None:
        """It was claimed."""
        worker_state.task_reserved(self)
        if self._observed:
            context = self._context
            self._tell(
                "task-received",
                name=self.name,
                args=saferepr(self._args),
                kwargs=saferepr(self._kwargs),
                root_id=context.root_id,
                parent_id=context.parent_id,
                retries=context.retries,
                eta=None,
                expires=None,
            )

    def accepted(self, pid: int) -> None:
        """A pool slot has it."""
        self.worker_pid = pid
        self.time_start = time.time()
        worker_state.task_accepted(self)
        if self._observed:
            self._tell("task-started")

    def ended(self, outcome: Finished | Outcome | None = None) -> None:
        """It is over (`outcome` says how), or no longer ours (None)."""
        worker_state.task_ready(self, successful=outcome is not None and _kind_of(outcome) == "completed")
        if outcome is not None and self._observed:
            self._tell_outcome(outcome)
        if outcome is not None and _kind_of(outcome) == "cancelled":
            signals.task_revoked.send(
                sender=self.task, request=self._context, terminated=self._began, signum=None, expired=False
            )

    @property
    def _began(self) -> bool:
        return self.time_start is not None

    # Task events, for whoever looks (`celery events`, Flower).

    @property
    def _observed(self) -> bool:
        return bool(self._eventer and self._eventer.enabled and self._task.send_events)

    def _tell(self, kind: str, **fields: Any) -> None:
        """Send an event. A job never suffers from an event that could not be sent."""
        try:
            self.send_event(kind, **fields)
        except Exception:
            logger.warning("the event %s of job %s could not be sent", kind, self.id, exc_info=True)

    def _tell_outcome(self, ended: Finished | Outcome) -> None:
        outcome = decode_outcome(ended.outcome) if isinstance(ended, Finished) else ended
        error = json.loads(outcome.error) if outcome.error and outcome.outcome != "stalled" else {}
        shown = {
            "exception": f"{error.get('type')}({error.get('message')!r})",
            "traceback": error.get("traceback") or "",
        }
        match outcome.outcome:
            case "completed":
                runtime = ended.seconds if isinstance(ended, Finished) else None
                self._tell(
                    "task-succeeded", result=(outcome.result or "")[: self._task.resultrepr_maxsize], runtime=runtime
                )
            case "failed":
                self._tell("task-failed", **shown)
            case "retry" | "retry-after" | "rate-limited":
                self._tell("task-retried", **shown)
            case "cancelled":
                self._tell("task-revoked", terminated=self._began, signum=None, expired=False)

    def acknowledge(self) -> None:
        """Nothing to do: the desk settles jobs with the store."""

    def reject(self, requeue: bool = False) -> None:  # noqa: FBT001, FBT002 - Celery's signature
        """Nothing to do: the desk settles jobs with the store."""

    def revoked_by_celery(self) -> bool:
        """Whether ``control revoke`` has named it (or its stamps) while this worker was up."""
        if self.id not in worker_state.revoked and not worker_state.revoked_stamps:
            return False
        return bool(self.revoked())

    def _announce_revoked(self, *_: Any) -> None:
        """Celery's world is told when the job ends; see `ended`."""

    def terminate(self, pool: Any, signal: Any = None) -> None:
        """Celery's ``revoke(terminate=True)``: stop it if it runs."""
        del pool
        self.on_terminate(self, signal)

    def cancel(self, *_: Any, **__: Any) -> None:
        """Celery gives up what a lost connection could not acknowledge any more; here the desk keeps the lease."""

    #: Set by the dispatcher: cancels the job; hears that it is someone else's now.
    on_terminate: Any = staticmethod(lambda _request, _signal: None)
    on_lost: Any = staticmethod(lambda _request: None)


def _kind_of(outcome: Finished | Outcome) -> str:
    return outcome.kind if isinstance(outcome, Finished) else outcome.outcome
