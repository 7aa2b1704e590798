"""One run of a tool's command on a claimed file, with real commands."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sftpgate.policy.lifecycle import ArrivalState
from sftpgate.policy.runs import RunOutcome
from sftpgate.runners.runner import Runner
from tests.harness.runners import World, is_running, shell

MakeWorld = Callable[..., World]


@pytest.mark.promise("P8")
def test_success_archives_and_reports(make_world: MakeWorld) -> None:
    """A run that ends with 0 leaves the file in the archives, its output behind a header in a report, and nothing else."""
    world = make_world(a=shell('cat "$1"; echo problem >&2; basename "$1"'))
    arrival = world.send("a.csv", b"x,y\n1,2\n")
    [result] = world.pass_over().results
    ended = world.now(arrival)
    assert (result.outcome, ended.state, ended.attempts) == (RunOutcome.DONE, ArrivalState.DONE, 1)
    stamp = f"{world.clock().astimezone():%Y%m%d-%H%M}"
    assert world.archives() == [f"{stamp}_a.csv"] == [ended.archived_as]
    assert result.report == f"{stamp}_report_a.csv"
    header, _, output = world.report(result.report).partition(b"\n\n")
    assert output == b"x,y\n1,2\nproblem\na.csv\n"
    lines = dict(line.split(": ", 1) for line in header.decode().splitlines())
    assert lines["arrival"] == arrival.id and lines["SHA-256"] == arrival.sha256 and lines["user"] == "erp"
    assert (lines["tool"], lines["exit status"], lines["attempt"], lines["outcome"]) == ("a", "0", "1 of 3", "done")
    assert world.in_store() == world.managed("claims") == world.managed("runs") == []
    [run] = world.runs_of(arrival)
    assert (run.outcome, run.exit_status, run.report, run.attempt) == (RunOutcome.DONE, 0, result.report, 1)


def test_report_has_the_mode_of_the_store(make_world: MakeWorld) -> None:
    """Reports and rejected lines get the mode that the settings give to files in the store."""
    world = make_world(a=shell('cat "$1" > "$SFTPGATE_TRYBACK"'))
    world.send("a.csv")
    [result] = world.pass_over().results
    for name in (result.report, result.tryback):
        assert name is not None
        assert (world.store / "reports" / name).stat().st_mode & 0o777 == 0o640


def test_rejected_lines_are_kept(make_world: MakeWorld) -> None:
    """What a tool writes to SFTPGATE_TRYBACK is kept in reports under the tryback name; an empty file is not."""
    world = make_world(a=shell('head -1 "$1" > "$SFTPGATE_TRYBACK"'), b=shell(': > "$SFTPGATE_TRYBACK"', file="b.csv"))
    world.send("a.csv", b"x,y\n1,2\n")
    world.send("b.csv")
    rejected, nothing = world.pass_over().results
    assert rejected.tryback == f"a_tryback_{world.clock().astimezone():%Y%m%d-%H%M}.csv"
    assert world.report(rejected.tryback) == b"x,y\n"
    assert nothing.tryback is None


@pytest.mark.promise("P4")
def test_failure_keeps_the_file(make_world: MakeWorld) -> None:
    """A failure brings the file back for the next attempt, and after the last one to quarantine, each with a report."""
    world = make_world(a=shell("echo no; exit 7", max_attempts=2))
    arrival = world.send("a.csv", b"content\n")
    [first] = world.pass_over().results
    assert (first.outcome, first.exit_status) == (RunOutcome.FAILED, 7)
    assert (world.now(arrival).state, world.in_store()) == (ArrivalState.WAITING, ["a.csv"])
    [second] = world.pass_over().results
    assert (second.attempt, world.now(arrival).state) == (2, ArrivalState.QUARANTINED)
    assert (world.store / ".sftpgate/quarantine" / arrival.id).read_bytes() == b"content\n"
    assert second.report != first.report
    assert b"attempt: 2 of 2" in world.report(second.report)
    assert world.pass_over().results == []


def test_retry_delay_is_kept(make_world: MakeWorld) -> None:
    """A failed arrival is not tried again before its retry delay is over."""
    world = make_world(a=shell("exit 1", retry_delay="5m"))
    world.send("a.csv")
    assert len(world.pass_over().results) == 1
    world.clock.advance(minutes=4)
    assert world.pass_over().results == []
    world.clock.advance(minutes=1)
    assert len(world.pass_over().results) == 1


def test_failed_is_tried_once_in_a_pass(make_world: MakeWorld) -> None:
    """In one pass an arrival that failed is not tried again, while others of the tool are."""
    world = make_world(a={**shell('grep -q good "$1"'), "file": "a*.csv"})
    world.send("a1.csv", b"bad\n")
    world.send("a2.csv", b"good\n")
    notes = world.pass_over()
    assert [(run.arrival.path, run.outcome) for run in notes.results] == [
        ("a1.csv", RunOutcome.FAILED),
        ("a2.csv", RunOutcome.DONE),
    ]


def test_timeout_ends_the_whole_group(make_world: MakeWorld, tmp_path: Path) -> None:
    """When its time is over, a command is stopped with the children of its children, and the attempt failed."""
    pids = tmp_path / "pids"
    script = f"sh -c 'echo $$ >> {pids}; sleep 1000; true' & echo $$ >> {pids}; echo begun; wait"
    world = make_world(a=shell(script, timeout=0.5))
    arrival = world.send("a.csv")
    [result] = world.pass_over().results
    assert result.outcome is RunOutcome.TIMED_OUT
    assert world.report(result.report).endswith(b"\n\nbegun\n")
    assert [is_running(int(pid)) for pid in pids.read_text().split()] == [False, False]
    assert world.now(arrival).state is ArrivalState.WAITING


def test_deaf_command_is_killed(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that ignores SIGTERM gets SIGKILL after the grace, and the report says so."""
    monkeypatch.setattr("sftpgate.runners.runner.GRACE_SECONDS", 0.2)
    world = make_world(a=shell("trap '' TERM; while :; do sleep 1; done", timeout=0.3))
    world.send("a.csv")
    [result] = world.pass_over().results
    assert (result.outcome, result.exit_status) == (RunOutcome.TIMED_OUT, -9)
    text = world.report(result.report)
    assert b"exit status: killed by signal 9 (SIGKILL)" in text
    assert b"notice: not everything ended within" in text


