"""The rows that a tool rejected, as they are in the claimed file: for the report, and for the file that gives them back.

Rows are counted as the tool counts them: lines, or records of CSV. Lines end with a line feed, or with a carriage return in a
file that has no line feed (old Macintosh programs). A file in UTF-16 is read in UTF-8, and given back in UTF-16. Everything is
bounded: a row that is too long is left out, never cut. Blocks.
"""

from __future__ import annotations

import codecs
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from sftpgate.policy.texts import unmarked_utf16
from sftpgate.runners.run_directories import RunDirectory
from sftpgate.settings.choices import RowNumbers

_PIECE_BYTES = 64 * 1024
_CONTINUED_LINES = 100  # of one row with line ends in its cells; more is an open quote
_ROW_BYTES = 1024 * 1024  # of one row; a longer one is left out
_HEAD_BYTES = 1024  # that tell how a file is written
_GIVEN_BACK_BYTES = 64 * 1024 * 1024  # of all rejected rows, which are in memory for a moment

# Of a file of rejected rows that a command wrote itself: each row of its input once, with as much again for why; a small file may
# be a compressed one. More than that is no file of rejected rows, and would fill the disk twice.
_TRYBACK_TIMES = 2
_LEAST_TRYBACK_BYTES = 64 * 1024 * 1024

_UTF_16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    """How the lines of a file are written: ``mark`` and ``codec`` of UTF-16, empty if it is none, and what ends a line."""

    mark: bytes = b""
    codec: str = ""
    newline: bytes = b"\n"


def _form_of(file: BinaryIO) -> _Form:
    file.seek(0)
    head = file.read(_HEAD_BYTES)
    mark = head[:2] if head[:2] in _UTF_16 else b""
    codec = _UTF_16[mark] if mark else unmarked_utf16(head)
    form = _Form(mark=mark, codec=codec)
    file.seek(0)
    start = next(_text(file, form), b"")
    return _Form(mark=form.mark, codec=codec, newline=b"\r" if b"\r" in start and b"\n" not in start else b"\n")


def _text(file: BinaryIO, form: _Form) -> Iterator[bytes]:
    """Yield the content of a file in pieces, in UTF-8 if it is in UTF-16; it ends at what is no UTF-16."""
    file.seek(len(form.mark))
    if not form.codec:
        while chunk := file.read(_PIECE_BYTES):
            yield chunk
        return
    decoder = codecs.getincrementaldecoder(form.codec)(errors="surrogatepass")
    try:
        while chunk := file.read(_PIECE_BYTES):
            yield decoder.decode(chunk).encode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return


def _lines(file: BinaryIO, form: _Form) -> Iterator[bytes]:
    """Yield the lines of a file with their ends; a very long one comes in pieces."""
    if form == _Form():
        file.seek(0)
        while line := file.readline(_PIECE_BYTES):
            yield line
        return
    rest = b""
    for piece in _text(file, form):
        *ended, rest = (rest + piece).split(form.newline)
        yield from (line + form.newline for line in ended)
        if len(rest) >= _PIECE_BYTES:
            yield rest
            rest = b""
    if rest:
        yield rest


def rejected_rows(
    directory: RunDirectory, lines: Collection[int], row_numbers: RowNumbers = RowNumbers.LINES
) -> dict[int, bytes]:
    """Return those rows of the claimed file, by their numbers from 1, as they are in it or in UTF-8; what is not in the file, or
    too long to be given back, is left out.

    A row whose quotes are open goes on in the lines after it.
    """
    source = directory.claimed_file() if lines else None
    if source is None:
        return {}
    with source as file:
        form = _form_of(file)
        if row_numbers is RowNumbers.RECORDS:
            return _chosen(_records(_lines(file, form), form.newline), frozenset(lines))
        return _picked(_lines(file, form), frozenset(lines), form.newline)


def _chosen(records: Iterable[bytes], wanted: Collection[int]) -> dict[int, bytes]:
    """Return the records with these numbers, counted from 1; one that is too long, or too much for memory, is left out."""
    found: dict[int, bytes] = {}
    left = _GIVEN_BACK_BYTES
    for number, record in enumerate(records, start=1):
        if number in wanted and len(record) < _ROW_BYTES:
            left -= len(record)
            if left <= 0:
                break
            found[number] = record
        if number >= max(wanted):
            break
    return found


