"""Checksum files, done-files and the batch lock: what lies beside a file decides about it."""

from __future__ import annotations

import contextlib
import hashlib
import io
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from sftpgate.depot.deposits import Deposits
from sftpgate.depot.depot import depot_path
from sftpgate.ledger.arrivals import Arrival
from sftpgate.ledger.audit import event_log
from sftpgate.ledger.audit.actor import command
from sftpgate.policy.lifecycle import ArrivalState, HoldReason
from sftpgate.store.disk import Disk
from sftpgate.store.disk_paths import DiskPath
from tests.harness.handover import Gate

CONTENT = b"add,student,1\n"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()

LINES = [
    pytest.param("x.csv.sha256", f"{SHA256}  x.csv\n", id="sha256sum"),
    pytest.param("x.csv.sha256", f"{SHA256} *x.csv\n", id="sha256sum-binary"),
    pytest.param("x.csv.sha256", SHA256.upper(), id="alone"),
    pytest.param("x.csv.sha256", f"\ufeff{SHA256}  C:/export/x.csv\r\n", id="other-path"),
    pytest.param("x.csv.md5", f"{MD5}  x.csv\n", id="md5sum"),
    pytest.param("x.csv.sha256", f"{'0' * 64}  y.csv\n{SHA256}  x.csv\n", id="of-several"),
]


@pytest.mark.promise("P1")
@pytest.mark.parametrize(("name", "text"), LINES)
@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
def test_matching_checksum(gate: Gate, name: str, text: str, first: bool) -> None:
    """A checksum in any usual form lets its file through, whichever of the two comes first."""
    if first:
        gate.put(name, text.encode())
    arrival = gate.put("x.csv", CONTENT)
    if not first:
        gate.put(name, text.encode())
    assert gate.now(arrival).state is ArrivalState.WAITING
    assert gate.read("x.csv") == CONTENT


@pytest.mark.promise("P1")
@pytest.mark.parametrize("text", [f"{'0' * 64}  x.csv\n", "no checksum at all\n", ""], ids=["other", "malformed", "empty"])
@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
def test_checksum_that_does_not_match(gate: Gate, text: str, first: bool) -> None:
    """A file that its checksum file does not speak for is held, also out of the store; a good one releases it."""
    if first:
        gate.put("x.csv.sha256", text.encode())
    arrival = gate.put("x.csv", CONTENT)
    if not first:
        gate.put("x.csv.sha256", text.encode())
    held = gate.now(arrival)
    assert (held.state, held.hold_reason) == (ArrivalState.HELD, HoldReason.CHECKSUM_MISMATCH)
    assert gate.read("x.csv") is None
    gate.put("x.csv.sha256", f"{SHA256}  x.csv\n".encode())
    assert gate.now(arrival).state is ArrivalState.WAITING
    assert gate.read("x.csv") == CONTENT


def details(gate: Gate, arrival: Arrival) -> list[object]:
    """The details of holds that the record of an arrival has, in order."""
    with gate.system.ledger.reading() as connection:
        return [event.details["detail"] for event in event_log.history(connection, arrival.id) if "detail" in event.details]


@pytest.mark.promise("P8")
def test_a_hold_says_what_it_is_about(gate: Gate) -> None:
    """The ledger keeps what the check saw that holds a file: by the row, on the record, and until another one holds it."""
    content = b"x" * 65536
    arrival = gate.put("d/x.csv", content)
    doubt = gate.now(arrival).hold_detail
    assert doubt and gate.now(arrival).hold_reason is HoldReason.INCOMPLETE
    gate.put("d/x.csv.md5", b"0" * 32)
    held = gate.now(arrival)
    assert held.hold_detail == "x.csv.md5"
    gate.put("d/x.csv.sha256", b"0" * 64)
    assert gate.now(arrival) == replace(held, hold_detail="x.csv.sha256")  # the same hold: it is not reported again
    for name in ("d/x.csv.md5", "d/x.csv.sha256"):
        gate.acts.remove(gate.sender(), name, [])
    assert (gate.now(arrival).hold_reason, gate.now(arrival).hold_detail) == (HoldReason.INCOMPLETE, doubt)
    gate.put("d/x.csv.sha256", hashlib.sha256(content).hexdigest().encode())
    assert (gate.now(arrival).state, gate.now(arrival).hold_detail) == (ArrivalState.WAITING, None)
    assert details(gate, arrival) == [doubt, "x.csv.md5", "x.csv.sha256", doubt, doubt]  # the last as it is verified


