"""Checksum files, done-files and the batch lock: what lies beside a file decides about it."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Any

import pytest

from sftpgate.policy.lifecycle import ArrivalState, HoldReason
from tests.unit.intake.conftest import Gate

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


@pytest.mark.parametrize(("name", "text"), LINES)
@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
def test_matching_checksum(gate: Gate, name: str, text: str, first: bool) -> None:
    """P1: a checksum in any usual form lets its file through, whichever of the two comes first."""
    if first:
        gate.put(name, text.encode())
    arrival = gate.put("x.csv", CONTENT)
    if not first:
        gate.put(name, text.encode())
    assert gate.now(arrival).state is ArrivalState.WAITING
    assert gate.read("x.csv") == CONTENT


@pytest.mark.parametrize("text", [f"{'0' * 64}  x.csv\n", "no checksum at all\n", ""], ids=["other", "malformed", "empty"])
@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
def test_checksum_that_does_not_match(gate: Gate, text: str, first: bool) -> None:
    """P1: a file that its checksum file does not speak for is held, also out of the store; a good one releases it."""
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


def test_checksum_proves_what_looked_interrupted(gate: Gate) -> None:
    """P1: a file held as incomplete is released by a checksum file that matches."""
    content = b"x" * 65536
    arrival = gate.put("x.csv", content)
    assert gate.now(arrival).hold_reason is HoldReason.INCOMPLETE
    gate.put("x.csv.sha256", hashlib.sha256(content).hexdigest().encode())
    assert gate.read("x.csv") == content


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
    gate.edits.remove(gate.sender(), "alock.txt", ())
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
