"""The rows of a table, checked as they are read: header, fields, keys, first characters, trailer.

Rows come in batches from the standard ``csv`` reader, and each check looks at a batch as a whole; its rows are looked at one by
one only if something is wrong with the batch. What stays of a good row is two numbers (``Rows``). Pure but for the stream.
"""

from __future__ import annotations

import csv
import re
import unicodedata
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from operator import itemgetter

from sftpgate import patterns
from sftpgate.contracts.bytes_check import MOST_COLUMNS, Unreadable
from sftpgate.contracts.objections import Objection, visible
from sftpgate.settings.contracts import ContractSettings

BATCH_ROWS = 10_000
_TRAILER_SECONDS = 1.0  # of a processor: one line is searched
_MOST_SHAPES = 50  # of a column: one with more has no shape that says anything
_PICTURE = str.maketrans(
    {**dict.fromkeys("0123456789", "9"), **dict.fromkeys("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", "a")}
)
_BETWEEN = "\0"  # no value of a good file has it
_RUNS = re.compile(r"(.)\1+")
MOST_ROWS = 20_000_000  # of any table: what a judge has memory and time for, with a comparison
_FIELDS_AT_ONCE = 1_000_000
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")
_DELIMITERS = {";": "a semicolon", ",": "a comma", "\t": "a tab", "|": "a bar", ":": "a colon"}
SHEET_LINES = (65_536, 1_048_576)  # of Excel until 2003, and since

_FIRST = itemgetter(0)

Row = list[str]


@dataclass(slots=True)
class Shapes:
    """What the values of one column look like: digits as 9, letters as a, each run once; ``kinds`` has an example for each.

    ``widths`` are the lengths of values that are digits alone; ``zeros`` is an example of one that begins with a zero.
    """

    kinds: dict[str, str] = field(default_factory=dict)
    widths: dict[int, str] = field(default_factory=dict)
    zeros: str = ""
    _seen: set[str] = field(default_factory=set)

    def look(self, values: Sequence[str]) -> None:
        """Take note of values. What is of no known shape costs a little, the others next to nothing: they are looked at as one
        text.
        """
        text = _BETWEEN.join(values)
        pictures = text.translate(_PICTURE).split(_BETWEEN)
        for picture in {picture for picture in set(pictures) - self._seen if len(self.kinds) < _MOST_SHAPES}:
            self._seen.add(picture)
            value = values[pictures.index(picture)] if len(pictures) == len(values) else picture
            self.kinds.setdefault(_RUNS.sub(r"\1", picture), value)
            if picture.strip("9") == "" and picture:
                self.widths.setdefault(len(picture), value)
        if not self.zeros and (text[:1] == "0" or _BETWEEN + "0" in text):
            self.zeros = next((value for value in values if value[:1] == "0" and value.isdecimal()), "")


@dataclass(slots=True)
class Rows:
    """What a difference needs of all rows, in the order of the file: 64-bit hashes, the same for equal texts in one process.

    ``keys`` of the key fields, ``contents`` of the whole row, ``groups`` the number of the group (an index of ``names``);
    ``shapes`` has what the values of each key column look like.
    """

    keys: array[int] = field(default_factory=lambda: array("q"))
    contents: array[int] = field(default_factory=lambda: array("q"))
    groups: array[int] = field(default_factory=lambda: array("l"))
    names: dict[str, int] = field(default_factory=dict)
    shapes: list[Shapes] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.contents)


