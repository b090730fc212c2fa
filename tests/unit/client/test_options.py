"""Options in Python's words, and what the API is sent."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from pydantic import BaseModel, Field

from backroom.client import Exponential, Fixed, NewJob
from backroom.client.options import Options, options_json
from backroom.model.options import JobOptions, parse_options

CASES = [
    ({"job_id": "a"}, {"jobId": "a"}),
    ({"attempts": 5}, {"attempts": 5}),
    ({"backoff": 2}, {"backoff": 2000}),
    ({"backoff": timedelta(minutes=1)}, {"backoff": 60_000}),
    ({"backoff": Fixed(0.5)}, {"backoff": {"type": "fixed", "delay": 500, "jitter": 0.0}}),
    ({"backoff": Exponential(1, jitter=0.5)}, {"backoff": {"type": "exponential", "delay": 1000, "jitter": 0.5}}),
    ({"delay": 1.5}, {"delay": 1500}),
    ({"delay": timedelta(hours=1)}, {"delay": 3_600_000}),
    ({"run_at": datetime(2030, 1, 31, 9, tzinfo=UTC)}, {"runAt": "2030-01-31T09:00:00+00:00"}),
    ({"run_at": datetime(2030, 1, 31, 9, tzinfo=timezone(timedelta(hours=2)))}, {"runAt": "2030-01-31T07:00:00+00:00"}),
    ({"priority": 1}, {"priority": 1}),
    ({"lifo": True}, {"lifo": True}),
    ({"timeout": 30}, {"timeout": 30_000}),
    ({"ttl": 0.25}, {"ttl": 250}),
    ({"remove_on_complete": True}, {"removeOnComplete": True}),
    ({"remove_on_complete": 10}, {"removeOnComplete": 10}),
    ({"remove_on_fail": {"age": timedelta(days=1), "count": 5}}, {"removeOnFail": {"age": 86_400, "count": 5}}),
    ({"remove_on_fail": {"count": 5}}, {"removeOnFail": {"count": 5}}),
    ({"max_stalled": 2}, {"maxStalled": 2}),
    ({"tags": ("a", "b")}, {"tags": ["a", "b"]}),
    ({"attempts": None}, {}),
]


@pytest.mark.parametrize(("options", "sent"), CASES, ids=str)
def test_options_become_the_words_of_the_api_which_takes_them(options, sent):
    assert options_json(options) == sent
    assert parse_options(sent)


def test_every_option_of_the_api_can_be_given():
    ours = {word for options, sent in CASES for word in sent} | {"webhook"}
    theirs = {str(field.alias) for field in JobOptions.model_fields.values()}
    assert theirs - ours == set()
    assert len(Options.__annotations__) == len(ours)


def test_a_webhook_is_passed_on():
    hook = {"url": "https://example.com/hook", "events": ["completed"]}
    assert options_json({"webhook": hook}) == {"webhook": hook}


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"atempts": 3}, TypeError, "'atempts' is not an option of a job; there are job_id, attempts"),
        ({"jobId": "a"}, TypeError, "'jobId' is not an option"),
        ({"run_at": datetime(2030, 1, 31)}, ValueError, "has no time zone"),  # noqa: DTZ001 - that is the case
        ({"backoff": "1s"}, TypeError, "backoff is Fixed"),
    ],
)
def test_what_is_no_option_is_refused_at_once(options, error, words):
    with pytest.raises(error, match=words):
        options_json(options)


class Report(BaseModel):
    user_id: str = Field(alias="userId")
    since: datetime


def test_a_model_is_sent_as_the_json_it_stands_for():
    data = Report(userId="u1", since=datetime(2030, 1, 31, tzinfo=UTC))
    assert NewJob("usage-report", data).to_json() == {
        "name": "usage-report",
        "data": {"userId": "u1", "since": "2030-01-31T00:00:00Z"},
    }


def test_a_new_job_says_only_what_it_was_told():
    assert NewJob("a").to_json() == {"name": "a", "data": {}}
    assert NewJob("a", [1], "q", {"attempts": 2}).to_json() == {
        "name": "a",
        "data": [1],
        "queue": "q",
        "options": {"attempts": 2},
    }
