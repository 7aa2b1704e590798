"""Each sender of a home has a batch lock of its own, which holds its own files only; a lock that nobody sent holds all."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog

from sftpgate.cli.status import collect
from sftpgate.errors import NoSuchFile, Refused
from sftpgate.intake.union import Union
from sftpgate.intake.verify import verify
from sftpgate.monitor.sight import Sight
from sftpgate.policy.lifecycle import ArrivalState
from sftpgate.runners.notices import Notices
from sftpgate.users.registry import UserRegistry
from tests.unit.intake.conftest import Gate

TTL = 3600


def lock(gate: Gate, user: str, name: str = "home/alock.txt", content: bytes = b"") -> None:
    """Send a lock, as one of the senders of a home."""
    gate.put(name, content or user.encode(), user=user, home="home")


def send(gate: Gate, user: str, name: str) -> ArrivalState:
    """Send a file there; its state."""
    return gate.put(f"home/{name}", user=user, home="home").state


def unlock(gate: Gate, user: str, name: str = "home/alock.txt") -> None:
    """Remove what the sender sees under the lock's name."""
    gate.edits.remove(gate.sender(user, "home"), name, ())


def sees(gate: Gate, user: str, path: str = "home/alock.txt") -> bytes | None:
    """What a sender reads at a path, and finds in the listing of its directory."""
    union = Union(gate.system.layout, gate.system.disk, gate.system.ledger, gate.system.staging)
    item = union.lookup(user, path)
    listed = [found.name for found in union.listing(user, path.rpartition("/")[0])]
    assert listed.count(path.rpartition("/")[2]) == (item is not None)
    return None if item is None else item.spot.local.read_bytes()


@pytest.fixture
def home(make_gate: Any) -> Gate:
    """A gate with the home of two senders."""
    gate: Gate = make_gate(settle_seconds=0, batch_lock_ttl=TTL)
    (gate.drop / "home").mkdir()
    return gate


def test_a_lock_holds_the_files_of_its_sender(home: Gate) -> None:
    """One sender's lock does not keep another sender's files, or those of programs of this machine, out of the store."""
    lock(home, "one")
    assert send(home, "one", "a.csv") is ArrivalState.HELD
    assert send(home, "two", "b.csv") is ArrivalState.WAITING
    (home.drop / "home/local.csv").write_bytes(b"x\n")
    home.sweeper.run()
    assert home.read("home/local.csv") == b"x\n"
    assert home.read("home/a.csv") is None
    assert sees(home, "two") is None
    with pytest.raises(NoSuchFile):
        unlock(home, "two")


@pytest.mark.parametrize("first", ["one", "two"])
def test_each_sender_has_a_lock_of_its_own(home: Gate, first: str) -> None:
    """P5: each sees, changes and removes its own lock, whichever came first, and is released by that alone."""
    second = "two" if first == "one" else "one"
    lock(home, first)
    lock(home, second)
    assert (sees(home, "one"), sees(home, "two"), sees(home, "three")) == (b"one", b"two", None)
    assert send(home, "one", "a.csv") is send(home, "two", "b.csv") is ArrivalState.HELD
    lock(home, second, content=b"sent again")
    assert (sees(home, first), sees(home, second)) == (first.encode(), b"sent again")
    assert verify(home.system.moves) == []
    unlock(home, "one")
    assert (home.read("home/a.csv"), home.read("home/b.csv")) == (b"a,1\n", None)
    assert (sees(home, "one"), sees(home, "two") is not None) == (None, True)
    lock(home, "one")
    unlock(home, "two")
    assert home.read("home/b.csv") == b"a,1\n"
    assert send(home, "one", "c.csv") is ArrivalState.HELD
    assert verify(home.system.moves) == []


def test_two_locks_of_one_commit(home: Gate) -> None:
    """Locks that are published together, with a file each, are two."""
    names = [("one", "alock.txt"), ("two", "alock.txt"), ("three", "alock.txt")]
    uploads = [home.upload(f"home/{name}", user.encode(), user=user, home="home") for user, name in names]
    home.publisher.commit(uploads)
    assert [sees(home, user) for user, _ in names] == [b"one", b"two", b"three"]
    assert {send(home, user, f"{user}.csv") for user, _ in names} == {ArrivalState.HELD}
    assert verify(home.system.moves) == []


