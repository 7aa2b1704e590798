"""Clients of ten and more years ago: real programs that offer what those offered, against the profiles.

The old programs do not run here. OpenSSH's client and JSch let their lists be set, so they stand in for them: the same
negotiation, key exchange, signatures and ciphers, on the wire. What today's program no longer has is left out.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from sftpgate.gateway.ssh.algorithms import added_by_legacy, offer
from sftpgate.settings.choices import Algorithms
from tests.clients.drivers import steps as do
from tests.clients.drivers.base import Client, Command, Connection
from tests.clients.drivers.libraries import Jsch
from tests.clients.drivers.openssh import OpensshSftp
from tests.clients.servers import Sftpgate

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/algorithms.md"


@dataclass(frozen=True, kw_only=True)
class Old:
    """What an old client offers, in its order."""

    name: str
    kex: str
    host_keys: str
    ciphers: str
    macs: str
    default: bool = False  # whether it can do without the legacy profile


OLD = [
    # OpenSSH, myproposal.h at V_5_3_P1, with a library that has SHA-256
    Old(
        name="OpenSSH-5.3",
        kex="diffie-hellman-group-exchange-sha256,diffie-hellman-group-exchange-sha1,diffie-hellman-group14-sha1,"
        "diffie-hellman-group1-sha1",
        host_keys="ssh-rsa",
        ciphers="aes128-ctr,aes192-ctr,aes256-ctr,aes128-cbc,3des-cbc,aes192-cbc,aes256-cbc",
        macs="hmac-md5,hmac-sha1,hmac-sha1-96,hmac-md5-96",
    ),
    # OpenSSH, myproposal.h at V_6_6_P1
    Old(
        name="OpenSSH-6.6",
        kex="curve25519-sha256@libssh.org,ecdh-sha2-nistp256,ecdh-sha2-nistp384,ecdh-sha2-nistp521,"
        "diffie-hellman-group-exchange-sha256,diffie-hellman-group-exchange-sha1,diffie-hellman-group14-sha1,"
        "diffie-hellman-group1-sha1",
        host_keys="ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521,ssh-ed25519,ssh-rsa",
        ciphers="aes128-ctr,aes192-ctr,aes256-ctr,aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com,"
        "aes128-cbc,3des-cbc,aes192-cbc,aes256-cbc",
        macs="hmac-md5-etm@openssh.com,hmac-sha1-etm@openssh.com,hmac-sha2-256-etm@openssh.com,hmac-md5,hmac-sha1",
        default=True,
    ),
    # PuTTY 0.63: RSA and DSA host keys only (others since 0.68); ssh.c, `macs`
    Old(
        name="PuTTY-0.63",
        kex="diffie-hellman-group-exchange-sha256,diffie-hellman-group-exchange-sha1,diffie-hellman-group14-sha1,"
        "diffie-hellman-group1-sha1",
        host_keys="ssh-rsa",
        ciphers="aes256-ctr,aes256-cbc,aes192-ctr,aes192-cbc,aes128-ctr,aes128-cbc,3des-cbc",
        macs="hmac-sha2-256,hmac-sha1,hmac-sha1-96,hmac-md5",
    ),
    # SSH.NET, README.md of its first releases
    Old(
        name="SSH.NET-2013",
        kex="diffie-hellman-group-exchange-sha256,diffie-hellman-group-exchange-sha1,diffie-hellman-group14-sha1,"
        "diffie-hellman-group1-sha1",
        host_keys="ssh-rsa",
        ciphers="aes256-ctr,3des-cbc,aes128-cbc,aes192-cbc,aes256-cbc,aes128-ctr,aes192-ctr",
        macs="hmac-md5,hmac-sha1,hmac-sha2-256,hmac-md5-96,hmac-sha1-96",
    ),
    # Dropbear before 2013.62: CHANGES
    Old(
        name="Dropbear-2012",
        kex="diffie-hellman-group14-sha1,diffie-hellman-group1-sha1",
        host_keys="ssh-rsa",
        ciphers="aes128-ctr,aes256-ctr,aes128-cbc,aes256-cbc,3des-cbc",
        macs="hmac-sha1,hmac-md5",
    ),
    # JSch 0.1.42: JSch.java, the static block
    Old(
        name="JSch-0.1.42",
        kex="diffie-hellman-group1-sha1,diffie-hellman-group-exchange-sha1",
        host_keys="ssh-rsa",
        ciphers="aes128-ctr,aes128-cbc,3des-cbc,aes192-cbc,aes256-cbc",
        macs="hmac-md5,hmac-sha1,hmac-sha1-96,hmac-md5-96",
    ),
    # SharpSSH 1.1.1: JSch.cs, Init
    Old(
        name="SharpSSH-1.1.1",
        kex="diffie-hellman-group1-sha1,diffie-hellman-group-exchange-sha1",
        host_keys="ssh-rsa",
        ciphers="3des-cbc,aes128-cbc",
        macs="hmac-md5,hmac-sha1",
    ),
    # Fireball.Ssh: JSch.cs, Init
    Old(
        name="Fireball.Ssh",
        kex="diffie-hellman-group1-sha1,diffie-hellman-group-exchange-sha1",
        host_keys="ssh-rsa",
        ciphers="3des-cbc,aes128-cbc",
        macs="hmac-md5",
    ),
]


class OldSftp(OpensshSftp):
    """OpenSSH's ``sftp`` that offers what an old client did, and signs with RSA and SHA-1."""

    def __init__(self, old: Old) -> None:
        self._old = old

    def commands(self, connection: Connection, steps: Sequence[do.Step]) -> list[Command]:
        old = self._old
        chosen = {
            "KexAlgorithms": old.kex,
            "HostKeyAlgorithms": old.host_keys,
            "Ciphers": old.ciphers,
            "MACs": old.macs,
            "PubkeyAcceptedAlgorithms": "ssh-rsa" if not old.default else "ecdsa-sha2-nistp256",
            "IdentityFile": str(connection.keys["rsa" if not old.default else "ecdsa"]),
        }
        words = [word for key, value in chosen.items() for word in ("-o", f"{key}={value}")]
        (command,) = super().commands(connection, steps)
        return [Command([command.argv[0], *words, *command.argv[1:]], command.stdin, command.env)]


