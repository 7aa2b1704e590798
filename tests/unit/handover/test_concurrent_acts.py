"""What others do at the worst moment: while a file is read, while its CLOSE is under way, between two looks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sftpgate.app.runs.claims import make_claims
from sftpgate.errors import FileExchanged, NoSuchFile, Refused, SftpgateError, UploadFailed
from sftpgate.ledger.arrivals import Arrival
from sftpgate.policy.lifecycle import ArrivalState
from sftpgate.policy.runs import RunOutcome
from sftpgate.runners.claim_ends import ClaimEnd
from sftpgate.store.disk import Disk
from sftpgate.store.disk_paths import DiskPath
from tests.harness.handover import Gate

WHOLE = b"add,student,1\n" * 10


class Watched(Disk):
    """A disk that calls ``before`` before each operation and look, until that returns True."""

    before: Callable[[str, tuple[Any, ...]], bool] | None = None

    def _tell(self, operation: str, *disk_paths: Any) -> None:
        told, self.before = self.before, None
        if told is not None and not told(operation, disk_paths):
            self.before = told

    def step(self, operation: str, *disk_paths: DiskPath | int) -> None:
        self._tell(operation, *disk_paths)

    def lstat(self, disk_path: DiskPath) -> os.stat_result | None:
        self._tell("lstat", disk_path)
        return super().lstat(disk_path)

    def in_turn(self, disk_path: DiskPath, mark: bytes) -> Any:
        self._tell("in_turn", disk_path)
        return super().in_turn(disk_path, mark)


@pytest.fixture
def disk() -> Watched:
    """The disk of the gate."""
    return Watched()


@pytest.fixture
def watched(tmp_path: Path, disk: Watched) -> Iterator[Gate]:
    """A gate that takes local files at once."""
    gate = Gate(tmp_path / "data", disk, settle_seconds=0)
    yield gate
    gate.system.close()


# -- local files -----------------------------------------------------------------------------------------------------


def written_anew(file: Path, turns: int, opened: list[int], mode: int) -> Callable[[str, tuple[Any, ...]], bool]:
    """At the given turn of the store's lock somebody opens ``file``; with O_TRUNC the first bytes of a new version are in it."""
    left = [turns]

    def before(operation: str, _: tuple[Any, ...]) -> bool:
        left[0] -= operation == "in_turn"
        if left[0]:
            return False
        opened.append(os.open(file, os.O_WRONLY | mode))
        if mode & os.O_TRUNC:
            os.write(opened[0], b"add,stu")
        return True

    return before


@pytest.mark.promise("P1")
@pytest.mark.parametrize("mode", [os.O_TRUNC, os.O_APPEND], ids=["rewrites", "appends"])
@pytest.mark.parametrize("turn", [1, 2])
def test_a_sweep_and_a_program_that_begins_to_write(watched: Gate, disk: Watched, mode: int, turn: int) -> None:
    """A file that a local program opens for writing after the sweep has read it is not taken half; the next sweep has it."""
    file, opened = watched.drop / "local.csv", list[int]()
    file.write_bytes(WHOLE)
    disk.before = written_anew(file, turn, opened, mode)
    watched.sweeper.run()
    assert watched.read("local.csv") is None
    os.write(opened[0], b"dent,2\n")
    os.close(opened[0])
    watched.sweeper.run()
    assert watched.read("local.csv") == (b"add,student,2\n" if mode & os.O_TRUNC else WHOLE + b"dent,2\n")


@pytest.mark.promise("P1")
@pytest.mark.parametrize("mode", [os.O_TRUNC, os.O_APPEND], ids=["rewrites", "appends"])
def test_a_runner_and_a_program_that_begins_to_write(watched: Gate, disk: Watched, mode: int) -> None:
    """The same in the store: a runner gets no file that was opened for writing after it was read."""
    file, opened = watched.store / "q.csv", list[int]()
    file.write_bytes(WHOLE)
    claims = make_claims(watched.system)
    disk.before = written_anew(file, 1, opened, mode)
    assert claims.take("queue") is None
    os.close(opened[0])
    claim = claims.take("queue")
    assert claim is not None and claim.path.read_bytes() == (b"add,stu" if mode & os.O_TRUNC else WHOLE)
    claims.end(claim, ClaimEnd(outcome=RunOutcome.DONE))


