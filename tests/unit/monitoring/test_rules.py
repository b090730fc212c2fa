"""The rules of Prometheus: complete, explained, and each proven to fire and to stay quiet."""

import re

import pytest
import yaml

from tests.unit.monitoring.artifacts import (
    MONITORING,
    PROMETHEUS,
    ROOT,
    alerts,
    anchors_of,
    api_names,
    exported_names,
    metric_names,
    read_rules,
    records,
    run_program,
)

each_alert = pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
each_rule = pytest.mark.parametrize("rule", read_rules(), ids=lambda rule: rule.get("alert") or rule["record"])

TEST_FILES = sorted((PROMETHEUS / "tests").glob("*.yml"))
CASES = [case for file in TEST_FILES for case in yaml.safe_load(file.read_text("utf-8"))["tests"]]


def test_prometheus_accepts_its_configuration_and_rules():
    run_program("promtool", "prometheus", "check", "config", PROMETHEUS / "prometheus.yml")


def test_the_rules_pass_their_unit_tests():
    run_program("promtool", "prometheus", "test", "rules", *TEST_FILES)


def test_alertmanager_accepts_its_configuration():
    run_program("amtool", "prometheus-alertmanager", "check-config", MONITORING / "alertmanager" / "alertmanager.yml")


def test_alertmanager_as_shipped_sends_nothing_anywhere():
    config = yaml.safe_load((MONITORING / "alertmanager" / "alertmanager.yml").read_text("utf-8"))
    assert [set(receiver) for receiver in config["receivers"]] == [{"name"}]


def test_alertmanager_names_only_alerts_that_exist():
    text = (MONITORING / "alertmanager" / "alertmanager.yml").read_text("utf-8")
    assert set(re.findall(r"Backroom\w+", text)) <= {alert["alert"] for alert in alerts()}


@each_alert
def test_an_alert_says_how_bad_it_is_and_what_to_do(alert):
    assert re.fullmatch(r"Backroom([A-Z][a-z]+)+", alert["alert"])
    assert alert["labels"]["severity"] in {"page", "ticket", "info"}
    annotations = alert["annotations"]
    assert set(annotations) == {"summary", "description", "runbook_url"}
    assert not annotations["summary"].endswith(".")
    assert annotations["description"].endswith(".")


@each_alert
def test_a_number_in_an_alert_has_a_unit(alert):
    for value in re.findall(r"\{\{ \$value(.*?)\}\}(.*)", alert["annotations"]["description"]):
        pipe, rest = value
        assert pipe.strip() in {"| humanizeDuration", "| humanizePercentage"} or (
            pipe.strip() == "| humanize" and re.match(r" \w+", rest)
        )


@each_alert
def test_an_alert_leads_to_its_section_of_the_runbook(alert):
    path, _, anchor = alert["annotations"]["runbook_url"].partition("#")
    assert path == "docs/runbook.md"
    assert anchor == alert["alert"].lower()
    assert anchor in anchors_of(ROOT / path)


def test_every_section_of_the_runbook_has_the_same_five_parts():
    text = (ROOT / "docs" / "runbook.md").read_text("utf-8")
    sections = {part.split("\n", 1)[0]: part for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]}
    assert {alert["alert"] for alert in alerts()} <= set(sections)
    for name, section in sections.items():
        if name.startswith("Backroom"):
            parts = re.findall(r"^\*\*(\w+)\.\*\*", section, re.MULTILINE)
            assert parts == ["Meaning", "Impact", "Check", "Mitigate", "Verify"], name


def test_the_runbook_has_no_section_without_an_alert():
    headings = re.findall(r"^## (Backroom\w+)$", (ROOT / "docs" / "runbook.md").read_text("utf-8"), re.MULTILINE)
    assert sorted(headings) == sorted(alert["alert"] for alert in alerts())


@each_alert
def test_an_alert_is_proven_to_fire_and_to_stay_quiet(alert):
    expected = [
        bool(test["exp_alerts"])
        for case in CASES
        for test in case.get("alert_rule_test", ())
        if test["alertname"] == alert["alert"]
    ]
    assert True in expected, "no test in which it fires"
    assert False in expected, "no test in which it does not fire"


@each_alert
def test_an_alert_is_proven_to_stay_quiet_on_data_and_not_only_without_any(alert):
    """A case that never mentions the alert's metrics would prove nothing."""
    wanted = metric_names(alert["expr"]) - {rule["record"] for rule in records()}
    for case in CASES:
        for test in case.get("alert_rule_test", ()):
            if test["alertname"] == alert["alert"] and not test["exp_alerts"] and wanted:
                given = {name for series in case["input_series"] for name in metric_names(series["series"])}
                assert wanted & given, case["name"]


@pytest.mark.parametrize("rule", records(), ids=lambda rule: rule["record"])
def test_a_recorded_number_is_named_by_level_metric_and_operation_and_tested(rule):
    assert re.fullmatch(r"[a-z_]+:backroom_[a-z_]+:[a-z0-9_]+", rule["record"])
    tested = {
        name for case in CASES for test in case.get("promql_expr_test", ()) for name in metric_names(test["expr"])
    }
    assert rule["record"] in tested


@each_rule
def test_every_metric_of_a_rule_is_exported_or_recorded(rule):
    known = {*exported_names(), *api_names(), *(record["record"] for record in records()), "up"}
    assert metric_names(rule["expr"]) <= known
