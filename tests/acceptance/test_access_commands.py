"""Rotation, import, listings and warnings by the command line, with real ``ssh-keygen`` files."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sftpgate.errors import ExitCode
from sftpgate.ledger.database.connection import Ledger
from sftpgate.ledger.logins import LastUse, remember
from sftpgate.users.registry import UserRegistry
from tests.harness.command_line import Cli
from tests.harness.credentials import make_key

USED = LastUse(
    owner="erp",
    credential="",
    at=datetime(2030, 1, 31, 12, tzinfo=UTC),
    address="192.0.2.7",
    client="SSH-2.0-JSCH\x1b[31m-0.1.54",
)


@pytest.fixture
def registry(cli: Cli) -> UserRegistry:
    """What the commands changed."""
    return UserRegistry(cli.directory / "keys")


def pub(directory: Path, name: str) -> str:
    """The path of a new public key."""
    return f"{make_key(directory / name).path}.pub"


def test_key_rotate(cli: Cli, registry: UserRegistry, tmp_path: Path) -> None:
    """A rotation needs no fingerprint where there is one key, gives the old one its end, and shows both in the listings."""
    cli("user", "add", "erp", "--key", pub(tmp_path, "old"))
    said = cli("key", "rotate", "erp", pub(tmp_path, "new"), "--overlap", "3d", "--label", "next")
    old, new = registry.load("erp").keys
    assert new.fingerprint in said.out
    assert old.fingerprint in said.out
    assert old.expires_at is not None
    assert timedelta(0) <= datetime.now(UTC) + timedelta(days=3) - old.expires_at < timedelta(minutes=5)
    rows = cli("key", "list", "erp", "--json").rows
    assert [(row["label"], row["state"], bool(row["added_at"])) for row in rows] == [
        ("old", "active", True),
        ("next", "active", True),
    ]
    expiring = cli("status", "--json").record["expiring"]
    assert isinstance(expiring, list)
    assert [ending["fingerprint"] for ending in expiring] == [old.fingerprint]
    assert old.fingerprint in cli("status").out
    again = cli("key", "rotate", "erp", pub(tmp_path, "third"), "--overlap", "0")  # the one that does not end is meant
    assert new.fingerprint in again.out
    assert [row["state"] for row in cli("key", "list", "--json").rows] == ["active", "expired", "active"]


def test_key_rotate_that_is_not_clear(cli: Cli, registry: UserRegistry, tmp_path: Path) -> None:
    """With two keys the old one has to be named; with none, or with nonsense for an overlap, nothing is changed."""
    cli("user", "add", "erp", "--key", pub(tmp_path, "one"), "--key", pub(tmp_path, "two"))
    new = pub(tmp_path, "new")
    before = registry.load("erp")
    assert "--old" in cli("key", "rotate", "erp", new, code=ExitCode.REFUSED).err
    for overlap in ("soon", "-1d", "99999999999999d"):
        cli("key", "rotate", "erp", new, "--old", before.keys[0].fingerprint, "--overlap", overlap, code=ExitCode.USAGE)
    cli("key", "rotate", "erp", new, "--old", "SHA256:none", code=ExitCode.NOT_FOUND)
    assert registry.load("erp") == before
    cli("key", "rotate", "erp", new, "--old", before.keys[0].fingerprint.removeprefix("SHA256:"))
    assert [key.expires_at is None for key in registry.load("erp").keys] == [False, True, True]


def test_an_authority(cli: Cli, registry: UserRegistry, tmp_path: Path) -> None:
    """An authority's key is added with its principals, and is listed as one."""
    cli("user", "add", "erp")
    ca = pub(tmp_path, "ca")
    cli("key", "add", "erp", ca, "--principals", "x", code=ExitCode.USAGE)
    cli("key", "add", "erp", ca, "--authority", "--principals", "erp-batch, other")
    [key] = registry.load("erp").keys
    assert (key.cert_authority, key.principals) == (True, ("erp-batch", "other"))
    assert [row["state"] for row in cli("key", "list", "--json").rows] == ["authority"]


def test_findings_of_options(cli: Cli, tmp_path: Path) -> None:
    """Options that refuse a key or are of no use are named when it is added, in the listing and by doctor."""
    limited = tmp_path / "limited.pub"
    limited.write_text(f'command="/bin/backup",environment="A=b" {make_key(tmp_path / "limited").line}')
    cli("user", "add", "erp", "--key", pub(tmp_path, "good"))
    assert "not accepted" in cli("key", "add", "erp", str(limited), code=None).err
    assert "environment has no effect" in cli("key", "list").out
    assert [row["state"] for row in cli("key", "list", "--json").rows] == ["active", "not accepted"]
    assert "environment has no effect" in cli("doctor", code=None).out


def test_user_import(cli: Cli, registry: UserRegistry, tmp_path: Path) -> None:
    """A directory is imported with one line for each user; what was refused is named, and the exit code says so."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "erp").write_text(make_key(tmp_path / "erp-key").line)
    assert cli("user", "import", str(source), "--dry-run").out.split()[-4:] == ["erp", "yes", "1", "0"]
    assert registry.names() == []
    cli("user", "import", str(source))
    (source / "ppk").write_text("PuTTY-User-Key-File-3: ssh-ed25519\n")
    refused = cli("user", "import", str(source), code=ExitCode.REFUSED)
    assert "puttygen" in refused.out
    assert registry.names() == ["erp"]
    (tmp_path / "none").mkdir()
    cli("user", "import", str(tmp_path / "none"), code=ExitCode.NOTHING_TO_DO)


def test_last_uses_are_listed(cli: Cli, registry: UserRegistry, tmp_path: Path) -> None:
    """Listings say when and from where each key was used; what a client calls itself cannot paint the terminal."""
    cli("user", "add", "erp", "--key", pub(tmp_path, "one"), "--key", pub(tmp_path, "two"))
    assert [row["last_used_at"] for row in cli("key", "list", "--json").rows] == [None, None]
    assert not cli.data.exists()  # looking makes nothing
    ledger = Ledger(f"sqlite:///{cli.data / 'ledger.db'}")
    ledger.create()
    key = registry.load("erp").keys[1].fingerprint
    with ledger.transaction() as connection:
        remember(connection, [LastUse(owner="erp", credential=key, at=USED.at, address=USED.address, client=USED.client)])
    ledger.close()
    rows = cli("key", "list", "erp", "--json").rows
    assert [row["last_used_at"] for row in rows] == [None, "2030-01-31T12:00:00.000Z"]
    assert rows[1]["last_used_by"] == USED.client
    assert "2030-01-31 12:00:00Z" in cli("key", "list").out
    assert "192.0.2.7" in cli("user", "show", "erp").out
    assert b"\x1b" not in cli("user", "show", "erp").raw
    assert cli("user", "list", "--json").rows[0]["last_login_at"] == "2030-01-31T12:00:00.000Z"


def test_names_that_nobody_can_have(cli: Cli) -> None:
    """A name with spaces or upper case is refused with the rule and one that would do."""
    for name, hint in (("My ERP", "my-erp"), ("ERP", "erp"), ("ärp", "-rp")):
        said = cli("user", "add", name, code=ExitCode.REFUSED).err
        assert "1 to 32 characters" in said
        assert (f"try {hint} " in said) == (not hint.startswith("-"))
