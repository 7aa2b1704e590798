"""What a server process cannot do any more, whoever controls it: the kernel says no."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import sftpgate
from sftpgate.gateway.workers import landlock
from tests.harness.servers import Gate, until

PROBE = """
import os, sys
from pathlib import Path
from sftpgate.gateway.workers.sandbox import confine, hide_memory
from sftpgate.settings.choices import Sandbox
own, other = Path(sys.argv[1]), Path(sys.argv[2])
hide_memory()
assert confine(Sandbox.REQUIRED, [], [own])
(own / "new").write_text("x")
os.rename(own / "new", own / "sub" / "renamed")
assert (own / "sub" / "renamed").read_text() == "x"
import decimal, sqlite3
sqlite3.connect(own / "a.db").execute("PRAGMA journal_mode=WAL").close()
for act in (
    lambda: (other / "secret").read_text(),
    lambda: (other / "new").write_text("x"),
    lambda: list(other.iterdir()),
    lambda: os.link(own / "sub" / "renamed", other / "linked"),
    lambda: os.rename(own / "sub" / "renamed", other / "moved"),
    lambda: (other / "secret").unlink(),
    lambda: os.truncate(other / "secret", 0),
    lambda: Path("/etc/sftpgate-probe").write_text("x"),
    lambda: os.mkfifo(other / "fifo"),
):
    try:
        act()
    except OSError as error:
        continue
    raise SystemExit("it was let")
print("kept")
"""


DROP = """
import asyncio, os, pwd
from sftpgate import logs
from sftpgate.app.serving import supervisor_process
from sftpgate.app.serving.service_manager import ServiceManager
from sftpgate.errors import SettingsError
from sftpgate.settings.tree import Settings

async def launch(start, link):
    nobody = pwd.getpwnam("nobody")
    assert os.getresuid() == (nobody.pw_uid,) * 3
    assert os.getresgid() == (nobody.pw_gid,) * 3 and 0 not in os.getgroups()
    try:
        os.setuid(0)
    except PermissionError:
        raise SettingsError("dropped")

supervisor_process.launch_worker = launch
logs.configure(serving=True)
try:
    asyncio.run(supervisor_process.run_supervisor(Settings(run_as="nobody", port=0), print, ServiceManager()))
except* SettingsError as group:
    print(group.exceptions[0])
"""


@pytest.fixture
def needs_landlock() -> None:
    """Skips where the kernel has no Landlock."""
    if not landlock.abi_version():
        pytest.skip("this kernel has no Landlock")


@pytest.mark.promise("P6")
@pytest.mark.usefixtures("needs_landlock")
def test_a_confined_process_reaches_its_own_directories_only(tmp_path: Path) -> None:
    """It writes, renames, links, truncates and reads in its own directories, and nowhere else, even as root."""
    own, other = tmp_path / "own", tmp_path / "other"
    (own / "sub").mkdir(parents=True)
    other.mkdir()
    (other / "secret").write_text("secret")
    words = [sys.executable, "-c", PROBE, str(own), str(other)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout.endswith("\nkept\n"), done.stdout + done.stderr
    assert (other / "secret").read_text() == "secret"


@pytest.mark.usefixtures("needs_landlock")
def test_a_confined_server_serves_reloads_and_leaves_no_core(base: Path) -> None:
    """With sandbox = "required" two workers take uploads, read their users anew, and survive a reload; no core can be dumped."""
    with Gate(base, SANDBOX="required", WORKERS="2") as gate:
        gate.start()
        local = base / "a.csv"
        local.write_text("a,1\n")
        until(lambda: len(gate.workers()) == 2, "two workers")
        assert gate.sftp(f"put {local} a.csv\nget a.csv {base}/back.csv\nrm a.csv\n").wait(30) == 0
        assert (base / "back.csv").read_text() == "a,1\n"
        gate.command("user", "add", "late", "--key", f"{gate.key}.pub")
        assert gate.sftp(f"put {local} late.csv\n", user="late").wait(30) == 0
        before = set(gate.workers())
        gate.hang_up()
        until(lambda: gate.workers() and not before & set(gate.workers()), "new workers")
        assert gate.sftp(f"put {local} again.csv\n").wait(30) == 0
        assert gate.in_store("again.csv") == b"a,1\n"
        for pid in (gate.pid, *gate.children()):
            assert psutil.Process(pid).rlimit(psutil.RLIMIT_CORE) == (0, 0)
        said = gate.log.read_text(encoding="utf-8")
        assert said.count("sandbox.in_force") >= 2
        assert '"level": "error"' not in said


def test_root_becomes_an_unprivileged_user_when_it_listens() -> None:
    """With run_as, a server that root started binds its port, and then has nothing of root's any more, and cannot get it back."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    done = subprocess.run([sys.executable, "-c", DROP], capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout.endswith("dropped\n"), done.stdout + done.stderr


