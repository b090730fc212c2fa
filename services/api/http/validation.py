"""From queries and bodies to pydantic models, and from pydantic's errors to pointers."""

from collections.abc import Callable
from typing import Any, TypeVar, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError
from werkzeug.datastructures import MultiDict

from backroom.model.errors import FieldError, InvalidInput
from backroom.model.validation import field_errors, pointer

__all__ = ["Input", "NoBody", "NoQuery", "Query", "read_query", "validated", "with_own_errors"]

_OWN = "own_errors"
T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)


class Input(BaseModel):
    """The base of bodies: camelCase, no unknown names, no silent conversions."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        alias_generator=to_camel,
        validate_by_alias=True,
        validate_by_name=False,
    )


class Query(Input):
    """The base of queries, whose values are text: numbers and words of a list are read out of it."""

    model_config = ConfigDict(strict=False)


class NoQuery(Query):
    """The query of an operation that takes none."""


class NoBody(Input):
    """The body of an operation that takes none; an empty object will do."""


def with_own_errors(check: Callable[[Any], T]) -> Callable[[Any], T]:
    """Make a check of the model, which raises `InvalidInput` with pointers below ``""``, a validator of a field.

    Its errors join those of the other fields, below the field's own place.
    """

    def validator(value: Any) -> T:
        try:
            return check(value)
        except InvalidInput as error:
            raise PydanticCustomError(_OWN, "is invalid", {"errors": error.errors}) from None

    return validator


def _errors(error: ValidationError, prefix: str) -> list[FieldError]:
    found: list[FieldError] = []
    details = error.errors(include_url=False, include_input=False)
    for detail, plain in zip(details, field_errors(error, prefix), strict=True):
        if detail["type"] == _OWN:
            own = detail["ctx"]["errors"]
            found += [FieldError(plain.pointer + below, code, message) for below, code, message in own]
        else:
            found.append(plain)
    return found


def validated(model: type[M], value: object, prefix: str = "") -> M:
    """``value``, which came out of JSON, as a ``model``. Raises `InvalidInput` for everything that is wrong."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise InvalidInput(_errors(error, prefix)) from None


def _takes_several(model: type[BaseModel], name: str) -> bool:
    for field_name, field in model.model_fields.items():
        if name == (field.alias or field_name):
            return get_origin(field.annotation) is tuple
    return False


def read_query(model: type[M], args: MultiDict[str, str]) -> M:
    """The query as a ``model``: a parameter whose field is a tuple may be repeated, any other may not.

    Raises `InvalidInput`; the pointer is ``/`` and the name of the parameter.
    """
    values: dict[str, object] = {}
    repeated: list[FieldError] = []
    for name, given in args.lists():
        if _takes_several(model, name):
            values[name] = tuple(given)
        elif len(given) > 1:
            repeated.append(FieldError(pointer([name]), "repeated", "may be given once only"))
        else:
            values[name] = given[0]
    try:
        found = model.model_validate(values)
    except ValidationError as error:
        raise InvalidInput([*repeated, *_errors(error, "")]) from None
    if repeated:
        raise InvalidInput(repeated)
    return found
