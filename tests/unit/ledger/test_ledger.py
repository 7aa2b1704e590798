"""The ledger: what is put in comes out, transactions are whole, and queries find what they should."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import inspect

from sftpgate.errors import LedgerError, Refused, UnknownArrival
from sftpgate.ledger import arrivals, claims, overview, volumes
from sftpgate.ledger.arrivals import Arrival, ArrivalId
from sftpgate.ledger.audit import chain, event_log
from sftpgate.ledger.audit.actor import runner, sender
from sftpgate.ledger.audit.event_log import Event
from sftpgate.ledger.database.connection import Ledger, get_fact, set_fact
from sftpgate.ledger.database.schema import SCHEMA_VERSION
from sftpgate.policy.evidence import Grade
from sftpgate.policy.lifecycle import FINAL_STATES, LIVE_STATES, UNCLAIMED_STATES, Area, ArrivalState, HoldReason
from sftpgate.policy.locations import Location, location
from sftpgate.policy.quotas import day_of

AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    """An empty ledger, in each of the databases."""
    if request.param == "sqlite":
        made = Ledger(f"sqlite:///{tmp_path / 'below/ledger.db'}", durable=False)
    else:
        made = Ledger(request.getfixturevalue("postgresql").new_database(), durable=False)
    made.create()
    yield made
    made.close()


def test_indexes_of_what_is_live_leave_the_rest_out(ledger: Ledger) -> None:
    """An index of few rows stays small in either database, however many arrivals come to their end."""
    with ledger.reading() as connection:
        found = {index["name"]: index["dialect_options"] for index in inspect(connection).get_indexes("arrivals")}
    database = ledger.url.get_backend_name()
    limited = {name for name, options in found.items() if f"{database}_where" in options}
    assert limited == {
        "arrivals_archived",
        "arrivals_archives",
        "arrivals_path_live",
        "arrivals_pending",
        "arrivals_replaced",
        "arrivals_usage",
    }


def arrival(number: int = 1, path: str = "a.csv", **values: object) -> Arrival:
    """An ordinary waiting arrival."""
    usual = Arrival(
        id=ArrivalId(f"01J{number:023}"),
        owner="erp",
        path=path,
        state=ArrivalState.WAITING,
        size=10,
        sha256="0" * 64,
        grade=Grade.PLAUSIBLE,
        location=location(Area.STORE, path),
        inode=number,
        mtime_ns=1,
        received_at=AT,
        changed_at=AT,
        source="sftp",
    )
    return replace(usual, **values)  # type: ignore[arg-type]  # dataclasses.replace has no types for **


def put(ledger: Ledger, *items: Arrival) -> None:
    """Record arrivals."""
    with ledger.transaction() as connection:
        arrivals.add(connection, items)


def found(ledger: Ledger, **query: object) -> list[str]:
    """The paths that a query finds."""
    with ledger.reading() as connection:
        return [item.path for item in arrivals.find(connection, **query)]  # type: ignore[arg-type]  # a table of keywords


@pytest.mark.promise("P8")
def test_round_trip(ledger: Ledger) -> None:
    """Every field of an arrival comes back as it was put in, times in UTC to the microsecond."""
    full = arrival(
        path="sub/é – 学.csv",
        home="sub",
        state=ArrivalState.HELD,
        hold_reason=HoldReason.INCOMPLETE,
        hold_detail="its end – 学 – is missing",
        size=2**40,
        grade=Grade.SUSPECT,
        location=Location("held/x"),
        pending_from=Location("staging/erp/x"),
        inode=2**62,
        mtime_ns=1_700_000_000_123_456_789,
        received_at=datetime(1999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        changed_at=datetime(2099, 1, 1, tzinfo=UTC),
        address="2001:db8::1",
        login="SHA256:x",
        client="SSH-2.0-é\n",
        session="s",
        attempts=3,
        not_before=AT,
        archived_as="20260102-0304_x.csv",
    )
    put(ledger, full)
    with ledger.reading() as connection:
        again = arrivals.get(connection, full.id)
    assert replace(again, seq=0) == full and again.seq == 1
    assert {field.name for field in fields(Arrival)} >= {"owner", "address", "login", "client", "session"}


@pytest.mark.promise("P8")
@given(at=st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - Hypothesis adds the zone
def test_times(at: datetime) -> None:
    """Times are kept to the microsecond, whatever they are."""
    ledger = Ledger("sqlite://", durable=False)
    try:
        ledger.create()
        with ledger.transaction() as connection:
            arrivals.add(connection, [arrival(received_at=at)])
            assert arrivals.get(connection, arrival().id).received_at == at
    finally:
        ledger.close()


@pytest.mark.promise("P8")
def test_changes_are_saved(ledger: Ledger) -> None:
    """A change of an arrival is saved, and what makes it this arrival never changes."""
    put(ledger, arrival())
    with ledger.transaction() as connection:
        item = arrivals.get(connection, arrival().id)
        changed = replace(item, state=ArrivalState.DONE, path="b.csv", location=None, owner="other", attempts=2)
        arrivals.save(connection, [changed])
    with ledger.reading() as connection:
        again = arrivals.get(connection, item.id)
    assert (again.state, again.path, again.location, again.attempts) == (ArrivalState.DONE, "b.csv", None, 2)
    assert (again.owner, again.received_at) == ("erp", AT)


@pytest.mark.promise("P8")
def test_ids_are_unique(ledger: Ledger) -> None:
    """Two arrivals never share an id, and the attempt is an error of ours that leaves nothing."""
    put(ledger, arrival())
    with pytest.raises(LedgerError):
        put(ledger, arrival(2, "b.csv"), arrival())
    assert found(ledger) == ["a.csv"]


def test_unknown_arrivals(ledger: Ledger) -> None:
    """An id that nobody has is an error that says so."""
    with ledger.reading() as connection, pytest.raises(UnknownArrival):
        arrivals.get(connection, ArrivalId("none"))


@pytest.mark.promise("P1")
def test_what_is_live(ledger: Ledger) -> None:
    """Live is what has not ended, and what has ended but whose last move is not known to be durable."""
    states = sorted(ArrivalState)
    put(ledger, *(arrival(number, str(state), state=state) for number, state in enumerate(states)))
    put(ledger, arrival(99, "pending", state=ArrivalState.WITHDRAWN, location=None, pending_from=Location("store/pending")))
    assert set(found(ledger, live=True)) == {str(state) for state in LIVE_STATES} | {"pending"}
    with ledger.transaction() as connection:
        arrivals.settled(connection, {arrival(99).id: 7})
    assert set(found(ledger, live=True)) == {str(state) for state in LIVE_STATES}
    assert not {str(state) for state in FINAL_STATES} & set(found(ledger, live=True))


@pytest.mark.promise("P1")
def test_settling_keeps_what_is_alive(ledger: Ledger) -> None:
    """A settled arrival has its new inode, no move under way, and is as live as its state is."""
    put(ledger, arrival(pending_from=Location("staging/erp/x")))
    with ledger.transaction() as connection:
        arrivals.settled(connection, {arrival().id: 42})
        item = arrivals.get(connection, arrival().id)
    assert (item.inode, item.pending_from) == (42, None) and found(ledger, live=True) == ["a.csv"]
    assert found(ledger, pending=True) == []


@pytest.mark.parametrize("query", [{"live": True, "paths": ["a.csv"]}, {"pending": True}])
def test_what_is_asked_at_every_upload_uses_an_index(ledger: Ledger, query: dict[str, object]) -> None:
    """The two questions of every publication never read the whole of a ledger with years of history."""
    plans = {
        "live": "SELECT * FROM arrivals WHERE live = 1 AND path IN ('a.csv') ORDER BY seq",
        "pending": "SELECT * FROM arrivals WHERE pending_from IS NOT NULL ORDER BY seq",
    }
    name = "live" if "live" in query else "pending"
    explain = "EXPLAIN QUERY PLAN " if ledger.file else "EXPLAIN "
    put(ledger, *(arrival(number, f"{number}.csv", state=ArrivalState.DONE) for number in range(500)))
    with ledger.transaction() as connection:
        connection.exec_driver_sql("ANALYZE arrivals")
    with ledger.reading() as connection:
        plan = " ".join(str(row) for row in connection.exec_driver_sql(explain + plans[name]))
    assert re.search(r"(USING INDEX|Index Scan using|Index Scan on) arrivals_", plan)
    assert not re.search(r"SCAN arrivals'|Seq Scan", plan)


@pytest.mark.promise("P8")
def test_queries(ledger: Ledger) -> None:
    """Arrivals are found by path, directory, state, owner, home and reason, in their order."""
    put(
        ledger,
        arrival(1, "a.csv"),
        arrival(2, "sub/b.csv", owner="other", home="sub"),
        arrival(3, "sub/deep/c.csv", state=ArrivalState.HELD, hold_reason=HoldReason.BATCH_LOCK),
        arrival(4, "sub2/d.csv", received_at=AT + timedelta(days=1)),
        arrival(5, "sub", state=ArrivalState.DONE, archived_as="x"),
    )
    assert found(ledger) == ["a.csv", "sub/b.csv", "sub/deep/c.csv", "sub2/d.csv", "sub"]
    assert found(ledger, limit=2) == ["a.csv", "sub/b.csv"]
    assert found(ledger, paths=["sub", "a.csv"]) == ["a.csv", "sub"]
    assert found(ledger, below="sub") == ["sub/b.csv", "sub/deep/c.csv"]
    with ledger.reading() as connection:
        assert arrivals.paths_in(connection, "sub", owner="other") == ["sub/b.csv"]
        assert arrivals.paths_in(connection, "sub", owner="erp") == []
        assert arrivals.paths_in(connection, "", owner="erp") == ["a.csv"]
    assert found(ledger, states=[ArrivalState.HELD]) == ["sub/deep/c.csv"]
    assert found(ledger, states=[]) == []
    assert found(ledger, owner="other") == ["sub/b.csv"] == found(ledger, home="sub")
    assert found(ledger, hold_reason=HoldReason.BATCH_LOCK) == ["sub/deep/c.csv"]
    assert found(ledger, after_seq=3) == ["sub2/d.csv", "sub"]
    assert found(ledger, archived_as="x") == ["sub"]
    assert found(ledger, ids=[arrival(2).id]) == ["sub/b.csv"]


@pytest.mark.promise("P6")
@pytest.mark.parametrize("directory", ["a_b", "a%b", "a\\b", "a*b", "é"])
def test_directories_with_odd_names(ledger: Ledger, directory: str) -> None:
    """Characters that mean something to the database stand for themselves in a directory's name."""
    put(ledger, arrival(1, f"{directory}/x.csv"), arrival(2, "axb/x.csv"), arrival(3, f"{directory}/deep/y.csv"))
    with ledger.reading() as connection:
        assert arrivals.paths_in(connection, directory, owner="erp") == [f"{directory}/x.csv"]
    assert found(ledger, below=directory) == [f"{directory}/x.csv", f"{directory}/deep/y.csv"]


