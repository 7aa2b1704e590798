"""Client libraries, each behind a small program in ``tests/clients/programs`` that an ERP's developer could have written.

Such a program reads its connection from the environment (``CLIENT_HOST``, ``CLIENT_PORT``, ``CLIENT_USER``, ``CLIENT_PASSWORD``,
``CLIENT_METHOD``, ``CLIENT_KEY``, ``CLIENT_KNOWN_HOSTS``) and its steps from standard input, one a line, its words separated
by tabs::

    put LOCAL REMOTE        putp LOCAL REMOTE (keeps the time)     resume LOCAL REMOTE      get REMOTE LOCAL
    stat REMOTE             list DIRECTORY                         rename OLD NEW           remove REMOTE       mkdir REMOTE
    append LOCAL REMOTE

``stat`` and ``list`` print what they find. The first error ends the program with exit status 1. All steps share one connection.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar

from tests.clients.drivers import steps as do
from tests.clients.drivers.base import PYTHON, Capability, Client, Command, Connection, first_line

CLIENTS = Path(__file__).resolve().parent.parent
PROGRAMS = CLIENTS / "programs"
BUILD = Path(
    os.environ.get("CLIENTS_BUILD_DIR", CLIENTS.parent.parent / ".make/clients")
)  # what is installed or compiled for the drivers


class Library(Client):
    """A client of which only the start of the program differs."""

    key_type: ClassVar[str] = "ed25519"
    appends = True
    probe: ClassVar[tuple[str, ...]] = ()  # a command that succeeds when the library is installed

    def argv(self) -> Sequence[str]:
        """The command that starts the program."""
        raise NotImplementedError

    def env(self) -> dict[str, str]:
        """What its environment needs beside the connection."""
        return {}

    def missing(self) -> list[str]:
        return super().missing() or ([] if not self.probe or _succeeds(self.probe) else [self.title])

    def commands(self, connection: Connection, steps: Sequence[do.Step]) -> list[Command]:
        environment = {
            "CLIENT_HOST": connection.host,
            "CLIENT_PORT": str(connection.port),
            "CLIENT_USER": connection.user,
            "CLIENT_PASSWORD": connection.password,
            "CLIENT_METHOD": str(connection.method),
            "CLIENT_KEY": str(connection.keys[self.key_type]),
            "CLIENT_KNOWN_HOSTS": str(connection.known_hosts),
        }
        lines = "".join("\t".join(words) + "\n" for step in steps for words in _lines(step))
        return [Command(self.argv(), lines, environment | self.env())]


@cache
def _succeeds(argv: tuple[str, ...]) -> bool:
    return subprocess.run(argv, capture_output=True, timeout=30, check=False).returncode == 0


def _lines(step: do.Step) -> list[list[str]]:
    match step:
        case do.Put(local, remote, append=True):
            return [["append", str(local), remote]]
        case do.Put(local, remote, preserve, resume):
            return [["resume" if resume else "putp" if preserve else "put", str(local), remote]]
        case do.PutAll():
            return [["put", str(file), file.name] for file in step.files()]
        case do.Get(remote, local):
            return [["get", remote, str(local)]]
        case do.Stat(remote):
            return [["stat", remote]]
        case do.List():
            return [["list", "."]]
        case do.Rename(old, new):
            return [["rename", old, new]]
        case do.Remove(remote):
            return [["remove", remote]]
        case do.Mkdir(remote):
            return [["mkdir", remote]]


# -- Python ----------------------------------------------------------------------------------------------------------


class Paramiko(Library):
    """paramiko; ``put`` with its default confirmation, a STAT after the CLOSE."""

    name = "paramiko"
    title = "paramiko"
    programs = ()

    def version(self) -> str:
        return version("paramiko")

    def argv(self) -> Sequence[str]:
        return [PYTHON, str(PROGRAMS / "paramiko_client.py")]


class Asyncssh(Library):
    """asyncssh as a client; several writes in flight."""

    name = "asyncssh"
    title = "asyncssh"
    programs = ()

    def version(self) -> str:
        return version("asyncssh")

    def argv(self) -> Sequence[str]:
        return [PYTHON, str(PROGRAMS / "asyncssh_client.py")]


# -- Node ------------------------------------------------------------------------------------------------------------


class Ssh2SftpClient(Library):
    """ssh2-sftp-client for Node, on ssh2; uploads with ``fastPut``, many writes in flight."""

    name = "ssh2-sftp-client"
    title = "Node ssh2-sftp-client"
    programs = ("node", "npm")
    lacks = {
        Capability.PRESERVE: "the library has no call for it",
        Capability.APPEND: "it may send its first write before it has asked for the file's size, and is then refused",
    }

    def version(self) -> str:
        return first_line("node", "-p", f"require('{node_modules()}/ssh2-sftp-client/package.json').version")

    def argv(self) -> Sequence[str]:
        return ["node", str(PROGRAMS / "ssh2_sftp_client.js")]

    def env(self) -> dict[str, str]:
        return {"NODE_PATH": str(node_modules())}


@cache
def node_modules() -> Path:
    """Install what the lock file names, once for each lock file."""
    source = CLIENTS / "node"
    digest = hashlib.sha256((source / "package-lock.json").read_bytes()).hexdigest()[:16]
    target = BUILD / f"node-{digest}"
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / "node.lock").open("w") as lock:  # parallel test processes
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (target / "complete").exists():
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir()
            for name in ("package.json", "package-lock.json"):
                shutil.copy(source / name, target)
            argv = ["npm", "ci", "--ignore-scripts", "--omit=optional", "--no-audit", "--no-fund", "--loglevel=error"]
            subprocess.run(argv, cwd=target, check=True, timeout=120, capture_output=True)
            (target / "complete").touch()
    return target / "node_modules"


# -- Java ------------------------------------------------------------------------------------------------------------

JSCH_JAR = "/usr/share/java/jsch.jar"  # Debian: libjsch-java


class Jsch(Library):
    """JSch 0.1.5x, the classic old client of Java programs: no ed25519, no SHA-2 signatures with RSA."""

    name = "jsch"
    title = "JSch"
    programs = ("java", "javac", JSCH_JAR)
    key_type = "ecdsa"

    def version(self) -> str:
        return first_line(*self.argv(), "--version")

    def argv(self) -> Sequence[str]:
        return [
            "java",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-Xshare:auto",
            "-cp",
            f"{JSCH_JAR}:{java_classes()}",
            "JschClient",
        ]


@cache
def java_classes() -> Path:
    """Compile the program, once for each source."""
    source = PROGRAMS / "JschClient.java"
    target = BUILD / f"java-{hashlib.sha256(source.read_bytes()).hexdigest()[:16]}"
    target.mkdir(parents=True, exist_ok=True)
    with (BUILD / "java.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (target / "JschClient.class").exists():
            argv = ["javac", "-encoding", "UTF-8", "-cp", JSCH_JAR, "-d", str(target), str(source)]
            subprocess.run(argv, check=True, timeout=60, capture_output=True)
    return target


# -- PHP -------------------------------------------------------------------------------------------------------------

PHPSECLIB = "/usr/share/php/phpseclib3/autoload.php"  # Debian: php-phpseclib3


class Phpseclib(Library):
    """phpseclib 3, SSH in PHP."""

    name = "phpseclib"
    title = "phpseclib"
    programs = ("php", PHPSECLIB)
    lacks = {Capability.KEYBOARD_INTERACTIVE: "the library tries the password first and cannot be told otherwise"}

    def version(self) -> str:
        shown = first_line("dpkg-query", "--show", "--showformat=${Version}", "php-phpseclib3")
        return shown.partition("-")[0] if shown[:1].isdigit() else "3"

    def argv(self) -> Sequence[str]:
        return ["php", "-d", "memory_limit=512M", str(PROGRAMS / "phpseclib_client.php"), PHPSECLIB]


# -- Ruby and Perl ---------------------------------------------------------------------------------------------------


class RubyNetSftp(Library):
    """Net::SFTP for Ruby."""

    name = "ruby-net-sftp"
    title = "Ruby Net::SFTP"
    programs = ("ruby",)
    probe = ("ruby", "-e", "require 'net/sftp'")  # Debian: ruby-net-sftp
    lacks = {Capability.RESUME: "the library has no call for it"}

    def version(self) -> str:
        return first_line(*self.argv(), "--version")

    def argv(self) -> Sequence[str]:
        return ["ruby", str(PROGRAMS / "net_sftp.rb")]


class PerlNetSftpForeign(Library):
    """Net::SFTP::Foreign for Perl, which speaks SFTP over an ``ssh`` that it starts."""

    name = "perl-net-sftp-foreign"
    title = "Perl Net::SFTP::Foreign"
    programs = ("perl", "ssh")
    probe = ("perl", "-MNet::SFTP::Foreign", "-e", "1")  # Debian: libnet-sftp-foreign-perl
    lacks = {
        Capability.PASSWORD: "the library leaves passwords to a pseudo-terminal module of its own",
        Capability.KEYBOARD_INTERACTIVE: "the library leaves passwords to a pseudo-terminal module of its own",
    }

    def version(self) -> str:
        return first_line(*self.argv(), "--version")

    def argv(self) -> Sequence[str]:
        return ["perl", str(PROGRAMS / "net_sftp_foreign.pl")]
