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
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, count
from typing import BinaryIO

from sftpgate.errors import AlreadyExists, NotFound, SftpgateError
from sftpgate.intake.ids import new_id
from sftpgate.intake.moves import Moves
from sftpgate.ledger.arrivals import Arrival
from sftpgate.logs import get_logger, printable
from sftpgate.policy.lifecycle import Area
from sftpgate.policy.locations import location
from sftpgate.policy.runs import RunOutcome, is_last
from sftpgate.policy.stamps import StampedNames, report_names, tryback_names
from sftpgate.store.spots import Spot

log = get_logger("runner")

_CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the header of a report says. ``max_attempts`` is None where the tool is no longer known."""

    tool: str
    arrival: Arrival
    started_at: datetime
    ended_at: datetime
    outcome: RunOutcome
    exit_status: int | None
    attempt: int
    max_attempts: int | None
    notices: tuple[str, ...] = ()

    def header(self) -> str:
        """The header: a line for each fact, and an empty line."""
        item = self.arrival
        lines = {
            "tool": self.tool,
            "arrival": item.id,
            "user": item.owner or "(a local program)",
            "path": item.path,
            "size": f"{item.size} bytes",
            "SHA-256": item.sha256 or "(not known)",
            "received": local_time(item.received_at),
            "started": local_time(self.started_at),
            "ended": local_time(self.ended_at),
            "exit status": explained(self.exit_status),
            "attempt": f"{self.attempt} of {self.max_attempts}" if self.max_attempts else str(self.attempt),
            "outcome": self.outcome.value,
        }
        if self.outcome is not RunOutcome.DONE:
            lines["what next"] = self._what_next()
        rows = [f"{name}: {printable(value)}" for name, value in lines.items()]
        rows += [f"notice: {printable(notice)}" for notice in self.notices]
        return "\n".join(rows) + "\n\n"

    def _what_next(self) -> str:
        if is_last(self.outcome, attempts=self.attempt, max_attempts=self.max_attempts):
            return "the file is set aside and is not tried again: correct it and send it again, or ask the administrators"
        return "the file is tried again, unless a newer one of its name has come"


def explained(exit_status: int | None) -> str:
    """An exit status for people. It is None where there was no command of ours, or where nobody saw its end."""
    if exit_status is None:
        return "(not known)"
    if exit_status >= 0:
        return str(exit_status)
    try:
        return f"killed by signal {-exit_status} ({signal.Signals(-exit_status).name})"
    except ValueError:
        return f"killed by signal {-exit_status}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Papers:
    """A report and rejected lines that are complete and durable, and have no names in ``reports`` yet. None: there is none."""

    name: str
    at: datetime
    report: Spot | None = None
    tryback: Spot | None = None


class Reports:
    """Writes into ``reports``: first the papers, outside of any change, then in the change their names."""

    def __init__(self, moves: Moves) -> None:
        self._moves = moves
        self._disk = moves.disk

    def prepare(self, directory: Spot, facts: Facts, body: BinaryIO | None, lines: BinaryIO | None, encoding: str = "") -> Papers:
        """The papers of a run, in its own directory. ``body`` is the tool's output, as it came in ``encoding``."""
        header = facts.header().encode("utf-8", "backslashreplace")
        unique = new_id(facts.ended_at)  # two who bring back one dead claim must not write into one file
        return Papers(
            name=facts.arrival.path.rpartition("/")[2],
            at=facts.ended_at,
            report=self._write(directory / f".report-{unique}", chain([header], _as_utf8(body, encoding))),
            tryback=None if lines is None else self._write(directory / f".rejected-{unique}", _chunks(lines)),
        )

    def publish(self, papers: Papers) -> tuple[str | None, str | None]:
        """Give papers their names; returns those of the report and of the rejected lines. Called inside a change."""
        at = papers.at.astimezone()
        return self._link(papers.report, report_names(papers.name, at)), self._link(
            papers.tryback, tryback_names(papers.name, at)
        )

    def discard(self, papers: Papers) -> None:
        """Remove what lies outside of ``reports``: all of it, where the names were not given."""
        for spot in (papers.report, papers.tryback):
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
            self._disk.set_mode(fd, self._moves.modes.file_mode, self._moves.modes.gid)
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


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK_BYTES):
        yield chunk


def _as_utf8(body: BinaryIO | None, encoding: str) -> Iterator[bytes]:
    """The tool's output in UTF-8, with ``\\xNN`` for bytes that ``encoding`` does not have; untouched where none is set."""
    if body is None:
        return
    if not encoding:
        yield from _chunks(body)
        return
    decoder = codecs.getincrementaldecoder(encoding)(errors="backslashreplace")
    for chunk in _chunks(body):
        yield decoder.decode(chunk).encode("utf-8", "backslashreplace")
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


def local_time(at: datetime) -> str:
    """A time as the people of this machine read it, with its zone."""
    return at.astimezone().isoformat(sep=" ", timespec="seconds")
