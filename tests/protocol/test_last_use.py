"""The last use of each key and password, in the ledger that all processes share."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from sftpgate.gateway.ssh.last_use import LastUses
from sftpgate.ledger.database.connection import Ledger
from sftpgate.ledger.logins import LastUse, last_uses, remember
from sftpgate.users.passwords import hash_password
from tests.harness.credentials import login, registry
from tests.harness.gates import Gate, Start

PASSWORD = "correct horse battery"
EARLY = LastUse(owner="erp", credential="x", at=datetime(2030, 1, 31, tzinfo=UTC), address="192.0.2.1", client="c")
LATE = LastUse(owner="erp", credential="x", at=EARLY.at + timedelta(seconds=1), address="192.0.2.2", client="d")


def uses(gate: Gate) -> dict[str, LastUse]:
    """The last uses by ``erp``, by credential."""
    with gate.ledger() as connection:
        return {use.credential: use for use in last_uses(connection, "erp")}


@pytest.mark.promise("P8")
async def test_last_uses_outlive_the_server(start: Start) -> None:
    """Key and password are remembered with time, address and client over a restart; a refused login is no use."""
    async with start() as gate:
        registry(gate).set_password_hash("erp", hash_password(PASSWORD))
        [key] = registry(gate).load("erp").keys
        async with gate.connection():
            pass
        await gate.until("login.accepted")
    first = uses(gate)
    assert set(first) == {key.fingerprint}
    assert first[key.fingerprint].address == "127.0.0.1"
    assert "AsyncSSH" in first[key.fingerprint].client
    async with start() as gate:
        async with login(gate, password=PASSWORD), gate.connection("other"):
            pass
    assert uses(gate)[key.fingerprint] == first[key.fingerprint]
    assert set(uses(gate)) == {key.fingerprint, "password"}


def test_a_ledger_that_fails(tmp_path: Path) -> None:
    """Uses that cannot be written wait until they can be, one line says so, and a later use of the same key replaces them."""
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}", durable=False)
    last = LastUses(ledger)
    with capture_logs() as lines:
        last.note([EARLY])
        last.write()  # there is no table
        last.note([LATE])
        last.write()
    assert [line["event"] for line in lines] == ["last_use.not_written"]
    ledger.create()
    last.write()
    with ledger.reading() as connection:
        assert last_uses(connection) == [LATE]
    ledger.close()


def test_an_earlier_use_changes_nothing(tmp_path: Path) -> None:
    """Of two processes that write one after the other, the later use stays, whoever wrote last; an old ledger has none."""
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}", durable=False)
    with ledger.reading() as connection:
        assert last_uses(connection) == []
    ledger.create()
    with ledger.transaction() as connection:
        remember(connection, [LATE])
        remember(connection, [EARLY])
        assert last_uses(connection, "erp") == [LATE]
        assert last_uses(connection, "other") == []
    ledger.close()
