"""Reports of runs, and the rejected lines that tools leave: files in ``reports``, whole or not there, never overwritten.

A file is made complete and durable in the run's own directory, before the change that ends the claim: however long it is, nobody
waits for it. The change links it to the first free name. A crash in between leaves it in the run's directory, which goes with the
claim; a crash after the link leaves a report that the ledger does not know: the run is repeated and has another one. Everything
blocks.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import count
from typing import BinaryIO

from sftpgate.errors import AlreadyExists, NotFound, SftpgateError
from sftpgate.handover.resources import Resources
from sftpgate.ids import new_id
from sftpgate.ledger.arrivals import Arrival
from sftpgate.ledger.runs import ReportNames
from sftpgate.logs import get_logger, printable
from sftpgate.policy.disclosure import public_text
from sftpgate.policy.lifecycle import Area
from sftpgate.policy.locations import location
from sftpgate.policy.outcome import NOTHING_STATED, Statement
from sftpgate.policy.phrases import Sentence, Words, in_language, outcome_phrase, phrase
from sftpgate.policy.runs import RunOutcome, is_last
from sftpgate.policy.stamps import StampedNames, output_names, report_names, tryback_names
from sftpgate.settings.choices import Language
from sftpgate.store.disk_paths import DiskPath

log = get_logger("runner")

_ROWS_IN_REPORT = 100  # what a person reads; the rejected lines have all
_SHOWN_CHARACTERS = 200  # of a rejected row


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFacts:
    """What the header of a report says, in the language of its reader.

    ``max_attempts`` is None if the tool is no longer known. ``rows`` are the contents of the rejected rows, by their lines, and
    ``tryback`` how the file is called that has them. ``queued``: every arrival of the name counts, in order.
    ``is_public``: for a sender who may not read what is inside the platform.
    """

    tool: str
    arrival: Arrival
    started_at: datetime
    ended_at: datetime
    outcome: RunOutcome
    exit_status: int | None
    attempt: int
    max_attempts: int | None
    notices: tuple[Sentence, ...] = ()
    statement: Statement = NOTHING_STATED
    rows: Mapping[int, bytes] = field(default_factory=dict)
    tryback: str = ""
    queued: bool = False
    is_public: bool = False
    language: Language = Language.ENGLISH

    def for_the_sender(self) -> ReportFacts:
        """Return the same without what is inside the platform."""
        return replace(self, is_public=True)

    def header(self) -> bytes:
        """Return the header: a line for each fact, and an empty line."""
        item, said, say = self.arrival, self.statement, self._say
        lines = [
            (say("tool"), self.tool),
            *about_arrival(item, self.language),
            (say("started"), local_time(self.started_at)),
            (say("ended"), local_time(self.ended_at)),
            (say("exit status"), explained(self.exit_status, self.language)),
            (say("attempt"), self._attempt()),
            (say("outcome"), outcome_phrase(self.outcome, said.rejected, self.language)),
            (say("because"), self._told(said.not_the_file or said.failed)),
            (say("rows"), _number(said.rows)),
            (say("accepted"), _number(said.accepted)),
            (say("rejected"), _number(said.rejected)),
            (say("what next"), self._what_next()),
            *((say("rejected row"), row) for row in self._rejected_rows()),
            *((say("notice"), self._told(notice)) for notice in self.notices),
        ]
        return (as_text(lines) + "\n").encode("utf-8", "backslashreplace")

    def _attempt(self) -> str:
        if self.max_attempts is None:
            return str(self.attempt)
        return self._say("{attempt} of {most}", attempt=self.attempt, most=self.max_attempts)

    def _told(self, words: Words) -> str:
        """Return words in the reader's language, as far as it may read them."""
        text = in_language(words, self.language)
        return public_text(text) if self.is_public else text

    def _rejected_rows(self) -> Iterator[str]:
        listed = self.statement.rejected_rows
        for row in listed[:_ROWS_IN_REPORT]:
            where = self._say("line {line}", line=row.line) if row.line else ""
            content = shown(self.rows[row.line]) if row.line in self.rows else ""
            yield ": ".join(part for part in (where, self._told(row.reason), content) if part)
        more = max(self.statement.rejected or 0, len(listed)) - len(listed[:_ROWS_IN_REPORT])
        if more > 0 and listed:
            yield self._say("and {more} more", more=more)

    def _what_next(self) -> str:
        if self.outcome is RunOutcome.DONE:
            return ""
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