@pytest.mark.promise("P1")
def test_a_sender_renames_a_local_file_that_is_being_written(watched: Gate, disk: Watched) -> None:
    """A local file of the drop that somebody writes to gets no final name by a sender's rename."""
    file, opened = watched.drop / "local.tmp", list[int]()
    file.write_bytes(WHOLE)
    disk.before = written_anew(file, 1, opened, os.O_TRUNC)
    with pytest.raises(FileExchanged):
        watched.acts.rename(watched.sender(), "local.tmp", "local.csv", replacing=False, uploads=[])
    os.close(opened[0])
    assert watched.read("local.csv") is None and file.exists()


@pytest.mark.promise("P3")
def test_a_sender_removes_a_local_file_that_was_just_taken(watched: Gate, disk: Watched) -> None:
    """Where the sweep takes a local file just before its REMOVE, and another user's file is held in its place, that stays."""
    (watched.drop / "local.csv").write_bytes(WHOLE)

    def before(operation: str, _: tuple[Any, ...]) -> bool:
        if operation != "in_turn":
            return False
        watched.sweeper.run()
        (watched.drop / "alock.txt").write_bytes(b"")
        watched.put("local.csv", b"other\n", user="other")
        return True

    disk.before = before
    with pytest.raises(NoSuchFile):
        watched.acts.remove(watched.sender(), "local.csv", [])
    assert (watched.drop / "local.csv").read_bytes() == b"other\n"
    assert watched.read("local.csv") == WHOLE


# -- a CLOSE under way -----------------------------------------------------------------------------------------------


def at(operation: str, name: str, act: Callable[[], None]) -> Callable[[str, tuple[Any, ...]], bool]:
    """Call ``act`` before the operation whose last path has this name; before its first one where the name is empty."""

    def before(happening: str, disk_paths: tuple[Any, ...]) -> bool:
        if happening != operation or (name and disk_paths[-1].name != name):
            return False
        act()
        return True

    return before


@pytest.mark.promise("P2")
def test_one_of_several_is_removed_while_it_is_published(watched: Gate, disk: Watched) -> None:
    """Uploads that close together are all published and acknowledged, though one of them is removed at that moment."""
    uploads = [watched.upload(f"{number}.csv", WHOLE) for number in range(3)]
    disk.before = at("rename", "1.csv", uploads[1].fate.dropped)
    outcomes = watched.publisher._commit_safely(uploads)
    assert [type(outcome) for outcome in outcomes] == [Arrival] * 3
    assert [watched.read(f"{number}.csv") for number in range(3)] == [WHOLE] * 3
    watched.acts.remove(watched.sender(), "1.csv", uploads)
    assert watched.read("1.csv") is None


@pytest.mark.promise("P2")
def test_one_of_several_is_removed_before_it_is_published(watched: Gate, disk: Watched) -> None:
    """An upload that was removed before its turn is not published, and the others are."""
    uploads = [watched.upload(f"{number}.csv", WHOLE) for number in range(3)]
    disk.before = at("in_turn", "", uploads[1].fate.dropped)
    outcomes = watched.publisher._commit_safely(uploads)
    assert [type(outcome) for outcome in outcomes] == [Arrival, UploadFailed, Arrival]
    assert [watched.read(f"{number}.csv") for number in range(3)] == [WHOLE, None, WHOLE]


@pytest.mark.promise("P1", "P2")
def test_nothing_changes_a_file_whose_close_is_under_way(watched: Gate, disk: Watched) -> None:
    """SETSTAT and RENAME of its path, by another session of the user, are refused while a file is published."""
    upload = watched.upload("x.csv", WHOLE)
    refused: list[str] = []

    def meddle() -> None:
        with pytest.raises(Refused):
            watched.acts.truncate(watched.sender(), "x.csv", 2, [upload])
        refused.append("truncate")
        with pytest.raises(Refused):
            watched.acts.rename(watched.sender(), "x.csv", "x.tmp", replacing=False, uploads=[upload])
        refused.append("rename")

    disk.before = at("rename", "x.csv", meddle)
    [outcome] = watched.publisher.commit([upload])
    assert isinstance(outcome, Arrival) and len(refused) == 2
    assert watched.read("x.csv") == WHOLE


# -- looks -----------------------------------------------------------------------------------------------------------


