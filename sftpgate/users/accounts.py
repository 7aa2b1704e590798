"""The account of a user: what its ``user.toml`` says.

The file belongs to people and configuration managers as much as to us: a change of one value leaves the other lines and the
comments as they are. A key that we do not know is an error that suggests the nearest one. Nothing here touches the disk.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time

from pydantic import ByteSize, TypeAdapter

from sftpgate.errors import SftpgateError, UserFileError
from sftpgate.logs import printable
from sftpgate.policy.accounts import check_home
from sftpgate.policy.login import pattern_problem
from sftpgate.policy.methods import methods_problem
from sftpgate.policy.quotas import OwnQuotas
from sftpgate.settings.choices import AuthMethod as Method
from sftpgate.settings.choices import Language, Refuse
from sftpgate.settings.mail_addresses import address_problem
from sftpgate.users.passwords import valid_hash

Value = str | bool | int | datetime | date | tuple[str, ...]

QUOTA_KEYS = ("max_upload_bytes", "max_pending_bytes", "max_pending_files", "max_daily_bytes", "max_directories")
KNOWN_KEYS = (
    "password_hash",
    "home",
    "disabled",
    "expires",
    "networks",
    "required_auth",
    *QUOTA_KEYS,
    "language",
    "mail",
    "refuse",
    "receipts",
    "notes",
    "added_at",
)

_SIZE = TypeAdapter(ByteSize)
_LARGEST = 2**63 - 1  # of a file, and of an integer in TOML

_HEADER = "# One user of sftpgate. A change here holds at once, without a restart.\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What ``user.toml`` says of a user; the defaults are those of a user without the file."""

    password_hash: str | None = field(default=None, repr=False)  # argon2id
    home: str = ""  # relative to the drop; empty: the drop itself
    disabled: bool = False
    expires_at: datetime | None = None  # UTC: from then on nobody can log in
    networks: tuple[str, ...] = ()  # address patterns that the user may come from; empty: everywhere
    required_auth: tuple[Method, ...] | None = None  # what a login takes, in order; None: as the gate has it
    quotas: OwnQuotas = field(default_factory=OwnQuotas)
    language: Language | None = None  # in which the user is written to; None: as the gate has it
    mail: str = ""  # where the user is written to; empty: nowhere
    refuse: Refuse | None = None  # how the user learns that a contract objects; None: as the gate has it
    receipts: bool = True  # whether the user has receipts, if the gate writes any
    notes: str = ""
    added_at: datetime | None = None  # UTC; None if somebody else made the file


def parse_account(text: str) -> Account:
    """Return what a ``user.toml`` says. Raises UserFileError with the key and what is wrong with it."""
    values = _parsed(text)
    for key in values:
        if key not in KNOWN_KEYS:
            close = difflib.get_close_matches(key, KNOWN_KEYS, n=1)
            raise UserFileError(f"user.toml: unknown key {printable(key)}" + (f"; did you mean {close[0]}?" if close else ""))
    try:
        return Account(
            password_hash=_password_hash(values),
            home=_home(values),
            disabled=_flag(values, "disabled"),
            expires_at=_moment(values, "expires"),
            networks=_networks(values),
            required_auth=_methods(values),
            quotas=OwnQuotas(**{key: _quota(values, key) for key in QUOTA_KEYS}),
            language=_language(values),
            mail=_mail(values),
            refuse=_refuse(values),
            receipts=_flag(values, "receipts", default=True),
            notes=_text(values, "notes"),
            added_at=_moment(values, "added_at"),
        )
    except ValueError as error:
        raise UserFileError(f"user.toml: {error}") from error


def lifts(new: Account, old: Account) -> bool:
    """Return whether ``new`` lets somebody in, or out of its home, whom ``old`` keeps there."""
    return (
        (old.disabled and not new.disabled)
        or (old.expires_at is not None and (new.expires_at is None or new.expires_at > old.expires_at))
        or (bool(old.networks) and (not new.networks or not set(new.networks) <= set(old.networks)))
        or bool({pattern for pattern in old.networks if pattern.startswith("!")} - set(new.networks))
        or (old.required_auth is not None and new.required_auth != old.required_auth)
        or (bool(old.home) and not new.home)
    )


def limits_somebody(account: Account) -> bool:
    """Return whether there is anything in an account that ``lifts`` could lift."""
    return lifts(Account(), account)


def without_hash(text: str) -> str:
    """Return ``text`` of a ``user.toml`` without the line of the password's hash."""
    return "".join(line for line in text.splitlines(keepends=True) if not line.lstrip().startswith("password_hash"))


def with_value(text: str, key: str, value: Value | None) -> str:
    """Return ``text`` of a ``user.toml`` with ``key`` set to ``value`` (None: taken out), all else as it was."""
    wanted = {name: old for name, old in _parsed(text).items() if name != key} | ({} if value is None else {key: value})
    line = "" if value is None else f"{key} = {_written(value)}\n"
    edited, count = re.subn(rf"(?m)^[ \t]*{key}[ \t]*=[^\n]*(\n|\Z)", lambda _: line, text, count=1)
    if not count:
        edited = text + ("" if text.endswith("\n") or not text else "\n") + line
    # a line in a multi-line text can look like ours, or ours can go over several lines: then the file is written anew
    return (
        edited
        if _same(edited, wanted)
        else _HEADER + "".join(f"{name} = {_written(_value(old))}\n" for name, old in wanted.items())
    )


