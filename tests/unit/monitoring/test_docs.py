"""The pages about monitoring say what the code does."""

import re

import pytest

from monitoring.exporter.catalogue import FAMILIES
from monitoring.exporter.settings import ExporterSettings
from services.api.http.telemetry import observe
from tests.unit.monitoring.artifacts import ROOT, anchors_of, api_names, panels_of, read_board, records

METRICS = (ROOT / "docs" / "metrics.md").read_text("utf-8")
PAGES = ["metrics.md", "monitoring.md", "runbook.md"]


def rows() -> dict[str, list[str]]:
    """The rows of the tables, by the metric in their first cell."""
    lines = [line.strip("| ").split(" | ") for line in METRICS.splitlines() if line.startswith("| `")]
    return {cells[0].strip("`"): cells[1:] for cells in lines}


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_metric_is_explained_with_its_type_and_labels(family):
    kind, labels, meaning = rows()[family.name]
    assert kind == family.kind
    assert tuple(re.findall(r"`(\w+)`", labels)) == family.labels
    assert meaning == family.help


def test_the_reference_has_no_metric_that_does_not_exist():
    observe(method="GET", route="/v1/jobs", status=200, seconds=0.01)  # or somebody else has asked before
    api = {re.sub(r"_(bucket|sum|count)$", "", name) for name in api_names()}
    known = {family.name for family in FAMILIES} | api | {rule["record"] for rule in records()}
    assert {name for name in rows() if "backroom_" in name} == known


def test_the_bounds_in_the_reference_are_those_of_the_settings():
    for name, field in ExporterSettings.model_fields.items():
        if name.startswith("exporter_max_"):
            assert re.search(rf"\| {field.default} \| `BACKROOM_{name.upper()}` \|", METRICS), name


@pytest.mark.parametrize("page", PAGES)
def test_links_between_the_pages_lead_somewhere(page):
    folder = ROOT / "docs"
    for path, anchor in re.findall(r"\]\(([\w./-]*)(?:#([\w-]+))?\)", (folder / page).read_text("utf-8")):
        target = folder / (path or page)
        assert target.is_file(), path
        assert not anchor or anchor in anchors_of(target), anchor


def test_the_runbook_names_panels_that_are_on_the_board():
    text = (ROOT / "docs" / "runbook.md").read_text("utf-8")
    named = {re.sub(r"\s+", " ", words) for words in re.findall(r"(?<!\*)\*([^*]+)\*(?!\*)", text)}
    elsewhere = {"Backroom", "Status > Targets", "Rate limit holds", "Paused", "None known"}
    assert named - elsewhere <= {panel["title"] for panel in panels_of(read_board())}
