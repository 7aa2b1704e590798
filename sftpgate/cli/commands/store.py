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

from sftpgate.cli.command_record import changes, looks
from sftpgate.cli.commands.adopt import adopt, restored

if TYPE_CHECKING:
    from sftpgate.depot.depot import Depot, DepotPath
    from sftpgate.ledger.arrivals import Arrival
    from sftpgate.ledger.database.connection import Ledger
    from sftpgate.settings.tree import Settings

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
    from dataclasses import asdict

    from sftpgate.app.depot.listing import entries
    from sftpgate.cli.output import emit
    from sftpgate.depot.depot import depot_path

    with _looking() as (settings, ledger):
        rows = [asdict(entry) for entry in entries(settings, ledger, depot_path(path))]
    emit(rows, ["name", "kind", "size_bytes", "modified_at", "tools", "state", "owner", "arrival"], json=json)


@store_app.command("tree")
@looks
def tree(path: StorePath = "", json: Json = False) -> None:
    """Show a directory of the store with all that is in it.

    What is in archives and reports is only counted, unless PATH is one of them.

    Example: sftpgate store tree
    """
    from dataclasses import asdict

    from sftpgate.app.depot import listing
    from sftpgate.cli.output import emit, shown
    from sftpgate.depot.depot import depot_path

    where = depot_path(path)
    with _looking() as (settings, ledger):
        found = listing.tree(settings, ledger, where)
    if json:
        emit([asdict(entry) for entry in found.entries], [], json=True)
        return
    typer.echo(f"/{shown(where)}")
    depth = where.count("/") + 1 if where else 0
    for entry in found.entries:
        directory = "/" if entry.kind == "directory" else ""
        count = f"  ({found.counts[entry.path]} entries)" if entry.path in found.counts else ""
        size = "" if directory else f"  {entry.size_bytes}"
        tools = f"  → {shown(entry.tools)}" if entry.tools else ""
        typer.echo(f"{'  ' * (entry.path.count('/') - depth + 1)}{shown(entry.name)}{directory}{count}{size}{tools}")


@store_app.command("find")
@looks
def find(
    path: StorePath = "",
    name: Annotated[str, typer.Option("--name", help="A pattern for the file's name, with * and ?.")] = "*",
    tool: Annotated[str, typer.Option("--tool", help="Only files that this tool is pointed at.")] = "",
    json: Json = False,
) -> None:
    """Find files below a directory of the store, with the tool that each one is for.

    What is in archives and reports is found if PATH is one of them.

    Example: sftpgate store find --name 'enrols*' --tool enrols
    """
    from dataclasses import asdict

    from sftpgate.app.depot import listing
    from sftpgate.cli.output import emit
    from sftpgate.depot.depot import depot_path
    from sftpgate.errors import ExitCode

    with _looking() as (settings, ledger):
        rows = [asdict(entry) for entry in listing.find(settings, ledger, depot_path(path), name=name, tool=tool)]
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
    from sftpgate.app.context import read_settings
    from sftpgate.app.depot.listing import open_depot
    from sftpgate.depot.depot import depot_path
    from sftpgate.errors import AlreadyExists
    from sftpgate.store.disk_paths import translated

    depot, where = open_depot(read_settings()), depot_path(path)
    if depot.require(where).is_dir:
        _get_tree(depot, where, local, force=force, recursive=recursive)
        return
    with os.fdopen(depot.open_read(where), "rb") as source:
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
    from sftpgate.app.context import opened, read_settings
    from sftpgate.app.depot import changes
    from sftpgate.cli.commands.arrivals import arrival_row
    from sftpgate.cli.output import emit_record
    from sftpgate.depot.depot import depot_path
    from sftpgate.ledger.audit import actor

    if local != _STREAM and Path(local).is_dir():
        _put_tree(Path(local), path, recursive=recursive, json=json)
        return
    with contextlib.ExitStack() as stack:
        source = sys.stdin.buffer if local == _STREAM else stack.enter_context(_opened(local))
        site = stack.enter_context(opened(read_settings()))
        if local == _STREAM and not depot_path(path):
            raise typer.BadParameter("standard input has no name: say where to put it")
        name = "" if local == _STREAM else Path(local).name
        arrival = changes.put(site, actor.command(), source, path, name=name, progress=_progress())
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
    from sftpgate.app.context import opened, read_settings
    from sftpgate.app.depot import changes
    from sftpgate.ledger.audit import actor

    with opened(read_settings()) as site:
        changes.make_directory(site, actor.command(), path)


