"""docs/access.md says what the code does."""

from __future__ import annotations

from pathlib import Path

from sftpgate.policy.login import LoginRefusal
from sftpgate.users.accounts import KNOWN_KEYS
from sftpgate.users.keys.options import KNOWN_OPTIONS

TEXT = (Path(__file__).parents[2] / "docs" / "access.md").read_text(encoding="utf-8")


def test_every_refusal_is_explained() -> None:
    """An admin finds each reason of the log in the document, in the log's words."""
    assert [reason for reason in LoginRefusal if f"`{reason}`" not in TEXT] == []


def test_every_option_has_its_row() -> None:
    """The table of options names each one that can stand in a line."""
    assert [option for option in KNOWN_OPTIONS if f"`{option}`" not in TEXT and f'`{option}="' not in TEXT] == []


def test_every_key_of_an_account_is_shown() -> None:
    """The example of a user.toml has every key, but for the one that the commands write by themselves."""
    assert [key for key in KNOWN_KEYS if key != "added_at" and f"\n{key} = " not in TEXT] == []
