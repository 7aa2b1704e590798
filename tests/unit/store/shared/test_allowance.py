"""How a user's bandwidth is shared out among sessions of several processes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sftpgate.store.disk import Disk
from sftpgate.store.disk_paths import DiskPath
from sftpgate.store.kernel.open_files import try_lock
from sftpgate.store.shared.allowance import Allowance


class World:
    """A simulated clock, and sessions of one user."""

    def __init__(self, directory: Path) -> None:
        self.now = 1_000_000.0
        self.file = DiskPath(directory, "erp")

    def session(self, bytes_per_second: int = 1000) -> Allowance:
        """One more session, as another process would have it."""
        return Allowance(Disk(), self.file, bytes_per_second, clock=lambda: self.now)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Nobody has used anything."""
    return World(tmp_path)


def test_several_sessions_have_what_one_has(world: World) -> None:
    """Over a simulated minute three sessions, each of which waits as long as it is told, use the limit of one, and one second's
    more; one of them is killed on the way, which gives nothing back.
    """
    sessions = [world.session() for _ in range(3)]
    ready = [world.now] * 3
    begun, sent = world.now, 0
    while world.now < begun + 60:
        for number, session in enumerate(sessions):
            if ready[number] <= world.now:
                ready[number] = world.now + session.spend(200)
                sent += 200
        if len(sessions) == 3 and world.now > begun + 30:
            sessions.pop()
        world.now += 0.01
    assert 60_000 <= sent <= 62_000


def test_who_was_quiet_has_no_more_than_a_second_saved(world: World) -> None:
    """A session that comes after hours finds one second's worth."""
    session = world.session()
    session.spend(500)
    world.now += 10_000
    assert session.spend(1000) == 0
    assert session.spend(1000) == pytest.approx(1.0)


def test_a_debt_outlives_its_session(world: World) -> None:
    """To come again is no way to be free of it, not even for who was cut off before it had paid; and time pays it."""
    first = world.session()
    assert first.spend(3000) == pytest.approx(2.0)
    first.spend(20)
    first.close()
    assert world.session().spend(40) == pytest.approx(2.06)
    world.now += 3
    assert world.session().spend(40) == 0


def test_small_change_is_paid_together(world: World) -> None:
    """What a session uses below a 32nd of a second does not cost a look at the file."""
    session = world.session(64_000)
    assert session.spend(2000) == 0
    assert not Disk().exists(world.file)
    session.spend(1)
    assert Disk().exists(world.file)


def test_a_locked_bucket_is_not_waited_for(world: World) -> None:
    """Who finds it locked goes on, and pays with the next bytes."""
    holder = Disk().open_or_create(world.file, 0o600)
    session = world.session()
    assert try_lock(holder)
    assert session.spend(1500) == 0
    os.close(holder)
    assert session.spend(500) == pytest.approx(1.0)


def test_a_clock_that_is_set_back_costs_nothing(world: World) -> None:
    """Nobody waits for the hour that comes again."""
    session = world.session()
    session.spend(1500)
    world.now -= 3600
    assert session.spend(100) == pytest.approx(0.6)
    world.now += 1
    assert session.spend(100) == 0


def test_without_its_file_a_session_pays_in_time(tmp_path: Path) -> None:
    """Where the file cannot be had, a session has the limit for itself, and nothing breaks."""
    session = Allowance(Disk(), DiskPath(tmp_path, "missing/erp"), 1000)
    assert [session.spend(500), session.spend(0), session.spend(250)] == [0.5, 0.0, 0.25]
    session.close()
