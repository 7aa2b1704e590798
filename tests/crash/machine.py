"""A machine that can be stopped at every operation on disk or ledger, and what is on its disk afterwards.

``Machine`` counts operations and stops at one of them: from then on nothing more reaches disk or ledger, whatever handlers
still run. ``CrashDisk`` keeps, beside the real files, what a power cut would leave: the content of a file as it was when it was
last flushed, and the names in a directory as they were when that was last flushed. Every file keeps a second name outside the
tree, so that its inode, by which the product knows it, is still there to be given back.

``Outage`` says which of that survives. A power cut may or may not have written what was not flushed, so there are two of them:
nothing of the names, or all of them; contents that were never flushed are gone in both. One thing is granted, because every
journaling filesystem of Linux (ext4, xfs, btrfs, f2fs) does it: a rename is one act, so that flushing either of its directories
makes it last. A link and an unlink are acts of their own, and flushing a file says nothing of its name. SQLite's own
flushing is taken as it is documented: with ``synchronous=FULL`` what was committed survives.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from threading import Lock

from sftpgate.errors import CrossDevice
from sftpgate.ledger.database.connection import Ledger
from sftpgate.store.disk import Disk
from sftpgate.store.disk_paths import DiskPath, translated
from sftpgate.uploads.notes import boot_id

ROOTS = ("store", "sync")
_OTHER_BOOT = b"00000000-0000-0000-0000-000000000000"


class Stopped(BaseException):
    """The machine stopped here. Not an Exception: no code of the product may take it for an error."""


class Outage(StrEnum):
    """What is left when the machine stops."""

    KILLED = "process killed"  # everything that was called stays
    CUT_EARLY = "power cut, no unflushed name survived"
    CUT_LATE = "power cut, every unflushed name survived"


class Clock:
    """A time that passes a millisecond at each look, so that ids made one after the other sort so."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC) + timedelta(minutes=10)  # what the disk stamped is quiet by now

    def __call__(self) -> datetime:
        self.now += timedelta(milliseconds=1)
        return self.now


class Machine:
    """Counts operations once it is armed, and stops at the one numbered ``stop_at``."""

    def __init__(self) -> None:
        self.trace: list[str] = []
        self.stopped = False
        self._armed = False
        self._stop_at: int | None = None
        self._lock = Lock()

    def arm(self, stop_at: int | None) -> None:
        """Count from here, and stop at this operation (1 is the first), or never."""
        self.trace.clear()
        self._armed, self._stop_at = True, stop_at

    def disarm(self) -> None:
        """Count no more."""
        self._armed = False

    def step(self, what: str) -> None:
        """An operation is about to be done."""
        with self._lock:
            if self.stopped:
                raise Stopped(what)
            if self._armed:
                self.trace.append(what)
                if len(self.trace) == self._stop_at:
                    self.stopped = True
                    raise Stopped(what)


class CrashLedger(Ledger):
    """A ledger whose commits are operations of the machine."""

    def __init__(self, url: str, machine: Machine) -> None:
        super().__init__(url)
        self.machine = machine

    def step(self, operation: str) -> None:
        """Before each commit."""
        self.machine.step(f"ledger {operation}")


@dataclass(frozen=True, slots=True)
class _Rename:
    inode: int
    old: str
    old_name: str
    new: str
    new_name: str


class PinnedDisk(Disk):
    """A disk on which files have second names for the sake of the test."""

    def has_other_names(self, status: os.stat_result) -> bool:
        """None that count."""
        return False


class SplitDisk(PinnedDisk):
    """A disk on which drop and store are two filesystems."""

    def rename(self, source: DiskPath, target: DiskPath, *, replacing: bool = True) -> None:
        """As the disk does it."""
        refuse_across(source, target)
        super().rename(source, target, replacing=replacing)

    def link(self, source: DiskPath, target: DiskPath) -> None:
        """As the disk does it."""
        if not self.exists(target):  # what the kernel looks at first, too
            refuse_across(source, target)
        super().link(source, target)


