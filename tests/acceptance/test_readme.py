"""The commands of README.md and docs/admin.md, run as a newcomer pastes them, on a gate that ``make run`` would make."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.harness.commands import clean_environment

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
ADMIN = ROOT / "docs" / "admin.md"
BACKUP = ROOT / "docs" / "backup.md"
MAKE_RUN = "make run "  # what the first block runs; the Makefile runs `sftpgate quickstart`

pytestmark = pytest.mark.timeout(180)


def blocks(path: Path) -> list[str]:
    """Return the shell commands of a document, block by block."""
    return re.findall(r"^```sh\n(.*?)^```$", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


class Newcomer:
    """A directory with ``sftpgate`` in .venv/bin, as in a clone after ``make run``, and a shell in it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.log = directory / "gate.log"
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = str(listener.getsockname()[1])
        program = directory / ".venv" / "bin" / "sftpgate"
        program.parent.mkdir(parents=True)
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m sftpgate "$@"\n', encoding="utf-8")
        program.chmod(0o755)
        inherited = clean_environment()
        self.environment = inherited | {
            "SFTPGATE_PORT": self.port,
            "SFTPGATE_SWEEP_INTERVAL": "1h",
            "NO_COLOR": "1",
            "PYTHONPATH": str(ROOT),
        }

    @contextmanager
    def served(self) -> Iterator[None]:
        """Run what ``make run`` runs, until it is ready; end it as Ctrl-C does."""
        command = [".venv/bin/sftpgate", "quickstart"]
        with (
            self.log.open("w", encoding="utf-8") as log,
            subprocess.Popen(
                command, cwd=self.directory, env=self.environment, stdout=subprocess.PIPE, stderr=log, text=True
            ) as process,
        ):
            assert process.stdout is not None
            printed = []
            for line in process.stdout:
                printed.append(line)
                if "ready on" in line:
                    break
            try:
                assert process.poll() is None, "".join(printed) + self.log.read_text(encoding="utf-8")
                yield
            finally:
                process.send_signal(signal.SIGINT)
                process.communicate(timeout=60)

    def shell(self, text: str, *, first: str = "") -> str:
        """Run a block with this gate's port; each command must end well. ``first``: what the terminal was told before."""
        script = f"set -e\n{first}\n{text}".replace("-P 2222", f"-P {self.port}")
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.directory, env=self.environment, capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip
        gate = self.log.read_text(encoding="utf-8") if self.log.exists() else ""
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}\n{gate}"
        return done.stdout


@pytest.fixture
def newcomer(tmp_path: Path) -> Newcomer:
    """A newcomer with an empty clone."""
    return Newcomer(tmp_path)


def test_the_first_minute(newcomer: Newcomer) -> None:
    """Each command of README.md works when it is pasted: a file is sent, processed, and its report is read."""
    made, send, run, *_ = blocks(README)
    assert made.startswith(MAKE_RUN)
    assert "$(BIN)/sftpgate quickstart" in (ROOT / "Makefile").read_text(encoding="utf-8")
    define = send.partition("\n\n")[0]
    with newcomer.served():
        assert re.search(r"^enrols +1 ", newcomer.shell(send), re.MULTILINE), "the file waits for its tool"
        newcomer.shell(run, first=define)
        [report] = newcomer.directory.glob("*_report_enrols.csv")
        assert "3 " in report.read_text(encoding="utf-8"), "the example tool counted the lines"