@pytest.mark.promise("P1")
def test_checksum_proves_what_looked_interrupted(gate: Gate) -> None:
    """A file held as incomplete is released by a checksum file that matches."""
    content = b"x" * 65536
    arrival = gate.put("x.csv", content)
    assert gate.now(arrival).hold_reason is HoldReason.INCOMPLETE
    gate.put("x.csv.sha256", hashlib.sha256(content).hexdigest().encode())
    assert gate.read("x.csv") == content


@pytest.mark.promise("P1")
@pytest.mark.parametrize("others", [0, 100], ids=["small-drop", "large-drop"])
@pytest.mark.parametrize("suffix", [".SHA256", ".Sha256", ".MD5", ".mD5"])
@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
def test_a_checksum_file_in_capitals(gate: Gate, suffix: str, first: bool, others: int) -> None:
    """A checksum file counts in every letter case: a wrong one holds its file back, a right one lets it through."""
    for number in range(others):
        gate.put(f"_{number}")
    right = SHA256 if suffix.lower() == ".sha256" else MD5
    if first:
        gate.put(f"x.csv{suffix}", b"0" * len(right))
    arrival = gate.put("x.csv", CONTENT)
    if not first:
        gate.put(f"x.csv{suffix}", b"0" * len(right))
    assert gate.now(arrival).hold_reason is HoldReason.CHECKSUM_MISMATCH
    gate.put(f"x.csv{suffix}", right.encode())
    assert gate.read("x.csv") == CONTENT


@pytest.mark.parametrize("others", [0, 100], ids=["small-drop", "large-drop"])
@pytest.mark.parametrize("lock", ["alock.txt", "ALOCK.TXT", "Alock.txt", "aLOCK.tXT"])
def test_a_batch_lock_in_capitals(gate: Gate, lock: str, others: int) -> None:
    """The batch lock holds a set of files in every letter case, and its removal releases them."""
    for number in range(others):
        gate.put(f"home/_{number}", home="home")
    gate.put(f"home/{lock}", b"", home="home")
    arrival = gate.put("home/x.csv", CONTENT, home="home")
    assert (gate.now(arrival).hold_reason, gate.now(arrival).hold_detail) == (HoldReason.BATCH_LOCK, lock)
    gate.acts.remove(gate.sender(home="home"), f"home/{lock}", [])
    assert gate.read("home/x.csv") == CONTENT


@pytest.mark.parametrize("done", ["x.csv.DONE", "x.csv.Ok", "x.done", "x.OK", "x.Done"])
@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
def test_done_files_of_other_forms(make_gate: Any, done: str, first: bool) -> None:
    """A done-file counts in every letter case, and in the place of the extension too, whichever of the two comes first."""
    gate = make_gate(require_done_file=True)
    gate.put("y.done", b"")
    if first:
        gate.put(done, b"")
    arrival = gate.put("x.csv", CONTENT)
    other = gate.put("x.more.csv", CONTENT)
    if not first:
        assert gate.now(arrival).hold_reason is HoldReason.AWAITING_DONE
        gate.put(done, b"")
    assert gate.read("x.csv") == CONTENT
    assert gate.now(other).hold_reason is HoldReason.AWAITING_DONE


@pytest.mark.parametrize("done", ["x.csv.done", "x.csv.ok"])
def test_done_file(make_gate: Any, done: str) -> None:
    """With require_done_file a file waits in the drop for its done-file; a done-file alone does nothing."""
    gate = make_gate(require_done_file=True)
    gate.put("other.csv.done", b"")
    arrival = gate.put("x.csv", CONTENT)
    assert gate.now(arrival).hold_reason is HoldReason.AWAITING_DONE
    assert (gate.drop / "x.csv").read_bytes() == CONTENT
    gate.put(done, b"")
    assert gate.read("x.csv") == CONTENT