class Table:
    """Reads one table. ``found`` are the objections, ``rows`` what a difference needs, ``count`` the number of rows."""

    def __init__(self, contract: ContractSettings, *, wanted: bool, is_judged: bool = True) -> None:
        """``wanted``: whether a difference will be asked for, which costs 20 bytes for each row. ``is_judged``: whether anything
        else is asked of the rows, which are only kept otherwise.
        """
        self._is_judged = is_judged
        self.header: Row = []
        self.rows = Rows()
        self.count = 0
        self.found: list[Objection] = []
        self._contract = contract
        self._wanted = wanted
        self._kept: dict[str, int] = {}  # by code: its place in ``found``
        self._blank_at: int | None = None  # a blank line that may be the end
        self._has_long_rows = False  # whether a row of the batch goes over several lines
        self._columns: list[int] = []  # of a row, by their names: two files may have them in different orders
        self._key: tuple[int, ...] = ()
        self._group: int | None = None
        self._numbers: tuple[int, ...] = ()

    def _reader(self, lines: Iterable[str]) -> Iterator[Row]:
        contract = self._contract
        if contract.quotes:
            return csv.reader(lines, delimiter=contract.delimiter, strict=True)
        return csv.reader(lines, delimiter=contract.delimiter, quoting=csv.QUOTE_NONE, strict=True)

    def keyed(self, lines: Iterable[str]) -> Iterator[tuple[int, tuple[str, ...], Row]]:
        """Return line, key and fields of each row that ``read`` kept, for a table that it has read without raising."""
        reader = self._reader(lines)
        self._read_header(reader)
        before = self._line_num(reader)
        for row in reader:
            if len(row) == len(self.header) and any(row):
                yield before + 1, tuple(row[column] for column in self._key), row
            before = self._line_num(reader)

    def read(self, lines: Iterable[str]) -> None:
        """Read all rows. Raises what the stream raises; a table that is not one ends it by Unreadable."""
        reader = self._reader(lines)
        try:
            if not self._read_header(reader):
                return
            self._look_at_batches(reader)
        except csv.Error as error:
            self._object_to_quotes(self._line_num(reader), str(error))
            raise Unreadable from error
        self._finish()

    # -- header ------------------------------------------------------------------------------------------------------

    def _read_header(self, reader: Iterator[Row]) -> bool:
        """Read the first row; False if there is none. Raises Unreadable if the rows cannot be told by it."""
        self.header = next(reader, [])
        if not any(self.header):
            return False
        if len(self.header) > MOST_COLUMNS:
            self._object("table.fields", 1, found=len(self.header), expected=MOST_COLUMNS, excerpt=self._excerpt(self.header))
            raise Unreadable
        contract = self._contract
        line = self._excerpt(self.header)
        named = [plain_name(name) for name in self.header]
        if contract.header:
            self._look_at_header(named, line)
        if any(map(_is_hidden, self.header)):
            self._object("text.invisible", 1, excerpt=line)
        self._key = tuple(named.index(name) for name in contract.key if name in named)
        if len(self._key) < len(contract.key):
            self._key = ()
        self._columns = sorted(range(len(named)), key=named.__getitem__)
        self._group = named.index(contract.group) if contract.group in named else None
        self._numbers = tuple(named.index(name) for name in contract.numbers if name in named)
        return True

    def _look_at_header(self, named: Row, line: str) -> None:
        contract = self._contract
        wanted = contract.delimiter.join(contract.header)
        known = {*contract.header, *contract.optional}
        if len(named) == 1 and len(known) > 1 and (other := _other_delimiter(self.header[0], contract.delimiter)):
            names = {"found": _DELIMITERS[other], "expected": _DELIMITERS.get(contract.delimiter, contract.delimiter)}
            self.found.append(Objection(code="table.delimiter", line=1, details=names))
            raise Unreadable
        if not known & set(named) and not {name.casefold() for name in known} & {name.casefold() for name in named}:
            self._object("table.header_missing", 1, excerpt=line, expected=wanted)
            raise Unreadable
        for name in contract.header:
            if name not in named:
                self.found.append(Objection(code="table.column_missing", line=1, details={"column": name, "excerpt": line}))
        for number, name in enumerate(named):
            if name in named[:number]:
                self.found.append(Objection(code="table.column_doubled", line=1, details={"column": visible(name)}))
            elif name not in known and (contract.exact or contract.optional):
                details = {"column": visible(name), "excerpt": line}
                self.found.append(Objection(code="table.column_unknown", line=1, details=details))
        if contract.exact and set(named) == set(contract.header) and named != list(contract.header):
            self._object("table.column_order", 1, excerpt=line, expected=wanted)

    # -- rows --------------------------------------------------------------------------------------------------------

    def _look_at_batches(self, reader: Iterator[Row]) -> None:
        line = self._line_num(reader) + 1  # of the next row to be looked at
        held: list[Row] = []  # the last row, if it may be a trailer
        at_once = max(1, min(BATCH_ROWS, _FIELDS_AT_ONCE // len(self.header)))
        while batch := list(islice(reader, at_once)):
            following = self._line_num(reader) + 1
            batch = held + batch
            self._has_long_rows = following - line != len(batch)
            if self._contract.trailer:
                held = [batch.pop()]
                following -= _lines_of(held[0])
            self._look(batch, line)
            line = following
        if held:
            self._look_at_trailer(held[0], line)

    @staticmethod
    def _line_num(reader: Iterator[Row]) -> int:
        number: int = reader.line_num  # type: ignore[attr-defined]
        return number

    def _look(self, batch: list[Row], line: int) -> None:
        """Check rows; ``line`` is the first one's. Rows that are good cost a few operations of C each."""
        width, every = len(self.header), batch
        if [] in batch:
            self._look_between_blanks(batch, line)
            return
        if not batch:
            return
        if self._blank_at is not None:
            self._object("table.blank", self._blank_at)
            self._blank_at = None
        self.count += len(batch)
        if self.count > MOST_ROWS:
            self._object("amounts.too_many", line, found=self.count, limit=MOST_ROWS)
            raise Unreadable
        if set(map(len, batch)) != {width}:
            self._each(every, line, self._fields, good=False)
            batch = [row for row in batch if len(row) == width]
        if not self._is_judged:
            self._keep(batch if all(map(any, batch)) else [row for row in batch if any(row)])
            return
        starts = {value[:1] for value in set(map(_FIRST, batch))}
        if "" in starts and not all(map(any, batch)):
            self._each(every, line, self._emptiness, good=False)
            batch = [row for row in batch if any(row)]
        if starts & {" ", "\t", *self._contract.refused_starts}:
            self._each(every, line, self._start)
        if self._has_long_rows and not self._contract.cell_newlines:
            self._each(every, line, self._cell_newlines)
        if not self._contract.quotes and any('"' in text for text in map("".join, batch)):
            self._each(every, line, self._quotes)
        for column in self._numbers:
            values = set(map(itemgetter(column), batch))
            if not all(map(_is_number, values)):
                self._each(every, line, partial(self._number, column=column))
        if self._key:
            self._look_at_keys(batch, every, line)
        self._keep(batch)

    def _look_between_blanks(self, batch: list[Row], line: int) -> None:
        """Look at the rows between blank lines. At the end of a file those are nothing, before other rows an objection."""
        if not any(batch):
            self._blank_at = self._blank_at or line
            return
        rows: list[Row] = []
        begin = line
        for row in batch:
            if row:
                rows.append(row)
            else:
                self._look(rows, begin)
                rows, begin = [], line + 1
                if self._blank_at is None:
                    self._blank_at = line
            line += _lines_of(row)
        self._look(rows, begin)

    def _each(self, every: list[Row], line: int, look: Callable[[Row, int], None], *, good: bool = True) -> None:
        """Look at rows one by one, with their lines; ``good``: only at those that have all fields, and something in them."""
        for row in every:
            if not good or (len(row) == len(self.header) and any(row)):
                look(row, line)
            line += _lines_of(row)

    def _fields(self, row: Row, line: int) -> None:
        if len(row) != len(self.header):
            self._object("table.fields", line, found=len(row), expected=len(self.header), excerpt=self._excerpt(row))

    def _emptiness(self, row: Row, line: int) -> None:
        if len(row) == len(self.header) and not any(row):
            self._object("table.empty_row", line)

    def _start(self, row: Row, line: int) -> None:
        if row[0][:1] in {" ", "\t", *self._contract.refused_starts} and row[0]:
            self._object(
                "table.start", line, start=visible(row[0][:1]) if row[0][0].strip() else "a blank", excerpt=self._excerpt(row)
            )

    def _cell_newlines(self, row: Row, line: int) -> None:
        if (lines := _lines_of(row)) > 1:
            self._object("table.cell_newline", line, lines=lines, excerpt=self._excerpt(row))

    def _quotes(self, row: Row, line: int) -> None:
        if any('"' in value for value in row):
            self._object("table.quotes", line, excerpt=self._excerpt(row))

    def _number(self, row: Row, line: int, column: int) -> None:
        if not _is_number(row[column]):
            self._object("table.number", line, column=self.header[column], excerpt=visible(row[column]))

    def _look_at_keys(self, batch: list[Row], every: list[Row], line: int) -> None:
        limit = self._contract.max_key_length
        for column in self._key:
            lengths = set(map(len, map(itemgetter(column), batch)))
            if 0 in lengths or max(lengths, default=0) > limit:
                self._each(every, line, partial(self._key_field, column=column))

    def _key_field(self, row: Row, line: int, column: int) -> None:
        if not row[column]:
            self._object("keys.empty", line, column=self.header[column], excerpt=self._excerpt(row))
        elif len(row[column]) > self._contract.max_key_length:
            limit = self._contract.max_key_length
            self._object("keys.length", line, column=self.header[column], limit=limit, excerpt=visible(row[column]))

    def _keep(self, batch: list[Row]) -> None:
        rows = self.rows
        if self._key:
            rows.keys.extend(map(hash, map(itemgetter(*self._key), batch)))
        if not self._wanted:
            return
        rows.shapes = rows.shapes or [Shapes() for _ in self._key]
        for column, shapes in zip(self._key, rows.shapes, strict=True):
            shapes.look(list(map(itemgetter(column), batch)))
        rows.contents.extend(map(hash, map(itemgetter(*self._columns), batch)))
        if self._group is not None:
            names = rows.names
            values = list(map(itemgetter(self._group), batch))
            for name in set(values):
                names.setdefault(name, len(names))
            rows.groups.extend(map(names.__getitem__, values))

    # -- end ---------------------------------------------------------------------------------------------------------

    def _look_at_trailer(self, row: Row, line: int) -> None:
        text = self._contract.delimiter.join(row)
        try:
            match = patterns.search(patterns.compiled(rf"\A(?:{self._contract.trailer})\Z"), text, _TRAILER_SECONDS)
        except patterns.TookTooLong:
            match = None
        if match is None:
            self._look([row], line)
            self._object("amounts.trailer_missing", line, excerpt=visible(text))
            return
        said = match.groupdict().get("rows")
        if said is not None and said.isdecimal() and int(said) != self.count:
            self._object("amounts.trailer", line, expected=int(said), found=self.count)

    def _finish(self) -> None:
        self.found.sort(key=lambda objection: objection.line or 0)

    def _object_to_quotes(self, line: int, error: str) -> None:
        if "unexpected end" in error or "field larger" in error:
            self._object("table.quote_open", line)
        else:
            self._object("table.quote_stray", line, excerpt=error)

    def _object(self, code: str, line: int, **details: str | int) -> None:
        """Keep the first objection of each code, and count the others."""
        if code in self._kept:
            place = self._kept[code]
            first = self.found[place]
            self.found[place] = Objection(code=code, line=first.line, count=first.count + 1, details=first.details)
            return
        self._kept[code] = len(self.found)
        self.found.append(Objection(code=code, line=line, details=details))

    def _excerpt(self, row: Sequence[str]) -> str:
        return visible(self._contract.delimiter.join(row))


def _lines_of(row: Row) -> int:
    """Return how many lines a row takes: a quoted field may have line ends in it."""
    text = "".join(row)
    ends = text.count("\n") + text.count("\r") - text.count("\r\n")
    return 1 + ends


def _is_number(value: str) -> bool:
    return not value or _NUMBER.fullmatch(value) is not None


def _is_hidden(name: str) -> bool:
    return name != name.strip() or any(
        unicodedata.category(character) in ("Cf", "Cc", "Zs") and character != " " for character in name
    )


def plain_name(name: str) -> str:
    """Return the name of a column without what cannot be seen."""
    return (
        "".join(character for character in name if unicodedata.category(character) not in ("Cf", "Cc"))
        .replace("\xa0", " ")
        .strip()
    )


def _other_delimiter(text: str, expected: str) -> str | None:
    counts = {character: text.count(character) for character in _DELIMITERS if character != expected}
    best = max(counts, key=lambda character: counts[character])
    return best if counts[best] else None
