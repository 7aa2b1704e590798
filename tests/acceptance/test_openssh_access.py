"""Logins as an ERP's admin sets them up: the OpenSSH programs against a server with two workers.

The steps share one server; each has users of its own.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.credentials import KeyFile, keygen, make_key
from tests.harness.raw import WAIT_SECONDS
from tests.harness.servers import Gate, until

PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """A server with two workers that sweeps every second."""
    with Gate(tmp_path_factory.mktemp("access"), WORKERS="2", SWEEP_INTERVAL="1") as running:
        running.start()
        yield running


def command(gate: Gate, user: str, *options: str) -> list[str]:
    """The words that start ``sftp`` with these options and no others' keys."""
    words = ["sftp", "-F", "none", "-P", str(gate.port), *options]
    usual = {"StrictHostKeyChecking": "no", "UserKnownHostsFile": "/dev/null", "LogLevel": "ERROR", "IdentitiesOnly": "yes"}
    usual["NumberOfPasswordPrompts"] = "1"
    for name, value in usual.items():
        words += ["-o", f"{name}={value}"]  # of an option that is there twice, OpenSSH takes the first
    return [*words, f"{user}@127.0.0.1"]


def sftp(gate: Gate, user: str, *options: str, password: str = "") -> subprocess.CompletedProcess[str]:
    """What ``sftp`` prints when it is asked where it is. A password comes from SSH_ASKPASS, as from a terminal."""
    ask = gate.directory / "ask"
    ask.write_text(f'#!/bin/sh\necho "{password}"\n')
    ask.chmod(0o700)
    return subprocess.run(
        command(gate, user, *options),
        input="pwd\n",
        env=os.environ | {"SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force"},
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        check=False,
    )


def is_in(done: subprocess.CompletedProcess[str]) -> bool:
    """Whether the login worked; where it did not, the client was told nothing but that."""
    if done.returncode == 0:
        assert "/sync" in done.stdout, done
        return True
    assert "Permission denied (" in done.stderr, done
    return False


def user_with_key(gate: Gate, name: str, directory: Path) -> KeyFile:
    """A new user with one key."""
    key = make_key(directory / name)
    gate.command("user", "add", name, "--key", f"{key.path}.pub")
    return key


def test_a_certificate(gate: Gate, tmp_path: Path) -> None:
    """A certificate of ssh-keygen with the user's name lets sftp in, one with another name does not, and the log says why."""
    gate.command("user", "add", "night")
    authority, key = make_key(tmp_path / "ca"), make_key(tmp_path / "id")
    gate.command("key", "add", "night", f"{authority.path}.pub", "--authority")
    for principals, expected in (("night,other", True), ("other", False)):
        keygen("-q", "-s", authority.path, "-I", "shift 7", "-n", principals, "-V", "-1h:+1h", f"{key.path}.pub")
        assert is_in(sftp(gate, "night", "-i", str(key.path))) is expected
    assert "certificate without a fitting principal" in gate.log.read_text()
    until(lambda: "127.0.0.1" in gate.command("key", "list", "night"), "the last use of the authority is listed")


def test_two_factors(gate: Gate, tmp_path: Path) -> None:
    """A user whose user.toml asks for both gets in with key and password, and not with a wrong one or without the key."""
    key = user_with_key(gate, "both", tmp_path)
    path = gate.directory / "keys/users/both/user.toml"
    subprocess.run(
        gate.words("user", "passwd", "both", "--password-stdin"), input=PASSWORD, text=True, env=gate.environment, check=True
    )
    assert is_in(sftp(gate, "both", "-i", str(key.path)))
    path.write_text(path.read_text() + 'required_auth = ["publickey", "password"]\n')
    assert is_in(sftp(gate, "both", "-i", str(key.path), password=PASSWORD))
    assert not is_in(sftp(gate, "both", "-i", str(key.path), password="wrong"))
    assert not is_in(sftp(gate, "both", "-i", str(key.path), "-o", "PreferredAuthentications=publickey"))
    assert not is_in(sftp(gate, "both", "-o", "PubkeyAuthentication=no", password=PASSWORD))


