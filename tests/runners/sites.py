"""A gate whose tools run as other users of this machine: real accounts, real sudo."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sftpgate.ledger.arrivals import Arrival
from tests.harness.accounts import PATHS, Person, open_directory, people, python_for, sudoers
from tests.harness.commands import clean_environment
from tests.harness.runners import World

TIMEOUT_SECONDS = 60


class Site:
    """A gate of the account ``service``. Commands run as that account, or as root, and files are sent by it."""

    def __init__(self, directory: Path, service: Person, tools: str, *, group: Person | None = None, top: str = "") -> None:
        self.directory = directory
        self.service = service
        self.settings = directory / "sftpgate.toml"
        self.write(f"{top}\ndurability = 'relaxed'\nsettle_seconds = 0\nlog_level = 'warning'\n{tools}")
        data = directory / "data"
        data.mkdir(mode=0o711)
        data.chmod(0o711)
        values = tomllib.loads(self.settings.read_text())
        self.world = World(directory, settings={key: values[key] for key in values if key != "tools"}, **values["tools"])
        for path in (data, *data.rglob("*")):
            os.chown(path, service.uid, group.gid if group else service.gid)

    def write(self, text: str) -> None:
        """The settings: root's, and readable for everybody."""
        self.settings.write_text(text)
        self.settings.chmod(0o644)

    def send(self, path: str = "a.csv", content: bytes = b"user,course\nada,algebra\n") -> Arrival:
        """One upload, whose files belong to the service as they would."""
        arrival = self.world.send(path, content)
        for made in self.directory.joinpath("data").rglob("*"):
            if made.lstat().st_uid == 0:
                os.chown(made, self.service.uid, made.parent.stat().st_gid)
        return arrival

    def start(self, *arguments: str, by: Person | None = None, before: Sequence[str] = ()) -> subprocess.Popen[str]:
        """A command of sftpgate by root, or by somebody else."""
        environment = clean_environment()
        environment |= {"PYTHONPATH": PATHS, "NO_COLOR": "1"}
        words = [*before, python_for(by or self.service), "-m", "sftpgate", *arguments]
        groups = os.getgrouplist(by.name, by.gid) if by else []
        more: dict[str, Any] = {"user": by.uid, "group": by.gid, "extra_groups": groups} if by and not before else {}
        process: subprocess.Popen[str] = subprocess.Popen(
            words,
            cwd=self.directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **more,
        )
        return process

    def __call__(self, *arguments: str, by: Person | None = None) -> tuple[int, str, str]:
        """Exit code, output, errors."""
        process = self.start(*arguments, by=by)
        output, errors = process.communicate(timeout=TIMEOUT_SECONDS)
        return process.returncode, output, errors

    def close(self) -> None:
        self.world.close()


@contextlib.contextmanager
def site(script: str, *, sudo: bool = True, more: str = "", top: str = "file_group = ''") -> Iterator[tuple[Site, Person]]:
    """A site with the tool ``a``, a shell script that runs as the platform's user; and that user.

    The store's group is the platform's user's, as docs/admin.md sets it up.
    """
    with open_directory() as directory, people("gate", "www") as (service, platform), contextlib.ExitStack() as stack:
        if sudo:
            stack.enter_context(sudoers(f"{service.name} ALL=({platform.name}) NOPASSWD: ALL"))
        tools = (
            f"[tools.a]\nfile = 'a.csv'\narrivals = 'queue'\nrun_as = '{platform.name}'\n{more}\n"
            f"command = ['/bin/sh', '-c', '''{script}''', 'sh', '{{file}}']\n"
        )
        made = Site(directory, service, tools, top=top)
        stack.callback(made.close)
        subprocess.run(["usermod", "-aG", platform.name, service.name], check=True, capture_output=True)
        made.directory.joinpath("data/store").chmod(0o711)
        for path in ("data/store/.sftpgate", "data/store/.sftpgate/runs"):
            made.directory.joinpath(path).chmod(0o711)
        yield made, platform
