"""A runner that is killed at any of its operations on the disk: the file is processed, once more at most, and kept once."""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from sftpgate.app.runs.claims import make_claims
from sftpgate.handover.journal import Journal
from sftpgate.handover.placement.placer import Placer
from sftpgate.ledger.arrivals import Arrival
from sftpgate.ledger.database.connection import Ledger
from sftpgate.policy.lifecycle import ArrivalState
from sftpgate.policy.runs import RunOutcome
from sftpgate.runners.claim_ends import ClaimEnd
from sftpgate.runners.claims import Claims
from sftpgate.site import Site
from sftpgate.store.disk import Disk
from sftpgate.store.disk_paths import DiskPath
from tests.harness.runners import World, shell


class Killed(BaseException):
    """The process is no more."""


class Mortal(Disk):
    """A disk whose process is killed before its ``left``-th operation, and does nothing any more after that."""

    def __init__(self, left: int) -> None:
        self.left = left

    def step(self, operation: str, *disk_paths: DiskPath | int) -> None:
        self.left -= 1
        if self.left < 0:
            raise Killed


class MortalLedger(Ledger):
    """The same for commits, which count as operations."""

    disk: Mortal

    def step(self, operation: str) -> None:
        self.disk.step(operation)


def mortal(world: World, left: int) -> tuple[Site, Mortal]:
    """A process that is killed after so many operations, and its disk."""
    disk = Mortal(left)
    ledger = MortalLedger(world.system.settings.ledger, durable=False)
    ledger.disk = disk
    opened = world.open(**TOOLS)
    resources = replace(opened.resources, disk=disk, ledger=ledger)
    journal = Journal(resources, ties=opened.journal.ties)
    opened.disk.forget_directories()
    opened.ledger.close()
    placer = Placer(resources, journal, opened.placer.rules)
    return replace(opened, resources=resources, journal=journal, placer=placer), disk


TOOLS: dict[str, dict[str, object]] = {"a": shell("exit 0", arrivals="queue")}


def work(claims: Claims, outcome: RunOutcome) -> bool:
    """Take one file and end its claim; False where there is none."""
    claim = claims.take("a")
    if claim is None:
        return False
    claim.output.write_bytes(b"said\n")
    claim.tryback.write_bytes(b"rejected\n")
    claims.end(claim, ClaimEnd(outcome=outcome, exit_status=0))
    return True


def close_all(world: World, killed: Site) -> None:
    """Close the locks and directories that the killed process held, as the kernel does."""
    killed.disk.forget_directories()
    killed.ledger.close()
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            name = os.readlink(f"/proc/self/fd/{number}")
            if name == str(world.system.layout.sequence.local):
                continue  # no lock, and closed by its owner at the end
            if name.startswith(f"{world.store}/.sftpgate/") and not stat.S_ISDIR(os.fstat(int(number)).st_mode):
                os.close(int(number))


def finish(world: World) -> list[Arrival]:
    """What the next process finds and does, until nothing is left to do; returns what it brought back."""
    with contextlib.closing(world.open(**TOOLS)) as system:
        claims = make_claims(system)
        returned = claims.return_dead()
        while work(claims, RunOutcome.DONE):
            pass
        claims.return_dead()
        return returned


def kept(world: World) -> list[bytes]:
    """The contents in the archives."""
    return sorted((world.store / "archives" / name).read_bytes() for name in world.archives())


def check_point(world: World, outcome: RunOutcome, point: int) -> bool:
    """Kill a runner at one of its operations, and look at what becomes of its files; False where it has no such operation."""
    first, second = world.send("a.csv", b"first\n"), world.send("a.csv", b"second\n")
    system, disk = mortal(world, point)
    with contextlib.suppress(Killed):
        work(make_claims(system), outcome)
    close_all(world, system)
    finish(world)
    assert kept(world) == [b"first\n", b"second\n"], point
    for arrival in (first, second):
        ended = world.now(arrival)
        assert (ended.state, ended.attempts <= 2) == (ArrivalState.DONE, True), point
        assert sum(run.outcome is RunOutcome.DONE for run in world.runs_of(arrival)) == 1, point
        for run in world.runs_of(arrival):
            assert run.outcome is not None, point
            assert run.report is None or b"outcome: " in world.report(run.report), point
    assert world.in_store() == world.managed("runs") == [], point
    # A lock or a note may stay, which are nobody's file.
    assert [name for area in ("claims", "queue") for name in world.managed(area) if "." not in name] == [], point
    return disk.left < 0


def check_all_points(directory: Path, outcome: RunOutcome) -> int:
    """Kill a runner at each of its operations in turn; returns how many there are."""
    for point in itertools.count():
        with contextlib.closing(World(directory / f"world{point}", **TOOLS)) as world:
            if not check_point(world, outcome, point):
                return point
    raise AssertionError


@pytest.mark.promise("P4")
def test_killed_before_success_is_recorded(tmp_path: Path) -> None:
    """Killed at any operation of a run that went well, the file is done in the end, and archived once."""
    assert check_all_points(tmp_path, RunOutcome.DONE) > 20


@pytest.mark.promise("P4")
def test_killed_before_failure_is_recorded(tmp_path: Path) -> None:
    """Killed at any operation of a run that failed, the file comes back, and is done by the next run."""
    assert check_all_points(tmp_path, RunOutcome.FAILED) > 20
