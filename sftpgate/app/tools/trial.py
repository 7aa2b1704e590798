"""A run of a tool without a file, up to the moment when its command would begin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sftpgate.app.runs.claims import make_claims
from sftpgate.app.tools.checks import obstacle_of
from sftpgate.errors import SettingsError
from sftpgate.runners.commands.keepers import AccountSwitch, Keepers
from sftpgate.runners.commands.system_accounts import Unusable
from sftpgate.settings.tools import ToolSettings
from sftpgate.site import Site


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """How a command would be started: as which user and groups (ids), by which way, where, and with which variables."""

    tool: ToolSettings
    way: AccountSwitch
    user: object
    group: object
    groups: Sequence[object]
    working_directory: object
    variables: object


def try_tool(site: Site, keepers: Keepers, name: str) -> Trial:
    """Try whether a tool could be run now, with an empty file: nothing is run, and no file is taken.

    ``keepers`` are made before the site is opened: root is gone then. Raises UnknownTool, and SettingsError with what is in the
    way.
    """
    claims = make_claims(site, keepers=keepers)
    tool = claims.require(name)
    try:
        if problem := obstacle_of(site.settings, claims, name, try_it=False):
            raise Unusable(problem)
        looked: Mapping[str, object] = claims.look(name)
        way = keepers.way(name)
    except Unusable as problem:
        raise SettingsError(f"tools.{name}: {problem}") from problem
    groups = looked["groups"]
    return Trial(
        tool=tool,
        way=way,
        user=looked["user"],
        group=looked["group"],
        groups=groups if isinstance(groups, list) else [],
        working_directory=looked["directory"],
        variables=looked["variables"],
    )