def new_account_text(*, password_hash: str | None, home: str, added_at: datetime) -> str:
    """Return a ``user.toml`` for a new user."""
    text = _HEADER
    for key, value in (("password_hash", password_hash), ("home", home), ("disabled", False), ("added_at", added_at)):
        text = with_value(text, key, value)
    return text


def _parsed(text: str) -> dict[str, object]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also a number of too many digits
        raise UserFileError(f"user.toml: not valid TOML: {printable(str(error))}") from error


def _same(text: str, wanted: Mapping[str, object]) -> bool:
    try:
        return tomllib.loads(text) == wanted
    except (ValueError, RecursionError):
        return False


def _text(values: Mapping[str, object], key: str) -> str:
    value = values.get(key, "")
    if not isinstance(value, str):
        raise ValueError(f"{key} is a text in quotes")
    return value


def _language(values: Mapping[str, object]) -> Language | None:
    text = _text(values, "language")
    try:
        return Language(text) if text else None
    except ValueError as error:
        raise ValueError(f"language is one of {', '.join(Language)}") from error


def _mail(values: Mapping[str, object]) -> str:
    address = _text(values, "mail")
    if address and (problem := address_problem(address)):
        raise ValueError(f"mail: {printable(address)} {printable(problem)}")
    return address


def _refuse(values: Mapping[str, object]) -> Refuse | None:
    text = _text(values, "refuse")
    try:
        return Refuse(text) if text else None
    except ValueError as error:
        raise ValueError(f"refuse is one of {', '.join(Refuse)}") from error


def _flag(values: Mapping[str, object], key: str, *, default: bool = False) -> bool:
    value = values.get(key, default)
    if not isinstance(value, bool):
        raise ValueError(f"{key} is true or false")
    return value


def _moment(values: Mapping[str, object], key: str) -> datetime | None:
    """Return the moment; a day means its beginning in UTC. A time without a zone is refused: on another server it would be
    another moment.
    """
    match values.get(key):
        case None:
            return None
        case datetime(tzinfo=zone) as moment if zone is not None:
            try:
                return moment.astimezone(UTC)
            except OverflowError as error:
                raise ValueError(f"{key} is too far away") from error
        case datetime():
            raise ValueError(f"{key} needs a time zone: 2030-01-31T12:00:00Z")
        case date() as day:
            return datetime.combine(day, time(), UTC)
        case _:
            raise ValueError(f"{key} is a date without quotes: 2030-01-31")


def _password_hash(values: Mapping[str, object]) -> str | None:
    text = _text(values, "password_hash") or None
    if text is not None and not valid_hash(text):
        raise ValueError("password_hash is no argon2id hash (`sftpgate user passwd` makes one)")
    return text


def _home(values: Mapping[str, object]) -> str:
    home = _text(values, "home")
    try:
        check_home(home)
    except SftpgateError as error:
        raise ValueError(f"home: {error.message}") from error
    return home


def _networks(values: Mapping[str, object]) -> tuple[str, ...]:
    patterns = values.get("networks", [])
    if not isinstance(patterns, list) or not all(isinstance(pattern, str) for pattern in patterns):
        raise ValueError('networks is a list of texts: ["192.0.2.0/24"]')
    for pattern in patterns:
        if problem := pattern_problem(pattern):
            raise ValueError(f"networks: {printable(pattern)} {problem}")
    return tuple(patterns)


def _methods(values: Mapping[str, object]) -> tuple[Method, ...] | None:
    methods = values.get("required_auth")
    if methods is None:
        return None
    if not isinstance(methods, list) or not all(isinstance(method, str) for method in methods):
        raise ValueError('required_auth is a list of texts: ["publickey", "password"]')
    if problem := methods_problem(methods):
        raise ValueError(f"required_auth {printable(problem)}")
    return tuple(Method(method) for method in methods)


def _quota(values: Mapping[str, object], key: str) -> int | None:
    """Return a number, or one of bytes with a unit. Only the day can be without a limit: its 0 means that everywhere."""
    value = values.get(key)
    if value is None:
        return None
    with_units = key.endswith("_bytes")
    try:
        if isinstance(value, bool | float) or (isinstance(value, str) and not with_units):
            raise ValueError("not a number")
        number = int(_SIZE.validate_python(value))
    except ValueError as error:
        raise ValueError(f"{key} is " + ('a number of bytes, or a text such as "1GiB"' if with_units else "a number")) from error
    least = 0 if key == "max_daily_bytes" else 1
    if not least <= number <= _LARGEST:
        raise ValueError(f"{key} is at least {least}" if number < least else f"{key} is too large")
    return number


def _value(parsed: object) -> Value:
    """Return a value as TOML gave it, to be written again. Only what ``parse_account`` accepts comes here."""
    match parsed:
        case str() | int() | date():  # a bool is an int, and a datetime is a date
            return parsed
        case list() | tuple():
            return tuple(str(item) for item in parsed)
        case _:
            raise UserFileError("user.toml: a value is of a kind that no key has")


def _written(value: Value) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case str():
            return '"' + "".join(_escaped(c) for c in value) + '"'
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case date():
            return value.isoformat()
        case tuple():
            return "[" + ", ".join(_written(item) for item in value) + "]"


def _escaped(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    return character if character.isprintable() else f"\\U{ord(character):08x}"
