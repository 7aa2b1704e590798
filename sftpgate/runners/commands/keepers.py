"""How a keeper is started, and becomes somebody who may start and end a tool's command (see ``keeper``).

Four ways, by who we are and what the machine lets us do:

    OURSELVES   the tool runs as we do, and its keeper too
    LAUNCHER    root's half of us (``launcher``) starts the keeper, which stays root; the command becomes the tool's user
    SWITCH      we have CAP_SETUID and CAP_SETGID from our unit, so the keeper has them too; the command has them no more
    SUDO        sudo starts the keeper as the tool's user

The order is the same for all of them, so the command gets the same environment, whatever sudo does with its own. Starting blocks
for a fork; ``ask`` blocks until the keeper has answered.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Protocol

from sftpgate.runners.commands import control_groups, keeper, processes
from sftpgate.runners.commands.system_accounts import Obstacle, SystemAccount, Unusable, account_of, untrusted
from sftpgate.settings.tools import ToolSettings

FILE = "{file}"
LOCK_NAME = ".lock"  # in a run's directory
ANSWER_SECONDS = 30.0  # for sudo to look into its directories, and for a keeper to begin
_PREFIX = "SFTPGATE_"
_PIPE_BYTES = 1024 * 1024  # what an unprivileged process may have (pipe(7)); an environment fits in it
_READ_BYTES = 64 * 1024
_CAPABILITIES = ("CapEff", "CapAmb")
_SETGID_AND_SETUID = 1 << 6 | 1 << 7  # linux/capability.h

Message = Mapping[str, object]


class AccountSwitch(StrEnum):
    """How a keeper becomes who it has to be."""

    OURSELVES = "as the user that sftpgate runs as"
    LAUNCHER = "by root"
    SWITCH = "by CAP_SETUID"
    SUDO = "by sudo"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a keeper is to do for a tool: ``run`` the command, ``look`` whether it could, or ``end`` what a run left.

    ``about`` are the variables that say what the claim is, ``held`` the lock of its claim, and ``pids``
    processes that a run is known to have left.
    """

    act: str
    tool: str
    run: str
    directory: str
    file: str = ""
    writes: Sequence[str] = ()
    about: Mapping[str, str] = field(default_factory=dict)
    grace_seconds: float = 0.0
    held: str = ""
    pids: Sequence[int] = ()


