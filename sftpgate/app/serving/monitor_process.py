"""Keeps a monitor running beside the supervisor, and gives workers the directory that they count in.

The supervisor owns the monitor's sockets, as it owns the gate's: whoever asks while a monitor is replaced waits a moment. The
directory is one of this start: what an earlier one counted is gone with it, which Prometheus takes for a restart.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

from sftpgate.app.serving.side_process import SideProcess
from sftpgate.errors import SettingsError
from sftpgate.gateway.workers.listening import bind
from sftpgate.meter import DIRECTORY_VARIABLE
from sftpgate.settings.tree import Settings


@contextlib.asynccontextmanager
async def watching(settings: Settings) -> AsyncIterator[SideProcess | None]:
    """Yield a monitor, which runs for the block, if the settings want one. Raises SettingsError if its port cannot be had."""
    os.environ.pop(DIRECTORY_VARIABLE, None)
    if settings.metrics_port is None:
        yield None
        return
    try:
        listeners = bind(settings.metrics_host, settings.metrics_port)
    except SettingsError as error:
        what = error.message.partition(";")[0]
        raise SettingsError(f"metrics_port: {what}; stop what uses it, or choose another SFTPGATE_METRICS_PORT") from error
    directory = _directory_of_this_start(settings)
    numbers = [listener.fileno() for listener in listeners]
    monitor = SideProcess("monitor", ["monitor", "--parent", str(os.getpid()), *map(str, numbers)], pass_fds=numbers)
    monitor.start()
    try:
        yield monitor
    finally:
        await monitor.stop()
        for listener in listeners:
            listener.close()
        shutil.rmtree(directory, ignore_errors=True)


def _directory_of_this_start(settings: Settings) -> Path:
    """Return the directory in which workers count, made; they and the monitor inherit its name.

    Raises SettingsError: it is the first thing that a start writes, and a volume of somebody else is found out here.
    """
    directory = settings.data_dir / "metrics" / str(os.getpid())
    _remove_left_over(directory.parent)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"cannot write into the data directory {settings.data_dir}: {error.strerror}; give it to the user that sftpgate runs "
            f"as (its number is {os.geteuid()})"
        ) from error
    os.environ[DIRECTORY_VARIABLE] = str(directory)
    return directory


def _remove_left_over(parent: Path) -> None:
    """Remove what supervisors that were killed left."""
    for path in parent.glob("*"):
        if path.name.isdigit() and not Path(f"/proc/{path.name}").exists():
            shutil.rmtree(path, ignore_errors=True)
