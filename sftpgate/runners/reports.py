"""Reports of runs, and the rejected lines that tools leave: files in ``reports``, whole or not there, never overwritten.

A file is made complete and durable in the run's own directory, before the change that ends the claim: however long it is, nobody
waits for it. The change links it to the first free name. A crash in between leaves it in the run's directory, which goes with the
claim; a crash after the link leaves a report that the ledger does not know: the run is repeated and has another one. Everything
blocks.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import signal
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import count
from typing import BinaryIO

from sftpgate.errors import AlreadyExists, NotFound, SftpgateError
from sftpgate.intake.ids import new_id
from sftpgate.intake.moves import Moves
from sftpgate.ledger.arrivals import Arrival
from sftpgate.ledger.runs import ReportNames
from sftpgate.logs import get_logger, printable
from sftpgate.policy.disclosure import public_text
from sftpgate.policy.lifecycle import Area
from sftpgate.policy.locations import location
from sftpgate.policy.outcome import NOTHING_STATED, Statement
from sftpgate.policy.phrases import outcome_phrase, phrase
from sftpgate.policy.runs import RunOutcome, is_last
from sftpgate.policy.stamps import StampedNames, output_names, report_names, tryback_names
from sftpgate.settings import Language
from sftpgate.store.spots import Spot

log = get_logger("runner")

_CHUNK_BYTES = 1024 * 1024
_ROWS_IN_REPORT = 100  # what a person reads; the rejected lines have all
_SHOWN_CHARACTERS = 200  # of a rejected row


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the header of a report says, in the language of its reader.

    ``max_attempts`` is None if the tool is no longer known. ``rows`` are the contents of the rejected rows, by their lines, and
    ``tryback`` how the file is called that has them. ``queued``: every arrival of the name counts, in order.
    """

    tool: str
    arrival: Arrival
    started_at: datetime
    ended_at: datetime
    outcome: RunOutcome
    exit_status: int | None
    attempt: int
    max_attempts: int | None
    notices: tuple[str, ...] = ()
    statement: Statement = NOTHING_STATED
    rows: Mapping[int, bytes] = field(default_factory=dict)
    tryback: str = ""
    queued: bool = False
    language: Language = Language.ENGLISH

    def for_the_sender(self) -> Facts:
        """The same without what is inside the platform."""
        said = self.statement
        public = replace(
            said,
            failed=public_text(said.failed),
            not_the_file=public_text(said.not_the_file),
            rejected_rows=tuple(replace(row, reason=public_text(row.reason)) for row in said.rejected_rows),
        )
        return replace(self, statement=public, notices=tuple(map(public_text, self.notices)))

    def header(self) -> bytes:
        """The header: a line for each fact, and an empty line."""
        item, say = self.arrival, self._say
        lines = {
            "tool": self.tool,
            "arrival": item.id,
            "user": item.owner or say("(a local program)"),
            "path": item.path,
            "size": say("{size} bytes", size=item.size),
            "SHA-256": item.sha256 or say("(not known)"),
            "received": local_time(item.received_at),
            "started": local_time(self.started_at),
            "ended": local_time(self.ended_at),
            "exit status": explained(self.exit_status, self.language),
            "attempt": say("{attempt} of {most}", attempt=self.attempt, most=self.max_attempts)
            if self.max_attempts
            else str(self.attempt),
            "outcome": outcome_phrase(self.outcome, self.statement.rejected, self.language),
        }
        if because := self.statement.not_the_file or self.statement.failed:
            lines["because"] = say(because)
        for name in ("rows", "accepted", "rejected"):
            if (number := getattr(self.statement, name)) is not None:
                lines[name] = str(number)
        if self.outcome is not RunOutcome.DONE:
            lines["what next"] = self._what_next()
        rows = [f"{say(name)}: {printable(value)}" for name, value in lines.items()]
        rows += [f"{say('rejected row')}: {printable(row)}" for row in self._rejected_rows()]
        rows += [f"{say('notice')}: {printable(say(notice))}" for notice in self.notices]
        return ("\n".join(rows) + "\n\n").encode("utf-8", "backslashreplace")

    def _rejected_rows(self) -> Iterator[str]:
        listed = self.statement.rejected_rows
        for row in listed[:_ROWS_IN_REPORT]:
            where = self._say("line {line}", line=row.line) if row.line else ""
            content = shown(self.rows[row.line]) if row.line in self.rows else ""
            yield ": ".join(part for part in (where, row.reason, content) if part)
        more = max(self.statement.rejected or 0, len(listed)) - len(listed[:_ROWS_IN_REPORT])
        if more > 0 and listed:
            yield self._say("and {more} more", more=more)

    def _what_next(self) -> str:
        if self.outcome is RunOutcome.DONE_WITH_REJECTED:
            if self.tryback:
                return self._say(
                    "the rejected rows are beside this report, in the file {tryback}: correct them there, and send it",
                    tryback=self.tryback,
                )
            return self._say("the rejected rows were not taken: correct them, and send them again")
        if self.outcome is RunOutcome.NOT_THE_FILE:
            return self._say("the platform was not able to take the file; it is tried again later, and you need not do anything")
        if is_last(self.outcome, attempts=self.attempt, max_attempts=self.max_attempts):
            return self._say(
                "the file is set aside and is not tried again: correct it and send it again, or ask the administrators"
            )
        if self.queued:
            return self._say("the file is tried again, and keeps its place until then")
        return self._say("the file is tried again, unless a newer one of its name comes first")

    def _say(self, text: str, **values: object) -> str:
        return phrase(text, self.language, **values)


