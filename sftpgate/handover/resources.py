"""What the work on files and names is done with: the disk and its layout, the ledger, and the time.

Whoever only looks, or makes files that have no name yet, is given this. Whoever changes names is given the journal as well.
"""

from __future__ import annotations

from dataclasses import dataclass

from sftpgate.handover.timekeeping import Timekeeper
from sftpgate.ids import Clock, Uptime
from sftpgate.ledger.database.connection import Ledger
from sftpgate.store.disk import Disk
from sftpgate.store.disk_paths import DiskPath, FileModes
from sftpgate.store.layout import Layout


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """One per process. ``durable``: what was answered survives a power cut."""

    layout: Layout
    disk: Disk
    ledger: Ledger
    clock: Clock
    uptime: Uptime
    time: Timekeeper
    modes: FileModes
    durable: bool = True

    def open_to_readers(self, fd: int) -> None:
        """Give a new file the mode of files in the store, and the store's group if we are in that, whoever made the file."""
        group = self.disk.group_of(DiskPath(self.layout.store, "")) if self.modes.gid is None else self.modes.gid
        self.disk.set_mode_if_we_may(fd, self.modes.file_mode, group)
