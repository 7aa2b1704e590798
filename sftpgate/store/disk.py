"""The disk: the only module that renames, links, removes or flushes files.

Every operation names a ``DiskPath``: a root directory and a relative path in it. The directories of the path are opened one
after the other without following symbolic links, and the last step is taken relative to the open directory: a link that
somebody puts into drop or store, even while we walk, leads nowhere. Only the root itself may be reached through links;
the admin chose it.

All functions block for the time of their system calls, so callers are in a thread, but for ``lstat``, ``create`` and
the writes of an upload, which cost no more than a write to the page cache.

``OSError`` is translated (see ``disk_paths``). Each operation that changes something calls ``step`` first; the crash suite and
the fault tests override it, and nothing else does.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from functools import cached_property, partial
from heapq import nsmallest
from itertools import islice
from pathlib import Path

from sftpgate.errors import (
    AlreadyExists,
    FileExchanged,
    IsADirectory,
    NoSuchFile,
    NotADirectory,
    SettingsError,
    SftpgateError,
    StorageError,
)
from sftpgate.store.disk_paths import DiskPath, Entry, translate, translated
from sftpgate.store.kernel.acls import default_acl, narrowed, set_acl
from sftpgate.store.kernel.noreplace import rename_noreplace
from sftpgate.store.kernel.open_directories import Directories, OpenDirectory, listed
from sftpgate.store.kernel.open_files import copy_bytes, try_lock
from sftpgate.store.shared.file_lock import WAIT_SECONDS, FileLock

_libc = ctypes.CDLL(None, use_errno=True)  # syncfs(2) and sync_file_range(2), which Python does not have
_SYNC_FILE_RANGE_WRITE = 2  # linux/fs.h
_NAMES_FOR_A_LOOK = 12  # that are listed in the time of a look at one that is not there: measured, 0.35 µs and 4 µs
_BYTES_OF_A_NAME = 20  # that it takes in a directory at least, on ext4 and tmpfs


class Disk:
    """Operations on disk paths. One instance serves all threads; it keeps directories open, and nothing else."""

    lock_wait_seconds = WAIT_SECONDS  # how long ``locked`` and ``in_turn`` wait

    @cached_property
    def _directories(self) -> Directories:
        return Directories()

    def step(self, operation: str, *disk_paths: DiskPath | int) -> None:
        """Do nothing. Called before each operation that changes the disk, with the paths (or the file descriptor) that it
        changes.
        """

    # -- looking -----------------------------------------------------------------------------------------------------

    def directory(self, disk_path: DiskPath) -> OpenDirectory:
        """Return the directory ``disk_path``, reached without following links; in a ``with`` block its descriptor. Raises
        OSError.
        """
        return self._directories.open(disk_path)

    def forget_directories(self) -> None:
        """Open every directory anew at its next use: what they are on may have been mounted again."""
        self._directories.forget()

    def at_a_stretch(self) -> AbstractContextManager[None]:
        """Return a block of a few acts of one thread that follow each other at once: see ``kernel.open_directories``."""
        return self._directories.at_a_stretch()

    def holding_roots(self) -> AbstractContextManager[None]:
        """Return a block in which this thread stays with the roots that it finds first: see ``kernel.open_directories``."""
        return self._directories.holding_roots()

    def lstat(self, disk_path: DiskPath) -> os.stat_result | None:
        """Return what is at ``disk_path``, or None if there is nothing (or if a directory on the way is none)."""
        try:
            with self.directory(disk_path.parent) as fd:
                return os.stat(disk_path.name or ".", dir_fd=fd, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENAMETOOLONG):  # nothing can have such a name
                return None
            raise translate(error, f"look at {disk_path.local}") from error

    def present(self, directory: DiskPath, names: Iterable[str]) -> list[str]:
        """Return those of the names that something in the directory has, in their order. The directory is listed if that
        takes less time than a look at each name.
        """
        wanted = list(names)
        found: list[str] = []
        try:
            with self.directory(directory) as fd:
                there = _listed(fd, frozenset(wanted).__contains__, len(wanted))
                if there is not None:
                    return [name for name in wanted if name in there]
                found += [name for name in wanted if _is_there(name, fd)]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENAMETOOLONG):  # nothing can have such a name
                return found
            raise translate(error, f"look at {directory.local}") from error
        return found

    def exists(self, disk_path: DiskPath) -> bool:
        """Return True if anything is at ``disk_path``."""
        return self.lstat(disk_path) is not None

    def is_dir(self, disk_path: DiskPath) -> bool:
        """Return True if a directory is at ``disk_path``, not a link to one."""
        found = self.lstat(disk_path)
        return found is not None and stat.S_ISDIR(found.st_mode)

    def entries(self, disk_path: DiskPath) -> Iterator[Entry]:
        """Yield what is in the directory, in no order, read as it is consumed. Names that are not UTF-8 come with surrogates."""
        with translated("list", disk_path), self.directory(disk_path) as kept, listed(kept) as fd, os.scandir(fd) as found:
            for item in found:
                with contextlib.suppress(FileNotFoundError):
                    yield Entry(item.name, item.stat(follow_symlinks=False))

    def directories_in(self, disk_path: DiskPath) -> list[str]:
        """Return the names of the directories in a directory, not of links to some."""
        with (
            translated("list", disk_path),
            self.directory(disk_path) as directory,
            listed(directory) as fd,
            os.scandir(fd) as found,
        ):
            return [item.name for item in found if item.is_dir(follow_symlinks=False)]

    def names(self, disk_path: DiskPath) -> list[str]:
        """Return the names in a directory; none if it does not exist."""
        try:
            with self.directory(disk_path) as kept, listed(kept) as fd:
                return os.listdir(fd)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise translate(error, f"list {disk_path.local}") from error

    def matching(self, disk_path: DiskPath, wanted: Callable[[str], bool], *, looks: int | None = None) -> list[str] | None:
        """Return the names in a directory that are wanted; none if it does not exist. None if so many ``looks`` at single
        names take less time than the listing.
        """
        try:
            with self.directory(disk_path) as kept:
                return _listed(kept, wanted, looks)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise translate(error, f"list {disk_path.local}") from error

    def names_after(self, disk_path: DiskPath, after: str, limit: int, wanted: Callable[[str], bool]) -> tuple[list[str], int]:
        """Return the first ``limit`` wanted names of a directory behind ``after``, sorted, and how many names the directory
        has; none if it does not exist. Costs a look at all names, and the memory of those that are returned.
        """
        count = 0

        def behind(found: Iterator[os.DirEntry[str]]) -> Iterator[str]:
            nonlocal count
            for item in found:
                count += 1
                if item.name > after and wanted(item.name):
                    yield item.name

        try:
            with translated("list", disk_path), self.directory(disk_path) as kept, listed(kept) as fd, os.scandir(fd) as found:
                return nsmallest(limit, behind(found)), count
        except (NoSuchFile, NotADirectory):
            return [], 0

    def open_read(self, disk_path: DiskPath) -> int:
        """Return a descriptor of the regular file at ``disk_path``, for reading."""
        return self._open(disk_path, os.O_RDONLY)

    def has_other_names(self, status: os.stat_result) -> bool:
        """Return whether a file has several names on this disk (hard links). Whoever has another one can change the file
        after we took it, and may have linked one here that is none of ours: what we set on it would be set there too.
        """
        return status.st_nlink > 1

    def open_write(self, disk_path: DiskPath) -> int:
        """Return a descriptor of the existing regular file at ``disk_path``, for reading and writing."""
        return self._open(disk_path, os.O_RDWR)

    def _open(self, disk_path: DiskPath, flags: int) -> int:
        with translated("open", disk_path), self.directory(disk_path.parent) as directory:
            # O_NONBLOCK: opening a FIFO that somebody put there must not wait for a writer.
            fd = os.open(disk_path.name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
        kind = os.fstat(fd).st_mode
        if stat.S_ISREG(kind):
            return fd
        os.close(fd)
        raise IsADirectory() if stat.S_ISDIR(kind) else NoSuchFile()

    def free_bytes(self, root: Path) -> int:
        """Return bytes that are free for us on the filesystem of ``root``."""
        with translated(f"look at {root}"):
            found = os.statvfs(root)
            return found.f_bavail * found.f_frsize

    # -- files -------------------------------------------------------------------------------------------------------

    def create(self, disk_path: DiskPath, mode: int) -> int:
        """Return a descriptor of a new empty file, for reading and writing. Raises AlreadyExists."""
        with translated("create", disk_path), self.directory(disk_path.parent) as directory:
            self.step("create", disk_path)
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            return os.open(disk_path.name, flags, mode, dir_fd=directory)

    def open_or_create(self, disk_path: DiskPath, mode: int) -> int:
        """Return a descriptor of a file of ours that only its locks matter of, for reading and writing."""
        with translated("open", disk_path), self.directory(disk_path.parent) as directory:
            return os.open(disk_path.name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=directory)

    def write(self, fd: int, offset: int, *pieces: bytes | memoryview) -> None:
        """Write all of the pieces, one behind the other, at ``offset``; at most 1024 (IOV_MAX)."""
        with translated("write"):
            self.step("write", fd)
            done = os.pwritev(fd, pieces, offset)
            if done < sum(map(len, pieces)):
                data = memoryview(b"".join(pieces))
                while done < len(data):
                    done += os.pwrite(fd, data[done:], offset + done)

    def truncate(self, fd: int, size: int) -> None:
        """Set the size of an open file."""
        with translated("truncate"):
            self.step("truncate", fd)
            os.ftruncate(fd, size)

    def set_times(self, fd: int, atime_ns: int, mtime_ns: int) -> None:
        """Set the times of an open file."""
        with translated("set times"):
            self.step("set_times", fd)
            os.utime(fd, ns=(atime_ns, mtime_ns))

    def set_mode(self, fd: int, mode: int, gid: int | None) -> None:
        """Give an open file the mode, and the group unless it is None."""
        with translated("set mode"):
            if gid is not None:
                os.fchown(fd, -1, gid)
            os.fchmod(fd, mode)

    def inherit_acl(self, file: DiskPath, directory: DiskPath, mode: int) -> None:
        """Give a file that is about to be renamed into ``directory`` the default ACL of that, or, if it is not there yet, of
        the nearest directory above it; nothing if there is none. Says nothing if it fails: the move is what counts.
        """
        while True:
            try:
                with self.directory(directory) as above:
                    acl = default_acl(above)
            except OSError:
                acl = None
                if directory.path:
                    directory = directory.parent
                    continue
            break
        if acl is None:
            return
        with contextlib.suppress(OSError, SftpgateError):
            fd = self.open_read(file)
            try:
                self.step("set_acl", fd)
                set_acl(fd, narrowed(acl, mode))
            finally:
                os.close(fd)

    def sync(self, fd: int) -> None:
        """Make the content of an open file durable."""
        with translated("flush"):
            self.step("sync", fd)
            os.fdatasync(fd)

    def begin_flush(self, fd: int, offset: int, length: int) -> None:
        """Let the disk begin to write these bytes of an open file, so that ``sync`` has less to wait for. Promises nothing, and
        says nothing if it fails: ``sync`` does.
        """
        if call := getattr(_libc, "sync_file_range", None):
            call(fd, ctypes.c_int64(offset), ctypes.c_int64(length), ctypes.c_uint(_SYNC_FILE_RANGE_WRITE))

    def sync_filesystem(self, disk_path: DiskPath) -> None:
        """Make durable all that anybody has written on the filesystem of the directory ``disk_path``: for many files at once,
        sooner than one by one.
        """
        with translated("flush", disk_path), self.directory(disk_path) as directory:
            self.step("sync_filesystem", disk_path)
            if _libc.syncfs(directory):
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))

    def write_small(self, disk_path: DiskPath, content: bytes, mode: int = 0o600, *, durable: bool = False) -> None:
        """Put a small file of ours in place, whole, replacing what is there. ``durable``: it survives a power cut."""
        fresh = disk_path.parent / f".{disk_path.name}.new"
        self.unlink(fresh, missing_ok=True)
        fd = self.create(fresh, mode)
        try:
            self.write(fd, 0, content)
            if durable:
                self.sync(fd)
        finally:
            os.close(fd)
        self.rename(fresh, disk_path)
        if durable:
            self.sync_dirs([disk_path.parent])

    def read_small(self, disk_path: DiskPath, limit_bytes: int = 1 << 20) -> bytes:
        """Return the first ``limit_bytes`` of a file."""
        fd = self.open_read(disk_path)
        with translated("read", disk_path), open(fd, "rb") as file:
            return file.read(limit_bytes)

    # -- names -------------------------------------------------------------------------------------------------------

    def rename(self, source: DiskPath, target: DiskPath, *, replacing: bool = True) -> None:
        """Give the file the name ``target``; both on one filesystem. What has the name is replaced, or raises AlreadyExists."""
        with translated("rename", source, target):
            with self.directory(source.parent) as old, self.directory(target.parent) as new:
                self.step("rename", source, target)
                if not replacing and rename_noreplace(source.name, target.name, source_directory=old, target_directory=new):
                    return
                if not replacing and self.exists(target):  # if the disk cannot do it at once, we look first
                    raise AlreadyExists()
                os.rename(source.name, target.name, src_dir_fd=old, dst_dir_fd=new)

    def link(self, source: DiskPath, target: DiskPath) -> None:
        """Give the file a second name. Raises AlreadyExists, and never replaces."""
        with translated("link", source, target):
            with self.directory(source.parent) as old, self.directory(target.parent) as new:
                self.step("link", source, target)
                os.link(source.name, target.name, src_dir_fd=old, dst_dir_fd=new, follow_symlinks=False)

    def unlink(self, disk_path: DiskPath, *, missing_ok: bool = False) -> None:
        """Remove a name of a file."""
        try:
            with translated("remove", disk_path), self.directory(disk_path.parent) as directory:
                self.step("unlink", disk_path)
                os.unlink(disk_path.name, dir_fd=directory)
        except NoSuchFile:
            if not missing_ok:
                raise

    def copy(self, source: DiskPath, target: DiskPath, mode: int, gid: int | None = None, *, inode: int | None = None) -> None:
        """Make a durable copy at ``target``, which must not exist; times are kept. Its name is not durable yet.

        ``inode``: of the file that is meant; raises FileExchanged if another one has the name.
        """
        reading = self.open_read(source)
        try:
            if inode is not None and os.fstat(reading).st_ino != inode:
                raise FileExchanged()
            writing = self.create(target, mode)
            try:
                with translated("copy", source):
                    status = os.fstat(reading)
                    self.step("copy", writing)
                    copy_bytes(reading, writing)
                    os.utime(writing, ns=(status.st_atime_ns, status.st_mtime_ns))
                self.set_mode(writing, mode, gid)
                self.sync(writing)
            finally:
                os.close(writing)
        finally:
            os.close(reading)

    # -- directories -------------------------------------------------------------------------------------------------

    def make_root(self, root: Path, mode: int, gid: int | None = None) -> None:
        """Make a root directory and its parents if they are missing. Raises SettingsError: it was the admin who chose it."""
        try:
            if not root.is_dir():
                root.parent.mkdir(parents=True, exist_ok=True)
                root.mkdir()
                root.chmod(mode)
                os.chown(root, -1, -1 if gid is None else gid)
        except OSError as error:
            raise SettingsError(
                f"cannot make the directory {root}: {error.strerror}; choose another place, or make it yourself"
            ) from error

    def make_dir(self, disk_path: DiskPath, mode: int, gid: int | None = None) -> None:
        """Make one directory, with exactly this mode, and this group unless it is None. Raises AlreadyExists."""
        with translated("make", disk_path), self.directory(disk_path.parent) as directory:
            self.step("make_dir", disk_path)
            os.mkdir(disk_path.name, mode, dir_fd=directory)
            self._directories.changed()
        self.open_up(
            disk_path, mode, gid
        )  # whatever the umask, and whatever has the name by now: a directory, or nothing is changed

    def open_up(self, disk_path: DiskPath, mode: int, gid: int | None) -> None:
        """Give an existing directory of ours this mode and group, if it has another one and is ours to change."""
        with translated("open up", disk_path), self.directory(disk_path) as fd:
            found = os.fstat(fd)
            if found.st_uid == os.geteuid() and (stat.S_IMODE(found.st_mode), found.st_gid) != (
                mode,
                found.st_gid if gid is None else gid,
            ):
                self.step("open_up", disk_path)
                os.fchown(fd, -1, -1 if gid is None else gid)
                os.fchmod(fd, mode)

    def group_of(self, disk_path: DiskPath) -> int:
        """Return the id of the group that a directory belongs to."""
        with translated("look at", disk_path), self.directory(disk_path) as fd:
            return os.fstat(fd).st_gid

    def open_up_if_we_may(self, disk_path: DiskPath, mode: int, gid: int) -> None:
        """Do the same, with the group only if we are in it."""
        try:
            self.open_up(disk_path, mode, gid)
        except StorageError:
            self.open_up(disk_path, mode, None)

    def set_mode_if_we_may(self, fd: int, mode: int, gid: int) -> None:
        """Give an open file the mode, and the group if we are in it."""
        try:
            self.set_mode(fd, mode, gid)
        except StorageError:
            self.set_mode(fd, mode, None)

    def make_dirs(self, disk_path: DiskPath, mode: int, gid: int | None = None) -> None:
        """Make a directory and its parents below the root if they are missing, and make their names durable."""
        if not disk_path.path or self.exists(disk_path):
            return
        self.make_dirs(disk_path.parent, mode, gid)
        with contextlib.suppress(AlreadyExists):
            self.make_dir(disk_path, mode, gid)
        self.sync_dirs([disk_path.parent])

    def remove_dir(self, disk_path: DiskPath) -> None:
        """Remove an empty directory."""
        with translated("remove", disk_path), self.directory(disk_path.parent) as directory:
            self.step("remove_dir", disk_path)
            os.rmdir(disk_path.name, dir_fd=directory)
            self._directories.changed()

    def sync_dirs(self, disk_paths: Iterable[DiskPath]) -> None:
        """Make the names in these directories durable, each directory once."""
        for disk_path in dict.fromkeys(disk_paths):
            with translated("flush", disk_path), self.directory(disk_path) as directory:
                self.step("sync_dir", disk_path)
                os.fsync(directory)

    # -- locks -------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def locked(self, disk_path: DiskPath, *, wait: bool = True) -> Iterator[bool]:
        """Hold the lock of the file ``disk_path`` for the block; the kernel releases it when a process dies.

        Yields False, without the lock, if ``wait`` is false and somebody else has it; raises StoreBusy if it is true and
        the lock does not come within a bound (see ``shared.file_lock``).
        """
        if wait:
            with self._lock_of(disk_path).held():
                yield True
            return
        fd = self.open_or_create(disk_path, 0o600)
        try:
            yield try_lock(fd)
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def in_turn(self, disk_path: DiskPath, mark: bytes) -> Iterator[bool]:
        """Hold the lock of the file ``disk_path`` for the block. Yields whether the one who had it last in this way left the
        same ``mark``; ours is left in any case, or none if the disk is full. Raises StoreBusy if it does not come within a
        bound.
        """
        with self._lock_of(disk_path).held() as fd:
            with translated("mark", disk_path):
                ours = os.pread(fd, len(mark) + 1, 0) == mark
                if not ours:
                    try:
                        os.pwrite(fd, mark, 0)
                    except OSError:
                        os.ftruncate(fd, 0)
            yield ours

    def lock_waiting_seconds(self, disk_path: DiskPath) -> float:
        """Return for how long somebody of this process has tried to get the lock of the file ``disk_path``, and nobody could."""
        lock = self._locks.get(disk_path)
        return 0.0 if lock is None else lock.waiting_seconds

    @cached_property
    def _locks(self) -> dict[DiskPath, FileLock]:
        return {}

    def _lock_of(self, disk_path: DiskPath) -> FileLock:
        lock = self._locks.get(disk_path)
        if lock is None:
            lock = self._locks.setdefault(
                disk_path, FileLock(partial(self.open_or_create, disk_path, 0o600), wait_seconds=self.lock_wait_seconds)
            )
        return lock


def _listed(directory: int, wanted: Callable[[str], bool], looks: int | None) -> list[str] | None:
    """Return the names in an open directory that are wanted; None if so many looks take less time. Not every filesystem
    tells the size of a directory, so a listing that gets too long is given up.
    """
    most = None if looks is None else looks * _NAMES_FOR_A_LOOK
    if most is not None and os.fstat(directory).st_size > most * _BYTES_OF_A_NAME:
        return None
    with listed(directory) as fd, os.scandir(fd) as found:
        names = [item.name for item in islice(found, most) if wanted(item.name)]
        return names if next(found, None) is None else None


def _is_there(name: str, directory: int) -> bool:
    """Return whether something in an open directory has the name. Raises OSError."""
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # nothing can have it; a shorter one of those that are asked for may be there
            return False
        raise
    return True
