from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from sftpgate.errors import AlreadyExists, KeyRefused, NameRefused, NotFound, UnknownUser, UserFileError
from sftpgate.users.keys.authorized import AuthorizedKey, parse_public_key
from sftpgate.users.passwords import hash_password
from sftpgate.users.registry import UserRegistry

HASH = hash_password("correct horse battery")
NOW = datetime(2030, 1, 31, 12, tzinfo=UTC)


def make_key(label: str = "") -> AuthorizedKey:
    """A fresh key."""
    public = Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return parse_public_key(f"{public.decode()} {label}".strip())


KEY, OTHER = make_key("one"), make_key("other")


@pytest.fixture
def logs() -> Iterator[list[structlog.typing.EventDict]]:
    """What is logged during a test."""
    with capture_logs() as captured:
        yield captured


@pytest.fixture
def registry(tmp_path: Path) -> UserRegistry:
    """An empty registry at a fixed time."""
    return UserRegistry(tmp_path, clock=lambda: NOW)


def mode(path: Path) -> int:
    """The permission bits of a file."""
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_user_is_there_as_it_was_made(registry: UserRegistry, tmp_path: Path) -> None:
    """A user that was added is found with its keys, password, home and time, in files for their owner only."""
    made = registry.add("erp", keys=[KEY], password_hash=HASH, home="north")
    assert registry.get("erp") == made == registry.load("erp")
    assert (made.name, made.keys, made.password_hash, made.home, made.added_at) == ("erp", (KEY,), HASH, "north", NOW)
    assert not made.disabled
    user = tmp_path / "users" / "erp"
    assert sorted(path.name for path in user.iterdir()) == ["authorized_keys", "user.toml"]
    assert [mode(user.parent), mode(user)] == [0o700, 0o700]
    assert [mode(path) for path in user.iterdir()] == [0o600, 0o600]


def test_there_are_no_users_without_a_directory(registry: UserRegistry) -> None:
    """A registry whose directory does not exist yet has no users."""
    assert registry.list() == []
    assert registry.get("erp") is None


@pytest.mark.parametrize("name", ["", ".", "..", "../users/erp", "ERP", "e/p", "e\0p", "x" * 5000, "\ud800"])
def test_no_name_makes_a_lookup_fail(registry: UserRegistry, name: str) -> None:
    """A lookup of whatever a client sends as a name finds nobody, and raises nothing."""
    registry.add("erp")
    assert registry.get(name) is None
    with pytest.raises(UnknownUser):
        registry.load(name)
    with pytest.raises(UnknownUser):
        registry.remove(name)


def test_a_name_is_taken_once(registry: UserRegistry) -> None:
    """A second user of a name is refused, and the first one stays as it is."""
    first = registry.add("erp", keys=[KEY])
    with pytest.raises(AlreadyExists):
        registry.add("erp")
    assert registry.get("erp") == first


def test_what_is_refused_makes_nothing(registry: UserRegistry, tmp_path: Path) -> None:
    """A bad name, a bad home or a key given twice leaves nothing behind."""
    with pytest.raises(NameRefused):
        registry.add("ERP")
    with pytest.raises(NameRefused):
        registry.add("erp", home="../x")
    with pytest.raises(KeyRefused):
        registry.add("erp", keys=[KEY, KEY])
    assert registry.names() == []
    assert list(tmp_path.iterdir()) == []


def test_changes_by_hand_hold_at_once(registry: UserRegistry, tmp_path: Path) -> None:
    """Files that somebody else writes are picked up by the next lookup, users without one of them too."""
    directory = tmp_path / "users" / "erp"
    directory.mkdir(parents=True)
    found = registry.get("erp")
    assert found is not None
    assert found.keys == ()
    (directory / "authorized_keys").write_text(KEY.line + "\n")
    found = registry.get("erp")
    assert found is not None
    assert found.keys == (KEY,)
    (directory / "user.toml").write_text("disabled = true\n")
    found = registry.get("erp")
    assert found is not None
    assert found.disabled
    (directory / "authorized_keys").unlink()
    found = registry.get("erp")
    assert found is not None
    assert found.keys == ()


def test_an_unchanged_user_is_not_read_again(registry: UserRegistry) -> None:
    """A lookup of an unchanged user gives the very same record."""
    registry.add("erp", keys=[KEY])
    assert registry.get("erp") is registry.get("erp")


