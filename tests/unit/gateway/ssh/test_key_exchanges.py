"""Whose key exchange is computed next, and who waits; and what the allowances allow."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftpgate.gateway.ssh.key_exchanges import Exchanges, Payer
from sftpgate.policy.exchanges import PAYER, SHARED, ExchangeBudget, Group

FLOOD, OTHER = Payer(Group.STRANGER, "192.0.2.1"), Payer(Group.STRANGER, "192.0.2.2")
SITE, USER = Payer(Group.KNOWN, "198.51.100.1"), Payer(Group.USER, "erp")
OVERDRAWN = PAYER.most_seconds + 0.005  # so much that the payer waits for a twentieth of a second


class World:
    """A queue whose exchanges take as much as the test says, and what was computed."""

    def __init__(self) -> None:
        self.spent = 0.0
        self.done: list[str] = []
        self.exchanges = Exchanges(spent=lambda: self.spent)

    async def exchange(self, payer: Payer, name: str, *, seconds: float = 0.0, kind: str = "", wanted: bool = True) -> None:
        """Ask for an exchange that takes so much."""

        def work() -> None:
            self.spent += seconds
            self.done.append(name)

        await self.exchanges.run(payer, kind or name, lambda: wanted, work)


async def test_who_has_used_its_allowance_up_waits_and_nobody_else() -> None:
    """The next exchange of the same source waits; other sources, known ones and users come first."""
    world = World()
    await world.exchange(FLOOD, "first", seconds=OVERDRAWN)
    assert world.exchanges.has_used_up(FLOOD)
    waiting = asyncio.create_task(world.exchange(FLOOD, "second"))
    await asyncio.sleep(0)
    for payer in (OTHER, SITE, USER):
        await world.exchange(payer, payer.name)
    assert "second" not in world.done
    await waiting
    assert world.done == ["first", OTHER.name, SITE.name, USER.name, "second"]


async def test_the_cheap_ones_of_a_source_come_first() -> None:
    """Behind one address a client with elliptic curves does not wait for those with the dearest group."""
    world = World()
    await world.exchange(OTHER, "dear", seconds=0.01, kind="dear")
    await world.exchange(OTHER, "cheap", seconds=0.0001, kind="cheap")
    await world.exchange(FLOOD, "first", seconds=OVERDRAWN)
    world.done.clear()
    kinds = ["dear", "dear", "cheap"]
    await asyncio.gather(*(world.exchange(FLOOD, f"{kind} {number}", kind=kind) for number, kind in enumerate(kinds)))
    assert world.done == ["cheap 2", "dear 0", "dear 1"]


async def test_a_flood_from_many_addresses_does_not_hold_up_known_sources() -> None:
    """What strangers share is used up: all of them wait, and who has logged in from its address before does not."""
    world = World()
    shared = SHARED[Group.STRANGER]
    assert shared is not None
    await world.exchange(FLOOD, "first", seconds=shared.most_seconds + 0.01)
    waiting = asyncio.create_task(world.exchange(OTHER, "stranger"))
    await asyncio.sleep(0)
    world.exchanges.note_login(SITE.name)
    assert world.exchanges.payer_of(SITE.name, named=False) == SITE
    assert world.exchanges.payer_of(OTHER.name, named=False) == OTHER
    assert world.exchanges.payer_of(OTHER.name, named=True).group is Group.KNOWN
    await world.exchange(SITE, "site")
    assert world.done == ["first", "site"]
    await waiting


async def test_nothing_is_computed_for_who_is_gone() -> None:
    """A client that hung up while it waited costs nothing, nor does one whose task was cancelled; the next one has its turn."""
    world = World()
    await world.exchange(FLOOD, "first", seconds=OVERDRAWN)
    gone = asyncio.create_task(world.exchange(FLOOD, "gone", wanted=False))
    cancelled = asyncio.create_task(world.exchange(FLOOD, "cancelled"))
    last = asyncio.create_task(world.exchange(FLOOD, "last"))
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.gather(gone, last)
    assert world.done == ["first", "last"]


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 0.05))))
def test_an_allowance_is_kept(steps: list[tuple[float, float]]) -> None:
    """Whoever waits when it must takes no more than its share of the time, its most and one exchange."""
    now = spent = dearest = 0.0
    allowance = ExchangeBudget.full(PAYER, now)
    for pause, cost in steps:
        now += max(pause, allowance.wait(now))
        allowance.spend(cost, now)
        spent, dearest = spent + cost, max(dearest, cost)
    assert spent <= PAYER.most_seconds + PAYER.share * now + dearest + 1e-9


@pytest.mark.parametrize(("clients", "cost", "most"), [(60, 0.002, 0.0), (60, 0.012, 3.0)])
def test_sixty_clients_at_a_moment(clients: int, cost: float, most: float) -> None:
    """Sixty clients behind one address do not wait at all with elliptic curves, and some seconds with the dearest group."""
    allowance = ExchangeBudget.full(PAYER, 0.0)
    now = 0.0
    for _ in range(clients):
        now += allowance.wait(now)
        allowance.spend(cost, now)
    assert now <= most
