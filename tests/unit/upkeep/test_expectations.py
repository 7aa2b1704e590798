"""The follower of expected files: each change is said once, with the time since which it is so, whenever somebody looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sftpgate.ledger import arrivals
from sftpgate.ledger.audit import event_log, feed
from sftpgate.ledger.audit.event_log import Wanted
from sftpgate.ledger.database.connection import Ledger, set_fact
from sftpgate.policy.expectations import Terms
from sftpgate.upkeep.expectations import NAME, Expectations
from sftpgate.upkeep.sweep import LAST_SWEEP
from tests.harness.expectations import PACE, Desk, done, paris, terms
from tests.harness.handover import Gate

SUNDAY = paris("2026-05-31 12:00")
MONDAY = "2026-06-01"
LONG_AFTER = paris("2026-06-01 20:00")

MakeDesk = Callable[..., Desk]


both_databases = pytest.mark.parametrize("ledger", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    """An empty ledger, in SQLite or in the database that the test says."""
    if getattr(request, "param", "sqlite") == "sqlite":
        made = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}", durable=False)
    else:
        made = Ledger(request.getfixturevalue("postgresql").new_database(), durable=False)
    made.create()
    yield made
    made.close()


@pytest.fixture
def make_desk(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> MakeDesk:
    """Makes a desk that begins on a Sunday; the database's clock is the test's."""

    def make(*expected: Terms, start: datetime = SUNDAY) -> Desk:
        desk = Desk.__new__(Desk)
        monkeypatch.setattr("sftpgate.upkeep.expectations.shared_time", lambda _: desk.clock.now)
        desk.__init__(ledger, expected or (terms(),), start)  # type: ignore[misc]
        return desk

    return make


def at(time: str, day: str = MONDAY) -> datetime:
    """A time of day of that Monday."""
    return paris(f"{day} {time}")


def every_minute(desk: Desk, first: str, last: str) -> None:
    """Look each minute."""
    moment = at(first)
    while moment <= at(last):
        desk.look(moment)
        moment += timedelta(minutes=1)


def test_a_file_that_comes_in_time_is_said_to_have_come(make_desk: MakeDesk) -> None:
    """Nothing is warned of, and the record has one event."""
    desk = make_desk()
    desk.look(at("05:00"))
    desk.come(at("05:10"))
    desk.happen(at("05:40"), "claimed", "claimed")
    every_minute(desk, "05:11", "06:10")
    desk.look(LONG_AFTER)
    assert desk.said() == ["arrived 06-01 since 06-01 05:10"]
    [event] = desk.events()
    assert event.details["arrival"] == "A1" and event.details["path"] == "enrols.csv" and event.details["was"] == "upcoming"


def test_a_file_that_does_not_come_is_warned_of_then_late_then_missing(make_desk: MakeDesk) -> None:
    """Each is said once, when it begins."""
    desk = make_desk()
    every_minute(desk, "05:00", "06:00")
    every_minute(desk, "09:20", "09:40")
    assert desk.said() == [
        "warned 06-01 since 06-01 05:35",
        "late 06-01 since 06-01 05:45",
        "missing 06-01 since 06-01 09:30",
    ]
    assert [event.details["late_from"] for event in desk.events()] == ["2026-06-01T03:45:00Z"] * 3


def test_a_warning_comes_before_the_file_is_late(make_desk: MakeDesk) -> None:
    """The event of a warning is older than the end of the grace, though this judges behind the clock."""
    desk = make_desk()
    every_minute(desk, "05:00", "05:44")
    [event] = desk.events()
    assert event.event == "expect.warned" and event.at < at("05:45")


@both_databases
def test_a_file_that_comes_late_recovers(make_desk: MakeDesk) -> None:
    """What was late is said to be well again, with by how much it came too late."""
    desk = make_desk()
    every_minute(desk, "05:40", "05:50")
    desk.come(at("06:01"))
    desk.look(at("06:05"))
    assert desk.said()[1:] == ["late 06-01 since 06-01 05:45", "recovered 06-01 since 06-01 06:01"]
    assert desk.events()[-1].details["late_seconds"] == 31 * 60


@pytest.mark.parametrize("looked", [True, False])
def test_who_was_away_says_what_was_the_case(make_desk: MakeDesk, looked: bool) -> None:
    """A gate that was down over the deadline says that the file was late, and that it came, with the times of both; only the
    warning, which is none any more, is left out.
    """
    desk = make_desk()
    if looked:
        every_minute(desk, "05:00", "06:30")
    desk.come(at("06:00"))
    desk.happen(at("06:20"), "claimed", "claimed")
    desk.look(LONG_AFTER)
    said = [line for line in desk.said() if not line.startswith("warned")]
    assert said == ["late 06-01 since 06-01 05:45", "recovered 06-01 since 06-01 06:00"]


def test_a_file_that_came_in_time_is_not_late_if_nobody_looked(make_desk: MakeDesk) -> None:
    """It is judged by when it came."""
    desk = make_desk()
    desk.come(at("05:44"))
    desk.happen(at("05:50"), "claimed", "claimed")
    desk.look(LONG_AFTER)
    assert desk.said() == ["arrived 06-01 since 06-01 05:44"]


def test_nothing_is_judged_before_a_sweep_has_looked_for_local_files(make_desk: MakeDesk) -> None:
    """After a start a local file that has lain there all the time is found first, and counts from when it was there."""
    desk = make_desk()
    desk.clock.now = at("08:00")
    started = desk.another()
    assert not started.step() and desk.said() == []
    desk.come(at("08:00"), lain_since=at("05:20").isoformat())
    desk.happen(at("08:01"), "claimed", "claimed")
    desk.look(at("08:05"), follower=started)
    assert desk.said() == ["arrived 06-01 since 06-01 05:20"]


def test_a_start_without_sweeps_judges_after_some_minutes(make_desk: MakeDesk) -> None:
    """A sweep that never comes does not keep the truth back for ever."""
    desk = make_desk()
    desk.clock.now = at("08:00")
    started = desk.another()
    desk.clock.now = at("08:06")
    while started.step():
        pass
    assert desk.said() == ["late 06-01 since 06-01 05:45"]


def test_a_file_that_is_held_is_invalid_and_recovers_when_a_good_one_comes(make_desk: MakeDesk) -> None:
    """Its sender has to act; the reason is said, and it is not said to be late beside it."""
    desk = make_desk()
    desk.happen(at("05:10"), "received", "held", reason="not as agreed", sha256="1")
    every_minute(desk, "05:10", "06:00")
    desk.come(at("06:01"), "2", arrival="A2")
    desk.happen(at("06:01"), "replaced", "replaced")
    desk.look(at("06:10"))
    assert desk.said() == ["invalid 06-01 since 06-01 05:10", "recovered 06-01 since 06-01 06:01"]
    assert desk.events()[0].details["reason"] == "not as agreed"


def test_a_file_that_is_released_counts_from_then_on(make_desk: MakeDesk) -> None:
    """What an administrator lets go after the deadline makes well what was wrong."""
    desk = make_desk()
    desk.happen(at("05:10"), "received", "held", reason="incomplete?", sha256="1")
    desk.happen(at("07:00"), "published", "waiting")
    desk.look(at("08:00"))
    assert desk.said() == ["invalid 06-01 since 06-01 05:10", "recovered 06-01 since 06-01 07:00"]


def test_a_file_that_is_being_checked_counts_from_when_it_came(make_desk: MakeDesk) -> None:
    """A check that ends after the deadline makes nobody late, and is waited for."""
    desk = make_desk(terms(grace=0, warn_before=0))
    desk.happen(at("05:29"), "received", "held", reason="being checked", sha256="1")
    every_minute(desk, "05:29", "05:40")
    assert desk.said() == []
    desk.happen(at("05:40"), "published", "waiting")
    desk.look(at("05:45"))
    assert desk.said() == ["arrived 06-01 since 06-01 05:29"]


def test_a_file_under_a_batch_lock_counts_when_it_is_let_go(make_desk: MakeDesk) -> None:
    """Its sender has not said before that it is complete: nobody can have it."""
    desk = make_desk()
    desk.happen(at("05:20"), "received", "held", reason="batch-lock", sha256="1")
    desk.happen(at("05:55"), "published", "waiting")
    desk.look(at("06:00"))
    assert desk.said() == ["late 06-01 since 06-01 05:45", "recovered 06-01 since 06-01 05:55"]


def test_a_file_that_no_tool_takes_is_said_and_recovers(make_desk: MakeDesk) -> None:
    """The time counts from when the file was due; once a tool has it, all is well."""
    desk = make_desk()
    desk.come(at("05:00"))
    every_minute(desk, "07:20", "07:40")
    desk.happen(at("07:45"), "claimed", "claimed")
    desk.look(at("08:00"))
    assert desk.said() == [
        "arrived 06-01 since 06-01 05:00",
        "not taken 06-01 since 06-01 07:30",
        "recovered 06-01 since 06-01 07:45",
    ]


def test_a_tool_that_gave_a_file_back_has_taken_it(make_desk: MakeDesk) -> None:
    """A run that failed is told of elsewhere."""
    desk = make_desk()
    desk.come(at("05:00"))
    desk.happen(at("06:00"), "claimed", "claimed")
    desk.happen(at("06:05"), "returned", "waiting")
    desk.look(LONG_AFTER)
    assert desk.said() == ["arrived 06-01 since 06-01 05:00"]


def test_the_same_content_as_last_time_is_said(make_desk: MakeDesk) -> None:
    """An export that repeats itself is seen on the next day; the settings can ignore it."""
    desk = make_desk(terms(), terms("quiet", path="quiet.csv", same_content="ignore"))
    for day, arrival in ((MONDAY, "A1"), ("2026-06-02", "A2")):
        for path in ("enrols.csv", "quiet.csv"):
            desk.come(at("05:00", day), arrival=arrival + path, path=path)
            desk.happen(at("06:00", day), "claimed", "claimed", arrival=arrival + path, path=path)
        desk.look(at("12:00", day))
    assert [line for line in desk.said() if "unchanged" in line] == ["unchanged 06-02 since 06-02 05:00"]


def test_a_file_that_comes_after_its_window_is_of_that_occasion(make_desk: MakeDesk) -> None:
    """What comes on Tuesday night before the next window opens was Monday's, and makes Monday well."""
    desk = make_desk()
    desk.look(at("12:00"))
    desk.come(at("02:00", "2026-06-02"))
    desk.happen(at("02:10", "2026-06-02"), "claimed", "claimed")
    desk.look(at("05:40", "2026-06-02"))
    assert desk.said()[-2:] == ["recovered 06-01 since 06-02 02:00", "warned 06-02 since 06-02 05:35"]