@pytest.mark.promise("P8")
@pytest.mark.parametrize(
    ("glob", "expected"),
    [
        ("*.csv", ["users-1.csv", "users_2.csv", "100%.csv"]),
        ("users-?.csv", ["users-1.csv"]),
        ("users_?.csv", ["users_2.csv"]),
        ("100%*", ["100%.csv"]),
        ("%", []),
        ("", []),
        ("back\\slash", ["back\\slash"]),
        ("*", ["users-1.csv", "users_2.csv", "100%.csv", "back\\slash"]),
    ],
)
def test_globs(ledger: Ledger, glob: str, expected: list[str]) -> None:
    """A pattern has a star and a question mark, and every other character stands for itself."""
    put(ledger, *(arrival(number, path) for number, path in enumerate(["users-1.csv", "users_2.csv", "100%.csv", "back\\slash"])))
    assert found(ledger, glob=glob) == expected


def test_usage(ledger: Ledger) -> None:
    """A user's usage is what no runner has claimed yet."""
    put(ledger, *(arrival(number, str(state), state=state, size=100) for number, state in enumerate(sorted(ArrivalState))))
    with ledger.reading() as connection:
        assert arrivals.usage(connection, "erp") == (len(UNCLAIMED_STATES), 100 * len(UNCLAIMED_STATES))
        assert arrivals.usage(connection, "other") == (0, 0)


