"""Store, drop and ledger that belong together or not, as a start and a running gate see them."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog

from sftpgate.app.composition import build
from sftpgate.app.runs.claims import make_claims
from sftpgate.drop.sender_view import SenderView
from sftpgate.errors import IdentityError, StoreAway
from sftpgate.handover.identity.gate_memory import memory_file, remembered
from sftpgate.handover.identity.ties import look
from sftpgate.ledger import arrivals
from sftpgate.ledger.audit import event_log
from sftpgate.ledger.audit.actor import command
from sftpgate.ledger.audit.event_log import Event
from sftpgate.policy.lifecycle import ArrivalState
from sftpgate.settings.choices import Durability
from sftpgate.settings.tree import Settings
from tests.harness.handover import Gate


def _events(gate: Gate, event: str) -> list[Event]:
    with gate.system.ledger.reading() as connection:
        return [record.event for record in event_log.search(connection, event_log.Wanted(event=event))]


def _states(gate: Gate) -> dict[str, str]:
    with gate.system.ledger.reading() as connection:
        return {row.path: row.state.value for row in arrivals.find(connection)}


def _forget_identity(data: Path) -> None:
    """What a gate of a version before identities left."""
    (data / "store/.sftpgate/identity").unlink()
    (data / "store/.sftpgate/seal").unlink(missing_ok=True)
    (data / "sync/.sftpgate/identity").unlink()
    with sqlite3.connect(data / "ledger.db") as connection:
        connection.execute("DELETE FROM facts WHERE name IN ('identity', 'seal', 'place')")
    connection.close()


def test_a_new_gate_has_one_identity(gate: Gate) -> None:
    """Store, drop and ledger get one id at the first start, and nobody who looks at the drop sees it."""
    seen = look(gate.system.layout, gate.system.disk, gate.system.ledger)
    assert seen.is_whole
    sender_view = SenderView(gate.system.layout, gate.system.disk, gate.system.ledger, gate.system.staging)
    assert list(sender_view.listing("erp", "")) == []


@pytest.mark.promise("P2", "P4")
@pytest.mark.parametrize("apart", ["store", "sync"])
def test_a_start_without_store_or_drop(make_gate: Any, tmp_path: Path, apart: str) -> None:
    """An empty directory in the place of store or drop is refused, nothing is made in it, and with the true one all is
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


@pytest.mark.promise("P4")
def test_a_store_of_another_gate(make_gate: Any, tmp_path: Path) -> None:
    """Two gates on one ledger with two stores, or on one store with two ledgers: the second one does not start."""
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


@pytest.mark.promise("P4")
@pytest.mark.parametrize("what", ["empty", "another"])
def test_an_earlier_version_without_its_store(make_gate: Any, tmp_path: Path, what: str) -> None:
    """A ledger of before there were identities does not take an empty store, nor one in which none of its files is."""
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
    identity = gate.system.journal.ties.identity
    gate.system.close()
    for remove_drop in (False, True):
        with sqlite3.connect(tmp_path / "data/ledger.db") as connection:
            connection.execute("DELETE FROM facts WHERE name = 'identity'")
        connection.close()
        if remove_drop:
            (tmp_path / "data/sync/.sftpgate/identity").unlink()
        again = make_gate()
        assert again.system.journal.ties.identity == identity
        again.system.close()


@pytest.mark.promise("P2", "P4", "P8")
@pytest.mark.parametrize("apart", ["store", "sync"])
@pytest.mark.parametrize("instead", ["nothing", "empty", "another"])
def test_a_store_that_goes_away_and_comes_back(gate: Gate, tmp_path: Path, apart: str, instead: str) -> None:
    """While store or drop is away nothing is taken, changed, or recorded as taken, lost or discarded, nor left in
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
    sender_view = SenderView(gate.system.layout, gate.system.disk, gate.system.ledger, gate.system.staging)
    with pytest.raises(StoreAway):
        list(sender_view.listing("erp", ""))
    with pytest.raises(StoreAway):
        gate.acts.make_directory(gate.sender(), "d", [])
    with pytest.raises(StoreAway):
        gate.acts.make_home("home")
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


def _leave(store: Path) -> None:
    """An empty directory is in the place of the store."""
    store.rename(store.with_name("away"))
    store.mkdir()


def _come_back(store: Path) -> None:
    """Nothing was left in that directory, and the store is back."""
    assert not list(store.iterdir())
    store.rmdir()
    store.with_name("away").rename(store)


@pytest.mark.promise("P8")
def test_a_store_that_goes_away_within_a_change(gate: Gate, tmp_path: Path) -> None:
    """A store that goes away after a change has begun makes nothing of it gone."""
    arrival = gate.put("x.csv")
    store = tmp_path / "data/store"
    with gate.system.journal.change() as change:
        _leave(store)
        assert change.get(arrival.id).state is ArrivalState.WAITING
    _come_back(store)
    assert gate.now(arrival).state is ArrivalState.WAITING


@pytest.mark.promise("P2")
@pytest.mark.parametrize("act", ["upload", "rename"])
def test_a_store_that_goes_away_behind_a_commit(gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: str) -> None:
    """What was answered with OK is in the store when that is back, and not in what was there instead meanwhile."""
    gate.acts.make_directory(gate.sender(), "sub", [])
    if act == "rename":
        gate.put("sub/x.csv.tmp", b"1\n")
    upload = gate.upload("sub/x.csv", b"1\n")
    store = tmp_path / "data/store"
    left: list[str] = []

    def leave(operation: str) -> None:
        if not left:
            left.append(operation)
            _leave(store)

    monkeypatch.setattr(gate.system.ledger, "step", leave)
    if act == "rename":
        gate.acts.rename(gate.sender(), "sub/x.csv.tmp", "sub/x.csv", replacing=False, uploads=[])
    else:
        gate.publisher.commit([upload])
    assert left == ["commit"]
    _come_back(store)
    gate.sweeper.run()
    assert gate.read("sub/x.csv") == b"1\n"


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


@pytest.mark.promise("P4", "P8")
def test_an_older_store(make_gate: Any, tmp_path: Path, restart: Callable[[Gate], Gate]) -> None:
    """With a store and drop from an older backup, what came later is lost, not taken, and the record says so."""
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


@pytest.mark.promise("P3", "P8")
def test_an_older_ledger(make_gate: Any, tmp_path: Path, restart: Callable[[Gate], Gate]) -> None:
    """With a ledger from an older backup, what came later waits, without a sender; what moved since keeps its sender;
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


