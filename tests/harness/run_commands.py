"""The command line of runners on the data of a world: each in a process of its own, with real commands."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.harness.commands import clean_environment, run, sftpgate
from tests.harness.runners import World, shell


class Gate:
    """The command line on the data of a world."""

    def __init__(self, directory: Path, **settings: object) -> None:
        self.directory = directory
        enrols = {**shell("exit 0"), "file": "enrols.csv", "arrivals": "queue"}
        self.world = World(directory, settings=settings, enrols=enrols)
        settings_of_all = {
            "DATA_DIR": directory / "data",
            "KEYS_DIR": directory / "keys",
            "DURABILITY": "relaxed",
            "SETTLE_SECONDS": 0,
        }
        self.environment = clean_environment(**settings_of_all) | {"NO_COLOR": "1"}

    def tools(self, text: str) -> None:
        """The settings."""
        (self.directory / "sftpgate.toml").write_text(text, encoding="utf-8")

    def enrols(self, script: str, more: str = "") -> None:
        """One tool, a queue, that runs a shell script; ``$1`` is the file."""
        self.tools(
            f"[tools.enrols]\nfile = 'enrols.csv'\narrivals = 'queue'\n{more}\n"
            f"command = ['/bin/sh', '-c', '''{script}''', 'sh', '{{file}}']\n"
        )

    def command(self, *arguments: str) -> list[str]:
        """The words that run a command."""
        return sftpgate(*arguments)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, output, errors."""
        done = run(*arguments, env=self.environment, cwd=self.directory, timeout=100)
        return done.returncode, done.stdout.decode(), done.stderr.decode()
