"""Which moves are durable when, and what a process knows of them while others change the store too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from sftpgate.intake.moves import Moves
from sftpgate.intake.turns import Turns
from sftpgate.ledger import arrivals
from sftpgate.ledger.arrivals import ArrivalId
from sftpgate.policy.lifecycle import Area, ArrivalEvent, ArrivalState
from sftpgate.policy.locations import location
from sftpgate.store.disk import Disk
from sftpgate.store.spots import Spot


class Steps(Disk):
    """Writes down what changes the disk."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def step(self, operation: str, *spots: Spot | int) -> None:
        """Before each operation."""
        self.steps.append(" ".join([operation, *(spot.path for spot in spots if isinstance(spot, Spot))]))


def test_new_files_share_the_flush_of_their_directory(make_gate: Any) -> None:
    """P2: a new file is answered for when content, staged name and record are durable; the directory that it goes to is flushed
    once for several, and the record then needs no settling.
    """
    disk = Steps()
    gate = make_gate(disk=disk, durability="full")
    gate.put("first.csv")  # makes the directories of its user
    gate.system.moves.flush_names()
    disk.steps.clear()
    sent = [gate.put("a.csv"), gate.put("b.csv")]
    assert [step.split()[0] for step in disk.steps] == ["create", "write", "sync", "sync_dir", "rename"] * 2
    disk.steps.clear()
    gate.system.moves.flush_names()
    assert disk.steps == ["sync_dir "]
    assert not gate.system.moves.has_unflushed_names
    gate.system.moves.flush()
    assert [gate.now(item).pending_from for item in sent] == [None, None]


def test_a_file_that_is_replaced_at_once_is_flushed_first(make_gate: Any) -> None:
    """P3: before a record builds on a move, the move is durable."""
    disk = Steps()
    gate = make_gate(disk=disk, durability="full")
    gate.put("a.csv", b"old\n")
    disk.steps.clear()
    gate.put("a.csv", b"new\n")
    flushed = disk.steps.index("sync_dir ")
    linked = next(number for number, step in enumerate(disk.steps) if step.startswith("link") and step.endswith("_a.csv"))
    assert flushed < linked
    assert disk.steps[linked:].count("sync_dir ") >= 1


def test_a_flush_of_before_another_process_came(tmp_path: Path) -> None:
    """P2: a flush that began before another process moved a file on does not make that later move durable."""
    turns, arrival = Turns(), ArrivalId("A")
    turns.begin(ours=False)
    turns.made({arrival: 7}, [Spot(tmp_path, "store")])
    turns.end()
    begun = turns.to_flush()
    turns.begin(ours=False)
    turns.made({arrival: 7}, [Spot(tmp_path, "claims")])
    turns.flushed(begun)
    assert turns.is_unflushed(arrival)
    turns.flushed(turns.to_flush())
    assert not turns.is_unflushed(arrival) and turns.has_durable


def test_who_comes_after_another_process_asks_the_ledger(make_gate: Any) -> None:
    """P4: a process does not clear the record of a move that another one has begun meanwhile, and died in."""
    gate = make_gate()
    system = gate.system
    arrival = gate.put("a.csv")
    other = Moves(system.layout, system.disk, system.ledger, clock=system.clock, modes=system.moves.modes, durable=False)
    where = location(Area.QUEUE, arrival.id)
    with system.disk.in_turn(system.layout.lock, b"another process"), system.ledger.transaction() as connection:
        row = arrivals.get(connection, arrival.id)
        arrivals.save(connection, [replace(row, state=ArrivalState.QUEUED, location=where, pending_from=row.location)])
    gate.put("b.csv")
    assert gate.now(arrival).location == where
    assert system.disk.exists(system.layout.spot(where))
    with other.change() as change:
        item = change.get(arrival.id)
        assert (item.state, item.pending_from) == (ArrivalState.QUEUED, None)
        change.event(item, ArrivalEvent.PUBLISHED, location=location(Area.STORE, "a.csv"))
    assert gate.read("a.csv") == b"a,1\n"


def test_processes_that_take_turns_leave_each_other_little_to_settle(make_gate: Any) -> None:
    """P2: who comes after another process flushes what that one has moved, and only then clears its record: what is not settled
    does not grow with the files that both have published.
    """
    disk = Steps()
    gate = make_gate(disk=disk, durability="full")
    system = gate.system
    other = Moves(system.layout, disk, system.ledger, clock=system.clock, modes=system.moves.modes)
    for number in range(5):
        gate.put(f"{number}.csv")
        disk.steps.clear()
        with other.change() as change:
            assert disk.steps[-1] == "sync_dir "
            assert arrivals.pending(change.connection) == []
        with system.ledger.reading() as connection:
            assert arrivals.pending(connection) == []
