"""What the commands print: a table for a person on a terminal, aligned text for a pipe, JSON for a script.

The three say the same. JSON carries every field of a row, the other two only the columns asked for. Text that came from a client
is data: control characters in it are shown as escapes, so that a file name cannot paint the terminal. Nothing here fails on a
name that is not UTF-8.
"""

from __future__ import annotations

import json as json_module
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from itertools import islice
from pathlib import PurePath
from typing import TextIO

from sftpgate.logs import printable

_BLOCK = 1000  # rows that are printed together, their columns aligned

Row = Mapping[str, object]


def emit(rows: Iterable[Row], columns: Sequence[str], *, json: bool = False, out: TextIO | None = None) -> None:
    """Print a listing: one row per thing, ``columns`` naming the keys to show. With ``json``, a list of objects with all keys.

    Rows are printed as they come, some hundreds at a time: there may be a million.
    """
    stream = out or sys.stdout
    if json:
        _write_json_list(map(_json_row, rows), stream)
        return
    print_rows = _print_table if stream.isatty() else _print_plain
    remaining, is_first = iter(rows), True
    while (block := list(islice(remaining, _BLOCK))) or is_first:
        print_rows(block, columns, stream, heads=is_first)
        is_first = False


def emit_record(record: Row, *, json: bool = False, out: TextIO | None = None) -> None:
    """Print one thing, a line per field. With ``json``, one object."""
    stream = out or sys.stdout
    if json:
        _write_json(_json_row(record), stream)
        return
    width = max((len(heading(key)) for key in record), default=0)
    for key, value in record.items():
        print(f"{heading(key):<{width}}  {shown(value)}".rstrip(), file=stream)


def heading(key: str) -> str:
    """Return the words of a key: ``received_at`` is headed ``received at``."""
    return key.replace("_", " ")


def shown(value: object) -> str:
    """Return ``value`` as a person reads it, on one line. Times are UTC, to the second."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case datetime():
            return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        case Enum():
            return shown(value.value)
        case list() | tuple() | set() | frozenset():
            return ", ".join(shown(item) for item in value)
        case Mapping():
            return ", ".join(f"{shown(key)}={shown(item)}" for key, item in value.items())
        case _:
            return printable(str(value))


def jsonable(value: object) -> object:
    """Return ``value`` as JSON knows it: times in ISO 8601 with milliseconds and Z, paths as text."""
    match value:
        case None | bool() | int() | float():
            return value
        case datetime():
            return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        case Enum():
            return jsonable(value.value)
        case PurePath():
            return str(value)
        case Mapping():
            return _json_row(value)
        case list() | tuple():
            return [jsonable(item) for item in value]
        case set() | frozenset():
            return sorted((jsonable(item) for item in value), key=str)
        case _:
            return str(value)


def _json_row(row: Mapping[str, object]) -> dict[str, object]:
    return {str(key): jsonable(value) for key, value in row.items()}


def _write_json(value: object, stream: TextIO) -> None:
    # ASCII: it carries bytes that are not UTF-8 unharmed, and can be shown on any terminal
    print(json_module.dumps(value, indent=2, ensure_ascii=True), file=stream)


def _write_json_list(values: Iterable[object], stream: TextIO) -> None:
    """Write what ``_write_json`` prints of a list, value by value."""
    before = "["
    for value in values:
        text = json_module.dumps(value, indent=2, ensure_ascii=True).replace("\n", "\n  ")
        print(f"{before}\n  {text}", end="", file=stream)
        before = ","
    print("[]" if before == "[" else "\n]", file=stream)


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _numeric(rows: Sequence[Row], column: str) -> bool:
    """Return whether a column holds numbers only, and at least one: those are aligned to the right."""
    values = [row.get(column) for row in rows]
    return all(map(_is_number, values)) and any(value is not None for value in values)


def _print_plain(rows: Sequence[Row], columns: Sequence[str], stream: TextIO, *, heads: bool) -> None:
    if not rows:
        return
    table = [[heading(column) for column in columns]] * heads + [[shown(row.get(column)) for column in columns] for row in rows]
    widths = [max(map(len, cells)) for cells in zip(*table, strict=True)]
    right = [_numeric(rows, column) for column in columns]
    for line in table:
        cells = (
            cell.rjust(width) if numeric else cell.ljust(width) for cell, width, numeric in zip(line, widths, right, strict=True)
        )
        print("  ".join(cells).rstrip(), file=stream)


def _print_table(rows: Sequence[Row], columns: Sequence[str], stream: TextIO, *, heads: bool) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=stream)
    if not rows:
        console.print("nothing to list", style="dim")
        return
    table = Table(box=None, pad_edge=False, show_header=heads, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(heading(column), justify="right" if _numeric(rows, column) else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(shown(row.get(column))) for column in columns))
    console.print(table)
