"""Whether the gate is ready, degraded or not ready, and why: the decision alone, on what was seen.

*Not ready*: nobody can hand over a file. *Degraded*: it works, and somebody must see to something.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sftpgate.policy.lags import Lag, delivery_behind, followers_behind, receivers_off

BEAT_SECONDS = 15.0  # a worker says that it is alive every half second; above what a busy machine delays it
LOCK_SECONDS = 15.0  # far above what a change takes, and half of what one waits before it gives up (store/shared/file_lock.py)
STUCK_SECONDS = 30.0  # a CLOSE that waits so long: above the ledger's busy timeout
SWEEPS_MISSED = 3
SWEEP_MARGIN = timedelta(seconds=60)  # a sweep itself takes time


class Condition(StrEnum):
    """How the gate does."""

    READY = "ready"
    DEGRADED = "degraded"
    NOT_READY = "not ready"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was seen at ``now``. ``None``: could not be seen, or never was."""

    now: datetime
    started_at: datetime
    workers_wanted: int
    workers_alive: int
    ledger_problem: str | None
    store_problem: str | None
    free_bytes: int | None
    free_space_floor: int
    swept_at: datetime | None
    sweep_interval: timedelta
    publishing_seconds: float
    store_lock_seconds: float
    stale_locks: tuple[str, ...]  # directories of the drop with a batch lock that is too old, and whose it is
    shortages: tuple[str, ...] = ()  # of room for store, drop and ledger, in words
    expected: tuple[str, ...] = ()  # files that are late, missing, held, or that no tool takes, in words
    lags: tuple[Lag, ...] = ()  # how far each follower of the record is behind
    untold_since: datetime | None = None  # the oldest message that somebody should have by now
    turned_off: tuple[str, ...] = ()  # receivers of notifications that are sent nothing any more


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something that is not as it should be. ``check`` names it for programs, ``reason`` for people."""

    check: str
    condition: Condition
    reason: str


def problems(seen: Seen) -> list[Problem]:
    """Return everything that is wrong, the worst first."""
    return sorted(_found(seen), key=lambda problem: problem.condition is not Condition.NOT_READY)


def condition(found: list[Problem]) -> Condition:
    """Return what all problems together mean."""
    if any(problem.condition is Condition.NOT_READY for problem in found):
        return Condition.NOT_READY
    return Condition.DEGRADED if found else Condition.READY


def _found(seen: Seen) -> Iterator[Problem]:
    if seen.ledger_problem is not None:
        yield Problem(check="ledger", condition=Condition.NOT_READY, reason=seen.ledger_problem)
    if seen.workers_alive == 0:
        yield Problem(check="workers", condition=Condition.NOT_READY, reason="no worker process is alive")
    elif seen.workers_alive < seen.workers_wanted:
        reason = f"{seen.workers_alive} of {seen.workers_wanted} worker processes are alive"
        yield Problem(check="workers", condition=Condition.DEGRADED, reason=reason)
    if seen.store_problem is not None:
        yield Problem(check="store", condition=Condition.NOT_READY, reason=seen.store_problem)
    if seen.free_bytes is None:
        yield Problem(check="disk", condition=Condition.NOT_READY, reason="the store cannot be looked at")
    for reason in seen.shortages:
        yield Problem(check="disk", condition=Condition.DEGRADED, reason=reason)
    if seen.store_lock_seconds > LOCK_SECONDS:
        reason = (
            f"another process has had the store's lock for {seen.store_lock_seconds:.0f} s, and no file can be handed over: "
            "the log says which (store_lock.busy)"
        )
        yield Problem(check="store lock", condition=Condition.NOT_READY, reason=reason)
    yield from _late_sweep(seen)
    yield from _expected_files(seen)
    yield from _untold(seen)
    if seen.publishing_seconds > STUCK_SECONDS:
        reason = f"a client has waited {seen.publishing_seconds:.0f} s for the answer to its CLOSE"
        yield Problem(check="publisher", condition=Condition.DEGRADED, reason=reason)
    for home in seen.stale_locks:
        reason = f"a batch lock lies in {home or 'the drop'} for longer than batch_lock_ttl: it is passed over"
        yield Problem(check="batch lock", condition=Condition.DEGRADED, reason=reason)


def _expected_files(seen: Seen) -> Iterator[Problem]:
    for reason in seen.expected:
        yield Problem(check="expected file", condition=Condition.DEGRADED, reason=reason)


def _untold(seen: Seen) -> Iterator[Problem]:
    for reason in followers_behind(seen.lags, seen.now, seen.sweep_interval):
        yield Problem(check="followers", condition=Condition.DEGRADED, reason=reason)
    for reason in (*delivery_behind(seen.untold_since, seen.now), *receivers_off(seen.turned_off)):
        yield Problem(check="notifications", condition=Condition.DEGRADED, reason=reason)


def _late_sweep(seen: Seen) -> Iterator[Problem]:
    allowed = SWEEPS_MISSED * seen.sweep_interval + SWEEP_MARGIN
    # Either way: after the clock was set back, a sweep in the future is none.
    ages = [abs(seen.now - at) for at in (seen.swept_at, seen.started_at) if at is not None]
    if min(ages) > allowed:
        when = "never" if seen.swept_at is None else f"at {seen.swept_at.isoformat(timespec='seconds')}"
        yield Problem(check="sweeper", condition=Condition.DEGRADED, reason=f"the last sweep ended {when}")
