"""What the monitor sees: the ledger, the disk, and what the workers count. Blocks; callers are in a thread.

Nothing here writes, but for removing the live values of worker processes that are gone.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from sftpgate.app.expectations.overview import Expected, now_of
from sftpgate.app.expectations.terms import LiveTerms
from sftpgate.errors import LedgerError, SftpgateError
from sftpgate.handover.identity.gate_memory import remembered
from sftpgate.handover.identity.ties import problem_of
from sftpgate.handover.placement.batch_locks import BatchLock, BatchLocks
from sftpgate.ledger import overview, runs
from sftpgate.ledger.audit import feed
from sftpgate.ledger.audit.chain import ends
from sftpgate.ledger.database.connection import Ledger, get_fact
from sftpgate.ledger.outbox import lanes, messages
from sftpgate.ledger.outbox.messages import Backlog
from sftpgate.ledger.overview import HeldBack, Waiting
from sftpgate.monitor.health import BEAT_SECONDS, Seen
from sftpgate.policy.expectations import ALARMS
from sftpgate.policy.lags import Lag
from sftpgate.policy.names import NameRules
from sftpgate.policy.space import shortages
from sftpgate.settings.choices import Language
from sftpgate.settings.tree import Settings
from sftpgate.store.disk import Disk
from sftpgate.store.filesystems import room, rooms
from sftpgate.store.layout import Layout
from sftpgate.upkeep.sweep import LAST_SWEEP
from sftpgate.users.registry import UserRegistry


@dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    """What the ledger says."""

    waiting: list[Waiting] = field(default_factory=list)
    held: list[HeldBack] = field(default_factory=list)
    claims: int = 0
    records: int = 0
    swept_at: datetime | None = None
    runs: Counter[str] = field(default_factory=Counter)
    expected: list[Expected] = field(default_factory=list)
    lags: list[Lag] = field(default_factory=list)
    untold: Backlog = field(default_factory=Backlog)
    turned_off: tuple[str, ...] = ()
    problem: str | None = None


class RunTally:
    """How many runs ended with which outcome. Reads the whole table once, and later only what is new or was not over."""

    def __init__(self) -> None:
        self._last = 0
        self._open: set[int] = set()
        self._totals: Counter[str] = Counter()

    def update(self, found: Iterable[tuple[int, str | None]]) -> Counter[str]:
        """Add rows (number and outcome); returns the totals."""
        for seq, outcome in found:
            self._last = max(self._last, seq)
            if outcome is None:
                self._open.add(seq)
            else:
                self._open.discard(seq)
                self._totals[outcome] += 1
        return Counter(self._totals)

    @property
    def position(self) -> tuple[int, frozenset[int]]:
        """What was seen: the last number, and those of the runs that were not over."""
        return self._last, frozenset(self._open)


class Snapshot:
    """One per monitor. Its methods may be called from several threads."""

    def __init__(self, settings: Settings, directory: Path, ledger: Ledger, *, started_at: datetime) -> None:
        self._settings = settings
        self._directory = directory
        self._ledger = ledger
        self._started_at = started_at
        self._layout, self._disk = Layout(settings.store, settings.drop), Disk()
        self._terms = LiveTerms(settings, lambda: datetime.now(UTC))
        self._tally = RunTally()
        self._lock = threading.Lock()

    def stock(self) -> Stock:
        """Return what the ledger says at this moment; if it cannot be read, only why."""
        with self._lock:
            if self._ledger.file is not None and not self._ledger.file.exists():
                return Stock(problem="there is no ledger yet: the gate has not come up")
            try:
                with self._ledger.reading() as connection:
                    last = json.loads(get_fact(connection, LAST_SWEEP) or "{}")
                    return Stock(
                        waiting=overview.waiting(connection),
                        held=overview.held_back(connection),
                        claims=len(overview.open_claims(connection)),
                        records=ends(connection).head_seq,
                        swept_at=_ended(last),
                        runs=self._tally.update(runs.outcomes(connection, *self._tally.position)),
                        expected=now_of(connection, {each.name: each for each in self._terms()}, datetime.now(UTC)),
                        lags=feed.lags(connection),
                        untold=messages.backlog(connection, datetime.now(UTC)),
                        turned_off=tuple(lanes.turned_off(connection)),
                    )
            except LedgerError as error:
                return Stock(problem=error.message)

    def counted(self) -> CollectorRegistry:
        """Return what the workers count, added up."""
        self._forget_dead()
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=str(self._directory))  # type: ignore[no-untyped-call]  # the library's
        return registry

    def seen(self, stock: Stock) -> Seen:
        """Return everything that health is decided on."""
        now = datetime.now(UTC)
        beats, publishing, store_lock = self._beats()
        settings = self._settings
        return Seen(
            now=now,
            started_at=self._started_at,
            workers_wanted=settings.worker_count,
            workers_alive=sum(abs(now.timestamp() - beat) < BEAT_SECONDS for beat in beats),
            ledger_problem=stock.problem,
            store_problem=None if stock.problem else self._store_problem(),
            free_bytes=self.free_bytes(),
            free_space_floor=settings.free_space_floor,
            shortages=tuple(self._shortages()),
            swept_at=stock.swept_at,
            sweep_interval=timedelta(seconds=settings.sweep_interval),
            publishing_seconds=publishing,
            store_lock_seconds=store_lock,
            expected=tuple(each.sentence(Language.ENGLISH) for each in stock.expected if each.state in ALARMS),
            lags=tuple(stock.lags),
            untold_since=stock.untold.oldest,
            turned_off=stock.turned_off,
            stale_locks=() if stock.problem else tuple(self.stale_locks(now)),
        )

    def _shortages(self) -> Iterator[str]:
        settings = self._settings
        found = rooms(store=settings.store, drop=settings.drop, ledger=settings.data_dir)
        return shortages(found, settings.free_space_floor)

    def free_bytes(self) -> int | None:
        """Return the free space of the store's disk."""
        found = room(self._settings.store)
        return None if found is None else found.bytes

    def _beats(self) -> tuple[list[float], float, float]:
        beats: list[float] = []
        publishing = store_lock = 0.0
        for metric in self.counted().collect():
            for sample in metric.samples:
                if sample.name == "sftpgate_worker_beat_timestamp_seconds":
                    beats.append(sample.value)
                elif sample.name == "sftpgate_publish_waiting_seconds":
                    publishing = max(publishing, sample.value)
                elif sample.name == "sftpgate_store_lock_waiting_seconds":
                    store_lock = max(store_lock, sample.value)
        return beats, publishing, store_lock

    def stale_locks(self, now: datetime) -> list[str]:
        """Return the homes with a batch lock that is passed over at ``now``, and whose it is."""
        settings = self._settings
        try:
            homes = sorted({"", *(user.home for user in UserRegistry(settings.keys_dir).list())})
        except (SftpgateError, OSError):
            homes = [""]
        seen = BatchLocks(self._layout, self._disk, NameRules(batch_lock_name=settings.batch_lock_name))
        try:
            with self._ledger.reading() as connection:
                locks = [(home, lock) for home in homes for lock in seen.as_recorded(connection, home)]
        except SftpgateError:
            return []  # ledger or store cannot be read, which is a problem of its own
        return list(dict.fromkeys(_described(home, lock) for home, lock in locks if self._is_stale(lock, now)))

    def _is_stale(self, lock: BatchLock, now: datetime) -> bool:
        return now.timestamp() - lock.changed > self._settings.batch_lock_ttl

    def _store_problem(self) -> str | None:
        return problem_of(self._layout, self._disk, self._ledger, remembered(self._settings.keys_dir))

    def _forget_dead(self) -> None:
        """Forget the live values of workers that are gone: they are not true any more. Their counts stay."""
        for path in self._directory.glob("gauge_live*_*.db"):
            pid = path.stem.rpartition("_")[2]
            if pid.isdigit() and not Path(f"/proc/{pid}").exists():
                mark_process_dead(int(pid), str(self._directory))  # type: ignore[no-untyped-call]  # the library's


def _described(home: str, lock: BatchLock) -> str:
    """Return where a batch lock lies, and whose it is if a sender has sent it."""
    return f"{home or 'the drop'} (of {lock.owner})" if lock.owner else home


def _ended(last: dict[str, object]) -> datetime | None:
    at, seconds = last.get("at"), last.get("seconds")
    if not isinstance(at, str):
        return None
    return datetime.fromisoformat(at) + timedelta(seconds=float(seconds) if isinstance(seconds, int | float) else 0.0)
