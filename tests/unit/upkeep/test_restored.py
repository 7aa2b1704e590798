"""Files that a backup brought back into the drop."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sftpgate.app.arrivals import release
from sftpgate.ledger import arrivals
from sftpgate.ledger.audit.actor import command
from sftpgate.policy.lifecycle import ArrivalState, HoldReason
from sftpgate.store.disk import Disk
from sftpgate.store.disk_paths import DiskPath
from sftpgate.upkeep.verify import verify


class Counting(Disk):
    """A disk that says which files were opened for reading."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[str] = []

    def open_read(self, disk_path: DiskPath) -> int:
        """As the disk does it."""
        self.opened.append(disk_path.name)
        return super().open_read(disk_path)


def _whole_second(status: os.stat_result) -> tuple[int, int]:
    return status.st_atime_ns, status.st_mtime_ns // 10**9 * 10**9


_RESTORES: dict[str, Callable[[os.stat_result], tuple[int, int]]] = {
    "tar": _whole_second,
    "two seconds": lambda status: (0, status.st_mtime_ns // (2 * 10**9) * 2 * 10**9),
    "no times": lambda status: (status.st_atime_ns, status.st_mtime_ns + 12345 * 10**9),
}


@pytest.mark.promise("P2", "P8")
@pytest.mark.parametrize("how", _RESTORES)
def test_files_that_wait_are_known_after_a_restore(make_gate: Any, tmp_path: Path, how: str) -> None:
    """After a restore of the whole gate by something that keeps no inodes, and times only roughly or not at all, every
    file is known, and held until an admin releases it; each file is read once.
    """
    gate = make_gate()
    for path, content in (("x.csv", b"a,1\n"), ("q.csv", b"1\n"), ("q.csv", b"2\n"), ("_kept.csv", b"k\n")):
        gate.put(path, content)
    gate.put("alock.txt", b"")
    gate.put("held.csv", b"h,1\n")
    before = _states(gate)
    gate.system.close()
    _restore(tmp_path, _RESTORES[how])
    disk = Counting()
    again = make_gate(disk=disk)
    assert not again.sweeper.recover().gone
    assert _states(again) == [(path, "held" if state in ("waiting", "queued") else state) for path, state in before]
    again.acts.remove(again.sender(), "alock.txt", [])
    for arrival in _held(again):
        release(again.system, command(), arrival)
    assert [state for path, state in _states(again) if path in ("x.csv", "q.csv")] == ["waiting", "waiting", "queued"]
    disk.opened.clear()
    assert not again.sweeper.run().gone
    again.system.journal.files._digests.clear()  # as another process, which has read nothing
    again.sweeper.run()
    assert not {"x.csv", "held.csv", "_kept.csv"} & set(disk.opened)
    assert verify(again.system.resources, again.system.journal, content=True) == []


@pytest.mark.promise("P8")
def test_another_file_of_the_same_size(make_gate: Any, tmp_path: Path) -> None:
    """A file with another content is not taken for the one that waited."""
    gate = make_gate()
    arrival = gate.put("x.csv", b"a,1\n")
    (gate.store / "other").write_bytes(b"b,2\n")
    (gate.store / "other").rename(gate.store / "x.csv")
    gate.sweeper.run()
    assert gate.now(arrival).state is ArrivalState.TAKEN


@pytest.mark.promise("P4")
def test_a_processed_file_that_tar_brings_back(make_gate: Any) -> None:
    """A file that was processed is left alone also where a backup kept whole seconds of its time only."""
    gate = make_gate()
    arrival = gate.put("x.csv", b"a,1\n")
    (gate.store / "x.csv").unlink()
    gate.sweeper.run()
    assert gate.now(arrival).state is ArrivalState.TAKEN
    (gate.drop / "x.csv").write_bytes(b"a,1\n")
    os.utime(gate.drop / "x.csv", ns=(0, arrival.mtime_ns // 10**9 * 10**9))
    gate.clock.ahead = timedelta(minutes=1)
    result = gate.sweeper.run()
    assert (result.restored, result.taken) == (1, 0)


@pytest.mark.promise("P4")
def test_taken_is_not_processed(make_gate: Any) -> None:
    """A file for a tool that is recorded as taken, which the tool never saw, is taken again when it is back; for one that no
    tool is pointed at, the program that took it has processed it.
    """
    tools = {"users": {"file": "users.csv", "command": ["true"]}}
    gate = make_gate(tools=tools)
    arrivals_of = {path: gate.put(path, b"a,1\n") for path in ("users.csv", "other.csv")}
    for path, arrival in arrivals_of.items():
        (gate.store / path).rename(gate.store.parent / path)
        gate.sweeper.run()
        assert gate.now(arrival).state is ArrivalState.TAKEN
        (gate.store.parent / path).rename(gate.drop / path)
    gate.clock.ahead = timedelta(minutes=1)
    result = gate.sweeper.run()
    assert (result.restored, result.taken) == (1, 1)
    assert gate.read("users.csv") == b"a,1\n"


def _states(gate: Any) -> list[tuple[str, str]]:
    with gate.system.ledger.reading() as connection:
        return [(row.path, row.state.value) for row in arrivals.find(connection)]


def _held(gate: Any) -> list[str]:
    """Return the ids of what is held because a backup was brought back, the oldest first."""
    with gate.system.ledger.reading() as connection:
        return [row.id for row in arrivals.held_for(connection, HoldReason.RESTORED, after_seq=0, limit=100)]


def _restore(tmp_path: Path, times: Callable[[os.stat_result], tuple[int, int]]) -> None:
    """Copy all files of a gate, and put the copies in its place."""
    data, backup = tmp_path / "data", tmp_path / "backup"
    shutil.copytree(data, backup)
    shutil.rmtree(data)
    backup.rename(data)
    for path in (path for top in ("store", "sync") for path in (data / top).rglob("*") if path.is_file()):
        os.utime(path, ns=times(path.stat()))


@pytest.mark.promise("P4")
def test_a_restored_file_is_read_once(make_gate: Any) -> None:
    """A processed file that comes back stays where it is, sweep after sweep, and its content is read by the first one only;
    once it is touched, it is a new one.
    """
    disk = Counting()
    gate = make_gate(disk=disk)

    def bring() -> None:
        (gate.drop / "x.csv").write_bytes(b"a,1\n")
        os.utime(gate.drop / "x.csv", (1_700_000_000, 1_700_000_000))

    bring()
    gate.clock.ahead = timedelta(minutes=1)
    assert gate.sweeper.run().taken == 1
    (gate.store / "x.csv").unlink()  # a plain program took it
    gate.sweeper.run()
    bring()
    disk.opened.clear()
    assert [gate.sweeper.run().restored for _ in range(3)] == [1, 1, 1]
    assert disk.opened == ["x.csv"]
    (gate.drop / "x.csv").touch()
    assert gate.sweeper.run().taken == 1
