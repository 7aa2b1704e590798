"""Who a tool's command runs as: an account of this machine, and whether that is ours to decide.

``run_as`` names the user and ``run_group`` the group that it has first; the other groups are those that the user has. Looks only,
in the account database and at the settings' file; may block as long as that database does.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sftpgate.settings.tools import ToolSettings

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a command cannot be started, and what to do about it."""

    what: str
    to_do: str


class Unusable(Exception):
    """Something keeps a tool from being run, and it is not its file. ``obstacle`` says what."""

    def __init__(self, obstacle: Obstacle) -> None:
        super().__init__(f"{obstacle.what}; {obstacle.to_do}")
        self.obstacle = obstacle


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemAccount:
    """A user of this machine as a command runs as it. ``groups`` are all of its groups, ``gid`` among them."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str
    shell: str

    def environment(self) -> dict[str, str]:
        """Return what says in an environment who one is, as sudo sets it."""
        return {"HOME": self.home, "USER": self.name, "LOGNAME": self.name, "SHELL": self.shell or "/bin/sh"}


def account_of(tool: ToolSettings) -> SystemAccount | None:
    """Return the account that a tool runs as; None for whoever sftpgate runs as. Raises Unusable."""
    if not tool.run_as:
        return None
    try:
        user = pwd.getpwnam(tool.run_as)
    except KeyError:
        raise Unusable(
            Obstacle(f"run_as: there is no user {tool.run_as!r} on this machine", "make the user, or change run_as")
        ) from None
    if user.pw_uid == 0:
        raise Unusable(Obstacle("run_as: a command does not run as root", "name the platform's user, such as www-data"))
    gid = group_of(tool, user.pw_gid)
    groups = tuple(sorted({*os.getgrouplist(user.pw_name, gid), gid}))
    return SystemAccount(name=user.pw_name, uid=user.pw_uid, gid=gid, groups=groups, home=user.pw_dir, shell=user.pw_shell)


def group_of(tool: ToolSettings, default: int) -> int:
    """Return the id of the group that a tool has first. Raises Unusable."""
    if not tool.run_group:
        return default
    try:
        return grp.getgrnam(tool.run_group).gr_gid
    except KeyError:
        raise Unusable(
            Obstacle(f"run_group: there is no group {tool.run_group!r} on this machine", "make the group, or change run_group")
        ) from None


def untrusted(settings_file: Path | None) -> Obstacle | None:
    """Return why root may not become other users by what a settings file says: somebody else may change it. None if all is
    well.
    """
    if settings_file is None:
        return None
    path = settings_file.absolute().resolve()
    for each in (path, path.parent):
        try:
            status = each.stat()
        except OSError:
            continue
        if status.st_uid != 0 or (status.st_mode & _OTHERS_WRITE and not status.st_mode & stat.S_ISVTX):
            return Obstacle(
                f"run_as: {each} can be changed by others than root, who could run anything as anybody",
                f"chown root {each} && chmod go-w {each}, or let sudo do it: run sftpgate as the owner of the store",
            )
    return None


def closed_way(account: SystemAccount, path: Path) -> Path | None:
    """Return the first directory on the way to ``path`` that the account may not pass through, by its mode; None if it may
    pass all.

    A directory with an access control list is not judged.
    """
    for directory in reversed(path.absolute().parents):
        try:
            status = directory.stat()
        except OSError:
            return directory
        if not may(account, status, 0o1) and not _has_acl(directory):
            return directory
    return None


def may(account: SystemAccount, status: os.stat_result, wanted: int) -> bool:
    """Return whether the mode of a file gives an account what is wanted: 4 to read, 2 to write, 1 to execute or pass through."""
    if status.st_uid == account.uid:
        return status.st_mode >> 6 & wanted == wanted
    if status.st_gid in account.groups:
        return status.st_mode >> 3 & wanted == wanted
    return status.st_mode & wanted == wanted


def _has_acl(path: Path) -> bool:
    try:
        return "system.posix_acl_access" in os.listxattr(path)
    except OSError:
        return False


def join_groups(tools: Iterable[ToolSettings]) -> tuple[int, ...]:
    """Return the groups that run directories of these tools belong to, as far as they are known on this machine."""
    found: set[int] = set()
    for tool in tools:
        try:
            account = account_of(tool)
        except Unusable:
            continue  # said if the tool is to be run
        if account is not None:
            found.add(account.gid)
    return tuple(sorted(found))
