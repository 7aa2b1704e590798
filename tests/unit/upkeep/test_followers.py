"""Followers of the record are run until they are to stop, each by itself."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Thread

import pytest

from sftpgate.errors import LedgerError
from sftpgate.upkeep.followers import FeedFollower, run_followers

WAIT_SECONDS = 20.0


def running(stopping: Event, *followers: FeedFollower) -> Thread:
    """A thread that runs followers."""
    thread = Thread(target=run_followers, args=(followers, stopping))
    thread.start()
    return thread


def follower(name: str, step: Callable[[], bool]) -> FeedFollower:
    """One that waits for ever between two steps that found nothing more."""
    return FeedFollower(name=name, step=step, pause_seconds=1000.0)


def test_a_follower_works_until_nothing_is_left() -> None:
    """A step that has more to do is followed by the next at once; the others wait, and a stop does not wait for them."""
    left, stopping, idle = [3, 2, 1, 0], Event(), Event()

    def step() -> bool:
        if left.pop(0):
            return True
        idle.set()
        return False

    thread = running(stopping, follower("receipts", step))
    assert idle.wait(WAIT_SECONDS)
    stopping.set()
    thread.join(WAIT_SECONDS)
    assert not thread.is_alive()
    assert left == []


@pytest.mark.parametrize("error", [LedgerError("the disk is full"), ZeroDivisionError()])
def test_one_that_fails_tries_again_and_keeps_no_other_back(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever a follower raises, it is called again after a pause, it is said once, and the others go on."""
    stopping, recovered, other = Event(), Event(), Event()
    failures = [error, error]

    def fails() -> bool:
        if failures:
            raise failures.pop()
        recovered.set()
        return False

    def works() -> bool:
        other.set()
        return False

    broken = FeedFollower(name="broken", step=fails, pause_seconds=0.01)
    thread = running(stopping, broken, follower("other", works))
    assert other.wait(WAIT_SECONDS)
    assert recovered.wait(WAIT_SECONDS)
    stopping.set()
    thread.join(WAIT_SECONDS)
    assert capsys.readouterr().out.count("] follower.failed") == 1
