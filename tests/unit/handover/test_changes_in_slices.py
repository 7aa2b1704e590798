"""Changes of many files go in slices: nobody waits for all of them, and what is cut off is gone on with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sftpgate.depot.deposits import Deposits
from sftpgate.depot.depot import DepotPath
from sftpgate.errors import NameRefused, OwnedByAnother, Refused
from sftpgate.handover.journal import SLICE
from sftpgate.ledger.audit.actor import command
from sftpgate.policy.lifecycle import ArrivalState
from sftpgate.store.disk import Disk
from sftpgate.store.disk_paths import DiskPath
from sftpgate.upkeep.verify import verify
from tests.harness.handover import Gate

MANY = 2 * SLICE + SLICE // 2


class Counting(Disk):
    """Counts what changes while the lock is held; ``fail_at`` breaks the rename of that number, and ``after_turn`` is done
    once, after the next change.
    """

    def __init__(self) -> None:
        self.holds: list[int] = []
        self.renames, self.fail_at = 0, 0
        self.after_turn: Callable[[], object] | None = None

    @contextmanager
    def in_turn(self, disk_path: DiskPath, mark: bytes) -> Iterator[bool]:
        """A change."""
        with super().in_turn(disk_path, mark) as ours:
            self.holds.append(0)
            yield ours
        act, self.after_turn = self.after_turn, None
        if act is not None:
            act()

    @contextmanager
    def locked(self, disk_path: DiskPath, *, wait: bool = True) -> Iterator[bool]:
        """Another hold."""
        with super().locked(disk_path, wait=wait) as mine:
            self.holds.append(0)
            yield mine

    def step(self, operation: str, *disk_paths: DiskPath | int) -> None:
        """Before each operation."""
        if operation in ("rename", "unlink", "link") and not any("renames" in str(disk_path) for disk_path in disk_paths):
            if self.holds:
                self.holds[-1] += 1
            self.renames += 1
            if self.renames == self.fail_at:
                raise OSError(5, "broken")


@pytest.fixture
def disk() -> Counting:
    """A disk that counts."""
    return Counting()


@pytest.fixture
def gate(make_gate: Any, disk: Counting) -> Gate:
    """A gate on it."""
    made: Gate = make_gate(disk=disk, settle_seconds=0)
    return made


def fill(gate: Gate, count: int = MANY, top: str = "d") -> None:
    """A directory with so many waiting files, in two levels."""
    (gate.drop / top / "below").mkdir(parents=True)
    uploads = [gate.upload(f"{top}/{'below/' if number % 3 else ''}{number:04}.csv", b"x\n") for number in range(count)]
    for start in range(0, count, SLICE):
        gate.publisher.commit(uploads[start : start + SLICE])


def waiting(gate: Gate, top: str) -> int:
    """How many files wait below a directory of the store."""
    return sum(file.is_file() for file in (gate.store / top).rglob("*"))


def most_in_one_hold(disk: Counting, act: Any) -> int:
    """How much an act changes on the disk while it has the lock, at most."""
    disk.holds.clear()
    act()
    return max(disk.holds)


def test_a_directory_is_renamed_in_slices(gate: Gate, disk: Counting) -> None:
    """Nobody waits for the whole: a directory of many files is renamed without a hold of the lock that grows with it."""
    fill(gate)
    most = most_in_one_hold(disk, lambda: gate.acts.rename(gate.sender(), "d", "e", replacing=False, uploads=()))
    assert most <= SLICE
    assert (waiting(gate, "e"), (gate.store / "d").exists(), (gate.drop / "d").exists()) == (MANY, False, False)
    assert list((gate.store / ".sftpgate/renames").iterdir()) == []
    assert verify(gate.system.resources, gate.system.journal, content=True) == []


@pytest.mark.promise("P3")
def test_a_rename_that_is_cut_off_is_gone_on_with(gate: Gate, disk: Counting) -> None:
    """Trouble in the middle leaves each file at one of its two paths and says that the rest follows; the sweeper takes it to
    its end.
    """
    fill(gate)
    disk.fail_at = disk.renames + SLICE + SLICE // 2
    with pytest.raises(Refused, match=r"the rest follows by itself.*\(rule: a large directory is renamed in slices\)"):
        gate.acts.rename(gate.sender(), "d", "e", replacing=False, uploads=())
    assert waiting(gate, "d") + waiting(gate, "e") == MANY
    assert 0 < waiting(gate, "e") < MANY
    gate.sweeper.run()
    assert (waiting(gate, "e"), (gate.drop / "d").exists()) == (MANY, False)
    assert list((gate.store / ".sftpgate/renames").iterdir()) == []
    assert verify(gate.system.resources, gate.system.journal, content=True) == []


def test_what_comes_while_a_directory_is_renamed_stays_where_it_came(gate: Gate, disk: Counting) -> None:
    """A file sent, and a directory made, in the old directory while its rename goes on keep their paths: between two slices, and
    before the rest follows after trouble. A file that is sent again there is a later one.
    """
    fill(gate)
    disk.fail_at = disk.renames + SLICE + SLICE // 2
    with pytest.raises(Refused, match="the rest follows by itself"):
        gate.acts.rename(gate.sender(), "d", "e", replacing=False, uploads=())
    gate.put("d/0000.csv", b"later\n")
    gate.put("d/below/new.csv", b"new\n")
    gate.acts.make_directory(gate.sender(), "d/empty", ())
    gate.sweeper.run()
    assert {file.name for file in (gate.store / "d").rglob("*.csv")} == {"0000.csv", "new.csv"}
    assert (gate.read("d/0000.csv"), gate.read("e/0000.csv")) == (b"later\n", b"x\n")
    assert (waiting(gate, "e"), (gate.drop / "d/empty").is_dir(), (gate.drop / "e/empty").exists()) == (MANY, True, False)
    gate.sweeper.run()
    assert waiting(gate, "d") == 2
    assert verify(gate.system.resources, gate.system.journal, content=True) == []


def test_what_comes_between_two_slices_stays(gate: Gate, disk: Counting) -> None:
    """Neither does a rename that nothing cuts off take along what another session sends to the old directory meanwhile."""
    fill(gate)
    disk.after_turn = lambda: gate.put("d/zzzz.csv", b"new\n")
    gate.acts.rename(gate.sender(), "d", "e", replacing=False, uploads=())
    assert (gate.read("d/zzzz.csv"), gate.read("e/zzzz.csv"), waiting(gate, "e")) == (b"new\n", None, MANY)
    assert verify(gate.system.resources, gate.system.journal, content=True) == []


@pytest.mark.promise("P7")
def test_what_can_be_refused_is_refused_before_anything_moves(gate: Gate) -> None:
    """Another's file anywhere in a large directory, or a path that would be too long, refuses the rename as a whole."""
    fill(gate)
    (gate.drop / "deep").mkdir()
    with pytest.raises(NameRefused):
        gate.acts.rename(gate.sender(), "d", "n" * 255 + "x", replacing=False, uploads=())
    gate.put("d/zzz.csv", user="other")
    with pytest.raises(OwnedByAnother):
        gate.acts.rename(gate.sender(), "d", "e", replacing=False, uploads=())
    assert waiting(gate, "d") == MANY + 1
    assert not (gate.drop / "e").exists()


