"""``required_auth``: a key and a password together, by several clients, and every way to get by with one of them."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncssh
import paramiko  # type: ignore[import-untyped]
import pytest

from sftpgate.policy.login import LoginRefusal
from sftpgate.users.passwords import hash_password
from tests.harness.credentials import login, refused, registry
from tests.harness.gates import Gate, Start
from tests.harness.raw import WAIT_SECONDS

PASSWORD = "correct horse battery"
HASH = hash_password(PASSWORD)
BOTH = ("publickey", "password")


def with_password(gate: Gate, *users: str) -> Gate:
    """The gate, where these users have a password."""
    for user in users or ("erp", "other"):
        registry(gate).set_password_hash(user, HASH)
    return gate


def key_of(gate: Gate) -> list[str]:
    """The key that all users have."""
    return [str(gate.directory / "keys/id")]


def by_paramiko(gate: Gate, *, key_first: bool = True, key_user: str = "erp", second_user: str = "erp") -> Any:
    """What paramiko is told of its two steps: the methods left after each, none at the end."""
    transport = paramiko.Transport(("127.0.0.1", gate.port))
    transport.banner_timeout = transport.auth_timeout = WAIT_SECONDS
    key = paramiko.Ed25519Key.from_private_key_file(key_of(gate)[0])
    steps = [lambda: transport.auth_publickey(key_user, key), lambda: transport.auth_password(second_user, PASSWORD)]
    try:
        transport.start_client(timeout=WAIT_SECONDS)
        said = [step() for step in (steps if key_first else reversed(steps))]
        return said, transport.is_authenticated()
    finally:
        transport.close()


@pytest.mark.promise("P8")
async def test_both_are_asked_for(start: Start) -> None:
    """With required_auth, a key is a partial success, the password ends the login, and the record names both."""
    async with start(required_auth=BOTH) as gate:
        said, done = await asyncio.to_thread(by_paramiko, with_password(gate))
        assert [sorted(methods) for methods in said] == [["keyboard-interactive", "password"], []]
        assert done
        [line] = await gate.said("login.accepted")
        fingerprint = asyncssh.read_public_key(key_of(gate)[0]).get_fingerprint()
        assert line["login"] == f"{fingerprint} and password"


async def test_asyncssh_goes_on_after_the_key(start: Start) -> None:
    """A client that has both gets in; with one of them, it does not."""
    async with start(required_auth=BOTH) as gate:
        with_password(gate)
        async with login(gate, client_keys=key_of(gate), password=PASSWORD) as connection:
            async with connection.start_sftp_client() as sftp:
                assert await sftp.realpath(".") == "/sync"
        assert await refused(gate, client_keys=key_of(gate)) == []
        assert await refused(gate, password=PASSWORD) == []  # not even offered before the key
        wrong = await refused(gate, client_keys=key_of(gate), password="wrong")
        assert set(wrong) == {LoginRefusal.WRONG_PASSWORD}


async def test_a_password_comes_after_the_key(start: Start) -> None:
    """The order is that of the setting: nobody can guess passwords without the key."""
    async with start(required_auth=BOTH) as gate:
        with pytest.raises(paramiko.BadAuthenticationType):
            await asyncio.to_thread(by_paramiko, with_password(gate), key_first=False)


async def test_two_halves_of_two_users(start: Start) -> None:
    """The key of one user and the password of another make no login."""
    async with start(required_auth=BOTH) as gate:
        with pytest.raises(paramiko.AuthenticationException):
            await asyncio.to_thread(by_paramiko, with_password(gate), second_user="other")


async def test_one_user_only(start: Start) -> None:
    """user.toml asks for both where the gate asks for one; others are not concerned, and the log says what was missing."""
    async with start() as gate:
        with_password(gate)
        path = gate.directory / "keys/users/erp/user.toml"
        path.write_text(path.read_text() + 'required_auth = ["publickey", "password"]\n')
        assert set(await refused(gate, password=PASSWORD)) == {LoginRefusal.METHOD_NOT_ACCEPTED}
        assert await refused(gate, client_keys=key_of(gate)) == []
        async with login(gate, client_keys=key_of(gate), password=PASSWORD):
            pass
        async with login(gate, "other", password=PASSWORD):
            pass


async def test_one_method_only(start: Start) -> None:
    """With required_auth = publickey a password is not offered, to anybody."""
    async with start(required_auth=("publickey",)) as gate:
        with_password(gate)
        for user in ("erp", "nobody"):
            with pytest.raises(paramiko.BadAuthenticationType) as caught:
                await asyncio.to_thread(by_paramiko, gate, key_first=False, second_user=user)
            assert caught.value.allowed_types == ["publickey"]
        async with login(gate, client_keys=key_of(gate)):
            pass


async def test_what_is_offered_does_not_tell_who_exists(start: Start) -> None:
    """A user with rules of its own, a disabled one and one that does not exist are offered the same."""
    async with start() as gate:
        with_password(gate)
        path = gate.directory / "keys/users/erp/user.toml"
        path.write_text(path.read_text() + 'required_auth = ["publickey", "password"]\n')
        registry(gate).disable("other")
        offered = []
        for user in ("erp", "other", "nobody"):
            with pytest.raises(paramiko.BadAuthenticationType) as caught:
                await asyncio.to_thread(_ask, gate, user)
            offered.append(sorted(caught.value.allowed_types))
        assert offered == [["keyboard-interactive", "password", "publickey"]] * 3


def _ask(gate: Gate, user: str) -> None:
    transport = paramiko.Transport(("127.0.0.1", gate.port))
    try:
        transport.start_client(timeout=WAIT_SECONDS)
        transport.auth_none(user)
    finally:
        transport.close()


async def test_a_password_of_a_megabyte(gate: Gate) -> None:
    """A password of a megabyte is refused at the cost of no hash, and the gate goes on."""
    with_password(gate)
    loop = asyncio.get_running_loop()
    started = loop.time()
    with pytest.raises((asyncssh.Error, ConnectionError)):
        async with login(gate, password="x" * 1024 * 1024):
            pass
    assert loop.time() - started < WAIT_SECONDS / 2
    assert {line["reason"] for line in gate.log.events("login.refused")} <= {LoginRefusal.WRONG_PASSWORD}
    async with login(gate, password=PASSWORD):
        pass
