"""``sftpgate sweep`` and ``sftpgate verify``: one pass over everything, by hand."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sftpgate.cli.command_record import changes, looks
from sftpgate.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable

    from sftpgate.upkeep.sweep import SweepResult

Json = Annotated[bool, typer.Option("--json", help="print JSON")]


@changes
def sweep(json: Json = False) -> None:
    """Do one sweep now, and say what it did. Exit code 3 if there was nothing to do, 75 if another process is sweeping.

    Example: sftpgate sweep
    """
    from dataclasses import asdict

    from sftpgate import logs
    from sftpgate.app import upkeep
    from sftpgate.app.context import become_owner, require_gate
    from sftpgate.cli.output import emit_record
    from sftpgate.ledger.audit.actor import command
    from sftpgate.policy.identity import Age
    from sftpgate.settings.reading import load

    loaded = load()
    require_gate(loaded)
    become_owner(loaded.store)
    logs.configure("warning")
    site = upkeep.recovered(loaded)
    try:
        result = upkeep.sweep(site, command(), progress_of_counts())
    finally:
        site.close()
    if result is None:
        typer.echo("another process is sweeping at this moment: try again later", err=True)
        raise typer.Exit(ExitCode.TRY_AGAIN)
    if json:
        emit_record(asdict(result), json=True)
    else:
        typer.echo(describe(result))
    if result.failed:
        raise typer.Exit(ExitCode.FAILED)
    if not result.did_something and site.restored is Age.SAME:
        raise typer.Exit(ExitCode.NOTHING_TO_DO)


def describe(result: SweepResult) -> str:
    """Return one line that says what a sweep did."""
    counts = {
        "taken": result.taken,
        "released": result.released,
        "moves completed": result.completed_moves,
        "gone": result.gone,
        "interrupted uploads removed": result.expired_uploads,
        "not quiet yet": result.unsettled,
        "behind a batch lock": result.waiting_for_lock,
        "processed before, and left alone": result.restored,
        "failed": result.failed,
        **result.others,
    }
    done = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    return f"{result.scanned} files seen in the drop: {done or 'nothing to do'} ({result.seconds:.1f} s)"


@looks
def verify(
    json: Json = False,
    content: Annotated[bool, typer.Option("--content", help="also read every waiting file and compare its SHA-256")] = False,
    audit_head: Annotated[
        str, typer.Option(metavar="NUMBER:HASH", help="what `sftpgate audit --head` said once, and must still be true")
    ] = "",
    receipt: Annotated[
        Path | None, typer.Option(metavar="FILE", help="check this receipt alone, whose signature lies beside it as FILE.sig")
    ] = None,
) -> None:
    """Check that disk and ledger agree, and that nobody changed the audit record; changes nothing. Exit code 1 if something is
    wrong.

    Example: sftpgate verify --content
    """
    from dataclasses import asdict

    from sftpgate.app import upkeep
    from sftpgate.app.context import become_owner, require_gate
    from sftpgate.cli.commands.audit import parse_head
    from sftpgate.cli.commands.receipts import verify_receipt
    from sftpgate.cli.output import emit
    from sftpgate.settings.reading import load

    if receipt is not None:
        verify_receipt(receipt, json=json)
        return
    noted = parse_head(audit_head) if audit_head else None
    loaded = load()
    require_gate(loaded)
    become_owner(loaded.store)
    if problem := upkeep.ledger_problem(loaded):
        emit([{"rule": "the ledger is readable", "explanation": problem}], ["rule", "explanation"], json=json)
        raise typer.Exit(ExitCode.FAILED)
    found = upkeep.verify(loaded, content=content, noted=noted, progress=progress_of_counts())
    if json or found:
        emit([asdict(violation) for violation in found], ["rule", "arrival", "location", "explanation"], json=json)
    else:
        typer.echo("disk and ledger agree, and the audit record is whole")
    if found:
        raise typer.Exit(ExitCode.FAILED)


def progress_of_counts() -> Callable[[str, int], None] | None:
    """Show counts on a terminal, on one line that is written over; None elsewhere."""
    if not sys.stderr.isatty():
        return None

    def show(what: str, count: int) -> None:
        if count % 100 == 0:
            typer.echo(f"\r{count} {what}\033[K", nl=False, err=True)

    return show
