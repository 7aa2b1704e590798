"""PuTTY's ``psftp`` and ``pscp``."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.clients.drivers import steps as do
from tests.clients.drivers.base import Capability, Client, Command, Connection, Method, first_line, quoted


def _options(connection: Connection) -> list[str]:
    options = ["-batch", "-P", str(connection.port), "-l", connection.user]
    for fingerprint in connection.fingerprints:
        options += ["-hostkey", fingerprint]
    if connection.method is Method.PUBLICKEY:
        return [*options, "-noagent", "-i", str(_ppk(connection))]
    password = connection.workdir / "password"
    password.write_text(f"{connection.password}\n", encoding="utf-8")
    # PuTTY prefers keyboard-interactive; only a saved session can turn it off
    session = connection.workdir / ".putty/sessions/gate"
    session.parent.mkdir(parents=True, exist_ok=True)
    session.write_text(f"Protocol=ssh\nAuthKI={int(connection.method is Method.KEYBOARD_INTERACTIVE)}\n", encoding="utf-8")
    return ["-load", "gate", *options, "-noagent", "-pwfile", str(password)]


def _ppk(connection: Connection) -> Path:
    ppk = connection.workdir / "key.ppk"
    if not ppk.exists():
        argv = ["puttygen", str(connection.keys["ed25519"]), "-O", "private", "-o", str(ppk)]
        subprocess.run(
            argv, check=True, capture_output=True, timeout=30, env={"HOME": str(connection.workdir), "PATH": "/usr/bin:/bin"}
        )
    return ppk


def _wildcard(remote: str) -> str:
    """A pattern for one file: PuTTY lists a plain name as a directory."""
    return f"{remote[:-1]}?"


class Psftp(Client):
    """``psftp -b``."""

    name = "psftp"
    title = "PuTTY psftp"
    programs = ("psftp", "puttygen")
    lacks = {Capability.PRESERVE: "psftp does not set times"}

    def version(self) -> str:
        return first_line("psftp", "-V").split()[-1]

    def commands(self, connection: Connection, steps: Sequence[do.Step]) -> list[Command]:
        script = connection.workdir / "psftp.script"
        script.write_text("".join(f"{_line(step)}\n" for step in steps) + "quit\n", encoding="utf-8")
        return [Command(["psftp", *_options(connection), "-b", str(script), connection.host])]


def _line(step: do.Step) -> str:
    match step:
        case do.Put(local, remote, _, resume):
            return f"{'reput' if resume else 'put'} {quoted(local)} {quoted(remote)}"
        case do.PutAll(directory):
            return f"mput {directory}/*"
        case do.Get(remote, local):
            return f"get {quoted(remote)} {quoted(local)}"
        case do.Stat(remote):
            return f"ls {quoted(_wildcard(remote))}"
        case do.List():
            return "ls"
        case do.Rename(old, new):
            return f"mv {quoted(old)} {quoted(new)}"
        case do.Remove(remote):
            return f"rm {quoted(remote)}"
        case do.Mkdir(remote):
            return f"mkdir {quoted(remote)}"


class Pscp(Client):
    """``pscp -sftp``."""

    name = "pscp"
    title = "PuTTY pscp"
    programs = ("pscp", "puttygen")
    lacks = {
        Capability.RENAME: "pscp only copies and lists",
        Capability.REMOVE: "pscp only copies and lists",
        Capability.MKDIR: "pscp only copies and lists",
        Capability.RESUME: "pscp cannot resume",
    }

    def version(self) -> str:
        return first_line("pscp", "-V").split()[-1]

    def commands(self, connection: Connection, steps: Sequence[do.Step]) -> list[Command]:
        return [Command(["pscp", "-sftp", *_options(connection), *_paths(connection, step)]) for step in steps]


def _paths(connection: Connection, step: do.Step) -> list[str]:
    match step:
        case do.Put(local, remote, preserve):
            return [*(["-p"] if preserve else []), str(local), f"{connection.host}:{remote}"]
        case do.PutAll():
            return [*map(str, step.files()), f"{connection.host}:"]
        case do.Get(remote, local):
            return [f"{connection.host}:{remote}", str(local)]
        case do.Stat() | do.List():
            return ["-ls", f"{connection.host}:."]  # lists directories only
        case _:
            raise NotImplementedError(step)
