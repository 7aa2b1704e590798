"""curl with libssh2: one transfer for each command, with the file commands that ``--quote`` knows before or after it."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from tests.clients.drivers import steps as do
from tests.clients.drivers.base import Capability, Client, Command, Connection, Method, first_line, quoted


class Curl(Client):
    """``curl -T``; a rename or removal after an upload goes into the same command, as the manual shows it."""

    name = "curl"
    title = "curl"
    programs = ("curl",)
    appends = True
    lacks = {
        Capability.PRESERVE: "curl does not set times",
        Capability.KEYBOARD_INTERACTIVE: "curl tries the password first and cannot be told otherwise",
    }

    def version(self) -> str:
        words = first_line("curl", "--version").split()
        return " ".join([words[1], *(word.replace("/", " ") for word in words if word.startswith("libssh"))])

    def commands(self, connection: Connection, steps: Sequence[do.Step]) -> list[Command]:
        home = connection.workdir / ".ssh"  # where curl looks for known hosts
        home.mkdir(exist_ok=True)
        (home / "known_hosts").write_bytes(connection.known_hosts.read_bytes())
        transfers: list[list[str]] = []
        for step in steps:
            words = _words(connection, step)
            after_upload = isinstance(step, do.Rename | do.Remove) and transfers and "--upload-file" in transfers[-1]
            if after_upload:
                transfers[-1] += ["--quote", f"-{words[1]}"]
            else:
                transfers.append(words)
        return [Command(["curl", "--silent", "--show-error", *_login(connection), *words]) for words in transfers]


def _login(connection: Connection) -> list[str]:
    if connection.method is Method.PUBLICKEY:
        key = connection.keys["ecdsa"]  # libssh2 1.10 signs RSA with SHA-1 only
        return ["--user", f"{connection.user}:", "--key", str(key), "--pubkey", f"{key}.pub"]
    return ["--user", f"{connection.user}:{connection.password}"]


def _url(connection: Connection, remote: str) -> str:
    return f"sftp://{connection.host}:{connection.port}{quote(connection.remote(remote))}"


def _words(connection: Connection, step: do.Step) -> list[str]:
    directory = f"{_url(connection, '')}"
    match step:
        case do.Put(local, remote, _, resume, append):
            how = ["--append"] if append else ["--continue-at", "-"] if resume else []
            return [*how, "--upload-file", str(local), _url(connection, remote)]
        case do.PutAll():
            return ["--upload-file", f"{{{','.join(map(str, step.files()))}}}", directory]
        case do.Get(remote, local):
            return ["--output", str(local), _url(connection, remote)]
        case do.Stat(remote):
            return [f"{_url(connection, remote).rpartition('/')[0]}/"]  # the long listing of the directory: --head shows nothing
        case do.List():
            return ["--list-only", directory]
        case do.Rename(old, new):
            return ["--quote", f"rename {quoted(connection.remote(old))} {quoted(connection.remote(new))}", "--head", directory]
        case do.Remove(remote):
            return ["--quote", f"rm {quoted(connection.remote(remote))}", "--head", directory]
        case do.Mkdir(remote):
            return ["--quote", f"mkdir {quoted(connection.remote(remote))}", "--head", directory]
