"""The queue of key exchanges of one process: each is computed on the event loop, because the library keeps the interpreter to
itself meanwhile, so threads would not help. Those who are logged in wait for one exchange at most, and then have the loop for
as long as it took.

The rules are ``policy.exchanges``'; here they get the time, and what each exchange has taken. Nothing blocks but the exchange.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from sftpgate.policy.exchanges import PAYER, SHARED, ExchangeBudget, Group, Rank

T = TypeVar("T")

KNOWN_SECONDS = 24 * 3600.0  # how long a source is known from which somebody has logged in: nightly jobs come each day
MOST_KNOWN = 10_000
MOST_PAYERS = 10_000


@dataclass(frozen=True, slots=True)
class Payer:
    """Whose allowance an exchange is paid from: a source, or a user by its name."""

    group: Group
    name: str


@dataclass(slots=True, eq=False)
class _Waiting:
    payer: Payer
    kind: str
    is_wanted: Callable[[], bool]
    came: int
    turn: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Exchanges:
    """Lets one exchange after the other be computed."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, spent: Callable[[], float] = time.thread_time) -> None:
        self._clock = clock
        self._spent = spent
        self._numbers = itertools.count()
        self._waiting: list[_Waiting] = []
        self._payers: dict[Payer, ExchangeBudget] = {}
        self._shared = {group: ExchangeBudget.full(rate, clock()) for group, rate in SHARED.items() if rate is not None}
        self._costs: dict[str, float] = {}  # seconds that an exchange of a kind took lately
        self._known: dict[str, float] = {}  # until when
        self._free_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def payer_of(self, source: str, *, named: bool) -> Payer:
        """Return who pays for a connection that has not logged in."""
        known = named or self._known.get(source, 0.0) > self._clock()
        return Payer(Group.KNOWN if known else Group.STRANGER, source)

    def note_login(self, source: str) -> None:
        """Note that somebody has logged in from there."""
        if source not in self._known and len(self._known) >= MOST_KNOWN:
            del self._known[next(iter(self._known))]
        self._known.pop(source, None)
        self._known[source] = self._clock() + KNOWN_SECONDS

    def has_used_up(self, payer: Payer) -> bool:
        """Return whether the payer's own allowance is used up at the moment."""
        allowance = self._payers.get(payer)
        return allowance is not None and allowance.wait(self._clock()) > 0

    async def run(self, payer: Payer, kind: str, is_wanted: Callable[[], bool], work: Callable[[], T]) -> T | None:
        """Return what ``work`` returns, when it is its turn; ``None`` if it is not wanted any more by then."""
        if self._waiting or self._wait_of(payer) > 0:
            await self._turn(_Waiting(payer, kind, is_wanted, next(self._numbers)))
        if not is_wanted():
            self._look_later()
            return None
        began, spent = self._clock(), self._spent()
        try:
            return work()
        finally:
            self._pay(payer, kind, self._spent() - spent, self._clock() - began)
            self._look_later()

    async def _turn(self, waiting: _Waiting) -> None:
        self._waiting.append(waiting)
        self._look_later()
        try:
            await waiting.turn
        except asyncio.CancelledError:
            if waiting in self._waiting:
                self._waiting.remove(waiting)
            self._look_later()  # it may have been its turn
            raise

    def _pay(self, payer: Payer, kind: str, seconds: float, passed_seconds: float) -> None:
        now = self._clock()
        for allowance in self._allowances(payer):
            allowance.spend(seconds, now)
        before = self._costs.get(kind, seconds)
        self._costs[kind] = before + (seconds - before) / 8
        self._free_at = now + passed_seconds  # the others have the loop for as long

    def _allowances(self, payer: Payer) -> list[ExchangeBudget]:
        own = self._payers.get(payer)
        if own is None:
            if len(self._payers) >= MOST_PAYERS:
                self._forget()
            own = self._payers[payer] = ExchangeBudget.full(PAYER, self._clock())
        shared = self._shared.get(payer.group)
        return [own] if shared is None else [own, shared]

    def _forget(self) -> None:
        now = self._clock()
        self._payers = {payer: allowance for payer, allowance in self._payers.items() if not allowance.is_full(now)}
        if len(self._payers) >= MOST_PAYERS:  # then the allowance that all of them share is what bounds them
            self._payers.clear()

    def _wait_of(self, payer: Payer) -> float:
        now = self._clock()
        return max(self._free_at - now, *(allowance.wait(now) for allowance in self._allowances(payer)), 0.0)

    def _rank(self, now: float, waiting: _Waiting) -> tuple[bool, float, float, int]:
        own = self._allowances(waiting.payer)[0]
        left, cost = own.left(now), self._costs.get(waiting.kind, 0.0)
        return Rank(waiting.payer.group is Group.USER, left, cost, waiting.came).key()

    def _look_later(self) -> None:
        """Look who is next as soon as somebody can be."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting:
            seconds = min(self._wait_of(payer) for payer in {waiting.payer for waiting in self._waiting})
            self._timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        self._timer = None
        for waiting in [waiting for waiting in self._waiting if not waiting.is_wanted()]:
            self._let_go(waiting)
        able = [waiting for waiting in self._waiting if not self._wait_of(waiting.payer)]
        if able:
            self._let_go(min(able, key=partial(self._rank, self._clock())))
        else:
            self._look_later()

    def _let_go(self, waiting: _Waiting) -> None:
        self._waiting.remove(waiting)
        if not waiting.turn.done():
            waiting.turn.set_result(None)
