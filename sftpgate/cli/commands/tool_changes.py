"""``sftpgate tool point | enable | disable | preset``: what admins change about tools, in sftpgate.toml itself.

A running server and the next ``run`` see the change at once. Each command says what it means for files that wait.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sftpgate.cli.command_record import changes, only_looked

if TYPE_CHECKING:
    from sftpgate.app.tools.changes import ToolChange

Name = Annotated[str, typer.Argument(metavar="NAME", help="A tool of the settings.")]
Json = Annotated[bool, typer.Option("--json", help="Print one object.")]

_SHOWN = 20  # files


@changes
def tool_point(
    name: Name,
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Names or patterns in the store.")],
    json: Json = False,
) -> None:
    """Point a tool at another file, at several, or at a pattern, and say what changes for files that wait.

    Example: sftpgate tool point users people.csv

    Example: sftpgate tool point users 'people*.csv'
    """
    from sftpgate.app.context import read_settings
    from sftpgate.app.tools.changes import point
    from sftpgate.ledger.audit.actor import command
    from sftpgate.logs import printable

    store = read_settings().store
    change = point(command(), name, [_in_store(file, store) for file in files])
    was, now = ", ".join(change.before.files), ", ".join(change.after.files)
    said = f"tools.{name} is pointed at {now}" + (" already" if was == now else f" (was: {was})")
    _say(printable(said), change, json=json)


@changes
def tool_enable(name: Name, json: Json = False) -> None:
    """Let `run` consider a tool again.

    Example: sftpgate tool enable users
    """
    _switch(name, True, json=json)


@changes
def tool_disable(name: Name, json: Json = False) -> None:
    """Keep `run` from a tool. Its files wait for it, also those that another tool's pattern fits.

    Example: sftpgate tool disable users
    """
    _switch(name, False, json=json)


@changes
def tool_preset(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Which ones; all where none is named.")] = None,
    append: Annotated[bool, typer.Option("--append", help="Add them to sftpgate.toml instead of printing them.")] = False,
) -> None:
    """Print ready tables for the usual tools: users, courses, cohorts, enrols, groups, userpictures.

    Example: sftpgate tool preset users enrols --append
    """
    from sftpgate.app.tools.changes import add_presets
    from sftpgate.app.tools.presets import PRESETS, as_toml
    from sftpgate.ledger.audit.actor import command

    chosen = list(dict.fromkeys(names or PRESETS))
    if not append:
        only_looked()
        typer.echo(as_toml(chosen, []), nl=False)
        return
    edited = add_presets(command(), chosen)
    typer.echo(f"{edited.path} has {', '.join(f'[tools.{name}]' for name in chosen)} now: look at the commands")


def _in_store(file: str, store: Path) -> str:
    """Take a path into the store, as Tab completes it, for the file there."""
    path = Path(file)
    below = path.absolute() if path.is_absolute() else (Path.cwd() / path)
    if below.is_relative_to(store) and (path.is_absolute() or not (store / path).exists()):
        return str(below.relative_to(store))
    return file


def _switch(name: str, on: bool, *, json: bool) -> None:
    from sftpgate.app.tools.changes import switch
    from sftpgate.ledger.audit.actor import command

    change = switch(command(), name, on=on)
    already = change.before.enabled is on
    _say(f"tools.{name} is {'already ' if already else ''}{'enabled' if on else 'disabled'}", change, json=json)


def _say(said: str, change: ToolChange, *, json: bool) -> None:
    """Say what was changed, and what that means for the files that wait."""
    from dataclasses import asdict

    from sftpgate.cli.output import emit_record
    from sftpgate.logs import printable

    tool = change.after
    if json:
        emit_record(
            {
                "tool": change.tool,
                "file": list(tool.files),
                "enabled": tool.enabled,
                "waits": list(change.waits),
                "reassigned": [asdict(item) for item in change.reassigned],
            },
            json=True,
        )
        return
    typer.echo(said)
    lines = [
        f"{item.path} waits for {item.after or 'no tool'} now (before: {item.before or 'for none'})" for item in change.reassigned
    ]
    for line in lines[:_SHOWN]:
        typer.echo(printable(line))
    if len(lines) > _SHOWN:
        typer.echo(f"and {len(lines) - _SHOWN} more")
    how = "the next `run` takes what waits" if tool.enabled else "what waits goes on waiting"
    typer.echo(f"waiting for it: {len(change.waits)} ({how})" if change.waits else "nothing waits for it")


COMMANDS: tuple[tuple[str, Callable[..., None]], ...] = (
    ("point", tool_point),
    ("enable", tool_enable),
    ("disable", tool_disable),
    ("preset", tool_preset),
)
