"""What a user may send, of plain values."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from sftpgate.errors import QuotaExceeded
from sftpgate.policy.quotas import Budget, OwnQuotas, Quotas, Usage, day_of, require_room

GATES = Quotas(max_upload_bytes=10, max_pending_bytes=100, max_pending_files=3, max_daily_bytes=50, max_directories=9)


@pytest.mark.promise("P7")
@pytest.mark.parametrize(
    ("usage", "rule"),
    [
        (Usage(files=2, bytes=99, daily_bytes=49), None),
        (Usage(files=3, bytes=0), "max_pending_files"),
        (Usage(files=0, bytes=100), "max_pending_bytes"),
        (Usage(files=0, bytes=0, daily_bytes=50), "00:00 UTC.*max_daily_bytes"),
    ],
)
def test_a_limit_that_is_reached_leaves_no_room(usage: Usage, rule: str | None) -> None:
    """An upload begins where something is left of each limit; a refusal names the rule."""
    if rule is None:
        require_room(GATES, usage)
    else:
        with pytest.raises(QuotaExceeded, match=rule):
            require_room(GATES, usage)


def budget(usage: Usage, quotas: Quotas = GATES) -> Budget:
    """What is left."""
    made = Budget(0, None)
    made.measured(quotas, usage)
    return made


def test_the_least_of_the_limits_counts() -> None:
    """An upload may fill what is left exactly; one byte more is refused, by the limit that is nearest."""
    for usage, left, rule in (
        (Usage(files=0, bytes=80, daily_bytes=10), 20, "max_pending_bytes"),
        (Usage(files=0, bytes=10, daily_bytes=45), 5, "max_daily_bytes"),
        (Usage(files=0, bytes=200, daily_bytes=0), 0, "max_pending_bytes"),
    ):
        found = budget(usage)
        assert found.bytes == left
        if left:
            found.require(left)
        with pytest.raises(QuotaExceeded, match=rule):
            found.require(left + 1)


def test_uploads_share_what_is_left() -> None:
    """What one has taken is not there for another; what replaces an arrival needs no room of its own, but is new for the day."""
    found = budget(Usage(files=1, bytes=60, daily_bytes=30))
    found.charge(15)
    found.require(5)
    with pytest.raises(QuotaExceeded, match="room for 5 bytes more today"):
        found.require(6)
    free = budget(Usage(files=1, bytes=90), replace(GATES, max_daily_bytes=0))
    free.require(100, replaced_bytes=90)
    with pytest.raises(QuotaExceeded, match="room for 10 bytes more until"):
        free.require(101, replaced_bytes=90)


def test_own_quotas_take_the_place_of_the_gates() -> None:
    """One by one; 0 is a value, and lifts the limit of the day."""
    own = GATES.of(OwnQuotas(max_daily_bytes=0, max_upload_bytes=1))
    assert own == Quotas(max_upload_bytes=1, max_pending_bytes=100, max_pending_files=3, max_daily_bytes=0, max_directories=9)


def test_a_day_is_one_of_utc() -> None:
    """It ends at midnight of UTC, wherever the server is."""
    midnight = datetime(2030, 1, 2, tzinfo=UTC)
    assert day_of(midnight) == day_of(midnight - timedelta(microseconds=1)) + 1
    assert day_of(midnight.astimezone(timezone(timedelta(hours=-9)))) == day_of(midnight)
