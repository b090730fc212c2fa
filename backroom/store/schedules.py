"""Schedules in Redis: kept, listed, and fired exactly once a slot however many schedulers run."""

import builtins
import json
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, Final, Literal

from redis import Redis

from backroom.model.errors import NotFound
from backroom.model.job import NewJob, compact_json, format_time
from backroom.model.names import new_id
from backroom.model.options import JobOptions
from backroom.model.schedule import MISFIRE_AFTER_MS, ScheduleSpec
from backroom.store.connection import store_errors
from backroom.store.keys import Keys
from backroom.store.part import Part
from backroom.store.positions import ANYWHERE, Cursor, Position, Walk, decode_cursor, encode_cursor
from backroom.store.records import from_ms, ms_of_clock
from backroom.store.scripts import ScriptRunner, pack
from backroom.store.submission import record_of

__all__ = ["CELERY_PREFIX", "CODE_PREFIX", "SchedulePage", "ScheduleView", "Schedules"]

logger = logging.getLogger(__name__)

#: Keys of schedules that are defined in code, and in the configuration of a Celery application. A colon cannot stand in
#: a key that comes over HTTP.
CODE_PREFIX: Final = "code:"
CELERY_PREFIX: Final = "celery:"
#: Slots shown of a schedule.
SHOWN_SLOTS = 5
#: A page looks at no more than so many schedules; then it ends early, with a cursor to go on.
LOOKED_AT = 2000
_LIST_NAME: Final = "schedules"
#: Schedules fired in one step, and in one call, which holds the store for some ms.
DUE_AT_ONCE = 200
FIRED_AT_ONCE = 25
#: For so long a slot may wait for its turn behind others of the same instant without being a misfire, in ms.
LONGEST_TURN_MS = 60_000
#: A schedule that cannot be fired is looked at again after so many ms.
POSTPONED_MS = 60_000


@dataclass(frozen=True, slots=True)
class ScheduleView:
    """A schedule as one reads it."""

    key: str
    spec: ScheduleSpec
    state: Literal["active", "paused", "finished"]
    paused: bool
    #: The next slots, ms since 1970.
    next: tuple[int, ...]
    #: ``{slot, at, jobId}``, newest first, at most 10; times in ms since 1970; no slot: it was run by hand.
    last_fires: tuple[dict[str, Any], ...]
    #: Jobs made for slots.
    fire_count: int

    def to_dict(self) -> dict[str, Any]:
        """The schedule in JSON's words."""
        definition = self.spec.definition()
        return {
            "key": self.key,
            "pattern": self.spec.pattern,
            "every": self.spec.every,
            "tz": self.spec.tz,
            "description": self.spec.description(),
            "job": {**definition["job"], "data": self.spec.job.data},
            "startDate": format_time(self.spec.start_date),
            "endDate": format_time(self.spec.end_date),
            "limit": self.spec.limit,
            "misfire": self.spec.misfire,
            "overlap": self.spec.overlap,
            "paused": self.paused,
            "state": self.state,
            "next": [format_time(from_ms(slot)) for slot in self.next],
            "lastFires": [
                {"slot": format_time(from_ms(fire.get("slot"))), "at": format_time(from_ms(fire["at"]))}
                | {"jobId": fire["jobId"]}
                for fire in self.last_fires
            ],
            "fireCount": self.fire_count,
        }


@dataclass(frozen=True, slots=True)
class SchedulePage:
    """Some schedules in the order of their creation, and where to go on."""

    schedules: list[ScheduleView]
    #: The cursor of the next page; None: there is none.
    next: str | None


