"""A disk or a ledger that refuses: every operation of every scenario of the crash suite fails, once or until it is mended."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from sftpgate.errors import SftpgateError
from sftpgate.ledger.database.connection import Ledger
from sftpgate.store.disk import Disk
from sftpgate.store.disk_paths import DiskPath
from tests.crash import oracle
from tests.crash.machine import Clock, release_descriptors
from tests.crash.scenarios import NEW, OLD, SCENARIOS, WITH_CONTRACTS, Scenario
from tests.crash.world import Journal, World

ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)


class Trouble:
    """Lets the operation numbered ``at`` fail, and where it ``lasts`` all that follow, until it is mended."""

    def __init__(self, number: int, *, lasts: bool) -> None:
        self.trace: list[str] = []
        self.failed = ""
        self._at: int | None = None
        self._number = number
        self._lasts = lasts

    def begin(self) -> None:
        """Count from here."""
        self.trace.clear()
        self._at = self._number

    def mend(self) -> None:
        """Nothing fails any more."""
        self._at = None

    def fails(self, what: str) -> bool:
        """Whether this operation fails."""
        if self._at is None:
            return False
        self.trace.append(what)
        count = len(self.trace)
        if count == self._at:
            self.failed = what
        return count == self._at or (self._lasts and count > self._at)


class FaultyDisk(Disk):
    """A disk with trouble; the kind of error changes from one operation to the next, so that all kinds come up."""

    def __init__(self, trouble: Trouble) -> None:
        self._trouble = trouble

    def step(self, operation: str, *disk_paths: DiskPath | int) -> None:
        """Before each operation."""
        if self._trouble.fails(operation):
            code = ERRORS[len(self._trouble.trace) % len(ERRORS)]
            raise OSError(code, os.strerror(code))


class FaultyLedger(Ledger):
    """A ledger with trouble."""

    def __init__(self, url: str, trouble: Trouble) -> None:
        super().__init__(url)
        self._trouble = trouble

    def step(self, operation: str) -> None:
        """Before each commit."""
        if self._trouble.fails(f"ledger {operation}"):
            raise OperationalError(operation, {}, sqlite3.OperationalError("database or disk is full"))


def problems(scenario: Scenario, base: Path, trouble: Trouble) -> Iterator[str]:
    """Run a scenario with trouble, look; mend, go on, look again."""
    journal = Journal(contracts=scenario in WITH_CONTRACTS)
    ledger = FaultyLedger(f"sqlite:///{base}/data/ledger.db", trouble)
    world = World(base, journal, Clock(), disk=FaultyDisk(trouble), ledger=ledger)
    acts = scenario(world)
    next(acts)
    trouble.begin()
    try:
        with contextlib.suppress(SftpgateError):
            list(acts)
    except Exception as error:  # noqa: BLE001 - that there is none is what is shown
        yield f"not an error of ours: {error!r}"
    yield from (f"while it fails: {problem}" for problem in oracle.visible_problems(world))
    trouble.mend()
    try:
        world.publish("afterwards.csv", b"afterwards\n")
        world.sweep()
        world.system.journal.flush()
    except Exception as error:  # noqa: BLE001 - the others are looked at all the same
        yield f"the next act fails: {error!r}"
    yield from (f"afterwards: {problem}" for problem in oracle.problems(world))
    world.close()
    yield from (f"left open: {name}" for name in release_descriptors(base))


@pytest.mark.promise("P1", "P2", "P3")
@pytest.mark.parametrize("lasts", [False, True], ids=["once", "lasting"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_every_operation_fails(name: str, lasts: bool, base: Path) -> None:
    """A failed operation is an error of ours, shows nothing half, loses nothing, and the next act succeeds."""
    found: list[str] = []
    number = 0
    while True:
        number += 1
        trouble = Trouble(number, lasts=lasts)
        found += [f"{number} ({trouble.failed}): {problem}" for problem in problems(SCENARIOS[name], base / "run", trouble)]
        shutil.rmtree(base / "run")
        if not trouble.failed:
            break
    assert not found, f"{len(found)} problems\n" + "\n".join(found)


# What was before, and the act that fails and is done again.
AGAIN: dict[str, tuple[Callable[[World], object], Callable[[World], object]]] = {
    "behind another one in a queue": (
        lambda world: world.publish("queue.csv", OLD),
        lambda world: world.publish("queue.csv", NEW),
    ),
    "first in a directory": (lambda world: world.make_directory("sub"), lambda world: world.publish("sub/x.csv", NEW)),
    "rename to a final name": (
        lambda world: world.publish("x.csv.tmp", NEW),
        lambda world: world.rename("x.csv.tmp", "queue.csv", replacing=True),
    ),
}


@pytest.mark.promise("P1", "P3")
@pytest.mark.parametrize("name", AGAIN)
def test_what_failed_and_is_done_again(name: str, base: Path) -> None:
    """Whichever operation fails, an act that was answered as failed and is done again has happened once."""
    before, act = AGAIN[name]
    found: list[str] = []
    number, refused = 0, 0
    while True:
        number += 1
        trouble = Trouble(number, lasts=False)
        ledger = FaultyLedger(f"sqlite:///{base}/run/data/ledger.db", trouble)
        world = World(base / "run", Journal(), Clock(), disk=FaultyDisk(trouble), ledger=ledger)
        before(world)
        trouble.begin()
        try:
            act(world)
        except SftpgateError:
            trouble.mend()
            refused += 1
            act(world)
        trouble.mend()
        world.sweep()
        world.system.journal.flush()
        found += [f"{number} ({trouble.failed}): {problem}" for problem in oracle.problems(world)]
        world.close()
        release_descriptors(base)
        shutil.rmtree(base / "run")
        if not trouble.failed:
            break
    assert refused, "nothing failed"
    assert not found, f"{len(found)} problems\n" + "\n".join(found)
