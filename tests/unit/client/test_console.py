"""Tables, colours and JSON: what a terminal shows, and what a pipe gets."""

from __future__ import annotations

import io
import os

import pytest

from backroom.client.cli.console import Cell, Column, Console, bar, shown

COLUMNS = (Column("STATE"), Column("TYPE", shrinks=True), Column("RAN", right=True), Column("NOTE", shrinks=True))
ROWS = [
    (Cell("failed", "red"), "heavy-task", "1.5s", "ValueError: there is no such user, and there never was"),
    (Cell("completed", "green"), "x", "12s", ""),
]


class Stream(io.TextIOWrapper):
    """Standard output, as a terminal or as a pipe."""

    def __init__(self, *, terminal: bool, encoding: str = "utf-8") -> None:
        super().__init__(io.BytesIO(), encoding=encoding, newline="\n", write_through=True)
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal

    @property
    def written(self) -> str:
        assert isinstance(self.buffer, io.BytesIO)
        return self.buffer.getvalue().decode(self.encoding)


@pytest.fixture
def width(monkeypatch):
    """Sets the width of the terminal; no colours are forbidden."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((60, 24)))


@pytest.fixture
def pipe() -> Stream:
    return Stream(terminal=False)


@pytest.fixture
def terminal(width) -> Stream:
    return Stream(terminal=True)


def console(out: Stream, err: Stream | None = None, *, as_json: bool = False) -> Console:
    return Console(as_json=as_json, out=out, err=err or Stream(terminal=out.isatty()))


def plain(text: str) -> str:
    return "".join(part.partition("m")[2] if index else part for index, part in enumerate(text.split("\033[")))


def test_a_pipe_gets_everything_in_columns_and_no_colours(pipe):
    console(pipe).table(COLUMNS, ROWS, empty="")
    assert pipe.written.splitlines() == [
        "STATE      TYPE         RAN  NOTE",
        "failed     heavy-task  1.5s  ValueError: there is no such user, and there never was",
        "completed  x            12s",
    ]


def test_a_terminal_gets_what_fits(terminal):
    console(terminal).table(COLUMNS, ROWS, empty="")
    lines = [plain(line) for line in terminal.written.splitlines()]
    assert lines[1] == "failed     heavy-task  1.5s  ValueError: there is no such u…"
    assert {len(line) <= 60 for line in lines} == {True}


def test_states_have_colours_on_a_terminal(terminal):
    console(terminal).table(COLUMNS, ROWS, empty="")
    assert "\033[31mfailed   \033[0m" in terminal.written


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colours_can_be_refused(terminal, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    console(terminal).table(COLUMNS, ROWS, empty="")
    assert "\033" not in terminal.written


def test_an_empty_no_color_refuses_nothing(terminal, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "")
    console(terminal).line(Cell("failed", "red"))
    assert terminal.written == "\033[31mfailed\033[0m\n"


def test_a_table_of_nothing_says_so_beside_the_answer(pipe):
    err = Stream(terminal=False)
    console(pipe, err).table(COLUMNS, [], empty="No jobs match.")
    assert (pipe.written, err.written) == ("", "No jobs match.\n")


def test_the_first_rows_of_many_do_not_wait_for_the_last(pipe):
    def rows():
        for number in range(201):
            yield (str(number),)
        assert len(pipe.written.splitlines()) > 200
        yield ("the last, and too wide",)

    console(pipe).table((Column("N"),), rows(), empty="")
    assert pipe.written.splitlines()[-1] == "the last, and too wide"


def test_wide_characters_take_two_columns_and_accents_none(terminal):
    rows = [("日本語のキュー",), ("cafe\u0301",), ("x" * 70,)]
    console(terminal).table((Column("QUEUE", shrinks=True), Column("N")), [(*row, "1") for row in rows], empty="")
    assert [plain(line) for line in terminal.written.splitlines()[1:]] == [
        "日本語のキュー" + " " * (57 - 14) + "  1",
        "cafe\u0301" + " " * (57 - 4) + "  1",
        "x" * 56 + "…" + "  1",
    ]


def test_what_jobs_say_cannot_steer_the_terminal(terminal):
    console(terminal).line("red \033[31m alert\a\r\b")
    console(terminal).text("first\n\x9b2Jsecond\tthird")
    assert terminal.written == "red �[31m alert���\nfirst\n�2Jsecond third\n"
    assert shown("a\nb\u202ec") == "a b�c"


def test_a_terminal_of_another_age_gets_what_it_can_show():
    out = Stream(terminal=False, encoding="ascii")
    console(out).line("Zürich…")
    console(out, as_json=True).json({"name": "Zürich"})
    console(out).json({"name": "ü"})
    assert out.written == 'Z?rich?\n{"name":"Z\\u00fcrich"}\n{\n  "name": "\\u00fc"\n}\n'


def test_programs_get_a_line_a_value_and_nothing_beside(pipe):
    err = Stream(terminal=False)
    programs = console(pipe, err, as_json=True)
    programs.json({"a": [1, "ü"]})
    programs.note("for people")
    programs.error("wrong", {"error": "NotFound"})
    assert pipe.written == '{"a":[1,"ü"]}\n'
    assert err.written == '{"error":"NotFound"}\n'


def test_people_get_an_error_with_its_details_below(pipe):
    err = Stream(terminal=False)
    console(pipe, err).error("Invalid input\n/data: is required", {})
    assert err.written == "error: Invalid input\n  /data: is required\n"


def test_fields_without_a_value_are_left_out(pipe):
    console(pipe).fields([("id", "j1"), ("finished", ""), ("state", Cell("failed", "red"))])
    assert pipe.written == "id     j1\nstate  failed\n"


def test_a_status_is_shown_in_place_and_taken_away(terminal):
    err = Stream(terminal=True)
    people = console(terminal, err)
    assert people.is_watched
    people.status("x" * 100)
    people.clear_status()
    assert err.written == "\r\033[K" + "x" * 58 + "…" + "\r\033[K"
    assert not console(terminal, Stream(terminal=False)).is_watched
    assert not console(terminal, err, as_json=True).is_watched


@pytest.mark.parametrize(
    ("percent", "text"),
    [(0, "[....................]   0%"), (40, "[########............]  40%"), (140, "[####################] 140%")],
)
def test_a_bar_is_as_full_as_the_percentage(percent, text):
    assert bar(percent) == text
