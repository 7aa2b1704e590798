"""The lock of one file, for the threads of this process: in order of coming, and never longer than a bound.

An ``flock`` has no time limit of its own, and its holder may be a process that was stopped. So one thread that does
nothing else waits in the kernel for all of them; whoever has waited for ``WAIT_SECONDS`` gives up with StoreBusy and has
changed nothing. While the lock stays away, those who come later are told after ``STUCK_WAIT_SECONDS``: a line of a hundred
must not wait a hundred times.

Within a process the lock goes from thread to thread in the order in which they came; a thread that takes it again and again
lets the others in. Between processes the kernel decides. A crash leaves nothing: the lock dies with its holder. Blocks.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Lock, Thread

from sftpgate.errors import SftpgateError, StoreBusy
from sftpgate.logs import get_logger
from sftpgate.store.kernel.open_files import try_lock

log = get_logger("store")

# Above what any change takes (they are made in slices), and half of the minute in which a client's CLOSE is to be answered: a
# CLOSE may wait for the batch before its own.
WAIT_SECONDS = 30.0
STUCK_WAIT_SECONDS = 1.0
SAID_AFTER_SECONDS = 5.0  # a line of the log names the holder

Open = Callable[[], int]


class FileLock:
    """One for each file and process. ``open_file`` gives a new descriptor of the file; ``wait_seconds`` is the bound."""

    def __init__(
        self, open_file: Open, *, wait_seconds: float = WAIT_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._open = open_file
        self._wait_seconds = wait_seconds
        self._clock = clock
        self._mutex = Lock()
        self._taken = False  # by a thread of ours: it has the lock, or is the one that waits for another process
        self._line: deque[Lock] = deque()
        self._watch: _Watch | None = None
        self._since: float | None = None  # when somebody began to wait, and nobody got it since
        self._said = False

    @property
    def waiting_seconds(self) -> float:
        """Return for how long somebody has tried to get the lock, or did, and nobody could; 0 if nobody waits."""
        since = self._since
        return 0.0 if since is None else self._clock() - since

    @contextlib.contextmanager
    def held(self) -> Iterator[int]:
        """Hold the lock for the block; yields a descriptor of the file. Raises StoreBusy when the bound is reached."""
        self._take_turn()
        try:
            fd = self._get()
        except BaseException:
            self._pass_turn()
            raise
        try:
            yield fd
        finally:
            os.close(fd)
            self._pass_turn()

    # -- among our threads -------------------------------------------------------------------------------------------

    def _take_turn(self) -> None:
        with self._mutex:
            if not self._taken:
                self._taken = True
                return
            self._begin_waiting()
            left = self._seconds_left()
            ours = Lock()
            ours.acquire()
            self._line.append(ours)
        if ours.acquire(timeout=left):
            return
        with self._mutex:
            if ours not in self._line:
                return  # it was given to us at this very moment
            self._line.remove(ours)
        raise StoreBusy(self._wait_seconds)

    def _pass_turn(self) -> None:
        with self._mutex:
            if self._line:
                self._line.popleft().release()
            else:
                self._taken = False
                if self._watch is None:
                    self._since = None

    def _begin_waiting(self) -> None:
        if self._since is None:
            self._since, self._said = self._clock(), False

    def _seconds_left(self) -> float:
        return max(STUCK_WAIT_SECONDS, self._wait_seconds - self.waiting_seconds)

    # -- among processes ---------------------------------------------------------------------------------------------

    def _get(self) -> int:
        """Return the lock, by the thread whose turn it is."""
        while True:
            watch = self._watch
            if watch is None:
                fd = self._open()
                try:
                    got = try_lock(fd)
                except BaseException:
                    os.close(fd)
                    raise
                if got:
                    self._got()
                    return fd
                with self._mutex:
                    self._begin_waiting()
                watch = self._watch = _Watch(fd, self._watch_ended)
            try:
                self._wait_for(watch)
            except _Over:
                continue  # the lock came when nobody waited for it, and was given back
            finally:
                if watch.is_done:
                    self._watch = None
            self._got()
            return watch.fd

    def _wait_for(self, watch: _Watch) -> None:
        left = self._seconds_left()
        first = min(left, SAID_AFTER_SECONDS)
        came = watch.wait(first)
        if not came:
            self._say_holder(watch)
            came = watch.wait(left - first)
        if not came:
            raise StoreBusy(self._wait_seconds, watch.holder)

    def _got(self) -> None:
        with self._mutex:
            if self._since is not None:
                self._since = self._clock() if self._line else None
            self._said = False

    def _watch_ended(self, watch: _Watch) -> None:
        """Give back a lock that came when nobody waited for it any more."""
        with self._mutex:
            if self._watch is watch:
                self._watch = None
                if not self._taken:
                    self._since = None

    def _say_holder(self, watch: _Watch) -> None:
        if not self._said:
            self._said, watch.holder = True, holder_of(watch.fd)
            log.error("store_lock.busy", reason=f"{watch.holder} has the store's lock", seconds=round(self.waiting_seconds, 1))


class _Over(Exception):  # an end, and no error
    """A watch has given the lock back already."""


class _Watch:
    """A thread that waits in the kernel for the lock of one descriptor. Who waits for it may give up and another one come; when
    the lock comes and nobody waits, it is given back at once.
    """

    def __init__(self, fd: int, ended: Callable[[_Watch], None]) -> None:
        self.fd = fd
        self.holder = ""  # who had the lock when somebody looked
        self.is_done = False  # it has given the lock away, or could not get it
        self._ended = ended
        self._mutex = Lock()
        self._came = Lock()  # held until the lock has come, or cannot
        self._came.acquire()
        self._awaited = True
        self._error: SftpgateError | None = None
        Thread(target=self._run, name="store-lock", daemon=True).start()

    def _run(self) -> None:
        try:
            try_lock(self.fd, wait=True)
        except SftpgateError as error:
            self._error = error
        with self._mutex:
            self.is_done = True
            if self._awaited:
                self._came.release()
                return
        self._ended(self)
        os.close(self.fd)

    def wait(self, seconds: float) -> bool:
        """Return whether the lock came within so many seconds: it is ``fd``'s then. Raises _Over, or what the kernel says of
        it.
        """
        with self._mutex:
            if self.is_done and not self._awaited:
                raise _Over
            self._awaited = True
        if not self._came.acquire(timeout=max(0.0, seconds)):
            with self._mutex:
                self._awaited = False
                if not self.is_done:
                    return False
                self._came.acquire()
        if self._error is not None:
            os.close(self.fd)
            raise self._error
        return True


def holder_of(fd: int) -> str:
    """Return which process of this machine has the ``flock`` of an open file, in words; for the local admin."""
    pid = _holder(os.fstat(fd))
    if pid is None:
        return "a process that cannot be seen from here"
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
    except OSError:
        command = ""
    return f"process {pid} ({command[:100]})" if command else f"process {pid}"


def _holder(status: os.stat_result) -> int | None:
    """Read proc_locks(5): ``1: FLOCK  ADVISORY  WRITE 27152 fe:00:2147337 0 EOF``; who waits has an arrow in the second place."""
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
    try:
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return None
    fields = [line.split() for line in lines]
    found = [(f[5], int(f[4])) for f in fields if len(f) > 5 and f[1] == "FLOCK" and f[5].endswith(f":{status.st_ino}")]
    here = [pid for where, pid in found if where.startswith(device)]
    same = here or [pid for _, pid in found]  # some filesystems have a device that stat(2) does not tell
    return same[0] if same and same[0] > 0 else None
