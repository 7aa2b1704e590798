"""What a run did, by the command line: rows and rejected rows in ``show``, and files that are not to blame."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest

from tests.harness.run_commands import Gate

pytestmark = pytest.mark.timeout(120)

RESULT = '{"rows": 3, "accepted": 2, "rejected": [{"line": 3, "reason": "no such course"}]}'
CONTENT = b"cmd;course;user\nadd;MATH;u1\nadd;NONE;u2\nadd;MATH;u3\n"


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """A gate with one tool, whose command a test sets."""
    gate = Gate(tmp_path)
    yield gate
    gate.world.close()


def last_run(gate: Gate, arrival: str) -> dict[str, object]:
    """The last run of an arrival, as a script sees it."""
    code, output, _ = gate("show", arrival, "--json")
    assert code == 0
    found: dict[str, object] = json.loads(output)["runs"][-1]
    return found


@pytest.mark.promise("P8")
def test_show_says_what_was_done(gate: Gate) -> None:
    """``show`` has a run's outcome, its numbers of rows and the rejected rows, for people and as JSON."""
    gate.enrols(f'echo "$SFTPGATE_TOOL"; cat > "$SFTPGATE_RESULT" <<END\n{RESULT}\nEND\n')
    arrival = gate.world.send("enrols.csv", CONTENT)
    code, output, errors = gate("run", "--all")
    assert (code, errors) == (0, "")
    assert output.startswith("enrols: enrols.csv done with 1 rejected in ") and "rejected lines reports/enrols_tryback_" in output
    run = last_run(gate, arrival.id)
    assert (run["outcome"], run["rows"], run["accepted"], run["rejected"]) == ("done with rejected", 3, 2, 1)
    assert run["rejected_rows"] == [{"line": 3, "reason": "no such course"}]
    assert "enrols: line 3 rejected: no such course" in gate("show", arrival.id)[1]
    assert json.loads(gate("status", "--json")[1])["tools"][0]["outcome"] == "done with rejected"


def test_a_platform_that_is_away(gate: Gate) -> None:
    """A tool that ends with 75 is tried later: ``run`` says when, ends with 75, and the next pass finds nothing to do."""
    gate.enrols("exit 75")
    arrival = gate.world.send("enrols.csv")
    code, output, errors = gate("run", "--all")
    assert (code, errors) == (75, "")
    assert "not the file's fault (exit status 75)" in output and "it is tried again from " in output
    assert gate("run", "--all") == (3, "", "")
    run = last_run(gate, arrival.id)
    assert (run["outcome"], gate.world.now(arrival).attempts) == ("not the file's fault", 0)


def test_a_file_that_is_put_off_can_be_tried_at_once(gate: Gate) -> None:
    """``status``, ``show`` and ``tool show`` say when a file is tried again, and ``release`` makes it due at once."""
    gate.enrols("exit 75")
    arrival = gate.world.send("enrols.csv")
    assert gate("run", "--all")[0] == 75
    due = gate.world.now(arrival).not_before
    assert due is not None
    said = [
        json.loads(gate("status", "--json")[1])["tools"][0]["tried_again_at"],
        json.loads(gate("tool", "show", "enrols", "--json")[1])["tried_again_at"],
        json.loads(gate("show", arrival.id, "--json")[1])["not_before"],
    ]
    assert [datetime.fromisoformat(text) for text in said] == [due.replace(microsecond=due.microsecond // 1000 * 1000)] * 3
    assert all("tried again at" in gate(*words)[1].lower() for words in (["tool", "show", "enrols"], ["status"]))
    assert gate("run", "--all")[0] == 3
    assert gate("release", arrival.id) == (0, f"enrols.csv is waiting (arrival {arrival.id})\n", "")
    assert gate("run", "--all")[0] == 75
    assert "arrival.due" in gate.world.history(arrival)
    gate.enrols("exit 0")
    assert gate("release", arrival.id)[0] == 0
    code, _, errors = gate("release", arrival.id)
    assert code == 6 and "this arrival is waiting" in errors
    assert gate("run", "--all")[0] == 0


def test_scripts_say_it_too(gate: Gate) -> None:
    """A script that claims writes its result to the path in the claim; ``fail --later`` spends no attempt."""
    gate.enrols("exit 0")
    arrival = gate.world.send("enrols.csv", CONTENT)
    claim = json.loads(gate("claim", "enrols", "--json")[1])
    Path(claim["result"]).write_text(RESULT)
    code, output, errors = gate("done", claim["claim"], "--json")
    assert (code, errors) == (0, "")
    row = json.loads(output)
    assert (row["outcome"], row["rejected"]) == ("done with rejected", 1)
    assert gate.world.report(row["tryback"]) == b"cmd;course;user\nadd;NONE;u2\n"
    assert last_run(gate, arrival.id)["rejected"] == 1
    second = gate.world.send("enrols.csv", CONTENT)
    claim = json.loads(gate("claim", "enrols", "--json")[1])
    assert gate("fail", claim["claim"], "--later", "--reason", "the database is away") == (0, "", "")
    assert gate.world.now(second).attempts == 0
    assert gate("claim", "enrols")[0] == 3


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("failed_output = '('", "is no regular expression"),
        ("row_output = '^Line'", "needs a group (?P<line>"),
        ("counts_output = '^Errors'", "needs a group called rows, accepted or rejected"),
        ("retry_exit_codes = [0]", "retry_exit_codes"),
        ("report = 'some'", "'summary' or 'full'"),
    ],
)
def test_rules_that_cannot_be_used(gate: Gate, line: str, problem: str) -> None:
    """A rule that cannot work is an error of the settings that names its key; no file is touched."""
    gate.enrols("exit 0", more=line)
    arrival = gate.world.send("enrols.csv")
    code, _, errors = gate("run", "--all")
    assert code == 78
    assert problem in errors and line.partition(" ")[0] in errors
    assert gate.world.now(arrival).attempts == 0


TRACE = "3 done\n#0 /var/www/moodle/lib/x.php(7): y()\nhost=db.internal password=hunter2\n"


@pytest.mark.promise("P8")
@pytest.mark.parametrize(("setting", "shown"), [("summary", "3 done\nhost=[...] password=[...]\n"), ("full", TRACE)])
@pytest.mark.parametrize("command", ["done", "fail"])
@pytest.mark.parametrize("is_pipe", [False, True], ids=["file", "pipe"])
def test_a_scripts_report_is_filtered_too(gate: Gate, command: str, setting: str, shown: str, is_pipe: bool) -> None:
    """What ``--report`` names goes to the sender as far as the tool's ``report`` allows; the admin has all of it beside it."""
    gate.enrols("exit 0", more=f"report = '{setting}'")
    arrival = gate.world.send("enrols.csv", CONTENT)
    claim = json.loads(gate("claim", "enrols", "--json")[1])
    path = gate.directory / "out.txt"
    with contextlib.ExitStack() as stack:
        if is_pipe:
            os.mkfifo(path)
            writer = stack.enter_context(ThreadPoolExecutor(1))
            writer.submit(path.write_text, TRACE)
        else:
            path.write_text(TRACE)
        assert gate(command, claim["claim"], "--report", str(path)) == (0, "", "")
    run = last_run(gate, arrival.id)
    assert gate.world.report(str(run["report"])).decode().partition("\n\n")[2] == shown
    assert (run["output"] is None) is (setting == "full")
    if run["output"]:
        assert gate.world.report(str(run["output"])).decode().endswith(TRACE)
