"""Who could have written a file of the keys directory: owners and modes on the way, links included."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sftpgate.app.doctor.users import check_users
from sftpgate.errors import UserFileError
from sftpgate.policy.login import LoginRefusal
from sftpgate.settings.tree import Settings
from sftpgate.users.keys.authorized import parse_public_key
from sftpgate.users.logins import judge_key
from sftpgate.users.modes import unsafe
from sftpgate.users.registry import UserRegistry

NOW = datetime(2030, 1, 1, tzinfo=UTC)
KEY = parse_public_key("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAVWxv6FAC8Eq2F806owPHNmPZ2d5eQBsJA+l7tPstwE")

PLANTED = parse_public_key("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBVWxv6FAC8Eq2F806owPHNmPZ2d5eQBsJA+l7tPstwE")


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A keys directory with a user."""
    directory = tmp_path / "keys"
    UserRegistry(directory).add("erp", keys=[KEY])
    return directory


def linked(path: Path, target: Path) -> None:
    """Put a link in the place of ``path``, which leads to where it is now."""
    path.rename(target)
    path.symlink_to(target)


def world_writable_users(keys: Path) -> Path:
    """Everybody can make a user, and nobody remove one."""
    (keys / "users").chmod(0o1777)
    return keys / "users"


def link_into_a_public_directory(keys: Path) -> Path:
    """The keys directory is a link to what lies in a directory that everybody may write."""
    public = keys.parent / "public"
    public.mkdir(mode=0o700)
    linked(keys, public / "keys")
    public.chmod(0o1777)
    return public


def link_to_a_public_directory(keys: Path) -> Path:
    """The keys directory is a link to one that everybody may write."""
    linked(keys, keys.parent / "public")
    (keys.parent / "public").chmod(0o777)
    return keys.parent / "public"


def linked_keys_in_a_public_directory(keys: Path) -> Path:
    """The authorized_keys of a user is a link to a file where everybody can put another one in its place."""
    public = keys.parent / "public"
    public.mkdir()
    linked(keys / "users/erp/authorized_keys", public / "erp.pub")
    public.chmod(0o777)
    return public


def linked_keys_that_others_write(keys: Path) -> Path:
    """The file that a link leads to can be written by others."""
    target = keys.parent / "erp.pub"
    linked(keys / "users/erp/authorized_keys", target)
    target.chmod(0o666)
    return target


def a_directory_of_a_group(keys: Path) -> Path:
    """A user's directory can be written by a group that has others in it."""
    path = keys / "users/erp"
    path.chmod(0o770)
    os.chown(path, -1, 0 if os.getegid() else 1)
    return path


def a_public_directory_above(keys: Path) -> Path:
    """Everybody can put another keys directory in the place of this one."""
    keys.parent.chmod(0o777)
    return keys.parent


EXPOSED = [
    world_writable_users,
    link_into_a_public_directory,
    link_to_a_public_directory,
    linked_keys_in_a_public_directory,
    linked_keys_that_others_write,
    a_public_directory_above,
]
IF_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")


def test_planted_right_after_the_modes_were_opened(keys: Path) -> None:
    """A user or a key that is planted within the second after a good look does not log in, then or later."""
    registry = UserRegistry(keys, seconds=lambda: 0.0)
    assert registry.get("erp") is not None
    (keys / "users").chmod(0o777)
    UserRegistry(keys).add_key("erp", PLANTED)
    planted = keys / "users/eve"
    planted.mkdir(mode=0o700)
    (planted / "authorized_keys").write_text(KEY.line)
    (planted / "authorized_keys").chmod(0o600)
    for _ in range(2):
        assert registry.get("eve") is None
        user = registry.get("erp")
        assert user is not None and [key.blob for key in user.keys] == [KEY.blob], "who is known stays as he was"


@pytest.mark.parametrize("expose", [*EXPOSED, pytest.param(a_directory_of_a_group, marks=IF_ROOT)])
def test_what_others_can_write_lets_nobody_in(keys: Path, expose: Callable[[Path], Path]) -> None:
    """A user whose files others could have planted is refused, with the directory and what to do; who was known stays so."""
    running = UserRegistry(keys)
    before = running.get("erp")
    exposed = expose(keys)
    with pytest.raises(UserFileError, match=f"{exposed} .*chmod go-w {exposed}"):
        UserRegistry(keys).load("erp")
    assert UserRegistry(keys).get("erp") is None
    assert before is not None


@pytest.mark.parametrize("expose", EXPOSED)
def test_the_doctor_names_it(keys: Path, expose: Callable[[Path], Path]) -> None:
    """`sftpgate doctor` says which directory or file others can write, once, and the command that mends it."""
    exposed = expose(keys)
    settings = Settings(keys_dir=keys, data_dir=keys.parent / "data")
    found = [finding for finding in check_users(settings, NOW) if f"{exposed} " in finding.finding]
    assert [finding.what_to_do for finding in found] == [f"chmod go-w {exposed}"]


