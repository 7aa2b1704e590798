from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sftpgate.errors import KeyRefused, NotFound
from sftpgate.users.keys.authorized import AuthorizedKey, parse_authorized_keys, parse_line, parse_public_key
from sftpgate.users.keys.changes import expiring, limited, succeeding
from sftpgate.users.registry import UserRegistry
from tests.harness.credentials import make_key

NOW = datetime(2030, 1, 31, 12, tzinfo=UTC)
WEEK = timedelta(days=7)


@pytest.fixture
def registry(tmp_path: Path) -> UserRegistry:
    """An empty registry at a fixed time."""
    return UserRegistry(tmp_path / "keys", clock=lambda: NOW)


@pytest.fixture
def keys(tmp_path: Path) -> list[AuthorizedKey]:
    """Three keys: old, new, third."""
    return [parse_public_key(make_key(tmp_path / name).line) for name in ("old", "new", "third")]


def test_a_rotation(registry: UserRegistry, keys: list[AuthorizedKey]) -> None:
    """The new key is there at once with the old one's limits, the old one ends after the overlap, and a third is not touched."""
    old, new, third = keys
    old = limited(old, from_patterns=["192.0.2.0/24"])
    registry.add("erp", keys=[old, third])
    added = registry.rotate_key("erp", old.fingerprint, new, NOW + WEEK)
    found = {key.blob: key for key in registry.load("erp").keys}
    assert found[new.blob] == added
    assert added.from_patterns == ("192.0.2.0/24",)
    assert (added.expires_at, added.comment, added.added_at) == (None, "new", None)
    assert found[old.blob].expires_at == NOW + WEEK
    assert found[old.blob].from_patterns == old.from_patterns
    assert found[third.blob] == third


def test_a_rotation_changes_nothing_else(registry: UserRegistry, keys: list[AuthorizedKey], tmp_path: Path) -> None:
    """Comments, line ends and other lines of the file stay as they are, byte for byte."""
    old, new, third = keys
    registry.add("erp")
    path = tmp_path / "keys/users/erp/authorized_keys"
    path.write_bytes(f"# ours \n\n{third.line}\r\n{old.line}\r\n# caf".encode() + b"\xe9\n")
    registry.rotate_key("erp", old.fingerprint, new, NOW)
    text = path.read_bytes()
    assert text.startswith(f"# ours \n\n{third.line}\r\n".encode())
    assert b'\r\nexpiry-time="20300131120000Z" ssh-ed25519' in text
    assert b" old\r\n# caf\xe9\n# added 2030-01-31T12:00:00Z " in text


def test_rotations_that_are_refused(registry: UserRegistry, keys: list[AuthorizedKey]) -> None:
    """A key that the user does not have cannot be rotated, and one that it has cannot come twice; nothing is changed."""
    old, new, _ = keys
    before = registry.add("erp", keys=[old])
    with pytest.raises(NotFound):
        registry.rotate_key("erp", new.fingerprint, new, NOW)
    with pytest.raises(KeyRefused):
        registry.rotate_key("erp", old.fingerprint, old, NOW)
    assert registry.load("erp") == before


def test_an_expiry_is_never_put_off(keys: list[AuthorizedKey]) -> None:
    """A key that ends earlier than the overlap keeps its end."""
    ends = expiring(keys[0], NOW)
    assert expiring(ends, NOW + WEEK) == ends
    assert expiring(ends, NOW - WEEK).expires_at == NOW - WEEK


@pytest.mark.parametrize(
    "options", ['from="192.0.2.0/24",restrict', 'cert-authority,principals="a,b"', 'command="internal-sftp"', "verify-required"]
)
def test_a_successor_is_not_worth_more(keys: list[AuthorizedKey], options: str) -> None:
    """Every limit of the old line is on the new one, but for its end; what the new line says itself counts more."""
    old, new, _ = keys
    limits = parse_line(f'expiry-time="20300101Z",{options} {old.line}')
    assert limits is not None
    made = succeeding(new, limits)
    assert made.options == tuple(option for option in limits.options if option[0] != "expiry-time")
    own = parse_line(f'from="198.51.100.7" {new.line}')
    assert own is not None
    assert succeeding(own, limits).from_patterns == ("198.51.100.7",)


def test_when_a_key_was_added(registry: UserRegistry, keys: list[AuthorizedKey], tmp_path: Path) -> None:
    """The file says when each key was added, in a remark that goes with the key and that nothing depends on."""
    registry.add("erp", keys=keys[:1])
    registry.add_key("erp", keys[1])
    assert [key.added_at for key in registry.load("erp").keys] == [NOW, NOW]
    registry.remove_key("erp", keys[0].fingerprint)
    path = tmp_path / "keys/users/erp/authorized_keys"
    assert path.read_text() == f"# added 2030-01-31T12:00:00Z {keys[1].fingerprint}\n{keys[1].line}\n"
    path.write_text(keys[1].line)
    assert registry.load("erp").keys[0].added_at is None


@pytest.mark.parametrize("at", ["2030-13-31T12:00:00Z", "yesterday, at around 4", "2030-01-31T12:00:00+"])
def test_remarks_that_say_nothing(keys: list[AuthorizedKey], at: str) -> None:
    """A remark whose time cannot be read is a comment like any other."""
    [key] = parse_authorized_keys(f"# added {at} {keys[0].fingerprint}\n{keys[0].line}\n")
    assert key.added_at is None


@pytest.mark.parametrize(
    ("options", "findings"),
    [
        ("", []),
        ('restrict,no-pty,from="10.*" ', []),
        ('command="internal-sftp" ', []),
        ('command="/usr/lib/openssh/sftp-server" ', []),
        ('command="internal-sftp -R" ', ["command= limits it to a command that is not served here: it is not accepted"]),
        ('command="/bin/sh" ', ["command= limits it to a command that is not served here: it is not accepted"]),
        ('environment="A=b",tunnel="1" ', ["environment has no effect", "tunnel has no effect"]),
        ("verify-required ", ["verify-required has no effect"]),
        ('principals="a" ', ["principals has no effect"]),
        ('cert-authority,verify-required,principals="a" ', []),
    ],
)
def test_what_is_said_of_options(keys: list[AuthorizedKey], options: str, findings: list[str]) -> None:
    """Options that refuse a key, or that are of no use, are named; what is kept is not spoken of."""
    key = parse_line(options + keys[0].line)
    assert key is not None
    assert key.findings == findings
