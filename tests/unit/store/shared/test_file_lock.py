"""The lock of the store: in order within a process, bounded towards others."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from sftpgate.errors import StoreBusy
from sftpgate.store.shared import file_lock
from sftpgate.store.shared.file_lock import FileLock

_WAIT = 0.3  # seconds: the bound of these locks
_HOLDER = (
    "import fcntl, sys; file = open(sys.argv[1]); fcntl.flock(file, fcntl.LOCK_EX); print('held', flush=True); sys.stdin.read()"
)


def opener(file: Path) -> Callable[[], int]:
    """Opens the file of a lock."""
    return lambda: os.open(file, os.O_RDWR | os.O_CREAT)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The file of a lock."""
    (tmp_path / "lock").touch()
    return tmp_path / "lock"


@pytest.fixture
def lock(file: Path, monkeypatch: pytest.MonkeyPatch) -> FileLock:
    """A lock with a short bound."""
    monkeypatch.setattr(file_lock, "STUCK_WAIT_SECONDS", 0.05)
    return FileLock(opener(file), wait_seconds=_WAIT)


@pytest.fixture
def holder(file: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the lock until its input ends."""
    command = [sys.executable, "-c", _HOLDER, str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process


@pytest.mark.promise("P7")
def test_a_holder_that_never_ends_is_waited_for_within_a_bound(lock: FileLock, holder: subprocess.Popen[str]) -> None:
    """While another process has the lock, a change is refused with the rule, and whoever comes later is told sooner; the lock
    says for how long that goes on, and which process it is.
    """
    waits = []
    for _ in range(3):
        began = time.monotonic()
        with pytest.raises(StoreBusy, match=r"nothing was changed.*\(rule: ") as refused, lock.held():
            pass
        waits.append(time.monotonic() - began)
        assert str(holder.pid) in refused.value.holder
        assert str(holder.pid) not in refused.value.message
    assert waits[0] >= _WAIT
    assert max(waits[1:]) < waits[0]
    assert lock.waiting_seconds >= _WAIT


def test_the_lock_is_free_again_as_soon_as_its_holder_is_gone(lock: FileLock, holder: subprocess.Popen[str], file: Path) -> None:
    """Whoever gave up leaves nothing behind: the lock is free for everybody, and nobody is said to wait."""
    with pytest.raises(StoreBusy), lock.held():
        pass
    assert holder.stdin is not None
    holder.stdin.close()
    holder.wait()
    with lock.held():
        pass
    assert lock.waiting_seconds == 0
    with open(file) as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_waiter_gets_the_lock_when_its_holder_ends(lock: FileLock, holder: subprocess.Popen[str]) -> None:
    """A wait below the bound ends with the lock."""
    assert holder.stdin is not None
    with ThreadPoolExecutor(1) as pool:
        began = Event()

        def take() -> bool:
            began.set()
            with lock.held():
                return True

        taken = pool.submit(take)
        began.wait()
        holder.stdin.close()
        assert taken.result(10)


def test_threads_take_turns_in_the_order_in_which_they_came(file: Path) -> None:
    """A thread that takes the lock again at once comes after those who waited."""
    lock, order = FileLock(opener(file)), list[str]()
    with ThreadPoolExecutor(1) as pool:
        with lock.held():
            other = pool.submit(_noted, lock, order, "other")
            while not lock.waiting_seconds:
                time.sleep(0)
        with lock.held():
            order.append("again")
        other.result(10)
    assert order == ["other", "again"]


@pytest.mark.promise("P3")
def test_no_two_have_the_lock_at_a_time(file: Path) -> None:
    """Whatever locks of several processes and threads do, one has it."""
    locks, inside, most = [FileLock(opener(file)) for _ in range(3)], list[int](), list[int]()

    def work(index: int) -> None:
        with locks[index % 3].held():
            inside.append(index)
            most.append(len(inside))
            inside.remove(index)

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(work, range(300)))
    assert max(most) == 1
    assert len(most) == 300


def _noted(lock: FileLock, order: list[str], name: str) -> None:
    with lock.held():
        order.append(name)
