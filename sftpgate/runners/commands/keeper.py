"""The keeper of a command: starts it, watches it, and ends it together with everything that it started.

A program of its own, which needs the standard library and ``processes`` only: it runs as whoever may signal the command, so as
root, or, by way of sudo, as the tool's own user, who may not read our code. So the code of both comes through its standard input,
and an order after it: see ``framed``. Nothing of either is to be seen in a list of processes.

It is a *subreaper*: what loses its parent becomes its child, also what made a session of its own or went into the background. So
it knows when nothing is left, whatever a command does: when it has no child any more. It keeps the locks that it was given or
told of as long as that lasts. When the other end of its standard input closes, the runner is gone, and it kills at once; a line
``stop`` there, or SIGTERM, lets it be gentle first. What it may not signal (a command that became somebody else by itself) it
says, and waits for. The death of the keeper itself kills the command; what that had started is found by ``end`` (see
``processes.remains``), by the name of the run in environments, arguments, open files and working directories.

What it says goes to its standard error: lines of JSON behind a mark, since sudo may say something there too. The command's output
and errors are its standard output. Everything blocks; no threads.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import select
import signal
import time

from sftpgate.runners.commands.processes import (
    POLL_SECONDS,
    STAYS_AFTER_SECONDS,
    all_processes,
    become_subreaper,
    descendants,
    describe,
    end_remains,
    prctl,
    send,
)

MARK = "\x1e"
STOP = b"stop\n"
UNUSABLE_STATUS = 71  # EX_OSERR: of the process that was to become the command
_LENGTH_DIGITS = 10
_SLOW_POLL_SECONDS = 0.5
_PR_SET_PDEATHSIG, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 1, 47, 4  # linux/prctl.h
_MAX_CONTROL_BYTES = 64

PROCESSES = "sftpgate.runners.commands.processes"
# What python -c gets: reads the code of that module, which is then imported from nowhere else, and of this one, and is it.
BOOTSTRAP = f"""import os, sys
def r(n):
 b = b''
 while len(b) < n:
  c = os.read(0, n - len(b))
  if not c: os._exit({UNUSABLE_STATUS})
  b += c
 return b
