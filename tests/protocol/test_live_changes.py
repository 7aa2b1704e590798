"""Changes of the keys directory while somebody is connected: who would not be let in any more has to go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncssh
import pytest

from sftpgate.policy.login import LoginRefusal
from sftpgate.users.passwords import hash_password
from tests.harness.credentials import authorize, certify, login, make_key, reasons, registry
from tests.harness.gates import Gate
from tests.harness.raw import WAIT_SECONDS


def _append(line: str) -> Callable[[Gate], None]:
    def change(gate: Gate) -> None:
        path = gate.directory / "keys/users/erp/user.toml"
        path.write_text(path.read_text() + line + "\n")

    return change


def _expiring(gate: Gate) -> None:
    """The key that is in use expires in an instant."""
    [key] = registry(gate).load("erp").keys
    authorize(gate, f'expiry-time="{datetime.now(UTC) + timedelta(seconds=1):%Y%m%d%H%M%S}Z" {key.line}')


CHANGES: list[tuple[Callable[[Gate], None], str]] = [
    (lambda gate: registry(gate).disable("erp"), LoginRefusal.DISABLED_USER),
    (lambda gate: registry(gate).remove("erp"), LoginRefusal.UNKNOWN_USER),
    (lambda gate: authorize(gate), LoginRefusal.UNKNOWN_KEY),
    (_expiring, LoginRefusal.EXPIRED_KEY),
    (_append("expires = 2020-01-01"), LoginRefusal.EXPIRED_USER),
    (_append('networks = ["192.0.2.0/24"]'), LoginRefusal.WRONG_NETWORK),
    (_append('required_auth = ["publickey", "password"]'), LoginRefusal.METHOD_NOT_ACCEPTED),
]


@pytest.mark.parametrize(("change", "reason"), CHANGES, ids=[reason for _, reason in CHANGES])
async def test_a_connection_ends(gate: Gate, change: Callable[[Gate], None], reason: str) -> None:
    """A user removed, disabled, expired or shut out by network or method, or whose key is gone, is disconnected; others stay."""
    async with gate.connection("other") as other, login(gate, client_keys=[str(gate.directory / "keys/id")]) as connection:
        async with connection.start_sftp_client() as sftp:
            file = await sftp.open("half.csv", "wb")
            await file.write(b"half")
            change(gate)
            async with asyncio.timeout(WAIT_SECONDS):
                await connection.wait_closed()
        async with other.start_sftp_client() as sftp:
            assert await sftp.realpath(".") == "/sync"
    assert await reasons(gate, "connection.ended") == [reason]
    assert gate.in_store() == {}  # P1: what was under way is kept for a resume, and taken by nobody


async def test_a_changed_password(gate: Gate) -> None:
    """A connection that logged in with a password ends when the password is another one; one with a key stays."""
    registry(gate).set_password_hash("erp", hash_password("correct horse battery"))
    async with gate.connection() as by_key, login(gate, password="correct horse battery") as by_password:
        registry(gate).set_password_hash("erp", hash_password("another horse battery"))
        async with asyncio.timeout(WAIT_SECONDS):
            await by_password.wait_closed()
        async with by_key.start_sftp_client() as sftp:
            assert await sftp.realpath(".") == "/sync"


async def test_changes_that_shut_nobody_out(gate: Gate) -> None:
    """One more key, a note, and files that are being written or broken end no connection, and hold from then on."""
    async with gate.connection() as connection:
        path = gate.directory / "keys/users/erp/user.toml"
        good = path.read_text()
        path.write_text("disabled = tr")  # half of "true"
        await gate.until("user.unreadable")
        path.write_text("")  # a file that is just being written
        await gate.until("user.unreadable", 2)
        path.write_text(good + 'notes = "on leave"\n')
        async with gate.connection(), connection.start_sftp_client() as sftp:
            assert await sftp.realpath(".") == "/sync"
        registry(gate).disable("erp")
        async with asyncio.timeout(WAIT_SECONDS):
            await connection.wait_closed()
    assert await reasons(gate, "connection.ended") == [LoginRefusal.DISABLED_USER]


async def test_a_certificate_that_runs_out(gate: Gate, tmp_path: Path) -> None:
    """A certificate's own time counts at the login; the end of its authority's line ends the connection."""
    authority, key = make_key(tmp_path / "ca"), make_key(tmp_path / "id")
    authorize(gate, f"cert-authority {authority.line}")
    until = datetime.now(UTC) + timedelta(seconds=3)
    certificate = certify(authority, key, "-n", "erp", "-V", f"-1h:{until:%Y%m%d%H%M%S}Z")
    async with login(gate, client_keys=certificate) as connection:
        while datetime.now(UTC) < until:
            async with connection.start_sftp_client() as sftp:
                assert await sftp.realpath(".") == "/sync"
        with pytest.raises(asyncssh.PermissionDenied):
            async with login(gate, client_keys=certificate):
                pass
        async with connection.start_sftp_client() as sftp:
            assert await sftp.realpath(".") == "/sync"
        authorize(gate)
        async with asyncio.timeout(WAIT_SECONDS):
            await connection.wait_closed()
    assert await reasons(gate, "connection.ended") == [LoginRefusal.UNKNOWN_AUTHORITY]
