"""Pages of lists: where the next one is, and places in lists that are small enough to be held in memory."""

from collections.abc import Iterable, Mapping
from typing import Final, TypeVar
from urllib.parse import urlencode

from backroom.store.positions import Cursor, Position, decode_cursor, encode_cursor
from services.api.http.validation import Query
from services.api.queries import PageQuery

__all__ = ["NEXT_PAGE", "next_page", "page_of"]

T = TypeVar("T")

NEXT_PAGE: Final = {"Link": 'The next page, rel="next" (RFC 8288).'}
"""The header of a page, for the OpenAPI document."""


def next_page(path: str, query: Query, cursor: str | None) -> dict[str, str]:
    """The ``Link`` header (RFC 8288) of the page behind this one, if there is one."""
    if cursor is None:
        return {}
    given: Mapping[str, object] = query.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return {"Link": f'<{path}?{urlencode({**given, "cursor": cursor}, doseq=True)}>; rel="next"'}


def page_of(things: Iterable[tuple[Position, T]], query: PageQuery, of: str) -> tuple[list[T], str | None]:
    """One page of all that there is, oldest first, and the cursor of the next one.

    ``of`` is the name of the list. Raises `InvalidInput` for a cursor of another one.
    """
    after = None if query.cursor is None else decode_cursor(of, query.cursor).after
    left = sorted(
        ((place, thing) for place, thing in things if after is None or place > after), key=lambda each: each[0]
    )
    page = left[: query.limit]
    more = len(left) > query.limit
    return [thing for _, thing in page], encode_cursor(of, Cursor(page[-1][0], 0)) if more else None
