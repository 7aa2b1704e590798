"""How a text ends: with its last line, inside one, or where no line of it ends (promise P1).

Pure and bounded: looks at the beginning and the end of a file, given as its size and a function that reads a piece of it.
These are signs, and no proof: a text may end as it likes. They count if the way of the bytes leaves it open.
"""

from __future__ import annotations

import csv
import re
from enum import Enum

from sftpgate.policy.formats import Read

SAMPLE_BYTES = 4096  # in front and in the middle
END_BYTES = 64 * 1024
_LEAST_LINES = 3  # of which a rule is made
_LONGEST_FIELD, _LONGEST_FIELD_LINES = 4096, 20
_LEAST_BLOCKS, _LOOKS = 16, 64  # blocks that are needed to tell, and that are looked at
_UTF_16_SAMPLE, _FEWEST_PAIRS, _MOST_ARE_ZERO = 200, 4, 0.9
_DELIMITERS = (",", ";", "\t", "|")


class TextEnd(Enum):
    """How a text ends."""

    NO_TEXT = "no text"
    LINE = "at the end of a line"
    INSIDE_LINE = "inside a line"
    RAGGED = "where no line before ends"  # inside a record, or with fewer fields than every line before


def ending(size: int, read: Read) -> TextEnd:
    """Return how the file ends."""
    start = max(0, size - END_BYTES)
    end = read(start, END_BYTES)
    head = end if start == 0 else read(0, SAMPLE_BYTES)
    if not end:
        return TextEnd.LINE
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return _ending_of_utf16(head, end, start)
    if b"\0" in head or b"\0" in end[-SAMPLE_BYTES:] or b"\0" in read(size // 2, SAMPLE_BYTES):
        return TextEnd.NO_TEXT
    return _ending_of_lines(end, whole=start == 0)


def _ending_of_utf16(head: bytes, end: bytes, start: int) -> TextEnd:
    """Return the same of its characters; a pair that is cut in the middle cannot be decoded."""
    codec = "utf-16-le" if head.startswith(b"\xff\xfe") else "utf-16-be"
    if len(end) % 2 or 0xD800 <= int.from_bytes(end[-2:], "little" if codec.endswith("le") else "big") < 0xDC00:
        return TextEnd.RAGGED
    text = end.decode(codec, "replace").removeprefix("\ufeff")
    return _ending_of_lines(text.encode("utf-8", "replace"), whole=start == 0)


def _ending_of_lines(end: bytes, *, whole: bool) -> TextEnd:
    """Say the same of what ends a text; ``whole``: it is all of it."""
    if end.endswith(b"\r"):
        end += b"\n"  # the line ends of old Macintoshes, or the first half of another's
    lines = end.split(b"\n")
    before, last = lines[:-1] if whole else lines[1:-1], lines[-1]
    if len(before) < _LEAST_LINES:
        return TextEnd.INSIDE_LINE if last else TextEnd.LINE
    lengths = {len(line) + 1 for line in before}
    if last and len(lengths) == 1 and len(before) > 2 * _LEAST_LINES:  # records of one length
        [length] = lengths
        if len(last) in (length, length - 1, length - 2):  # the last one may do without its line end
            return TextEnd.LINE
        return TextEnd.RAGGED if len(last) < length else TextEnd.INSIDE_LINE
    counts, _ = _fields(before, last)
    if last and _is_regular(counts[:-1]) and counts[-1] < min(counts[:-1]):
        return TextEnd.RAGGED
    return TextEnd.INSIDE_LINE if last else TextEnd.LINE


def _fields(before: list[bytes], last: bytes) -> tuple[list[int], bool]:
    """Return how many fields each record has, and whether the last one ends inside a quoted field: that one is not counted."""
    first = before[0].decode("latin-1")
    delimiter = max(_DELIMITERS, key=first.count)
    if delimiter not in first:
        return [], False
    rows = csv.reader((line.decode("latin-1") + "\n" for line in [*before, last] if line), delimiter=delimiter, strict=True)
    counts: list[int] = []
    try:
        counts.extend(len(row) for row in rows)  # those before an error are kept
    except csv.Error as error:
        return counts, "unexpected end of data" in str(error)
    return counts, False


def _is_regular(counts: list[int]) -> bool:
    return len(counts) >= _LEAST_LINES and min(counts) > 1


def unmarked_utf16(head: bytes) -> str:
    """Return the codec of a beginning that is UTF-16 of Latin letters without a mark; empty if it is not.

    Nearly every second byte of it is NUL, and none of the others is.
    """
    even, odd = head[0:_UTF_16_SAMPLE:2], head[1:_UTF_16_SAMPLE:2]
    if len(odd) < _FEWEST_PAIRS:
        return ""
    for codec, zeros, letters in (("utf-16-le", odd, even), ("utf-16-be", even, odd)):
        if zeros.count(0) > _MOST_ARE_ZERO * len(zeros) and not letters.count(0):
            return codec
    return ""


def ends_on_purpose(size: int, block: int, read: Read) -> bool:
    """Return whether a text ends with a line, though blocks of ``block`` bytes, counted back from its end, hardly ever do:
    whoever broke off behind a block would have met the end of a line by chance only. Records whose length divides the block
    prove nothing, and a few blocks neither.
    """
    if size // block < _LEAST_BLOCKS or not _ends_line(size, read):
        return False
    ends = _ends_of_blocks(size, block, read)
    return sum(ends) * _LEAST_BLOCKS <= len(ends)


def ends_line_by_choice(size: int, block: int, read: Read) -> bool:
    """Return the same of a text of few blocks or many, as its last lines tell: they are long, of different lengths, and no block
    ends one.
    """
    if not block or not _ends_line(size, read) or any(_ends_of_blocks(size, block, read)):
        return False
    end = read(max(0, size - END_BYTES), END_BYTES)
    lengths = [len(line) for line in end.split(b"\n")[1:-1]]
    return len(set(lengths)) > 1 and len(end) >= _LEAST_BLOCKS * len(lengths)


def blocks_end_lines(size: int, block: int, read: Read) -> bool:
    """Return whether nearly all blocks of ``block`` bytes end a line, the last one among them."""
    ends = _ends_of_blocks(size, block, read)
    return _ends_line(size, read) and sum(ends) * _LEAST_BLOCKS >= len(ends) * (_LEAST_BLOCKS - 1)


def _ends_line(size: int, read: Read) -> bool:
    """Return whether a text ends with a line."""
    return size > 0 and read(size - 1, 1) == b"\n" and b"\0" not in read(max(0, size - SAMPLE_BYTES), SAMPLE_BYTES)


def _ends_of_blocks(size: int, block: int, read: Read) -> list[bool]:
    """Return of some of the blocks, counted back from the end, whether they end a line; the last one is not among them."""
    blocks = -(-size // block)
    return [read(size - number * block - 1, 1) == b"\n" for number in range(1, blocks, max(1, blocks // _LOOKS))]


def breaks_off(size: int, read: Read) -> str:
    """Return what a text ends inside of: a quoted field of a CSV file or a character of UTF-8, if no whole file ends; or empty.

    Cheap if there is nothing to find: it is asked of every upload.
    """
    end = read(max(0, size - _LONGEST_FIELD), _LONGEST_FIELD)
    if end[-4:].isascii() and b'"' not in end:
        return ""
    start = max(0, size - END_BYTES)
    end = read(start, END_BYTES)
    if end[-4:].isascii() and not end.count(b'"') % 2:
        return ""
    if b"\0" in end[-SAMPLE_BYTES:] or end.startswith((b"\xff\xfe", b"\xfe\xff")):
        return ""
    lines = end.split(b"\n")
    before, last = lines[:-1] if start == 0 else lines[1:-1], lines[-1]
    if len(before) < _LEAST_LINES:
        return ""
    if _is_inside_character(before, last):
        return "UTF-8"
    counts, is_inside = _fields(before, last)
    # a field that has begun long before is a stray quote: whatever follows one is its content for a parser
    is_near = b'"' in end[-_LONGEST_FIELD:] and len(before) - len(counts) <= _LONGEST_FIELD_LINES
    return "CSV" if is_inside and is_near and _is_regular(counts) else ""


def _is_inside_character(before: list[bytes], last: bytes) -> bool:
    """Return whether a text in UTF-8 (that is, with at least one character of several bytes) ends inside one."""
    try:
        b"\n".join([*before, last]).decode()
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data" and any(byte > 0x7F for line in before for byte in line)
    return False


def last_line_ends(size: int, read: Read) -> bool | None:
    """Return whether a text ends with a line end; None if it is no text, or empty."""
    found = ending(size, read)
    if not size or found is TextEnd.NO_TEXT:
        return None
    return re.search(rb"\n\0?\Z", read(max(0, size - 2), 2)) is not None