@pytest.mark.promise("P6")
def test_archives_have_owners(ledger: Ledger) -> None:
    """Each archive belongs to the user whose file it is, and one that nobody sent to nobody."""
    put(ledger, arrival(1, archived_as="b"), arrival(2, archived_as="a"), arrival(3, owner="other", archived_as="c"))
    with ledger.reading() as connection:
        assert arrivals.archives_of(connection, "erp") == ["a", "b"]
        assert arrivals.archive_owner(connection, "c") == "other"
        assert arrivals.archive_owner(connection, "none") is None


@pytest.mark.promise("P3")
def test_one_place_holds_one_arrival(ledger: Ledger) -> None:
    """Two live arrivals at one place are found; two that have ended may have been there."""
    put(ledger, arrival(1), arrival(2), arrival(3, "b.csv"), arrival(4, "b.csv", state=ArrivalState.DONE))
    with ledger.reading() as connection:
        assert arrivals.doubly_located(connection) == [("store/a.csv", 2)]


@pytest.mark.promise("P1")
def test_moves_in_a_row_are_one(ledger: Ledger) -> None:
    """Two moves before the file was moved are one, and a move back is none."""
    once = arrivals.moved(arrival(), Location("queue/x"))
    assert (once.location, once.pending_from) == ("queue/x", "store/a.csv")
    twice = arrivals.moved(once, Location("held/x"))
    assert (twice.location, twice.pending_from) == ("held/x", "store/a.csv")
    back = arrivals.moved(twice, Location("store/a.csv"))
    assert (back.location, back.pending_from) == ("store/a.csv", None)


