"""Who reads a file while it is replaced reads one whole version of it."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from sftpgate.depot.depot import Depot, depot_path
from sftpgate.ledger.audit import event_log
from sftpgate.policy.lifecycle import Area, ArrivalEvent, ArrivalState
from sftpgate.policy.locations import location
from tests.harness.handover import Gate

VERSIONS = [b"%d\n" % number * 20_000 for number in range(40)]


@pytest.mark.promise("P1")
def test_a_runner_that_reads_while_the_file_is_replaced(gate: Gate) -> None:
    """Whenever a plain program opens the named file, it is there, and it reads one version of it to the end."""
    seen: list[bytes] = []
    ended = threading.Event()

    def read() -> None:
        while not ended.is_set():
            seen.append((gate.store / "a.csv").read_bytes())

    gate.put("a.csv", VERSIONS[0])
    reader = threading.Thread(target=read)
    reader.start()
    try:
        for version in VERSIONS[1:]:
            gate.put("a.csv", version)
    finally:
        ended.set()
        reader.join(20)
    assert seen and set(seen) <= set(VERSIONS)


@pytest.mark.promise("P1")
def test_a_descriptor_keeps_its_version(gate: Gate) -> None:
    """A user or runner that has begun to read goes on with what it began, though the file was replaced meanwhile."""
    gate.put("a.csv", VERSIONS[1])
    depot = Depot(gate.system.layout, gate.system.disk)
    with open(depot.open_read(depot_path("a.csv")), "rb") as file:
        half = file.read(10_000)
        gate.put("a.csv", VERSIONS[2])
        assert half + file.read() == VERSIONS[1]
    assert gate.read("a.csv") == VERSIONS[2]


@pytest.mark.promise("P3")
def test_a_reader_that_unlinks_what_it_did_not_read(gate: Gate) -> None:
    """A plain program reads a file, a newer one takes its name, the program unlinks that name: the newer one is put back."""
    gate.put("a.csv", b"first\n")
    with (gate.store / "a.csv").open("rb") as file:
        newer = gate.put("a.csv", b"second\n")
        assert file.read() == b"first\n"
    (gate.store / "a.csv").unlink()
    gate.clock.ahead += timedelta(minutes=30)
    gate.sweeper.run()
    assert gate.read("a.csv") == b"second\n"
    assert gate.now(newer).state is ArrivalState.WAITING
    with gate.system.ledger.reading() as connection:
        assert "arrival.put_back" in [event.event for event in event_log.history(connection, newer.id)]
    (gate.store / "a.csv").unlink()  # and now it has read that one
    gate.sweeper.run()
    assert gate.now(newer).state is ArrivalState.TAKEN
    assert kept(gate) == []


@pytest.mark.promise("P3")
def test_a_put_back_does_not_take_a_name(gate: Gate) -> None:
    """What another program put under the name meanwhile is kept in the archives."""
    gate.put("a.csv", b"first\n")
    newer = gate.put("a.csv", b"second\n")
    (gate.store / "a.csv").unlink()
    (gate.store / "a.csv").write_bytes(b"local\n")
    gate.sweeper.run()
    assert (gate.read("a.csv"), gate.now(newer).state) == (b"second\n", ArrivalState.WAITING)
    assert sorted(gate.archived()) == [b"first\n", b"local\n"]


@pytest.mark.parametrize("how", ["nothing was replaced", "long ago", "claimed", "withdrawn"])
def test_second_names_that_nobody_needs(gate: Gate, how: str) -> None:
    """A file has a second name only while it could be unlinked unread: the sweeper removes the others, and nothing comes back."""
    if how != "nothing was replaced":
        gate.put("a.csv", b"first\n")
    newer = gate.put("a.csv", b"second\n")
    assert len(kept(gate)) == (how != "nothing was replaced")
    if how == "long ago":
        gate.clock.ahead += timedelta(minutes=61)
        (gate.store / "a.csv").unlink()
    elif how == "withdrawn":
        gate.acts.remove(gate.sender(), "a.csv", [])
    elif how == "claimed":
        with gate.system.journal.change() as change:
            where = location(Area.CLAIMS, newer.id)
            change.event(change.get(newer.id), ArrivalEvent.CLAIMED, location=where)
    else:
        (gate.store / "a.csv").unlink()
    gate.sweeper.run()
    assert kept(gate) == []
    assert not (gate.store / "a.csv").exists()


@pytest.mark.promise("P1", "P6")
def test_a_local_file_has_no_second_name(gate: Gate) -> None:
    """A file that a local program takes out of the drop, while a sweep moves it, comes into the store by no other way."""
    for content in (b"first\n", b"second\n"):
        (gate.drop / "a.csv").write_bytes(content)
        for _ in range(2):
            gate.sweeper.run()
            gate.clock.ahead += timedelta(minutes=1)
        assert (gate.read("a.csv"), kept(gate)) == (content, [])


def kept(gate: Gate) -> list[str]:
    """The second names that there are."""
    return [path.name for path in (gate.store / ".sftpgate" / "kept").iterdir()]
