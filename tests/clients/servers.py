"""The server under test: sftpgate, or, with ``--reference``, a plain OpenSSH for comparison.

Both give a driver the same things to connect with and the scenarios the same questions to ask of the disk. What OpenSSH does not
promise, the scenarios do not ask of it.
"""

from __future__ import annotations

import base64
import getpass
import hashlib
import os
import re
import signal
import socket
import subprocess
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import IO, ClassVar

from tests.clients.drivers.base import Capability, Connection, Method
from tests.harness.commands import clean_environment, run, sftpgate

START_SECONDS = 30.0
STOP_SECONDS = 20.0
MANAGED = {"archives", "reports", ".sftpgate"}  # of the store: not what runners read


def make_keys(directory: Path) -> dict[str, Path]:
    """One private key of each type: ed25519 in OpenSSH's format, the others in the PEM that older clients want."""
    keys = {}
    for kind, words in {"ed25519": [], "ecdsa": ["-b", "256", "-m", "PEM"], "rsa": ["-b", "3072", "-m", "PEM"]}.items():
        keys[kind] = directory / f"id_{kind}"
        argv = ["ssh-keygen", "-q", "-t", kind, *words, "-N", "", "-C", f"erp {kind}", "-f", str(keys[kind])]
        subprocess.run(argv, check=True, timeout=60)
    return keys


class Server(ABC):
    """A running server with one account."""

    host: ClassVar[str] = "127.0.0.1"
    password: ClassVar[str] = "correct horse battery staple"
    is_reference: ClassVar[bool] = False
    lacks: ClassVar[Mapping[Capability, str]] = {}

    port: int
    user: str
    base: str  # where a session starts, as the client sees it
    drop: Path
    store: Path
    host_keys: Path  # directory of ssh_host_*_key.pub

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.keys = make_keys(directory)
        self.log = directory / "server.log"

    @abstractmethod
    def start(self) -> None:
        """Start; return when it accepts connections."""

    @abstractmethod
    def stop(self) -> None:
        """Stop."""

    @abstractmethod
    def exit_status(self) -> int | None:
        """None while it runs; a signal's number is negative."""

    def connection(self, workdir: Path, *, method: Method = Method.PUBLICKEY, port: int | None = None) -> Connection:
        """A connection for one client; ``port`` is that of a relay in front of the server."""
        port = port or self.port
        blobs = [file.read_text(encoding="ascii").split()[:2] for file in sorted(self.host_keys.glob("ssh_host_*_key.pub"))]
        known_hosts = workdir / "known_hosts"
        known_hosts.write_text("".join(f"[{self.host}]:{port} {kind} {blob}\n" for kind, blob in blobs), encoding="ascii")
        return Connection(
            host=self.host,
            port=port,
            user=self.user,
            password=self.password,
            keys=self.keys,
            known_hosts=known_hosts,
            fingerprints=[_fingerprint(blob) for _, blob in blobs],
            base=self.base,
            workdir=workdir,
            method=method,
        )

    def in_store(self, stem: str) -> dict[str, Path]:
        """What runners would find of a cell: files below the store, by relative path, that bear the cell's name."""
        found = {}
        for directory, subdirectories, files in os.walk(self.store):
            if Path(directory) == self.store:
                subdirectories[:] = [name for name in subdirectories if name not in MANAGED]
            for name in files:
                path = Path(directory) / name
                relative = str(path.relative_to(self.store))
                if _bears(relative, stem):
                    found[relative] = path
        return found

    def archived(self, stem: str) -> list[Path]:
        """What ``archives/`` has of a cell."""
        return sorted(path for path in (self.store / "archives").glob("*") if _bears(path.name, stem))

    def left_in_drop(self, stem: str) -> list[str]:
        """Files that lie in the drop and bear the cell's name."""
        found = (str(path.relative_to(self.drop)) for path in self.drop.rglob("*") if path.is_file())
        return sorted(relative for relative in found if _bears(relative, stem))


def _bears(path: str, stem: str) -> bool:
    """Whether a path bears the name of a cell: psftp's are not those of sftp."""
    return re.search(rf"(?<![a-z0-9-]){re.escape(stem)}", path) is not None


