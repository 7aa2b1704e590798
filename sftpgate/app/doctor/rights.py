"""The checks of ``sftpgate doctor`` on who may read and write what: the settings' file, what lies in the store against the modes
of the settings, and what a tool's user may do. Only looks; a look of a tool runs ``sftpgate tool check``, which removes its
probe.
"""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from sftpgate.app.doctor.findings import Findings, error, warning
from sftpgate.app.tools.checks import sudo_account, sudo_obstacle
from sftpgate.logs import printable
from sftpgate.policy.managed import RESERVED_NAMES
from sftpgate.runners.commands.command import obstacle
from sftpgate.runners.commands.system_accounts import Unusable, account_of
from sftpgate.settings import reading
from sftpgate.settings.tree import Settings

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_LOOK_TIMEOUT_SECONDS = 90


def check_settings_file(settings: Settings) -> Findings:
    """Yield whether the server can read the settings, and nobody else can change them, or read what is secret in them."""
    path = reading.config_path(os.environ)
    if path is None or not path.exists():
        return
    path = path.absolute()
    status = path.stat()
    if status.st_mode & stat.S_IWOTH:
        yield error("settings", f"{path} can be changed by everybody: its commands are run", f"chmod o-w {path}")
    has_secrets = any(tool.environment for tool in settings.tools.values()) or "@" in settings.ledger_url
    if status.st_mode & stat.S_IROTH and has_secrets:
        yield warning("settings", f"{path} can be read by everybody: there may be passwords in it", f"chmod o-r {path}")
    if settings.store.is_dir() and not _may_read(settings.store.stat().st_uid, status):
        owner = settings.store.owner()
        yield error(
            "settings",
            f"{path} cannot be read by {owner}, as whom the server runs",
            f"chgrp {_group(owner)} {path} && chmod g+r {path}",
        )


def _may_read(uid: int, status: os.stat_result) -> bool:
    if uid == 0 or status.st_uid == uid:
        return uid == 0 or bool(status.st_mode & stat.S_IRUSR)
    try:
        user = pwd.getpwuid(uid)
        groups = os.getgrouplist(user.pw_name, user.pw_gid)
    except KeyError:
        return True
    return bool(status.st_mode & (stat.S_IRGRP if status.st_gid in groups else stat.S_IROTH))


def _group(user: str) -> str:
    import grp

    return grp.getgrgid(pwd.getpwnam(user).pw_gid).gr_name


def check_modes(settings: Settings) -> Findings:
    """Yield whether what lies in the store has the modes of the settings: existing directories keep theirs when a setting
    changes.
    """
    if not settings.store.is_dir():
        return
    directories = [settings.store, *(settings.store / name for name in RESERVED_NAMES)]
    for path in directories:
        if path.is_dir() and (mode := stat.S_IMODE(path.stat().st_mode) & 0o777) != settings.dir_mode:
            what = f"{path} has the mode {mode:03o}, and dir_mode is {settings.dir_mode:03o}"
            yield warning("directories", what, f"chmod {settings.dir_mode:03o} {path}, or change dir_mode")
    wrong = [path for path in _files(settings.store) if stat.S_IMODE(path.stat().st_mode) != settings.file_mode]
    if wrong:
        more = f" (and {len(wrong) - 1} more files)" if len(wrong) > 1 else ""
        mode = stat.S_IMODE(wrong[0].stat().st_mode)
        yield warning(
            "directories",
            printable(f"{wrong[0]} has the mode {mode:03o}{more}, and file_mode is {settings.file_mode:03o}"),
            f"chmod {settings.file_mode:03o} it, or leave it: files that arrive from now on have the new mode",
        )


def _files(store: Path) -> Iterator[Path]:
    """Yield the files at the top of the store that are the server's own."""
    owner = store.stat().st_uid
    for path in store.iterdir():
        if path.is_file() and not path.is_symlink() and path.stat().st_uid == owner:
            yield path


def check_tool_users(settings: Settings) -> Findings:
    """Yield whether the users that tools run as can be become, read the files, and write what they reject."""
    for name, tool in settings.tools.items():
        if not tool.enabled:
            continue
        if not tool.run_as:
            found = obstacle(tool.command[0], tool.working_directory, {**os.environ, **tool.environment})
            if found := found or sudo_obstacle(settings, tool):
                yield error("tools", printable(f"tools.{name}: {found.what}"), found.to_do)
            elif _has_own_sudo(settings, name):
                yield warning(
                    "tools",
                    f"tools.{name}: its command begins with sudo: nobody can try whether it reads its file, or end all it starts",
                    "write run_as instead, and the command without sudo (docs/runners.md)",
                )
            continue
        try:
            account_of(tool)
        except Unusable as problem:
            yield error("tools", printable(f"tools.{name}: {problem.obstacle.what}"), problem.obstacle.to_do)
            continue
        if (settings.store / ".sftpgate" / "runs").is_dir() and (said := _look(name)):
            what, _, to_do = said.rpartition("; ")
            yield error("tools", printable(what or said), to_do if what else f"see `sftpgate tool check {name}`")


def _has_own_sudo(settings: Settings, name: str) -> bool:
    try:
        return sudo_account(settings.tools[name]) is not None
    except Unusable:
        return False


def _look(tool: str) -> str:
    """Return what ``tool check`` says is in the way of a tool, empty if nothing is. A process of its own, since it becomes
    somebody.
    """
    done = subprocess.run(
        [sys.executable, "-m", "sftpgate", "tool", "check", tool],
        capture_output=True,
        text=True,
        timeout=_LOOK_TIMEOUT_SECONDS,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    return "" if done.returncode == 0 else done.stderr.strip().removeprefix("sftpgate: ").splitlines()[-1] if done.stderr else "?"
