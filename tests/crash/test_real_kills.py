"""Real servers, workers, clients and runners, killed at random times, while the clock is set and the store goes away: every file
is accounted for by its SHA-256 (promises P1 to P4).

``SFTPGATE_KILL_SECONDS`` says for how long, ``SFTPGATE_KILL_SEED`` repeats the choices of a run (not its timing).
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from sftpgate.errors import ExitCode
from tests.harness.servers import Gate
from tests.harness.wall_clock import HOUR, YEAR, WallClock

SECONDS = float(os.environ.get("SFTPGATE_KILL_SECONDS", "25"))
SEED = int(os.environ.get("SFTPGATE_KILL_SEED", str(random.SystemRandom().randrange(10**6))))
CLIENTS = 3
NAMES = ("a.csv", "b.csv", "sub/c.csv", "queue.csv", "d.csv")
LARGEST_BYTES = 3_000_000
CLOCKS = (-YEAR, -HOUR, 0, HOUR, YEAR)
AWAY_SECONDS = 0.7  # of the store: some sweeps, and a runner or two
LEAST_ACKNOWLEDGED = 3
LATEST_SECONDS = 120  # after the time is over, for a machine so slow that nothing else got through


class Sender(threading.Thread):
    """Sends one file after the other until it is told to stop, and remembers which were acknowledged."""

    def __init__(self, number: int, gate: Gate, directory: Path, names: Sequence[str] = NAMES) -> None:
        super().__init__(daemon=True)
        self.sent: set[str] = set()
        self.lines: dict[str, int] = {}  # by digest
        self.acknowledged: set[str] = set()
        self.process: subprocess.Popen[bytes] | None = None
        self.ended = threading.Event()
        self._gate = gate
        self._names = names
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
            self.lines[digest] = lines + 1
            self.process = self._gate.sftp(self._commands(self._random.choice(self._names)))
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
    """Runs the tool again and again, which writes down what it was given. ``said`` is a file of what went wrong."""

    def __init__(self, gate: Gate) -> None:
        super().__init__(daemon=True)
        self.said = gate.directory / "runner.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.ended = threading.Event()
        self._gate = gate

    def run(self) -> None:
        """Run."""
        while not self.ended.wait(0.2):
            with self.said.open("ab") as said:
                self.process = subprocess.Popen(
                    self._gate.words("run", "--all"),
                    env=self._gate.environment,
                    cwd=self._gate.directory,
                    stdout=subprocess.DEVNULL,
                    stderr=said,
                    start_new_session=True,
                )
            self.process.wait()

    def kill(self) -> None:
        """SIGKILL to the runner alone: what it started is the guard's business."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.process.kill()


