"""Bulk actions: one thing that is done to many jobs, in steps, by whoever is there to make them."""

import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from redis import Redis
from redis.exceptions import ResponseError

from backroom.model.errors import ActionOver, NotFound
from backroom.model.job import format_time
from backroom.model.names import is_name
from backroom.store.connection import store_errors
from backroom.store.keys import Keys
from backroom.store.part import Part
from backroom.store.positions import ANYWHERE, Cursor, Position, Walk, decode_cursor, encode_cursor
from backroom.store.query import JobQuery
from backroom.store.records import from_ms
from backroom.store.scripts import ScriptRunner, pack
from backroom.store.search import Search

__all__ = ["BULK_ACTIONS", "MAX_BULK_IDS", "Bulk", "BulkAction", "BulkActionKind", "BulkPage", "Reach"]

BulkActionKind = Literal["retry", "cancel", "promote", "remove"]
BULK_ACTIONS: Final[tuple[BulkActionKind, ...]] = ("retry", "cancel", "promote", "remove")
#: The most jobs of an action that names them.
MAX_BULK_IDS: Final = 1000
#: Bounds the time that one call holds Redis: 50 to 150 µs a job (see `benchmarks.bulk`).
ACTED_AT_ONCE: Final = 10
#: ... and so many jobs are looked for in one step.
SOUGHT_AT_ONCE: Final = 1000
#: Actions that are at work side by side; others wait for their turn.
AT_WORK: Final = 100
#: Jobs are acted on in the order in which they were submitted.
_ORDER: Final = "createdAt"
_LIST_NAME: Final = "bulk-actions"
_EPOCH: Final = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What jobs an action may touch, whatever it was told to; None: all."""

    queues: Sequence[str] | None = None
    names: Sequence[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkAction:
    """A bulk action as it is now."""

    id: str
    action: BulkActionKind
    state: Literal["running", "completed", "aborted", "failed"]
    #: Jobs that it is about, as far as they have been found.
    total: int
    #: What became of them: acted on; in a state that forbids it, or gone; not there.
    succeeded: int
    skipped: int
    failed: int
    #: What it may touch.
    reach: Reach
    #: What the caller asked for, in the caller's words; None: for jobs that it named.
    filter: dict[str, Any] | None
    created_at: datetime
    finished_at: datetime | None
    #: Why it has failed.
    detail: str | None

    def to_dict(self) -> dict[str, Any]:
        """The action in JSON's words."""
        return {
            "id": self.id,
            "action": self.action,
            "state": self.state,
            "total": self.total,
            "succeeded": self.succeeded,
            "skipped": self.skipped,
            "failed": self.failed,
            "filter": self.filter,
            "createdAt": format_time(self.created_at),
            "finishedAt": format_time(self.finished_at),
            "detail": self.detail,
        }


@dataclass(frozen=True, slots=True)
class BulkPage:
    """Some actions, newest first, and the cursor of the next page; None when there is none."""

    actions: list[BulkAction]
    next: str | None


