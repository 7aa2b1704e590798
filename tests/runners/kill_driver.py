"""Runs ``sftpgate run`` again and again, each time killed with SIGKILL before another one of its steps. A program of its own.

It imports the command once and forks, so that a hundred runs are quick; it has no threads and no connections that a fork would
break. A step is an operation on the disk or a commit. Usage: kill_driver.py DIRECTORY STATUS; the command ends with STATUS the
first time. Prints one JSON object for each point.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

from sftpgate.cli import main as command_line
from sftpgate.cli import run_output  # noqa: F401 - imported before the forks
from sftpgate.ledger.database.connection import Ledger
from sftpgate.policy.runs import PROCESSED
from sftpgate.store.disk import Disk
from sftpgate.upkeep import notices  # noqa: F401
from tests.harness.runners import World

CONTENTS = (b"first\n", b"second\n")
TRIES = 50
UNFORESEEN = 99  # an exit status that no command has


def in_child(work: Callable[[], None]) -> int:
    """The exit status of a forked process that does the work; minus the signal that killed it."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except SystemExit as end:
            os._exit(end.code if isinstance(end.code, int) else 1)
        except BaseException as error:  # noqa: BLE001 - nothing may come back from here
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(UNFORESEEN)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status == UNFORESEEN:
        sys.exit("a command ended in a way that nobody foresaw: see the file output")
    return status


def prepare(directory: Path, status: int) -> None:
    """A data directory with two files that wait, and a tool that ends with ``status`` the first time."""
    directory.mkdir()
    script = f'cat "$1" >> record; printf \'lines\\n\' > "$SFTPGATE_TRYBACK"; test -e failed || {{ : > failed; exit {status}; }}'
    (directory / "sftpgate.toml").write_text(
        "durability = 'relaxed'\nsettle_seconds = 0\n[tools.a]\nfile = 'a.csv'\narrivals = 'queue'\nmax_attempts = 9\n"
        f"command = ['/bin/sh', '-c', '''{script}''', 'sh', '{{file}}']\n"
    )
    world = World(directory, a={"file": "a.csv", "arrivals": "queue", "command": ["true"]})
    for content in CONTENTS:
        world.send("a.csv", content)
    world.close()


def run(directory: Path, *arguments: str, left: int | None = None) -> None:
    """A command of ``sftpgate``, killed before step ``left``."""
    os.chdir(directory)
    out = os.open("output", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    if left is not None:
        steps = iter(range(left))

        def step(*_arguments: object) -> None:
            if next(steps, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)

        for part in (Disk, Ledger):
            setattr(part, "step", step)  # noqa: B010 - the hook that the crash suite uses
    sys.argv = ["sftpgate", *arguments]
    command_line.main()


def outcome(directory: Path) -> dict[str, object]:
    """What can be found out about the files in the end."""
    store = directory / "data/store"
    ledger = sqlite3.connect(directory / "data/ledger.db")
    runs = ledger.execute("SELECT arrival, outcome, report, tryback FROM runs").fetchall()
    states = ledger.execute("SELECT state, attempts FROM arrivals WHERE owner = 'erp' ORDER BY seq").fetchall()
    archived = [name for (name,) in ledger.execute("SELECT archived_as FROM arrivals ORDER BY seq")]
    ledger.close()
    processed = [arrival for arrival, ended, *_ in runs if ended in PROCESSED]
    names = [name for row in runs for name in row[2:] if name is not None]
    return {
        "all_done": [state for state, _ in states] == ["done", "done"],
        "states": states,
        "archives": [(store / "archives" / name).read_text() if name else None for name in archived],
        "archive_files": len(list((store / "archives").iterdir())),
        "done": sorted(processed.count(arrival) for arrival in {row[0] for row in runs}),
        "open_runs": sum(1 for row in runs if row[1] is None),
        "missing_reports": [name for name in names if not (store / "reports" / name).is_file()],
        "left": [
            str(path)
            for area in ("runs", "claims", "queue")
            for path in (store / ".sftpgate" / area).iterdir()
            if not path.suffix
        ],
        "executed": (directory / "record").read_text().splitlines(),
    }


def check(base: Path, status: int, point: int) -> bool:
    """One point; False where the run came to its end before it."""
    directory = base / str(point)
    if in_child(lambda: prepare(directory, status)):
        sys.exit("the data directory could not be made")
    killed = in_child(lambda: run(directory, "run", "--all", left=point)) == -signal.SIGKILL
    found: dict[str, object] = {}
    for _ in range(TRIES):  # what the killed run had started is killed too, which takes a moment
        in_child(lambda: run(directory, "run", "--all"))
        in_child(lambda: run(directory, "sweep"))
        found = outcome(directory)
        if found["all_done"]:
            break
    print(json.dumps({"point": point, "killed": killed, **found}), flush=True)
    return killed


if __name__ == "__main__":
    number = 0
    while check(Path(sys.argv[1]), int(sys.argv[2]), number):
        number += 1
