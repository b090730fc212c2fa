"""What people and programs read: tables that fit the terminal, colours where there is one, or JSON a line."""

from __future__ import annotations

import json
import os
import shutil
import sys
import unicodedata
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Protocol, TextIO, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from backroom.client.answers.fields import Raw

__all__ = ["Cell", "Column", "Console", "bar", "progress_text", "shown"]

STYLES: Final[Mapping[str, str]] = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
}
GAP: Final = "  "
ROWS_AT_ONCE: Final = 200
"""A table is laid out by so many rows, so that the first of many come at once."""
LEAST_WIDTH: Final = 6
"""No column that may shrink becomes narrower."""
_BAR: Final = 20


def shown(text: str) -> str:
    """``text`` on one line, without control characters: what jobs say cannot steer the terminal."""
    return "".join(_visible(each) for each in text)


def _visible(character: str) -> str:
    if character == "\n":
        return " "
    if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"} and character != "\u200d":
        return "\N{REPLACEMENT CHARACTER}" if character != "\t" else " "
    return character


def width_of(text: str) -> int:
    """How many columns of a terminal ``text`` takes."""
    return sum(
        0 if unicodedata.combining(each) or each == "\u200d" else 2 if unicodedata.east_asian_width(each) in "WF" else 1
        for each in text
    )


def fitted(text: str, width: int, ellipsis: str) -> str:
    """``text`` cut to ``width`` columns."""
    if width_of(text) <= width:
        return text
    kept, left = "", width - len(ellipsis)
    for each in text:
        left -= width_of(each)
        if left < 0:
            break
        kept += each
    return kept + ellipsis


@dataclass(frozen=True, slots=True)
class Cell:
    """A text with a style."""

    text: str
    style: str | None = None


class Answer(Protocol):
    """Something that the API answered."""

    @property
    def raw(self) -> Raw:
        """As it came."""


A = TypeVar("A", bound=Answer)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    title: str
    #: Numbers stand at the right.
    right: bool = False
    #: Whether it may be cut where the terminal is too narrow.
    shrinks: bool = False


