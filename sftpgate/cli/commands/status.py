"""``sftpgate status``: what waits and for whom, what is held back and why, who works on what, the last sweep and runs.

Read-only; beside a running server or without one.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sftpgate.cli.command_record import looks

if TYPE_CHECKING:
    from sftpgate.app.status.records import GateStatus


@looks
def status(json: Annotated[bool, typer.Option("--json", help="Print one object.")] = False) -> None:
    """Show what waits, what is held and why, what is being processed, the last sweep, and the last run of each tool.

    Example: sftpgate status

    Example: sftpgate status --json | jq .held
    """
    from sftpgate.app.context import ledger_for_reading, read_settings
    from sftpgate.app.status.collecting import collect
    from sftpgate.cli.output import emit_record

    settings = read_settings()
    with ledger_for_reading(settings) as ledger:
        found = collect(settings, ledger, datetime.now(UTC))
    if json:
        emit_record(_record(found), json=True)
    else:
        _print(found)


def _record(found: GateStatus) -> dict[str, Any]:
    """Return the status as scripts get it: a path that a reader could not see as it is stands in quotes."""
    from dataclasses import asdict

    from sftpgate.logs import quoted

    record = asdict(found)
    for row in (*record["without_tool"], *record["left"]):
        row["path"] = quoted(row["path"])
    if found.last_sweep is not None:
        record["last_sweep"] = {"at": found.last_sweep.at, **asdict(found.last_sweep.result)}
    return record


# -- for people ------------------------------------------------------------------------------------------------------

_SECTIONS = (
    (
        "tools",
        "Tools",
        ["tool", "waiting", "size_bytes", "oldest_at", "last_run_at", "outcome", "exit_status", "report", "tried_again_at"],
    ),
    ("waiting", "Waiting", ["path", "state", "count", "size_bytes", "oldest_at", "tool"]),
    ("without_tool", "Waiting, and no tool takes it", ["path", "count", "oldest_at", "what_to_do"]),
    ("left", "In the drop, and not taken", ["path", "reason"]),
    ("held", "Held", ["id", "path", "owner", "received_at", "reason", "detail", "what_to_do"]),
    ("quarantined", "In quarantine", ["id", "path", "owner", "received_at", "attempts", "what_to_do"]),
    ("claims", "Being processed", ["path", "tool", "claimed_at", "lease_until", "host", "pid", "arrival"]),
    ("expected", "Expected files", ["name", "expected", "state", "since", "due_at", "next_due_at", "arrival"]),
    ("expiring", "Users and keys that expire", ["user", "fingerprint", "label", "expires_at", "expired", "what_to_do"]),
    ("uploads", "Uploads that are interrupted or under way", ["user", "path", "size_bytes", "last_write_at"]),
)


def _print(found: GateStatus) -> None:
    from sftpgate.app.status.collecting import SHOWN
    from sftpgate.cli.output import emit, shown

    record = _record(found)
    typer.echo(f"Gate: {shown(found.directory)}")
    for key, title, columns in _SECTIONS:
        if rows := list(record[key]):
            typer.echo(f"{title}:")
            emit(rows[:SHOWN], columns)
            if len(rows) > SHOWN:
                typer.echo(f"… and {len(rows) - SHOWN} more (--json has all)")
            typer.echo()
    for kind in found.held_counts:
        if kind.count > SHOWN:
            typer.echo(f"{kind.count} files in all: {shown(kind.reason)}, {kind.size_bytes} bytes")
    if found.last_sweep is not None:
        done = found.last_sweep.result.counts()
        took = f"{found.last_sweep.result.seconds:.1f} s"
        typer.echo(f"Last sweep: {shown(found.last_sweep.at)}, {took}, {shown(done) or 'nothing to do'}")
    if not any((found.waiting, found.left, found.held, found.quarantined, found.claims)):
        typer.echo("Nothing waits, and nothing is held.")
    for note in found.notes:
        typer.echo(f"Note: {note}")
