"""``sftpgate audit``: the record of who did what, searched and exported.

Rows are written as they are read: an export of years needs no more memory than one of a day.
"""

from __future__ import annotations

import csv
import sys
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from sftpgate.cli.command_record import looks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sftpgate.ledger.audit.event_log import Record

COLUMNS = ("at", "event", "actor", "address", "arrival", "details")
FIELDS = ("seq", *COLUMNS, "hash")
DEFAULT_LIMIT = 100


class Form(StrEnum):
    """In which form records are printed."""

    TEXT = "text"
    JSONL = "jsonl"
    CSV = "csv"


@looks
def audit(
    user: Annotated[str | None, typer.Option(help="Only what this user, or this local account, did.")] = None,
    address: Annotated[str | None, typer.Option(help="Only what came from this address.")] = None,
    event: Annotated[str | None, typer.Option(metavar="GLOB", help="Only these events, with * and ?, such as 'login.*'.")] = None,
    arrival: Annotated[str | None, typer.Option(metavar="ID", help="Only what happened to this arrival.")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only from this time on: 2026-01-31, 2026-01-31T12:00, or 90m, 2h, 3d ago.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Only before this time.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help=f"Only so many, the newest. [default: {DEFAULT_LIMIT} as text, all in other forms]")
    ] = None,
    form: Annotated[Form, typer.Option("--format", help="text, jsonl (one JSON object a line) or csv.")] = Form.TEXT,
    json: Annotated[bool, typer.Option("--json", help="The same as --format jsonl.")] = False,
    head: Annotated[
        bool, typer.Option("--head", help="Print number and hash of the last record, to be kept elsewhere, and nothing else.")
    ] = False,
) -> None:
    """Search and export the record of who did what: logins, refusals, files, runs, commands; the oldest first.

    Example: sftpgate audit --event 'login.*' --since 1d

    Example: sftpgate audit --user erp --format csv > erp.csv
    """
    from sftpgate.app import audit as record
    from sftpgate.app.context import ledger_for_reading, read_settings
    from sftpgate.ledger.audit.event_log import Wanted

    form = Form.JSONL if json else form
    now = datetime.now(UTC)
    wanted = Wanted(
        user=user,
        address=address,
        event=event,
        arrival=arrival,
        since=_moment(since, now, "--since"),
        until=_moment(until, now, "--until"),
    )
    last = limit if limit is not None or form is not Form.TEXT else DEFAULT_LIMIT + 1
    with ledger_for_reading(read_settings()) as ledger:
        if head and ledger is not None:
            number, value = record.head(ledger)
            typer.echo(f"{number}:{value}")
            return
        with record.search(ledger, wanted, last=last) as records:
            _print(records, form, limit or DEFAULT_LIMIT)


def parse_head(text: str) -> tuple[int, str]:
    """Return what ``sftpgate audit --head`` printed. Raises typer.BadParameter."""
    number, _, value = text.strip().partition(":")
    if not (number.isascii() and number.isdigit() and len(value) == 64):
        raise typer.BadParameter(f"{text!r} is not what `sftpgate audit --head` prints: NUMBER:HASH", param_hint="--audit-head")
    return int(number), value


def _moment(text: str | None, now: datetime, option: str) -> datetime | None:
    from sftpgate.cli.commands.arrivals import moment

    return None if text is None else moment(text, now, option)


def _print(records: Iterable[Record], form: Form, limit: int) -> None:
    match form:
        case Form.TEXT:
            _print_text(list(records), limit)
        case Form.JSONL:
            _print_lines(records)
        case Form.CSV:
            _print_csv(records)


def _print_text(records: list[Record], limit: int) -> None:
    from sftpgate.cli.output import emit

    emit(list(_rows(records[-limit:])), COLUMNS)
    if len(records) > limit:
        typer.echo(f"there are older ones than these {limit}: say --limit, --since or --format jsonl", err=True)


def _print_lines(records: Iterable[Record]) -> None:
    from json import dumps

    from sftpgate.cli.output import jsonable

    for row in _rows(records):
        sys.stdout.write(dumps(jsonable(row)) + "\n")


def _print_csv(records: Iterable[Record]) -> None:
    from json import dumps

    from sftpgate.cli.output import jsonable

    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(FIELDS)
    for row in _rows(records):
        details = dumps(jsonable(row["details"]))
        out.writerow([details if name == "details" else jsonable(row[name]) for name in FIELDS])


def _rows(records: Iterable[Record]) -> Iterator[dict[str, object]]:
    for record in records:
        event = record.event
        yield {
            "seq": record.seq,
            "at": event.at,
            "event": event.event,
            "actor": str(event.actor),
            "address": event.address,
            "arrival": event.arrival,
            "details": event.details,
            "hash": record.hash,
        }