def test_a_lock_that_nobody_sent_holds_all(home: Gate) -> None:
    """An administrator's lock holds everybody's files; a sender's own lock lies beside it, and takes nothing away from it."""
    (home.drop / "home/alock.txt").write_bytes(b"admin")
    assert sees(home, "one") == b"admin"
    assert send(home, "one", "a.csv") is send(home, "two", "b.csv") is ArrivalState.HELD
    lock(home, "one")
    assert (sees(home, "one"), sees(home, "two")) == (b"one", b"admin")
    unlock(home, "one")
    assert (home.drop / "home/alock.txt").read_bytes() == b"admin"
    assert home.read("home/a.csv") is None
    lock(home, "two")
    (home.drop / "home/alock.txt").unlink()
    home.sweeper.run()
    assert (home.read("home/a.csv"), home.read("home/b.csv")) == (b"a,1\n", None)


def test_a_lock_that_is_renamed(home: Gate) -> None:
    """A rename makes a lock, and ends one, for its sender alone; another sender's lock has the name or not."""
    lock(home, "one")
    home.put("home/lock.tmp", user="two", home="home")
    two = home.sender("two", "home")
    home.edits.rename(two, "home/lock.tmp", "home/alock.txt", replacing=False, uploads=())
    assert send(home, "two", "b.csv") is ArrivalState.HELD
    home.edits.rename(two, "home/alock.txt", "home/_was.txt", replacing=False, uploads=())
    assert home.read("home/b.csv") == b"a,1\n"
    assert sees(home, "two", "home/_was.txt") == b"a,1\n"
    assert send(home, "one", "a.csv") is ArrivalState.HELD
    assert verify(home.system.moves) == []


@pytest.mark.parametrize("first", ["ALOCK.TXT", "aLock.Txt"])
@pytest.mark.parametrize("second", ["alock.txt", "Alock.TXT"])
def test_letter_case(home: Gate, first: str, second: str) -> None:
    """Locks of two senders in two spellings are two locks as well, however unusual these are."""
    lock(home, "one", f"home/{first}")
    lock(home, "two", f"home/{second}")
    assert send(home, "one", "a.csv") is send(home, "two", "b.csv") is ArrivalState.HELD
    unlock(home, "two", f"home/{second}")
    assert home.read("home/b.csv") == b"a,1\n"
    assert send(home, "one", "c.csv") is ArrivalState.HELD


def test_staleness(home: Gate) -> None:
    """Each lock is stale by its own age, in the drop and beside it, and the log says whose it is."""
    lock(home, "one")
    home.clock.ahead += timedelta(seconds=TTL / 2)
    lock(home, "two")
    assert send(home, "one", "a.csv") is send(home, "two", "b.csv") is ArrivalState.HELD
    home.clock.ahead += timedelta(seconds=TTL)
    with structlog.testing.capture_logs() as logs:
        home.sweeper.run()
    stale = {entry["user"] for entry in logs if entry["event"] == "batch_lock.stale"}
    assert stale == {"one", "two"}  # both: the disk's own clock did not go ahead
    assert (home.read("home/a.csv"), home.read("home/b.csv")) == (b"a,1\n", b"a,1\n")


def test_after_a_restart(home: Gate, make_gate: Any) -> None:
    """A new process knows whose the locks are."""
    lock(home, "one")
    lock(home, "two")
    home.system.close()
    again: Gate = make_gate(settle_seconds=0, batch_lock_ttl=TTL)
    assert (sees(again, "one"), sees(again, "two")) == (b"one", b"two")
    assert send(again, "two", "b.csv") is ArrivalState.HELD
    unlock(again, "two")
    assert again.read("home/b.csv") == b"a,1\n"
    assert send(again, "one", "a.csv") is ArrivalState.HELD


def test_after_a_lost_ledger(home: Gate, make_gate: Any) -> None:
    """A lock in the drop is nobody's then, and holds all; one beside it has a note, and is its sender's."""
    lock(home, "one")
    lock(home, "two")
    home.system.close()
    for file in (home.store.parent).glob("ledger.db*"):
        file.unlink()
    again: Gate = make_gate(settle_seconds=0, batch_lock_ttl=TTL)
    assert (sees(again, "one"), sees(again, "two")) == (b"one", b"two")
    assert send(again, "three", "c.csv") is ArrivalState.HELD
    assert verify(again.system.moves) == []


