"""Records of runs: one row each, from the claim to the end, with the names of its report and its rejected lines.

A run has the id of its claim. All functions take an open connection, so that several of them make one transaction.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from itertools import takewhile

from sqlalchemy import Connection, Row, exists, insert, or_, select, update

from sftpgate.ledger import reports
from sftpgate.ledger.arrivals import LOCAL_OWNER
from sftpgate.ledger.database.schema import arrivals, runs, undos
from sftpgate.policy.outcome import NOTHING_STATED, Statement
from sftpgate.policy.runs import PROCESSED, RunOutcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One execution of a tool on an arrival. What is known at its end only is None before.

    ``exit_status`` is negative for a command that a signal ended: minus the signal's number. ``report``, ``tryback`` and
    ``output`` are names in ``reports``, the last one for the admin alone. ``rows``, ``accepted`` and ``rejected`` are None if the
    tool did not say; ``rejected_rows`` are the first rejected ones, each as its line in the file and the reason. ``because`` says
    why the run failed, or why the file was not to blame.
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
    output: str | None = None
    rows: int | None = None
    accepted: int | None = None
    rejected: int | None = None
    rejected_rows: tuple[tuple[int, str], ...] = ()
    because: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportNames:
    """The names in ``reports`` of what was kept of a run; None if there is none. ``output`` is for the admin alone."""

    report: str | None = None
    tryback: str | None = None
    output: str | None = None


NO_REPORTS = ReportNames()

HISTORY_FILES = 400  # that a tool has processed, for contracts to look back at: a year of nights
KEPT_ROWS = 1000  # rejected rows in the record of a run; the report and the rejected lines have more
_PAGE = 1000
_FIELDS = [field.name for field in fields(Run)]
_ALL = select(*(runs.c[name] for name in _FIELDS))
_UNDOING = runs.alias("undoing")


def begin(connection: Connection, run: Run) -> None:
    """Record a run that begins."""
    values = {name: getattr(run, name) for name in _FIELDS}
    connection.execute(insert(runs).values({**values, "rejected_rows": _listed(run.rejected_rows)}))


def finish(
    connection: Connection,
    run: str,
    *,
    ended_at: datetime,
    outcome: RunOutcome,
    exit_status: int | None = None,
    statement: Statement = NOTHING_STATED,
    names: ReportNames = NO_REPORTS,
) -> None:
    """Record how a run ended. Does nothing if the ledger has no such run: it was made anew meanwhile."""
    values = {
        "ended_at": ended_at,
        "outcome": outcome.value,
        "exit_status": exit_status,
        "report": names.report,
        "tryback": names.tryback,
        "output": names.output,
        "rows": statement.rows,
        "accepted": statement.accepted,
        "rejected": statement.rejected,
        "rejected_rows": _listed([(row.line, row.reason) for row in statement.rejected_rows[:KEPT_ROWS]]),
        "because": str(statement.not_the_file or statement.failed) or None,
    }
    connection.execute(update(runs).where(runs.c.id == run).values(values))
    about = connection.execute(select(runs.c.owner, runs.c.arrival).where(runs.c.id == run)).first()
    if about is None:
        return
    for name, owner in ((names.report, about.owner), (names.tryback, about.owner), (names.output, LOCAL_OWNER)):
        if name is not None:
            reports.add(connection, name, owner=owner, arrival=about.arrival, at=ended_at)


def of_arrival(connection: Connection, arrival: str) -> list[Run]:
    """Return the runs of an arrival, in order."""
    return _runs(connection.execute(_ALL.where(runs.c.arrival == arrival).order_by(runs.c.seq)).all())


def last_of_tool(connection: Connection, tool: str) -> Run | None:
    """Return the run of a tool that began last, or None if it never ran."""
    found = _runs(connection.execute(_ALL.where(runs.c.tool == tool).order_by(runs.c.seq.desc()).limit(1)).all())
    return found[0] if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessedFile:
    """A file that a tool has processed: its arrival, content and place (None: it is not kept), and when the run ended."""

    arrival: str
    path: str
    sha256: str
    size: int
    location: str | None
    at: datetime


def processed_by(connection: Connection, tool: str, limit: int, *, with_undone: bool = False) -> list[ProcessedFile]:
    """Return what a tool has processed, the latest first, at most ``limit``: whose runs ended as done, all rows or not all.

    A later file is compared with the first of them. So commands that undo a run are not among them, and neither is what such
    commands have undone: the platform has what was there before. ``with_undone``: all of it, for people.
    """
    query = (
        select(arrivals.c.id, arrivals.c.path, arrivals.c.sha256, arrivals.c.size, arrivals.c.location, runs.c.ended_at)
        .join(arrivals, arrivals.c.id == runs.c.arrival)
        .where(runs.c.tool == tool, runs.c.outcome.in_([outcome.value for outcome in PROCESSED]))
        .order_by(runs.c.seq.desc())
        .limit(limit)
    )
    if not with_undone:
        commands = select(undos.c.arrival).where(undos.c.is_commands)
        ran = exists().where(
            _UNDOING.c.arrival == undos.c.arrival, _UNDOING.c.outcome.in_([outcome.value for outcome in PROCESSED])
        )
        undone = select(undos.c.undone).where(undos.c.is_commands, ran)  # no join, which may begin with all runs
        query = query.where(runs.c.arrival.not_in(commands), runs.c.arrival.not_in(undone))
    return [
        ProcessedFile(arrival=row.id, path=row.path, sha256=row.sha256, size=row.size, location=row.location, at=row.ended_at)
        for row in connection.execute(query)
    ]


def outcomes(connection: Connection, after: int, also: Collection[int]) -> Iterator[tuple[int, str | None]]:
    """Return number and outcome (None: not over) of the runs after a number, and of those that ``also`` names; a page at a
    time.
    """
    query = select(runs.c.seq, runs.c.outcome).where(or_(runs.c.seq > after, runs.c.seq.in_(also))).order_by(runs.c.seq)
    yield from ((seq, outcome) for seq, outcome in connection.execute(query.execution_options(yield_per=_PAGE)))


def tries_without_blame(connection: Connection, arrival: str) -> int:
    """Return how many runs of an arrival ended, one after the other and up to the last one, without the file being to blame."""
    query = select(runs.c.outcome).where(runs.c.arrival == arrival, runs.c.outcome.is_not(None)).order_by(runs.c.seq.desc())
    return sum(1 for _ in takewhile(lambda found: found == RunOutcome.NOT_THE_FILE.value, connection.execute(query).scalars()))


def _listed(rows: Collection[tuple[int, str]]) -> str | None:
    return json.dumps(list(rows), ensure_ascii=False) if rows else None


def _runs(rows: Sequence[Row[tuple[object, ...]]]) -> list[Run]:
    found = []
    for row in rows:
        values = dict(row._mapping)  # noqa: SLF001  # the documented way to a row's mapping
        if values["outcome"] is not None:
            values["outcome"] = RunOutcome(values["outcome"])
        values["rejected_rows"] = tuple((line, reason) for line, reason in json.loads(values["rejected_rows"] or "[]"))
        found.append(Run(**values))
    return found
