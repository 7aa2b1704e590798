"""The chain of events: what was done to the record is found, wherever it was done."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sftpgate.ledger import runs
from sftpgate.ledger.audit import chain, event_log
from sftpgate.ledger.audit.actor import sender
from sftpgate.ledger.audit.chain import Break
from sftpgate.ledger.audit.event_log import Event, Wanted
from sftpgate.ledger.database.connection import Ledger, get_fact
from sftpgate.ledger.database.schema import SCHEMA_VERSION
from sftpgate.policy.outcome import Statement
from sftpgate.policy.runs import RunOutcome
from tests.harness.postgresql import PostgreSQL

AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
RECORDS = 8  # that are told, after the one that begins the chain


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the ledger is."""
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(file: Path) -> Iterator[Ledger]:
    """A ledger with some events, one an hour."""
    made = Ledger(f"sqlite:///{file}", durable=False, clock=lambda: AT)
    made.create()
    for number in range(RECORDS):
        tell(made, event(number))
    yield made
    made.close()


def event(number: int) -> Event:
    """An event of hour ``number``."""
    return Event(
        at=AT + timedelta(hours=number),
        event="login.refused",
        actor=sender("erp"),
        address="192.0.2.1",
        details={"number": number},
    )


def tell(ledger: Ledger, *events: Event) -> None:
    """Record events."""
    with ledger.transaction() as connection:
        event_log.record(connection, events)


def broken(ledger: Ledger, noted: tuple[int, str] | None = None) -> Break | None:
    """What the check of the chain finds."""
    with ledger.reading() as connection:
        return chain.verify(connection, noted=noted)


def ends(ledger: Ledger) -> chain.Ends:
    """Both ends of the chain."""
    with ledger.reading() as connection:
        return chain.ends(connection)


def tamper(file: Path, statement: str) -> None:
    """Somebody with a database tool."""
    with sqlite3.connect(file) as connection:
        connection.execute(statement)
    connection.close()


@pytest.mark.promise("P8")
def test_a_chain_that_nobody_touched(ledger: Ledger) -> None:
    """Records are numbered without gaps, begin with one that says so, and hang together."""
    with ledger.reading() as connection:
        records = list(event_log.search(connection, Wanted()))
    assert [record.seq for record in records] == list(range(1, RECORDS + 2))
    assert records[0].event.details == {"reason": "a new ledger"}
    assert broken(ledger) is None
    assert ends(ledger) == chain.Ends(RECORDS + 1, records[-1].hash, 0, chain.GENESIS)


@pytest.mark.promise("P8")
@pytest.mark.parametrize(
    "change",
    [
        "UPDATE events SET actor = 'other' WHERE seq = 4",
        "UPDATE events SET address = NULL WHERE seq = 4",
        "UPDATE events SET at = at + 1 WHERE seq = 4",
        "UPDATE events SET details = '{}' WHERE seq = 4",
        "UPDATE events SET hash = '' WHERE seq = 4",
        "UPDATE events SET arrival = 'x' WHERE seq = 4",
    ],
)
def test_a_changed_record(ledger: Ledger, file: Path, change: str) -> None:
    """A record of which one field was changed is named."""
    tamper(file, change)
    found = broken(ledger)
    assert found is not None
    assert (found.seq, "changed" in found.problem) == (4, True)


@pytest.mark.promise("P8")
def test_a_removed_record(ledger: Ledger, file: Path) -> None:
    """Where a record is missing in the middle, the one behind the gap is named."""
    tamper(file, "DELETE FROM events WHERE seq IN (4, 5)")
    assert broken(ledger) == Break(seq=6, problem="records before it, after 3, are missing, or it was changed")


@pytest.mark.promise("P8")
def test_a_record_that_was_put_in(ledger: Ledger, file: Path) -> None:
    """A record that somebody added behind the end is named, with whatever hash."""
    tamper(file, "INSERT INTO events SELECT seq + 1, at, event, actor, address, arrival, details, hash FROM events WHERE seq = 9")
    found = broken(ledger)
    assert found is not None
    assert found.seq == RECORDS + 2


@pytest.mark.promise("P8")
@pytest.mark.parametrize("first_gone", [2, RECORDS + 1])
def test_a_cut_off_tail(ledger: Ledger, file: Path, first_gone: int) -> None:
    """A tail that was cut off is found by the head, and the first missing record is named."""
    tamper(file, f"DELETE FROM events WHERE seq >= {first_gone}")  # noqa: S608 - a number of ours
    found = broken(ledger)
    assert found is not None
    assert (found.seq, "missing at the end" in found.problem) == (first_gone, True)


@pytest.mark.promise("P8")
def test_a_cut_off_beginning(ledger: Ledger, file: Path) -> None:
    """A beginning that was removed without leave is found, also where the anchor was moved with it."""
    tamper(file, "UPDATE chain SET anchor_seq = 3, anchor_hash = (SELECT hash FROM events WHERE seq = 3)")
    tamper(file, "DELETE FROM events WHERE seq <= 3")
    found = broken(ledger)
    assert found is not None
    assert "no record says that they were pruned" in found.problem


