"""What a command works on: the settings, and the parts of the system that it needs.

A command that changes something opens the whole system. One that only looks opens the ledger alone and makes nothing:
no directory, no database, so that it can be run anywhere, and beside a running server.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from sftpgate.cli.compose import System
    from sftpgate.ledger.database import Ledger
    from sftpgate.runners.keepers import Keepers
    from sftpgate.settings import Settings


def read_settings() -> Settings:
    """The settings, with logs as a command has them: warnings and errors on stderr; everything where the level is debug."""
    from sftpgate import logs
    from sftpgate.settings import load

    settings = load()
    require_gate(settings)
    logs.configure("warning" if settings.log_level == "info" else settings.log_level)
    return settings


def make_keepers(settings: Settings) -> Keepers:
    """What starts the commands of tools. Called before ``opened``: where root is to start them, a half of us stays root."""
    from sftpgate.runners.keepers import Keepers
    from sftpgate.runners.launcher import start_if_wanted
    from sftpgate.settings import config_path

    return Keepers(settings.tools, settings_file=config_path(os.environ), launcher=start_if_wanted(settings))


def require_gate(settings: Settings) -> None:
    """Raise SettingsError where there is neither a settings file nor a gate: what would be made here, nobody meant."""
    from pathlib import Path

    from sftpgate.errors import SettingsError
    from sftpgate.settings import is_anywhere

    if not is_anywhere(settings, os.environ):
        raise SettingsError(
            f"there is no gate in {Path.cwd()}: no sftpgate.toml, no data and no keys; go to its directory, or name its settings "
            "file by SFTPGATE_CONFIG; `sftpgate quickstart` makes a new gate here"
        )


@contextlib.contextmanager
def opened(settings: Settings) -> Iterator[System]:
    """The system of these settings, closed at the end of the block."""
    from sftpgate.cli.compose import build

    become_owner(settings.store, _groups_of_tools(settings))
    system = build(settings)
    try:
        yield system
    finally:
        system.close()


def _groups_of_tools(settings: Settings) -> Sequence[int]:
    """The groups that directories of runs are to have, where a tool runs as somebody else."""
    if os.geteuid() != 0 or not any(tool.run_as for tool in settings.tools.values()):
        return ()
    from sftpgate.runners.accounts import join_groups

    return join_groups(settings.tools.values())


def become_owner(store: Path, groups: Sequence[int] = ()) -> None:
    """Where root runs a command on a store of somebody else, go on as that user, for good, and as a member of ``groups``.

    What root makes in the server's own directories, the server could neither read nor remove. The record names who it was.
    """
    import pwd

    from sftpgate.ledger.actor import local_account

    local_account()  # remembers it
    if os.geteuid() != 0 or not store.is_dir():
        return
    status = store.stat()
    if status.st_uid == 0:
        return
    try:
        os.initgroups(pwd.getpwuid(status.st_uid).pw_name, status.st_gid)
    except KeyError:
        os.setgroups([])
    os.setgroups([*os.getgroups(), *groups])
    os.setgid(status.st_gid)
    os.setuid(status.st_uid)


@contextlib.contextmanager
def ledger_for_reading(settings: Settings) -> Iterator[Ledger | None]:
    """The ledger, or None where there is none yet: nothing has ever arrived then."""
    from sftpgate.ledger.database import Ledger

    ledger = Ledger(settings.ledger)
    try:
        yield ledger if ledger.is_made() else None
    finally:
        ledger.close()
