"""Keeps a monitor running beside the supervisor, and gives workers the directory that they count in.

The supervisor owns the monitor's sockets, as it owns the gate's: whoever asks while a monitor is replaced waits a moment. The
directory is one of this start: what an earlier one counted is gone with it, which Prometheus takes for a restart.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from sftpgate.errors import SettingsError
from sftpgate.gateway.listening import bind
from sftpgate.logs import get_logger
from sftpgate.meter import DIRECTORY_VARIABLE
from sftpgate.settings import Settings

log = get_logger("watch")

PAUSE_SECONDS = 5.0  # before a monitor that died is replaced: the gate serves without it
STOP_SECONDS = 5.0


class Watch:
    """One per supervisor. Raises SettingsError where the port cannot be had."""

    def __init__(self, settings: Settings) -> None:
        assert settings.metrics_port is not None
        try:
            self._listeners = bind(settings.metrics_host, settings.metrics_port)
        except SettingsError as error:
            what = error.message.partition(";")[0]
            raise SettingsError(f"metrics_port: {what}; stop what uses it, or choose another SFTPGATE_METRICS_PORT") from error
        self.directory = settings.data_dir / "metrics" / str(os.getpid())
        _remove_left_over(self.directory.parent)
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.environ[DIRECTORY_VARIABLE] = str(self.directory)  # workers and monitor inherit it
        self._process: asyncio.subprocess.Process | None = None
        self._reloading = False

    async def run(self) -> None:
        """Start the monitor, and another one where it ends, until cancelled; the last one is ended then."""
        try:
            while True:
                self._process = await self._launch()
                status = await self._process.wait()
                if self._reloading:
                    self._reloading = False
                    continue
                log.error("monitor.died", status=status)
                await asyncio.sleep(PAUSE_SECONDS)
        finally:
            await self._end()

    def reload(self) -> None:
        """Let another monitor, which reads the settings anew, take the place of this one."""
        if self._process is not None and self._process.returncode is None:
            self._reloading = True
            self._process.terminate()

    async def _launch(self) -> asyncio.subprocess.Process:
        numbers = [listener.fileno() for listener in self._listeners]
        words = [sys.executable, "-m", "sftpgate", "monitor", "--parent", str(os.getpid()), *map(str, numbers)]
        return await asyncio.create_subprocess_exec(*words, pass_fds=numbers)

    async def _end(self) -> None:
        process = self._process
        if process is not None and process.returncode is None:
            process.terminate()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_SECONDS):
                    await process.wait()
            if process.returncode is None:
                process.kill()
        for listener in self._listeners:
            listener.close()
        shutil.rmtree(self.directory, ignore_errors=True)


@contextlib.asynccontextmanager
async def watching(settings: Settings) -> AsyncIterator[Watch | None]:
    """A monitor for the block, where the settings want one."""
    os.environ.pop(DIRECTORY_VARIABLE, None)
    if settings.metrics_port is None:
        yield None
        return
    watch = Watch(settings)
    task = asyncio.create_task(watch.run())
    try:
        yield watch
    finally:
        task.cancel()
        await asyncio.wait([task])


def _remove_left_over(parent: Path) -> None:
    """What supervisors that were killed left."""
    for path in parent.glob("*"):
        if path.name.isdigit() and not Path(f"/proc/{path.name}").exists():
            shutil.rmtree(path, ignore_errors=True)
