from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from backroom.model.errors import InvalidInput
from backroom.model.job_types import check_data
from services.worker.jobs.heavy_task import HeavyTask, heavy_task

SCHEMA = json.dumps(HeavyTask.model_json_schema())


def run(payload: dict[str, Any], user: str = "u1") -> dict[str, Any]:
    return heavy_task({"userId": user, "payload": payload})


def test_without_rounds_it_works_ten() -> None:
    result = run({})
    assert result["userId"] == "u1"
    assert result["rounds"] == 10
    assert result["durationMs"] > 0


def test_the_same_data_yields_the_same_digest_and_other_data_another() -> None:
    digest = run({"rounds": 2, "a": [1, {"b": None}]})["digest"]
    assert run({"a": [1, {"b": None}], "rounds": 2})["digest"] == digest
    assert run({"rounds": 3, "a": [1, {"b": None}]})["digest"] != digest
    assert run({"rounds": 2, "a": []})["digest"] != digest
    assert run({"rounds": 2, "a": [1, {"b": None}]}, user="u2")["digest"] != digest


def test_its_result_is_json() -> None:
    assert json.loads(json.dumps(run({"rounds": 1})))["rounds"] == 1


@pytest.mark.parametrize("rounds", [0, -1, 10_001, 1.5, "many", None, [10]])
def test_rounds_out_of_bounds_are_refused_by_the_model_and_by_its_schema(rounds: object) -> None:
    data = {"userId": "u1", "payload": {"rounds": rounds}}
    with pytest.raises(ValidationError):
        HeavyTask.model_validate(data)
    with pytest.raises(InvalidInput) as refusal:
        check_data(SCHEMA, data)
    assert [error.pointer for error in refusal.value.errors] == ["/data/payload/rounds"]


@pytest.mark.parametrize(
    "payload", [{}, {"rounds": 1}, {"rounds": 10_000}, {"any": {"thing": [1, "x", None, True]}}, {"model_dump": 1}]
)
def test_any_other_object_is_a_payload(payload: dict[str, Any]) -> None:
    data = {"userId": "u1", "payload": payload}
    check_data(SCHEMA, data)
    assert HeavyTask.model_validate(data).model_dump(by_alias=True, exclude_unset=True) == data


@pytest.mark.parametrize(
    "data",
    [
        {"payload": {}},
        {"userId": "u1"},
        {"userId": "", "payload": {}},
        {"userId": 1, "payload": {}},
        {"userId": "u1", "payload": []},
        {"userId": "u1", "payload": {}, "round": 3},
    ],
)
def test_data_of_another_form_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        HeavyTask.model_validate(data)
    with pytest.raises(InvalidInput):
        check_data(SCHEMA, data)
