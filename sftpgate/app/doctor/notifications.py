"""The checks of ``sftpgate doctor`` about those who hear of things: whether what the settings name is there, and whether what
follows the record keeps up. Only looks; sends nothing.
"""

from __future__ import annotations

import os
import shutil
from datetime import datetime
from importlib.util import find_spec

from sftpgate.app.context import ledger_of_any_version
from sftpgate.app.doctor.findings import Findings, error, warning
from sftpgate.app.status.lags import lag_notes
from sftpgate.settings.tree import Settings
from sftpgate.upkeep.notifications.audience import audience_of
from sftpgate.upkeep.notifications.ways.chat import MISSING

CHECK = "notifications"


def check_notifications(settings: Settings) -> Findings:
    """Yield files, commands and packages that are missing, and receivers whom no rule names. Raises SettingsError."""
    notify = settings.notify
    audience_of(notify, settings.language)
    files = (
        {"notify.mail.ca_file": notify.mail.ca_file, "notify.mail.password_file": notify.mail.password_file}
        if notify.mail
        else {}
    )
    files |= {f"notify.to.{name}.ca_file": receiver.ca_file for name, receiver in notify.to.items()}
    for key, path in files.items():
        if path is not None and not os.access(path, os.R_OK):
            yield error(CHECK, f"{key}: {path} cannot be read", "give it to the user that sftpgate runs as, or correct the path")
    for name, receiver in notify.to.items():
        if receiver.command and shutil.which(receiver.command[0]) is None:
            yield error(
                CHECK, f"notify.to.{name}: there is no command {receiver.command[0]}", "install it, or write its whole path"
            )
        if receiver.chat is not None and find_spec("apprise") is None:
            yield error(CHECK, f"notify.to.{name}: {MISSING}", "install it where sftpgate is installed")
        if not any(name in rule.to for rule in notify.rules.values()):
            yield warning(CHECK, f"notify.to.{name} is told of nothing: no rule names it", "make a rule, or take it out")


def check_followers(settings: Settings, now: datetime) -> Findings:
    """Yield what does not keep up with what happens: followers of the record, the delivery, receivers that are turned off."""
    with ledger_of_any_version(settings) as ledger:
        if ledger is None:
            return
        with ledger.reading() as connection:
            notes = lag_notes(settings, connection, now)
    for note in notes:
        yield warning("followers", note, "read the server's log; restart it if that says nothing")
