"""What ``sftpgate run`` does with commands as they are in the field: rude, huge, mute, missing, run as somebody else."""

from __future__ import annotations

import contextlib
import grp
import json
import os
import pty
import pwd
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sftpgate.policy.lifecycle import ArrivalState
from sftpgate.policy.runs import RunOutcome
from tests.harness.run_commands import Gate
from tests.harness.runners import is_running

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """A gate whose tools a test sets."""
    gate = Gate(tmp_path)
    yield gate
    gate.world.close()


def tool(name: str, file: str, script: str, more: str = "") -> str:
    """A tool that runs a shell script; ``$1`` is the file."""
    return f"[tools.{name}]\nfile = '{file}'\n{more}\ncommand = ['/bin/sh', '-c', '''{script}''', 'sh', '{{file}}']\n"


def test_one_line_sums_up_a_pass(gate: Gate) -> None:
    """A pass of several runs is one line for cron's mail, and a line before it for each run that failed."""
    gate.tools(
        tool("users", "users*.csv", 'grep good "$1"')
        + tool("enrols", "enrols.csv", "true", "after = ['users']")
        + tool("groups", "groups.csv", "true")
    )
    for name in ("users1.csv", "users2.csv", "groups.csv"):
        gate.world.send(name, b"good\n")
    code, output, errors = gate("run", "--all")
    assert (code, errors, output.count("\n")) == (0, "", 1)
    assert output.startswith("3 runs in ") and output.endswith(" s: users 2 done; groups 1 done\n")
    gate.world.send("users1.csv", b"good\n")
    gate.world.send("users2.csv", b"bad\n")
    gate.world.send("enrols.csv")
    code, output, errors = gate("run", "--all")
    first, last = output.splitlines()
    assert (code, errors) == (4, "")
    assert first.startswith("users: users2.csv failed after ") and "attempt 1 of 3, report reports/" in first
    assert last.startswith("2 runs in ")
    assert last.endswith(" s: users 1 done, 1 failed; enrols left out, because users did not get through")
    assert gate("run", "--all", "--verbose")[1].count("\n") == 2


def test_order_across_tools_and_in_a_queue(gate: Gate) -> None:
    """In one pass tools go after those that they name, and each drains its queue in the order of arrival."""
    record = gate.directory / "record"
    say = f'cat "$1" >> {record}'
    gate.tools(
        tool("enrols", "enrols.csv", say, "arrivals = 'queue'\nafter = ['users', 'courses']")
        + tool("users", "users.csv", say, "after = ['courses']")
        + tool("courses", "courses.csv", say)
    )
    for name in ("enrols", "users", "enrols", "courses", "enrols"):
        gate.world.send(f"{name}.csv", f"{name}\n".encode())
        gate.world.clock.advance(seconds=1)
    assert gate("run", "--all")[0] == 0
    assert record.read_text().split() == ["courses", "users", "enrols", "enrols", "enrols"]


def test_command_that_does_not_exist(gate: Gate) -> None:
    """A command that cannot be started is one line that says what to do; no attempt is spent, and other tools are run."""
    gate.tools(
        "[tools.users]\nfile = 'users.csv'\ncommand = ['no-such-command', '{file}']\n"
        "[tools.groups]\nfile = 'groups.csv'\ncommand = ['bin/relative.sh', '{file}']\n"
        + tool("enrols", "enrols.csv", "true")
        + tool("after", "after.csv", "true", "after = ['users']")
    )
    sent = [gate.world.send(name) for name in ("users.csv", "groups.csv", "enrols.csv", "after.csv")]
    code, output, errors = gate("run", "--all")
    assert code == 78
    assert "1 runs in" in output and "after left out, because users did not get through" in output
    assert "tools.users: the command no-such-command is not found in PATH; install it, or write its full path" in errors
    assert f"tools.groups: the command {gate.directory}/bin/relative.sh does not exist" in errors
    assert errors.count("\n") == 1
    states = [(gate.world.now(arrival).state, gate.world.now(arrival).attempts) for arrival in sent]
    waits = (ArrivalState.WAITING, 0)
    assert states == [waits, waits, (ArrivalState.DONE, 1), waits]
    code, output, errors = gate("run", "groups")
    assert (code, output) == (78, "") and "does not exist; correct it" in errors


