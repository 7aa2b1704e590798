"""``sftpgate tool point | enable | disable | preset``: what admins change about tools, in sftpgate.toml itself.

A running server and the next ``run`` see the change at once. Each command says what it means for files that wait.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sftpgate.cli.record import changes, looks

if TYPE_CHECKING:
    from sftpgate.cli.toml_file import Edited
    from sftpgate.settings import Settings

Name = Annotated[str, typer.Argument(metavar="NAME", help="A tool of the settings.")]
Json = Annotated[bool, typer.Option("--json", help="Print one object.")]

_SHOWN = 20  # files


def tool_point(
    name: Name,
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Names or patterns in the store.")],
    json: Json = False,
) -> None:
    """Point a tool at another file, at several, or at a pattern, and say what changes for files that wait.

    Example: sftpgate tool point users people.csv

    Example: sftpgate tool point users 'people*.csv'
    """
    from sftpgate.cli.context import read_settings
    from sftpgate.cli.toml_file import edit, set_key
    from sftpgate.logs import printable

    store = read_settings().store
    wanted = [_in_store(file, store) for file in files]
    value = wanted[0] if len(wanted) == 1 else wanted
    edited = edit(lambda text: set_key(text, name, "file", value))
    was, now = (", ".join(settings.tools[name].files) for settings in (edited.before, edited.after))
    said = f"tools.{name} is pointed at {now}" + (" already" if was == now else f" (was: {was})")
    _say(printable(said), name, edited, json=json)


def tool_enable(name: Name, json: Json = False) -> None:
    """Let `run` consider a tool again.

    Example: sftpgate tool enable users
    """
    _switch(name, True, json=json)


def tool_disable(name: Name, json: Json = False) -> None:
    """Keep `run` from a tool. Its files wait for it, also those that another tool's pattern fits.

    Example: sftpgate tool disable users
    """
    _switch(name, False, json=json)


def tool_preset(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Which ones; all where none is named.")] = None,
    append: Annotated[bool, typer.Option("--append", help="Add them to sftpgate.toml instead of printing them.")] = False,
) -> None:
    """Print ready tables for the usual tools: users, courses, cohorts, enrols, groups, userpictures.

    Example: sftpgate tool preset users enrols --append
    """
    from sftpgate.cli.presets import PRESETS, as_toml
    from sftpgate.cli.toml_file import edit, tools_in
    from sftpgate.errors import AlreadyExists

    chosen = list(dict.fromkeys(names or PRESETS))
    if not append:
        typer.echo(as_toml(chosen, []), nl=False)
        return

    def extended(text: str) -> str:
        present = tools_in(text)
        if there := [name for name in chosen if name in present]:
            raise AlreadyExists(f"there is a tool {there[0]!r} already: name those that you want to add")
        gap = "" if not text or text.endswith("\n\n") else "\n" if text.endswith("\n") else "\n\n"
        return text + gap + as_toml(chosen, present)

    edited = edit(extended)
    typer.echo(f"{edited.path} has {', '.join(f'[tools.{name}]' for name in chosen)} now: look at the commands")


def _in_store(file: str, store: Path) -> str:
    """A path into the store, as Tab completes it, means the file there."""
    path = Path(file)
    below = path.absolute() if path.is_absolute() else (Path.cwd() / path)
    if below.is_relative_to(store) and (path.is_absolute() or not (store / path).exists()):
        return str(below.relative_to(store))
    return file


def _switch(name: str, on: bool, *, json: bool) -> None:
    from sftpgate.cli.toml_file import edit, get_key, set_key

    def switched(text: str) -> str:
        is_on = get_key(text, name, "enabled") in (None, True)
        return text if is_on is on else set_key(text, name, "enabled", on)

    edited = edit(switched)
    already = edited.before.tools[name].enabled is on
    said = f"tools.{name} is {'already ' if already else ''}{'enabled' if on else 'disabled'}"
    _say(said, name, edited, json=json)


def _say(said: str, name: str, edited: Edited, *, json: bool) -> None:
    """Say what was changed, and what that means for the files that wait."""
    from dataclasses import asdict

    from sftpgate.cli.compose import pointers_of
    from sftpgate.cli.output import emit_record
    from sftpgate.logs import printable
    from sftpgate.policy.tools import reassigned, tool_for

    paths = _waiting_paths(edited.after)
    pointers = pointers_of(edited.after)
    changes = reassigned(paths, pointers_of(edited.before), pointers)
    mine = [path for path in paths if tool_for(path, pointers) == name]
    if json:
        tool = edited.after.tools[name]
        emit_record(
            {
                "tool": name,
                "file": list(tool.files),
                "enabled": tool.enabled,
                "waits": mine,
                "reassigned": [asdict(change) for change in changes],
            },
            json=True,
        )
        return
    typer.echo(said)
    lines = [
        f"{change.path} waits for {change.after or 'no tool'} now (before: {change.before or 'for none'})" for change in changes
    ]
    for line in lines[:_SHOWN]:
        typer.echo(printable(line))
    if len(lines) > _SHOWN:
        typer.echo(f"and {len(lines) - _SHOWN} more")
    how = "the next `run` takes what waits" if edited.after.tools[name].enabled else "what waits goes on waiting"
    typer.echo(f"waiting for it: {len(mine)} ({how})" if mine else "nothing waits for it")


def _waiting_paths(settings: Settings) -> Sequence[str]:
    from sftpgate.cli.context import ledger_for_reading
    from sftpgate.ledger import overview

    with ledger_for_reading(settings) as ledger:
        if ledger is None:
            return []
        with ledger.reading() as connection:
            return sorted({row.path for row in overview.waiting(connection)})


COMMANDS: tuple[tuple[str, Callable[..., None]], ...] = (
    ("point", changes(tool_point)),
    ("enable", changes(tool_enable)),
    ("disable", changes(tool_disable)),
    ("preset", looks(tool_preset)),
)
