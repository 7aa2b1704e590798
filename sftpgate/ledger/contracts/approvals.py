"""Who let which file go that a contract holds, and why: one row for each person and file.

An approval is of one arrival with one content, judged by one contract against one file; another verdict needs another approval.
Whether one has ended is a rule of ``policy.approvals``; that it has is recorded here, so that no clock makes it good again. All
functions take an open connection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime

from sqlalchemy import Connection, Row, delete, exists, insert, select, update

from sftpgate.ledger.arrivals import ArrivalId
from sftpgate.ledger.database.schema import approvals, arrivals, runs
from sftpgate.policy.approvals import Moment
from sftpgate.policy.lifecycle import ArrivalState
from sftpgate.policy.runs import UNCOUNTED


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is approved: a content, as a file of a tool, by its contract (a digest) against the file of this SHA-256; the last
    two are empty if there is none.
    """

    sha256: str
    tool: str
    contract: str
    against: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval(Subject):
    """One person's. ``needed``: how many people the contract asked for. ``person`` is who it is, whatever account ``actor``
    says; ``at``, ``boot`` and ``uptime`` are when it was given.
    """

    arrival: ArrivalId
    needed: int
    person: str
    actor: str
    reason: str
    at: datetime
    boot: str
    uptime: float
    ended_at: datetime | None = None

    @property
    def subject(self) -> Subject:
        """What was approved."""
        return Subject(sha256=self.sha256, tool=self.tool, contract=self.contract, against=self.against)

    @property
    def given(self) -> Moment:
        """When it was given."""
        return Moment(at=self.at, boot=self.boot, uptime=self.uptime)


_FIELDS = [field.name for field in fields(Approval)]
_ALL = select(*(approvals.c[name] for name in _FIELDS))
_OPEN = approvals.c.ended_at.is_(None)
_UNDECIDED = [state.value for state in (ArrivalState.HELD, ArrivalState.WAITING, ArrivalState.QUEUED)]


def add(connection: Connection, approval: Approval) -> None:
    """Record an approval."""
    connection.execute(insert(approvals).values({name: getattr(approval, name) for name in _FIELDS}))


def of_arrival(connection: Connection, arrival: str) -> list[Approval]:
    """Return all approvals of an arrival, in their order."""
    return _read(connection.execute(_ALL.where(approvals.c.arrival == arrival).order_by(approvals.c.seq)).all())


def open_of(connection: Connection, arrival: str) -> list[Approval]:
    """Return those that were not recorded as ended."""
    return _read(connection.execute(_ALL.where(approvals.c.arrival == arrival, _OPEN).order_by(approvals.c.seq)).all())


def unused(connection: Connection) -> list[Approval]:
    """Return the open approvals of files that no tool has run on and no runner has, in their order."""
    has_run = exists().where(
        runs.c.arrival == arrivals.c.id,
        runs.c.outcome.is_not(None),
        runs.c.outcome.not_in([outcome.value for outcome in UNCOUNTED]),
    )
    query = (
        _ALL.join(arrivals, arrivals.c.id == approvals.c.arrival)
        .where(_OPEN, arrivals.c.state.in_(_UNDECIDED), ~has_run)
        .order_by(approvals.c.seq)
    )
    return _read(connection.execute(query).all())


def end(connection: Connection, arrival: str, at: datetime) -> None:
    """Record that all approvals of an arrival have ended."""
    connection.execute(update(approvals).where(approvals.c.arrival == arrival, _OPEN).values(ended_at=at))


def prune(connection: Connection, before: datetime) -> int:
    """Remove approvals that were given before a time, and return how many. The audit record has them still."""
    return int(connection.execute(delete(approvals).where(approvals.c.at < before)).rowcount)


def _read(rows: Sequence[Row[tuple[object, ...]]]) -> list[Approval]:
    return [Approval(**row._mapping) for row in rows]  # noqa: SLF001  # the documented way to a row's mapping
