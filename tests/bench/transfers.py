"""Workloads of transfers: what OpenSSH's own ``sftp`` does with a server. Each returns seconds, so that less is better."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.bench.contenders import Openssh, Server, free_port
from tests.bench.scratch import SESSIONS, Scratch
from tests.bench.series import timed

ROUND_TRIP_SECONDS = 0.05
RELAY = Path(__file__).with_name("relay.py")


def connect(server: Server, scratch: Scratch, *, options: Sequence[str] = ()) -> float:
    """Connect, log in, put 4 KiB, quit; ``options`` of the client."""
    return timed(lambda: server.do(f"put {scratch.one} {server.target}/{scratch.fresh()}.csv", *options))


def put(server: Server, scratch: Scratch, *, local: Path) -> float:
    """Connect, log in, put one file, quit."""
    with _names(server, scratch) as [name]:
        return timed(lambda: server.do(f"put {local} {name}"))


def connect_together(server: Server, scratch: Scratch) -> float:
    """The same, eight at a time."""
    return _together(server, [f"put {scratch.one} {server.target}/{scratch.fresh()}.csv" for _ in range(8)])


def upload(server: Server, scratch: Scratch) -> float:
    """One large file, less the time to connect."""
    with _names(server, scratch) as [name]:
        return _less_connecting(server, lambda: server.do(f"put {scratch.big} {name}"))


def upload_together(server: Server, scratch: Scratch) -> float:
    """The same bytes in four sessions."""
    with _names(server, scratch, SESSIONS) as names:
        return _less_connecting(server, lambda: _together(server, [f"put {scratch.quarter} {name}" for name in names]))


def upload_cpu(server: Server, scratch: Scratch) -> float:
    """Processor time of the server for one large file."""
    with _names(server, scratch) as [name]:
        before = server.cpu_seconds()
        server.do(f"put {scratch.big} {name}")
        if isinstance(server, Openssh):  # the processes of its session count when they have ended
            _, *sessions = server.processes()
            psutil.wait_procs(sessions, timeout=10)
        return server.cpu_seconds() - before


def download(server: Server, remote: str) -> float:
    """One large file, less the time to connect."""
    return _less_connecting(server, lambda: server.do(f"get {remote} /dev/null"))


def small_files(server: Server, scratch: Scratch, *, options: str = "") -> float:
    """``put -r`` of a directory of small files; ``options`` of put, such as ``-f``."""
    return timed(lambda: server.do(_tree(server, scratch.small, scratch.fresh(), options)))


def small_files_together(server: Server, scratch: Scratch) -> float:
    """As many in four sessions."""
    return _together(server, [_tree(server, part, scratch.fresh()) for part in scratch.small_parts])


def claimable(server: Server, scratch: Scratch) -> float:
    """``put -r`` of small files in one session, until all can be claimed: hashed, flushed and recorded."""

    def work() -> None:
        small_files(server, scratch)
        server.claimable(_count(scratch.small))

    return timed(work)


def claimable_together(server: Server, scratch: Scratch) -> float:
    """As many in four sessions."""

    def work() -> None:
        small_files_together(server, scratch)
        server.claimable(sum(map(_count, scratch.small_parts)))

    return timed(work)


def far_away(server: Server, scratch: Scratch) -> float:
    """16 MiB over a line with a round trip of 50 ms, less the time to connect."""
    near = server.port
    with _names(server, scratch) as [name], _relay(near) as port:
        server.port = port
        try:
            return _less_connecting(server, lambda: server.do(f"put {scratch.middle} {name}"))
        finally:
            server.port = near


# -- pieces ----------------------------------------------------------------------------------------------------------


@contextmanager
def _names(server: Server, scratch: Scratch, count: int = 1) -> Iterator[list[str]]:
    """Paths for files, which are removed afterwards: 256 MiB a round would fill the disk."""
    names = [f"{server.target}/{scratch.fresh()}.bin" for _ in range(count)]
    yield names
    server.do("".join(f"rm {name}\n" for name in names))


def _tree(server: Server, local: Path, name: str, options: str = "") -> str:
    """Into a directory that is there: ``put -r`` cannot make it where a server resolves only paths that exist (ProFTPD)."""
    target = f"{server.target}/{name}"
    return f"mkdir {target}\nmkdir {target}/{local.name}\nput {options} -r {local} {target}"


def _count(directory: Path) -> int:
    return sum(1 for _ in directory.iterdir())


def _together(server: Server, batches: Sequence[str]) -> float:
    def work() -> None:
        processes = [
            subprocess.Popen(server.sftp(), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) for _ in batches
        ]
        for process, batch in zip(processes, batches, strict=True):
            assert process.stdin is not None
            process.stdin.write(batch)
            process.stdin.close()
        statuses = [process.wait() for process in processes]
        if any(statuses):
            raise RuntimeError(f"{server.name}: a client failed")

    return timed(work)


def _less_connecting(server: Server, work: Callable[[], object]) -> float:
    connecting = min(timed(lambda: server.do("pwd")) for _ in range(2))
    return max(timed(work) - connecting, 0.001)


@contextmanager
def _relay(port: int) -> Iterator[int]:
    """A relay process that delays each byte by half of the round trip in each direction."""
    ours = free_port()
    words = [sys.executable, str(RELAY), str(ours), str(port), str(ROUND_TRIP_SECONDS / 2)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield ours
        finally:
            process.kill()
