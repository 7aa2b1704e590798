from __future__ import annotations

import tomllib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftpgate.errors import SftpgateError, UserFileError
from sftpgate.policy.quotas import OwnQuotas
from sftpgate.users.accounts import Account, new_account_text, parse_account, with_value
from sftpgate.users.passwords import hash_password

HASH = hash_password("correct horse battery")

BY_HAND = f"""\
# the ERP of the north campus; ask Ada

password_hash = '{HASH}'   # set in May
home = "north"
  disabled=false # for now
expires = 2030-01-31
networks = [
  "192.0.2.0/24",  # office
  "!192.0.2.7",
]
notes = \"\"\"
disabled = true
would be wrong\"\"\"
"""


def test_every_key_is_read() -> None:
    """All keys of a file written by hand are read, a day as its beginning in UTC."""
    assert parse_account(BY_HAND) == Account(
        password_hash=HASH,
        home="north",
        expires_at=datetime(2030, 1, 31, tzinfo=UTC),
        networks=("192.0.2.0/24", "!192.0.2.7"),
        notes="disabled = true\nwould be wrong",
    )


def test_quotas_have_units_and_keep_comments() -> None:
    """Bytes as a number or with a unit; a change of one leaves the other lines and the comments."""
    text = 'max_upload_bytes = "1GiB" # large\nmax_pending_files = 7\nmax_daily_bytes = 0\n'
    assert parse_account(text).quotas == OwnQuotas(max_upload_bytes=2**30, max_pending_files=7, max_daily_bytes=0)
    edited = with_value(with_value(text, "max_pending_files", 8), "max_daily_bytes", None)
    assert edited == 'max_upload_bytes = "1GiB" # large\nmax_pending_files = 8\n'


def test_an_empty_file_is_an_account_with_the_defaults() -> None:
    """Nothing has to be in the file."""
    assert parse_account("") == Account()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("max_daily_byte = 1", "did you mean max_daily_bytes"),
        ("max_upload_bytes = 0", "max_upload_bytes is at least 1"),
        ("max_upload_bytes = -1", "max_upload_bytes is a number of bytes"),
        ("max_pending_files = -1", "max_pending_files is a number"),
        ("max_daily_bytes = -1", "max_daily_bytes is a number of bytes"),
        ("max_daily_bytes = true", "max_daily_bytes is a number of bytes"),
        ("max_daily_bytes = 1.5", "max_daily_bytes is a number of bytes"),
        ('max_daily_bytes = "much"', 'max_daily_bytes is a number of bytes, or a text such as "1GiB"'),
        ('max_daily_bytes = "9999999999GiB"', "max_daily_bytes is too large"),
        ('max_pending_files = "1KB"', "max_pending_files is a number"),
        ('pasword_hash = "x"', r"unknown key pasword_hash; did you mean password_hash\?"),
        ("[tools]", "unknown key tools"),
        ("disabled = 1", "disabled is true or false"),
        ('disabled = "true"', "disabled is true or false"),
        ("home = 1", "home is a text"),
        ('home = "../x"', "home: .*rule"),
        ('home = "archives"', "reserved directories"),
        ('expires = "2030-01-31"', "date without quotes"),
        ("expires = 2030-01-31T12:00:00", "time zone"),
        ("expires = 0001-01-01T00:00:00+14:00", "too far"),
        ('networks = "192.0.2.0/24"', "list of texts"),
        ('networks = ["192.0.2.1/24"]', "bits set"),
        ('password_hash = "secret"', "argon2id"),
        ("home =", "not valid TOML"),
        ("disabled = false\ndisabled = true", "not valid TOML"),
    ],
)
def test_what_cannot_be_used_is_an_error(text: str, words: str) -> None:
    """An unknown key, a wrong value and broken TOML are errors that say which key and what it should be."""
    with pytest.raises(UserFileError, match=words):
        parse_account(text)


def test_a_password_hash_is_shown_nowhere() -> None:
    """The hash is not in the record's text, which may end in a log."""
    assert HASH not in repr(parse_account(BY_HAND))


def test_a_change_leaves_the_other_lines_alone() -> None:
    """One value changes; comments, order and the way in which other values are written stay."""
    edited = with_value(BY_HAND, "disabled", True)
    assert edited == BY_HAND.replace("  disabled=false # for now\n", "disabled = true\n")
    assert with_value(BY_HAND, "password_hash", None) == BY_HAND.replace(f"password_hash = '{HASH}'   # set in May\n", "")


def test_a_new_key_goes_to_the_end() -> None:
    """A key that is not in the file is added, also behind a last line without a line end."""
    assert with_value('home = "a"', "disabled", True) == 'home = "a"\ndisabled = true\n'
    assert with_value("", "disabled", True) == "disabled = true\n"


def test_a_value_over_several_lines_is_changed_too() -> None:
    """Where a line cannot be changed alone, the file is written anew with the same values."""
    text = 'notes = """\ndisabled = true\n"""\ndisabled = false\nnetworks = [\n"10.*",\n]\nexpires = 2030-01-31\n'
    assert tomllib.loads(with_value(text, "disabled", True)) == {**tomllib.loads(text), "disabled": True}
    assert tomllib.loads(with_value(text, "networks", ())) == {**tomllib.loads(text), "networks": []}


def test_a_new_account_reads_as_it_was_meant() -> None:
    """The file of a new user says what the user was made with."""
    added_at = datetime(2030, 1, 31, 12, tzinfo=UTC)
    text = new_account_text(password_hash=HASH, home="campus/north", added_at=added_at)
    assert parse_account(text) == Account(password_hash=HASH, home="campus/north", added_at=added_at)
    assert text.startswith("#")


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_any_text_can_be_a_value(notes: str) -> None:
    """Whatever characters a text has, it is read back as it was written."""
    assert parse_account(with_value(BY_HAND, "notes", notes)).notes == notes


@given(st.text())
def test_any_text_is_an_account_or_our_error(text: str) -> None:
    """Whatever is in the file, it is an account or an error of ours."""
    try:
        parse_account(text)
    except SftpgateError:
        pass