class People(threading.Thread):
    """Decide about what is held, again and again: approve it, or reject it. ``approved`` are the digests that they tried."""

    def __init__(self, gate: Gate) -> None:
        super().__init__(daemon=True)
        self.approved: set[str] = set()
        self.rejected = 0
        self.process: subprocess.Popen[bytes] | None = None
        self.ended = threading.Event()
        self._gate = gate
        self._random = random.Random(SEED)

    def run(self) -> None:
        """Decide."""
        while not self.ended.wait(0.2):
            listed = self._gate.attempt("arrivals", "--state", "held", "--json")
            held = json.loads(listed.stdout) if listed.returncode == 0 else []
            if held:
                self._decide(self._random.choice(held))

    def _decide(self, row: dict[str, str]) -> None:
        act = self._random.choice(["approve", "approve", "reject"])
        if act == "approve":
            self.approved.add(row["sha256"])
        self.process = subprocess.Popen(
            self._gate.words(act, row["id"], "--reason", "by chance"),
            env=self._gate.environment,
            cwd=self._gate.directory,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.rejected += self.process.wait() == 0 and act == "reject"

    def kill(self) -> None:
        """SIGKILL to the command that decides."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.process.kill()


def _verify(gate: Gate) -> None:
    """Disk and ledger agree. What ``verify`` says otherwise is in the failure's first line, which is all that a summary shows."""
    done = gate.attempt("verify", "--content")
    assert done.returncode == ExitCode.OK, " | ".join([f"verify: {done.returncode}", *f"{done.stdout}{done.stderr}".splitlines()])


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


@pytest.mark.promise("P1", "P2", "P3", "P4")
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.timeout(SECONDS + LATEST_SECONDS + 240)
def test_kills_lose_nothing(tmp_path: Path, workers: int) -> None:
    """After random kills of all that runs, and whatever clock and store do, each acknowledged file is there once, each file there
    is whole, and none was processed after it was done.
    """
    print(f"seed {SEED}")
    (tmp_path / "sftpgate.toml").write_text(TOOL, encoding="ascii")
    clock = WallClock(tmp_path)
    # not confined: the kernel would keep the library from the file that says what the time is
    settings = {"SWEEP_INTERVAL": "1s", "SETTLE_SECONDS": "2s", "WORKERS": str(workers), "SANDBOX": "off"}
    with Gate(tmp_path, clock.environment, **settings) as gate:
        gate.start()
        assert gate.sftp("mkdir sub\n").wait() == 0
        choices = random.Random(SEED)
        senders = [Sender(number, gate, tmp_path) for number in range(CLIENTS)]
        runner = Runner(gate)
        threads: list[Sender | Runner] = [*senders, runner]
        for thread in threads:
            thread.start()
        kills = _kill_at_random(gate, choices, senders, runner, clock)
        for thread in threads:
            thread.ended.set()
        for thread in threads:
            thread.join(60)
        gate.kill()
        clock.set(0)
        gate.start()
        gate.stop()
        while gate.attempt("run", "--all").returncode == ExitCode.OK:
            pass
        _verify(gate)

    known = set().union(*(sender.sent for sender in senders))
    acknowledged = set().union(*(sender.acknowledged for sender in senders))
    places = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in _files(gate)}
    counts = Counter(places.values())
    processed = tmp_path / "processed"  # there is none if chance had it that no file of the tool's came through
    lines = processed.read_text(encoding="ascii").splitlines() if processed.exists() else []
    runs = Counter(line.split()[0] for line in lines)
    print(f"{len(known)} files sent, {len(acknowledged)} acknowledged, {len(runs)} processed, kills: {dict(kills)}")
    assert [path for path, digest in places.items() if digest not in known] == [], "P1: not whole"
    assert {digest: counts[digest] for digest in acknowledged if counts[digest] != 1} == {}, "P2, P3: not once"
    assert [digest for digest, count in counts.items() if count > 1] == [], "P4: twice"
    assert set(runs) <= known, "P1: a tool was given what is not whole"
    assert "a bug of sftpgate" not in runner.said.read_text(encoding="utf-8")
    again = sum(runs.values()) - len(runs)
    assert again <= kills["runner"], "P4: processed again though nobody killed its runner"
    assert len(acknowledged) >= LEAST_ACKNOWLEDGED, "nothing gets through"


LEAST_LINES = 30_000  # a third of the files have fewer
AGREED = f"""[tools.agreed]
file = "agreed*.csv"
arrivals = "queue"
max_attempts = 100
command = ["sh", "-c", "sha256sum < {{file}} >> processed"]
contract.format = "text"
contract.min_rows = {LEAST_LINES}
"""


