"""The process of ``sftpgate serve``: it listens, and starts, watches and reloads the workers. Imports no SSH and no database."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial

from sftpgate.cli.notify import ServiceManager
from sftpgate.cli.watch import Watch, watching
from sftpgate.errors import SftpgateError
from sftpgate.gateway.confinement import become
from sftpgate.gateway.defence import Limits
from sftpgate.gateway.listening import bind
from sftpgate.gateway.supervisor import Plan, Start, Supervisor
from sftpgate.logs import get_logger
from sftpgate.settings import Settings, load

log = get_logger("gate")

STOP_MARGIN_SECONDS = 15.0  # what a worker has beyond shutdown_grace; above the gateway's END_SECONDS


async def run_supervisor(settings: Settings, announce: Callable[[str], None], manager: ServiceManager) -> None:
    """Listen, and run the workers, until SIGTERM or SIGINT; SIGHUP replaces the workers without losing a connection."""
    stop_seconds = settings.shutdown_grace + STOP_MARGIN_SECONDS
    listeners = bind(settings.host, settings.port)
    if settings.run_as:
        become(settings.run_as)
    elif os.geteuid() == 0 and not settings.allow_root:
        log.warning("gate.runs_as_root", what_to_do="set run_as to a user that owns data and keys, or allow_root")
    supervisor = Supervisor(launch_worker, listeners, plan_of(settings), stop_seconds=stop_seconds)
    loop = asyncio.get_running_loop()
    host, port = supervisor.address

    def stop() -> None:
        manager.stopping()
        supervisor.stop()

    def ready() -> None:
        announce(ready_line(host, port))
        manager.ready(ready_line(host, port))
        log.info("gate.ready", address=host, port=port, pid=os.getpid(), workers=settings.worker_count)

    stop_at_signals(stop)
    async with watching(settings) as watch:
        loop.add_signal_handler(signal.SIGHUP, _reload, supervisor, watch)
        supervisor.outgrown = partial(_reload, supervisor, watch)
        beating = asyncio.create_task(manager.beat())
        try:
            await supervisor.run(ready)
        finally:
            beating.cancel()
            log.info("gate.stopped")


def plan_of(settings: Settings) -> Plan:
    """What the settings ask of a supervisor."""
    limits = Limits(
        max_connections=settings.max_connections,
        max_unauthenticated=settings.max_unauthenticated,
        max_unauthenticated_per_address=settings.max_unauthenticated_per_address,
    )
    return Plan(workers=settings.worker_count, limits=limits)


async def launch_worker(start: Start, link: socket.socket) -> asyncio.subprocess.Process:
    """A process that runs ``sftpgate worker`` on the other end of a link."""
    words = ["worker", str(link.fileno()), "--number", str(start.number)]
    words += ["--chief"] * start.chief + ["--recovering"] * start.recovering
    return await asyncio.create_subprocess_exec(sys.executable, "-m", "sftpgate", *words, pass_fds=[link.fileno()])


def _reload(supervisor: Supervisor, watch: Watch | None) -> None:
    """New workers with the settings as they are now; where those are not usable, everything stays as it is."""
    try:
        settings = load()
    except SftpgateError as error:
        log.error("reload.refused", reason=error.message)
    else:
        log.info("reload.begun", workers=settings.worker_count)
        supervisor.reload(plan_of(settings))
        if watch is not None:
            watch.reload()


def ready_line(host: str, port: int) -> str:
    """The line that says that the gate is ready."""
    return f"sftpgate is ready on {host} port {port} (pid {os.getpid()})"


def stop_at_signals(stop: Callable[[], None], *numbers: signal.Signals) -> None:
    """Call ``stop`` at SIGTERM and SIGINT, or at these signals."""
    loop = asyncio.get_running_loop()
    for number in numbers or (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
