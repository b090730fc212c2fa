"""Loads the Lua scripts beside this file and runs them: one verb a file, shared files included by name.

Of the shared files a script gets what it uses. Redis runs a script from its first line at each call, and to make a
hundred functions takes it longer than a job does.
"""

import hashlib
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from redis import Redis
from redis.exceptions import NoScriptError, RedisError

from backroom.store.connection import KeptConnections

__all__ = ["Script", "ScriptRunner", "load_script", "pack"]

_FOLDER = Path(__file__).parent / "scripts"
_INCLUDE = re.compile(r"^--@include (.+)$", re.MULTILINE)
#: A shared file is made of `local` statements, which begin a line each. Nothing else does but comments and what closes.
_STATEMENT = re.compile(r"^local .*\n(?:(?!local |--).*\n)*", re.MULTILINE)
_DECLARED = re.compile(r"local (?:function )?(\w+(?:, \w+)*)")
#: What happens in a script is written when it has come to its end, wherever that is.
_TELLS, _AT_END = "local function event(", "local answer = main()\nwrite_events()\nreturn answer\n"
#: Names of variables, and what is passed over on the way to them: comments, strings and fields.
_TOKEN = re.compile(r"--.*|'[^'\n]*'|(?<!\.)[.:]\w+|([A-Za-z_]\w*)")

#: Values for scripts travel as MessagePack, which Redis' Lua unpacks faster than JSON and without escaping job data.
pack = msgspec.msgpack.encode


class Script(NamedTuple):
    """A script as Redis knows it."""

    name: str
    source: str
    sha: str


@cache
def load_script(name: str) -> Script:
    """The script ``scripts/<name>.lua``, with what it uses of its includes in place."""
    source = (_FOLDER / f"{name}.lua").read_text()
    if include := _INCLUDE.search(source):
        head, body = source[: include.start()], source[include.end() + 1 :]
        context, *others = ((_FOLDER / "shared" / f"{piece}.lua").read_text() for piece in include[1].split())
        shared = "\n".join(others)
        if _TELLS in _used(shared, body):
            body = f"local function main()\n{body}end\n{_AT_END}"
        inner = _used(shared, body) + body
        # What nearly every function uses stands outside the function that makes them: it takes Lua longer to find a
        # variable of the function it is in, for each that captures it, than one from outside.
        source = f"{head}{_used(context, inner)}return (function()\n{inner}end)()\n"
    return Script(name, source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


def _used(shared: str, text: str) -> str:
    """The statements that ``text`` uses, and those that they use in turn, which stand before them."""
    names, kept = _names(text), []
    for statement in reversed(_STATEMENT.findall(shared)):
        declared = _DECLARED.match(statement)
        if declared and not names.isdisjoint(declared[1].split(", ")):
            names |= _names(statement)
            kept.append(statement)
    return "".join(reversed(kept))


def _names(text: str) -> set[str]:
    return {found[1] for found in _TOKEN.finditer(text) if found[1]}


class ScriptRunner:
    """Runs scripts under one key prefix and one set of retention settings."""

    def __init__(self, prefix: str, settings: dict[str, int]) -> None:
        self._prefix = prefix
        self._settings = pack(settings)

    def run(self, redis: Redis | KeptConnections, name: str, *arguments: Any) -> Any:
        """Run the script on ``redis``, which is given its source the first time."""
        script, words = load_script(name), self._words(arguments)
        try:
            return redis.evalsha(script.sha, *words)
        except NoScriptError:
            return redis.eval(script.source, *words)

    def run_each(self, redis: Redis, name: str, calls: Sequence[Sequence[Any]]) -> list[Any]:
        """Run the script with the arguments of each call, in one round trip; an answer may be an exception."""
        script = load_script(name)
        pipeline = redis.pipeline(transaction=False)
        for arguments in calls:
            pipeline.evalsha(script.sha, *self._words(arguments))
        answers: list[Any] = pipeline.execute(raise_on_error=False)
        for place, answer in enumerate(answers):
            if isinstance(answer, NoScriptError):
                try:
                    answers[place] = self.run(redis, name, *calls[place])
                except RedisError as error:
                    answers[place] = error
        return answers

    def _words(self, arguments: Sequence[Any]) -> list[Any]:
        """What follows the script in a call, whole numbers as the text that they are on the wire.

        hiredis 3.5 would make that too, but ends the process with a segmentation fault if a signal raises an exception
        meanwhile, as the end of a soft time limit does in a pool's child.
        """
        return ["1", self._prefix, self._settings, *(str(one) if type(one) is int else one for one in arguments)]
