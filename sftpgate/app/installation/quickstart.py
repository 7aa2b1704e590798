"""From nothing to a gate that is proven to work: what ``sftpgate quickstart`` does before it serves.

What it makes it makes once: ``sftpgate.toml``, the host keys, the user ``erp`` with a key in ``<keys>/clients`` and a password
that is told this one time. A later run keeps what is there and says so. If there are users already, none is added.

The proof is the hand-over as an ERP sees it: OpenSSH's ``sftp``, with the host keys pinned, uploads a sample to a server that
was started for it; the file must be in the store when the client is back. The sample is removed again in the same way, so that
no tool finds it. All of it is done with the commands that a person would type.

A kill at any point leaves no more than a sample file in the store; the next run replaces and removes it.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from sftpgate.errors import SftpgateError
from sftpgate.logs import printable
from sftpgate.settings.reading import DEFAULT_CONFIG_NAME, config_path, load
from sftpgate.settings.tree import ENV_PREFIX, Settings

USER = "erp"
SAMPLE_NAME = "sftpgate-sample.csv"
SAMPLE = b"username,course,role\n" + b"".join(b"user%d,course1,student\n" % number for number in range(1, 101))
READY_SECONDS = 30  # a start takes about one
COMMAND_SECONDS = 60
STOP_SECONDS = 10  # nothing is in flight when the server of the proof is stopped

CONFIG = """\
# The settings of this gate. `sftpgate settings --defaults` lists all of them; environment variables SFTPGATE_… go first.
# Relative paths are relative to this file.

# host = "0.0.0.0"        # to be reached from other machines; the default is this machine only
# port = 2222
# data_dir = "data"       # the drop, the store and the ledger
# keys_dir = "keys"       # host keys and users

# A tool is a file in the store and the command that consumes it. This one counts lines, to try things out:
# upload enrols.csv, then `sftpgate run enrols`, then look into /archives and /reports.
[tools.enrols]
file = "enrols.csv"
command = ["wc", "-l", "{file}"]
# arrivals = "queue"      # every arrival, in order; the default is the latest only
# timeout = "30m"
"""


class QuickstartFailed(SftpgateError):
    """The set-up could not be proven."""

    local = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """How to connect as the first user."""

    host: str
    port: int
    key: Path
    known_hosts: Path

    def sftp(self, *options: str) -> list[str]:
        """Return the ``sftp`` command line, ``options`` first."""
        pinned = ["-o", f"UserKnownHostsFile={_short(self.known_hosts)}", "-o", "IdentitiesOnly=yes"]
        return ["sftp", *options, "-i", _short(self.key), "-P", str(self.port), *pinned, f"{USER}@{self.host}"]


class SetupAudience(Protocol):
    """Who is told what was done, while it is done."""

    def step(self, what: str, detail: str) -> None:
        """Take note of a step that is made."""

    def password(self, password: str) -> None:
        """Tell the first user's password, this one time."""

    def record(self, arrival: str, text: str) -> None:
        """Show what `sftpgate show` says of the sample."""


def set_up(audience: SetupAudience) -> Login | None:
    """Set everything up and prove it with a sample file; return how to connect, or None if there was no user to prove it with.

    Leaves the port of the gate in the environment, for the server that follows in this process. Raises QuickstartFailed.
    """
    if shutil.which("sftp") is None:
        raise QuickstartFailed("the program sftp is missing: apt install openssh-client")
    _write_config(audience)
    settings = load()
    key = settings.keys_dir / "clients" / f"{USER}_ed25519"
    provable = _first_user(key, audience)
    with _server() as port:
        os.environ[ENV_PREFIX + "PORT"] = str(port)  # the same one for the server to come, also if the setting is 0
        host = _reachable(settings.host)
        login = Login(host=host, port=port, key=key, known_hosts=_pin_host_keys(settings.keys_dir, host, port, audience))
        if provable:
            _prove(login, settings, audience)
    return login if provable else None


def program(*arguments: str) -> list[str]:
    """Return the command line of this program, with ``arguments``."""
    return [sys.executable, "-m", "sftpgate", *arguments]


# -- set-up ----------------------------------------------------------------------------------------------------------


def _write_config(audience: SetupAudience) -> None:
    found = config_path(os.environ)
    if found is None:
        Path(DEFAULT_CONFIG_NAME).write_text(CONFIG, encoding="utf-8")
        audience.step("settings", f"written: {DEFAULT_CONFIG_NAME}, with an example tool `enrols`")
    else:
        audience.step("settings", f"kept: {_short(found)}")


def _first_user(key: Path, audience: SetupAudience) -> bool:
    """Make a user if there is none. Returns whether ``erp`` can log in with ``key``.

    The password is shown at once: whatever fails later, it cannot be shown again.
    """
    users = {str(user["name"]): str(user["state"]) for user in json.loads(_run("user", "list", "--json"))}
    if users:
        audience.step("user", f"kept: {printable(', '.join(users))} (passwords are not shown again)")
        provable = users.get(USER) == "active" and key.exists()
        if not provable:
            audience.step("proof", f"left out: there is no active user {USER} with the key {_short(key)}")
        return provable
    _make_key(key)
    password = secrets.token_urlsafe(12)
    _run("user", "add", USER, "--key", str(key.with_suffix(".pub")), "--password-stdin", text=password + "\n")
    audience.step("user", f"made: {USER}, with the key {_short(key)}")
    audience.password(password)
    return True