def test_batch_lock_releases_in_order(gate: Gate) -> None:
    """What a batch lock held comes out in order of arrival; of one name, all of a queue and the last of the others."""
    gate.put("alock.txt", b"")
    first, second = gate.put("q.csv", b"1\n"), gate.put("q.csv", b"2\n")
    old, new = gate.put("x.csv", b"old\n"), gate.put("x.csv", b"new\n")
    assert gate.read("q.csv") is gate.read("x.csv") is None
    gate.acts.remove(gate.sender(), "alock.txt", ())
    states = [gate.now(item).state for item in (first, second, old, new)]
    assert states == [ArrivalState.WAITING, ArrivalState.QUEUED, ArrivalState.REPLACED, ArrivalState.WAITING]
    assert (gate.read("q.csv"), gate.read("x.csv"), gate.archived()) == (b"1\n", b"new\n", [b"old\n"])


def test_batch_lock_of_another_home(gate: Gate) -> None:
    """A batch lock holds what comes to its own home, and nothing else."""
    (gate.drop / "home").mkdir()
    gate.put("home/alock.txt", b"", home="home")
    assert gate.put("home/x.csv", home="home").state is ArrivalState.HELD
    assert gate.put("x.csv").state is ArrivalState.WAITING


@pytest.mark.parametrize("directory", [False, True], ids=["file", "directory"])
def test_stale_batch_lock(gate: Gate, directory: bool) -> None:
    """A batch lock that is older than its time is passed over, by the sweeper and for new files; a directory counts as one."""
    lock = gate.drop / "alock.txt"
    lock.mkdir() if directory else lock.touch()
    held = gate.put("x.csv")
    assert held.hold_reason is HoldReason.BATCH_LOCK
    gate.clock.ahead = timedelta(hours=2)
    gate.sweeper.run()
    assert gate.now(held).state is ArrivalState.HELD
    gate.clock.ahead = timedelta(hours=4)
    gate.sweeper.run()
    assert gate.now(held).state is ArrivalState.WAITING
    assert gate.put("y.csv").state is ArrivalState.WAITING


class LockWatch(Disk):
    """Writes down which files are opened for reading by a thread that has the store's lock."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self._has_lock = threading.local()

    @contextlib.contextmanager
    def in_turn(self, disk_path: DiskPath, mark: bytes) -> Iterator[bool]:
        """As the disk does it."""
        with super().in_turn(disk_path, mark) as mine:
            self._has_lock.value = disk_path.name == "lock"
            try:
                yield mine
            finally:
                self._has_lock.value = False

    def open_read(self, disk_path: DiskPath) -> int:
        """As the disk does it."""
        if getattr(self._has_lock, "value", False):
            self.opened.append(disk_path.path)
        return super().open_read(disk_path)


def test_no_file_is_read_under_the_lock(make_gate: Any) -> None:
    """An MD5 is never made while others wait for the store's lock: not at CLOSE, by a sweep, at a rename or for a deposit."""
    disk = LockWatch()
    gate: Gate = make_gate(disk=disk)
    for name in ("x.csv", "y.csv", "z.csv", "local.csv"):
        gate.put(f"{name}.md5", f"{'0' * 32}  {name}\n".encode())
    held = gate.put("x.csv", CONTENT)
    assert held.hold_reason is HoldReason.CHECKSUM_MISMATCH
    gate.put("y.csv.tmp", CONTENT)
    gate.acts.rename(gate.sender(), "y.csv.tmp", "y.csv", replacing=False, uploads=[])
    deposits = Deposits(
        gate.system.resources, gate.system.journal, gate.system.placer, command(), max_upload_bytes=1000, free_space_floor=0
    )
    assert deposits.put(io.BytesIO(CONTENT), depot_path("z.csv")).state is ArrivalState.HELD
    (gate.drop / "local.csv").write_bytes(CONTENT)
    gate.clock.ahead = timedelta(minutes=1)
    gate.sweeper.run()
    assert gate.read("y.csv") is gate.read("z.csv") is gate.read("local.csv") is None
    for name in ("x.csv", "y.csv", "z.csv", "local.csv"):
        gate.put(f"{name}.md5", f"{MD5}  {name}\n".encode())
        assert gate.read(name) == CONTENT
    assert disk.opened, "the checksum files are"
    opened = [path for path in disk.opened if not path.endswith(".md5")]
    assert opened == ["local.csv"], "once, to ask whether somebody writes to it"


