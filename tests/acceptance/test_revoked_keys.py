"""``sftpgate key revoke`` and what the other commands say of revoked keys, with keys and lists of OpenSSH's own programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from sftpgate.errors import ExitCode
from tests.harness.command_line import Cli
from tests.harness.credentials import KeyFile, keygen, make_key


@pytest.fixture
def keys(cli: Cli, tmp_path: Path) -> list[KeyFile]:
    """Two keys, which the user erp has, and a third one, of nobody."""
    made = [make_key(tmp_path / name) for name in ("laptop", "server", "strange")]
    cli("user", "add", "erp", "--key", f"{made[0].path}.pub", "--key", f"{made[1].path}.pub")
    return made


def fingerprint(key: KeyFile) -> str:
    """As ``ssh-keygen`` shows it."""
    return keygen("-l", "-f", f"{key.path}.pub").split()[1]


def test_revoke(cli: Cli, keys: list[KeyFile]) -> None:
    """A key is revoked by the fingerprint of a user's key, by its file or by a certificate; twice does no harm."""
    said = cli("key", "revoke", fingerprint(keys[0]).removeprefix("SHA256:"))
    assert "revoked" in said.out and "sftpgate key remove erp" in said.err
    assert "already" in cli("key", "revoke", f"{keys[0].path}.pub").out
    keygen("-q", "-s", keys[1].path, "-I", "x", "-n", "erp", f"{keys[2].path}.pub")
    cli("key", "revoke", "-", text=Path(f"{keys[2].path}-cert.pub").read_text())
    rows = cli("key", "list", "--revoked", "--json").rows
    assert [(row["fingerprint"], row["label"], row["users"]) for row in rows] == [
        (fingerprint(keys[0]), "laptop", ["erp"]),
        (fingerprint(keys[2]), "strange", []),
    ]
    assert [row["state"] for row in cli("key", "list", "erp", "--json").rows] == ["revoked", "active"]
    assert [row["fingerprint"] for row in cli("key", "list", "erp", "--revoked", "--json").rows] == [fingerprint(keys[0])]
    assert (cli.directory / "keys/revoked_keys").stat().st_mode & 0o777 == 0o600


def test_the_list_is_one_of_openssh(cli: Cli, keys: list[KeyFile]) -> None:
    """What the command writes, below what a person wrote, is a list that OpenSSH reads."""
    path = cli.directory / "keys/revoked_keys"
    path.write_text(f"# by hand\n{keys[2].line}")  # without a line end
    cli("key", "revoke", fingerprint(keys[0]))
    assert path.read_text().startswith(f"# by hand\n{keys[2].line}\n# revoked ")
    keygen("-k", "-q", "-f", cli.directory / "krl", path)
    shown = keygen("-Q", "-l", "-f", cli.directory / "krl")
    assert shown.count("key:") + shown.count("hash:") == 2


def test_who_is_meant(cli: Cli, keys: list[KeyFile]) -> None:
    """A fingerprint that no user has, a private key and a list that is broken are refused, and nothing is changed."""
    path = cli.directory / "keys/revoked_keys"
    assert "file of the public key" in cli("key", "revoke", fingerprint(keys[2]), code=ExitCode.NOT_FOUND).err
    assert "private key" in cli("key", "revoke", str(keys[2].path), code=None).err
    assert not path.exists()
    keygen("-k", "-q", "-f", path, f"{keys[0].path}.pub")
    before = path.read_bytes()
    assert cli("key", "revoke", fingerprint(keys[0]), code=None).code != 0
    assert path.read_bytes() == before
    said = [row for row in cli("doctor", "--json", code=None).rows if "revoked keys" in str(row["finding"])]
    assert [row["level"] for row in said] == ["error"] and "KRL" in str(said[0]["finding"])


def test_a_revoked_key_is_not_given_to_a_user(cli: Cli, keys: list[KeyFile]) -> None:
    """No command gives a user a key that is revoked, and the doctor names who still has one and cannot log in any more."""
    for key in (keys[0], keys[2]):
        cli("key", "revoke", f"{key.path}.pub")
    for words in (("key", "add", "erp"), ("key", "rotate", "erp"), ("user", "add", "new", "--key")):
        assert "revoked" in cli(*words, f"{keys[2].path}.pub", code=None).err
    others = cli.directory / "others"
    others.mkdir()
    (others / "new").write_text(keys[2].line)
    assert "this key is revoked" in cli("user", "import", str(others), code=None).out
    cli("key", "revoke", f"{keys[1].path}.pub")
    found = [str(row["finding"]) for row in cli("doctor", "--json", code=None).rows if row["check"] == "users"]
    assert f"erp: {fingerprint(keys[0])} is revoked" in found
    assert any("nobody can log in as erp" in text for text in found)


@pytest.mark.parametrize("line", ["serial: 1", "sha256:SHA256:abc", "ssh-ed25519 AAAA", "key"])
def test_lines_that_are_no_keys(cli: Cli, line: str) -> None:
    """What is no public key is an error that names its line: it could be one that somebody wanted to revoke."""
    (cli.directory / "keys").mkdir(exist_ok=True)
    (cli.directory / "keys/revoked_keys").write_text(f"# list\n{line}\n")
    assert "line 2" in cli("key", "list", "--revoked", code=None).err
