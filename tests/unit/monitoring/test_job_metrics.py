"""What becomes of a snapshot of the job store: families, zeros from the start, and a bounded number of series."""

from collections.abc import Iterable
from typing import Any

import pytest
from prometheus_client import Metric

from backroom.model.job_types import JobType
from backroom.model.states import State
from backroom.store import Histogram, Limits, MetricsSnapshot, QueueView, WebhookNumbers, WorkerView
from backroom.store.metrics import DELIVERY_BUCKETS, RUN_BUCKETS, WAIT_BUCKETS
from monitoring.exporter.job_metrics import MOST_SCHEDULERS, JobMetrics
from monitoring.exporter.settings import ExporterSettings
from monitoring.exporter.webhook_metrics import webhook_metrics

BUDGET = 20_000


#: No webhook, and none that was told anything.
NOTHING_TOLD = WebhookNumbers(
    attempts={},
    deliveries={},
    delay=Histogram(DELIVERY_BUCKETS, (0,) * (len(DELIVERY_BUCKETS) + 1), 0),
    pending=0,
    outbox=0,
    outbox_oldest=0,
    endpoints={},
)


def snapshot(**given: Any) -> MetricsSnapshot:
    """A snapshot in which nothing has happened, but for what is given."""
    empty: dict[str, Any] = {
        "queues": [],
        "submitted": {},
        "started": {},
        "finished": {},
        "retries": {},
        "stalls": {},
        "wait": {},
        "run": {},
        "workers": [],
        "scheduler_ticks": {},
        "webhooks": NOTHING_TOLD,
    }
    return MetricsSnapshot(**(empty | given))


def queue(name: str, **given: Any) -> QueueView:
    view: dict[str, Any] = {"paused": False, "counts": {}, "oldest_waiting_ms": None, "limits": Limits()}
    return QueueView(name, **(view | given))


def worker(name: str, **given: Any) -> WorkerView:
    view: dict[str, Any] = {
        "host": "host",
        "pid": 1,
        "queues": None,
        "pool": "prefork",
        "slots": 4,
        "busy": 1,
        "jobs": (),
        "started_at": 0,
        "heartbeat_at": 1_700_000_000_500,
    }
    return WorkerView(id=name, **(view | given))


def metrics(**limits: int) -> JobMetrics:
    return JobMetrics(ExporterSettings(**{f"exporter_max_{what}": number for what, number in limits.items()}))


def samples(families: Iterable[Metric]) -> dict[str, float]:
    """Every sample as Prometheus writes it: name, labels in order, value; none may come twice."""
    found: dict[str, float] = {}
    for family in families:
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sample.labels.items())
            key = f"{sample.name}{{{labels}}}" if labels else sample.name
            assert key not in found, f"{key} twice"
            found[key] = sample.value
    return found


def test_a_queue_shows_all_eight_states_its_oldest_job_and_what_holds_it():
    limits = Limits(concurrency=3, limited_for_ms=2500)
    views = [queue("mail", paused=True, counts={State.WAITING: 7}, oldest_waiting_ms=1500, limits=limits)]
    found = samples(metrics().families(snapshot(queues=views), []))
    assert found["backroom_jobs{queue=mail,state=waiting}"] == 7
    assert sum(name.startswith("backroom_jobs{queue=mail,") for name in found) == len(State)
    assert found["backroom_queue_oldest_waiting_age_seconds{queue=mail}"] == 1.5
    assert found["backroom_queue_paused{queue=mail}"] == 1
    assert found["backroom_queue_rate_limited_seconds{queue=mail}"] == 2.5
    assert found["backroom_queue_concurrency_limit{queue=mail}"] == 3


def test_a_queue_without_waiting_jobs_and_limits_reads_zero_and_has_no_limit():
    found = samples(metrics().families(snapshot(queues=[queue("mail")]), []))
    assert found["backroom_queue_oldest_waiting_age_seconds{queue=mail}"] == 0
    assert found["backroom_queue_rate_limited_seconds{queue=mail}"] == 0
    assert "backroom_queue_concurrency_limit{queue=mail}" not in found


def test_workers_that_serve_every_queue_or_name_it_count_for_it_unless_they_are_leaving():
    workers = [worker("all"), worker("mail", queues=("mail",)), worker("quiet", state="quiet")]
    found = samples(metrics().families(snapshot(queues=[queue("mail"), queue("other")], workers=workers), []))
    assert found["backroom_queue_workers{queue=mail}"] == 2
    assert found["backroom_queue_workers{queue=other}"] == 1
    assert found["backroom_workers"] == 3
    assert found["backroom_worker_slots{worker=mail}"] == 4
    assert found["backroom_worker_slots_busy{worker=mail}"] == 1
    assert found["backroom_worker_last_heartbeat_timestamp_seconds{worker=mail}"] == 1_700_000_000.5