def test_after_a_missing_one_the_next_that_comes_recovers(make_desk: MakeDesk) -> None:
    """Who was told of trouble is told of its end, also if it was yesterday's."""
    desk = make_desk()
    desk.look(at("12:00"))
    desk.come(at("05:00", "2026-06-02"))
    desk.look(at("05:30", "2026-06-02"))
    assert desk.said() == [
        "late 06-01 since 06-01 05:45",
        "missing 06-01 since 06-01 09:30",
        "recovered 06-02 since 06-02 05:00",
    ]


def test_a_file_that_its_sender_takes_back_has_not_come(make_desk: MakeDesk) -> None:
    """It is upcoming again, and then late."""
    desk = make_desk()
    desk.come(at("05:00"))
    desk.happen(at("05:10"), "withdrawn", "withdrawn")
    every_minute(desk, "05:01", "05:50")
    assert [line.partition(" ")[0] for line in desk.said()] == ["arrived", "upcoming", "warned", "late"]


def test_a_file_that_is_renamed_to_the_expected_name_comes_by_that(make_desk: MakeDesk) -> None:
    """And one that is renamed away has not come."""
    desk = make_desk()
    desk.come(at("05:00"), path="other.csv")
    desk.look(at("05:05"))
    assert desk.said() == []
    desk.happen(at("05:10"), "published", "waiting")
    desk.look(at("05:15"))
    desk.happen(at("05:20"), "published", "waiting", path="third.csv")
    desk.look(at("05:25"))
    assert desk.said() == ["arrived 06-01 since 06-01 05:10", "upcoming 06-01 since 06-01 05:20"]


