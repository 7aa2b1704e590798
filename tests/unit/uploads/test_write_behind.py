"""The disk begins with an upload while it runs: each part once, and nothing after its end."""

from __future__ import annotations

import pytest

from sftpgate.store.disk import Disk
from sftpgate.uploads.write_behind import STEP_BYTES, WriteBehind


class Noted(Disk):
    """A disk that notes what it was asked to begin with."""

    def __init__(self) -> None:
        self.begun: list[tuple[int, int]] = []

    def begin_flush(self, fd: int, offset: int, length: int) -> None:
        """Note it."""
        self.begun.append((offset, length))


def test_the_disk_begins_in_steps() -> None:
    """The disk is asked for each part once, when enough of it was written, in whatever order."""
    behind, disk, due = WriteBehind(), Noted(), []
    for end in (100, STEP_BYTES - 1, 200, STEP_BYTES + 5, STEP_BYTES + 6, 3 * STEP_BYTES):
        behind.written(end)
        due.append(behind.is_behind)
        if behind.is_behind:
            behind.advance(disk, 0)
    assert due == [False, False, False, True, False, True]
    assert disk.begun == [(0, STEP_BYTES + 5), (STEP_BYTES + 5, 2 * STEP_BYTES - 5)]


@pytest.mark.promise("P1")
def test_nothing_is_asked_for_after_the_end() -> None:
    """After the end a late thread does not touch the descriptor, so it can be closed and used again."""
    behind, disk = WriteBehind(), Noted()
    behind.written(STEP_BYTES)
    behind.end()
    assert not behind.is_behind
    behind.advance(disk, 0)
    assert disk.begun == []
