"""What a pass of ``sftpgate run`` costs in processor time: with nothing to do, with one trivial file, and the keeper alone.

Processor seconds of a process and all that it started; the least of several, because another program on the machine only adds.

python -m tests.bench.passes
"""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from sftpgate.runners.commands.command import Command, execute
from sftpgate.runners.commands.keepers import Keepers, Task
from sftpgate.settings.tools import ToolSettings
from tests.harness.run_commands import Gate

TIMES = 7
COMMANDS = 5  # in one process, so that its own start does not count
TOOL = "[tools.users]\nfile = 'users.csv'\narrivals = 'queue'\ncommand = ['true']\n{more}"
# As the users' preset has them: nine patterns.
PATTERNS = """
failed_output = ["^!!!", "^PHP (Fatal|Parse) error:", "^Fatal error:", "is not a valid field name"]
retry_output = ["Database connection failed", "[Ee]rror (reading from|writing to) database"]
row_output = '^Line (?P<line>\\d+)$'
rejected_output = '^\\s+Error: (?P<reason>.*)'
counts_output = '^Errors: (?P<rejected>\\d+)$'
"""


def seconds_of(act: Callable[[], object]) -> float:
    """Do it, and return the processor time of this process and of the children that have ended."""

    def spent() -> float:
        both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return sum(usage.ru_utime + usage.ru_stime for usage in both)

    before = spent()
    act()
    return spent() - before


def a_pass(gate: Gate, code: int) -> None:
    """Run one pass, which is to end with ``code``."""
    words = [sys.executable, "-m", "sftpgate", "run", "--all"]
    ended = subprocess.run(words, cwd=gate.directory, env=gate.environment, capture_output=True, check=False)
    assert ended.returncode == code, ended


def with_a_file(gate: Gate) -> float:
    """Return the cost of a pass that finds one file."""
    gate.world.send("users.csv")
    return seconds_of(lambda: a_pass(gate, 0))


def kept(directory: Path) -> None:
    """Run ``true`` through a keeper, some times."""
    keepers = Keepers({"users": ToolSettings.model_validate({"file": "users.csv", "command": ["true"]})})
    for number in range(COMMANDS):
        run = directory / f"run-{number}"
        run.mkdir(exist_ok=True)
        (run / "users.csv").touch()
        task = Task(act="run", tool="users", run=run.name, directory=str(run), file=str(run / "users.csv"), grace_seconds=1)
        command = Command(task=task, output=run / ".output", timeout_seconds=60, output_limit_bytes=1024)
        ended = asyncio.run(execute(keepers, command, asyncio.Event()))
        assert ended.exit_status == 0, ended


def plain() -> None:
    """Run ``true`` as subprocess does it, as often."""
    for _ in range(COMMANDS):
        subprocess.run(["true"], check=True)


def main() -> None:
    """Measure, and print milliseconds."""
    with tempfile.TemporaryDirectory() as place:
        gate = Gate(Path(place))
        gate.tools(TOOL.format(more=""))
        a_pass(gate, 3)
        figures = {
            "a pass that finds nothing": min(seconds_of(lambda: a_pass(gate, 3)) for _ in range(TIMES)),
            "a pass with one trivial file": min(with_a_file(gate) for _ in range(TIMES)),
        }
        gate.tools(TOOL.format(more=PATTERNS))
        figures["the same, with the patterns of a preset"] = min(with_a_file(gate) for _ in range(TIMES))
        gate.world.close()
        figures["one command through a keeper"] = min(seconds_of(lambda: kept(Path(place))) for _ in range(TIMES)) / COMMANDS
        figures["one command as a plain subprocess"] = min(seconds_of(plain) for _ in range(TIMES)) / COMMANDS
    sys.stdout.writelines(f"{name:42} {seconds * 1000:7.1f} ms\n" for name, seconds in figures.items())


if __name__ == "__main__":
    main()