class Schedules(Part):
    """Schedules by key. Who changes one names the revision that the change is made for; at another, tries again.

    ``schedules`` is a sorted set: key -> next slot; each has a hash with its definition, and a list of its last fires.
    """

    def __init__(self, redis: Redis, keys: Keys, scripts: ScriptRunner) -> None:
        super().__init__(redis, keys, scripts)
        #: Since when this scheduler has been firing without a pause (None: it is not), and its newest step; ms.
        self._firing_since: int | None = None
        self._fired_at = 0

    def put(self, key: str, spec: ScheduleSpec, *, template: NewJob | None = None, owner: str = "") -> bool:
        """Create or replace a schedule. True if it is new.

        ``template`` is what its jobs are made of, complete with the defaults of their type, if the definition alone
        does not tell. An unchanged rhythm keeps its grid and its next slot; a changed one begins anew now. Raises as
        `ScheduleSpec.template` does.
        """
        fields = _fields(spec, template or spec.template(), owner)
        while True:
            now, before = self._now_ms(), self._read(key)
            paused, anchor, upcoming = _continued(spec, before, now)
            answer = self._run(
                "put_schedule",
                key,
                before["revision"] if before else "",
                "1" if paused else "0",
                "" if upcoming is None else upcoming,
                pack([word for field in {**fields, "anchor": anchor}.items() for word in field]),
            )
            if answer >= 0:
                return bool(answer)

    def put_code(self, specs: Mapping[str, ScheduleSpec], offered: Iterable[str]) -> None:
        """Bring the schedules of code in line with a worker's: ``specs`` by job type, of the types it has ``offered``.

        One that people have paused stays paused; one that its job type no longer has is removed.
        """
        self._align(
            {CODE_PREFIX + name: spec for name, spec in specs.items()}, {CODE_PREFIX + name for name in offered}
        )

    def put_celery(self, specs: Mapping[str, ScheduleSpec], owner: str) -> None:
        """Bring the schedules of a Celery application's configuration in line with it; ``owner`` is the application."""
        keys = [key for key in self._keys_of_all() if key.startswith(CELERY_PREFIX)]
        wanted = {CELERY_PREFIX + name: spec for name, spec in specs.items()}
        self._align(wanted, {key for key in keys if self._owner(key) == owner}, owner)

    def _align(self, specs: Mapping[str, ScheduleSpec], known: Collection[str], owner: str = "") -> None:
        """Put ``specs`` by key, and remove those that are ``known`` but not among them."""
        for key, wanted in specs.items():
            before, spec = self._read(key), wanted
            if before is not None:
                spec = wanted.model_copy(update={"paused": None})
                fields = _fields(spec, spec.template(), owner)
                if all(before.get(field) == value for field, value in fields.items()):
                    continue
            self.put(key, spec, owner=owner)
        for key in self._keys_of_all():
            if key in known and key not in specs:
                self._run("remove_schedule", key)

    def get(self, key: str) -> ScheduleView:
        """One schedule. Raises `NotFound`."""
        with store_errors():
            if self._redis.zscore(self._keys.single("schedules:all"), key) is None:  # it may be a key of something else
                raise NotFound("schedule", key)
        [(record, fires)] = self._records([key])
        if not record:
            raise NotFound("schedule", key)
        return _view(key, record, fires, self._now_ms())

    def list(self) -> list[ScheduleView]:
        """All schedules, by creation. One that this version cannot read is left out, with a line in the log."""
        return self._views(self._keys_of_all())

    def page(
        self, *, limit: int, cursor: str | None = None, wanted: Callable[[ScheduleView], bool] = lambda _: True
    ) -> SchedulePage:
        """At most ``limit`` of the schedules that are ``wanted``, by creation; fewer where many are not.

        Exact while others are put and removed. Raises `InvalidInput` for a cursor that is none of ours.
        """
        after = None if cursor is None else decode_cursor(_LIST_NAME, cursor).after
        found: builtins.list[tuple[Position, ScheduleView]] = []
        looked_at = 0
        with store_errors():
            everything = [self._keys.single("schedules:all")]
            walk = iter(Walk(self._redis, everything, ANYWHERE, after, descending=False, first=limit + 1))
            while looked_at < LOOKED_AT and len(found) <= limit:
                positions = builtins.list(islice(walk, limit + 1))
                if not positions:
                    return SchedulePage([view for _, view in found], None)
                looked_at, after = looked_at + len(positions), positions[-1]
                places = {position.id: position for position in positions}
                found += [(places[view.key], view) for view in self._views(builtins.list(places)) if wanted(view)]
        assert after is not None
        last = found[limit - 1][0] if len(found) > limit else after
        return SchedulePage([view for _, view in found[:limit]], encode_cursor(_LIST_NAME, Cursor(last, 0)))

    def _views(self, keys: Sequence[str]) -> builtins.list[ScheduleView]:
        views, now = [], self._now_ms()
        for key, (record, fires) in zip(keys, self._records(keys), strict=True):
            try:
                views += [_view(key, record, fires, now)] if record else []
            except (ValueError, LookupError):
                logger.warning("the schedule %r cannot be read", key, exc_info=True)
        return views

    def pause(self, key: str) -> None:
        """Fire no more until `resume`, which makes up nothing. Raises `NotFound`."""
        self._set_paused(key, paused=True)

    def resume(self, key: str) -> None:
        """Go on with the first slot from now on. Raises `NotFound`."""
        self._set_paused(key, paused=False)

    def remove(self, key: str) -> None:
        """Remove a schedule; the jobs it has made stay. Raises `NotFound`."""
        if not self._run("remove_schedule", key):
            raise NotFound("schedule", key)

    def run(self, key: str, *, job_id: str | None = None, once: str = "") -> str:
        """Make its job now, outside its slots, paused or not. Returns the job's id. Raises `NotFound`.

        ``once`` is the name of a claim (see `backroom.store.idempotency`), whose ``job_id`` is the same in every try.
        """
        job_id = job_id or new_id()
        if not self._run("run_schedule", key, job_id, once):
            raise NotFound("schedule", key)
        return job_id

    # Firing.

    def fire_due(self) -> tuple[int, int | None]:
        """Fire what is due, one bounded step. Returns jobs made, and ms until the next slot (0: now), None: no slot."""
        with store_errors():
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.time()
            pipeline.zrange(self._keys.single("schedules"), 0, DUE_AT_ONCE, withscores=True)
            clock, rows = pipeline.execute()
        now = ms_of_clock(clock)
        due = [key for key, slot in rows if slot <= now]
        if not due:
            self._firing_since = None
            return 0, int(rows[0][1]) - now if rows else None
        if self._firing_since is None or now - self._fired_at > MISFIRE_AFTER_MS:
            self._firing_since = now
        self._fired_at = now
        since = max(self._firing_since, now - LONGEST_TURN_MS)
        parts = [due[first : first + FIRED_AT_ONCE] for first in range(0, len(due), FIRED_AT_ONCE)]
        return sum(self._fire_all(keys, now, since) for keys in parts), 0

    def _fire_all(self, keys: Sequence[str], now: int, since: int) -> int:
        """Fire schedules in one go. Returns jobs made."""
        with store_errors():
            pipeline = self._redis.pipeline(transaction=False)
            for key in keys:
                pipeline.hmget(self._keys.single(f"schedule:{key}"), "definition", "revision", "next", "anchor")
            records = pipeline.execute()
        planned = [self._planned(key, record, now, since) for key, record in zip(keys, records, strict=True)]
        calls = [call for call in planned if call is not None]
        made = 0
        for (key, *_), answer in zip(calls, self._run_each("fire", calls), strict=True):
            if isinstance(answer, Exception):
                logger.error("the schedule %r cannot be fired", key, exc_info=answer)
                self._run("postpone_schedule", key, POSTPONED_MS)
            elif answer < 0:
                self._run("align_schedule", key)
            else:
                made += answer
        return made

    def _planned(self, key: str, record: Sequence[str | None], now: int, since: int) -> tuple[Any, ...] | None:
        """The arguments of the script that fires a schedule; None: there is nothing to fire."""
        definition, revision, due, anchor = record
        if definition is None or not due:
            self._run("align_schedule", key)
            return None
        try:
            plan = _spec(definition).plan(int(due), now, int(anchor or 0), since_ms=since)
        except Exception:  # of one of many, which must go on
            logger.exception("the schedule %r cannot be fired", key)
            self._run("postpone_schedule", key, POSTPONED_MS)
            return None
        fires = [{"slot": slot, "id": new_id()} for slot in plan.fire]
        return key, revision, pack(fires), "" if plan.next is None else plan.next

    def _set_paused(self, key: str, *, paused: bool) -> None:
        while True:
            now, before = self._now_ms(), self._read(key)
            if before is None:
                raise NotFound("schedule", key)
            if (before["paused"] == "1") is paused:
                return
            upcoming = before["next"]
            if upcoming and not paused:
                upcoming = _next_from_now(_spec(before["definition"]), before, now)
            if self._run("pause_schedule", key, before["revision"], "1" if paused else "0", upcoming) > 0:
                return

    # Reading.

    def _keys_of_all(self) -> builtins.list[str]:
        with store_errors():
            found: builtins.list[str] = self._redis.zrange(self._keys.single("schedules:all"), 0, -1)
        return found

    def _owner(self, key: str) -> str | None:
        with store_errors():
            found: str | None = self._redis.hget(self._keys.single(f"schedule:{key}"), "owner")
        return found

    def _read(self, key: str) -> dict[str, str] | None:
        with store_errors():
            return self._redis.hgetall(self._keys.single(f"schedule:{key}")) or None

    def _records(self, keys: Sequence[str]) -> builtins.list[tuple[dict[str, str], builtins.list[str]]]:
        """The hash and the last fires of each."""
        with store_errors():
            pipeline = self._redis.pipeline(transaction=False)
            for key in keys:
                pipeline.hgetall(self._keys.single(f"schedule:{key}"))
                pipeline.lrange(self._keys.single(f"schedule:{key}:fires"), 0, -1)
            answers = pipeline.execute()
        return builtins.list(zip(answers[::2], answers[1::2], strict=True))


