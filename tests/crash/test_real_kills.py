"""Real servers, workers, clients and runners, killed at random times: every file is accounted for by its SHA-256 (promises P1
to P4).

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

from sftpgate.errors import ExitCode
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


class Runner(threading.Thread):
    """Runs the tool again and again, which writes down what it was given."""

    def __init__(self, gate: Gate) -> None:
        super().__init__(daemon=True)
        self.process: subprocess.Popen[bytes] | None = None
        self.ended = threading.Event()
        self._gate = gate

    def run(self) -> None:
        """Run."""
        while not self.ended.wait(0.2):
            self.process = subprocess.Popen(
                self._gate.words("run", "--all"),
                env=self._gate.environment,
                cwd=self._gate.directory,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            self.process.wait()

    def kill(self) -> None:
        """SIGKILL to the runner alone: what it started is the guard's business."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.process.kill()


def _files(gate: Gate) -> list[Path]:
    """All complete files: everything but staging, notes, locks, reports, and the second names of waiting and claimed files."""
    roots = [gate.data / "sync", gate.data / "store"]
    found = [path for root in roots for path in root.rglob("*") if path.is_file()]
    others = ("/.sftpgate/staging/", "/.sftpgate/kept/", "/.sftpgate/runs/", "/.sftpgate/tools/", "/store/reports/")
    return [
        path
        for path in found
        if not any(other in str(path) for other in others)
        and path.suffix not in (".json", ".lock")
        and path.parent.name != ".sftpgate"
    ]


TOOL = """[tools.q]
file = ["queue.csv", "a.csv"]
arrivals = "queue"
max_attempts = 100
command = ["sh", "-c", "sha256sum < {file} >> processed"]
"""


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.timeout(SECONDS + 120)
def test_kills_lose_nothing(tmp_path: Path, workers: int) -> None:
    """P1 to P4: after random kills of all that runs, each acknowledged file is there once, each file there is whole, and none
    was processed after it was done.
    """
    print(f"seed {SEED}")
    (tmp_path / "sftpgate.toml").write_text(TOOL, encoding="ascii")
    with Gate(tmp_path, SWEEP_INTERVAL="1s", SETTLE_SECONDS="2s", WORKERS=str(workers)) as gate:
        gate.start()
        assert gate.sftp("mkdir sub\n").wait() == 0
        choices = random.Random(SEED)
        senders = [Sender(number, gate, tmp_path) for number in range(CLIENTS)]
        runner = Runner(gate)
        threads: list[Sender | Runner] = [*senders, runner]
        for thread in threads:
            thread.start()
        kills = _kill_at_random(gate, choices, senders, runner)
        for thread in threads:
            thread.ended.set()
        for thread in threads:
            thread.join(60)
        gate.kill()
        gate.start()
        gate.stop()
        while gate.attempt("run", "--all").returncode == ExitCode.OK:
            pass
        gate.command("verify", "--content")

    known = set().union(*(sender.sent for sender in senders))
    acknowledged = set().union(*(sender.acknowledged for sender in senders))
    places = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in _files(gate)}
    counts = Counter(places.values())
    runs = Counter(line.split()[0] for line in (tmp_path / "processed").read_text(encoding="ascii").splitlines())
    print(f"{len(known)} files sent, {len(acknowledged)} acknowledged, {len(runs)} processed, kills: {dict(kills)}")
    assert [path for path, digest in places.items() if digest not in known] == [], "P1: not whole"
    assert {digest: counts[digest] for digest in acknowledged if counts[digest] != 1} == {}, "P2, P3: not once"
    assert [digest for digest, count in counts.items() if count > 1] == [], "P4: twice"
    assert set(runs) <= known, "P1: a tool was given what is not whole"
    again = sum(runs.values()) - len(runs)
    assert again <= kills["runner"], "P4: processed again though nobody killed its runner"
    assert len(acknowledged) > SECONDS / 15, "too little was tried"


def _kill_at_random(gate: Gate, choices: random.Random, senders: list[Sender], runner: Runner) -> Counter[str]:
    """Kill until the time is over; how often what was killed."""
    kills: Counter[str] = Counter()
    pause = threading.Event()
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        pause.wait(choices.uniform(0.1, 1.5))
        kind = choices.choice(["server", "worker", "client", "client", "runner"])
        match kind:
            case "server":
                gate.kill()
                gate.start()
            case "worker" if pids := gate.workers():
                with suppress(ProcessLookupError):
                    os.kill(choices.choice(pids), signal.SIGKILL)
            case "client":
                choices.choice(senders).kill()
            case "runner":
                runner.kill()
            case _:
                continue
        kills[kind] += 1
    return kills
