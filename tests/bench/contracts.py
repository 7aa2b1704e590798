"""What a contract costs: processor time and memory for tables of ten thousand to a million rows, each in a process of its own.

python -m tests.bench.contracts
"""

from __future__ import annotations

import gc
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sftpgate.contracts.judge import History, judge
from sftpgate.settings.contracts import ContractSettings

SIZES = (10_000, 100_000, 1_000_000)
CONTRACT = ContractSettings.model_validate(
    {"header": ["cmd", "rolename", "cid", "uid"], "key": ["cid", "uid"], "group": "cid", "max_removed": "10%", "max_added": "50%"}
)


def write(path: Path, rows: int) -> None:
    """Write a table of 30 bytes a row, of 3,000 groups."""
    with path.open("w", encoding="utf-8") as file:
        file.write("cmd;rolename;cid;uid\n")
        file.writelines(f"add;student;C{number % 3000:06d};U{number:08d}\n" for number in range(rows))


def measure(path: Path, *, compared: bool) -> str:
    """Judge a file, alone or against itself; processor seconds and peak memory."""
    history = History(open_last=lambda: path.open("rb")) if compared else History()
    gc.disable()  # as the judge does
    begin = time.process_time()
    with path.open("rb") as content:
        verdict = judge(content, CONTRACT, history)
    seconds = time.process_time() - begin
    assert verdict.is_good
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return f"{verdict.rows:>9,} rows {'compared' if compared else 'alone   '} {seconds:6.2f} s {memory:5.0f} MiB"


def main() -> None:
    """Measure each size."""
    if sys.argv[1:]:
        print(measure(Path(sys.argv[1]), compared=sys.argv[2] == "compared"))
        return
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "table.csv"
        for rows in SIZES:
            write(path, rows)
            for kind in ("alone", "compared"):
                subprocess.run([sys.executable, "-m", "tests.bench.contracts", str(path), kind], check=True)


if __name__ == "__main__":
    main()
