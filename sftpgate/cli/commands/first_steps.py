"""``sftpgate quickstart`` and ``sftpgate settings``: what a newcomer calls first. What they do is imported when it is done."""

from __future__ import annotations

from typing import Annotated

import typer

from sftpgate.cli.command_record import looks, records_itself


@records_itself
def quickstart() -> None:
    """Set everything up, prove it with a sample file, and serve until Ctrl-C.

    Example: sftpgate quickstart
    """
    from sftpgate.cli.commands.quickstart import quickstart as command

    command()


@looks
def settings(
    json: Annotated[bool, typer.Option("--json", help="Print a list of objects.")] = False,
    defaults: Annotated[bool, typer.Option("--defaults", help="List every setting with its default and its meaning.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the tables of docs/settings.md.")] = False,
) -> None:
    """List the settings that are in force: name, where it comes from, and value. Passwords are not shown.

    Example: sftpgate settings | grep -v default
    """
    from sftpgate.cli.commands.settings import settings as command

    command(json=json, defaults=defaults, markdown=markdown)
