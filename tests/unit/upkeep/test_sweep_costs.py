"""What a sweep costs for each file that it takes: counted, so that a busy machine says the same as an idle one."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from sftpgate.handover.journal import SLICE
from sftpgate.ledger import arrivals
from sftpgate.ledger.arrivals import Arrival
from sftpgate.policy.lifecycle import ArrivalState, HoldReason
from tests.harness.costs import CountingDisk, counted_statements
from tests.harness.handover import Gate

MANY = 500  # ten slices
CONTENT = b"a,1\n"
WRONG = b"0" * 64
RIGHT = hashlib.sha256(CONTENT).hexdigest().encode()


def fill(gate: Gate, count: int, start: int = 0) -> None:
    """So many files in one directory of the drop."""
    (gate.drop / "d").mkdir(exist_ok=True)
    for number in range(start, start + count):
        (gate.drop / f"d/{number:04}.csv").write_bytes(CONTENT)


def taken(gate: Gate, path: str) -> Arrival:
    """The arrival of a path."""
    with gate.system.ledger.reading() as connection:
        [found] = arrivals.line_at(connection, [path])
    return found


def test_each_file_costs_a_few_looks_and_statements(tmp_path: Path) -> None:
    """A file of many costs six looks, and four questions and three records in the ledger; a slice of them costs two flushes of
    names. What lies beside the files is looked for once, not for each of them and each spelling.
    """
    disk = CountingDisk()
    with counted_statements() as statements:
        gate = Gate(tmp_path / "data", disk=disk, settle_seconds=0, durability="full")
        try:
            fill(gate, 2)
            gate.sweeper.run()  # makes the directory in the store
            fill(gate, MANY, start=2)
            statements.clear()
            disk.counts.clear()
            result = gate.sweeper.run()
        finally:
            gate.system.close()
    assert result is not None and result.taken == MANY
    few = MANY // SLICE + 5  # once for a slice, and what a sweep does once
    cost = disk.counts
    assert cost["look"] <= 6 * MANY and cost["asked"] <= 8 * MANY and cost["listing"] <= 3
    assert cost["rename"] <= MANY + 5
    assert cost["sync_dir"] <= 2 * few and cost["sync_filesystem"] == 1 and cost["sync"] <= 5 and cost["change"] <= few
    assert statements["SELECT"] <= 4 * MANY + 4 * few and statements["INSERT"] <= 2 * MANY + few
    assert statements["UPDATE"] <= MANY + 3 * few


def test_few_files_of_a_large_directory_do_not_cost_a_listing(tmp_path: Path) -> None:
    """Where thousands of files lie that nobody takes, the companions of the one that is taken are looked for by their names."""
    disk = CountingDisk()
    gate = Gate(tmp_path / "data", disk=disk, settle_seconds=0)
    try:
        (gate.drop / "d").mkdir()
        for number in range(2000):
            (gate.drop / f"d/_{number:04}").touch()
        fill(gate, 1)
        (gate.drop / "d/0000.csv.Sha256").write_bytes(WRONG)
        gate.sweeper.run()
        assert disk.counts["listing"] == 0 and taken(gate, "d/0000.csv").hold_reason is HoldReason.CHECKSUM_MISMATCH
    finally:
        gate.system.close()


@pytest.mark.promise("P1")
@pytest.mark.parametrize("name", ["0001.csv.sha256", "0001.csv.sHa256"])
@pytest.mark.parametrize(("text", "state"), [(WRONG, ArrivalState.HELD), (RIGHT, ArrivalState.WAITING)], ids=["wrong", "right"])
@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_checksum_file_counts_whenever_it_comes(tmp_path: Path, name: str, text: bytes, state: ArrivalState, when: str) -> None:
    """A checksum file is heeded that lay there before the sweep, and one that comes between the listing and the change."""
    disk = CountingDisk()
    gate = Gate(tmp_path / "data", disk=disk, settle_seconds=0)
    try:
        fill(gate, 3)
        appear = (gate.drop / "d" / name).write_bytes
        if when == "before":
            appear(text)
        else:
            gate.sweeper.run(lambda what, count: setattr(disk, "before_turn", lambda: appear(text)) if count == 3 else None)
        gate.sweeper.run()
        found = taken(gate, "d/0001.csv")
        assert (found.state, taken(gate, "d/0000.csv").state) == (state, ArrivalState.WAITING)
        assert (gate.read("d/0001.csv") is None) is (state is ArrivalState.HELD)
    finally:
        gate.system.close()
