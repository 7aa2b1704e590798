"""``sftpgate tool check``: a run of a tool without a file, up to the moment where its command would begin."""

from __future__ import annotations

from typing import Annotated

import typer


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

    from sftpgate.cli.context import make_keepers, opened, read_settings
    from sftpgate.cli.output import emit_record
    from sftpgate.cli.run_checks import obstacle_of
    from sftpgate.errors import SettingsError
    from sftpgate.runners.accounts import Unusable
    from sftpgate.runners.holding import make_claims

    settings = read_settings()
    keepers = make_keepers(settings)
    with opened(settings) as system:
        claims = make_claims(system, keepers=keepers)
        found = claims.require(tool)
        try:
            if problem := obstacle_of(settings, claims, tool, try_it=False):
                raise Unusable(problem)
            looked = claims.look(tool)
            way = keepers.way(tool)
        except Unusable as problem:
            raise SettingsError(f"tools.{tool}: {problem}") from problem
    groups = looked["groups"] if isinstance(looked["groups"], list) else []
    emit_record(
        {
            "tool": tool,
            "command": list(found.command),
            "user": _name(pwd.getpwuid, looked["user"]),
            "group": _name(grp.getgrgid, looked["group"]),
            "groups": [_name(grp.getgrgid, group) for group in groups],
            "started": way.value,
            "working_directory": looked["directory"],
            "variables": looked["variables"],
            "file": "can be read",
            "tryback": "can be written",
        },
        json=json,
    )


def _name(lookup: object, number: object) -> str:
    """The name of a user or group id; the number where it has none."""
    assert callable(lookup)
    try:
        return str(lookup(number)[0])
    except (KeyError, TypeError):
        return str(number)
