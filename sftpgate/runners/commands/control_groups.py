"""A control group for each run, if one is delegated to us: what a run starts cannot leave it, whatever it hides or becomes.

Used beside all else that finds what a run started (``processes``), and never needed. Only the second version of control groups,
and only below the group in which this process is, if that is ours: a service manager gives it to the user of a unit that says
``Delegate=yes``. Root has no such sign of a group that it may divide, so it makes none.

A crash leaves the group, with what is in it: whoever brings the claim back, in the same group as we are, ends it by its name. A
service manager removes it with the unit. ``end`` blocks, for some seconds at most.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from sftpgate.runners.commands.processes import POLL_SECONDS, STAYS_AFTER_SECONDS

_PREFIX = "sftpgate-"
# What moves itself into a group and becomes the command (cgroups(7): 0 is whoever writes). It starts in any case.
_MOVE = 'echo 0 2> /dev/null > "$0"; exec "$@"'


def make(run: str) -> Path | None:
    """Return a new group for a run; None if there can be none."""
    ours = _delegated()
    if ours is None:
        return None
    group = ours / f"{_PREFIX}{run}"
    try:
        group.mkdir()
    except OSError:
        return None
    return group


def of_run(run: str) -> Path | None:
    """Return the group that was made for a run, if it is there still."""
    ours = _delegated()
    group = ours / f"{_PREFIX}{run}" if ours is not None else None
    return group if group is not None and group.is_dir() else None


def words(group: Path | None) -> list[str]:
    """Return the words before a command that let it start in a group."""
    return [] if group is None else ["/bin/sh", "-c", _MOVE, str(group / "cgroup.procs")]


def end(group: Path) -> bool:
    """Kill all that is in a group, whoever it is, and remove the group; returns whether nothing is left."""
    with contextlib.suppress(OSError):
        (group / "cgroup.kill").write_text("1", encoding="ascii")  # since Linux 5.14
    deadline = time.monotonic() + STAYS_AFTER_SECONDS
    while time.monotonic() < deadline:
        try:
            group.rmdir()  # fails as long as something is in it
        except FileNotFoundError:
            return True
        except OSError:
            time.sleep(POLL_SECONDS)
        else:
            return True
    return False


def _delegated() -> Path | None:
    """Return the group in which this process is, if it is ours to divide."""
    try:
        group = _own_group()
        is_ours = group is not None and os.geteuid() != 0 and group.stat().st_uid == os.geteuid()
    except OSError:
        return None
    return group if is_ours and group is not None and os.access(group / "cgroup.procs", os.W_OK) else None


def _own_group() -> Path | None:
    lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    name = next((line.removeprefix("0::") for line in lines if line.startswith("0::")), None)
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        # proc(5): id parent device root mount-point options … - type source options
        before, _, after = line.partition(" - ")
        root, place = before.split()[3:5]
        if name is not None and after.startswith("cgroup2 ") and (root == "/" or f"{name}/".startswith(f"{root}/")):
            return Path(place) / name.removeprefix(root.rstrip("/")).lstrip("/")
    return None
