"""Workloads of the command line: what cron starts each minute, and the sweep of a large drop."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass

from tests.bench.contenders import Sftpgate
from tests.bench.series import timed


@dataclass(frozen=True, slots=True)
class Cost:
    """What a command took. ``output`` is what it printed."""

    seconds: float
    cpu_seconds: float
    memory_bytes: int
    output: str


def cost(server: Sftpgate, *words: str, codes: tuple[int, ...] = (0,)) -> Cost:
    """Run a command of sftpgate on the server's data. Raises RuntimeError where it ends with another code."""
    with (server.directory / "output").open("w+") as output:
        process = subprocess.Popen(
            server.words(*words), env=server.environment(), cwd=server.directory, stdout=output, stderr=subprocess.STDOUT
        )
        status = 0
        usage = None

        def wait() -> None:
            nonlocal status, usage
            _, status, usage = os.wait4(process.pid, 0)

        seconds = timed(wait)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read()
    assert usage is not None
    if process.returncode not in codes:
        raise RuntimeError(f"{words} ended with {process.returncode}: {text[-1500:]}")
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, text)


def scan(server: Sftpgate, files: int, directory: str = "scan") -> Cost:
    """A sweep of a drop with so many more files that nobody takes."""
    _make(server.directory / "data/sync" / directory, files, prefix="_")
    return cost(server, "sweep", "--json", codes=(0, 3))


def take(server: Sftpgate, files: int) -> tuple[Cost, float]:
    """A sweep that takes files; and how many it took a second, by its own clock."""
    _make(server.directory / "data/sync/take", files)
    found = cost(server, "sweep", "--json")
    done = result(found)
    if done["taken"] != files:
        raise RuntimeError(f"the sweep took {done['taken']} of {files} files: {found.output[-500:]}")
    return found, files / done["seconds"]


def result(found: Cost) -> dict[str, float]:
    """What a sweep says that it did."""
    counts: dict[str, float] = json.loads(found.output[found.output.index("{") :])
    return counts


def _make(directory: os.PathLike[str], files: int, prefix: str = "") -> None:
    os.makedirs(directory)
    for number in range(files):
        with open(f"{directory}/{prefix}{number:07}.csv", "wb") as file:
            if not prefix:
                file.write(b"a,b\n")
