"""``sftpgate store adopt`` and ``store restored``: what an admin says of a gate that does not look as it did.

``adopt``: store, drop and ledger do not belong together, and are meant to: after a move to a new disk, a restore of a backup
without the files that say whose it is, or a store that is to begin empty. ``restored``: the gate was set back as a whole.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from sftpgate.cli.command_record import changes

if TYPE_CHECKING:
    from sftpgate.app.upkeep import Identities
    from sftpgate.settings.tree import Settings


@changes
def adopt(
    yes: Annotated[bool, typer.Option("--yes", help="Do it, without asking.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one object.")] = False,
) -> None:
    """Make one gate of this store, this drop and this ledger, which do not belong together by their identity.

    Shows first what is there, and what the ledger expects and is missing. Stop the gate before. They get a new identity, so that
    another gate that uses one of them is refused; what is missing is recorded as lost.

    Example: sftpgate store adopt --yes
    """
    from dataclasses import asdict

    from sftpgate.app import upkeep
    from sftpgate.app.context import become_owner, read_settings
    from sftpgate.cli.output import emit_record
    from sftpgate.errors import Refused
    from sftpgate.ledger.audit.actor import command

    settings = read_settings()
    become_owner(settings.store)
    found = upkeep.identities(settings)
    if not json:
        _print(settings, found)
    if not yes:
        if json or not sys.stdin.isatty():
            raise Refused("nothing was changed: say --yes where that is meant (rule: confirmation)")
        typer.confirm("Make one gate of them?", abort=True)
    identity = upkeep.adopt(settings, command())
    if json:
        emit_record({**asdict(found), "identity": identity}, json=True)
    else:
        typer.echo(f"store, drop and ledger have the identity {identity} now; start the gate")


def _print(settings: Settings, found: Identities) -> None:
    typer.echo(f"store  {settings.store}: {found.store_identity or 'no identity'}")
    typer.echo(f"drop   {settings.drop}: {found.drop_identity or 'no identity'}")
    typer.echo(f"ledger: {found.ledger_identity or 'no identity'}")
    typer.echo(f"the ledger expects {found.expected_files} files, and {found.missing_files} of them are not there")


@changes
def restored(
    yes: Annotated[bool, typer.Option("--yes", help="Do it, without asking.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one object.")] = False,
) -> None:
    """Say that this gate was set back to an earlier state as a whole, by a snapshot of its machine or volume: hold what waits.

    It may have been processed since then. A restore of files, from tar, rsync or `sftpgate backup`, is noticed at the next start
    without this.

    Example: sftpgate store restored --yes
    """
    from sftpgate.app import upkeep
    from sftpgate.app.context import opened, read_settings
    from sftpgate.cli.output import emit_record
    from sftpgate.errors import Refused
    from sftpgate.ledger.audit.actor import command

    if not yes:
        if json or not sys.stdin.isatty():
            raise Refused("nothing was changed: say --yes where that is meant (rule: confirmation)")
        typer.confirm("Hold everything that waits?", abort=True)
    with opened(read_settings()) as site:
        held = upkeep.say_restored(site, command())
    if json:
        emit_record({"held": held}, json=True)
    else:
        typer.echo(
            f"{held} files are held; `sftpgate release` lets one go that was not processed, `sftpgate discard` removes one"
        )
