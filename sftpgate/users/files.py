"""Files of the keys directory: read whole, replaced whole.

A file is written beside its place, flushed, and renamed over it, and the directory is flushed: after a crash there is the old
file or the new one. What a crash leaves besides is a file or directory whose name begins with ``.new-`` or ``.old-``; nobody
reads those, and the next change of the same directory removes them. Changes are made under ``locked``, so that two commands
at a time do not undo each other.

Files are 0600 and directories 0700. If root makes them, they go to the owner of the directory that they lie in: an admin who
runs a command as root must not lock out a server that runs as somebody else. All functions block.

This is not ``store/disk.py``, which owns the hand-over: nothing here is reached by a client's path, and ``users`` knows
nothing of ``store``.
"""
# ruff: noqa: TID251, PTH104, PTH105 - renames and flushes, for the reason above; on names that only the admin chooses

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sftpgate.errors import StorageError, UserFileError
from sftpgate.regular_files import FileTooLarge, NotRegular, read_regular

FILE_MODE = 0o600
DIRECTORY_MODE = 0o700
MAX_FILE_BYTES = 1024 * 1024  # thousands of keys; more is a mistake

_NEW, _OLD = ".new-", ".old-"


@dataclass(frozen=True, slots=True)
class Signature:
    """What tells one content of a file from another without reading it."""

    mtime_ns: int
    ctime_ns: int  # tells apart what an editor's or rsync's restored mtime does not
    size: int
    inode: int


def signature(path: Path | str) -> Signature | None:
    """Return the signature of the file at ``path``, or None if there is none (or if it cannot be looked at)."""
    try:
        status = os.stat(path)  # noqa: PTH116  # asked for every upload: no Path is made
    except OSError:
        return None
    return Signature(status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)


def read_bytes(path: Path, most_bytes: int = MAX_FILE_BYTES) -> bytes | None:
    """Return the content of ``path``, None if there is no such file. A pipe or device of that name is never waited for.

    Raises UserFileError.
    """
    try:
        return read_regular(path, most_bytes)
    except FileNotFoundError:
        return None
    except NotRegular as error:
        raise UserFileError(f"{path}: cannot be read: {error.strerror}") from error
    except FileTooLarge as error:
        raise UserFileError(f"{path}: larger than {most_bytes} bytes") from error
    except OSError as error:
        raise UserFileError(
            f"{path}: cannot be read: {error.strerror} (it belongs to the user that sftpgate runs as, and is chmod 600)"
        ) from error


def read_text(path: Path, most_bytes: int = MAX_FILE_BYTES) -> str | None:
    """Return the content of ``path``, None if there is no such file.

    Bytes that are not UTF-8 come as surrogates. Raises UserFileError.
    """
    data = read_bytes(path, most_bytes)
    return None if data is None else data.decode("utf-8", "surrogateescape")


def links_below(keys_dir: Path) -> Iterator[Path]:
    """Yield the symbolic links in a keys directory that lead to something which is read there. Looks into each user's
    directory.
    """
    for path in (keys_dir, keys_dir / "host", keys_dir / "users"):
        yield from _links_in(path)
    with contextlib.suppress(OSError), os.scandir(keys_dir / "users") as users:
        for user in users:
            yield from _links_in(Path(user.path))


def write_text(path: Path, text: str, *, mode: int = FILE_MODE, most_bytes: int = MAX_FILE_BYTES) -> None:
    """Replace or create ``path``, durably. Text is written as ``read_text`` reads it, byte for byte.

    Raises UserFileError if it could not be read again: a file that is refused as a whole would say nothing any more.
    """
    data = text.encode("utf-8", "surrogateescape")
    if len(data) > most_bytes:
        raise UserFileError(
            f"{path}: it would be larger than {most_bytes} bytes, and could not be read any more: nothing was changed"
        )
    temporary = _beside(path, _NEW)
    with _translated(path):
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with open(fd, "wb") as file:  # noqa: PTH123 - of a descriptor
            _give_to_owner(fd, path.parent)
            os.fchmod(fd, mode)  # whatever the umask
            file.write(data)
            file.flush()
            os.fsync(fd)
        os.replace(temporary, path)
        _flush_directory(path.parent)


def write_hint(path: Path, text: str) -> None:
    """Replace or create ``path`` as ``write_text`` does, but without a flush: a power cut may leave it empty, or as it was."""
    temporary = _beside(path, _NEW)
    with _translated(path):
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
        with open(fd, "wb") as file:  # noqa: PTH123 - of a descriptor
            _give_to_owner(fd, path.parent)
            file.write(text.encode("utf-8", "surrogateescape"))
        os.replace(temporary, path)


def make_directory(path: Path) -> None:
    """Create ``path`` and what is missing above it, 0700, durably."""
    if path.is_dir():
        return
    make_directory(path.parent)
    with _translated(path):
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=DIRECTORY_MODE)
        _give_to_owner(path, path.parent)
        _flush_directory(path.parent)


@contextlib.contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """Yield a directory to be filled by the block, which then becomes ``path``, whole.

    The caller knows that ``path`` does not exist.
    """
    temporary = _beside(path, _NEW)
    make_directory(temporary)
    yield temporary
    with _translated(path):
        os.rename(temporary, path)
        _flush_directory(path.parent)


def remove_directory(path: Path) -> None:
    """Remove ``path`` and all that is in it: it is gone at once, or not at all."""
    temporary = _beside(path, _OLD)
    with _translated(path):
        os.rename(path, temporary)
        _flush_directory(path.parent)
        shutil.rmtree(temporary)


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keep other commands from changing ``directory`` during the block, and clear away what a crash left in it."""
    with _translated(directory):
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with _translated(directory):
            fcntl.flock(fd, fcntl.LOCK_EX)
            _clear(directory)
        yield
    finally:
        os.close(fd)


def _links_in(directory: Path) -> Iterator[Path]:
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        yield from [Path(entry.path) for entry in entries if entry.is_symlink() and os.path.exists(entry.path)]  # noqa: PTH110


def _clear(directory: Path) -> None:
    for path in directory.iterdir():
        if path.name.startswith((_NEW, _OLD)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def _beside(path: Path, prefix: str) -> Path:
    return path.with_name(f"{prefix}{path.name}-{secrets.token_hex(4)}")


def _give_to_owner(target: int | Path, directory: Path) -> None:
    if os.geteuid() == 0:
        status = directory.stat()
        os.chown(target, status.st_uid, status.st_gid)


def _flush_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror or error}") from error