@pytest.mark.parametrize("act", ["disable", "revoke"])
def test_connections_of_every_worker_end(gate: Gate, tmp_path: Path, act: str) -> None:
    """The connections of a user that is disabled, or whose key is revoked, end in every worker, and another user's stay."""
    leaver, stayer = f"leaver-{act}", f"stayer-{act}"
    key = user_with_key(gate, leaver, tmp_path)
    stays = user_with_key(gate, stayer, tmp_path)
    ended = gate.log.read_text().count('"connection.ended"')
    clients = [
        subprocess.Popen(
            command(gate, user, "-b", "-", "-i", str(used.path)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for user, used in [(leaver, key)] * 6 + [(stayer, stays)]
    ]
    try:
        for client in clients:
            assert client.stdin is not None
            assert client.stdout is not None
            client.stdin.write("pwd\n")
            client.stdin.flush()
            while "/sync" not in client.stdout.readline():
                assert client.poll() is None
        gate.command(*(("user", "disable", leaver) if act == "disable" else ("key", "revoke", f"{key.path}.pub")))
        until(lambda: gate.log.read_text().count('"connection.ended"') == ended + 6, "six connections have ended")
        for client in clients:
            client.communicate("ls\n", WAIT_SECONDS)
        assert [client.returncode == 0 for client in clients] == [False] * 6 + [True]
        assert not is_in(sftp(gate, leaver, "-i", str(key.path)))
    finally:
        for client in clients:
            client.kill()
            client.communicate()


def test_host_keys_are_rotated(gate: Gate, tmp_path: Path) -> None:
    """A client that trusts the old host key learns the next ones while it works, and is let through after they took over."""
    key = user_with_key(gate, "knows", tmp_path)
    known = tmp_path / "known_hosts"
    old = [line for line in gate.command("hostkey", "show", "--host", "127.0.0.1").splitlines() if "]:" in line]
    known.write_text("\n".join(old) + "\n")
    said = gate.command("hostkey", "rotate", "--overlap", "30d")
    following = [line.split()[1] for line in said.splitlines() if line.startswith("next: ")]
    assert len(following) == 3
    strict = ["-o", f"UserKnownHostsFile={known}", "-o", "StrictHostKeyChecking=yes"]

    def learned() -> bool:
        assert is_in(sftp(gate, "knows", *strict, "-o", "UpdateHostKeys=yes", "-i", str(key.path)))
        return all(fingerprint in keygen("-l", "-f", known) for fingerprint in following)

    until(learned, "the client has learned the next keys")
    gate.command("hostkey", "rotate", "--finish")
    fresh = tmp_path / "fresh"
    fresh.write_text("\n".join(old) + "\n")

    def old_refused() -> bool:
        done = sftp(gate, "knows", "-o", f"UserKnownHostsFile={fresh}", "-o", "StrictHostKeyChecking=yes", "-i", str(key.path))
        return "HOST IDENTIFICATION HAS CHANGED" in done.stderr or "Host key verification failed" in done.stderr

    until(lambda: all(old_refused() for _ in range(4)), "who knows the old keys alone is warned, whichever worker it comes to")
    for algorithm in ("ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-256"):
        done = sftp(gate, "knows", *strict, "-o", f"HostKeyAlgorithms={algorithm}", "-i", str(key.path))
        assert is_in(done)
    gate.stop()
    gate.start()
    assert is_in(sftp(gate, "knows", *strict, "-i", str(key.path)))


@pytest.mark.timeout(180)  # it makes RSA keys and starts a command again and again
def test_a_rotation_ends_by_itself(gate: Gate, tmp_path: Path) -> None:
    """When the overlap has passed, the running server lets the next keys take over, and `hostkey show` agrees."""
    said = gate.command("hostkey", "rotate", "--overlap", "1s")
    following = {line.split()[1] for line in said.splitlines() if line.startswith("next: ")}
    until(lambda: "next" not in gate.command("hostkey", "show"), "the next keys are in use")
    assert all(fingerprint in gate.command("hostkey", "show") for fingerprint in following)
    until(lambda: '"host_keys.rotated"' in gate.log.read_text(), "the log says so")
    for words in (("--finish",), ("--cancel",), ("--finish", "--cancel"), ("--overlap", "soon")):
        assert gate.attempt("hostkey", "rotate", *words).returncode != 0
