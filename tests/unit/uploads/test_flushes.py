"""Uploads that are flushed ahead of their CLOSE."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sftpgate.errors import SftpgateError, StorageError
from sftpgate.store.disk import Disk
from sftpgate.store.disk_paths import DiskPath
from sftpgate.uploads.flushes import ContentFlush
from sftpgate.uploads.upload import Upload
from tests.harness.handover import Gate


class Watched(Disk):
    """A disk that notes what is flushed, and refuses where it is told to."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.refuses: Callable[[str], bool] = lambda _: False

    def step(self, operation: str, *disk_paths: DiskPath | int) -> None:
        """Note, or refuse."""
        self.steps.append(operation)
        if self.refuses(operation):
            raise OSError(5, "Input/output error")

    def flushes(self) -> list[str]:
        """What was flushed since the last look."""
        found = [step for step in self.steps if step.startswith("sync")]
        self.steps.clear()
        return found


def is_due(upload: Upload) -> bool:
    """Whether a flush ahead should begin."""
    return upload.seems_whole


@pytest.fixture
def disk() -> Watched:
    """A disk to watch."""
    return Watched()


@pytest.fixture
def gate(make_gate: Any, disk: Watched) -> Gate:
    """A gate with full durability on it."""
    made: Gate = make_gate(disk=disk, durability="full")
    disk.steps.clear()
    return made


@pytest.mark.promise("P2")
def test_what_was_flushed_ahead_is_not_flushed_again(gate: Gate, disk: Watched) -> None:
    """The content is flushed once, before the commit, whoever began it."""
    upload = gate.upload("a.csv", b"a,1\n")
    assert is_due(upload)
    disk.flushes()
    upload.flush(disk)
    assert disk.flushes() == ["sync"] and not is_due(upload)
    gate.publisher.commit([upload])
    assert "sync" not in disk.flushes()


@pytest.mark.promise("P2")
def test_what_was_written_after_a_flush_is_flushed(gate: Gate, disk: Watched) -> None:
    """A write or a new size behind the flush ahead is flushed at the CLOSE."""
    changes: list[Callable[[Upload], None]] = [lambda it: it.write(disk, 4, b"b,2\n"), lambda it: it.truncate(disk, 4)]
    for change in changes:
        upload = gate.upload("a.csv", b"a,1\n")
        upload.flush(disk)
        change(upload)
        disk.flushes()
        gate.publisher.commit([upload])
        assert "sync" in disk.flushes()


def test_full_writes_are_not_flushed_ahead(gate: Gate, disk: Watched) -> None:
    """While a client sends full writes there is more to come, and a flush would be one too many."""
    upload = gate.upload("a.csv", bytes(32 * 1024))
    assert not is_due(upload)
    upload.write(disk, 32 * 1024, b"the rest\n")
    assert is_due(upload)


@pytest.mark.promise("P2")
def test_a_flush_that_failed_ahead_fails_the_close(gate: Gate, disk: Watched) -> None:
    """A kernel tells once of what it lost; a second flush that goes well proves nothing."""
    upload = gate.upload("a.csv", b"a,1\n")
    disk.refuses = lambda operation: operation == "sync"
    with pytest.raises(StorageError):
        upload.flush(disk)
    disk.refuses = lambda _: False
    [outcome] = gate.publisher.commit([upload])
    assert isinstance(outcome, StorageError) and gate.read("a.csv") is None
    with pytest.raises(StorageError):
        gate.system.staging.interrupt(upload)  # nor is it kept as if its bytes could be trusted


def test_names_in_staging_are_kept_together(gate: Gate, disk: Watched) -> None:
    """One flush of the directory keeps the names of all uploads that were in it, and no later one."""
    first, second = gate.upload("a.csv", b"a\n"), gate.upload("b.csv", b"b\n")
    disk.flushes()
    gate.system.staging.keep_names([first])
    gate.system.staging.keep_names([second])
    assert disk.flushes() == ["sync_dir"]
    third = gate.upload("c.csv", b"c\n")
    gate.system.staging.keep_names([third])
    assert disk.flushes() == ["sync_dir"]
    for upload in (first, second, third):
        gate.system.staging.discard(upload)


def test_nothing_is_flushed_after_the_end() -> None:
    """The descriptor may be another file's by then."""
    flush, made = ContentFlush(), []
    flush.end()
    flush.make(lambda: made.append(1))
    assert made == []


def test_two_flushes_at_a_time_are_one() -> None:
    """Who comes while a flush is made waits for it, and makes none of the same changes."""
    flush, made = ContentFlush(), []
    flush.changed()
    flush.make(lambda: made.append(1))
    flush.make(lambda: made.append(2))
    flush.changed()
    flush.make(lambda: made.append(3))
    assert made == [1, 3]


def test_a_failure_is_told_again() -> None:
    """Each later flush raises what the first one raised."""
    flush = ContentFlush()

    def fail() -> None:
        raise StorageError("lost")

    for _ in range(2):
        with pytest.raises(SftpgateError, match="lost"):
            flush.make(fail)
