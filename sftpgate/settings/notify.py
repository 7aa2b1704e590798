"""The tables ``[notify…]``: who is told of what, and by which way.

A part of the settings, in a module of its own because it is long. Whoever is told is a receiver, ``[notify.to.NAME]``, with one
way: mail, a webhook, a command of this machine, or a chat. ``[notify.rules.NAME]`` says of what. Secrets are of a type that hides
them: no ``repr``, no log line and no error shows one.
"""

from __future__ import annotations

import base64
import binascii
import difflib
import re
from collections.abc import Mapping
from datetime import time
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, field_validator, model_validator

from sftpgate.settings.durations import Duration
from sftpgate.settings.mail_addresses import address_problem

SENDERS = "senders"  # in a rule's ``to``: the sender of the file, at the address of its ``user.toml``
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HOURS = re.compile(r"(\d\d):(\d\d)-(\d\d):(\d\d)")
HMAC_PREFIX, ED25519_PREFIX = "whsec_", "whsk_"  # Standard Webhooks, "Signature scheme"
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

Words = Annotated[tuple[str, ...], BeforeValidator(lambda value: tuple(value.split()) if isinstance(value, str) else value)]


def _address(value: str) -> str:
    if problem := address_problem(value):
        raise ValueError(f"{value!r} {problem}")
    return value


def _key(value: SecretStr) -> SecretStr:
    if problem := key_problem(value.get_secret_value()):
        raise ValueError(problem)
    return value


Address = Annotated[str, AfterValidator(_address)]
SigningKey = Annotated[SecretStr, AfterValidator(_key)]


def key_problem(text: str) -> str | None:
    """Return what is wrong with a signing key, without repeating it; None if nothing is."""
    for prefix, sizes in ((HMAC_PREFIX, range(24, 65)), (ED25519_PREFIX, (32, 64))):
        if text.startswith(prefix):
            size = len(key_bytes(text))
            return None if size in sizes else f"what follows {prefix} is not the base64 of a key of the right length"
    return f"a key begins with {HMAC_PREFIX} (HMAC) or {ED25519_PREFIX} (ed25519); `sftpgate notify key` makes one"


def key_bytes(text: str) -> bytes:
    """Return the bytes of a signing key; none if it is no base64."""
    try:
        return base64.b64decode(text.partition("_")[2], validate=True)
    except (binascii.Error, ValueError):
        return b""


