"""What a setting may be that has a few values: the words that stand in ``sftpgate.toml``. Imports nothing that costs time."""

from __future__ import annotations

from enum import StrEnum


class AuthMethod(StrEnum):
    """A way to prove who one is. A password may come by keyboard-interactive too."""

    PUBLICKEY = "publickey"
    PASSWORD = "password"  # noqa: S105 - a method's name


class Durability(StrEnum):
    """What an answered CLOSE means for a power cut."""

    FULL = "full"
    RELAXED = "relaxed"


class Algorithms(StrEnum):
    """Which SSH algorithms are offered."""

    DEFAULT = "default"
    HARDENED = "hardened"
    LEGACY = "legacy"


class Sandbox(StrEnum):
    """Whether the kernel keeps the server to its directories (Landlock)."""

    AUTO = "auto"
    REQUIRED = "required"
    OFF = "off"


class Order(StrEnum):
    """What a second arrival of the same name does while the first one is unclaimed."""

    LATEST = "latest"
    QUEUE = "queue"


class Report(StrEnum):
    """How much of a tool's output its sender reads."""

    SUMMARY = "summary"
    FULL = "full"


class RowNumbers(StrEnum):
    """What the row numbers in a tool's output or result count."""

    LINES = "lines"
    RECORDS = "records"


class Language(StrEnum):
    """A language that people can be written to in."""

    ENGLISH = "en"
    FRENCH = "fr"


class Refuse(StrEnum):
    """How a sender is told that the contract of its file's tool objects."""

    REPORT = "report"
    CLOSE = "close"


class Handover(StrEnum):
    """Who takes files from the top level of the store."""

    TOOLS = "tools"
    LOCK_TXT = "lock.txt"