def test_output_of_a_gigabyte(gate: Gate) -> None:
    """A command that writes 1 GiB gets through; its report is capped, says what is missing, and no memory is spent on it."""
    gate.enrols(f"head -c 1073741824 /dev/zero; grep VmHWM /proc/$PPID/status > {gate.directory}/peak")
    arrival = gate.world.send("enrols.csv")
    code, _, errors = gate("run", "--all")
    assert (code, errors) == (0, "")
    [run] = gate.world.runs_of(arrival)
    limit = 64 * 1024**2
    assert run.output is not None  # the sender reads it without the zeros, the administrator has them
    assert limit - 4096 < (gate.world.store / "reports" / run.output).stat().st_size < limit + 4096
    header = gate.world.report(run.report).partition(b"\n\n")[0].decode()
    assert f"notice: the output was longer than {limit} bytes: " in header
    peak_kib = int((gate.directory / "peak").read_text().split()[1])
    assert peak_kib < 300_000


def test_encoding_of_the_output(gate: Gate) -> None:
    """Output in the tool's encoding becomes UTF-8 in the report, with bytes that do not fit shown; otherwise it is untouched."""
    script = r"printf 'caf\351 \201 \200\n'"
    gate.tools(tool("a", "a.csv", script, "encoding = 'cp1252'") + tool("b", "b.csv", script))
    decoded, raw = gate.world.send("a.csv"), gate.world.send("b.csv")
    assert gate("run", "--all")[0] == 0
    [first], [second] = gate.world.runs_of(decoded), gate.world.runs_of(raw)
    assert gate.world.report(first.report).endswith("\n\ncafé \\x81 €\n".encode())
    assert gate.world.report(second.report).endswith(b"\n\ncaf\xe9 \x81 \x80\n")
    gate.tools(tool("a", "a.csv", script, "encoding = 'latin-99'"))
    code, _, errors = gate("run", "--all")
    assert code == 78 and "tools.a.encoding: unknown encoding: latin-99; write one such as" in errors


def test_timeout_by_the_command_line(gate: Gate) -> None:
    """When its time is over a command is stopped with its children, and the pass says so and ends with 4."""
    pids = gate.directory / "pids"
    gate.enrols(f"sh -c 'echo $$ >> {pids}; sleep 1000; true' & echo $$ >> {pids}; wait", "timeout = 0.5")
    arrival = gate.world.send("enrols.csv")
    code, output, _ = gate("run", "enrols")
    assert code == 4 and "its time was over, attempt 1 of 3" in output
    assert not any(is_running(int(pid)) for pid in pids.read_text().split())
    [run] = gate.world.runs_of(arrival)
    assert b"what next: the file is tried again" in gate.world.report(run.report)


