"""Commands of sftpgate, run to their end: the one place where tests start them and wait.

They run in children of a process that has sftpgate imported already (tests/harness/forked_commands.py), which is five times as
quick. Each runs in a new interpreter where pytest was called with ``--new-interpreters``, as `.ci/run` does once, or if its
environment says something to the interpreter. What a test needs while it runs (a server, a command that is killed) it
starts itself, by the words of ``sftpgate()``.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_SECONDS = 50.0
# An interpreter reads these when it starts.
_OF_THE_INTERPRETER = ("PYTHON", "LC_", "LANG", "_SFTPGATE", "LD_")

Word = TypeVar("Word", bound=str | bytes)


class Interpreters:
    """Whether each command gets a new interpreter: ``--new-interpreters``."""

    always_new = False


def sftpgate(*words: Word) -> list[str | Word]:
    """Return the command line of a command."""
    return [sys.executable, "-m", "sftpgate", *words]


def clean_environment(**settings: object) -> dict[str, str]:
    """Return this process's environment without any settings of sftpgate, and with these: ``DATA_DIR`` and so on."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SFTPGATE_", "_SFTPGATE"))}
    return inherited | {f"SFTPGATE_{name}": str(value) for name, value in settings.items()}


def run(
    *words: str | bytes,
    env: Mapping[str, str],
    cwd: Path,
    text: bytes = b"",
    timeout: float = TIMEOUT_SECONDS,
    python: str = sys.executable,
) -> subprocess.CompletedProcess[bytes]:
    """Run a command with ``text`` as its input. Raises subprocess.TimeoutExpired, and the command is killed.

    Another ``python`` than ours is a new interpreter: tools that run as somebody else need one that they may execute.
    """
    if Interpreters.always_new or python != sys.executable or _interpreter(env) != _interpreter(os.environ):
        started = [python, "-m", "sftpgate", *words]
        return subprocess.run(started, input=text, capture_output=True, cwd=cwd, env=env, timeout=timeout, check=False)
    return _forks().run([os.fsdecode(word) for word in words], env, cwd, text, timeout)


def _interpreter(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name.startswith(_OF_THE_INTERPRETER)}


class _Forks:
    """The process that forks, started by whoever needs it first."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.harness.forked_commands", str(theirs.fileno())],
            cwd=ROOT,
            pass_fds=[theirs.fileno()],
            env=clean_environment(),
            # pipes, as commands have: what Python finds out about its streams when it starts holds for the children
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        theirs.close()
        atexit.register(self.close)

    def close(self) -> None:
        """End it."""
        if os.getpid() == self.owner:
            self._socket.close()
            self._process.communicate()

    def run(
        self, words: list[str], env: Mapping[str, str], cwd: Path, text: bytes, timeout: float
    ) -> subprocess.CompletedProcess[bytes]:
        ends = [os.pipe() for _ in range(4)]
        (stdin, feed), (out, stdout), (err, stderr), (told, tell) = ends
        message = json.dumps({"words": words, "env": dict(env), "cwd": str(cwd)}).encode()
        try:
            with self._lock:
                socket.send_fds(self._socket, [message], [stdin, stdout, stderr, tell])
        finally:
            for descriptor in (stdin, stdout, stderr, tell):
                os.close(descriptor)
        deadline = time.monotonic() + timeout
        with os.fdopen(told, "rb") as report, os.fdopen(out, "rb") as output, os.fdopen(err, "rb") as errors:
            pid = int(report.readline())
            collected = [bytearray(), bytearray()]
            try:
                _communicate(feed, text, {output.fileno(): collected[0], errors.fileno(): collected[1]}, deadline)
                if not select.select([report], [], [], max(deadline - time.monotonic(), 0))[0]:
                    raise TimeoutError
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(words, timeout, bytes(collected[0]), bytes(collected[1])) from None
            status = int(report.readline())
        return subprocess.CompletedProcess(words, status, bytes(collected[0]), bytes(collected[1]))


def _communicate(feed: int, text: bytes, collected: dict[int, bytearray], deadline: float) -> None:
    """Write ``text``, and read all streams to their ends. Raises TimeoutError."""
    os.set_blocking(feed, False)
    writing = [feed]
    reading = list(collected)
    rest = memoryview(text)
    try:
        while reading or (writing and rest):
            if writing and not rest:
                os.close(writing.pop())
            ready, free, _ = select.select(reading, writing, [], max(deadline - time.monotonic(), 0))
            if not ready and not free:
                raise TimeoutError
            for descriptor in free:
                try:
                    rest = rest[os.write(descriptor, rest[:65536]) :]
                except BrokenPipeError:
                    rest = rest[:0]
            for descriptor in ready:
                if piece := os.read(descriptor, 65536):
                    collected[descriptor] += piece
                else:
                    reading.remove(descriptor)
    finally:
        for descriptor in writing:
            os.close(descriptor)


_made: list[_Forks] = []
_making = threading.Lock()


def _forks() -> _Forks:
    with _making:
        if not _made or _made[-1].owner != os.getpid():
            _made.append(_Forks())
        return _made[-1]
