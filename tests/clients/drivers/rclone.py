"""rclone, built on the Go library pkg/sftp: one command for each step, as people run it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from tests.clients.drivers import steps as do
from tests.clients.drivers.base import Capability, Client, Command, Connection, Method, first_line


class Rclone(Client):
    """``rclone copyto`` and its like, with a configured remote; it always sets the time and checks the size afterwards."""

    name = "rclone"
    title = "rclone"
    programs = ("rclone",)
    lacks = {
        Capability.RESUME: "rclone cannot resume",
        Capability.KEYBOARD_INTERACTIVE: "rclone tries the password first and cannot be told otherwise",
    }

    def version(self) -> str:
        return first_line("rclone", "version").split()[1].removeprefix("v")

    def commands(self, connection: Connection, steps: Sequence[do.Step]) -> list[Command]:
        config = {
            "type": "sftp",
            "host": connection.host,
            "port": str(connection.port),
            "user": connection.user,
            "known_hosts_file": str(connection.known_hosts),
            "shell_type": "none",
        }
        if connection.method is Method.PUBLICKEY:
            config["key_file"] = str(connection.keys["ed25519"])
        else:
            obscure = ["rclone", "obscure", "-"]
            done = subprocess.run(obscure, input=connection.password, capture_output=True, text=True, timeout=30, check=True)
            config["pass"] = done.stdout.strip()
        file = connection.workdir / "rclone.conf"
        file.write_text("[erp]\n" + "".join(f"{key} = {value}\n" for key, value in config.items()), encoding="utf-8")
        return [Command(["rclone", "--config", str(file), "--retries", "1", *_words(step)]) for step in steps]


def _words(step: do.Step) -> list[str]:
    match step:
        case do.Put(local, remote):
            return ["copyto", str(local), f"erp:{remote}"]
        case do.PutAll(directory):
            return ["copy", str(directory), "erp:"]
        case do.Get(remote, local):
            return ["copyto", f"erp:{remote}", str(local)]
        case do.Stat(remote):
            return ["lsl", f"erp:{remote}"]
        case do.List():
            return ["lsf", "erp:"]
        case do.Rename(old, new):
            return ["moveto", f"erp:{old}", f"erp:{new}"]
        case do.Remove(remote):
            return ["deletefile", f"erp:{remote}"]
        case do.Mkdir(remote):
            return ["mkdir", f"erp:{remote}"]
