"""``sftpgate run``, ``claim`` and their kin as cron and scripts use them: by subprocess, with real commands."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from sftpgate.policy.lifecycle import ArrivalState
from sftpgate.policy.runs import RunOutcome
from tests.harness.run_commands import Gate

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """A gate with one tool, whose command a test sets."""
    gate = Gate(tmp_path)
    yield gate
    gate.world.close()


def test_silent_when_there_is_nothing(gate: Gate) -> None:
    """A pass with nothing to do prints nothing at all and ends with 3, so that cron sends no mail."""
    gate.enrols("exit 0")
    assert gate("run", "--all") == (3, "", "")
    assert gate("run", "enrols") == (3, "", "")
    assert gate("run", "--all", "--dry-run") == (3, "", "")


def test_one_line_for_each_run(gate: Gate) -> None:
    """A pass says in one line what it did with each file, and ends with 0, or with 4 where a tool failed."""
    gate.enrols('grep good "$1"')
    gate.world.send("enrols.csv", b"good\n")
    code, output, errors = gate("run", "--all")
    assert (code, errors) == (0, "")
    assert output.startswith("enrols: enrols.csv done in ") and ", report reports/" in output and output.count("\n") == 1
    gate.world.send("enrols.csv", b"bad\n")
    code, output, errors = gate("run", "enrols")
    assert (code, errors) == (4, "")
    assert "(exit status 1), attempt 1 of 3, report reports/" in output and output.count("\n") == 1


def test_dry_run_changes_nothing(gate: Gate) -> None:
    """A dry run says what would be run, and leaves everything as it is."""
    gate.enrols("exit 0")
    arrival = gate.world.send("enrols.csv")
    assert gate("run", "--all", "--dry-run") == (0, f"enrols: enrols.csv (arrival {arrival.id}, attempt 1)\n", "")
    assert gate.world.now(arrival).state is ArrivalState.WAITING


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (["run"], 2, "name the tools"),
        (["run", "enrols", "--all"], 2, "name the tools"),
        (["run", "nothing"], 5, "no tool 'nothing' in the settings (there: enrols)"),
        (["claim", "nothing"], 5, "no tool 'nothing'"),
        (["done", "01K0000000000000000000000X"], 5, "there is no claim"),
        (["extend", "nonsense"], 5, "there is no claim"),
        (["claim", "enrols", "--lease", "soon"], 2, "no duration"),
        (["tool", "show", "nothing"], 5, "no tool 'nothing'"),
    ],
)
def test_wrong_use_is_one_line(gate: Gate, arguments: list[str], code: int, why: str) -> None:
    """Each mistake is an exit code of the documented ones, and one line on stderr."""
    gate.enrols("exit 0")
    found, output, errors = gate(*arguments)
    assert (found, output) == (code, "")
    assert why in errors and errors.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[tools.a]\nfile = 'archives/*.csv'\ncommand = ['true']", "processed already"),
        ("[tools.a]\nfile = '/etc/passwd'\ncommand = ['true']", "absolute path"),
        ("[tools.a]\nfile = 'x'\ncommand = ['true']\n[tools.b]\nfile = 'x'\ncommand = ['true']", "pointed at"),
        (
            "[tools.a]\nfile = 'x'\ncommand = ['true']\nafter = ['b']\n[tools.b]\nfile = 'y'\ncommand = ['true']\nafter = ['a']",
            "circle",
        ),
        ("[tools.a]\nfile = 'x'\ncommand = []", "command"),
    ],
)
def test_bad_settings_are_one_line(gate: Gate, text: str, why: str) -> None:
    """Tools that cannot work are refused before anything runs: 78, and one line."""
    gate.tools(text)
    code, output, errors = gate("run", "--all")
    assert (code, output) == (78, "")
    assert why in errors and errors.count("\n") == 1


@pytest.mark.promise("P4")
def test_killed_runner(gate: Gate) -> None:
    """A runner that is killed takes its command with it; the next pass has the file at once and processes it once."""
    fifo, record = gate.directory / "fifo", gate.directory / "record"
    os.mkfifo(fifo)
    first_time = f": > {record}; exec 9> {fifo}; echo >&9; sleep 1000; echo survived >> {record}"
    gate.enrols(f'if test -e {record}; then cat "$1" >> {record}; else {first_time}; fi')
    arrival = gate.world.send("enrols.csv", b"content\n")
    runner = gate.start("run", "--all")
    with fifo.open("rb") as command:
        assert command.readline() == b"\n"  # the command runs
        assert gate("run", "--all") == (3, "", "")
        runner.send_signal(signal.SIGKILL)
        runner.communicate()
        assert command.read() == b""  # the command, and its child, are gone
    code, output, _ = gate("run", "--all")
    assert (code, output.count("done in")) == (0, 1)
    assert record.read_bytes() == b"content\n"
    ended = gate.world.now(arrival)
    assert (ended.state, ended.attempts) == (ArrivalState.DONE, 2)
    assert [run.outcome for run in gate.world.runs_of(arrival)] == [RunOutcome.DIED, RunOutcome.DONE]


def test_stopped_runner(gate: Gate) -> None:
    """SIGTERM ends the command, gives the file back with the attempt counted, and ends the pass with 143."""
    fifo = gate.directory / "fifo"
    os.mkfifo(fifo)
    gate.enrols(f"exec 9> {fifo}; echo >&9; sleep 1000")
    arrival = gate.world.send("enrols.csv")
    runner = gate.start("run", "--all")
    with fifo.open("rb") as command:
        command.readline()
        runner.send_signal(signal.SIGTERM)
        output, errors = runner.communicate()
        assert command.read() == b""
    assert (runner.returncode, errors) == (143, b"")
    assert b"interrupted after" in output
    assert (gate.world.now(arrival).state, gate.world.now(arrival).attempts) == (ArrivalState.WAITING, 1)


@pytest.mark.promise("P4")
def test_two_runners_race(gate: Gate) -> None:
    """Two runners that start together process each of 200 files of one name exactly once, in order."""
    record = gate.directory / "record"
    gate.enrols(f'cat "$1" >> {record}')
    sent = [b"%d\n" % number for number in range(200)]
    for content in sent:
        gate.world.send("enrols.csv", content)
    runners = [gate.start("run", "--all", "--verbose") for _ in range(2)]
    outputs = [runner.communicate(timeout=100)[0] for runner in runners]
    assert record.read_bytes() == b"".join(sent)
    assert sum(output.count(b" done in ") for output in outputs) == 200
    assert {runner.returncode for runner in runners} <= {0, 3}
    contents = Counter((gate.world.store / "archives" / name).read_bytes() for name in gate.world.archives())
    assert contents == Counter(sent)


@pytest.mark.promise("P4")
def test_claims_of_many_scripts_race(gate: Gate) -> None:
    """Of several scripts that claim at the same time one gets the file."""
    gate.enrols("exit 0")
    gate.world.send("enrols.csv")
    scripts = [gate.start("claim", "enrols") for _ in range(6)]
    codes = sorted((script.communicate(), script.returncode)[1] for script in scripts)
    assert codes == [0, 3, 3, 3, 3, 3]


def test_shell_script_with_claims(gate: Gate) -> None:
    """A shell script that claims, works and says done leaves archive, report and rejected lines, as a run does."""
    gate.enrols("exit 0")
    arrival = gate.world.send("enrols.csv", b"one,two\n")
    script = gate.directory / "script.sh"
    script.write_text(
        f"""set -eu
        gate() {{ {sys.executable} -m sftpgate "$@"; }}
        gate claim enrols > claimed
        read -r claim file < claimed
        wc -l < "$file" > report.txt
        cp "$file" rejected.csv
        gate extend "$claim" --lease 1h > until
        gate done "$claim" --report report.txt --tryback rejected.csv
        """
    )
    subprocess.run(["/bin/sh", str(script)], cwd=gate.directory, env=gate.environment, check=True)
    ended = gate.world.now(arrival)
    [run] = gate.world.runs_of(arrival)
    assert (ended.state, run.outcome) == (ArrivalState.DONE, RunOutcome.DONE)
    assert gate.world.report(run.report).endswith(b"\n\n1\n")
    assert gate.world.report(run.tryback) == b"one,two\n"


def test_claim_as_json_and_its_other_ends(gate: Gate) -> None:
    """A claim can be had as JSON, failed with a reason, released, and is then over."""
    gate.enrols("exit 0", "max_attempts = 2")
    arrival = gate.world.send("enrols.csv", b"one\n")
    code, output, _ = gate("claim", "enrols", "--json")
    claim = json.loads(output)
    assert (code, claim["arrival"], claim["attempt"], claim["name"]) == (0, arrival.id, 1, "enrols.csv")
    assert Path(claim["path"]).read_bytes() == b"one\n"
    assert gate("fail", claim["claim"], "--reason", "the database\nis down")[0] == 0
    [run] = gate.world.runs_of(arrival)
    assert b"because: the database\\nis down" in gate.world.report(run.report)
    released = gate("claim", "enrols")[1].split()[0]
    assert gate("release", released) == (0, f"enrols.csv is waiting (arrival {arrival.id})\n", "")
    assert gate("done", released)[0] == 5
    assert gate.world.now(arrival).attempts == 1
    last = gate("claim", "enrols")[1].split()[0]
    code, output, _ = gate("fail", last, "--json")
    assert (code, json.loads(output)["state"]) == (0, "quarantined")


@pytest.mark.skipif(shutil.which("php") is None, reason="php-cli is not installed")
def test_plain_php_script(gate: Gate) -> None:
    """A PHP script that knows nothing of claims opens and deletes the named file; the sweep brings up the next of the queue."""
    gate.enrols("exit 0")
    for number in range(2):
        gate.world.send("enrols.csv", b"%d\n" % number)
    script = f"$f = '{gate.world.store}/enrols.csv'; echo file_get_contents($f); unlink($f);"
    seen = []
    for _ in range(2):
        seen.append(subprocess.run(["php", "-r", script], capture_output=True, check=True).stdout)
        gate("sweep")
    assert seen == [b"0\n", b"1\n"]


def test_tools_are_shown(gate: Gate) -> None:
    """What a tool is pointed at, what waits for it, and how its last run ended can be listed and shown."""
    gate.enrols('grep good "$1"')
    gate.world.send("enrols.csv", b"good\n")
    gate("run", "--all")
    gate.world.send("enrols.csv", b"good\n")
    [row] = json.loads(gate("tool", "list", "--json")[1])
    assert (row["tool"], row["file"], row["waiting"], row["last_outcome"]) == ("enrols", ["enrols.csv"], 1, "done")
    shown = json.loads(gate("tool", "show", "enrols", "--json")[1])
    assert [item["path"] for item in shown["waits"]] == ["enrols.csv"]
    assert shown["last_run"]["exit_status"] == 0
    assert "enrols.csv" in gate("tool", "show", "enrols")[1]
