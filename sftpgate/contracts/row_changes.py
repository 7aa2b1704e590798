"""Which rows a file adds, changes and removes against an earlier one: the rows behind the counts of ``difference``.

Both files are read once for their hashes, and once more for each kind of rows that somebody wants to see, so that memory stays
that of a difference however much has changed; only the changed rows that are asked for are kept. Rows are told by their keys; a
contract without a key has added and removed rows alone. Blocks as a judge does. Pure, but for the files.
"""

from __future__ import annotations

from array import array
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO

from sftpgate.contracts.difference import Difference, compare, places_apart
from sftpgate.contracts.judge import ReadTable, keyed_rows, read_table
from sftpgate.contracts.table import Rows
from sftpgate.settings.contracts import ContractSettings

Open = Callable[[], BinaryIO]


class NotComparable(Exception):
    """Two files cannot be compared row by row. The text says why, as a sentence without its end."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a file: its line, which counts from 1, and its fields in the order of that file's header."""

    line: int
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ChangedRow:
    """A row of a known key that says something else now."""

    before: Row
    after: Row


class RowChanges:
    """What ``new`` does to ``old`` (None: there is no earlier file, and all rows are added). Raises NotComparable."""

    def __init__(self, old: Open | None, new: Open, contract: ContractSettings) -> None:
        self._old, self._new, self._contract = old, new, contract
        before = ReadTable(header=(), rows=Rows()) if old is None else _table(old, contract, "the file that was processed last")
        after = _table(new, contract, "the file")
        if before.has_keys is not after.has_keys and len(before.rows) and len(after.rows):
            raise NotComparable(f"a column of the key ({', '.join(contract.key)}) is missing in one of the files")
        self.old_header, self.new_header = before.header or after.header, after.header
        self.rows = len(after.rows)
        self.counts: Difference = compare(before.rows, after.rows)
        self._pair(before.rows, after.rows)

    def _pair(self, old: Rows, new: Rows) -> None:
        gone, come = places_apart(old.contents, new.contents)
        by_key: defaultdict[int, deque[int]] = defaultdict(deque)
        for place in gone:
            by_key[(old.keys or old.contents)[place]].append(place)
        self._added = array("q")
        self._partners: dict[int, int] = {}  # places of changed rows: of the new file, and what was there before
        for place in come:
            if earlier := by_key.get((new.keys or new.contents)[place]):
                self._partners[place] = earlier.popleft()
            else:
                self._added.append(place)
        self._removed = array("q", sorted(place for places in by_key.values() for place in places))

    def removed(self) -> Iterator[Row]:
        """Yield the rows of the old file that are gone, in its order."""
        return self._rows(self._old, set(self._removed))

    def added(self) -> Iterator[Row]:
        """Yield the rows of the new file that were not there before, in its order."""
        return self._rows(self._new, set(self._added))

    def changed(self, limit: int | None = None) -> Iterator[ChangedRow]:
        """Yield the first ``limit`` rows of known keys that say something else, in the order of the new file; None: all."""
        wanted = dict(islice(sorted(self._partners.items()), limit))
        before = dict(self._places(self._old, set(wanted.values())))
        for place, row in self._places(self._new, wanted.keys()):
            yield ChangedRow(before=before[wanted[place]], after=row)

    def _rows(self, file: Open | None, places: Collection[int]) -> Iterator[Row]:
        return (row for _, row in self._places(file, places))

    def _places(self, file: Open | None, places: Collection[int]) -> Iterator[tuple[int, Row]]:
        """Yield rows of a file with their places, for those that are wanted."""
        if file is None or not places:
            return
        left = len(places)
        with file() as content:
            for place, (line, _, fields) in enumerate(keyed_rows(content, self._contract)):
                if place in places:
                    yield place, Row(line, tuple(fields))
                    left -= 1
                    if not left:
                        return


def rows_of(file: Open, contract: ContractSettings) -> Iterator[tuple[Sequence[str], Sequence[str]]]:
    """Yield the rows of a file, each with the names of its columns. Raises NotComparable."""
    header = _table(file, contract, "the file").header
    with file() as content:
        yield from ((header, fields) for _, _, fields in keyed_rows(content, contract))


def _table(file: Open, contract: ContractSettings, name: str) -> ReadTable:
    with file() as content:
        found = read_table(content, contract)
    if found is None:
        raise NotComparable(f"{name} is no table by the contract of its tool, or breaks off")
    return found
