"""The slots of users, which several processes share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sftpgate.store.disk import Disk
from sftpgate.store.disk_paths import DiskPath
from sftpgate.store.shared.user_slots import UserSlots


@pytest.fixture
def file(tmp_path: Path) -> Iterator[DiskPath]:
    """Where the locks of user slots are."""
    yield DiskPath(tmp_path, "seats")


def test_seats_are_shared_by_processes(file: DiskPath) -> None:
    """What one process has taken, another one cannot; what a process leaves, or dies with, is free."""
    first, second = UserSlots(Disk(), file), UserSlots(Disk(), file)
    taken = [first.take("erp", 3), second.take("erp", 3), second.take("erp", 3)]
    assert None not in taken
    assert first.take("erp", 3) is None
    assert second.take("erp", 3) is None
    assert first.take("other", 3) is not None
    assert taken[0] is not None
    first.leave(taken[0])
    again = second.take("erp", 3)
    assert again is not None
    second.close()
    assert [first.take("erp", 3) is not None for _ in range(4)] == [True, True, True, False]
    first.close()


def test_seats_above_a_lower_limit_count(file: DiskPath) -> None:
    """After a reload that lowered the limit, what old processes have above it takes from what new ones may have."""
    old, new = UserSlots(Disk(), file), UserSlots(Disk(), file)
    taken = [slot for _ in range(6) if (slot := old.take("erp", 6)) is not None]
    for number in (0, 1, 3):
        old.leave(taken[number])
    assert new.take("erp", 3) is None
    old.leave(taken[4])
    assert [new.take("erp", 3) is not None for _ in range(2)] == [True, False]
    old.leave(taken[5])
    assert [new.take("erp", 3) is not None for _ in range(2)] == [True, False]
    assert old.take("other", 6) is not None
    old.close()
    assert new.take("erp", 3) is not None
    assert new.take("erp", 3) is None
    new.close()