@pytest.mark.promise("P4")
def test_a_backup_of_both(make_gate: Any, tmp_path: Path, restart: Callable[[Gate], Gate]) -> None:
    """Both brought back from one backup of a stopped gate are what they were, but that what waited is held."""
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
    assert _states(again) == {"x.csv": "held"}
    assert not _events(again, "store.restored")
    [event] = _events(again, "store.brought_back")
    assert event.details["held"] == 1


@pytest.mark.promise("P2", "P4")
def test_a_start_without_all_of_its_data(make_gate: Any, tmp_path: Path) -> None:
    """Where drop, store and ledger lie on one filesystem that is not mounted, the gate is no new one: its keys remember it.
    Nothing is made on the place, and with the filesystem all is as before.
    """
    (tmp_path / "keys").mkdir()
    gate = make_gate()
    gate.put("x.csv")
    gate.system.close()
    data = tmp_path / "data"
    data.rename(tmp_path / "unmounted")
    for there in (False, True):
        if there:
            data.mkdir()
        with pytest.raises(IdentityError, match="is the filesystem of the data mounted"):
            make_gate()
        assert not data.exists() or not list(data.iterdir())
    data.rmdir()
    (tmp_path / "unmounted").rename(data)
    assert _states(make_gate()) == {"x.csv": "waiting"}


def test_a_new_gate_with_the_keys_of_another(make_gate: Any, tmp_path: Path) -> None:
    """Who means it adopts the empty place: from then on the keys remember the new gate, and the old data do not make it start."""
    (tmp_path / "keys").mkdir()
    first = make_gate()
    identity = first.system.journal.ties.identity
    first.system.close()
    assert remembered(tmp_path / "keys") == identity
    shutil.rmtree(tmp_path / "data")
    settings = Settings(data_dir=tmp_path / "data", keys_dir=tmp_path / "keys", durability=Durability.RELAXED)
    second = build(settings, adopted_by=command())
    second.close()
    assert second.journal.ties is not None
    assert remembered(tmp_path / "keys") == second.journal.ties.identity != identity
    make_gate().put("x.csv")
    assert _states(make_gate()) == {"x.csv": "waiting"}


def test_keys_that_cannot_remember(make_gate: Any, tmp_path: Path) -> None:
    """Keys that nothing can be written beside, or a memory that is no file, keep no gate from starting; so do those of another
    gate, whose memory stays.
    """
    memory = memory_file(tmp_path / "keys")
    memory.parent.parent.mkdir()
    memory.parent.write_text("no directory")
    make_gate().system.close()
    memory.parent.unlink()
    memory.mkdir(parents=True)
    make_gate().system.close()
    memory.rmdir()
    memory.write_text("another\n")
    with structlog.testing.capture_logs() as logs:
        make_gate().system.close()
    assert [line["event"] for line in logs if line["log_level"] == "warning"] == ["store.of_another_gate"]
    assert memory.read_text() == "another\n"


def test_a_runner_whose_store_is_away(make_gate: Any, tmp_path: Path) -> None:
    """Who claims while another gate's store is at the place is told so; nothing is made in it, and no claim is given back by
    a lock that is not in it.
    """
    gate = make_gate(tools={"any": {"file": "*.csv", "command": ["true"]}})
    gate.put("x.csv")
    claims = make_claims(gate.system)
    assert claims.take("any") is not None
    store = gate.store
    other = Gate(tmp_path / "other")
    other.system.close()
    store.rename(tmp_path / "away")
    (tmp_path / "other/store").rename(store)
    before = sorted(store.rglob("*"))
    with pytest.raises(StoreAway):
        claims.take("any")
    assert sorted(store.rglob("*")) == before
    store.rename(tmp_path / "other/store")
    (tmp_path / "away").rename(store)
    assert _states(gate) == {"x.csv": "claimed"}
