"""Judging a file by its contract: everything that is wrong with it, in one pass, in bounded memory.

``judge`` reads the file once, and once more only to say where a doubled key came first. What a file is (a web page, a workbook)
is told by its first bytes; packed files are read through their unpacker, to a bound. Blocks, for about a second for a million
rows: never called on the event loop.

The verdict is the same whoever asks: a gate, a rehearsal, a backtest or ``sftpgate contract check``.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import itertools
import re
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import BinaryIO

from sftpgate.contracts import conversion
from sftpgate.contracts.bytes_check import CheckedBytes, Unreadable
from sftpgate.contracts.difference import Difference, compare, first_doubled
from sftpgate.contracts.difference import objections as bound_objections
from sftpgate.contracts.objections import TEXTS, Objection, visible
from sftpgate.contracts.table import SHEET_LINES, Rows, Table, plain_name
from sftpgate.policy.texts import unmarked_utf16
from sftpgate.settings.contracts import ContractSettings, Format, Kind, Repeat

HEAD_BYTES = 4096
MOST_UNPACKED_BYTES = 4 * 1024**3
_BUFFER_BYTES = 256 * 1024
_BLOCK_BYTES = 64 * 1024  # that are checked together: of the last block before unreadable bytes no row is looked at
_FEW_SHAPES = 3  # a column with more in the last file has no shape of its own
_PAGE = re.compile(rb"(?is)^\s*(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body|title|h1|p|div|table)\b")
_MAGIC = (
    (b"PK\x03\x04", "ZIP"),
    (b"\x1f\x8b", "GZIP"),
    (b"%PDF-", "PDF"),
    (b"\x89PNG", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF8", "GIF"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "XLS"),
    (b"BZh", "BZIP2"),
    (b"\xfd7zXZ\x00", "XZ"),
    (b"\x28\xb5\x2f\xfd", "ZSTD"),
    (b"7z\xbc\xaf\x27\x1c", "7Z"),
    (b"Rar!\x1a\x07", "RAR"),
    (b"SQLite format 3\0", "SQLite"),
    (b"PAR1", "Parquet"),
)
_PACKED = {"GZIP": Format.GZIP, "ZIP": Format.ZIP}
_JSON = re.compile(rb'^\s*(?:\{\s*(?:"[^"]*"\s*:|\})|\[\s*(?:\{|\[|\]|"))')


@dataclass(frozen=True, slots=True, kw_only=True)
class Processed:
    """A file that the tool has processed: its content's SHA-256 (hex) and when its run ended, aware UTC."""

    sha256: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What a file is compared with: ``open_last`` opens the file that the tool processed last (None: there is none, or it is not
    kept any more), ``processed`` lists what it processed, the latest first.
    """

    open_last: Callable[[], BinaryIO] | None = None
    processed: Sequence[Processed] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ContractVerdict:
    """What a contract says of a file. ``objections`` in the order of ``objections.TEXTS``; none: the file is as it should be.

    ``rows`` are those of its table, without header and trailer; ``sha256`` (hex) and ``size_bytes`` are of the file as it is. If
    the file was converted, ``converted_from`` is the encoding that it is in, ``converted_sha256`` is of what it was converted to,
    and all else speaks of that.
    """

    objections: tuple[Objection, ...]
    sha256: str
    size_bytes: int
    rows: int = 0
    header: tuple[str, ...] = ()
    difference: Difference | None = None
    converted_from: str = ""
    converted_sha256: str = ""

    @property
    def is_good(self) -> bool:
        """Whether nothing is wrong."""
        return not self.objections


@dataclass(slots=True)
class _Read:
    """One reading of a file."""

    found: list[Objection] = field(default_factory=list)
    rows: Rows = field(default_factory=Rows)
    count: int = 0
    header: tuple[str, ...] = ()
    sha256: str = ""
    size: int = 0
    is_whole: bool = False  # read to its end

    @property
    def has_keys(self) -> bool:
        """Whether its rows can be told by their keys: without the columns of the key nothing can be compared."""
        return len(self.rows.keys) == len(self.rows.contents)


def judge(
    content: BinaryIO,
    contract: ContractSettings,
    history: History | None = None,
    *,
    now: datetime | None = None,
    scratch: Callable[[], BinaryIO] = tempfile.TemporaryFile,
) -> ContractVerdict:
    """Return what ``contract`` says of a file. ``content`` is at its beginning, and can be read twice (``seek``).

    ``now``, aware UTC: until when a file that stays the same has stayed so. ``scratch`` opens an empty file for what the text is
    converted to, if the contract converts. Raises OSError of the files, never for what is in them.
    """
    if contract.convert and ((kind := _kind(_head_of(content), contract)) is None or kind.code == "text.utf16"):
        with scratch() as written:
            if (source := conversion.converted(content, contract, written)) is not None:
                verdict = _judge(written, contract, history or History(), now)
                original = conversion.sha256_of(content)
                return replace(verdict, sha256=original, converted_from=source, converted_sha256=verdict.sha256)
    return _judge(content, contract, history or History(), now)


def _judge(content: BinaryIO, contract: ContractSettings, history: History, now: datetime | None) -> ContractVerdict:
    is_compared = bool(contract.key) and history.open_last is not None
    read = _read(content, contract, wanted=is_compared)
    found = read.found
    difference: Difference | None = None
    if read.is_whole:
        place = first_doubled(read.rows)
        if place is not None:
            found += _doubled(content, contract, place)
        if history.open_last is not None and is_compared:
            with history.open_last() as last:
                before = _read(last, contract, wanted=True, is_judged=False)
            if before.is_whole and before.has_keys and read.has_keys:
                difference = compare(before.rows, read.rows)
                found += bound_objections(contract, difference)
                found += _shapes(content, contract, before.rows, read.rows)
    found += _sameness(read.sha256, contract, history, now)
    order = {code: number for number, code in enumerate(TEXTS)}
    found.sort(key=lambda objection: order[objection.code])
    return ContractVerdict(
        objections=tuple(found),
        sha256=read.sha256,
        size_bytes=read.size,
        rows=read.count,
        header=read.header,
        difference=difference,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadTable:
    """A table that was read to its end: the names of its columns, and what a difference needs of its rows."""

    header: tuple[str, ...]
    rows: Rows

    @property
    def has_keys(self) -> bool:
        """Whether its rows can be told by their keys."""
        return len(self.rows) > 0 and len(self.rows.keys) == len(self.rows)


def read_table(content: BinaryIO, contract: ContractSettings) -> ReadTable | None:
    """Return what is in a file; None if it cannot be read to its end by this contract."""
    read = _read(content, contract, wanted=True)
    return ReadTable(header=tuple(map(plain_name, read.header)), rows=read.rows) if read.is_whole and read.header else None


def read_rows(content: BinaryIO, contract: ContractSettings) -> Rows | None:
    """Return what a difference needs of a file's rows; None if it cannot be read to its end by this contract."""
    read = _read(content, contract, wanted=True)
    return read.rows if read.is_whole else None


