"""The options of a line of ``authorized_keys``: how they are written, and what each is worth here.

The format is OpenSSH's (sshd(8), AUTHORIZED_KEYS FILE FORMAT). An option that is not known is an error and not ignored: a
misspelt ``from=`` would otherwise let everybody in. Pure but for the local time zone, in which OpenSSH reads an
``expiry-time`` without ``Z``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from sftpgate.errors import KeyRefused
from sftpgate.logs import printable
from sftpgate.policy.login import is_sftp_command, pattern_problem

Option = tuple[str, str | None]  # name in lower case, value without its quotes

_PERMISSIONS = ("agent-forwarding", "port-forwarding", "pty", "user-rc", "x11-forwarding")
_FLAGS = frozenset(
    {"cert-authority", "restrict", "no-touch-required", "verify-required", *_PERMISSIONS, *(f"no-{p}" for p in _PERMISSIONS)}
)
_VALUED = frozenset({"command", "environment", "expiry-time", "from", "permitlisten", "permitopen", "principals", "tunnel"})
KNOWN_OPTIONS = _FLAGS | _VALUED
_ONCE = frozenset({"from", "principals", "command"})  # as in OpenSSH; of several expiry-times the earliest holds

_EXPIRY = re.compile(r"([0-9]{8})(?:([0-9]{4})([0-9]{2})?)?(Z?)")

# they limit or grant what nobody has here; ``restrict`` and ``no-…`` are kept by that, the others are of no use
_WITHOUT_EFFECT = frozenset({"environment", "permitlisten", "permitopen", "tunnel", *_PERMISSIONS})
_HARDWARE_ONLY = frozenset({"no-touch-required", "verify-required"})


def option_findings(key_type: str, options: Sequence[Option]) -> list[str]:
    """Return what an admin should know of these options, a sentence each: what is refused because of them, and what has no
    effect.
    """
    names = {name for name, _ in options}
    command = next((value for name, value in options if name == "command"), None)
    found = []
    if command is not None and not is_sftp_command(command):
        found.append("command= limits it to a command that is not served here: it is not accepted")
    useless = names & _WITHOUT_EFFECT
    if "cert-authority" not in names:
        useless |= names & ({"principals"} if key_type.startswith("sk-") else {"principals", *_HARDWARE_ONLY})
    return found + [f"{name} has no effect" for name in sorted(useless)]


def end_of_options(text: str) -> int:
    """Return where the options end: at the first blank outside quotes. A backslash takes away a quote's meaning and nothing
    else's.
    """
    quoted = False
    position = 0
    while position < len(text) and (quoted or text[position] not in " \t"):
        if text.startswith('\\"', position):
            position += 1
        elif text[position] == '"':
            quoted = not quoted
        position += 1
    if quoted:
        raise KeyRefused("a quote is opened and not closed")
    return position


_OPTION = re.compile(r'([^=,"]+)(?:="((?:\\"|[^"])*+)")?(,|$)')


def options_of(text: str) -> Iterator[Option]:
    """Yield the options in the text before a key. Raises KeyRefused for one that is not known or cannot be read."""
    position = 0
    seen: set[str] = set()
    while position < len(text) or position == 0:
        match = _OPTION.match(text, position)
        if match is None or (match[3] == "," and match.end() == len(text)):
            raise KeyRefused(
                f"the options cannot be read: {printable(text[position:][:40])} "
                '(values are in double quotes: from="192.0.2.0/24")'
            )
        name, value = match[1].lower(), match[2]
        _check_option(name, value, seen)
        seen.add(name)
        yield name, None if value is None else value.replace('\\"', '"')
        position = match.end()


def _check_option(name: str, value: str | None, seen: set[str]) -> None:
    if name not in KNOWN_OPTIONS:
        close = difflib.get_close_matches(name, sorted(KNOWN_OPTIONS), n=1)
        raise KeyRefused(f"unknown option or key type {printable(name[:40])}" + (f"; did you mean {close[0]}?" if close else ""))
    if (value is not None) != (name in _VALUED):
        raise KeyRefused(
            f'the option {name} needs a value: {name}="…"' if name in _VALUED else f"the option {name} takes no value"
        )
    if name in _ONCE & seen:
        raise KeyRefused(f"the option {name} is there twice")


def written(option: Option) -> str:
    """Return an option as it stands in a line."""
    name, value = option
    return name if value is None else name + '="' + value.replace('"', '\\"') + '"'


def listed(options: Sequence[Option], wanted: str) -> tuple[str, ...]:
    """Return the parts of a comma list; empty if the option is not there.

    One that is there and empty is an error: it would limit nothing.
    """
    values = [value for name, value in options if name == wanted and value is not None]
    parts = tuple(part.strip() for value in values for part in value.split(",") if part.strip())
    if values and not parts:
        raise KeyRefused(f"the option {wanted} is empty")
    return parts


def patterns(options: Sequence[Option]) -> tuple[str, ...]:
    """Return the address patterns of ``from=``, each a valid one."""
    found = listed(options, "from")
    for pattern in found:
        if problem := pattern_problem(pattern):
            raise KeyRefused(f"the option from: {printable(pattern[:60])} {problem}")
    return found


def expiry(value: str) -> datetime:
    """Return the moment that an ``expiry-time`` means, in UTC."""
    match = _EXPIRY.fullmatch(value)
    if match is None:
        raise KeyRefused("the option expiry-time is not of the form YYYYMMDD[HHMM[SS]][Z]")
    day, minute, second, zulu = match.groups()
    try:
        moment = datetime.strptime(day + (minute or "0000") + (second or "00"), "%Y%m%d%H%M%S")  # noqa: DTZ007 - the zone follows
        return moment.replace(tzinfo=UTC) if zulu else moment.astimezone(UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise KeyRefused("the option expiry-time is no date") from error
