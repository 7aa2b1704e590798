"""Who was kept out stays out, whatever becomes of a file, until a whole one says otherwise; also over a restart."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sftpgate.errors import UserFileError
from sftpgate.users.keys.authorized import AuthorizedKey, parse_public_key
from sftpgate.users.last_whole import Memory
from sftpgate.users.registry import UserRegistry

KEY = parse_public_key("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAVWxv6FAC8Eq2F806owPHNmPZ2d5eQBsJA+l7tPstwE stolen")
OTHER = parse_public_key(KEY.line.replace("PstwE", "PstwI"))
NOW = datetime(2030, 1, 31, tzinfo=UTC)


class World:
    """A keys directory with a disabled user and two revoked keys, and servers that read it."""

    def __init__(self, directory: Path) -> None:
        self.keys = directory / "keys"
        self.data = directory / "data"
        self.data.mkdir()
        self.now = 0.0
        admin = UserRegistry(self.keys)
        admin.add("erp", keys=[KEY])
        admin.disable("erp")
        for key in (OTHER, KEY):
            admin.revocations.add(key, NOW, "of erp")
        self.account, self.list = self.keys / "users/erp/user.toml", self.keys / "revoked_keys"

    def start(self) -> UserRegistry:
        """What a server has read at its start."""
        memory = Memory(self.data / "access")
        registry = UserRegistry(self.keys, seconds=lambda: self.now, memory=memory)
        registry.preload()
        return registry

    def is_revoked(self, registry: UserRegistry, key: AuthorizedKey = KEY) -> bool:
        """Whether a key is, at the first look and when the file has stayed as it is."""
        looks = []
        for _ in range(2):
            revoked = registry.revocations.in_force()
            looks.append(revoked is None or key.blob in revoked)
            self.now += 1
        return looks[1]

    def is_disabled(self, registry: UserRegistry) -> bool:
        """Whether the user is, as ``is_revoked``."""
        looks = []
        for _ in range(2):
            user = registry.get("erp")
            looks.append(user is None or user.disabled)
            self.now += 1
        return looks[1]


@pytest.fixture
def world(tmp_path: Path) -> World:
    """One that has not been read yet."""
    return World(tmp_path)


def cut(path: Path) -> None:
    """Leave the first line."""
    path.write_text(path.read_text().partition("\n")[0] + "\n")


DAMAGE: dict[str, Callable[[Path], object]] = {
    "renamed away": lambda path: path.rename(path.with_suffix(".away")),
    "empty": lambda path: path.write_text(""),
    "blank": lambda path: path.write_text(" \n\n"),
    "a line end": lambda path: path.write_text("\n"),
    "cut at a line end": cut,
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("restarted", [False, True], ids=["running", "restarted"])
def test_a_revoked_key_stays_revoked(world: World, damage: str, restarted: bool) -> None:
    """What was on the list stays revoked when the list is gone, empty or cut; a list that was written anew counts."""
    running = world.start()
    assert world.is_revoked(running)
    whole = world.list.read_text()
    DAMAGE[damage](world.list)
    registry = world.start() if restarted else running
    assert world.is_revoked(registry) and world.is_revoked(registry, OTHER)
    with pytest.raises(UserFileError, match="revoked_keys"):
        UserRegistry(world.keys, memory=Memory(world.data / "access", keeps=False)).revocations.load()
    world.list.write_text(whole)
    assert world.is_revoked(registry)
    world.list.write_text(f"# only the other one\n{OTHER.line}\n")
    assert not world.is_revoked(registry) and world.is_revoked(registry, OTHER)


@pytest.mark.parametrize("damage", [*DAMAGE, "a remark"])
@pytest.mark.parametrize("restarted", [False, True], ids=["running", "restarted"])
def test_a_disabled_user_stays_disabled(world: World, damage: str, restarted: bool) -> None:
    """A user stays disabled when its user.toml is gone, or says nothing; one that says otherwise counts."""
    running = world.start()
    assert world.is_disabled(running)
    if damage in DAMAGE:
        DAMAGE[damage](world.account)
    else:
        world.account.write_text("# the ERP\n")
    registry = world.start() if restarted else running
    assert world.is_disabled(registry)
    assert registry.doubt("erp") is not None
    world.account.write_text("disabled = false\n")
    assert not world.is_disabled(registry)
    assert registry.doubt("erp") is None


def test_a_list_that_ends(world: World) -> None:
    """The last lines of a list count as removed where the list says that it is whole; so does a list of nobody."""
    registry = world.start()
    lines = world.list.read_text().split("\n")
    world.list.write_text("\n".join(lines[:2]) + "\n")
    assert world.is_revoked(registry)
    world.list.write_text("\n".join(lines[:2]) + "\n# end\n")
    assert not world.is_revoked(registry) and world.is_revoked(registry, OTHER)
    world.list.write_text("# nobody\n")
    assert not world.is_revoked(registry, OTHER)
    world.list.unlink()
    assert not world.is_revoked(world.start(), OTHER)


def test_what_is_being_written_does_not_count_yet(world: World) -> None:
    """A version that lets somebody in is looked at twice, and says so meanwhile; one that shuts somebody out counts at once."""
    registry = world.start()
    world.list.write_text(f"# anew\n{OTHER.line}\n")
    assert KEY.blob in (registry.revocations.in_force() or ())
    assert registry.is_settling("erp")
    world.now += 1
    assert KEY.blob not in (registry.revocations.in_force() or ())
    assert not registry.is_settling("erp")
    world.list.write_text(f"# anew\n{OTHER.line}\n{KEY.line}\n")
    assert KEY.blob in (registry.revocations.in_force() or ())


def test_our_own_commands_count_at_once(world: World) -> None:
    """Enabling a user, and making one anew whose earlier one was disabled, needs no second look."""
    registry = world.start()
    UserRegistry(world.keys).enable("erp")
    user = registry.get("erp")
    assert user is not None and not user.disabled
    UserRegistry(world.keys).disable("erp")
    assert registry.get("erp") != user
    UserRegistry(world.keys).remove("erp")
    assert registry.get("erp") is None
    UserRegistry(world.keys).add("erp", keys=[KEY])
    fresh = world.start().get("erp")
    assert fresh is not None and not fresh.disabled


@pytest.mark.parametrize(
    "limit",
    ["expires = 2030-01-31", 'networks = ["192.0.2.0/24"]', 'required_auth = ["publickey", "password"]', 'home = "house"'],
)
def test_every_limit_stays(world: World, limit: str) -> None:
    """Whatever keeps a user out, or in its home, stays when the file is cut before it; no password is kept beside the ledger."""
    world.account.write_text(f"notes = 'x'\npassword_hash = ''\n{limit}\n")
    running = world.start()
    before = running.get("erp")
    world.account.write_text("notes = 'x'\n")
    world.now += 1
    for registry in (running, world.start()):
        for _ in range(2):
            assert registry.get("erp") == before
            world.now += 1
    assert "password" not in (world.data / "access/users/erp").read_text().replace('"password"', "")
