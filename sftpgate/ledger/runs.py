"""Records of runs: one row each, from the claim to the end, with the names of its report and its rejected lines.

A run has the id of its claim. All functions take an open connection, so that several of them make one transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import datetime

from sqlalchemy import Connection, Row, insert, or_, select, update

from sftpgate.ledger import reports
from sftpgate.ledger.schema import runs
from sftpgate.policy.runs import RunOutcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One execution of a tool on an arrival. What is known at its end only is None before.

    ``exit_status`` is negative for a command that a signal ended: minus the signal's number. ``report`` and ``tryback`` are names
    in ``reports``.
    """

    id: str
    arrival: str
    owner: str
    tool: str
    attempt: int
    started_at: datetime
    ended_at: datetime | None = None
    exit_status: int | None = None
    outcome: RunOutcome | None = None
    report: str | None = None
    tryback: str | None = None


_PAGE = 1000
_FIELDS = [field.name for field in fields(Run)]
_ALL = select(*(runs.c[name] for name in _FIELDS))


def begin(connection: Connection, run: Run) -> None:
    """Record a run that begins."""
    connection.execute(insert(runs).values({name: getattr(run, name) for name in _FIELDS}))


def finish(
    connection: Connection,
    run: str,
    *,
    ended_at: datetime,
    outcome: RunOutcome,
    exit_status: int | None = None,
    report: str | None = None,
    tryback: str | None = None,
) -> None:
    """Record how a run ended. Does nothing where the ledger has no such run: it was made anew meanwhile."""
    values = {"ended_at": ended_at, "outcome": outcome.value, "exit_status": exit_status, "report": report, "tryback": tryback}
    connection.execute(update(runs).where(runs.c.id == run).values(values))
    about = connection.execute(select(runs.c.owner, runs.c.arrival).where(runs.c.id == run)).first()
    for name in (report, tryback):
        if name is not None and about is not None:
            reports.add(connection, name, owner=about.owner, arrival=about.arrival, at=ended_at)


def of_arrival(connection: Connection, arrival: str) -> list[Run]:
    """The runs of an arrival, in order."""
    return _runs(connection.execute(_ALL.where(runs.c.arrival == arrival).order_by(runs.c.seq)).all())


def last_of_tool(connection: Connection, tool: str) -> Run | None:
    """The run of a tool that began last, or None where it never ran."""
    found = _runs(connection.execute(_ALL.where(runs.c.tool == tool).order_by(runs.c.seq.desc()).limit(1)).all())
    return found[0] if found else None


def outcomes(connection: Connection, after: int, also: Collection[int]) -> Iterator[tuple[int, str | None]]:
    """Number and outcome (None: not over) of the runs after a number, and of those that ``also`` names; a page at a time."""
    query = select(runs.c.seq, runs.c.outcome).where(or_(runs.c.seq > after, runs.c.seq.in_(also))).order_by(runs.c.seq)
    yield from ((seq, outcome) for seq, outcome in connection.execute(query.execution_options(yield_per=_PAGE)))


def _runs(rows: Sequence[Row[tuple[object, ...]]]) -> list[Run]:
    found = []
    for row in rows:
        values = dict(row._mapping)  # noqa: SLF001  # the documented way to a row's mapping
        if values["outcome"] is not None:
            values["outcome"] = RunOutcome(values["outcome"])
        found.append(Run(**values))
    return found
