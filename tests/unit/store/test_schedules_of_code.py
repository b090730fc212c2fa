"""Schedules that come from code: the store follows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backroom.model.schedule import ScheduleSpec, parse_schedule

if TYPE_CHECKING:
    from backroom.store import Store


def spec(name: str = "report", **fields: Any) -> ScheduleSpec:
    """A schedule of a job type."""
    return parse_schedule({"every": 60_000, "job": {"name": name}} | fields)


def keys(store: Store) -> list[str]:
    return [view.key for view in store.schedules.list()]


def revision(store: Store, key: str) -> str | None:
    return store.redis.hget(store.keys.single(f"schedule:{key}"), "revision")


def test_a_worker_brings_its_schedules(store: Store) -> None:
    store.schedules.put_code({"report": spec()}, ["report", "other"])

    assert keys(store) == ["code:report"]
    assert store.schedules.fire_due()[0] == 1


def test_the_same_code_changes_nothing(store: Store) -> None:
    store.schedules.put_code({"report": spec()}, ["report"])
    before = revision(store, "code:report")

    store.schedules.put_code({"report": spec()}, ["report"])

    assert revision(store, "code:report") == before


def test_changed_code_changes_the_schedule(store: Store) -> None:
    store.schedules.put_code({"report": spec()}, ["report"])

    store.schedules.put_code({"report": spec(every=1000, misfire="skip")}, ["report"])

    view = store.schedules.get("code:report")
    assert (view.spec.every, view.spec.misfire) == (1000, "skip")


def test_changed_options_of_the_type_reach_the_jobs(store: Store) -> None:
    store.schedules.put_code({"report": spec()}, ["report"])

    store.schedules.put_code({"report": spec(job={"name": "report", "options": {"attempts": 3}})}, ["report"])

    job_id = store.schedules.run("code:report")
    assert store.inspection.get(job_id).attempts == 3


def test_what_people_paused_stays_paused(store: Store) -> None:
    store.schedules.put_code({"report": spec()}, ["report"])
    store.schedules.pause("code:report")

    store.schedules.put_code({"report": spec(every=1000)}, ["report"])

    view = store.schedules.get("code:report")
    assert (view.state, view.spec.every) == ("paused", 1000)


def test_what_people_resumed_goes_on_though_the_code_began_it_paused(store: Store) -> None:
    store.schedules.put_code({"report": spec(paused=True)}, ["report"])
    assert store.schedules.get("code:report").state == "paused"
    store.schedules.resume("code:report")

    store.schedules.put_code({"report": spec(paused=True)}, ["report"])

    assert store.schedules.get("code:report").state == "active"


def test_a_type_without_its_schedule_loses_it_and_others_types_do_not(store: Store) -> None:
    store.schedules.put_code({"report": spec(), "mail": spec("mail")}, ["report", "mail"])
    store.schedules.put("report", spec())

    store.schedules.put_code({}, ["report"])

    assert keys(store) == ["code:mail", "report"]


def test_the_schedules_of_a_celery_application_follow_its_configuration(store: Store) -> None:
    store.schedules.put_celery({"a": spec(), "b": spec()}, owner="shop")
    store.schedules.put_celery({"c": spec()}, owner="blog")
    assert keys(store) == ["celery:a", "celery:b", "celery:c"]

    store.schedules.put_celery({"a": spec(every=1000)}, owner="shop")
    store.schedules.put_celery({"c": spec()}, owner="blog")

    assert keys(store) == ["celery:a", "celery:c"]
    assert store.schedules.get("celery:a").spec.every == 1000
