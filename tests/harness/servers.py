"""A real server in a process of its own, which can be killed and started again, and what OpenSSH's client needs to reach it."""

from __future__ import annotations

import asyncio
import ctypes
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import IO, Any, Self

import asyncssh
import psutil

from sftpgate.ledger import arrivals
from sftpgate.ledger.arrivals import Arrival
from sftpgate.ledger.database.connection import Ledger
from tests.harness.commands import clean_environment, run
from tests.harness.raw import WAIT_SECONDS, Raw

USERS = ("erp", "other")
_SO_ATTACH_FILTER = 26


class Gate:
    """``sftpgate serve`` on a port that stays the same over restarts, with two users and one key."""

    def __init__(self, directory: Path, environment: Mapping[str, str] | None = None, /, **settings: str) -> None:
        self.directory = directory
        self._environment = environment or {}  # besides the settings
        self.data = directory / "data"
        self.key = directory / "id_ed25519"
        self.log = directory / "server.log"
        self.port = free_port()
        self.python = sys.executable
        self._settings = settings
        self._process: subprocess.Popen[str] | None = None
        self._clients: list[subprocess.Popen[bytes]] = []
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key)]
        subprocess.run(words, check=True, timeout=WAIT_SECONDS)
        for user in USERS:
            self.command("user", "add", user, "--key", f"{self.key}.pub")

    @property
    def environment(self) -> dict[str, str]:
        """What the commands of this gate run with."""
        ours = {"HOST": "127.0.0.1", "PORT": self.port, "DATA_DIR": self.data, "KEYS_DIR": self.directory / "keys"}
        return {**clean_environment(**(ours | self._settings)), **self._environment}

    async def connect(self, user: str = "erp", **options: Any) -> asyncssh.SSHClientConnection:
        """A connection, logged in with the key."""
        return await asyncssh.connect(
            "127.0.0.1",
            self.port,
            username=user,
            client_keys=[str(self.key)],
            known_hosts=None,
            config=None,
            agent_path=None,
            **options,
        )

    @asynccontextmanager
    async def raw(self, user: str = "erp") -> AsyncIterator[Raw]:
        """A session of packets made by hand, after INIT; at the end the connection is closed in order, if it still is."""
        connection = await self.connect(user)
        try:
            raw = await Raw.open(connection)
            await raw.begin()
            yield raw
        finally:
            connection.close()
            async with asyncio.timeout(WAIT_SECONDS):
                await connection.wait_closed()

    def workers_seen(self) -> int:
        """How many workers have come up so far."""
        return sum('"worker.ready"' in line for line in self.log.read_text(encoding="utf-8").splitlines())

    def worker_of(self, port: int) -> int:
        """The worker that has the connection of a client's port: the one with a socket whose other end is that."""
        [pid] = [pid for pid in self.workers() if any(end.raddr[1:] == (port,) for end in psutil.Process(pid).net_connections())]
        return pid

    def words(self, *words: str) -> list[str]:
        """The command line of a command of sftpgate."""
        return [self.python, "-m", "sftpgate", *words]

    def attempt(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command of sftpgate, however it ends."""
        done = run(*words, env=self.environment, cwd=self.directory, python=self.python)
        return subprocess.CompletedProcess(words, done.returncode, done.stdout.decode(), done.stderr.decode())

    def command(self, *words: str) -> str:
        """What a command of sftpgate prints; it must succeed."""
        done = self.attempt(*words)
        assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}"
        return done.stdout

    def start(self) -> None:
        """Start; returns when it accepts connections."""
        with self.log.open("a", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                self.words("serve"),
                env=self.environment,
                cwd=self.directory,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert re.search(r"ready on \S+ port \d+", line), f"it did not start: {line}\n{self.log.read_text(encoding='utf-8')}"

    def kill(self) -> None:
        """SIGKILL, to the supervisor and to every process of its at once; returns when all are gone."""
        doomed = [psutil.Process(pid) for pid in self.children()]
        for worker in doomed:
            with suppress(psutil.NoSuchProcess):
                worker.kill()
        self._end(signal.SIGKILL)
        psutil.wait_procs(doomed, timeout=WAIT_SECONDS)

    def stop(self) -> int:
        """SIGTERM, and its end; its exit status."""
        return self._end(signal.SIGTERM)

    def hang_up(self) -> None:
        """SIGHUP: reload."""
        os.kill(self.pid, signal.SIGHUP)

    def _end(self, number: signal.Signals) -> int:
        if self._process is None:
            return 0
        self._process.send_signal(number)
        stdout: IO[str] | None = self._process.stdout
        status = self._process.wait(WAIT_SECONDS)
        assert stdout is not None
        stdout.close()
        self._process = None
        return status

    @property
    def pid(self) -> int:
        """The supervisor's process."""
        assert self._process is not None
        return self._process.pid

    def workers(self) -> list[int]:
        """The worker processes, oldest first."""
        return [pid for pid in self.children() if "worker" in words_of(pid)]

    def follower(self) -> int | None:
        """The process that runs the followers of the record, if it has come up."""
        return next((pid for pid in self.children() if "follow" in words_of(pid)), None)

    def children(self) -> list[int]:
        """All processes of the supervisor, oldest first."""
        if self._process is None or self._process.poll() is not None:
            return []
        children = psutil.Process(self._process.pid).children()
        return [child.pid for child in sorted(children, key=psutil.Process.create_time)]

    def sftp(self, commands: str, *options: str, user: str = "erp") -> subprocess.Popen[bytes]:
        """OpenSSH's client with a batch of commands, in a process group of its own."""
        words = ["sftp", "-q", "-b", "-", "-P", str(self.port), "-i", str(self.key), *options]
        words += ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes"]
        process = subprocess.Popen(
            [*words, "-F", "none", f"{user}@127.0.0.1"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self.directory,
            start_new_session=True,
        )
        assert process.stdin is not None
        self._clients.append(process)
        with suppress(BrokenPipeError):
            process.stdin.write(commands.encode())
            process.stdin.close()
        return process

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing of it runs on, whatever the test did."""
        self.kill()
        for client in self._clients:
            if client.poll() is None:
                os.killpg(client.pid, signal.SIGKILL)
                client.wait(WAIT_SECONDS)

    # -- looking -----------------------------------------------------------------------------------------------------

    def rows(self, path: str) -> list[Arrival]:
        """What the ledger has of a path, in order of arrival."""
        ledger = Ledger(self._settings.get("LEDGER_URL") or f"sqlite:///{self.data}/ledger.db")
        try:
            with ledger.reading() as connection:
                return arrivals.find(connection, paths=[path])
        finally:
            ledger.close()

    def in_store(self, path: str) -> bytes | None:
        """What runners find at a path."""
        try:
            return (self.data / "store" / path).read_bytes()
        except FileNotFoundError:
            return None

    def archived(self, path: str) -> list[bytes]:
        """What is in the archives of a name, in no order."""
        return [file.read_bytes() for file in (self.data / "store/archives").glob(f"*_{path.partition('.')[0]}*")]

    def staged_bytes(self, user: str = "erp") -> int:
        """The size of the largest file in a user's staging directory."""
        directory = self.data / "store/.sftpgate/staging" / user
        return max((file.stat().st_size for file in directory.glob("*") if file.suffix != ".json"), default=0)

    def has_logged(self, event: str, path: str) -> bool:
        """Whether the log has an event about a path."""
        return any(event in line and path in line for line in self.log.read_text(encoding="utf-8").splitlines())


def cut_the_line(end: socket.socket) -> None:
    """Have the kernel drop all that comes to this socket, before TCP sees it: nothing is acknowledged any more."""
    drop_everything = ctypes.create_string_buffer(struct.pack("=HBBI", 0x06, 0, 0, 0))  # BPF_RET | BPF_K, 0 bytes
    end.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HL", 1, ctypes.addressof(drop_everything)))


def until(condition: Callable[[], object], what: str) -> None:
    """Wait for something that another process does."""
    tick = threading.Event()
    for _ in range(int(WAIT_SECONDS / 0.02)):
        if condition():
            return
        tick.wait(0.02)
    raise AssertionError(f"it did not come to this: {what}")


def words_of(pid: int) -> list[str]:
    """The command line of a process; empty if it is gone."""
    try:
        return psutil.Process(pid).cmdline()
    except psutil.NoSuchProcess:  # also one whose end nobody has seen yet
        return []


def free_port() -> int:
    """A port of the loopback that nobody has."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port
