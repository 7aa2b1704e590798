"""The contract of ``store.locks``: one holder of a right at a time, bounded waiting, and nothing left by the dead."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread

import pytest

from sftpgate.errors import StoreBusy
from sftpgate.store.disk import Disk
from sftpgate.store.disk_paths import FileModes
from sftpgate.store.layout import Layout
from sftpgate.store.locks import LocalLocks, Locks

MakeLocks = Callable[[], Locks]

_HOLDER = """
import sys
from pathlib import Path
from sftpgate.store.disk import Disk
from sftpgate.store.layout import Layout
from sftpgate.store.locks import LocalLocks

locks = LocalLocks(Layout(Path(sys.argv[1]), Path(sys.argv[2])), Disk())
with locks.names(), locks.sweep():
    print("held", flush=True)
    sys.stdin.read()
"""


class ImpatientDisk(Disk):
    """A disk that waits for a lock for a moment only."""

    lock_wait_seconds = 0.2


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A store."""
    made = Layout(tmp_path / "store", tmp_path / "drop")
    made.create(Disk(), FileModes())
    return made


@pytest.fixture(params=["local"])
def make(request: pytest.FixtureRequest, layout: Layout) -> MakeLocks:
    """Makes the rights of one more process, for each implementation in turn."""
    return {"local": lambda: LocalLocks(layout, ImpatientDisk())}[request.param]


@pytest.mark.promise("P4")
def test_one_at_a_time(make: MakeLocks) -> None:
    """Whoever asks while another has the right to names or to sweep does not get it, and has it when that one is done."""
    one, other = make(), make()
    with one.names(), one.sweep():
        with pytest.raises(StoreBusy), other.names():
            pass
        with pytest.raises(StoreBusy), other.names_in_turn(b"m"):
            pass
        with pytest.raises(StoreBusy), other.sweep():
            pass
        with other.sweep_if_free() as mine:
            assert not mine
    with other.names(), other.sweep_if_free() as mine:
        assert mine
    assert (one.waiting_seconds, other.waiting_seconds) == (0.0, 0.0)


def test_names_and_sweep_are_two_rights(make: MakeLocks) -> None:
    """A sweep keeps nobody from changing names."""
    one, other = make(), make()
    with one.sweep(), other.names():
        pass


def test_a_mark_tells_who_was_there_last(make: MakeLocks) -> None:
    """The same mark is found if nobody else had the right to names in turn since; another's, or none, is not ours."""
    one, other = make(), make()

    def is_ours(locks: Locks, mark: bytes) -> bool:
        with locks.names_in_turn(mark) as ours:
            return ours

    assert [is_ours(one, b"one-1"), is_ours(one, b"one-1")] == [False, True]
    assert [is_ours(other, b"two-2"), is_ours(one, b"one-1"), is_ours(one, b"one-1")] == [False, False, True]
    assert not is_ours(one, b"one")  # a part of the mark is another mark


def test_threads_of_a_process_take_turns(make: MakeLocks) -> None:
    """A thread that waits gets the right when the one before it is done, and says meanwhile that it waits."""
    locks, held, done = make(), Event(), []

    def second() -> None:
        held.wait(10)
        with locks.names():
            done.append("second")

    thread = Thread(target=second)
    thread.start()
    with locks.names():
        held.set()
        done.append("first")
    thread.join(10)
    assert done == ["first", "second"] and locks.waiting_seconds == 0.0


@pytest.mark.promise("P4")
def test_a_dead_holder_leaves_nothing(make: MakeLocks, layout: Layout) -> None:
    """The rights of a process that was killed are free at once."""
    words = [sys.executable, "-c", _HOLDER, str(layout.store), str(layout.drop)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        locks = make()
        with locks.sweep_if_free() as mine:
            assert not mine
        holder.kill()
    with locks.names(), locks.sweep():
        pass
