"""Every error is a problem, those of Flask and those that nobody foresaw included."""

import json

import pytest

from backroom.model import errors as model
from backroom.settings import Settings
from services.api.app import create_app
from services.api.http.problems import MAX_ERRORS, PROBLEMS, Problem, as_problem, problem_answer
from services.api.settings import ApiSettings

#: With a key of the environment, nothing here asks the store, which is not there.
SETTINGS = Settings(api_keys='[{"name": "tests", "key": "a-key-of-the-tests", "roles": ["read"]}]')
HEADERS = {"Authorization": "Bearer a-key-of-the-tests", "X-Request-Id": "r-1"}


@pytest.mark.parametrize(
    ("error", "status", "slug"),
    [
        (model.InvalidInput.at("/a", "code", "is wrong"), 422, "invalid-input"),
        (model.NotFound("job", "x"), 404, "not-found"),
        (model.WrongState("x", "active", "removed"), 409, "wrong-state"),
        (model.TooLarge("request body", 5, 6), 413, "too-large"),
        (model.QueueFull("q", 5), 503, "queue-full"),
        (model.StoreUnavailable("at 10.0.0.1"), 503, "store-unavailable"),
        (model.StoreFull("at 10.0.0.1"), 503, "store-full"),
    ],
)
def test_errors_of_the_model_have_their_status(error: Exception, status: int, slug: str) -> None:
    problem = as_problem(error)
    assert problem is not None
    assert (problem.kind.status, problem.kind.slug) == (status, slug)
    assert "10.0.0.1" not in problem.detail
    assert ("Retry-After" in problem.headers) == (status == 503)


def test_an_error_nobody_foresaw_is_no_problem_of_the_callers() -> None:
    assert as_problem(KeyError("x")) is None


def test_a_thousand_errors_are_not_all_told() -> None:
    error = model.InvalidInput(model.FieldError(f"/jobs/{n}", "code", "is wrong") for n in range(1000))
    problem = as_problem(error)
    assert problem is not None
    answer = json.loads(problem_answer(problem, "r").payload() or b"")
    assert len(answer["errors"]) == MAX_ERRORS
    assert "999 more" in answer["detail"]


def test_every_type_of_problem_opens_its_explanation() -> None:
    client = create_app(SETTINGS, ApiSettings()).test_client()
    page = client.get("/problems", headers=HEADERS).get_data(as_text=True)
    for kind in PROBLEMS.values():
        assert kind.uri == f"/problems#{kind.slug}"
        assert f'id="{kind.slug}"' in page


def test_a_defect_is_a_500_that_tells_the_caller_nothing_but_where_to_look() -> None:
    app = create_app(SETTINGS, ApiSettings())

    def defect() -> str:
        raise RuntimeError("the secret of the house")

    app.add_url_rule("/defect", view_func=defect)
    response = app.test_client().get("/defect", headers=HEADERS)
    assert (response.status_code, response.mimetype) == (500, "application/problem+json")
    assert response.get_json()["requestId"] == "r-1"
    assert "secret" not in response.get_data(as_text=True)


def test_a_problem_of_an_unknown_kind_cannot_be_raised() -> None:
    with pytest.raises(KeyError):
        Problem("no-such-kind", "…")