def test_a_batch_is_released_in_slices(gate: Gate, disk: Counting) -> None:
    """The removal of a batch lock publishes many files without one long hold of the store's lock."""
    gate.put("alock.txt", b"")
    fill(gate)
    assert waiting(gate, "d") == 0
    most = most_in_one_hold(disk, lambda: gate.acts.remove(gate.sender(), "alock.txt", ()))
    assert most <= SLICE
    assert waiting(gate, "d") == MANY


def test_a_long_queue_is_removed_in_slices(gate: Gate, disk: Counting) -> None:
    """REMOVE of a name that has a long queue withdraws all of it, a slice at a time."""
    queued = [gate.put("q.csv") for _ in range(SLICE + SLICE // 2)]
    most = most_in_one_hold(disk, lambda: gate.acts.remove(gate.sender(), "q.csv", ()))
    assert most <= 2 * SLICE  # each file and its note
    assert {gate.now(arrival).state for arrival in queued} == {ArrivalState.WITHDRAWN}
    assert gate.read("q.csv") is None


def test_local_files_are_taken_in_slices(gate: Gate, disk: Counting) -> None:
    """A sweep that finds many files takes them without one long hold of the store's lock."""
    (gate.drop / "d").mkdir()
    for number in range(MANY):
        (gate.drop / "d" / f"{number}.csv").write_bytes(b"x\n")
    assert most_in_one_hold(disk, gate.sweeper.run) <= SLICE
    assert waiting(gate, "d") == MANY


def test_an_admin_moves_a_tree_in_slices(gate: Gate, disk: Counting, tmp_path: Path) -> None:
    """`store mv` of a directory with many files, known and unknown, has no long hold of the lock either."""
    fill(gate)
    for number in range(MANY):
        (gate.store / "d" / f"unknown-{number}").touch()
    deposits = Deposits(
        gate.system.resources, gate.system.journal, gate.system.placer, command(), max_upload_bytes=1000, free_space_floor=0
    )
    most = most_in_one_hold(disk, lambda: deposits.move(DepotPath("d"), DepotPath("e"), force=True))
    assert most <= SLICE
    assert (waiting(gate, "e"), (gate.store / "d").exists()) == (2 * MANY, False)
    assert verify(gate.system.resources, gate.system.journal, content=True) == []