# -- reading ---------------------------------------------------------------------------------------------------------


def _read(content: BinaryIO, contract: ContractSettings, *, wanted: bool, is_judged: bool = True) -> _Read:
    """Read a file to its end, or as far as it makes sense; its hash is always of the whole. ``is_judged``: see ``Table``."""
    head = _head_of(content)
    content.seek(0)
    whole = _Hashed(content)
    result, table = _Read(), Table(contract, wanted=wanted, is_judged=is_judged)
    objection = _kind(head, contract)
    if objection is not None:
        result.found.append(objection)
    else:
        try:
            with contextlib.suppress(Unreadable):
                _read_text(_source(content, whole, contract, result.found), table, contract, result)
        except (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
            result.found.append(Objection(code="kind.damaged", details={"reason": visible(str(error))}))
            result.is_whole = False
    whole.drain()
    result.sha256, result.size = whole.sha256.hexdigest(), whole.size
    return result


def _head_of(content: BinaryIO) -> bytes:
    content.seek(0)
    head = b""
    while len(head) < HEAD_BYTES and (piece := content.read(HEAD_BYTES - len(head))):
        head += piece
    return head


def _kind(head: bytes, contract: ContractSettings) -> Objection | None:
    """Return what the first bytes of a file say against it."""
    kind = next((name for magic, name in _MAGIC if head.startswith(magic)), None)
    if contract.format in _PACKED.values():
        if kind is not None and _PACKED.get(kind) is contract.format:
            return None
        return Objection(code="kind.not_packed", details={"format": contract.format.value})
    if kind in _PACKED and b"[Content_Types].xml" not in head and b"mimetypeapplication/" not in head:
        return Objection(code="kind.packed", details={"format": str(kind).lower()})
    if kind is not None:
        return Objection(code="kind.data", details={"format": "XLSX or another workbook" if kind == "ZIP" else kind})
    if _PAGE.match(head):
        return Objection(code="kind.html", details={"start": visible(head[:200].strip())})
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if _JSON.match(text) or text.startswith(b"<?xml"):
        return Objection(code="kind.data", details={"format": "XML" if text[:1] == b"<" else "JSON"})
    if head[:2] in (b"\xff\xfe", b"\xfe\xff") or unmarked_utf16(head):
        return Objection(code="text.utf16", details={"expected": contract.encoding})
    return None


def _source(content: BinaryIO, whole: _Hashed, contract: ContractSettings, found: list[Objection]) -> BinaryIO:
    """Return what the text is read from: the file, or what an unpacker makes of it."""
    if contract.format is Format.GZIP:
        return _Bounded(gzip.GzipFile(fileobj=whole), found)  # type: ignore[arg-type, return-value]
    if contract.format is Format.ZIP:
        whole.drain()
        archive = zipfile.ZipFile(content)
        members = [member for member in archive.infolist() if not member.is_dir()]
        if len(members) != 1:
            raise zipfile.BadZipFile(f"it has {len(members)} files; one is expected")
        return _Bounded(archive.open(members[0]), found)  # type: ignore[arg-type, return-value]
    return whole  # type: ignore[return-value]


def _read_text(source: BinaryIO, table: Table, contract: ContractSettings, result: _Read) -> None:
    """Read a text, and its rows if it is a table. Raises Unreadable when the rest makes no sense."""
    delimiter = "" if contract.format is Format.TEXT else contract.delimiter
    checked = CheckedBytes(source, encoding=contract.encoding, max_line_bytes=contract.max_line_bytes, delimiter=delimiter)
    encoding = "utf-8-sig" if checked.is_utf8 else contract.encoding
    text = io.TextIOWrapper(io.BufferedReader(checked, _BUFFER_BYTES), encoding=encoding, newline="", errors="replace")
    text._CHUNK_SIZE = _BLOCK_BYTES  # type: ignore[attr-defined] # noqa: SLF001 - of what it reads at a time; by itself 8 KiB
    try:
        if contract.format is Format.TEXT:
            for _ in text:
                pass
        else:
            table.read(text)
        for _ in text:  # what a table that ended early has not read
            pass
        result.is_whole = True
    finally:
        result.found += checked.found + table.found
        result.rows, result.count, result.header = table.rows, table.count, tuple(table.header)
    checked.object_to_ends(final_newline=contract.final_newline)
    result.found = [*checked.found, *table.found]
    if checked.has_bom and not contract.bom:
        result.found.append(Objection(code="text.bom", line=1))
    if contract.format is Format.TEXT:
        result.count = checked.lines + (checked.last[-1:] not in (b"", b"\n", b"\r"))
    _look_at_amounts(contract, checked, result)


def _look_at_amounts(contract: ContractSettings, checked: CheckedBytes, result: _Read) -> None:
    lines = checked.lines + (checked.last[-1:] not in (b"", b"\n", b"\r"))
    if not checked.has_text:
        result.found.append(Objection(code="amounts.empty"))
    elif contract.format is not Format.TEXT and not result.count and contract.min_rows:
        result.found.append(Objection(code="amounts.header_only"))
    elif result.count < contract.min_rows:
        result.found.append(Objection(code="amounts.too_few", details={"found": result.count, "limit": contract.min_rows}))
    if contract.max_rows and result.count > contract.max_rows:
        result.found.append(Objection(code="amounts.too_many", details={"found": result.count, "limit": contract.max_rows}))
    if lines in SHEET_LINES:
        result.found.append(Objection(code="amounts.sheet_limit", details={"found": lines}))


# -- history ---------------------------------------------------------------------------------------------------------


def _sameness(sha256: str, contract: ContractSettings, history: History, now: datetime | None) -> list[Objection]:
    """Return what the files that were processed before say against this one."""
    if not history.processed:
        return []
    last = history.processed[0]
    if last.sha256 != sha256:
        older = next((each for each in history.processed if each.sha256 == sha256), None)
        if older is None or contract.kind is Kind.DELTA:
            return []
        return [Objection(code="sameness.older", details={"at": f"{older.at:%Y-%m-%d %H:%M}"})]
    if contract.repeat is Repeat.HOLD:
        return [Objection(code="sameness.same", details={"at": f"{last.at:%Y-%m-%d %H:%M}"})]
    if contract.max_repeat_days and now is not None:
        first = last
        for each in itertools.takewhile(lambda each: each.sha256 == sha256, history.processed):
            first = each
        if now - first.at > timedelta(days=contract.max_repeat_days):
            return [Objection(code="sameness.days", details={"days": (now - first.at).days})]
    return []


def _doubled(content: BinaryIO, contract: ContractSettings, place: int) -> list[Objection]:
    """Name two rows that have the same key: the later one is row ``place``, from 0. Nothing if only their hashes are equal."""
    wanted = next(itertools.islice(keyed_rows(content, contract), place, None), None)
    if wanted is None:
        return []
    line, key, row = wanted
    first = next((number for number, other, _ in keyed_rows(content, contract) if other == key), line)
    if first == line:
        return []
    excerpt = visible(contract.delimiter.join(row))
    return [Objection(code="keys.doubled", line=line, details={"first": first, "excerpt": excerpt})]


def _shapes(content: BinaryIO, contract: ContractSettings, old: Rows, new: Rows) -> Iterator[Objection]:
    """Yield what is to be said of key values that look otherwise than all of the last file's."""
    for number, (before, now) in enumerate(zip(old.shapes, new.shapes, strict=False)):
        column = contract.key[number]
        widths = set(before.widths)
        shorter = [value for width, value in now.widths.items() if width < min(widths, default=0)]
        if before.zeros and len(widths) == 1 and shorter:
            details = {"column": column, "found": visible(shorter[0]), "expected": visible(before.zeros)}
            yield Objection(code="keys.zeros_lost", line=_line_of(content, contract, number, shorter[0]), details=details)
            continue
        strange = [value for shape, value in now.kinds.items() if shape not in before.kinds]
        if strange and len(before.kinds) <= _FEW_SHAPES:
            examples = ", ".join(map(visible, before.kinds.values()))
            details = {"column": column, "found": visible(strange[0]), "expected": examples}
            yield Objection(code="keys.shape", line=_line_of(content, contract, number, strange[0]), details=details)


def _line_of(content: BinaryIO, contract: ContractSettings, number: int, value: str) -> int | None:
    return next((line for line, key, _ in keyed_rows(content, contract) if key[number] == value), None)


def keyed_rows(content: BinaryIO, contract: ContractSettings) -> Iterator[tuple[int, tuple[str, ...], list[str]]]:
    """Yield the rows of a file that can be read to its end: line, key and fields."""
    content.seek(0)
    source = _source(content, _Hashed(content), contract, [])
    text = io.TextIOWrapper(io.BufferedReader(source), encoding=contract.encoding, newline="")  # type: ignore[type-var]
    table = Table(contract, wanted=False)
    yield from table.keyed(text)


class _Hashed(io.RawIOBase):
    """A stream that hashes what is read of it. ``drain`` reads the rest."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self.sha256 = hashlib.sha256()
        self.size = 0
        self._is_at_end = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        if self._is_at_end:
            return 0
        block = self._source.read(len(buffer))
        self._is_at_end = not block
        self.sha256.update(block)
        self.size += len(block)
        buffer[: len(block)] = block
        return len(block)

    def drain(self) -> None:
        buffer = bytearray(_BUFFER_BYTES)
        while self.readinto(buffer):
            pass


class _Bounded(io.RawIOBase):
    """What an unpacker gives, to a bound. Raises Unreadable beyond it, and says so in ``found``."""

    def __init__(self, source: BinaryIO, found: list[Objection]) -> None:
        self._source = source
        self._found = found
        self._left = MOST_UNPACKED_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        block = self._source.read(len(buffer))
        self._left -= len(block)
        if self._left < 0:
            self._found.append(Objection(code="kind.too_large", details={"limit": MOST_UNPACKED_BYTES}))
            raise Unreadable
        buffer[: len(block)] = block
        return len(block)
