"""Which moves are durable when, and what a process knows of them while others change the store too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sftpgate.handover.journal import Journal
from sftpgate.handover.pending_moves import PendingMoves
from sftpgate.ledger import arrivals
from sftpgate.ledger.arrivals import ArrivalId
from sftpgate.policy.lifecycle import Area, ArrivalEvent, ArrivalState
from sftpgate.policy.locations import location
from sftpgate.store.disk import Disk
from sftpgate.store.disk_paths import DiskPath


class Steps(Disk):
    """Writes down what changes the disk."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def step(self, operation: str, *disk_paths: DiskPath | int) -> None:
        """Before each operation."""
        self.steps.append(" ".join([operation, *(disk_path.path for disk_path in disk_paths if isinstance(disk_path, DiskPath))]))


@pytest.mark.promise("P2")
def test_new_files_share_the_flush_of_their_directory(make_gate: Any) -> None:
    """A new file is answered for when content, staged name and record are durable; the directory that it goes to is flushed
    once for several, and the record then needs no settling.
    """
    disk = Steps()
    gate = make_gate(disk=disk, durability="full")
    gate.put("first.csv")  # makes the directories of its user
    gate.system.journal.flush_names()
    disk.steps.clear()
    sent = [gate.put("a.csv"), gate.put("b.csv")]
    assert [step.split()[0] for step in disk.steps] == ["create", "write", "sync", "sync_dir", "rename"] * 2
    disk.steps.clear()
    gate.system.journal.flush_names()
    assert disk.steps == ["sync_dir "]
    assert not gate.system.journal.has_unflushed_names
    gate.system.journal.flush()
    assert [gate.now(item).pending_from for item in sent] == [None, None]


@pytest.mark.promise("P3")
def test_a_file_that_is_replaced_at_once_is_flushed_first(make_gate: Any) -> None:
    """Before a record builds on a move, the move is durable."""
    disk = Steps()
    gate = make_gate(disk=disk, durability="full")
    gate.put("a.csv", b"old\n")
    disk.steps.clear()
    gate.put("a.csv", b"new\n")
    flushed = disk.steps.index("sync_dir ")
    linked = next(number for number, step in enumerate(disk.steps) if step.startswith("link") and step.endswith("_a.csv"))
    assert flushed < linked
    assert disk.steps[linked:].count("sync_dir ") >= 1


@pytest.mark.promise("P2")
def test_a_flush_of_before_another_process_came(tmp_path: Path) -> None:
    """A flush that began before another process moved a file on does not make that later move durable."""
    turns, arrival = PendingMoves(), ArrivalId("A")
    turns.begin(ours=False)
    turns.made({arrival: 7}, [DiskPath(tmp_path, "store")])
    turns.end()
    begun = turns.to_flush()
    turns.begin(ours=False)
    turns.made({arrival: 7}, [DiskPath(tmp_path, "claims")])
    turns.flushed(begun)
    assert turns.is_unflushed(arrival)
    turns.flushed(turns.to_flush())
    assert not turns.is_unflushed(arrival) and turns.has_durable


@pytest.mark.promise("P4")
def test_who_comes_after_another_process_asks_the_ledger(make_gate: Any) -> None:
    """A process does not clear the record of a move that another one has begun meanwhile, and died in."""
    gate = make_gate()
    system = gate.system
    arrival = gate.put("a.csv")
    other = Journal(replace(system.resources, durable=False))
    where = location(Area.QUEUE, arrival.id)
    with system.disk.in_turn(system.layout.lock, b"another process"), system.ledger.transaction() as connection:
        row = arrivals.get(connection, arrival.id)
        arrivals.save(connection, [replace(row, state=ArrivalState.QUEUED, location=where, pending_from=row.location)])
    gate.put("b.csv")
    assert gate.now(arrival).location == where
    assert system.disk.exists(system.layout.disk_path(where))
    with other.change() as change:
        item = change.get(arrival.id)
        assert (item.state, item.pending_from) == (ArrivalState.QUEUED, None)
        change.event(item, ArrivalEvent.PUBLISHED, location=location(Area.STORE, "a.csv"))
    assert gate.read("a.csv") == b"a,1\n"


@pytest.mark.promise("P2")
def test_processes_that_take_turns_leave_each_other_little_to_settle(make_gate: Any) -> None:
    """Who comes after another process flushes what that one has moved, and only then clears its record: what is not settled
    does not grow with the files that both have published.
    """
    disk = Steps()
    gate = make_gate(disk=disk, durability="full")
    system = gate.system
    other = Journal(system.resources)
    for number in range(5):
        gate.put(f"{number}.csv")
        disk.steps.clear()
        with other.change() as change:
            assert disk.steps[-1] == "sync_dir "
            assert arrivals.pending(change.connection) == []
        with system.ledger.reading() as connection:
            assert arrivals.pending(connection) == []
