"""The output of a run as text: lines in UTF-8, whatever its command wrote, and what of them its sender may read.

Bounded: no more than ``MAX_OUTPUT_BYTES`` are read, and a very long line comes in pieces. Blocks.
"""

from __future__ import annotations

import codecs
import os
import tempfile
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from sftpgate.policy.disclosure import public_line
from sftpgate.policy.texts import unmarked_utf16

MAX_OUTPUT_BYTES = 64 * 1024 * 1024  # of one report: more than anybody reads, less than fills a disk
_CHUNK_BYTES = 1024 * 1024
_LINE_BYTES = 64 * 1024  # of a line that is looked at in one piece
_SAMPLE_BYTES = 1024
_FEWEST_ZEROS = 3  # one byte of so many is zero in UTF-16 of European languages; others may begin like it


def chunks(file: BinaryIO, limit: int) -> Iterator[bytes]:
    """Yield the content of a file from its beginning, in pieces, and no more than ``limit`` bytes."""
    file.seek(0)
    while limit > 0 and (chunk := file.read(min(_CHUNK_BYTES, limit))):
        limit -= len(chunk)
        yield chunk


def whole_lines(file: BinaryIO, limit: int) -> Iterator[bytes]:
    """Yield the same; if that is not all, it ends with the last line that is whole."""
    left = limit if _size(file) > limit else 0
    for chunk in chunks(file, limit):
        left -= len(chunk)
        yield chunk[: chunk.rfind(b"\n") + 1 or len(chunk)] if left == 0 else chunk


def beyond(file: BinaryIO, limit: int) -> int:
    """Return how many bytes of a file are more than ``limit``."""
    return max(_size(file) - limit, 0)


def _size(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


def to_be_read_twice(file: BinaryIO) -> BinaryIO:
    """Return ``file`` itself, or what comes out of it if it is a pipe: in a file without a name, as far as a report has it."""
    if file.seekable():
        return file
    copy = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    left = MAX_OUTPUT_BYTES + 1  # so that it is seen that there was more
    while left > 0 and (chunk := file.read(min(_CHUNK_BYTES, left))):
        left -= copy.write(chunk)
    copy.flush()
    return copy


def encoding_of(output: BinaryIO, encoding: str) -> str:
    """Return the encoding that the tool has by its settings, or else by what its output begins with; empty if neither says it."""
    output.seek(0)
    start = output.read(_SAMPLE_BYTES)
    if encoding:
        return encoding
    is_marked = start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and start.count(0) >= len(start) // _FEWEST_ZEROS
    return "utf-16" if is_marked else unmarked_utf16(start)


def as_utf8(pieces: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """Yield the tool's output in UTF-8, with ``\\xNN`` for bytes that ``encoding`` does not have; untouched if none is set."""
    if not encoding:
        yield from pieces
        return
    decoder = codecs.getincrementaldecoder(encoding)(errors="backslashreplace")
    for piece in pieces:
        yield decoder.decode(piece).encode("utf-8", "backslashreplace")
    yield decoder.decode(b"", final=True).encode("utf-8", "backslashreplace")


def text_of(output: BinaryIO, encoding: str) -> Iterator[bytes]:
    """Yield an output in UTF-8; byte for byte if nobody knows its encoding."""
    return as_utf8(chunks(output, MAX_OUTPUT_BYTES), encoding_of(output, encoding))


def text_lines(output: BinaryIO, encoding: str) -> Iterator[bytes]:
    """Yield the lines of an output in UTF-8 with their ends, which may be a carriage return: a line that is written over is one.

    A very long line comes in pieces, cut between words if it has any.
    """
    rest = b""
    for piece in text_of(output, encoding):
        *lines, rest = (rest + piece).splitlines(keepends=True) or [b""]
        if rest.endswith(b"\n"):
            lines, rest = [*lines, rest], b""
        for line in lines:
            yield from _pieces(line)
        if len(rest) > _LINE_BYTES:
            *ready, rest = _pieces(rest)
            yield from ready
    yield from _pieces(rest)


def _pieces(line: bytes) -> Iterator[bytes]:
    while len(line) > _LINE_BYTES:
        at = max(line.rfind(b" ", 0, _LINE_BYTES), line.rfind(b"\t", 0, _LINE_BYTES)) + 1 or _LINE_BYTES
        yield line[:at]
        line = line[at:]
    if line:
        yield line


def public_lines(output: BinaryIO, encoding: str) -> Iterator[bytes]:
    """Yield what its sender may read of an output, if the report is a summary."""
    return (shown for line in text_lines(output, encoding) if (shown := public_line(line)) is not None)


def hides_something(output: BinaryIO, encoding: str) -> bool:
    """Return whether an output has what its sender may not read."""
    return any(public_line(line) != line for line in text_lines(output, encoding))