def refuse_across(source: DiskPath, target: DiskPath) -> None:
    """Raise CrossDevice between drop and store."""
    if ("sync" in source.root.parts) != ("sync" in target.root.parts):
        raise CrossDevice


class CrashDisk(PinnedDisk):
    """A disk that knows what a power cut would leave of it. ``base`` has the data directory and the second names."""

    def __init__(self, base: Path, machine: Machine, *, split: bool = False) -> None:
        self._split = split
        self._data = base / "data"
        self._pins = base / "pins"
        self._machine = machine
        self._flushed: dict[int, bytes] = {}  # contents by inode
        self._names: dict[str, dict[str, int | None]] = {}  # inodes of files by directory and name; None for a directory
        self._renames: list[_Rename] = []  # that nothing has made last yet
        self._pins.mkdir(parents=True, exist_ok=True)

    # -- what the product calls --------------------------------------------------------------------------------------

    def step(self, operation: str, *disk_paths: DiskPath | int) -> None:
        """Before each operation."""
        self._machine.step(" ".join([operation, *(self._word(disk_path) for disk_path in disk_paths)]))

    def create(self, disk_path: DiskPath, mode: int) -> int:
        """As the disk does it; the file gets its second name."""
        fd = super().create(disk_path, mode)
        os.link(disk_path.local, self._pins / str(os.fstat(fd).st_ino))
        return fd

    def rename(self, source: DiskPath, target: DiskPath, *, replacing: bool = True) -> None:
        """As the disk does it; until a flush, it may not have happened."""
        if self._split:
            refuse_across(source, target)
        super().rename(source, target, replacing=replacing)
        inode = target.local.stat().st_ino
        old, new = self._key(source.parent.local), self._key(target.parent.local)
        self._renames.append(_Rename(inode, old, source.name, new, target.name))

    def link(self, source: DiskPath, target: DiskPath) -> None:
        """As the disk does it."""
        if self._split and not self.exists(target):
            refuse_across(source, target)
        super().link(source, target)

    def after(self) -> Disk:
        """The disk that the next start finds: of the same kind, and nothing stops it."""
        return SplitDisk() if self._split else PinnedDisk()

    def sync(self, fd: int) -> None:
        """What is in the file now survives."""
        with translated("flush"):
            self.step("sync", fd)
            status = os.fstat(fd)
            self._flushed[status.st_ino] = os.pread(fd, status.st_size, 0)

    def sync_filesystem(self, disk_path: DiskPath) -> None:
        """All that is there now survives."""
        self.step("sync_filesystem", disk_path)
        self.settle()

    def sync_dirs(self, disk_paths: Iterable[DiskPath]) -> None:
        """The names that are in the directories now survive."""
        for disk_path in dict.fromkeys(disk_paths):
            with translated(f"flush {disk_path.local}"), self.directory(disk_path):
                self.step("sync_dir", disk_path)
                self._flush_names(disk_path.local)

    def _word(self, disk_path: DiskPath | int) -> str:
        return str(disk_path.local.relative_to(self._data)) if isinstance(disk_path, DiskPath) else "fd"

    # -- what survives -----------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """All that is there now survives: the state that a machine is in long after it started."""
        for root in ROOTS:
            for directory, _, files in os.walk(self._data / root):
                for name in files:
                    path = Path(directory) / name
                    pin = self._pins / str(path.stat().st_ino)
                    if not pin.exists():
                        os.link(path, pin)
                    self._flushed[path.stat().st_ino] = path.read_bytes()
                self._flush_names(Path(directory))

    def inherit(self, before: CrashDisk) -> None:
        """The same machine goes on after a process was killed: what ``before`` had not made last may still go."""
        for pin in before._pins.iterdir():
            os.link(pin, self._pins / pin.name)
        self._flushed = dict(before._flushed)
        self._names = {directory: dict(names) for directory, names in before._names.items()}
        self._renames = list(before._renames)

    def _flush_names(self, directory: Path) -> None:
        key = self._key(directory)
        self._commit_renames(lambda rename: key in (rename.old, rename.new))
        now: dict[str, int | None] = {}
        for entry in os.scandir(directory):
            status = entry.stat(follow_symlinks=False)
            now[entry.name] = None if stat.S_ISDIR(status.st_mode) else status.st_ino
        for name, inode in self._names.get(key, {}).items():
            if inode is None and name not in now:
                self._forget(f"{key}/{name}")
        self._names[key] = now

    def _commit_renames(self, flushed: Callable[[_Rename], bool]) -> None:
        """Renames that a flush makes last, with those of the same files before them."""
        last = {rename.inode: position for position, rename in enumerate(self._renames) if flushed(rename)}
        done = [rename for position, rename in enumerate(self._renames) if position <= last.get(rename.inode, -1)]
        for rename in done:
            source = self._names.setdefault(rename.old, {})
            if source.get(rename.old_name) == rename.inode:
                del source[rename.old_name]
            self._names.setdefault(rename.new, {})[rename.new_name] = rename.inode
        self._renames = [rename for rename in self._renames if rename not in done]

    def _key(self, directory: Path) -> str:
        return str(directory.relative_to(self._data))

    def _forget(self, key: str) -> None:
        for other in [other for other in self._names if other == key or other.startswith(f"{key}/")]:
            del self._names[other]

    def materialise(self, target: Path, outage: Outage) -> None:
        """Make a data directory in ``target`` with what survives. The tree of this disk is not to be used any more."""
        for root in ROOTS:
            (target / "data" / root).mkdir(parents=True)
            if outage is Outage.CUT_EARLY:
                self._give_back(target / "data", root)
            else:
                self._copy_names(self._data / root, target / "data" / root)
        if outage is not Outage.KILLED:
            for directory, _, files in os.walk(target / "data"):
                for name in files:
                    self._restore(Path(directory) / name)
        for suffix in ("", "-wal"):
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(self._data / f"ledger.db{suffix}", target / "data" / f"ledger.db{suffix}")
        _stay_in_place(target / "data/ledger.db")

    def _give_back(self, data: Path, key: str) -> None:
        for name, inode in self._names.get(key, {}).items():
            if inode is None:
                (data / key / name).mkdir()
                self._give_back(data, f"{key}/{name}")
            elif (self._pins / str(inode)).exists():
                os.link(self._pins / str(inode), data / key / name)

    def _copy_names(self, source: Path, target: Path) -> None:
        for entry in os.scandir(source):
            if entry.is_dir(follow_symlinks=False):
                (target / entry.name).mkdir()
                self._copy_names(Path(entry.path), target / entry.name)
            else:
                os.link(entry.path, target / entry.name)

    def _restore(self, path: Path) -> None:
        """Give a file the content that was flushed, and say of a note that it is of an earlier start of the machine."""
        status = path.stat()
        content = self._flushed.get(status.st_ino, b"").replace(boot_id().encode(), _OTHER_BOOT)
        if content != path.read_bytes():
            path.write_bytes(content)
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def release_descriptors(base: Path) -> list[str]:
    """Close the files that are still open below ``base``, as the kernel does for a dead process; returns what they were.

    Directories are left: they hold no lock, and the disk that keeps them open closes them when it is forgotten. Closed here,
    their numbers would be somebody else's by then.
    """
    found = []
    for entry in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            name = os.readlink(f"/proc/self/fd/{entry}")
            if not name.startswith(f"{base}/data/") or name.removeprefix(f"{base}/data/").startswith("ledger.db"):
                continue
            if stat.S_ISREG(os.fstat(int(entry)).st_mode):
                found.append(name.removeprefix(f"{base}/data/"))
                os.close(int(entry))
    return found


def _stay_in_place(ledger: Path) -> None:
    """Let a ledger forget where its gate was: this copy stands for what is left in that very place, and is no backup."""
    if ledger.exists():
        with contextlib.closing(sqlite3.connect(ledger)) as connection, contextlib.suppress(sqlite3.OperationalError), connection:
            connection.execute("DELETE FROM facts WHERE name = 'place'")