PROGRAMS = (sys.executable, f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}")
PATHS = os.pathsep.join([str(Path(sftpgate.__file__).parents[1]), sysconfig.get_path("purelib")])


def python_of_nobody() -> str:
    """A Python that the user nobody may execute, and that finds what the server needs."""
    nobody = pwd.getpwnam("nobody")
    for program in PROGRAMS:
        with contextlib.suppress(OSError):
            words = [program, "-c", "import sftpgate.app.serving.worker_process, uvloop"]
            done = subprocess.run(
                words,
                user=nobody.pw_uid,
                group=nobody.pw_gid,
                extra_groups=[],
                env={"PYTHONPATH": PATHS},
                cwd="/",
                capture_output=True,
                timeout=60,
                check=False,
            )
            if done.returncode == 0:
                return program
    pytest.skip("neither this Python nor the system's can be run by nobody: put the working copy where everybody may read it")


def low_port() -> int:
    """A free port that only root may take."""
    for port in range(1023, 600, -1):
        with contextlib.closing(socket.socket()) as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port below 1024 is free")


@pytest.fixture
def open_base() -> Iterator[Path]:
    """A directory that everybody may pass through."""
    directory = Path(tempfile.mkdtemp(prefix="sftpgate-run-as-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


def test_a_whole_server_as_another_user(open_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root starts it on a port below 1024: supervisor, workers and monitor have nothing of root's, files, records and counters
    belong to run_as, tools run as it too, and it survives a reload and stops in order.
    """
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    nobody = pwd.getpwnam("nobody")
    monkeypatch.setenv("PYTHONPATH", PATHS)
    config = open_base / "sftpgate.toml"
    config.write_text('[tools.who]\nfile = "who.csv"\ncommand = ["id", "-u"]\n')
    with Gate(open_base, RUN_AS="nobody", WORKERS="2", METRICS_PORT="0", SANDBOX="auto") as gate:
        gate.python = python_of_nobody()
        gate.port = low_port()
        gate.data.mkdir()
        for path in (gate.data, *(gate.directory / "keys").rglob("*"), gate.directory / "keys"):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
        gate.start()
        until(lambda: len(gate.workers()) == 2, "two workers")
        local = open_base / "a.csv"
        local.write_text("a,1\n")
        assert gate.sftp(f"put {local} who.csv\n").wait(30) == 0
        assert "done" in gate.command("run", "who").lower()
        assert gate.sftp(f"ls /reports\nput {local} a.csv\n").wait(30) == 0
        before = set(gate.workers())
        gate.hang_up()
        until(lambda: len(set(gate.workers()) - before) >= 2, "new workers")
        assert gate.sftp(f"put {local} b.csv\n").wait(30) == 0
        for pid in (gate.pid, *gate.children()):
            process = psutil.Process(pid)
            assert set(process.uids()) == {nobody.pw_uid}
            assert set(process.gids()) == {nobody.pw_gid}
        made = [path for path in gate.data.rglob("*") if not path.is_symlink()]
        assert {path.stat().st_uid for path in made} == {nobody.pw_uid}
        assert list((gate.data / "metrics").iterdir())
        [report] = (gate.data / "store/reports").iterdir()
        assert str(nobody.pw_uid) in report.read_text()
        assert gate.stop() == 0
        assert '"level": "error"' not in gate.log.read_text(encoding="utf-8")


def test_root_is_said(base: Path) -> None:
    """A server that goes on as root says so in its log, once."""
    if os.geteuid() != 0:
        pytest.skip("this is about root")
    with Gate(base) as gate:
        gate.start()
        until(lambda: "gate.runs_as_root" in gate.log.read_text(encoding="utf-8"), "the warning")
