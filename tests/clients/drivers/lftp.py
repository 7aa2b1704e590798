"""lftp, which speaks SFTP over an ``ssh`` that it starts."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from tests.clients.drivers import steps as do
from tests.clients.drivers.base import Client, Command, Connection, Method, first_line, quoted
from tests.clients.drivers.openssh import ssh_options


class Lftp(Client):
    """``lftp -f``; its ``put`` declares size and time before it closes the file."""

    name = "lftp"
    title = "lftp"
    programs = ("lftp", "ssh")

    def version(self) -> str:
        return first_line("lftp", "--version").split()[3]

    def commands(self, connection: Connection, steps: Sequence[do.Step]) -> list[Command]:
        password = "" if connection.method is Method.PUBLICKEY else connection.password
        # lftp answers ssh's prompt on a pseudo-terminal, so that BatchMode must not forbid it
        ssh = shlex.join(["ssh", "-a", "-x", *ssh_options(connection)])
        script = [
            "set cmd:fail-exit true",
            "set net:max-retries 1",
            "set net:timeout 20",
            f"set sftp:connect-program {quoted(ssh)}",
            f"open -u {connection.user},{quoted(password)} sftp://{connection.host}:{connection.port}",
            *map(_line, steps),
        ]
        file = connection.workdir / "lftp.script"
        file.write_text("\n".join(script) + "\n", encoding="utf-8")
        return [Command(["lftp", "-f", str(file)])]


def _line(step: do.Step) -> str:
    match step:
        case do.Put(local, remote, _, resume):
            return f"put {'-c ' if resume else ''}{quoted(local)} -o {quoted(remote)}"
        case do.PutAll(directory):
            return f"mput {quoted(f'{directory}/*')}"
        case do.Get(remote, local):
            return f"get {quoted(remote)} -o {quoted(local)}"
        case do.Stat(remote):
            return f"cls -l --block-size=1 {quoted(remote)}"
        case do.List():
            return "cls -1"
        case do.Rename(old, new):
            return f"mv {quoted(old)} {quoted(new)}"
        case do.Remove(remote):
            return f"rm {quoted(remote)}"
        case do.Mkdir(remote):
            return f"mkdir {quoted(remote)}"
