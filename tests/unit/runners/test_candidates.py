"""Which file a pass takes next, from whom, and what becomes of the others of its name."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from sftpgate.errors import SettingsError
from sftpgate.ledger import arrivals
from sftpgate.ledger.arrivals import LOCAL_OWNER
from sftpgate.policy.lifecycle import ArrivalState
from sftpgate.policy.runs import RunOutcome
from sftpgate.runners.claim_ends import ClaimEnd
from tests.harness.runners import World, shell

MakeWorld = Callable[..., World]


def bodies(world: World, names: list[str | None]) -> list[bytes]:
    """The outputs in reports, without their headers."""
    return [world.report(name).partition(b"\n\n")[2] for name in names]


@pytest.mark.promise("P3")
def test_queue_in_order(make_world: MakeWorld) -> None:
    """Every arrival of a queue is processed, in the order in which they came."""
    world = make_world(a=shell('cat "$1"', arrivals="queue"))
    sent = [world.send("a.csv", b"%d\n" % number) for number in range(5)]
    notes = world.pass_over()
    assert bodies(world, [run.report for run in notes.results]) == [b"0\n", b"1\n", b"2\n", b"3\n", b"4\n"]
    assert [run.arrival.id for run in notes.results] == [item.id for item in sent]
    assert len(world.archives()) == 5


def test_failed_head_keeps_its_queue_waiting(make_world: MakeWorld) -> None:
    """The second of a queue is not processed before the first has succeeded or is in quarantine."""
    world = make_world(a=shell('grep good "$1"', arrivals="queue", max_attempts=2))
    bad, good = world.send("a.csv", b"bad\n"), world.send("a.csv", b"good\n")
    assert [run.arrival.id for run in world.pass_over().results] == [bad.id]
    assert world.now(good).state is ArrivalState.QUEUED
    assert [run.arrival.id for run in world.pass_over().results] == [bad.id, good.id]
    assert (world.now(bad).state, world.now(good).state) == (ArrivalState.QUARANTINED, ArrivalState.DONE)


@pytest.mark.promise("P3")
def test_latest_takes_the_place_of_a_failed_one(make_world: MakeWorld) -> None:
    """An arrival that comes back while a newer one of its name waits is archived, and the newer one is processed."""
    world = make_world(a=shell("exit 0"))
    old = world.send("a.csv", b"old\n")
    claim = world.claims.take("a")
    assert claim is not None
    new = world.send("a.csv", b"new\n")
    world.claims.end(claim, ClaimEnd(outcome=RunOutcome.FAILED))
    ended = world.now(old)
    assert ended.state is ArrivalState.REPLACED and ended.archived_as is not None
    assert (world.store / "archives" / ended.archived_as).read_bytes() == b"old\n"
    assert (world.store / "a.csv").read_bytes() == b"new\n"
    assert [run.arrival.id for run in world.pass_over().results] == [new.id]


def test_queue_goes_on_when_a_plain_program_takes_the_file(make_world: MakeWorld) -> None:
    """A program that just removes the named file from the store has consumed it: the next of the queue comes up."""
    world = make_world(a=shell('cat "$1"', arrivals="queue"))
    first, second = world.send("a.csv", b"1\n"), world.send("a.csv", b"2\n")
    (world.store / "a.csv").unlink()
    notes = world.pass_over()
    assert [run.arrival.id for run in notes.results] == [second.id]
    assert (world.now(first).state, world.now(second).state) == (ArrivalState.TAKEN, ArrivalState.DONE)


def test_oldest_first_over_a_pattern(make_world: MakeWorld) -> None:
    """A pattern's files are processed in the order of their arrival, whatever their names."""
    world = make_world(a={**shell('cat "$1"'), "file": "a*.csv"})
    for name in ("a9.csv", "a1.csv", "b.csv", "a5.csv"):
        world.send(name)
    assert world.pass_over().paths == ["a9.csv", "a1.csv", "a5.csv"]
    assert world.in_store() == ["b.csv"]