def _records(pieces: Iterable[bytes], newline: bytes) -> Iterator[bytes]:
    """Yield the records of a CSV file, as PHP's and Python's readers see them; blank lines are none.

    An open quote goes on, to the end of the file if it is never closed. Of a very long record only the beginning is kept.
    """
    record, quotes = b"", 0
    for piece in pieces:
        if not record and not piece.strip():
            continue
        record += piece[: max(_ROW_BYTES - len(record), 0)]
        quotes += piece.count(b'"')
        if quotes % 2 == 0 and piece.endswith(newline):
            yield record
            record, quotes = b"", 0
    if record:
        yield record


def _picked(pieces: Iterable[bytes], wanted: Collection[int], newline: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    last, left = max(wanted), _GIVEN_BACK_BYTES
    number, row, is_new = 0, 0, True  # ``row``: the wanted one that goes on; 0: none
    for piece in pieces:
        if is_new:
            number += 1
            if row and (found[row].count(b'"') % 2 == 0 or number - row > _CONTINUED_LINES):
                row = 0
            if number in wanted:
                row, found[number] = number, b""
            elif not row and number > last:
                break
        if row and len(found[row]) < _ROW_BYTES:
            found[row] += piece
            left -= len(piece)
            if left <= 0:
                del found[row]  # half of a row is none
                break
        is_new = piece.endswith(newline)
    whole = {at: content for at, content in found.items() if len(content) < _ROW_BYTES}
    return {at: _first_line(content, newline) if content.count(b'"') % 2 else content for at, content in whole.items()}


def _first_line(content: bytes, newline: bytes) -> bytes:
    """Return the first line of a row whose quote was never closed: the lines behind it are rows of their own."""
    return content.split(newline, 1)[0] + newline


def most_given_back(size: int) -> int:
    """Return how many bytes are kept of the rejected rows that a command wrote itself, for a claimed file of this size."""
    return max(_LEAST_TRYBACK_BYTES, _TRYBACK_TIMES * size)


def count_given_back(
    tryback: BinaryIO, directory: RunDirectory, *, header: bool, row_numbers: RowNumbers = RowNumbers.LINES, most: int
) -> int:
    """Return how many rows a command wrote to the file of rejected rows, of which ``most`` bytes are looked at; the header of the
    claimed file is none.
    """
    form = _form_of(tryback)
    rows: Iterator[bytes] = _up_to(_lines(tryback, form), most)
    if row_numbers is RowNumbers.RECORDS:
        rows = _records(rows, form.newline)
    first, count, is_new = b"", 0, True
    for row in rows:
        if is_new and row.strip():
            first, count = first or row, count + 1
        is_new = row.endswith(form.newline)
    return count - (header and count > 0 and _bare(first) == _bare(_first_row(directory)))


def _up_to(pieces: Iterable[bytes], most: int) -> Iterator[bytes]:
    for piece in pieces:
        most -= len(piece)
        if most < 0:
            return
        yield piece


def _first_row(directory: RunDirectory) -> bytes:
    """Return the first line of the claimed file, in UTF-8."""
    source = directory.claimed_file()
    if source is None:
        return b""
    with source as file:
        return next(_lines(file, _form_of(file)), b"")


def _bare(line: bytes) -> bytes:
    return line.removeprefix(codecs.BOM_UTF8).strip()


def given_back(
    directory: RunDirectory, found: dict[int, bytes], *, header: bool, row_numbers: RowNumbers = RowNumbers.LINES
) -> Iterator[bytes]:
    """Yield the content of a file that has the rejected rows, to be corrected and sent again, in the form of the claimed one."""
    rows = [found[line] for line in sorted(found) if not (header and line == 1)]
    source = directory.claimed_file() if rows else None
    if source is None:
        return
    with source as file:
        form = _form_of(file)
        yield form.mark
        if header:
            lines = _lines(file, form)
            rows.insert(0, next(_records(lines, form.newline) if row_numbers is RowNumbers.RECORDS else lines, b""))
    for row in rows:
        ended = row if row.endswith((b"\n", b"\r")) else row + form.newline
        yield ended.decode("utf-8", "surrogatepass").encode(form.codec, "surrogatepass") if form.codec else ended
