"""``sftpgate quarantine list | release | discard``: files that a tool failed on too often."""

from __future__ import annotations

from typing import Annotated

import typer

from sftpgate.cli.command_record import changes, looks
from sftpgate.errors import ExitCode
from sftpgate.policy.lifecycle import ArrivalState

quarantine_app = typer.Typer(help="See, release and discard files that a tool failed on too often.")

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Id = Annotated[str, typer.Argument(metavar="ARRIVAL", help="The id of an arrival, or as much of its beginning as is unique.")]

_COLUMNS = ("since", "arrival", "user", "path", "tool", "attempts", "last_outcome", "exit_status", "report")


@quarantine_app.command("list")
@looks
def quarantine_list(json: Json = False) -> None:
    """List what lies in quarantine, with the last report of each. Exit code 3 if nothing does.

    Example: sftpgate quarantine list
    """
    from dataclasses import asdict

    from sftpgate.app.arrivals import quarantined
    from sftpgate.app.context import opened, read_settings
    from sftpgate.cli.output import emit

    with opened(read_settings()) as site:
        rows = [asdict(item) for item in quarantined(site.ledger)]
    if rows or json:
        emit(rows, _COLUMNS, json=json)
    if not rows:
        raise typer.Exit(ExitCode.NOTHING_TO_DO)


@quarantine_app.command("release")
@changes
def quarantine_release(arrival: Id, json: Json = False) -> None:
    """Let a file into the store again, with all its attempts: what made its tool fail is put right.

    Example: sftpgate quarantine release 01JZ8Q
    """
    from sftpgate.app.arrivals import release
    from sftpgate.app.context import opened, read_settings
    from sftpgate.cli.commands.arrivals import arrival_row, say_decided
    from sftpgate.ledger.audit import actor

    with opened(read_settings()) as site:
        item = release(site, actor.command(), arrival, only=ArrivalState.QUARANTINED)
    say_decided(item, arrival_row(item), json=json)


@quarantine_app.command("discard")
@changes
def quarantine_discard(arrival: Id, json: Json = False) -> None:
    """Remove a file for good. Its sender finds a report that says so; the record stays.

    Example: sftpgate quarantine discard 01JZ8Q
    """
    from sftpgate.app.arrivals import discard
    from sftpgate.app.context import opened, read_settings
    from sftpgate.cli.commands.arrivals import arrival_row, say_decided
    from sftpgate.ledger.audit import actor

    with opened(read_settings()) as site:
        item = discard(site, actor.command(), arrival, only=ArrivalState.QUARANTINED)
    say_decided(item, arrival_row(item), json=json)