@pytest.mark.promise("P5")
@pytest.mark.parametrize("look", ["lookup", "listing"])
def test_a_look_while_the_file_is_released(watched: Gate, disk: Watched, look: str) -> None:
    """A file is seen by its sender also at the moment when it goes from the drop to the store."""
    (watched.drop / "alock.txt").write_bytes(b"")
    arrival = watched.put("x.csv", WHOLE)
    assert arrival.state is ArrivalState.HELD
    sender_view = watched.acts._sender_view

    def release() -> None:
        (watched.drop / "alock.txt").unlink()
        watched.system.placer.second_looks.release_batch("")

    disk.before = at("lstat", "x.csv", release)
    found = [sender_view.lookup("erp", "x.csv")] if look == "lookup" else list(sender_view.listing("erp", ""))
    assert [item.size for item in found if item is not None and item.name == "x.csv"] == [len(WHOLE)]
    assert watched.now(arrival).state is ArrivalState.WAITING


# -- names in the archives -------------------------------------------------------------------------------------------


@pytest.mark.promise("P3")
def test_two_files_of_one_name_that_cannot_be_archived_at_once(watched: Gate, disk: Watched) -> None:
    """A place in the archives that was given to a file which cannot be moved there yet is not given to another one."""
    for name in ("a", "b"):
        watched.acts.make_directory(watched.sender(), name, [])
        watched.put(f"{name}/x.csv", b"first\n" + name.encode())

    def broken(operation: str, disk_paths: tuple[Any, ...]) -> bool:
        if operation == "link" and disk_paths[0].path == "a/x.csv":
            disk.before = broken
            raise OSError(5, "broken")
        return False

    disk.before = broken
    with pytest.raises(SftpgateError):
        watched.put("a/x.csv", b"second\n")
    watched.put("b/x.csv", b"second b\n")
    disk.before = None
    watched.put("a/x.csv", b"third\n")
    assert watched.read("a/x.csv") == b"third\n"
    assert watched.archived() == [b"first\na", b"first\nb", b"second\n"]


@pytest.mark.promise("P3")
def test_a_name_in_the_archives_that_somebody_takes(watched: Gate, disk: Watched) -> None:
    """Where an admin puts a file into the archives under the name that was chosen for another, both are kept."""
    watched.put("x.csv", b"first\n")

    def take(operation: str, disk_paths: tuple[Any, ...]) -> bool:
        if is_archived := operation == "link" and "archives" in disk_paths[1].local.parts:
            disk_paths[1].local.write_bytes(b"an admin's\n")
        return is_archived

    disk.before = take
    with pytest.raises(SftpgateError):
        watched.put("x.csv", b"second\n")
    watched.put("x.csv", b"third\n")
    assert watched.read("x.csv") == b"third\n"
    assert watched.archived() == [b"an admin's\n", b"first\n", b"second\n"]


@pytest.mark.promise("P3", "P4")
@pytest.mark.parametrize("name", ["x." + "y" * 250, "a." + "b" * 238 + ".csv", "é." + "é" * 120, "." * 2 + "x" * 240])
def test_names_with_long_suffixes(tmp_path: Path, name: str) -> None:
    """A name of any suffix is replaced, archived, run, failed and reported like any other one."""
    tools = {"all": {"file": "*", "command": ["true"], "max_attempts": 1}}
    gate = Gate(tmp_path / "data", tools=tools)
    first = gate.put(name, b"first\n")
    gate.put(name, b"second\n")
    if first.state is ArrivalState.WAITING:
        assert gate.archived() == [b"first\n"]
        claims = make_claims(gate.system)
        claim = claims.take("all")
        assert claim is not None and claim.path.read_bytes() == b"second\n"
        claim.tryback.write_bytes(b"rejected\n")
        finished = claims.end(claim, ClaimEnd(outcome=RunOutcome.FAILED, exit_status=1))
        assert finished.report is not None and finished.tryback is not None
        assert finished.arrival.state is ArrivalState.QUARANTINED
    gate.system.close()


@pytest.mark.promise("P1")
@pytest.mark.parametrize("length", [246, 248, 250, 251, 252])
def test_a_companion_of_a_long_name(tmp_path: Path, length: int) -> None:
    """A done-file is seen beside a name so long that no other companion of it could be stored."""
    gate = Gate(tmp_path / "data", require_done_file=True)
    arrival = gate.put("n" * length, WHOLE)
    assert arrival.state is ArrivalState.HELD
    gate.put("n" * length + ".ok", b"")
    assert gate.now(arrival).state is ArrivalState.WAITING
    gate.system.close()
