"""Processes as a keeper sees them: who is whose child, what is left of a run, and their end.

Needs the standard library only: its code goes with that of ``keeper`` to whoever starts a command. Looks into ``/proc``; what may
not be read there is taken for nothing. ``end_remains`` and ``wait_for_end`` block, for some seconds at most.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time

POLL_SECONDS = 0.02
STAYS_AFTER_SECONDS = 2.0  # after SIGKILL; what is still there then and may not be signalled is said
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def all_processes() -> dict[int, tuple[int, str]]:
    """Return parent and state of every process that we can see."""
    found: dict[int, tuple[int, str]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                    # proc(5): pid (name) state ppid …; the name may have spaces and parentheses
                    state, parent = file.read().rpartition(")")[2].split()[:2]
                    found[int(name)] = int(parent), state
            except (OSError, ValueError):
                pass
    return found


def descendants(root: int, table: dict[int, tuple[int, str]]) -> list[int]:
    """Return the processes below ``root`` that run; zombies do not."""
    children: dict[int, list[int]] = {}
    for pid, (parent, _) in table.items():
        children.setdefault(parent, []).append(pid)
    found: list[int] = []
    todo = [root]
    while todo:
        for pid in children.get(todo.pop(), ()):
            todo.append(pid)
            if table[pid][1] not in ("Z", "X"):
                found.append(pid)
    return found


def remains(run: str, user: int, held: str) -> tuple[list[int], list[int]]:
    """Return what is left of a run: what may be killed, and what can only be waited for.

    Killed may be what has the run's name in its environment, with what it started, and what runs as the tool's ``user`` with the
    run's name in its arguments, or with a file or a working directory in its directory. Others with that may be an admin's
    editor, and so may root's. ``held`` is the lock of its claim, if only what the run started can have it as that user.
    """
    table = all_processes()
    ours: list[int] = []
    others: list[int] = []
    for pid, (_, state) in table.items():
        if pid == os.getpid() or state in ("Z", "X"):
            continue
        if run.encode() in _content(f"/proc/{pid}/environ"):
            ours.append(pid)
        elif run.encode() in _content(f"/proc/{pid}/cmdline") or _works_in(pid, run):
            (ours if user and _user_of(pid) == user else others).append(pid)
        elif held and _user_of(pid) == user and _has_open(pid, held):
            ours.append(pid)
    for pid in list(ours):
        ours += [below for below in descendants(pid, table) if below not in ours and below != os.getpid()]
    return ours, [pid for pid in others if pid not in ours]


def children() -> set[int]:
    """Return the children of this process that run. A subreaper has those of its children too that were killed, whatever they
    hide.
    """
    me = os.getpid()
    return {pid for pid, (parent, state) in all_processes().items() if parent == me and state not in ("Z", "X")}


def wait_for_end(pid: int) -> None:
    """Wait until a keeper that was killed has left its children to others: its pipes are closed before. It does not last."""
    deadline = time.monotonic() + STAYS_AFTER_SECONDS
    while all_processes().get(pid, (0, "X"))[1] not in ("Z", "X") and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def end_remains(run: str, user: int, held: str, pids: list[int]) -> list[str]:
    """Kill what is left of a run whose keeper is gone; returns descriptions of what stays, empty if nothing does.

    ``pids`` belong to the run, with what is below them: those that run as ``user`` are killed, and others waited for.
    """
    deadline = time.monotonic() + STAYS_AFTER_SECONDS
    while True:
        ours, others = remains(run, user, held)
        table = all_processes()
        known = {
            each for pid in pids for each in (pid, *descendants(pid, table)) if table.get(each, (0, "X"))[1] not in ("Z", "X")
        }
        ours += [pid for pid in known if _user_of(pid) == user]
        for pid in ours:
            send(pid, signal.SIGKILL)
        if not (ours or known) or time.monotonic() > deadline:
            return [describe(pid) for pid in sorted({*ours, *others, *known})]
        time.sleep(POLL_SECONDS)


def _works_in(pid: int, run: str) -> bool:
    """Return whether a process has its working directory in a run's directory, or a file of it open. Names with a dot are
    ours.
    """
    try:
        if run in os.readlink(f"/proc/{pid}/cwd"):
            return True
        names = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return False
    for name in names:
        try:
            _, found, below = os.readlink(f"/proc/{pid}/fd/{name}").partition(f"/{run}/")
        except OSError:
            continue
        if found and not below.startswith("."):
            return True
    return False


def _has_open(pid: int, path: str) -> bool:
    try:
        names = os.listdir(f"/proc/{pid}/fd")
        return any(os.readlink(f"/proc/{pid}/fd/{name}") == path for name in names)
    except OSError:
        return False


def _user_of(pid: int) -> int:
    try:
        return os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return -1


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(4 * 1024 * 1024)
    except OSError:
        return b""


def describe(pid: int) -> str:
    """Return a process in words: its id, name and user."""
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            name = file.read().strip()
        return f"process {pid} ({name}) of user id {os.stat(f'/proc/{pid}').st_uid}"
    except OSError:
        return f"process {pid}"


def send(pid: int, number: int) -> bool:
    """Send a signal; returns False if we may not. A process that is gone is none that we may not signal."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass
    except PermissionError:
        return False
    return True


def become_subreaper() -> None:
    """Let this process adopt what loses its parent below it."""
    prctl(_PR_SET_CHILD_SUBREAPER, 1)


def prctl(option: int, value: int) -> None:
    """Set something of this process, as prctl(2) has it."""
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)
