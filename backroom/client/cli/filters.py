"""The options that choose jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import click

from backroom.client.cli.words import SINCE
from backroom.model.states import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from backroom.client.bulk import JobFilter

__all__ = ["filter_options", "filters_of"]

#: The words of the command, and those of the client.
_WORDS = {
    "states": "state",
    "queues": "queue",
    "names": "name",
    "tags": "tag",
    "users": "user_id",
    "search": "q",
    "since": "since",
    "before": "before",
}


def filter_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--state``, ``--queue``, ...: any of one kind, and all kinds together."""
    for option in (
        click.option("--before", type=SINCE, help="Created before."),
        click.option("--since", type=SINCE, help="Created then or later: a time, or a duration (ago)."),
        click.option("--search", metavar="WORDS", help="An id, or words in the error, the name or a tag."),
        click.option("--user", "users", multiple=True, help="The userId in the data."),
        click.option("--tag", "tags", multiple=True),
        click.option("--name", "names", multiple=True, help="The job type."),
        click.option("--queue", "queues", multiple=True),
        click.option("--state", "states", multiple=True, type=click.Choice([str(state) for state in State])),
    ):
        function = option(function)
    return function


def filters_of(given: dict[str, Any]) -> JobFilter:
    """The filters that were given, in the client's words."""
    return cast("JobFilter", {word: given[name] for name, word in _WORDS.items() if given[name] not in {None, ()}})