def test_what_is_held_is_hashed_once(make_gate: Any) -> None:
    """A file that is held beside its checksum file is read for it once, and not at each sweep."""
    gate: Gate = make_gate()
    gate.put("x.csv.md5", f"{MD5}  x.csv\n".encode())
    held = gate.put("x.csv", b"another\n")
    assert gate.now(held).hold_reason is HoldReason.CHECKSUM_MISMATCH
    (gate.store / ".sftpgate/held" / held.id).write_bytes(CONTENT)
    for _ in range(2):
        gate.sweeper.run()
    assert gate.now(held).state is ArrivalState.HELD


class LateChecksum(Disk):
    """Puts a checksum file beside a file at the last moment: when the store's lock is taken to place it."""

    text = b""
    disk_path: DiskPath | None = None

    @contextlib.contextmanager
    def in_turn(self, disk_path: DiskPath, mark: bytes) -> Iterator[bool]:
        """As the disk does it."""
        with super().in_turn(disk_path, mark) as mine:
            if self.disk_path is not None:
                self.disk_path.local.write_bytes(self.text)
                self.disk_path = None
            yield mine


@pytest.mark.promise("P1")
@pytest.mark.parametrize("matches", [True, False])
def test_a_checksum_file_that_appears_at_the_last_moment(make_gate: Any, matches: bool) -> None:
    """A checksum file that comes between the look at a file and its placement is compared with it right after."""
    disk = LateChecksum()
    gate: Gate = make_gate(disk=disk)
    upload = gate.upload("x.csv", CONTENT)
    disk.text = f"{MD5 if matches else '0' * 32}  x.csv\n".encode()
    disk.disk_path = DiskPath(gate.drop, "x.csv.md5")
    [arrival] = gate.publisher.commit([upload])
    assert isinstance(arrival, Arrival)
    assert gate.now(arrival).hold_reason is (None if matches else HoldReason.CHECKSUM_MISMATCH)
    assert gate.read("x.csv") == (CONTENT if matches else None)


@pytest.mark.promise("P1")
def test_a_checksum_that_gets_its_name_by_a_rename(gate: Gate) -> None:
    """A checksum file that speaks against a waiting file takes it out of the store, also where a rename brings it."""
    arrival = gate.put("x.csv", CONTENT)
    gate.put("x.csv.sha256.tmp", b"0" * 64)
    gate.acts.rename(gate.sender(), "x.csv.sha256.tmp", "x.csv.sha256", replacing=False, uploads=[])
    assert gate.now(arrival).hold_reason is HoldReason.CHECKSUM_MISMATCH
    gate.acts.remove(gate.sender(), "x.csv.sha256", [])
    assert gate.read("x.csv") == CONTENT


def test_a_done_file_that_is_removed_takes_nothing_back(make_gate: Any) -> None:
    """A client that tidies its done-file away does not take the file back that waits in the store."""
    gate: Gate = make_gate(require_done_file=True)
    gate.put("x.csv.done", b"")
    arrival = gate.put("x.csv", CONTENT)
    gate.acts.remove(gate.sender(), "x.csv.done", [])
    assert gate.now(arrival).state is ArrivalState.WAITING


@pytest.mark.promise("P3")
@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
def test_a_queue_of_files_that_each_have_a_checksum(gate: Gate, first: bool) -> None:
    """A checksum file speaks of the file that it came with: those of a queue that were verified before keep their turns."""
    sent = []
    for number in range(12):
        content = b"add,student,%d\n" % number
        text = f"{hashlib.sha256(content).hexdigest()}  q.csv\n".encode()
        if first:
            gate.put("q.csv.sha256", text)
        sent.append(gate.put("q.csv", content))
        if not first:
            gate.put("q.csv.sha256", text)
    gate.sweeper.run()
    assert [gate.now(item).state for item in sent] == [ArrivalState.WAITING] + [ArrivalState.QUEUED] * 11
    assert gate.read("q.csv") == b"add,student,0\n"
    assert {gate.now(item).grade for item in sent} == {"verified"}


@pytest.mark.promise("P1", "P3")
def test_a_verified_file_and_the_checksum_of_the_next_one(gate: Gate) -> None:
    """A verified file stays when the checksum of the next one comes first, which is held unless it matches."""
    gate.put("x.csv.sha256", f"{SHA256}  x.csv\n".encode())
    first = gate.put("x.csv", CONTENT)
    gate.put("x.csv.sha256", f"{'0' * 64}  x.csv\n".encode())
    assert gate.now(first).state is ArrivalState.WAITING
    wrong = gate.put("x.csv", b"other\n")
    assert gate.now(wrong).hold_reason is HoldReason.CHECKSUM_MISMATCH
    assert gate.read("x.csv") == CONTENT