def explained(exit_status: int | None, language: Language = Language.ENGLISH) -> str:
    """An exit status for people. It is None where there was no command of ours, or where nobody saw its end."""
    if exit_status is None:
        return phrase("(not known)", language)
    if exit_status >= 0:
        return str(exit_status)
    with contextlib.suppress(ValueError):
        return phrase("killed by signal {signal}", language, signal=f"{-exit_status} ({signal.Signals(-exit_status).name})")
    return phrase("killed by signal {signal}", language, signal=-exit_status)


@dataclass(frozen=True, slots=True, kw_only=True)
class Papers:
    """What is kept of a run, complete and durable, without names in ``reports`` yet. None: there is none.

    ``report`` is the sender's, and ``output`` the admin's: the whole output, if the report has not all of it.
    """

    name: str
    at: datetime
    report: Spot | None = None
    tryback: Spot | None = None
    output: Spot | None = None


class Reports:
    """Writes into ``reports``: first the papers, outside of any change, then in the change their names."""

    def __init__(self, moves: Moves) -> None:
        self._moves = moves
        self._disk = moves.disk

    def prepare(
        self,
        directory: Spot,
        name: str,
        at: datetime,
        *,
        report: Iterable[bytes],
        tryback: Iterable[bytes] | None,
        output: Iterable[bytes] | None,
    ) -> Papers:
        """Write these contents durably into the directory of a run that ended ``at``; returns them. None: there is none."""
        unique = new_id(at)  # two who bring back one dead claim must not write into one file
        return Papers(
            name=name,
            at=at,
            report=self._write(directory / f".report-{unique}", report),
            tryback=None if tryback is None else self._write(directory / f".rejected-{unique}", tryback),
            output=None if output is None else self._write(directory / f".whole-{unique}", output),
        )

    def publish(self, papers: Papers) -> ReportNames:
        """Give papers their names; returns these. Called inside a change."""
        name, at = papers.name, papers.at.astimezone()
        return ReportNames(
            report=self._link(papers.report, report_names(name, at)),
            tryback=self._link(papers.tryback, tryback_names(name, at)),
            output=self._link(papers.output, output_names(name, at)),
        )

    def discard(self, papers: Papers) -> None:
        """Remove what lies outside of ``reports``: all of it, where the names were not given."""
        for spot in (papers.report, papers.tryback, papers.output):
            if spot is not None:
                with contextlib.suppress(SftpgateError):  # it goes with the run's directory
                    self._disk.unlink(spot, missing_ok=True)

    def _write(self, fresh: Spot, chunks: Iterable[bytes]) -> Spot:
        fd = self._disk.create(fresh, self._moves.modes.file_mode)
        try:
            offset = 0
            for chunk in chunks:
                self._disk.write(fd, offset, chunk)
                offset += len(chunk)
            self._moves.open_to_readers(fd)
            if self._moves.durable:
                self._disk.sync(fd)
        finally:
            os.close(fd)
        return fresh

    def _link(self, fresh: Spot | None, names: StampedNames) -> str | None:
        return None if fresh is None else link_free(self._moves, fresh, names)


def link_free(moves: Moves, fresh: Spot, names: StampedNames) -> str:
    """Give a file the first free one of these names in ``reports``, durably; returns it. Called inside a change."""
    directory = moves.layout.spot(location(Area.REPORTS, ""))
    for number in count(names.first_free(lambda name: not moves.disk.exists(directory / name))):
        name = names.numbered(number)
        try:
            moves.disk.link(fresh, directory / name)
        except AlreadyExists:
            continue
        if moves.durable:
            moves.disk.sync_dirs([directory])
        return name
    raise AssertionError("report names do not end")


def chunks(file: BinaryIO) -> Iterator[bytes]:
    """The content of a file, in pieces."""
    while chunk := file.read(_CHUNK_BYTES):
        yield chunk


def from_the_start(file: BinaryIO) -> Iterator[bytes]:
    """The content of a file that was read before."""
    file.seek(0)
    yield from chunks(file)


def as_utf8(pieces: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """The tool's output in UTF-8, with ``\\xNN`` for bytes that ``encoding`` does not have; untouched if none is set."""
    if not encoding:
        yield from pieces
        return
    decoder = codecs.getincrementaldecoder(encoding)(errors="backslashreplace")
    for piece in pieces:
        yield decoder.decode(piece).encode("utf-8", "backslashreplace")
    yield decoder.decode(b"", final=True).encode("utf-8", "backslashreplace")


def opened(moves: Moves, spot: Spot) -> BinaryIO | None:
    """The regular file at ``spot``, or None where there is none with any content that we may read."""
    try:
        fd = moves.disk.open_read(spot)
    except NotFound:
        return None
    except SftpgateError as error:
        log.warning("report.unreadable", file=str(spot.local), reason=error.message)
        return None
    if os.fstat(fd).st_size:
        return os.fdopen(fd, "rb")
    os.close(fd)
    return None


def shown(row: bytes) -> str:
    """The beginning of a rejected row, for a report."""
    text = row.decode("utf-8", "backslashreplace").rstrip("\r\n")
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"


def local_time(at: datetime) -> str:
    """A time as the people of this machine read it, with its zone."""
    return at.astimezone().isoformat(sep=" ", timespec="seconds")
