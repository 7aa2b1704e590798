"""The command of a tool: started through a keeper, watched, and ended together with everything that it started.

A keeper (see ``keeper``) is its parent. Its output, and what its error stream says, goes through a pipe into a file, as it comes:
memory stays flat, and what is more than the limit is counted and dropped. When its time is over everything below the keeper gets
SIGTERM, and SIGKILL after a grace. When the runner dies, however that happens, the keeper sees its pipe close, and kills at once.

What the tool's user may not do (reach the file, write the rejected lines) keeps the command from being started: that says nothing
against the file. How a command ended is all that is said here; what that means for the file is decided elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from sftpgate.policy.phrases import Sentence, sentence
from sftpgate.runners.commands import control_groups, processes
from sftpgate.runners.commands.keeper import STOP
from sftpgate.runners.commands.keepers import ANSWER_SECONDS, Keepers, KeeperWords, Message, Pipes, Task, collect
from sftpgate.runners.commands.processes import STAYS_AFTER_SECONDS, become_subreaper, children, wait_for_end
from sftpgate.runners.commands.system_accounts import Obstacle, Unusable

_DRAIN_SECONDS = 2.0  # for output still in the pipe after all ended
_SLACK_SECONDS = 5.0  # beyond what a keeper takes to say that something does not end
_READ_BYTES = 64 * 1024
_END_BYTES = 1024 * 1024  # of an output that is too long: what is kept of its end, in memory until then
_MARK_BYTES = 64  # of the line between its beginning and its end

NOT_FOUND_STATUS, NOT_EXECUTABLE_STATUS = 127, 126  # as shells have it


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to run. ``output`` is the file that gets the output; ``inherited`` are descriptors that the command keeps open."""

    task: Task
    output: Path
    timeout_seconds: float
    inherited: Sequence[int] = ()
    output_limit_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended. ``exit_status`` is minus the signal's number for one that a signal ended.

    ``obstacle``: what kept it from being started, without any fault of the file. ``stays``: what did not end although it was
    killed, or may not be killed by us: the command is still at work, and the file must not be given to anybody. ``is_heard``: the
    end of its output could be kept.
    """

    exit_status: int
    timed_out: bool = False
    stopped: bool = False
    notices: tuple[Sentence, ...] = ()
    obstacle: Obstacle | None = None
    stays: str = ""
    is_heard: bool = True


def obstacle(program: str, directory: Path | None, environment: Mapping[str, str]) -> Obstacle | None:
    """Return what keeps ``program`` from being started in ``directory`` (None: ours) by whoever we are, or None.

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
    """The file that a command's output goes to: written by callbacks of the event loop, no slower than the page cache.

    Of what is too long, or does not fit on the disk, the end is kept: most of all there a command says how it went.
    """

    def __init__(self, file: Path, limit_bytes: int) -> None:
        self.ended = asyncio.Event()
        self._most_at_end = min(_END_BYTES, limit_bytes // 4)
        self._left = limit_bytes - self._most_at_end
        self._end = b""  # what came after that, as far as it is kept
        self.dropped = 0
        self.error = ""  # why the file could not be written
        # Made anew, for us alone: whatever has the name is none of ours.
        file.unlink(missing_ok=True)
        self._file = os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), "wb", 0)
        self.reading, self.writing = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.reading, False)
        asyncio.get_running_loop().add_reader(self.reading, self._read)

    def finish(self) -> bool:
        """Write the end of an output that was too long behind its beginning; returns whether that could be kept.

        If the disk is full, the beginning makes room: the end says how it went, and the ledger needs some room too.
        """
        if not self._end:
            return True
        if self.dropped or len(self._end) > self._most_at_end:
            self._cut_end(self._most_at_end - _MARK_BYTES)
        if self.error:
            self._make_room()
        mark = f"\n[... {self.dropped} bytes ...]\n".encode() if self.dropped else b""
        whole, self._end = mark + self._end, b""
        lost = len(whole) - self._write(whole)
        self.dropped += lost
        return not lost

    def _make_room(self) -> None:
        size = self._file.tell()
        self._file.truncate(size // 2)
        self.dropped += size - self._file.seek(size // 2)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self.reading)
        os.close(self.reading)
        self._file.close()

    def _read(self) -> None:
        try:
            data = os.read(self.reading, _READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            asyncio.get_running_loop().remove_reader(self.reading)
            self.ended.set()
            return
        written = self._write(data[: self._left])
        self._left = self._left - written if not self.error else 0
        self._end += data[written:]
        if len(self._end) > 2 * self._most_at_end:
            self._cut_end(self._most_at_end)

    def _cut_end(self, most: int) -> None:
        """Drop what is more than is kept of the end, whole lines if they are not too long."""
        at = max(len(self._end) - most, 0)
        at = self._end.find(b"\n", at, at + _READ_BYTES) + 1 or at
        self.dropped += at
        self._end = self._end[at:]

    def _write(self, data: bytes) -> int:
        """Write to the file; returns how much of it went there before the disk was full."""
        left = memoryview(data)
        try:
            while left:
                left = left[self._file.write(left) or 0 :]
        except OSError as error:
            self.error = error.strerror or "?"
        return len(data) - len(left)


class _Said:
    """What a keeper says, as it says it."""

    def __init__(self, fd: int) -> None:
        self.words = KeeperWords()
        self.told: dict[str, object] = {}
        self.begun = asyncio.Event()  # or it has ended without that
        self.over = asyncio.Event()  # it has said all
        self.news = asyncio.Event()  # the command has ended, or something stays
        self._fd = fd
        asyncio.get_running_loop().add_reader(fd, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return
        for message in self.words.feed(data):
            self._hear(message)
        if not data:
            self.close()
            for event in (self.begun, self.news, self.over):
                event.set()

    def _hear(self, message: Message) -> None:
        self.told |= message
        if "began" in message:
            self.begun.set()
        if "ended" in message or "stays" in message:
            self.news.set()

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._fd)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Traces:
    """What tells the processes of a run from others, whatever they hide: that they are children of ours beyond ``others``, or in
    the control group of the run, if there is one.
    """

    others: set[int]
    group: Path | None


async def execute(keepers: Keepers, command: Command, stop: asyncio.Event) -> Ended:
    """Run the command to its end, or until its time is over, or until ``stop`` is set. Nothing of it is left afterwards, unless
    ``stays`` says so.

    A command that cannot be started has the status 127 (not found) or 126, and a notice says why.
    """
    become_subreaper()  # the children of a keeper that is killed come to us
    traces = _Traces(others=children(), group=control_groups.make(command.task.run))
    output = _Output(command.output, command.output_limit_bytes)
    pipes = Pipes.open((output.reading, output.writing))
    said = _Said(pipes.said)
    process: subprocess.Popen[bytes] | None = None
    try:
        try:
            process = keepers.start(command.task, pipes, command.inherited, traces.group)
        except OSError as error:
            return _unusable(Obstacle(f"its keeper cannot be started: {error.strerror}", "see the message"))
        except Unusable as problem:
            return _unusable(problem.obstacle)
        ended = await _see_to_the_end(keepers, command, pipes, said, stop, traces)
        if ended.exit_status in (NOT_FOUND_STATUS, NOT_EXECUTABLE_STATUS) and "not_started" in said.told:
            ended = replace(ended, notices=(*ended.notices, _not_started(keepers.program(command.task.tool), said)))
        if not ended.stays:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(output.ended.wait(), _DRAIN_SECONDS)
        return _with_output(ended, output, command.output_limit_bytes)
    finally:
        pipes.let_go()  # if we are here early, everything is killed now
        if process is not None or not said.over.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(said.over.wait(), STAYS_AFTER_SECONDS if not said.told.get("stays") else 0.1)
        for fd in pipes.theirs:
            if fd >= 0:
                os.close(fd)
        said.close()
        pipes.close()
        output.close()
        if process is not None:
            await asyncio.to_thread(collect, process)
        if traces.group is not None:
            await asyncio.to_thread(control_groups.end, traces.group)


def _with_output(ended: Ended, output: _Output, limit_bytes: int) -> Ended:
    """Return ``ended`` with what is to be said of an output that is not complete."""
    is_kept = output.finish()
    notices = list(ended.notices)
    if output.error and output.dropped:
        text = "not all of the output could be written ({error}): {dropped} bytes of it are lost"
        notices.append(sentence(text, error=output.error, dropped=output.dropped))
    elif output.dropped:
        text = "the output was longer than {limit} bytes: {dropped} bytes in its middle were dropped"
        notices.append(sentence(text, limit=limit_bytes, dropped=output.dropped))
    return replace(ended, notices=tuple(notices), is_heard=is_kept)


def _unusable(found: Obstacle) -> Ended:
    return Ended(exit_status=NOT_EXECUTABLE_STATUS, obstacle=found)


async def _see_to_the_end(
    keepers: Keepers, command: Command, pipes: Pipes, said: _Said, stop: asyncio.Event, traces: _Traces
) -> Ended:
    task = command.task
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(said.begun.wait(), ANSWER_SECONDS)
    if "began" not in said.told:
        return await _not_begun(keepers, task, pipes, said, traces)
    await _first(said.news, stop, seconds=command.timeout_seconds or None)
    timed_out, stopped = not said.news.is_set() and not stop.is_set(), not said.news.is_set() and stop.is_set()
    if not said.news.is_set():
        with contextlib.suppress(OSError):  # it has just ended
            os.write(pipes.control, STOP)
        await _first(said.news, seconds=task.grace_seconds + STAYS_AFTER_SECONDS + _SLACK_SECONDS)
    ending = Ended(exit_status=0, timed_out=timed_out, stopped=stopped)
    if "ended" not in said.told and traces.group is not None:  # what its keeper may not end
        await asyncio.to_thread(control_groups.end, traces.group)
        await _first(said.over, seconds=STAYS_AFTER_SECONDS)
    if "ended" in said.told:
        # What stops us may stop the command too, and sooner: systemd sends its SIGTERM to all at once.
        by_signal = int(cast("int", said.told["ended"])) < 0
        return _ended(replace(ending, stopped=stopped or (stop.is_set() and by_signal and not timed_out)), task, said)
    if said.over.is_set():  # the keeper was killed; what it watched may live on
        return await asyncio.to_thread(_without_keeper, keepers, ending, task, said, traces)
    return _still_there(ending, said)


def _still_there(ending: Ended, said: _Said) -> Ended:
    stays = cast("list[str]", said.told.get("stays") or ["its keeper does not answer"])
    return replace(ending, exit_status=NOT_EXECUTABLE_STATUS, stays="; ".join(stays))


async def _not_begun(keepers: Keepers, task: Task, pipes: Pipes, said: _Said, traces: _Traces) -> Ended:
    """Return how a command ended whose keeper never said that it began."""
    if not said.over.is_set() and not {"not_started", "cannot"} & set(said.told):
        pipes.let_go()  # it is slow: what it starts from now on, it ends at once
        await _first(said.over, seconds=STAYS_AFTER_SECONDS + _SLACK_SECONDS)
        if not said.over.is_set():
            return _still_there(Ended(exit_status=0), said)
    if (number := said.told.get("not_started")) is not None:
        return Ended(exit_status=NOT_FOUND_STATUS if number == errno.ENOENT else NOT_EXECUTABLE_STATUS)
    if "cannot" in said.told:
        return _unusable(cannot(keepers, task.tool, said.told))
    if "ended" in said.told:
        return _ended(Ended(exit_status=0), task, said)
    if "starting" in said.told:  # the keeper was killed before it could say more: a command may kill its parent
        return await asyncio.to_thread(_without_keeper, keepers, Ended(exit_status=0), task, said, traces)
    return _unusable(await asyncio.to_thread(keepers.not_begun, task.tool, said.words))


async def _first(*events: asyncio.Event, seconds: float | None) -> None:
    """Wait for the first of the events, no longer than ``seconds``."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


def _ended(ending: Ended, task: Task, said: _Said) -> Ended:
    notices = []
    if said.told.get("left"):
        notices.append(sentence("the command ended, but processes that it had started did not: they were stopped"))
    if said.told.get("killed"):
        text = "not everything ended within {seconds} s of SIGTERM: it was killed"
        notices.append(sentence(text, seconds=f"{task.grace_seconds:g}"))
    return replace(ending, exit_status=int(cast("int", said.told["ended"])), notices=tuple(notices))


def _without_keeper(keepers: Keepers, ending: Ended, task: Task, said: _Said, traces: _Traces) -> Ended:
    """End what is left of a command whose keeper was killed. Blocks."""
    wait_for_end(int(cast("int", said.told["starting"])))
    left = list(children() - traces.others)
    stays = end_remains(keepers, remains_of(task.tool, task.run, task.directory, pids=left))
    for pid in left:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    notice = sentence("the process that watched the command was killed, and the command with it")
    return replace(ending, exit_status=-9, notices=(notice,), stays="; ".join(stays))


def remains_of(tool: str, run: str, directory: str, *, held: str = "", pids: Sequence[int] = ()) -> Task:
    """Return the task to end what is left of a run: by its name, by the lock of its claim, and by processes that are known."""
    return Task(act="end", tool=tool, run=run, directory=directory, held=held, pids=pids)


def end_remains(keepers: Keepers, task: Task) -> list[str]:
    """Kill what is left of a run whose keeper is gone, as far as we may; returns what stays, in words. Blocks.

    If the tool's user is not ours, that is done with that user's rights: if these cannot be had, it is not known what is
    left, and that is what stays.
    """
    try:
        if (group := control_groups.of_run(task.run)) is not None:
            control_groups.end(group)  # and no more than that: if the run could not go into it, it is empty
        if keepers.account(task.tool) is None:
            return processes.end_remains(task.run, os.geteuid(), "", list(task.pids))
        for message in keepers.ask(task):
            if "remains" in message:
                stays = [*cast("list[str]", message["remains"])]
                return stays or processes.end_remains(task.run, os.geteuid(), "", list(task.pids))
    except Unusable as problem:
        return [f"it cannot be found out what is left of it: {problem}"]
    return ["it cannot be found out what is left of it"]


def cannot(keepers: Keepers, tool: str, told: Message) -> Obstacle:
    """Return what a tool's user may not do, in words, with what to do about it."""
    account = keepers.account(tool)
    who = account.name if account else "this user"
    way = str(told.get("way") or "")
    group = f"group {account.gid}" if account else "a group"
    to_do = (
        f"let it pass through {way}: chmod o+x {way}, or add {who} to the directory's group"
        if way
        else f"see its owner, mode and {group}"
    )
    return Obstacle(f"{who} cannot {told['cannot']}", to_do)


def _not_started(program: str, said: _Said) -> Sentence:
    number = int(cast("int", said.told["not_started"]))
    if number == errno.ENOENT:
        return sentence("the command {program} was not found", program=program)
    return sentence("the command {program} cannot be executed: {error}", program=program, error=os.strerror(number))
