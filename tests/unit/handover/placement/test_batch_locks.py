"""Each sender of a home has a batch lock of its own, which holds its own files only; a lock that nobody sent holds all."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog

from sftpgate.app.status.collecting import collect
from sftpgate.drop.opening import OpenMode
from sftpgate.drop.sender_view import SenderView
from sftpgate.errors import ForeignLock, NoSuchFile, Refused
from sftpgate.monitor.snapshot import Snapshot
from sftpgate.policy.lifecycle import ArrivalState
from sftpgate.upkeep.notices import Notices
from sftpgate.upkeep.verify import verify
from sftpgate.uploads.terms import Sender, SessionTrace
from sftpgate.users.registry import UserRegistry
from tests.harness.handover import Gate

TTL = 3600
APPEND = OpenMode(create=True, truncate=False, exclusive=False, append=True)


def lock(gate: Gate, user: str, name: str = "home/alock.txt", content: bytes = b"") -> None:
    """Send a lock, as one of the senders of a home."""
    gate.put(name, content or user.encode(), user=user, home="home")


def send(gate: Gate, user: str, name: str) -> ArrivalState:
    """Send a file there; its state."""
    return gate.put(f"home/{name}", user=user, home="home").state


def unlock(gate: Gate, user: str, name: str = "home/alock.txt") -> None:
    """Remove what the sender sees under the lock's name."""
    gate.acts.remove(gate.sender(user, "home"), name, ())


def sees(gate: Gate, user: str, path: str = "home/alock.txt") -> bytes | None:
    """What a sender reads at a path, and finds in the listing of its directory."""
    sender_view = SenderView(gate.system.layout, gate.system.disk, gate.system.ledger, gate.system.staging)
    item = sender_view.lookup(user, path)
    listed = [found.name for found in sender_view.listing(user, path.rpartition("/")[0])]
    assert listed.count(path.rpartition("/")[2]) == (item is not None)
    return None if item is None else item.disk_path.local.read_bytes()


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


@pytest.mark.promise("P5")
@pytest.mark.parametrize("first", ["one", "two"])
def test_each_sender_has_a_lock_of_its_own(home: Gate, first: str) -> None:
    """Each sees, changes and removes its own lock, whichever came first, and is released by that alone."""
    second = "two" if first == "one" else "one"
    lock(home, first)
    lock(home, second)
    assert (sees(home, "one"), sees(home, "two"), sees(home, "three")) == (b"one", b"two", None)
    assert send(home, "one", "a.csv") is send(home, "two", "b.csv") is ArrivalState.HELD
    lock(home, second, content=b"sent again")
    assert (sees(home, first), sees(home, second)) == (first.encode(), b"sent again")
    assert verify(home.system.resources, home.system.journal) == []
    unlock(home, "one")
    assert (home.read("home/a.csv"), home.read("home/b.csv")) == (b"a,1\n", None)
    assert (sees(home, "one"), sees(home, "two") is not None) == (None, True)
    lock(home, "one")
    unlock(home, "two")
    assert home.read("home/b.csv") == b"a,1\n"
    assert send(home, "one", "c.csv") is ArrivalState.HELD
    assert verify(home.system.resources, home.system.journal) == []


def test_two_locks_of_one_commit(home: Gate) -> None:
    """Locks that are published together, with a file each, are two."""
    names = [("one", "alock.txt"), ("two", "alock.txt"), ("three", "alock.txt")]
    uploads = [home.upload(f"home/{name}", user.encode(), user=user, home="home") for user, name in names]
    home.publisher.commit(uploads)
    assert [sees(home, user) for user, _ in names] == [b"one", b"two", b"three"]
    assert {send(home, user, f"{user}.csv") for user, _ in names} == {ArrivalState.HELD}
    assert verify(home.system.resources, home.system.journal) == []


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


LOCK = "home/alock.txt"
CHANGES: dict[str, Callable[[Gate, Sender], object]] = {
    "remove": lambda gate, sender: gate.acts.remove(sender, LOCK, ()),
    "rename": lambda gate, sender: gate.acts.rename(sender, LOCK, "home/x.csv", replacing=True, uploads=()),
    "rename to another lock": lambda gate, sender: gate.acts.rename(sender, LOCK, "home/ALOCK.TXT", replacing=True, uploads=()),
    "set times": lambda gate, sender: gate.acts.set_times(sender, LOCK, 0, 0, ()),
    "truncate": lambda gate, sender: gate.acts.truncate(sender, LOCK, 1, ()),
    "append": lambda gate, sender: gate.acts.opening.open(sender, LOCK, APPEND, SessionTrace(), ()),
}


