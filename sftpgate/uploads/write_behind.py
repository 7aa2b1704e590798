"""Letting the disk begin with an upload while it runs, so that its CLOSE has the last few MiB to wait for and not all of them.

It promises nothing: what is durable is what was flushed before the record (``publisher``). A crash leaves nothing of it.
"""

from __future__ import annotations

from threading import Lock

from sftpgate.store.disk import Disk

STEP_BYTES = 4 * 1024 * 1024  # large enough that a change of thread costs little, small enough to leave little for CLOSE


class WriteBehind:
    """How far the disk has begun. ``written`` is called on the event loop, ``advance`` in a thread."""

    __slots__ = ("_begun", "_end", "_ended", "_lock")

    def __init__(self) -> None:
        self._begun = 0
        self._end = 0
        self._ended = False
        self._lock = Lock()

    def written(self, end: int) -> None:
        """Note that there are bytes up to ``end``."""
        self._end = max(self._end, end)

    @property
    def is_behind(self) -> bool:
        """True if ``advance`` has a step to do."""
        return self._end - self._begun >= STEP_BYTES and not self._ended

    def advance(self, disk: Disk, fd: int) -> None:
        """Let the disk begin with what it has not begun with; nothing after the end."""
        with self._lock:
            if not self._ended:
                start, self._begun = self._begun, self._end
                disk.begin_flush(fd, start, self._begun - start)

    def end(self) -> None:
        """Wait for the thread: when this returns, none uses the file any more, and it can be closed."""
        with self._lock:
            self._ended = True
