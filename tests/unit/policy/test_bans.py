"""When an address is banned: the rules, without any clock but the test's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftpgate.policy.bans import (
    BanRules,
    Offence,
    SourceStanding,
    after_failures,
    is_exempt,
    is_forgotten,
    score_at,
    source_named,
    source_of,
    weight_of,
)
from sftpgate.policy.login import LoginRefusal

NOW = datetime(2030, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
RULES = BanRules(threshold=10.0, half_life=10 * MINUTE, first_ban=10 * MINUTE, longest_ban=timedelta(days=1))


def failing(
    times: int, failure: LoginRefusal | Offence, every: timedelta, standing: SourceStanding | None = None
) -> SourceStanding:
    """The standing after so many failures."""
    now = NOW
    for _ in range(times):
        standing = after_failures(standing, "192.0.2.1", weight_of(failure), failure, now, RULES)
        now += every
    assert standing is not None
    return standing


def test_five_unknown_users_ban_an_address() -> None:
    """Names that nobody has are tried by strangers: few of them are enough."""
    assert not failing(4, LoginRefusal.UNKNOWN_USER, timedelta(0)).is_banned(NOW)
    banned = failing(5, LoginRefusal.UNKNOWN_USER, timedelta(0))
    assert banned.is_banned(NOW)
    assert banned.reason == "unknown user"
    assert not banned.is_banned(NOW + 10 * MINUTE)


def test_a_machine_that_offers_many_keys_is_not_banned() -> None:
    """A known user's client offers every key of its agent at each login: five wrong ones every five minutes never ban."""
    standing = None
    for hour in range(12 * 24):
        now = NOW + hour * 5 * MINUTE
        standing = after_failures(standing, "192.0.2.1", 5 * weight_of(LoginRefusal.UNKNOWN_KEY), "unknown key", now, RULES)
        assert not standing.is_banned(now)


@pytest.mark.parametrize("refusal", [LoginRefusal.EXPIRED_KEY, LoginRefusal.EXPIRED_USER])
def test_a_job_with_an_expired_key_is_not_banned(refusal: LoginRefusal) -> None:
    """A job that retries every minute for a day with what has expired can log in as soon as it was renewed."""
    assert not failing(24 * 60, refusal, MINUTE).is_banned(NOW + timedelta(days=1))


def test_bans_grow_on_repetition_and_have_an_end() -> None:
    """Each ban of a source is twice as long as the one before, up to the longest."""
    standing, now, lengths = None, NOW, []
    for _ in range(10):
        standing = after_failures(standing, "192.0.2.1", 10.0, "wrong password", now, RULES)
        assert standing.banned_until is not None
        lengths.append(standing.banned_until - now)
        now = standing.banned_until
    assert lengths[:3] == [10 * MINUTE, 20 * MINUTE, 40 * MINUTE]
    assert lengths[-1] == RULES.longest_ban


def test_the_count_of_bans_is_forgotten() -> None:
    """After weeks without a failure a ban is a first one again."""
    standing = after_failures(None, "192.0.2.1", 10.0, "x", NOW, RULES)
    later = NOW + RULES.memory + timedelta(hours=1)
    assert after_failures(standing, "192.0.2.1", 10.0, "x", later, RULES).banned_until == later + 10 * MINUTE


def test_failures_under_way_do_not_prolong_a_ban() -> None:
    """What was on its way when the ban came changes nothing."""
    banned = after_failures(None, "192.0.2.1", 10.0, "x", NOW, RULES)
    assert after_failures(banned, "192.0.2.1", 50.0, "x", NOW + MINUTE, RULES) == banned


def test_a_threshold_of_zero_bans_nobody() -> None:
    """Bans can be switched off."""
    off = BanRules(threshold=0, half_life=MINUTE, first_ban=MINUTE, longest_ban=MINUTE)
    assert not after_failures(None, "192.0.2.1", 1e9, "x", NOW, off).is_banned(NOW)


@given(st.floats(0, 1e6), st.integers(-(10**7), 10**7))
def test_a_score_never_grows_by_time(score: float, seconds: int) -> None:
    """Whatever the clock does, time alone never raises a score."""
    standing = SourceStanding(source="192.0.2.1", score=score, scored_at=NOW)
    assert 0 <= score_at(standing, NOW + timedelta(seconds=seconds), RULES) <= score


def test_sources() -> None:
    """IPv4 counts by address, IPv6 by the network of one customer; IPv4 that came over IPv6 is IPv4."""
    assert source_of("192.0.2.1") == source_of("::ffff:192.0.2.1") == "192.0.2.1"
    assert source_of("2001:db8::1") == source_of("2001:db8::ffff:1%eth0") == "2001:db8::/64"
    assert source_of("2001:db8:0:1::1") != source_of("2001:db8::1")
    assert source_of("?") is None
    assert source_named("2001:db8::/64") == source_named("2001:db8::7") == "2001:db8::/64"
    assert source_named("192.0.2.9") == "192.0.2.9"
    assert source_named("2001:db8::/32") is None
    assert source_named("192.0.2.0/24") is None


def test_whom_the_admin_named() -> None:
    """An address of a key's from= is exempt; a pattern for everybody exempts nobody."""
    assert is_exempt("192.0.2.1", [("198.51.100.0/24",), ("192.0.2.*", "!192.0.2.2")])
    assert not is_exempt("192.0.2.2", [("192.0.2.*", "!192.0.2.2")])
    assert not is_exempt("192.0.2.1", [("*",), ("0.0.0.0/0", "10.0.0.0/8"), ("*", "!10.0.0.1")])
    assert is_exempt("::ffff:192.0.2.1", [("192.0.2.0/24",)])


def test_what_is_forgotten() -> None:
    """A source with an old score is forgotten, one that was banned is known for longer, a ban always."""
    failed = after_failures(None, "192.0.2.1", 1.0, "x", NOW, RULES)
    banned = after_failures(None, "192.0.2.1", 10.0, "x", NOW, RULES)
    soon = NOW + timedelta(hours=3)
    assert is_forgotten(failed, soon, RULES)
    assert not is_forgotten(banned, soon, RULES)
    assert is_forgotten(banned, NOW + RULES.memory + timedelta(hours=1), RULES)
    for_good = SourceStanding(source="192.0.2.1", score=0, scored_at=NOW, banned_at=NOW, by_admin=True)
    assert not is_forgotten(for_good, NOW + timedelta(days=999), RULES)


def test_every_refusal_has_a_weight() -> None:
    """No failure is free, and none bans at once."""
    for failure in (*LoginRefusal, *Offence):
        assert 0 < weight_of(failure) < RULES.threshold