class Console:
    """Standard output and standard error."""

    def __init__(self, *, as_json: bool, out: TextIO | None = None, err: TextIO | None = None) -> None:
        #: Whether a program reads this: then answers are JSON, one a line, and nothing else is printed.
        self.as_json = as_json
        self._out = sys.stdout if out is None else out
        self._err = sys.stderr if err is None else err
        self._unicode = "utf" in (self._out.encoding or "").lower()

    def line(self, *cells: str | Cell) -> None:
        """Print a line of answers; the cells follow each other with a gap."""
        self._write(self._out, GAP.join(self._painted(self._out, cell) for cell in cells).rstrip())

    def text(self, text: str) -> None:
        """Print lines as they are, but for control characters."""
        for line in text.splitlines():
            self._write(self._out, shown(line))

    def json(self, value: Any) -> None:
        """Print a JSON value: one line for programs, an indented text for people."""
        if self.as_json:
            self._write(self._out, json.dumps(value, separators=(",", ":"), ensure_ascii=not self._unicode))
        else:
            self.text(json.dumps(value, indent=2, ensure_ascii=not self._unicode))

    def note(self, text: str, style: str | None = None) -> None:
        """Say something to people beside the answer; programs do not get it."""
        if not self.as_json:
            self._write(self._err, self._painted(self._err, Cell(text, style)))

    def error(self, text: str, value: Mapping[str, Any]) -> None:
        """Say what went wrong: in words, or to programs as JSON."""
        if self.as_json:
            self._write(self._err, json.dumps(value, separators=(",", ":")))
            return
        first, *others = text.splitlines()
        self._write(self._err, f"{self._painted(self._err, Cell('error:', 'red'))} {shown(first)}")
        for line in others:
            self._write(self._err, f"  {shown(line)}")

    @property
    def is_watched(self) -> bool:
        """Whether somebody sees standard error as it happens."""
        return not self.as_json and self._err.isatty()

    def status(self, text: str) -> None:
        """Show where things are, in place of what was shown before; only where `is_watched`."""
        line = fitted(shown(text), self._columns - 1, self._ellipsis)
        self._err.write(f"\r\033[K{line}")
        self._err.flush()

    def clear_status(self) -> None:
        """Take away what `status` has shown."""
        self._err.write("\r\033[K")
        self._err.flush()

    def fields(self, pairs: Iterable[tuple[str, str | Cell]]) -> None:
        """Print names and values, those without a value left out."""
        kept = [(name, value) for name, value in pairs if (value.text if isinstance(value, Cell) else value)]
        width = max((len(name) for name, _ in kept), default=0)
        for name, value in kept:
            self.line(Cell(f"{name:<{width}}", "dim"), value)

    def listing(
        self, found: Iterable[A], columns: Sequence[Column], row: Callable[[A], Sequence[str | Cell]], *, empty: str
    ) -> None:
        """Print what the API listed: a table to people, each answer as it came to programs."""
        if not self.as_json:
            self.table(columns, map(row, found), empty=empty)
            return
        for one in found:
            self.json(one.raw)

    def table(self, columns: Sequence[Column], rows: Iterable[Sequence[str | Cell]], *, empty: str) -> None:
        """Print a table as its rows come; ``empty`` is said where there are none."""
        rows = iter(rows)
        first = list(islice(rows, ROWS_AT_ONCE))
        if not first:
            self.note(empty)
            return
        widths = self._widths(columns, first)
        self._row(columns, widths, [Cell(column.title, "bold") for column in columns])
        for row in _chained(first, rows):
            self._row(columns, widths, row)

    @property
    def _columns(self) -> int:
        return shutil.get_terminal_size().columns

    @property
    def _ellipsis(self) -> str:
        return "…" if self._unicode else "..."

    def _widths(self, columns: Sequence[Column], rows: Sequence[Sequence[str | Cell]]) -> list[int]:
        """The widths of the columns; on a terminal, the widest of those that may shrink give way first."""
        widths = [
            max(width_of(column.title), *(width_of(_text(row[place])) for row in rows))
            for place, column in enumerate(columns)
        ]
        if not self._out.isatty():
            return widths
        shrinking = [place for place, column in enumerate(columns) if column.shrinks]
        while sum(widths) + len(GAP) * (len(widths) - 1) > self._columns:
            widest = max(shrinking, key=lambda place: widths[place], default=None)
            if widest is None or widths[widest] <= LEAST_WIDTH:
                break
            widths[widest] -= 1
        return widths

    def _row(self, columns: Sequence[Column], widths: Sequence[int], row: Sequence[str | Cell]) -> None:
        cells = []
        for column, width, value in zip(columns, widths, row, strict=True):
            text = _text(value)
            if self._out.isatty() and column.shrinks:
                text = fitted(text, width, self._ellipsis)
            padding = " " * (width - width_of(text))
            text = padding + text if column.right else text + padding
            cells.append(Cell(text, value.style if isinstance(value, Cell) else None))
        self.line(*cells)

    def _painted(self, stream: TextIO, cell: str | Cell) -> str:
        text, style = (cell.text, cell.style) if isinstance(cell, Cell) else (cell, None)
        text = shown(text)
        if style is None or not _is_coloured(stream):
            return text
        return f"\033[{STYLES[style]}m{text}\033[0m"

    @staticmethod
    def _write(stream: TextIO, line: str) -> None:
        try:
            stream.write(f"{line}\n")
        except UnicodeEncodeError:  # a terminal of another age
            encoding = stream.encoding or "ascii"
            stream.write(f"{line.encode(encoding, 'replace').decode(encoding)}\n")
        stream.flush()


def _is_coloured(stream: TextIO) -> bool:
    """Colours on a terminal, unless ``NO_COLOR`` is set to anything (no-color.org), or the terminal has none."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _text(value: str | Cell) -> str:
    return shown(value.text if isinstance(value, Cell) else value)


def _chained(
    first: Iterable[Sequence[str | Cell]], more: Iterable[Sequence[str | Cell]]
) -> Iterator[Sequence[str | Cell]]:
    yield from first
    yield from more


def bar(percent: float) -> str:
    """A bar of progress; percent is 0 to 100."""
    done = round(_BAR * max(0.0, min(percent, 100.0)) / 100)
    return f"[{'#' * done}{'.' * (_BAR - done)}] {percent:3.0f}%"


def progress_text(percent: float | None, message: str | None) -> str:
    """How far a job is, in a bar and its own words."""
    return " ".join(word for word in ("" if percent is None else bar(percent), message) if word)
