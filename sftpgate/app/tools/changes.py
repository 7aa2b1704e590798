"""What admins change about tools, in sftpgate.toml itself. A running server and the next run of tools see it at once.

Each change says what it means for the files that wait. A change that is not usable raises, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sftpgate.app.audit import record_act
from sftpgate.app.composition import pointers_of
from sftpgate.app.context import ledger_for_reading
from sftpgate.app.tools.presets import as_toml
from sftpgate.app.tools.settings_file import Edited, edit, get_key, set_key, tools_in
from sftpgate.errors import AlreadyExists
from sftpgate.ledger import overview
from sftpgate.ledger.audit.actor import Actor
from sftpgate.policy.pointers import Reassigned, reassigned, tool_for
from sftpgate.settings.tools import ToolSettings
from sftpgate.settings.tree import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolChange:
    """A tool before and after a change, the paths of the files that wait for it now, and those that are for another one now."""

    tool: str
    before: ToolSettings
    after: ToolSettings
    waits: Sequence[str]
    reassigned: Sequence[Reassigned]


def point(actor: Actor, name: str, files: Sequence[str]) -> ToolChange:
    """Point a tool at ``files``: paths or patterns in the store. Raises UnknownTool, SettingsError and StorageError."""
    value = files[0] if len(files) == 1 else list(files)
    edited = edit(lambda text: set_key(text, name, "file", value))
    record_act(edited.after, actor, "tool.pointed", tool=name, files=", ".join(files))
    return _changed(name, edited)


def switch(actor: Actor, name: str, *, on: bool) -> ToolChange:
    """Enable or disable a tool. Raises UnknownTool, SettingsError and StorageError."""

    def switched(text: str) -> str:
        is_on = get_key(text, name, "enabled") in (None, True)
        return text if is_on is on else set_key(text, name, "enabled", on)

    edited = edit(switched)
    record_act(edited.after, actor, "tool.enabled" if on else "tool.disabled", tool=name)
    return _changed(name, edited)


def add_presets(actor: Actor, names: Sequence[str]) -> Edited:
    """Add ready tables to the settings file. Raises AlreadyExists if there is one of these tools, UnknownTool, SettingsError
    and StorageError.
    """

    def extended(text: str) -> str:
        present = tools_in(text)
        if there := [name for name in names if name in present]:
            raise AlreadyExists(f"there is a tool {there[0]!r} already: name those that you want to add")
        gap = "" if not text or text.endswith("\n\n") else "\n" if text.endswith("\n") else "\n\n"
        return text + gap + as_toml(list(names), present)

    edited = edit(extended)
    record_act(edited.after, actor, "tool.added", tools=", ".join(names))
    return edited


def _changed(name: str, edited: Edited) -> ToolChange:
    paths = _waiting_paths(edited.after)
    pointers = pointers_of(edited.after)
    return ToolChange(
        tool=name,
        before=edited.before.tools[name],
        after=edited.after.tools[name],
        waits=[path for path in paths if tool_for(path, pointers) == name],
        reassigned=reassigned(paths, pointers_of(edited.before), pointers),
    )


def _waiting_paths(settings: Settings) -> Sequence[str]:
    with ledger_for_reading(settings) as ledger:
        if ledger is None:
            return []
        with ledger.reading() as connection:
            return sorted({row.path for row in overview.waiting(connection)})
