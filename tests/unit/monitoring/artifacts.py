"""Readers of what the tests of monitoring look at: the board, the rules and their tests, the pages of docs."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from monitoring.exporter.catalogue import FAMILIES
from services.api.http.telemetry import exposition

ROOT = Path(__file__).parents[3]
MONITORING = ROOT / "monitoring"
PROMETHEUS = MONITORING / "prometheus"
BOARD = MONITORING / "grafana" / "dashboards" / "backroom.json"

_KEYWORDS = {"by", "without", "on", "ignoring", "group_left", "group_right", "and", "or", "unless", "bool", "offset"}


def find_program(name: str, package: str) -> str:
    """The program of that name: without it the test is skipped, but in CI, where it has to be there, it fails."""
    found = shutil.which(name)
    if found is None:
        reason = f"{name} is not on PATH: install Debian's package {package}, or Prometheus' own archive"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def run_program(name: str, package: str, *arguments: str | Path) -> None:
    """Run a checking program and show what it says if it is not content."""
    done = subprocess.run([find_program(name, package), *arguments], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def read_board() -> dict[str, Any]:
    return json.loads(BOARD.read_text("utf-8"))


def panels_of(board: dict[str, Any]) -> list[dict[str, Any]]:
    """The panels that show something: all but the headings."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def queries_of(board: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Title and expression of every query of the panels."""
    for panel in panels_of(board):
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def read_rules() -> list[dict[str, Any]]:
    """Every rule, recording and alerting, of all files."""
    return [
        rule
        for file in sorted((PROMETHEUS / "rules").glob("*.yml"))
        for group in yaml.safe_load(file.read_text("utf-8"))["groups"]
        for rule in group["rules"]
    ]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in read_rules() if "alert" in rule]


def records() -> list[dict[str, Any]]:
    return [rule for rule in read_rules() if "record" in rule]


def metric_names(expression: str) -> set[str]:
    """The metrics that an expression selects. Label names, functions and numbers are no metrics."""
    plain = re.sub(r'"(?:[^"\\]|\\.)*"', '""', expression)
    plain = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", plain)
    plain = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", "", plain)
    names = re.findall(r"(?<![\w:.])([A-Za-z_:][\w:]*)(?!\s*\(|[\w:])", plain)
    return set(names) - _KEYWORDS


def exported_names() -> dict[str, str]:
    """Every series name of the exporter, and its type; a histogram has three names."""
    names: dict[str, str] = {}
    for family in FAMILIES:
        suffixes = ("_bucket", "_sum", "_count") if family.kind == "histogram" else ("",)
        names.update((family.name + suffix, family.kind) for suffix in suffixes)
    return names


def api_names() -> dict[str, str]:
    """The same of the API's own metrics."""
    names: dict[str, str] = {}
    for family in text_string_to_metric_families(exposition().body.decode()):
        suffixes = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("_total",)}.get(family.type, ("",))
        names.update((family.name + suffix, family.type) for suffix in suffixes)
    return names


def anchors_of(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and most renderers make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
