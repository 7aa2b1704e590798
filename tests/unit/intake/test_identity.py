"""Store, drop and ledger that belong together or not, as a start and a running gate see them."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sftpgate.errors import IdentityError, StoreAway
from sftpgate.intake.identity import look
from sftpgate.intake.union import Union
from sftpgate.ledger import arrivals, audit
from sftpgate.ledger.audit import Event
from sftpgate.policy.lifecycle import ArrivalState
from tests.unit.intake.conftest import Gate


def _events(gate: Gate, event: str) -> list[Event]:
    with gate.system.ledger.reading() as connection:
        return [record.event for record in audit.search(connection, audit.Wanted(event=event))]


def _states(gate: Gate) -> dict[str, str]:
    with gate.system.ledger.reading() as connection:
        return {row.path: row.state.value for row in arrivals.find(connection)}


def _forget_identity(data: Path) -> None:
    """What a gate of a version before identities left."""
    (data / "store/.sftpgate/identity").unlink()
    (data / "store/.sftpgate/seal").unlink(missing_ok=True)
    (data / "sync/.sftpgate/identity").unlink()
    with sqlite3.connect(data / "ledger.db") as connection:
        connection.execute("DELETE FROM facts WHERE name IN ('identity', 'seal')")
    connection.close()


def test_a_new_gate_has_one_identity(gate: Gate) -> None:
    """Store, drop and ledger get one id at the first start, and nobody who looks at the drop sees it."""
    seen = look(gate.system.layout, gate.system.disk, gate.system.ledger)
    assert seen.is_whole
    union = Union(gate.system.layout, gate.system.disk, gate.system.ledger, gate.system.staging)
    assert list(union.listing("erp", "")) == []


@pytest.mark.parametrize("apart", ["store", "sync"])
def test_a_start_without_store_or_drop(make_gate: Any, tmp_path: Path, apart: str) -> None:
    """P2, P4: an empty directory in the place of store or drop is refused, nothing is made in it, and with the true one all is
    as before.
    """
    gate = make_gate()
    gate.put("x.csv")
    gate.put("_held.csv")
    gate.system.close()
    place = tmp_path / "data" / apart
    place.rename(tmp_path / "unmounted")
    for there in (False, True):
        if there:
            place.mkdir()
        with pytest.raises(IdentityError, match="mounted"):
            make_gate()
        assert not place.exists() or not list(place.iterdir())
    place.rmdir()
    (tmp_path / "unmounted").rename(place)
    again = make_gate()
    again.sweeper.recover()
    assert _states(again) == {"x.csv": "waiting", "_held.csv": "ignored"}


def test_a_store_of_another_gate(make_gate: Any, tmp_path: Path) -> None:
    """P4: two gates on one ledger with two stores, or on one store with two ledgers: the second one does not start."""
    first = make_gate()
    first.put("x.csv")
    with pytest.raises(IdentityError, match="mounted"):
        make_gate(store_dir=tmp_path / "other/store", drop_dir=tmp_path / "other/sync")
    other = Gate(tmp_path / "second")
    other.system.close()
    with pytest.raises(IdentityError, match="another gate"):
        make_gate(store_dir=tmp_path / "second/store", drop_dir=tmp_path / "second/sync")
    with pytest.raises(IdentityError, match="another gate"):
        make_gate(drop_dir=tmp_path / "second/sync")


def test_an_earlier_version_is_adopted(make_gate: Any, tmp_path: Path) -> None:
    """A gate that was used before there were identities gets one at its first start, and keeps what it knows."""
    gate = make_gate()
    gate.put("x.csv")
    gate.put("x.csv", b"b\n")
    gate.system.close()
    _forget_identity(tmp_path / "data")
    again = make_gate()
    again.sweeper.recover()
    assert look(again.system.layout, again.system.disk, again.system.ledger).is_whole
    assert again.now(again.put("y.csv")).owner == "erp"
    assert [row.state for row in _rows(again, "x.csv")] == [ArrivalState.REPLACED, ArrivalState.WAITING]


def _rows(gate: Gate, path: str) -> list[arrivals.Arrival]:
    with gate.system.ledger.reading() as connection:
        return arrivals.find(connection, paths=[path])


@pytest.mark.parametrize("what", ["empty", "another"])
def test_an_earlier_version_without_its_store(make_gate: Any, tmp_path: Path, what: str) -> None:
    """P4: a ledger of before there were identities does not take an empty store, nor one in which none of its files is."""
    gate = make_gate()
    gate.put("x.csv")
    gate.put("x.csv", b"b\n")  # the first one is in the archives
    gate.system.close()
    _forget_identity(tmp_path / "data")
    (tmp_path / "data/store").rename(tmp_path / "unmounted")
    if what == "another":
        other = Gate(tmp_path / "second")
        other.put("z.csv", b"z,1\n")
        other.system.close()
        _forget_identity(tmp_path / "second")
        (tmp_path / "second/store").rename(tmp_path / "data/store")
    with pytest.raises(IdentityError):
        make_gate()


def test_a_start_that_was_cut_off(make_gate: Any, tmp_path: Path) -> None:
    """A crash after the store, or store and drop, got their id leaves a gate that starts."""
    gate = make_gate()
    gate.put("x.csv")
    identity = gate.system.moves.ties.identity
    gate.system.close()
    for remove_drop in (False, True):
        with sqlite3.connect(tmp_path / "data/ledger.db") as connection:
            connection.execute("DELETE FROM facts WHERE name = 'identity'")
        connection.close()
        if remove_drop:
            (tmp_path / "data/sync/.sftpgate/identity").unlink()
        again = make_gate()
        assert again.system.moves.ties.identity == identity
        again.system.close()


@pytest.mark.parametrize("apart", ["store", "sync"])
@pytest.mark.parametrize("instead", ["nothing", "empty", "another"])
def test_a_store_that_goes_away_and_comes_back(gate: Gate, tmp_path: Path, apart: str, instead: str) -> None:
    """P2, P4, P8: while store or drop is away nothing is taken, changed, or recorded as taken, lost or discarded, nor left in
    what is there instead; when it is back, the gate goes on.
    """
    gate.put("x.csv")
    gate.put("_kept.csv")
    gate.put("q.csv")
    gate.put("q.csv", b"2\n")
    before = _states(gate)
    place, away = tmp_path / "data" / apart, tmp_path / "away"
    pending = gate.upload("late.csv", b"late\n")
    place.rename(away)
    other: Gate | None = None
    if instead == "empty":
        place.mkdir()
    elif instead == "another":
        other = Gate(tmp_path / "second")
        other.system.close()
        (tmp_path / "second" / apart).rename(place)
    lock = place / ".sftpgate/lock"
    mark = lock.read_bytes() if lock.exists() else None
    gate.clock.ahead = timedelta(minutes=5)
    with pytest.raises(StoreAway):
        gate.sweeper.run()
    with pytest.raises(StoreAway):
        gate.sweeper.recover()
    with pytest.raises(StoreAway):
        gate.put("new.csv")
    union = Union(gate.system.layout, gate.system.disk, gate.system.ledger, gate.system.staging)
    with pytest.raises(StoreAway):
        list(union.listing("erp", ""))
    with pytest.raises(StoreAway):
        gate.edits.make_directory(gate.sender(), "d", [])
    with pytest.raises(StoreAway):
        gate.edits.make_home("home")
    [outcome] = gate.publisher.commit([pending])
    assert isinstance(outcome, StoreAway)
    assert (lock.read_bytes() if lock.exists() else None) == mark
    assert instead != "empty" or not list(place.iterdir())
    assert _states(gate) == before
    if place.exists():
        shutil.rmtree(place)
    away.rename(place)
    result = gate.sweeper.run()
    assert result is not None and result.gone == 0
    assert _states(gate) == before
    assert gate.put("new.csv").state is ArrivalState.WAITING


def test_a_store_that_goes_away_within_a_change(gate: Gate, tmp_path: Path) -> None:
    """P8: a store that goes away after a change has begun, and before it looks for a file, makes nothing of it gone."""
    arrival = gate.put("x.csv")
    store = tmp_path / "data/store"
    with pytest.raises(StoreAway), gate.system.moves.change() as change:
        store.rename(tmp_path / "away")
        store.mkdir()
        assert change.get(arrival.id).state is ArrivalState.TAKEN
    store.rmdir()
    (tmp_path / "away").rename(store)
    assert gate.now(arrival).state is ArrivalState.WAITING


# -- backups of one of the two ---------------------------------------------------------------------------------------


@pytest.fixture
def restart(make_gate: Any, tmp_path: Path) -> Callable[[Gate], Gate]:
    """Stops a gate and starts another one on the same data, as after a crash."""

    def again(gate: Gate) -> Gate:
        gate.system.close()
        made: Gate = make_gate()
        made.sweeper.recover()
        return made

    return again


def test_an_older_store(make_gate: Any, tmp_path: Path, restart: Callable[[Gate], Gate]) -> None:
    """P4, P8: with a store and drop from an older backup, what came later is lost, not taken, and the record says so."""
    gate = make_gate()
    gate.put("x.csv")
    gate.sweeper.run()
    for name in ("store", "sync"):
        shutil.copytree(tmp_path / "data" / name, tmp_path / "backup" / name)
    gate.put("y.csv", b"later\n")
    gate.put("_y.csv", b"later\n")
    gate.clock.ahead = timedelta(seconds=1)
    gate.sweeper.run()
    for name in ("store", "sync"):
        shutil.rmtree(tmp_path / "data" / name)
        shutil.copytree(tmp_path / "backup" / name, tmp_path / "data" / name)
    again = restart(gate)
    assert _states(again) == {"x.csv": "waiting", "y.csv": "lost", "_y.csv": "lost"}
    [event] = _events(again, "store.restored")
    assert event.details["lost"] == 2 and "older" in str(event.details["reason"])
    assert _events(restart(again), "store.restored") == [event]


def test_an_older_ledger(make_gate: Any, tmp_path: Path, restart: Callable[[Gate], Gate]) -> None:
    """P3, P8: with a ledger from an older backup, what came later waits, without a sender; what moved since keeps its sender;
    what is nowhere is lost.
    """
    gate = make_gate()
    gate.put("x.csv")
    gate.put("z.csv", b"z\n")
    gate.sweeper.run()
    gate.system.close()
    shutil.copy2(tmp_path / "data/ledger.db", tmp_path / "ledger.db")
    gate = make_gate()
    gate.put("x.csv", b"later\n")  # the first one goes to the archives
    gate.put("held.csv", b"x" * 65536)
    (gate.store / "z.csv").unlink()
    gate.clock.ahead = timedelta(seconds=1)
    gate.sweeper.run()
    gate.system.close()
    for beside in (tmp_path / "data").glob("ledger.db*"):
        beside.unlink()
    shutil.copy2(tmp_path / "ledger.db", tmp_path / "data/ledger.db")
    again = restart(gate)
    rows = {(row.path, row.state.value, row.owner) for path in ("x.csv", "z.csv", "held.csv") for row in _rows(again, path)}
    held = next(row for row in _rows(again, "held.csv"))
    assert rows == {
        ("x.csv", "done", "erp"),
        ("x.csv", "waiting", ""),
        ("z.csv", "lost", "erp"),
        ("held.csv", held.state.value, "erp"),
    }
    [event] = _events(again, "store.restored")
    assert event.details["lost"] == 1


def test_a_backup_of_both(make_gate: Any, tmp_path: Path, restart: Callable[[Gate], Gate]) -> None:
    """Both brought back from one backup of a stopped gate are what they were."""
    gate = make_gate()
    gate.put("x.csv")
    gate.sweeper.run()
    gate.system.close()
    shutil.copytree(tmp_path / "data", tmp_path / "backup")
    gate = make_gate()
    gate.put("y.csv", b"later\n")
    gate.sweeper.run()
    gate.system.close()
    shutil.rmtree(tmp_path / "data")
    shutil.copytree(tmp_path / "backup", tmp_path / "data")
    again = restart(gate)
    assert _states(again) == {"x.csv": "waiting"}
    assert not _events(again, "store.restored")
