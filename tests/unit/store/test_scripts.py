"""The Lua scripts as files: what each promises in its header, and how they reach the server."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import hiredis
import pytest

import backroom.store
from backroom.store.scripts import load_script
from tests.unit.store.hand import state, submit

if TYPE_CHECKING:
    from backroom.store import Store

FOLDER = Path(backroom.store.__file__).parent / "scripts"
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.lua"))
PIECES = sorted(path.stem for path in (FOLDER / "shared").glob("*.lua"))
#: What must go on at the memory limit: running what is there, being heard, looking, and making room.
ALWAYS = {
    *(
        "exchange",
        "recover",
        "renew",
        "report",
        "promote",
        "sweep",
        "beat",
        "tick",
        "offer",
        "offers",
        "logs",
        "read",
        "whereabouts",
    ),
    *("start_bulk", "gather_bulk", "act_bulk", "end_bulk"),
    *("cancel", "reschedule", "remove", "pause", "limits", "drain", "clean", "obliterate", "remove_schedule"),
}


def statements(piece: str) -> list[tuple[str, str]]:
    """What a shared piece declares: each name, and the statement that does."""
    text = (FOLDER / "shared" / f"{piece}.lua").read_text()
    found = re.findall(r"^local (?:.*\n)(?:(?:[ \t].*|end.*|\}.*)\n)*", text, re.MULTILINE)
    return [
        (name, statement)
        for statement in found
        for name in re.match(r"local (?:function )?(\w+(?:, \w+)*)", statement)[1].split(", ")
    ]


def test_there_are_scripts() -> None:
    assert {"submit", "exchange", "sweep"} <= set(SCRIPTS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_says_what_it_takes_what_it_returns_and_what_it_costs(name: str) -> None:
    shebang, *lines = (FOLDER / f"{name}.lua").read_text().splitlines()
    header = "\n".join(line for line in lines if line.startswith("--"))

    assert re.fullmatch(r"#!lua( flags=[a-z,-]+)?", shebang)
    assert lines[0].startswith("-- ")
    for promise in ("KEYS[1] key prefix", "ARGV[1] settings", "-- Returns ", "-- O("):
        assert promise in header


@pytest.mark.parametrize("name", sorted(ALWAYS))
def test_what_must_go_on_at_the_memory_limit_says_so(name: str) -> None:
    assert "allow-oom" in load_script(name).source.splitlines()[0]


def test_submissions_are_refused_at_the_memory_limit() -> None:
    assert load_script("submit").source.splitlines()[0] == "#!lua"


@pytest.mark.parametrize("name", SCRIPTS)
def test_what_a_script_uses_of_its_includes_comes_once(name: str) -> None:
    source = load_script(name).source
    includes = re.findall(r"^--@include (.+)$", (FOLDER / f"{name}.lua").read_text(), re.MULTILINE)
    offered = {each: statement for piece in " ".join(includes).split() for each, statement in statements(piece)}
    names = set(re.findall(r"(?<![.:'])\b[A-Za-z_]\w*\b", re.sub(r"--.*|'[^'\n]*'", "", source)))

    assert "--@include" not in source
    assert [name for name in names & offered.keys() if source.count(offered[name]) != 1] == []


@pytest.mark.parametrize("piece", PIECES)
def test_a_shared_piece_is_made_of_local_statements(piece: str) -> None:
    text = (FOLDER / "shared" / f"{piece}.lua").read_text()
    comments = re.findall(r"^(?:--.*)?\n", text, re.MULTILINE)

    assert len("".join([*dict.fromkeys(statement for _, statement in statements(piece)), *comments])) == len(text)


@pytest.mark.parametrize("piece", PIECES)
def test_every_statement_of_a_shared_piece_is_used(piece: str) -> None:
    sources = [load_script(name).source for name in SCRIPTS]

    assert [name for name, each in statements(piece) if not any(each in source for source in sources)] == []


@pytest.mark.parametrize("piece", PIECES)
def test_every_shared_piece_is_used(piece: str) -> None:
    scripts = "".join(path.read_text() for path in FOLDER.glob("*.lua"))

    assert any(piece in pieces.split() for pieces in re.findall(r"^--@include (.+)$", scripts, re.MULTILINE))


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.lua")), ids=lambda path: path.stem)
def test_lines_are_not_longer_than_elsewhere(path: Path) -> None:
    assert max(len(line) for line in path.read_text().splitlines()) <= 140


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_server_compiles_it_under_the_name_we_call_it_by(store: Store, name: str) -> None:
    script = load_script(name)

    assert store.redis.script_load(script.source) == script.sha


def test_a_flushed_script_cache_is_filled_again(store: Store) -> None:
    submit(store)
    store.redis.script_flush()

    assert state(store, submit(store)) == "waiting"


def test_whole_numbers_go_to_the_library_as_text(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends the process if it is interrupted while it makes text of them."""
    calls: list[tuple[object, ...]] = []
    pack = hiredis.pack_command

    def watched(words: tuple[object, ...]) -> object:
        calls.append(words)
        return pack(words)

    monkeypatch.setattr(hiredis, "pack_command", watched)
    submit(store)
    store.upkeep.promote()
    store.upkeep.sweep()

    scripts = [words for words in calls if words[0] in {b"EVALSHA", b"EVAL"}]
    assert len(scripts) >= 3
    assert {type(word) for words in scripts for word in words} == {str, bytes}
