"""How much of the processor's time key exchanges may take, and whose is next.

A key exchange is computed by the server before anybody has proven anything, and the dearest one takes ten milliseconds. So what
they take is measured, and paid from allowances (token buckets) in seconds of processor time:

- each payer has one: a source (an address, or the /64 of an IPv6 one), and a user for the new keys of its connections;
- the sources from which nobody has logged in lately share one, and those from which somebody has share another: a flood from
  many addresses takes nothing from the sites that belong.

Nothing is refused: who has used its allowance up waits until it has grown again. An allowance can be overdrawn by one exchange,
because nobody knows beforehand what one takes. Pure: the time comes in as an argument.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Group(StrEnum):
    """Who pays, for the allowances that several share."""

    STRANGER = "stranger"
    KNOWN = "known"  # a source that the admin named, or from which somebody has logged in lately
    USER = "user"


@dataclass(frozen=True, slots=True)
class Rate:
    """An allowance: ``share`` of the time that passes, and what it grows to at most, in seconds of processor time."""

    share: float
    most_seconds: float


# Sixty clients that come at one moment take 0.1 s with elliptic curves, and 0.7 s with the dearest group
PAYER = Rate(share=0.1, most_seconds=0.5)
SHARED: dict[Group, Rate | None] = {
    Group.STRANGER: Rate(share=0.2, most_seconds=1.0),
    Group.KNOWN: Rate(share=0.25, most_seconds=1.0),
    Group.USER: None,  # each has its own
}


@dataclass(slots=True)
class ExchangeBudget:
    """What is left of an allowance at ``at`` (monotonic seconds); below nought after a dear exchange."""

    rate: Rate
    left_seconds: float
    at: float

    @classmethod
    def full(cls, rate: Rate, now: float) -> ExchangeBudget:
        """Return an allowance of which nothing was used."""
        return cls(rate, rate.most_seconds, now)

    def left(self, now: float) -> float:
        """Return seconds of processor time that are left."""
        grown = self.left_seconds + max(0.0, now - self.at) * self.rate.share
        return min(grown, self.rate.most_seconds)

    def spend(self, seconds: float, now: float) -> None:
        """Take what an exchange took."""
        self.left_seconds = self.left(now) - seconds
        self.at = now

    def wait(self, now: float) -> float:
        """Return seconds until there is something left; 0 if there is."""
        return max(0.0, -self.left(now) / self.rate.share)

    def is_full(self, now: float) -> bool:
        """Return whether nothing needs to be remembered of it."""
        return self.left(now) >= self.rate.most_seconds


@dataclass(frozen=True, slots=True)
class Rank:
    """What decides between those that wait: users first, then who has most left, then the cheapest, then who came first."""

    user: bool
    left_seconds: float
    cost_seconds: float
    came: int

    def key(self) -> tuple[bool, float, float, int]:
        """Return whether this one goes first: the one with the least cost does."""
        return (not self.user, -self.left_seconds, self.cost_seconds, self.came)
