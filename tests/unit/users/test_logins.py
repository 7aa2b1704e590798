from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftpgate.errors import NameRefused
from sftpgate.policy.accounts import check_home, check_user_name
from sftpgate.policy.certificates import principal_fits
from sftpgate.policy.login import LoginRefusal, account_refusal, address_matches, key_refusal
from sftpgate.users.keys.authorized import parse_line
from sftpgate.users.logins import judge_key
from sftpgate.users.registry import User

NOW = datetime(2030, 1, 31, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
BLOB = b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(32)  # a key on the wire (RFC 8709 §4)


@dataclass(frozen=True)
class Account:
    disabled: bool = False
    expires_at: datetime | None = None
    networks: Sequence[str] = ()


@dataclass(frozen=True)
class Key:
    type: str = "ssh-ed25519"
    bits: int = 256
    expires_at: datetime | None = None
    from_patterns: Sequence[str] = ()
    forced_command: str | None = None


@pytest.mark.parametrize(
    ("account", "expected"),
    [
        (Account(), None),
        (None, LoginRefusal.UNKNOWN_USER),
        (Account(disabled=True), LoginRefusal.DISABLED_USER),
        (Account(expires_at=NOW), LoginRefusal.EXPIRED_USER),
        (Account(expires_at=NOW + SECOND), None),
        (Account(networks=["198.51.100.0/24"]), LoginRefusal.WRONG_NETWORK),
        (Account(networks=["192.0.2.0/24"]), None),
    ],
)
def test_accounts(account: Account | None, expected: LoginRefusal | None) -> None:
    """A user logs in unless it is unknown, disabled, expired or comes from elsewhere, and the log is told which."""
    assert account_refusal(account, address="192.0.2.1", now=NOW) is expected


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (Key(), None),
        (None, LoginRefusal.UNKNOWN_KEY),
        (Key(type="ssh-dss", bits=1024), LoginRefusal.WEAK_KEY),
        (Key(type="ssh-rsa", bits=2047), LoginRefusal.WEAK_KEY),
        (Key(type="ssh-rsa", bits=2048), None),
        (Key(type="ssh-rsa", bits=16385), LoginRefusal.WEAK_KEY),
        (Key(expires_at=NOW), LoginRefusal.EXPIRED_KEY),
        (Key(expires_at=NOW + SECOND), None),
        (Key(from_patterns=["10.*"]), LoginRefusal.WRONG_KEY_NETWORK),
        (Key(from_patterns=["192.0.2.?"]), None),
    ],
)
def test_keys(key: Key | None, expected: LoginRefusal | None) -> None:
    """A key is accepted unless it is unknown, weak, expired or used from elsewhere, and the log is told which."""
    assert key_refusal(key, address="192.0.2.1", now=NOW, min_rsa_bits=2048) is expected


def test_the_account_goes_first() -> None:
    """What is wrong with the account is the reason, whatever the key."""
    key = parse_line(f"ssh-ed25519 {base64.b64encode(BLOB).decode()}")
    assert key is not None

    def judged(user: User, blob: bytes) -> LoginRefusal | None:
        return judge_key(
            "erp", user, blob, address="192.0.2.1", now=NOW, issued=NOW, min_rsa_bits=2048, revoked=frozenset()
        ).refusal

    assert judged(User(name="erp", disabled=True), b"no key at all") is LoginRefusal.DISABLED_USER
    assert judged(User(name="erp", disabled=True), BLOB) is LoginRefusal.DISABLED_USER
    assert judged(User(name="erp", keys=(key,)), BLOB) is None


