"""A ledger of a million records: what an administrator asks of it costs what it shows, and not what it keeps.

Work is counted, and not time: SQLite's own steps, of which a query that looks at every record takes some ten for each. Figures in
seconds are printed besides.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.pool import Pool

from sftpgate.app.composition import build, make_retention
from sftpgate.app.status.collecting import collect
from sftpgate.ledger import arrivals, overview
from sftpgate.ledger.arrivals import LOCAL_OWNER
from sftpgate.policy.lifecycle import ArrivalState
from sftpgate.policy.retention import KeptKind
from sftpgate.settings.tree import Settings
from sftpgate.site import Site
from sftpgate.store.disk import Disk
from sftpgate.store.disk_paths import DiskPath

RECORDS = 1_000_000
SIZE = 1000  # bytes of each archived file
GONE = 120  # that a limit of the size lets go
WAITING = 500
STEPS_PER_TICK = 1000

pytestmark = pytest.mark.timeout(1800)


@dataclass
class Work:
    """SQLite's steps, in thousands; those that were made while the store's lock was held."""

    ticks: int = 0
    in_turn: list[int] = field(default_factory=list)

    def tick(self) -> int:
        """One thousand more."""
        self.ticks += 1
        return 0


class Watched(Disk):
    """Notes what the database works during each hold of the store's lock."""

    def __init__(self, work: Work) -> None:
        self.work = work

    @contextmanager
    def in_turn(self, disk_path: DiskPath, mark: bytes) -> Iterator[bool]:
        """A change."""
        with super().in_turn(disk_path, mark) as ours:
            before = self.work.ticks
            yield ours
            self.work.in_turn.append(self.work.ticks - before)


@pytest.fixture(scope="module")
def work() -> Iterator[Work]:
    """Counts the steps of every connection that is taken from a pool."""
    counted = Work()

    def watch(connection: Any, *_: object) -> None:
        connection.set_progress_handler(counted.tick, STEPS_PER_TICK)

    event.listen(Pool, "checkout", watch)
    yield counted
    event.remove(Pool, "checkout", watch)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, work: Work) -> Iterator[Site]:
    """A gate that has had a million files, of which a few hundred wait."""
    base = tmp_path_factory.mktemp("million")
    settings = Settings(
        data_dir=base / "data",
        keys_dir=base / "keys",
        keep_archives_bytes=(RECORDS - WAITING - GONE) * SIZE,
        keep_archives=0,
        keep_records=0,
        keep_events=0,
    )
    made = build(settings, disk=Watched(work))
    with made.ledger.transaction() as connection:
        connection.execute(text(_FILL), {"records": RECORDS, "waiting": WAITING, "size": SIZE, "at": _first_at()})
    yield made
    made.close()


def _first_at() -> int:
    return int((datetime.now(UTC) - timedelta(days=300)).timestamp() * 1_000_000)


# One statement: a million rows one by one would take minutes.
_FILL = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :records)
INSERT INTO arrivals (id, owner, home, path, state, size, sha256, grade, location, inode, mtime_ns, received_at, changed_at,
                      source, attempts, archived_as, live)
SELECT printf('01%024d', i), 'erp' || (i % 7), '', printf('in/%06d.csv', i % 50000),
       CASE WHEN i > :records - :waiting THEN 'waiting' ELSE 'done' END,
       :size, printf('%064d', i), 'plausible',
       CASE WHEN i > :records - :waiting THEN printf('store/in/%06d.csv', i % 50000) END,
       i, i, :at + i * 1000000, :at + i * 1000000, 'sftp', 1,
       CASE WHEN i > :records - :waiting THEN NULL ELSE printf('20260101-0000_%07d.csv', i) END,
       i > :records - :waiting
FROM n
"""


def measured(work: Work, act: Callable[[], object], record_property: Callable[[str, object], None], what: str) -> int:
    """The steps of an act, in thousands; also printed, with its time."""
    before, begun = work.ticks, time.perf_counter()
    act()
    ticks, seconds = work.ticks - before, time.perf_counter() - begun
    record_property(what, f"{ticks} thousand steps, {seconds:.3f} s")
    return ticks


LOOKS: dict[str, Callable[[Any], object]] = {
    "arrivals --limit 50": lambda c: arrivals.newest(c, limit=51),
    "arrivals --user --limit 50": lambda c: arrivals.newest(c, owner="erp3", limit=51),
    "arrivals --state waiting": lambda c: arrivals.newest(c, states=[ArrivalState.WAITING], limit=51),
    "arrivals --state done": lambda c: arrivals.newest(c, states=[ArrivalState.DONE], limit=51),
    "arrivals --state held": lambda c: arrivals.newest(c, states=[ArrivalState.HELD], limit=51),
    "arrivals --since, of an hour": lambda c: arrivals.newest(c, since=datetime.now(UTC), limit=51),
    "show": lambda c: overview.by_prefix(c, "01000000000000000000500000"),
    "what waits": overview.waiting,
    "what is held": overview.held_back,
    "a page of /archives": lambda c: arrivals.archives_of(c, "erp3", after="20260101-0000_05", limit=100),
    "a directory of the drop": lambda c: arrivals.paths_in(c, "in", owner="erp3", limit=1000),
    "a path that is sent again": lambda c: arrivals.line_at(c, ["in/000007.csv"], owner="erp3"),
    "the same content before": lambda c: arrivals.sent_before(c, "in/000007.csv", owner="erp3", size=SIZE, sha256="x"),
    "files of local programs": lambda c: arrivals.newest(c, owner=LOCAL_OWNER, limit=51),
}
ALL = 5 * RECORDS // STEPS_PER_TICK  # what a look at each record takes, by one condition


@pytest.mark.parametrize("name", LOOKS)
def test_a_look_costs_what_it_shows(site: Site, work: Work, name: str, record_property: Callable[[str, object], None]) -> None:
    """A page of anything costs a hundredth of a look at all records, or less."""
    with site.ledger.reading() as connection:
        assert measured(work, lambda: LOOKS[name](connection), record_property, name) < ALL // 100


def test_status(site: Site, work: Work, record_property: Callable[[str, object], None]) -> None:
    """The status of the gate, what waits and what is held included, looks at what is live only."""
    act = lambda: collect(site.settings, site.ledger, datetime.now(UTC))  # noqa: E731
    assert measured(work, act, record_property, "status") < ALL // 10


def test_prune(site: Site, work: Work, record_property: Callable[[str, object], None]) -> None:
    """Pruning by size looks at all records a few times, without the store's lock; under the lock, the work is that of a batch."""
    retention = make_retention(site)
    count = 0

    def plan() -> None:
        nonlocal count
        count = sum(1 for _ in retention.plan())

    assert measured(work, plan, record_property, "prune --dry-run") < 10 * ALL
    assert count == GONE
    work.in_turn.clear()
    gone: dict[KeptKind, int] = {}
    assert measured(work, lambda: gone.update(retention.prune()), record_property, "prune") < 10 * ALL
    assert gone == {KeptKind.ARCHIVES: GONE}
    record_property("prune, at most under the store's lock", f"{max(work.in_turn)} thousand steps")
    assert max(work.in_turn) < ALL // 20
