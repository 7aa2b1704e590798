"""Places on disk, and what is said of them: the words of ``disk``, and the one translation of ``OSError``.

NoSuchFile, AlreadyExists, NoSpace … stand for the errors that callers tell apart, and StorageError for the rest. Pure.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from sftpgate.errors import (
    AlreadyExists,
    CrossDevice,
    DirectoryNotEmpty,
    IsADirectory,
    NameRefused,
    NoSpace,
    NoSuchFile,
    NotADirectory,
    ReadOnlyStorage,
    SftpgateError,
    StorageError,
)


@dataclass(frozen=True, slots=True)
class DiskPath:
    """A place on disk: ``path`` is relative to ``root``, without dots; empty for the root itself."""

    root: Path
    path: str

    def __truediv__(self, name: str) -> DiskPath:
        return DiskPath(self.root, f"{self.path}/{name}" if self.path else name)

    @property
    def parent(self) -> DiskPath:
        """The directory of this path."""
        return DiskPath(self.root, self.path.rpartition("/")[0])

    @property
    def name(self) -> str:
        """The last component."""
        return self.path.rpartition("/")[2]

    @property
    def local(self) -> Path:
        """The path for people and for commands; our own code opens a DiskPath, never this."""
        return self.root / self.path


def translate(error: OSError, what: str) -> SftpgateError:
    """Return the error of ours that stands for ``error``. ``what`` says which act failed, for the local admin."""
    match error.errno:
        case errno.ENOENT:
            return NoSuchFile()
        case errno.ELOOP:
            return NoSuchFile("symbolic links are not followed (rule: no links)")
        case errno.EEXIST:
            return AlreadyExists()
        case errno.EISDIR:
            return IsADirectory()
        case errno.ENOTDIR:
            return NotADirectory()
        case errno.ENOTEMPTY:
            return DirectoryNotEmpty()
        case errno.ENOSPC | errno.EDQUOT:
            return NoSpace()
        case errno.EROFS:
            return ReadOnlyStorage()
        case errno.EXDEV:
            return CrossDevice()
        case errno.ENAMETOOLONG | errno.EILSEQ:
            return NameRefused("the name cannot be stored: it is too long or has characters that the disk refuses")
        case _:
            return StorageError(f"{what}: {error.strerror or error}")


class Translated:
    """Turns an OSError of its block into one of our errors. What failed is put into words only then."""

    __slots__ = ("_disk_paths", "_what")

    def __init__(self, what: str, disk_paths: tuple[DiskPath, ...]) -> None:
        self._what = what
        self._disk_paths = disk_paths

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            what = f"{self._what} {' to '.join(str(disk_path.local) for disk_path in self._disk_paths)}".rstrip()
            raise translate(error, what) from error


def translated(what: str, *disk_paths: DiskPath) -> Translated:
    """Turn an OSError of the block into one of our errors, which says ``what`` failed, and where."""
    return Translated(what, disk_paths)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileModes:
    """Mode and group of what runners read. ``gid`` None: the process's own group."""

    file_mode: int = 0o640
    dir_mode: int = 0o750
    gid: int | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a directory, with what ``lstat`` says of it."""

    name: str
    status: os.stat_result

    @property
    def is_dir(self) -> bool:
        """True for a directory, not for a link to one."""
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def is_file(self) -> bool:
        """True for a regular file, not for a link to one."""
        return stat.S_ISREG(self.status.st_mode)