@pytest.mark.promise("P1", "P2", "P3", "P4")
@pytest.mark.timeout(SECONDS + LATEST_SECONDS + 240)
def test_kills_let_nothing_go(tmp_path: Path) -> None:
    """After random kills of all that runs, also of who approves and rejects, no tool was given a file that its contract holds and
    nobody approved; each acknowledged file is there once, whole.
    """
    print(f"seed {SEED}")
    (tmp_path / "sftpgate.toml").write_text(AGREED, encoding="ascii")
    clock = WallClock(tmp_path)
    with Gate(tmp_path, clock.environment, SWEEP_INTERVAL="1s", SANDBOX="off") as gate:
        gate.start()
        choices = random.Random(SEED)
        senders = [Sender(number, gate, tmp_path, ["agreed.csv"]) for number in range(CLIENTS)]
        runner, people = Runner(gate), People(gate)
        threads: list[Sender | Runner | People] = [*senders, runner, people]
        for thread in threads:
            thread.start()
        kills = _kill_at_random(gate, choices, senders, runner, clock, people)
        for thread in threads:
            thread.ended.set()
        for thread in threads:
            thread.join(60)
        gate.kill()
        clock.set(0)
        assert gate.attempt("sweep").returncode in (ExitCode.OK, ExitCode.NOTHING_TO_DO)
        while gate.attempt("run", "--all").returncode == ExitCode.OK:
            pass
        _verify(gate)

    lines = {digest: count for sender in senders for digest, count in sender.lines.items()}
    acknowledged = set().union(*(sender.acknowledged for sender in senders))
    places = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in _files(gate)}
    counts = Counter(places.values())
    processed = tmp_path / "processed"
    text = processed.read_text(encoding="ascii") if processed.exists() else ""
    runs = Counter(line.split()[0] for line in text.splitlines())
    short = {digest for digest in runs if lines.get(digest, 0) < LEAST_LINES}
    print(
        f"{len(lines)} files sent, {len(acknowledged)} acknowledged, {len(runs)} processed, {len(short)} of them approved, "
        f"{len(people.approved)} approvals tried, {people.rejected} rejected, kills: {dict(kills)}"
    )
    assert [path for path, digest in places.items() if digest not in lines] == [], "P1: not whole"
    assert short <= people.approved, "P1: run though its contract holds it, and nobody approved it"
    assert {digest: counts[digest] for digest in acknowledged if counts[digest] != 1} == {}, "P2, P3: not once"
    assert "a bug of sftpgate" not in runner.said.read_text(encoding="utf-8")
    assert sum(runs.values()) - len(runs) <= kills["runner"], "P4: processed again though nobody killed its runner"
    waiting = {digest for path, digest in places.items() if path.parent == gate.data / "store"}
    assert not {digest for digest in waiting if lines[digest] < LEAST_LINES} - people.approved, "P1: in the store, unapproved"
    assert len(acknowledged) >= LEAST_ACKNOWLEDGED, "nothing gets through"


def _take_away(store: Path, pause: threading.Event) -> None:
    """Let a store go away as one does that is not mounted any more, and come back; nothing was left in what was there instead."""
    away = store.with_name("away")
    store.rename(away)
    store.mkdir()
    pause.wait(AWAY_SECONDS)
    left = [path for path in store.rglob("*") if path.is_file() and ".sftpgate" not in path.parts]
    assert not left, "P2: it would be hidden below the mount"
    shutil.rmtree(store)  # what an upload has begun may lie there: nobody was told OK
    away.rename(store)


def _kill_at_random(
    gate: Gate,
    choices: random.Random,
    senders: list[Sender],
    runner: Runner,
    clock: WallClock,
    people: People | None = None,
) -> Counter[str]:
    """Kill until the time is over, and set the clock, and take the store away; how often what was done.

    One time of two the next kill waits until a file got through: nothing would, if a server needed longer to start than kills
    are apart.
    """
    kills: Counter[str] = Counter()
    pause = threading.Event()
    end = time.monotonic() + SECONDS

    def acknowledged() -> int:
        return sum(len(sender.acknowledged) for sender in senders)

    while time.monotonic() < end or (acknowledged() < LEAST_ACKNOWLEDGED and time.monotonic() < end + LATEST_SECONDS):
        before = acknowledged()
        pause.wait(choices.uniform(0.1, 1.5))
        patient = choices.random() < 0.5
        while patient and acknowledged() == before and time.monotonic() < end + LATEST_SECONDS:
            pause.wait(0.1)
        kinds = ["server", "worker", "follower", "client", "client", "runner"]
        kind = choices.choice([*kinds, "people", "people"] if people is not None else [*kinds, "clock", "clock", "store"])
        match kind:
            case "server":
                gate.kill()
                gate.start()
            case "worker" if pids := gate.workers():
                with suppress(ProcessLookupError):
                    os.kill(choices.choice(pids), signal.SIGKILL)
            case "follower" if pid := gate.follower():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            case "client":
                choices.choice(senders).kill()
            case "runner":
                runner.kill()
            case "people" if people is not None:
                people.kill()
            case "clock":
                clock.set(choices.choice(CLOCKS))
            case "store":
                _take_away(gate.data / "store", pause)
            case _:
                continue
        kills[kind] += 1
    return kills
