"""Formats that carry their own end: whether a file of one is whole, by its content and never by its name (promise P1).

Pure: a file is given as its size and a function that reads a piece of it. Reads are bounded, whatever the size; what would take
longer is left open, and something else decides. A file that is whole stays whole: no beginning of it is taken for one, but for
what its format allows as an end (blanks after JSON, a PDF before its last revision, the first of several gzip members).

Sources: RFC 1952 (gzip), APPNOTE.TXT 4.3 (zip), the bzip2 and xz file format documents, RFC 8878 (zstd), ISO 32000 7.5.5 (PDF),
the Parquet format's README, RFC 8259 (JSON), XML 1.0 2.1.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from xml.parsers import expat

Read = Callable[[int, int], bytes]  # offset and length; fewer bytes at the end of the file

HEAD_BYTES = 64  # enough for every magic number, a mark and some blanks
# What is read of one file: some 10 to 20 ms, in the thread that others' uploads wait for.
_GZIP_BYTES = 1024 * 1024
_INFLATED_BYTES = 4 * 1024 * 1024
_JSON_BYTES = 256 * 1024  # the parser lets no other thread run: 2 ms
_XML_BYTES = 1024 * 1024
_XML_CHUNK = 64 * 1024
_ZSTD_BLOCKS = 4096  # of 128 KiB at most
_ZIP_END_BYTES = 22 + 65535  # the end of central directory and the longest comment
_PDF_END_BYTES = 1024
_END_BYTES = 4096


class Wholeness(Enum):
    """What a file's content says."""

    WHOLE = "whole"
    CUT = "cut"
    OPEN = "open"  # nothing


@dataclass(frozen=True, slots=True)
class FormatFinding:
    """What was found, and in which format."""

    wholeness: Wholeness
    format: str = ""


NOTHING = FormatFinding(Wholeness.OPEN)


def examine(size: int, read: Read) -> FormatFinding:
    """Return whether a file is whole, as far as its content has a format that tells."""
    head = read(0, HEAD_BYTES)
    for magic, name, check in _BINARY:
        if magic.match(head):
            return FormatFinding(check(size, read), name)
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n")
    if text[:1] in (b"{", b"["):
        return FormatFinding(_json(size, read), "JSON")
    if text.startswith(b"<?xml") or re.match(rb"<[A-Za-z_!]", text):
        return FormatFinding(_xml(size, read), "XML")
    return NOTHING


def _told(whole: bool) -> Wholeness:
    return Wholeness.WHOLE if whole else Wholeness.CUT


# -- compressed ------------------------------------------------------------------------------------------------------


