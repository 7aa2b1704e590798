"""Retention looks without the store's lock, and removes what is still what it found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from sftpgate.app.composition import make_retention
from sftpgate.handover.journal import SLICE
from sftpgate.ledger import reports
from sftpgate.policy.lifecycle import ArrivalState
from sftpgate.policy.retention import KeptKind
from sftpgate.store.disk import Disk
from sftpgate.store.disk_paths import DiskPath
from sftpgate.upkeep.retention import Retention
from sftpgate.upkeep.verify import verify
from tests.harness.handover import Gate

KEPT = 3 * SLICE


class Watched(Disk):
    """Counts the looks at files during each hold of the store's lock, and does ``before_turn`` once before the next."""

    def __init__(self) -> None:
        self.looks: list[int] = []
        self.is_held = False
        self.before_turn: Callable[[], object] | None = None

    @contextmanager
    def in_turn(self, disk_path: DiskPath, mark: bytes) -> Iterator[bool]:
        """A change."""
        act, self.before_turn = self.before_turn, None
        if act is not None:
            act()
        with super().in_turn(disk_path, mark) as ours:
            self.looks.append(0)
            self.is_held = True
            try:
                yield ours
            finally:
                self.is_held = False

    def lstat(self, disk_path: DiskPath) -> Any:
        """A look."""
        if self.is_held:
            self.looks[-1] += 1
        return super().lstat(disk_path)


@pytest.fixture
def disk() -> Watched:
    """A disk that counts."""
    return Watched()


@pytest.fixture
def gate(make_gate: Any, disk: Watched) -> Gate:
    """A gate on it that keeps few bytes."""
    made: Gate = make_gate(disk=disk, keep_archives_bytes=40, keep_reports_bytes=40)
    return made


def retention(gate: Gate) -> Retention:
    """What prunes the gate."""
    return make_retention(gate.system)


def fill_archives(gate: Gate, count: int) -> None:
    """So many files of four bytes in the archives, replaced one by the other."""
    for number in range(count + 1):
        gate.put("a.csv", f"{number:03}\n".encode())
    gate.system.journal.flush()


def fill_reports(gate: Gate, count: int) -> None:
    """So many reports of four bytes."""
    top = gate.store / "reports"
    top.mkdir(exist_ok=True)
    with gate.system.ledger.transaction() as connection:
        for number in range(count):
            (top / f"{number:03}.txt").write_bytes(b"abc\n")
            at = gate.clock() + timedelta(seconds=number)
            reports.add(connection, f"{number:03}.txt", owner="erp", arrival="x", at=at)


def test_sizes_are_looked_at_without_the_lock(gate: Gate, disk: Watched) -> None:
    """What a hold of the store's lock costs does not grow with what is kept; the oldest go, until what is left fits."""
    fill_reports(gate, KEPT)
    disk.looks.clear()
    assert retention(gate).prune() == {KeptKind.REPORTS: KEPT - 10}
    assert sorted(path.name for path in (gate.store / "reports").iterdir()) == [f"{n:03}.txt" for n in range(KEPT - 10, KEPT)]
    assert max(disk.looks) <= 2 * SLICE
    disk.looks.clear()
    assert retention(gate).prune() == {}
    assert disk.looks == []  # where nothing goes, nobody waits


def test_two_prune_at_a_time(gate: Gate, disk: Watched) -> None:
    """What another process pruned between the look and the removal is not made up for by what was to stay."""
    fill_archives(gate, KEPT)
    disk.before_turn = retention(gate).prune
    assert retention(gate).prune() == {}
    assert gate.archived() == [f"{number:03}\n".encode() for number in range(KEPT - 10, KEPT)]
    assert verify(gate.system.resources, gate.system.journal, content=True) == []


def test_a_report_of_a_name_that_was_pruned_meanwhile(gate: Gate, disk: Watched) -> None:
    """A report that got the name of one that had to go, between the look and the removal, stays."""
    fill_reports(gate, 12)

    def another() -> None:
        retention(gate).prune()
        (gate.store / "reports/000.txt").write_bytes(b"new\n")
        with gate.system.ledger.transaction() as connection:
            reports.add(connection, "000.txt", owner="erp", arrival="y", at=gate.clock() + timedelta(hours=1))

    disk.before_turn = another
    retention(gate).prune()
    assert (gate.store / "reports/000.txt").read_bytes() == b"new\n"


def test_a_pass_of_the_sweeper_is_bounded(gate: Gate) -> None:
    """A pass removes so many of each kind and is gone on with at once, until nothing is left to do; then it has time."""
    fill_archives(gate, KEPT)
    whole = retention(gate)
    assert whole.regularly() == {"archives pruned": KEPT - 10}
    gate.put("a.csv", b"one more\n")
    assert whole.regularly() == {}  # within the hour
    assert gate.now(gate.put("b.csv")).state is ArrivalState.WAITING
