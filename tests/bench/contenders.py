"""Servers to compare, each on a free loopback port with one account and one key, started and stopped alike.

sftpgate is measured as a user gets it: ``sftpgate serve`` with its defaults. The peers store nothing durably and record
nothing, which is what they do.
"""

from __future__ import annotations

import getpass
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import psutil
from prometheus_client.parser import text_string_to_metric_families

START_SECONDS = 30.0
HOST = "127.0.0.1"
MOVER = Path(__file__).with_name("mover.py")


class Server(ABC):
    """A running server. ``target`` is where uploads go, as a client names it; ``files`` the same on disk."""

    name: ClassVar[str]
    programs: ClassVar[tuple[str, ...]] = ()

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.directory.mkdir(parents=True)
        self.files = directory / "files"
        self.user = getpass.getuser()
        self.target = str(self.files)
        self.key = directory / "id_ed25519"
        self.port = free_port()
        self._process: subprocess.Popen[str] | None = None
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key)])

    @classmethod
    def is_here(cls) -> bool:
        """Whether the machine has the programs."""
        return all(shutil.which(program) or Path(program).exists() for program in cls.programs)

    @abstractmethod
    def argv(self) -> list[str]:
        """The command line of the server, after whatever must be made for it was made."""

    def environment(self) -> dict[str, str]:
        """What the server runs with."""
        return {name: value for name, value in os.environ.items() if not name.startswith("SFTPGATE_")}

    def start(self) -> None:
        """Start; return when the port answers."""
        self.files.mkdir(exist_ok=True)
        argv, environment = self.argv(), self.environment()
        with (self.directory / "log").open("a") as log:
            self._process = subprocess.Popen(argv, env=environment, cwd=self.directory, stdout=log, stderr=log, text=True)
        tick = threading.Event()
        for _ in range(int(START_SECONDS / 0.02)):
            with suppress(ConnectionRefusedError):
                socket.create_connection((HOST, self.port)).close()
                return
            if self._process.poll() is not None:
                break
            tick.wait(0.02)
        raise RuntimeError(f"{self.name} did not start: {(self.directory / 'log').read_text()[-2000:]}")

    def stop(self) -> None:
        """Stop, with everything that it started."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        shutil.rmtree(self.directory, ignore_errors=True)

    def processes(self) -> list[psutil.Process]:
        """The processes of the server that are running."""
        assert self._process is not None
        top = psutil.Process(self._process.pid)
        return [top, *top.children(recursive=True)]

    def cpu_seconds(self) -> float:
        """Processor time of the server so far, with the children that it has waited for."""
        found = 0.0
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                found += times.user + times.system + times.children_user + times.children_system
        return found

    def memory_bytes(self) -> int:
        """Memory of all its processes, shared pages in their shares."""
        return sum(process.memory_full_info().pss for process in self.processes())

    def claimable(self, files: int) -> None:
        """Return when so many more files can be claimed. Ours can be when their CLOSE is answered."""
        assert files > 0

    def sftp(self, *options: str, batch: str = "-") -> list[str]:
        """OpenSSH's client, with its own defaults."""
        pinned = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
        words = ["sftp", "-q", "-F", "none", "-b", batch, "-P", str(self.port), "-i", str(self.key), *pinned, *options]
        return [*words, f"{self.user}@{HOST}"]

    def do(self, commands: str, *options: str) -> None:
        """Run a batch of commands in one session."""
        run(self.sftp(*options), commands)


class Sftpgate(Server):
    """Ours."""

    name = "sftpgate"

    def __init__(self, directory: Path, **settings: str) -> None:
        super().__init__(directory)
        self.user = "erp"
        self.target = "/sync"
        self.files = directory / "data/store"
        self.metrics_port = free_port()
        self._settings = settings

    def argv(self) -> list[str]:
        run(self.words("user", "add", self.user, "--key", f"{self.key}.pub"), env=self.environment(), cwd=self.directory)
        return self.words("serve")

    def start(self) -> None:
        (self.directory / "data").mkdir()
        (self.directory / "data/store").mkdir()
        super().start()

    def words(self, *words: str) -> list[str]:
        """A command of sftpgate."""
        return [sys.executable, "-m", "sftpgate", *words]

    def lags(self) -> dict[float, float]:
        """How often the event loop has been late by up to so many seconds, as its metrics say it."""
        with urllib.request.urlopen(f"http://{HOST}:{self.metrics_port}/metrics") as answer:
            families = text_string_to_metric_families(answer.read().decode())
            name = "sftpgate_event_loop_lag_seconds_bucket"
            samples = [sample for family in families for sample in family.samples if sample.name == name]
        return {float(sample.labels["le"]): sample.value for sample in samples}

    def environment(self) -> dict[str, str]:
        settings = {
            "HOST": HOST,
            "PORT": str(self.port),
            "DATA_DIR": str(self.directory / "data"),
            "KEYS_DIR": str(self.directory / "keys"),
            "METRICS_PORT": str(self.metrics_port),
            # one user at one address is all that comes here
            "MAX_UNAUTHENTICATED": "500",
            "MAX_UNAUTHENTICATED_PER_ADDRESS": "500",
            "MAX_CONNECTIONS_PER_USER": "1000",
            "MAX_SESSIONS_PER_USER": "1000",
        } | self._settings
        return super().environment() | {f"SFTPGATE_{name}": value for name, value in settings.items()}


