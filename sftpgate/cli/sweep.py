"""``sftpgate sweep`` and ``sftpgate verify``: one pass over everything, by hand."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from sftpgate.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable

    from sftpgate.intake.sweep import SweepResult

Json = Annotated[bool, typer.Option("--json", help="print JSON")]


def sweep(json: Json = False) -> None:
    """Do one sweep now, and say what it did. Exit code 3 where there was nothing to do, 75 where another process is sweeping.

    Example: sftpgate sweep
    """
    from dataclasses import asdict

    from sftpgate import logs, settings
    from sftpgate.cli.context import become_owner, require_gate
    from sftpgate.cli.gate import make_edits, make_sweeper, recovered
    from sftpgate.cli.output import emit_record
    from sftpgate.intake.publish import Publisher
    from sftpgate.policy.identity import Age
    from sftpgate.users.registry import UserRegistry

    loaded = settings.load()
    require_gate(loaded)
    become_owner(loaded.store)
    logs.configure("warning")
    system = recovered(loaded)
    try:
        publisher = Publisher(system.moves, system.placer, system.staging)
        registry = UserRegistry(loaded.keys_dir)
        sweeper = make_sweeper(system, make_edits(system, publisher, registry), registry)
        result = sweeper.run(progress_of_counts())
    finally:
        system.close()
    if result is None:
        typer.echo("another process is sweeping at this moment: try again later", err=True)
        raise typer.Exit(ExitCode.TRY_AGAIN)
    if json:
        emit_record(asdict(result), json=True)
    else:
        typer.echo(describe(result))
    if result.failed:
        raise typer.Exit(ExitCode.FAILED)
    if not result.did_something and system.restored is Age.SAME:
        raise typer.Exit(ExitCode.NOTHING_TO_DO)


def describe(result: SweepResult) -> str:
    """One line that says what a sweep did."""
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


def verify(
    json: Json = False,
    content: Annotated[bool, typer.Option("--content", help="also read every waiting file and compare its SHA-256")] = False,
    audit_head: Annotated[
        str, typer.Option(metavar="NUMBER:HASH", help="what `sftpgate audit --head` said once, and must still be true")
    ] = "",
) -> None:
    """Check that disk and ledger agree, and that nobody changed the audit record; changes nothing. Exit code 1 where something is
    wrong.

    Example: sftpgate verify --content
    """
    from dataclasses import asdict

    from sftpgate import settings
    from sftpgate.cli.audit import parse_head
    from sftpgate.cli.compose import build
    from sftpgate.cli.context import become_owner, require_gate
    from sftpgate.cli.output import emit
    from sftpgate.intake import verify as checks

    noted = parse_head(audit_head) if audit_head else None
    loaded = settings.load()
    require_gate(loaded)
    become_owner(loaded.store)
    if problem := _ledger_problem(loaded.ledger):
        emit([{"rule": "the ledger is readable", "explanation": problem}], ["rule", "explanation"], json=json)
        raise typer.Exit(ExitCode.FAILED)
    system = build(loaded)
    try:
        found = checks.verify(system.moves, content=content, noted=noted, progress=progress_of_counts())
    finally:
        system.ledger.close()
    if json or found:
        emit([asdict(violation) for violation in found], ["rule", "arrival", "location", "explanation"], json=json)
    else:
        typer.echo("disk and ledger agree, and the audit record is whole")
    if found:
        raise typer.Exit(ExitCode.FAILED)


def _ledger_problem(url: str) -> str | None:
    """What is wrong with the ledger's file, before anything opens it for work and makes a new one; None for a server's."""
    from sftpgate.ledger.database import Ledger

    ledger = Ledger(url)
    if ledger.file is None:
        return None
    try:
        return (
            ledger.check() if ledger.file.exists() else f"{ledger.file} is missing (the next start makes it anew from the disk)"
        )
    finally:
        ledger.close()


def progress_of_counts() -> Callable[[str, int], None] | None:
    """Shows counts on a terminal, on one line that is written over; None elsewhere."""
    if not sys.stderr.isatty():
        return None

    def show(what: str, count: int) -> None:
        if count % 100 == 0:
            typer.echo(f"\r{count} {what}\033[K", nl=False, err=True)

    return show
