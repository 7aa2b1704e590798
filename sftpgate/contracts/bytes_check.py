"""What is checked of a file's bytes while they are read: one pass, at C speed, in bounded memory.

``CheckedBytes`` is a raw stream between the file and the decoder of its text. It looks at each block that passes: NUL bytes, line
ends, the length of lines, the encoding. What it finds it keeps; if going on makes no sense (a line without an end, bytes that
are no text) it ends the stream by ``Unreadable``. It reads nothing by itself and blocks as its source does.
"""

from __future__ import annotations

import codecs
import io
import re
from typing import BinaryIO

from sftpgate.contracts.objections import Objection, visible

LONGEST_LINE_BYTES = 1024 * 1024  # of any contract: what a line of a command file never has
MOST_COLUMNS = 10_000  # of any table
MOST_LINES = 40_000_000  # of any text; above the rows that a table may have
_CONTEXT_BYTES = 24

_UTF8_TWICE = re.compile(
    rb"\xc3[\x82\x83]\xc2[\x80-\xbf]"  # a letter of two bytes, read as Latin-1 and written as UTF-8 again
    rb"|\xc3[\x82\x83]\xc5[\x92\x93\xa0\xa1\xb8\xbd\xbe]|\xc3[\x82\x83]\xe2\x80[\x93-\xba]"  # the same, read as cp1252
    rb"|\xc3\xa2\xe2\x82\xac"  # the beginning of a typographic character, read as cp1252
    rb"|\xef\xbf\xbd"  # U+FFFD: a letter that was lost
)
_UTF8_LETTERS = re.compile(rb"[\xc3-\xc5][\x80-\xbf]")
_CP1252_UNDEFINED = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")


class Unreadable(Exception):
    """The rest of the file is not read: what was found says why."""


