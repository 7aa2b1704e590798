"""Who is admitted before SSH begins: bans, and the limits of connections that have not logged in.

A stranger (a connection that has not logged in) never keeps others out. If there are too many strangers, a new one comes in
and an old one goes: the one that has made no progress for longest, compared with what a client of its stage needs. One that
says nothing goes after two seconds, one that exchanges keys or logs in has longer. So an attacker who opens connections and
says nothing loses his own ones, and clients that come at the same moment do not push each other out: each is nearer to its
login than those who stand still. If nobody stands still, the source that has the most loses one. Sources that the admin named
have no share of their own to stay below, and go last.

In memory, of the supervisor: it counts the visitors of all workers (``server``). Nothing here blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from enum import StrEnum
from time import monotonic

from sftpgate.policy.bans import source_of


class Stage(StrEnum):
    """How far a connection has come that has not logged in."""

    CONNECTED = "connected"
    SPEAKS = "speaks"  # it has said what it offers for the exchange of keys
    ASKS = "asks"  # keys were exchanged, and it asks to log in


# Seconds that a client needs for its next step, over a slow line. The second one may wait for our own queue (``key_exchanges``);
# in the third a person may be typing.
PATIENCE_SECONDS = {Stage.CONNECTED: 2.0, Stage.SPEAKS: 10.0, Stage.ASKS: 20.0}


@dataclass(slots=True, eq=False)
class Visitor:
    """A connection, from its first packet on. ``hang_up`` ends it, whatever it is doing; it gets the reason."""

    address: str
    hang_up: Callable[[str], None]
    named: bool = False  # by the admin, as an address that is never banned
    source: str = field(init=False)
    expected_at: float = 0.0  # when its next step should be done, by the clock of its Admission

    def __post_init__(self) -> None:
        self.source = source_of(self.address) or self.address


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The settings of the same names."""

    max_connections: int
    max_unauthenticated: int
    max_unauthenticated_per_address: int


class Visitors:
    """Counts visitors, and says who has to go."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = monotonic) -> None:
        self.limits = limits
        self._clock = clock
        self._all: set[Visitor] = set()
        self._strangers: dict[str, dict[Visitor, None]] = {}  # by source, oldest first

    def enter(self, visitor: Visitor) -> str | None:
        """Let a visitor in, and hang up on another one if that is needed: on several, if the limits were lowered. If it
        cannot come in, the reason.
        """
        limits = self.limits
        while len(self._all) >= limits.max_connections and self._strangers:
            self._make_room()
        if len(self._all) >= limits.max_connections:
            return "too many connections (rule: max_connections)"
        own = self._strangers.get(visitor.source, {})
        while len(own) >= limits.max_unauthenticated_per_address and not visitor.named:
            self._drop(_slowest(own), "too many logins of its address at a time (rule: max_unauthenticated_per_address)")
        while self.strangers >= limits.max_unauthenticated:
            self._make_room()
        self._all.add(visitor)
        self._strangers.setdefault(visitor.source, {})[visitor] = None
        self.progressed(visitor, Stage.CONNECTED)
        return None

    def progressed(self, visitor: Visitor, stage: Stage) -> None:
        """Note that the visitor has made a step towards its login."""
        visitor.expected_at = self._clock() + PATIENCE_SECONDS[stage]

    def authenticated(self, visitor: Visitor) -> None:
        """Let a visitor that has logged in stay, also if it had to go in this very moment."""
        self._all.add(visitor)
        self._forget_stranger(visitor)

    def leave(self, visitor: Visitor) -> None:
        """Forget a visitor that is gone; do nothing if it was not in."""
        self._all.discard(visitor)
        self._forget_stranger(visitor)

    def _forget_stranger(self, visitor: Visitor) -> None:
        own = self._strangers.get(visitor.source, {})
        own.pop(visitor, None)
        if not own:
            self._strangers.pop(visitor.source, None)

    @property
    def strangers(self) -> int:
        """How many have not logged in."""
        return sum(map(len, self._strangers.values()))

    def visitors(self) -> list[Visitor]:
        """Return all that are in."""
        return list(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def _make_room(self) -> None:
        """Hang up on the stranger that is latest with its next step; if nobody is late, on one of the source with the most."""
        sources = self._strangers.values()
        unnamed = [own for own in sources if not next(iter(own)).named] or list(sources)
        slowest = min(map(_slowest, unnamed), key=_expected_at)
        if slowest.expected_at >= self._clock():
            slowest = _slowest(max(unnamed, key=len))
        self._drop(slowest, "too many connections that have not logged in (rule: max_unauthenticated)")

    def _drop(self, visitor: Visitor, reason: str) -> None:
        self.leave(visitor)
        visitor.hang_up(reason)


def _expected_at(visitor: Visitor) -> float:
    return visitor.expected_at


def _slowest(visitors: Collection[Visitor]) -> Visitor:
    return min(visitors, key=_expected_at)
