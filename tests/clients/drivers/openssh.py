"""OpenSSH's own clients: ``sftp`` in batch mode, and ``scp``, which speaks SFTP since OpenSSH 9.0."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from tests.clients.drivers import steps as do
from tests.clients.drivers.base import Capability, Client, Command, Connection, Method, first_line, quoted


def ssh_options(connection: Connection) -> list[str]:
    """Options for everything that runs ``ssh``: nothing read from the machine's own configuration, the host key pinned."""
    options = {
        "UserKnownHostsFile": str(connection.known_hosts),
        "GlobalKnownHostsFile": "none",
        "StrictHostKeyChecking": "yes",
        "PreferredAuthentications": str(connection.method),
        "IdentityFile": str(connection.keys["ed25519"]),
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "NumberOfPasswordPrompts": "1",
        "BatchMode": "yes" if connection.method is Method.PUBLICKEY else "no",
    }
    return ["-F", "none", *(word for key, value in options.items() for word in ("-o", f"{key}={value}"))]


def askpass(connection: Connection) -> dict[str, str]:
    """Environment that lets ``ssh`` ask a program, which answers with the password."""
    if connection.method is Method.PUBLICKEY:
        return {}
    program = connection.workdir / "askpass"
    program.write_text(f"#!/bin/sh\nprintf '%s\\n' {shlex.quote(connection.password)}\n", encoding="utf-8")
    program.chmod(0o700)
    return {"SSH_ASKPASS": str(program), "SSH_ASKPASS_REQUIRE": "force"}


def _version() -> str:
    return first_line("ssh", "-V").partition(",")[0].partition(" ")[0].removeprefix("OpenSSH_")


class OpensshSftp(Client):
    """``sftp -b``."""

    name = "sftp"
    title = "OpenSSH sftp"
    programs = ("sftp", "ssh")

    def version(self) -> str:
        return _version()

    def commands(self, connection: Connection, steps: Sequence[do.Step]) -> list[Command]:
        target = f"{connection.user}@{connection.host}"
        # first value wins: -b would set BatchMode, and with it no password could be asked
        argv = ["sftp", *ssh_options(connection), "-P", str(connection.port), "-b", "-", target]
        return [Command(argv, "".join(f"{_line(step)}\n" for step in steps), askpass(connection))]


def _line(step: do.Step) -> str:
    match step:
        case do.Put(local, remote, preserve, resume):
            verb = "reput" if resume else "put -p" if preserve else "put"
            return f"{verb} {quoted(local)} {quoted(remote)}"
        case do.PutAll(directory):
            return f"put {directory}/*"
        case do.Get(remote, local):
            return f"get {quoted(remote)} {quoted(local)}"
        case do.Stat(remote):
            return f"ls -l {quoted(remote)}"
        case do.List():
            return "ls -1"
        case do.Rename(old, new):
            return f"rename {quoted(old)} {quoted(new)}"
        case do.Remove(remote):
            return f"rm {quoted(remote)}"
        case do.Mkdir(remote):
            return f"mkdir {quoted(remote)}"


class OpensshScp(Client):
    """``scp``."""

    name = "scp"
    title = "OpenSSH scp"
    programs = ("scp", "ssh")
    lacks = {
        Capability.STAT: "scp only copies",
        Capability.LIST: "scp only copies",
        Capability.RENAME: "scp only copies",
        Capability.REMOVE: "scp only copies",
        Capability.MKDIR: "scp only copies",
        Capability.RESUME: "scp cannot resume",
    }

    def version(self) -> str:
        return _version()

    def commands(self, connection: Connection, steps: Sequence[do.Step]) -> list[Command]:
        return [self._command(connection, step) for step in steps]

    def _command(self, connection: Connection, step: do.Step) -> Command:
        target = f"{connection.user}@{connection.host}"
        options: list[str] = []
        paths: list[str | Path]
        match step:
            case do.Put(local, remote, preserve):
                options = ["-p"] if preserve else []
                paths = [local, f"{target}:{remote}"]
            case do.PutAll():
                paths = [*step.files(), f"{target}:"]
            case do.Get(remote, local):
                paths = [f"{target}:{remote}", local]
            case _:
                raise NotImplementedError(step)
        argv = ["scp", "-s", *ssh_options(connection), "-P", str(connection.port), *options, "--", *map(str, paths)]
        return Command(argv, env=askpass(connection))
