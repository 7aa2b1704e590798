"""Runs in control groups that are delegated to the service's user, as a unit with ``Delegate=yes`` has them: real ones."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from sftpgate.policy.lifecycle import ArrivalState
from tests.harness.accounts import Person, join, needs_root, needs_sudo, people, sudoers
from tests.runners.sites import TIMEOUT_SECONDS, Site, site
from tests.runners.test_other_users import DIR_MODE, below, until, words_of

GROUPS = next(
    (Path(line.split()[1]) for line in Path("/proc/mounts").read_text().splitlines() if line.split()[2] == "cgroup2"),
    Path("/none"),
)
# Closes all, and hides all, that a process of a run is found by.
HIDDEN = (
    'cd /; setsid env -i /usr/bin/python3 -c "import os, signal, time; os.closerange(3, 4096); '
    'signal.signal(15, signal.SIG_IGN); open(\\"{record}\\", \\"w\\").write(\\"begun\\"); time.sleep(600)" '
    "< /dev/null > /dev/null 2>&1 & while :; do sleep 1; done"
)

pytestmark = [
    needs_root,
    needs_sudo,
    pytest.mark.skipif(
        not os.access(GROUPS / "cgroup.procs", os.W_OK), reason="control groups (version 2) are not mounted writable"
    ),
]


@contextlib.contextmanager
def delegated(person: Person) -> Iterator[list[str]]:
    """The words before a command that let it run as this account, in a group that belongs to it."""
    group = GROUPS / f"sftpgate-test-{os.getpid()}-{time.monotonic_ns()}"
    group.mkdir()
    try:
        for path in (group, group / "cgroup.procs", group / "cgroup.subtree_control", group / "cgroup.threads"):
            os.chown(path, person.uid, person.gid)
        become = ["setpriv", f"--reuid={person.uid}", f"--regid={person.gid}", "--init-groups", "--"]
        yield ["/bin/sh", "-c", f'echo 0 > {group}/cgroup.procs; exec "$@"', "sh", *become]
    finally:
        (group / "cgroup.kill").write_text("1")
        for path in [*group.glob("*/"), group]:
            until(partial(_is_empty, path), "the group is empty")
            path.rmdir()


def _is_empty(group: Path) -> bool:
    return "populated 0" in (group / "cgroup.events").read_text()


def a_pass(made: Site, before: Sequence[str]) -> tuple[int, str, str]:
    """One pass of all tools in the group."""
    process = made.start("run", "--all", before=before)
    output, errors = process.communicate(timeout=TIMEOUT_SECONDS)
    return process.returncode, output, errors


@pytest.mark.promise("P4")
@pytest.mark.parametrize("which", ["runner", "all of us"])
def test_what_hides_everything_is_ended(which: str) -> None:
    """If runner and keeper are killed, what closed and hid all that it is found by is ended before the next start."""
    record = Path("/tmp") / f"sftpgate-record-{os.getpid()}-{time.monotonic_ns()}"
    record.touch()
    record.chmod(0o666)
    script = f"test -s {record} && exit 0; {HIDDEN.format(record=record)}"
    try:
        with site(script, top=DIR_MODE) as (made, platform), delegated(made.service) as before:
            arrival = made.send()
            runner = made.start("run", "--all", before=before)
            until(lambda: record.stat().st_size or runner.poll() is not None, "the command hides")
            assert runner.poll() is None, runner.communicate()
            [hidden] = [pid for pid in platform.processes() if words_of(pid).startswith("/usr/bin/python3 -c import os, signal")]
            for pid in reversed(below(runner.pid)) if which == "all of us" else [runner.pid]:
                if pid != hidden:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            runner.communicate(timeout=TIMEOUT_SECONDS)

            def is_done() -> bool:
                a_pass(made, before)
                return made.world.now(arrival).state is ArrivalState.DONE

            until(is_done, "the file is done")
            assert platform.processes() == []
    finally:
        record.unlink()


@pytest.mark.promise("P4")
def test_a_deaf_command_that_became_somebody_else_is_ended() -> None:
    """What we may not signal is ended by its group: the run has timed out, and nobody has to wait."""
    with people("other") as (other,), site("true", top=DIR_MODE) as (made, _), delegated(made.service) as before:
        command = [
            "sudo",
            "-n",
            "-u",
            other.name,
            "/bin/sh",
            "-c",
            "trap '' TERM HUP INT; while :; do sleep 1; done",
            "sh",
            "{file}",
        ]
        tool = f"[tools.a]\nfile = 'a.csv'\ntimeout = 0.5\ncommand = {command!r}\n"
        made.write(f"durability = 'relaxed'\nsettle_seconds = 0\n{DIR_MODE}\n{tool}")
        for path in (made.world.store / ".sftpgate/runs", made.world.store):
            os.chown(path, made.service.uid, made.service.gid)
        join(other, made.service)
        arrival = made.send()
        with sudoers(f"{made.service.name} ALL=({other.name}) NOPASSWD: ALL"):
            code, output, errors = a_pass(made, before)
        assert code == 4 and "its time was over" in output, (output, errors)
        assert (made.world.now(arrival).state, other.processes()) == (ArrivalState.WAITING, [])


def test_a_group_is_left_as_it_was() -> None:
    """A run that ends well leaves no group, and one that has no group of its own to divide makes none."""
    with site("cat /proc/self/cgroup", top=DIR_MODE) as (made, _):
        first, second = made.send(content=b"1\n"), made.send(content=b"2\n")
        with delegated(made.service) as before:
            name = next(word for word in before if "cgroup.procs" in word).split()[3].split("/")[-2]
            process = made.start("run", "a", "--limit", "1", before=before)
            assert (process.communicate()[1], process.returncode) == ("", 0)
            assert list((GROUPS / name).glob("*/")) == []
        run = made.world.runs_of(first)[-1]
        output = (made.world.store / "reports" / str(run.output or run.report)).read_text()
        assert f"/{name}/sftpgate-{run.id}" in output
        assert made("run", "--all", by=made.service)[0] == 0
        run = made.world.runs_of(second)[-1]
        assert f"sftpgate-{run.id}" not in (made.world.store / "reports" / str(run.output or run.report)).read_text()
        assert subprocess.run(["ls", str(GROUPS)], capture_output=True, text=True).stdout.count(str(run.id)) == 0