def test_the_story_of_a_held_file(newcomer: Newcomer) -> None:
    """What README.md tells of a held file happens: held, reported in these words, replaced by the whole one, run once."""
    text = README.read_text(encoding="utf-8")
    part, whole = (int(number.replace(",", "")) for number in re.findall(r"([\d,]{7,}) of ([\d,]{7,}) bytes", text)[0])
    [told] = re.findall(r"^```\noutcome: held\n.*?^```$", text, re.DOTALL | re.MULTILINE)
    define = blocks(README)[1].partition("\n\n")[0]
    rows = b"user,course\n" + b"".join(b"user%06d,course-%04d\n" % (number, number % 100) for number in range(whole // 23 + 1))
    (newcomer.directory / "part.csv").write_bytes(rows[:part])
    (newcomer.directory / "enrols.csv").write_bytes(rows[:whole])
    with newcomer.served():
        newcomer.shell("echo 'put part.csv enrols.csv' | erp", first=define)
        assert "incomplete?" in newcomer.shell("sftpgate status", first=define)
        newcomer.shell("sftpgate sweep || [ $? -eq 3 ]; echo 'get /reports/*' | erp", first=define)
        [report] = newcomer.directory.glob("*_report_enrols.csv")
        said = " ".join(report.read_text(encoding="utf-8").split())
        assert " ".join(told.partition("reason:")[2].removesuffix("```").split()) in said
        newcomer.shell("echo 'put enrols.csv' | erp; sftpgate run enrols", first=define)
        archives = newcomer.directory / "data" / "store" / "archives"
        assert {path.stat().st_size for path in archives.iterdir()} == {part, whole}


def test_the_commands_for_users(newcomer: Newcomer) -> None:
    """The commands of docs/admin.md that make users work as they stand."""
    users = blocks(ADMIN)[0]
    (newcomer.directory / "sftpgate.toml").touch()
    (newcomer.directory / "password.txt").write_text("correct horse battery\n", encoding="ascii")
    define = 'PATH="$PWD/.venv/bin:$PATH"; ssh-keygen -q -t ed25519 -N "" -f crm_key'
    assert "hr" in newcomer.shell(users, first=define)


def test_the_commands_that_look(newcomer: Newcomer) -> None:
    """The commands of docs/admin.md that say what happened to a file work on a held one, with the beginning of its id."""
    looks = blocks(ADMIN)[1]
    define = blocks(README)[1].partition("\n\n")[0]
    with newcomer.served():
        (newcomer.directory / "enrols.csv").write_bytes(b"x" * 261_101 * 2)
        newcomer.shell("echo 'put enrols.csv' | erp", first=define)
        arrival = newcomer.shell("sftpgate arrivals --json", first=define).partition('"id": "')[2].partition('"')[0]
        lines = [line.partition("#")[0] for line in looks.splitlines() if not line.startswith("sftpgate doctor")]
        commands = [f"{line} || [ $? -eq 3 ]" for line in lines]  # 3: nothing to list
        output = newcomer.shell("\n".join(commands).replace("01JQ8…", shlex.quote(arrival[:16])), first=define)
        assert arrival in output and "waiting" in newcomer.shell("sftpgate arrivals", first=define)
        assert re.search(r"^sftpgate doctor\b", looks, re.MULTILINE)  # tests/acceptance/test_doctor.py runs it


def test_a_backup_is_taken_and_brought_back(newcomer: Newcomer, tmp_path: Path) -> None:
    """The commands of README.md and docs/backup.md take a backup beside a running gate, and bring it back into an empty
    directory, where what waited is held until it is released.
    """
    define, backup = blocks(README)[1].partition("\n\n")[0], tmp_path / "backup"
    restore, decide = blocks(BACKUP)[1:3]
    with newcomer.served():
        newcomer.shell(blocks(README)[1])
        newcomer.shell(blocks(README)[3].replace("/backup", str(backup)), first=define)
    path = f'PATH="{newcomer.directory}/.venv/bin:$PATH"; mkdir -p {tmp_path}/new; cd {tmp_path}/new'
    lines = [line for line in restore.splitlines() if not line.startswith("sftpgate doctor")]
    newcomer.shell("\n".join(lines).replace("/backup/gate-2026-01-31", f"{backup}/gate"), first=path)
    assert "enrols.csv" in newcomer.shell(decide.splitlines()[0], first=path)
    assert "waiting" in newcomer.shell(decide.splitlines()[-1], first=path)
    assert re.search(r"^enrols +1 ", newcomer.shell("sftpgate status", first=path), re.MULTILINE)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a clone to somebody else")
def test_root_upgrades_a_clone_of_somebody_else(tmp_path: Path) -> None:
    """The line of README.md pulls and installs as the owner of a clone, where git refuses root."""
    [line] = [line for line in blocks(README)[4].splitlines() if "git pull" in line]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    for directory in (tmp_path, *tmp_path.parents):
        if directory.stat().st_uid == 0 and directory.stat().st_mode & 0o777 == 0o700:
            directory.chmod(0o755)  # of this test run: the clone's owner must get through
    origin, clone = tmp_path / "origin", tmp_path / "clone"

    def done(*words: object) -> None:
        subprocess.run([str(word) for word in words], env=environment, check=True, capture_output=True, timeout=60)

    def commit(text: str) -> None:
        (origin / "Makefile").write_text(f"runtime:\n\t@id -un > installed; echo {text} >> installed\n", encoding="ascii")
        done("chown", "-R", "root", origin)
        git = ("git", "-C", origin, "-c", "user.name=t", "-c", "user.email=t@example.org")
        done(*git, "add", "Makefile")
        done(*git, "commit", "-qm", text)
        done("chown", "-R", "nobody", origin)

    done("git", "init", "-q", "-b", "main", origin)
    commit("old")
    done("chown", "-R", "root", origin)
    done("git", "clone", "-q", origin, clone)
    done("chown", "-R", "nobody", clone)
    commit("new")
    refused = subprocess.run(["git", "pull"], cwd=clone, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert "dubious ownership" in refused.stderr
    pasted = subprocess.run(
        ["bash", "-ec", line],
        cwd=clone,
        env={**environment, "HOME": "/root"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert pasted.returncode == 0, pasted.stderr
    assert (clone / "installed").read_text(encoding="ascii") == "nobody\nnew\n"


def test_each_block_is_accounted_for() -> None:
    """A block of commands that somebody adds to these pages gets a test."""
    assert len(blocks(README)) == 5
    *_, service = blocks(ADMIN)
    assert len(blocks(ADMIN)) == 3 and "service install" in service  # tests/installation/test_service.py runs it
