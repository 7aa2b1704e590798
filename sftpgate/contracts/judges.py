"""Asks for verdicts: the starter's end of ``guard_process``.

One process is started with the first question, and answers all that follow; one that has died is started again. What it does
not answer (it died, took too long, wrote nonsense) is JudgeFailed: nobody has said that the file is good. Threads may ask at the
same time. Blocks for as long as a verdict takes. It ends with this process, whatever that dies of.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
import weakref
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

from sftpgate.contracts.objections import Objection

if TYPE_CHECKING:
    from sftpgate.contracts.difference import Counts

_MOST_ANSWER_BYTES = 4 * 1024 * 1024
PATIENCE_SECONDS = 5.0  # beyond the time that a judge has: it ends itself before that
_KEPT_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONPATH")


class NotStarted(Exception):
    """No judge could be started: nothing was said of the file, and it can be asked about again."""


class JudgeFailed(Exception):
    """A judge did not come to its end, or its answer is none. The text says why, as a part of a sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a judge says of a file. ``difference`` is None if it was compared with nothing; ``groups`` are those with the most
    differences. ``converted_from`` and ``converted_sha256``: see ``judge.Verdict``.
    """

    sha256: str
    rows: int
    objections: tuple[Objection, ...]
    difference: Counts | None = None
    groups: Sequence[tuple[str, Counts]] = ()
    converted_from: str = ""
    converted_sha256: str = ""


class Judges:
    """One instance for all that ask in a process, or several: each has a process of its own."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._started: list[_Started] = []  # the one that is asked, if there is one
        self._is_stopped = False
        weakref.finalize(self, _end_all, self._started)

    def ask(self, job: Mapping[str, object], files: Mapping[str, int], *, seconds: float) -> Answer:
        """Return what a judge says. ``job`` and ``files``, descriptors by name, are those of ``guard_process``; they stay open.

        Raises NotStarted, also after ``stop``, and JudgeFailed.
        """
        with ExitStack() as opened:
            answer, its_end = os.pipe()
            opened.callback(os.close, answer)
            with ExitStack() as sent:
                sent.callback(os.close, its_end)
                question = os.memfd_create("job")
                sent.callback(os.close, question)
                _write(question, json.dumps({**job, "files": list(files), "seconds": max(1, round(seconds))}).encode())
                self._send([question, its_end, *files.values()])
            output = _read(answer, seconds + PATIENCE_SECONDS)
        if self._is_stopped:
            raise NotStarted("we are stopping")
        if output is None:
            self._end()
            raise JudgeFailed(f"it took longer than {seconds:.0f} seconds")
        if not output:
            raise JudgeFailed("it ran out of memory or time")
        return _parsed(output)

    def stop(self) -> None:
        """End the judge, whatever it is at, and start none any more. Any thread may call this."""
        self._is_stopped = True
        self._end()

    def _end(self) -> None:
        with self._lock:
            _end_all(self._started)

    def _send(self, fds: Sequence[int]) -> None:
        """Send a job; to a new process if the last one has died."""
        with self._lock:
            for is_last in (False, True):
                if self._is_stopped:
                    raise NotStarted("we are stopping")
                try:
                    if not self._started:
                        self._started.append(_Started())
                    socket.send_fds(self._started[0].link, [b"j"], fds)
                    return
                except ConnectionError as error:
                    _end_all(self._started)
                    if is_last:
                        raise JudgeFailed("it came to no end") from error
                except OSError as error:
                    raise NotStarted(str(error)) from error


class _Started:
    """A running judge. Raises OSError if it cannot be started."""

    def __init__(self) -> None:
        self.link, its_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environment = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "sftpgate.contracts.guard_process", str(its_end.fileno())],
                pass_fds=[its_end.fileno()],
                stdin=subprocess.DEVNULL,
                env=environment,
                cwd="/",
                process_group=0,
            )
        except OSError:
            self.link.close()
            raise
        finally:
            its_end.close()

    def end(self) -> None:
        """Kill it and all its forks."""
        self.link.close()
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def _end_all(started: list[_Started]) -> None:
    while started:
        started.pop().end()


def _write(fd: int, content: bytes) -> None:
    while content:
        content = content[os.write(fd, content) :]


def _read(fd: int, seconds: float) -> bytes | None:
    """Return what comes to its end; None if that takes too long."""
    deadline, pieces, size = time.monotonic() + seconds, list[bytes](), 0
    with selectors.DefaultSelector() as selector:
        selector.register(fd, selectors.EVENT_READ)
        while size <= _MOST_ANSWER_BYTES:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                return None
            piece = os.read(fd, 65536)
            if not piece:
                break
            pieces.append(piece)
            size += len(piece)
    return b"".join(pieces)


def _parsed(output: bytes) -> Answer:
    try:
        answer = json.loads(output[:_MOST_ANSWER_BYTES])
        if "error" in answer:
            raise JudgeFailed("it came to no end") from RuntimeError(answer["error"])
        found = tuple(
            Objection(code=code, line=line, count=count, details=details) for code, line, count, details in answer["objections"]
        )
        difference = answer["difference"]
        return Answer(
            sha256=answer["sha256"],
            rows=int(answer["rows"]),
            objections=found,
            difference=None if difference is None else _counts(*difference),
            converted_from=answer["converted"][0],
            converted_sha256=answer["converted"][1],
            groups=[(name, _counts(*counts)) for name, *counts in answer["groups"]],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise JudgeFailed("its answer is no answer") from error


def _counts(of: int, added: int, changed: int, removed: int) -> Counts:
    from sftpgate.contracts.difference import Counts  # a pass that finds nothing to judge needs no table

    return Counts(of=of, added=added, changed=changed, removed=removed)