def test_first_tool_has_the_file(make_world: MakeWorld) -> None:
    """A file that fits two tools is for the first of them, and waits for it while it is disabled."""
    world = make_world(one={**shell("exit 0"), "file": "*.csv", "enabled": False}, two={**shell("exit 0"), "file": "a*.csv"})
    world.send("a.csv")
    assert world.pass_over("two").results == []
    assert world.pass_over("one").results == []


@pytest.mark.promise("P8")
def test_local_files_are_adopted(make_world: MakeWorld) -> None:
    """Files that a program wrote into the store become arrivals of nobody, and are processed like any other."""
    world = make_world(a={**shell('cat "$1"'), "file": ["a.csv", "sub/*.csv"]})
    (world.store / "sub").mkdir()
    for name in ("a.csv", "sub/x.csv", "sub/y.txt", "sub/_z.csv", "sub/.h.csv"):
        (world.store / name).write_text("local\n")
    world.clock.advance(seconds=1)
    notes = world.pass_over()
    assert sorted(notes.paths) == ["a.csv", "sub/x.csv"]
    for run in notes.results:
        assert (run.arrival.owner, run.arrival.source, run.arrival.state) == (LOCAL_OWNER, "store", ArrivalState.DONE)
        assert run.arrival.sha256
    assert b"user: (a local program)" in world.report(notes.results[0].report)


@pytest.mark.promise("P1")
def test_local_file_is_left_until_it_is_quiet(make_world: MakeWorld) -> None:
    """A local file that is being written, or was a moment ago, is not taken."""
    world = make_world(a=shell("exit 0"))
    with (world.store / "a.csv").open("w") as file:
        file.write("half")
        file.flush()
        world.clock.advance(hours=1)
        assert world.pass_over().results == []
    world.clock.advance(hours=-2)
    assert world.pass_over().results == []
    world.clock.advance(hours=2)
    assert world.pass_over().paths == ["a.csv"]


def test_symbolic_link_in_the_store_is_no_input(make_world: MakeWorld) -> None:
    """A link in the store is never followed and never taken."""
    world = make_world(a=shell("exit 0"))
    (world.store / "a.csv").symlink_to("/etc/passwd")
    world.clock.advance(hours=1)
    assert world.pass_over().results == []
    assert (world.store / "a.csv").is_symlink()


def test_tools_run_in_order(make_world: MakeWorld) -> None:
    """A tool goes after those that it names in ``after``, whatever their order in the settings."""
    world = make_world(
        enrols={**shell("exit 0"), "file": "enrols.csv", "after": ["users", "courses"]},
        courses={**shell("exit 0"), "file": "courses.csv"},
        users={**shell("exit 0"), "file": "users.csv", "after": ["courses"]},
    )
    for name in ("enrols.csv", "users.csv", "courses.csv"):
        world.send(name)
    assert world.pass_over().paths == ["courses.csv", "users.csv", "enrols.csv"]


def test_dependents_of_a_failed_tool_are_left_out(make_world: MakeWorld) -> None:
    """A tool that comes after one that failed, directly or not, is left out of the pass; it runs once that one got through."""
    world = make_world(
        users={**shell('grep good "$1"'), "file": "users.csv", "max_attempts": 2, "retry_delay": "1m"},
        enrols={**shell("exit 0"), "file": "enrols.csv", "after": ["users"]},
        groups={**shell("exit 0"), "file": "groups.csv", "after": ["enrols"]},
        other={**shell("exit 0"), "file": "other.csv"},
    )
    for name in ("enrols.csv", "groups.csv", "other.csv", "users.csv"):
        world.send(name, b"bad\n")
    notes = world.pass_over()
    assert sorted(notes.paths) == ["other.csv", "users.csv"]
    assert notes.left_out == [("enrols", "users"), ("groups", "users")]
    notes = world.pass_over()  # nothing is due, but the users are not there yet
    assert (notes.paths, notes.left_out) == ([], [])
    world.clock.advance(minutes=1)
    world.pass_over("users")
    assert world.pass_over().paths == ["enrols.csv", "groups.csv"]


