"""What the report says; `tests/integration/jobs` makes one of real jobs and sends it."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError
from pypdf import PdfReader

from backroom.model.errors import InvalidInput
from backroom.model.job import Job
from backroom.model.job_types import check_data
from backroom.model.states import State
from services.worker.jobs.usage_report import History, UsageReport, bounds, render_pdf

SCHEMA = json.dumps(UsageReport.model_json_schema())
NOW = datetime(2030, 1, 31, 12, 0, tzinfo=UTC)


def a_job(number: int, *, name: str = "heavy-task", state: State = State.COMPLETED, run_ms: int | None = 1500) -> Job:
    return Job(
        id=f"job-{number}",
        name=name,
        queue="default",
        state=state,
        state_reason=None,
        data={},
        options={},
        priority=0,
        tags=(),
        attempts_made=1,
        attempts=1,
        stalled=0,
        progress=None,
        result=None,
        error=None,
        created_at=NOW - timedelta(minutes=number),
        run_at=None,
        started_at=None,
        finished_at=None,
        wait_ms=1,
        run_ms=run_ms,
        worker=None,
        trace_id=None,
        version="1",
    )


def words(user: str, jobs: list[Job], *, truncated: bool = False) -> str:
    reader = PdfReader(io.BytesIO(render_pdf(History(user, "2030-01", jobs, truncated=truncated), NOW)))
    return "\n".join(page.extract_text() for page in reader.pages)


def test_the_report_counts_jobs_by_type_and_state() -> None:
    jobs = [
        a_job(1),
        a_job(2),
        a_job(3, state=State.FAILED),
        a_job(4, name="send-email", state=State.WAITING, run_ms=None),
    ]
    text = words("u1", jobs)
    assert "Usage in 2030-01" in text
    assert "User: u1" in text
    assert "Jobs: 4" in text
    summary = text[text.index("Jobs by type") : text.index("Jobs, newest first")].split()
    assert " ".join(summary).endswith("heavy-task 3 2 1 0 4.5 s send-email 1 0 0 1 0.0 s")


def test_the_report_lists_the_jobs() -> None:
    text = words("u1", [a_job(1), a_job(2)])
    assert "2030-01-31 11:59:00" in text
    assert "job-1" in text
    assert "job-2" in text


def test_a_user_without_jobs_gets_a_report_too() -> None:
    assert "Jobs: 0" in words("u1", [])


def test_a_report_that_could_not_list_all_jobs_says_so() -> None:
    assert "there are more" in words("u1", [a_job(1)], truncated=True)


def test_a_long_report_has_many_numbered_pages() -> None:
    text = words("u1", [a_job(number) for number in range(200)])
    assert "Page 4" in text
    assert "job-199" in text


@pytest.mark.parametrize(
    "user", ['<img src="file:///etc/passwd"/>', "<b>", "a & b", "</para>", "&amp;", "<a href='x'>"]
)
def test_a_user_id_is_text_and_never_markup(user: str) -> None:
    assert f"User: {user}" in words(user, [])


def test_letters_that_the_fonts_lack_are_written_as_escapes() -> None:
    assert "User: Gr\u00f6\u00dfe \\u2713" in words("Größe ✓", [])


def test_a_long_id_is_cut_and_not_drawn_over_its_neighbour() -> None:
    assert "x" * 39 + "…" in words("u1", [a_job(1, name="x" * 128)])


@pytest.mark.parametrize(
    ("month", "first", "last"),
    [("2030-01", (2030, 1), (2030, 2)), ("2029-12", (2029, 12), (2030, 1)), ("2028-02", (2028, 2), (2028, 3))],
)
def test_a_month_reaches_from_its_first_moment_to_that_of_the_next(
    month: str, first: tuple[int, int], last: tuple[int, int]
) -> None:
    assert bounds(month) == (datetime(*first, 1, tzinfo=UTC), datetime(*last, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"userId": ""},
        {"userId": "u1", "month": "2030-13"},
        {"userId": "u1", "month": "2030-1"},
        {"userId": "u1", "month": "January"},
        {"userId": "u1", "notify": {"email": "nobody"}},
        {"userId": "u1", "notify": {"phone": "1"}},
        {"userId": "u1", "notify": {"pushSubscription": {"endpoint": "http://a.example/", "keys": {}}}},
    ],
)
def test_data_of_another_form_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        UsageReport.model_validate(data)
    with pytest.raises(InvalidInput):
        check_data(SCHEMA, data)