@IF_ROOT
@pytest.mark.parametrize("path", ["users/erp", "users/erp/authorized_keys", "users"])
def test_what_belongs_to_somebody_else_lets_nobody_in(keys: Path, path: str) -> None:
    """A directory or file of another account than root's and the server's is refused."""
    nobody = pwd.getpwnam("nobody")
    os.chown(keys / path, nobody.pw_uid, -1)
    with pytest.raises(UserFileError, match="belongs to nobody"):
        UserRegistry(keys).load("erp")


def test_usual_places_are_safe(keys: Path, tmp_path: Path) -> None:
    """A directory below /tmp, a link to another one of ours, and a link as authorized_keys are as good as any."""
    linked(keys / "users/erp/authorized_keys", tmp_path / "erp.pub")
    linked(keys, tmp_path / "elsewhere")
    assert unsafe(keys / "users/erp/authorized_keys", keys) is None
    assert UserRegistry(keys).load("erp").keys == (KEY,)


def test_a_mode_that_changes_is_seen(keys: Path) -> None:
    """A user that is new while everybody can write the directory is nobody, and is somebody when that is mended."""
    now = 0.0
    registry = UserRegistry(keys, seconds=lambda: now)
    world_writable_users(keys)
    (keys / "users/planted").mkdir(mode=0o700)
    (keys / "users/planted/authorized_keys").write_text(KEY.line + "\n")
    assert registry.get("planted") is None
    (keys / "users").chmod(0o700)
    now += 1
    assert registry.get("planted") is not None


@pytest.mark.timeout(10)
@pytest.mark.parametrize("name", ["authorized_keys", "user.toml"])
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(keys: Path, name: str) -> None:
    """A pipe, a socket, a device or a directory of a file's name is an error at once, and the user as it was stays in force."""
    registry = UserRegistry(keys)
    before = registry.get("erp")
    path = keys / "users/erp" / name
    path.unlink()
    os.mkfifo(path, 0o600)
    assert registry.get("erp") == before
    with pytest.raises(UserFileError, match="no regular file"):
        registry.load("erp")
    revoked = keys / "revoked_keys"
    os.mkfifo(revoked, 0o600)
    with pytest.raises(UserFileError, match="no regular file"):
        registry.revocations.load()
    with pytest.raises(UserFileError, match="no regular file"):
        registry.disable("erp") if name == "user.toml" else registry.add_key("erp", KEY)


def test_a_key_on_two_lines(keys: Path) -> None:
    """Every line of a key is tried, as OpenSSH does: one that has expired does not hide the renewed one."""
    path = keys / "users/erp/authorized_keys"
    path.write_text(f'expiry-time="20200101Z" {KEY.line}\nfrom="192.0.2.1" {KEY.line}\n')
    user = UserRegistry(keys).load("erp")
    for address, refusal in (("192.0.2.1", None), ("192.0.2.2", LoginRefusal.EXPIRED_KEY)):
        judged = judge_key("erp", user, KEY.blob, address=address, now=NOW, issued=NOW, min_rsa_bits=2048, revoked=frozenset())
        assert judged.refusal is refusal


def test_a_rotation_of_a_key_on_two_lines(keys: Path) -> None:
    """Each line of the old key keeps its own limits, and none is accepted beyond the overlap."""
    path, until = keys / "users/erp/authorized_keys", datetime(2030, 2, 1, tzinfo=UTC)
    path.write_text(f'expiry-time="20200101Z" {KEY.line}\nfrom="192.0.2.1" {KEY.line}\n')
    registry = UserRegistry(keys)
    registry.rotate_key("erp", KEY.fingerprint, parse_public_key(KEY.line.replace("PstwE", "PstwI")), until)
    lines = registry.load("erp").lines_of_key(KEY.blob)
    assert [line.expires_at for line in lines] == [datetime(2020, 1, 1, tzinfo=UTC), until]
    assert lines[1].from_patterns == ("192.0.2.1",)


def test_what_is_written_can_be_read(keys: Path) -> None:
    """A list or a file that would be too long to be read again is refused whole, and stays as it was."""
    registry = UserRegistry(keys)
    path = keys / "users/erp/authorized_keys"
    text = f"{KEY.line}\n" + f"# {'x' * 1000}\n" * 1045
    path.write_text(text)
    assert registry.load("erp").keys == (KEY,)
    more = [parse_public_key(KEY.line.replace("PstwE", f"Pstw{last}")) for last in "IQUYc"]
    with pytest.raises(UserFileError, match="nothing was changed"):
        registry.add_keys("erp", more)
    assert path.read_text() == text
