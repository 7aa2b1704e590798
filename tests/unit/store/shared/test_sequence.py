"""The number that says which of two uploads was opened later."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sftpgate.store.disk import Disk
from sftpgate.store.disk_paths import DiskPath
from sftpgate.store.shared import sequence
from sftpgate.store.shared.sequence import NumberSequence


def begin(directory: Path, floor: Callable[[], int] = int) -> NumberSequence:
    """What one process has of it."""
    return NumberSequence(Disk(), DiskPath(directory, "sequence"), floor)


def test_it_only_grows(tmp_path: Path) -> None:
    """The number follows the clock forward and never goes back with it, in two processes, and after a restart."""
    one, two = begin(tmp_path), begin(tmp_path)
    numbers = [one.next(1000), two.next(1000), one.next(999), two.next(2000), one.next(5), begin(tmp_path).next(5)]
    assert numbers == [1000, 1001, 1002, 2000, 2001, 2002]


@pytest.mark.parametrize("left", [b"", b"half"])
def test_a_file_that_was_lost(tmp_path: Path, left: bytes) -> None:
    """Where a power cut took the file back, what bears a number already says how far it was."""
    begin(tmp_path).next(5000)
    (tmp_path / "sequence").write_bytes(left)
    assert begin(tmp_path, lambda: 5000).next(10) == 5001


def test_many_at_once(tmp_path: Path) -> None:
    """Threads of two processes get numbers of their own."""
    both = begin(tmp_path), begin(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda turn: both[turn % 2].next(7), range(200)))
    assert sorted(numbers) == list(range(7, 207))


def test_a_process_that_was_stopped_with_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for ever for a process that was stopped while it had the lock."""
    monkeypatch.setattr(sequence, "_TRIES", 2)
    begin(tmp_path).next(7)
    holder = os.open(tmp_path / "sequence", os.O_RDWR)
    fcntl.flock(holder, fcntl.LOCK_EX)
    assert begin(tmp_path).next(7) == 8
    os.close(holder)