def _make_key(path: Path) -> None:
    """Make a fresh ed25519 key pair in OpenSSH's format: ``path``, for its owner only, and ``path`` with ``.pub``."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # of a user who is gone
    pair = Ed25519PrivateKey.generate()
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as private:
        private.write(pair.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    public = pair.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode("ascii")
    path.with_suffix(".pub").write_text(f"{public} made by sftpgate quickstart\n", encoding="ascii")


def _pin_host_keys(keys_dir: Path, host: str, port: int, audience: SetupAudience) -> Path:
    """Return a ``known_hosts`` file with the host keys of this gate, as the server has just made or found them."""
    from sftpgate.users.host_keys.files import known_hosts_lines

    lines = known_hosts_lines(keys_dir, host, port)
    known_hosts = keys_dir / "clients" / "known_hosts"
    known_hosts.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    known_hosts.write_text("".join(f"{line}\n" for line in lines), encoding="ascii")
    audience.step("host keys", f"{len(lines)} in {_short(keys_dir / 'host')}, pinned in {_short(known_hosts)}")
    return known_hosts


def _reachable(host: str) -> str:
    """Return the address at which a client on this machine finds a server that listens on ``host``."""
    return {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound


# -- the proof -------------------------------------------------------------------------------------------------------


def _prove(login: Login, settings: Settings, audience: SetupAudience) -> None:
    with tempfile.TemporaryDirectory() as directory:
        local = Path(directory) / SAMPLE_NAME
        local.write_bytes(SAMPLE)
        _sftp(login, f"put {shlex.quote(str(local))} {SAMPLE_NAME}")
    try:
        found = json.loads(_run("arrivals", "--user", USER, "--path", f"*{SAMPLE_NAME}", "--limit", "1", "--json"))
        if not found:
            raise QuickstartFailed("the sample was uploaded, and there is no record of it: see `sftpgate doctor`")
        landed = settings.store / str(found[0]["path"]).lstrip("/")
        if not landed.is_file() or landed.read_bytes() != SAMPLE:
            raise QuickstartFailed(f"the sample was uploaded, and {_short(landed)} is not what was sent: see `sftpgate doctor`")
        audience.step("proof", f"{len(SAMPLE)} bytes sent by sftp were in {_short(landed)} when it was done. Its record:")
        audience.record(str(found[0]["id"]), _run("show", str(found[0]["id"])))
    finally:
        _sftp(login, f"rm {SAMPLE_NAME}")
    audience.step("cleaned up", "the sample was removed by sftp: nothing waits for a tool")


def _sftp(login: Login, batch: str) -> None:
    """Run one line of an ``sftp`` batch. Raises QuickstartFailed with the program's words."""
    strict = ("-q", "-F", "/dev/null", "-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes", "-b", "-")
    done = subprocess.run(
        login.sftp(*strict), input=batch + "\n", capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False
    )
    if done.returncode:
        raise QuickstartFailed(f"sftp could not `{batch}`: {printable(done.stderr.strip()) or done.returncode}")


@contextmanager
def _server() -> Iterator[int]:
    """Yield a server for the proof, and its port. Its log is shown only if it does not start."""
    with tempfile.TemporaryFile("w+") as log:
        child = subprocess.Popen(program("serve"), stdout=subprocess.PIPE, stderr=log, text=True)
        alarm = threading.Timer(READY_SECONDS, child.kill)
        alarm.start()
        try:
            yield _ready_port(child, log)
        finally:
            alarm.cancel()
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def _ready_port(child: subprocess.Popen[str], log: IO[str]) -> int:
    for line in child.stdout or ():
        if match := re.search(r"\bready on .* port (\d+)", line):
            return int(match[1])
    log.seek(0)
    raise QuickstartFailed(f"the server did not start: {_last_line(log.read())}")


def _last_line(text: str) -> str:
    """Return what a command of our own said last: its error."""
    return printable("".join(text.splitlines()[-1:])).removeprefix("sftpgate: ")


def _run(*arguments: str, text: str = "") -> str:
    """Return what a command of our own prints. Its error is ours."""
    done = subprocess.run(program(*arguments), input=text, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False)
    if done.returncode:
        raise QuickstartFailed(f"`sftpgate {shlex.join(arguments)}` failed: {_last_line(done.stderr)}")
    return done.stdout


def _short(path: Path) -> str:
    """Return ``path`` relative to the working directory if it lies in it: what a person would type."""
    here = Path.cwd()
    absolute = here / path
    return str(absolute.relative_to(here) if absolute.is_relative_to(here) else absolute)
