"""When an address is banned, and for how long.

Pure: the time comes in as an argument. Each failed login adds a weight to the score of its *source*, an IPv4 address or
the /64 of an IPv6 one; the score halves every ``half_life``. A source whose score reaches the threshold is banned, each
time twice as long as the time before. A valid login clears its source. What a misconfigured client does over and over weighs
less than what only a stranger does: see ``_WEIGHTS``. A connection that comes and goes without trying to log in is no
failure at all: health probes do that every second.

Sources that the admin named, in ``trusted_networks``, in a key's ``from=`` or in a user's ``networks``, are never banned. A
pattern that names everybody (``*``, ``0.0.0.0/0``) names nobody in particular, and protects nobody.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from sftpgate.policy.login import LoginRefusal, address_matches

IPV6_PREFIX = 64  # what one customer gets at least: within it, addresses cost nothing
_MAX_DOUBLINGS = 32
_EVERYBODY = frozenset({"*", "0.0.0.0/0", "::/0", "*.*.*.*", "*:*"})


class Offence(StrEnum):
    """A failure of a connection that is no refused login."""

    LOGIN_TIMEOUT = "no login in time"
    EXCHANGES = "too many key exchanges"


_WEIGHTS: dict[LoginRefusal, float] = {
    LoginRefusal.UNKNOWN_USER: 2.0,
    LoginRefusal.WRONG_PASSWORD: 1.0,
    LoginRefusal.LONG_PASSWORD: 1.0,
    # what a known user's own machine does for days: it offers all keys that it has, or one that was not renewed
    LoginRefusal.UNKNOWN_KEY: 0.25,
    LoginRefusal.WEAK_KEY: 0.25,
    LoginRefusal.REVOKED_KEY: 0.25,
    LoginRefusal.REVOKED_AUTHORITY: 0.25,
    LoginRefusal.UNKNOWN_REVOCATIONS: 0.1,
    LoginRefusal.EXPIRED_KEY: 0.1,
    LoginRefusal.DISABLED_USER: 0.5,
    LoginRefusal.EXPIRED_USER: 0.1,
    LoginRefusal.WRONG_NETWORK: 0.5,
    LoginRefusal.WRONG_KEY_NETWORK: 0.5,
    LoginRefusal.NO_PRINCIPAL: 0.5,
}
# of an exchange beyond the allowance of a source from which nobody has logged in lately: sixty new clients may come at once
_OFFENCES: dict[Offence, float] = {Offence.LOGIN_TIMEOUT: 0.5, Offence.EXCHANGES: 0.05}
_OTHER_WEIGHT = 0.5  # a refusal that is new here


@dataclass(frozen=True, slots=True, kw_only=True)
class BanRules:
    """The settings ``ban_threshold``, ``ban_half_life``, ``ban_time`` and ``ban_time_max``. Threshold 0: nobody is banned."""

    threshold: float
    half_life: timedelta
    first_ban: timedelta
    longest_ban: timedelta

    @property
    def memory(self) -> timedelta:
        """How long after its last failure or ban a source is still known."""
        return max(self.longest_ban * 7, self.half_life * 10)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceStanding:
    """What is known of a source. ``banned_until`` None with ``by_admin``: for good. Times are aware UTC."""

    source: str
    score: float
    scored_at: datetime
    bans: int = 0
    banned_at: datetime | None = None
    banned_until: datetime | None = None
    by_admin: bool = False
    reason: str = ""

    def is_banned(self, now: datetime) -> bool:
        """Return whether connections of the source are refused. A ban ends if the clock was set back by more than its
        length.
        """
        if self.banned_at is None or self.banned_until is None:
            return self.banned_at is not None
        return self.banned_at - (self.banned_until - self.banned_at) <= now < self.banned_until


def weight_of(failure: LoginRefusal | Offence) -> float:
    """Return how much a failure adds to the score of its source."""
    if isinstance(failure, Offence):
        return _OFFENCES[failure]
    return _WEIGHTS.get(failure, _OTHER_WEIGHT)


def source_of(address: str) -> str | None:
    """Return the source that an address counts for, as text; None if it is no address."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)
        return str(ipaddress.ip_network((int(ip), IPV6_PREFIX), strict=False))
    return str(ip)


def source_named(text: str) -> str | None:
    """Return the source that an admin means by an address, or by an IPv6 network of ``IPV6_PREFIX`` bits; None for anything
    else.
    """
    try:
        network = ipaddress.IPv6Network(text)
    except ValueError:
        return source_of(text)
    return source_of(str(network.network_address)) if network.prefixlen in (IPV6_PREFIX, network.max_prefixlen) else None


def score_at(standing: SourceStanding, now: datetime, rules: BanRules) -> float:
    """Return the score of a source, decayed. A clock that was set back decays nothing."""
    passed = max(timedelta(0), now - standing.scored_at)
    return float(standing.score * 0.5 ** min(passed / rules.half_life, 1024.0))


def after_failures(
    standing: SourceStanding | None, source: str, weight: float, reason: str, now: datetime, rules: BanRules
) -> SourceStanding:
    """Return the standing of a source after failures of that weight; banned if the threshold is reached.

    One that is banned already stays so until the same moment: what was under way when the ban came adds nothing.
    """
    if standing is None:
        standing = SourceStanding(source=source, score=0.0, scored_at=now)
    if standing.is_banned(now):
        return standing
    score = score_at(standing, now, rules) + weight
    bans = standing.bans
    if standing.banned_until is not None and now - standing.banned_until > rules.memory:
        bans = 0
    failed = replace(standing, score=score, scored_at=now, bans=bans, banned_at=None, by_admin=False)
    if not rules.threshold or score < rules.threshold:
        return failed
    length = min(rules.first_ban * 2 ** min(bans, _MAX_DOUBLINGS), rules.longest_ban)
    # the score starts anew: after the ban, the source has as many tries as before it, and then a longer ban
    return replace(failed, score=0.0, bans=bans + 1, banned_at=now, banned_until=now + length, reason=reason)


def is_forgotten(standing: SourceStanding, now: datetime, rules: BanRules) -> bool:
    """Return whether nothing of a source needs to be kept."""
    if standing.is_banned(now):
        return False
    last = max(standing.scored_at, standing.banned_until or standing.scored_at)
    return now - last > (rules.memory if standing.bans else rules.half_life * 10)


def is_exempt(address: str, pattern_lists: Iterable[Sequence[str]]) -> bool:
    """Return whether the admin named this address: whether one of the lists (``from=``, ``networks``, ``trusted_networks``)
    matches.
    """
    return any(address_matches(address, patterns) for patterns in pattern_lists if _EVERYBODY.isdisjoint(patterns))
