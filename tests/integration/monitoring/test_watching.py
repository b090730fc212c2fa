"""A real Prometheus watches a stack at work: every query of the board, and every rule, finds data."""

import itertools
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from backroom.local.server import EmbeddedServer
from backroom.model.job import new_job
from backroom.model.job_types import JobType
from backroom.model.options import parse_options
from backroom.store import Rate, Store, WorkerView, connect
from backroom.store.deliveries import Try
from backroom.store.execution import Outcome, OutcomeKind, Served
from backroom.store.webhooks import OWN
from tests.integration.api.service import Api
from tests.integration.monitoring.watching import Exporter, Prometheus, eventually
from tests.unit.monitoring.artifacts import alerts, metric_names, panels_of, read_board, read_rules, records

pytestmark = pytest.mark.timeout(300)

board = read_board()
QUERIES = [
    pytest.param(target["expr"], id=f"{panel['title']} {target['refId']}")
    for panel in panels_of(board)
    for target in panel["targets"]
]
#: Scrapes that a rate needs in its window, with room for a busy machine.
ENOUGH_SCRAPES = 6


class Stack:
    """A job store on which something of every kind happens, again and again, until it is told to stop.

    It plays the clients, two workers and a scheduler by the verbs that the real ones use, so that it is known what
    there is to see.
    """

    def __init__(self, store: Store, api: Api) -> None:
        self._store, self._api = store, api
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self._tokens = (f"token-{number}" for number in itertools.count())

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _work(self) -> None:
        self._store.job_types.publish("worker-1", [JobType(name="send-email", queue="mail")], ttl_seconds=600)
        self._store.queues.pause("held")
        self._store.queues.set_limits("limited", concurrency=1, rate=Rate(1, 600_000))
        while not self._stop.wait(0.25):
            self._report()
            self._submit()
            self._run()
            self._tell()
            self._store.upkeep.sweep()

    def _tell(self) -> None:
        """Of what webhooks tell, half is taken at once, and half is tried again."""
        while self._store.outbox.dispatch():
            pass
        untold = self._store.deliveries.page(OWN, states=("pending",), limit=20).deliveries
        for place, delivery in enumerate(view for view in untold if not view.made):
            tried = Try(
                at=0, status=500 if place % 2 else 204, duration_ms=5, error="answered 500" if place % 2 else None
            )
            self._store.deliveries.record(delivery.id, tried, "pending" if place % 2 else "delivered", url=delivery.url)

    def _report(self) -> None:
        for worker, busy in (("worker-1", 1), ("worker-2", 2)):
            view = WorkerView(
                id=worker, host="host", pid=1, queues=None, pool="prefork", slots=4, busy=busy, jobs=(), started_at=0
            )
            self._store.workers.beat(view)
        self._store.workers.tick("scheduler@host")

    def _submit(self) -> None:
        hook = {"url": "https://shop.example/hooks", "events": ["cancelled", "completed", "failed"]}
        options = parse_options({"attempts": 2, "maxStalled": 1, "webhook": hook})
        soon = parse_options({"ttl": 1})
        later = parse_options({"delay": 3_600_000})
        jobs = [new_job(name="send-email", queue="mail", data={}, options=options) for _ in range(5)]
        jobs += [new_job(name="send-email", queue=queue, data={}, options=options) for queue in ("held", "limited")]
        jobs += [new_job(name="send-push", queue="mail", data={}, options=later)]
        jobs += [new_job(name="send-push", queue="held", data={}, options=soon)]
        self._store.submission.submit(jobs)
        self._store.actions.cancel(jobs[-2].id)
        answer = self._api.call("POST", "/v1/jobs", json={"name": "send-email", "data": {}})
        assert answer.status_code == 202, answer.text
        assert self._api.call("GET", "/v1/jobs/no-such-job").status_code == 404

    def _run(self) -> None:
        """Of each batch some jobs complete, one fails for good, one is to be repeated, and one is lost."""
        served = Served(named=["mail", "limited"])
        claimed = self._store.execution.exchange(
            worker="worker-1", token=next(self._tokens), lease_ms=500, room=5, served=served
        ).claimed
        kinds: list[OutcomeKind] = ["completed", "failed", "retry", "completed"]
        outcomes = [
            Outcome(
                id=job.id,
                token=job.token,
                outcome=kind,
                result="null" if kind == "completed" else None,
                error=None if kind == "completed" else json.dumps({"type": "E", "message": "m", "attempt": 1, "at": 0}),
                delay=0 if kind == "retry" else None,
                run=30,
            )
            for job, kind in zip(claimed, kinds, strict=False)
        ]
        self._store.execution.exchange(
            worker="worker-1", token=next(self._tokens), lease_ms=500, outcomes=outcomes, served=served
        )


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that has watched a stack at work for a while and goes on doing so."""
    folder = tmp_path_factory.mktemp("watched")
    with (
        EmbeddedServer(folder / "server", extra={"maxmemory": "500mb"}) as server,
        Api(folder, server.url, "watched") as api,
        Exporter(folder, server.url, "watched") as exporter,
        Prometheus(folder, exporter=f"127.0.0.1:{exporter.port}", api=f"127.0.0.1:{api.port}") as prometheus,
    ):
        client = connect(server.url, timeout=10)
        with Stack(Store(client, prefix="watched"), api):
            enough = f'min(count_over_time(up{{job=~"api|exporter"}}[1m])) >= {ENOUGH_SCRAPES}'
            seen = (
                'sum(backroom_jobs_finished_total{outcome="failed"}) > 5 and on () sum(backroom_jobs_stalled_total) > 0'
            )
            eventually(lambda: prometheus.query(enough) and prometheus.query(seen), within=120)
            eventually(lambda: all(prometheus.query(rule["record"]) for rule in records()), within=120)
            yield prometheus
        client.close()


def filled(expression: str, **variables: str) -> str:
    """An expression as Grafana sends it: variables replaced."""
    for name, value in variables.items():
        expression = expression.replace(f"${name}", value)
    return expression.replace("$__rate_interval", "20s").replace("$__range", "1h")


def is_data(values: list[float]) -> bool:
    return any(value == value for value in values)  # noqa: PLR0124 - NaN is the one number that differs from itself


@pytest.mark.parametrize("expression", QUERIES)
def test_every_query_of_the_board_finds_data(watched: Prometheus, expression: str):
    values = watched.query(filled(expression, queue=".+", type=".+"))
    assert is_data(values), f"{expression} found {values}"


@pytest.mark.parametrize("expression", QUERIES)
def test_every_query_of_the_board_follows_the_chosen_queue_and_type(watched: Prometheus, expression: str):
    """Two names, as Grafana joins them, and a name that matches nothing."""
    assert is_data(watched.query(filled(expression, queue="(mail|held)", type="(send-email|send-push)")))
    if "$queue" in expression:
        assert not is_data(watched.query(filled(expression, queue="no-such-queue", type=".+")))


@pytest.mark.parametrize(("variable", "expected"), [("queue", {"mail", "held", "limited"}), ("type", {"send-email"})])
def test_the_variables_of_the_board_offer_what_there_is(watched: Prometheus, variable: str, expected: set[str]):
    (definition,) = [each["definition"] for each in board["templating"]["list"] if each["name"] == variable]
    selector, label = re.fullmatch(r"label_values\((.+), (\w+)\)", definition).groups()
    found = watched.api(f"label/{label}/values", **{"match[]": filled(selector, queue=".+")})
    assert expected <= set(found)


def test_the_board_marks_paused_queues(watched: Prometheus):
    (paused,) = [each for each in board["annotations"]["list"] if each["name"] == "Paused queues"]
    assert watched.query(filled(paused["target"]["expr"], queue=".+")) == [1]


def test_every_target_is_up(watched: Prometheus):
    targets = watched.api("targets", state="active")["activeTargets"]
    assert {target["labels"]["job"]: target["health"] for target in targets} == {
        "api": "up",
        "exporter": "up",
        "prometheus": "up",
    }


@pytest.mark.parametrize("rule", records(), ids=lambda rule: rule["record"])
def test_every_recorded_number_is_there(watched: Prometheus, rule: dict):
    assert is_data(watched.query(rule["record"]))


def test_every_rule_is_evaluated_without_an_error(watched: Prometheus):
    def rules() -> list[dict]:
        return [rule for group in watched.api("rules")["groups"] for rule in group["rules"]]

    found = eventually(rules, until=lambda rules: all(rule["health"] != "unknown" for rule in rules))
    assert {rule["name"]: rule.get("lastError") for rule in found if rule["health"] != "ok"} == {}
    assert len(found) == len(read_rules())


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_every_metric_that_an_alert_looks_at_is_there(watched: Prometheus, alert: dict):
    for name in metric_names(alert["expr"]):
        assert watched.query(name), name
    watched.query(alert["expr"])


def test_numbers_in_prometheus_are_those_in_the_store(watched: Prometheus):
    """Both ways of counting the same jobs agree, in one scrape."""
    in_states = "sum(backroom_jobs)"
    submitted = "sum(backroom_jobs_submitted_total)"
    eventually(lambda: watched.query(f"{in_states} == {submitted}"))
    assert watched.query("sum(backroom_job_run_seconds_count)") == watched.query(
        'sum(backroom_job_run_seconds_bucket{le="+Inf"})'
    )


def test_a_redis_that_goes_away_raises_the_alarm(tmp_path: Path, own_server: EmbeddedServer, key_prefix: str):
    with (
        Exporter(tmp_path, own_server.url, key_prefix) as exporter,
        Prometheus(tmp_path, exporter=f"127.0.0.1:{exporter.port}", api="127.0.0.1:1") as prometheus,
    ):

        def alarms() -> set[str]:
            return {alert["labels"]["alertname"] for alert in prometheus.api("alerts")["alerts"]}

        eventually(lambda: prometheus.query("backroom_up == 1"))
        eventually(alarms, until=lambda found: "BackroomApiDown" in found and "BackroomRedisDown" not in found)
        own_server.kill()
        eventually(alarms, until=lambda found: "BackroomRedisDown" in found)
        own_server.start()
        eventually(alarms, until=lambda found: "BackroomRedisDown" not in found)


def test_the_start_script_sets_the_interval_and_the_key(tmp_path: Path):
    """As in its container: with the script, and Prometheus on PATH."""
    key = tmp_path / "key"
    key.write_text("a key of the role read", "utf-8")
    with StartedByScript(tmp_path, BACKROOM_SCRAPE_INTERVAL="30s", BACKROOM_METRICS_KEY_FILE=str(key)) as prometheus:
        config = prometheus.api("status/config")["yaml"]
        rules = prometheus.api("rules")["groups"]
    assert re.search(r"^  scrape_interval: 30s$", config, re.MULTILINE)
    assert re.search(r"^  evaluation_interval: 30s$", config, re.MULTILINE)
    jobs = dict(zip(re.findall(r"job_name: (\w+)", config), re.split(r"- job_name: ", config)[1:], strict=True))
    assert [job for job, text in jobs.items() if f"credentials_file: {key}" in text] == ["api"]
    assert rules


def test_the_start_script_changes_nothing_unless_asked(tmp_path: Path):
    with StartedByScript(tmp_path) as prometheus:
        config = prometheus.api("status/config")["yaml"]
    assert re.search(r"^  scrape_interval: 5s$", config, re.MULTILINE)
    assert "credentials_file" not in config


class StartedByScript(Prometheus):
    """Prometheus as `monitoring/prometheus/start.sh` starts it."""

    def __init__(self, folder: Path, **settings: str) -> None:
        super().__init__(folder, exporter="unused:1", api="unused:1")
        self._settings = {"BACKROOM_PROMETHEUS_CONFIG_DIR": str(folder / "config"), **settings}

    def command(self) -> list[str]:
        return ["sh", "monitoring/prometheus/start.sh", *super().command()[2:]]

    def environment(self) -> dict[str, str]:
        return super().environment() | self._settings
