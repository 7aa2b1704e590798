"""Puts the commands of admins on the record: who called which, with what arguments, and how it ended (promise P8).

Each command says where it is defined whether it ``looks``, ``changes`` something, or ``records_itself``. One that says
nothing is recorded: a new command is on the record without anybody thinking of it. Secrets are never arguments: passwords
come from the terminal or standard input.

Imports no database before it needs it. A failure to record is said on stderr, and no such command ends with 0.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from enum import Enum
from typing import TYPE_CHECKING, TypeVar

from sftpgate.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Mapping

C = TypeVar("C", bound=Callable[..., None])


class Effect(Enum):
    """What a command does to the gate."""

    LOOKS = "looks"
    CHANGES = "changes"
    RECORDS_ITSELF = "records itself"  # with what it does to arrivals, or as the start and stop of a server


_ATTRIBUTE = "__sftpgate_effect__"  # typer hands the attributes of a command on to what it makes of it


def looks(command: C) -> C:
    """Mark a command that changes nothing: it is not put on the record."""
    return _marked(command, Effect.LOOKS)


def changes(command: C) -> C:
    """Mark a command that changes something: it is put on the record when it has ended."""
    return _marked(command, Effect.CHANGES)


def records_itself(command: C) -> C:
    """Mark a command whose doings are on the record by themselves."""
    return _marked(command, Effect.RECORDS_ITSELF)


def _marked(command: C, effect: Effect) -> C:
    setattr(command, _ATTRIBUTE, effect)
    return command


def only_looked() -> None:
    """Say that this call of a command that could have changed something has changed nothing."""
    global _only_looked
    _only_looked = True


_only_looked = False

# Nothing was done, and a script may ask often.
_NOTHING_DONE = frozenset({ExitCode.USAGE, ExitCode.NOTHING_TO_DO})


def effect_of(command: object) -> Effect | None:
    """Return what a command of the tree says that it does; None if it says nothing."""
    effect: Effect | None = getattr(getattr(command, "callback", None), _ATTRIBUTE, None)
    return effect


def command_of(words: Sequence[str], tree: object) -> tuple[str, object, list[str]]:
    """Return the name of the command that ``words`` call, the command, and its arguments. ``tree`` is the command of all
    commands.
    """
    path: list[str] = []
    for number, word in enumerate(words):
        commands: Mapping[str, object] = getattr(tree, "commands", {})
        if word not in commands:
            return " ".join(path), tree, list(words[number:])
        path.append(word)
        tree = commands[word]
    return " ".join(path), tree, []


def record_command(words: Sequence[str], tree: object, code: int) -> str | None:
    """Put a command that has ended on the record, where it belongs there; returns why that failed, or None."""
    name, command, arguments = command_of(words, tree)
    is_group = bool(getattr(command, "commands", {}))
    if not name or is_group or effect_of(command) in (Effect.LOOKS, Effect.RECORDS_ITSELF) or _only_looked:
        return None
    if code in _NOTHING_DONE or {"--help", "-h"} & set(arguments):
        return None
    from datetime import UTC, datetime

    from sftpgate.app.audit import put_on_record
    from sftpgate.app.context import become_owner
    from sftpgate.errors import SettingsError, SftpgateError
    from sftpgate.ledger.audit import actor
    from sftpgate.ledger.audit.event_log import Detail
    from sftpgate.ledger.database.connection import Ledger
    from sftpgate.settings.reading import load

    try:
        settings = load()
    except SettingsError:
        return None  # the command has said so
    become_owner(settings.store)
    event = f"cli.{name.replace(' ', '.')}"
    details: dict[str, Detail] = {"arguments": shlex.join(arguments), "exit_code": code}
    ledger = Ledger(settings.ledger)
    try:
        may_begin = code == ExitCode.OK
        put_on_record(ledger, actor.command(), event, details, at=datetime.now(UTC), keys=settings.keys_dir, may_begin=may_begin)
    except SftpgateError as error:
        return error.message
    finally:
        ledger.close()
    return None
