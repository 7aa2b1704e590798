"""The process of ``sftpgate serve``: it listens, and starts, watches and reloads the workers. Imports no SSH and no database."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial

from sftpgate.app.serving.console_process import ConsoleProcess
from sftpgate.app.serving.monitor_process import watching
from sftpgate.app.serving.service_manager import ServiceManager
from sftpgate.app.serving.side_process import SideProcess
from sftpgate.errors import SftpgateError
from sftpgate.gateway.admission.rules import Limits
from sftpgate.gateway.workers.listening import bind
from sftpgate.gateway.workers.sandbox import become
from sftpgate.gateway.workers.supervisor import Start, Supervisor, SupervisorPlan
from sftpgate.logs import get_logger
from sftpgate.settings.reading import load
from sftpgate.settings.tree import Settings

log = get_logger("gate")

STOP_MARGIN_SECONDS = 15.0  # what a worker has beyond shutdown_grace; above the gateway's END_SECONDS


async def run_supervisor(settings: Settings, announce: Callable[[str], None], manager: ServiceManager) -> None:
    """Listen, and run the workers, until SIGTERM or SIGINT; SIGHUP replaces the workers without losing a connection."""
    require_rules(settings)
    require_calendars(settings)
    stop_seconds = settings.shutdown_grace + STOP_MARGIN_SECONDS
    listeners = bind(settings.host, settings.port)
    console = ConsoleProcess()
    console.listen(settings)
    if settings.run_as:
        become(settings.run_as)
    elif os.geteuid() == 0 and not settings.allow_root:
        log.warning("gate.runs_as_root", what_to_do="set run_as to a user that owns data and keys, or allow_root")
    supervisor = Supervisor(launch_worker, listeners, plan_of(settings), stop_seconds=stop_seconds)
    followers = SideProcess("followers", ["follow", "--parent", str(os.getpid())])
    notifier = SideProcess("notifier", ["deliver", "--parent", str(os.getpid())])
    loop = asyncio.get_running_loop()
    host, port = supervisor.address

    def stop() -> None:
        manager.stopping()
        supervisor.stop()

    def ready() -> None:
        announce(ready_line(host, port))
        manager.ready(ready_line(host, port))
        log.info("gate.ready", address=host, port=port, pid=os.getpid(), workers=settings.worker_count)
        followers.start()  # not before: the first worker makes the ledger, and brings an earlier one to this version
        notifier.keep(wanted=settings.notify.is_wanted)
        console.start()

    stop_at_signals(stop)
    async with watching(settings) as monitor:
        beside = [each for each in (monitor, followers, console.process) if each is not None]
        loop.add_signal_handler(signal.SIGHUP, _reload, supervisor, beside, notifier)
        supervisor.sandbox_stale = partial(_reload, supervisor, beside, notifier)
        beating = asyncio.create_task(manager.beat())
        try:
            await supervisor.run(ready)
        finally:
            beating.cancel()
            await console.stop()
            await followers.stop()
            await notifier.stop()
            log.info("gate.stopped")


def require_calendars(settings: Settings) -> None:
    """Raise SettingsError if a calendar file of an expected file cannot be used."""
    if settings.expect:
        from sftpgate.app.expectations.terms import terms_of

        terms_of(settings, datetime.now(UTC).date())


def plan_of(settings: Settings) -> SupervisorPlan:
    """Return what the settings ask of a supervisor."""
    limits = Limits(
        max_connections=settings.max_connections,
        max_unauthenticated=settings.max_unauthenticated,
        max_unauthenticated_per_address=settings.max_unauthenticated_per_address,
    )
    return SupervisorPlan(workers=settings.worker_count, limits=limits)


async def launch_worker(start: Start, link: socket.socket) -> asyncio.subprocess.Process:
    """Return a process that runs ``sftpgate worker`` on the other end of a link."""
    words = ["worker", str(link.fileno()), "--number", str(start.number)]
    words += ["--leader"] * start.leader + ["--recovering"] * start.recovering
    return await asyncio.create_subprocess_exec(sys.executable, "-m", "sftpgate", *words, pass_fds=[link.fileno()])


def _reload(supervisor: Supervisor, beside: Sequence[SideProcess], notifier: SideProcess) -> None:
    """Start new workers with the settings as they are now; if those are not usable, everything stays as it is."""
    try:
        settings = load()
        require_rules(settings)
        require_calendars(settings)
    except SftpgateError as error:
        log.error("reload.refused", reason=error.message)
    else:
        log.info("reload.begun", workers=settings.worker_count)
        supervisor.reload(plan_of(settings))
        for process in beside:
            process.reload()
        notifier.keep(wanted=settings.notify.is_wanted)


def require_rules(settings: Settings) -> None:
    """Raise SettingsError if a rule of the notifications names an event that there is not."""
    if settings.notify.is_wanted:
        from sftpgate.upkeep.notifications.audience import audience_of

        audience_of(settings.notify, settings.language)


def ready_line(host: str, port: int) -> str:
    """Return the line that says that the gate is ready."""
    return f"sftpgate is ready on {host} port {port} (pid {os.getpid()})"


def stop_at_signals(stop: Callable[[], None], *numbers: signal.Signals) -> None:
    """Call ``stop`` at SIGTERM and SIGINT, or at these signals."""
    loop = asyncio.get_running_loop()
    for number in numbers or (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
