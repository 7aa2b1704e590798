"""Tools that run as another user of this machine, and runners that are killed meanwhile: real accounts, real sudo."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sftpgate.ledger.arrivals import Arrival
from sftpgate.policy.lifecycle import ArrivalState
from tests.harness.accounts import Person, needs_root, needs_sudo
from tests.runners.sites import TIMEOUT_SECONDS, Site, site

pytestmark = [needs_root, needs_sudo]

DIR_MODE = "dir_mode = '0711'"
WAYS = ("root", "sudo")

# What holds the lock of the file work is at work on the file that the tool got. Each start says so, and whether it is alone.
WORK = """\
exec 9>{work}/work; flock -n 9 || echo overlap >> {work}/record
echo begun >> {work}/record
if test -e {work}/calm; then exit 0; fi
{start}
"""
STARTS = {
    "plain": "while :; do sleep 1; done",
    "setsid": "setsid sh -c 'while :; do sleep 1; done' & while :; do sleep 1; done",
    "nohup": "nohup sh -c 'while :; do sleep 1; done' > /dev/null 2>&1 & while :; do sleep 1; done",
    "daemon": "(setsid sh -c 'while :; do sleep 1; done' > /dev/null 2>&1 < /dev/null &) ; while :; do sleep 1; done",
    "hidden": "exec 8>&9 9>&- 8>&-; cd /; setsid env -i sh -c 'trap \"\" TERM HUP; while :; do sleep 1; done' "
    "< /dev/null > /dev/null 2>&1 & while :; do sleep 1; done",
    "no lock": "exec 8>&9 9>&-; setsid env -i sh -c 'trap \"\" TERM HUP; while :; do sleep 1; done' {file} & "
    "while :; do sleep 1; done",
}


def until(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition, which ends the test where it never comes."""
    deadline = time.monotonic() + TIMEOUT_SECONDS / 2
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


@contextlib.contextmanager
def at_work(start: str, *, way: str, more: str = "") -> Iterator[tuple[Site, Person, Path, Arrival, subprocess.Popen[str]]]:
    """A site whose runner has begun with a command that does not end."""
    work = Path("/tmp") / f"sftpgate-work-{os.getpid()}-{time.monotonic_ns()}"
    work.mkdir()
    try:
        with site(WORK.format(work=work, start=start.replace("{file}", '"$1"')), top=DIR_MODE, more=more) as (made, platform):
            work.chmod(0o777)
            arrival = made.send()
            runner = made.start("run", "--all", by=made.service if way == "sudo" else None)
            until(lambda: (work / "record").exists() or runner.poll() is not None, "the command begins")
            assert runner.poll() is None, runner.communicate()
            yield made, platform, work, arrival, runner
            runner.kill()
            runner.communicate()
    finally:
        shutil.rmtree(work)


def below(pid: int) -> list[int]:
    """A process and everything below it."""
    found = [pid]
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(path.read_text().rpartition(")")[2].split()[1]) == pid:
                found += below(int(path.parent.name))
    return found


def words_of(pid: int) -> str:
    """The arguments of a process."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    return ""


def victims(which: str, runner: int) -> list[int]:
    """The processes that are to be killed."""
    tree = below(runner)
    keepers = [pid for pid in tree if "sftpgate-keeper" in words_of(pid) or "os._exit(71)" in words_of(pid)]
    match which:
        case "runner":
            return [runner]
        case "keeper":
            return [pid for pid in keepers if not words_of(pid).startswith("sudo")] or tree[1:3]
        case "sudo and runner":
            return [*(pid for pid in tree if words_of(pid).startswith("sudo")), runner]
        case "all of us":
            return [pid for pid in tree if not words_of(pid).startswith(("/bin/sh -c exec", "sleep", "sh", "setsid"))]
    raise AssertionError(which)


CASES = [
    *((way, which, "no lock") for way in WAYS for which in ("runner", "keeper", "all of us")),
    *((way, "all of us", start) for way in WAYS for start in ("plain", "setsid", "nohup", "daemon")),
    *((way, "keeper", "hidden") for way in WAYS),
    ("sudo", "sudo and runner", "setsid"),
    ("root", "runner", "daemon"),
    ("sudo", "runner", "daemon"),
]


@pytest.mark.promise("P4")
@pytest.mark.parametrize(("way", "which", "start"), CASES)
def test_killed_runner_leaves_nobody_at_work(way: str, which: str, start: str) -> None:
    """Whichever of our processes is killed, whatever the command made of itself, its next start is alone with the file."""
    with at_work(STARTS[start], way=way) as (made, platform, work, arrival, runner):
        for pid in victims(which, runner.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        runner.communicate(timeout=TIMEOUT_SECONDS / 2)
        (work / "calm").touch()

        def is_done() -> bool:
            made("run", "--all", by=made.service if way == "sudo" else None)
            return made.world.now(arrival).state is ArrivalState.DONE

        until(is_done, f"the file is done: {(work / 'record').read_text()}")
        assert (work / "record").read_text().split() == ["begun", "begun"]
        assert platform.processes() == []
