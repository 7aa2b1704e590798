"""The units that come with the program, and what ``doctor`` says of units, by the real programs."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from sftpgate.app.doctor.services import check_run_unit, check_service, find_unit, seconds
from sftpgate.settings.tree import Settings
from tests.harness.command_line import Cli
from tests.harness.commands import TIMEOUT_SECONDS

TOP = Path(__file__).resolve().parents[2]
SHIPPED = TOP / "sftpgate" / "units"
UNITS = ["sftpgate.service", "sftpgate-run.service", "sftpgate-run.timer"]


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units, as they would be installed for a gate in ``tmp_path/srv``."""
    units = tmp_path / "units"
    units.mkdir()
    (tmp_path / "srv" / ".venv" / "bin").mkdir(parents=True)
    program = tmp_path / "srv" / ".venv" / "bin" / "sftpgate"
    program.write_text(f"#!{sys.executable}\n")
    program.chmod(0o755)
    for name in UNITS:
        (units / name).write_text((SHIPPED / name).read_text().replace("/srv/sftpgate", str(tmp_path / "srv")))
    return units


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed (Debian: systemd)")
@pytest.mark.parametrize("name", UNITS)
def test_units_are_valid(installed: Path, name: str) -> None:
    """systemd finds nothing wrong with the shipped units."""
    text = (installed / name).read_text()
    (installed / name).write_text(re.sub(r"(?m)^(User|Group)=.*$", r"\1=daemon", text))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(installed / name)],
        capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False,
    )  # fmt: skip
    ours = [line for line in done.stderr.splitlines() if name in line or "sftpgate" in line]
    assert (done.returncode, ours) == (0, []), done.stderr


def test_the_shipped_unit_fits_the_defaults(installed: Path, tmp_path: Path) -> None:
    """`doctor` finds nothing wrong with the shipped unit, installed where it says."""
    settings = Settings(data_dir=tmp_path / "srv" / "data", keys_dir=tmp_path / "srv" / "keys")
    assert list(check_service(settings, [installed])) == []


@pytest.mark.parametrize(
    ("line", "finding"),
    [
        ("TimeoutStopSec=40", "uploads are killed"),
        ("KillMode=process", "leaves workers behind"),
        ("Type=simple", "without Type=notify"),
        ("ReadWritePaths=\nReadWritePaths=/elsewhere", "may not write"),
    ],
)
def test_a_unit_that_does_not_fit(installed: Path, tmp_path: Path, line: str, finding: str) -> None:
    """`doctor` names what does not fit, also where a drop-in says it."""
    drop_in = installed / "sftpgate.service.d"
    drop_in.mkdir()
    (drop_in / "local.conf").write_text(f"[Service]\n{line}\n")
    settings = Settings(data_dir=tmp_path / "srv" / "data", keys_dir=tmp_path / "srv" / "keys")
    found = list(check_service(settings, [installed]))
    assert found
    assert all(finding in item.finding and item.what_to_do for item in found)


@pytest.mark.parametrize("tool", [{"run_as": "www-data", "command": ["php"]}, {"command": ["sudo", "-u", "www-data", "php"]}])
def test_the_run_unit_lets_sudo_work(installed: Path, tmp_path: Path, tool: dict[str, object]) -> None:
    """`doctor` finds the shipped unit fit for tools that need sudo, and names what would keep sudo from working."""
    settings = Settings.model_validate({"data_dir": tmp_path / "data", "tools": {"users": {"file": "users.csv", **tool}}})
    assert list(check_run_unit(settings, [installed])) == []
    drop_in = installed / "sftpgate-run.service.d"
    drop_in.mkdir()
    for line in ("NoNewPrivileges=yes", "ProtectKernelTunables=true"):
        (drop_in / "local.conf").write_text(f"[Service]\n{line}\n")
        [found] = check_run_unit(settings, [installed])
        assert line.partition("=")[0] in found.finding and "tools.users needs it" in found.finding
    (drop_in / "local.conf").write_text("[Service]\nNoNewPrivileges=yes\nAmbientCapabilities=CAP_SETUID CAP_SETGID CAP_KILL\n")
    assert [bool(tool.get("run_as"))] == [not list(check_run_unit(settings, [installed]))]


def test_spans_of_time() -> None:
    """Spans are read as systemd.time(7) has them."""
    assert [seconds(text) for text in ("60", "1min 30s", "2h", "500ms", "infinity")] == [60, 90, 7200, 0.5, None]


def test_no_unit_is_no_fault(tmp_path: Path) -> None:
    """Where no unit is installed there is nothing to find."""
    assert find_unit([tmp_path]) is None


