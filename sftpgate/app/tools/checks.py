"""Whether a tool could be run at this moment: what ``run`` asks before it takes a file, and ``tool check`` and ``doctor`` show.

Three questions. Is the command there? For a tool with ``run_as`` it is tried, with an empty file in a directory as a run has it.
For a command that begins with sudo, which we may not try, the modes of what it has to read are looked at. Blocks.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sftpgate.runners.commands.command import obstacle
from sftpgate.runners.commands.system_accounts import Obstacle, SystemAccount, Unusable, account_of, closed_way

if TYPE_CHECKING:
    from sftpgate.runners.claims import Claims
    from sftpgate.settings.tools import ToolSettings
    from sftpgate.settings.tree import Settings


def obstacle_of(settings: Settings, claims: Claims, name: str, *, try_it: bool) -> Obstacle | None:
    """Return what keeps a tool from being run, or None. ``try_it``: also what only a trial tells."""
    tool = settings.tools[name]
    try:
        account = claims.keepers.account(name)
        claims.keepers.way(name)
        if account is not None and try_it:
            claims.look(name)
    except Unusable as problem:
        return problem.obstacle
    if account is not None:
        return None
    return obstacle(tool.command[0], tool.working_directory, {**os.environ, **tool.environment}) or sudo_obstacle(settings, tool)


def sudo_obstacle(settings: Settings, tool: ToolSettings) -> Obstacle | None:
    """Return what keeps the user that a command names to sudo from reading its file, by the modes on the way; None if
    nothing does.

    What cannot be told is no obstacle.
    """
    try:
        account = sudo_account(tool)
    except Unusable as problem:
        return problem.obstacle
    if account is None or not settings.store.is_dir():
        return None
    runs = settings.store / ".sftpgate" / "runs"
    advice = "let sftpgate become that user: run_as, without sudo in the command (docs/runners.md)"
    closed = closed_way(account, runs / "x" / "x") if runs.is_dir() else None
    if closed is not None and closed != runs / "x":
        return Obstacle(f"{account.name} cannot pass through {closed}", f"chmod o+x {closed}, or {advice}")
    group = runs.stat().st_gid if runs.is_dir() else settings.store.stat().st_gid
    if group not in account.groups:
        return Obstacle(
            f"{account.name} is not in the group of the store (id {group}), and cannot read the file that it gets",
            f"set file_group to a group of {account.name}, or {advice}",
        )
    if group not in (os.getegid(), *os.getgroups()) and os.geteuid() != 0:
        return Obstacle(
            f"{account.name} could not read its file: this process is not in the group of the store (id {group})",
            f"add the user that runs sftpgate to that group, or {advice}",
        )
    if not settings.file_mode & 0o040:
        return Obstacle(
            f"{account.name} cannot read its file: file_mode is {settings.file_mode:o}", f"set it to 640, or {advice}"
        )
    return None


def sudo_account(tool: ToolSettings) -> SystemAccount | None:
    """Return the account that a hand-written sudo at the beginning of a command becomes; None if there is none that we can
    tell.
    """
    words = list(tool.command)
    if Path(words[0]).name != "sudo":
        return None
    user = _option(words[1:])
    return None if user is None else account_of(tool.model_copy(update={"run_as": user, "run_group": ""}))


def _option(words: Sequence[str]) -> str | None:
    """Return the user that sudo's options name. Stops at the first word that is none."""
    for number, word in enumerate(words):
        if word in ("-u", "--user") and number + 1 < len(words):
            return words[number + 1]
        if word.startswith("--user="):
            return word.partition("=")[2]
        if word.startswith("-u") and len(word) > 2:
            return word[2:]
        if not word.startswith("-"):
            return None
    return None
