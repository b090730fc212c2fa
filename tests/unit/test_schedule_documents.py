"""What the page about schedules shows works with the jobs of the stack."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from backroom.engine.jobs import job_types_of
from backroom.model.job_types import check_data
from backroom.model.schedule import parse_schedule
from services.worker.app import app

PAGE = (Path(__file__).parents[2] / "docs" / "schedules.md").read_text("utf-8")
EXAMPLES = [*re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL), *re.findall(r"-d '(\{.*?\})'\n", PAGE, re.DOTALL)]


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_a_schedule_of_a_job_type(example: str) -> None:
    schedule = parse_schedule(json.loads(example))

    assert schedule.description()
    [job_type] = [each for each in job_types_of(app) if each.name == schedule.job.name]
    check_data(json.dumps(job_type.schema), schedule.job.data)


def test_the_page_has_examples() -> None:
    assert len(EXAMPLES) == 4