def _fields(spec: ScheduleSpec, template: NewJob, owner: str) -> dict[str, str]:
    """What the hash says of the definition; ``job`` is the record that scripts make jobs of."""
    spec = spec.model_copy(update={"job": spec.job.model_copy(update={"queue": template.queue})})
    record = record_of(template)
    del record["id"]
    return {
        "definition": compact_json(spec.definition()),
        "job": compact_json(record),
        "overlap": "1" if spec.overlap else "0",
        "limit": "" if spec.limit is None else str(spec.limit),
        "owner": owner,
    }


def _continued(spec: ScheduleSpec, before: dict[str, str] | None, now: int) -> tuple[bool, int, int | None]:
    """Of a definition put over the record ``before``: whether it is paused, the anchor of its grid, its next slot."""
    if before is None:
        anchor = spec.anchor(now)
        return bool(spec.paused), anchor, spec.next_slot(now, anchor)
    was_paused, count = before["paused"] == "1", int(before["count"])
    paused = was_paused if spec.paused is None else spec.paused
    if _spec(before["definition"]).rhythm() != spec.rhythm():
        anchor = spec.anchor(now)
        return paused, anchor, spec.next_slot(now, anchor, count)
    anchor = int(before["anchor"])
    if before["next"] and not was_paused:
        return paused, anchor, spec.next_slot(int(before["next"]), anchor, count)
    return paused, anchor, spec.next_slot(_from_now(before, now), anchor, count)