def test_a_lock_that_an_administrator_removes_on_disk(home: Gate) -> None:
    """Without its file there is no lock, wherever that lay."""
    lock(home, "one")
    lock(home, "two")
    assert send(home, "two", "b.csv") is ArrivalState.HELD
    [beside] = [file for file in (home.store / ".sftpgate/locks").iterdir() if "." not in file.name]
    beside.unlink()
    home.sweeper.run()
    assert home.read("home/b.csv") == b"a,1\n"
    assert sees(home, "two") is None


def test_a_lock_is_a_file(home: Gate) -> None:
    """P7: a directory is nobody's, so a sender makes none of the lock's name: it would hold everybody's files."""
    sender = home.sender("one", "home")
    with pytest.raises(Refused, match="a batch lock is a file"):
        home.edits.make_directory(sender, "home/ALOCK.txt", ())
    home.edits.make_directory(sender, "home/sub", ())
    with pytest.raises(Refused, match="a batch lock is a file"):
        home.edits.rename(sender, "home/sub", "home/alock.txt", replacing=False, uploads=())
    home.edits.make_directory(sender, "home/sub/alock.txt", ())
    assert send(home, "two", "b.csv") is ArrivalState.WAITING


def test_somebody_from_above(home: Gate) -> None:
    """Who sees the home as a directory has no lock there, and cannot keep its senders from theirs."""
    home.put("home/alock.txt", b"above", user="above")
    assert send(home, "one", "a.csv") is ArrivalState.WAITING
    lock(home, "one")
    assert send(home, "one", "b.csv") is ArrivalState.HELD
    assert (sees(home, "one"), sees(home, "above")) == (b"one", b"above")


@pytest.mark.parametrize(
    ("admins", "says"),
    [(False, "Your alock.txt lies in the drop"), (True, "a lock alock.txt that the administrators of this server put there")],
)
def test_the_report_says_whose_lock_it_is(home: Gate, admins: bool, says: str) -> None:
    """P7: a sender is never told to remove what it cannot see."""
    if admins:
        (home.drop / "home/alock.txt").write_bytes(b"")
    else:
        lock(home, "one")
    assert send(home, "one", "a.csv") is ArrivalState.HELD
    home.clock.ahead += timedelta(minutes=11)
    assert Notices(home.system.moves, batch_lock_name="alock.txt").report_holds() == 1
    [report] = (home.store / "reports").iterdir()
    assert says.casefold() in report.read_text().casefold()


def test_status_says_whose_lock_to_wait_for(home: Gate) -> None:
    """Each held file is shown with the lock that holds it, and with the place where that lies."""
    lock(home, "one")
    lock(home, "two")
    for user in ("one", "two"):
        assert send(home, user, f"{user}.csv") is ArrivalState.HELD
    held = collect(home.system.settings, home.system.ledger, datetime.now(UTC))["held"]
    assert isinstance(held, list)
    says = {row["owner"]: row["what_to_do"] for row in held}
    assert says["one"] == f"wait until one removes its alock.txt, or remove {home.drop / 'home/alock.txt'}"
    assert says["two"].startswith(f"wait until two removes its alock.txt, or remove {home.store / '.sftpgate/locks'}/")


def test_the_monitor_says_whose_lock_is_stale(make_gate: Any, tmp_path: Path) -> None:
    """A stale lock is named with its home and its sender, wherever it lies; one that nobody sent with its home."""
    gate: Gate = make_gate(keys_dir=tmp_path / "keys", batch_lock_ttl=TTL)
    UserRegistry(tmp_path / "keys").add("one", keys=[], home="home")
    (gate.drop / "home").mkdir()
    lock(gate, "one")
    lock(gate, "two")
    (gate.drop / "alock.txt").write_bytes(b"")
    sight = Sight(gate.system.settings, tmp_path, gate.system.ledger, started_at=datetime.now(UTC))
    later = datetime.now(UTC) + timedelta(seconds=2 * TTL)
    assert sight.stale_locks(datetime.now(UTC)) == []
    assert sorted(sight.stale_locks(later)) == ["", "home (of one)", "home (of two)"]