@pytest.mark.parametrize(("file", "content"), [("user.toml", "disabled = tr"), ("authorized_keys", "ssh-ed25519 AAAA")])
def test_a_broken_file_leaves_the_last_good_version_in_force(
    registry: UserRegistry, tmp_path: Path, logs: list[structlog.typing.EventDict], file: str, content: str
) -> None:
    """While a file cannot be understood, the user stays as it was; there is one warning, and the repaired file holds at once."""
    good = registry.add("erp", keys=[KEY])
    assert registry.get("erp") == good
    path = tmp_path / "users" / "erp" / file
    before = path.read_text()
    path.write_text(content)
    assert registry.get("erp") == good
    assert registry.get("erp") == good
    assert [(line["event"], line["user"], line["log_level"]) for line in logs] == [("user.unreadable", "erp", "warning")]
    with pytest.raises(UserFileError, match=file):
        registry.load("erp")
    path.write_text(content + "x")
    assert registry.get("erp") == good
    path.write_text(before + "\n")
    assert registry.get("erp") == good
    assert len(logs) == 2


def test_a_user_that_was_never_readable_does_not_exist(
    registry: UserRegistry, tmp_path: Path, logs: list[structlog.typing.EventDict]
) -> None:
    """Nobody logs in as a user whose files were never understood, and other users are not disturbed."""
    registry.add("good")
    bad = registry.add("bad")
    (tmp_path / "users" / bad.name / "user.toml").write_text("nonsense")
    assert registry.get("bad") is None
    assert [user.name for user in registry.list()] == ["good"]
    assert registry.names() == ["bad", "good"]
    assert len(logs) == 1


def test_an_enormous_file_is_not_read(registry: UserRegistry, tmp_path: Path) -> None:
    """A file of gigabytes is an error, and not read into the server's memory."""
    registry.add("erp")
    os.truncate(tmp_path / "users" / "erp" / "authorized_keys", 8 * 1024**3)
    with pytest.raises(UserFileError, match="larger"):
        registry.load("erp")


def test_disable_and_enable(registry: UserRegistry, tmp_path: Path) -> None:
    """A user is disabled and enabled again, and nothing else of its file changes."""
    registry.add("erp", password_hash=HASH)
    before = (tmp_path / "users" / "erp" / "user.toml").read_text()
    registry.disable("erp")
    found = registry.get("erp")
    assert found is not None
    assert found.disabled
    registry.enable("erp")
    assert (tmp_path / "users" / "erp" / "user.toml").read_text() == before


def test_passwords_come_and_go(registry: UserRegistry) -> None:
    """A user gets a password and loses it."""
    registry.add("erp", keys=[KEY])
    registry.set_password_hash("erp", HASH)
    assert registry.load("erp").password_hash == HASH
    registry.set_password_hash("erp", None)
    assert registry.load("erp").password_hash is None


def test_a_broken_file_is_not_edited(registry: UserRegistry, tmp_path: Path) -> None:
    """A change of a file that cannot be understood is refused and changes nothing: whoever broke it must look at it."""
    registry.add("erp")
    path = tmp_path / "users" / "erp" / "user.toml"
    path.write_text("disabled = tr")
    with pytest.raises(UserFileError):
        registry.disable("erp")
    assert path.read_text() == "disabled = tr"
    (path.parent / "authorized_keys").write_text("nonsense")
    with pytest.raises(UserFileError):
        registry.add_key("erp", KEY)


def test_a_removed_user_is_gone(registry: UserRegistry, tmp_path: Path) -> None:
    """A removed user is found no more, its directory is gone, and the name is free."""
    registry.add("erp", keys=[KEY])
    assert registry.get("erp") is not None
    registry.remove("erp")
    assert registry.get("erp") is None
    assert list((tmp_path / "users").iterdir()) == []
    assert registry.add("erp").keys == ()


def test_a_key_is_there_once(registry: UserRegistry) -> None:
    """A key that the user has already is refused by its fingerprint, whatever its label."""
    registry.add("erp", keys=[KEY])
    with pytest.raises(KeyRefused, match="already"):
        registry.add_key("erp", parse_public_key(KEY.line + " with another label"))
    registry.add_key("erp", OTHER)
    assert registry.load("erp").keys == (KEY, OTHER)


def test_a_key_is_removed_by_its_fingerprint(registry: UserRegistry) -> None:
    """A fingerprint removes its key, with or without the prefix; an unknown one is an error."""
    registry.add("erp", keys=[KEY, OTHER])
    assert registry.remove_key("erp", KEY.fingerprint) == KEY
    with pytest.raises(NotFound):
        registry.remove_key("erp", KEY.fingerprint)
    registry.remove_key("erp", OTHER.fingerprint.removeprefix("SHA256:"))
    assert registry.load("erp").keys == ()


def test_what_a_crash_left_is_not_read_and_cleared_away(registry: UserRegistry, tmp_path: Path) -> None:
    """Half-made users and files are no users, and the next change removes them."""
    registry.add("erp")
    users = tmp_path / "users"
    (users / ".new-other-0a1b2c3d").mkdir()
    (users / ".old-erp-0a1b2c3d").mkdir()
    (users / ".old-erp-0a1b2c3d" / "user.toml").write_text("")
    (users / "erp" / ".new-user.toml-0a1b2c3d").write_text("disab")
    assert registry.names() == ["erp"]
    registry.disable("erp")
    registry.add("other")
    assert sorted(path.name for path in users.iterdir()) == ["erp", "other"]
    assert sorted(path.name for path in (users / "erp").iterdir()) == ["authorized_keys", "user.toml"]


