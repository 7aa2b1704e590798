"""What a text was converted to takes its place; the original is kept in the archives.

A judge writes the converted text to a file in staging. One change then archives the original, as a record of its own, and gives
the arrival the new content, and its place: so the arrival keeps its id and its turn. A crash before that change leaves a staging
file that expires, and a file that is judged again; one after it leaves moves that settling makes. Blocks.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import replace

from sftpgate.contracts.judges import Answer
from sftpgate.errors import NoSuchFile
from sftpgate.handover.journal import Journal
from sftpgate.handover.placement.placer import Placer
from sftpgate.handover.resources import Resources
from sftpgate.ids import new_id
from sftpgate.ledger.arrivals import Arrival, moved
from sftpgate.ledger.audit.actor import SYSTEM
from sftpgate.logs import get_logger
from sftpgate.policy.lifecycle import Area, ArrivalState, HoldReason
from sftpgate.policy.locations import LOCAL_STAGING, Location, location
from sftpgate.store.disk import Disk
from sftpgate.store.disk_paths import DiskPath

log = get_logger("guard")


class Scratch:
    """An empty file in staging, open as ``fd`` until ``opened`` ends; removed then, unless it ``is_given`` to an arrival.

    A move that fails is made later, from here: so what a commit speaks of, or may speak of, stays. What no arrival has in the
    end, the sweep of staging removes.
    """

    def __init__(self, resources: Resources, opened: ExitStack) -> None:
        name = new_id(resources.clock())
        self.where: Location = location(Area.STAGING, f"{LOCAL_STAGING}/{name}")
        disk, disk_path = resources.disk, resources.layout.staging(LOCAL_STAGING) / name
        self.is_given = False
        opened.callback(self._remove, disk, disk_path)
        self.fd = _created(resources, disk_path)
        opened.callback(os.close, self.fd)

    def _remove(self, disk: Disk, disk_path: DiskPath) -> None:
        if not self.is_given:
            disk.unlink(disk_path, missing_ok=True)


def _created(resources: Resources, disk_path: DiskPath) -> int:
    try:
        return resources.disk.create(disk_path, 0o600)
    except NoSuchFile:
        resources.disk.make_dirs(disk_path.parent, 0o700)
        return resources.disk.create(disk_path, 0o600)


class Conversions:
    """Puts converted texts in the places of their originals."""

    def __init__(self, resources: Resources, journal: Journal, placer: Placer) -> None:
        self._resources = resources
        self._journal = journal
        self._placer = placer

    def keep(self, file: Arrival, scratch: Scratch, answer: Answer, *, to: str) -> bool:
        """Let the text in ``scratch``, whose verdict is recorded, take the place of a file that is being checked, and place it;
        return False if the file is not what it was any more. Raises StorageError and LedgerError.
        """
        disk, modes = self._resources.disk, self._resources.modes
        disk.set_mode(scratch.fd, modes.file_mode, modes.gid)
        disk.set_times(scratch.fd, file.mtime_ns, file.mtime_ns)
        if self._resources.durable:
            disk.sync(scratch.fd)
            staging = self._resources.layout.staging(LOCAL_STAGING)
            disk.sync_dirs([staging, staging.parent])  # the ledger is about to say that the file has this name
        status = os.fstat(scratch.fd)
        with self._journal.change() as change:
            now = change.get(file.id)
            is_same = now.state is ArrivalState.HELD and now.hold_reason is HoldReason.UNCHECKED and now.sha256 == file.sha256
            if not is_same or now.location is None:
                return False
            scratch.is_given = True
            original = change.keep_original(now, because=f"it was converted, as arrival {now.id}")
            text = replace(
                now,
                sha256=answer.converted_sha256,
                size=status.st_size,
                inode=status.st_ino,
                mtime_ns=status.st_mtime_ns,
                location=scratch.where,
                pending_from=None,
            )
            text = moved(text, now.location)
            change.put(text)
            details = {"from": answer.converted_from, "to": to, "sha256": text.sha256, "original": str(original.location)}
            change.note("arrival.converted", text, actor=SYSTEM, **details)
            self._placer.reconsider(change, text, actor=SYSTEM)
        log.info("contract.converted", arrival=file.id, path=file.path, reason=f"{answer.converted_from} to {to}")
        return True