@pytest.mark.promise("P2")
def test_transactions_are_whole(ledger: Ledger) -> None:
    """A block that raises leaves nothing."""
    with pytest.raises(ZeroDivisionError), ledger.transaction() as connection:
        arrivals.add(connection, [arrival()])
        raise ZeroDivisionError
    assert found(ledger) == []


def test_readers_do_not_wait(ledger: Ledger) -> None:
    """While somebody writes, readers see the state before."""
    put(ledger, arrival())
    with ledger.transaction() as connection:
        arrivals.add(connection, [arrival(2, "b.csv")])
        assert found(ledger) == ["a.csv"]
    assert found(ledger) == ["a.csv", "b.csv"]


@pytest.mark.promise("P8")
def test_history(ledger: Ledger) -> None:
    """The events of an arrival come back in their order, with their details."""
    events = [
        Event(
            at=AT,
            event="arrival.received",
            actor=sender("erp"),
            address="192.0.2.1",
            arrival="1",
            details={"size": 3, "path": "é\n"},
        ),
        Event(at=AT, event="arrival.claimed", actor=runner(), arrival="1"),
        Event(at=AT, event="arrival.received", actor=sender("erp"), arrival="2"),
    ]
    with ledger.transaction() as connection:
        event_log.record(connection, events)
        event_log.record(connection, [])
    with ledger.reading() as connection:
        assert event_log.history(connection, "1") == [events[0], replace(events[1], actor=runner())]


