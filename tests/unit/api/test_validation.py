"""Queries and bodies: what is taken, and where the errors point."""

import pytest
from werkzeug.datastructures import MultiDict

from backroom.model.errors import InvalidInput
from backroom.model.states import State
from services.api.bodies import JobBody, JobsBody
from services.api.http.validation import NoQuery, read_query, validated
from services.api.queries import JobsQuery, LogsQuery


def query(*pairs: tuple[str, str]) -> MultiDict[str, str]:
    return MultiDict(pairs)


def where(failure: pytest.ExceptionInfo[InvalidInput]) -> list[str]:
    return [error.pointer for error in failure.value.errors]


def test_a_list_takes_repeated_parameters_and_a_single_value_as_well() -> None:
    assert read_query(JobsQuery, query(("state", "waiting"), ("state", "failed"))).state == (
        State.WAITING,
        State.FAILED,
    )
    assert read_query(JobsQuery, query(("userId", "ann"))).user_id == ("ann",)
    assert read_query(JobsQuery, query()).limit == 50


def test_a_parameter_is_known_by_the_name_it_has_in_the_address() -> None:
    with pytest.raises(InvalidInput) as failure:
        read_query(JobsQuery, query(("user_id", "ann"), ("from_", "2030-01-01T00:00:00Z")))
    assert where(failure) == ["/user_id", "/from_"]


def test_a_single_parameter_may_not_be_repeated() -> None:
    with pytest.raises(InvalidInput) as failure:
        read_query(LogsQuery, query(("after", "1"), ("after", "2"), ("limit", "x")))
    assert where(failure) == ["/after", "/limit"]


def test_a_strange_name_of_a_parameter_is_escaped_in_the_pointer() -> None:
    with pytest.raises(InvalidInput) as failure:
        read_query(NoQuery, query(("a/b~c", "1")))
    assert where(failure) == ["/a~1b~0c"]


def test_errors_of_options_join_the_others_below_their_place() -> None:
    body = {"jobs": [{"name": "a", "data": 1}, {"name": "", "data": 1, "options": {"priority": 1.5, "limits": {}}}]}
    with pytest.raises(InvalidInput) as failure:
        validated(JobsBody, body)
    assert where(failure) == ["/jobs/1/name", "/jobs/1/options/limits", "/jobs/1/options/priority"]
    assert failure.value.errors[0].code == "invalid-name"
    assert failure.value.errors[1].code == "reserved-option"


@pytest.mark.parametrize("value", [None, 1, "text", [], [{}]])
def test_what_is_no_object_is_refused_in_our_own_words(value: object) -> None:
    with pytest.raises(InvalidInput, match="must be an object"):
        validated(JobBody, value)


def test_null_means_not_given_where_something_may_be_left_out() -> None:
    body = validated(JobBody, {"name": "a", "data": None, "queue": None, "options": None})
    assert body.queue is None
    assert body.options.model_fields_set == set()