m = sys.modules['{PROCESSES}'] = type(sys)('{PROCESSES}')
exec(compile(r(int(r({_LENGTH_DIGITS}))), 'sftpgate-processes', 'exec'), m.__dict__)
exec(compile(r(int(r({_LENGTH_DIGITS}))), 'sftpgate-keeper', 'exec'))"""


def framed(data: bytes) -> bytes:
    """Return ``data`` behind its length, as the keeper reads it."""
    return f"{len(data):0{_LENGTH_DIGITS}d}".encode() + data


class KeeperOrder:
    """What a keeper is to do. ``account`` is whom the command becomes: user, group, groups; None: whoever the keeper is."""

    def __init__(self, values: dict[str, object]) -> None:
        self.act: str = str(values["act"])  # run, look (everything but the start), end (what is left of an earlier run)
        self.run: str = str(values["run"])
        self.directory: str = str(values["directory"])
        self.argv: list[str] = list(values.get("argv") or [])  # type: ignore[call-overload]
        self.environment: dict[str, str] = dict(values.get("environment") or {})  # type: ignore[call-overload]
        self.working_directory: str = str(values.get("working_directory") or "")
        self.may_be_elsewhere: bool = bool(values.get("may_be_elsewhere"))
        self.account: tuple[int, int, list[int]] | None = values.get("account")  # type: ignore[assignment]
        self.reads: list[str] = list(values.get("reads") or [])  # type: ignore[call-overload]
        self.writes: list[str] = list(values.get("writes") or [])  # type: ignore[call-overload]
        self.lock: str = str(values.get("lock") or "")
        self.held: str = str(values.get("held") or "")
        self.pids: list[int] = list(values.get("pids") or [])  # type: ignore[call-overload]
        self.inherited: list[int] = list(values.get("inherited") or [])  # type: ignore[call-overload]
        self.grace_seconds: float = float(values.get("grace_seconds") or 0)  # type: ignore[arg-type]


def main(order: KeeperOrder | None = None) -> None:
    """Do what the order on standard input says (or this one), and end the process."""
    try:
        if order is None:
            order = KeeperOrder(json.loads(_read_exactly(int(_read_exactly(_LENGTH_DIGITS)))))
        Keeper(order).work()
    except BrokenPipeError:  # nobody listens any more, and nothing is left to be done
        pass
    os._exit(0)


def _read_exactly(count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = os.read(0, count - len(data))
        if not piece:
            os._exit(UNUSABLE_STATUS)
        data += piece
    return data


class Keeper:
    """Does one order. ``0``, ``1`` and ``2`` are control, output and what it says."""

    def __init__(self, order: KeeperOrder) -> None:
        self._order = order
        self._control = fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, 3)
        self._saying = fcntl.fcntl(2, fcntl.F_DUPFD_CLOEXEC, 3)
        self._woken, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(1, 2)  # the command's errors go where its output goes, and ours do not
        self._pid = os.getpid()
        self._child = 0
        self._status: int | None = None
        self._is_alone = False  # the runner is gone
        self._is_stopping = False
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._signalled)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)

    def _signalled(self, number: int, _frame: object) -> None:
        self._is_stopping = self._is_stopping or number != signal.SIGCHLD

    def say(self, **what: object) -> None:
        """Tell the runner, if there is one."""
        try:
            os.write(self._saying, (MARK + json.dumps(what) + "\n").encode())
        except OSError:
            self._is_alone = True

    def work(self) -> None:
        """Do the order."""
        if self._order.act == "end":
            self._end_remains()
            return
        become_subreaper()
        self._take_lock()
        problem = self._start()
        if problem is not None:
            self._reap()
            self.say(**problem)
            return
        if self._order.act == "run":
            self.say(began=self._child)
        self._watch()

    # -- the beginning -----------------------------------------------------------------------------------------------

    def _take_lock(self) -> None:
        """Hold a shared lock of a file in the run's directory, which the command and its children inherit with us."""
        if self._order.lock:
            try:
                fd = os.open(self._order.lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
                fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
                self._order.inherited.append(fd)
            except OSError:
                pass  # whoever cannot open it cannot read the file beside it either, which is said below

    def _start(self) -> dict[str, object] | None:
        """Start the command; returns what kept it from starting."""
        if self._order.act == "run":
            self.say(starting=self._pid)  # from here on something of the command may be there, also if we are killed
        telling, told = os.pipe2(os.O_CLOEXEC)
        self._child = os.fork()
        if self._child == 0:
            self._become_command(told)
        os.close(told)
        data = b""
        while True:
            try:
                piece = os.read(telling, 65536)
            except InterruptedError:
                continue
            if not piece:
                break
            data += piece
        os.close(telling)
        return json.loads(data) if data else None

    def _become_command(self, told: int) -> None:
        order = self._order
        try:
            self._prepare_child()
            problem = self._problem_of_child()
            if problem is None and order.act == "look":
                problem = {"looked": _about_ourselves(order.environment)}
            if problem is None:
                try:
                    os.execvpe(order.argv[0], order.argv, order.environment)  # noqa: S606 - the admin's command
                except OSError as error:
                    problem = {"not_started": error.errno}
        except OSError as error:
            problem = {"cannot": f"become the tool's user: {error.strerror}"}
        except BaseException as error:  # noqa: BLE001 - nothing may come back from here
            problem = {"cannot": f"start the command: {error!r}"}
        os.write(told, json.dumps(problem).encode())
        os._exit(UNUSABLE_STATUS)

    def _prepare_child(self) -> None:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        for fd in self._order.inherited:
            os.set_inheritable(fd, True)
        if self._order.account is not None:
            user, group, groups = self._order.account
            os.setgroups(groups)
            os.setresgid(group, group, group)
            os.setresuid(user, user, user)
            prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
            if os.getresuid() != (user, user, user) or os.getresgid() != (group, group, group):
                raise OSError(errno.EPERM, "the user stayed the same")
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # after the change of user, which forgets it
        if os.getppid() != self._pid:
            os._exit(UNUSABLE_STATUS)  # the keeper was killed before that could be noticed

    def _problem_of_child(self) -> dict[str, object] | None:
        """Return what this process, which is the tool's user by now, may not do of what the command has to."""
        order = self._order
        if order.working_directory:
            try:
                os.chdir(order.working_directory)
            except OSError as error:
                if not order.may_be_elsewhere:
                    return {"cannot": f"go into its working directory {order.working_directory}: {error.strerror}"}
                os.chdir("/")
        for flags, verb, paths in ((os.O_RDONLY, "read", order.reads), (os.O_WRONLY, "write", order.writes)):
            for path in paths:
                try:
                    os.close(os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC))
                except OSError as error:
                    return {"cannot": f"{verb} {path}: {error.strerror}", "way": _first_closed(path)}
        if order.act == "look" and not _is_executable(order.argv[0], order.environment.get("PATH", os.defpath)):
            return {"cannot": f"execute {order.argv[0]}: not found, or not permitted"}
        return None

    # -- watching ----------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        while self._status is None and not self._is_stopping and not self._is_alone:
            self._wait(None)
            self._reap()
        has_left = self._status is not None and self._has_children()
        if has_left or self._status is None:
            was_killed = self._end(0.0 if self._is_alone else self._order.grace_seconds)
        else:
            was_killed = False
        self.say(ended=self._status if self._status is not None else -signal.SIGKILL, left=has_left, killed=was_killed)

    def _wait(self, seconds: float | None) -> None:
        """Wait for a signal, or for a word of the runner."""
        watched = [self._woken] if self._is_alone else [self._woken, self._control]
        try:
            ready = select.select(watched, [], [], seconds)[0]
        except InterruptedError:
            return
        if self._woken in ready:
            try:
                os.read(self._woken, 512)
            except BlockingIOError:
                pass
        if self._control in ready:
            try:
                word = os.read(self._control, _MAX_CONTROL_BYTES)
            except OSError:
                word = b""
            self._is_alone = not word
            self._is_stopping = True

    def _reap(self) -> None:
        """Collect what has ended; everything that loses its parent is our child."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._child:
                self._status = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)

    def _has_children(self) -> bool:
        self._reap()
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return False
        return True

    def _end(self, grace_seconds: float) -> bool:
        """End everything that the command started; returns whether something had to be killed, once nothing is left."""
        deadline = time.monotonic() + grace_seconds
        if grace_seconds:
            self._signal_all(signal.SIGTERM)
        while grace_seconds and self._has_children() and time.monotonic() < deadline and not self._is_alone:
            self._wait(POLL_SECONDS)
        killed_at, was_killed, has_said = time.monotonic(), False, False
        while self._has_children():
            out_of_reach = self._signal_all(signal.SIGKILL)
            was_killed = True
            is_late = time.monotonic() - killed_at > STAYS_AFTER_SECONDS
            if is_late and out_of_reach and not has_said:
                self.say(stays=out_of_reach)
                has_said = True
            self._wait(_SLOW_POLL_SECONDS if has_said else POLL_SECONDS)
        return was_killed

    def _signal_all(self, number: int) -> list[str]:
        """Signal everything below us; returns descriptions of what may not be signalled."""
        targets = descendants(os.getpid(), all_processes())
        if self._status is None and self._child not in targets:
            targets.append(self._child)
        return [describe(pid) for pid in targets if not send(pid, number)]

    # -- what an earlier run left ------------------------------------------------------------------------------------

    def _end_remains(self) -> None:
        account = self._order.account
        self.say(
            remains=end_remains(self._order.run, account[0] if account else os.geteuid(), self._order.held, self._order.pids)
        )


def _about_ourselves(environment: dict[str, str]) -> dict[str, object]:
    """Return who this process is, and which variables of ours the command would find."""
    names = sorted(name for name in environment if name.startswith("SFTPGATE_"))
    return {
        "user": os.getuid(),
        "group": os.getgid(),
        "groups": sorted(os.getgroups()),
        "directory": os.getcwd(),
        "variables": names,
    }


def _is_executable(program: str, path: str) -> bool:
    candidates = [program] if "/" in program else [os.path.join(part, program) for part in path.split(os.pathsep)]
    return any(os.path.isfile(candidate) and os.access(candidate, os.X_OK) for candidate in candidates)


def _first_closed(path: str) -> str:
    """Return the first directory on the way to ``path`` that we may not pass through; empty if we may pass through all."""
    parts = os.path.dirname(os.path.abspath(path)).split("/")
    for count in range(1, len(parts) + 1):
        directory = "/".join(parts[:count]) or "/"
        if not os.access(directory, os.X_OK):
            return directory
    return ""


if __name__ == "__main__":
    main()