class OldJsch(Jsch):
    """JSch that offers what an old client did."""

    key_type = "rsa"

    def __init__(self, old: Old) -> None:
        self._old = old

    def env(self) -> dict[str, str]:
        old = self._old
        both = {f"{kind}.{way}": value for kind, value in (("cipher", old.ciphers), ("mac", old.macs)) for way in ("c2s", "s2c")}
        return {f"JSCH_{key}": value for key, value in {"kex": old.kex, "server_host_key": old.host_keys, **both}.items()}


class _Profile(Sftpgate):
    profile: Algorithms

    def _environment(self) -> dict[str, str]:
        return super()._environment() | {"SFTPGATE_ALGORITHMS": self.profile}


class _Default(_Profile):
    profile = Algorithms.DEFAULT


class _Legacy(_Profile):
    profile = Algorithms.LEGACY


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Algorithms, Sftpgate]]:
    """A server of each profile."""
    made: dict[Algorithms, Sftpgate] = {kind.profile: kind(tmp_path_factory.mktemp(kind.profile)) for kind in (_Default, _Legacy)}
    try:
        for server in made.values():
            server.start()
        yield made
    finally:
        for server in made.values():
            server.stop()


def _clients() -> Iterator[tuple[Old, Client]]:
    for old in OLD:
        yield old, OldSftp(old)
        if "c25519" not in old.kex and "-gcm" not in old.ciphers and "sha2" not in old.macs:
            yield old, OldJsch(old)


CASES = [pytest.param(old, client, id=f"{old.name}-{client.name}") for old, client in _clients()]


@pytest.mark.promise("P5")
@pytest.mark.parametrize(("old", "client"), CASES)
def test_an_old_client_works_with_legacy(old: Old, client: Client, servers: dict[Algorithms, Sftpgate], tmp_path: Path) -> None:
    """An upload by a client that offers no more than the old one did is in the store."""
    server = servers[Algorithms.LEGACY]
    name = f"{old.name}-{client.name}.csv"
    outcome = client.run(server.connection(tmp_path), [do.Put(_local(tmp_path), name)])
    assert outcome.ok, outcome.output
    assert (server.store / name).read_bytes() == CONTENT


@pytest.mark.parametrize(("old", "client"), CASES)
def test_an_old_client_and_the_default(old: Old, client: Client, servers: dict[Algorithms, Sftpgate], tmp_path: Path) -> None:
    """The default profile refuses what it must, and serves an old client that has something better."""
    outcome = client.run(servers[Algorithms.DEFAULT].connection(tmp_path), [do.Put(_local(tmp_path), "refused.csv")])
    assert outcome.ok == old.default, outcome.output


@pytest.mark.parametrize("algorithm", [name for name in added_by_legacy() if not name.startswith(("ssh-", "hmac"))])
def test_each_old_algorithm_works_alone(algorithm: str, servers: dict[Algorithms, Sftpgate], tmp_path: Path) -> None:
    """Whatever ``legacy`` adds can be chosen by a client that wants just that."""
    server = servers[Algorithms.LEGACY]
    default = offer(Algorithms.DEFAULT)
    old = Old(
        name=f"alone-{algorithm}",
        kex=algorithm if algorithm.startswith("diffie") else "diffie-hellman-group14-sha256",
        host_keys="ssh-rsa",
        ciphers=algorithm if algorithm.endswith("cbc") else "aes128-ctr",
        macs="hmac-sha1",
    )
    assert algorithm not in (*default.kex_algs, *default.encryption_algs)
    outcome = OldSftp(old).run(server.connection(tmp_path), [do.Put(_local(tmp_path), f"{old.name}.csv")])
    assert outcome.ok, outcome.output


def test_the_document_names_every_old_algorithm() -> None:
    """docs/algorithms.md has a line for each algorithm that only ``legacy`` offers."""
    rows = [line for line in DOCUMENT.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    assert [name for name in added_by_legacy() if not any(f"`{name}`" in row for row in rows)] == []


def test_the_legacy_server_says_so(servers: dict[Algorithms, Sftpgate]) -> None:
    """A warning at the start names what was added."""
    log = servers[Algorithms.LEGACY].log.read_text(encoding="utf-8")
    [line] = [line for line in log.splitlines() if "algorithms.legacy" in line]
    assert all(name in line for name in added_by_legacy())


def test_the_stand_in_has_the_algorithms() -> None:
    """OpenSSH's client on this machine still has all that these tests ask it for."""
    for kind, lists in {"kex": [old.kex for old in OLD], "cipher": [old.ciphers for old in OLD]}.items():
        known = subprocess.run(["ssh", "-Q", kind], capture_output=True, text=True, check=True).stdout.split()
        assert {name for text in lists for name in text.split(",")} <= set(known)


CONTENT = b"username,course\n" + b"a,b\n" * 20_000


def _local(directory: Path) -> Path:
    path = directory / "local.csv"
    path.write_bytes(CONTENT)
    return path
