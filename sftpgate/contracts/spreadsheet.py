"""CSV files that people open in a spreadsheet: nothing in them is taken for a formula, and letters with accents are read.

A file that came from outside can have a cell such as ``=HYPERLINK(…)``, which a spreadsheet would execute for whoever opens a
list of its rows. Such a cell gets an apostrophe in front, as OWASP advises ("CSV Injection"); numbers stay numbers. Every cell is
quoted, so that a spreadsheet which splits at another character finds no new cell inside of one. A mark at the beginning says that
the text is UTF-8: without it Excel reads it as the code page of its machine.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from typing import TextIO

ENCODING = "utf-8-sig"  # of the file: UTF-8 with a mark
LINE_END = "\r\n"  # RFC 4180

_BEGINNINGS = tuple("=+-@\t\r\n|%\uff1d\uff0b\uff0d\uff20")  # the last ones are full-width forms, which some take as the others
_NUMBER = re.compile(r"[+-]?\d+(?:[.,]\d+)?%?")


def harmless(value: str) -> str:
    """Return a cell that no spreadsheet takes for a formula: the value, or the value behind an apostrophe."""
    begins_so = value.startswith(_BEGINNINGS) or value.lstrip().startswith(_BEGINNINGS)
    return f"'{value}" if begins_so and _NUMBER.fullmatch(value) is None else value


def write(out: TextIO, header: Sequence[str], rows: Iterable[Sequence[str]], *, delimiter: str) -> int:
    """Write a table to ``out``, which was opened with ``ENCODING`` and no translation of line ends; return how many rows."""
    writer = csv.writer(out, delimiter=delimiter, quoting=csv.QUOTE_ALL, lineterminator=LINE_END)
    writer.writerow([harmless(name) for name in header])
    count = 0
    for count, row in enumerate(rows, 1):  # noqa: B007 - the number of the last one is returned
        writer.writerow([harmless(value) for value in row])
    return count