def test_holidays_are_days_without(make_desk: MakeDesk) -> None:
    """Nothing is expected on them, and the window of the day before reaches over them."""
    desk = make_desk(terms(without=["2026-06-02..2026-06-03"]))
    desk.look(at("12:00"))
    desk.come(at("12:00", "2026-06-03"))
    desk.happen(at("12:10", "2026-06-03"), "claimed", "claimed")
    desk.look(at("23:00", "2026-06-03"))
    assert desk.said() == [
        "late 06-01 since 06-01 05:45",
        "missing 06-01 since 06-01 09:30",
        "recovered 06-01 since 06-03 12:00",
    ]


@pytest.mark.parametrize(
    ("zone", "day", "due", "late"),
    [
        ("Europe/Paris", "2026-03-29", "2026-03-29T01:00:00Z", "2026-03-29T01:15:00Z"),
        ("Europe/Paris", "2026-10-25", "2026-10-25T00:30:00Z", "2026-10-25T00:45:00Z"),
        ("Africa/Abidjan", "2026-03-29", "2026-03-29T02:30:00Z", "2026-03-29T02:45:00Z"),
    ],
)
def test_days_of_a_clock_change_and_a_zone_without_one(make_desk: MakeDesk, zone: str, day: str, due: str, late: str) -> None:
    """A file that is due at half past two is late once on the days on which there is none, or there are two, of them."""
    begin = datetime.fromisoformat(f"{day}T00:00:00Z") - timedelta(hours=12)
    desk = make_desk(terms(by="30 2 * * *", timezone=zone), start=begin)
    moment = begin
    while moment < begin + timedelta(hours=24):
        desk.look(moment)
        moment += timedelta(minutes=5)
    found = [(event.details["due"], event.details["since"]) for event in desk.events() if event.event == "expect.late"]
    assert found == [(due, late)]


