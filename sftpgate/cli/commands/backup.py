"""``sftpgate backup`` and ``sftpgate restore``: a whole gate, kept elsewhere and brought back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sftpgate.cli.command_record import changes, only_looked

Json = Annotated[bool, typer.Option("--json", help="Print one object.")]


@changes
def backup(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A new directory, on another disk than the gate's.")],
    json: Json = False,
) -> None:
    """Write a backup of store, drop, ledger, keys and settings into a new directory, while the gate runs.

    It is the state of one moment, and complete once the command has ended with exit code 0. It contains passwords' hashes and
    private keys: keep it as you keep those.

    Example: sftpgate backup /backup/gate-$(date +%F)
    """
    from dataclasses import asdict

    from sftpgate.app.backup import taking
    from sftpgate.app.context import opened, read_settings
    from sftpgate.cli.commands.sweep import progress_of_counts
    from sftpgate.cli.output import emit_record
    from sftpgate.ledger.audit.actor import command

    settings = read_settings()
    directory = directory.absolute()
    taking.prepare(settings, directory)
    with opened(settings) as site:
        taken = taking.back_up(site, command(), directory, progress_of_counts())
    if json:
        emit_record(asdict(taken), json=True)
    else:
        typer.echo(f"{taken.files} files, {taken.content_bytes} bytes of contents, and the ledger are in {directory}")


@changes
def restore(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="What `sftpgate backup` has written.")],
    check: Annotated[bool, typer.Option("--check", help="Only read all of it, and say if it is whole.")] = False,
    json: Json = False,
) -> None:
    """Bring a backup back, where there is no gate. Nothing is ever overwritten.

    It goes to the places that the settings here say; if there are none, to those of the backup, whose settings file is put in
    place. What waited is held: it may have been processed since. `sftpgate arrivals --state held` lists it.

    Example: sftpgate restore /backup/gate-2026-01-31
    """
    from dataclasses import asdict

    from sftpgate.app.backup import restoring
    from sftpgate.app.context import become_owner
    from sftpgate.cli.commands.sweep import progress_of_counts
    from sftpgate.cli.output import emit_record
    from sftpgate.ledger.audit.actor import command

    directory = directory.absolute()
    manifest = restoring.check(directory)
    if check:
        only_looked()
        if json:
            emit_record(asdict(manifest), json=True)
        else:
            typer.echo(f"the backup of {manifest.made_at} is whole: {manifest.files} files, {manifest.content_bytes} bytes")
        return
    settings, made = restoring.settings_for(directory)
    become_owner(settings.data_dir)
    brought = restoring.bring_back(directory, manifest, settings, command(), made=made, progress=progress_of_counts())
    if json:
        emit_record(asdict(brought), json=True)
    else:
        typer.echo(f"the backup of {brought.made_at} is in place: {brought.files} files")
        typer.echo("what waited in it is held: see `sftpgate arrivals --state held`, then release or discard each, or")
        typer.echo("`sftpgate release --restored` if nothing of it was processed since")
