"""All that is in a directory, put into the store or copied out of it, one file after the other.

Each file is a deposit, or a copy, of its own: one that is refused or cannot be read is left out, and the others go on. What
ends in the middle leaves whole files. Symbolic links are never followed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from sftpgate.depot.deposits import Deposits
from sftpgate.depot.depot import Depot, DepotPath
from sftpgate.errors import NotADirectory, Refused, SftpgateError
from sftpgate.ledger.arrivals import Arrival
from sftpgate.policy.names import join
from sftpgate.store.disk_paths import Entry, translated

Opener = Callable[[str], BinaryIO]


class Tally:
    """Counts what was copied and what was left out. A face that shows it meanwhile makes one of its own."""

    def __init__(self) -> None:
        self.files = self.size_bytes = self.left_out = 0

    def copied(self, size_bytes: int) -> None:
        """Count one more file."""
        self.files += 1
        self.size_bytes += size_bytes

    def leave_out(self, name: str, why: str) -> None:
        """Count something that was left out; ``why`` is a sentence."""
        self.left_out += 1


def put_tree(deposits: Deposits, top: Path, where: DepotPath, opener: Opener, tally: Tally) -> list[Arrival]:
    """Put every file below ``top`` into the store below ``where``, by name; directories are made.

    ``opener`` opens a local file. Raises what making ``where`` raises; all else is counted by ``tally``.
    """
    put: list[Arrival] = []
    _make_directory(deposits, where)
    for local, is_dir in _below(top, tally):
        path = DepotPath(join(where, local.relative_to(top).as_posix()))
        try:
            if is_dir:
                _make_directory(deposits, path)
                continue
            with opener(str(local)) as source:
                put.append(deposits.put(source, path))
        except SftpgateError as error:
            tally.leave_out(str(local), error.message)
        else:
            tally.copied(put[-1].size)
    return put


def get_tree(depot: Depot, where: DepotPath, target: Path, tally: Tally, *, force: bool) -> None:
    """Copy every file below ``where`` to the local directory ``target``, which is made. ``force``: overwrite local files."""
    with translated(f"make {target}"):
        target.mkdir(parents=True, exist_ok=True)
    for path, entry in depot.walk(where):
        local = target / path[len(where) :].lstrip("/")
        try:
            size = _get(depot, path, entry, local, force=force)
        except FileExistsError:
            tally.leave_out(path, f"{local} exists already: say --force to overwrite it")
        except SftpgateError as error:
            tally.leave_out(path, error.message)
        else:
            if size is not None:
                tally.copied(size)


def _get(depot: Depot, path: DepotPath, entry: Entry, local: Path, *, force: bool) -> int | None:
    """Copy one file; its size, or None for a directory."""
    if entry.is_dir:
        with translated(f"make {local}"):
            local.mkdir(exist_ok=True)
        return None
    if not entry.is_file:
        raise Refused("it is no file")
    with os.fdopen(depot.open_read(path), "rb") as source:
        if local.exists() and not force:
            raise FileExistsError
        with translated(f"write {local}"), local.open("wb" if force else "xb") as file:
            shutil.copyfileobj(source, file)
            return file.tell()


def _make_directory(deposits: Deposits, path: DepotPath) -> None:
    if not path or deposits.depot.is_dir(path):
        return
    if deposits.depot.find(path) is not None:
        raise NotADirectory("there is a file of that name")
    deposits.make_directory(path)


def _below(directory: Path, tally: Tally) -> Iterator[tuple[Path, bool]]:
    """Yield files and directories below a local directory, by name, each directory before what is in it."""
    try:
        with translated(f"read {directory}"):
            found = sorted(os.scandir(directory), key=lambda entry: entry.name)
    except SftpgateError as error:
        tally.leave_out(str(directory), error.message)
        return
    for entry in found:
        path = Path(entry.path)
        if entry.is_dir(follow_symlinks=False):
            yield path, True
            yield from _below(path, tally)
        elif entry.is_file(follow_symlinks=False):
            yield path, False
        else:
            tally.leave_out(entry.path, "it is no file")
