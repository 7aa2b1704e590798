"""``sftpgate store put -r`` and ``get -r``: all that is in a directory, one file after the other.

Each file is a deposit, or a copy, of its own: one that is refused or cannot be read is a line on stderr, and the others go
on. What ends in the middle leaves whole files. Symbolic links are never followed. On a terminal, a line shows how far it is.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import typer

from sftpgate.errors import NotADirectory, Refused, SftpgateError
from sftpgate.intake.deposits import Deposits
from sftpgate.ledger.arrivals import Arrival
from sftpgate.logs import printable
from sftpgate.policy.names import join
from sftpgate.store.depot import Depot, DepotPath
from sftpgate.store.spots import Entry, translated

Opener = Callable[[str], BinaryIO]


class Tally:
    """What was copied, and what was left out. ``verb``: what is done to files."""

    def __init__(self, verb: str) -> None:
        self._verb = verb
        self._shows = sys.stderr.isatty()
        self.files = self.size_bytes = self.left_out = 0

    def copied(self, size_bytes: int) -> None:
        """One more file."""
        self.files += 1
        self.size_bytes += size_bytes
        if self._shows:
            typer.echo(f"\r{self}\033[K", nl=False, err=True)

    def leave_out(self, name: str, why: str) -> None:
        """Say that something was left out."""
        self.left_out += 1
        self.clear()
        typer.echo(f"sftpgate: {printable(name)} is left out: {why}", err=True)

    def clear(self) -> None:
        """Remove the line from a terminal."""
        if self._shows:
            typer.echo("\r\033[K", nl=False, err=True)

    def __str__(self) -> str:
        said = f"{self.files} files {self._verb}, {self.size_bytes} bytes"
        return f"{said}; {self.left_out} left out" if self.left_out else said


def put_tree(deposits: Deposits, top: Path, where: DepotPath, opener: Opener) -> tuple[list[Arrival], Tally]:
    """Put every file below ``top`` into the store below ``where``, by name; directories are made. Raises what making
    ``where`` raises.
    """
    put: list[Arrival] = []
    tally = Tally("put")
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
    tally.clear()
    return put, tally


def get_tree(depot: Depot, where: DepotPath, target: Path, *, force: bool) -> Tally:
    """Copy every file below ``where`` to the local directory ``target``, which is made."""
    tally = Tally("copied")
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
    tally.clear()
    return tally


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
    """Files and directories below a local directory, by name, each directory before what is in it."""
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