class MailSettings(BaseModel):
    """``[notify.mail]``: the mail server that takes our mail."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(min_length=1, description="name of the mail server that takes our mail")
    port: int = Field(587, ge=1, le=65535, description="its port")
    security: Literal["starttls", "tls", "none"] = Field(
        "starttls", description='"starttls", "tls" from the first byte (port 465), or "none": for a server on this machine'
    )
    ca_file: Path | None = Field(None, description="certificates that sign the server's, in PEM; default: the machine's")
    sender: Address = Field(description="address that the mail comes from")
    user: str = Field("", description="name to log in with; default: no login")
    password: SecretStr = Field(SecretStr(""), description="its password")
    password_file: Path | None = Field(None, description="file with the password, read at each login")
    timeout: Duration = Field(60.0, gt=0, le=600, description="seconds that one mail may take, from connecting to its end")

    @model_validator(mode="after")
    def _safe_login(self) -> Self:
        if self.password_file is not None and self.password.get_secret_value():
            raise ValueError("password and password_file: give one of them")
        if self.user and not self.password.get_secret_value() and self.password_file is None:
            raise ValueError("user needs a password or a password_file")
        if self.user and self.security == "none":
            raise ValueError("a password is not sent without encryption: set security to starttls or tls")
        return self


class ReceiverSettings(BaseModel):
    """One ``[notify.to.NAME]`` table: somebody who is told, by one way."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mail: Annotated[tuple[Address, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)] = Field(
        (), description="mail addresses: each gets a mail of its own"
    )
    url: SecretStr | None = Field(None, description="URL of a webhook; https, unless it is in allowed_networks")
    keys: tuple[SigningKey, ...] = Field(
        (), max_length=4, description="keys that sign what the webhook gets, whsec_… or whsk_…; two while one replaces the other"
    )
    ca_file: Path | None = Field(None, description="certificates that sign the webhook's, in PEM; default: the machine's")
    command: tuple[str, ...] = Field((), description="a command of this machine: it gets the message as JSON on its input")
    chat: SecretStr | None = Field(None, description="a URL of Apprise, such as slack://…; needs `pip install sftpgate[chat]`")
    timeout: Duration = Field(20.0, gt=0, le=300, description="seconds that a webhook, command or chat may take")
    language: Literal["en", "fr"] | None = Field(None, description="language of mail and chat; default: the gate's")
    quiet_hours: str = Field("", description='hours in which nothing is sent that is not urgent, such as "20:00-07:00"')
    quiet_days: Words = Field((), description="days without any but urgent messages, such as sat sun")

    @field_validator("url")
    @classmethod
    def _is_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and (problem := _url_problem(value.get_secret_value())):
            raise ValueError(problem)
        return value

    @field_validator("quiet_hours")
    @classmethod
    def _are_hours(cls, value: str) -> str:
        if value and quiet_times(value) is None:
            raise ValueError('write hours such as "20:00-07:00"')
        return value

    @field_validator("quiet_days")
    @classmethod
    def _are_days(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if set(value) == set(DAYS):
            raise ValueError("every day is quiet: nothing would ever be sent")
        for day in value:
            if day not in DAYS:
                raise ValueError(f"{day!r} is no day: write {', '.join(DAYS)}")
        return value

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        ways = [name for name in ("mail", "url", "command", "chat") if getattr(self, name)]
        if len(ways) != 1:
            raise ValueError(f"one of mail, url, command and chat says how; {' and '.join(ways) or 'none'} is given")
        if self.url is not None and not self.keys:
            raise ValueError("a webhook needs keys: without a signature nobody can tell our messages from a stranger's")
        if self.url is None and self.keys:
            raise ValueError("keys go with url")
        return self

    @property
    def way(self) -> str:
        """How this receiver is told: ``mail``, ``webhook``, ``command`` or ``chat``."""
        return "mail" if self.mail else "webhook" if self.url is not None else "command" if self.command else "chat"


class RuleSettings(BaseModel):
    """One ``[notify.rules.NAME]`` table: of what somebody is told."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    events: Words = Field(min_length=1, description="events, with * and ?, such as arrival.quarantined or run.failed")
    users: Words = Field(("*",), description="users whose files it is about, with * and ?; - for files of local programs")
    tools: Words = Field(("*",), description="tools that it is about, with * and ?")
    to: Words = Field(min_length=1, description="names of receivers; senders: the sender of the file, by mail")
    digest: Duration | None = Field(
        None, le=86400 * 7, description="seconds for which messages are gathered into one; default: 1m for mail and chat, else 0"
    )
    urgent: bool = Field(False, description="send in quiet hours too")


class NotifySettings(BaseModel):
    """The table ``[notify]``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field("sftpgate", min_length=1, max_length=60, description="what messages call this gate")
    timezone: str = Field("UTC", description="time zone of times in messages and of quiet hours, such as Europe/Paris")
    allowed_networks: Words = Field(
        (), description="private networks that webhooks may be in, such as 10.1.0.0/16; others are never connected to"
    )
    give_up_after: Duration = Field(432000.0, ge=60, description="seconds for which a message is tried again")
    keep: Duration = Field(7776000.0, description="seconds that messages which were sent or given up are listed; 0: for ever")
    mail: MailSettings | None = Field(None, description="the mail server, a table of its own")
    to: Mapping[str, ReceiverSettings] = Field(default_factory=dict, description="the receivers, one [notify.to.NAME] table each")
    rules: Mapping[str, RuleSettings] = Field(default_factory=dict, description="the rules, one [notify.rules.NAME] table each")

    @field_validator("name")
    @classmethod
    def _is_one_line(cls, value: str) -> str:
        if not value.isprintable():
            raise ValueError("a name is one line without control characters")
        return value

    @field_validator("timezone")
    @classmethod
    def _is_zone(cls, value: str) -> str:
        from zoneinfo import ZoneInfo  # every command reads the settings, and few of them need this

        try:
            ZoneInfo(value)
        except (OSError, ValueError, KeyError) as error:  # ZoneInfoNotFoundError is a KeyError
            raise ValueError(f"there is no time zone {value!r}; write one such as Europe/Paris") from error
        return value

    @field_validator("allowed_networks")
    @classmethod
    def _are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            try:
                ip_network(network)
            except ValueError as error:
                raise ValueError(f"{network} is no address and no network such as 192.0.2.0/24") from error
        return value

    @field_validator("to", "rules")
    @classmethod
    def _are_named(cls, value: Mapping[str, object]) -> Mapping[str, object]:
        for name in value:
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r}: a name is of letters, digits, . _ and -, and begins with a letter or digit")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if SENDERS in self.to:
            raise ValueError(f"to.{SENDERS}: this name means the senders of files; choose another one")
        for name, rule in self.rules.items():
            for receiver in rule.to:
                if receiver not in self.to and receiver != SENDERS:
                    close = difflib.get_close_matches(receiver, [*self.to, SENDERS], n=1)
                    hint = f"; did you mean {close[0]}?" if close else f"; make a table [notify.to.{receiver}]"
                    raise ValueError(f"rules.{name}.to: there is no receiver {receiver}{hint}")
        needing = next((f"to.{name}" for name, receiver in self.to.items() if receiver.mail), None)
        needing = needing or next((f"rules.{name}" for name, rule in self.rules.items() if SENDERS in rule.to), None)
        if needing and self.mail is None:
            raise ValueError(f"{needing} needs a mail server: make a table [notify.mail]")
        return self

    @property
    def is_wanted(self) -> bool:
        """Return whether anybody is to be told of anything."""
        return bool(self.rules)


def quiet_times(text: str) -> tuple[time, time] | None:
    """Return beginning and end of hours such as ``20:00-07:00``; None if it is something else, or no time at all."""
    match = _HOURS.fullmatch(text)
    if match is None:
        return None
    try:
        begin, end = time(int(match[1]), int(match[2])), time(int(match[3]) % 24, int(match[4]))
    except ValueError:
        return None
    return None if begin == end else (begin, end)


def _url_problem(text: str) -> str | None:
    """Return what is wrong with a webhook's URL, without repeating it: it may hold a secret."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "this is no URL"
    if parts.scheme not in ("https", "http") or not host:
        return "a webhook's URL begins with https:// and the name of a machine"
    if "@" in parts.netloc:
        return "a URL with a name or password in it is not taken: messages are signed"
    if parts.fragment or not text.isprintable() or any(character.isspace() for character in text):
        return "a webhook's URL has no #, no blanks and no control characters"
    return None
