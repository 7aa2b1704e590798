"""Counts of what something costs: acts on the disk, names that were looked for, statements of the ledger.

Counts are the same on a busy machine and on an idle one, where times are not.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from os import stat_result

from sqlalchemy import Engine, event

from sftpgate.store.disk import Disk
from sftpgate.store.disk_paths import DiskPath

_NO_STATEMENTS = ("BEGIN", "COMMIT", "ROLLBACK", "PRAGMA", "--")  # the last: what SQLite does within a statement


class CountingDisk(Disk):
    """A disk that counts: each act by its name, ``look`` for a look at one path, ``asked`` for names that are looked for in a
    directory, ``listing`` for directories that are listed.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.before_turn: Callable[[], object] | None = None

    def step(self, operation: str, *disk_paths: DiskPath | int) -> None:
        """An act."""
        self.counts[operation] += 1

    def lstat(self, disk_path: DiskPath) -> stat_result | None:
        """A look."""
        self.counts["look"] += 1
        return super().lstat(disk_path)

    def present(self, directory: DiskPath, names: Iterable[str]) -> list[str]:
        """Many looks."""
        asked = list(names)
        self.counts["asked"] += len(asked)
        return super().present(directory, asked)

    def matching(self, disk_path: DiskPath, wanted: Callable[[str], bool], *, looks: int | None = None) -> list[str] | None:
        """A listing, if it is made."""
        found = super().matching(disk_path, wanted, looks=looks)
        self.counts["listing"] += found is not None
        return found

    @contextmanager
    def in_turn(self, disk_path: DiskPath, mark: bytes) -> Iterator[bool]:
        """A change; ``before_turn`` is done once, before the next one."""
        act, self.before_turn = self.before_turn, None
        if act is not None:
            act()
        self.counts["change"] += 1
        with super().in_turn(disk_path, mark) as ours:
            yield ours


@contextmanager
def counted_statements() -> Iterator[Counter[str]]:
    """The statements of all SQLite ledgers that are opened in the block, by their first word; a statement that is run for many
    rows counts for each.
    """
    counts: Counter[str] = Counter()

    def seen(statement: str) -> None:
        if not statement.startswith(_NO_STATEMENTS):
            counts[statement.split(maxsplit=1)[0]] += 1

    def connected(connection: sqlite3.Connection, _record: object) -> None:
        connection.set_trace_callback(seen)

    event.listen(Engine, "connect", connected)
    try:
        yield counts
    finally:
        event.remove(Engine, "connect", connected)
