"""``sftpgate store …``: the local file manager over the store, for people and programs of this machine.

Paths are those of the store: ``/`` is the store itself, and nothing leads out of it. ``archives`` and ``reports`` can
be read. What is put here waits for its tool like a file that an ERP sent.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from sftpgate.cli.adopt import adopt
from sftpgate.cli.record import changes, looks

if TYPE_CHECKING:
    from sftpgate.cli.compose import System
    from sftpgate.intake.deposits import Deposits
    from sftpgate.ledger.arrivals import Arrival
    from sftpgate.settings import Settings
    from sftpgate.store.depot import Depot, DepotPath
    from sftpgate.store.spots import Entry

store_app = typer.Typer(help="The local file manager: look at what runners read, put files there, move and remove them.")

Json = Annotated[bool, typer.Option("--json", help="Print a list of objects.")]
StorePath = Annotated[str, typer.Argument(help="A path in the store.")]
Recursive = Annotated[bool, typer.Option("--recursive", "-r", help="A directory, with all that is in it.")]
Force = Annotated[bool, typer.Option("--force", help="Even where a tool would get nothing any more.")]

_COPY_BYTES = 1024 * 1024
_PROGRESS_AT_BYTES = 64 * 1024 * 1024  # less is over before somebody looks
_STREAM = "-"


# -- looking ---------------------------------------------------------------------------------------------------------


@store_app.command("ls")
@looks
def ls(path: StorePath = "", json: Json = False) -> None:
    """List a directory of the store, with the tool that each file is for and the arrival that it is.

    Example: sftpgate store ls archives
    """
    from sftpgate.cli.output import emit

    with _looking() as look:
        where = look.path(path)
        found = look.depot.require(where)
        entries = [(where, found)] if not found.is_dir else [(look.below(where, entry), entry) for entry in look.entries(where)]
        rows = look.rows(entries)
    emit(rows, ["name", "kind", "size_bytes", "modified_at", "tools", "state", "owner", "arrival"], json=json)


@store_app.command("tree")
@looks
def tree(path: StorePath = "", json: Json = False) -> None:
    """Show a directory of the store with all that is in it.

    What is in archives and reports is only counted, unless PATH is one of them.

    Example: sftpgate store tree
    """
    from sftpgate.cli.output import emit, shown

    with _looking() as look:
        where = look.path(path)
        rows = look.rows(list(look.depot.walk(where)))
        counts = {name: look.depot.count(look.path(name)) for name in ("archives", "reports")} if not where else {}
    if json:
        emit(rows, [], json=True)
        return
    typer.echo(f"/{shown(where)}")
    depth = where.count("/") + 1 if where else 0
    for row in rows:
        full = str(row["path"])
        directory = "/" if row["kind"] == "directory" else ""
        count = f"  ({counts[full]} entries)" if full in counts else ""
        size = "" if directory else f"  {row['size_bytes']}"
        tools = f"  → {shown(row['tools'])}" if row["tools"] else ""
        typer.echo(f"{'  ' * (full.count('/') - depth + 1)}{shown(row['name'])}{directory}{count}{size}{tools}")


@store_app.command("find")
@looks
def find(
    path: StorePath = "",
    name: Annotated[str, typer.Option("--name", help="A pattern for the file's name, with * and ?.")] = "*",
    tool: Annotated[str, typer.Option("--tool", help="Only files that this tool is pointed at.")] = "",
    json: Json = False,
) -> None:
    """Find files below a directory of the store, with the tool that each one is for.

    What is in archives and reports is found where PATH is one of them.

    Example: sftpgate store find --name 'enrols*' --tool enrols
    """
    from fnmatch import fnmatchcase

    from sftpgate.cli.output import emit
    from sftpgate.errors import ExitCode

    with _looking() as look:
        where = look.path(path)
        found = [item for item in look.depot.walk(where) if item[1].is_file and fnmatchcase(item[1].name, name)]
        rows = [row for row in look.rows(found) if not tool or tool in row["tools"]]  # type: ignore[operator]  # a list, by _entry_row
    emit(rows, ["path", "size_bytes", "modified_at", "tools", "state", "owner", "arrival"], json=json)
    if not rows:
        raise typer.Exit(ExitCode.NOT_FOUND)


@store_app.command("get")
@looks
def get(
    path: StorePath,
    local: Annotated[str, typer.Argument(help="A local file or directory; - for standard output.")] = ".",
    force: Annotated[bool, typer.Option("--force", help="Overwrite a local file.")] = False,
    recursive: Recursive = False,
) -> None:
    """Copy a file out of the store, or a directory with --recursive. It stays there, and so does its state.

    Example: sftpgate store get archives/20260102-0304_enrols.csv

    Example: sftpgate store get enrols.csv - | head
    """
    from sftpgate.errors import AlreadyExists
    from sftpgate.store.spots import translated

    with _looking() as look:
        where = look.path(path)
        if look.depot.require(where).is_dir:
            _get_tree(look.depot, where, local, force=force, recursive=recursive)
            return
        source = os.fdopen(look.depot.open_read(where), "rb")
    with source:
        if local == _STREAM:
            _copy(source, sys.stdout.buffer)
            return
        target = Path(local)
        if target.is_dir():
            target /= where.rpartition("/")[2]
        try:
            with translated(f"write {target}"), target.open("wb" if force else "xb") as file:
                _copy(source, file)
        except AlreadyExists as error:
            raise AlreadyExists(f"{target} exists already: say --force to overwrite it") from error


# -- changing --------------------------------------------------------------------------------------------------------


@store_app.command("put")
@changes
def put(
    local: Annotated[str, typer.Argument(help="A local file; - for standard input.")],
    path: Annotated[str, typer.Argument(help="Where to put it: a name, or a directory of the store.")] = "",
    recursive: Recursive = False,
    json: Annotated[bool, typer.Option("--json", help="Print the arrival as an object, or a list of them.")] = False,
) -> None:
    """Put a file into the store, whole and at once; a directory with --recursive, file by file.

    It waits for its tool as if an ERP had sent it, and replaces or queues by the same rules.

    Example: sftpgate store put enrols.csv

    Example: make-enrols | sftpgate store put - campus-north/enrols.csv
    """
    from sftpgate.cli.arrivals import arrival_row
    from sftpgate.cli.output import emit_record
    from sftpgate.store.depot import DepotPath, depot_path

    if local != _STREAM and Path(local).is_dir():
        _put_tree(Path(local), path, recursive=recursive, json=json)
        return
    with contextlib.ExitStack() as stack:
        source = sys.stdin.buffer if local == _STREAM else stack.enter_context(_opened(local))
        deposits = stack.enter_context(_changing())
        where = depot_path(path)
        if local == _STREAM and not where:
            raise typer.BadParameter("standard input has no name: say where to put it")
        if local != _STREAM and (not where or path.endswith("/") or deposits.depot.is_dir(where)):
            where = DepotPath("/".join(filter(None, [where, Path(local).name])))
        arrival = deposits.put(source, where, _progress())
    if json:
        emit_record(arrival_row(arrival), json=True)
    else:
        typer.echo(_what_became(arrival))


@store_app.command("mkdir")
@changes
def mkdir(path: StorePath) -> None:
    """Make a directory in the store.

    Example: sftpgate store mkdir campus-north
    """
    from sftpgate.store.depot import depot_path

    with _changing() as deposits:
        deposits.make_directory(depot_path(path))


@store_app.command("mv")
@changes
def mv(old: StorePath, new: StorePath, force: Force = False) -> None:
    """Give a file or directory of the store another name, or move it into a directory. Nothing is ever replaced, and what
    waits in a directory moves with it.

    Example: sftpgate store mv enrolments.csv enrols.csv

    Example: sftpgate store mv campus-north north
    """
    from sftpgate.store.depot import DepotPath, depot_path

    with _changing() as deposits:
        source, target = depot_path(old), depot_path(new)
        if not target or new.endswith("/") or deposits.depot.is_dir(target):
            target = DepotPath("/".join(filter(None, [target, source.rpartition("/")[2]])))
        moved = deposits.move(source, target, force=force)
    if isinstance(moved, int):
        typer.echo(f"moved, with {moved} files that wait for their tools")
    elif moved is not None:
        typer.echo(_what_became(moved))


@store_app.command("rm")
@changes
def rm(path: StorePath, force: Force = False) -> None:
    """Remove a file or an empty directory. One that waits for its tool is recorded as discarded, and its sender finds a report
    that says so.

    Example: sftpgate store rm enrols.csv
    """
    from sftpgate.cli.context import opened, read_settings
    from sftpgate.cli.output import shown
    from sftpgate.runners.notices import Notices
    from sftpgate.store.depot import depot_path

    settings = read_settings()
    with opened(settings) as system:
        notices = Notices(system.moves, batch_lock_name=settings.batch_lock_name)
        removed = _deposits(system).remove(depot_path(path), notices, force=force)
    if removed is not None:
        typer.echo(f"{shown(removed.path)} discarded (arrival {removed.id})")


store_app.command("adopt")(changes(adopt))


# -- what they share -------------------------------------------------------------------------------------------------


class _Look:
    """The store for reading, and what the ledger and the settings say of its files."""

    def __init__(self, settings: Settings) -> None:
        from sftpgate.store.depot import Depot
        from sftpgate.store.disk import Disk
        from sftpgate.store.layout import Layout

        self.settings = settings
        self.depot: Depot = Depot(Layout(settings.store, settings.drop), Disk())

    def path(self, text: str) -> DepotPath:
        from sftpgate.store.depot import depot_path

        return depot_path(text)

    def below(self, path: DepotPath, entry: Entry) -> DepotPath:
        return self.path(f"{path}/{entry.name}")

    def entries(self, path: DepotPath) -> list[Entry]:
        return self.depot.entries(path)

    def rows(self, entries: list[tuple[DepotPath, Entry]]) -> list[dict[str, object]]:
        """A row for each entry; ``tools`` names the tools that are pointed at it, in the order of the settings."""
        from sftpgate.cli.compose import pointers_of
        from sftpgate.store.depot import is_readonly

        waiting = self._waiting([path for path, entry in entries if entry.is_file])
        pointers = pointers_of(self.settings)
        rows = []
        for path, entry in entries:
            arrival = waiting.get(path)
            tools = [] if not entry.is_file or is_readonly(path) else [item.tool for item in pointers if item.fits(path)]
            rows.append(_entry_row(path, entry, tools, arrival))
        return rows

    def _waiting(self, paths: list[DepotPath]) -> dict[str, Arrival]:
        """The arrivals that wait in the store, by path."""
        from sftpgate.cli.context import ledger_for_reading
        from sftpgate.ledger import arrivals
        from sftpgate.policy.lifecycle import ArrivalState

        if not paths:
            return {}
        with ledger_for_reading(self.settings) as ledger:
            if ledger is None:
                return {}
            with ledger.reading() as connection:
                return {row.path: row for row in arrivals.find(connection, live=True, states=[ArrivalState.WAITING])}


def _entry_row(path: str, entry: Entry, tools: list[str], arrival: Arrival | None) -> dict[str, object]:
    from datetime import UTC, datetime

    return {
        "path": path,
        "name": path.rpartition("/")[2],
        "kind": "directory" if entry.is_dir else "file" if entry.is_file else "other",
        "size_bytes": entry.status.st_size if entry.is_file else None,
        "modified_at": datetime.fromtimestamp(entry.status.st_mtime, UTC),
        "tools": tools,
        "state": arrival.state if arrival else None,
        "owner": arrival.owner if arrival else None,
        "arrival": arrival.id if arrival else None,
        "sha256": arrival.sha256 if arrival else None,
    }


@contextlib.contextmanager
def _looking() -> Iterator[_Look]:
    from sftpgate.cli.context import read_settings
    from sftpgate.errors import NoSuchFile

    settings = read_settings()
    if not settings.store.is_dir():
        raise NoSuchFile(f"there is no store at {settings.store} yet: `sftpgate serve` makes it (setting: store_dir)")
    yield _Look(settings)


@contextlib.contextmanager
def _changing() -> Iterator[Deposits]:
    from sftpgate.cli.context import opened, read_settings

    with opened(read_settings()) as system:
        yield _deposits(system)


def _deposits(system: System) -> Deposits:
    from sftpgate.intake.deposits import Deposits
    from sftpgate.ledger.actor import command

    settings = system.settings
    return Deposits(
        system.moves,
        system.placer,
        command(),
        max_upload_bytes=settings.max_upload_bytes,
        free_space_floor=settings.free_space_floor,
    )


def _opened(local: str) -> BinaryIO:
    """A local file for reading, opened while we are still who called us. Raises NoSuchFile, Refused or StorageError."""
    from sftpgate.errors import NoSuchFile, Refused
    from sftpgate.store.spots import translated

    path = Path(local)
    if not path.exists():
        raise NoSuchFile(f"{local}: no such local file")
    if not path.is_file():
        raise Refused(f"{local}: only files can be put into the store")
    with translated(f"read {local}"):
        return path.open("rb")


def _put_tree(top: Path, path: str, *, recursive: bool, json: bool) -> None:
    from collections import Counter

    from sftpgate.cli.arrivals import arrival_row
    from sftpgate.cli.output import emit
    from sftpgate.cli.store_trees import put_tree
    from sftpgate.errors import ExitCode, Refused
    from sftpgate.store.depot import DepotPath, depot_path

    if not recursive:
        raise Refused(f"{top} is a directory: say --recursive to put all that is in it")
    top, where = top.resolve(), depot_path(path)  # a command may leave the directory that it was called in
    with _changing() as deposits:
        if not where or path.endswith("/") or deposits.depot.is_dir(where):
            where = DepotPath("/".join(filter(None, [where, top.name])))
        put, tally = put_tree(deposits, top, where, _opened)
    if json:
        emit([arrival_row(arrival) for arrival in put], [], json=True)
    else:
        became = Counter(arrival.state.value for arrival in put)
        states = ", ".join(f"{count} {state}" for state, count in sorted(became.items())) or "none"
        typer.echo(f"{tally}: {states} (`sftpgate store tree {where}` shows them)")
    if tally.left_out:
        raise typer.Exit(ExitCode.FAILED)


def _get_tree(depot: Depot, where: DepotPath, local: str, *, force: bool, recursive: bool) -> None:
    from sftpgate.cli.store_trees import get_tree
    from sftpgate.errors import ExitCode, Refused

    if not recursive or local == _STREAM:
        raise Refused("this is a directory: say --recursive to copy all that is in it to a local directory")
    target = Path(local)
    if target.is_dir():
        target /= where.rpartition("/")[2] or "store"
    tally = get_tree(depot, where, target, force=force)
    typer.echo(f"{tally} (in {target})")
    if tally.left_out:
        raise typer.Exit(ExitCode.FAILED)


def _what_became(arrival: Arrival) -> str:
    """One line on where a deposit went."""
    from sftpgate.cli.output import shown
    from sftpgate.policy.lifecycle import ArrivalState

    path = shown(arrival.path)
    match arrival.state:
        case ArrivalState.HELD:
            became = f"is held: {arrival.hold_reason} (`sftpgate release {arrival.id}` lets it in)"
        case ArrivalState.IGNORED:
            became = "lies in the drop: no tool ever gets a file of such a name"
        case ArrivalState.QUEUED:
            became = "is queued behind an earlier file of its name"
        case _:
            became = f"is {arrival.state}"
    return f"{path} {became} (arrival {arrival.id}, {arrival.size} bytes)"


def _copy(source: BinaryIO, target: BinaryIO) -> None:
    while chunk := source.read(_COPY_BYTES):
        target.write(chunk)
    target.flush()


def _progress() -> Callable[[int], None] | None:
    """Shows how much was read of a large file, on a terminal."""
    if not sys.stderr.isatty():
        return None

    def show(size: int) -> None:
        if size >= _PROGRESS_AT_BYTES and size % (16 * _COPY_BYTES) == 0:
            typer.echo(f"\r{size // _COPY_BYTES} MiB read\033[K", nl=False, err=True)

    return show
