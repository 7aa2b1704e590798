"""``sftpgate tool check``: a run of a tool without a file, up to the moment at which its command would begin."""

from __future__ import annotations

from typing import Annotated

import typer

from sftpgate.cli.command_record import looks


@looks
def tool_check(
    tool: Annotated[str, typer.Argument(metavar="NAME", help="A tool of the settings.")],
    json: Annotated[bool, typer.Option("--json", help="Print one object.")] = False,
) -> None:
    """Try whether a tool could be run now, with an empty file: nothing is run, and no file is taken.

    As the user that the command runs as, it tries whether the command is there and can be executed, its file can be read, and
    rejected lines and the result can be written. Says what would be run. Exit code 78 if something is in the way.

    Example: sftpgate tool check users
    """
    import grp
    import pwd

    from sftpgate.app.context import make_keepers, opened, read_settings
    from sftpgate.app.tools.trial import try_tool
    from sftpgate.cli.output import emit_record

    settings = read_settings()
    keepers = make_keepers(settings)
    with opened(settings) as site:
        trial = try_tool(site, keepers, tool)
    emit_record(
        {
            "tool": tool,
            "command": list(trial.tool.command),
            "user": _name(pwd.getpwuid, trial.user),
            "group": _name(grp.getgrgid, trial.group),
            "groups": [_name(grp.getgrgid, group) for group in trial.groups],
            "started": trial.way.value,
            "working_directory": trial.working_directory,
            "variables": trial.variables,
            "file": "can be read",
            "tryback": "can be written",
        },
        json=json,
    )


def _name(lookup: object, number: object) -> str:
    """Return the name of a user or group id; the number if it has none."""
    assert callable(lookup)
    try:
        return str(lookup(number)[0])
    except (KeyError, TypeError):
        return str(number)
