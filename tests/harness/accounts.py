"""Real accounts of this machine, made for a test and removed after it, and programs that run as them."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import sftpgate

PROGRAMS = (sys.executable, f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}")
PATHS = os.pathsep.join([str(Path(sftpgate.__file__).parents[1]), sysconfig.get_path("purelib")])
SUDOERS = Path("/etc/sudoers.d")

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes accounts")
needs_sudo = pytest.mark.skipif(shutil.which("sudo") is None, reason="sudo is not installed: apt install sudo")


@dataclass(frozen=True, slots=True)
class Person:
    """An account with a group of its own name."""

    name: str
    uid: int
    gid: int

    def processes(self) -> list[int]:
        """What runs as this account."""
        return [int(path.name) for path in Path("/proc").glob("[0-9]*") if _runs_as(path, self.uid)]


def _runs_as(process: Path, uid: int) -> bool:
    try:
        is_zombie = process.joinpath("stat").read_text().rpartition(")")[2].split()[0] == "Z"
        return process.stat().st_uid == uid and not is_zombie
    except (FileNotFoundError, ProcessLookupError):
        return False


@contextlib.contextmanager
def people(*roles: str) -> Iterator[list[Person]]:
    """Accounts, each with a group of its own, for the block. What still runs as them at its end is killed."""
    made: list[Person] = []
    try:
        for role in roles:
            name = f"sg-{role}-{secrets.token_hex(3)}"
            subprocess.run(["useradd", "--system", "--user-group", "--no-create-home", name], check=True, capture_output=True)
            found = pwd.getpwnam(name)
            made.append(Person(name, found.pw_uid, found.pw_gid))
        yield made
    finally:
        for person in made:
            for pid in person.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 9)
            subprocess.run(["userdel", "--force", person.name], check=False, capture_output=True)


def join(person: Person, group: Person) -> None:
    """Make a person a member of another one's group."""
    subprocess.run(["usermod", "-aG", group.name, person.name], check=True, capture_output=True)


@contextlib.contextmanager
def sudoers(*lines: str) -> Iterator[None]:
    """Lines that sudo obeys during the block."""
    path = SUDOERS / f"sftpgate-test-{secrets.token_hex(4)}"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o440)
    try:
        os.write(fd, "".join(f"{line}\n" for line in lines).encode())
        os.close(fd)
        yield
    finally:
        path.unlink()


@contextlib.contextmanager
def open_directory() -> Iterator[Path]:
    """A directory that everybody may pass through, and nobody but root may list."""
    with tempfile.TemporaryDirectory(prefix="sftpgate-people-") as name:
        directory = Path(name)
        directory.chmod(0o711)
        yield directory


def python_for(person: Person) -> str:
    """A Python that somebody may execute, and that finds what sftpgate needs."""
    for program in PROGRAMS:
        with contextlib.suppress(OSError):
            done = subprocess.run(
                [program, "-c", "import sftpgate.cli.commands.run, pydantic_settings, sqlalchemy"],
                user=person.uid, group=person.gid, extra_groups=[], env={"PYTHONPATH": PATHS}, cwd="/", capture_output=True,
                timeout=60, check=False,
            )  # fmt: skip
            if done.returncode == 0:
                return program
    pytest.skip("neither this Python nor the system's can be run by others: put the working copy where everybody may read it")
