"""The composition root: settings become the parts of a running site. Nothing else builds them.

Imports what it builds, so commands that need only the settings do not import this.
"""

from __future__ import annotations

import grp
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sftpgate.errors import SettingsError, StorageError
from sftpgate.handover.identity.copies import notice_copy
from sftpgate.handover.identity.gate_memory import remember, remembered
from sftpgate.handover.identity.ties import Ties, adopt, compare_age, join, require_fit
from sftpgate.handover.journal import Journal
from sftpgate.handover.placement.homes import Homes
from sftpgate.handover.placement.placer import Placer
from sftpgate.handover.placement.rules import PlacementRules
from sftpgate.handover.placement.stock_consumer import Consumer
from sftpgate.handover.resources import Resources
from sftpgate.handover.timekeeping import Timekeeper
from sftpgate.ids import Clock, Uptime, boot_seconds, steady
from sftpgate.ledger import arrivals
from sftpgate.ledger.audit.actor import Actor
from sftpgate.ledger.database.connection import Ledger
from sftpgate.policy.managed import MANAGED, is_reserved
from sftpgate.policy.names import NameRules
from sftpgate.policy.pointers import Pointer
from sftpgate.policy.rehearsals import RehearsalRules
from sftpgate.policy.retention import Keep
from sftpgate.settings.choices import Durability, Handover, Order
from sftpgate.settings.tree import Settings
from sftpgate.site import Site
from sftpgate.store.disk import Disk
from sftpgate.store.disk_paths import FileModes
from sftpgate.store.layout import Layout
from sftpgate.upkeep.brought_back import hold_restored
from sftpgate.upkeep.recovery import rebuild_if_new
from sftpgate.upkeep.restored import after_restore
from sftpgate.uploads.staging import Staging

if TYPE_CHECKING:
    from sftpgate.handover.guard import Guard
    from sftpgate.upkeep.notices import Notices
    from sftpgate.upkeep.retention import Retention
    from sftpgate.upkeep.verdict_reports import VerdictReports


def utc_now() -> datetime:
    """Return the time, aware, in UTC."""
    return datetime.now(UTC)


def _homes_in(keys_dir: Path) -> Callable[[], Sequence[str]]:
    """Return what asks for the homes of all users; nothing is read before."""

    def homes() -> Sequence[str]:
        from sftpgate.users.registry import UserRegistry

        return UserRegistry(keys_dir).homes()

    return homes


def pointers_of(settings: Settings) -> tuple[Pointer, ...]:
    """Return what the tools are pointed at."""
    return tuple(
        Pointer(tool=name, files=tool.files, queued=tool.arrivals is Order.QUEUE) for name, tool in settings.tools.items()
    )


def _rehearsals(folder: str) -> RehearsalRules:
    if is_reserved(folder):
        raise SettingsError(f"rehearsal_dir: {folder} is a directory of the server's own; choose another name")
    return RehearsalRules(folder)


def name_rules(settings: Settings) -> NameRules:
    """Return the rules by which names are never taken."""
    return NameRules(
        batch_lock_name=settings.batch_lock_name,
        ignored_suffixes=settings.ignored_suffixes,
        ignore_made_up=settings.ignore_made_up,
        companion_suffixes=settings.companion_suffixes,
    )


