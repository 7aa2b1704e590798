"""The two pages of the monitor: ``/metrics`` for Prometheus, ``/healthz`` for people, load balancers and probes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from http import HTTPStatus

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from sftpgate.monitor.health import Condition, condition, problems
from sftpgate.monitor.http import Page
from sftpgate.monitor.snapshot import Snapshot, Stock
from sftpgate.policy.expectations import ExpectState
from sftpgate.policy.lifecycle import ArrivalState

_CONDITIONS = {Condition.READY: 2, Condition.DEGRADED: 1, Condition.NOT_READY: 0}


def metrics(snapshot: Snapshot) -> Page:
    """Return what the workers count, and what the ledger and the disk say."""
    registry = CollectorRegistry()
    registry.register(_Stock(snapshot))
    body = generate_latest(snapshot.counted()) + generate_latest(registry)
    return Page(HTTPStatus.OK, CONTENT_TYPE_PLAIN_0_0_4, body)


def healthz(snapshot: Snapshot) -> Page:
    """Answer 200 if the gate is ready or degraded, 503 if it is not ready; the body says why."""
    found = problems(snapshot.seen(snapshot.stock()))
    verdict = condition(found)
    status = HTTPStatus.SERVICE_UNAVAILABLE if verdict is Condition.NOT_READY else HTTPStatus.OK
    body = {"status": verdict, "problems": [asdict(problem) for problem in found]}
    return Page(status, "application/json", json.dumps(body, indent=2).encode() + b"\n")


class _Stock(Collector):
    """The families that are not counted by workers: made of one look."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def describe(self) -> Iterable[Metric]:
        """Return nothing: so a registry does not look at the ledger to register us."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield all families."""
        stock = self._snapshot.stock()
        seen = self._snapshot.seen(stock)
        yield _gauge("sftpgate_health", "2: ready, 1: degraded, 0: not ready.", _CONDITIONS[condition(problems(seen))])
        yield _gauge("sftpgate_workers", "Worker processes that are alive.", seen.workers_alive)
        yield _gauge("sftpgate_workers_wanted", "Worker processes that there should be.", seen.workers_wanted)
        if seen.free_bytes is not None:
            yield _gauge("sftpgate_disk_free_bytes", "Free space of the store's disk.", seen.free_bytes)
        yield _gauge("sftpgate_disk_floor_bytes", "Free space below which uploads are refused.", seen.free_space_floor)
        yield _gauge(
            "sftpgate_batch_locks_stale", "Batch locks that are passed over because of their age.", len(seen.stale_locks)
        )
        if stock.problem is None:
            yield from _of_ledger(stock, seen.now.timestamp())


def _of_ledger(stock: Stock, now: float) -> Iterator[Metric]:
    states = {ArrivalState.WAITING: [0, 0], ArrivalState.QUEUED: [0, 0]}
    for item in stock.waiting:
        states[item.state][0] += item.count
        states[item.state][1] += item.size
    files = GaugeMetricFamily("sftpgate_waiting_files", "Files that wait for a runner.", labels=["state"])
    size = GaugeMetricFamily("sftpgate_waiting_bytes", "Bytes of these files.", labels=["state"])
    for state, (count, total) in states.items():
        files.add_metric([state.value], count)
        size.add_metric([state.value], total)
    yield files
    yield size
    oldest = min((item.oldest_at.timestamp() for item in stock.waiting), default=now)
    yield _gauge(
        "sftpgate_oldest_waiting_seconds", "Age of the oldest file that waits for a runner; 0: none.", max(0.0, now - oldest)
    )
    held = GaugeMetricFamily("sftpgate_held_files", "Files that are held, by reason, or in quarantine.", labels=["reason"])
    held.add_metric(["quarantine"], sum(kept.count for kept in stock.held if kept.reason is None))
    for kept in stock.held:
        if kept.reason is not None:
            held.add_metric([kept.reason.value], kept.count)
    yield held
    yield _gauge("sftpgate_claims", "Files that runners have at this moment.", stock.claims)
    yield _gauge(
        "sftpgate_notifications_due",
        "Notifications that somebody should have by now; at most 10000 are counted.",
        stock.untold.count,
    )
    untold = stock.untold.oldest.timestamp() if stock.untold.oldest is not None else now
    yield _gauge("sftpgate_oldest_notification_seconds", "Age of the oldest of these; 0: none.", max(0.0, now - untold))
    yield _gauge("sftpgate_receivers_off", "Receivers that are sent nothing any more.", len(stock.turned_off))
    yield from _of_followers(stock, now)
    runs = CounterMetricFamily("sftpgate_runs", "Runs of tools that ended, by outcome.", labels=["outcome"])
    for outcome, count in sorted(stock.runs.items()):
        runs.add_metric([outcome], count)
    yield runs
    expected = GaugeMetricFamily(
        "sftpgate_expected_file", "1: the state that an expected file is in.", labels=["expectation", "state"]
    )
    for each in stock.expected:
        for possible in ExpectState:
            expected.add_metric([each.name, possible.value], each.state is possible)
    yield expected
    yield CounterMetricFamily("sftpgate_audit_records", "Records of the audit chain, ever.", value=stock.records)
    if stock.swept_at is not None:
        yield _gauge(
            "sftpgate_last_sweep_timestamp_seconds", "When the last sweep ended, in Unix time.", stock.swept_at.timestamp()
        )


def _of_followers(stock: Stock, now: float) -> Iterator[Metric]:
    events = GaugeMetricFamily("sftpgate_follower_behind_events", "Events that a follower has to read.", labels=["follower"])
    age = GaugeMetricFamily("sftpgate_follower_behind_seconds", "Age of the oldest of these; 0: none.", labels=["follower"])
    for lag in stock.lags:
        events.add_metric([lag.name], lag.events)
        age.add_metric([lag.name], max(0.0, now - lag.since.timestamp()) if lag.since is not None else 0.0)
    yield events
    yield age


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)
