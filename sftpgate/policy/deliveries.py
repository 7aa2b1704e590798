"""What an attempt to deliver a message amounts to, and when the next one is due. Pure.

The steps are those that the Standard Webhooks specification gives as its example ("Deliverability and reliability"): five
seconds, minutes, hours, and a day at most. Each is up to a fifth shorter or longer, so that a thousand messages which failed
together do not come again together.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum

_STEPS = (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)  # seconds
_JITTER = 0.2
LONGEST_WAIT = timedelta(days=1)
LONGEST_WAIT_WITH_LUCK = LONGEST_WAIT * (1 + _JITTER)  # between two attempts: nothing that is true waits longer
PAUSE_STEPS = (5, 30, 60, 300, 900)  # seconds for which nothing is sent to a receiver that is not there


class Verdict(StrEnum):
    """What became of an attempt."""

    SENT = "sent"
    LATER = "later"  # this message was not taken: it is tried again
    AWAY = "away"  # the receiver is not there, or asks for a pause: nothing is sent to it for a while
    REFUSED = "refused"  # this message is never taken
    GONE = "gone"  # the receiver wants nothing any more


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """How an attempt ended. ``said`` is what the receiver said, or what went wrong, on one line and without secrets."""

    verdict: Verdict
    said: str
    retry_after: timedelta | None = None


def of_status(status: int, retry_after: str | None, now: datetime) -> tuple[Verdict, timedelta | None]:
    """Return what the status of a webhook's answer means, and for how long its receiver asks for a pause."""
    if 200 <= status < 300:
        return Verdict.SENT, None
    if status == 410:
        return Verdict.GONE, None
    is_away = status in (408, 425, 429) or status >= 500
    return (Verdict.AWAY if is_away else Verdict.LATER), _pause(retry_after, now)


def _pause(text: str | None, now: datetime) -> timedelta | None:
    """Return what a ``Retry-After`` says (RFC 9110, 10.2.3: seconds, or a date), at most a day; None if it says nothing."""
    if text is None:
        return None
    if text.strip().isdecimal() and text.isascii():
        wait = timedelta(seconds=min(int(text.strip()[:9]), int(LONGEST_WAIT.total_seconds())))
    else:
        try:
            moment = parsedate_to_datetime(text)
        except ValueError:
            return None
        if moment.tzinfo is None:
            return None
        wait = moment - now
    return min(max(wait, timedelta(0)), LONGEST_WAIT)


def next_attempt(now: datetime, attempts: int, luck: float, retry_after: timedelta | None) -> datetime:
    """Return when a message is tried again that was tried ``attempts`` times. ``luck``: a random number from 0 to 1."""
    seconds = _STEPS[min(max(attempts, 1), len(_STEPS)) - 1] * (1 + _JITTER * (2 * luck - 1))
    return now + max(timedelta(seconds=seconds), retry_after or timedelta(0))


def pause_until(now: datetime, failures: int, luck: float, retry_after: timedelta | None) -> datetime:
    """Return until when nothing is sent to a receiver that was away ``failures`` times in a row."""
    seconds = PAUSE_STEPS[min(max(failures, 1), len(PAUSE_STEPS)) - 1] * (1 + _JITTER * (2 * luck - 1))
    return now + (retry_after or timedelta(seconds=seconds))
