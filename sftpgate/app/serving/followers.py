"""The process that runs the followers of the record: which there are, and that only one process of a store runs them.

``sftpgate serve`` starts it beside its workers. It is confined as a worker is, and what it knows of files it knows from the
ledger: so nothing that is done about a file slows its CLOSE down, but for the commits of both. It ends with its supervisor.

Among several gates that share a store, and while an old process ends at a reload, the one that has the lock runs them; the others
wait for it. A crash leaves what a crash of each follower leaves.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from datetime import timedelta
from functools import partial
from threading import Event, Thread

from sftpgate.app.composition import utc_now
from sftpgate.app.expectations.terms import LiveTerms
from sftpgate.app.notifications import parts as notifications
from sftpgate.app.serving.sandbox_paths import Bounds
from sftpgate.errors import SftpgateError
from sftpgate.ids import Clock
from sftpgate.ledger.database.connection import Ledger
from sftpgate.logs import get_logger
from sftpgate.settings.choices import Durability
from sftpgate.settings.tree import Settings
from sftpgate.store.disk import Disk
from sftpgate.store.layout import Layout
from sftpgate.upkeep.expectations import NAME, PAUSE_SECONDS, Expectations, Pace
from sftpgate.upkeep.followers import FeedFollower, run_followers
from sftpgate.upkeep.receipts.references import References
from sftpgate.upkeep.receipts.writer import ReceiptRules, Receipts
from sftpgate.users.host_keys.signatures import Signers
from sftpgate.users.registry import receipts_wanted

log = get_logger("followers")

PARENT_SECONDS = 1.0  # how soon the end of the supervisor is seen
SANDBOX_EVERY = 10  # of these looks, one at the sandbox too: it looks at each user's directory
RECEIPT_SECONDS = 0.25  # between two looks at the record, which cost three queries: a receipt is there within a second
NEVER_MIND_SECONDS = 3600.0  # between two steps of a follower that nobody wants
LOCK_SECONDS = 1.0  # between two looks whether the lock is free


def followers_of(settings: Settings, ledger: Ledger, clock: Clock) -> Sequence[FeedFollower]:
    """Return the followers that these settings want. One more is a line here; each joins the feed at its first step."""
    return (
        _receipts(settings, ledger, clock),
        _expectations(settings, ledger, clock),
        *notifications.follower(settings, ledger, clock),
    )


def _receipts(settings: Settings, ledger: Ledger, clock: Clock) -> FeedFollower:
    rules = ReceiptRules(wants=partial(receipts_wanted, settings.keys_dir), signer=Signers(settings.keys_dir).current)
    receipts = Receipts(ledger, clock, References(Layout(settings.store, settings.drop), Disk()), rules)
    step = receipts.step if settings.receipts else receipts.leave
    return FeedFollower(name="receipts", step=step, pause_seconds=RECEIPT_SECONDS if settings.receipts else NEVER_MIND_SECONDS)


def _expectations(settings: Settings, ledger: Ledger, clock: Clock) -> FeedFollower:
    """Return the follower that knows which expected files came. If none is expected, it stops following."""
    pace = Pace(
        sweeps=timedelta(seconds=settings.sweep_interval + settings.settle_seconds),
        keep=timedelta(seconds=settings.keep_records) if settings.keep_records else None,
    )
    expectations = Expectations(ledger, LiveTerms(settings, clock), pace, clock)
    return FeedFollower(name=NAME, step=expectations.step, pause_seconds=PAUSE_SECONDS)


def run_until(settings: Settings, stopping: Event, parent: int) -> None:
    """Run the followers until ``stopping`` is set, ``parent`` is gone, or another process has to take over because this one's
    sandbox does not fit any more.
    """
    bounds = Bounds(settings)
    bounds.set()
    Thread(target=_watch, args=(bounds, stopping, parent), name="watch", daemon=True).start()
    disk, layout = Disk(), Layout(settings.store, settings.drop)
    said = ""
    while not stopping.is_set():
        try:
            with disk.locked(layout.followers_lock, wait=False) as is_ours:
                if is_ours:
                    _run(settings, stopping)
        except SftpgateError as error:
            if error.message != said:
                log.warning("followers.waiting", reason=error.message)
            said = error.message
        stopping.wait(LOCK_SECONDS)


def _run(settings: Settings, stopping: Event) -> None:
    with closing(Ledger(settings.ledger, durable=settings.durability is Durability.FULL)) as ledger:
        ledger.require_in_place()
        followers = followers_of(settings, ledger, utc_now)
        log.info("followers.ready", pid=os.getpid(), followers=", ".join(each.name for each in followers))
        run_followers(followers, stopping)


def _watch(bounds: Bounds, stopping: Event, parent: int) -> None:
    """Set ``stopping`` when this process has to end."""
    looks = 0
    while not stopping.wait(PARENT_SECONDS):
        looks += 1
        if os.getppid() != parent or (looks % SANDBOX_EVERY == 0 and bounds.is_stale()):
            stopping.set()
