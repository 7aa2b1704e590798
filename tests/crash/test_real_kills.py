"""Real servers and real clients, killed at random times: every file is accounted for by its SHA-256 (promises P1 to P3).

``SFTPGATE_KILL_SECONDS`` says for how long, ``SFTPGATE_KILL_SEED`` repeats the choices of a run (not its timing).
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from tests.faults.servers import Gate

SECONDS = float(os.environ.get("SFTPGATE_KILL_SECONDS", "25"))
SEED = int(os.environ.get("SFTPGATE_KILL_SEED", str(random.SystemRandom().randrange(10**6))))
CLIENTS = 3
NAMES = ("a.csv", "b.csv", "sub/c.csv", "queue.csv", "d.csv")
LARGEST_BYTES = 3_000_000


class Sender(threading.Thread):
    """Sends one file after the other until it is told to stop, and remembers which were acknowledged."""

    def __init__(self, number: int, gate: Gate, directory: Path) -> None:
        super().__init__(daemon=True)
        self.sent: set[str] = set()
        self.acknowledged: set[str] = set()
        self.process: subprocess.Popen[bytes] | None = None
        self.ended = threading.Event()
        self._gate = gate
        self._file = directory / f"file-{number}"
        self._random = random.Random(SEED + number)

    def run(self) -> None:
        """Send."""
        while not self.ended.is_set():
            lines = self._random.randrange(1, LARGEST_BYTES // 33)
            content = self._random.randbytes(16).hex().encode() + b"\n" + b"0123456789abcdef0123456789abcdef\n" * lines
            self._file.write_bytes(content)
            digest = hashlib.sha256(content).hexdigest()
            self.sent.add(digest)
            self.process = self._gate.sftp(self._commands(self._random.choice(NAMES)))
            if self.process.wait() == 0:
                self.acknowledged.add(digest)
            else:
                self.ended.wait(0.1)

    def _commands(self, name: str) -> str:
        match self._random.randrange(3):
            case 0:
                # A temporary name of its own: two senders of one user that share one overwrite each other, as on any server.
                temporary = f"{name}.{self._file.name}.tmp"
                return f"put {self._file} {temporary}\nrename {temporary} {name}.{self._random.randrange(10**9)}.csv\n"
            case _:
                return f"put {self._file} {name}\n"

    def kill(self) -> None:
        """SIGKILL to the client and its ssh."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)


def _files(gate: Gate) -> list[Path]:
    """All complete files: everything but staging, notes and locks."""
    roots = [gate.data / "sync", gate.data / "store"]
    found = [path for root in roots for path in root.rglob("*") if path.is_file()]
    return [
        path
        for path in found
        if "/.sftpgate/staging/" not in str(path) and path.suffix not in (".json", ".lock") and path.name != "lock"
    ]


@pytest.mark.timeout(SECONDS + 120)
def test_kills_lose_nothing(tmp_path: Path) -> None:
    """P1 to P3: after random kills of server and clients, each acknowledged file is there once, and each file there is whole."""
    print(f"seed {SEED}")
    tool = '[tools.q]\nfile = "queue.csv"\narrivals = "queue"\ncommand = ["true"]\n'
    (tmp_path / "sftpgate.toml").write_text(tool, encoding="ascii")
    with Gate(tmp_path, SWEEP_INTERVAL="1s", SETTLE_SECONDS="2s") as gate:
        gate.start()
        assert gate.sftp("mkdir sub\n").wait() == 0
        choices = random.Random(SEED)
        senders = [Sender(number, gate, tmp_path) for number in range(CLIENTS)]
        kills: Counter[str] = Counter()
        for sender in senders:
            sender.start()
        end = time.monotonic() + SECONDS
        pause = threading.Event()
        while time.monotonic() < end:
            pause.wait(choices.uniform(0.1, 1.5))
            if choices.random() < 0.5:
                gate.kill()
                gate.start()
                kills["server"] += 1
            else:
                choices.choice(senders).kill()
                kills["client"] += 1
        for sender in senders:
            sender.ended.set()
        for sender in senders:
            sender.join(60)
        gate.kill()
        gate.start()
        gate.stop()
        gate.command("verify", "--content")

    known = set().union(*(sender.sent for sender in senders))
    acknowledged = set().union(*(sender.acknowledged for sender in senders))
    places = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in _files(gate)}
    counts = Counter(places.values())
    print(f"{len(known)} files sent, {len(acknowledged)} acknowledged, kills: {dict(kills)}")
    assert [path for path, digest in places.items() if digest not in known] == [], "P1: not whole"
    assert {digest: counts[digest] for digest in acknowledged if counts[digest] != 1} == {}, "P2, P3: not once"
    assert [digest for digest, count in counts.items() if count > 1] == [], "P4: twice"
    assert len(acknowledged) > SECONDS / 5, "too little was tried"
