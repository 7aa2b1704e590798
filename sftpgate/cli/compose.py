"""The composition root: settings become the parts of a running system. Nothing else builds them.

Imports what it builds, so commands that need only the settings do not import this.
"""

from __future__ import annotations

import grp
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from sftpgate.errors import SettingsError, StorageError
from sftpgate.intake.consumer import Consumer
from sftpgate.intake.homes import Homes
from sftpgate.intake.identity import Ties, adopt, join, require_fit
from sftpgate.intake.ids import Clock, Uptime, boot_seconds, steady
from sftpgate.intake.moves import Moves
from sftpgate.intake.placing import IntakeRules, Placer
from sftpgate.intake.recovery import rebuild_if_new
from sftpgate.intake.restored import after_restore
from sftpgate.intake.retention import Retention, RetentionRules
from sftpgate.intake.staging import Staging
from sftpgate.intake.timekeeping import Timekeeper
from sftpgate.ledger import arrivals
from sftpgate.ledger.actor import Actor
from sftpgate.ledger.database import Ledger
from sftpgate.policy.identity import Age
from sftpgate.policy.names import NameRules
from sftpgate.policy.retention import Keep
from sftpgate.policy.tools import Pointer
from sftpgate.settings import Durability, Handover, Language, Order, Settings
from sftpgate.store.disk import Disk
from sftpgate.store.layout import Layout
from sftpgate.store.spots import FileModes


def utc_now() -> datetime:
    """The time, aware, in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """The parts below the gateway and the runners, ready for use."""

    settings: Settings
    clock: Clock
    disk: Disk
    layout: Layout
    ledger: Ledger
    moves: Moves
    placer: Placer
    staging: Staging
    restored: Age = Age.SAME  # whether a backup brought one of store and ledger back, which was put right just now

    def language_of(self, user: str) -> Language:
        """The language in which a user is written to: the user's own, or the gate's."""
        from sftpgate.users.registry import language_in

        return language_in(self.settings.keys_dir, user) or self.settings.language

    def close(self) -> None:
        """Clear what is known to be durable, and close the ledger."""
        self.moves.flush()
        self.staging.close()
        self.ledger.close()


def _homes_in(keys_dir: Path) -> Callable[[], Sequence[str]]:
    """Asks for the homes of all users; nothing is read before."""

    def homes() -> Sequence[str]:
        from sftpgate.users.registry import UserRegistry

        return UserRegistry(keys_dir).homes()

    return homes


def pointers_of(settings: Settings) -> tuple[Pointer, ...]:
    """What the tools are pointed at."""
    return tuple(
        Pointer(tool=name, files=tool.files, queued=tool.arrivals is Order.QUEUE) for name, tool in settings.tools.items()
    )


def name_rules(settings: Settings) -> NameRules:
    """The rules by which names are never taken."""
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
) -> System:
    """The system of these settings; directories and tables are made where they are missing, and a ledger that is new on a
    disk that is not is made from the disk. ``uptime``: the machine's, or that of a ``clock`` that was given. ``pointers``:
    what the tools are pointed at, where that may change meanwhile.
    Raises IdentityError, before it makes anything, where store, drop and ledger do not belong together; ``adopted_by``: makes one
    gate of them instead, and puts on the record who said so.
    """
    durable = settings.durability is Durability.FULL
    disk = disk or Disk()
    layout = Layout(settings.store, settings.drop)
    modes = FileModes(file_mode=settings.file_mode, dir_mode=settings.dir_mode, gid=group_id(settings.file_group))
    ledger = ledger or Ledger(settings.ledger, durable=durable)
    try:
        if adopted_by is None:
            require_fit(layout, disk, ledger)  # before anything is made: what is missing may only not be mounted
        layout.create(disk, modes)
    except StorageError as error:
        raise SettingsError(f"{error.message}; give the directory to the user that sftpgate runs as") from error
    ledger.create()
    by = adopted_by
    ties = Ties(layout, disk, join(layout, disk, ledger, clock) if by is None else adopt(layout, disk, ledger, clock, by))
    if uptime is None:
        uptime = boot_seconds if clock is utc_now else steady(clock)
    time = Timekeeper(ledger, clock, uptime)
    consumer = Consumer(
        layout, disk, timedelta(seconds=settings.consumer_lock_ttl), time, timedelta(seconds=settings.consumer_interval)
    )
    has_consumer = settings.handover is Handover.LOCK_TXT
    moves = Moves(
        layout,
        disk,
        ledger,
        clock=clock,
        uptime=uptime,
        time=time,
        modes=modes,
        durable=durable,
        consumer=consumer if has_consumer else None,
        ties=ties,
        reader_time=timedelta(seconds=settings.reader_time),
    )
    names = name_rules(settings)
    rebuild_if_new(moves, names)
    restored = after_restore(moves, names, is_adopted=adopted_by is not None)
    pointed = pointers_of(settings)
    rules = IntakeRules(
        names=names,
        batch_lock_ttl=timedelta(seconds=settings.batch_lock_ttl),
        require_done_file=settings.require_done_file,
        publish_suspect=settings.publish_suspect,
        pointers=pointers or (lambda: pointed),
        homes=Homes(_homes_in(settings.keys_dir)),
    )
    return System(
        settings=settings,
        clock=clock,
        disk=disk,
        layout=layout,
        ledger=ledger,
        moves=moves,
        placer=Placer(moves, rules),
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


def make_retention(system: System) -> Retention:
    """What prunes a system."""
    settings = system.settings
    rules = RetentionRules(
        archives=_keep(settings.keep_archives, settings.keep_archives_bytes),
        reports=_keep(settings.keep_reports, settings.keep_reports_bytes),
        quarantine=_keep(settings.keep_quarantine, settings.keep_quarantine_bytes),
        records=_keep(settings.keep_records).age,
        events=_keep(settings.keep_events).age,
        partials=timedelta(seconds=settings.partial_ttl),
    )
    return Retention(system.moves, system.staging, rules)


def _keep(seconds: float, size_bytes: int = 0) -> Keep:
    return Keep(age=timedelta(seconds=seconds) if seconds else None, size_bytes=size_bytes or None)


def group_id(name: str) -> int | None:
    """The id of the group that files in the store get; None for the process's own."""
    if not name:
        return None
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError as error:
        raise SettingsError(f"file_group: there is no group {name!r} on this machine") from error
