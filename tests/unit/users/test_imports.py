from __future__ import annotations

from pathlib import Path

import pytest

from sftpgate.errors import UserFileError
from sftpgate.users.imports import import_users
from sftpgate.users.registry import UserRegistry
from tests.harness.credentials import make_key


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A directory with users in all three layouts, and some that cannot be taken."""
    directory = tmp_path / "source"
    for name, inside in (("flat", ""), ("deep", "authorized_keys"), ("home", ".ssh/authorized_keys")):
        path = directory / name / inside if inside else directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        first, second = make_key(tmp_path / f"{name}-1").line, make_key(tmp_path / f"{name}-2").line
        path.write_text(f'# keys\n{first}\nfrom="192.0.2.0/24" {second}\n{first}\n')
    (directory / ".hidden").write_text("nothing of ours")
    (directory / "empty-directory").mkdir()
    (directory / "Big Name").write_text(make_key(tmp_path / "big").line)
    (directory / "weak").write_text(make_key(tmp_path / "weak", "rsa", "-b", "1024").line)
    (directory / "private").write_text(make_key(tmp_path / "private").path.read_text())
    (directory / "half").write_text(make_key(tmp_path / "half").line + "\nssh-ed25519 AAAA\n")
    (directory / "nothing").write_text("# nothing\n")
    return directory


def test_an_import(source: Path, tmp_path: Path) -> None:
    """All three layouts are found, each file is taken whole or refused with its reason, and a second import adds nothing."""
    registry = UserRegistry(tmp_path / "keys")
    found = {item.name: item for item in import_users(source, registry, min_rsa_bits=2048)}
    assert {name for name, item in found.items() if item.problem is None} == {"flat", "deep", "home"}
    assert [len(user.keys) for user in registry.list()] == [2, 2, 2]
    assert registry.load("home").keys[1].from_patterns == ("192.0.2.0/24",)
    for name, words in {
        "Big Name": "try big-name",
        "weak": "1024 bits",
        "private": "private key",
        "half": "line 2",
        "nothing": "no key",
    }.items():
        assert words in str(found[name].problem)
    again = [item for item in import_users(source, registry, min_rsa_bits=2048) if item.problem is None]
    assert [(item.new_user, item.added, item.known) for item in again] == [(False, 0, 2)] * 3


def test_keys_that_are_missing(source: Path, tmp_path: Path) -> None:
    """A user that exists keeps its keys and gets those that it lacks."""
    registry = UserRegistry(tmp_path / "keys")
    for _ in import_users(source, registry, min_rsa_bits=2048):
        pass
    kept = registry.load("flat").keys[0]
    registry.remove_key("flat", registry.load("flat").keys[1].fingerprint)
    [item] = [item for item in import_users(source, registry, min_rsa_bits=2048) if item.name == "flat"]
    assert (item.new_user, item.added, item.known) == (False, 1, 1)
    assert registry.load("flat").keys[0] == kept


def test_a_dry_run(source: Path, tmp_path: Path) -> None:
    """A dry run says the same and makes nothing."""
    registry = UserRegistry(tmp_path / "keys")
    dry = list(import_users(source, registry, min_rsa_bits=2048, dry_run=True))
    assert not (tmp_path / "keys").exists()
    assert list(import_users(source, registry, min_rsa_bits=2048)) == dry


def test_no_directory(tmp_path: Path) -> None:
    """A directory that is not there is an error."""
    with pytest.raises(UserFileError, match="cannot be read"):
        list(import_users(tmp_path / "nowhere", UserRegistry(tmp_path), min_rsa_bits=2048))
