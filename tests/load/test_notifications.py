"""An outbox of a million messages to a receiver that is dead, and what a CLOSE costs beside it.

Work is counted by SQLite's own steps, of which a query that looks at every row takes some ten for each. Figures in seconds are
printed besides.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.pool import Pool

from sftpgate.ids import new_id
from sftpgate.ledger.database.connection import Ledger
from sftpgate.ledger.outbox import messages
from sftpgate.ledger.outbox.messages import Message
from sftpgate.policy.deliveries import Attempt, Verdict
from sftpgate.settings.notify import NotifySettings
from sftpgate.threads import Threads
from sftpgate.upkeep.notifications.courier import Courier
from tests.harness.notified import AT, HMAC_KEY, Time, message
from tests.harness.servers import Gate

ROWS = 1_000_000
UPLOADS = 300
STEPS_PER_TICK = 100

COPIES = """
    WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :rows)
    INSERT INTO outbox (
        id, lane, receiver, recipient, rule, kind, content, first_seq, last_seq, created_at, due_at, state, attempts, said
    )
    SELECT
        printf('%026d', n), lane, receiver, recipient, rule, kind, content, first_seq, last_seq, created_at, due_at, state,
        attempts, said
    FROM numbers, (SELECT * FROM outbox LIMIT 1)
"""

pytestmark = pytest.mark.timeout(1800)
Tell = Callable[[str, object], None]


@dataclass
class Work:
    """SQLite's steps, in hundreds."""

    ticks: int = 0

    def tick(self) -> int:
        """One hundred more."""
        self.ticks += 1
        return 0


@pytest.fixture
def work() -> Iterator[Work]:
    """Counts the steps of every connection that is taken from a pool."""
    counted = Work()

    def watch(connection: Any, *_: object) -> None:
        connection.set_progress_handler(counted.tick, STEPS_PER_TICK)

    event.listen(Pool, "checkout", watch)
    yield counted
    event.remove(Pool, "checkout", watch)


class Dead:
    """A receiver that is away."""

    def __init__(self) -> None:
        self.asked = 0

    async def deliver(self, message: Message) -> Attempt:
        """Do not answer."""
        self.asked += 1
        return Attempt(verdict=Verdict.AWAY, said="no answer")

    async def close(self) -> None:
        """Nothing."""


class Alive(Dead):
    """A receiver that takes everything."""

    async def deliver(self, message: Message) -> Attempt:
        """Take it."""
        self.asked += 1
        return Attempt(verdict=Verdict.SENT, said="ok")


def full_outbox(directory: Path) -> Ledger:
    """A ledger with a million messages to a dead receiver, and one behind them to another."""
    ledger = Ledger(f"sqlite:///{directory / 'ledger.db'}", durable=False)
    ledger.create()
    sample = message("dead")
    with ledger.transaction() as connection:
        messages.add(connection, [sample])
        connection.execute(text(COPIES), {"rows": ROWS - 1})
        messages.add(connection, [replace(sample, id=new_id(AT), lane="alive", receiver="alive")])
    return ledger


