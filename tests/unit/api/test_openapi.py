"""The OpenAPI document: valid, committed, and the same as the code."""

import json
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import validate

from backroom.settings import Settings
from services.api.app import create_app
from services.api.routes import document, operations
from services.api.settings import ApiSettings

COMMITTED = Path(__file__).resolve().parents[3] / "openapi.json"


def test_the_committed_document_is_the_codes() -> None:
    assert json.loads(COMMITTED.read_text("utf-8")) == document(), (
        "openapi.json is not what the code says: python -m services.api > openapi.json"
    )


def test_the_document_is_valid_openapi() -> None:
    validate(document())


def test_every_address_of_the_app_is_in_the_document() -> None:
    app = create_app(Settings(), ApiSettings())
    served = {str(rule.rule).replace("<", "{").replace(">", "}") for rule in app.url_map.iter_rules()}
    assert served == {*document()["paths"], "/static/{path:filename}"}


def test_operations_have_names_of_their_own_and_say_what_they_do() -> None:
    names = [operation.name for operation in operations()]
    assert len(names) == len(set(names))
    assert all(operation.summary for operation in operations())


def fields(schema: Any) -> list[str]:
    """The names of all properties in a schema."""
    if isinstance(schema, list):
        return [name for part in schema for name in fields(part)]
    if not isinstance(schema, dict):
        return []
    return [*schema.get("properties", {}), *(name for part in schema.values() for name in fields(part))]


def test_json_is_camel_case() -> None:
    assert [name for name in fields(document()["components"]["schemas"]) if "_" in name] == []


@pytest.mark.parametrize(
    "status", ["400", "401", "403", "404", "409", "412", "413", "415", "422", "428", "429", "500", "503"]
)
def test_every_problem_has_an_answer_with_examples(status: str) -> None:
    answer = document()["components"]["responses"][status]
    content = answer["content"]["application/problem+json"]
    assert content["schema"] == {"$ref": "#/components/schemas/ProblemView"}
    assert all(example["value"]["status"] == int(status) for example in content["examples"].values())