@pytest.mark.promise("P6", "P7")
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("above", [False, True], ids=["its home", "from above"])
def test_a_lock_that_nobody_sent_stays(home: Gate, change: str, above: bool) -> None:
    """No sender removes, renames or changes the lock that an administrator put there, also one who sees the home as a
    directory; the files of everybody stay held, and the refusal says why. It can be read.
    """
    (home.drop / LOCK).write_bytes(b"admin")
    before = (home.drop / LOCK).stat()
    assert send(home, "two", "b.csv") is ArrivalState.HELD
    with pytest.raises(ForeignLock, match="rule: a batch lock is its sender's"):
        CHANGES[change](home, home.sender("one", "" if above else "home"))
    assert (home.drop / LOCK).stat().st_ctime_ns == before.st_ctime_ns
    assert (sees(home, "one"), home.read("home/b.csv")) == (b"admin", None)
    assert verify(home.system.resources, home.system.journal) == []


def test_a_lock_over_one_that_nobody_sent(home: Gate) -> None:
    """A sender's file that is renamed over an administrator's lock, or sent in its place, is its own lock beside it."""
    (home.drop / LOCK).write_bytes(b"admin")
    home.put("home/lock.tmp", b"mine", user="one", home="home")
    home.acts.rename(home.sender("one", "home"), "home/lock.tmp", LOCK, replacing=True, uploads=())
    assert (sees(home, "one"), sees(home, "two"), (home.drop / LOCK).read_bytes()) == (b"mine", b"admin", b"admin")
    unlock(home, "one")
    assert (sees(home, "one"), send(home, "one", "a.csv")) == (b"admin", ArrivalState.HELD)


def test_a_lock_that_is_renamed(home: Gate) -> None:
    """A rename makes a lock, and ends one, for its sender alone; another sender's lock has the name or not."""
    lock(home, "one")
    home.put("home/lock.tmp", user="two", home="home")
    two = home.sender("two", "home")
    home.acts.rename(two, "home/lock.tmp", "home/alock.txt", replacing=False, uploads=())
    assert send(home, "two", "b.csv") is ArrivalState.HELD
    home.acts.rename(two, "home/alock.txt", "home/_was.txt", replacing=False, uploads=())
    assert home.read("home/b.csv") == b"a,1\n"
    assert sees(home, "two", "home/_was.txt") == b"a,1\n"
    assert send(home, "one", "a.csv") is ArrivalState.HELD
    assert verify(home.system.resources, home.system.journal) == []


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
    assert verify(again.system.resources, again.system.journal) == []


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


@pytest.mark.promise("P7")
def test_a_lock_is_a_file(home: Gate) -> None:
    """A directory is nobody's, so a sender makes none of the lock's name: it would hold everybody's files."""
    sender = home.sender("one", "home")
    with pytest.raises(Refused, match="a batch lock is a file"):
        home.acts.make_directory(sender, "home/ALOCK.txt", ())
    home.acts.make_directory(sender, "home/sub", ())
    with pytest.raises(Refused, match="a batch lock is a file"):
        home.acts.rename(sender, "home/sub", "home/alock.txt", replacing=False, uploads=())
    home.acts.make_directory(sender, "home/sub/alock.txt", ())
    assert send(home, "two", "b.csv") is ArrivalState.WAITING


def test_somebody_from_above(home: Gate) -> None:
    """Who sees the home as a directory has no lock there, and cannot keep its senders from theirs."""
    home.put("home/alock.txt", b"above", user="above")
    assert send(home, "one", "a.csv") is ArrivalState.WAITING
    lock(home, "one")
    assert send(home, "one", "b.csv") is ArrivalState.HELD
    assert (sees(home, "one"), sees(home, "above")) == (b"one", b"above")


@pytest.mark.promise("P7")
@pytest.mark.parametrize(
    ("admins", "says"),
    [(False, "Your alock.txt lies in the drop"), (True, "a lock alock.txt that the administrators of this server put there")],
)
def test_the_report_says_whose_lock_it_is(home: Gate, admins: bool, says: str) -> None:
    """A sender is never told to remove what it cannot see."""
    if admins:
        (home.drop / "home/alock.txt").write_bytes(b"")
    else:
        lock(home, "one")
    assert send(home, "one", "a.csv") is ArrivalState.HELD
    home.clock.ahead += timedelta(minutes=11)
    assert (
        Notices(
            home.system.resources, home.system.journal, batch_lock_name="alock.txt", language_of=home.system.language_of
        ).report_holds()
        == 1
    )
    [report] = (home.store / "reports").iterdir()
    assert says.casefold() in report.read_text().casefold()


def test_status_says_whose_lock_to_wait_for(home: Gate) -> None:
    """Each held file is shown with the lock that holds it, and with the place where that lies."""
    lock(home, "one")
    lock(home, "two")
    for user in ("one", "two"):
        assert send(home, user, f"{user}.csv") is ArrivalState.HELD
    held = collect(home.system.settings, home.system.ledger, datetime.now(UTC)).held
    says = {file.owner: file.what_to_do for file in held}
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
    snapshot = Snapshot(gate.system.settings, tmp_path, gate.system.ledger, started_at=datetime.now(UTC))
    later = datetime.now(UTC) + timedelta(seconds=2 * TTL)
    assert snapshot.stale_locks(datetime.now(UTC)) == []
    assert sorted(snapshot.stale_locks(later)) == ["", "home (of one)", "home (of two)"]
