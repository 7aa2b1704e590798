"""Knows a store that was copied, by tar, rsync or out of a snapshot, from one that stayed where it was (promise P4).

What waits in a store that was brought back from a backup may have been processed since, and nothing in it can say so. So the
ledger remembers the *place* of its gate: the change time of the store's identity file, which no copy can have, and the inodes of
some directories. Both are others in a copy. One alone is not enough: an admin's ``chown -R`` sets change times, and some
filesystems number their inodes anew when they are mounted.

A copy of the store alone proves nothing if the ledger is where it was and knows more than the store: then the ledger says what
was processed. A filesystem that was set back as a whole, by a snapshot of a machine or a volume, looks as it did: only people
know, and say so (``mark_restored``).

The mark ``restored`` in the ledger says that what waits has yet to be held, by ``upkeep.brought_back``. It is set in the
transaction that notes the new place, and goes when all is held. Blocks.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from sftpgate.ledger.database import identity as records
from sftpgate.ledger.database.connection import Ledger
from sftpgate.policy.identity import Age, was_brought_back
from sftpgate.policy.lifecycle import Area
from sftpgate.policy.managed import MANAGED
from sftpgate.store.disk import Disk
from sftpgate.store.disk_paths import DiskPath
from sftpgate.store.layout import Layout

COPIED = "store and ledger were copied here: from a backup, or by a move to another disk"


@dataclass(frozen=True, slots=True)
class GatePlace:
    """Where a gate's store and ledger are, as the filesystem says it: numbers that a copy does not have."""

    changed_ns: int
    store: tuple[int, ...]
    ledger: tuple[int, ...]

    def as_text(self) -> str:
        """Return it for the ledger."""
        return json.dumps([self.changed_ns, self.store, self.ledger])

    @classmethod
    def of_text(cls, text: str) -> GatePlace:
        """Return what ``as_text`` wrote."""
        changed_ns, store, ledger = json.loads(text)
        return cls(changed_ns, tuple(store), tuple(ledger))

    def is_copy_of(self, before: GatePlace) -> bool:
        """Return whether the store is a copy of the one before."""
        return self.changed_ns != before.changed_ns and self.store != before.store

    def has_other_ledger(self, before: GatePlace) -> bool:
        """Return whether the ledger is, or cannot be known not to be, another file than before."""
        return not self.ledger or self.ledger != before.ledger


def place_of(layout: Layout, disk: Disk, ledger: Ledger) -> GatePlace | None:
    """Return where the gate is; None if its store has no identity."""
    identity = disk.lstat(layout.identity)
    if identity is None:
        return None
    store, drop = DiskPath(layout.store, ""), DiskPath(layout.drop, "")
    known = [store, drop, layout.managed, layout.identity, layout.lock, layout.sweep_lock]
    known += [DiskPath(layout.root(area), "") for area in (Area.STAGING, Area.HELD, Area.QUEUE, Area.CLAIMS)]
    known += [DiskPath(layout.store, directory.name) for directory in MANAGED]
    found = [disk.lstat(each) for each in known]
    file = ledger.file
    try:
        of_ledger = () if file is None else (file.stat().st_ino, file.parent.stat().st_ino)
    except OSError:
        of_ledger = ()
    return GatePlace(identity.st_ctime_ns, tuple(0 if each is None else each.st_ino for each in found), of_ledger)


def notice_copy(layout: Layout, disk: Disk, ledger: Ledger, age: Age) -> bool:
    """Note where the gate is, and mark the ledger if what waits has to be held; return whether it is marked.

    ``age``: whether store or ledger is older, before that was put right.
    """
    now = place_of(layout, disk, ledger)
    with ledger.reading() as connection:
        before, marked = records.place(connection), records.restored(connection)
    if now is None or before == now.as_text():
        return marked is not None
    with ledger.transaction() as connection:
        before = records.place(connection)  # another process may have been quicker
        if before is not None and before != now.as_text():
            known = GatePlace.of_text(before)
            if was_brought_back(age, copied=now.is_copy_of(known), other_ledger=now.has_other_ledger(known)):
                records.set_restored(connection, COPIED)
        records.set_place(connection, now.as_text())
        return records.restored(connection) is not None


def mark_restored(ledger: Ledger, because: str) -> None:
    """Let the next start hold what waits."""
    with ledger.transaction() as connection:
        records.set_restored(connection, because)