@pytest.mark.promise("P3")
@pytest.mark.parametrize("depth", [2, 12])
def test_a_done_file_beside_a_queue(gate: Gate, depth: int) -> None:
    """A companion that changes nothing leaves the head of a queue in the store, for its runner."""
    sent = [gate.put("q.csv", b"%d\n" % number) for number in range(depth)]
    gate.put("q.csv.done", b"")
    assert [gate.now(item).state for item in sent] == [ArrivalState.WAITING] + [ArrivalState.QUEUED] * (depth - 1)
    assert gate.read("q.csv") == b"0\n"


@pytest.mark.promise("P1")
def test_two_held_files_of_one_name_and_an_md5(gate: Gate) -> None:
    """Of two files of one name that are held, an MD5 releases the one that it matches, whichever came first."""
    other = b"add,student,2\n"
    gate.put("q.csv.md5", f"{'0' * 32}  q.csv\n".encode())
    held = [gate.put("q.csv", other), gate.put("q.csv", CONTENT)]
    assert {gate.now(item).state for item in held} == {ArrivalState.HELD, ArrivalState.REPLACED}
    (gate.drop / "alock.txt").write_bytes(b"")
    gate.put("q.csv.md5", f"{MD5}  q.csv\n".encode())
    assert gate.now(held[1]).hold_reason is HoldReason.BATCH_LOCK
    third = gate.put("q.csv", other)
    assert gate.now(third).hold_reason is HoldReason.CHECKSUM_MISMATCH
    (gate.drop / "alock.txt").unlink()
    gate.system.placer.second_looks.release_batch("")
    gate.put("q.csv.md5", f"{hashlib.md5(other, usedforsecurity=False).hexdigest()}  q.csv\n".encode())
    assert gate.read("q.csv") == CONTENT
    assert gate.now(third).state is ArrivalState.QUEUED


@pytest.mark.promise("P3")
@pytest.mark.parametrize("name", ["x.csv", "q.csv"])
@pytest.mark.parametrize("reason", [HoldReason.INCOMPLETE, HoldReason.CHECKSUM_MISMATCH])
def test_an_earlier_file_is_released_while_a_later_one_is_held(gate: Gate, name: str, reason: HoldReason) -> None:
    """A doubtful file gives way to what comes after it, and not to one that came before it and is released later."""
    (gate.drop / "alock.txt").write_bytes(b"")
    first = gate.put(name, b"first\n")
    content = b"x" * 65536 if reason is HoldReason.INCOMPLETE else CONTENT
    if reason is HoldReason.CHECKSUM_MISMATCH:
        (gate.drop / f"{name}.sha256").write_text("0" * 64)
    second = gate.put(name, content)
    (gate.drop / f"{name}.sha256").unlink(missing_ok=True)
    (gate.drop / "alock.txt").unlink()
    assert gate.now(second).hold_reason is reason
    gate.system.placer.second_looks.release_batch("")
    assert (gate.now(first).state, gate.now(second).state) == (ArrivalState.WAITING, ArrivalState.HELD)
    gate.put(f"{name}.sha256", hashlib.sha256(content).hexdigest().encode())
    assert gate.now(second).state is (ArrivalState.QUEUED if name == "q.csv" else ArrivalState.WAITING)
    assert gate.read(name) == (b"first\n" if name == "q.csv" else content)


@pytest.mark.promise("P1")
@pytest.mark.parametrize("suffix", [".md5", ".sha256"])
def test_a_checksum_file_right_behind_its_file(make_gate: Any, suffix: str) -> None:
    """A wrong checksum holds a file whose own move is not known to be durable yet, as those of the last moments are."""
    gate: Gate = make_gate(durability="full")
    arrival = gate.put("x.csv", CONTENT)
    assert gate.now(arrival).pending_from is not None
    gate.put(f"x.csv{suffix}", b"0" * (32 if suffix == ".md5" else 64))
    assert gate.now(arrival).hold_reason is HoldReason.CHECKSUM_MISMATCH