def test_tool_removed_while_it_has_a_claim(gate: Gate) -> None:
    """A claim outlives its tool's table: it can be ended, or runs out, and the file waits for whoever is pointed at it next."""
    gate.enrols("true")
    first = gate.world.send("enrols.csv", b"1\n")
    claim = gate("claim", "enrols")[1].split()[0]
    gate.tools(tool("users", "users.csv", "true"))
    assert gate("run", "--all") == (3, "", "")
    assert gate("done", claim) == (0, "", "")
    assert gate.world.now(first).state is ArrivalState.DONE
    gate.enrols("true")
    second = gate.world.send("enrols.csv", b"2\n")
    lost = gate("claim", "enrols", "--lease", "10ms")[1].split()[0]
    gate.tools(tool("users", "users.csv", "true"))
    deadline = time.monotonic() + 30
    while gate.world.now(second).state is ArrivalState.CLAIMED:
        assert time.monotonic() < deadline
        gate("sweep")
    code, _, errors = gate("done", lost)
    assert code == 5 and "there is no claim" in errors
    gate.enrols("true")
    assert gate("run", "--all")[0] == 0
    assert [run.outcome for run in gate.world.runs_of(second)] == [RunOutcome.DIED, RunOutcome.DONE]


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="only root can run a command as another user")
def test_command_run_by_another_user() -> None:
    """A command that runs as another user of the store's group reads the file, writes rejected lines, and sees nothing else."""
    nobody, group = pwd.getpwnam("nobody"), grp.getgrnam("nogroup")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o711)
        data = directory / "data"
        data.mkdir()
        os.chown(data, -1, group.gr_gid)
        data.chmod(0o750)
        gate = Gate(directory, file_group="nogroup")
        script = 'cat "$1"; head -1 "$1" > "$SFTPGATE_TRYBACK"; ls "$(dirname "$1")/.." "$(dirname "$1")/../../staging"; exit 0'
        privileges = ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]
        command = json.dumps([*privileges, "/bin/sh", "-c", script, "sh", "{file}"])
        gate.tools(f"file_group = 'nogroup'\n[tools.a]\nfile = 'a.csv'\ncommand = {command}\n")
        try:
            arrival = gate.world.send("a.csv", b"one,two\n1,2\n")
            code, output, errors = gate("run", "--all")
            assert (code, errors) == (0, ""), output
            [run] = gate.world.runs_of(arrival)
            text = gate.world.report(run.report)
            assert b"\n\none,two\n1,2\n" in text
            assert text.count(b"Permission denied") == 2
            assert gate.world.report(run.tryback) == b"one,two\n"
        finally:
            gate.world.close()


@pytest.mark.promise("P4")
def test_script_that_dies_gives_its_file_back(gate: Gate) -> None:
    """A shell script that claims with `--pid $$` and is killed gives its file back at once, long before its lease ends."""
    gate.enrols("true")
    arrival = gate.world.send("enrols.csv")
    command = " ".join(gate.command("claim", "enrols", "--lease", "1h", "--pid"))
    script = f"{command} $$ > claimed && kill -9 $$"
    subprocess.run(["/bin/sh", "-c", script], cwd=gate.directory, env=gate.environment, check=False)
    assert gate.world.now(arrival).state is ArrivalState.CLAIMED
    token = (gate.directory / "claimed").read_text().split()[0]
    assert gate("run", "enrols")[0] == 0
    assert [run.outcome for run in gate.world.runs_of(arrival)] == [RunOutcome.DIED, RunOutcome.DONE]
    code, _, errors = gate("done", token)
    assert code == 5 and "there is no claim" in errors
    code, _, errors = gate("claim", "enrols", "--pid", "999999999")
    assert code == 2 and "there is no process 999999999 on this host; write $$" in errors


def test_progress_on_a_terminal(gate: Gate) -> None:
    """On a terminal a pass shows what is at work with its time, and says how each run ended."""
    fifo = gate.directory / "fifo"
    os.mkfifo(fifo)
    gate.tools(tool("users", "users*.csv", f'grep -q long "$1" && read -r _ < {fifo}; true'))
    gate.world.send("users-long.csv", b"long\n")
    gate.world.send("users-short.csv", b"short\n")
    master, slave = pty.openpty()
    process = subprocess.Popen(
        gate.command("run", "--all"),
        cwd=gate.directory,
        env={**gate.environment, "TERM": "xterm", "COLUMNS": "200"},
        stdin=subprocess.DEVNULL,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    seen = b""
    with contextlib.suppress(OSError):  # the end of a terminal is an error
        while data := os.read(master, 65536):
            seen += data
            if b"0:00:01" in seen and fifo.exists():
                with fifo.open("w") as command:
                    command.write("go on\n")
                fifo.unlink()
    os.close(master)
    assert process.wait() == 0
    text = seen.decode()
    assert "run 1, users: users-long.csv, attempt 1" in text
    assert re.search(r"users: users-long\.csv done in \d", text) and re.search(r"users: users-short\.csv done in \d", text)
    assert "2 runs in " in text
