"""Prometheus in its container sees the stack, and knows when to raise the alarm."""

import pytest
import requests

from tests.compose.stack import Stack, eventually

pytestmark = [pytest.mark.compose, pytest.mark.timeout(1200)]


def prometheus(stack: Stack, path: str) -> dict:
    answer = requests.get(f"{stack.address('prometheus', 9090)}/api/v1/{path}", timeout=30)
    assert answer.ok, answer.text
    return answer.json()["data"]


def test_every_target_of_prometheus_is_up(stack: Stack) -> None:
    def health() -> dict[str, str]:
        targets = prometheus(stack, "targets?state=active")["activeTargets"]
        return {
            f"{t['labels']['job']}: {t['lastError']}": t["health"] for t in targets if t["labels"]["job"] != "grafana"
        }

    found = eventually(health, until=lambda all_: len(all_) >= 3 and set(all_.values()) == {"up"})
    assert {name.partition(":")[0] for name in found} >= {"api", "exporter"}


def test_the_alert_rules_are_loaded_and_evaluated_without_errors(stack: Stack) -> None:
    def rules() -> list[dict]:
        return [rule for group in prometheus(stack, "rules")["groups"] for rule in group["rules"]]

    loaded = eventually(rules, until=lambda all_: bool(all_) and all(rule["health"] == "ok" for rule in all_))
    assert [rule["name"] for rule in loaded if rule["type"] == "alerting"]


def test_prometheus_has_found_the_alertmanager(stack: Stack) -> None:
    eventually(lambda: prometheus(stack, "alertmanagers")["activeAlertmanagers"])


def test_what_a_job_did_arrives_in_prometheus(stack: Stack) -> None:
    posted = stack.call(
        "POST", "/v1/jobs", {"name": "heavy-task", "queue": "watched", "data": {"userId": "u1", "payload": {}}}
    )
    stack.finished(posted.json()["id"])
    query = 'sum(backroom_jobs_finished_total{queue="watched", outcome="completed"})'
    assert eventually(lambda: stack.query(query)) == 1
