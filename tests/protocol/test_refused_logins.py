"""Refused logins: what the log says, what the client does not learn, and what must not cost a login that is good."""

from __future__ import annotations

import asyncio
from pathlib import Path
from time import process_time

import asyncssh
import paramiko  # type: ignore[import-untyped]
import pytest

from sftpgate.policy.login import LoginRefusal
from sftpgate.users.passwords import hash_password
from tests.harness.credentials import authorize, login, make_key, refused, registry
from tests.harness.gates import Gate, Start
from tests.harness.raw import WAIT_SECONDS

PASSWORD = "correct horse battery"


@pytest.mark.parametrize(("profile", "accepted"), [("default", False), ("hardened", False), ("legacy", True)])
async def test_sha1_signatures(start: Start, tmp_path: Path, profile: str, accepted: bool) -> None:
    """An RSA key that a client signs with SHA-1 logs in with the legacy profile only, and the log says why; SHA-2 does in all."""
    key = make_key(tmp_path / "rsa", "rsa", "-b", "2048")
    modern = {"mac_algs": ["hmac-sha2-512-etm@openssh.com"], "encryption_algs": ["aes256-gcm@openssh.com"]}
    async with start(algorithms=profile) as gate:
        authorize(gate, key.line)
        if accepted:
            async with login(gate, client_keys=[_signing(key.path, b"ssh-rsa")]):
                pass
        else:
            found = await refused(gate, client_keys=[_signing(key.path, b"ssh-rsa")], **modern)  # type: ignore[arg-type]
            assert found == [LoginRefusal.WEAK_SIGNATURE]
        async with login(gate, client_keys=[_signing(key.path, b"rsa-sha2-256")], **modern):  # type: ignore[arg-type]
            pass


def _signing(path: Path, algorithm: bytes) -> asyncssh.SSHKeyPair:
    """A pair that signs in one way, whatever the server asks for."""
    [pair] = asyncssh.load_keypairs([asyncssh.read_private_key(str(path))])
    pair.sig_algorithms = [algorithm]
    pair.set_sig_algorithm(algorithm)
    return pair


async def test_a_client_that_tries_several_keys(gate: Gate, tmp_path: Path) -> None:
    """paramiko asks for the login service before each attempt; one with three keys and a password gets in with the last."""
    registry(gate).set_password_hash("erp", hash_password(PASSWORD))
    keys = [paramiko.Ed25519Key.from_private_key_file(str(make_key(tmp_path / str(number)).path)) for number in range(3)]

    def log_in() -> list[str]:
        transport = paramiko.Transport(("127.0.0.1", gate.port))
        try:
            transport.start_client(timeout=WAIT_SECONDS)
            for key in keys:
                with pytest.raises(paramiko.AuthenticationException):
                    transport.auth_publickey("erp", key)
            left: list[str] = transport.auth_password("erp", PASSWORD)
            return left
        finally:
            transport.close()

    assert await asyncio.to_thread(log_in) == []
    assert [line["reason"] for line in await gate.said("login.refused", 3)] == [LoginRefusal.UNKNOWN_KEY] * 3


@pytest.mark.parametrize("name", ["erp\nlogin.accepted user=erp", "erp\x1b[2J", "\u202eerp", "x" * 900, "../erp", "ERP", "e r p"])
async def test_names_are_data(gate: Gate, name: str) -> None:
    """Whatever a client calls itself, it is one value of one line, cut to a sane length, and nobody by that name gets in."""

    def log_in() -> None:
        transport = paramiko.Transport(("127.0.0.1", gate.port))
        try:
            transport.start_client(timeout=WAIT_SECONDS)
            transport.auth_password(name, PASSWORD)
        finally:
            transport.close()

    with pytest.raises((paramiko.SSHException, EOFError)):
        await asyncio.to_thread(log_in)
    assert gate.log.events("login.accepted") == []
    assert all(len(str(line["user"])) <= 64 for line in gate.log.events("login.refused"))
    async with gate.connection():
        pass


@pytest.mark.same_process
async def test_unknown_users_take_as_long(start: Start) -> None:
    """A user that does not exist, one without a password, a disabled one and one with it take the same time to be refused."""
    async with start(ban_threshold=0) as gate:  # so many failures would ban us
        registry(gate).set_password_hash("erp", hash_password(PASSWORD))
        registry(gate).set_password_hash("homed", hash_password(PASSWORD))
        registry(gate).disable("homed")
        names = ("erp", "other", "homed", "nobody")
        took: dict[str, list[float]] = {name: [] for name in (*names, "no hash")}
        for _ in range(6):
            for name in took:  # processor time: client and gate are one process, and the machine has other work
                started = process_time()
                with pytest.raises(asyncssh.PermissionDenied):
                    # a password that is too long is refused without a hash
                    wrong = "x" * 1100 if name == "no hash" else "wrong"
                    async with login(gate, "erp" if name == "no hash" else name, password=wrong, preferred_auth="password"):
                        pass
                took[name].append(process_time() - started)
        quickest = [min(took[name]) for name in names]
        cost_of_a_hash = min(quickest) - min(took["no hash"])
        assert cost_of_a_hash > 0
        assert max(quickest) - min(quickest) < cost_of_a_hash