class Openssh(Server):
    """sshd with internal-sftp: the reference."""

    name = "OpenSSH"
    programs: ClassVar[tuple[str, ...]] = ("/usr/sbin/sshd",)
    options: ClassVar[dict[str, str]] = {}

    def argv(self) -> list[str]:
        host_key = self.directory / "host_key"
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(host_key)])
        options = {
            "ListenAddress": HOST,
            "Port": self.port,
            "HostKey": host_key,
            "AuthorizedKeysFile": f"{self.key}.pub",
            "StrictModes": "no",
            "PermitRootLogin": "prohibit-password",
            "PidFile": "none",
            "MaxStartups": 1000,
            "MaxSessions": 1000,
            "Subsystem": "sftp internal-sftp",
            "UsePAM": "no",
        } | self.options
        config = self.directory / "sshd_config"
        config.write_text("".join(f"{key} {value}\n" for key, value in options.items()))
        Path("/run/sshd").mkdir(exist_ok=True)
        return ["/usr/sbin/sshd", "-D", "-e", "-f", str(config)]


class OpensshWithoutPostQuantum(Openssh):
    """The same without post-quantum key exchange, which costs its clients and itself most of a login."""

    name = "OpenSSH without post-quantum"
    options = {"KexAlgorithms": "-sntrup*,mlkem*"}


class OpensshWithMover(Openssh):
    """OpenSSH's server with a home-made mover beside it, which hashes, flushes and records: ``mover.py``."""

    name = "OpenSSH with a mover"
    options = {"Subsystem": "sftp /usr/lib/openssh/sftp-server"}
    programs = (*Openssh.programs, "/usr/lib/openssh/sftp-server")

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._mover: subprocess.Popen[str] | None = None
        self._counted = 0

    def start(self) -> None:
        super().start()
        store = self.directory / "store"
        store.mkdir()
        words = [sys.executable, str(MOVER), str(self.files), str(store), str(self.directory / "ledger.db")]
        self._mover = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        self._counted = self._count()

    def stop(self) -> None:
        if self._mover is not None:
            self._mover.terminate()
            self._mover.communicate()
            self._mover = None
        super().stop()

    def processes(self) -> list[psutil.Process]:
        assert self._mover is not None
        return [*super().processes(), psutil.Process(self._mover.pid)]

    def claimable(self, files: int) -> None:
        wanted = self._counted + files
        while self._counted < wanted:
            self._counted = self._count()

    def _count(self) -> int:
        assert self._mover is not None
        assert self._mover.stdout is not None
        line = self._mover.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name}: the mover has ended")
        return int(line)


class Proftpd(Server):
    """ProFTPD with mod_sftp."""

    name = "ProFTPD"
    programs = ("proftpd",)

    def argv(self) -> list[str]:
        host_key, keys = self.directory / "host_key", self.directory / "authorized"
        run(["ssh-keygen", "-q", "-t", "rsa", "-b", "3072", "-m", "PEM", "-N", "", "-f", str(host_key)])
        keys.mkdir()
        (keys / self.user).write_text(run(["ssh-keygen", "-e", "-f", f"{self.key}.pub"]))
        config = self.directory / "proftpd.conf"
        lines = [
            "LoadModule mod_sftp.c",
            "ServerType standalone",
            f"DefaultAddress {HOST}",
            f"Port {self.port}",
            "UseIPv6 off",
            f"User {self.user}",
            "RootLogin on",
            "UseFtpUsers off",
            "RequireValidShell off",
            f"ScoreboardFile {self.directory}/scoreboard",
            f"PidFile {self.directory}/pid",
            "MaxInstances none",
            "WtmpLog off",
            "TransferLog none",
            "AllowOverwrite on",
            "SFTPEngine on",
            f"SFTPHostKey {host_key}",
            f"SFTPAuthorizedUserKeys file:{keys}/%u",
            "SFTPAuthMethods publickey",
        ]
        config.write_text("".join(f"{line}\n" for line in lines))
        return ["proftpd", "-n", "-q", "-c", str(config)]


class Rclone(Server):
    """``rclone serve sftp``: Go's pkg/sftp."""

    name = "rclone serve"
    programs = ("rclone",)

    def argv(self) -> list[str]:
        self.target = "/"
        words = ["rclone", "serve", "sftp", str(self.files), "--addr", f"{HOST}:{self.port}", "--user", self.user]
        return [*words, "--authorized-keys", f"{self.key}.pub", "--vfs-cache-mode", "off", "--config", "/dev/null"]

    def environment(self) -> dict[str, str]:
        return super().environment() | {"XDG_CACHE_HOME": str(self.directory / "cache")}


class Asyncssh(Server):
    """asyncssh's SFTP server as its documentation starts it."""

    name = "asyncssh"

    def argv(self) -> list[str]:
        program = (
            "import asyncio, asyncssh, sys\n"
            "async def main(port, key, authorized):\n"
            "    await asyncssh.listen('127.0.0.1', int(port), server_host_keys=[key], authorized_client_keys=authorized,\n"
            "                          sftp_factory=True)\n"
            "    await asyncio.Event().wait()\n"
            "asyncio.run(main(*sys.argv[1:]))\n"
        )
        host_key = self.directory / "host_key"
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(host_key)])
        return [sys.executable, "-c", program, str(self.port), str(host_key), f"{self.key}.pub"]


PEERS: tuple[type[Server], ...] = (Proftpd, Rclone, Asyncssh)


def run(argv: list[str], text: str = "", env: dict[str, str] | None = None, cwd: Path | None = None) -> str:
    """What a program prints. Raises RuntimeError with its words where it fails."""
    done = subprocess.run(argv, input=text, env=env, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: {done.stdout[-500:]}{done.stderr[-1500:]}")
    return done.stdout


def free_port() -> int:
    """A port that nobody has at this moment."""
    with socket.create_server((HOST, 0)) as free:
        port: int = free.getsockname()[1]
        return port


def version_of(*argv: str) -> str:
    """A version number in what a program says of itself."""
    with suppress(OSError):
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
        if found := re.search(r"\d+\.\d+[\w.]*", done.stdout + done.stderr):
            return found[0]
    return "?"
