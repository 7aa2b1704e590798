"""``sftpgate prune``: remove what is kept for too long, or show what would go."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from sftpgate.cli.command_record import changes, only_looked
from sftpgate.errors import ExitCode


@changes
def prune(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would go.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Remove old archives, reports, quarantined files and records, as the keep_… settings say. The sweeper does it hourly.

    Nothing that waits, is held or is being processed is ever removed, and no file in archives or reports that sftpgate
    did not put there. Exit code 3 if there is nothing to remove.

    Example: sftpgate prune --dry-run
    """
    from dataclasses import asdict

    from sftpgate.app import upkeep
    from sftpgate.app.context import opened, read_settings
    from sftpgate.cli.commands.sweep import progress_of_counts
    from sftpgate.cli.output import emit, emit_record
    from sftpgate.ledger.audit.actor import command

    settings = read_settings()
    with opened(settings) as site:
        if dry_run:
            only_looked()
            count = sizes = 0

            def planned() -> Iterator[dict[str, object]]:
                nonlocal count, sizes
                for item in upkeep.plan_prune(site):
                    count, sizes = count + 1, sizes + item.size_bytes
                    yield asdict(item)

            emit(planned(), ["kind", "name", "size_bytes", "at", "reason"], json=json)
            if not json:
                typer.echo(f"{count} would go, {sizes} bytes", err=True)
        else:
            gone = upkeep.prune(site, command(), progress_of_counts())
            count = sum(gone.values())
            if json:
                emit_record({str(kind): number for kind, number in gone.items()}, json=True)
            else:
                typer.echo(", ".join(f"{number} {kind} removed" for kind, number in gone.items()) or "nothing to remove")
    if not count:
        raise typer.Exit(ExitCode.NOTHING_TO_DO)