@dataclass(slots=True)
class Pipes:
    """The ends of a keeper's pipes that are ours, and those that are its own until ``close_theirs``."""

    control: int
    output: int
    said: int
    theirs: tuple[int, int, int]

    @classmethod
    def open(cls, output: tuple[int, int] | None = None) -> Pipes:
        """Make new pipes; ``output`` is one that is there already: its ends for reading and for writing."""
        control_out, control_in = os.pipe2(os.O_CLOEXEC)
        with contextlib.suppress(OSError):
            fcntl.fcntl(control_in, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        os.set_blocking(control_in, False)
        output_out, output_in = output or os.pipe2(os.O_CLOEXEC)
        said_out, said_in = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(said_out, False)
        return cls(control_in, output_out, said_out, (control_out, output_in, said_in))

    def close_theirs(self) -> None:
        """Leave the keeper as the only one who has its ends."""
        for fd in self.theirs:
            os.close(fd)
        self.theirs = (-1, -1, -1)

    def let_go(self) -> None:
        """Close the control, which ends the keeper and everything below it."""
        if self.control >= 0:
            os.close(self.control)
            self.control = -1

    def close(self) -> None:
        """Close all that is ours but the output."""
        self.let_go()
        os.close(self.said)


class KeeperWords:
    """What a keeper said, put together from pieces. ``other`` is what somebody else said there, such as sudo."""

    def __init__(self) -> None:
        self._pending = b""
        self.other = ""

    def feed(self, data: bytes) -> Iterator[Message]:
        """Yield the messages that are complete with ``data``."""
        *lines, self._pending = (self._pending + data).split(b"\n")
        self._pending = self._pending[-_READ_BYTES:]
        for line in lines:
            text = line.decode("utf-8", "replace")
            if text.startswith(keeper.MARK):
                with contextlib.suppress(ValueError):
                    message = json.loads(text[1:])
                    if isinstance(message, dict):
                        yield message
            elif len(self.other) < _READ_BYTES:
                self.other += text.strip() + "\n"


class Launch(Protocol):
    """Somebody who starts keepers with more rights than we have. See ``launcher``."""

    def start(self, task: Task, descriptors: Sequence[int]) -> None:
        """Start a keeper with these descriptors: control, output, what it says, and those that the command inherits."""


class Keepers:
    """Starts keepers. One instance per process; any thread."""

    def __init__(
        self, tools: Mapping[str, ToolSettings], *, settings_file: Path | None = None, launcher: Launch | None = None
    ) -> None:
        self._tools = tools
        self._settings_file = settings_file
        self._launcher = launcher

    def account(self, tool: str) -> SystemAccount | None:
        """Return the account that a tool runs as; None for ours, also if it is named. Raises Unusable."""
        found = account_of(self._tools[tool]) if tool in self._tools else None
        if found is not None and (found.uid, found.gid) == (os.geteuid(), os.getegid()):
            return None
        return found

    def program(self, tool: str) -> str:
        """Return the first word of a tool's command."""
        return self._tools[tool].command[0]

    def way(self, tool: str) -> AccountSwitch:
        """Return how the tool's user is become. Raises Unusable if there is no way."""
        account = self.account(tool)
        if account is None:
            return AccountSwitch.OURSELVES
        if self._launcher is not None or may_switch():
            if obstacle := untrusted(self._settings_file):
                raise Unusable(obstacle)
            return AccountSwitch.LAUNCHER if self._launcher is not None else AccountSwitch.SWITCH
        if shutil.which("sudo") is None:
            raise Unusable(
                Obstacle(
                    f"run_as: {_me()} cannot become {account.name}: there is no sudo", "install sudo, or run sftpgate as root"
                )
            )
        if not may_gain():
            raise Unusable(
                Obstacle(
                    f"run_as: sudo cannot become {account.name}: this process runs with NoNewPrivileges",
                    "remove NoNewPrivileges from the unit, and what implies it (docs/runners.md has the three ways)",
                )
            )
        return AccountSwitch.SUDO

    def start(
        self, task: Task, pipes: Pipes, inherited: Sequence[int] = (), group: Path | None = None
    ) -> subprocess.Popen[bytes] | None:
        """Start a keeper, in a control group if there is one for its run; returns its process if that is our child. Raises
        Unusable, OSError.
        """
        way = self.way(task.tool)
        if way is AccountSwitch.LAUNCHER:
            assert self._launcher is not None
            self._launcher.start(task, [*pipes.theirs, *inherited])
            pipes.close_theirs()
            return None
        account = self.account(task.tool)
        order = order_of(self._tools.get(task.tool), account, task, os.environ)
        order["inherited"] = list(inherited)
        words = [keeper_python(account), "-I", "-S", "-c", keeper.BOOTSTRAP]
        if way is AccountSwitch.SUDO:
            assert account is not None
            order |= {"account": None, "inherited": [], "lock": f"{task.directory}/{LOCK_NAME}"}
            words = [*sudo_words(self._tools[task.tool]), *words]
        data = _code() + keeper.framed(json.dumps(order).encode())
        process = subprocess.Popen(
            [*control_groups.words(group), *words],
            stdin=pipes.theirs[0],
            stdout=pipes.theirs[1],
            stderr=pipes.theirs[2],
            pass_fds=() if way is AccountSwitch.SUDO else tuple(inherited),
            start_new_session=True,  # a signal that a terminal sends to our group is not meant for it
            cwd="/",
        )
        pipes.close_theirs()
        try:
            if os.write(pipes.control, data) < len(data):
                pipes.let_go()
                raise Unusable(Obstacle("its environment is too large", "make it smaller"))
        except BrokenPipeError:
            pass  # sudo has refused already; what it said is heard
        return process

    def ask(self, task: Task) -> list[Message]:
        """Return what a keeper says to a task that is no run, in an order. Raises Unusable if it does not get so far."""
        pipes = Pipes.open()
        process = None
        try:
            process = self.start(task, pipes)
            words = KeeperWords()
            messages: list[Message] = []
            deadline = time.monotonic() + ANSWER_SECONDS
            while True:
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                if not select.select([pipes.said], [], [], left)[0]:
                    continue
                data = os.read(pipes.said, _READ_BYTES)
                if not data:
                    break
                messages += words.feed(data)
            if not messages:
                raise Unusable(self.not_begun(task.tool, words))
            return messages
        except OSError as error:
            raise Unusable(Obstacle(f"its command cannot be watched: {error.strerror}", "see the message")) from error
        finally:
            for fd in pipes.theirs:
                if fd >= 0:
                    os.close(fd)
            os.close(pipes.output)
            pipes.close()
            if process is not None:
                collect(process)

    def not_begun(self, tool: str, words: KeeperWords) -> Obstacle:
        """Return why a keeper never said anything: most of all because sudo refuses."""
        said = " ".join(words.other.split())[:500] or "it ended without a word"
        account = self.account(tool)
        if account is not None and self.way(tool) is AccountSwitch.SUDO:
            group = f":{self._tools[tool].run_group}" if self._tools[tool].run_group else ""
            line = f"{_me()} ALL=({account.name}{group}) NOPASSWD: ALL"
            return Obstacle(
                f"run_as: sudo does not let {_me()} become {account.name} ({said})", f"write `{line}` to /etc/sudoers.d/sftpgate"
            )
        return Obstacle(f"its keeper cannot be started ({said})", "see the message")


def order_of(tool: ToolSettings | None, account: SystemAccount | None, task: Task, ours: Mapping[str, str]) -> dict[str, object]:
    """Return the order of a task, as ``keeper.Order`` reads it. ``ours`` is the environment that the command's is made from."""
    order: dict[str, object] = {
        "act": task.act,
        "run": task.run,
        "directory": task.directory,
        "grace_seconds": task.grace_seconds,
        "held": task.held,
        "pids": list(task.pids),
    }
    if tool is not None and task.act != "end":
        order |= {
            "argv": [part.replace(FILE, task.file) for part in tool.command],
            "environment": environment_of(tool, account, task.about, ours),
            "working_directory": str(tool.working_directory or Path.cwd()),
            "may_be_elsewhere": account is not None and tool.working_directory is None,
            "reads": [task.file] if task.file else [],
            "writes": list(task.writes),
        }
    if account is not None:
        order["account"] = [account.uid, account.gid, list(account.groups)]
    return order


def environment_of(
    tool: ToolSettings, account: SystemAccount | None, about: Mapping[str, str], ours: Mapping[str, str]
) -> dict[str, str]:
    """Return the environment of a command: ours without our own settings, who it is, what the tool adds, and what the claim
    says.
    """
    inherited = {name: value for name, value in ours.items() if not name.upper().startswith(_PREFIX)}
    return {**inherited, **(account.environment() if account else {}), **tool.environment, **about}


def collect(process: subprocess.Popen[bytes]) -> int | None:
    """Wait for a keeper that has said all, or that was let go; returns its status. One that waits for others is left alone."""
    try:
        return process.wait(timeout=processes.STAYS_AFTER_SECONDS)
    except subprocess.TimeoutExpired:
        process.returncode = 0  # it is not ours to wait for: it keeps its locks until what it watches has ended
        return None


def sudo_words(tool: ToolSettings) -> list[str]:
    """Return the words before a command that let sudo run it as the tool's user, without asking for anything."""
    return ["sudo", "-n", "-u", tool.run_as, *(["-g", tool.run_group] if tool.run_group else []), "--"]


@cache
def _code() -> bytes:
    """Return what a keeper reads before its order."""
    return b"".join(keeper.framed(Path(str(module.__file__)).read_bytes()) for module in (processes, keeper))


@cache
def _programs() -> tuple[str, ...]:
    ours = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
    return tuple(dict.fromkeys((ours, "/usr/bin/python3", "/usr/local/bin/python3")))


def keeper_python(account: SystemAccount | None) -> str:
    """Return a Python that an account may execute: ours, or the system's. Raises Unusable."""
    from sftpgate.runners.commands.system_accounts import closed_way, may

    for program in _programs():
        path = Path(program)
        if account is None and path.is_file():
            return program
        if (
            account is not None
            and path.is_file()
            and closed_way(account, path.resolve()) is None
            and may(account, path.stat(), 0o5)
        ):
            return program
    raise Unusable(
        Obstacle(
            f"run_as: {account.name if account else _me()} can execute no Python: neither {_programs()[0]} nor /usr/bin/python3",
            "install python3, or let everybody read that one",
        )
    )


def may_switch() -> bool:
    """Return whether this process may become other users, and so may what it starts."""
    found = _status_lines()
    return os.geteuid() == 0 or all(
        int(found.get(name, "0"), 16) & _SETGID_AND_SETUID == _SETGID_AND_SETUID for name in _CAPABILITIES
    )


def may_gain() -> bool:
    """Return whether what this process starts may have more rights than itself, as sudo has to."""
    return _status_lines().get("NoNewPrivs", "0") != "1"


def _status_lines() -> dict[str, str]:
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _me() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def as_json(task: Task) -> bytes:
    """Return a task for another process."""
    return json.dumps({**asdict(task), "about": dict(task.about)}).encode()
