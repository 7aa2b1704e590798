"""A process that has imported sftpgate, and forks a child for each command that it is sent.

``python -m tests.harness.forked_commands FD``; tests/harness/commands.py starts it.

A command takes a fifth of a second of processor time for its imports alone, and the tests start a thousand of them. A child is a
process like any other: it has its own arguments, environment, directory and streams, runs the entry of the program, and ends as
an interpreter does. What an interpreter reads before that (its options, ``PYTHON…``, the locale) is that of this process:
tests/harness/commands.py starts a new interpreter if a command needs others.

The protocol, on a socket that keeps messages whole: one message is a command as JSON (``words``, ``env``, ``cwd``), with four
descriptors: standard input, output, error, and a pipe. On the pipe come the child's number and, after its end, its status,
one line each.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import selectors
import signal
import socket
import sys
import threading
import time
import traceback
from contextlib import suppress
from typing import NoReturn

from typer.main import get_command

import sftpgate
import sftpgate.__main__ as program
from sftpgate.cli import main as command_line

MESSAGE_BYTES = 1 << 20
# What commands import of others when they need it.
OTHERS = (
    "argon2",
    "asyncio",
    "importlib.metadata",
    "psycopg",
    "rich.console",
    "rich.progress",
    "rich.table",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite",
    "tomlkit",
    "uvloop",
)


def load() -> None:
    """Import all that a command may need, build the tree of commands, and keep the collector away from both.

    Typer makes the tree of the functions' annotations, and nothing of it depends on a command's words or environment. It takes
    two thirds of a small command's processor time.
    """
    for module in pkgutil.walk_packages(sftpgate.__path__, "sftpgate."):
        if not module.name.startswith(("sftpgate.adapters", "sftpgate.__main__")):
            importlib.import_module(module.name)
    for name in OTHERS:
        with suppress(ImportError):
            importlib.import_module(name)
    tree = get_command(command_line.app)
    list(getattr(tree, "commands", {}).values())  # each is made when it is asked for
    vars(command_line)[get_command.__name__] = lambda _: tree
    gc.freeze()


class Forks:
    """The children, and whom to tell of their ends."""

    def __init__(self, commands: socket.socket) -> None:
        self._commands = commands
        self._pipes: dict[int, int] = {}
        self._wake, self._woken = socket.socketpair()
        self._wake.setblocking(False)
        self._woken.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake.fileno())

    def serve(self) -> bool:
        """Fork for each command. Returns True in a child, which is to run its command, and False at the end."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._commands, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is self._woken:
                        with suppress(BlockingIOError):
                            self._woken.recv(4096)
                        self._reap()
                        continue
                    message, descriptors, _, _ = socket.recv_fds(self._commands, MESSAGE_BYTES, 4)
                    if not message:
                        return False
                    if self._fork(message, descriptors):
                        return True

    def _fork(self, message: bytes, descriptors: list[int]) -> bool:
        *streams, pipe = descriptors
        if pid := os.fork():
            self._pipes[pid] = pipe
            os.write(pipe, b"%d\n" % pid)
            for descriptor in streams:
                os.close(descriptor)
            return False
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for descriptor in (pipe, *self._pipes.values()):
            os.close(descriptor)
        for end in (self._commands, self._wake, self._woken):
            end.close()
        for number, descriptor in enumerate(streams):
            os.dup2(descriptor, number)
            os.close(descriptor)
        _become(json.loads(message))
        return True

    def _reap(self) -> None:
        while self._pipes:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            pipe = self._pipes.pop(pid)
            with suppress(BrokenPipeError):
                os.write(pipe, b"%d\n" % os.waitstatus_to_exitcode(status))
            os.close(pipe)


def _become(command: dict[str, object]) -> None:
    """Take a command's arguments, environment and directory."""
    words, env, cwd = command["words"], command["env"], command["cwd"]
    assert isinstance(words, list) and isinstance(env, dict) and isinstance(cwd, str)
    sys.argv = [str(program.__file__), *words]
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    os.chdir(cwd)


def _run() -> NoReturn:
    """Run the command, and end as an interpreter does, but for the end of each module, which takes as long as most commands."""
    status = 0
    try:
        program.main()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - what an interpreter does with what nobody catches
        traceback.print_exc()
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, as the interpreter does
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(ValueError, BrokenPipeError):
            stream.flush()
    os._exit(status)


if __name__ == "__main__":
    load()
    if Forks(socket.socket(fileno=int(sys.argv[1]))).serve():
        _run()
