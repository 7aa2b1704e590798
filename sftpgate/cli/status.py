"""``sftpgate status``: what waits and for whom, what is held back and why, who works on what, the last sweep and runs.

Read-only; beside a running server or without one.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sftpgate.intake.batch_locks import BatchLock
    from sftpgate.ledger.arrivals import Arrival
    from sftpgate.ledger.database import Connection, Ledger
    from sftpgate.ledger.overview import Waiting
    from sftpgate.ledger.runs import Run
    from sftpgate.settings import Settings

Row = dict[str, object]

SHOWN = 20  # single files of a kind; the rest is counted
_SWEEPS_MISSED = 4  # so many intervals without a sweep mean that none is running


def status(json: Annotated[bool, typer.Option("--json", help="Print one object.")] = False) -> None:
    """Show what waits, what is held and why, what is being processed, the last sweep, and the last run of each tool.

    Example: sftpgate status

    Example: sftpgate status --json | jq .held
    """
    from sftpgate.cli.context import ledger_for_reading, read_settings
    from sftpgate.cli.output import emit_record

    settings = read_settings()
    with ledger_for_reading(settings) as ledger:
        found = collect(settings, ledger, datetime.now(UTC))
    if json:
        emit_record(found, json=True)
    else:
        _print(found)


def collect(settings: Settings, ledger: Ledger | None, now: datetime) -> dict[str, object]:
    """Everything that ``status`` shows; times are aware, sizes in bytes."""
    from dataclasses import asdict

    from sftpgate.cli.identity_checks import identity_note, lost_ledger_note
    from sftpgate.intake.recovery import COMPLETE
    from sftpgate.ledger import arrivals, overview, runs
    from sftpgate.ledger.database import get_fact
    from sftpgate.policy.lifecycle import ArrivalState

    if ledger is None:
        return {
            "directory": str(settings.data_dir),
            "tools": _tool_rows(settings, [], []),
            "waiting": [],
            "without_tool": [],
            "left": [],
            "held_counts": [],
            "held": [],
            "quarantined": [],
            "claims": [],
            "uploads": [],
            "last_sweep": None,
            "expiring": _expiring(settings, now),
            "notes": [
                *_shortages(settings),
                lost_ledger_note(settings)
                or "nothing has arrived yet: `sftpgate serve` has not been started with these settings",
            ],
        }
    with ledger.reading() as connection:
        waiting = overview.waiting(connection)
        last_runs = [run for tool in settings.tools if (run := runs.last_of_tool(connection, tool)) is not None]
        held = arrivals.find(connection, states=[ArrivalState.HELD], limit=SHOWN)
        quarantined = arrivals.find(connection, states=[ArrivalState.QUARANTINED], limit=SHOWN)
        locks = _locks(settings, connection, held)
        counts = [asdict(item) for item in overview.held_back(connection)]
        claims = [asdict(claim) | {"host": claim.host.partition("/")[0]} for claim in overview.open_claims(connection)]
        sweep = get_fact(connection, "last_sweep")
        is_begun = get_fact(connection, COMPLETE) is not None
    last_sweep = _sweep_row(sweep)
    without = without_tool(settings, waiting)
    return {
        "directory": str(settings.data_dir),
        "tools": _tool_rows(settings, waiting, last_runs),
        "waiting": [_waiting_row(settings, item) for item in waiting],
        "without_tool": without,
        "left": _left(settings, last_sweep),
        "held_counts": [_with_bytes(row) | {"reason": row["reason"] or "quarantine"} for row in counts],
        "held": [_held_row(settings, item, locks.get(item.home, [])) for item in held],
        "quarantined": [_held_row(settings, item, []) for item in quarantined],
        "claims": claims,
        "uploads": _uploads(settings),
        "last_sweep": last_sweep,
        "expiring": _expiring(settings, now),
        "notes": [
            *filter(None, [identity_note(settings, ledger), None if is_begun else lost_ledger_note(settings)]),
            *_shortages(settings),
            *_stuck(settings),
            *_notes(settings, last_sweep, now),
        ],
    }


# -- what there is ---------------------------------------------------------------------------------------------------


def _tool_rows(settings: Settings, waiting: Sequence[Waiting], runs: Sequence[Run]) -> list[Row]:
    """A row for each tool of the settings: what waits for it, and how its last run ended."""
    from sftpgate.cli.compose import pointers_of
    from sftpgate.policy.tools import tool_for

    pointers = pointers_of(settings)
    last = {run.tool: run for run in runs}
    rows: list[Row] = []
    for pointer in pointers:
        mine = [item for item in waiting if tool_for(item.path, pointers) == pointer.tool]
        run = last.get(pointer.tool)
        rows.append(
            {
                "tool": pointer.tool,
                "files": list(pointer.files),
                "enabled": settings.tools[pointer.tool].enabled,
                "waiting": sum(item.count for item in mine),
                "size_bytes": sum(item.size for item in mine),
                "oldest_at": min((item.oldest_at for item in mine), default=None),
                "last_run_at": run.started_at if run else None,
                "last_run_ended_at": run.ended_at if run else None,
                "outcome": (run.outcome or "running") if run else None,
                "exit_status": run.exit_status if run else None,
                "report": run.report if run else None,
            }
        )
    return rows


def _waiting_row(settings: Settings, item: Waiting) -> Row:
    from dataclasses import asdict

    from sftpgate.cli.compose import pointers_of
    from sftpgate.policy.tools import tool_for

    return _with_bytes({**asdict(item), "tool": tool_for(item.path, pointers_of(settings))})


def without_tool(settings: Settings, waiting: Sequence[Waiting]) -> list[Row]:
    """What waits under names that no tool has; nothing where there are no tools: plain programs take the files then."""
    from sftpgate.cli.compose import pointers_of
    from sftpgate.policy.tools import meant, tool_for

    pointers = pointers_of(settings)
    return [
        {
            "path": _quoted(item.path),
            "count": item.count,
            "oldest_at": item.oldest_at,
            "what_to_do": f"no tool takes it; is it meant for {near}? have it sent under that name, or `sftpgate store mv` it"
            if (near := meant(item.path, pointers))
            else "no tool takes it: `sftpgate tool point` a tool at it, or `sftpgate store rm` it",
        }
        for item in waiting
        if pointers and tool_for(item.path, pointers) is None
    ]


def _quoted(path: str) -> str:
    """A path, in quotes where a reader could not see what is in it."""
    return path if path.isprintable() and path == path.strip() and "\\" not in path and "  " not in path else f'"{path}"'


def _left(settings: Settings, last_sweep: Row | None) -> list[Row]:
    """The files that lie in the drop and that no sweep takes, by the last one that looked, as far as they are still there."""
    left = (last_sweep or {}).get("left")
    if not isinstance(left, dict):
        return []
    return [{"path": _quoted(path), "reason": reason} for path, reason in left.items() if os.path.lexists(settings.drop / path)]


def _locks(settings: Settings, connection: Connection, held: Sequence[Arrival]) -> dict[str, list[BatchLock]]:
    """The batch locks by home, of those homes of which a file is held by one; none that we may not see."""
    from sftpgate.cli.compose import name_rules
    from sftpgate.errors import StorageError
    from sftpgate.intake.batch_locks import BatchLocks
    from sftpgate.policy.lifecycle import HoldReason
    from sftpgate.store.disk import Disk
    from sftpgate.store.layout import Layout

    seen = BatchLocks(Layout(settings.store, settings.drop), Disk(), name_rules(settings))
    homes = {item.home for item in held if item.hold_reason is HoldReason.BATCH_LOCK}
    try:
        return {home: seen.as_recorded(connection, home) for home in homes}
    except StorageError:
        return {}  # the directory is the server's own, and we are somebody else


def _held_row(settings: Settings, item: Arrival, locks: Sequence[BatchLock]) -> Row:
    return {
        "id": item.id,
        "path": item.path,
        "owner": item.owner,
        "size_bytes": item.size,
        "received_at": item.received_at,
        "reason": item.hold_reason,
        "attempts": item.attempts,
        "what_to_do": _what_to_do(settings, item, locks),
    }


def _what_to_do(settings: Settings, item: Arrival, locks: Sequence[BatchLock]) -> str:
    from sftpgate.policy.lifecycle import HoldReason

    match item.hold_reason:
        case HoldReason.BATCH_LOCK:
            for lock in sorted((lock for lock in locks if lock.holds(item.owner)), key=lambda lock: lock.owner):
                if lock.owner:
                    return f"wait until {lock.owner} removes its {lock.name}, or remove {lock.spot.local}"
                return f"remove {lock.spot.local}: no sender sent it, and it holds the files of all"
            usual = settings.drop / item.home / settings.batch_lock_name
            return f"wait until the sender removes {usual.name}, or remove {usual}"
        case HoldReason.INCOMPLETE:
            return "have it sent again, or `sftpgate release` it if it is complete"
        case HoldReason.CHECKSUM_MISMATCH:
            return "have the file and its checksum sent again, or `sftpgate release` it"
        case HoldReason.AWAITING_DONE:
            return "wait for its done-file, or `sftpgate release` it"
        case HoldReason.SKIPPED_NAME:
            return 'have it sent under a name without "lock": the batch tool skips this one'
        case None:
            return "see its report with `sftpgate show`, then `sftpgate release` or `sftpgate discard` it"


def _uploads(settings: Settings) -> list[Row]:
    """The interrupted uploads, and those that are under way for a while."""
    from sftpgate.cli.compose import utc_now
    from sftpgate.errors import StorageError
    from sftpgate.intake.staging import Staging
    from sftpgate.store.disk import Disk
    from sftpgate.store.layout import Layout
    from sftpgate.store.spots import FileModes

    staging = Staging(
        Layout(settings.store, settings.drop),
        Disk(),
        clock=utc_now,
        max_upload_bytes=settings.max_upload_bytes,
        modes=FileModes(),
    )
    try:
        return [
            {
                "user": partial.user,
                "path": partial.path,
                "size_bytes": partial.size,
                "last_write_at": datetime.fromtimestamp(partial.mtime_ns / 1e9, UTC),
                "upload": partial.upload,
            }
            for user in sorted(staging.users())
            for partial in staging.partials(user)
        ]
    except StorageError:
        return []  # the directory is the server's own, and we are somebody else


def _expiring(settings: Settings, now: datetime) -> list[Row]:
    """The users and keys that end soon, or have ended and leave their user without any."""
    from dataclasses import asdict
    from datetime import timedelta

    from sftpgate.cli.accounts import terms_of
    from sftpgate.errors import UserFileError
    from sftpgate.users.expiry import endings
    from sftpgate.users.registry import UserRegistry

    within = timedelta(seconds=settings.expiry_warning)
    registry = UserRegistry(settings.keys_dir)
    try:
        users = registry.list()
    except UserFileError:
        return []  # the directory is the server's own, and we are somebody else
    return [asdict(ending) for ending in endings(users, now=now, within=within, terms=terms_of(settings, registry))]


def _stuck(settings: Settings) -> list[str]:
    """A line for each arrival that cannot come to its place."""
    from sftpgate.cli.place_checks import stuck

    return [f"{item.path} cannot come to its place: {obstacle}" for item, obstacle in stuck(settings)]


def _sweep_row(fact: str | None) -> Row | None:
    import json

    if fact is None:
        return None
    row: Row = json.loads(fact)
    return row | {"at": datetime.fromisoformat(str(row["at"]))}


def _shortages(settings: Settings) -> list[str]:
    from sftpgate.policy.space import shortages
    from sftpgate.store.filesystems import rooms

    found = rooms(store=settings.store, drop=settings.drop, ledger=settings.data_dir)
    return list(shortages(found, settings.free_space_floor))


def _notes(settings: Settings, last_sweep: Row | None, now: datetime) -> list[str]:
    if last_sweep is None:
        return ["there was no sweep yet: is `sftpgate serve` running?"]
    at = last_sweep["at"]
    assert isinstance(at, datetime)
    age = (now - at).total_seconds()
    if age > _SWEEPS_MISSED * settings.sweep_interval:
        return [f"there was no sweep for {round(age)} seconds: is `sftpgate serve` running?"]
    return []


def _with_bytes(row: Row) -> Row:
    return {"size_bytes" if key == "size" else key: value for key, value in row.items()}


# -- for people ------------------------------------------------------------------------------------------------------

_SECTIONS = (
    ("tools", "Tools", ["tool", "waiting", "size_bytes", "oldest_at", "last_run_at", "outcome", "exit_status", "report"]),
    ("waiting", "Waiting", ["path", "state", "count", "size_bytes", "oldest_at", "tool"]),
    ("without_tool", "Waiting, and no tool takes it", ["path", "count", "oldest_at", "what_to_do"]),
    ("left", "In the drop, and not taken", ["path", "reason"]),
    ("held", "Held", ["id", "path", "owner", "received_at", "reason", "what_to_do"]),
    ("quarantined", "In quarantine", ["id", "path", "owner", "received_at", "attempts", "what_to_do"]),
    ("claims", "Being processed", ["path", "tool", "claimed_at", "lease_until", "host", "pid", "arrival"]),
    ("expiring", "Users and keys that expire", ["user", "fingerprint", "label", "expires_at", "expired", "what_to_do"]),
    ("uploads", "Uploads that are interrupted or under way", ["user", "path", "size_bytes", "last_write_at"]),
)


def _print(found: dict[str, object]) -> None:
    from sftpgate.cli.output import emit, shown

    typer.echo(f"Gate: {shown(found['directory'])}")
    for key, title, columns in _SECTIONS:
        rows = found[key]
        assert isinstance(rows, list)
        if rows:
            typer.echo(f"{title}:")
            emit(rows[:SHOWN], columns)
            if len(rows) > SHOWN:
                typer.echo(f"… and {len(rows) - SHOWN} more (--json has all)")
            typer.echo()
    counts = found["held_counts"]
    assert isinstance(counts, list)
    for row in counts:
        if row["count"] > SHOWN:
            typer.echo(f"{row['count']} files in all: {shown(row['reason'])}, {row['size_bytes']} bytes")
    sweep = found["last_sweep"]
    if isinstance(sweep, dict):
        others = sweep.get("others")
        counts_of = {**sweep, **(others if isinstance(others, dict) else {})}
        done = {name: count for name, count in counts_of.items() if isinstance(count, int) and count}
        typer.echo(f"Last sweep: {shown(sweep['at'])}, {float(sweep['seconds']):.1f} s, {shown(done) or 'nothing to do'}")
    if not any(found[key] for key in ("waiting", "left", "held", "quarantined", "claims")):
        typer.echo("Nothing waits, and nothing is held.")
    notes = found["notes"]
    assert isinstance(notes, list)
    for note in notes:
        typer.echo(f"Note: {note}")
