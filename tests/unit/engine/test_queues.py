"""Which queues a worker serves, by what was asked for on its command line."""

from __future__ import annotations

import pytest

from backroom.engine.queues import EveryQueue, served_queues


@pytest.mark.parametrize(
    ("include", "exclude", "served"),
    [
        (None, None, (None, [])),
        (["mail", "images"], None, (["mail", "images"], [])),
        (["mail", " images ", ""], None, (["mail", "images"], [])),  # as -Q "mail, images ," is cut
        (None, ["mail", " images"], (None, ["mail", "images"])),
        (["mail", " images"], [" mail"], (["images"], ["mail"])),
    ],
)
def test_the_queues_of_a_command_line(
    include: list[str] | None, exclude: list[str] | None, served: tuple[list[str] | None, list[str]]
) -> None:
    queues = EveryQueue({}, create_missing=True)
    queues.select(include)
    queues.deselect(exclude)

    assert served_queues(queues, direct=False) == served