def _gzip(size: int, read: Read) -> Wholeness:
    """Look whether all members are there, with their trailers. Only zeros may follow."""
    if size > _GZIP_BYTES:
        return Wholeness.OPEN
    rest = read(0, size)
    inflated = 0
    while rest:
        member = zlib.decompressobj(wbits=31)
        while rest and not member.eof:
            try:
                inflated += len(member.decompress(rest, _INFLATED_BYTES // 8))
            except zlib.error:
                return Wholeness.OPEN  # no gzip, or a broken one: that is not for us to say
            rest = member.unconsumed_tail
            if inflated > _INFLATED_BYTES:
                return Wholeness.OPEN
        if not member.eof:
            return Wholeness.CUT
        rest = member.unused_data
        if not rest.strip(b"\0"):
            return Wholeness.WHOLE
        if not b"\x1f\x8b\x08".startswith(rest[:3]):
            return Wholeness.OPEN  # something else follows
    return Wholeness.CUT


_BZIP2_END = 0x177245385090  # sqrt(pi), before the checksum of the whole; blocks begin anywhere in a byte


def _bzip2(size: int, read: Read) -> Wholeness:
    end = read(max(0, size - 11), 11)
    number = int.from_bytes(end, "big")
    return _told(
        any(number >> (32 + unused) & 0xFFFFFFFFFFFF == _BZIP2_END and not number & ((1 << unused) - 1) for unused in range(8))
    )


def _xz(size: int, read: Read) -> Wholeness:
    flags = read(6, 2)
    end = size
    for _ in range(_END_BYTES // 4):  # padding: groups of four zeros
        if end < 24 or read(end - 4, 4) != bytes(4):
            break
        end -= 4
    footer = read(end - 12, 12) if end >= 24 else b""
    if len(footer) < 12 or footer[10:] != b"YZ":
        return Wholeness.CUT
    is_whole = footer[8:10] == flags and zlib.crc32(footer[4:10]) == int.from_bytes(footer[:4], "little")
    index = end - 12 - (int.from_bytes(footer[4:8], "little") + 1) * 4
    return _told(is_whole and index >= 12 and read(index, 1) == b"\0")


def _zstd(size: int, read: Read) -> Wholeness:
    """Go from block to block: a frame has its last block marked, and nothing behind it but a checksum or another frame."""
    at = blocks = 0
    while at < size:
        head = read(at, 18)
        if len(head) < 8:
            return Wholeness.CUT
        magic = int.from_bytes(head[:4], "little")
        if magic & 0xFFFFFFF0 == 0x184D2A50:  # a frame to be skipped
            at += 8 + int.from_bytes(head[4:8], "little")
            continue
        if magic != 0xFD2FB528:
            return Wholeness.OPEN
        descriptor = head[4]
        single = descriptor >> 5 & 1
        content_size = (1 if single else 0, 2, 4, 8)[descriptor >> 6]
        at += 5 + (not single) + (0, 1, 2, 4)[descriptor & 3] + content_size
        is_last = 0
        while not is_last:
            blocks += 1
            if blocks > _ZSTD_BLOCKS:
                return Wholeness.OPEN
            block = read(at, 3)
            if len(block) < 3:
                return Wholeness.CUT
            number = int.from_bytes(block, "little")
            is_last, kind = number & 1, number >> 1 & 3
            at += 3 + (1 if kind == 1 else number >> 3)
        at += 4 * (descriptor >> 2 & 1)
    return _told(at == size)


# -- containers ------------------------------------------------------------------------------------------------------


def _zip(size: int, read: Read) -> Wholeness:
    """Look whether its end is there, and speaks of a directory that lies right before it: an archive inside the archive has
    an end too.
    """
    start = max(0, size - _ZIP_END_BYTES)
    tail = read(start, _ZIP_END_BYTES)
    at = tail.rfind(b"PK\5\6")
    while at >= 0:
        record = tail[at : at + 22]
        if len(record) == 22 and at + 22 + int.from_bytes(record[20:22], "little") == len(tail):
            length, offset = int.from_bytes(record[12:16], "little"), int.from_bytes(record[16:20], "little")
            if 0xFFFFFFFF in (length, offset):
                return _told(tail[max(0, at - 20) :].startswith(b"PK\6\7"))
            if offset + length == start + at or (offset + length < start + at and read(offset, 4) == b"PK\1\2"):
                return Wholeness.WHOLE
        at = tail.rfind(b"PK\5\6", 0, at)
    return Wholeness.CUT


def _pdf(size: int, read: Read) -> Wholeness:
    """Look for ``startxref``, a place in the file, and ``%%EOF``. A file made for the web has one in front, of place 0."""
    tail = read(max(0, size - _PDF_END_BYTES), _PDF_END_BYTES)
    found = re.search(rb"startxref\s+(\d{1,19})\s+%%EOF[\s\0]*\Z", tail)
    return _told(found is not None and 0 < int(found[1]) < size)


def _parquet(size: int, read: Read) -> Wholeness:
    footer = read(size - 8, 8) if size >= 12 else b""
    return _told(footer[4:] in (b"PAR1", b"PARE") and int.from_bytes(footer[:4], "little") + 12 <= size)


# -- texts -----------------------------------------------------------------------------------------------------------


def _utf16(size: int, read: Read) -> Wholeness:
    return Wholeness.CUT if size % 2 else Wholeness.OPEN


def _json(size: int, read: Read) -> Wholeness:
    """Look at a large one on both ends only. A sequence of values, one a line, has no end of its own."""
    if size > _JSON_BYTES:
        first, last = read(0, HEAD_BYTES).lstrip(b"\xef\xbb\xbf \t\r\n")[:1], read(size - _END_BYTES, _END_BYTES).rstrip()[-1:]
        return Wholeness.CUT if first == b"[" and _is_value_in_list(read(0, _END_BYTES)) and last != b"]" else Wholeness.OPEN
    try:
        text = read(0, size).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return Wholeness.CUT if error.reason == "unexpected end of data" else Wholeness.OPEN
    text = text.rstrip(" \t\r\n")
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        rest = text[error.pos :]
        is_end = error.msg.startswith("Unterminated") or any(word.startswith(rest) for word in _JSON_WORDS)
        return Wholeness.CUT if is_end or _BEGUN.fullmatch(rest) else Wholeness.OPEN
    except (RecursionError, ValueError):
        return Wholeness.OPEN
    return Wholeness.WHOLE


_JSON_WORDS = ("true", "false", "null")
_BEGUN = re.compile(r"[-+.eE0-9]*|\\?u?[0-9a-fA-F]{0,4}")  # what the parser stops at: nothing, a number, an escape


def _is_value_in_list(head: bytes) -> bool:
    """Return whether a list begins as JSON has it, and not as a section of an INI file does."""
    return re.match(rb'(?:\xef\xbb\xbf)?\s*\[\s*(?:[{\[]|"[^"\n]*"\s*[,\]]|-?[0-9.eE+-]+\s*[,\]])', head) is not None


class _Entity(Exception):
    """The document declares an entity: nobody knows how large it becomes."""


def _refuse_entity(*_: object) -> None:
    raise _Entity


def _xml(size: int, read: Read) -> Wholeness:
    """Read to the end, as long as it is well-formed. A large one is not read."""
    if size > _XML_BYTES:
        return Wholeness.OPEN if read(size - _END_BYTES, _END_BYTES).rstrip(b" \t\r\n\0").endswith(b">") else Wholeness.CUT
    parser = expat.ParserCreate()
    parser.EntityDeclHandler = _refuse_entity
    try:
        for at in range(0, size, _XML_CHUNK):
            parser.Parse(read(at, _XML_CHUNK), False)
    except (expat.ExpatError, _Entity, ValueError):
        return Wholeness.OPEN  # HTML, say, or no markup at all
    try:
        parser.Parse(b"", True)
    except expat.ExpatError:
        return Wholeness.CUT
    return Wholeness.WHOLE


_BINARY: tuple[tuple[re.Pattern[bytes], str, Callable[[int, Read], Wholeness]], ...] = tuple(
    (re.compile(magic, re.DOTALL), name, check)
    for magic, name, check in (
        (rb"\x1f\x8b\x08[\x00-\x1f]", "gzip", _gzip),
        (rb"PK(\x03\x04|\x05\x06)", "zip", _zip),
        (rb"BZh[1-9](1AY&SY|\x17rE8P\x90)", "bzip2", _bzip2),
        (rb"\xfd7zXZ\x00", "xz", _xz),
        (rb"\x28\xb5\x2f\xfd", "zstd", _zstd),
        (rb"%PDF-\d", "PDF", _pdf),
        (rb"PAR[1E].{0,3}[^\x20-\x7e\r\n\t]", "Parquet", _parquet),
        (rb"\xff\xfe|\xfe\xff", "UTF-16", _utf16),
    )
)