@pytest.mark.parametrize(
    ("address", "patterns", "expected"),
    [
        ("192.0.2.1", ["192.0.2.1"], True),
        ("192.0.2.10", ["192.0.2.1"], False),
        ("192.0.2.1", ["192.0.2.0/24"], True),
        ("192.0.3.1", ["192.0.2.0/24"], False),
        ("192.0.2.1", ["192.0.2.*"], True),
        ("192.0.2.12", ["192.0.2.?"], False),
        ("192.0.2.1", ["*", "!192.0.2.1"], False),
        ("192.0.2.1", ["!192.0.2.1", "*"], False),
        ("192.0.2.2", ["!192.0.2.1", "*"], True),
        ("192.0.2.2", ["!192.0.2.1"], False),  # nothing but a negation matches nothing
        ("192.0.2.1", ["!192.0.2.0/28", "192.0.2.0/24"], False),
        ("2001:db8::1", ["2001:db8::/32"], True),
        ("2001:DB8:0:0::1", ["2001:db8::1"], True),
        ("2001:db8::1", ["2001:DB8:*"], True),
        ("::ffff:192.0.2.1", ["192.0.2.0/24"], True),
        ("fe80::1%eth0", ["fe80::/10"], True),
        ("192.0.2.1", ["::/0"], False),
        ("192.0.2.1", ["192.0.2.1/24", "*"], False),  # one that is not valid: fail closed
        ("192.0.2.1", ["192.0.2.0/255.255.255.0"], False),
        ("192.0.2.1", ["erp.example.org", "*.example.org"], False),
        ("?", ["192.0.2.0/24"], False),
        ("", ["*"], True),
        ("192.0.2.1", [], False),
    ],
)
def test_address_patterns(address: str, patterns: list[str], expected: bool) -> None:
    """Patterns, networks and negations mean what they mean in OpenSSH's from= option."""
    assert address_matches(address, patterns) is expected


@given(st.text(), st.lists(st.text(alphabet="0123456789abcdef.:/!*?%-_ ,\u0660", max_size=20)))
def test_any_pattern_decides(address: str, patterns: list[str]) -> None:
    """No address and no pattern makes the decision fail."""
    assert address_matches(address, patterns) in (True, False)


@pytest.mark.parametrize(
    ("allowed", "certificate", "expected"),
    [
        ([], ["erp"], True),
        ([], ["other"], False),
        ([], [], False),
        (["sender"], ["sender", "x"], True),
        (["sender"], ["erp"], False),
        (["sender"], [], False),
    ],
)
def test_principals(allowed: list[str], certificate: list[str], expected: bool) -> None:
    """A certificate fits by a principal that its authority's line allows, or else by the user's name; one without fits nobody."""
    assert principal_fits("erp", allowed=allowed, certificate=certificate) is expected


@pytest.mark.parametrize("name", ["erp", "_erp", "e", "erp-1.test_x", "a" * 32])
def test_good_user_names(name: str) -> None:
    """Plain names are accepted."""
    check_user_name(name)


@pytest.mark.parametrize("name", ["", "ERP", "1erp", "-erp", ".erp", "e rp", "e/p", "e..p", "..", "erp\n", "é", "a" * 33, "e\0"])
def test_bad_user_names(name: str) -> None:
    """A name that is no plain directory name is refused with the rule."""
    with pytest.raises(NameRefused, match="rule: 1 to 32 characters"):
        check_user_name(name)


@pytest.mark.parametrize("home", ["", "north", "campus/north", "reports-of-erp", "campus/archives"])
def test_good_homes(home: str) -> None:
    """A directory in the drop is accepted as a home, and so is the drop."""
    check_home(home)


@pytest.mark.parametrize(
    "home",
    [
        "/", "../..", "/etc", "\\\\server\\share", "C:\\drop", "~", "~erp/drop", " north", "campus/north ", "a\t/b", "a\udcff",
        "/".join("a" * 65), "/north", "..", "a/../b", "a//b", "a/", "./a", "archives", "Reports/x", ".hidden", "a/_b",
        "a\nb", "a\0b", "x" * 256,
    ],
)  # fmt: skip
def test_bad_homes(home: str) -> None:
    """A home outside the drop, in a reserved directory, or where nothing would ever be taken from, is refused."""
    with pytest.raises(NameRefused):
        check_home(home)
