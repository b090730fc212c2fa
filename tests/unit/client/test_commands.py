"""The commands: what each asks the stack, what people and programs read, and how it ends."""

from __future__ import annotations

import json

import pytest

from backroom.client.cli.program import cli, run
from tests.unit.client.scripted import DROP, Say, Server, Stream, events, job, problem
from tests.unit.client.test_client import DONE, line, queue, schedule

ERROR = {"type": "ValueError", "message": "no such user", "traceback": "Traceback:\n  ...", "attempt": 1, "at": None}
FAILED = {"state": "failed", "error": ERROR, "attemptsMade": 3}


class Shell:
    """A shell whose environment names the stack."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.out = ""
        self.err = ""

    def __call__(self, *words: str) -> int:
        code = run(words)
        self.out, self.err = self._capsys.readouterr()
        return code

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def values(self) -> list[object]:
        """The lines as JSON."""
        return [json.loads(each) for each in self.lines]


@pytest.fixture
def backroom(api: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    monkeypatch.setenv("BACKROOM_URL", api.url)
    monkeypatch.setenv("BACKROOM_KEY", "a-key-of-sixteen")
    return Shell(capsys)


# Submitting.


def test_submit_prints_the_id_alone_so_that_a_script_can_keep_it(api, backroom):
    api.play(Say(202, job()))
    assert backroom("submit", "heavy-task", '{"userId": "u1", "payload": {}}') == 0
    assert backroom.out == "j1\n"
    assert backroom.err == "heavy-task is waiting in the queue default.\n"
    assert api.asked[0].json == {"name": "heavy-task", "data": {"userId": "u1", "payload": {}}}
    assert api.asked[0].headers["authorization"] == "Bearer a-key-of-sixteen"


def test_submit_takes_every_option(api, backroom):
    api.play(Say(202, job()))
    options = "--queue slow --priority 1 --lifo --attempts 5 --backoff exponential:1s:0.5 --run-timeout 2m --ttl 1h"
    more = "--tag a --tag b --max-stalled 2 --delay 90s --id j1 --idempotency-key k1"
    assert backroom("submit", "heavy-task", *options.split(), *more.split()) == 0
    assert api.asked[0].headers["idempotency-key"] == "k1"
    assert api.asked[0].json == {
        "name": "heavy-task",
        "data": {},
        "queue": "slow",
        "options": {
            "priority": 1,
            "lifo": True,
            "attempts": 5,
            "backoff": {"type": "exponential", "delay": 1000, "jitter": 0.5},
            "timeout": 120_000,
            "ttl": 3_600_000,
            "tags": ["a", "b"],
            "maxStalled": 2,
            "delay": 90_000,
            "jobId": "j1",
        },
    }


def test_submit_and_wait_prints_the_result(api, backroom):
    api.play(Say(202, job()), Say(200, job(**DONE)))
    assert backroom("submit", "heavy-task", "--wait") == 0
    assert json.loads(backroom.out) == {"answer": 42}
    assert backroom.err == ""


def test_submit_and_wait_tells_programs_the_whole_job(api, backroom):
    api.play(Say(202, job()), Say(200, job(**DONE)))
    assert backroom("submit", "heavy-task", "--wait-for", "1m", "--json") == 0
    assert backroom.values == [job(**DONE)]


def test_a_job_that_fails_is_exit_code_1(api, backroom):
    api.play(Say(202, job()), Say(200, job(**FAILED)))
    assert backroom("submit", "heavy-task", "--wait") == 1
    assert backroom.out == ""
    assert backroom.err == "error: Job j1 (heavy-task) is failed: ValueError: no such user\n"


def test_a_job_that_fails_is_told_to_programs_too(api, backroom):
    api.play(Say(202, job()), Say(200, job(**FAILED)))
    assert backroom("submit", "heavy-task", "--wait", "--json") == 1
    assert backroom.values == [job(**FAILED)]
    assert json.loads(backroom.err)["error"] == "JobFailed"


def test_a_job_that_has_not_finished_in_time_is_exit_code_5(api, backroom):
    api.play(Say(202, job()), Say(200, job()))
    assert backroom("submit", "heavy-task", "--wait-for", "0s") == 5
    assert backroom.err == "error: Job j1 is still waiting after 0 s. It goes on; wait for it again.\n"


def test_an_id_in_use_is_told(api, backroom):
    api.play(Say(200, job(duplicate=True, **DONE)))
    assert backroom("submit", "heavy-task", "--id", "j1") == 0
    assert "The id is in use: nothing was submitted, and this is the job that has it. It is completed." in backroom.err


# Reading.


def test_jobs_are_a_table_for_people(api, backroom):
    api.play(
        Say(
            200,
            {
                "jobs": [
                    job(state="active", progress={"percent": 40, "message": "half way"}, waitMs=12),
                    job(id="j2", attempts=3, **FAILED),
                    job(id="j3", stateReason={"code": "paused"}),
                    job(id="j4", **DONE, runMs=1500),
                ],
                "next": None,
            },
        )
    )
    assert (
        backroom("jobs", "--state", "active", "--state", "failed", "--queue", "q", "--user", "u1", "--limit", "7") == 0
    )
    assert backroom.lines[0].split() == ["STATE", "ID", "TYPE", "QUEUE", "CREATED", "WAITED", "RAN", "TRIES", "NOTE"]
    assert backroom.lines[1].endswith("0/3  [########............]  40% half way")
    assert backroom.lines[2].endswith("3/3  ValueError: no such user")
    assert backroom.lines[3].endswith("0/3  paused")
    assert backroom.lines[4].split()[:4] == ["completed", "j4", "heavy-task", "default"]
    query = api.asked[0].query
    assert (query["state"], query["queue"], query["userId"], query["limit"]) == (
        ["active", "failed"],
        ["q"],
        ["u1"],
        ["7"],
    )


def test_jobs_are_a_line_each_for_programs_as_their_pages_come(api, backroom):
    api.play(Say(200, {"jobs": [job(), job(id="j2")], "next": "c"}), Say(200, {"jobs": [job(id="j3")], "next": None}))
    assert backroom("jobs", "--json", "--limit", "0") == 0
    assert backroom.values == [job(), job(id="j2"), job(id="j3")]


def test_no_jobs_are_told_beside_the_answer(api, backroom):
    api.play(Say(200, {"jobs": [], "next": None}))
    assert backroom("jobs") == 0
    assert (backroom.out, backroom.err) == ("", "No jobs match.\n")


def test_a_job_is_shown_with_all_that_is_known(api, backroom):
    attempt = {
        "attempt": 1,
        "startedAt": "2030-01-31T09:00:00.000Z",
        "finishedAt": "2030-01-31T09:00:01.500Z",
        "worker": "w1",
        "outcome": "failed",
        "error": ERROR,
    }
    api.play(Say(200, job(attemptLog=[attempt], tags=["a", "b"], stalled=1, worker="w1", **FAILED)))
    assert backroom("job", "j1") == 0
    shown = dict(each.split(maxsplit=1) for each in backroom.lines[:10])
    assert (shown["id"], shown["state"], shown["tags"]) == ("j1", "failed", "a, b")
    assert shown["tries"] == "3 of 3, stalled 1"
    assert "try 1  failed after 1.5s on w1: ValueError: no such user" in backroom.lines
    assert backroom.lines[-2:] == ["Traceback:", "  ..."]


def test_a_result_is_json(api, backroom):
    api.play(Say(200, {"a": 1}), Say(200, {"a": 1}), Say(200, job(**DONE)), Say(200, None))
    assert backroom("result", "j1") == 0
    assert backroom.out == '{\n  "a": 1\n}\n'
    assert backroom("result", "j1", "--json") == 0
    assert backroom.out == '{"a":1}\n'
    assert backroom("result", "j1", "--wait") == 0
    assert backroom.out == "null\n"


def test_a_result_that_will_never_come_is_exit_code_1_and_one_that_may_is_5(api, backroom):
    api.play(Say(409, problem(409, "wrong-state")), Say(200, job(**FAILED)))
    assert backroom("result", "j1") == 1
    api.play(Say(202, {}), Say(200, job(state="active")))
    assert backroom("result", "j1") == 5


def test_logs_are_lines_with_their_time_and_level(api, backroom):
    lines = [line(1), {**line(2), "level": "WARNING"}, {**line(3), "attempt": 2}]
    api.play(Say(200, {"logs": lines, "next": None}), Say(200, {"logs": lines, "next": None}))
    assert backroom("logs", "j1") == 0
    assert [each.split("  ", 1)[-1] for each in backroom.lines] == [
        "INFO     line 1",
        "WARNING  line 2",
        "try 2",
        "INFO     line 3",
    ]
    assert backroom("logs", "j1", "--json") == 0
    assert backroom.values == lines


def test_tail_prints_events_until_they_end(api, backroom):
    more = {"progress": {"percent": 40}, "worker": "w1", "n": 7}
    api.play(Stream(events(("1-0", "active"), **more), events(("2-0", "completed"))))
    assert backroom("tail", "--job", "j1") == 0
    assert backroom.lines[0].endswith("active     j1  heavy-task in default  [########............]  40% worker=w1 n=7")
    assert backroom.lines[1].endswith("completed  j1  heavy-task in default")
    api.play(Stream(events(("1-0", "added"))), Say(204))
    assert backroom("tail", "--queue", "q", "--type", "added", "--last-event-id", "0-1", "--json") == 0
    assert [(each["id"], each["type"], each["jobId"]) for each in backroom.values] == [("1-0", "added", "j1")]
    assert (api.asked[1].query, api.asked[1].headers["last-event-id"]) == ({"queue": ["q"], "type": ["added"]}, "0-1")


# Acting.


@pytest.mark.parametrize(
    ("words", "method", "path", "body"),
    [
        (["retry", "j1", "--reset-attempts"], "POST", "/retry", {"resetAttempts": True}),
        (["cancel", "j1"], "POST", "/cancel", None),
        (["promote", "j1"], "POST", "/promote", None),
        (["reschedule", "j1", "--delay", "5m"], "POST", "/reschedule", {"delay": 300_000}),
        (["update", "j1", "--priority", "0", "--tag", "a"], "PATCH", "", {"priority": 0, "tags": ["a"]}),
        (["update", "j1", "--data", "[1]"], "PATCH", "", {"data": [1]}),
    ],
)
def test_an_action_on_a_job_says_what_became_of_it(api, backroom, words, method, path, body):
    api.play(Say(202, job()))
    assert backroom(*words) == 0
    assert backroom.out == "j1  waiting\n"
    (asked,) = api.asked
    assert (asked.method, asked.path) == (method, f"/v1/jobs/j1{path}")
    assert (asked.json if asked.body else None) == body


def test_that_one_of_several_is_refused_keeps_nobody_from_the_others(api, backroom):
    api.play(Say(204), Say(404, problem(404, "not-found")), Say(204))
    assert backroom("remove", "j1", "j2", "j3") == 3
    assert backroom.lines == ["j1  removed", "j3  removed"]
    assert backroom.err == "error: It is not-found.\n"


def test_what_was_done_is_told_to_programs(api, backroom):
    api.play(Say(200, job(state="cancelled")), Say(204))
    assert backroom("cancel", "j1", "--json") == 0
    assert backroom.values == [job(state="cancelled")]
    assert backroom("--json", "remove", "j1") == 0
    assert backroom.values == [{"id": "j1", "removed": True}]


# Queues.


def test_queues_are_a_table(api, backroom):
    limits = {"concurrency": 5, "rate": {"max": 10, "duration": 60_000, "limitedForMs": 1500}, "maxLength": 9}
    rates = {"submittedPerMinute": 1.5, "completedPerMinute": 1.0, "failedPerMinute": 0.25}
    api.play(Say(200, {"queues": [queue(), queue(name="slow", paused=True, limits=limits, rates=rates)]}))
    assert backroom("queues") == 0
    assert backroom.lines[2].startswith("slow ")
    assert backroom.lines[2].endswith("1.5      1.25  paused, 5 at once, 10/1m, at most 9 waiting, held for 1.5s")


def test_a_queue_is_shown_paused_and_resumed(api, backroom):
    api.play(Say(200, queue()), Say(200, queue(paused=True)), Say(200, queue()), Say(200, queue()))
    assert backroom("queue", "q") == 0
    assert "state             running" in backroom.lines
    assert backroom("pause", "q") == 0
    assert backroom.out == "q  paused\n"
    assert backroom("resume", "q", "r") == 0
    assert backroom.out == "q  running\nr  running\n"
    assert [asked.path for asked in api.asked[1:]] == [
        "/v1/queues/q/pause",
        "/v1/queues/q/resume",
        "/v1/queues/r/resume",
    ]


LIMITED = queue(limits={"concurrency": 5, "rate": {"max": 10, "duration": 1000}, "maxLength": None})


@pytest.mark.parametrize(
    ("words", "sent"),
    [
        (["--concurrency", "7"], {"concurrency": 7, "rate": {"max": 10, "duration": 1000}}),
        (["--rate", "600/m"], {"concurrency": 5, "rate": {"max": 600, "duration": 60_000}}),
        (["--rate", "none", "--max-length", "100"], {"concurrency": 5, "maxLength": 100}),
        (["--concurrency", "none", "--rate", "none"], {}),
    ],
)
def test_of_the_limits_of_a_queue_what_is_not_given_stays(api, backroom, words, sent):
    api.play(Say(200, {"queues": [LIMITED]}), Say(200, LIMITED))
    assert backroom("limits", "q", *words) == 0
    assert (api.asked[1].method, api.asked[1].path, api.asked[1].json) == ("PUT", "/v1/queues/q/limits", sent)


def test_the_first_limit_of_a_queue_names_it(api, backroom):
    api.play(Say(200, {"queues": []}), Say(200, LIMITED))
    assert backroom("limits", "q", "--concurrency", "5") == 0
    assert api.asked[1].json == {"concurrency": 5}


def test_limits_are_shown_and_cleared(api, backroom):
    api.play(Say(200, LIMITED), Say(200, queue()))
    assert backroom("limits", "q") == 0
    assert backroom.lines == ["concurrency  5", "rate         10/1s", "max length   no limit"]
    assert backroom("limits", "q", "--clear") == 0
    assert (api.asked[1].method, api.asked[1].path) == ("DELETE", "/v1/queues/q/limits")
    assert backroom("limits", "q", "--clear", "--rate", "1/s") == 2


def test_emptying_a_queue_needs_a_yes(api, backroom):
    api.play(Say(200, {"removed": 3}), Say(200, {"ids": ["j1", "j2"]}), Say(200, {"removed": 4}))
    assert backroom("drain", "q") == 2
    assert "this cannot be undone: say --yes" in backroom.err
    assert api.asked == []
    assert backroom("drain", "q", "--yes") == 0
    assert backroom.out == "3 jobs removed from q\n"
    assert backroom("clean", "q", "--state", "failed", "--older-than", "7d", "-y", "--json") == 0
    assert backroom.values == [{"queue": "q", "removed": 2, "ids": ["j1", "j2"]}]
    assert backroom("obliterate", "q", "--force", "-y", "--json") == 0
    assert backroom.values == [{"queue": "q", "removed": 4}]
    assert [asked.json for asked in api.asked] == [
        {"delayed": False},
        {"state": "failed", "grace": 604_800_000, "limit": 1000},
        {"force": True},
    ]


# Schedules and the stack.


def test_schedules_are_a_table(api, backroom):
    api.play(Say(200, {"schedules": [schedule()], "next": None}))
    assert backroom("schedules") == 0
    assert backroom.lines[0].split() == ["KEY", "STATE", "WHEN", "JOB", "NEXT", "LAST", "JOBS"]
    assert backroom.lines[1].startswith("nightly  active  At 03:00  purge-artifacts  in ")


def test_a_schedule_is_put_with_its_job(api, backroom):
    api.play(Say(201, schedule()))
    words = (
        "--cron|0 3 * * *|--tz|Europe/Berlin|--end|2031-01-01T00:00Z|--misfire|skip|--no-overlap|--paused|--attempts|3"
    )
    assert backroom("schedule", "put", "nightly", "purge-artifacts", '{"olderThanDays": 7}', *words.split("|")) == 0
    assert (api.asked[0].method, api.asked[0].path) == ("PUT", "/v1/schedules/nightly")
    assert api.asked[0].json == {
        "job": {"name": "purge-artifacts", "data": {"olderThanDays": 7}, "options": {"attempts": 3}},
        "pattern": "0 3 * * *",
        "tz": "Europe/Berlin",
        "endDate": "2031-01-01T00:00:00+00:00",
        "misfire": "skip",
        "overlap": False,
        "paused": True,
    }
    assert "pattern  0 3 * * * (Europe/Berlin)" in backroom.lines


def test_a_schedule_is_shown_run_paused_resumed_and_removed(api, backroom):
    api.play(Say(200, schedule()), Say(202, job()), Say(200, schedule(state="paused")), Say(200, schedule()), Say(204))
    assert backroom("schedule", "show", "nightly") == 0
    assert backroom("schedule", "run", "nightly") == 0
    assert backroom.out == "j1\n"
    assert backroom("schedule", "pause", "nightly") == 0
    assert "state    paused" in backroom.lines
    assert backroom("schedule", "resume", "nightly", "--json") == 0
    assert backroom.values == [schedule()]
    assert backroom("schedule", "rm", "nightly") == 0
    assert backroom.out == "nightly  removed\n"
    assert [asked.method for asked in api.asked] == ["GET", "POST", "POST", "POST", "DELETE"]


def test_the_stack_is_shown(api, backroom):
    worker = {
        "id": "worker-1@host",
        "host": "host",
        "pid": 7,
        "queues": None,
        "pool": "prefork",
        "slots": 2,
        "busy": 1,
        "jobs": ["j1"],
        "startedAt": "2020-01-31T09:00:00.000Z",
        "heartbeatAt": "2020-01-31T09:00:05.000Z",
        "state": "running",
    }
    kind = {"name": "a", "queue": "q", "description": "One.\nTwo.", "schema": {"x": 1}, "defaults": {}, "workers": 1}
    stats = {
        "counts": {"active": 1, "failed": 0},
        "queues": 2,
        "pausedQueues": 1,
        "oldestWaitingMs": 1500,
        "workers": 1,
        "busy": 1,
        "slots": 2,
    }
    api.play(Say(200, {"workers": [worker]}), *[Say(200, {"jobTypes": [kind]})] * 3, Say(200, stats))
    assert backroom("workers") == 0
    assert backroom.lines[1].startswith("worker-1@host  running  prefork   1/2  all  ")
    assert backroom("types") == 0
    assert backroom.lines[1] == "a     q            1  One."
    assert backroom("types", "a") == 0
    assert backroom.out.endswith('{\n  "x": 1\n}\n')
    assert backroom("types", "b") == 2
    assert backroom("stats") == 0
    assert "queues          2, 1 paused" in backroom.lines


# Ending.


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (Say(404, problem(404, "not-found")), 3, "error: It is not-found.\n"),
        (
            Say(401, problem(401, "unauthorized")),
            3,
            "error: It is unauthorized.\n  Give a key of this stack with BACKROOM_KEY",
        ),
        (Say(500, problem(500, "internal-error")), 3, "error: It is internal-error.\n  The log of the API has more"),
        (Say(200, b"<html>"), 4, "is this the address of a Backroom API?"),
    ],
)
def test_an_error_says_what_to_do(api, backroom, answer, code, words):
    api.play(answer)
    assert backroom("job", "j1") == code
    assert words in backroom.err
    assert backroom.out == ""


def test_a_refusal_of_data_names_every_field(api, backroom):
    wrong = [
        {"pointer": f"/data/{name}", "code": "required", "message": "is required"} for name in ("userId", "payload")
    ]
    api.play(*[Say(422, problem(422, "invalid-input", errors=wrong))] * 2)
    assert backroom("submit", "heavy-task") == 3
    assert backroom.err == "error: Invalid-input\n  /data/userId: is required\n  /data/payload: is required\n"
    assert backroom("submit", "heavy-task", "--json") == 3
    told = json.loads(backroom.err)
    assert (told["error"], told["status"], told["requestId"]) == ("InvalidInput", 422, "r1")
    assert told["errors"] == wrong


def test_a_stack_that_is_not_there_is_exit_code_4(api, backroom):
    api.play(DROP)
    assert backroom("cancel", "j1") == 4
    assert "Say which stack is meant with --url or BACKROOM_URL." in backroom.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["job"], "Missing argument 'ID'"),
        (["jobs", "--state", "dreaming"], "'dreaming' is not one of"),
        (["submit", "a", "{"], "this is not JSON"),
        (["submit", "a", "--delay", "soon"], "'soon' is not a duration"),
        (["reschedule", "j1"], "give delay or run_at, one of them"),
        (["tail", "--job", "j1", "--queue", "q"], "give job or queue, not both"),
        (["--url", "localhost:8000", "jobs"], "the address of the API is like http://127.0.0.1:8000"),
    ],
)
def test_wrong_usage_is_exit_code_2(api, backroom, words, said):
    assert backroom(*words) == 2
    assert said in backroom.err
    assert api.asked == []


@pytest.mark.parametrize(
    "words", [["--json", "job"], ["job", "--json"], ["jobs", "--state", "x", "--json"], ["jobs", "--colour", "--json"]]
)
def test_wrong_usage_is_told_to_programs_too(backroom, words):
    assert backroom(*words) == 2
    assert json.loads(backroom.err)["error"] == "UsageError"


def test_options_of_all_commands_stand_in_front_or_behind(api, backroom):
    for words in (
        ["--url", api.url, "--key", "another-key", "--json", "job", "j1"],
        ["job", "j1", "--key", "another-key"],
    ):
        api.play(Say(200, job()))
        assert backroom(*words) == 0
    assert [asked.headers["authorization"] for asked in api.asked] == ["Bearer another-key"] * 2


def commands() -> list[list[str]]:
    """Every command, and every command of a group."""
    found = []
    for name, command in sorted(cli.commands.items()):
        found.append([name])
        found += [[name, inner] for inner in getattr(command, "commands", {})]
    return found


@pytest.mark.parametrize("words", [[], *commands()], ids=" ".join)
def test_every_command_explains_itself(backroom, words):
    assert backroom(*words, "--help") == 0
    assert "Usage: backroom" in backroom.out
    assert all(len(each) <= 120 for each in backroom.lines)


def test_the_help_lists_every_command(backroom):
    assert backroom("--help") == 0
    listed = {each.split()[0] for each in backroom.lines if each.startswith("  ") and each.strip()}
    assert set(cli.commands) - listed == set()


def test_the_version_is_told(backroom):
    assert backroom("--version") == 0
    assert backroom.out.startswith("backroom, version ")
