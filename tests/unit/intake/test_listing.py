"""Listings: what they cost, and what happens to one that is under way."""

from __future__ import annotations

import tracemalloc
from itertools import islice
from typing import Any

from sftpgate.intake.union import Union

MANY = 10_000


def union_of(gate: Any) -> Union:
    """The union of a gate's system."""
    system = gate.system
    return Union(system.layout, system.disk, system.ledger, system.staging)


def test_a_large_directory_costs_its_names(gate: Any) -> None:
    """P5: a listing of 10,000 files that is under way keeps their names in memory, and nothing else of them."""
    directory = gate.drop / "many"
    directory.mkdir()
    for number in range(MANY):
        (directory / f"{number:05}.csv").touch()
    union = union_of(gate)
    tracemalloc.start()
    try:
        listing = union.listing("erp", "many")
        first = next(listing)
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert first.name == "00000.csv"
    assert size < MANY * 250, f"{size} bytes"
    assert [item.name for item in listing] == [f"{number:05}.csv" for number in range(1, MANY)]


def test_what_goes_meanwhile_is_left_out(gate: Any) -> None:
    """P5: files that are withdrawn while a listing is under way are left out of what follows, and the rest is listed once."""
    for number in range(250):
        gate.put(f"{number:03}.csv")
    listing = union_of(gate).listing("erp", "")
    assert len(list(islice(listing, 100))) == 100
    gate.edits.remove(gate.sender(), "150.csv", [])
    gate.put("000-late.csv")
    assert [item.name for item in listing] == [f"{number:03}.csv" for number in range(100, 250) if number != 150]
