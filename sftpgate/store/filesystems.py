"""What the filesystems below drop, store and ledger can do: looked up in the mount table, and tried.

The hand-over needs atomic renames, hard links (archives never replace), and locks that end with their process. All
local Linux filesystems have them; network filesystems have them by configuration, and lose what was flushed by the
rules of their server.

``probe`` makes files of our own names in the directories and removes them again; a crash in it leaves files that
nobody takes. Everything blocks.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from sftpgate.errors import CrossDevice, SftpgateError
from sftpgate.hidden_names import MANAGED_NAME
from sftpgate.policy.space import Room
from sftpgate.store.disk import Disk
from sftpgate.store.disk_paths import DiskPath
from sftpgate.store.kernel.open_files import try_lock

_NETWORK_TYPES = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "glusterfs", "lustre", "gfs2", "ocfs2", "afs"})
_MOUNTS = Path("/proc/self/mountinfo")
_ESCAPED = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A mounted filesystem: where, and of which type, as the kernel names it."""

    point: Path
    type: str

    @property
    def is_network(self) -> bool:
        """Whether other machines can have it mounted too, so that locks and flushes are another machine's business."""
        return self.type in _NETWORK_TYPES or self.type.startswith("fuse.")

    @property
    def is_volatile(self) -> bool:
        """Whether its content is gone after a restart of the machine or of the container."""
        return self.type in ("tmpfs", "ramfs", "overlay")


def mount_of(path: Path, table: str | None = None) -> Mount | None:
    """Return the filesystem that ``path`` is on, by the kernel's table (proc_pid_mountinfo(5)); None if that cannot be read."""
    if table is None:
        try:
            table = _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:
            return None
    found: Mount | None = None
    real = path.resolve()
    for line in table.splitlines():
        before, _, behind = line.partition(" - ")
        fields, types = before.split(" "), behind.split(" ")
        if len(fields) < 5:
            continue
        point = Path(_ESCAPED.sub(lambda match: chr(int(match[1], 8)), fields[4]))
        # of several mounts on one point the last one is seen
        if real.is_relative_to(point) and (found is None or len(point.parts) >= len(found.point.parts)):
            found = Mount(point=point, type=types[0])
    return found


def room(path: Path) -> Room | None:
    """Return the room on the filesystem of ``path``; None if it cannot be looked at."""
    try:
        found = os.statvfs(path)
    except OSError:
        return None
    # a filesystem without a fixed number of inodes (btrfs) says 0 of 0
    return Room(bytes=found.f_bavail * found.f_frsize, files=found.f_favail if found.f_files else None)


def rooms(**places: Path) -> dict[str, Room | None]:
    """Return the room for each of the places that are there; one on the filesystem of an earlier one is left out."""
    devices: set[int] = set()
    found: dict[str, Room | None] = {}
    for name, path in places.items():
        try:
            device = path.stat().st_dev
        except OSError:
            continue
        if device not in devices:
            devices.add(device)
            found[name] = room(path)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What was tried. ``problem``: what failed, or None; ``is_one_filesystem``: renames go from drop to store."""

    problem: str | None = None
    is_one_filesystem: bool = True


def probe(disk: Disk, store: Path, drop: Path, *, unique: str) -> Probe:
    """Try in ``store`` and ``drop`` what the hand-over does: create, flush, lock, link, rename. ``unique`` is in the names."""
    in_drop = DiskPath(drop, f"{MANAGED_NAME}-probe-{unique}")
    first = DiskPath(store, f"{MANAGED_NAME}-probe-{unique}")
    second = DiskPath(store, f"{MANAGED_NAME}-probe-{unique}-2")
    try:
        with_lock = _try_file(disk, first)
        disk.link(first, second)
        disk.rename(second, first)
        disk.sync_dirs([DiskPath(store, "")])
        os.close(disk.create(in_drop, 0o600))
        try:
            disk.rename(in_drop, second)
            one = True
        except CrossDevice:
            one = False
    except SftpgateError as error:
        return Probe(problem=error.message)
    finally:
        for disk_path in (first, second, in_drop):
            try:
                disk.unlink(disk_path, missing_ok=True)
            except SftpgateError:
                continue  # a directory that we may not write into: there is nothing of ours in it
    return Probe(problem=None if with_lock else "a lock is not seen by others (flock does not work)", is_one_filesystem=one)


def _try_file(disk: Disk, disk_path: DiskPath) -> bool:
    """Make, flush and lock a file; whether the lock keeps another one out."""
    fd = disk.create(disk_path, 0o600)
    try:
        disk.write(fd, 0, b"probe\n")
        disk.sync(fd)
        other = disk.open_write(disk_path)
        try:
            return try_lock(fd) and not try_lock(other)
        finally:
            os.close(other)
    finally:
        os.close(fd)