def about_arrival(item: Arrival, language: Language) -> list[tuple[str, str]]:
    """Return what every report says of its file, as names and values."""
    return [
        (phrase("arrival", language), item.id),
        (phrase("user", language), item.owner or phrase("(a local program)", language)),
        (phrase("path", language), item.path),
        (phrase("size", language), phrase("{size} bytes", language, size=item.size)),
        (phrase("SHA-256", language), item.sha256 or phrase("(not known)", language)),
        (phrase("received", language), local_time(item.received_at)),
    ]


def as_text(lines: Iterable[tuple[str, str]]) -> str:
    """Return names and values as lines; a name without a value has none."""
    return "".join(f"{name}: {printable(value)}\n" for name, value in lines if value)


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def explained(exit_status: int | None, language: Language = Language.ENGLISH) -> str:
    """Return an exit status for people. It is None if there was no command of ours, or if nobody saw its end."""
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
    report: DiskPath | None = None
    tryback: DiskPath | None = None
    output: DiskPath | None = None


class Reports:
    """Writes into ``reports``: first the papers, outside of any change, then in the change their names."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._disk = resources.disk

    def prepare(
        self,
        directory: DiskPath,
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
        """Remove what lies outside of ``reports``: all of it, if the names were not given."""
        for disk_path in (papers.report, papers.tryback, papers.output):
            if disk_path is not None:
                with contextlib.suppress(SftpgateError):  # it goes with the run's directory
                    self._disk.unlink(disk_path, missing_ok=True)

    def _write(self, fresh: DiskPath, chunks: Iterable[bytes]) -> DiskPath:
        fd = self._disk.create(fresh, self._resources.modes.file_mode)
        try:
            offset = 0
            for chunk in chunks:
                self._disk.write(fd, offset, chunk)
                offset += len(chunk)
            self._resources.open_to_readers(fd)
            if self._resources.durable:
                self._disk.sync(fd)
        finally:
            os.close(fd)
        return fresh

    def _link(self, fresh: DiskPath | None, names: StampedNames) -> str | None:
        return None if fresh is None else link_free(self._resources, fresh, names)


def link_free(resources: Resources, fresh: DiskPath, names: StampedNames) -> str:
    """Give a file the first free one of these names in ``reports``, durably; returns it. Called inside a change."""
    directory = resources.layout.disk_path(location(Area.REPORTS, ""))
    for number in count(names.first_free(lambda name: not resources.disk.exists(directory / name))):
        name = names.numbered(number)
        try:
            resources.disk.link(fresh, directory / name)
        except AlreadyExists:
            continue
        if resources.durable:
            resources.disk.sync_dirs([directory])
        return name
    raise AssertionError("report names do not end")


def opened(resources: Resources, disk_path: DiskPath) -> BinaryIO | None:
    """Return the regular file at ``disk_path``, or None if there is none with any content that we may read."""
    try:
        fd = resources.disk.open_read(disk_path)
    except NotFound:
        return None
    except SftpgateError as error:
        log.warning("report.unreadable", file=str(disk_path.local), reason=error.message)
        return None
    if os.fstat(fd).st_size:
        return os.fdopen(fd, "rb")
    os.close(fd)
    return None


def shown(row: bytes) -> str:
    """Return the beginning of a rejected row, for a report."""
    text = row.decode("utf-8", "backslashreplace").rstrip("\r\n")
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"


def local_time(at: datetime) -> str:
    """Return a time as the people of this machine read it, with its zone."""
    return at.astimezone().isoformat(sep=" ", timespec="seconds")