def test_two_commands_at_a_time_undo_nothing(registry: UserRegistry) -> None:
    """Keys that are added at the same time are all there afterwards."""
    registry.add("erp")
    keys = [make_key() for _ in range(20)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: registry.add_key("erp", key), keys))
    assert {key.fingerprint for key in registry.load("erp").keys} == {key.fingerprint for key in keys}


def test_a_blob_finds_a_key_or_an_authority_but_not_one_as_the_other(registry: UserRegistry) -> None:
    """An authority's own key is not one to log in with, and a user's key signs no certificates."""
    authority = parse_public_key(f"cert-authority {OTHER.line}")
    user = registry.add("erp", keys=[KEY, authority])
    assert user.lines_of_key(KEY.blob) == [KEY]
    assert user.lines_of_authority(KEY.blob) == []
    assert user.lines_of_key(authority.blob) == []
    assert user.lines_of_authority(authority.blob) == [authority]


LINES = st.one_of(
    st.just(""),
    st.just("  "),
    st.builds("# {}".format, st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]))),
    st.builds(
        "{}{} {}{}".format,
        st.sampled_from(["", "restrict ", ' from="192.0.2.0/24",command="a \\"b\\"" ', "\t"]),
        st.sampled_from([" ".join(make_key().line.split()[:2]) for _ in range(3)]),
        st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"])),
        st.sampled_from(["", "\r", "  "]),
    ),
).map(str.encode)
NOISE = st.sampled_from([b"# caf\xe9", b"# \xff\xfe\r", b"#\x85\x0b\x0c"])
FILES = st.builds(
    lambda lines, end: b"\n".join(lines) + end, st.lists(st.one_of(LINES, NOISE)), st.sampled_from([b"", b"\n", b"\n\n"])
)


@given(FILES)
def test_adding_and_removing_a_key_leaves_the_other_bytes(content: bytes) -> None:
    """A key that comes and goes leaves authorized_keys as it was, byte for byte: comments, options, encodings and line ends."""
    with tempfile.TemporaryDirectory() as directory:
        registry = UserRegistry(Path(directory))
        registry.add("erp")
        path = Path(directory) / "users" / "erp" / "authorized_keys"
        path.write_bytes(content)
        before = registry.load("erp").keys
        registry.add_key("erp", KEY)
        assert registry.load("erp").keys == (*before, KEY)
        assert content in path.read_bytes()
        registry.remove_key("erp", KEY.fingerprint)
        assert path.read_bytes() == content


@pytest.mark.parametrize("path", ["", "user.toml", "authorized_keys"])
def test_files_that_everybody_can_write_are_not_believed(
    registry: UserRegistry, tmp_path: Path, logs: list[structlog.typing.EventDict], path: str
) -> None:
    """A user whose directory or file everybody on the machine can write is refused, with the chmod that repairs it."""
    good = registry.add("erp", keys=[KEY])
    assert registry.get("erp") == good
    exposed = tmp_path / "users" / "erp" / path
    exposed.chmod(exposed.stat().st_mode | 0o002)
    with pytest.raises(UserFileError, match=r"chmod go-w .*erp"):
        registry.load("erp")
    assert UserRegistry(tmp_path).get("erp") is None
    assert "chmod" in str(logs[0]["reason"])


def test_an_empty_account_file_lifts_no_limits(registry: UserRegistry, tmp_path: Path) -> None:
    """A user.toml without a byte is one that is being written: the earlier one stays in force, and a new user is not let in."""
    registry.add("erp", keys=[KEY])
    registry.disable("erp")
    path = tmp_path / "users" / "erp" / "user.toml"
    before = registry.get("erp")
    path.write_text("")
    assert registry.get("erp") == before
    assert UserRegistry(tmp_path).get("erp") is None
    path.unlink()
    assert registry.get("erp") == before
    registry.enable("erp")
    found = registry.get("erp")
    assert found is not None
    assert not found.disabled


def test_the_start_reads_everybody(registry: UserRegistry, tmp_path: Path, logs: list[structlog.typing.EventDict]) -> None:
    """Files that break after the start leave the good version in force, also of users who never logged in; odd names are told."""
    good = registry.add("erp", keys=[KEY])
    (tmp_path / "users" / "Big ERP").mkdir()
    fresh = UserRegistry(tmp_path)
    fresh.preload()
    (tmp_path / "users" / "erp" / "user.toml").write_text("disabled = tr")
    assert fresh.get("erp") == good
    assert [(line["event"], line.get("directory")) for line in logs] == [("user.ignored", "Big ERP"), ("user.unreadable", None)]
