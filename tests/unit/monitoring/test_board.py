"""The board keeps to the rules of Grafana's dashboard linter, and to some of our own."""

import re
from itertools import combinations

import pytest
import yaml

from tests.unit.monitoring.artifacts import (
    MONITORING,
    api_names,
    exported_names,
    metric_names,
    panels_of,
    queries_of,
    read_board,
    records,
    run_program,
)

board = read_board()
panels = panels_of(board)
queries = list(queries_of(board))
each_panel = pytest.mark.parametrize("panel", panels, ids=[panel["title"] for panel in panels])
each_query = pytest.mark.parametrize(("title", "expression"), queries, ids=[title for title, _ in queries])

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
#: The names of units in Grafana that the board uses.
UNITS = {"short", "s", "bytes", "ops", "reqps", "percentunit", "bool_yes_no"}


def test_the_board_has_a_stable_address_and_cannot_be_edited_in_place():
    assert board["uid"] == "backroom"
    assert board["id"] is None
    assert board["editable"] is False
    assert "backroom" in board["tags"]
    assert board["graphTooltip"] == 1, "the panels share one crosshair"


def test_one_chooses_the_data_source_queues_and_types():
    variables = {variable["name"]: variable for variable in board["templating"]["list"]}
    assert list(variables) == ["datasource", "queue", "type"]
    assert variables["datasource"]["type"] == "datasource"
    for name in ("queue", "type"):
        variable = variables[name]
        assert variable["multi"], name
        assert variable["includeAll"], name
        assert variable["allValue"] == ".+", name
        assert variable["datasource"] == DATASOURCE
        assert variable["refresh"] == 2, "the names are read again when the time changes"
        assert metric_names(re.sub(r"label_values\((.*), \w+\)", r"\1", variable["definition"])) <= set(
            exported_names()
        )


def test_the_board_uses_the_provisioned_data_source_first():
    provisioned = yaml.safe_load((MONITORING / "grafana/provisioning/datasources/prometheus.yml").read_text("utf-8"))
    uid = provisioned["datasources"][0]["uid"]
    assert board["templating"]["list"][0]["current"]["value"] == uid


def test_panels_have_their_own_ids_and_do_not_overlap():
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    places = [panel["gridPos"] for panel in board["panels"]]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, (one, other)


@each_panel
def test_a_panel_says_what_it_shows_and_what_a_bad_value_means(panel):
    assert panel["title"]
    assert len(panel["description"].split()) >= 8
    assert panel["description"].endswith(".")
    assert panel["type"] in {"stat", "timeseries", "heatmap", "table"}, "no pies, no gauges"


def test_no_two_panels_have_the_same_title():
    titles = [panel["title"] for panel in panels]
    assert len(titles) == len(set(titles))


@each_panel
def test_a_panel_has_units_thresholds_and_the_chosen_data_source(panel):
    assert panel["datasource"] == DATASOURCE
    assert all(target["datasource"] == DATASOURCE for target in panel["targets"])
    defaults = panel["fieldConfig"]["defaults"]
    assert defaults["unit"] in UNITS
    if panel["type"] != "heatmap":  # its colours are a scale
        assert defaults["thresholds"]["steps"][0]["value"] is None, "the first step covers everything below the second"
    if panel["type"] in {"stat", "timeseries"}:
        assert defaults["min"] == 0
    references = [target["refId"] for target in panel["targets"]]
    assert len(references) == len(set(references))


@each_panel
def test_every_line_of_a_graph_has_a_readable_name(panel):
    if panel["type"] == "timeseries":
        assert all(target["legendFormat"] not in {"", "__auto"} for target in panel["targets"])
        for override in panel["fieldConfig"]["overrides"]:
            assert override["matcher"]["id"] == "byName"


def test_a_state_has_the_same_colour_everywhere():
    colours: dict[str, set[str]] = {}
    states = {"waiting", "active", "delayed", "completed", "failed", "cancelled", "expired"}
    for panel in panels:
        for override in panel["fieldConfig"]["overrides"]:
            for property_ in override["properties"]:
                if property_["id"] == "color" and override["matcher"]["options"] in states:
                    colours.setdefault(override["matcher"]["options"], set()).add(property_["value"]["fixedColor"])
    assert set(colours) == states
    assert all(len(used) == 1 for used in colours.values()), colours


@each_query
def test_rates_follow_the_scrape_interval(title, expression):
    ranges = re.findall(r"\[([^\]]*)\]", expression)
    assert set(ranges) <= {"$__rate_interval", "$__range"}
    assert ("[$__range]" in expression) <= (title == "Lost tries"), "only a total over the time shown"


@each_query
def test_counters_are_read_as_rates_and_gauges_are_not(title, expression):
    names = exported_names() | api_names()
    for name in metric_names(expression):
        rated = re.findall(rf"\b(rate|increase)\({name}\b", expression)
        if names.get(name) in {"counter", "histogram"}:
            assert rated, f"{name} is a {names[name]}"
        else:
            assert not rated, f"{name} is no counter"


@each_query
def test_quantiles_are_taken_of_sums_over_buckets(title, expression):
    if "histogram_quantile" in expression:
        assert re.search(r"histogram_quantile\(0\.\d+, sum by \(([\w, ]+, )?le\) \(rate\(\w+_bucket[{[]", expression)


@each_query
def test_series_are_aggregated_so_that_a_restart_or_a_second_scrape_makes_no_second_line(title, expression):
    assert re.search(r"\b(sum|max|min|count)\b", expression)


@each_query
def test_metrics_of_jobs_follow_the_chosen_queues_and_types(title, expression):
    for name, labels in re.findall(r"(backroom_(?:jobs|job|queue)_?\w*)(\{[^}]*\})?", expression):
        assert 'queue=~"$queue"' in labels, name
        by_type = name.startswith("backroom_job_") or name.endswith("_total")
        assert ('type=~"$type"' in labels) == by_type, name


@each_query
def test_every_metric_of_the_board_is_exported(title, expression):
    known = {*exported_names(), *api_names(), *(rule["record"] for rule in records()), "up", "ALERTS"}
    assert metric_names(expression) <= known


def test_every_query_is_valid_promql(tmp_path):
    rules = [
        {"record": f"board:query:{place}", "expr": re.sub(r"\$__(rate_interval|range)", "1m", expression)}
        for place, (_, expression) in enumerate(queries)
    ]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "board", "rules": rules}]}), "utf-8")
    run_program("promtool", "prometheus", "check", "rules", file)


def test_provisioned_boards_are_the_files_of_this_repository():
    provider = yaml.safe_load((MONITORING / "grafana/provisioning/dashboards/backroom.yml").read_text("utf-8"))
    (only,) = provider["providers"]
    assert only["allowUiUpdates"] is False
    assert only["disableDeletion"] is True
