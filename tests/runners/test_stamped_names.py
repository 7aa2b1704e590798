"""Names of archives and reports where the clock makes them alike: a crowded minute, and the hour that comes twice."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.harness.runners import World, shell

MANY = 1000


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A world with a tool that takes the latest file."""
    world = World(tmp_path, a=shell('cat "$1"'))
    yield world
    world.close()


@pytest.fixture
def paris(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The time zone of Paris, for this process and its children."""
    monkeypatch.setenv("TZ", "Europe/Paris")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.promise("P3")
def test_a_thousand_archives_of_one_name_in_one_minute(world: World) -> None:
    """A thousand files of one name that replace each other in one minute are all archived, each with its content."""
    for number in range(MANY + 1):
        world.send("a.csv", b"%d\n" % number)
    world.pass_over()
    contents = {int((world.store / "archives" / name).read_text()) for name in world.archives()}
    assert contents == set(range(MANY + 1))
    assert f"{world.clock().astimezone():%Y%m%d-%H%M}_a-{MANY + 1}.csv" in world.archives()


@pytest.mark.promise("P3")
@pytest.mark.usefixtures("paris")
def test_the_hour_that_comes_twice(world: World) -> None:
    """Half past two comes twice when summer time ends: archives, reports and rejected lines of both have names."""
    world.system.close()
    world.system = world.open(a=shell('cat "$1"; cat "$1" > "$SFTPGATE_TRYBACK"'))
    for hour, content in ((0, b"summer\n"), (1, b"winter\n")):
        world.clock.now = datetime(2026, 10, 25, hour, 30, tzinfo=UTC)
        world.send("a.csv", content)
        [result] = world.pass_over().results
        number = "" if hour == 0 else "-2"
        assert result.arrival.archived_as == f"20261025-0230_a{number}.csv"
        assert result.report == f"20261025-0230_report_a{number}.csv"
        assert result.tryback == f"a_tryback_20261025-0230{number}.csv"
        assert (world.store / "archives" / result.arrival.archived_as).read_bytes() == content
        assert f"started: 2026-10-25 02:30:00+0{2 - hour}:00".encode() in world.report(result.report)


@pytest.mark.usefixtures("paris")
def test_the_hour_that_does_not_come(world: World) -> None:
    """When summer time begins, the minute after 01:59 is 03:00 in names too."""
    names = []
    for minute in (59, 60):
        world.clock.now = datetime(2026, 3, 29, minute // 60, minute % 60, tzinfo=UTC)
        world.send("a.csv")
        [result] = world.pass_over().results
        names.append(result.arrival.archived_as)
    assert names == ["20260329-0159_a.csv", "20260329-0300_a.csv"]
