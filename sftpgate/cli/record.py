"""Puts the commands of admins on the record: who called which, with what arguments, and how it ended (promise P8).

Every command is recorded, unless it is named here as one that changes nothing, or that records what it does itself. So a new
command is recorded without anybody thinking of it. Secrets are never arguments: passwords come from the terminal or standard
input.

Imports no database before it needs it. A failure to record is said on stderr, and does not change how the command ended.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sftpgate.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Mapping

LOOK_ONLY = frozenset(
    {
        "arrivals",
        "audit",
        "ban list",
        "doctor",
        "hostkey show",
        "key list",
        "quarantine list",
        "settings",
        "show",
        "status",
        "store get",
        "store ls",
        "store tree",
        "tool list",
        "tool show",
        "user list",
        "user show",
        "verify",
    }
)
# What they do to arrivals is recorded with it, by `intake` and `runners`, and starts and stops by `serve`.
RECORD_THEMSELVES = frozenset({"claim", "done", "extend", "fail", "monitor", "quickstart", "run", "serve", "worker"})

# Nothing was done, and a script may ask often.
_NOTHING_DONE = frozenset({ExitCode.USAGE, ExitCode.NOTHING_TO_DO})


def is_recorded(name: str) -> bool:
    """Whether calls of the command with this name (``user add``) are put on the record."""
    return bool(name) and name not in LOOK_ONLY | RECORD_THEMSELVES


def command_of(words: Sequence[str], tree: object) -> tuple[str, list[str]]:
    """The name of the command that ``words`` call, and its arguments. ``tree`` is the command of all commands."""
    path: list[str] = []
    for number, word in enumerate(words):
        commands: Mapping[str, object] = getattr(tree, "commands", {})
        if word not in commands:
            return " ".join(path), list(words[number:])
        path.append(word)
        tree = commands[word]
    return " ".join(path), []


def record_command(words: Sequence[str], tree: object, code: int) -> str | None:
    """Put a command that has ended on the record, where it belongs there; returns why that failed, or None."""
    name, arguments = command_of(words, tree)
    if not is_recorded(name) or code in _NOTHING_DONE or {"--help", "-h"} & set(arguments):
        return None
    from datetime import UTC, datetime

    from sftpgate.cli.context import become_owner, ledger_for_reading
    from sftpgate.errors import SettingsError, SftpgateError
    from sftpgate.ledger import audit
    from sftpgate.settings import load

    try:
        settings = load()
    except SettingsError:
        return None  # the command has said so
    become_owner(settings.store)
    details: dict[str, audit.Detail] = {"arguments": shlex.join(arguments), "exit_code": code}
    event = audit.Event(at=datetime.now(UTC), event=f"cli.{name.replace(' ', '.')}", actor=audit.ADMIN, details=details)
    try:
        with ledger_for_reading(settings) as ledger:
            if ledger is not None:  # before the first start there is nothing to write to
                with ledger.transaction() as connection:
                    audit.record(connection, [event])
    except SftpgateError as error:
        return error.message
    return None
