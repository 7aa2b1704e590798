"""``sftpgate store adopt``: what an admin says where store, drop and ledger do not belong together, and are meant to.

After a move to a new disk, a restore of a backup without the files that say whose it is, or a store that is to begin empty.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sftpgate.ledger.database import Ledger
    from sftpgate.settings import Settings
    from sftpgate.store.layout import Layout


def adopt(
    yes: Annotated[bool, typer.Option("--yes", help="Do it, without asking.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one object.")] = False,
) -> None:
    """Make one gate of this store, this drop and this ledger, which do not belong together by their identity.

    Shows first what is there, and what the ledger expects and is missing. Stop the gate before. They get a new identity, so that
    another gate that uses one of them is refused; what is missing is recorded as lost.

    Example: sftpgate store adopt --yes
    """
    from sftpgate.cli.compose import build
    from sftpgate.cli.context import become_owner, read_settings
    from sftpgate.cli.output import emit_record
    from sftpgate.errors import Refused
    from sftpgate.ledger.actor import command
    from sftpgate.ledger.database import Ledger
    from sftpgate.store.layout import Layout

    settings = read_settings()
    become_owner(settings.store)
    layout, ledger = Layout(settings.store, settings.drop), Ledger(settings.ledger)
    found = _found(layout, ledger)
    if not json:
        _print(settings, found)
    if not yes:
        if json or not sys.stdin.isatty():
            raise Refused("nothing was changed: say --yes where that is meant (rule: confirmation)")
        typer.confirm("Make one gate of them?", abort=True)
    ledger.close()
    system = build(settings, adopted_by=command())
    try:
        identity = system.moves.ties.identity if system.moves.ties is not None else ""
    finally:
        system.close()
    if json:
        emit_record({**found, "identity": identity}, json=True)
    else:
        typer.echo(f"store, drop and ledger have the identity {identity} now; start the gate")


def _found(layout: Layout, ledger: Ledger) -> dict[str, object]:
    """What there is: the three identities, how many files the ledger expects, and how many of these are missing."""
    from sftpgate.intake.identity import count_missing, look
    from sftpgate.store.disk import Disk

    disk = Disk()
    seen = look(layout, disk, ledger)
    expected, missing = count_missing(layout, disk, ledger)
    return {
        "store_identity": seen.store,
        "drop_identity": seen.drop,
        "ledger_identity": seen.ledger,
        "expected_files": expected,
        "missing_files": missing,
    }


def _print(settings: Settings, found: dict[str, object]) -> None:
    typer.echo(f"store  {settings.store}: {found['store_identity'] or 'no identity'}")
    typer.echo(f"drop   {settings.drop}: {found['drop_identity'] or 'no identity'}")
    typer.echo(f"ledger: {found['ledger_identity'] or 'no identity'}")
    typer.echo(f"the ledger expects {found['expected_files']} files, and {found['missing_files']} of them are not there")
