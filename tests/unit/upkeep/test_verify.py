"""Each thing that must not be is found, named by its rule, and by nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from sftpgate.ledger import arrivals
from sftpgate.ledger.arrivals import ArrivalId
from sftpgate.policy.lifecycle import ArrivalState
from sftpgate.policy.locations import Location
from sftpgate.upkeep.verify import verify
from tests.harness.handover import Gate

SUSPECT = b"x" * 65536


def _removed(gate: Gate) -> None:
    gate.put("a.csv")
    (gate.store / "a.csv").unlink()


def _grown(gate: Gate) -> None:
    gate.put("a.csv")
    with (gate.store / "a.csv").open("ab") as file:
        file.write(b"more\n")


def _altered(gate: Gate) -> None:
    gate.put("a.csv", b"a,1\n")
    with (gate.store / "a.csv").open("r+b") as file:
        file.write(b"b")


def _held_removed(gate: Gate) -> None:
    held = gate.put("a.csv", SUSPECT)
    (gate.store / ".sftpgate/held" / held.id).unlink()


def _archive_removed(gate: Gate) -> None:
    gate.put("a.csv", b"1\n")
    gate.put("a.csv", b"2\n")
    [archived] = (gate.store / "archives").iterdir()
    archived.unlink()


def _stray(gate: Gate) -> None:
    gate.put("a.csv")
    for area in ("held", "queue", "claims", "quarantine"):
        (gate.store / ".sftpgate" / area / "01J00000000000000000000000").write_bytes(b"whose?\n")


def _misplaced(gate: Gate) -> None:
    row = gate.put("a.csv")
    with gate.system.ledger.transaction() as connection:
        arrivals.save(connection, [replace(arrivals.get(connection, row.id), state=ArrivalState.QUEUED, pending_from=None)])


def _doubled(gate: Gate) -> None:
    row = gate.put("a.csv")
    gate.system.journal.flush()
    with gate.system.ledger.transaction() as connection:
        arrivals.add(connection, [replace(arrivals.get(connection, row.id), id=ArrivalId("01J00000000000000000000000"))])


def _moved_in_the_ledger(gate: Gate) -> None:
    row = gate.put("a.csv")
    with gate.system.ledger.transaction() as connection:
        item = arrivals.get(connection, row.id)
        arrivals.save(connection, [replace(item, location=Location("store/b.csv"), path="b.csv", pending_from=None)])


BROKEN = [
    (_removed, "the file of an arrival is where the ledger says"),
    (_held_removed, "the file of an arrival is where the ledger says"),
    (_archive_removed, "the file of an arrival is where the ledger says"),
    (_moved_in_the_ledger, "the file of an arrival is where the ledger says"),
    (_grown, "a waiting file is the one that was received"),
    (_altered, "a waiting file is the one that was received"),
    (_stray, "every file in a managed place is an arrival's"),
    (_misplaced, "an arrival lies where its state says"),
    (_doubled, "one place holds one arrival"),
]


@pytest.mark.promise("P1", "P2", "P3", "P4")
@pytest.mark.parametrize(("damage", "rule"), BROKEN, ids=lambda value: getattr(value, "__name__", None))
def test_each_violation_is_found(gate: Gate, damage: Callable[[Gate], None], rule: str) -> None:
    """What is broken on disk or in the ledger is found, and says which rule it breaks."""
    gate.put("good.csv")
    gate.put("held.csv", SUSPECT)
    assert verify(gate.system.resources, gate.system.journal, content=True) == []
    damage(gate)
    gate.system.journal.flush()
    assert {found.rule for found in verify(gate.system.resources, gate.system.journal, content=True)} == {rule}


def test_a_change_that_is_under_way_is_no_violation(gate: Gate) -> None:
    """What is half-way while somebody works is looked at again when that one is done."""
    (gate.drop / "local.csv").write_bytes(b"nobody's\n")
    (gate.store / "plain.csv").write_bytes(b"nobody's\n")
    gate.put("a.csv", b"1\n")
    gate.put("q.csv", b"1\n")
    gate.put("q.csv", b"2\n")
    assert verify(gate.system.resources, gate.system.journal, content=True) == []
