"""Stop at every operation of a hand-over, the follower that tells of it, and the delivery: everybody hears, under one id."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from sftpgate.ledger.audit import event_log
from sftpgate.ledger.audit.event_log import Wanted
from sftpgate.ledger.outbox import messages
from sftpgate.ledger.outbox.messages import Message, MessageState
from sftpgate.policy.deliveries import Attempt, Verdict
from sftpgate.settings.choices import Language
from sftpgate.settings.notify import NotifySettings
from sftpgate.upkeep.notifications.audience import audience_of
from sftpgate.upkeep.notifications.courier import Courier, lease_of
from sftpgate.upkeep.notifications.follower import Announcer
from tests.crash.machine import CrashLedger, Machine, Outage
from tests.crash.scenarios import NEW, OLD
from tests.crash.test_crash_points import OUTAGES, Record, Run, recover, stopped_scenario
from tests.crash.world import World
from tests.harness.notified import HMAC_KEY, InLine

RECEIVED = "arrival.received"
HOOK = {"url": "https://hooks.example/x", "keys": (HMAC_KEY,)}
SETTINGS = NotifySettings.model_validate({"to": {"hook": HOOK}, "rules": {"all": {"events": RECEIVED, "to": "hook"}}})


class Receiver:
    """Has what it has, whatever becomes of the gate. Each request is two operations of the machine: it comes, and it is there."""

    def __init__(self) -> None:
        self.machine: Machine | None = None
        self.got: list[Message] = []

    async def deliver(self, message: Message) -> Attempt:
        """Take it."""
        if self.machine is not None:
            self.machine.step("a request comes")
        self.got.append(message)
        if self.machine is not None:
            self.machine.step("a request is answered")
        return Attempt(verdict=Verdict.SENT, said="ok")

    async def close(self) -> None:
        """Nothing."""


def announcer(world: World) -> Announcer:
    """The follower of a world."""
    audience = audience_of(SETTINGS, Language.ENGLISH)
    return Announcer(world.system.ledger, audience, pointers=(), sender_of=lambda _: None, clock=world.clock)


def deliver(world: World, receiver: Receiver) -> None:
    """Deliver what is due."""
    threads = InLine(1, "notify")
    courier = Courier(world.system.ledger, SETTINGS, {"hook": receiver}, threads, clock=world.clock, luck=lambda: 0.5)
    with asyncio.Runner() as runner:
        while runner.run(courier.deliver("hook")):
            pass
    threads.close()


def stopped(place: Path, number: int, receiver: Receiver) -> tuple[Run, bool]:
    """A file arrives and is told, up to an operation."""

    def acts(world: World) -> Iterator[None]:
        announcer(world).join()
        world.publish("old.csv", OLD)
        announcer(world).read_on()
        deliver(world, receiver)
        yield
        assert isinstance(world.system.ledger, CrashLedger)
        receiver.machine = world.system.ledger.machine
        world.publish("new.csv", NEW)
        announcer(world).read_on()
        deliver(world, receiver)

    return stopped_scenario(acts, place, number)


@pytest.mark.promise("P8")
@OUTAGES
def test_everybody_hears_under_one_id(outage: Outage, tmp_path: Path, record_property: Record) -> None:
    """After a stop at any operation, and a recovery, every file on the record was told, under one id, and so it is recorded."""
    found: list[str] = []
    number, ended = 0, False
    while not ended:
        number += 1
        place, receiver = tmp_path / str(number), Receiver()
        run, ended = stopped(place, number, receiver)
        run.crash(place / "after", outage)
        receiver.machine = None
        world = recover(place / "after", run)
        world.clock.now += lease_of(SETTINGS)
        announcer(world).read_on()
        deliver(world, receiver)
        where = "the end" if ended else run.machine.trace[-1]
        found += [f"{number} ({where}): {problem}" for problem in _problems(world, receiver)]
        world.close()
        shutil.rmtree(place)
    record_property("crash_points", number)
    assert not found, "\n".join(found)
    assert number > 10


def _problems(world: World, receiver: Receiver) -> Iterator[str]:
    with world.system.ledger.reading() as connection:
        happened = {str(each.event.details["path"]) for each in event_log.search(connection, Wanted(event=RECEIVED))}
        kept = messages.listed(connection)
    told: dict[str, set[str]] = {}
    for message in receiver.got:
        for event in message.content.events:
            told.setdefault(event.path, set()).add(message.id)
    yield from (f"{path} was not told" for path in sorted(happened - set(told)))
    yield from (f"{path} was told, and is not on the record" for path in sorted(set(told) - happened))
    yield from (f"{path} was told under {len(ids)} ids" for path, ids in told.items() if len(ids) != 1)
    yield from (f"{each.id} is {each.state}" for each in kept if each.state is not MessageState.SENT)
