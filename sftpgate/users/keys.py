"""Public keys of users: lines of an ``authorized_keys`` file, and what they mean.

The format is OpenSSH's (sshd(8), AUTHORIZED_KEYS FILE FORMAT). A line is kept as it was written; everything else is read from
it, so that what we understand and what stays in the file cannot differ. An option that is not known is an error and not
ignored: a misspelt ``from=`` would otherwise open the door. Pure but for the local time zone, in which OpenSSH reads an
``expiry-time`` without ``Z``.
"""

from __future__ import annotations

import base64
import difflib
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

from sftpgate.errors import KeyRefused, UserFileError
from sftpgate.logs import printable
from sftpgate.policy.login import ACCEPTED_KEY_TYPES, key_weakness, pattern_problem
from sftpgate.users.keyformats import key_bits, to_openssh, wire_type

Option = tuple[str, str | None]  # name in lower case, value without its quotes

_PERMISSIONS = ("agent-forwarding", "port-forwarding", "pty", "user-rc", "x11-forwarding")
_FLAGS = frozenset(
    {"cert-authority", "restrict", "no-touch-required", "verify-required", *_PERMISSIONS, *(f"no-{p}" for p in _PERMISSIONS)}
)
_VALUED = frozenset({"command", "environment", "expiry-time", "from", "permitlisten", "permitopen", "principals", "tunnel"})
_ONCE = frozenset({"from", "principals", "command"})  # as in OpenSSH; of several expiry-times the earliest holds

