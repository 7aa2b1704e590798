"""Keys that are revoked while the server runs: who has one is shut out, whichever user it is, and learns nothing of why."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import asyncssh
import pytest

from sftpgate.policy.login import LoginRefusal
from sftpgate.users.passwords import hash_password
from tests.harness.credentials import KeyFile, authorize, certify, keygen, login, make_key, reasons, refused, registry
from tests.harness.gates import Gate, Start
from tests.harness.raw import WAIT_SECONDS

PASSWORD = "correct horse battery"


def revoke(directory: Path, *lines: str, end: str = "\n") -> Path:
    """Make this the list of revoked keys of a gate in ``directory``, in one act."""
    path = directory / "keys/revoked_keys"
    fresh = path.with_suffix(".fresh")
    fresh.write_text("\n".join(lines) + end)
    fresh.rename(path)
    return path


async def is_let_in(gate: Gate, key: KeyFile, user: str = "erp") -> bool:
    """Whether a key logs in; where it does not, it is for being revoked."""
    try:
        async with login(gate, user, client_keys=[str(key.path)]):
            return True
    except asyncssh.PermissionDenied:
        assert (await reasons(gate, "login.refused"))[-1] == LoginRefusal.REVOKED_KEY
        return False


async def test_a_key(gate: Gate, tmp_path: Path) -> None:
    """A key on the list logs in as nobody, also where another user has it; other keys do; the list counts without a restart."""
    stolen, kept = make_key(tmp_path / "stolen"), make_key(tmp_path / "kept")
    authorize(gate, stolen.line, kept.line)
    authorize(gate, stolen.line, user="other")
    assert await is_let_in(gate, stolen)
    path = revoke(gate.directory, "# after the burglary", "", stolen.line)
    for user in ("erp", "other"):
        assert await refused(gate, user, client_keys=[str(stolen.path)]) == [LoginRefusal.REVOKED_KEY]
    assert await is_let_in(gate, kept)
    path.unlink()  # that says nothing
    assert not await is_let_in(gate, stolen)
    revoke(gate.directory, "# nobody")
    assert await is_let_in(gate, stolen)


async def test_certificates(gate: Gate, tmp_path: Path) -> None:
    """A certificate is refused where its key is on the list, as such or in another certificate, and where its authority is."""
    authority, key, other = make_key(tmp_path / "ca"), make_key(tmp_path / "id"), make_key(tmp_path / "other")
    authorize(gate, f"cert-authority {authority.line}")
    certificate, another = certify(authority, key, "-n", "erp"), certify(authority, other, "-n", "erp")
    expected = {
        key.line: LoginRefusal.REVOKED_KEY,
        Path(f"{key.path}-cert.pub").read_text().strip(): LoginRefusal.REVOKED_KEY,
        authority.line: LoginRefusal.REVOKED_AUTHORITY,
    }
    for line, reason in expected.items():
        async with login(gate, client_keys=another):
            revoke(gate.directory, line)
        assert await refused(gate, client_keys=certificate) == [reason]
        if reason is LoginRefusal.REVOKED_KEY:
            async with login(gate, client_keys=another):
                pass
        revoke(gate.directory, "# nobody")


@pytest.mark.promise("P1")
@pytest.mark.parametrize("what", ["key", "authority"])
async def test_connections_end(gate: Gate, tmp_path: Path, what: str) -> None:
    """Connections that logged in with the key end, other ones stay, and an upload that was under way is in nobody's hands."""
    authority, key = make_key(tmp_path / "ca"), make_key(tmp_path / "id")
    authorize(gate, key.line, f"cert-authority {authority.line}")
    credentials: Sequence[object] = [str(key.path)] if what == "key" else certify(authority, key, "-n", "erp")
    line, reason = (key.line, LoginRefusal.REVOKED_KEY) if what == "key" else (authority.line, LoginRefusal.REVOKED_AUTHORITY)
    async with gate.connection("other") as other, login(gate, client_keys=credentials) as connection:
        async with connection.start_sftp_client() as sftp:
            file = await sftp.open("half.csv", "wb")
            await file.write(b"half")
            revoke(gate.directory, line)
            async with asyncio.timeout(WAIT_SECONDS):
                await connection.wait_closed()
        async with other.start_sftp_client() as sftp:
            assert await sftp.realpath(".") == "/sync"
    assert await reasons(gate, "connection.ended") == [reason]
    assert gate.in_store() == {}


async def test_a_list_that_breaks(gate: Gate, tmp_path: Path) -> None:
    """Whatever becomes of the list, what was revoked stays so until a list that can be read says otherwise; nobody else is shut
    out, what can be read of a broken list counts, and the log says what is wrong.
    """
    first, second, third = (make_key(tmp_path / name) for name in ("first", "second", "third"))
    authorize(gate, first.line, second.line, third.line)
    path = revoke(gate.directory, first.line)
    assert not await is_let_in(gate, first)
    revoke(gate.directory, second.line, third.line[:-30], end="")  # half written
    assert [await is_let_in(gate, key) for key in (first, second, third)] == [False, False, True]
    path.write_text("")
    assert [await is_let_in(gate, key) for key in (first, second, third)] == [False, False, True]
    public = f"{third.path}.pub"
    keygen("-k", "-q", "-f", path, public)
    assert [await is_let_in(gate, key) for key in (first, second, third)] == [False, False, True]
    path.unlink()
    path.mkdir()
    assert [await is_let_in(gate, key) for key in (first, second, third)] == [False, False, True]
    said = await reasons(gate, "revoked_keys.unreadable", 4)
    assert ["line 2" in said[0], "is empty" in said[1], "KRL" in said[2], "cannot be read" in said[3]] == [True] * 4
    path.rmdir()
    revoke(gate.directory, third.line)
    assert [await is_let_in(gate, key) for key in (first, second, third)] == [True, True, False]


async def test_a_start_with_a_broken_list(start: Start, tmp_path: Path) -> None:
    """A server that never read the list accepts no key, as sshd does, and passwords; it accepts keys when the list is mended."""
    key = make_key(tmp_path / "id")
    async with start() as gate:
        authorize(gate, key.line)
        registry(gate).set_password_hash("erp", hash_password(PASSWORD))
    revoke(gate.directory, "nonsense")
    async with start() as gate:
        assert await refused(gate, client_keys=[str(key.path)]) == [LoginRefusal.UNKNOWN_REVOCATIONS]
        async with login(gate, password=PASSWORD):
            revoke(gate.directory, "# nobody")
        assert await is_let_in(gate, key)
