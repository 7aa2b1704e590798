"""Listings of large directories: what they cost while they are open, and what is in them while others come and go."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from sftpgate.drop import sender_view
from sftpgate.drop.sender_view import Item, SenderView
from sftpgate.policy.names import join
from tests.harness.handover import Gate


@pytest.fixture
def view(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> SenderView:
    """What a user sees, in small windows and pages."""
    monkeypatch.setattr(sender_view, "WINDOW", 20)
    monkeypatch.setattr(sender_view, "PAGE", 5)
    return SenderView(gate.system.layout, gate.system.disk, gate.system.ledger, gate.system.staging)


def fill(directory: Path, count: int) -> None:
    """So many local files."""
    directory.mkdir(parents=True)
    for number in range(count):
        (directory / f"_{number:06}-of-an-ordinary-length.csv").touch()


def kept_bytes(view: SenderView, directory: str) -> int:
    """The memory that a listing has of which a little was read."""
    tracemalloc.start()
    listings = [view.listing("erp", directory) for _ in range(5)]
    for listing in listings:
        next(listing)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert all(listing.gi_frame is not None for listing in listings)  # type: ignore[attr-defined]  # a generator
    return kept


def test_an_open_listing_keeps_a_part_of_the_names(gate: Gate, view: SenderView) -> None:
    """The memory of open listings does not grow with the directory: ten times the files, and not three times the bytes."""
    fill(gate.drop / "small", 400)
    fill(gate.drop / "large", 4000)
    kept_bytes(view, "small")  # what is made once
    small, large = kept_bytes(view, "small"), kept_bytes(view, "large")
    assert large < 3 * small


@pytest.mark.promise("P5")
def test_a_listing_has_everything_once(gate: Gate, view: SenderView) -> None:
    """Files of each layer of the union and of every window are in a listing, in order, each once."""
    expected = [f"d/{number:03}.csv" for number in range(90)]
    (gate.drop / "d").mkdir()
    for number, path in enumerate(expected):
        match number % 4:
            case 0:
                gate.put(path)
            case 1:
                (gate.drop / path).touch()
            case 2:
                gate.system.staging.interrupt(gate.upload(path, b"part"))
            case _:
                (gate.drop / path).mkdir()
    gate.put("d/001x/no.csv", user="other")
    for _ in range(30):
        gate.put("q.csv")
    assert [join("d", item.name) for item in view.listing("erp", "d")] == expected
    assert [item.name for item in view.listing("erp", "")] == ["d", "q.csv"]
    assert list(view.listing("erp", "missing")) == []


@pytest.mark.promise("P5")
@pytest.mark.parametrize("seed", range(8))
def test_what_stays_is_neither_skipped_nor_repeated(gate: Gate, view: SenderView, seed: int) -> None:
    """While names come and go, and files move between drop and store, what was there all the time is in a listing once."""
    chance = random.Random(seed)
    stable = {f"s{number:03}.csv" for number in range(0, 120, 2)}
    for name in stable:
        gate.put(name)
    for number in range(1, 120, 10):
        (gate.drop / f"_s{number:03}").touch()
        stable.add(f"_s{number:03}")
    listing: Iterator[Item] = view.listing("erp", "")
    seen: list[str] = []
    while (item := next(listing, None)) is not None:
        seen.append(item.name)
        name = f"s{chance.randrange(120) // 2 * 2 + 1:03}.csv"
        if gate.read(name) is None:
            gate.put(name)
        else:
            gate.acts.remove(gate.sender(), name, ())
        again = f"s{chance.randrange(60) * 2:03}.csv"
        gate.put(again)  # another arrival takes its place
    assert seen == sorted(seen)
    assert sorted(name for name in seen if name in stable) == sorted(stable)
