"""Reports of runs, and the rejected lines that tools leave: files in ``reports``, whole or not there, never overwritten.

A file is made complete and durable in the run's own directory, and then linked to the first free name. A crash in between leaves
it in the run's directory, which goes with the claim; a crash after the link leaves a report that the ledger does not know: the
run is repeated and has another one. Everything blocks.
"""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO

from sftpgate.errors import AlreadyExists, NotFound, SftpgateError
from sftpgate.intake.moves import Moves
from sftpgate.ledger.arrivals import Arrival
from sftpgate.logs import get_logger, printable
from sftpgate.policy.lifecycle import Area
from sftpgate.policy.locations import location
from sftpgate.policy.runs import RunOutcome
from sftpgate.policy.stamps import report_names, tryback_names
from sftpgate.store.disk import Spot

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
            "received": _local(item.received_at),
            "started": _local(self.started_at),
            "ended": _local(self.ended_at),
            "exit status": explained(self.exit_status),
            "attempt": f"{self.attempt} of {self.max_attempts}" if self.max_attempts else str(self.attempt),
            "outcome": self.outcome.value,
        }
        rows = [f"{name}: {printable(value)}" for name, value in lines.items()]
        rows += [f"notice: {printable(notice)}" for notice in self.notices]
        return "\n".join(rows) + "\n\n"


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


class Reports:
    """Writes into ``reports``."""

    def __init__(self, moves: Moves) -> None:
        self._moves = moves
        self._disk = moves.disk

    def write(self, directory: Spot, facts: Facts, body: BinaryIO | None) -> str:
        """The name of a new report. ``body`` is the tool's output, as it came; ``directory`` is the run's own."""
        name = facts.arrival.path.rpartition("/")[2]
        header = io.BytesIO(facts.header().encode("utf-8", "backslashreplace"))
        parts = [header, body] if body is not None else [header]
        return self._keep(directory / ".report", report_names(name, facts.ended_at.astimezone()), parts)

    def keep_tryback(self, directory: Spot, arrival: Arrival, at: datetime, lines: BinaryIO) -> str:
        """The name under which rejected lines are kept."""
        name = arrival.path.rpartition("/")[2]
        return self._keep(directory / ".rejected", tryback_names(name, at.astimezone()), [lines])

    def _keep(self, fresh: Spot, names: Iterator[str], parts: Iterable[BinaryIO]) -> str:
        self._disk.unlink(fresh, missing_ok=True)
        fd = self._disk.create(fresh, self._moves.modes.file_mode)
        try:
            offset = 0
            for part in parts:
                while chunk := part.read(_CHUNK_BYTES):
                    self._disk.write(fd, offset, chunk)
                    offset += len(chunk)
            self._disk.set_mode(fd, self._moves.modes.file_mode, self._moves.modes.gid)
            if self._moves.durable:
                self._disk.sync(fd)
        finally:
            os.close(fd)
        name = self._link(fresh, names)
        self._disk.unlink(fresh)
        return name

    def _link(self, fresh: Spot, names: Iterator[str]) -> str:
        for name in names:
            target = self._moves.layout.spot(location(Area.REPORTS, name))
            try:
                self._disk.link(fresh, target)
            except AlreadyExists:
                continue
            if self._moves.durable:
                self._disk.sync_dirs([target.parent])
            return name
        raise AssertionError("report names do not end")


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


def _local(at: datetime) -> str:
    return at.astimezone().isoformat(sep=" ", timespec="seconds")