def test_facts(ledger: Ledger) -> None:
    """A fact is remembered, and replaced by the next one of its name."""
    with ledger.transaction() as connection:
        assert get_fact(connection, "x") is None
        set_fact(connection, "x", "1")
        set_fact(connection, "x", "2")
    with ledger.reading() as connection:
        assert get_fact(connection, "x") == "2"


def test_volumes_of_a_day(ledger: Ledger) -> None:
    """What came over SFTP is summed for each user, of its last day alone; a clock that jumps back empties nothing; a ledger of
    version 2 gets the sum of its day.
    """
    new = [arrival(1), arrival(2, owner="other"), arrival(3), arrival(4, source="put"), arrival(5, owner="", source="drop")]

    def sent(owner: str, at: datetime) -> int:
        with ledger.reading() as connection:
            return volumes.sent_on(connection, owner, day_of(at))

    def count(*items: Arrival) -> None:
        with ledger.transaction() as connection:
            volumes.add(connection, items)

    put(ledger, *new)
    count(*new)
    count(arrival(6, size=2**40))
    assert (sent("erp", AT), sent("other", AT), sent("", AT)) == (20 + 2**40, 10, 0)
    count(arrival(7, received_at=AT - timedelta(days=1)))
    assert sent("erp", AT) == 20 + 2**40
    tomorrow = AT + timedelta(days=1)
    assert sent("erp", tomorrow) == 0
    count(arrival(8, received_at=tomorrow))
    assert (sent("erp", AT), sent("erp", tomorrow)) == (0, 10)
    with ledger.transaction() as connection:
        connection.exec_driver_sql("DELETE FROM volumes")
        volumes.fill(connection, tomorrow)
        assert volumes.sent_on(connection, "erp", day_of(AT)) == 0
        volumes.fill(connection, AT)
        assert volumes.sent_on(connection, "erp", day_of(AT)) == 20


