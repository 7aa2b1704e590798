"""The command line of runners on the data of a world: by subprocess, with real commands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.unit.runners.world import World, shell


class Gate:
    """The command line on the data of a world."""

    def __init__(self, directory: Path, **settings: object) -> None:
        self.directory = directory
        enrols = {**shell("exit 0"), "file": "enrols.csv", "arrivals": "queue"}
        self.world = World(directory, settings=settings, enrols=enrols)
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("SFTPGATE_")} | {
            "SFTPGATE_DATA_DIR": str(directory / "data"),
            "SFTPGATE_KEYS_DIR": str(directory / "keys"),
            "SFTPGATE_DURABILITY": "relaxed",
            "SFTPGATE_SETTLE_SECONDS": "0",
            "NO_COLOR": "1",
        }

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
        return [sys.executable, "-m", "sftpgate", *arguments]

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
        process = self.start(*arguments)
        output, errors = process.communicate(timeout=100)
        return process.returncode, output.decode(), errors.decode()
