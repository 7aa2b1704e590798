"""Homes of users: a directory each, which nobody else removes, replaces or takes the name of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from sftpgate.drop.opening import OpenMode
from sftpgate.errors import HomeTaken, PlaceRefused, SftpgateError, StorageError
from sftpgate.handover.placement.homes import Homes, ways_to
from sftpgate.ledger.arrivals import Arrival
from sftpgate.policy.lifecycle import ArrivalState
from sftpgate.uploads.terms import SessionTrace
from tests.harness.handover import Gate

NEW = OpenMode(create=True, truncate=True, exclusive=False, append=False)


@pytest.fixture
def gate(make_gate: Callable[..., Gate]) -> Gate:
    """A gate with users whose homes are ``hr`` and ``schools/north``, and one, ``erp``, that sees all of the drop."""
    made = make_gate()
    made.system.placer.rules.homes.of_users = lambda: ["hr", "schools/north"]
    return made


def test_the_ways_to_homes() -> None:
    """A home and everything above it are directories that have to stay; the drop itself is not asked for."""
    assert ways_to(["hr", "schools/north", "schools/south"]) == {"hr", "schools", "schools/north", "schools/south"}
    assert ways_to([""]) == ways_to([]) == frozenset()


def test_users_are_asked_now_and_then() -> None:
    """The users are read again after half a minute, and where that fails those from before stay."""
    now, found = [0.0], [["hr"]]

    def of_users() -> list[str]:
        if not found:
            raise StorageError("unreadable")
        return found[0]

    homes = Homes(of_users, lambda: now[0])
    for path, at, left in (("hr", 0.0, ["sales"]), ("hr", 29.0, ["sales"]), ("sales", 31.0, None), ("sales", 99.0, None)):
        now[0] = at
        with pytest.raises(PlaceRefused, match="rule: homes stay"):
            homes.require_no_home(path)
        found[:] = [left] if left else []
    homes.require_no_home("hr")


@pytest.mark.promise("P6", "P7")
@pytest.mark.parametrize("path", ["hr", "schools", "schools/north"])
def test_a_home_stays(gate: Gate, path: str) -> None:
    """Another user neither removes the empty directory nor renames it away, and is told the rule."""
    for home in ("hr", "schools/north"):
        gate.acts.make_home(home)
    with pytest.raises(PlaceRefused, match="rule: homes stay"):
        gate.acts.remove_directory(gate.sender(), path, [])
    for replacing in (False, True):
        with pytest.raises(PlaceRefused, match="rule: homes stay"):
            gate.acts.rename(gate.sender(), path, "moved", replacing=replacing, uploads=[])
    gate.acts.make_directory(gate.sender(), "other", [])
    with pytest.raises(SftpgateError):
        gate.acts.rename(gate.sender(), "other", path, replacing=True, uploads=[])
    assert (gate.drop / path).is_dir()


@pytest.mark.promise("P6", "P7")
@pytest.mark.parametrize("path", ["hr", "schools", "schools/north"])
def test_no_file_has_the_name_of_a_home(gate: Gate, path: str) -> None:
    """Where the directory is missing on the disk, nobody sends or renames a file to its name, or another directory."""
    (gate.drop / path).parent.mkdir(exist_ok=True)
    with pytest.raises(PlaceRefused, match="rule: homes stay"):
        gate.acts.opening.open(gate.sender(), path, NEW, SessionTrace(), [])
    with pytest.raises(PlaceRefused, match="rule: homes stay"):
        gate.put(path)
    gate.put("x.csv")
    with pytest.raises(PlaceRefused, match="rule: homes stay"):
        gate.acts.rename(gate.sender(), "x.csv", path, replacing=False, uploads=[])
    assert gate.read("x.csv") == b"a,1\n" and not (gate.store / path).exists()


@pytest.mark.promise("P5")
def test_a_home_that_was_removed_on_the_disk(gate: Gate) -> None:
    """A home that an administrator removed is made again by its user's next upload."""
    sender = gate.sender("hr", "hr")
    gate.acts.make_home("hr")
    (gate.drop / "hr").rmdir()
    upload = gate.acts.opening.open(sender, "hr/x.csv", NEW, SessionTrace(), [])
    upload.write(gate.system.disk, 0, b"x\n")
    [arrival] = gate.publisher.commit([upload])
    assert isinstance(arrival, Arrival)
    assert gate.now(arrival).state is ArrivalState.WAITING and (gate.drop / "hr").is_dir()


@pytest.mark.promise("P7")
def test_a_file_that_stands_in_the_place_of_a_home(gate: Gate, tmp_path: Path) -> None:
    """A user whose directory's name a file has is told so, the log says it once, and the file is not taken into the store."""
    (gate.drop / "home").write_bytes(b"x\n")
    gate.system.placer.rules.homes.of_users = lambda: ["home"]
    for home in ("home", "home/below"):
        with pytest.raises(HomeTaken, match="administrators"):
            gate.acts.make_home(home)
    with capture_logs() as logs:
        gate.sweeper.run()
        gate.sweeper.run()
    assert [line["home"] for line in logs if line["event"] == "home.taken"] == ["home"]
    with pytest.raises(PlaceRefused):
        gate.put("home")
    assert gate.read("home") is None