@pytest.mark.promise("P8")
def test_a_chain_that_was_written_anew(ledger: Ledger, file: Path) -> None:
    """Who can write the database can make a whole new chain; a head that was noted elsewhere finds that, and one that is
    in the chain does not.
    """
    head = ends(ledger)
    noted = (head.head_seq, head.head_hash)
    tell(ledger, event(20))
    assert broken(ledger, noted) is None
    tamper(file, "UPDATE events SET actor = 'other' WHERE seq = 4")
    tamper(file, "DELETE FROM chain")
    with ledger.transaction() as connection:
        chain.begin(connection)
    assert broken(ledger) is None
    found = broken(ledger, noted)
    assert found is not None
    assert found.seq == noted[0]


@pytest.mark.promise("P8")
def test_a_noted_head_that_is_gone(ledger: Ledger) -> None:
    """A ledger that was put back from an old copy lacks the noted head."""
    found = broken(ledger, (RECORDS + 50, "0" * 64))
    assert found is not None
    assert "the noted head is not there" in found.problem


@pytest.mark.promise("P8")
def test_pruning_keeps_the_chain(ledger: Ledger, file: Path) -> None:
    """Old records can be removed; the rest is still a chain, says what went, and finds what somebody does to it."""
    with ledger.transaction() as connection:
        assert event_log.prune_before(connection, AT + timedelta(hours=3), limit=2) == 2
    with ledger.transaction() as connection:
        assert event_log.prune_before(connection, AT + timedelta(hours=3)) == 2
    with ledger.transaction() as connection:
        assert event_log.prune_before(connection, AT + timedelta(hours=3)) == 0
    assert broken(ledger) is None
    with ledger.reading() as connection:
        [*rest, first, last] = event_log.search(connection, Wanted())
    assert [record.event.details.get("number") for record in rest] == [3, 4, 5, 6, 7]
    assert [(record.event.event, record.event.details["up_to"]) for record in (first, last)] == [
        ("audit.pruned", 2),
        ("audit.pruned", 4),
    ]
    tamper(file, "UPDATE events SET actor = 'other' WHERE seq = 7")
    found = broken(ledger)
    assert found is not None
    assert found.seq == 7


@pytest.mark.promise("P8")
def test_everything_can_be_pruned(ledger: Ledger) -> None:
    """When all records are too old, one is left, which says so, and later ones follow it."""
    with ledger.transaction() as connection:
        assert event_log.prune_before(connection, AT + timedelta(days=9)) == RECORDS + 1
    assert broken(ledger) is None
    tell(ledger, event(1))
    assert broken(ledger) is None


