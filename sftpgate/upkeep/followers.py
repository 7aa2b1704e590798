"""Followers of the record: what one is, and how they are run, each in a thread of its own, until somebody says stop.

A follower does something about what has happened (``ledger/audit/feed.py``), or about time that has passed. It keeps its own
position and moves on in the transaction in which it records what it did, so it can be stopped or killed at any moment and goes
on where it was. One that fails keeps no other back: it tries again, after a pause that grows. Everything blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Event, Thread

from sftpgate.errors import SftpgateError
from sftpgate.logs import get_logger

log = get_logger("followers")

LONGEST_PAUSE_SECONDS = 30.0  # between two attempts of one that fails


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedFollower:
    """One of them. ``name`` is the one under which it joins the feed.

    ``step`` does what is due, at most about a second's work, and returns whether there is more to do at once; otherwise it is
    called again after ``pause_seconds``. It raises what keeps it from its work.
    """

    name: str
    step: Callable[[], bool]
    pause_seconds: float


def run_followers(followers: Sequence[FeedFollower], stopping: Event) -> None:
    """Run followers until ``stopping`` is set; each has ended its last step then."""
    threads = [Thread(target=_run, args=(each, stopping), name=each.name, daemon=True) for each in followers]
    for thread in threads:
        thread.start()
    stopping.wait()
    for thread in threads:
        thread.join()


def _run(follower: FeedFollower, stopping: Event) -> None:
    failing_seconds, said = 0.0, ""
    while not stopping.is_set():
        pause = follower.pause_seconds
        try:
            if follower.step():
                pause = 0.0
        except SftpgateError as error:
            if error.message != said:
                log.warning("follower.failed", follower=follower.name, reason=error.message)
            said = error.message
        except Exception as error:  # a fault of ours, which must keep no other follower from its work
            if repr(error) != said:
                log.error("follower.failed", follower=follower.name, exc_info=error)
            said = repr(error)
        else:
            if said:
                log.info("follower.goes_on", follower=follower.name)
            failing_seconds, said = 0.0, ""
        if said:  # once for each reason, however often it fails
            pause = failing_seconds = min(max(2 * failing_seconds, follower.pause_seconds), LONGEST_PAUSE_SECONDS)
        stopping.wait(pause)