class Bulk(Part):
    """An action first finds its jobs, then acts on them.

    Each step is one bounded script that does its work, counts it and moves on, so that a process may die at any moment
    and another goes on from there. Who has made the newest step has the action for two seconds; after that it is
    anybody's. Any number of processes and threads may call `work`.
    """

    def __init__(self, redis: Redis, keys: Keys, scripts: ScriptRunner) -> None:
        super().__init__(redis, keys, scripts)
        self._who = secrets.token_hex(8)

    # What callers want.

    def start(
        self,
        action_id: str,
        action: BulkActionKind,
        what: JobQuery | Sequence[str],
        *,
        shown: Mapping[str, Any] | None = None,
        reach: Reach = Reach(),
        reset_attempts: bool = False,
    ) -> BulkAction:
        """Begin an action on the jobs of a query or on 1 to 1000 named ones; the same id again changes nothing.

        It is about the jobs as they are now: those that are submitted later are left alone, and so are those that come
        later to the states of the query. ``shown`` is the query in the caller's words; its ``sort``, ``limit`` and
        ``cursor`` mean nothing here.
        """
        fields: dict[str, Any] = {"action": action, "reset": "1" if reset_attempts else "0"}
        only = {name: list(values) for name, values in asdict(reach).items() if values is not None}
        ids: list[str] | None = None
        if isinstance(what, JobQuery):
            fields["query"] = _dumped(what)
            if what.states:
                only["states"] = [str(state) for state in what.states]
        else:
            ids = list(dict.fromkeys(what))
            if not 1 <= len(ids) <= MAX_BULK_IDS:
                raise ValueError(f"a bulk action names 1 to {MAX_BULK_IDS} jobs, not {len(ids)}")
        if only:
            fields["only"] = json.dumps(only)
        if shown is not None:
            fields["shown"] = json.dumps(shown)
        self._run("start_bulk", action_id, pack(fields), "" if ids is None else pack(ids))
        return self.get(action_id)

    def count(self, query: JobQuery, *, within: float) -> int | None:
        """How many jobs a query means now; None: counting them takes longer than ``within`` seconds."""
        end = time.monotonic() + within
        number = 0
        with store_errors():
            for found in self._search(query).steps(None):
                number += len(found.matching)
                if time.monotonic() > end:
                    return None
        return number

    def get(self, action_id: str) -> BulkAction:
        """The action. Raises `NotFound`, also for one that was over long ago."""
        if not is_name(action_id):
            raise NotFound("bulk action", action_id)
        with store_errors():
            record = self._redis.hgetall(self._keys.bulk(action_id))
        if not record:
            raise NotFound("bulk action", action_id)
        return _action(action_id, record)

    def page(self, *, limit: int, cursor: str | None = None) -> BulkPage:
        """A page of actions, newest first. Raises `InvalidInput` for a cursor that is none of ours."""
        after = None if cursor is None else decode_cursor(_LIST_NAME, cursor).after
        actions: list[BulkAction] = []
        with store_errors():
            walk = Walk(self._redis, [self._keys.single("bulk-actions")], ANYWHERE, after, descending=True, first=limit)
            for position in walk:
                if len(actions) == limit:
                    return BulkPage(actions, encode_cursor(_LIST_NAME, Cursor(after or position, 0)))
                if record := self._redis.hgetall(self._keys.bulk(position.id)):  # else it was over long ago
                    actions.append(_action(position.id, record))
                    after = position
        return BulkPage(actions, None)

    def abort(self, action_id: str) -> BulkAction:
        """Let the action do no more; what it has done stays done. Raises `NotFound`, and `ActionOver` if it is over."""
        before = self.get(action_id)
        answer = self._run("end_bulk", action_id, "aborted", "")
        if answer[0] == "state" and answer[1] != "aborted":
            raise ActionOver(action_id, answer[1])
        return replace(before, state="aborted") if answer[0] == "missing" else self.get(action_id)

    # What has to be done.

    def work(self, go_on: Callable[[], bool], rest: Callable[[float], object] = time.sleep) -> None:
        """Make steps of all actions by turns until there is nothing to do here, or ``go_on`` says no.

        After each step it rests for as long as that took, so that others get at least half of what Redis can do.
        """
        while go_on():
            with store_errors():
                running = self._redis.zrange(self._keys.single("bulk-running"), 0, AT_WORK - 1)
            left = False
            for action_id in running:
                begun = time.monotonic()
                left |= self._work_on(action_id, go_on)
                rest(max(0.001, time.monotonic() - begun))
                if not go_on():
                    return
            if not left:
                return

    def _work_on(self, action_id: str, go_on: Callable[[], bool]) -> bool:
        """One step; finding the jobs is one step as well. Returns whether to come back."""
        try:
            self.find(action_id, go_on)
            return bool(self._run("act_bulk", action_id, self._who, ACTED_AT_ONCE) == "more")
        except ResponseError as error:  # a defect, which trying again would not heal
            self._run("end_bulk", action_id, "failed", str(error))
            raise

    def find(self, action_id: str, go_on: Callable[[], bool]) -> None:
        """Find the jobs of an action, as long as ``go_on`` says so and nobody else is about it."""
        with store_errors():
            query, cursor, gathered, begun = self._redis.hmget(
                self._keys.bulk(action_id), "query", "cursor", "gathered", "begun"
            )
            if query is None or gathered is not None:
                return
            before = cursor or ""
            after = decode_cursor(_ORDER, before).after if before else None
            for found in self._search(_loaded(query, int(begun))).steps(after):
                following = encode_cursor(_ORDER, Cursor(found.last, 0))
                if not self._found(action_id, before, following, found.matching) or not go_on():
                    return
                before = following
            self._found(action_id, before, "", [])

    def _found(self, action_id: str, before: str, following: str, jobs: Sequence[Position]) -> bool:
        ids = pack([job.id for job in jobs])
        return bool(self._run("gather_bulk", action_id, self._who, before, following, ids) == "ok")

    def _search(self, query: JobQuery) -> Search:
        plain = replace(query, sort=_ORDER, limit=SOUGHT_AT_ONCE - 1, cursor=None)
        return Search(self._redis, self._keys, plain, loose=True)


def _action(action_id: str, record: Mapping[str, str]) -> BulkAction:
    only = json.loads(record.get("only") or "{}")
    return BulkAction(
        id=action_id,
        action=record["action"],  # type: ignore[arg-type]  # one of them was written
        state=record["state"],  # type: ignore[arg-type]  # the same
        total=int(record.get("total", 0)),
        succeeded=int(record.get("succeeded", 0)),
        skipped=int(record.get("skipped", 0)),
        failed=int(record.get("failed", 0)),
        reach=Reach(queues=only.get("queues"), names=only.get("names")),
        filter=json.loads(record["shown"]) if "shown" in record else None,
        created_at=_EPOCH + timedelta(microseconds=int(record["begun"])),
        finished_at=from_ms(record.get("finished")),
        detail=record.get("detail") or None,
    )


def _dumped(query: JobQuery) -> str:
    """The filters of a query as text."""
    return json.dumps(
        {
            "queues": list(query.queues),
            "states": [str(state) for state in query.states],
            "names": list(query.names),
            "tags": list(query.tags),
            "user_ids": list(query.user_ids),
            "q": query.q,
            "from_": query.from_ and query.from_.isoformat(),
            "to": query.to and query.to.isoformat(),
        }
    )


def _loaded(text: str, begun: int) -> JobQuery:
    """What `_dumped` made, of jobs that were submitted before ``begun`` (µs since 1970)."""
    fields = json.loads(text)
    from_, to = (None if fields[name] is None else datetime.fromisoformat(fields[name]) for name in ("from_", "to"))
    newest = _EPOCH + timedelta(microseconds=begun)
    return JobQuery(**{**fields, "from_": from_, "to": newest if to is None else min(to, newest)})
