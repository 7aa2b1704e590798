"""What the ledger is asked costs what it answers, and not what it keeps: by the plans of both databases.

The statements are those that the functions really run. PostgreSQL says how many rows each step of a plan has looked at; SQLite
says which tables it reads from end to end, and its steps are counted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event, insert

from sftpgate.ledger import arrivals, overview, reports, retention, runs
from sftpgate.ledger.audit import chain, event_log, feed
from sftpgate.ledger.audit.event_log import Wanted
from sftpgate.ledger.database.connection import Connection, Ledger
from sftpgate.ledger.database.engines import driver
from sftpgate.ledger.database.prepared import Prepared
from sftpgate.ledger.database.schema import arrivals as arrivals_table
from sftpgate.ledger.database.schema import events as events_table
from sftpgate.ledger.database.schema import microseconds
from sftpgate.ledger.database.schema import runs as runs_table
from sftpgate.policy.lifecycle import ArrivalState, HoldReason

RECORDS = 20_000
WAITING = 20  # the newest
MOST_ROWS = 1_500  # that a look may see: a page of each state
MOST_STEPS = 30_000  # of SQLite, which takes some ten for a row
BEGUN = datetime(2026, 1, 1, tzinfo=UTC)
END = BEGUN + timedelta(seconds=RECORDS)
PAGE = 51

Params = Sequence[object] | dict[str, object]


def _records(number: int) -> dict[str, object]:
    """An arrival: of four users, at the same few paths again and again; most of them archived, some replaced."""
    is_waiting = number >= RECORDS - WAITING
    state = "waiting" if is_waiting else ("replaced" if number % 2 else "done")
    at = BEGUN + timedelta(seconds=number)
    path = f"waiting/{number}.csv" if is_waiting else f"in/{number % 10}.csv"
    return {
        "id": f"{number:026}", "owner": f"erp{number % 4}", "home": "", "path": path, "state": state, "size": number,
        "sha256": f"{number:064}", "grade": "plausible", "location": f"store/{path}" if is_waiting else None, "inode": number,
        "mtime_ns": number, "received_at": at, "changed_at": at, "source": "sftp", "live": int(is_waiting),
        "archived_as": None if is_waiting else f"20260101-0000_{number:06}.csv",
    }  # fmt: skip


def _fill(ledger: Ledger) -> None:
    with ledger.transaction() as connection:
        connection.execute(insert(arrivals_table), [_records(number) for number in range(RECORDS)])
        happened = [
            {
                "seq": number, "at": BEGUN + timedelta(seconds=number), "event": "arrival.received", "actor": f"erp{number % 4}",
                "arrival": f"{number:026}", "details": "{}", "hash": f"{number:064}",
            }
            for number in range(10, RECORDS)
        ]  # fmt: skip
        connection.execute(insert(events_table), happened)
        chain.advance(connection, RECORDS - 1, f"{RECORDS - 1:064}")
        ran = [
            {
                "id": f"r{number}", "arrival": f"{number:026}", "tool": "t", "attempt": 1, "started_at": BEGUN, "outcome": "done",
                "owner": "erp0",
            }
            for number in range(RECORDS)
        ]  # fmt: skip
        connection.execute(insert(runs_table), ran)
        feed.join(connection, "somebody", at=BEGUN)
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("ANALYZE")  # as its server does by itself


@dataclass
class Asked:
    """Statements with their parameters."""

    statements: list[tuple[str, Params]] = field(default_factory=list)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """A ledger with years of history, in each of the databases."""
    if request.param == "sqlite":
        made = Ledger(f"sqlite:///{tmp_path_factory.mktemp('plans')}/ledger.db", durable=False)
    else:
        made = Ledger(request.getfixturevalue("postgresql").new_database(), durable=False)
    made.create()
    _fill(made)
    yield made
    made.close()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[Asked]:
    """Hears of each statement, also of those that are run without SQLAlchemy."""
    heard = Asked()

    def hear(_connection: object, _cursor: object, statement: str, parameters: Params, *_: object) -> None:
        heard.statements.append((statement, parameters))

    by_driver = Prepared.rows

    def rows(self: Prepared, connection: Connection, values: Sequence[dict[str, object]]) -> list[Sequence[Any]]:
        text, names = self._text(connection)
        values = list(values)
        heard.statements += [(text, row if names is None else [row[name] for name in names]) for row in values]
        return by_driver(self, connection, values)

    monkeypatch.setattr(Prepared, "rows", rows)
    event.listen(Engine, "before_cursor_execute", hear)
    yield heard
    event.remove(Engine, "before_cursor_execute", hear)


def _rows_looked_at(plan: dict[str, Any]) -> float:
    """The rows that the steps of a plan of PostgreSQL have read from tables."""
    own = plan.get("Actual Rows", 0) + plan.get("Rows Removed by Filter", 0) + plan.get("Rows Removed by Index Recheck", 0)
    below = sum(_rows_looked_at(step) for step in plan.get("Plans", []))
    return below + (own * plan.get("Actual Loops", 1) if "Relation Name" in plan else 0)


def _check_postgresql(connection: Connection, statement: str, parameters: Params) -> None:
    cursor = driver(connection).execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters)
    [plan] = cursor.fetchone()[0]
    assert _rows_looked_at(plan["Plan"]) <= MOST_ROWS, f"{statement}\n{plan}"


def _check_sqlite(connection: Connection, statement: str, parameters: Params) -> None:
    plan = [row[-1] for row in driver(connection).execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall()]
    scans = [step for step in plan if re.match(r"SCAN (arrivals|events|runs|reports)$", step)]
    assert not scans or " LIMIT " in statement, f"{statement}\n{plan}"
    ticks = 0

    def tick() -> int:
        nonlocal ticks
        ticks += 1
        return 0

    driver(connection).set_progress_handler(tick, 100)
    driver(connection).execute(statement, parameters).fetchall()
    driver(connection).set_progress_handler(None, 0)
    assert ticks * 100 <= MOST_STEPS, f"{ticks * 100} steps: {statement}\n{plan}"


RECENT, NEVER = END - timedelta(seconds=30), END + timedelta(days=1)
LOOKS: dict[str, Callable[[Connection], object]] = {
    "arrivals": lambda c: arrivals.newest(c, limit=PAGE),
    "arrivals --user": lambda c: arrivals.newest(c, owner="erp3", limit=PAGE),
    "arrivals --user, of nobody": lambda c: arrivals.newest(c, owner="nobody", limit=PAGE),
    "arrivals --since": lambda c: arrivals.newest(c, since=RECENT, limit=PAGE),
    "arrivals --since, of long ago": lambda c: arrivals.newest(c, since=BEGUN, limit=PAGE),
    "arrivals --since, nothing": lambda c: arrivals.newest(c, since=NEVER, limit=PAGE),
    "arrivals --state done": lambda c: arrivals.newest(c, states=[ArrivalState.DONE], limit=PAGE),
    "arrivals --state lost": lambda c: arrivals.newest(c, states=[ArrivalState.LOST], limit=PAGE),
    "arrivals --state --user --since": lambda c: arrivals.newest(
        c, states=[ArrivalState.DONE, ArrivalState.LOST], owner="erp1", since=BEGUN, limit=PAGE
    ),
    "show": lambda c: overview.by_prefix(c, f"{7:026}"),
    "what waits": overview.waiting,
    "what is held": overview.held_back,
    "what is held, for a reason": lambda c: arrivals.held_for(c, HoldReason.INCOMPLETE, after_seq=0, limit=50),
    "open claims": overview.open_claims,
    "the same path before": lambda c: arrivals.last_of(c, "in/1.csv", "erp1", limit=6),
    "a path that is sent again": lambda c: arrivals.line_at(c, ["in/1.csv", "waiting/19990.csv"], owner="erp1"),
    "the same content before": lambda c: arrivals.sent_before(c, "in/1.csv", owner="erp1", size=1, sha256="x"),
    "what ended alike": lambda c: arrivals.ended_alike(c, "in/1.csv", 1, 1),
    "what is not settled": arrivals.pending,
    "what a user has waiting": lambda c: arrivals.usage(c, "erp2"),
    "what was replaced today": lambda c: arrivals.replaced_bytes(c, "erp1", RECENT),
    "when a program took a file": lambda c: arrivals.last_taken_at(c, "in/1.csv"),
    "whose an archive is": lambda c: arrivals.archive_owner(c, "20260101-0000_000007.csv"),
    "what is archived as": lambda c: arrivals.find(c, archived_as="20260101-0000_000007.csv"),
    "a page of archives": lambda c: arrivals.archives_of(c, "erp3", after="20260101-0000_01", limit=100),
    "a directory of the drop": lambda c: arrivals.paths_in(c, "waiting", owner="erp3", limit=100),
    "the runs of an arrival": lambda c: runs.of_arrival(c, f"{7:026}"),
    "the last run of a tool": lambda c: runs.last_of_tool(c, "t"),
    "what a tool has processed": lambda c: runs.processed_by(c, "t", 50),
    "the reports of an arrival": lambda c: reports.of_arrival(c, f"{7:026}"),
    "holds that nobody was told of": lambda c: reports.untold_holds(
        c, END, {HoldReason.INCOMPLETE: timedelta(0), HoldReason.BATCH_LOCK: timedelta(minutes=10)}, 50
    ),
    "audit": lambda c: list(event_log.search(c, Wanted(), last=PAGE)),
    "audit --user": lambda c: list(event_log.search(c, Wanted(user="erp1"), last=PAGE)),
    "audit --user, of nobody": lambda c: list(event_log.search(c, Wanted(user="nobody"), last=PAGE)),
    "audit --user --since": lambda c: list(event_log.search(c, Wanted(user="erp1", since=RECENT), last=PAGE)),
    "audit --until": lambda c: list(event_log.search(c, Wanted(until=BEGUN + timedelta(seconds=300)), last=PAGE)),
    "audit --since, all": lambda c: list(event_log.search(c, Wanted(since=RECENT))),
    "audit --arrival": lambda c: list(event_log.search(c, Wanted(arrival=f"{7:026}"), last=PAGE)),
    "audit --since": lambda c: list(event_log.search(c, Wanted(since=RECENT), last=PAGE)),
    "audit --since, nothing": lambda c: list(event_log.search(c, Wanted(since=NEVER), last=PAGE)),
    "audit --since --event": lambda c: list(event_log.search(c, Wanted(since=RECENT, event="login.*"), last=PAGE)),
    "audit --since --address": lambda c: list(event_log.search(c, Wanted(since=RECENT, address="192.0.2.1"), last=PAGE)),
    "the history of an arrival": lambda c: event_log.history(c, f"{7:026}"),
    "a batch of a follower": lambda c: feed.read(c, "somebody", events=["login.failed"]),
    "what all followers have read": lambda c: feed.read_by_all(c, END),
    "events that are too old": lambda c: retention.events_before(c, BEGUN + timedelta(seconds=60)),
}


@pytest.mark.parametrize("name", LOOKS)
def test_a_look_reads_what_it_shows(ledger: Ledger, asked: Asked, name: str) -> None:
    """None of what a command, a page or an upload asks reads a table from end to end."""
    with ledger.reading() as connection:
        LOOKS[name](connection)
        statements, asked.statements = asked.statements, []
        assert statements
        for statement, parameters in statements:
            if connection.dialect.name == "sqlite":
                _check_sqlite(connection, statement, parameters)
            else:
                _check_postgresql(connection, statement, parameters)


def test_pruning_events_reads_a_batch(ledger: Ledger, asked: Asked) -> None:
    """A batch of old events is found without a look at all the other old ones."""
    with ledger.transaction() as connection:
        event_log.prune_before(connection, END, limit=100, at=END)
        [first] = [found for found in asked.statements if "FROM events" in found[0] and found[0].startswith("SELECT")]
        if connection.dialect.name == "sqlite":
            _check_sqlite(connection, *first)
        else:
            _check_postgresql(connection, *first)


def test_listings_by_state_user_and_time(ledger: Ledger) -> None:
    """A listing finds the newest that fit all that is asked for, in the order of their times."""
    at = microseconds(RECENT)
    with ledger.reading() as connection:
        found = arrivals.newest(connection, owner="erp1", since=RECENT, limit=PAGE)
        assert [item.id for item in found] == [
            f"{number:026}" for number in range(RECORDS - 1, RECORDS - 31, -1) if number % 4 == 1
        ]
        assert all(microseconds(item.received_at) >= at for item in found)
        waiting = arrivals.newest(connection, states=[ArrivalState.WAITING], limit=3)
        assert [item.id for item in waiting] == [f"{RECORDS - number:026}" for number in (1, 2, 3)]
        found = arrivals.newest(connection, glob="in/7.csv", states=[ArrivalState.REPLACED], limit=2)
        assert [item.id for item in found] == [f"{RECORDS - number:026}" for number in (23, 33)]
