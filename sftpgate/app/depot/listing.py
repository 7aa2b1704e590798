"""What is in the store, with the tool that each file is for and the arrival that it is. Changes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase

from sftpgate.app.composition import pointers_of
from sftpgate.depot.depot import Depot, DepotPath, depot_path, is_readonly
from sftpgate.errors import NoSuchFile
from sftpgate.ledger import arrivals
from sftpgate.ledger.arrivals import Arrival
from sftpgate.ledger.database.connection import Ledger
from sftpgate.policy.lifecycle import ArrivalState
from sftpgate.policy.managed import RESERVED_NAMES
from sftpgate.settings.tree import Settings
from sftpgate.store.disk import Disk
from sftpgate.store.disk_paths import Entry
from sftpgate.store.layout import Layout


@dataclass(frozen=True, slots=True, kw_only=True)
class DepotEntry:
    """A file or directory. ``tools`` are pointed at it, in the order of the settings; ``state`` and what follows are those of the
    arrival that waits there.
    """

    path: str
    name: str
    kind: str
    size_bytes: int | None
    modified_at: datetime
    tools: Sequence[str]
    state: ArrivalState | None
    owner: str | None
    arrival: str | None
    sha256: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """All that is in a directory, each directory before what is in it. ``counts``: how many entries archives and reports have,
    which are only counted from above.
    """

    entries: Sequence[DepotEntry]
    counts: Mapping[str, int]


def open_depot(settings: Settings) -> Depot:
    """Return the store for looking. Raises NoSuchFile if there is none yet."""
    if not settings.store.is_dir():
        raise NoSuchFile(f"there is no store at {settings.store} yet: `sftpgate serve` makes it (setting: store_dir)")
    return Depot(Layout(settings.store, settings.drop), Disk())


def entries(settings: Settings, ledger: Ledger | None, path: DepotPath) -> list[DepotEntry]:
    """Return what is in a directory, or the one file that ``path`` is. Raises NoSuchFile."""
    depot = open_depot(settings)
    found = depot.require(path)
    if not found.is_dir:
        return _described(settings, ledger, [(path, found)])
    inside = [(depot_path(f"{path}/{entry.name}"), entry) for entry in depot.entries(path)]
    return _described(settings, ledger, inside)


def tree(settings: Settings, ledger: Ledger | None, path: DepotPath) -> Tree:
    """Return a directory with all that is in it. Raises NoSuchFile."""
    depot = open_depot(settings)
    found = _described(settings, ledger, list(depot.walk(path)))
    managed = {} if path else {name: depot.count(depot_path(name)) for name in RESERVED_NAMES}
    return Tree(entries=found, counts=managed)


def find(settings: Settings, ledger: Ledger | None, path: DepotPath, *, name: str = "*", tool: str = "") -> list[DepotEntry]:
    """Return the files below a directory whose name fits a pattern; with ``tool``, only those that it is pointed at."""
    depot = open_depot(settings)
    files = [item for item in depot.walk(path) if item[1].is_file and fnmatchcase(item[1].name, name)]
    return [entry for entry in _described(settings, ledger, files) if not tool or tool in entry.tools]


def _described(settings: Settings, ledger: Ledger | None, found: Sequence[tuple[DepotPath, Entry]]) -> list[DepotEntry]:
    waiting = _waiting(ledger) if any(entry.is_file for _, entry in found) else {}
    pointers = pointers_of(settings)
    described = []
    for path, entry in found:
        tools = [] if not entry.is_file or is_readonly(path) else [item.tool for item in pointers if item.fits(path)]
        described.append(_described_one(path, entry, tools, waiting.get(path)))
    return described


def _described_one(path: str, entry: Entry, tools: Sequence[str], arrival: Arrival | None) -> DepotEntry:
    return DepotEntry(
        path=path,
        name=path.rpartition("/")[2],
        kind="directory" if entry.is_dir else "file" if entry.is_file else "other",
        size_bytes=entry.status.st_size if entry.is_file else None,
        modified_at=datetime.fromtimestamp(entry.status.st_mtime, UTC),
        tools=tools,
        state=arrival.state if arrival else None,
        owner=arrival.owner if arrival else None,
        arrival=arrival.id if arrival else None,
        sha256=arrival.sha256 if arrival else None,
    )


def _waiting(ledger: Ledger | None) -> dict[str, Arrival]:
    """Return the arrivals that wait in the store, by path."""
    if ledger is None:
        return {}
    with ledger.reading() as connection:
        return {row.path: row for row in arrivals.find(connection, live=True, states=[ArrivalState.WAITING])}
