"""One pass over everything, by hand: to sweep, to check, to prune, and to make one gate of what does not belong together.

The serving gate does the first three by itself (``app.serving``), with the parts that are made here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from sftpgate.app.audit import record_act
from sftpgate.app.composition import build, make_notices, make_retention, make_verdict_reports, utc_now
from sftpgate.app.runs.claims import make_claims
from sftpgate.app.tools.pointers import LivePointers
from sftpgate.drop.sender_acts import SenderActs
from sftpgate.drop.sender_view import SenderView
from sftpgate.handover.guard import Guard
from sftpgate.handover.identity.copies import mark_restored
from sftpgate.handover.identity.ties import count_missing, look
from sftpgate.ledger.audit import event_log
from sftpgate.ledger.audit.actor import SYSTEM, Actor
from sftpgate.ledger.audit.event_log import Event
from sftpgate.ledger.database.connection import Ledger
from sftpgate.policy.quotas import OwnQuotas, Quotas
from sftpgate.policy.retention import Doomed, KeptKind
from sftpgate.settings.tree import Settings
from sftpgate.site import Site
from sftpgate.store.disk import Disk
from sftpgate.store.layout import Layout
from sftpgate.upkeep import verify as checks
from sftpgate.upkeep.brought_back import hold_restored
from sftpgate.upkeep.recovery import set_damaged_aside
from sftpgate.upkeep.rehearsals import OldRehearsals
from sftpgate.upkeep.sweep import Sweeper, SweepResult, SweepRules
from sftpgate.upkeep.verify import Violation
from sftpgate.uploads.publisher import Publisher
from sftpgate.uploads.quota.directory_counts import DirectoryCounts
from sftpgate.uploads.quota.limits import UploadLimits
from sftpgate.users.registry import UserRegistry


@dataclass(frozen=True, slots=True, kw_only=True)
class Identities:
    """What store, drop and ledger say whose they are; how many files the ledger expects, and how many of them are not there."""

    store_identity: str | None
    drop_identity: str | None
    ledger_identity: str | None
    expected_files: int
    missing_files: int


# -- use cases -------------------------------------------------------------------------------------------------------


def sweep(site: Site, actor: Actor, progress: Callable[[str, int], None] | None = None) -> SweepResult | None:
    """Do one sweep; None if another process is sweeping. ``progress`` is told what is counted, and how much of it so far."""
    registry = UserRegistry(site.settings.keys_dir)
    publisher = Publisher(site.resources, site.journal, site.placer, site.staging)
    result = make_sweeper(site, make_sender_acts(site, publisher, registry), registry, judging=True).run(progress)
    record_act(site.settings, actor, "sweep.asked_for", done=result is not None)
    return result


def ledger_problem(settings: Settings) -> str | None:
    """Return what is wrong with the ledger's file, before anything opens it for work and makes a new one; None for a server's."""
    ledger = Ledger(settings.ledger)
    if ledger.file is None:
        return None
    try:
        return (
            ledger.check() if ledger.file.exists() else f"{ledger.file} is missing (the next start makes it anew from the disk)"
        )
    finally:
        ledger.close()


def verify(
    settings: Settings,
    *,
    content: bool = False,
    noted: tuple[int, str] | None = None,
    progress: Callable[[str, int], None] | None = None,
) -> Sequence[Violation]:
    """Return what is wrong with disk, ledger and the audit record; changes nothing. Ask ``ledger_problem`` first.

    ``content``: also read every waiting file and compare its SHA-256. ``noted``: the head of the record at an earlier time.
    """
    site = build(settings)
    try:
        return checks.verify(site.resources, site.journal, content=content, noted=noted, progress=progress)
    finally:
        site.ledger.close()


def plan_prune(site: Site) -> Iterator[Doomed]:
    """Yield what ``prune`` would remove now, and why."""
    yield from make_retention(site).plan()


def prune(site: Site, actor: Actor, progress: Callable[[str, int], None] | None = None) -> Mapping[KeptKind, int]:
    """Remove what is kept for too long by the settings; return how many of each kind. Nothing that waits, is held or is being
    processed goes, and no file in archives or reports that is not ours.
    """
    gone = make_retention(site).prune(progress)
    record_act(site.settings, actor, "prune.asked_for", removed=sum(gone.values()))
    return gone


def identities(settings: Settings) -> Identities:
    """Return whose store, drop and ledger are, and whether the files are there that the ledger expects. Makes nothing."""
    layout, disk, ledger = Layout(settings.store, settings.drop), Disk(), Ledger(settings.ledger)
    try:
        seen = look(layout, disk, ledger)
        expected, missing = count_missing(layout, disk, ledger)
    finally:
        ledger.close()
    return Identities(
        store_identity=seen.store,
        drop_identity=seen.drop,
        ledger_identity=seen.ledger,
        expected_files=expected,
        missing_files=missing,
    )


def adopt(settings: Settings, actor: Actor) -> str:
    """Make one gate of a store, a drop and a ledger that do not belong together; return their new identity.

    Another gate that uses one of them is refused from now on. What the ledger expects and is missing is recorded as lost. Nothing
    may serve meanwhile.
    """
    site = build(settings, adopted_by=actor)
    try:
        return site.journal.ties.identity if site.journal.ties is not None else ""
    finally:
        site.close()


def say_restored(site: Site, actor: Actor) -> int:
    """Hold what waits, because somebody says that the gate was set back as a whole; return how many files."""
    mark_restored(site.ledger, "an administrator says that the gate was set back to an earlier state")
    held = hold_restored(site.resources, site.journal)
    record_act(site.settings, actor, "store.said_restored", held=held)
    return held


# -- parts -----------------------------------------------------------------------------------------------------------


def make_directory_counts(site: Site, registry: UserRegistry) -> DirectoryCounts:
    """Return what counts the directories of the drop."""
    return DirectoryCounts(
        site.layout,
        site.disk,
        lambda: [user.home for user in registry.list() if user.home],
        processes=site.settings.worker_count,
        clock=site.clock,
    )


def make_upload_limits(site: Site, registry: UserRegistry) -> UploadLimits:
    """Return the limits of a site on what senders may send."""
    settings = site.settings
    gates = Quotas(
        max_upload_bytes=settings.max_upload_bytes,
        max_pending_bytes=settings.max_pending_bytes,
        max_pending_files=settings.max_pending_files,
        max_daily_bytes=settings.max_daily_bytes,
        max_directories=settings.max_directories,
    )

    none = OwnQuotas()

    def quotas_of(name: str) -> Quotas:
        own = registry.quotas(name)
        return gates if own == none else gates.of(own)

    return UploadLimits(
        site.ledger,
        site.staging,
        site.disk,
        site.layout.store,
        quotas_of,
        directories=make_directory_counts(site, registry),
        free_space_floor=settings.free_space_floor,
        processes=settings.worker_count,
        clock=site.clock,
    )


def make_sender_acts(site: Site, publisher: Publisher, registry: UserRegistry) -> SenderActs:
    """Return the acts of senders on a site."""
    site.placer.rules.homes.of_users = registry.homes
    sender_view = SenderView(site.layout, site.disk, site.ledger, site.staging)
    return SenderActs(
        site.resources, site.journal, site.placer, site.staging, sender_view, publisher, make_upload_limits(site, registry)
    )


def make_sweeper(site: Site, acts: SenderActs, registry: UserRegistry, *, judging: bool = False) -> Sweeper:
    """Return the sweeper of a site. ``judging``: it asks contracts too, which a serving process does beside it."""
    claims = make_claims(site, SYSTEM)
    notices = make_notices(site)
    old_rehearsals = OldRehearsals(
        site.resources,
        site.journal,
        site.placer.rules.rehearsals,
        kept=timedelta(seconds=site.settings.rehearsal_ttl),
        homes=registry.homes,
    )
    rules = SweepRules(
        settle_seconds=site.settings.settle_seconds,
        partial_ttl=timedelta(seconds=site.settings.partial_ttl),
        homes=registry.homes,
        others=(
            lambda: {"approvals ended": Guard(site.resources, site.journal, site.placer).end_approvals()},
            *([partial(_ask_contracts, site)] if judging else []),
            lambda: {"claims returned": len(claims.return_dead())},
            lambda: {"holds reported": notices.report_holds()},
            old_rehearsals.remove,
            make_retention(site).regularly,
        ),
    )
    return Sweeper(site.resources, site.journal, site.placer, site.staging, acts, rules)


def _ask_contracts(site: Site) -> Mapping[str, int]:
    """Ask contracts about what waits for that, and tell senders of what is not held. Raises FollowerMoved if a serving process
    does it too.
    """
    guard = Guard(site.resources, site.journal, site.placer)
    reports = make_verdict_reports(site, guard)
    try:
        return {"contracts asked": guard.judge_held(), "verdicts reported": 0 if reports is None else reports.write_new()}
    finally:
        guard.stop()


def recovered(settings: Settings) -> Site:
    """Build the site of these settings after a crash or a loss of the ledger.

    A damaged ledger is kept aside, and a missing one is made anew from the disk.
    """
    aside = set_damaged_aside(Ledger(settings.ledger), Disk(), utc_now())
    site = build(settings, pointers=LivePointers(settings))
    if aside is not None:
        details: dict[str, event_log.Detail] = {"kept_as": aside.name, "reason": "the earlier ledger was damaged"}
        with site.ledger.transaction() as connection:
            event_log.record(connection, [Event(at=site.clock(), event="ledger.set_aside", actor=SYSTEM, details=details)])
    return site
