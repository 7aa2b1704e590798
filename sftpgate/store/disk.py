"""The disk: the only module that renames, links, removes or flushes files.

Every operation names a ``Spot``: a root directory and a relative path in it. The directories of the path are opened one
after the other without following symbolic links, and the last step is taken relative to the open directory: a link that
somebody puts into drop or store, even while we walk, leads nowhere. Only the root itself may be reached through links;
the admin chose it.

All functions block for the time of their system calls, so callers are in a thread, but for ``lstat``, ``create`` and
the writes of an upload, which cost no more than a write to the page cache.

``OSError`` is translated (see ``spots``). Each operation that changes something calls ``step`` first; the crash suite and
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
from sftpgate.store.acls import default_acl, narrowed, set_acl
from sftpgate.store.descriptors import copy_bytes, try_lock
from sftpgate.store.directories import Directories, OpenDirectory, listed
from sftpgate.store.filelock import WAIT_SECONDS, FileLock
from sftpgate.store.noreplace import rename_noreplace
from sftpgate.store.spots import Entry, Spot, translate, translated

_libc = ctypes.CDLL(None, use_errno=True)  # syncfs(2) and sync_file_range(2), which Python does not have
_SYNC_FILE_RANGE_WRITE = 2  # linux/fs.h
_FEW_NAMES = 64  # listed in the time of some ten looks
_FEW_LOOKS = 4


class Disk:
    """Operations on spots. One instance serves all threads; it keeps directories open, and nothing else."""

    lock_wait_seconds = WAIT_SECONDS  # how long ``locked`` and ``in_turn`` wait

    @cached_property
    def _directories(self) -> Directories:
        return Directories()

    def step(self, operation: str, *spots: Spot | int) -> None:
        """Called before each operation that changes the disk, with the spots (or the file descriptor) that it changes."""

    # -- looking -----------------------------------------------------------------------------------------------------

    def directory(self, spot: Spot) -> OpenDirectory:
        """The directory ``spot``, reached without following links; in a ``with`` block its descriptor. Raises OSError."""
        return self._directories.open(spot)

    def forget_directories(self) -> None:
        """Open every directory anew at its next use: what they are on may have been mounted again."""
        self._directories.forget()

    def at_a_stretch(self) -> AbstractContextManager[None]:
        """A block of a few acts of one thread that follow each other at once: see ``directories``."""
        return self._directories.at_a_stretch()

    def lstat(self, spot: Spot) -> os.stat_result | None:
        """What is at ``spot``, or None where there is nothing (or where a directory on the way is none)."""
        try:
            with self.directory(spot.parent) as fd:
                return os.stat(spot.name or ".", dir_fd=fd, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENAMETOOLONG):  # nothing can have such a name
                return None
            raise translate(error, f"look at {spot.local}") from error

    def present(self, directory: Spot, names: Iterable[str]) -> list[str]:
        """Those of the names that something in the directory has, in their order. A small directory is listed, which takes less
        time than many looks; a large one is not.
        """
        wanted = list(names)
        found: list[str] = []
        try:
            with self.directory(directory) as fd:
                there = _few_names(fd) if len(wanted) > _FEW_LOOKS else None
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

    def exists(self, spot: Spot) -> bool:
        """True where anything is at ``spot``."""
        return self.lstat(spot) is not None

    def is_dir(self, spot: Spot) -> bool:
        """True where a directory is at ``spot``, not a link to one."""
        found = self.lstat(spot)
        return found is not None and stat.S_ISDIR(found.st_mode)

    def entries(self, spot: Spot) -> Iterator[Entry]:
        """What is in the directory, in no order, read as it is consumed. Names that are not UTF-8 come with surrogates."""
        with translated("list", spot), self.directory(spot) as kept, listed(kept) as fd, os.scandir(fd) as found:
            for item in found:
                with contextlib.suppress(FileNotFoundError):
                    yield Entry(item.name, item.stat(follow_symlinks=False))

    def directories_in(self, spot: Spot) -> list[str]:
        """The names of the directories in a directory, not of links to some."""
        with translated("list", spot), self.directory(spot) as directory, listed(directory) as fd, os.scandir(fd) as found:
            return [item.name for item in found if item.is_dir(follow_symlinks=False)]

    def names(self, spot: Spot) -> list[str]:
        """The names in a directory; none where it does not exist."""
        try:
            with self.directory(spot) as kept, listed(kept) as fd:
                return os.listdir(fd)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise translate(error, f"list {spot.local}") from error

    def names_after(self, spot: Spot, after: str, limit: int, wanted: Callable[[str], bool]) -> tuple[list[str], int]:
        """The first ``limit`` wanted names of a directory behind ``after``, sorted, and how many names the directory has; none
        where it does not exist. Costs a look at all names, and the memory of those that are returned.
        """
        count = 0

        def behind(found: Iterator[os.DirEntry[str]]) -> Iterator[str]:
            nonlocal count
            for item in found:
                count += 1
                if item.name > after and wanted(item.name):
                    yield item.name

        try:
            with translated("list", spot), self.directory(spot) as kept, listed(kept) as fd, os.scandir(fd) as found:
                return nsmallest(limit, behind(found)), count
        except (NoSuchFile, NotADirectory):
            return [], 0

    def open_read(self, spot: Spot) -> int:
        """A descriptor of the regular file at ``spot``, for reading."""
        return self._open(spot, os.O_RDONLY)

    def has_other_names(self, status: os.stat_result) -> bool:
        """Whether a file has several names on this disk (hard links). Whoever has another one can change the file after we took
        it, and may have linked one here that is none of ours: what we set on it would be set there too.
        """
        return status.st_nlink > 1

    def open_write(self, spot: Spot) -> int:
        """A descriptor of the existing regular file at ``spot``, for reading and writing."""
        return self._open(spot, os.O_RDWR)

    def _open(self, spot: Spot, flags: int) -> int:
        with translated("open", spot), self.directory(spot.parent) as directory:
            # O_NONBLOCK: opening a FIFO that somebody put there must not wait for a writer.
            fd = os.open(spot.name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
        kind = os.fstat(fd).st_mode
        if stat.S_ISREG(kind):
            return fd
        os.close(fd)
        raise IsADirectory() if stat.S_ISDIR(kind) else NoSuchFile()

    def free_bytes(self, root: Path) -> int:
        """Bytes that are free for us on the filesystem of ``root``."""
        with translated(f"look at {root}"):
            found = os.statvfs(root)
            return found.f_bavail * found.f_frsize

    # -- files -------------------------------------------------------------------------------------------------------

    def create(self, spot: Spot, mode: int) -> int:
        """A descriptor of a new empty file, for reading and writing. Raises AlreadyExists."""
        with translated("create", spot), self.directory(spot.parent) as directory:
            self.step("create", spot)
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            return os.open(spot.name, flags, mode, dir_fd=directory)

    def open_or_create(self, spot: Spot, mode: int) -> int:
        """A descriptor of a file of ours that only its locks matter of, for reading and writing."""
        with translated("open", spot), self.directory(spot.parent) as directory:
            return os.open(spot.name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=directory)

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

    def inherit_acl(self, file: Spot, directory: Spot, mode: int) -> None:
        """Give a file that is about to be renamed into ``directory`` the default ACL of that, or, where it is not there yet, of
        the nearest directory above it; nothing where there is none. Says nothing where it fails: the move is what counts.
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
        says nothing where it fails: ``sync`` does.
        """
        if call := getattr(_libc, "sync_file_range", None):
            call(fd, ctypes.c_int64(offset), ctypes.c_int64(length), ctypes.c_uint(_SYNC_FILE_RANGE_WRITE))

    def sync_filesystem(self, spot: Spot) -> None:
        """Make durable all that anybody has written on the filesystem of the directory ``spot``: for many files at once,
        sooner than one by one.
        """
        with translated("flush", spot), self.directory(spot) as directory:
            self.step("sync_filesystem", spot)
            if _libc.syncfs(directory):
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))

    def write_small(self, spot: Spot, content: bytes, mode: int = 0o600, *, durable: bool = False) -> None:
        """Put a small file of ours in place, whole, replacing what is there. ``durable``: it survives a power cut."""
        fresh = spot.parent / f".{spot.name}.new"
        self.unlink(fresh, missing_ok=True)
        fd = self.create(fresh, mode)
        try:
            self.write(fd, 0, content)
            if durable:
                self.sync(fd)
        finally:
            os.close(fd)
        self.rename(fresh, spot)
        if durable:
            self.sync_dirs([spot.parent])

    def read_small(self, spot: Spot, limit_bytes: int = 1 << 20) -> bytes:
        """The first ``limit_bytes`` of a file."""
        fd = self.open_read(spot)
        with translated("read", spot), open(fd, "rb") as file:
            return file.read(limit_bytes)

    # -- names -------------------------------------------------------------------------------------------------------

    def rename(self, source: Spot, target: Spot, *, replacing: bool = True) -> None:
        """Give the file the name ``target``; both on one filesystem. What has the name is replaced, or raises AlreadyExists."""
        with translated("rename", source, target):
            with self.directory(source.parent) as old, self.directory(target.parent) as new:
                self.step("rename", source, target)
                if not replacing and rename_noreplace(source.name, target.name, source_directory=old, target_directory=new):
                    return
                if not replacing and self.exists(target):  # where the disk cannot do it at once, we look first
                    raise AlreadyExists()
                os.rename(source.name, target.name, src_dir_fd=old, dst_dir_fd=new)

    def link(self, source: Spot, target: Spot) -> None:
        """Give the file a second name. Raises AlreadyExists, and never replaces."""
        with translated("link", source, target):
            with self.directory(source.parent) as old, self.directory(target.parent) as new:
                self.step("link", source, target)
                os.link(source.name, target.name, src_dir_fd=old, dst_dir_fd=new, follow_symlinks=False)

    def unlink(self, spot: Spot, *, missing_ok: bool = False) -> None:
        """Remove a name of a file."""
        try:
            with translated("remove", spot), self.directory(spot.parent) as directory:
                self.step("unlink", spot)
                os.unlink(spot.name, dir_fd=directory)
        except NoSuchFile:
            if not missing_ok:
                raise

    def copy(self, source: Spot, target: Spot, mode: int, gid: int | None = None, *, inode: int | None = None) -> None:
        """Make a durable copy at ``target``, which must not exist; times are kept. Its name is not durable yet.

        ``inode``: of the file that is meant; raises FileExchanged where another one has the name.
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
        """Make a root directory and its parents where they are missing. Raises SettingsError: it was the admin who chose it."""
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

    def make_dir(self, spot: Spot, mode: int, gid: int | None = None) -> None:
        """Make one directory, with exactly this mode, and this group unless it is None. Raises AlreadyExists."""
        with translated("make", spot), self.directory(spot.parent) as directory:
            self.step("make_dir", spot)
            os.mkdir(spot.name, mode, dir_fd=directory)
            self._directories.changed()
        self.open_up(spot, mode, gid)  # whatever the umask, and whatever has the name by now: a directory, or nothing is changed

    def open_up(self, spot: Spot, mode: int, gid: int | None) -> None:
        """Give an existing directory of ours this mode and group, where it has another one and is ours to change."""
        with translated("open up", spot), self.directory(spot) as fd:
            found = os.fstat(fd)
            if found.st_uid == os.geteuid() and (stat.S_IMODE(found.st_mode), found.st_gid) != (
                mode,
                found.st_gid if gid is None else gid,
            ):
                self.step("open_up", spot)
                os.fchown(fd, -1, -1 if gid is None else gid)
                os.fchmod(fd, mode)

    def group_of(self, spot: Spot) -> int:
        """The id of the group that a directory belongs to."""
        with translated("look at", spot), self.directory(spot) as fd:
            return os.fstat(fd).st_gid

    def open_up_if_we_may(self, spot: Spot, mode: int, gid: int) -> None:
        """The same, with the group only where we are in it."""
        try:
            self.open_up(spot, mode, gid)
        except StorageError:
            self.open_up(spot, mode, None)

    def set_mode_if_we_may(self, fd: int, mode: int, gid: int) -> None:
        """Give an open file the mode, and the group where we are in it."""
        try:
            self.set_mode(fd, mode, gid)
        except StorageError:
            self.set_mode(fd, mode, None)

    def make_dirs(self, spot: Spot, mode: int, gid: int | None = None) -> None:
        """Make a directory and its parents below the root where they are missing, and make their names durable."""
        if not spot.path or self.exists(spot):
            return
        self.make_dirs(spot.parent, mode, gid)
        with contextlib.suppress(AlreadyExists):
            self.make_dir(spot, mode, gid)
        self.sync_dirs([spot.parent])

    def remove_dir(self, spot: Spot) -> None:
        """Remove an empty directory."""
        with translated("remove", spot), self.directory(spot.parent) as directory:
            self.step("remove_dir", spot)
            os.rmdir(spot.name, dir_fd=directory)
            self._directories.changed()

    def sync_dirs(self, spots: Iterable[Spot]) -> None:
        """Make the names in these directories durable, each directory once."""
        for spot in dict.fromkeys(spots):
            with translated("flush", spot), self.directory(spot) as directory:
                self.step("sync_dir", spot)
                os.fsync(directory)

    # -- locks -------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def locked(self, spot: Spot, *, wait: bool = True) -> Iterator[bool]:
        """Hold the lock of the file ``spot`` for the block; the kernel releases it when a process dies.

        Yields False, without the lock, where ``wait`` is false and somebody else has it; raises StoreBusy where it is true and
        the lock does not come within a bound (see ``filelock``).
        """
        if wait:
            with self._lock_of(spot).held():
                yield True
            return
        fd = self.open_or_create(spot, 0o600)
        try:
            yield try_lock(fd)
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def in_turn(self, spot: Spot, mark: bytes) -> Iterator[bool]:
        """Hold the lock of the file ``spot`` for the block. Yields whether the one who had it last in this way left the
        same ``mark``; ours is left in any case, or none where the disk is full. Raises StoreBusy where it does not come within a
        bound.
        """
        with self._lock_of(spot).held() as fd:
            with translated("mark", spot):
                ours = os.pread(fd, len(mark) + 1, 0) == mark
                if not ours:
                    try:
                        os.pwrite(fd, mark, 0)
                    except OSError:
                        os.ftruncate(fd, 0)
            yield ours

    def lock_waiting_seconds(self, spot: Spot) -> float:
        """For how long somebody of this process has tried to get the lock of the file ``spot``, and nobody could."""
        lock = self._locks.get(spot)
        return 0.0 if lock is None else lock.waiting_seconds

    @cached_property
    def _locks(self) -> dict[Spot, FileLock]:
        return {}

    def _lock_of(self, spot: Spot) -> FileLock:
        lock = self._locks.get(spot)
        if lock is None:
            lock = self._locks.setdefault(
                spot, FileLock(partial(self.open_or_create, spot, 0o600), wait_seconds=self.lock_wait_seconds)
            )
        return lock


def _few_names(directory: int) -> set[str] | None:
    """The names in an open directory; None where there are more than a few."""
    with listed(directory) as fd, os.scandir(fd) as found:
        names = {item.name for item in islice(found, _FEW_NAMES)}
        return None if next(found, None) is not None else names


def _is_there(name: str, directory: int) -> bool:
    """Whether something in an open directory has the name. Raises OSError."""
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # nothing can have it; a shorter one of those that are asked for may be there
            return False
        raise
    return True