def _from_now(record: dict[str, str], now: int) -> int:
    """Now, or just behind the newest slot that was fired: it may have been in this very ms."""
    return max(now, int(record.get("seen", 0)) + 1)


def _next_from_now(spec: ScheduleSpec, record: dict[str, str], now: int) -> str:
    upcoming = spec.next_slot(_from_now(record, now), int(record["anchor"]), int(record["count"]))
    return "" if upcoming is None else str(upcoming)


@lru_cache(maxsize=4096)
def _spec(definition: str) -> ScheduleSpec:
    """A definition as it was put; a scheduler asks for the same ones again and again."""
    raw = json.loads(definition)
    options = JobOptions.model_validate(raw["job"].pop("options"))
    spec = ScheduleSpec.model_validate(raw)
    return spec.model_copy(update={"job": spec.job.model_copy(update={"options": options})})


def _view(key: str, record: dict[str, str], fires: Sequence[str], now: int) -> ScheduleView:
    spec, count, paused = _spec(record["definition"]), int(record["count"]), record["paused"] == "1"
    data = json.loads(json.loads(record["job"])["data"])
    spec = spec.model_copy(update={"job": spec.job.model_copy(update={"data": data})})
    upcoming: tuple[int, ...] = ()
    state: Literal["active", "paused", "finished"] = "paused" if paused else "active"
    if not record["next"]:
        state = "finished"
    elif state == "active":
        shown = SHOWN_SLOTS if spec.limit is None else min(SHOWN_SLOTS, spec.limit - count)
        start = max(now - MISFIRE_AFTER_MS, int(record["next"]))  # one that is just being fired is coming still
        upcoming = tuple(islice(spec.slots_from(start, int(record["anchor"])), shown))
    return ScheduleView(key, spec, state, paused, upcoming, tuple(json.loads(fire) for fire in fires), count)
