"""The paramiko client; see drivers/libraries.py for what it reads."""

import os
import sys
from collections.abc import Iterator

import paramiko  # type: ignore[import-untyped]
from paramiko.auth_strategy import AuthSource, AuthStrategy  # type: ignore[import-untyped]


def do(sftp: paramiko.SFTPClient, verb: str, *words: str) -> None:
    """One step."""
    match verb, words:
        case "put", (local, remote):
            sftp.put(local, remote)
        case "putp", (local, remote):
            sftp.put(local, remote)
            times = os.stat(local)
            sftp.utime(remote, (times.st_atime, times.st_mtime))
        case "resume", (local, remote):
            offset = sftp.stat(remote).st_size or 0
            print(f"resuming at {offset}")
            with open(local, "rb") as source, sftp.open(remote, "r+b") as target:
                source.seek(offset)
                target.seek(offset)
                target.set_pipelined(True)
                while data := source.read(32768):
                    target.write(data)
        case "append", (local, remote):
            with open(local, "rb") as source, sftp.open(remote, "ab") as target:
                while data := source.read(32768):
                    target.write(data)
        case "get", (remote, local):
            sftp.get(remote, local)
        case "stat", (remote,):
            print("size", sftp.stat(remote).st_size)
        case "list", (directory,):
            print(*sftp.listdir(directory), sep="\n")
        case "rename", (old, new):
            sftp.rename(old, new)
        case "remove", (remote,):
            sftp.remove(remote)
        case "mkdir", (remote,):
            sftp.mkdir(remote)
        case _:
            raise ValueError(verb)


def main() -> None:
    """Connect, and do every step."""
    env = os.environ
    sys.stdin.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    host, port, user, password = env["CLIENT_HOST"], int(env["CLIENT_PORT"]), env["CLIENT_USER"], env["CLIENT_PASSWORD"]
    with paramiko.SSHClient() as ssh:
        ssh.load_host_keys(env["CLIENT_KNOWN_HOSTS"])
        ssh.set_missing_host_key_policy(paramiko.RejectPolicy())
        if env["CLIENT_METHOD"] == "publickey":
            ssh.connect(host, port, user, key_filename=env["CLIENT_KEY"], allow_agent=False, look_for_keys=False)
        elif env["CLIENT_METHOD"] == "password":
            ssh.connect(host, port, user, password, allow_agent=False, look_for_keys=False)
        else:
            ssh.connect(host, port, allow_agent=False, look_for_keys=False, auth_strategy=_KeyboardInteractive(user, password))
        with ssh.open_sftp() as sftp:
            for line in sys.stdin:
                do(sftp, *line.rstrip("\n").split("\t"))


class _KeyboardInteractive(AuthStrategy):  # type: ignore[misc]
    """The one way to have SSHClient use keyboard-interactive without trying the password first."""

    def __init__(self, user: str, password: str) -> None:
        super().__init__(ssh_config=None)
        self._source = _Answers(user, password)

    def get_sources(self) -> Iterator[AuthSource]:
        yield self._source


class _Answers(AuthSource):  # type: ignore[misc]
    def __init__(self, user: str, password: str) -> None:
        super().__init__(username=user)
        self._password = password

    def authenticate(self, transport: paramiko.Transport) -> list[str]:
        methods: list[str] = transport.auth_interactive(
            self.username, lambda _title, _text, prompts: [self._password for _ in prompts]
        )
        return methods


if __name__ == "__main__":
    main()
