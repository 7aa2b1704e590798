"""The file that undoes what another one did: made from the same difference that people are shown.

A tool with a command language gets commands, a row for each row that the undone file removed, added or changed, by the templates
of its contract. Any other tool gets a snapshot: the file that it has now, with the rows put back. What a later file has touched
since is left as it is, and counted: whoever changed it knew more. Pure, but for the files; blocks as a difference does.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sftpgate.contracts.row_changes import NotComparable, Open, RowChanges, rows_of
from sftpgate.settings.contracts import ContractSettings, Format, UndoTemplates

Values = Mapping[str, str]
Key = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inverse:
    """A file that undoes another one: its content, its rows, and how many rows it leaves as they are, because a later file has
    touched them since or no template speaks of them. ``is_commands``: it is made of commands, and is no snapshot.
    """

    content: bytes
    rows: int
    left: int
    is_commands: bool


def inverse(before: Open | None, undone: Open, latest: Open | None, contract: ContractSettings) -> Inverse:
    """Return what undoes ``undone``, which came after ``before`` (None: nothing); ``latest`` is what the tool has processed last,
    None if that is ``undone`` itself. Raises NotComparable.
    """
    if contract.format in (Format.GZIP, Format.ZIP) or contract.trailer:
        raise NotComparable("packed files, and files with a trailer, cannot be made by sftpgate")
    if not contract.key:
        raise NotComparable("without a key in its contract nobody knows which rows to put back")
    changes = RowChanges(before, undone, contract)
    since = _touched(undone, latest, contract) if latest is not None else frozenset[Key]()
    if contract.undo is not None:
        return _commands(changes, since, contract, contract.undo)
    if before is None:
        raise NotComparable("nothing was processed before it, and its contract has no templates for undoing")
    if latest is None:
        with before() as content:
            return Inverse(content=content.read(), rows=changes.counts.whole.of, left=0, is_commands=False)
    return _snapshot(changes, since, latest, contract)


def _touched(undone: Open, latest: Open, contract: ContractSettings) -> frozenset[Key]:
    """Return the keys of rows that were changed since."""
    later = RowChanges(undone, latest, contract)
    old = [row.fields for row in later.removed()] + [pair.before.fields for pair in later.changed()]
    named = [*_named(old, later.old_header), *_named((row.fields for row in later.added()), later.new_header)]
    return frozenset(_key(values, contract) for values in named)


def _named(rows: Iterable[Sequence[str]], header: Sequence[str]) -> Iterator[Values]:
    return (dict(zip(header, row, strict=True)) for row in rows)


def _key(values: Values, contract: ContractSettings) -> Key:
    return tuple(values.get(column, "") for column in contract.key)


# -- commands ----------------------------------------------------------------------------------------------------------


def _commands(changes: RowChanges, since: frozenset[Key], contract: ContractSettings, templates: UndoTemplates) -> Inverse:
    removed = _named((row.fields for row in changes.removed()), changes.old_header)
    changed = _named((pair.before.fields for pair in changes.changed()), changes.old_header)
    added = _named((row.fields for row in changes.added()), changes.new_header)
    out = _Table(contract)
    out.write(contract.header)
    left = 0
    for lines, rows in ((templates.added, added), (templates.changed, changed), (templates.removed, removed)):
        for values in rows:
            if _key(values, contract) in since or not lines:
                left += 1
                continue
            for line in lines:
                out.write(templates.filled(line, values, contract.delimiter))
    return Inverse(content=out.content(), rows=out.rows - 1, left=left, is_commands=True)


# -- a snapshot --------------------------------------------------------------------------------------------------------


def _snapshot(changes: RowChanges, since: frozenset[Key], latest: Open, contract: ContractSettings) -> Inverse:
    """Return the latest file with the rows put back."""
    old = [*_named((row.fields for row in changes.removed()), changes.old_header)]
    before = {
        _key(values, contract): values
        for values in _named((pair.before.fields for pair in changes.changed()), changes.old_header)
    }
    new = {_key(values, contract) for values in _named((row.fields for row in changes.added()), changes.new_header)}
    out = _Table(contract)
    left = 0
    header: Sequence[str] = ()
    for header, row in rows_of(latest, contract):
        if not out.rows:
            out.write(header)
        values = dict(zip(header, row, strict=True))
        key = _key(values, contract)
        is_touched = key in since and (key in new or key in before)
        left += is_touched
        if key in new and not is_touched:
            continue
        put_back = values if is_touched else before.get(key, values)
        out.write([put_back.get(column, "") for column in header])
    if not out.rows:
        header = changes.new_header
        out.write(header)
    for gone in old:
        if _key(gone, contract) in since:
            left += 1
        else:
            out.write([gone.get(column, "") for column in header])
    return Inverse(content=out.content(), rows=out.rows - 1, left=left, is_commands=False)


class _Table:
    """A table that is being written, as its tool expects it."""

    def __init__(self, contract: ContractSettings) -> None:
        self.rows = 0
        self._encoding = contract.encoding
        self._text = io.StringIO()
        self._writer = csv.writer(
            self._text,
            delimiter=contract.delimiter,
            lineterminator="\n",
            quoting=csv.QUOTE_MINIMAL if contract.quotes else csv.QUOTE_NONE,
        )

    def write(self, row: Sequence[str]) -> None:
        """Write one row. Raises NotComparable if the tool could not read it."""
        try:
            self._writer.writerow(row)
        except csv.Error as error:
            raise NotComparable("a row has the delimiter in a field, and the tool understands no quotes") from error
        self.rows += 1

    def content(self) -> bytes:
        """Return the file. Raises NotComparable."""
        try:
            return self._text.getvalue().encode(self._encoding)
        except UnicodeEncodeError as error:
            raise NotComparable(f"a row has letters that {self._encoding} does not have") from error
