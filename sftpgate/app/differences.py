"""What a file would do, or did: its rows against those of the file that its tool had processed before it.

Each use case takes settings and plain values, and returns records; it only looks. Reading files blocks, for some seconds for a
million rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TextIO, TypeVar

from sftpgate.app.composition import pointers_of
from sftpgate.app.context import ledger_for_reading
from sftpgate.app.contracts import contract_of, open_file, opener
from sftpgate.contracts import spreadsheet
from sftpgate.contracts.difference import Counts
from sftpgate.contracts.row_changes import ChangedRow, NotComparable, Open, Row, RowChanges
from sftpgate.errors import NotFound, Refused, UnknownArrival
from sftpgate.ledger import overview, runs
from sftpgate.ledger.arrivals import Arrival
from sftpgate.ledger.runs import HISTORY_FILES, ProcessedFile
from sftpgate.policy.pointers import tool_for
from sftpgate.settings.contracts import ContractSettings, Kind
from sftpgate.settings.tree import Settings

R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A difference for people: counts of the whole and of each group that differs, the most different first, and the first rows
    of each kind. ``against`` is what the tool processed before (None: nothing, or another file was named).
    """

    arrival: Arrival
    tool: str
    against: ProcessedFile | None
    is_delta: bool
    rows: int
    whole: Counts
    groups: Sequence[tuple[str, Counts]]
    old_header: Sequence[str]
    new_header: Sequence[str]
    added: Sequence[Row]
    changed: Sequence[ChangedRow]
    removed: Sequence[Row]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """An arrival, its tool with its contract, the file that it is compared with, and how the two differ."""

    arrival: Arrival
    tool: str
    contract: ContractSettings
    against: ProcessedFile | None
    changes: RowChanges


def compare(settings: Settings, identifier: str, *, against: Path | None = None) -> Compared:
    """Compare the file of the arrival whose id begins so with what its tool processed before it, or with the file ``against``.

    Raises UnknownArrival, NotFound if one of the files is not kept any more, SettingsError if the tool has no contract, and
    Refused if no tool takes the file, or the two cannot be compared row by row.
    """
    item, tool, before = _found(settings, identifier)
    contract = contract_of(settings, tool)
    new = opener(settings, item.location)
    if new is None:
        raise NotFound(f"the file of arrival {item.id} is not kept any more: see `sftpgate show {item.id}`")
    old = partial(open_file, against) if against is not None else _earlier(settings, tool, before)
    try:
        changes = RowChanges(old, new, contract)
    except NotComparable as error:
        raise Refused(f"{error}: `sftpgate show {item.id}` says what is wrong with it") from error
    known = None if against is not None else before
    return Compared(arrival=item, tool=tool, contract=contract, against=known, changes=changes)


def show(found: Compared, *, rows: int) -> Shown:
    """Return a difference for people, with so many rows of each kind. Reads the files. Raises NotFound if one has gone."""
    changes = found.changes
    differing = [(name, counts) for name, counts in changes.counts.groups.items() if counts.differing]
    return Shown(
        arrival=found.arrival,
        tool=found.tool,
        against=found.against,
        is_delta=found.contract.kind is Kind.DELTA,
        rows=changes.rows,
        whole=changes.counts.whole,
        groups=sorted(differing, key=lambda item: (-item[1].removed, -item[1].differing, item[0])),
        old_header=changes.old_header,
        new_header=changes.new_header,
        added=_first(changes.added(), rows),
        changed=_first(changes.changed(rows), rows),
        removed=_first(changes.removed(), rows),
    )


def write_removed(found: Compared, out: TextIO) -> int:
    """Write the rows that are gone as a table that people open in a spreadsheet, and return how many.

    ``out`` was opened with ``spreadsheet.ENCODING``, and translates no line ends.
    """
    rows = (row.fields for row in found.changes.removed())
    return spreadsheet.write(out, found.changes.old_header, rows, delimiter=found.contract.delimiter)


def _found(settings: Settings, identifier: str) -> tuple[Arrival, str, ProcessedFile | None]:
    """Return an arrival, its tool, and what that processed before it: of a file that was processed itself, the one before."""
    with ledger_for_reading(settings) as ledger:
        if ledger is None:
            raise UnknownArrival(f"there is no arrival {identifier}: nothing has arrived yet")
        with ledger.reading() as connection:
            item = overview.by_prefix(connection, identifier)
            done = [run.tool for run in runs.of_arrival(connection, item.id) if run.tool in settings.tools]
            tool = done[-1] if done else tool_for(item.path, pointers_of(settings))
            if tool is None:
                raise Refused(f"no tool of the settings takes {item.path}: there is nothing to compare it with")
            files = runs.processed_by(connection, tool, HISTORY_FILES, with_undone=True)
    own = next((place for place, file in enumerate(files) if file.arrival == item.id), -1)
    earlier = files[own + 1 :]
    return item, tool, earlier[0] if earlier else None


def _earlier(settings: Settings, tool: str, before: ProcessedFile | None) -> Open | None:
    if before is None:
        return None
    old = opener(settings, before.location)
    if old is None:
        raise NotFound(
            f"the file that {tool} processed before (arrival {before.arrival}) is not kept any more (keep_archives): "
            "name another one with --against FILE"
        )
    return old


def _first(rows: Iterator[R], most: int) -> list[R]:
    return list(islice(rows, most))