def test_histograms_are_cumulative_and_complete():
    wait = Histogram(WAIT_BUCKETS, (1, 2, *[0] * (len(WAIT_BUCKETS) - 2), 4), 9000.25)
    found = samples(metrics().families(snapshot(submitted={("q", "t"): 7}, wait={("q", "t"): wait}), []))
    name = "backroom_job_queue_wait_seconds"
    assert found[f"{name}_bucket{{queue=q,type=t,le=0.005}}"] == 1
    assert found[f"{name}_bucket{{queue=q,type=t,le=0.01}}"] == 3
    assert found[f"{name}_bucket{{queue=q,type=t,le=3600.0}}"] == 3
    assert found[f"{name}_bucket{{queue=q,type=t,le=+Inf}}"] == 7
    assert found[f"{name}_count{{queue=q,type=t}}"] == 7
    assert found[f"{name}_sum{{queue=q,type=t}}"] == 9000.25


@pytest.mark.parametrize("buckets", [WAIT_BUCKETS, RUN_BUCKETS, DELIVERY_BUCKETS])
def test_bucket_bounds_rise(buckets):
    assert list(buckets) == sorted(set(buckets))


def test_a_type_on_offer_has_all_its_series_before_its_first_job():
    offered = [JobType(name="send-email", queue="mail")]
    found = samples(metrics().families(snapshot(), offered))
    for outcome in ("completed", "failed", "cancelled", "expired"):
        assert found[f"backroom_jobs_finished_total{{queue=mail,type=send-email,outcome={outcome}}}"] == 0
    for name in ("jobs_submitted", "jobs_started", "job_retries", "jobs_stalled"):
        assert found[f"backroom_{name}_total{{queue=mail,type=send-email}}"] == 0
    assert found["backroom_job_run_seconds_count{queue=mail,type=send-email}"] == 0
    assert found["backroom_jobs{queue=mail,state=waiting}"] == 0


def test_a_type_seen_in_one_number_only_has_all_the_others_at_zero():
    found = samples(metrics().families(snapshot(finished={("q", "t", "failed"): 2}), []))
    assert found["backroom_jobs_finished_total{queue=q,type=t,outcome=failed}"] == 2
    assert found["backroom_jobs_finished_total{queue=q,type=t,outcome=completed}"] == 0
    assert found["backroom_jobs_stalled_total{queue=q,type=t}"] == 0


def test_the_internal_queue_is_left_out():
    found = samples(
        metrics().families(
            snapshot(submitted={("_internal", "deliver"): 5}), [JobType(name="deliver", queue="_internal")]
        )
    )
    assert not [name for name in found if "_internal" in name]


def test_types_beyond_the_bound_are_counted_together_and_nothing_is_lost():
    submitted = {("mail", f"type-{number}"): number for number in range(10)}
    found = samples(metrics(job_types=3).families(snapshot(submitted=submitted), []))
    series = {name: value for name, value in found.items() if name.startswith("backroom_jobs_submitted_total")}
    assert series == {
        "backroom_jobs_submitted_total{queue=mail,type=type-9}": 9,
        "backroom_jobs_submitted_total{queue=mail,type=type-8}": 8,
        "backroom_jobs_submitted_total{queue=mail,type=type-7}": 7,
        "backroom_jobs_submitted_total{queue=mail,type=(other)}": sum(range(7)),
    }
    assert found["backroom_labels_folded{kind=type}"] == 7


def test_types_on_offer_come_before_busier_ones():
    submitted = {("mail", "made-up"): 1000, ("mail", "known"): 1}
    offered = [JobType(name="known", queue="mail")]
    found = samples(metrics(job_types=1).families(snapshot(submitted=submitted), offered))
    assert found["backroom_jobs_submitted_total{queue=mail,type=known}"] == 1
    assert found["backroom_jobs_submitted_total{queue=mail,type=(other)}"] == 1000


def test_queues_beyond_the_bound_add_up_and_the_worst_age_counts():
    views = [queue(f"q{n}", counts={State.WAITING: n}, oldest_waiting_ms=n * 1000, paused=n == 2) for n in (1, 2, 3)]
    found = samples(metrics(queues=1).families(snapshot(queues=views, submitted={("q3", "t"): 9, ("q1", "t"): 1}), []))
    assert found["backroom_jobs{queue=q3,state=waiting}"] == 3
    assert found["backroom_jobs{queue=(other),state=waiting}"] == 3
    assert found["backroom_queue_oldest_waiting_age_seconds{queue=(other)}"] == 2
    assert found["backroom_queue_paused{queue=(other)}"] == 1
    assert found["backroom_jobs_submitted_total{queue=(other),type=(other)}"] == 1


def test_counters_never_fall_when_a_folded_type_becomes_the_busiest():
    exporter = metrics(job_types=1)
    first = samples(exporter.families(snapshot(submitted={("q", "a"): 5, ("q", "b"): 1}), []))
    second = samples(exporter.families(snapshot(submitted={("q", "a"): 5, ("q", "b"): 100, ("q", "c"): 7}), []))
    for name, value in first.items():
        if "_total" in name or "_bucket" in name:
            assert second[name] >= value
    assert second["backroom_jobs_submitted_total{queue=q,type=(other)}"] == 107


