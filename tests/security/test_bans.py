"""Who is refused, and who never is."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import asyncssh
import pytest

from sftpgate.users.keys.authorized import parse_public_key
from sftpgate.users.keys.changes import limited
from sftpgate.users.registry import UserRegistry
from tests.harness.commands import clean_environment, run
from tests.harness.gates import Gate, Start
from tests.harness.raw import WAIT_SECONDS
from tests.harness.strangers import Stranger, strangers


async def fail(gate: Gate, user: str, times: int, address: str = "127.0.0.2") -> None:
    """Try to log in with a password that is wrong."""
    for _ in range(times):
        with pytest.raises((asyncssh.PermissionDenied, asyncssh.ConnectionLost, OSError)):
            await asyncssh.connect(
                "127.0.0.1",
                gate.port,
                username=user,
                password="wrong",
                client_keys=[],
                known_hosts=None,
                config=None,
                agent_path=None,
                local_addr=(address, 0),
            )


async def is_refused(gate: Gate, address: str) -> bool:
    """Whether a connection from an address is closed without a word."""
    async with await Stranger.connect(gate.port, address=address) as stranger:
        return not await stranger.banner()


async def test_an_address_that_tries_names_is_banned_and_others_are_not(start: Start) -> None:
    """After a few unknown users an address gets no banner any more; others log in, and the log says who and why."""
    async with start() as gate:
        await fail(gate, "nobody", 6)
        [banned] = await gate.said("address.banned")
        assert (banned["source"], banned["reason"], banned["times"]) == ("127.0.0.2", "unknown user", 1)
        assert await is_refused(gate, "127.0.0.2")
        assert "banned address until" in (await gate.said("connection.refused"))[0]["reason"]
        async with gate.sftp() as client:
            assert await client.realpath(".") == "/sync"


async def test_a_ban_survives_a_restart(start: Start) -> None:
    """A banned address is refused by the next start of the gate too."""
    async with start() as gate:
        await fail(gate, "nobody", 6)
        await gate.until("address.banned")
    async with start() as gate:
        async with asyncio.timeout(WAIT_SECONDS):
            while not await is_refused(gate, "127.0.0.2"):
                pass


async def test_valid_logins_keep_an_address_from_being_banned(start: Start) -> None:
    """An address from which a user logs in between another one's failures is not banned, however often that goes on."""
    async with start(ban_threshold=5) as gate:
        for _ in range(6):
            await fail(gate, "nobody", 1)
            async with gate.connection(local_addr=("127.0.0.2", 0)):
                pass
        await asyncio.wait_for(_rounds(gate), WAIT_SECONDS)
        assert not await is_refused(gate, "127.0.0.2")


async def _rounds(gate: Gate) -> None:
    """Wait until what failed was recorded: another address's ban shows that."""
    await fail(gate, "nobody", 3, address="127.0.0.9")
    await gate.until("address.banned")
    assert {line["source"] for line in gate.log.events("address.banned")} == {"127.0.0.9"}


@pytest.mark.parametrize("named", ["trusted_networks", "from", "networks"])
async def test_a_named_address_is_never_banned(start: Start, base: Path, gate_keys: Path, named: str) -> None:
    """What the admin named, in the settings, in a key's from= or as a user's network, is let in after any number of failures."""
    shutil.copytree(gate_keys, base / "keys")
    files = base / "keys/users/other"
    if named == "from":
        public = parse_public_key((base / "keys/host/ssh_host_ed25519_key.pub").read_text())
        UserRegistry(base / "keys").add("third", keys=[limited(public, from_patterns=["127.0.0.2"])])
    elif named == "networks":
        with (files / "user.toml").open("a") as account:
            account.write('networks = ["127.0.0.2/32"]\n')
    settings = {"trusted_networks": ["127.0.0.2/32"]} if named == "trusted_networks" else {}
    async with start(ban_threshold=5, **settings) as gate:
        await fail(gate, "nobody", 6)
        await _rounds(gate)
        assert not await is_refused(gate, "127.0.0.2")


async def test_a_probe_that_connects_and_leaves_is_not_banned(start: Start) -> None:
    """A health check that takes the banner, or not even that, and hangs up, is let in forever; so is a scan for HTTP."""
    async with start(ban_threshold=0.5) as gate:
        for sent in (b"", b"GET / HTTP/1.0\r\n\r\n", b"SSH-2.0-probe\r\n"):
            for _ in range(20):
                async with strangers(gate.port, 1, sent, address="127.0.0.2"):
                    pass
        await _rounds(gate)
        assert not await is_refused(gate, "127.0.0.2")


async def test_the_admin_bans_and_unbans(start: Start) -> None:
    """`sftpgate ban add` holds in the running gate, `ban list` shows it, `ban remove` lets the address in again."""
    async with start() as gate:
        assert not await is_refused(gate, "127.0.0.2")
        await ban(gate, "add", "127.0.0.2", "--for", "7d", "--reason", "tries passwords")
        async with asyncio.timeout(WAIT_SECONDS):
            while not await is_refused(gate, "127.0.0.2"):
                pass
        [row] = json.loads(await ban(gate, "list", "--json"))
        assert (row["source"], row["reason"], row["by"]) == ("127.0.0.2", "tries passwords", "admin")
        await ban(gate, "remove", "127.0.0.2")
        async with asyncio.timeout(WAIT_SECONDS):
            while await is_refused(gate, "127.0.0.2"):
                pass
        assert json.loads(await ban(gate, "list", "--json")) == []


async def ban(gate: Gate, *words: str) -> str:
    """What `sftpgate ban …` prints; it must succeed."""
    where = clean_environment(DATA_DIR=gate.data, KEYS_DIR=gate.directory / "keys")
    done = await asyncio.to_thread(run, "ban", *words, env=where, cwd=gate.directory)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()