def _fingerprint(blob: str) -> str:
    digest = base64.b64encode(hashlib.sha256(base64.b64decode(blob)).digest()).decode()
    return f"SHA256:{digest.rstrip('=')}"


class Sftpgate(Server):
    """``sftpgate serve`` with its defaults, and a sweep every second in between."""

    user = "erp"
    base = "/sync"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.store, self.drop, self.host_keys = directory / "data/store", directory / "data/sync", directory / "keys/host"
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def _environment(self) -> dict[str, str]:
        directories = {"DATA_DIR": self.directory / "data", "KEYS_DIR": self.directory / "keys"}
        return clean_environment(HOST=self.host, PORT=0, SWEEP_INTERVAL="1s", SETTLE_SECONDS="2s", **directories)

    def start(self) -> None:
        keys = [word for key in self.keys.values() for word in ("--key", f"{key}.pub")]
        add = ["user", "add", self.user, *keys, "--password-stdin"]
        done = run(*add, text=f"{self.password}\n".encode(), env=self._environment(), cwd=self.directory)
        assert done.returncode == 0, done
        with self.log.open("w", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                sftpgate("serve"), env=self._environment(), cwd=self.directory, stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self._process.stdout is not None
        ready = _Ready(self._process.stdout)
        self.port = ready.port(self.log)

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def exit_status(self) -> int | None:
        return self._process.poll() if self._process else None


class _Ready:
    """Waits for the line that says "ready" and the address, and keeps reading so that the server never blocks on its output."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._found = threading.Event()
        self._port = 0
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            for line in self._stream:
                if "ready" in line and (port := re.search(r" port (\d+)", line)):
                    self._port = int(port[1])
                    self._found.set()
        except ValueError:  # the stream was closed
            pass
        self._found.set()  # also when the server ended without that line

    def port(self, log: Path) -> int:
        """The port, once the server is ready."""
        self._found.wait(START_SECONDS)
        assert self._port, f"the server did not become ready\n{log.read_text(encoding='utf-8')}"
        return self._port


class Openssh(Server):
    """``sshd`` with ``internal-sftp``, as the user who runs the tests; a file is "in the store" as soon as it is there."""

    is_reference = True
    lacks = {
        Capability.PASSWORD: "the reference server knows keys only",
        Capability.KEYBOARD_INTERACTIVE: "the reference server knows keys only",
        Capability.RESERVED_PATHS: "nothing is reserved on the reference server",
    }

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.user = getpass.getuser()
        self.host_keys = directory
        self.store = self.drop = directory / "sync"
        self.base = str(self.store)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.store.mkdir()
        with socket.create_server((self.host, 0)) as free:
            self.port = free.getsockname()[1]
        authorized = self.directory / "authorized_keys"
        authorized.write_text(
            "".join(Path(f"{key}.pub").read_text(encoding="ascii") for key in self.keys.values()), encoding="ascii"
        )
        options = {
            "ListenAddress": self.host,
            "Port": self.port,
            "AuthorizedKeysFile": authorized,
            "StrictModes": "no",
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "UsePAM": "no",
            "PermitRootLogin": "prohibit-password",
            "PidFile": "none",
            "MaxStartups": 100,
            "Subsystem": f"sftp internal-sftp -d {self.store}",
            "ForceCommand": f"internal-sftp -d {self.store}",
        }
        lines = [f"{key} {value}" for key, value in options.items()]
        for kind in ("ed25519", "ecdsa", "rsa"):
            key = self.directory / f"ssh_host_{kind}_key"
            subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(key)], check=True, timeout=60)
            lines.append(f"HostKey {key}")
        config = self.directory / "sshd_config"
        config.write_text("\n".join(lines) + "\n", encoding="utf-8")
        Path("/run/sshd").mkdir(exist_ok=True)
        self._process = subprocess.Popen(["/usr/sbin/sshd", "-D", "-f", str(config), "-E", str(self.log)])
        self._wait_for_port()

    def _wait_for_port(self) -> None:
        tick = threading.Event()
        for _ in range(int(START_SECONDS / 0.05)):
            try:
                socket.create_connection((self.host, self.port)).close()
                return
            except ConnectionRefusedError:
                tick.wait(0.05)
        raise AssertionError("sshd did not start")

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(STOP_SECONDS)

    def exit_status(self) -> int | None:
        return self._process.poll() if self._process else None
