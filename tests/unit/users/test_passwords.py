from __future__ import annotations

import pytest
from argon2 import extract_parameters

from sftpgate.errors import Refused
from sftpgate.users import passwords
from sftpgate.users.passwords import check_password_rules, generate_password, hash_password, valid_hash, verify

PASSWORD = "correct horse battery"


def test_the_right_password_and_no_other() -> None:
    """A hash verifies the password that it was made from, and no other."""
    made = hash_password(PASSWORD)
    assert made.startswith("$argon2id$")
    assert verify(made, PASSWORD)
    assert not verify(made, PASSWORD + " ")
    assert not verify(made, "")
    assert made != hash_password(PASSWORD)


def test_forms_of_unicode() -> None:
    """A letter with an accent is the same password in both of its Unicode forms."""
    assert verify(hash_password("caf\u00e9 caf\u00e9 caf\u00e9"), "cafe\u0301 cafe\u0301 cafe\u0301")


@pytest.mark.parametrize("stored", [None, "", "x", "$argon2id$v=19$m=19456,t=2,p=1$broken", "$2b$12$abcdefghijklmnopqrstuv"])
def test_without_a_usable_hash_nothing_fits(stored: str | None) -> None:
    """An unknown user, one without a password and one with a broken hash are refused, and nothing is raised."""
    assert not verify(stored, PASSWORD)


def test_an_unknown_user_costs_the_same() -> None:
    """The hash that stands in for an unknown user's was made with the parameters of today's hashes."""
    assert extract_parameters(passwords._DUMMY_HASH) == extract_parameters(hash_password(PASSWORD))


def test_very_long_passwords_are_refused() -> None:
    """More than 1024 bytes are refused, by the rules and at login, counted in bytes."""
    longest = "é" * 512
    assert verify(hash_password(longest), longest)
    with pytest.raises(Refused, match="1024 bytes"):
        check_password_rules(longest + "x")
    assert not verify(hash_password(PASSWORD), "x" * 10_000_000)


@pytest.mark.parametrize(
    ("password", "words"), [("elevenchars", "12 characters"), ("line\nbreak line", "line break"), ("\ud800" * 12, "control")]
)
def test_password_rules(password: str, words: str) -> None:
    """A short password, and one that no client could send, is refused with the rule."""
    with pytest.raises(Refused, match=words):
        check_password_rules(password)


def test_any_text_can_be_tried() -> None:
    """What a client sends as a password never raises."""
    assert not verify(None, "\ud800\0\n")


def test_generated_passwords() -> None:
    """Generated passwords keep the rules, can be read aloud, and differ."""
    made = {generate_password() for _ in range(100)}
    assert len(made) == 100
    for password in made:
        check_password_rules(password)
        assert set(password) <= set("abcdefghijkmnpqrstuvwxyz23456789-")


def test_only_argon2id_is_a_valid_hash() -> None:
    """Hashes of other kinds are not taken for valid."""
    assert valid_hash(hash_password(PASSWORD))
    assert not valid_hash(hash_password(PASSWORD).replace("argon2id", "argon2i"))
    assert not valid_hash("plain text")
