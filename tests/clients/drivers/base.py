"""What a driver is: a translation of the steps that a scenario asks for into command lines of a real program.

A driver decides nothing about the server and looks at no file of it. It says what its program lacks, with the reason, so that
the matrix can show "n/a" instead of a test that was never honest. Everything runs in processes of its own, the libraries
too, so that every client can be killed and none shares state with the test.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import ClassVar

from tests.clients.drivers import steps as do

COMMAND_TIMEOUT_SECONDS = 120.0  # below the timeout of a cell (conftest.CELL_TIMEOUT_SECONDS)


class Capability(StrEnum):
    """What a scenario may need of a client, or of the server under test."""

    STAT = "stat"
    LIST = "list"
    RENAME = "rename"
    REMOVE = "remove"
    MKDIR = "mkdir"
    GET = "get"
    RESUME = "resume"
    APPEND = "append"
    PRESERVE = "preserve"
    PASSWORD = "password"
    KEYBOARD_INTERACTIVE = "keyboard-interactive"
    RESERVED_PATHS = "reserved paths"  # of the server


# -- where to connect ------------------------------------------------------------------------------------------------


class Method(StrEnum):
    """How to log in."""

    PUBLICKEY = "publickey"
    PASSWORD = "password"
    KEYBOARD_INTERACTIVE = "keyboard-interactive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """One way to one account, and a directory for what the client keeps (its home, too)."""

    host: str
    port: int
    user: str
    password: str
    keys: Mapping[str, Path]  # private keys by type: ed25519 (OpenSSH format), ecdsa and rsa (PEM)
    known_hosts: Path
    fingerprints: Sequence[str]  # of the host keys, "SHA256:…"
    base: str  # absolute path of the directory where a session starts
    workdir: Path
    method: Method = Method.PUBLICKEY

    def remote(self, path: str) -> str:
        """The absolute path of one that is relative to the start directory."""
        return path if path.startswith("/") else f"{self.base}/{path}"


# -- running ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Command:
    """One process to run."""

    argv: Sequence[str]
    stdin: str = ""
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the program said, and whether it called it a success."""

    ok: bool
    said: str  # what the program printed
    output: str  # the same, with the commands and their exit statuses


class Client(ABC):
    """One real client."""

    name: ClassVar[str]
    title: ClassVar[str]  # for the table
    programs: ClassVar[tuple[str, ...]]  # on PATH, or absolute paths of files that must be there
    lacks: ClassVar[Mapping[Capability, str]] = {}
    appends: ClassVar[bool] = False  # few programs can

    @abstractmethod
    def version(self) -> str:
        """The version, as short as it identifies the program."""

    @abstractmethod
    def commands(self, connection: Connection, steps: Sequence[do.Step]) -> list[Command]:
        """The commands that do the steps, to be run one after the other; one command wherever the program can."""

    def missing(self) -> list[str]:
        """Which programs are not on this machine."""
        return [name for name in self.programs if not (Path(name).exists() if name.startswith("/") else shutil.which(name))]

    def run(self, connection: Connection, steps: Sequence[do.Step]) -> Outcome:
        """Do the steps; stop at the first command that fails."""
        said, log = "", ""
        for command in self.commands(connection, steps):
            process = _start(command, connection)
            try:
                output, _ = process.communicate(timeout=COMMAND_TIMEOUT_SECONDS)
            except BaseException:
                kill(process)
                raise
            said += output
            log += f"$ {' '.join(command.argv)}\n{output}[exit {process.returncode}]\n"
            if process.returncode:
                return Outcome(ok=False, said=said, output=log)
        return Outcome(ok=True, said=said, output=log)

    def start(self, connection: Connection, steps: Sequence[do.Step]) -> subprocess.Popen[str]:
        """Start the one command that does the steps, for a test that interrupts it."""
        (command,) = self.commands(connection, steps)
        return _start(command, connection)


def kill(process: subprocess.Popen[str], number: signal.Signals = signal.SIGKILL) -> str:
    """Signal the client and its children (as a terminal does), wait for its end, and return what it said."""
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        pass
    output, _ = process.communicate(timeout=COMMAND_TIMEOUT_SECONDS)
    return output


def _start(command: Command, connection: Connection) -> subprocess.Popen[str]:
    # Input from a file and not a pipe: communicate() writes only once it is called, and a client started to be interrupted
    # must read its script before that.
    script = connection.workdir / "stdin"
    script.write_text(command.stdin, encoding="utf-8")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(connection.workdir),
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "TERM": "dumb",
    }
    with script.open(encoding="utf-8") as stdin:
        return subprocess.Popen(
            command.argv,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            env={**environment, **command.env},
            cwd=connection.workdir,
            start_new_session=True,  # a process group to kill, and no terminal to ask a password on
        )


def first_line(*argv: str) -> str:
    """The first line that a program prints about itself, on either stream."""
    done = subprocess.run(
        argv, capture_output=True, text=True, timeout=30, check=False, env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    )
    return (done.stdout + done.stderr).strip().partition("\n")[0]


def quoted(path: str | Path) -> str:
    """A word in double quotes, as sftp, lftp and psftp read them; the names of the scenarios contain none."""
    return f'"{path}"'


PYTHON = sys.executable
