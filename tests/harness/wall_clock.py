"""A wall clock of processes that a test can set while they live, by libfaketime; what counts evenly since the boot goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

HOUR, YEAR = 3600, 365 * 86400

# libfaketime 0.9.10 refuses (EINVAL) to sleep until a time of the monotonic clock, as Python's own sleep does.
_SLEEP = """import select, time
time.sleep = lambda seconds: select.select([], [], [], seconds) and None
"""


def _library() -> Path:
    """Return libfaketime's library for processes with threads; the test is skipped if it is not installed."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        pytest.skip("libfaketime is not installed: apt install libfaketime")
    return found[0]


class WallClock:
    """How far the clock of the processes with this ``environment`` is set."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "clock"
        site = directory / "clock-site"
        site.mkdir(exist_ok=True)
        (site / "sitecustomize.py").write_text(_SLEEP, encoding="ascii")
        self.environment = {
            "LD_PRELOAD": str(_library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",  # its name in releases before 0.9.11
            "FAKETIME_DONT_RESET": "1",
            "PYTHONPATH": str(site),
        }
        self.set(0)

    def set(self, seconds: int) -> None:
        """Set it to so many seconds from the true time: for all of them, at once."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+d}", encoding="ascii")
        new.rename(self._file)