@pytest.mark.promise("P8")
def test_two_processes(file: Path, ledger: Ledger) -> None:
    """Records of several writers make one chain (two connections to one file, as two processes have them)."""
    other = Ledger(f"sqlite:///{file}", durable=False)
    writers = [threading.Thread(target=_write, args=(to, 30)) for to in (ledger, other)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    other.close()
    assert broken(ledger) is None
    assert ends(ledger).head_seq == RECORDS + 1 + 60


@pytest.mark.promise("P8")
def test_a_failed_transaction_leaves_no_link(ledger: Ledger) -> None:
    """Events of a transaction that is rolled back are not on the record, and the chain goes on where it was."""
    before = ends(ledger)
    with pytest.raises(ZeroDivisionError), ledger.transaction() as connection:
        event_log.record(connection, [event(1)])
        _ = 1 / 0
    assert ends(ledger) == before
    tell(ledger, event(1))
    assert broken(ledger) is None


@pytest.mark.promise("P8")
def test_an_earlier_ledger_is_upgraded(file: Path, ledger: Ledger) -> None:
    """The records of a ledger of version 1 are chained at the first start, and a record says so; the next start leaves all
    as it is.
    """
    ledger.close()
    tamper(file, "DROP TABLE chain")
    tamper(file, "ALTER TABLE events DROP COLUMN hash")
    tamper(file, "UPDATE facts SET value = '1' WHERE name = 'schema_version'")
    upgraded = Ledger(f"sqlite:///{file}", durable=False, clock=lambda: AT)
    try:
        upgraded.create()
        upgraded.create()
        assert broken(upgraded) is None
        with upgraded.reading() as connection:
            [*earlier, last] = event_log.search(connection, Wanted())
            assert get_fact(connection, "schema_version") == str(SCHEMA_VERSION)
        assert [record.seq for record in earlier] == list(range(1, RECORDS + 2))
        assert (last.event.event, last.event.details["records"]) == ("audit.begun", RECORDS + 1)
        tamper(file, "UPDATE events SET actor = 'other' WHERE seq = 2")
        assert broken(upgraded) is not None
    finally:
        upgraded.close()


NEW_IN_RUNS = ("output", "rows", "accepted", "rejected", "rejected_rows", "because")


@pytest.mark.promise("P8")
def test_runs_of_an_earlier_ledger(file: Path, ledger: Ledger) -> None:
    """The runs of a ledger of version 3 are kept, and new ones say what they did."""
    ledger.close()
    for column in NEW_IN_RUNS:
        tamper(file, f'ALTER TABLE runs DROP COLUMN "{column}"')
    tamper(
        file,
        "INSERT INTO runs (id, arrival, owner, tool, attempt, started_at, outcome, report) "
        "VALUES ('r1', 'a1', 'erp', 'tool', 1, 0, 'done', 'report.txt')",
    )
    tamper(file, "UPDATE facts SET value = '3' WHERE name = 'schema_version'")
    upgraded = Ledger(f"sqlite:///{file}", durable=False, clock=lambda: AT)
    try:
        upgraded.create()
        with upgraded.transaction() as connection:
            [before] = runs.of_arrival(connection, "a1")
            runs.finish(connection, "r1", ended_at=AT, outcome=RunOutcome.DONE_WITH_REJECTED, statement=Statement(rejected=2))
            [after] = runs.of_arrival(connection, "a1")
        assert (before.outcome, before.report, before.rejected, before.rejected_rows) == (RunOutcome.DONE, "report.txt", None, ())
        assert (after.outcome, after.rejected) == (RunOutcome.DONE_WITH_REJECTED, 2)
    finally:
        upgraded.close()


def _write(to: Ledger, count: int) -> None:
    for number in range(count):
        tell(to, event(number))


@pytest.mark.promise("P8")
def test_postgresql(postgresql: PostgreSQL) -> None:
    """The same with PostgreSQL: two writers make one chain, old records go, changes are found, and an earlier ledger is
    upgraded.
    """
    url = postgresql.new_database()
    one, other = (Ledger(url, durable=False, clock=lambda: AT) for _ in range(2))
    try:
        one.create()
        writers = [threading.Thread(target=_write, args=(to, 20)) for to in (one, other)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        assert ends(one).head_seq == 41
        with one.transaction() as connection:
            assert event_log.prune_before(connection, AT + timedelta(days=9), limit=5) == 5
        assert broken(one) is None
        with one.reading() as connection:
            assert len(list(event_log.search(connection, Wanted(user="erp", event="login.*"), last=7))) == 7
        with one.transaction() as connection:
            connection.exec_driver_sql("UPDATE events SET actor = 'other' WHERE seq = 20")
        found = broken(other)
        assert found is not None
        assert found.seq == 20
        with one.transaction() as connection:
            for statement in (
                "DROP TABLE chain",
                "ALTER TABLE events DROP COLUMN hash",
                *(f'ALTER TABLE runs DROP COLUMN "{column}"' for column in NEW_IN_RUNS),
                "ALTER TABLE runs ALTER COLUMN outcome TYPE VARCHAR(16)",
                "UPDATE facts SET value = '1' WHERE name = 'schema_version'",
            ):
                connection.exec_driver_sql(statement)
        other.create()
        with other.transaction() as connection:
            runs.begin(connection, runs.Run(id="r1", arrival="a1", owner="erp", tool="t", attempt=1, started_at=AT))
            runs.finish(connection, "r1", ended_at=AT, outcome=RunOutcome.NOT_THE_FILE)
        assert broken(other) is None
        assert ends(other).head_seq == 43
    finally:
        one.close()
        other.close()


NAMES: list[tuple[Wanted, Callable[[int], bool]]] = [
    (Wanted(), lambda _: True),
    (Wanted(user="erp"), lambda _: True),
    (Wanted(user="er"), lambda _: False),
    (Wanted(address="192.0.2.1", event="login.*"), lambda _: True),
    (Wanted(event="login"), lambda _: False),
    (Wanted(event="login.refuse?"), lambda _: True),
    (Wanted(since=AT + timedelta(hours=2), until=AT + timedelta(hours=4)), lambda number: number in (2, 3)),
    (Wanted(arrival="01J"), lambda _: False),
]


@pytest.mark.promise("P8")
@pytest.mark.parametrize(("wanted", "fits"), NAMES)
def test_search(ledger: Ledger, wanted: Wanted, fits: Callable[[int], bool]) -> None:
    """A search finds the events that fit all that is asked for, and no other."""
    with ledger.reading() as connection:
        found = [record.event.details["number"] for record in event_log.search(connection, wanted) if record.seq > 1]
        newest = [record.event.details["number"] for record in event_log.search(connection, wanted, last=2) if record.seq > 1]
    assert found == [number for number in range(RECORDS) if fits(number)]
    assert newest == found[-2:]


@pytest.mark.promise("P8")
def test_text_of_strangers(ledger: Ledger) -> None:
    """Whatever a client calls itself is recorded, short, and without characters that could act on a terminal."""
    tell(
        ledger,
        Event(
            at=AT, event="login.refused", actor=sender("\x1b[31m\ud800\x00" + "x" * 500), details={"client": "\ud800\x1b" * 900}
        ),
    )
    with ledger.reading() as connection:
        [record] = event_log.search(connection, Wanted(), last=1)
    assert str(record.event.actor).startswith("\\x1b[31m\\ud800\\x00xxx")
    assert len(str(record.event.actor)) < 120
    assert len(str(record.event.details["client"])) == 1000
    assert broken(ledger) is None
