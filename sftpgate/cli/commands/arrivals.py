"""``sftpgate arrivals``, ``show``, and what an admin decides about a file: ``approve``, ``reject``, ``release``, ``discard``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from sftpgate.cli.command_record import changes, looks
from sftpgate.policy.lifecycle import ArrivalState

if TYPE_CHECKING:
    from sftpgate.ledger.arrivals import Arrival

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Id = Annotated[str, typer.Argument(metavar="ARRIVAL", help="The id of an arrival, or as much of its beginning as is unique.")]

COLUMNS = ("received_at", "id", "owner", "path", "size_bytes", "state", "hold_reason", "attempts", "archived_as")
DEFAULT_LIMIT = 100
_RUN_COLUMNS = (
    "started_at",
    "ended_at",
    "tool",
    "attempt",
    "outcome",
    "rows",
    "accepted",
    "rejected",
    "exit_status",
    "report",
    "tryback",
)
_SHOWN_ROWS = 20  # rejected ones of a run; --json has more, and the report has their contents


@looks
def arrivals(
    state: Annotated[list[ArrivalState] | None, typer.Option(help="Only these states; may be given several times.")] = None,
    user: Annotated[str | None, typer.Option(help="Only files of this user; empty for those of local programs.")] = None,
    path: Annotated[str | None, typer.Option(metavar="GLOB", help="Only paths that fit, with * and ?.")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only what came since: 2026-01-31, 2026-01-31T12:00, or 90m, 2h, 3d ago.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = DEFAULT_LIMIT,
    json: Json = False,
) -> None:
    """List the files that arrived, newest first.

    Example: sftpgate arrivals --user erp --since 2h

    Example: sftpgate arrivals --state held --state quarantined --json
    """
    from sftpgate.app.arrivals import find
    from sftpgate.app.context import ledger_for_reading, read_settings
    from sftpgate.cli.output import emit

    settings = read_settings()
    begin = None if since is None else moment(since, datetime.now(UTC))
    with ledger_for_reading(settings) as ledger:
        found = find(ledger, states=state or (), user=user, path=path, since=begin, limit=limit)
    emit([arrival_row(row) for row in found.arrivals], COLUMNS, json=json)
    if found.has_more and not json:
        typer.echo(f"there are more than these {limit}: say --limit or --since", err=True)


@looks
def show(arrival: Id, json: Json = False) -> None:
    """Show everything that is known of one file: who sent it and how, where it is, and what happened to it since.

    Example: sftpgate show 01JZ8Q
    """
    from dataclasses import asdict

    from sftpgate.app.arrivals import history
    from sftpgate.app.context import ledger_for_reading, read_settings
    from sftpgate.cli.commands.contracts import objection_rows
    from sftpgate.cli.output import emit, emit_record, shown

    with ledger_for_reading(read_settings()) as ledger:
        known = history(ledger, arrival)
    item = known.arrival
    events = [
        {
            "at": event.at,
            "event": event.event,
            "actor": str(event.actor),
            "address": event.address,
            "details": event.details,
        }
        for event in known.events
    ]
    executions = [_run_row(asdict(run)) for run in known.runs]
    if json:
        objections = objection_rows(known.objections)
        said = {"objections": objections, "approvals": [asdict(each) for each in known.approvals]}
        emit_record({**arrival_row(item), **said, "events": events, "runs": executions}, json=True)
        return
    emit_record({key: value for key, value in arrival_row(item).items() if value not in (None, "")})
    for objection in known.objections:
        typer.echo(f"{objection.code}: {objection.sentence()} {objection.advice()}")
    for approval in known.approvals:
        over = f", ended at {shown(approval.ended_at)}" if approval.ended_at else ""
        typer.echo(f"approved at {shown(approval.at)} by {shown(approval.actor)}{over}: {shown(approval.reason)}")
    typer.echo()
    emit(events, ["at", "event", "actor", "details"])
    if executions:
        typer.echo()
        emit(executions, [*_RUN_COLUMNS])
        for run in executions:
            _say_what_was_rejected(run)


def _run_row(row: dict[str, object]) -> dict[str, object]:
    """Return a run as scripts get it: ``rejected_rows`` as objects."""
    rows = row["rejected_rows"]
    assert isinstance(rows, tuple)
    return {**row, "rejected_rows": [{"line": line, "reason": reason} for line, reason in rows]}


def _say_what_was_rejected(run: dict[str, object]) -> None:
    """Say why a run failed, and the first rows that it rejected."""
    from sftpgate.logs import printable

    if run["because"]:
        typer.echo(f"{run['tool']}: {printable(str(run['because']))}")
    rows = run["rejected_rows"]
    assert isinstance(rows, list)
    for row in rows[:_SHOWN_ROWS]:
        where = f"line {row['line']}" if row["line"] else "a line"
        typer.echo(f"{run['tool']}: {where} rejected: {printable(row['reason'])}")


@changes
def release(
    identifier: Annotated[
        str, typer.Argument(metavar="CLAIM|ARRIVAL", help="A claim, or an arrival that is held, in quarantine or put off.")
    ] = "",
    restored: Annotated[
        bool, typer.Option("--restored", help="All that a backup brought back: none of it was processed.")
    ] = False,
    json: Json = False,
) -> None:
    """Give a claimed file back unused, or let a held or quarantined one into the store, whatever held it back, but for a
    contract: see `sftpgate approve`.

    The attempt of a claim that is released does not count; a file that comes from quarantine gets all its attempts again. A
    file that waits for its next try, because the last one failed or the platform was away, is due at once.

    What a backup brought back may have been processed since: it is held until somebody says that it was not, of one file or, by
    --restored, of all.

    Example: sftpgate release 01JZ8Q

    Example: sftpgate release --restored
    """
    from sftpgate.app import arrivals
    from sftpgate.app.context import opened, read_settings
    from sftpgate.app.runs import claims
    from sftpgate.cli.output import emit
    from sftpgate.ledger.audit import actor

    if bool(identifier) is restored:
        raise typer.BadParameter("name a claim or an arrival, or say --restored")
    with opened(read_settings()) as site:
        if restored:
            decided = arrivals.release_restored(site, actor.command())
            emit((arrival_row(item) for item in decided), COLUMNS, json=json)
            return
        if claims.is_claim(site.ledger, identifier):
            item = claims.release(site, actor.runner(), identifier)
        else:
            item = arrivals.release(site, actor.command(), identifier)
    say_decided(item, arrival_row(item), json=json)


@changes
def discard(arrival: Id, json: Json = False) -> None:
    """Remove a file that no runner has: held, queued, waiting or in quarantine. Its record stays, its content does not.

    Its sender finds a report that says so.

    Example: sftpgate discard 01JZ8Q
    """
    from sftpgate.app import arrivals
    from sftpgate.app.context import opened, read_settings
    from sftpgate.ledger.audit import actor

    with opened(read_settings()) as site:
        item = arrivals.discard(site, actor.command(), arrival)
    say_decided(item, arrival_row(item), json=json)


Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why: for the audit record.")]


@changes
def approve(arrival: Id, reason: Reason, json: Json = False) -> None:
    """Let one file go that the contract of its tool holds, as it is now, for two hours.

    The contract stays as it is: the next file is held by the same rules. If no tool has run on the file by then, it is held
    again. A contract with four_eyes wants a second person to approve the file too.

    Example: sftpgate approve 01JZ8Q --reason "the registrar confirms that class 6B was closed"
    """
    from sftpgate.app import arrivals
    from sftpgate.app.context import opened, read_settings
    from sftpgate.cli.output import emit_record, shown
    from sftpgate.ledger.audit import actor

    with opened(read_settings()) as site:
        done = arrivals.approve(site, actor.command(), arrival, reason=reason)
    item = done.arrival
    if json:
        counts = {"approvals": done.people, "approvals_needed": done.needed, "approved_until": done.until}
        emit_record({**arrival_row(item), **counts}, json=True)
        return
    if done.people < done.needed:
        typer.echo(
            f"{shown(item.path)} is approved by {done.people} of {done.needed} people, and is held until the other does so"
        )
        return
    say_decided(item, {}, json=False)
    held = f"; it is held still: {item.hold_reason}" if item.hold_reason else ""
    typer.echo(f"the approval ends at {shown(done.until)}, unless a tool has run on the file by then{held}")


@changes
def reject(
    arrival: Id,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why: its sender reads this, and the audit record has it.")
    ],
    json: Json = False,
) -> None:
    """Refuse a file that no runner has, and tell its sender why. Its content is kept in the archives.

    Example: sftpgate reject 01JZ8Q --reason "half of the classes are missing; please export again"
    """
    from sftpgate.app import arrivals
    from sftpgate.app.context import opened, read_settings
    from sftpgate.ledger.audit import actor

    with opened(read_settings()) as site:
        item = arrivals.reject(site, actor.command(), arrival, reason=reason)
    say_decided(item, arrival_row(item), json=json)


def arrival_row(arrival: Arrival) -> dict[str, object]:
    """Return all fields of an arrival that mean something to people and scripts; ``location`` is an area and a name in it."""
    from dataclasses import asdict

    row = asdict(arrival)
    first = {key: row.pop(key) for key in ("id", "path", "owner", "state", "hold_reason", "hold_detail")}
    size = row.pop("size")
    for internal in ("pending_from", "inode", "mtime_ns"):
        del row[internal]
    return {**first, "size_bytes": size, **row}


def moment(text: str, now: datetime, option: str = "--since") -> datetime:
    """Return the time that ``text`` means: an ISO 8601 date or time (local if it has no zone), or a duration before ``now``.

    Raises typer.BadParameter, which names both forms.
    """
    from sftpgate.settings.durations import parse_duration

    seconds = parse_duration(text)
    try:
        if isinstance(seconds, float):
            return now - timedelta(seconds=seconds)
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(
            f"{text!r} is no time: write 2026-01-31, 2026-01-31T12:00, 90m, 2h or 3d", param_hint=option
        ) from error


def say_decided(item: Arrival, row: dict[str, object], *, json: bool) -> None:
    """Say what became of a file that an admin decided about."""
    from sftpgate.cli.output import emit_record, shown

    if json:
        emit_record(row, json=True)
    else:
        typer.echo(f"{shown(item.path)} is {item.state} (arrival {item.id})")
