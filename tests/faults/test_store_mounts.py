"""A store or a drop that is a mount, and is not mounted, or another one, at a start and under a running server."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sftpgate.errors import ExitCode
from tests.harness.raw import WAIT_SECONDS
from tests.harness.servers import Gate, until

LINES = b"username\na\n"
TOOLS = '[tools.users]\nfile = "users*.csv"\ncommand = ["cat", "{file}"]\n'


@dataclass
class Volume:
    """A filesystem that is mounted at ``point`` by binding, or not."""

    kept: Path
    point: Path

    def mount(self, source: Path | None = None) -> None:
        """Let it be there, or another directory in its place."""
        subprocess.run(["mount", "--bind", str(source or self.kept), str(self.point)], check=True)

    def unmount(self) -> None:
        """Take it away, whoever uses it."""
        subprocess.run(["umount", "--lazy", str(self.point)], check=True)


@pytest.fixture(params=["store", "drop"])
def volume(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Volume]:
    """A filesystem of its own, with a place where it is mounted as the store or the drop."""
    kept, point = tmp_path / "volume", tmp_path / "data" / ("store" if request.param == "store" else "sync")
    kept.mkdir()
    point.mkdir(parents=True)
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(kept)], capture_output=True, check=False)
    if mount.returncode:
        pytest.skip("this machine does not let us mount a filesystem")
    made = Volume(kept, point)
    made.mount()
    try:
        yield made
    finally:
        while subprocess.run(["umount", "--lazy", str(point)], capture_output=True, check=False).returncode == 0:
            continue
        subprocess.run(["umount", "--lazy", str(kept)], check=True)


@pytest.fixture
def gate(tmp_path: Path, volume: Volume) -> Iterator[Gate]:
    """A server on it, with a file that waits, one that its batch lock holds, and one that is never taken."""
    (tmp_path / "sftpgate.toml").write_text(TOOLS, encoding="ascii")
    for name, content in (("x", LINES), ("lock", b""), ("late", LINES + b"b\n")):
        (tmp_path / name).write_bytes(content)
    settings = {"SWEEP_INTERVAL": "0.3s", "SETTLE_SECONDS": "0s", "FREE_SPACE_FLOOR": "0", "METRICS_PORT": "0"}
    with Gate(tmp_path, **settings) as gate:
        gate.start()
        commands = "put x users1.csv\nput x _kept.csv\nput lock alock.txt\nput late held.csv\n"
        assert gate.sftp(commands).wait(WAIT_SECONDS) == 0
        yield gate


def _states(gate: Gate) -> dict[str, str]:
    return {name: str(gate.rows(name)[-1].state) for name in ("users1.csv", "_kept.csv", "held.csv")}


def _health(gate: Gate) -> tuple[int, str]:
    lines = [json.loads(line) for line in gate.log.read_text(encoding="utf-8").splitlines() if '"monitor.ready"' in line]
    url = f"http://127.0.0.1:{lines[-1]['port']}/healthz"
    try:
        with urllib.request.urlopen(url, timeout=WAIT_SECONDS) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def _logged(gate: Gate, event: str) -> int:
    return sum(f'"{event}"' in line for line in gate.log.read_text(encoding="utf-8").splitlines())


@pytest.mark.promise("P2", "P4", "P8")
def test_a_start_without_the_mount(gate: Gate, volume: Volume) -> None:
    """Without its mount a gate does not start, and no command changes anything; with it, all is as it was, and the
    file that waited is run, once.
    """
    gate.kill()
    before = _states(gate)
    volume.unmount()
    for words in (["serve"], ["sweep"], ["run", "--all"], ["store", "put", "x", "users2.csv"], ["claim", "users"]):
        done = gate.attempt(*words)
        assert done.returncode == ExitCode.BAD_SETTINGS and "mounted" in done.stderr, (words, done)
    assert not list(volume.point.iterdir())
    assert "mounted" in gate.command("status")
    doctor = gate.attempt("doctor", "--json")
    assert doctor.returncode == ExitCode.BAD_SETTINGS and "mounted" in doctor.stdout
    volume.mount()
    gate.start()
    assert _states(gate) == before
    gate.stop()
    assert "processed before" not in gate.attempt("run", "--all").stderr
    assert [str(row.state) for row in gate.rows("users1.csv")] == ["done"]


@pytest.mark.promise("P2", "P4", "P8")
@pytest.mark.parametrize("instead", ["empty", "another"])
def test_a_mount_that_goes_away_and_comes_back(gate: Gate, volume: Volume, tmp_path: Path, instead: str) -> None:
    """A running gate whose mount goes away, or is another one, takes nothing and records nothing as gone, says so in
    its log, its health and its status, and goes on by itself.
    """
    before = _states(gate)
    other = tmp_path / "other"
    other_tree = other / "data" / volume.point.name
    if instead == "another":
        other.mkdir()
        with Gate(other) as second:
            second.start()
            second.stop()
    volume.unmount()
    if instead == "another":
        volume.mount(other_tree)
    until(lambda: _logged(gate, "store.away"), "the log says so")
    until(lambda: _health(gate)[0] == 503, "health says so")
    assert "store" in _health(gate)[1]
    assert gate.sftp("put late users2.csv\n").wait(WAIT_SECONDS) != 0
    note = gate.command("status")
    assert "another gate" in note if instead == "another" else "mounted" in note
    assert _states(gate) == before
    if instead == "another":
        volume.unmount()
    volume.mount()
    until(lambda: _logged(gate, "store.back"), "the log says that it is back")
    until(lambda: _health(gate)[0] == 200, "health says so too")
    until(lambda: gate.sftp("put late users2.csv\n").wait(WAIT_SECONDS) == 0, "uploads are taken again")
    assert _states(gate) == before
    assert gate.sftp("rm alock.txt\n").wait(WAIT_SECONDS) == 0
    assert gate.in_store("held.csv") == LINES + b"b\n"