_EXPIRY = re.compile(r"([0-9]{8})(?:([0-9]{4})([0-9]{2})?)?(Z?)")
_TYPE_WORD = re.compile(r"[A-Za-z0-9@.-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizedKey:
    """One key of a user, with the options that limit it."""

    line: str = field(repr=False)  # as written, without its line end
    blob: bytes = field(repr=False)  # the key in SSH's wire format
    type: str
    bits: int
    options: tuple[Option, ...]
    comment: str  # anybody's text: show it through ``printable``
    cert_authority: bool
    principals: tuple[str, ...]
    from_patterns: tuple[str, ...]
    expires_at: datetime | None  # UTC

    @property
    def fingerprint(self) -> str:
        """``SHA256:…`` as ``ssh-keygen -l`` shows it."""
        return fingerprint(self.blob)

    @property
    def forced_command(self) -> str | None:
        """The value of ``command=``, None where the line has none."""
        return next((value for name, value in self.options if name == "command"), None)

    def has_option(self, name: str) -> bool:
        """True where the line carries the option ``name`` (lower case)."""
        return any(option == name for option, _ in self.options)


def fingerprint(blob: bytes) -> str:
    """The SHA-256 fingerprint of a key blob, as ``ssh-keygen -l`` shows it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode("ascii").rstrip("=")


def parse_authorized_keys(text: str) -> list[AuthorizedKey]:
    """The keys of a file, in its order. Raises UserFileError with the number of the first line that cannot be read."""
    keys = []
    for number, line in enumerate(text.split("\n"), start=1):
        try:
            key = parse_line(line)
        except KeyRefused as error:
            raise UserFileError(f"authorized_keys, line {number}: {error.message}") from error
        if key is not None:
            keys.append(key)
    return keys


def parse_public_key(text: str) -> AuthorizedKey:
    """The one key in what somebody sent: OpenSSH's line, RFC 4716 or PEM.

    Raises KeyRefused with what it is instead, and what to do.
    """
    keys = [key for line in to_openssh(text).split("\n") if (key := parse_line(line.removeprefix("\ufeff"))) is not None]
    if not keys:
        raise KeyRefused("there is no key in this: the file is empty or has comments only")
    if len(keys) > 1:
        raise KeyRefused(f"there are {len(keys)} keys in this: add them one by one")
    _check_mathematics(keys[0])
    return keys[0]


def check_strength(key: AuthorizedKey, min_rsa_bits: int) -> None:
    """Refuse a weak key, naming the weakness."""
    if weakness := key_weakness(key.type, key.bits, min_rsa_bits=min_rsa_bits):
        raise KeyRefused(weakness)


def limited(
    key: AuthorizedKey, *, label: str | None = None, expires: date | None = None, from_patterns: Sequence[str] = ()
) -> AuthorizedKey:
    """``key`` with another label, or with limits added to those that it has.

    It is not accepted from the day ``expires`` on (UTC), nor from addresses that ``from_patterns`` do not match.
    Raises KeyRefused where a limit cannot be written.
    """
    if label is not None and not label.isprintable():
        raise KeyRefused("a label is one line of printable characters")
    for pattern in from_patterns:
        if problem := pattern_problem(pattern):
            raise KeyRefused(f"the address pattern {printable(pattern)} {problem}")
    if from_patterns and key.has_option("from"):
        raise KeyRefused("the key's line has a from= option already: change that one")
    words = [_written(option) for option in key.options]
    if from_patterns:
        words.append(f'from="{",".join(from_patterns)}"')
    if expires is not None:
        words.append(f'expiry-time="{expires:%Y%m%d}Z"')
    comment = key.comment if label is None else label
    parts = [",".join(words), key.type, base64.b64encode(key.blob).decode("ascii"), comment.strip()]
    made = parse_line(" ".join(part for part in parts if part))
    if made is None:  # cannot be: a line with a key type is no comment
        raise KeyRefused
    return made


def parse_line(line: str) -> AuthorizedKey | None:
    """The key of one line, or None where it is empty or a comment. Raises KeyRefused with what is wrong."""
    kept, body = line.rstrip("\r"), line.strip(" \t\r")
    if not body or body.startswith("#"):
        return None
    first, rest = _word(body)
    options: tuple[Option, ...] = ()
    if first not in ACCEPTED_KEY_TYPES and not (_TYPE_WORD.fullmatch(first) and rest.startswith("AAAA")):
        end = _end_of_options(body)
        options = tuple(_options(body[:end]))
        first, rest = _word(body[end:].lstrip(" \t"))
    if not first or not rest:
        raise KeyRefused("there is no key in this line (a line is: options, if any, then type, key and label)")
    encoded, comment = _word(rest)
    blob = _blob(first, encoded)
    return AuthorizedKey(
        line=kept,
        blob=blob,
        type=first,
        bits=key_bits(first, blob),
        options=options,
        comment=comment,
        cert_authority=("cert-authority", None) in options,
        principals=_listed(options, "principals"),
        from_patterns=_patterns(options),
        expires_at=min((_expiry(value) for name, value in options if name == "expiry-time" and value is not None), default=None),
    )


def _word(text: str) -> tuple[str, str]:
    """The text up to the first blank, and what follows the blanks."""
    match = re.search(r"[ \t]+", text)
    return (text[: match.start()], text[match.end() :]) if match else (text, "")


def _end_of_options(text: str) -> int:
    """Where the options end: at the first blank outside quotes. A backslash takes away a quote's meaning and nothing else's."""
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


def _options(text: str) -> Iterator[Option]:
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
    if name not in _FLAGS | _VALUED:
        close = difflib.get_close_matches(name, sorted(_FLAGS | _VALUED), n=1)
        raise KeyRefused(f"unknown option or key type {printable(name[:40])}" + (f"; did you mean {close[0]}?" if close else ""))
    if (value is not None) != (name in _VALUED):
        raise KeyRefused(
            f'the option {name} needs a value: {name}="…"' if name in _VALUED else f"the option {name} takes no value"
        )
    if name in _ONCE & seen:
        raise KeyRefused(f"the option {name} is there twice")


def _written(option: Option) -> str:
    name, value = option
    return name if value is None else name + '="' + value.replace('"', '\\"') + '"'


def _listed(options: Sequence[Option], wanted: str) -> tuple[str, ...]:
    """The parts of a comma list; empty where the option is not there.

    One that is there and empty is an error: it would limit nothing.
    """
    values = [value for name, value in options if name == wanted and value is not None]
    parts = tuple(part.strip() for value in values for part in value.split(",") if part.strip())
    if values and not parts:
        raise KeyRefused(f"the option {wanted} is empty")
    return parts


def _patterns(options: Sequence[Option]) -> tuple[str, ...]:
    patterns = _listed(options, "from")
    for pattern in patterns:
        if problem := pattern_problem(pattern):
            raise KeyRefused(f"the option from: {printable(pattern[:60])} {problem}")
    return patterns


def _expiry(value: str) -> datetime:
    match = _EXPIRY.fullmatch(value)
    if match is None:
        raise KeyRefused("the option expiry-time is not of the form YYYYMMDD[HHMM[SS]][Z]")
    day, minute, second, zulu = match.groups()
    try:
        moment = datetime.strptime(day + (minute or "0000") + (second or "00"), "%Y%m%d%H%M%S")  # noqa: DTZ007 - the zone follows
        return moment.replace(tzinfo=UTC) if zulu else moment.astimezone(UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise KeyRefused("the option expiry-time is no date") from error


def _blob(key_type: str, encoded: str) -> bytes:
    try:
        blob = base64.b64decode(encoded, validate=True)
    except ValueError as error:
        raise KeyRefused("the key is damaged: its data is not base64") from error
    if "-cert-v" in key_type:
        raise KeyRefused("this is a certificate: enter the key of its authority instead, with the option cert-authority")
    if wire_type(blob) != key_type:
        raise KeyRefused("the key's data is of another type than the line says")
    return blob


def _check_mathematics(key: AuthorizedKey) -> None:
    """Refuse numbers that make no key, such as a point that is not on its curve."""
    import warnings

    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_ssh_public_key

    if key_weakness(key.type, key.bits, min_rsa_bits=0):
        return  # refused by ``check_strength`` in better words
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            load_ssh_public_key(f"{key.type} {base64.b64encode(key.blob).decode('ascii')}".encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyRefused("the key is damaged: its numbers make no key") from error
