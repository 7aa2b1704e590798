"""Bans in the ledger, and in the memory of a process: shared, surviving, cleared; time comes in as an argument."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sftpgate.gateway.admission.bans import Bans
from sftpgate.ledger import bans
from sftpgate.ledger.bans import Failures
from sftpgate.ledger.database.connection import Ledger
from sftpgate.logs import get_logger
from sftpgate.policy.bans import BanRules, SourceStanding
from sftpgate.policy.login import LoginRefusal
from sftpgate.threads import Threads

RULES = BanRules(threshold=10.0, half_life=timedelta(minutes=10), first_ban=timedelta(minutes=10), longest_ban=timedelta(days=1))
START = datetime(2030, 1, 1, tzinfo=UTC)


@dataclass
class World:
    """Processes on one ledger, with one clock."""

    file: Path
    threads: Threads
    now: datetime = START
    named: list[tuple[str, ...]] = field(default_factory=list)
    ledgers: list[Ledger] = field(default_factory=list)

    def process(self) -> Bans:
        """A process that has just started."""
        ledger = Ledger(f"sqlite:///{self.file}", durable=False)
        ledger.create()
        self.ledgers.append(ledger)
        return Bans(ledger, self.threads, RULES, clock=lambda: self.now, named=lambda: self.named, log=get_logger("gateway"))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A ledger that no process has opened yet."""
    threads = Threads(1, "test")
    made = World(tmp_path / "ledger.db", threads)
    yield made
    threads.close()
    for ledger in made.ledgers:
        ledger.close()


async def test_a_ban_holds_in_every_process_and_after_a_restart(world: World) -> None:
    """What one worker bans, another one refuses after its next refreshment, and so does one that starts later."""
    first, second = world.process(), world.process()
    for _ in range(5):
        first.failed("192.0.2.1", LoginRefusal.UNKNOWN_USER)
    assert first.ban_of("192.0.2.1") is None
    await first.refresh()
    await second.refresh()
    later = world.process()
    await later.refresh()
    for process in (first, second, later):
        ban = process.ban_of("192.0.2.1")
        assert ban is not None
        assert (ban.reason, ban.banned_until) == ("unknown user", START + timedelta(minutes=10))
        assert process.ban_of("192.0.2.2") is None
    world.now += timedelta(minutes=10)
    assert first.ban_of("192.0.2.1") is None


async def test_failures_in_several_processes_add_up(world: World) -> None:
    """The score is the address's, not the worker's: three failures here and two there are five."""
    first, second = world.process(), world.process()
    for process, times in ((first, 3), (second, 2)):
        for _ in range(times):
            process.failed("192.0.2.1", LoginRefusal.UNKNOWN_USER)
        await process.refresh()
    assert second.ban_of("192.0.2.1") is not None


async def test_a_valid_login_clears_its_address(world: World) -> None:
    """Failures before a valid login, wherever they were counted, do not add to those after it."""
    first, second = world.process(), world.process()
    for _ in range(4):
        first.failed("192.0.2.1", LoginRefusal.UNKNOWN_USER)
    await first.refresh()
    second.failed("192.0.2.1", LoginRefusal.UNKNOWN_USER)
    second.succeeded("192.0.2.1")
    await second.refresh()
    for _ in range(4):
        first.failed("192.0.2.1", LoginRefusal.UNKNOWN_USER)
    await first.refresh()
    assert first.ban_of("192.0.2.1") is None


async def test_an_address_that_the_admin_names_is_never_banned(world: World) -> None:
    """Neither by its failures nor, where it was named later, by an earlier ban."""
    process = world.process()
    world.named = [("192.0.2.0/24",)]
    await process.refresh()
    for _ in range(100):
        process.failed("192.0.2.1", LoginRefusal.UNKNOWN_USER)
        process.failed("198.51.100.1", LoginRefusal.UNKNOWN_USER)
    await process.refresh()
    assert process.ban_of("192.0.2.1") is None
    assert process.ban_of("198.51.100.1") is not None
    world.named = [("198.51.100.1",)]
    for _ in range(10):
        await process.refresh()
    assert process.ban_of("198.51.100.1") is None


async def test_the_admin_bans_and_unbans(world: World) -> None:
    """A ban without an end holds until it is removed, and a valid login does not clear it."""
    process = world.process()
    await process.refresh()
    ledger = world.ledgers[0]
    for_good = SourceStanding(source="192.0.2.1", score=0, scored_at=START, banned_at=START, by_admin=True, reason="by hand")
    with ledger.transaction() as connection:
        bans.ban(connection, for_good)
    world.now += timedelta(days=100)
    process.succeeded("192.0.2.1")
    await process.refresh()
    await process.refresh()
    assert process.ban_of("192.0.2.1") == for_good
    with ledger.transaction() as connection:
        assert bans.unban(connection, "192.0.2.1")
        assert not bans.unban(connection, "192.0.2.1")
    await process.refresh()
    assert process.ban_of("192.0.2.1") is None


async def test_addresses_of_one_ipv6_network_are_one_source(world: World) -> None:
    """A stranger who uses a fresh IPv6 address for each attempt is banned all the same."""
    process = world.process()
    for number in range(5):
        process.failed(f"2001:db8::{number:x}", LoginRefusal.UNKNOWN_USER)
    await process.refresh()
    assert process.ban_of("2001:db8::ffff") is not None
    assert process.ban_of("2001:db8:0:1::1") is None


async def test_a_probe_every_second_for_an_hour_is_never_banned(world: World) -> None:
    """A health probe that connects and leaves is asked for its ban at each connection, reports no failure, and has none; a
    monitor that also tries a key of a known user every minute is not banned either.
    """
    process = world.process()
    for second in range(3600):
        world.now = START + timedelta(seconds=second)
        assert process.ban_of("192.0.2.1") is None
        assert process.ban_of("192.0.2.2") is None
        if second % 60 == 0:
            process.failed("192.0.2.2", LoginRefusal.UNKNOWN_KEY)
            await process.refresh()
    with world.ledgers[0].reading() as connection:
        assert not bans.is_known(connection, "192.0.2.1")
        assert bans.banned(connection, world.now) == []


def test_ten_thousand_sources_are_one_commit_and_are_forgotten(world: World) -> None:
    """A flood from many addresses is recorded at once, and cleaned away when its scores have decayed."""
    world.process()
    [ledger] = world.ledgers
    failed = {f"10.0.{n >> 8}.{n & 255}": Failures(weight=2.0, reason="unknown user") for n in range(10_000)}
    with ledger.transaction() as connection:
        assert bans.record(connection, failed, START, RULES) == []
    with ledger.transaction() as connection:
        assert len(bans.record(connection, failed | {"10.9.9.9": Failures(weight=20, reason="x")}, START, RULES)) == 1
        assert bans.clean(connection, START, RULES) == 0
    with ledger.transaction() as connection:
        assert bans.clean(connection, START + timedelta(hours=3), RULES) == 10_000
        assert bans.is_known(connection, "10.9.9.9")
