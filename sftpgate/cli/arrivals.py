"""``sftpgate arrivals``, ``show``, ``release`` and ``discard``: the record of every file, and what an admin decides about one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

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
    from sftpgate.cli.context import ledger_for_reading, read_settings
    from sftpgate.cli.output import emit
    from sftpgate.ledger import arrivals as records

    settings = read_settings()
    begin = None if since is None else moment(since, datetime.now(UTC))
    rows: list[Arrival] = []
    with ledger_for_reading(settings) as ledger:
        if ledger is not None:
            with ledger.reading() as connection:
                rows = records.find(
                    connection,
                    states=state or None,
                    owner=user,
                    glob=path,
                    since=begin,
                    newest_first=True,
                    limit=limit + 1,
                )
    emit([arrival_row(row) for row in rows[:limit]], COLUMNS, json=json)
    if len(rows) > limit and not json:
        typer.echo(f"there are more than these {limit}: say --limit or --since", err=True)


def show(arrival: Id, json: Json = False) -> None:
    """Show everything that is known of one file: who sent it and how, where it is, and what happened to it since.

    Example: sftpgate show 01JZ8Q
    """
    from dataclasses import asdict

    from sftpgate.cli.context import ledger_for_reading, read_settings
    from sftpgate.cli.output import emit, emit_record
    from sftpgate.errors import UnknownArrival
    from sftpgate.ledger import audit, overview, runs

    with ledger_for_reading(read_settings()) as ledger:
        if ledger is None:
            raise UnknownArrival(f"there is no arrival {arrival}: nothing has arrived yet")
        with ledger.reading() as connection:
            item = overview.by_prefix(connection, arrival)
            events = [
                {
                    "at": event.at,
                    "event": event.event,
                    "actor": str(event.actor),
                    "address": event.address,
                    "details": event.details,
                }
                for event in audit.history(connection, item.id)
            ]
            executions = [_run_row(asdict(run)) for run in runs.of_arrival(connection, item.id)]
    if json:
        emit_record({**arrival_row(item), "events": events, "runs": executions}, json=True)
        return
    emit_record({key: value for key, value in arrival_row(item).items() if value not in (None, "")})
    typer.echo()
    emit(events, ["at", "event", "actor", "details"])
    if executions:
        typer.echo()
        emit(executions, [*_RUN_COLUMNS])
        for run in executions:
            _say_what_was_rejected(run)


def _run_row(row: dict[str, object]) -> dict[str, object]:
    """A run as scripts get it: ``rejected_rows`` as objects."""
    rows = row["rejected_rows"]
    assert isinstance(rows, tuple)
    return {**row, "rejected_rows": [{"line": line, "reason": reason} for line, reason in rows]}


def _say_what_was_rejected(run: dict[str, object]) -> None:
    """Why a run failed, and the first rows that it rejected."""
    from sftpgate.logs import printable

    if run["because"]:
        typer.echo(f"{run['tool']}: {printable(str(run['because']))}")
    rows = run["rejected_rows"]
    assert isinstance(rows, list)
    for row in rows[:_SHOWN_ROWS]:
        where = f"line {row['line']}" if row["line"] else "a line"
        typer.echo(f"{run['tool']}: {where} rejected: {printable(row['reason'])}")


def release(
    identifier: Annotated[str, typer.Argument(metavar="CLAIM|ARRIVAL", help="A claim, or a held or quarantined arrival.")],
    json: Json = False,
) -> None:
    """Give a claimed file back unused, or let a held or quarantined one into the store, whatever held it back.

    The attempt of a claim that is released does not count; a file that comes from quarantine gets all its attempts again.

    Example: sftpgate release 01JZ8Q
    """
    from sftpgate.cli import decisions
    from sftpgate.cli.context import opened, read_settings

    with opened(read_settings()) as system:
        decide = decisions.release_claim if decisions.is_claim(system, identifier) else decisions.release_arrival
        item = decide(system, identifier)
    decisions.say(item, arrival_row(item), json=json)


def discard(arrival: Id, json: Json = False) -> None:
    """Remove a file that no runner has: held, queued, waiting or in quarantine. Its record stays, its content does not.

    Its sender finds a report that says so.

    Example: sftpgate discard 01JZ8Q
    """
    from sftpgate.cli import decisions
    from sftpgate.cli.context import opened, read_settings

    with opened(read_settings()) as system:
        item = decisions.discard(system, arrival)
    decisions.say(item, arrival_row(item), json=json)


def arrival_row(arrival: Arrival) -> dict[str, object]:
    """All fields of an arrival that mean something to people and scripts; ``location`` is an area and a name in it."""
    from dataclasses import asdict

    row = asdict(arrival)
    first = {key: row.pop(key) for key in ("id", "path", "owner", "state", "hold_reason")}
    size = row.pop("size")
    for internal in ("pending_from", "inode", "mtime_ns"):
        del row[internal]
    return {**first, "size_bytes": size, **row}


def moment(text: str, now: datetime, option: str = "--since") -> datetime:
    """The time that ``text`` means: an ISO 8601 date or time (local where it has no zone), or a duration before ``now``.

    Raises typer.BadParameter, which names both forms.
    """
    from sftpgate.settings import parse_duration

    seconds = parse_duration(text)
    try:
        if isinstance(seconds, float):
            return now - timedelta(seconds=seconds)
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(
            f"{text!r} is no time: write 2026-01-31, 2026-01-31T12:00, 90m, 2h or 3d", param_hint=option
        ) from error