async def test_a_million_messages_to_a_dead_receiver(
    tmp_path: Path, work: Work, record_property: Callable[[str, object], None]
) -> None:
    """A million messages cost a dead receiver one attempt a pause, and others nothing; what is listed costs what it shows; what
    is too old goes a bounded slice at a time.
    """
    with closing(full_outbox(tmp_path)) as ledger:
        clock, threads = Time(), Threads(2, "notify")
        settings = NotifySettings(to={name: {"url": "https://x.example/", "keys": (HMAC_KEY,)} for name in ("dead", "alive")})
        dead, alive = Dead(), Alive()
        courier = Courier(ledger, settings, {"dead": dead, "alive": alive}, threads, clock=clock, luck=lambda: 0.5)

        async def cost(name: str, what: Callable[[], Any]) -> int:
            before, began = work.ticks, time.perf_counter()
            await what()
            seconds, steps = time.perf_counter() - began, (work.ticks - before) * STEPS_PER_TICK
            record_property(name, f"{seconds * 1000:.1f} ms, {steps} steps")
            return steps

        async def list_newest() -> None:
            with ledger.reading() as connection:
                assert len(messages.listed(connection, limit=100)) == 100

        assert await cost("a message to another receiver", lambda: courier.deliver("alive")) < 10_000
        assert alive.asked == 1
        assert await cost("an attempt at the dead one", lambda: courier.deliver("dead")) < 50_000
        assert await cost("a look while it is away", lambda: courier.deliver("dead")) < 5_000
        assert dead.asked == 1
        assert await cost("listing the newest hundred", list_newest) < 50_000
        clock.advance(days=1)
        for _ in range(20):
            await courier.deliver("dead")
            clock.advance(minutes=1)
        assert dead.asked < 15
        clock.advance(days=6)
        began = time.perf_counter()
        slices: list[float] = []
        while ended := await threads.run(give_up, ledger, courier, slices):
            assert ended <= messages.SLICE
            if len(slices) == 50:
                break
        record_property("giving up a slice of a thousand, the slowest of fifty", f"{max(slices) * 1000:.1f} ms")
        record_property("fifty slices", f"{time.perf_counter() - began:.2f} s")
        threads.close()


def give_up(ledger: Ledger, courier: Courier, slices: list[float]) -> int:
    """Give up one slice."""
    before = AT + timedelta(days=1)
    began = time.perf_counter()
    with ledger.transaction() as connection:
        ended, _ = messages.give_up(connection, "dead", before, before + timedelta(days=9))
    slices.append(time.perf_counter() - began)
    return ended


@asynccontextmanager
async def black_hole() -> AsyncIterator[int]:
    """A receiver that takes connections and never answers."""
    writers: list[asyncio.StreamWriter] = []

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await reader.read()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.close()


async def closes(directory: Path, settings: str) -> list[float]:
    """How long the CLOSE of each of some hundred small uploads took, in milliseconds."""
    directory.mkdir()
    config = directory / "sftpgate.toml"
    config.write_text(settings, encoding="utf-8")
    found = []
    with Gate(directory, CONFIG=str(config)) as gate:
        await asyncio.to_thread(gate.start)
        connection = await gate.connect()
        async with connection, connection.start_sftp_client() as sftp:
            for number in range(UPLOADS):
                file = await sftp.open(f"file{number}.csv", "w")
                await file.write("a,b\n1,2\n")
                began = time.perf_counter()
                await file.close()
                found.append((time.perf_counter() - began) * 1000)
        await asyncio.to_thread(gate.stop)
    return sorted(found)


async def test_a_dead_receiver_slows_no_close(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """A CLOSE takes as long beside receivers that never answer as it takes without any."""
    async with black_hole() as port:
        told = f"""
[notify]
allowed_networks = "127.0.0.0/8"
[notify.mail]
host = "127.0.0.1"
port = {port}
security = "none"
sender = "gate@school.example"
[notify.to.hook]
url = "http://127.0.0.1:{port}/"
keys = ["{HMAC_KEY}"]
[notify.to.admins]
mail = "it@school.example"
[notify.to.script]
command = ["sleep", "60"]
[notify.rules.all]
events = "arrival.*"
to = ["hook", "admins", "script"]
digest = 0
"""
        figures = {}
        for turn in range(2):
            for name, settings in (("without", ""), ("with", told)):
                figures[name, turn] = await closes(tmp_path / f"{name}{turn}", settings)
    for (name, turn), found in figures.items():
        median, p99 = statistics.median(found), found[int(len(found) * 0.99)]
        record_property(f"CLOSE {name} dead receivers ({turn + 1})", f"median {median:.2f} ms, p99 {p99:.2f} ms")
    without = min(statistics.median(figures["without", turn]) for turn in range(2))
    beside = min(statistics.median(figures["with", turn]) for turn in range(2))
    assert beside < without * 1.5 + 1.0
