"""What waits and for whom, what is held back and why, who works on what, the last sweep and runs.

Read-only; beside a running server or without one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta

from sftpgate.app.composition import name_rules, pointers_of, utc_now
from sftpgate.app.doctor.identity import identity_note, lost_ledger_note
from sftpgate.app.doctor.places import stuck
from sftpgate.app.expectations import overview as expected_files
from sftpgate.app.status.lags import lag_notes
from sftpgate.app.status.records import (
    GateStatus,
    HeldArrival,
    HeldCount,
    LastSweep,
    LeftFile,
    ToolStatus,
    UnclaimedFiles,
    UnfinishedUpload,
    WaitingFiles,
)
from sftpgate.app.users.access import terms_of
from sftpgate.errors import StorageError, UserFileError
from sftpgate.handover.placement.batch_locks import BatchLock, BatchLocks
from sftpgate.ledger import arrivals, overview, runs
from sftpgate.ledger.arrivals import Arrival
from sftpgate.ledger.database.connection import Connection, Ledger, get_fact
from sftpgate.ledger.overview import HeldBack, OpenClaim, Waiting
from sftpgate.ledger.runs import Run
from sftpgate.policy.checks import check_of
from sftpgate.policy.lifecycle import ArrivalState, HoldReason
from sftpgate.policy.pointers import tool_for
from sftpgate.policy.space import shortages
from sftpgate.policy.tools import meant
from sftpgate.settings.tree import Settings
from sftpgate.store.disk import Disk
from sftpgate.store.disk_paths import FileModes
from sftpgate.store.filesystems import rooms
from sftpgate.store.layout import Layout
from sftpgate.upkeep.recovery import COMPLETE
from sftpgate.upkeep.sweep import LAST_SWEEP, SweepResult
from sftpgate.uploads.staging import Staging
from sftpgate.users.expiry import Expiry, about_to_expire
from sftpgate.users.registry import UserRegistry

SHOWN = 20  # single files of a kind; the rest is counted
_SWEEPS_MISSED = 4  # so many intervals without a sweep mean that none is running


def collect(settings: Settings, ledger: Ledger | None, now: datetime) -> GateStatus:
    """Return the state of a gate. ``ledger`` is None before the first start."""
    directory = str(settings.data_dir)
    if ledger is None:
        not_begun = "nothing has arrived yet: `sftpgate serve` has not been started with these settings"
        return GateStatus(
            directory=directory,
            tools=_tools(settings, [], [], {}),
            expiring=_expiring(settings, now),
            notes=[*_shortages(settings), lost_ledger_note(settings) or identity_note(settings, None) or not_begun],
        )
    with ledger.reading() as connection:
        waiting = overview.waiting(connection)
        last_runs = [run for tool in settings.tools if (run := runs.last_of_tool(connection, tool)) is not None]
        put_off = {tool: overview.put_off_until(connection, tool, now) for tool in settings.tools}
        held = arrivals.find(connection, states=[ArrivalState.HELD], limit=SHOWN)
        quarantined = arrivals.find(connection, states=[ArrivalState.QUARANTINED], limit=SHOWN)
        locks = _locks(settings, connection, held)
        counts = [_held_count(item) for item in overview.held_back(connection)]
        claims = [_without_boot(claim) for claim in overview.open_claims(connection)]
        last_sweep = _last_sweep(get_fact(connection, LAST_SWEEP))
        is_begun = get_fact(connection, COMPLETE) is not None
        lags = lag_notes(settings, connection, now)
    return GateStatus(
        directory=directory,
        tools=_tools(settings, waiting, last_runs, put_off),
        waiting=[_waiting(settings, item) for item in waiting],
        without_tool=without_tool(settings, waiting),
        left=_left(settings, last_sweep),
        held_counts=counts,
        held=[_held(settings, item, locks.get(item.home, [])) for item in held],
        quarantined=[_held(settings, item, []) for item in quarantined],
        claims=claims,
        uploads=_uploads(settings),
        last_sweep=last_sweep,
        expected=expected_files.overview(settings, ledger, now),
        expiring=_expiring(settings, now),
        notes=[
            *filter(None, [identity_note(settings, ledger), None if is_begun else lost_ledger_note(settings)]),
            *_shortages(settings),
            *_stuck(settings),
            *_notes(settings, last_sweep, now),
            *lags,
        ],
    )


# -- what there is ---------------------------------------------------------------------------------------------------


def _tools(
    settings: Settings, waiting: Sequence[Waiting], runs: Sequence[Run], put_off: Mapping[str, datetime | None]
) -> list[ToolStatus]:
    """Return each tool of the settings: what waits for it, and how its last run ended."""
    pointers = pointers_of(settings)
    last = {run.tool: run for run in runs}
    found: list[ToolStatus] = []
    for pointer in pointers:
        mine = [item for item in waiting if tool_for(item.path, pointers) == pointer.tool]
        run = last.get(pointer.tool)
        found.append(
            ToolStatus(
                tool=pointer.tool,
                files=list(pointer.files),
                enabled=settings.tools[pointer.tool].enabled,
                waiting=sum(item.count for item in mine),
                size_bytes=sum(item.size for item in mine),
                oldest_at=min((item.oldest_at for item in mine), default=None),
                last_run_at=run.started_at if run else None,
                last_run_ended_at=run.ended_at if run else None,
                outcome=(run.outcome or "running") if run else None,
                exit_status=run.exit_status if run else None,
                report=run.report if run else None,
                tried_again_at=put_off.get(pointer.tool),
            )
        )
    return found


def _waiting(settings: Settings, item: Waiting) -> WaitingFiles:
    return WaitingFiles(
        path=item.path,
        state=item.state,
        count=item.count,
        size_bytes=item.size,
        oldest_at=item.oldest_at,
        tool=tool_for(item.path, pointers_of(settings)),
    )


def without_tool(settings: Settings, waiting: Sequence[Waiting]) -> list[UnclaimedFiles]:
    """Return what waits under names that no tool has; nothing if there are no tools: plain programs take the files then."""
    pointers = pointers_of(settings)
    return [
        UnclaimedFiles(
            path=item.path,
            count=item.count,
            oldest_at=item.oldest_at,
            what_to_do=f"no tool takes it; is it meant for {near}? have it sent under that name, or `sftpgate store mv` it"
            if (near := meant(item.path, pointers))
            else "no tool takes it: `sftpgate tool point` a tool at it, or `sftpgate store rm` it",
        )
        for item in waiting
        if pointers and tool_for(item.path, pointers) is None
    ]


def _left(settings: Settings, last_sweep: LastSweep | None) -> list[LeftFile]:
    """Return the files that lie in the drop and that no sweep takes, by the last one that looked, as far as they are still
    there.
    """
    left = last_sweep.result.left if last_sweep is not None else {}
    return [LeftFile(path=path, reason=reason) for path, reason in left.items() if os.path.lexists(settings.drop / path)]


def _held_count(item: HeldBack) -> HeldCount:
    return HeldCount(reason=item.reason or "quarantine", count=item.count, size_bytes=item.size, oldest_at=item.oldest_at)


def _without_boot(claim: OpenClaim) -> OpenClaim:
    """Return a claim with the name of its host alone."""
    return replace(claim, host=claim.host.partition("/")[0])


def _locks(settings: Settings, connection: Connection, held: Sequence[Arrival]) -> dict[str, list[BatchLock]]:
    """Return the batch locks by home, of those homes of which a file is held by one; none that we may not see."""
    seen = BatchLocks(Layout(settings.store, settings.drop), Disk(), name_rules(settings))
    homes = {item.home for item in held if item.hold_reason is HoldReason.BATCH_LOCK}
    try:
        return {home: seen.as_recorded(connection, home) for home in homes}
    except StorageError:
        return {}  # the directory is the server's own, and we are somebody else


def _held(settings: Settings, item: Arrival, locks: Sequence[BatchLock]) -> HeldArrival:
    return HeldArrival(
        id=item.id,
        path=item.path,
        owner=item.owner,
        size_bytes=item.size,
        received_at=item.received_at,
        reason=item.hold_reason,
        detail=item.hold_detail,
        attempts=item.attempts,
        what_to_do=_what_to_do(settings, item, locks),
    )


def _what_to_do(settings: Settings, item: Arrival, locks: Sequence[BatchLock]) -> str:
    match item.hold_reason:
        case None:
            return "see its report with `sftpgate show`, then `sftpgate release` or `sftpgate discard` it"
        case HoldReason.BATCH_LOCK:
            for lock in sorted((lock for lock in locks if lock.holds(item.owner)), key=lambda lock: lock.owner):
                if lock.owner:
                    return f"wait until {lock.owner} removes its {lock.name}, or remove {lock.disk_path.local}"
                return f"remove {lock.disk_path.local}: no sender sent it, and it holds the files of all"
            usual = settings.drop / item.home / settings.batch_lock_name
            return f"wait until the sender removes {usual.name}, or remove {usual}"
        case reason:
            return check_of(reason).for_admin


def _uploads(settings: Settings) -> list[UnfinishedUpload]:
    """Return the interrupted uploads, and those that are under way for a while."""
    staging = Staging(
        Layout(settings.store, settings.drop),
        Disk(),
        clock=utc_now,
        max_upload_bytes=settings.max_upload_bytes,
        modes=FileModes(),
    )
    try:
        return [
            UnfinishedUpload(
                user=partial.user,
                path=partial.path,
                size_bytes=partial.size,
                last_write_at=datetime.fromtimestamp(partial.mtime_ns / 1e9, UTC),
                upload=partial.upload,
            )
            for user in sorted(staging.users())
            for partial in staging.partials(user)
        ]
    except StorageError:
        return []  # the directory is the server's own, and we are somebody else


def _expiring(settings: Settings, now: datetime) -> list[Expiry]:
    """Return the users and keys that end soon, or have ended and leave their user without any."""
    within = timedelta(seconds=settings.expiry_warning)
    registry = UserRegistry(settings.keys_dir)
    try:
        users = registry.list()
    except UserFileError:
        return []  # the directory is the server's own, and we are somebody else
    return list(about_to_expire(users, now=now, within=within, terms=terms_of(settings, registry)))


def _stuck(settings: Settings) -> list[str]:
    """Return a line for each arrival that cannot come to its place."""
    return [f"{item.path} cannot come to its place: {obstacle}" for item, obstacle in stuck(settings)]


def _last_sweep(fact: str | None) -> LastSweep | None:
    if fact is None:
        return None
    row = json.loads(fact)
    known = {field.name for field in fields(SweepResult)}  # an earlier version counted other things
    result = SweepResult(**{key: value for key, value in row.items() if key in known})
    return LastSweep(at=datetime.fromisoformat(row["at"]), result=result)


def _shortages(settings: Settings) -> list[str]:
    found = rooms(store=settings.store, drop=settings.drop, ledger=settings.data_dir)
    return list(shortages(found, settings.free_space_floor))


def _notes(settings: Settings, last_sweep: LastSweep | None, now: datetime) -> list[str]:
    if last_sweep is None:
        return ["there was no sweep yet: is `sftpgate serve` running?"]
    age = (now - last_sweep.at).total_seconds()
    if age > _SWEEPS_MISSED * settings.sweep_interval:
        return [f"there was no sweep for {round(age)} seconds: is `sftpgate serve` running?"]
    return []