def test_what_a_command_leaves_behind_is_stopped(make_world: MakeWorld, tmp_path: Path) -> None:
    """A command that ends with 0 while its children go on is done, its children are stopped, and the report says so."""
    pid = tmp_path / "pid"
    world = make_world(a=shell(f"sleep 1000 & echo $! > {pid}"))
    world.send("a.csv")
    [result] = world.pass_over().results
    assert result.outcome is RunOutcome.DONE
    assert not is_running(int(pid.read_text()))
    assert b"processes that it had started did not" in world.report(result.report)


@pytest.mark.parametrize(
    ("command", "status", "reason"),
    [
        (["no-such-command-here", "{file}"], 127, b"was not found"),
        (["/etc/passwd"], 126, b"Permission denied"),
        (["/"], 126, b"Permission denied"),
    ],
)
def test_command_that_cannot_be_started(make_world: MakeWorld, command: list[str], status: int, reason: bytes) -> None:
    """A command that is not found, or not executable, is a failed attempt, and the report says why."""
    world = make_world(a={"file": "a.csv", "command": command})
    arrival = world.send("a.csv")
    [result] = world.pass_over().results
    assert (result.outcome, result.exit_status) == (RunOutcome.FAILED, status)
    assert reason in world.report(result.report)
    assert world.now(arrival).state is ArrivalState.WAITING


def test_missing_working_directory(make_world: MakeWorld) -> None:
    """A working directory that is not there says nothing against the file: no attempt is spent, and the pass says why."""
    world = make_world(a=shell("true", working_directory="/no/such/place"))
    arrival = world.send("a.csv")
    notes, result = asyncio.run(world.run())
    assert notes.results == [] and "cannot go into its working directory /no/such/place" in result.unusable["a"]
    assert (world.now(arrival).state, world.now(arrival).attempts) == (ArrivalState.WAITING, 0)