@pytest.mark.promise("P4")
def test_claims_of_an_earlier_version(tmp_path: Path) -> None:
    """A ledger whose claims know the wall clock alone is brought up to date, and what is claimed stays claimed."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    with contextlib.closing(Ledger(url)) as ledger:
        ledger.create()
    with contextlib.closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
        for name in ("lease_uptime", "lease_seconds", "process_start"):
            connection.execute(f"ALTER TABLE claims DROP COLUMN {name}")
        connection.execute("INSERT INTO claims VALUES ('1', 't', 'users', 'host', -7, 0, 60000000)")
        connection.execute("UPDATE facts SET value = '4' WHERE name = 'schema_version'")
        connection.commit()
    with contextlib.closing(Ledger(url)) as ledger:
        ledger.create()
        with ledger.reading() as connection:
            found = claims.by_token(connection, "t")
    assert found is not None
    assert (found.pid, found.lease.seconds, found.process_start) == (-7, 0, 0)


@pytest.mark.promise("P8")
def test_holds_of_an_earlier_version(ledger: Ledger) -> None:
    """A ledger of version 6 keeps its holds, and those of doubted uploads say what speaks against them."""
    doubted = arrival(1, state=ArrivalState.HELD, hold_reason=HoldReason.INCOMPLETE, grade=Grade.SUSPECT)
    locked = arrival(2, "b.csv", state=ArrivalState.HELD, hold_reason=HoldReason.BATCH_LOCK)
    forgotten = arrival(3, "c.csv", state=ArrivalState.HELD, hold_reason=HoldReason.INCOMPLETE)
    put(ledger, doubted, locked, forgotten)
    with ledger.transaction() as connection:
        for item in (doubted, locked):
            came = Event(
                at=AT, event="arrival.received", actor=sender("erp"), arrival=item.id, details={"why": f"{item.path}: cut"}
            )
            event_log.record(connection, [came])
        connection.exec_driver_sql("ALTER TABLE arrivals DROP COLUMN hold_detail")
        set_fact(connection, "schema_version", "6")
    ledger.create()
    ledger.create()
    with ledger.reading() as connection:
        after = {item.path: item for item in arrivals.find(connection)}
        assert get_fact(connection, "schema_version") == str(SCHEMA_VERSION)
        assert chain.verify(connection) is None
    assert after["a.csv"] == replace(doubted, seq=1, hold_detail="a.csv: cut")
    assert after["b.csv"] == replace(locked, seq=2)
    assert after["c.csv"] == replace(forgotten, seq=3)


def _indexes(ledger: Ledger) -> dict[str, object]:
    with ledger.reading() as connection:
        tables = inspect(connection)
        found = [index for table in ("arrivals", "events") for index in tables.get_indexes(table)]
        return {
            str(index["name"]): (index["column_names"], [*map(str, index.get("dialect_options", {}).values())]) for index in found
        }


NEW_INDEXES = ("newest", "newest_of", "usage", "replaced", "archived")


def test_indexes_of_an_earlier_version(ledger: Ledger) -> None:
    """A ledger of version 10 gets the indexes of a new one, and keeps none that nobody uses."""
    new = _indexes(ledger)
    with ledger.transaction() as connection:
        for name in (*(f"arrivals_{name}" for name in NEW_INDEXES), "events_at", "events_actor"):
            connection.exec_driver_sql(f"DROP INDEX {name}")
        connection.exec_driver_sql("CREATE INDEX arrivals_owner ON arrivals (owner, state, size)")
        connection.exec_driver_sql("CREATE INDEX arrivals_archived ON arrivals (archived_as)")
        set_fact(connection, "schema_version", "10")
    assert _indexes(ledger) != new
    ledger.create()
    assert _indexes(ledger) == new


def test_a_ledger_of_another_version(tmp_path: Path) -> None:
    """A ledger that another version wrote is refused, and left as it is."""
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    try:
        ledger.create()
        ledger.create()
        with ledger.transaction() as connection:
            set_fact(connection, "schema_version", "99")
        with pytest.raises(LedgerError, match="version 99"):
            ledger.create()
    finally:
        ledger.close()


@pytest.mark.parametrize("content", [b"", b"this is no database" * 100])
def test_a_damaged_file(tmp_path: Path, content: bytes) -> None:
    """A file that is no database is found out by the check, and an empty one is an empty ledger."""
    (tmp_path / "ledger.db").write_bytes(content)
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    try:
        assert (ledger.check() is None) is (content == b"")
    finally:
        ledger.close()


@pytest.mark.promise("P8")
def test_all_that_is_live_page_by_page(ledger: Ledger) -> None:
    """A look at everything that is live finds what the query finds, in pages, and with a move pending after the end too."""
    states = [ArrivalState.WAITING, ArrivalState.DONE, ArrivalState.QUEUED, ArrivalState.HELD, ArrivalState.WITHDRAWN]
    put(ledger, *(arrival(number, f"{number}.csv", state=state) for number, state in enumerate(states, start=1)))
    put(ledger, arrival(6, "6.csv", state=ArrivalState.REPLACED, pending_from=location(Area.STORE, "6.csv")))
    with ledger.reading() as connection:
        expected = arrivals.find(connection, live=True)
        pages: list[Arrival] = []
        while page := arrivals.live_after(connection, pages[-1].seq if pages else 0, 2):
            pages += page
    assert pages == expected and [row.path for row in pages] == ["1.csv", "3.csv", "4.csv", "6.csv"]


@pytest.mark.promise("P8")
def test_arrivals_by_the_beginning_of_their_id(ledger: Ledger) -> None:
    """A person names an arrival by the beginning of its id; where several fit they are named, where none does it says so."""
    put(ledger, arrival(1), replace(arrival(2, "b.csv"), id=ArrivalId("01KZ" + "0" * 22)))
    with ledger.reading() as connection:
        assert overview.by_prefix(connection, "01kz").path == "b.csv"
        with pytest.raises(Refused, match="several"):
            overview.by_prefix(connection, "01")
        for nothing in ("", "02", "é"):
            with pytest.raises(UnknownArrival):
                overview.by_prefix(connection, nothing)