def test_a_place_that_becomes_free_goes_to_a_new_type_and_not_to_a_folded_one():
    exporter = metrics(job_types=1)
    exporter.families(snapshot(submitted={("q", "a"): 5, ("q", "b"): 1}), [])
    found = samples(exporter.families(snapshot(submitted={("q", "b"): 2, ("q", "c"): 1}), []))
    assert found["backroom_jobs_submitted_total{queue=q,type=c}"] == 1
    assert found["backroom_jobs_submitted_total{queue=q,type=(other)}"] == 2


def test_of_many_schedulers_the_newest_ticks_are_told():
    ticks = {f"scheduler-{number}": float(number) for number in range(100)}
    found = samples(metrics().families(snapshot(scheduler_ticks=ticks), []))
    told = [value for name, value in found.items() if name.startswith("backroom_scheduler_last_tick")]
    assert sorted(told) == [float(number) for number in range(100 - MOST_SCHEDULERS, 100)]


def flood() -> MetricsSnapshot:
    """A stack that was given far more names than it has series for: 500 queues with 40 types each."""
    pairs = [(f"queue-{number % 500}", f"type-{number // 500}") for number in range(20_000)]
    counts = dict.fromkeys(pairs, 1)
    return snapshot(
        queues=[queue(name, limits=Limits(concurrency=1)) for name in {name for name, _ in pairs}],
        submitted=counts,
        started=counts,
        finished={(*pair, outcome): 1 for pair in pairs for outcome in ("completed", "failed", "cancelled", "expired")},
        retries=counts,
        stalls=counts,
        wait=dict.fromkeys(pairs, Histogram(WAIT_BUCKETS, (1,) * (len(WAIT_BUCKETS) + 1), 1.0)),
        run=dict.fromkeys(pairs, Histogram(RUN_BUCKETS, (1,) * (len(RUN_BUCKETS) + 1), 1.0)),
        workers=[worker(f"worker-{number}") for number in range(1000)],
        scheduler_ticks={f"scheduler-{number}": 1.0 for number in range(1000)},
    )


def test_whatever_names_are_made_up_the_series_stay_within_the_budget():
    found = samples(metrics().families(flood(), []))
    assert len(found) <= BUDGET
    assert len(found) > BUDGET * 0.9, "the budget is used, so that the test can tell when it is broken"
    submitted = sum(value for name, value in found.items() if name.startswith("backroom_jobs_submitted_total"))
    assert submitted == len(flood().submitted), "no job is lost on the way"


def test_webhooks_have_all_their_series_from_the_start():
    found = samples(webhook_metrics(NOTHING_TOLD))
    for outcome in ("delivered", "failed"):
        assert found[f"backroom_webhook_attempts_total{{outcome={outcome}}}"] == 0
    for outcome in ("delivered", "given-up", "dropped"):
        assert found[f"backroom_webhook_deliveries_total{{outcome={outcome}}}"] == 0
    for state in ("enabled", "gone", "failing", "by-hand"):
        assert found[f"backroom_webhook_endpoints{{state={state}}}"] == 0
    assert found["backroom_webhook_delivery_delay_seconds_count"] == 0
    assert found["backroom_webhook_outbox_oldest_age_seconds"] == 0
    assert len(found) == 9 + 3 + len(DELIVERY_BUCKETS) + 1 + 2


def test_webhooks_are_told_as_they_were_counted():
    counts = (5, *[0] * (len(DELIVERY_BUCKETS) - 1), 2)
    numbers = WebhookNumbers(
        attempts={"delivered": 7, "failed": 9},
        deliveries={"delivered": 7, "given-up": 2, "dropped": 1},
        delay=Histogram(DELIVERY_BUCKETS, counts, 12.5),
        pending=3,
        outbox=4,
        outbox_oldest=1.5,
        endpoints={"enabled": 2, "failing": 1},
    )
    found = samples(webhook_metrics(numbers))
    assert found["backroom_webhook_attempts_total{outcome=failed}"] == 9
    assert found["backroom_webhook_deliveries_total{outcome=given-up}"] == 2
    assert found["backroom_webhook_delivery_delay_seconds_bucket{le=0.05}"] == 5
    assert found["backroom_webhook_delivery_delay_seconds_bucket{le=345600.0}"] == 5
    assert found["backroom_webhook_delivery_delay_seconds_bucket{le=+Inf}"] == 7
    assert found["backroom_webhook_delivery_delay_seconds_sum"] == 12.5
    assert found["backroom_webhook_deliveries_pending"] == 3
    assert found["backroom_webhook_outbox_notices"] == 4
    assert found["backroom_webhook_outbox_oldest_age_seconds"] == 1.5
    assert found["backroom_webhook_endpoints{state=failing}"] == 1
