"""Listings: what they cost, and what happens to one that is under way."""

from __future__ import annotations

import tracemalloc
from itertools import islice
from typing import Any

import pytest

from sftpgate.drop.sender_view import SenderView

MANY = 10_000


def sender_view_of(gate: Any) -> SenderView:
    """The union of a gate's system."""
    system = gate.system
    return SenderView(system.layout, system.disk, system.ledger, system.staging)


@pytest.mark.promise("P5")
def test_a_large_directory_costs_its_names(gate: Any) -> None:
    """A listing of 10,000 files that is under way keeps their names in memory, and nothing else of them."""
    directory = gate.drop / "many"
    directory.mkdir()
    for number in range(MANY):
        (directory / f"{number:05}.csv").touch()
    sender_view = sender_view_of(gate)
    tracemalloc.start()
    try:
        listing = sender_view.listing("erp", "many")
        first = next(listing)
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert first.name == "00000.csv"
    assert size < MANY * 250, f"{size} bytes"
    assert [item.name for item in listing] == [f"{number:05}.csv" for number in range(1, MANY)]


@pytest.mark.promise("P5")
def test_what_goes_meanwhile_is_left_out(gate: Any) -> None:
    """Files that are withdrawn while a listing is under way are left out of what follows, and the rest is listed once."""
    for number in range(250):
        gate.put(f"{number:03}.csv")
    listing = sender_view_of(gate).listing("erp", "")
    assert len(list(islice(listing, 100))) == 100
    gate.acts.remove(gate.sender(), "150.csv", [])
    gate.put("000-late.csv")
    assert [item.name for item in listing] == [f"{number:03}.csv" for number in range(100, 250) if number != 150]
