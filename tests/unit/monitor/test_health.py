"""When a gate is ready, degraded or not ready, and what is said of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from sftpgate.monitor.health import Condition, Seen, condition, problems
from sftpgate.monitor.snapshot import RunTally
from sftpgate.policy.lags import Lag

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
WELL = Seen(
    now=NOW,
    started_at=NOW - timedelta(days=1),
    workers_wanted=2,
    workers_alive=2,
    ledger_problem=None,
    store_problem=None,
    free_bytes=10**9,
    free_space_floor=10**8,
    swept_at=NOW - timedelta(seconds=20),
    sweep_interval=timedelta(seconds=30),
    publishing_seconds=0.0,
    store_lock_seconds=0.0,
    stale_locks=(),
)


def test_all_is_well() -> None:
    """A gate of which nothing is wrong is ready."""
    assert problems(WELL) == []
    assert condition([]) is Condition.READY


@pytest.mark.parametrize(
    ("change", "check", "expected"),
    [
        ({"ledger_problem": "the ledger cannot be used: disk I/O error"}, "ledger", Condition.NOT_READY),
        ({"store_problem": "the store is missing or empty"}, "store", Condition.NOT_READY),
        ({"workers_alive": 0}, "workers", Condition.NOT_READY),
        ({"workers_alive": 1}, "workers", Condition.DEGRADED),
        ({"free_bytes": None}, "disk", Condition.NOT_READY),
        ({"shortages": ("the disk of the drop is full",)}, "disk", Condition.DEGRADED),
        ({"swept_at": NOW - timedelta(seconds=151)}, "sweeper", Condition.DEGRADED),
        ({"swept_at": None}, "sweeper", Condition.DEGRADED),
        ({"publishing_seconds": 31.0}, "publisher", Condition.DEGRADED),
        ({"store_lock_seconds": 16.0}, "store lock", Condition.NOT_READY),
        ({"stale_locks": ("house",)}, "batch lock", Condition.DEGRADED),
        ({"lags": (Lag(name="receipts", events=7, since=NOW - timedelta(minutes=31)),)}, "followers", Condition.DEGRADED),
        ({"untold_since": NOW - timedelta(minutes=61)}, "notifications", Condition.DEGRADED),
        ({"turned_off": ("hook",)}, "notifications", Condition.DEGRADED),
    ],
)
def test_one_thing_is_wrong(change: dict[str, object], check: str, expected: Condition) -> None:
    """Each thing that can be wrong is named, and decides how the gate does."""
    found = problems(replace(WELL, **change))  # type: ignore[arg-type]  # dataclasses.replace has no types for **
    assert [(problem.check, problem.condition) for problem in found] == [(check, expected)]
    assert condition(found) is expected


def test_the_worst_comes_first() -> None:
    """Of several problems the one that keeps files out is named first."""
    found = problems(replace(WELL, workers_alive=0, stale_locks=("",), publishing_seconds=99.0))
    assert [problem.check for problem in found] == ["workers", "publisher", "batch lock"]
    assert condition(found) is Condition.NOT_READY


def test_a_start_has_time_for_its_first_sweep() -> None:
    """A gate that has just started is not blamed for the sweep of an earlier one."""
    assert problems(replace(WELL, started_at=NOW - timedelta(seconds=100), swept_at=NOW - timedelta(days=3))) == []


def test_followers_that_keep_up() -> None:
    """Events that came a moment ago, and those that wait for a sweep where sweeps are far between, are no problem."""
    recent = Lag(name="receipts", events=7, since=NOW - timedelta(minutes=29))
    assert problems(replace(WELL, lags=(recent, Lag(name="expectations")))) == []
    of_sweeps = Lag(name="verdict reports", events=7, since=NOW - timedelta(minutes=89))
    seldom = replace(WELL, sweep_interval=timedelta(minutes=30), lags=(of_sweeps,))
    assert problems(seldom) == []
    [problem] = problems(replace(seldom, sweep_interval=timedelta(seconds=30)))
    assert "7 events since 2026-01-02T10:31:00+00:00 wait for verdict reports" in problem.reason


def test_runs_are_counted_once() -> None:
    """A run counts when it is over, once, also where it was seen before its end, and where old ones are removed meanwhile."""
    tally = RunTally()
    assert tally.update([(1, "done"), (2, None), (3, "failed")]) == {"done": 1, "failed": 1}
    assert tally.position == (3, frozenset({2}))
    assert tally.update([(2, None)]) == {"done": 1, "failed": 1}
    assert tally.update([(2, "done"), (4, "done")]) == {"done": 3, "failed": 1}
    assert tally.position == (4, frozenset())