@store_app.command("mv")
@changes
def mv(old: StorePath, new: StorePath, force: Force = False) -> None:
    """Give a file or directory of the store another name, or move it into a directory. Nothing is ever replaced, and what
    waits in a directory moves with it.

    Example: sftpgate store mv enrolments.csv enrols.csv

    Example: sftpgate store mv campus-north north
    """
    from sftpgate.app.context import opened, read_settings
    from sftpgate.app.depot import changes
    from sftpgate.ledger.audit import actor

    with opened(read_settings()) as site:
        moved = changes.move(site, actor.command(), old, new, force=force)
    if moved.is_directory:
        typer.echo(f"moved, with {moved.arrivals} files that wait for their tools")
    elif moved.arrival is not None:
        typer.echo(_what_became(moved.arrival))


@store_app.command("rm")
@changes
def rm(path: StorePath, force: Force = False) -> None:
    """Remove a file or an empty directory. One that waits for its tool is recorded as discarded, and its sender finds a report
    that says so.

    Example: sftpgate store rm enrols.csv
    """
    from sftpgate.app.context import opened, read_settings
    from sftpgate.app.depot import changes
    from sftpgate.cli.output import shown
    from sftpgate.ledger.audit import actor

    with opened(read_settings()) as site:
        removed = changes.remove(site, actor.command(), path, force=force)
    if removed is not None:
        typer.echo(f"{shown(removed.path)} discarded (arrival {removed.id})")


store_app.command("adopt")(adopt)
store_app.command("restored")(restored)


# -- what they share -------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _looking() -> Iterator[tuple[Settings, Ledger | None]]:
    from sftpgate.app.context import ledger_for_reading, read_settings

    settings = read_settings()
    with ledger_for_reading(settings) as ledger:
        yield settings, ledger


def _opened(local: str) -> BinaryIO:
    """Return a local file for reading, opened while we are still who called us. Raises NoSuchFile, Refused or StorageError."""
    from sftpgate.errors import NoSuchFile, Refused
    from sftpgate.store.disk_paths import translated

    path = Path(local)
    if not path.exists():
        raise NoSuchFile(f"{local}: no such local file")
    if not path.is_file():
        raise Refused(f"{local}: only files can be put into the store")
    with translated(f"read {local}"):
        return path.open("rb")


def _put_tree(top: Path, path: str, *, recursive: bool, json: bool) -> None:
    from collections import Counter

    from sftpgate.app.context import opened, read_settings
    from sftpgate.app.depot.changes import make_deposits, target_of
    from sftpgate.app.depot.trees import put_tree
    from sftpgate.cli.commands.arrivals import arrival_row
    from sftpgate.cli.copying import ShownTally
    from sftpgate.cli.output import emit
    from sftpgate.errors import ExitCode, Refused
    from sftpgate.ledger.audit import actor

    if not recursive:
        raise Refused(f"{top} is a directory: say --recursive to put all that is in it")
    top, tally = top.resolve(), ShownTally("put")  # a command may leave the directory that it was called in
    with opened(read_settings()) as site:
        deposits = make_deposits(site, actor.command())
        where = target_of(deposits, path, top.name)
        put = put_tree(deposits, top, where, _opened, tally)
    tally.clear()
    if json:
        emit([arrival_row(arrival) for arrival in put], [], json=True)
    else:
        became = Counter(arrival.state.value for arrival in put)
        states = ", ".join(f"{count} {state}" for state, count in sorted(became.items())) or "none"
        typer.echo(f"{tally}: {states} (`sftpgate store tree {where}` shows them)")
    if tally.left_out:
        raise typer.Exit(ExitCode.FAILED)


def _get_tree(depot: Depot, where: DepotPath, local: str, *, force: bool, recursive: bool) -> None:
    from sftpgate.app.depot.trees import get_tree
    from sftpgate.cli.copying import ShownTally
    from sftpgate.errors import ExitCode, Refused

    if not recursive or local == _STREAM:
        raise Refused("this is a directory: say --recursive to copy all that is in it to a local directory")
    target = Path(local)
    if target.is_dir():
        target /= where.rpartition("/")[2] or "store"
    tally = ShownTally("copied")
    get_tree(depot, where, target, tally, force=force)
    tally.clear()
    typer.echo(f"{tally} (in {target})")
    if tally.left_out:
        raise typer.Exit(ExitCode.FAILED)


def _what_became(arrival: Arrival) -> str:
    """Return one line on where a deposit went."""
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
    """Show how much was read of a large file, on a terminal."""
    if not sys.stderr.isatty():
        return None

    def show(size: int) -> None:
        if size >= _PROGRESS_AT_BYTES and size % (16 * _COPY_BYTES) == 0:
            typer.echo(f"\r{size // _COPY_BYTES} MiB read\033[K", nl=False, err=True)

    return show
