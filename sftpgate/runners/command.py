"""The command of a tool: started, watched, and ended together with everything that it started.

The command runs in a session of its own. Its output, and what its error stream says, goes through a pipe into a file, as it
comes: memory stays flat, and what is more than the limit is counted and dropped. When its time is over the whole process group
gets SIGTERM, and SIGKILL after a grace. When the runner dies, however that happens, a guard kills the group: it is a shell that
waits for the other end of a pipe to close. ``PR_SET_PDEATHSIG`` would need code between fork and exec, and does not reach
grandchildren.

A process that made itself a session of its own escapes all this; it still holds the claim's lock as long as it has that open.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_DRAIN_SECONDS = 2.0  # for output still in the pipe after all were killed; somebody who escaped may hold it open for ever
_POLL_SECONDS = 0.02  # the kernel tells nobody when a process group becomes empty
_READ_BYTES = 64 * 1024

NOT_FOUND_STATUS, NOT_EXECUTABLE_STATUS = 127, 126  # as shells have it

_GUARD = 'read -r _ || kill -9 "-$1"'  # dash knows no -- here


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to run. ``output`` is the file that gets the output; ``inherited`` are descriptors that the command keeps open."""

    argv: Sequence[str]
    environment: Mapping[str, str]
    directory: Path | None
    output: Path
    timeout_seconds: float
    inherited: Sequence[int] = ()
    output_limit_bytes: int
    grace_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended. ``exit_status`` is minus the signal's number for one that a signal ended."""

    exit_status: int
    timed_out: bool = False
    stopped: bool = False
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a command cannot be started, and what to do about it."""

    what: str
    to_do: str


def obstacle(program: str, directory: Path | None, environment: Mapping[str, str]) -> Obstacle | None:
    """What keeps ``program`` from being started in ``directory`` (None: ours), or None.

    As execvp(3) finds it: a name without a slash in PATH, any other one from the directory in which the command runs.
    """
    if directory is not None and not directory.is_dir():
        return Obstacle(f"its working directory {directory} does not exist", "make it, or change working_directory")
    if "/" not in program:
        if shutil.which(program, path=environment.get("PATH", os.defpath)) is None:
            return Obstacle(f"the command {program} is not found in PATH", "install it, or write its full path")
        return None
    path = (directory or Path.cwd()) / program
    if not path.is_file():
        return Obstacle(f"the command {path} does not exist", "correct it, or write its full path")
    if not os.access(path, os.X_OK):
        return Obstacle(f"the command {path} cannot be executed", f"chmod +x {path}")
    return None


class _Output:
    """The file that a command's output goes to: written by callbacks of the event loop, no slower than the page cache."""

    def __init__(self, file: Path, limit_bytes: int) -> None:
        self.ended = asyncio.Event()
        self._left = limit_bytes
        self.dropped = 0
        self._file = file.open("wb", buffering=0)
        self._reading, self.writing = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._reading, False)
        asyncio.get_running_loop().add_reader(self._reading, self._read)

    def say(self, text: str) -> None:
        """Add a line of ours."""
        self._file.write(text.encode("utf-8", "backslashreplace") + b"\n")

    def close_writing(self) -> None:
        """Let the command and its children be the only writers, so that their end is the end of the output."""
        if self.writing >= 0:
            os.close(self.writing)
            self.writing = -1

    def close(self) -> None:
        self.close_writing()
        asyncio.get_running_loop().remove_reader(self._reading)
        os.close(self._reading)
        self._file.close()

    def _read(self) -> None:
        try:
            data = os.read(self._reading, _READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            asyncio.get_running_loop().remove_reader(self._reading)
            self.ended.set()
            return
        kept = memoryview(data)[: self._left]
        self.dropped += len(data) - len(kept)
        self._left -= len(kept)
        while kept:
            kept = kept[self._file.write(kept) or 0 :]


async def execute(command: Command, stop: asyncio.Event) -> Ended:
    """Run the command to its end, or until its time is over, or until ``stop`` is set. Nothing of it is left afterwards.

    A command that cannot be started has the status 127 (not found) or 126, and its output says why.
    """
    output = _Output(command.output, command.output_limit_bytes)
    try:
        try:
            process = await _start(command, output)
        except OSError as error:
            return _not_started(command, error, output)
        output.close_writing()
        return await _see_to_the_end(command, process, output, stop)
    finally:
        output.close()


async def _start(command: Command, output: _Output) -> asyncio.subprocess.Process:
    if command.directory is not None and not command.directory.is_dir():
        raise NotADirectoryError(f"working_directory: {command.directory} is no directory")
    return await asyncio.create_subprocess_exec(
        *command.argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=output.writing,
        stderr=output.writing,
        env=dict(command.environment),
        cwd=command.directory,
        start_new_session=True,
        pass_fds=tuple(command.inherited),
    )


def _not_started(command: Command, error: OSError, output: _Output) -> Ended:
    missing = isinstance(error, FileNotFoundError)
    reason = "command not found" if missing else error.strerror or str(error)
    output.say(f"sftpgate: {command.argv[0]}: {reason}")
    return Ended(exit_status=NOT_FOUND_STATUS if missing else NOT_EXECUTABLE_STATUS)


async def _see_to_the_end(command: Command, process: asyncio.subprocess.Process, output: _Output, stop: asyncio.Event) -> Ended:
    notices: list[str] = []
    async with asyncio.TaskGroup() as tasks:
        guard = tasks.create_task(_guard(process.pid, ended := asyncio.Event()))
        exited = tasks.create_task(process.wait())
        stopping = tasks.create_task(stop.wait())
        try:
            await asyncio.wait({exited, stopping}, timeout=command.timeout_seconds or None, return_when=asyncio.FIRST_COMPLETED)
            timed_out, stopped = not exited.done() and not stopping.done(), not exited.done() and stopping.done()
            if exited.done() and _is_alive(process.pid):
                notices.append("the command ended, but processes that it had started did not: they were stopped")
            if await _end_group(process.pid, command.grace_seconds):
                notices.append(f"not everything ended within {command.grace_seconds:g} s of SIGTERM: it was killed")
        finally:
            _signal_group(process.pid, signal.SIGKILL)
            stopping.cancel()
            ended.set()
        status = await exited
        await guard
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(output.ended.wait(), _DRAIN_SECONDS)
    if output.dropped:
        limit = command.output_limit_bytes
        notices.append(f"the output was longer than {limit} bytes: {output.dropped} bytes more were dropped")
    return Ended(exit_status=status, timed_out=timed_out, stopped=stopped, notices=tuple(notices))


async def _end_group(group: int, grace_seconds: float) -> bool:
    """Stop what is left of a process group; returns whether it had to be killed."""
    if not (_is_alive(group) and _signal_group(group, signal.SIGTERM)):
        return False
    deadline = asyncio.get_running_loop().time() + grace_seconds
    while _is_alive(group):
        if asyncio.get_running_loop().time() >= deadline:
            return _signal_group(group, signal.SIGKILL)
        await asyncio.sleep(_POLL_SECONDS)
    return False


def _signal_group(group: int, number: int) -> bool:
    """Send a signal to a process group (0: only look); returns whether there is one that we may signal."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _is_alive(group: int) -> bool:
    """Whether a process of the group runs. Zombies do not: in a container nobody may collect them, and they take no signal."""
    if not _signal_group(group, 0):
        return False
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError):
            # proc(5): pid (name) state ppid pgrp …; the name may have spaces and parentheses
            state, _, pgrp = status.read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[:3]
            if int(pgrp) == group and state not in ("Z", "X"):
                return True
    return False


async def _guard(group: int, ended: asyncio.Event) -> None:
    """Have the group killed when this process dies before ``ended``."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    try:
        guard = await asyncio.create_subprocess_exec(
            "/bin/sh",
            "-c",
            _GUARD,
            "sh",
            str(group),
            stdin=reading,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # a signal that a terminal sends to our group is not meant for it
        )
        os.close(reading)
        reading = -1
        await ended.wait()
        with contextlib.suppress(BrokenPipeError):
            os.write(writing, b"\n")
        await guard.wait()
    finally:
        os.close(writing)
        if reading >= 0:
            os.close(reading)
