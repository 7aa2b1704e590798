"""The parts of a site, closed."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any


def open_below(directory: Path) -> list[str]:
    """What this process has open there."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            found.append(os.readlink(f"/proc/self/fd/{number}"))
    return [name for name in found if name.startswith(f"{directory}/")]


def test_a_closed_site_leaves_nothing_open(make_gate: Any, tmp_path: Path) -> None:
    """What a site has opened is closed with it, and not when somebody collects what is left of it."""
    gate = make_gate()
    gate.put("a/b.csv")
    assert open_below(tmp_path)
    gate.system.close()
    assert open_below(tmp_path) == []