def test_what_is_new_in_the_settings_counts_what_came_already(make_desk: MakeDesk) -> None:
    """A window that is open when an expectation is added, or its time is changed, has the files that came before that. What
    would be late already is not asked for.
    """
    desk = make_desk(terms("other", path="other.csv"))
    with desk.ledger.transaction() as connection:
        arrivals.add(connection, [done("enrols.csv", at("04:00"), 1)])
    desk.come(at("04:00"), arrival=f"01{1:024d}")
    desk.look(at("05:00"))
    desk.expected.append(terms())
    desk.look(at("05:10"))
    assert desk.said() == ["arrived 06-01 since 06-01 04:00"]
    desk.expected.append(terms("third", path="third.csv", by="0 1 * * *", missing_after="1h"))
    desk.look(at("12:00"))
    assert not [line for line in desk.events() if line.details["expectation"] == "third"]


@both_databases
def test_a_changed_time_holds_for_what_is_not_due_yet(make_desk: MakeDesk) -> None:
    """An administrator who puts a file off, or excepts today, in its window, is not told that it is late."""
    desk = make_desk(terms(), terms("b", path="b.csv"))
    desk.look(at("04:00"))
    desk.expected = [terms(by="0 9 * * mon-fri"), terms("b", path="b.csv", without=[MONDAY])]
    desk.look(at("04:10"))
    desk.look(at("09:10"))
    assert desk.said() == ["warned 06-01 since 06-01 09:05"]
    desk.look(at("09:20"))
    assert desk.said()[1:] == ["late 06-01 since 06-01 09:15"]