def test_the_server_tells_its_manager(cli: Cli) -> None:
    """`sftpgate serve` says READY when it listens, beats, and says STOPPING at SIGTERM; workers do not speak."""
    path = cli.directory / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(TIMEOUT_SECONDS)
        cli.environment |= {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "600000", "SFTPGATE_PORT": "0"}
        server = subprocess.Popen(cli.command("serve"), cwd=cli.directory, env=cli.env, stdout=subprocess.PIPE)
        try:
            said = [manager.recv(500).decode()]
            while not said[-1].startswith("READY=1"):
                said.append(manager.recv(500).decode())
            assert "ready on 127.0.0.1 port" in said[-1]
            assert set(said[:-1]) <= {"WATCHDOG=1"}
            assert manager.recv(500) == b"WATCHDOG=1"
            server.send_signal(signal.SIGTERM)
            while not said[-1].startswith("STOPPING=1"):
                said.append(manager.recv(500).decode())
            assert server.wait(TIMEOUT_SECONDS) == 0
        finally:
            server.kill()
            server.communicate()


def test_files_that_nobody_runs(cli: Cli) -> None:
    """`doctor` warns where files have waited for longer than a day and no run has begun since."""
    from sftpgate.app.doctor.services import check_runs

    cli("store", "put", "-", "enrols.csv", text="1\n")
    settings = Settings(data_dir=cli.data, tools={"enrols": {"file": "enrols.csv", "command": ["true"]}})
    now = datetime.now(UTC)
    assert list(check_runs(settings, now)) == []
    [found] = check_runs(settings, now + timedelta(days=2))
    assert "it has never run" in found.finding
    assert "run --all" in found.what_to_do


def test_the_cron_line_runs(cli: Cli) -> None:
    """The command of the shipped cron line ends well both with and without something to do."""
    [line] = [line for line in (SHIPPED / "sftpgate.cron").read_text().splitlines() if line.startswith("*")]
    command = line.split(maxsplit=6)[6].replace("/srv/sftpgate", str(cli.directory))
    program = cli.directory / ".venv" / "bin" / "sftpgate"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m sftpgate "$@"\n')
    program.chmod(0o755)
    for _ in range(2):
        cli("store", "put", "-", "enrols.csv", text="1\n")
        subprocess.run(["/bin/sh", "-c", command], env=cli.env, check=True, timeout=TIMEOUT_SECONDS)
        subprocess.run(["/bin/sh", "-c", command], env=cli.env, check=True, timeout=TIMEOUT_SECONDS)
    assert len(list((cli.store / "archives").iterdir())) == 2


def test_the_dockerfile_copies_what_the_runtime_needs(tmp_path: Path) -> None:
    """What the Dockerfile copies is there, and enough for `make runtime` to begin: its prerequisites are among it."""
    dockerfile = (TOP / "docs" / "service" / "Dockerfile").read_text()
    lines = [line.split()[1:] for line in dockerfile.splitlines() if line.startswith("COPY")]
    for *sources, target in lines:
        for source in sources:
            copy = shutil.copytree if (TOP / source).is_dir() else shutil.copy
            copy(TOP / source, tmp_path / (target if (TOP / source).is_dir() else source))
    done = subprocess.run(["make", "-n", "runtime"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "requirements.lock" in done.stdout


def test_a_first_run_prefers_the_distributions_python(tmp_path: Path) -> None:
    """`make run` takes the distribution's Python, if it suits, and not one that comes first on the path."""
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(TOP / name, tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    (other / "python3").write_text("#!/bin/sh\nexit 0\n", encoding="ascii")
    (other / "python3").chmod(0o755)
    env = {"PATH": f"{other}:/usr/bin:/bin"}
    planned = subprocess.run(["make", "-n", "run"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    suits = "import ensurepip, sys; sys.exit(sys.version_info < (3, 11))"
    there = Path("/usr/bin/python3").exists() and not subprocess.run(["/usr/bin/python3", "-c", suits], check=False).returncode
    assert f"{'/usr/bin/python3' if there else 'python3'} -m venv .venv" in planned.stdout, planned.stderr
    if there:
        assert "\npython3 -m venv" not in planned.stdout


def test_the_runtime_of_root_is_for_all(tmp_path: Path) -> None:
    """`make runtime` as root takes the distribution's Python, and refuses one that only root can execute, saying what to do."""
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(TOP / name, tmp_path)
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    (private / "python3").write_text("#!/bin/sh\nexit 1\n", encoding="ascii")
    (private / "python3").chmod(0o755)
    make = partial(subprocess.run, cwd=tmp_path, capture_output=True, text=True, check=False)
    planned = make(["make", "-n", "runtime"], env={"PATH": f"{private}:/usr/bin:/bin"})
    if os.geteuid() == 0 and Path("/usr/bin/python3").exists():
        assert "/usr/bin/python3 -m venv .venv" in planned.stdout
        (tmp_path / ".venv/bin").mkdir(parents=True)
        (tmp_path / ".venv/bin/python").symlink_to(private / "python3")
        (tmp_path / ".venv/.runtime").touch()
        done = make(["make", "runtime"], env={"PATH": "/usr/bin:/bin"})
        assert done.returncode and "can be executed by root alone" in done.stderr
    else:
        assert "-m venv .venv" in planned.stdout