class CheckedBytes(io.RawIOBase):
    """The bytes of ``source``, checked as they are read. ``encoding``: what they should be, by its Python name.

    ``found`` are the objections; ``size`` and ``lines`` speak of what was read so far.
    """

    def __init__(self, source: BinaryIO, *, encoding: str, max_line_bytes: int, delimiter: str = "") -> None:
        """``delimiter``: what separates the fields of a table's rows; empty for a text."""
        self.found: list[Objection] = []
        self.size = 0
        self.lf = self.crlf = self.cr = 0
        self.last = b""  # the end of what was read
        self._source = source
        self._delimiter = delimiter.encode(encoding, "ignore")
        self._encoding = codecs.lookup(encoding).name
        self._decoder = codecs.getincrementaldecoder(encoding)("strict")
        self._limit = min(max_line_bytes or LONGEST_LINE_BYTES, LONGEST_LINE_BYTES)
        self._line_bytes = 0  # of the line that the last block left open
        self._long: list[int] = []  # the first line that is too long, and how many there are
        self._has_nul = self._is_mangled = False
        self._utf8_seen = False
        self.has_bom = False
        self.has_text = False  # something but blanks and line ends

    @property
    def is_utf8(self) -> bool:
        """Whether the file should be UTF-8."""
        return self._encoding == "utf-8"

    @property
    def lines(self) -> int:
        """Line ends that were read, whatever their kind."""
        return self.lf + self.cr

    def readable(self) -> bool:
        """Say that this stream is for reading."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Read a block, and check it. Raises Unreadable, or what the source raises."""
        block = self._source.read(len(buffer))
        if not block:
            self._finish()
            return 0
        self._look(block)
        buffer[: len(block)] = block
        return len(block)

    def _look(self, block: bytes) -> None:
        if not self.size:
            self.has_bom = block.startswith(codecs.BOM_UTF8)
        if not self._has_nul and (at := block.find(b"\0")) >= 0:
            self._has_nul = True
            self.found.append(Objection(code="text.nul", line=self._line_at(block, at)))
        self._look_at_lengths(block)
        self._look_at_widths(block)
        self._look_at_encoding(block)
        self._count_ends(block)
        self.size += len(block)
        self.has_text = self.has_text or not block.isspace()
        self.last = (self.last + block)[-_CONTEXT_BYTES * 4 :]
        if self.lines > MOST_LINES:
            self.found.append(Objection(code="amounts.too_many", details={"found": self.lines, "limit": MOST_LINES}))
            raise Unreadable

    def _look_at_widths(self, block: bytes) -> None:
        """Read no further if rows are so wide that a batch of them would take all the memory: no table has such rows."""
        most = MOST_COLUMNS * (2 + block.count(b"\n") + block.count(b"\r"))
        if self._delimiter and len(block) > most and (found := block.count(self._delimiter)) > most:
            details: dict[str, str | int] = {"found": found, "expected": MOST_COLUMNS, "excerpt": visible(block[:_CONTEXT_BYTES])}
            self.found.append(Objection(code="table.fields", line=self._line_at(block, 0), details=details))
            raise Unreadable

    def _count_ends(self, block: bytes) -> None:
        joined = self.last[-1:] == b"\r" and block[:1] == b"\n"  # an end that lies across two blocks
        crlf = block.count(b"\r\n") + joined
        self.crlf += crlf
        self.lf += block.count(b"\n")
        self.cr += block.count(b"\r") - crlf  # one that a block ends with counts as lone until the next one is read

    def _line_at(self, block: bytes, at: int) -> int:
        ends = block.count(b"\n", 0, at)
        if not self.lf and not ends:  # a file of lone CR, or its first line
            ends = self.cr + block.count(b"\r", 0, at)
            return 1 + ends
        return 1 + self.lf + ends

    def _look_at_lengths(self, block: bytes) -> None:
        """Find lines beyond the limit, by steps of the limit: a block without one costs a step for each of ``limit`` bytes."""
        start = 0
        open_bytes = self._line_bytes
        while True:
            end = self._last_end(block, start, start + self._limit - open_bytes + 2)
            if end >= 0:
                start, open_bytes = end + 1, 0
                continue
            if len(block) - start + open_bytes <= self._limit + 1:
                break
            self._note_long(block, start)
            if open_bytes + len(block) - start > LONGEST_LINE_BYTES and self._next_end(block, start) < 0:
                self.found.append(self._too_long())
                self._long.clear()
                raise Unreadable
            following = self._next_end(block, start)
            if following < 0:
                break
            start, open_bytes = following + 1, 0
        self._line_bytes = open_bytes + len(block) - start

    @staticmethod
    def _last_end(block: bytes, start: int, stop: int) -> int:
        return max(block.rfind(b"\n", start, stop), block.rfind(b"\r", start, stop))

    @staticmethod
    def _next_end(block: bytes, start: int) -> int:
        ends = [end for end in (block.find(b"\n", start), block.find(b"\r", start)) if end >= 0]
        return min(ends, default=-1)

    def _note_long(self, block: bytes, at: int) -> None:
        line = self._line_at(block, at)
        if not self._long:
            self._long = [line, 1, line]
        elif self._long[2] != line:
            self._long[1:] = [self._long[1] + 1, line]

    def _too_long(self) -> Objection:
        line, count, _ = self._long
        return Objection(code="text.line_length", line=line, count=count, details={"limit": self._limit})

    def _look_at_encoding(self, block: bytes) -> None:
        if block.isascii() and not self._decoder.getstate()[0]:
            return
        try:
            self._decoder.decode(block)
        except UnicodeDecodeError as error:
            pending = len(error.object) - len(block)  # bytes of the block before that belong to the same character
            self._object_to_encoding(block, max(0, error.start - pending))
            raise Unreadable from error
        if self._encoding == "utf-8":
            if not self._is_mangled and (match := _UTF8_TWICE.search(block)):
                self._is_mangled = True
                excerpt = visible(_around(block, match.start()).decode("utf-8", "ignore"))
                self.found.append(
                    Objection(code="text.mangled", line=self._line_at(block, match.start()), details={"excerpt": excerpt})
                )
        elif not self._utf8_seen and (match := _UTF8_LETTERS.search(block)) and _is_utf8(block):
            self._utf8_seen = True
            details = {"found": "UTF-8", "expected": self._encoding, "excerpt": visible(_around(block, match.start()))}
            self.found.append(Objection(code="text.encoding", line=self._line_at(block, match.start()), details=details))

    def _object_to_encoding(self, block: bytes, at: int) -> None:
        around = _around(block, at)
        western = self._encoding == "utf-8" and not _CP1252_UNDEFINED.search(around)
        found = "cp1252 (Windows)" if western else "another encoding"
        excerpt = visible(around.decode("cp1252")) if western else visible(around)
        details = {"found": found, "expected": self._encoding, "excerpt": excerpt}
        self.found.append(Objection(code="text.encoding", line=self._line_at(block, at), details=details))

    def _finish(self) -> None:
        try:
            self._decoder.decode(b"", final=True)
        except UnicodeDecodeError as error:
            self._object_to_encoding(self.last, len(self.last) - 1)
            raise Unreadable from error
        if self._long:
            self.found.append(self._too_long())
            self._long = []

    def object_to_ends(self, *, final_newline: bool) -> None:
        """Add what is to be said of line ends, when everything was read."""
        if self.cr and not self.lf:
            self.found.append(Objection(code="text.lone_cr"))
        elif self.cr or (self.crlf and self.crlf < self.lf):
            counts = {"crlf": self.crlf, "lf": self.lf - self.crlf}
            code = "text.lone_cr" if self.cr else "text.line_ends"
            self.found.append(Objection(code=code, details={} if self.cr else counts))
        if final_newline and self.size and self.last[-1:] not in (b"\n", b"\r"):
            end = re.split(rb"[\r\n]", self.last)[-1]
            line = self.lines + 1
            self.found.append(Objection(code="text.final_newline", line=line, details={"excerpt": visible(end)}))


def _around(block: bytes, at: int) -> bytes:
    start = max(block.rfind(b"\n", 0, at) + 1, at - _CONTEXT_BYTES)
    end = block.find(b"\n", at)
    return block[start : min(end if end >= 0 else len(block), at + _CONTEXT_BYTES)].rstrip(b"\r")


def _is_utf8(block: bytes) -> bool:
    """Return whether a block is UTF-8, but for a character that its ends may cut."""
    decoder = codecs.getincrementaldecoder("utf-8")("strict")
    try:
        decoder.decode(block.lstrip(bytes(range(0x80, 0xC0))))
    except UnicodeDecodeError:
        return False
    return True
