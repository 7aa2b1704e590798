"""A gate as ``gates.running`` has it, in a process that the kernel keeps to its directories, as it keeps a worker.

What the kernel took from a process it cannot get back, so each gate has its own, forked from a server that is there for
nothing else and has one thread. Its log comes over a pipe, each line before anything that the server does afterwards.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

import structlog
import uvloop
from structlog.typing import EventDict, WrappedLogger

from sftpgate.app.serving.sandbox_paths import Bounds
from sftpgate.gateway.workers.sandbox import hide_memory
from sftpgate.settings.choices import Sandbox
from sftpgate.settings.tree import Settings
from tests.harness.gates import Gate, Log, prepared, serve
from tests.harness.raw import WAIT_SECONDS

_READY = "the gate is ready"
_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["tests.harness.apart"])


class Relay:
    """Sends every line of the log to the test."""

    def __init__(self, to: Connection) -> None:
        self._to = to
        self._lock = threading.Lock()

    def __call__(self, logger: WrappedLogger, method_name: str, event_dict: EventDict) -> NoReturn:
        """Send a line; it goes no further."""
        line = dict(event_dict) | {"log_level": method_name}
        if "exc_info" in line:
            line["exc_info"] = repr(line["exc_info"])
        with self._lock:
            self._to.send(line)
        raise structlog.DropEvent


def work(settings: Settings, to: Connection) -> None:
    """The other process: serve, confined, until SIGTERM."""
    structlog.configure(processors=[Relay(to)])
    hide_memory()
    bounds = Bounds(settings)
    uvloop.run(serve(settings, lambda port: to.send({"event": _READY, "port": port}), bounds.set))


class RelayedLog(Log):
    """The log of the other process."""

    def __init__(self, source: Connection) -> None:
        super().__init__()
        self._source = source
        self._at_end = False

    def catch_up(self) -> None:
        """Take what has come."""
        while not self._at_end and self._source.poll():
            try:
                self.entries.append(self._source.recv())
            except EOFError:
                self._at_end = True
            self.news.set()


@asynccontextmanager
async def running_confined(directory: Path, keys: Path, **settings: Any) -> AsyncIterator[Gate]:
    """``gates.running``, confined."""
    made = prepared(directory, keys, {"sandbox": Sandbox.REQUIRED} | settings)
    source, sink = _forks.Pipe(duplex=False)
    process = _forks.Process(target=work, args=(made, sink), daemon=True)
    await asyncio.to_thread(process.start)
    sink.close()
    log = RelayedLog(source)
    loop = asyncio.get_running_loop()
    loop.add_reader(source.fileno(), log.catch_up)
    stop = partial(os.kill, process.pid or 0, signal.SIGTERM)
    gate = Gate(directory, 0, log, stop)
    try:
        await gate.until(_READY)
        [ready] = log.events(_READY)
        gate.port = int(ready["port"])
        yield gate
        stop()
        await asyncio.to_thread(process.join, WAIT_SECONDS)
    finally:
        loop.remove_reader(source.fileno())
        log.catch_up()
        if process.exitcode is None:
            process.kill()
        process.join()
        source.close()
    assert process.exitcode == 0, log.entries
    assert not log.unforeseen, log.unforeseen[0]
    assert len(log.events("sandbox.in_force")) == 1