def test_what_is_expected_no_more_is_not_judged(make_desk: MakeDesk) -> None:
    """And without any expectation the record is not followed: old events need not be kept."""
    desk = make_desk()
    desk.look(at("05:00"))
    desk.expected = []
    desk.look(LONG_AFTER)
    assert desk.said() == []
    with desk.ledger.reading() as connection:
        assert not [each for each in feed.all_followers(connection) if each.name == NAME]
    desk.expected = [terms()]
    desk.look(at("12:00", "2026-06-03"))
    assert desk.said() == []
    desk.look(at("12:00", "2026-06-04"))
    assert [line.split()[1] for line in desk.said()] == ["06-04", "06-04"]


@both_databases
def test_a_clock_that_was_ahead_is_made_good(make_desk: MakeDesk) -> None:
    """A clock that is set forward by a year says at most what a month has; set back, the day is judged as it is."""
    desk = make_desk()
    desk.look(at("04:00"))
    desk.look(at("12:00", "2027-06-01"))
    assert len(desk.said()) < 3 * 31
    before = len(desk.said())
    desk.look(at("05:00", "2026-06-02"))
    desk.come(at("05:10", "2026-06-02"))
    desk.look(at("05:30", "2026-06-02"))
    assert desk.said()[before:] == ["recovered 06-02 since 06-02 05:10"]


@both_databases
def test_two_gates_on_one_ledger_say_each_change_once(make_desk: MakeDesk) -> None:
    """Two followers that take turns, and read what the other has read already, say nothing twice."""
    desk = make_desk()
    other = desk.another()
    for number, time in enumerate(("04:00", "05:38", "05:50", "06:00", "10:00")):
        if time == "06:00":
            desk.come(at("05:55"))
        desk.look(at(time), follower=other if number % 2 else None)
        desk.look(at(time), follower=None if number % 2 else other)
    assert desk.said() == [
        "warned 06-01 since 06-01 05:35",
        "late 06-01 since 06-01 05:45",
        "recovered 06-01 since 06-01 05:55",
        "not taken 06-01 since 06-01 07:55",
    ]


def test_events_are_in_utc_and_their_texts_fit_the_record(make_desk: MakeDesk) -> None:
    """Whoever follows the record finds the same names in each event."""
    desk = make_desk()
    desk.look(at("07:00"))
    for event in desk.events():
        assert {"expectation", "expected", "state", "was", "since", "due", "late_from"} <= event.details.keys()
        assert event.arrival is None and event.at.tzinfo == UTC


def test_a_local_file_counts_from_when_it_was_written(make_gate: Callable[..., Gate]) -> None:
    """A file that a local program wrote into the drop while no gate ran was there in time, though a sweep found it later; the
    record says since when it lay there.
    """
    gate = make_gate()
    (gate.drop / "enrols.csv").write_bytes(b"a,1\n")
    written = datetime.now(UTC)
    gate.clock.ahead = timedelta(hours=3)
    due = written + timedelta(minutes=30)
    expected = terms(by=f"{due.minute} {due.hour} * * *", timezone="UTC")
    follower = Expectations(gate.system.ledger, lambda: [expected], PACE, lambda: written)
    while follower.step():
        pass
    assert gate.sweeper.run() is not None
    later = Expectations(gate.system.ledger, lambda: [expected], PACE, lambda: gate.clock() + timedelta(minutes=10))
    with gate.system.ledger.transaction() as connection:
        set_fact(connection, LAST_SWEEP, f'{{"at": "{(gate.clock() + timedelta(minutes=10)).isoformat()}"}}')
    while later.step():
        pass
    with gate.system.ledger.reading() as connection:
        said = [record.event for record in event_log.search(connection, Wanted(event="expect.*"))]
    assert [event.event for event in said] == ["expect.arrived"]
    came = datetime.fromisoformat(str(said[0].details["came"]))
    assert abs(came - written) < timedelta(seconds=30)
