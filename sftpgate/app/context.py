"""What a command works on: the settings, and the parts of the site that it needs.

A command that changes something opens the whole site. One that only looks opens the ledger alone and makes nothing:
no directory, no database, so that it can be run anywhere, and beside a running server.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from sftpgate.ledger.database.connection import Ledger
    from sftpgate.runners.commands.keepers import Keepers
    from sftpgate.settings.tree import Settings
    from sftpgate.site import Site


def read_settings() -> Settings:
    """Return the settings, with logs as a command has them: warnings and errors on stderr; everything if the level is
    debug.
    """
    from sftpgate import logs
    from sftpgate.settings.reading import load

    settings = load()
    require_gate(settings)
    logs.configure("warning" if settings.log_level == "info" else settings.log_level)
    return settings


def make_keepers(settings: Settings) -> Keepers:
    """Return what starts the commands of tools. Called before ``opened``: if root is to start them, a half of us stays
    root.
    """
    from sftpgate.runners.commands.keepers import Keepers
    from sftpgate.runners.commands.launcher import start_if_wanted
    from sftpgate.settings.reading import config_path

    return Keepers(settings.tools, settings_file=config_path(os.environ), launcher=start_if_wanted(settings))


def require_gate(settings: Settings) -> None:
    """Raise SettingsError if there is neither a settings file nor a gate: what would be made here, nobody meant."""
    from pathlib import Path

    from sftpgate.errors import SettingsError
    from sftpgate.settings.reading import is_anywhere

    if not is_anywhere(settings, os.environ):
        raise SettingsError(
            f"there is no gate in {Path.cwd()}: no sftpgate.toml, no data and no keys; go to its directory, or name its settings "
            "file by SFTPGATE_CONFIG; `sftpgate quickstart` makes a new gate here"
        )


@contextlib.contextmanager
def opened(settings: Settings) -> Iterator[Site]:
    """Yield the site of these settings, closed at the end of the block."""
    from sftpgate.app.composition import build

    become_owner(settings.store, _groups_of_tools(settings))
    site = build(settings)
    try:
        yield site
    finally:
        site.close()


def _groups_of_tools(settings: Settings) -> Sequence[int]:
    """Return the groups that directories of runs are to have, if a tool runs as somebody else."""
    if os.geteuid() != 0 or not any(tool.run_as for tool in settings.tools.values()):
        return ()
    from sftpgate.runners.commands.system_accounts import join_groups

    return join_groups(settings.tools.values())


def become_owner(store: Path, groups: Sequence[int] = ()) -> None:
    """Go on as the store's owner, for good and as a member of ``groups``, if root runs a command on a store of somebody else.

    What root makes in the server's own directories, the server could neither read nor remove. The record names who it was.
    """
    import pwd

    from sftpgate.ledger.audit.actor import local_account

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


def use_scratch(settings: Settings) -> None:
    """Let SQLite sort in files of a directory that a confined process may write in; it would take /var/tmp. Called before the
    library is loaded, which reads that once.
    """
    from sftpgate.gateway.workers.sandbox import SCRATCH_VARIABLE
    from sftpgate.hidden_names import MANAGED_NAME

    elsewhere = settings.store_dir and settings.drop_dir and settings.ledger_url
    os.environ.setdefault(SCRATCH_VARIABLE, str(settings.store / MANAGED_NAME if elsewhere else settings.data_dir))


@contextlib.contextmanager
def ledger_for_reading(settings: Settings) -> Iterator[Ledger | None]:
    """Yield the ledger, or None if there is none yet: nothing has ever arrived then. Raises LedgerError if it is of another
    version than this program's.
    """
    with ledger_of_any_version(settings) as ledger:
        if ledger is not None:
            ledger.require_version()
        yield ledger


@contextlib.contextmanager
def ledger_of_any_version(settings: Settings) -> Iterator[Ledger | None]:
    """Yield the ledger, or None if there is none yet, for what has to be said or done before an upgrade too: tables and columns
    may be missing in it.
    """
    from sftpgate.ledger.database.connection import Ledger

    ledger = Ledger(settings.ledger)
    try:
        yield ledger if ledger.is_made() else None
    finally:
        ledger.close()