def test_output_as_it_came(make_world: MakeWorld) -> None:
    """Output that is not UTF-8 is in a full report byte for byte."""
    world = make_world(a=shell(r"printf '\377\376\000ok\n'", report="full"))
    world.send("a.csv")
    [result] = world.pass_over().results
    assert world.report(result.report).endswith(b"\n\n\xff\xfe\x00ok\n")


def test_huge_output_is_capped(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of output beyond the limit the middle is dropped, the command goes on, and the report says how much is missing."""
    monkeypatch.setattr("sftpgate.runners.runner.MAX_OUTPUT_BYTES", 1000)
    world = make_world(a=shell("head -c 1000000 /dev/zero; exit 0", report="full"))
    world.send("a.csv")
    [result] = world.pass_over().results
    header, _, output = world.report(result.report).partition(b"\n\n")
    assert result.outcome is RunOutcome.DONE
    dropped = int(output[750:].split()[1])
    assert output == bytes(750) + b"\n[... %d bytes ...]\n" % dropped + bytes(1_000_000 - 750 - dropped)
    assert len(output) <= 1000
    assert b"longer than 1000 bytes: %d bytes in its middle were dropped" % dropped in header


@pytest.mark.promise("P8")
def test_the_end_of_a_huge_output_counts(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a command says at the end decides, however much it wrote before."""
    monkeypatch.setattr("sftpgate.runners.runner.MAX_OUTPUT_BYTES", 1000)
    world = make_world(a=shell("yes fine | head -n 10000; echo '!!! broken'", failed_output="^!!!"))
    world.send("a.csv")
    [result] = world.pass_over().results
    assert result.outcome is RunOutcome.FAILED


@pytest.mark.promise("P4")
@pytest.mark.parametrize("wait", ["", "sleep 0.3;"])
def test_a_command_that_kills_its_keeper(make_world: MakeWorld, tmp_path: Path, wait: str) -> None:
    """A command that kills the process that watches it has failed, and what it left is ended, whatever it hides."""
    script = (
        f"cd /; setsid env -i sh -c 'echo $$ > {tmp_path}/pid; exec sleep 600' < /dev/null > /dev/null 2>&1 & "
        f"while ! test -s {tmp_path}/pid; do :; done; {wait} kill -9 $PPID; sleep 600"
    )
    world = make_world(a=shell(script))
    arrival = world.send("a.csv")
    [result] = world.pass_over().results
    assert (result.outcome, result.stays) == (RunOutcome.FAILED, "")
    assert not is_running(int((tmp_path / "pid").read_text()))
    assert world.now(arrival).attempts == 1


def test_environment_of_a_command(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command gets its claim and what the tool adds, none of our own settings, and nothing to read."""
    world = make_world(a=shell("env; cat; echo end", environment={"MODE": "fast", "SFTPGATE_TOOL": "forged"}, report="full"))
    monkeypatch.setenv("SFTPGATE_LEDGER_URL", "postgresql://gate:secret@db/ledger")
    monkeypatch.setenv("ORACLE_HOME", "/opt/oracle")
    arrival = world.send("a.csv")
    [result] = world.pass_over().results
    output = world.report(result.report).decode().partition("\n\n")[2]
    variables = dict(line.split("=", 1) for line in output.splitlines() if "=" in line)
    assert variables["MODE"] == "fast" and variables["ORACLE_HOME"] == "/opt/oracle"
    assert {name for name in variables if name.startswith("SFTPGATE")} == {
        "SFTPGATE_FILE",
        "SFTPGATE_TOOL",
        "SFTPGATE_ARRIVAL",
        "SFTPGATE_TRYBACK",
        "SFTPGATE_RESULT",
    }
    assert (variables["SFTPGATE_TOOL"], variables["SFTPGATE_ARRIVAL"]) == ("a", arrival.id)
    assert Path(variables["SFTPGATE_FILE"]).name == "a.csv"
    assert output.endswith("end\n")


def test_file_name_with_everything_in_it(make_world: MakeWorld) -> None:
    """A name with spaces, quotes, braces and umlauts reaches the command as one argument."""
    name = "a 'b' {file} $x `y` ü.csv"
    world = make_world(
        a={"file": "a*.csv", "command": [sys.executable, "-c", "import sys; print(open(sys.argv[1]).read())", "{file}"]}
    )
    world.send(name, b"fine\n")
    [result] = world.pass_over().results
    assert result.outcome is RunOutcome.DONE
    assert world.report(result.report).endswith(b"\n\nfine\n\n")


@pytest.mark.skipif(shutil.which("php") is None, reason="php-cli is not installed")
def test_php_tool(make_world: MakeWorld) -> None:
    """A PHP command reads the file by --file=, as the stock tools do."""
    script = "$o = getopt('', ['file:']); echo count(file($o['file'])), ' lines', PHP_EOL;"
    world = make_world(a={"file": "a.csv", "command": ["php", "-r", script, "--", "--file={file}"]})
    world.send("a.csv", b"1\n2\n3\n")
    [result] = world.pass_over().results
    assert world.report(result.report).endswith(b"3 lines\n")


@pytest.mark.promise("P3")
def test_tool_that_moves_its_input_away(make_world: MakeWorld) -> None:
    """A command that removes the file that it was given takes nothing from the archives."""
    world = make_world(a=shell('rm "$1"'))
    arrival = world.send("a.csv", b"kept\n")
    world.pass_over()
    archived = world.now(arrival).archived_as
    assert archived is not None
    assert (world.store / "archives" / archived).read_bytes() == b"kept\n"


def test_altered_input_is_in_the_report(make_world: MakeWorld) -> None:
    """A command that changes the file that it was given is found out in its report."""
    world = make_world(a=shell('echo more >> "$1"'))
    world.send("a.csv", b"1\n")
    [result] = world.pass_over().results
    assert b"notice: the file was changed on this machine" in world.report(result.report)


async def test_stop_ends_the_command(make_world: MakeWorld, tmp_path: Path) -> None:
    """A runner that is told to stop ends its command, gives the file back with the attempt counted, and takes no other."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    world = make_world(a={**shell(f"echo $$ > {fifo}; sleep 1000"), "file": "a*.csv"})
    arrival = world.send("a1.csv")
    world.send("a2.csv")
    pids: list[int] = []

    tasks: list[asyncio.Task[None]] = []

    async def stop_when_it_runs(runner: Runner) -> None:
        pids.append(int(await asyncio.to_thread(fifo.read_text)))
        runner.stop()

    notes, result = await world.run(started=lambda runner: tasks.append(asyncio.create_task(stop_when_it_runs(runner))))
    assert (notes.results[0].outcome, result.runs) == (RunOutcome.INTERRUPTED, 1)
    assert not is_running(pids[0])
    ended = world.now(arrival)
    assert (ended.state, ended.attempts) == (ArrivalState.WAITING, 1)


def test_report_that_cannot_be_written(make_world: MakeWorld) -> None:
    """A run that went well is recorded although its report could not be written: running it again would be worse."""
    world = make_world(a=shell("exit 0"))
    arrival = world.send("a.csv")
    shutil.rmtree(world.store / "reports")
    [result] = world.pass_over().results
    assert (result.outcome, result.report, world.now(arrival).state) == (RunOutcome.DONE, None, ArrivalState.DONE)


@pytest.mark.promise("P4")
async def test_stop_on_the_last_attempt_gives_the_file_back(make_world: MakeWorld, tmp_path: Path) -> None:
    """A run that is told to stop on its last attempt gives the file back, with one attempt left, and not to quarantine."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    script = f"test -e {tmp_path}/calm && exit 0; echo $$ > {fifo}; sleep 1000"
    world = make_world(a=shell(script, max_attempts=1, arrivals="queue"))
    arrival = world.send("a.csv")
    tasks: list[asyncio.Task[None]] = []

    async def stop_when_it_runs(runner: Runner) -> None:
        await asyncio.to_thread(fifo.read_text)
        runner.stop()

    notes, _ = await world.run(started=lambda runner: tasks.append(asyncio.create_task(stop_when_it_runs(runner))))
    assert notes.results[0].outcome is RunOutcome.INTERRUPTED
    assert b"what next: the file is tried again, and keeps its place until then" in world.report(notes.results[0].report)
    assert (world.now(arrival).state, world.now(arrival).attempts) == (ArrivalState.WAITING, 0)
    (tmp_path / "calm").touch()
    notes, _ = await world.run()
    assert [result.outcome for result in notes.results] == [RunOutcome.DONE]
