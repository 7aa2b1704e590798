"""``sftpgate quickstart``: from nothing to a server that is proven to work, then serve. It is what ``make run`` runs.

What it makes it makes once: ``sftpgate.toml``, the host keys, the user ``erp`` with a key in ``<keys>/clients`` and a password
that is shown this one time. A later run keeps what is there and says so. Where there are users already, none is added.

The proof is the hand-over as an ERP sees it: OpenSSH's ``sftp``, with the host keys pinned, uploads a sample to a server that
was started for it; the file must be in the store when the client is back. The sample is removed again in the same way, so that
no tool finds it. Then this process becomes ``sftpgate serve``. All of it is done with the commands that a person would type.

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
from typing import IO, TYPE_CHECKING

from sftpgate.errors import SftpgateError
from sftpgate.logs import printable
from sftpgate.settings import DEFAULT_CONFIG_NAME, ENV_PREFIX, Settings, config_path, load

if TYPE_CHECKING:
    from rich.console import Console

USER = "erp"
SAMPLE_NAME = "sftpgate-sample.csv"
SAMPLE = b"username,course,role\n" + b"".join(b"user%d,course1,student\n" % number for number in range(1, 101))
READY_SECONDS = 30  # a start takes about one
COMMAND_SECONDS = 60
STOP_SECONDS = 10  # nothing is in flight when the server of the proof is stopped

CONFIG = """\
# The settings of this gate. `sftpgate settings` lists all of them with their defaults; environment variables SFTPGATE_… go first.
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
        """The ``sftp`` command line, ``options`` first."""
        pinned = ["-o", f"UserKnownHostsFile={_short(self.known_hosts)}", "-o", "IdentitiesOnly=yes"]
        return ["sftp", *options, "-i", _short(self.key), "-P", str(self.port), *pinned, f"{USER}@{self.host}"]


def quickstart() -> None:
    """Set everything up, prove it with a sample file, and serve until Ctrl-C.

    Example: sftpgate quickstart
    """
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    if shutil.which("sftp") is None:
        raise QuickstartFailed("the program sftp is missing: apt install openssh-client")
    _write_config(console)
    settings = load()
    key = settings.keys_dir / "clients" / f"{USER}_ed25519"
    provable = _first_user(key, console)
    with _server() as port:
        os.environ[ENV_PREFIX + "PORT"] = str(port)  # the same one for the server to come, also where the setting is 0
        host = _reachable(settings.host)
        login = Login(host=host, port=port, key=key, known_hosts=_pin_host_keys(settings.keys_dir, host, port, console))
        if provable:
            _prove(login, settings, console)
    if provable:
        _say_what_next(login, console)
    sys.stdout.flush()
    os.execv(sys.executable, _sftpgate("serve"))  # noqa: S606 - Ctrl-C and SIGTERM then go to the server itself


# -- set-up ----------------------------------------------------------------------------------------------------------


def _write_config(console: Console) -> None:
    found = config_path(os.environ)
    if found is None:
        Path(DEFAULT_CONFIG_NAME).write_text(CONFIG, encoding="utf-8")
        _step(console, "settings", f"written: {DEFAULT_CONFIG_NAME}, with an example tool `enrols`")
    else:
        _step(console, "settings", f"kept: {_short(found)}")


def _first_user(key: Path, console: Console) -> bool:
    """Make a user where there is none. Returns whether ``erp`` can log in with ``key``.

    The password is shown at once: whatever fails later, it cannot be shown again.
    """
    users = {str(user["name"]): str(user["state"]) for user in json.loads(_run("user", "list", "--json"))}
    if users:
        _step(console, "user", f"kept: {printable(', '.join(users))} (passwords are not shown again)")
        provable = users.get(USER) == "active" and key.exists()
        if not provable:
            _step(console, "proof", f"left out: there is no active user {USER} with the key {_short(key)}")
        return provable
    _make_key(key)
    password = secrets.token_urlsafe(12)
    _run("user", "add", USER, "--key", str(key.with_suffix(".pub")), "--password-stdin", text=password + "\n")
    _step(console, "user", f"made: {USER}, with the key {_short(key)}")
    console.print(f"             its password, shown this once: [bold]{password}[/bold]")
    return True


def _make_key(path: Path) -> None:
    """A fresh ed25519 key pair in OpenSSH's format: ``path``, for its owner only, and ``path`` with ``.pub``."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # of a user who is gone
    pair = Ed25519PrivateKey.generate()
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as private:
        private.write(pair.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    public = pair.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode("ascii")
    path.with_suffix(".pub").write_text(f"{public} made by sftpgate quickstart\n", encoding="ascii")


def _pin_host_keys(keys_dir: Path, host: str, port: int, console: Console) -> Path:
    """A ``known_hosts`` file with the host keys of this gate, as the server has just made or found them."""
    from sftpgate.users.hostkeys import known_hosts_lines

    lines = known_hosts_lines(keys_dir, host, port)
    known_hosts = keys_dir / "clients" / "known_hosts"
    known_hosts.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    known_hosts.write_text("".join(f"{line}\n" for line in lines), encoding="ascii")
    _step(console, "host keys", f"{len(lines)} in {_short(keys_dir / 'host')}, pinned in {_short(known_hosts)}")
    return known_hosts


def _reachable(host: str) -> str:
    """The address at which a client on this machine finds a server that listens on ``host``."""
    return {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound


# -- the proof -------------------------------------------------------------------------------------------------------


def _prove(login: Login, settings: Settings, console: Console) -> None:
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
        _step(console, "proof", f"{len(SAMPLE)} bytes sent by sftp were in {_short(landed)} when it was done. Its record:")
        console.print(f"\n  $ sftpgate show {found[0]['id']}", style="bold", markup=False)
        console.print("".join(f"  {line}\n" for line in _run("show", str(found[0]["id"])).splitlines()), markup=False)
    finally:
        _sftp(login, f"rm {SAMPLE_NAME}")
    _step(console, "cleaned up", "the sample was removed by sftp: nothing waits for a tool")


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
    """A server for the proof, and its port. Its log is shown only where it does not start."""
    with tempfile.TemporaryFile("w+") as log:
        child = subprocess.Popen(_sftpgate("serve"), stdout=subprocess.PIPE, stderr=log, text=True)
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
    """What a command of our own said last: its error."""
    return printable("".join(text.splitlines()[-1:])).removeprefix("sftpgate: ")


def _sftpgate(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "sftpgate", *arguments]


def _run(*arguments: str, text: str = "") -> str:
    """What a command of our own prints. Its error is ours."""
    done = subprocess.run(_sftpgate(*arguments), input=text, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False)
    if done.returncode:
        raise QuickstartFailed(f"`sftpgate {shlex.join(arguments)}` failed: {_last_line(done.stderr)}")
    return done.stdout


# -- what a person sees ----------------------------------------------------------------------------------------------


def _step(console: Console, what: str, detail: str) -> None:
    from rich.markup import escape

    console.print(f"[green]✓[/green] {what:<10} {escape(detail)}")


def _say_what_next(login: Login, console: Console) -> None:
    console.print("\nConnect as the ERP, from another terminal:\n", markup=False)
    console.print(f"  {shlex.join(login.sftp())}\n", markup=False)
    console.print("Then `put enrols.csv`, and here: `sftpgate run enrols` (in .venv/bin after `make run`).\n", markup=False)


def _short(path: Path) -> str:
    """``path`` relative to the working directory where it lies in it: what a person would type."""
    here = Path.cwd()
    absolute = here / path
    return str(absolute.relative_to(here) if absolute.is_relative_to(here) else absolute)
