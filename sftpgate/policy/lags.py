"""Whether what follows the record, and what delivers notifications, keeps up with what happens, and how it is said if not.

Pure. A follower that stands still loses nothing, and nobody hears of it: receipts are not written, an expected file is not
judged, a notification never becomes due. So its lag is a fact of its own, for health, ``status``, ``doctor`` and the metrics.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

# An event that waits so long for a follower. Followers read within seconds; above the ten minutes after which the writer of
# receipts passes over what is no news for anybody (``upkeep/receipts/writer.py``), and above what a long backup costs.
UNREAD = timedelta(minutes=30)
UNTOLD = timedelta(hours=1)  # a message that is due so long: a receiver that restarts is back by then
SWEEPS_MISSED = 3  # the reports about contracts are written by sweeps, which may be far between

# What does not happen while a follower stands still, by the name under which it follows.
_MEANS = {
    "receipts": "no receipts are written",
    "expectations": "expected files are not judged",
    "notifications": "nobody is told of what happens",
    "verdict reports": "senders are not told what is wrong with their files",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """How far a follower is behind: ``events`` are on the record that it has not dealt with, the oldest ``since`` then."""

    name: str
    events: int = 0
    since: datetime | None = None


def followers_behind(lags: Iterable[Lag], now: datetime, sweep_interval: timedelta) -> Iterator[str]:
    """Yield a sentence for each follower that does not keep up."""
    allowed = max(UNREAD, SWEEPS_MISSED * sweep_interval)
    for lag in lags:
        if lag.since is not None and now - lag.since > allowed:
            means = _MEANS.get(lag.name, "what it does is not done")
            since = lag.since.isoformat(timespec="seconds")
            yield f"{means}: {lag.events} events since {since} wait for {lag.name}; the log says why (follower.failed)"


def delivery_behind(due_since: datetime | None, now: datetime) -> Iterator[str]:
    """Yield a sentence if a message is due since long ago. ``due_since``: since when the oldest one is; None if none is."""
    if due_since is not None and now - due_since > UNTOLD:
        since = due_since.isoformat(timespec="seconds")
        yield f"a notification is due since {since}: `sftpgate notify receivers` says who is away"


def receivers_off(receivers: Iterable[str]) -> Iterator[str]:
    """Yield a sentence for each of the receivers that are turned off."""
    for receiver in receivers:
        yield f"nothing is sent to {receiver} any more, as it asked: `sftpgate notify resume {receiver}`, or take it out"
