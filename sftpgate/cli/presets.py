"""Ready tables for the tools that a learning platform usually has, under the names that their files usually have.

Users and courses have commands of Moodle's own (admin/tool/uploaduser and admin/tool/uploadcourse, with their defaults). For the
others there is none: those tables are disabled until somebody writes the command.
"""

from __future__ import annotations

from dataclasses import dataclass

from sftpgate.errors import UnknownTool

_PLATFORM = "/var/www/moodle"


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One tool. ``command`` is empty where the platform has none; ``comment`` says what the file has."""

    file: str
    comment: str
    command: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    arrivals: str = "queue"
    timeout: str = "1h"


PRESETS = {
    "users": Preset(
        file="users.csv",
        comment="accounts to create, change or suspend",
        command=("php", "admin/tool/uploaduser/cli/uploaduser.php", "--file={file}"),
    ),
    "courses": Preset(
        file="courses.csv",
        comment="courses to create or change",
        command=(
            "php",
            "admin/tool/uploadcourse/cli/uploadcourse.php",
            "--mode=createorupdate",
            "--updatemode=dataonly",
            "--file={file}",
        ),
    ),
    "cohorts": Preset(file="cohorts.csv", comment="cohorts and their members", after=("users",)),
    "enrols": Preset(file="enrols.csv", comment="who is enrolled where", after=("users", "courses")),
    "groups": Preset(file="groups.csv", comment="groups of courses and their members", after=("courses", "enrols")),
    "userpictures": Preset(
        file="userpictures_*.zip", comment="pictures, each named after its user; oldest archive first", after=("users",)
    ),
}


def as_toml(names: list[str], present: list[str]) -> str:
    """The tables of these presets. ``after`` names those only that are among them, or ``present`` already. Raises UnknownTool."""
    for name in names:
        if name not in PRESETS:
            raise UnknownTool(f"there is no preset {name!r} (there: {', '.join(PRESETS)})")
    return "\n".join(_table(name, PRESETS[name], {*names, *present}) for name in names)


def _table(name: str, preset: Preset, known: set[str]) -> str:
    after = [first for first in preset.after if first in known]
    lines = [f"# {preset.comment}", f"[tools.{name}]", f"file = {_text(preset.file)}"]
    if preset.command:
        lines.append(f"command = {_list(preset.command)}")
    else:
        lines += [
            f'command = ["/path/to/{name}-command", "{{file}}"]  # yours: the platform has none of its own',
            f"enabled = false  # until the command is there: sftpgate tool enable {name}",
        ]
    lines += [f"working_directory = {_text(_PLATFORM)}", f"timeout = {_text(preset.timeout)}"]
    if after:
        lines.append(f"after = {_list(after)}")
    lines.append(f'arrivals = {_text(preset.arrivals)}  # every file, in order; "latest" takes the last one only')
    return "\n".join(lines) + "\n"


def _list(items: tuple[str, ...] | list[str]) -> str:
    return f"[{', '.join(map(_text, items))}]"


def _text(value: str) -> str:
    return f'"{value}"'
