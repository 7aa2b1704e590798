"""Who is let in at the door, before SSH begins: bans, and the limits of connections that have not logged in.

A stranger (a connection that has not logged in) never keeps others out. Where there are too many strangers, a new one comes in
and an old one goes: the oldest one of the same source where that has its share, otherwise the oldest one of the source that
has the most. So an attacker who opens connections and says nothing loses his own ones, and a client that logs in within the time
that it takes to fill the limit is served. Sources that the admin named have no share of their own to stay below, and go last.

In memory, of the supervisor: it counts the visitors of all workers (``reception``). Nothing here blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from sftpgate.policy.bans import source_of


@dataclass(slots=True, eq=False)
class Visitor:
    """A connection, from its first packet on. ``hang_up`` ends it, whatever it is doing; it gets the reason."""

    address: str
    hang_up: Callable[[str], None]
    named: bool = False  # by the admin, as an address that is never banned
    source: str = field(init=False)

    def __post_init__(self) -> None:
        self.source = source_of(self.address) or self.address


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The settings of the same names."""

    max_connections: int
    max_unauthenticated: int
    max_unauthenticated_per_address: int


class Admission:
    """Counts visitors, and says who has to go."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._all: set[Visitor] = set()
        self._strangers: dict[str, dict[Visitor, None]] = {}  # by source, oldest first

    def enter(self, visitor: Visitor) -> str | None:
        """Let a visitor in, and hang up on another one where that is needed: on several, where the limits were lowered. Where it
        cannot come in, the reason.
        """
        limits = self.limits
        while len(self._all) >= limits.max_connections and self._strangers:
            self._drop_oldest_of_the_most()
        if len(self._all) >= limits.max_connections:
            return "too many connections (rule: max_connections)"
        own = self._strangers.get(visitor.source, {})
        while len(own) >= limits.max_unauthenticated_per_address and not visitor.named:
            self._drop(next(iter(own)), "too many logins of its address at a time (rule: max_unauthenticated_per_address)")
        while self.strangers >= limits.max_unauthenticated:
            self._drop_oldest_of_the_most()
        self._all.add(visitor)
        self._strangers.setdefault(visitor.source, {})[visitor] = None
        return None

    def authenticated(self, visitor: Visitor) -> None:
        """The visitor has logged in: it is in, also where it had to go in this very moment."""
        self._all.add(visitor)
        self._forget_stranger(visitor)

    def leave(self, visitor: Visitor) -> None:
        """The visitor is gone; nothing happens where it was not in."""
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
        """All that are in."""
        return list(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def _drop_oldest_of_the_most(self) -> None:
        def weight(visitors: dict[Visitor, None]) -> tuple[bool, int]:
            return not next(iter(visitors)).named, len(visitors)

        most = max(self._strangers.values(), key=weight)
        self._drop(next(iter(most)), "too many connections that have not logged in (rule: max_unauthenticated)")

    def _drop(self, visitor: Visitor, reason: str) -> None:
        self.leave(visitor)
        visitor.hang_up(reason)