def build(
    settings: Settings,
    *,
    disk: Disk | None = None,
    clock: Clock = utc_now,
    uptime: Uptime | None = None,
    ledger: Ledger | None = None,
    pointers: Callable[[], Sequence[Pointer]] | None = None,
    adopted_by: Actor | None = None,
) -> Site:
    """Return the site of these settings; make directories and tables that are missing, and a ledger that is new on a disk that
    is not, from the disk. ``uptime``: the machine's, or that of a ``clock`` that was given. ``pointers``:
    what the tools are pointed at, where that may change meanwhile.
    Raises IdentityError, before it makes anything, where store, drop and ledger do not belong together, or are all missing and
    the keys remember a gate; ``adopted_by``: makes one gate of them instead, and puts on the record who said so.
    """
    durable = settings.durability is Durability.FULL
    disk = disk or Disk()
    layout = Layout(settings.store, settings.drop)
    modes = FileModes(file_mode=settings.file_mode, dir_mode=settings.dir_mode, gid=group_id(settings.file_group))
    ledger = ledger or Ledger(settings.ledger, durable=durable)
    try:
        if adopted_by is None:
            # before anything is made: what is missing may only not be mounted
            require_fit(layout, disk, ledger, remembered(settings.keys_dir))
        layout.create(disk, modes)
    except StorageError as error:
        raise SettingsError(f"{error.message}; give the directory to the user that sftpgate runs as") from error
    ledger.create()
    by = adopted_by
    ties = Ties(layout, disk, join(layout, disk, ledger, clock) if by is None else adopt(layout, disk, ledger, clock, by))
    remember(settings.keys_dir, ties.identity, replacing=by is not None)
    if uptime is None:
        uptime = boot_seconds if clock is utc_now else steady(clock)
    time = Timekeeper(ledger, clock, uptime)
    consumer = Consumer(
        layout, disk, timedelta(seconds=settings.consumer_lock_ttl), time, timedelta(seconds=settings.consumer_interval)
    )
    has_consumer = settings.handover is Handover.LOCK_TXT
    resources = Resources(
        layout=layout, disk=disk, ledger=ledger, clock=clock, uptime=uptime, time=time, modes=modes, durable=durable
    )
    journal = Journal(
        resources,
        consumer=consumer if has_consumer else None,
        ties=ties,
        reader_time=timedelta(seconds=settings.reader_time),
    )
    names = name_rules(settings)
    rebuild_if_new(resources, journal, names)
    notice_copy(layout, disk, ledger, compare_age(layout, disk, ledger))
    restored = after_restore(resources, journal, names, is_adopted=adopted_by is not None)
    hold_restored(resources, journal)
    pointed = pointers_of(settings)
    rules = PlacementRules(
        names=names,
        batch_lock_ttl=timedelta(seconds=settings.batch_lock_ttl),
        require_done_file=settings.require_done_file,
        publish_suspect=settings.publish_suspect,
        pointers=pointers or (lambda: pointed),
        homes=Homes(_homes_in(settings.keys_dir)),
        contracts={name: tool.contract for name, tool in settings.tools.items() if tool.contract is not None},
        rehearsals=_rehearsals(settings.rehearsal_folder),
    )
    return Site(
        settings=settings,
        resources=resources,
        journal=journal,
        placer=Placer(resources, journal, rules),
        staging=Staging(
            layout,
            disk,
            clock=clock,
            max_upload_bytes=settings.max_upload_bytes,
            modes=modes,
            newest_arrival=partial(_newest_arrival, ledger),
            require_store=ties.require,
        ),
        restored=restored,
    )


def _newest_arrival(ledger: Ledger) -> str:
    with ledger.reading() as connection:
        return arrivals.newest_id(connection)


def make_retention(site: Site) -> Retention:
    """Return what prunes a site."""
    from sftpgate.upkeep.retention import Retention, RetentionRules

    settings = site.settings
    rules = RetentionRules(
        managed={directory.kept_as: _keep_managed(settings, directory.name) for directory in MANAGED},
        receipts=_keep(settings.keep_receipts, settings.keep_receipts_bytes),
        quarantine=_keep(settings.keep_quarantine, settings.keep_quarantine_bytes),
        records=_keep(settings.keep_records).age,
        events=_keep(settings.keep_events).age,
        partials=timedelta(seconds=settings.partial_ttl),
    )
    return Retention(site.resources, site.journal, site.staging, rules)


def make_notices(site: Site) -> Notices:
    """Return what tells senders, in their language, what became of their files."""
    from sftpgate.upkeep.notices import Notices

    return Notices(site.resources, site.journal, batch_lock_name=site.settings.batch_lock_name, language_of=site.language_of)


def make_verdict_reports(site: Site, guard: Guard) -> VerdictReports | None:
    """Return what tells senders of warnings and rehearsals; None if no tool has a contract. ``guard`` asks for the latter."""
    if not site.placer.rules.contracts:
        return None
    from sftpgate.upkeep.verdict_reports import VerdictReports

    rules = site.placer.rules
    made = VerdictReports(site.resources, site.journal, make_notices(site), guard, rules.names, rules.rehearsals)
    made.join()
    return made


def _keep_managed(settings: Settings, directory: str) -> Keep:
    return _keep(getattr(settings, f"keep_{directory}"), getattr(settings, f"keep_{directory}_bytes"))


def _keep(seconds: float, size_bytes: int = 0) -> Keep:
    return Keep(age=timedelta(seconds=seconds) if seconds else None, size_bytes=size_bytes or None)


def group_id(name: str) -> int | None:
    """Return the id of the group that files in the store get; None for the process's own."""
    if not name:
        return None
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError as error:
        raise SettingsError(f"file_group: there is no group {name!r} on this machine") from error
