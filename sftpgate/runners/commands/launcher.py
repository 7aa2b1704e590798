"""Root's half of ``sftpgate run``: a process that stays root, when the other half becomes the owner of the store for good.

It starts keepers (see ``keeper``), and nothing else. Which command, as whom and with what environment is said by the settings,
which it read as root; the other half says for which tool and which run, and which file of that run's directory it is. It ends
with the other half. A crash of it fails the runs that begin later; keepers go on.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

from sftpgate.runners.commands import keeper
from sftpgate.runners.commands.keepers import Launch, Task, as_json, order_of
from sftpgate.runners.commands.system_accounts import SystemAccount, Unusable, account_of
from sftpgate.settings.tools import ToolSettings
from sftpgate.settings.tree import Settings

_MAX_TASK_BYTES = 256 * 1024
_MAX_DESCRIPTORS = 8
_ABOUT = ("SFTPGATE_FILE", "SFTPGATE_TOOL", "SFTPGATE_ARRIVAL", "SFTPGATE_TRYBACK", "SFTPGATE_RESULT")


class Launcher(Launch):
    """The other half's end. Started while the process has one thread."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def start(self, task: Task, descriptors: Sequence[int]) -> None:
        """Have a keeper started. Raises OSError if root's half is gone."""
        socket.send_fds(self._connection, [as_json(task)], list(descriptors))


def start_if_wanted(settings: Settings) -> Launcher | None:
    """Leave a root half behind, if this process is root and a tool runs as somebody else. Called before any thread is made."""
    if os.geteuid() != 0 or not any(tool.run_as for tool in settings.tools.values()):
        return None
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MAX_TASK_BYTES)
    sys.stdout.flush()
    sys.stderr.flush()
    if os.fork() == 0:
        try:
            ours.close()
            _serve(theirs, settings)
        finally:
            os._exit(0)
    theirs.close()
    return Launcher(ours)


def _serve(connection: socket.socket, settings: Settings) -> None:
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for keepers: what they say is heard elsewhere
    runs = f"{settings.store}/.sftpgate/runs/"
    while True:
        data, descriptors, _, _ = socket.recv_fds(connection, _MAX_TASK_BYTES, _MAX_DESCRIPTORS)
        if not data:
            return
        if os.fork() == 0:
            _become_keeper(connection, data, descriptors, settings.tools, runs)
        for fd in descriptors:
            os.close(fd)


def _become_keeper(
    connection: socket.socket, data: bytes, descriptors: Sequence[int], tools: Mapping[str, ToolSettings], runs: str
) -> None:
    """Become a keeper. Never returns."""
    try:
        connection.close()
        for target, fd in enumerate(descriptors[:3]):
            os.dup2(fd, target)
            os.close(fd)
        task = Task(**json.loads(data))
        tool = tools.get(task.tool)
        account: SystemAccount | None = account_of(tool) if tool else None
        order = order_of(tool, account, _checked(task, runs), os.environ)
        order["inherited"] = list(descriptors[3:])
        keeper.main(keeper.KeeperOrder(order))
    except Unusable as problem:
        os.write(2, f"{problem}\n".encode())
    except Exception as error:  # noqa: BLE001 - nothing may come back from here
        os.write(2, f"{error!r}\n".encode())
    finally:
        os._exit(keeper.UNUSABLE_STATUS)


def _checked(task: Task, runs: str) -> Task:
    """Return a task of the other half, as far as that may say what is to be done. Raises ValueError."""
    for path in (task.directory, task.file, *task.writes):
        if path and (not path.startswith(runs) or ".." in path.split("/")):
            raise ValueError(f"{path} is in no directory of a run")
    return replace(task, about={name: value for name, value in task.about.items() if name in _ABOUT})
