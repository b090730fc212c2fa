"""The queries of lists."""

import re
from typing import Annotated, Final

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field

from backroom.model.states import State
from services.api.http.validation import Query

__all__ = ["JobsQuery", "LogsQuery", "PageQuery", "Text", "Time", "Words"]

_DIGITS: Final = re.compile(r"\d{1,15}\Z", re.ASCII)
_DATE_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d", re.ASCII)
MAX_PAGE: Final = 200
MAX_TEXT: Final = 256


def _digits(value: object) -> object:
    """Only plain digits: pydantic would take ``1_0`` and ``5.0`` for numbers as well."""
    if isinstance(value, str) and not _DIGITS.match(value):
        raise ValueError("must be a whole number in digits")
    return value


def _date_time(value: object) -> object:
    """Only dates with a time: pydantic would take a number for Unix seconds or milliseconds, by its size."""
    if not isinstance(value, str) or not _DATE_TIME.match(value):
        raise ValueError("must be a time as RFC 3339 text, such as 2030-01-31T09:00:00Z")
    return value


def _words(text: str) -> str:
    """Not blank alone: no words would be in every job."""
    if not text.strip():
        raise ValueError("must have words in it")
    return text


#: Stands behind the bounds of a number, or they would not be in the document.
DIGITS: Final = BeforeValidator(_digits)
Time = Annotated[AwareDatetime, Field(strict=False), BeforeValidator(_date_time)]
Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]
Words = Annotated[Text, Field(json_schema_extra={"pattern": r"\S"}), AfterValidator(_words)]


class PageQuery(Query):
    """Which page of a list."""

    limit: Annotated[int, Field(ge=1, le=MAX_PAGE), DIGITS] = Field(default=50, description="How many a page.")
    cursor: Annotated[str, Field(min_length=1, max_length=1024)] | None = Field(
        default=None, description="'next' of the page before."
    )


class JobsQuery(PageQuery):
    """Which jobs, in which order. A parameter that is repeated means "or"; different ones mean "and"."""

    queue: tuple[Text, ...] = Field(default=(), description="Repeat it for several queues.")
    state: tuple[State, ...] = Field(default=(), description="Repeat it for several states.")
    name: tuple[Text, ...] = Field(default=(), description="The job type; repeat it for several.")
    tag: tuple[Text, ...] = Field(default=(), description="Repeat it for several: jobs with any of them.")
    user_id: tuple[Text, ...] = Field(default=(), description="The userId in the data; repeat it for several.")
    q: Words | None = Field(
        default=None,
        description="The id of a job; else words of which each is in the error, the name or a tag. Where few jobs have "
        "them a page may be short, or empty, and still have a next one.",
    )
    from_: Time | None = Field(default=None, alias="from", description="Created at this time or later.")
    to: Time | None = Field(default=None, description="Created before this time.")
    sort: Annotated[str, Field(max_length=32)] = Field(
        default="-createdAt",
        description="createdAt; with one state also finishedAt, runAt or priority. A minus turns the order round.",
    )


class LogsQuery(Query):
    """Which lines of a job's log."""

    after: Annotated[int, Field(ge=0), DIGITS] = Field(default=0, description="Only lines with a higher seq.")
    limit: Annotated[int, Field(ge=1, le=1000), DIGITS] = Field(default=100, description="Lines a page.")
