"""What a run says of itself: its result and its output, read after its end (``policy.outcome``).

Everything is bounded: a result that is too long is none, a line of output is cut, and rejected rows beyond a number are counted
only. What cannot be read is a notice, never an error: the run is over, and its end is to be recorded. Blocks.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from typing import BinaryIO

from sftpgate.logs import get_logger
from sftpgate.policy.disclosure import public_line
from sftpgate.policy.outcome import (
    MAX_LINE_CHARACTERS,
    MAX_RESULT_BYTES,
    NOTHING_STATED,
    OutputReader,
    OutputRules,
    ResultInvalid,
    Statement,
    parse_result,
)
from sftpgate.runners.directories import RunDirectory
from sftpgate.settings import RowNumbers

log = get_logger("runner")

_LINE_BYTES = 64 * 1024  # of output that is looked at in one piece
_CONTINUED_LINES = 100  # of one row with line ends in its cells; more is an open quote
_ROW_BYTES = 1024 * 1024  # of one row; a longer one is left out
_GIVEN_BACK_BYTES = 64 * 1024 * 1024  # of all rejected rows, which are in memory for a moment


def statement_of(directory: RunDirectory, rules: OutputRules, encoding: str) -> Statement:
    """What a run says of itself. The result decides; where there is none, the output does.

    A result that cannot be understood means that nobody knows what was done: the run has failed.
    """
    said = _output_says(directory, rules, encoding) if rules.are_there else NOTHING_STATED
    with_result = directory.written_result()
    if with_result is None and not directory.has_unusable_result():
        return said
    try:
        if with_result is None:
            raise ResultInvalid("it is no regular file, or cannot be read")
        with with_result as file:
            content = file.read(MAX_RESULT_BYTES + 1)
        if len(content) > MAX_RESULT_BYTES:
            raise ResultInvalid(f"it is longer than {MAX_RESULT_BYTES} bytes")
        result = parse_result(content)
    except ResultInvalid as error:
        problem = f"what the command wrote to SFTPGATE_RESULT cannot be used: {error}"
        return replace(said, failed=said.failed or problem, notices=(*said.notices, problem))
    return replace(result, failed=result.failed or said.failed, not_the_file=result.not_the_file or said.not_the_file)


def _output_says(directory: RunDirectory, rules: OutputRules, encoding: str) -> Statement:
    output = directory.written_output()
    if output is None:
        return NOTHING_STATED
    reader = OutputReader(rules)
    with output as file:
        for line in lines_of(file):
            reader.feed(line[: MAX_LINE_CHARACTERS * 4].decode(encoding or "utf-8", "replace").rstrip("\r\n"))
    return reader.end()


def lines_of(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file with their ends; a very long one comes in pieces."""
    while line := file.readline(_LINE_BYTES):
        yield line


def public_lines(output: BinaryIO) -> Iterator[bytes]:
    """What its sender may read of an output, if the report is a summary."""
    return (shown for line in lines_of(output) if (shown := public_line(line)) is not None)


def hides_something(output: BinaryIO) -> bool:
    """Whether an output has what its sender may not read. Leaves it at its beginning."""
    try:
        return any(public_line(line) != line for line in lines_of(output))
    finally:
        output.seek(0)


# -- rejected rows -----------------------------------------------------------------------------------------------------------


def rejected_rows(
    directory: RunDirectory, lines: Collection[int], row_numbers: RowNumbers = RowNumbers.LINES
) -> dict[int, bytes]:
    """Those lines of the claimed file, as they are in it, by their numbers from 1; what is not in the file, or
    too long to be given back, is left out.

    A row whose quotes are open goes on in the lines after it.
    """
    source = directory.claimed_file() if lines else None
    if source is None:
        return {}
    with source as file:
        if file.read(2) in (b"\xff\xfe", b"\xfe\xff"):
            return {}  # UTF-16: its lines are not what stands between line feeds
        file.seek(0)
        if row_numbers is RowNumbers.RECORDS:
            return _chosen(_records(lines_of(file)), frozenset(lines))
        return _picked(lines_of(file), frozenset(lines))


def _chosen(records: Iterable[bytes], wanted: Collection[int]) -> dict[int, bytes]:
    """The records with these numbers, counted from 1; one that is too long, or that memory has no place for, is left out."""
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


def _records(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The records of a CSV file, as PHP's and Python's readers see them; blank lines are none.

    An open quote goes on, to the end of the file if it is never closed. Of a very long record only the beginning is kept.
    """
    record, quotes = b"", 0
    for piece in pieces:
        if not record and not piece.strip():
            continue
        record += piece[: max(_ROW_BYTES - len(record), 0)]
        quotes += piece.count(b'"')
        if quotes % 2 == 0 and piece.endswith(b"\n"):
            yield record
            record, quotes = b"", 0
    if record:
        yield record


def _picked(pieces: Iterable[bytes], wanted: Collection[int]) -> dict[int, bytes]:
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
        is_new = piece.endswith(b"\n")
    whole = {at: content for at, content in found.items() if len(content) < _ROW_BYTES}
    return {at: _first_line(content) if content.count(b'"') % 2 else content for at, content in whole.items()}


def _first_line(content: bytes) -> bytes:
    """The first line of a row whose quote was never closed: the lines behind it are rows of their own."""
    return content.split(b"\n", 1)[0] + b"\n"


def given_back(
    directory: RunDirectory, found: dict[int, bytes], *, header: bool, row_numbers: RowNumbers = RowNumbers.LINES
) -> Iterator[bytes]:
    """The content of a file that has the rejected rows, ready to be corrected and sent again."""
    rows = [found[line] for line in sorted(found) if not (header and line == 1)]
    if not rows:
        return
    if header and (source := directory.claimed_file()) is not None:
        with source as file:
            yield _ended(next(_records(lines_of(file)), b"") if row_numbers is RowNumbers.RECORDS else file.readline())
    yield from map(_ended, rows)


def _ended(line: bytes) -> bytes:
    return line if line.endswith((b"\n", b"\r")) else line + os.linesep.encode()