def test_circle_in_the_order(make_world: MakeWorld) -> None:
    """Tools that come after each other in a circle are a settings error that names them."""
    world = make_world(
        a={**shell("exit 0"), "after": ["b"]},
        b={**shell("exit 0"), "file": "b.csv", "after": ["a"]},
    )
    with pytest.raises(SettingsError, match="circle"):
        world.pass_over()


def test_limit_counts_all_runs(make_world: MakeWorld) -> None:
    """A pass with a limit ends after so many runs, over all tools."""
    world = make_world(a={**shell("exit 0"), "file": "a*"}, b={**shell("exit 0"), "file": "b*"})
    for name in ("a1", "a2", "b1", "b2"):
        world.send(name)
    assert len(world.pass_over(limit=3).results) == 3
    assert len(world.pass_over().results) == 1


@pytest.mark.promise("P3")
def test_many_archives_of_one_name_in_one_minute(make_world: MakeWorld) -> None:
    """A hundred files of one name, processed in one minute, are a hundred archives and a hundred reports."""
    world = make_world(a=shell("exit 0", arrivals="queue"))
    for number in range(100):
        world.send("a.csv", b"%d\n" % number)
    world.pass_over()
    contents = {(world.store / "archives" / name).read_bytes() for name in world.archives()}
    assert contents == {b"%d\n" % number for number in range(100)}
    assert len(list((world.store / "reports").iterdir())) == 100


@pytest.mark.promise("P3")
def test_file_without_record_in_the_way_is_kept(make_world: MakeWorld) -> None:
    """What a program put at the path of a claimed file is archived before the file comes back."""
    world = make_world(a=shell("exit 0"))
    arrival = world.send("a.csv", b"claimed\n")
    claim = world.claims.take("a")
    assert claim is not None
    (world.store / "a.csv").write_bytes(b"put there\n")
    world.claims.end(claim, ClaimEnd(outcome=RunOutcome.FAILED))
    assert (world.store / "a.csv").read_bytes() == b"claimed\n"
    assert world.now(arrival).state is ArrivalState.WAITING
    [kept] = world.archives()
    assert (world.store / "archives" / kept).read_bytes() == b"put there\n"


def test_directory_in_the_way(make_world: MakeWorld) -> None:
    """A file that cannot come back, because a directory has its name now, goes to quarantine."""
    world = make_world(a=shell("exit 0"))
    arrival = world.send("a.csv")
    claim = world.claims.take("a")
    assert claim is not None
    (world.store / "a.csv").mkdir()
    world.claims.end(claim, ClaimEnd(outcome=RunOutcome.FAILED))
    assert world.now(arrival).state is ArrivalState.QUARANTINED


def test_records_agree_with_the_disk_after_everything(make_world: MakeWorld) -> None:
    """After a pass every live arrival's file is where its record says."""
    world = make_world(a={**shell('grep good "$1"'), "file": "a*.csv", "arrivals": "queue"})
    for number in range(6):
        world.send(f"a{number % 2}.csv", b"good\n" if number % 3 else b"bad\n")
        world.clock.advance(seconds=1)
    world.pass_over()
    world.clock.now += timedelta(minutes=1)
    with world.system.ledger.reading() as connection:
        for item in arrivals.find(connection):
            assert item.location is not None
            assert world.system.layout.disk_path(item.location).local.exists(), item


def test_files_of_a_pattern_by_their_dates(make_world: MakeWorld) -> None:
    """What came in the wrong order, as parallel transfers bring it, is processed in the order of the dates in the names."""
    world = make_world(a={**shell("exit 0", arrivals="queue"), "file": "users-*.csv"})
    for day in ("02", "03", "01"):
        world.send(f"users-202601{day}.csv")
    assert world.pass_over("a").paths == [f"users-202601{day}.csv" for day in ("01", "02", "03")]
