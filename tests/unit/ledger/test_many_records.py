"""What looks at records keeps a page of them, however many there are."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import pytest
from sqlalchemy import insert

from sftpgate.ledger import arrivals, retention
from sftpgate.ledger.database.connection import Connection, Ledger
from sftpgate.ledger.database.schema import arrivals as table

FEW, MANY = 2_000, 20_000
NOW = datetime(2026, 1, 2, tzinfo=UTC)


def fill(ledger: Ledger, start: int, end: int) -> None:
    """Archived arrivals, made without their files."""
    usual = {
        "owner": "erp", "home": "", "state": "done", "size": 1, "sha256": "0" * 64, "grade": "plausible", "inode": 1,
        "mtime_ns": 1, "received_at": NOW, "changed_at": NOW, "source": "sftp", "live": 0,
    }  # fmt: skip
    rows = [usual | {"id": f"{n:026}", "path": f"{n}.csv", "archived_as": f"20260101-0000_{n:06}.csv"} for n in range(start, end)]
    with ledger.transaction() as connection:
        connection.execute(insert(table), rows)


def peak(ledger: Ledger, look: Callable[[Connection], object]) -> int:
    """The most memory that a look takes."""
    with ledger.reading() as connection:
        look(connection)
        tracemalloc.start()
        look(connection)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return most


LOOKS: dict[str, Callable[[Connection], object]] = {
    "what a dry run of prune reads": lambda connection: sum(1 for _ in retention.archived(connection)),
    "a page of /archives": lambda connection: arrivals.archives_of(connection, "erp", after="", limit=100),
    "the names of an empty drop": lambda connection: arrivals.paths_in(connection, "", owner="erp", after="", limit=1000),
}


@pytest.mark.parametrize("name", LOOKS)
def test_memory_does_not_grow_with_the_records(tmp_path: Path, name: str) -> None:
    """Ten times the records, and no more than half as much memory again."""
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db", durable=False)
    ledger.create()
    fill(ledger, 0, FEW)
    few = peak(ledger, LOOKS[name])
    fill(ledger, FEW, MANY)
    assert peak(ledger, LOOKS[name]) < 1.5 * few + 65536
    ledger.close()


def test_pages_of_archives_are_all_of_them(tmp_path: Path) -> None:
    """Page behind page, each name comes once and in order."""
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db", durable=False)
    ledger.create()
    fill(ledger, 0, 250)
    seen: list[str] = []
    with ledger.reading() as connection:
        while page := arrivals.archives_of(connection, "erp", after=seen[-1] if seen else "", limit=100):
            seen += islice(page, 100)
    assert seen == [f"20260101-0000_{n:06}.csv" for n in range(250)]
    ledger.close()
